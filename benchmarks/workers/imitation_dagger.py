"""`imitation`'s SimpleDAggerTrainer on the pendulum: whole runs of rounds, and the last policy measured."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
from imitation.algorithms import bc
from imitation.algorithms.dagger import LinearBetaSchedule, SimpleDAggerTrainer
from imitation.policies.base import FeedForward32Policy
from imitation.util import logger
from imitation_episode import episode
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.vec_env import DummyVecEnv
from worker import serve, spec, versions

from understudy.experts.pendulum import PendulumExpert

ASK = spec()
LAST: list[ActorCriticPolicy] = []


class Controller(BasePolicy):
    """Our scripted expert, as a policy that the trainer takes: it refuses plain functions."""

    def __init__(self, observation_space: gym.Space, action_space: gym.Space) -> None:
        super().__init__(observation_space, action_space)
        self.expert = PendulumExpert()

    def _predict(self, obs: torch.Tensor, deterministic: bool = False) -> torch.Tensor:
        return torch.from_numpy(np.stack([self.expert.act({"state": o}) for o in obs.numpy()]))


def policy(venv: DummyVecEnv) -> ActorCriticPolicy:
    """Its default where the widths are that one's, else what that derives from in Stable-Baselines3."""
    spaces = venv.observation_space, venv.action_space, lambda _: torch.finfo(torch.float32).max
    if ASK["hidden"] == [32, 32]:
        return FeedForward32Policy(*spaces)
    return ActorCriticPolicy(*spaces, net_arch=list(ASK["hidden"]))


def rounds(seed: int) -> list[int]:
    """A run of all rounds with that seed: [labelled states, gradient steps]."""
    folder = Path(ASK["folder"]) / "imitation"
    shutil.rmtree(folder, ignore_errors=True)
    rng, steps = np.random.default_rng(seed), [0]
    torch.manual_seed(seed)
    quiet = logger.configure(str(folder / "log"), [])
    venv = DummyVecEnv([lambda: gym.make("Pendulum-v1")] * ASK["episodes"])
    venv.seed(seed)
    cloner = bc.BC(
        observation_space=venv.observation_space,
        action_space=venv.action_space,
        rng=rng,
        policy=policy(venv),
        batch_size=ASK["batch"],
        optimizer_kwargs={"lr": ASK["lr"]},
        device="cpu",
        custom_logger=quiet,
    )
    trainer = SimpleDAggerTrainer(
        venv=venv,
        scratch_dir=str(folder),
        expert_policy=Controller(venv.observation_space, venv.action_space),
        rng=rng,
        bc_trainer=cloner,
        beta_schedule=LinearBetaSchedule(ASK["rounds"]),
        custom_logger=quiet,
    )

    def count() -> None:
        steps[0] += 1

    options = {
        "n_epochs": ASK["epochs"],
        "progress_bar": False,
        "on_batch_end": count,
        "log_rollouts_venv": None,
    }
    trainer.train(
        ASK["rounds"] * ASK["steps"],
        rollout_round_min_episodes=ASK["episodes"],
        rollout_round_min_timesteps=ASK["steps"],
        bc_train_kwargs=options,
    )
    LAST[:] = [cloner.policy.eval()]
    return [sum(len(t) for t in trainer._all_demos), steps[0]]


def returns(_: int) -> dict[str, list[float]]:
    """The return of the last run's policy, and of the expert, on every seed."""
    env = gym.make("Pendulum-v1")
    both = {"policy": LAST[0], "expert": Controller(env.observation_space, env.action_space)}
    return {k: [episode(env, p, seed) for seed in ASK["seeds"]] for k, p in both.items()}


def main() -> None:
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    packages = versions("imitation", "stable-baselines3", "gymnasium", "torch", "numpy")
    serve({"rounds": rounds, "returns": returns}, packages)


main()
