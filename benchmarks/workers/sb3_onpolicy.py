"""Stable-Baselines3's PPO with the same numbers, on the same environments, measured by the same rollouts.

Its package comes from the environment of the peer, all else from this one: both see the same Gymnasium and
the same simulator.
"""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import torch
from worker import serve, spec, versions

from understudy.envs import task
from understudy.rollout import rollouts

ASK = spec()
# Its video recorder, which nothing here uses, imports what newer Gymnasium has no more.
_gone: Any = ModuleType("gymnasium.wrappers.monitoring")
_gone.video_recorder = SimpleNamespace(VideoRecorder=object)
sys.modules["gymnasium.wrappers.monitoring"] = _gone
sys.path.append(ASK["packages"])

from stable_baselines3 import PPO, __version__  # noqa: E402
from stable_baselines3.common.env_util import make_vec_env  # noqa: E402


class Mode:
    """Its deterministic action, as one of our policies."""

    name = "stable-baselines3"

    def __init__(self, model: PPO) -> None:
        self._model = model

    def reset(self, seed: int) -> None:
        """Nothing is drawn."""

    def act(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        return self._model.predict(obs["state"], deterministic=True)[0]


def main() -> None:
    torch.set_num_threads(1)
    t, c = task(ASK["task"]), ASK["learner"]
    envs = make_vec_env(lambda: gymnasium.make(ASK["id"]), ASK["envs"], seed=ASK["seed"])
    model = PPO(
        "MlpPolicy", envs, seed=ASK["seed"], n_steps=ASK["rollout"], batch_size=c["minibatch"],
        n_epochs=c["epochs"], learning_rate=c["learning_rate"], gamma=c["discount"], gae_lambda=c["trace"],
        clip_range=c["clip"], max_grad_norm=c["gradient_norm"],
        policy_kwargs={"net_arch": list(c["hidden"])}, device="cpu",
    )  # fmt: skip

    def practise(steps: int) -> None:
        model.learn(steps, reset_num_timesteps=False)

    def measure(episodes: int) -> list[float]:
        seeds = range(ASK["first_seed"], ASK["first_seed"] + episodes)
        return [e.total_reward for e in rollouts(t.make, Mode(model), seeds)]

    packages = versions("torch", "numpy", "gymnasium", "mujoco") | {"stable-baselines3": __version__}
    serve({"practise": practise, "measure": measure}, packages)


main()
