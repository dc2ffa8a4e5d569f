"""Plain PyTorch as its manual has it: nn.Sequential, autograd, fused Adam. The reference without our tricks.

The data are normalised once, before the first step; a batch is drawn from a permutation and gathered.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from worker import latency, serve, spec, versions

ASK = spec()
ACTIVATION = {"relu": nn.ReLU, "tanh": nn.Tanh}[ASK["activation"]]
LOW, HIGH = ASK["log_std"]


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with np.load(ASK["data"]) as file:
        obs, action = torch.from_numpy(file["obs"][file["acted"]]), torch.from_numpy(file["action"])
    raw = obs[:512].numpy()
    mean, std, action_mean, action_std = obs.mean(0), obs.std(0), action.mean(0), action.std(0)
    obs, action = (obs - mean) / std, (action - action_mean) / action_std
    sizes = [obs.shape[1], *ASK["hidden"]]
    layers = [m for i, o in pairwise(sizes) for m in (nn.Linear(i, o), ACTIVATION())]
    net = nn.Sequential(*layers, nn.Linear(sizes[-1], 2 * action.shape[1]))
    adam = torch.optim.Adam(net.parameters(), lr=ASK["lr"], fused=True)
    batch = ASK["batch"]
    order, at = torch.randperm(len(action)), 0

    def run(steps: int) -> float:
        nonlocal order, at
        loss = torch.zeros(())
        for _ in range(steps):
            if at + batch > len(order):
                order, at = torch.randperm(len(order)), 0
            rows = order[at : at + batch]
            at += batch
            centre, spread = net(obs[rows]).chunk(2, -1)
            log_std = LOW + 0.5 * (HIGH - LOW) * (spread.tanh() + 1)
            nll = 0.5 * ((action[rows] - centre) * (-log_std).exp()).square() + log_std
            loss = (nll.sum(-1) + 0.5 * action.shape[1] * math.log(2 * math.pi)).mean()
            adam.zero_grad(set_to_none=True)
            loss.backward()
            adam.step()
        return loss.item()

    @torch.inference_mode()
    def act(x: np.ndarray) -> np.ndarray:
        centre, _ = net((torch.from_numpy(x) - mean) / std).chunk(2, -1)
        return (centre * action_std + action_mean).numpy()

    runs = {"step": run, "act": lambda n: latency(act, raw, n)}
    serve(runs, versions("torch", "numpy"), parameters=sum(p.numel() for p in net.parameters()))


main()
