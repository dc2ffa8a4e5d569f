"""What workers around Stable-Baselines3 share: its package, its policies as ours, and the answers they give.

Its package comes from the environment of the peer, all else from this one: both see the same Gymnasium and
the same simulator.
"""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from worker import serve, spec, versions

from understudy.envs import task
from understudy.rollout import rollouts

ASK = spec()
# Its video recorder, which nothing here uses, imports what newer Gymnasium has no more.
_gone: Any = ModuleType("gymnasium.wrappers.monitoring")
_gone.video_recorder = SimpleNamespace(VideoRecorder=object)
sys.modules["gymnasium.wrappers.monitoring"] = _gone
sys.path.append(ASK["packages"])

from stable_baselines3 import __version__  # noqa: E402
from stable_baselines3.common.base_class import BaseAlgorithm  # noqa: E402


class Mode:
    """Its deterministic action, as one of our policies."""

    name = "stable-baselines3"

    def __init__(self, model: BaseAlgorithm) -> None:
        self._model = model

    def reset(self, seed: int) -> None:
        """Nothing is drawn."""

    def act(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        return self._model.predict(obs["state"], deterministic=True)[0]


def work(model: BaseAlgorithm) -> None:
    """Answers: practising goes on from where it was, and measuring takes the policy's mode on fresh seeds."""
    t = task(ASK["task"])

    def practise(steps: int) -> None:
        model.learn(steps, reset_num_timesteps=False)

    def measure(episodes: int) -> list[float]:
        seeds = range(ASK["first_seed"], ASK["first_seed"] + episodes)
        return [e.total_reward for e in rollouts(t.make, Mode(model), seeds)]

    packages = versions("torch", "numpy", "gymnasium", "mujoco") | {"stable-baselines3": __version__}
    serve({"practise": practise, "measure": measure}, packages)
