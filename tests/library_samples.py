"""Datasets for the tests of the studio's library: small, and made the same each time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from understudy import storage
from understudy.envs import task
from understudy.episode import EXPERT, POLICY, Episode
from understudy.record import demonstrate


def walk(seed: int, steps: int = 30, **facts: str | int | float) -> Episode:
    """A random walk that is steered: state [T + 1, 2], action [T, 2]."""
    rng = np.random.default_rng(seed)
    action = rng.uniform(-1, 1, (steps, 2)).astype(np.float32)
    state = np.concatenate([np.zeros((1, 2), np.float32), np.cumsum(action, 0, dtype=np.float32)])
    meta = {"task": "walk about", "operator": f"op{seed % 2}", "seed": seed, **facts}
    return Episode.demonstration(state, action, success=seed % 3 != 0, meta=meta)


def corrected(seed: int) -> Episode:
    """A walk of 20 steps in which the operator took over twice: steps 5 to 8, and the last 3."""
    e = walk(seed, 20)
    control = np.full(20, POLICY, np.uint8)
    control[5:9] = control[17:] = EXPERT
    spoke = control == EXPERT
    label = np.where(spoke[:, None], np.clip(e.action + 0.25, -1, 1), e.action)
    return replace(e, control=control, labelled=spoke, label=label)


def filmed(seed: int, steps: int = 6) -> Episode:
    """A walk with a colour camera whose picture brightens with the steps, and a grey one."""
    e = walk(seed, steps)
    front = np.zeros((steps + 1, 24, 32, 3), np.uint8)
    front[..., 0] = (np.arange(steps + 1) * 30)[:, None, None]
    grey = np.full((steps + 1, 16, 16, 1), 200, np.uint8)
    return replace(e, obs={**e.obs, "front": front, "wrist": grey})


def walks(folder: Path, count: int = 6, steps: int = 30) -> Path:
    """A dataset of walks."""
    storage.write(folder, [walk(i, steps) for i in range(count)], fps=10)
    return folder


def pushes(folder: Path, count: int = 3) -> Path:
    """Demonstrations of fetch-push by its scripted expert."""
    which = task("fetch-push")
    with storage.Writer(folder, fps=which.fps) as writer:
        demonstrate(which, range(count), writer=writer)
    return folder
