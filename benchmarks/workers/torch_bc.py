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


class Products:
    """The matrix products that a step cannot do without, for one linear layer, each in its fastest form."""

    def __init__(self, width_in: int, width_out: int, batch: int, *, first: bool) -> None:
        self.x, self.y = torch.randn(batch, width_in), torch.randn(batch, width_out)
        self.weight, self.first = torch.randn(width_out, width_in), first
        self.out, self.back = torch.empty(batch, width_out), torch.empty(batch, width_in)
        self.turned = width_in < width_out  # the narrow side on the left is several times faster
        self.grad = torch.empty(width_in, width_out) if self.turned else torch.empty(width_out, width_in)

    def run(self) -> None:
        """Forward, the gradient of the weight, and that of the input but for the first layer."""
        torch.mm(self.x, self.weight.t(), out=self.out)
        left, right = (self.x, self.y) if self.turned else (self.y, self.x)
        torch.mm(left.t(), right, out=self.grad)
        if not self.first:
            torch.mm(self.y, self.weight, out=self.back)


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
    with torch.no_grad():
        net[-1].weight *= 0.01
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

    products = [
        Products(i, o, batch, first=n == 0)
        for n, (i, o) in enumerate(pairwise([*sizes, net[-1].out_features]))
    ]

    @torch.inference_mode()
    def arithmetic(steps: int) -> None:
        for _ in range(steps):
            for product in products:
                product.run()

    runs = {"step": run, "products": arithmetic, "act": lambda n: latency(act, raw, n)}
    serve(runs, versions("torch", "numpy"), parameters=sum(p.numel() for p in net.parameters()))


main()
