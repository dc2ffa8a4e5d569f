"""`imitation` as documented: flattened trajectories, the default loader, an ActorCriticPolicy."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import torch
from imitation.algorithms import bc
from imitation.data.rollout import flatten_trajectories
from imitation.data.types import Trajectory
from imitation.util import logger
from stable_baselines3.common.policies import ActorCriticPolicy
from worker import latency, serve, spec, versions

ASK = spec()


def trajectories() -> list[Trajectory]:
    with np.load(ASK["data"]) as file:
        obs, action, length = file["obs"], file["action"], file["length"]
    ends = np.cumsum(length)
    return [
        Trajectory(obs[e - n + i : e + i + 1], action[e - n : e], infos=None, terminal=False)
        for i, (e, n) in enumerate(zip(ends, length, strict=True))
    ]


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    steps = flatten_trajectories(trajectories())
    seen, done = (gym.spaces.Box(-np.inf, np.inf, x.shape[1:], np.float32) for x in (steps.obs, steps.acts))
    trainer = bc.BC(
        observation_space=seen,
        action_space=done,
        rng=np.random.default_rng(0),
        policy=ActorCriticPolicy(seen, done, lambda _: ASK["lr"], net_arch=list(ASK["hidden"])),
        demonstrations=steps,
        batch_size=ASK["batch"],
        optimizer_kwargs={"lr": ASK["lr"]},
        device="cpu",
        custom_logger=logger.configure(ASK["folder"], []),
    )
    policy = trainer.policy.eval()
    runs = {
        "step": lambda n: trainer.train(n_batches=n, progress_bar=False),
        "act": lambda n: latency(lambda x: policy.predict(x, deterministic=True), steps.obs[:512], n),
    }
    packages = versions("imitation", "stable-baselines3", "gymnasium", "torch", "numpy")
    serve(runs, packages, parameters=sum(p.numel() for p in policy.parameters()))


main()
