"""One member, an ensemble, and its two rivals: separate learners in a loop, and torch.func.vmap."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from worker import latency, serve, spec, versions

from understudy import Agent, Dataset
from understudy.agent import doubt
from understudy.heads import Deterministic, Members
from understudy.learn import bc
from understudy.nets import MLP, MLPEnsemble
from understudy.runtime import tuned

ASK = spec()
HIDDEN, MEMBERS, BATCH = tuple(ASK["hidden"]), ASK["members"], ASK["batch"]


class Mapped:
    """As PyTorch's tutorial on model ensembling has it: stacked modules, vmap over grad, one fused Adam.

    All that our step does is done, the resamples included; observations are normalised beforehand.
    """

    def __init__(self, data: Dataset) -> None:
        acts = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU, "silu": nn.SiLU}
        windows = data.windows()
        batch = windows.batch(np.arange(len(windows)))
        obs, action = torch.from_numpy(batch.obs["state"][:, 0]), torch.from_numpy(batch.action[:, 0])
        self.obs, self.action = (obs - obs.mean(0)) / obs.std(0), (action - action.mean(0)) / action.std(0)
        counts = torch.multinomial(torch.ones(MEMBERS, len(obs)), len(obs), replacement=True)
        self.counts = torch.zeros(MEMBERS, len(obs)).scatter_add_(1, counts, torch.ones(MEMBERS, len(obs)))
        sizes = (obs.shape[1], *HIDDEN)
        nets = [
            nn.Sequential(
                *(
                    m
                    for i, o in zip(sizes, HIDDEN, strict=False)
                    for m in (nn.Linear(i, o), acts[ASK["activation"]]())
                ),
                nn.Linear(sizes[-1], action.shape[1]),
            )
            for _ in range(MEMBERS)
        ]
        self.params, _ = stack_module_state(nets)  # type: ignore[arg-type]
        self.adam = torch.optim.Adam(self.params.values(), lr=ASK["lr"], fused=True)
        body = nets[0]

        def loss(params, x, a, count):  # type: ignore[no-untyped-def]
            return ((functional_call(body, params, (x,)) - a).square().sum(-1) * count).mean()

        self.gradient = vmap(grad_and_value(loss), in_dims=(0, None, None, 0))
        self.order, self.at = torch.randperm(len(obs)), 0

    def step(self) -> float:
        if self.at + BATCH > len(self.order):
            self.order, self.at = torch.randperm(len(self.order)), 0
        rows = self.order[self.at : self.at + BATCH]
        self.at += BATCH
        with torch.no_grad():
            grads, losses = self.gradient(
                self.params, self.obs[rows], self.action[rows], self.counts[:, rows]
            )
        for name, p in self.params.items():
            p.grad = grads[name]
        self.adam.step()
        return float(losses.mean())


def main() -> None:
    with np.load(ASK["data"]) as file:
        data = Dataset.from_columns({"state": file["obs"]}, file["action"], file["length"])
    activation = ASK["activation"]

    def learner(seed: int, members: int) -> bc.Learner:
        trunk = MLPEnsemble(members, HIDDEN, activation) if members > 1 else MLP(HIDDEN, activation)
        head = Members(members) if members > 1 else Deterministic()
        agent = Agent.build(data, trunk, head, seed=seed)
        return bc.Learner(agent, data, bc.Config(batch=BATCH, learning_rate=ASK["lr"], seed=seed))

    one, ensemble = learner(0, 1), learner(0, MEMBERS)
    alone, mapped = [learner(seed, 1) for seed in range(MEMBERS)], Mapped(data)
    inputs = [e.obs["state"][0].copy() for e in data[:32]]

    def separate(n: int) -> float:
        for _ in range(n - 1):
            for each in alone:
                each.step()
        return float(np.mean([each.step()["loss"] for each in alone]))

    def repeated(step):  # type: ignore[no-untyped-def]
        def run(n: int) -> float:
            for _ in range(n - 1):
                step()
            last = step()
            return float(last["loss"] if isinstance(last, dict) else last)

        return run

    runs = {
        "one": repeated(one.step),
        "ensemble": repeated(ensemble.step),
        "separate": separate,
        "vmap": repeated(mapped.step),
        "act": lambda n: latency(ensemble.agent.act, inputs, n),
        "doubt": lambda n: latency(lambda x: doubt(ensemble.agent, x), inputs, n),
    }
    parameters = sum(p.numel() for p in ensemble.agent.parameters())
    with tuned(threads=1):
        serve(runs, versions("torch", "numpy"), parameters=parameters)


main()
