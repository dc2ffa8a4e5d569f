"""Agents from files and from other processes. A description names kinds in a table; it never runs code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from understudy import heads, nets
from understudy.actions import ChunkFrame
from understudy.agent.agent import DESCRIPTION, FORMAT, VERSION, WEIGHTS, Agent, check_state
from understudy.agent.normalize import Columns, Normalizer
from understudy.episode import Array
from understudy.serial import from_spec, of_version, parse, read_described

__all__ = ["load"]


def load(folder: str | Path) -> Agent:
    """The agent in a folder written by `Agent.save`, equal to the last bit.

    Raises:
        FileNotFoundError: when one of the two files is missing.
        CorruptFile: a ValueError, when a file is damaged, the two do not belong together, or they hold
            what this version does not understand.
    """
    return read_described(Path(folder) / DESCRIPTION, Path(folder) / WEIGHTS, from_description)


def rebuilt(description: Mapping[str, Any], state: Mapping[str, Array]) -> Agent:
    """An agent that has travelled between processes."""
    return from_description(description, {k: torch.tensor(v) for k, v in state.items()})


def from_description(description: Mapping[str, Any], state: Mapping[str, Any]) -> Agent:
    """An agent from JSON and tensors: every tensor must be there with its shape and dtype, and no other.

    Raises:
        ValueError: naming what is wrong.
    """
    d = of_version(dict(description), FORMAT, VERSION)
    names = {"history", "horizon", "obs", "action", "trunk", "head", "bounded"}
    frame = None if "frame" not in d else ChunkFrame.parse(d.pop("frame"))
    if d.keys() != names:
        raise ValueError(f"the description has {sorted(d)}; it must have {sorted(names)}")
    for name, kind in (("history", int), ("horizon", int), ("bounded", bool), ("obs", dict)):
        if type(d[name]) is not kind:
            raise ValueError(f"{name} is {d[name]!r}; it must be {kind.__name__}")
    obs = {k: parse(Columns, v, f"obs.{k}") for k, v in d["obs"].items()}
    action = parse(Columns, d["action"], "action")
    trunk = from_spec(nets.KINDS, d["trunk"], "trunk")
    head = from_spec(heads.KINDS, d["head"], "head")
    try:
        with torch.device("meta"):  # shapes alone: a description cannot make this machine allocate
            blank = {k: _blank(c) for k, c in obs.items()}
            agent = Agent(blank, _blank(action), trunk, head, d["history"], d["horizon"], frame=frame)
            if d["bounded"] and frame is not None:
                raise ValueError("relative actions have no bounds, but bounded is True")
            if d["bounded"]:
                agent.low, agent.high = torch.empty(action.shape), torch.empty(action.shape)
    except (RuntimeError, OverflowError):  # PyTorch, when a number of elements does not fit 64 bits
        raise ValueError("the description asks for tensors larger than any memory") from None
    check_state(agent.state_dict(), state)
    agent.load_state_dict(dict(state), assign=True)
    return agent


def _blank(columns: Columns) -> Normalizer:
    return Normalizer(columns, torch.empty(columns.statistics), torch.empty(columns.statistics))
