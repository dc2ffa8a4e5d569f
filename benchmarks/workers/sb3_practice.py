"""Stable-Baselines3's SAC with its defaults, on the same environments, measured by the same rollouts."""

from __future__ import annotations

import gymnasium
import torch
from sb3 import ASK, work  # it makes the package findable, so it comes first
from stable_baselines3 import SAC


def main() -> None:
    torch.set_num_threads(1)
    model = SAC("MlpPolicy", gymnasium.make(ASK["id"]), learning_starts=ASK["uniform"], seed=ASK["seed"])
    model.learn(ASK["uniform"])
    work(model)


main()
