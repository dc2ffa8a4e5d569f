"""What an episode is beyond the columns that a layout has a place for: facts as JSON, and further arrays."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from understudy.episode import Array, Episode
from understudy.storage.files import DataError, guarded
from understudy.storage.tables import same_bits

__all__ = [
    "EXTRAS",
    "MOST_FACTS",
    "Facts",
    "as_rows",
    "extras_of",
    "facts_of",
    "located",
    "nonempty",
    "pieces",
    "rebuilt",
]

MOST_FACTS = 64 << 20  # bytes of JSON
EXTRAS = ("label", "labelled", "time", "control")  # what only some episodes have
_PIECE = 16 << 20


@dataclass(frozen=True)
class Facts:
    """An episode's facts, and which of `EXTRAS` are stored beside its columns."""

    terminated: bool
    success: bool | None
    meta: Mapping[str, str | int | float]
    extras: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """As one line of JSON."""
        said = {"terminated": self.terminated, "success": self.success, "meta": dict(self.meta)}
        return json.dumps(said | {"extras": list(self.extras)})

    @classmethod
    def parse(cls, said: object) -> Facts:
        """From JSON text, or from what it parses to.

        Raises:
            DataError: when it is not what `text` writes.
        """
        if isinstance(said, str | bytes):
            if len(said) > MOST_FACTS:
                raise DataError(f"an episode's facts take {len(said)} bytes; {MOST_FACTS} are the most")
            said = json.loads(said)
        match said:
            case {
                "terminated": bool(terminated),
                "success": True | False | None as success,
                "meta": dict(meta),
                "extras": list(extras),
            } if set(extras) <= set(EXTRAS):
                return cls(terminated, success, meta, tuple(extras))
        raise DataError("an episode's facts are not of the form that understudy writes")


def facts_of(e: Episode) -> Facts:
    """The facts of an episode."""
    return Facts(e.terminated, e.success, e.meta, tuple(extras_of(e)))


def extras_of(e: Episode) -> dict[str, Array]:
    """The arrays that say more than the defaults: label [T, A] where it is not the action, labelled [T] where
    some step is not, time [T + 1] where it was measured, control [T] where it was noted."""
    extras: dict[str, Array] = {}
    if not same_bits(e.label, e.action):
        extras["label"] = e.label
    if not e.labelled.all():
        extras["labelled"] = e.labelled
    if e.time is not None:
        extras["time"] = e.time
    if e.control is not None:
        extras["control"] = e.control
    return extras


def rebuilt(
    obs: Mapping[str, Array], action: Array, reward: Array, facts: Facts, extras: Mapping[str, Array]
) -> Episode:
    """The episode whose `facts_of` and `extras_of` these are. `obs` have T + 1 rows."""
    spoke = extras["labelled"] if "labelled" in extras else np.ones(len(action), np.bool_)
    label = extras.get("label", action)
    said = (facts.terminated, facts.success, facts.meta)
    return Episode(obs, action, label, spoke, reward, *said, extras.get("time"), extras.get("control"))


def as_rows(x: Array) -> Array:
    """[N] as [N, 1]; anything wider as it is."""
    return x[:, None] if x.ndim == 1 else x


def pieces(column: Any) -> Iterator[Array]:
    """The rows of a column, which may be decoded on demand, in arrays of bounded size."""
    at_once = max(1, _PIECE * len(column) // max(1, column.nbytes))
    for i in range(0, len(column), at_once):
        yield np.ascontiguousarray(column[i : i + at_once])


@contextlib.contextmanager
def located(path: object, part: str = "") -> Iterator[None]:
    """As `guarded`, and an error that does not name the file is made to, with the part that is being read."""
    try:
        with guarded(f"{path}: {part}" if part else path):
            yield
    except DataError as e:
        if str(path) in str(e):
            raise
        raise DataError(f"{path}: {part + ': ' if part else ''}{e}") from e.__cause__


def nonempty(episodes: Iterable[Episode]) -> Iterator[Episode]:
    """The episodes, checked to be alike.

    Raises:
        DataError: when there are none, or one has other observations or another action than the first.
    """
    want: dict[str, Any] | None = None
    for i, e in enumerate(episodes):
        have: dict[str, Any] = {f"obs[{k!r}]": (str(v.dtype), v.shape[1:]) for k, v in e.obs.items()}
        have["action"] = (str(e.action.dtype), e.action.shape[1:])
        want = have if want is None else want
        if have != want:
            name = min(k for k in have.keys() | want.keys() if have.get(k) != want.get(k))
            what = f"{name} as {have.get(name, 'absent')}, episode 0 as {want.get(name, 'absent')}"
            raise DataError(f"episode {i} has {what}; all episodes of a file must be alike")
        yield e
    if want is None:
        raise DataError("there are no episodes to write")
