"""Ours, through its public names: Dataset, Agent, and the learner of bc in the settings of `train`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from worker import latency, serve, spec, versions

from understudy import Agent, Dataset
from understudy.heads import Gaussian, Mixture
from understudy.learn import bc
from understudy.nets import MLP
from understudy.runtime import tuned

ASK = spec()


def dataset() -> Dataset:
    with np.load(ASK["data"]) as file:
        seen = {k.removeprefix("obs."): file[k] for k in file.files if k.startswith("obs.")}
        return Dataset.from_columns(seen, file["action"], file["length"])


class PlainGather:
    """One `take` a column as it lies, with no care for where episodes end and nothing masked."""

    def __init__(self, history: int, horizon: int) -> None:
        with np.load(ASK["data"]) as file:
            self.obs = {k: file[k] for k in file.files if k.startswith("obs.")}
            self.action, self.state = file["action"], np.flatnonzero(file["acted"])
        self.past, self.ahead = np.arange(1 - history, 1), np.arange(horizon)
        # Rows that would leave the columns altogether are moved inside before anything is timed.
        self.state = np.maximum(self.state, history - 1)
        self.step = np.minimum(np.arange(len(self.action)), len(self.action) - horizon)

    def batch(self, index: NDArray[np.int64]) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32]]:
        seen, done = self.state[index], self.step[index]
        if len(self.past) > 1:
            seen = seen[:, None] + self.past
        if len(self.ahead) > 1:
            done = done[:, None] + self.ahead
        return {k: v.take(seen, 0) for k, v in self.obs.items()}, self.action.take(done, 0)


def main() -> None:
    data = dataset()
    head = Mixture(ASK["components"]) if ASK["head"] == "mixture" else Gaussian(log_std=tuple(ASK["log_std"]))
    trunk = MLP(tuple(ASK["hidden"]), ASK["activation"])
    history, horizon = ASK.get("history", 1), ASK.get("horizon", 1)
    agent = Agent.build(data, trunk, head, history=history, horizon=horizon)
    learner = bc.Learner(agent, data, bc.Config(batch=ASK["batch"], learning_rate=ASK["lr"]))
    windows, plain = data.windows(history, horizon), PlainGather(history, horizon)
    draws = np.random.default_rng(0).integers(len(windows), size=(64, ASK["batch"]))
    # As an environment gives them: arrays of their own.
    inputs = [{k: v[0].copy() for k, v in e.obs.items()} for e in data[:32]]

    def step(n: int) -> float:
        for _ in range(n - 1):
            learner.step()
        return learner.step()["loss"]

    def load(n: int) -> None:
        for i in range(n):
            windows.batch(draws[i % len(draws)])

    def gather(n: int) -> None:
        for i in range(n):
            plain.batch(draws[i % len(draws)])

    runs = {"step": step, "load": load, "gather": gather, "act": lambda n: latency(agent.act, inputs, n)}
    with tuned(threads=1):
        serve(runs, versions("torch", "numpy"), parameters=sum(p.numel() for p in agent.parameters()))


main()
