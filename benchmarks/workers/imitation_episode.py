"""One episode of a Stable-Baselines3 policy by its mode, for workers in `imitation`'s environment."""

from __future__ import annotations

import gymnasium as gym
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy


def episode(env: gym.Env, acts: BasePolicy | BaseAlgorithm, seed: int) -> float:
    """Its return."""
    obs, _ = env.reset(seed=seed)
    total, done = 0.0, False
    while not done:
        action, _ = acts.predict(obs, deterministic=True)
        obs, reward, terminated, truncated, _ = env.step(action)
        total, done = total + float(reward), terminated or truncated
    return total
