"""Ours: a gigabyte of demonstrations is made and stored by one process, read and learned from by another."""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np
from worker import serve, spec, versions

from understudy import Agent, Dataset, read, write
from understudy.heads import Gaussian
from understudy.learn import bc
from understudy.nets import MLP
from understudy.runtime import tuned

ASK = spec()
FOLDER = Path(ASK["folder"]) / "data"


def peak() -> float:
    """The most memory this process has held so far, in GB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def store(_: int) -> dict[str, Any]:
    """A random walk of every dimension and a linear expert, written by `write`."""
    rng = np.random.default_rng(0)
    episodes, length, obs, action = (ASK[k] for k in ("episodes", "length", "obs", "action"))
    states = np.empty((episodes * (length + 1), obs), np.float32)
    actions = np.empty((episodes * length, action), np.float32)
    gain = rng.normal(size=(obs, action)).astype(np.float32) / obs**0.5
    for i in range(episodes):
        walk = rng.standard_normal((length + 1, obs), np.float32).cumsum(0) / length**0.5
        states[i * (length + 1) : (i + 1) * (length + 1)] = walk
        actions[i * length : (i + 1) * length] = np.tanh(walk[:-1] @ gain)
    size = states.nbytes + actions.nbytes
    write(FOLDER, Dataset.from_columns({"state": states}, actions, np.full(episodes, length)))
    return {"gigabytes": size / 1e9, "peak_gb": peak()}


def learn(steps: int) -> dict[str, Any]:
    """What `train bc` does: read, split by episode, fit the normalisers, learn, and validate."""
    peaks = {"imported": peak()}
    data = read(FOLDER)
    peaks["read"] = peak()
    training, validation = data.split(0.9, seed=0)
    with tuned(threads=1):
        agent = Agent.build(training, MLP(tuple(ASK["hidden"])), Gaussian())
        learner = bc.Learner(agent, training, bc.Config(batch=ASK["batch"]))
        peaks["built"] = peak()
        for _ in range(steps):
            learner.step()
        peaks["learned"] = peak()
        learner.validation_loss(validation)
    return {"peaks_gb": peaks | {"validated": peak()}, "steps_of_data": data.steps}


serve({"store": store, "learn": learn}, versions("torch", "numpy", "pyarrow"))
