"""Trunks: observation tensors to tokens [B, N, F]. They know nothing of episodes and environments."""

from __future__ import annotations

from collections.abc import Mapping

from understudy.nets.base import Trunk, TrunkConfig
from understudy.nets.mlp import MLP, MLPTrunk

__all__ = ["KINDS", "MLP", "MLPTrunk", "Trunk", "TrunkConfig"]

KINDS: Mapping[str, type[MLP]] = {MLP.kind: MLP}  # the only names that a saved agent may give
