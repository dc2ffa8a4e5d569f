"""Datasets changed on disk: chosen, trimmed, split, merged, renamed, relabelled. Never the source. No torch.

>>> import tempfile
>>> import numpy as np
>>> from understudy import editing, storage
>>> from understudy.episode import Episode
>>> one = Episode.demonstration(np.zeros((3, 2)), np.zeros((2, 1)))
>>> folder = tempfile.mkdtemp()
>>> storage.write(f"{folder}/all", [one, one, one])
>>> editing.delete(f"{folder}/all", [1], out=f"{folder}/some").episodes
2
"""

from __future__ import annotations

from understudy.editing.edits import (
    delete,
    drop,
    merge,
    parts_by_fact,
    parts_by_fraction,
    recompute_statistics,
    rename,
    select,
    set_fact,
    split,
    trim,
)
from understudy.editing.episodes import Success, renamed, selected, trimmed, with_fact, without
from understudy.editing.folders import Edited

__all__ = [
    "Edited",
    "Success",
    "delete",
    "drop",
    "merge",
    "parts_by_fact",
    "parts_by_fraction",
    "recompute_statistics",
    "rename",
    "renamed",
    "select",
    "selected",
    "set_fact",
    "split",
    "trim",
    "trimmed",
    "with_fact",
    "without",
]
