"""Heads: tokens to actions, and the loss that teaches them. They know no episodes and no environments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from understudy.heads.base import Density, Head, HeadConfig, Readout
from understudy.heads.categorical import Categorical, CategoricalHead
from understudy.heads.deterministic import Deterministic, DeterministicHead
from understudy.heads.gaussian import Gaussian, GaussianHead
from understudy.heads.members import Members, MembersHead
from understudy.heads.mixture import Mixture, MixtureHead

__all__ = [
    "KINDS",
    "Categorical",
    "CategoricalHead",
    "Density",
    "Deterministic",
    "DeterministicHead",
    "Gaussian",
    "GaussianHead",
    "Head",
    "HeadConfig",
    "Members",
    "MembersHead",
    "Mixture",
    "MixtureHead",
    "Readout",
]

KINDS: Mapping[str, type[Any]] = {c.kind: c for c in (Deterministic, Gaussian, Mixture, Categorical, Members)}
