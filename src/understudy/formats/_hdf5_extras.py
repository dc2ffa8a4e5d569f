"""A group of our own in an HDF5 file, for what its layout has no place for; other tools pass over it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from understudy.episode import Array, Episode, Meta
from understudy.formats._facts import Facts, extras_of, facts_of, rebuilt
from understudy.formats._hdf5 import Opened
from understudy.storage.files import DataError

__all__ = ["OURS", "Extras", "write_extras"]

OURS = "understudy"


def write_extras(
    group: Any, e: Episode, names: dict[str, str], *, final: bool = True, made_up: tuple[str, ...] = ()
) -> None:
    """Puts into a group of ours what is needed to read exactly `e` again.

    Args:
        names: observation -> name in the file.
        final: whether the state after the last action belongs to that.
        made_up: names in the file that stand for no observation.
    """
    ours = group.create_group(OURS)
    said = {
        "version": 1,
        "facts": json.loads(facts_of(e).text),
        "names": {name: key for key, name in names.items()},
        "made_up": made_up,
        "discrete": e.action.dtype == np.int64,
    }
    ours.create_dataset("facts", data=np.frombuffer(json.dumps(said).encode(), np.uint8))
    for name, column in extras_of(e).items():
        ours.create_dataset(name, data=column.astype(np.uint8) if column.dtype == np.bool_ else column)
    if final:
        last = ours.create_group("final")
        for key, name in names.items():
            last.create_dataset(name, data=np.asarray(e.obs[key][-1:]))


class Extras:
    """What `write_extras` left in a group, if it did.

    Attributes:
        ours: whether it did.
        made_up: names in the file that stand for no observation.
    """

    def __init__(self, group: Opened) -> None:
        self._group = group.group(OURS)
        self.ours = self._group is not None
        self.made_up: tuple[str, ...] = ()
        if self._group is None:
            return
        match json.loads(self._group.array("facts").astype(np.uint8).tobytes()):
            case {"version": 1, "facts": facts, "names": dict(names), "made_up": list(made_up), **rest}:
                self._facts = Facts.parse(facts)
                self._names = {str(k): str(v) for k, v in names.items()}
                self.made_up = tuple(map(str, made_up))
                self._discrete = bool(rest.get("discrete"))
            case _:
                raise DataError("what understudy noted in it is damaged, or of a later version")

    def key(self, name: str) -> str:
        """The observation that a name in the file stands for."""
        return self._names.get(name, name) if self.ours else name

    def final(self, name: str) -> Array | None:
        """The state [1, ...] after the last action, where it was kept here."""
        last = None if self._group is None else self._group.group("final")
        return last.array(name) if last is not None and name in last else None

    def episode(
        self,
        obs: dict[str, Array],
        action: Array,
        reward: Array | None,
        *,
        terminated: bool = False,
        success: bool | None = None,
        meta: Meta | None = None,
    ) -> Episode:
        """The episode: with what is kept here, or, where another tool wrote the file, with what is given."""
        action = action[:, None] if action.ndim == 1 else action
        paid = np.zeros(len(action), np.float32) if reward is None else reward.reshape(-1)
        if self._group is None:
            return Episode.demonstration(obs, action, paid, terminated=terminated, success=success, meta=meta)
        obs = {key: obs[key] for key in [*self._names.values(), *obs] if key in obs}  # in their old order
        if self._discrete:
            action = action.astype(np.int64)
        kept = {name: self._group.array(name) for name in self._facts.extras}
        if "labelled" in kept:
            kept["labelled"] = kept["labelled"] != 0
        return rebuilt(obs, action, paid, self._facts, kept)
