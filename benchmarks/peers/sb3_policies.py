"""Makes the Stable-Baselines3 files that the tests read, with that library's own answers beside them.

Run with the peer's Python, which has Stable-Baselines3 (ours has not):

    .peers/imitation/bin/python benchmarks/peers/sb3_policies.py

Every policy is trained for a few hundred steps, so that no bias is zero, and asked for its deterministic
action for 32 observations. The networks are small because the files are kept in the repository.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

OUT = Path(__file__).parents[2] / "tests" / "data" / "sb3"
ASKED = 32


class Rooms(gymnasium.Env):  # type: ignore[type-arg]
    """Several observations of several shapes; the reward depends on all of them and on the choice."""

    observation_space = spaces.Dict(
        {
            "observation": spaces.Box(-2, 2, (3,)),
            "goal": spaces.Box(-1, 1, (2, 2)),
            "mode": spaces.Discrete(3),
        }
    )
    action_space = spaces.Discrete(4)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.obs, self.left = self.observation_space.sample(), 20
        return self.obs, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        paid = float((int(self.obs["mode"]) + (self.obs["goal"].sum() > 0)) % 4 == int(action))
        self.obs, self.left = self.observation_space.sample(), self.left - 1
        return self.obs, paid, False, self.left == 0, {}


class Lopsided(gymnasium.Env):  # type: ignore[type-arg]
    """Actions whose bounds are not symmetric and not alike, and far from the network's own [-1, 1]."""

    observation_space = spaces.Box(-3, 3, (4,))
    action_space = spaces.Box(
        np.array([-1.0, 0.1, -30.0], np.float32), np.array([3.0, 0.3, 10.0], np.float32)
    )
    wanted: ClassVar[Any] = np.array([2.5, 0.12, 5.0])

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.left = 50
        return self.np_random.uniform(-3, 3, 4).astype(np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.left -= 1
        paid = -float((((action - self.wanted) / [2.0, 0.1, 20.0]) ** 2).sum())
        return self.np_random.uniform(-3, 3, 4).astype(np.float32), paid, False, self.left == 0, {}


def policies() -> dict[str, Any]:
    """Name -> a trained model."""
    cpu: dict[str, Any] = {"seed": 0, "device": "cpu"}
    small: dict[str, Any] = {"net_arch": [8, 6]}
    wide = {"net_arch": {"pi": [10], "vf": [4]}, "activation_fn": torch.nn.ReLU}
    off: dict[str, Any] = {"learning_starts": 64, "buffer_size": 1000, "train_freq": 4, **cpu}
    onwards: dict[str, Any] = {"n_steps": 128, "batch_size": 32, "learning_rate": 3e-3, **cpu}
    normalised = VecNormalize(DummyVecEnv([lambda: gymnasium.make("Pendulum-v1")]))
    squashed = {"net_arch": [8], "squash_output": True}
    models = {
        "ppo_tanh": PPO("MlpPolicy", "Pendulum-v1", policy_kwargs={**small}, **onwards),
        "ppo_relu": PPO("MlpPolicy", Lopsided(), policy_kwargs=wide, **onwards),
        "ppo_linear": PPO("MlpPolicy", "CartPole-v1", policy_kwargs={"net_arch": []}, **onwards),
        "ppo_normalised": PPO("MlpPolicy", normalised, policy_kwargs={**small}, **onwards),
        "ppo_gsde": PPO("MlpPolicy", Lopsided(), use_sde=True, policy_kwargs=squashed, **onwards),
        "a2c_dict": A2C("MultiInputPolicy", Rooms(), policy_kwargs={**small}, **cpu),
        "sac": SAC("MlpPolicy", Lopsided(), policy_kwargs={**small}, **off),
        "sac_gsde": SAC("MlpPolicy", Lopsided(), use_sde=True, policy_kwargs={"net_arch": [6]}, **off),
        "td3": TD3("MlpPolicy", Lopsided(), policy_kwargs={**small, "activation_fn": torch.nn.ELU}, **off),
        "dqn": DQN("MlpPolicy", "CartPole-v1", policy_kwargs={**small}, **off),
    }
    for model in models.values():
        model.learn(512)
    return models


def observations(space: Any) -> list[Any]:
    """Observations well inside what can be seen: CartPole's own bounds are beyond every episode."""
    space.seed(1)
    if isinstance(space, spaces.Dict):
        return [space.sample() for _ in range(ASKED)]
    reach = np.minimum(space.high, 3.0)
    return list(np.random.default_rng(1).uniform(-reach, reach, (ASKED, *space.shape)).astype(np.float32))


def listed(value: Any) -> Any:
    """As JSON holds it."""
    return {k: listed(v) for k, v in value.items()} if isinstance(value, dict) else np.asarray(value).tolist()


def main() -> None:
    """Writes the files and `answers.json`."""
    OUT.mkdir(parents=True, exist_ok=True)
    answers = {}
    for name, model in policies().items():
        model.save(OUT / f"{name}.zip")
        asked = observations(model.observation_space)
        norm = model.get_vec_normalize_env()
        seen = asked if norm is None else [norm.normalize_obs(o) for o in asked]
        said = [model.predict(o, deterministic=True)[0] for o in seen]
        answers[name] = {"obs": [listed(dict(o) if isinstance(o, dict) else o) for o in asked]}
        answers[name]["action"] = listed(np.stack(said))
        if norm is not None:
            answers[name] |= {"mean": listed(norm.obs_rms.mean), "var": listed(norm.obs_rms.var)}
        print(
            f"{name}: {(OUT / f'{name}.zip').stat().st_size} bytes, actions {np.unique(np.stack(said))[:4]}"
        )
    (OUT / "answers.json").write_text(json.dumps(answers) + "\n")


if __name__ == "__main__":
    main()
