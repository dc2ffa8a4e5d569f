"""Ours, acting and learning: `Practice` around `SAC`, and the returns of its agent's mode on fresh seeds."""

from __future__ import annotations

from worker import serve, spec, versions

from understudy.agent import Chunked
from understudy.envs import task
from understudy.learn.sac import SAC, Config
from understudy.online import Practice, actor, transitions, uniform
from understudy.rollout import rollouts
from understudy.runtime import tuned

ASK = spec()


def main() -> None:
    t, seed = task(ASK["task"]), ASK["seed"]
    # The uniform steps are a share of the budget here as they are there.
    first = uniform(t, ASK["uniform"], seed)
    agent = actor(t.action, first, angles=t.angles, seed=seed)
    sac = SAC(agent, Config(critic=ASK["critic"], seed=seed))
    practice = Practice(t.make, sac, seed=seed, start=transitions(agent, first))

    def practise(steps: int) -> None:
        for _ in range(steps):
            practice.step()

    def measure(episodes: int) -> list[float]:
        seeds = range(ASK["first_seed"], ASK["first_seed"] + episodes)
        return [e.total_reward for e in rollouts(t.make, Chunked(agent), seeds)]

    with tuned():
        serve({"practise": practise, "measure": measure}, versions("torch", "numpy", "gymnasium", "mujoco"))


main()
