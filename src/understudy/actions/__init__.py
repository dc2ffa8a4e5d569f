"""What actions mean, and how they become others: absolute, delta, relative to a chunk's start. NumPy only."""

from understudy.actions.chunks import ChunkFrame, ChunkRelative
from understudy.actions.convert import Conversion, convert
from understudy.actions.space import META, RECORDED, ActionSpace, Delta, Effector, Field, converted

__all__ = [
    "META",
    "RECORDED",
    "ActionSpace",
    "ChunkFrame",
    "ChunkRelative",
    "Conversion",
    "Delta",
    "Effector",
    "Field",
    "convert",
    "converted",
]
