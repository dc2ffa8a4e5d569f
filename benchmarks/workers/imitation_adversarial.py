"""`imitation`'s GAIL and AIRL on the pendulum: whole runs, and the last policy measured."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from imitation.algorithms.adversarial.airl import AIRL
from imitation.algorithms.adversarial.gail import GAIL
from imitation.data.types import Transitions
from imitation.data.wrappers import RolloutInfoWrapper
from imitation.rewards.reward_nets import BasicRewardNet, BasicShapedRewardNet
from imitation.util import logger
from imitation.util.networks import RunningNorm
from imitation_episode import episode
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv
from worker import serve, spec, versions

ASK = spec()
KINDS = {"gail": (GAIL, BasicRewardNet), "airl": (AIRL, BasicShapedRewardNet)}
LAST: list[PPO] = []


def demonstrations(seed: int) -> Transitions:
    """The steps that our side has made for this seed."""
    with np.load(ASK["demonstrations"].format(seed=seed), allow_pickle=False) as f:
        obs, action = f["obs"], f["action"]  # [E, T + 1, O] and [E, T, A]
    episodes, steps = action.shape[:2]
    n, action = episodes * steps, action.reshape(episodes * steps, -1)
    infos, over = np.array([{}] * n), np.zeros(n, np.bool_)
    over[steps - 1 :: steps] = True
    now, then = (o.reshape(n, -1) for o in (obs[:, :-1], obs[:, 1:]))
    return Transitions(obs=now, acts=action, infos=infos, next_obs=then, dones=over)


def train(name: str, seed: int) -> int:
    """A run with that seed, as documented; the steps that it took."""
    trainer, net = KINDS[name]
    torch.manual_seed(seed)
    venv = DummyVecEnv([lambda: RolloutInfoWrapper(gym.make("Pendulum-v1"))] * ASK["envs"])
    venv.seed(seed)
    ppo = PPO(
        "MlpPolicy", venv, n_steps=ASK["rollout"], batch_size=64, n_epochs=10, learning_rate=1e-3, seed=seed,
        device="cpu",
    )  # fmt: skip
    reward = net(venv.observation_space, venv.action_space, normalize_input_layer=RunningNorm)
    made: Any = trainer(
        demonstrations=demonstrations(seed),
        demo_batch_size=1024,
        gen_replay_buffer_capacity=ASK["envs"] * ASK["rollout"],
        n_disc_updates_per_round=4,
        venv=venv,
        gen_algo=ppo,
        reward_net=reward,
        allow_variable_horizon=False,
        init_tensorboard=False,
        custom_logger=logger.configure(ASK["folder"], []),
    )
    made.train(ASK["steps"])
    LAST[:] = [ppo]
    return int(ppo.num_timesteps)


def returns(_: int) -> list[float]:
    """The return of the last run's policy, by its mode, on every seed."""
    env = gym.make("Pendulum-v1")
    return [episode(env, LAST[0], seed) for seed in ASK["seeds"]]


def main() -> None:
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    packages = versions("imitation", "stable-baselines3", "gymnasium", "torch", "numpy")
    serve({"gail": partial(train, "gail"), "airl": partial(train, "airl"), "returns": returns}, packages)


main()
