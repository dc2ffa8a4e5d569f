"""Ours, on-policy: `Collect` around `PPO` or `TRPO`, and the returns of its agent's mode on fresh seeds."""

from __future__ import annotations

from worker import serve, spec, versions

from understudy.agent import Chunked
from understudy.envs import task
from understudy.learn import ppo, trpo
from understudy.online.base import Collecting, Setting
from understudy.online.collect import Collect
from understudy.rewards import RewardConfig
from understudy.rollout import rollouts
from understudy.runtime import tuned

ASK = spec()


def main() -> None:
    t, config = task(ASK["task"]), {"seed": ASK["seed"]} | ASK["learner"]
    plan = Collecting(uniform=ASK["uniform"], envs=ASK["envs"], rollout=ASK["rollout"])
    learner = {"ppo": ppo.Config, "trpo": trpo.Config}[ASK["method"]](**config)
    agent, _ = Setting(t, None, plan, learner, RewardConfig()).actor()
    made = {"ppo": ppo.PPO, "trpo": trpo.TRPO}[ASK["method"]](agent, learner)
    collect = Collect(t.make, made, plan, seed=ASK["seed"])

    def practise(steps: int) -> None:
        for _ in range(steps):
            collect.step()

    def measure(episodes: int) -> list[float]:
        seeds = range(ASK["first_seed"], ASK["first_seed"] + episodes)
        return [e.total_reward for e in rollouts(t.make, Chunked(agent), seeds)]

    with tuned():
        serve({"practise": practise, "measure": measure}, versions("torch", "numpy", "gymnasium", "mujoco"))


main()
