"""Trunks: observation tensors to tokens [B, N, F]. They know nothing of episodes and environments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from understudy.nets.base import Trunk, TrunkConfig
from understudy.nets.ensemble import EnsembleTrunk, MLPEnsemble
from understudy.nets.mlp import MLP, MLPTrunk

__all__ = ["KINDS", "MLP", "EnsembleTrunk", "MLPEnsemble", "MLPTrunk", "Trunk", "TrunkConfig"]

KINDS: Mapping[str, type[Any]] = {c.kind: c for c in (MLP, MLPEnsemble)}  # all that a saved agent may name
