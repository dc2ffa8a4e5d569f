"""`imitation`'s MCEIRL on the worlds in files, with a reward that is linear in the features."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import numpy as np
import torch
from imitation.algorithms.mce_irl import MCEIRL
from imitation.rewards.reward_nets import BasicRewardNet
from imitation.util import logger
from seals.base_envs import TabularModelPOMDP
from worker import serve, spec, versions

ASK = spec()


def read(path: str) -> tuple[TabularModelPOMDP, np.ndarray]:
    """A world and the demonstrated state occupancy, over its horizon and the state after it, as is asked."""
    with np.load(path, allow_pickle=False) as f:
        env = TabularModelPOMDP(
            transition_matrix=f["transition"],
            observation_matrix=f["features"].astype(np.float32),
            reward_matrix=f["reward"],
            horizon=int(f["horizon"]),
            initial_state_dist=f["initial"],
        )
        return env, f["states_and_last"]


def fit(env: TabularModelPOMDP, states: np.ndarray, rate: float, limit: int) -> dict[str, Any]:
    """Until its own criterion is met, an error of 1e-3, or the limit of iterations."""
    torch.manual_seed(0)
    net = BasicRewardNet(
        env.observation_space,
        env.action_space,
        use_action=False,
        use_next_state=False,
        use_done=False,
        hid_sizes=[],
    )
    irl = MCEIRL(
        states,
        env,
        net,
        np.random.default_rng(0),
        optimizer_kwargs={"lr": rate},
        log_interval=None,
        custom_logger=logger.configure(None, []),
    )
    steps = [0]
    step = irl._train_step

    def counted(obs: torch.Tensor) -> Any:
        steps[0] += 1
        return step(obs)

    irl._train_step = counted
    visited = irl.train(max_iter=limit)
    with torch.no_grad():
        seen = torch.as_tensor(env.observation_matrix)
        reward = net(seen, None, None, None).double().numpy()
    error = float(np.abs(visited - states).max())
    return {"reward": reward.tolist(), "passes": steps[0], "own_error": error}


def main() -> None:
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    runs = {}
    for name, path in ASK["worlds"].items():
        for rate in ASK["rates"]:
            runs[f"{name}, lr {rate}"] = partial(fit, *read(path), float(rate))
    serve(runs, versions("imitation", "seals", "torch", "numpy", "scipy"))


main()
