"""Stable-Baselines3's PPO with the same numbers, on the same environments, measured by the same rollouts."""

from __future__ import annotations

import gymnasium
import torch
from sb3 import ASK, work  # it makes the package findable, so it comes first
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env


def main() -> None:
    torch.set_num_threads(1)
    c = ASK["learner"]
    envs = make_vec_env(lambda: gymnasium.make(ASK["id"]), ASK["envs"], seed=ASK["seed"])
    model = PPO(
        "MlpPolicy", envs, seed=ASK["seed"], n_steps=ASK["rollout"], batch_size=c["minibatch"],
        n_epochs=c["epochs"], learning_rate=c["learning_rate"], gamma=c["discount"], gae_lambda=c["trace"],
        clip_range=c["clip"], max_grad_norm=c["gradient_norm"],
        policy_kwargs={"net_arch": list(c["hidden"])}, device="cpu",
    )  # fmt: skip
    work(model)


main()
