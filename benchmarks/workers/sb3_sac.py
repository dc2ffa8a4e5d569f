"""Stable-Baselines3's SAC as documented: `SAC.train`, step after step, from its own buffer."""

from __future__ import annotations

import gymnasium
import numpy as np
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.logger import Logger
from worker import serve, spec, versions

ASK = spec()


class Nowhere(gymnasium.Env):  # type: ignore[misc]
    """Spaces and nothing behind them: only updates are timed."""

    observation_space = gymnasium.spaces.Box(-10, 10, (ASK["obs"],), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (ASK["action"],), np.float32)


def main() -> None:
    torch.set_num_threads(1)
    obs, action, rows = ASK["obs"], ASK["action"], ASK["rows"]
    net = {"net_arch": ASK["hidden"]}
    model = SAC("MlpPolicy", Nowhere(), buffer_size=rows, learning_rate=ASK["lr"], policy_kwargs=net, seed=0)
    model.set_logger(Logger(None, []))
    rng, buffer = np.random.default_rng(0), model.replay_buffer
    buffer.observations[:, 0] = rng.normal(size=(rows, obs))
    buffer.next_observations[:, 0] = rng.normal(size=(rows, obs))
    buffer.actions[:, 0] = rng.uniform(-1, 1, (rows, action))
    buffer.rewards[:, 0] = rng.normal(size=rows)
    buffer.full = True

    def run(n: int) -> float:
        model.train(n, ASK["batch"])
        return float(model.logger.name_to_value["train/critic_loss"])

    seen = rng.normal(size=obs).astype(np.float32)

    def explore(n: int) -> None:
        for _ in range(n):
            model.predict(seen, deterministic=False)

    packages = versions("torch", "numpy", "stable-baselines3", "gymnasium")
    serve({"updates": run, "explore": explore}, packages)


main()
