"""Sets of episodes, columnar and immutable, and windows over them. NumPy only.

Shapes: T steps of an episode, so T + 1 states; E episodes; A action width; B batch; K history; H horizon.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, NamedTuple, cast, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from understudy.episode import Array, Episode, Mask, Meta, controls_of, numbers, times_of
from understudy.frames import join, lazy, pieces, row_bytes, view

__all__ = ["Batch", "Dataset", "Windows"]

_SMALL = 1 << 22  # steps
_CHUNK, _BYTES = 1 << 16, 64 << 20  # rows and bytes handled at once where a whole column would be copied


class Batch(NamedTuple):
    """Windows: what was seen up to now, and the labels from now on."""

    obs: Mapping[str, Array]  # each [B, K, ...], oldest first; the first state repeats before the start
    action: Array  # [B, H, A]; the last action repeats beyond the end
    mask: Mask  # [B, H]; False beyond the end and where the expert was silent


@dataclass(frozen=True, eq=False)
class _Columns:
    """All steps of many episodes, end to end. Episode i owns steps [first[i], first[i] + length[i]) and, with
    one state more than steps, states [first[i] + i, first[i] + i + length[i] + 1)."""

    obs: Mapping[str, Array]
    action: Array
    label: Array
    labelled: Mask
    reward: Array
    first: NDArray[np.int64]
    length: NDArray[np.int64]
    terminated: Mask
    success: tuple[bool | None, ...]
    meta: tuple[Meta, ...]
    time: tuple[Array | None, ...]
    control: tuple[Array | None, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        # A mapping proxy does not travel between processes; its contents do. A shared label stays shared.
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values |= {"obs": dict(self.obs), "meta": tuple(dict(m) for m in self.meta)}
        return _rebuild, (values | {"label": None if self.label is self.action else self.label},)


def _rebuild(values: dict[str, Any]) -> _Columns:
    values |= {"label": values["action"] if values["label"] is None else values["label"]}
    for array in (*values["obs"].values(), *(values[k] for k in ("action", "label", "labelled", "reward"))):
        if not lazy(array):
            array.flags.writeable = False
    proxies = {"obs": MappingProxyType(values["obs"]), "meta": tuple(map(MappingProxyType, values["meta"]))}
    return _Columns(**values | proxies)


def _schema(e: Episode) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {k: (str(v.dtype), v.shape[1:]) for k, v in e.obs.items()} | {
        "action": (str(e.action.dtype), e.action.shape[1:])
    }


def _join(parts: Sequence[Array]) -> Array:
    if any(lazy(p) for p in parts):
        return cast(Array, join(parts))
    out: Array = np.concatenate(parts) if len(parts) > 1 else parts[0]
    out.flags.writeable = False
    return out


def _columns(episodes: Sequence[Episode]) -> _Columns:
    first = episodes[0]
    want = _schema(first)
    for i, e in enumerate(episodes):
        if (have := _schema(e)) != want:
            name = min(k for k in have.keys() | want.keys() if have.get(k) != want.get(k))
            raise ValueError(
                f"episode {i} has {name!r} as {_shape(have.get(name))}, episode 0 as "
                f"{_shape(want.get(name))}; all episodes of a dataset must be alike"
            )
    action = _join([e.action for e in episodes])
    same = all(e.label is e.action for e in episodes)
    length = np.array([len(e) for e in episodes], np.int64)
    return _Columns(
        obs=MappingProxyType({k: _join([e.obs[k] for e in episodes]) for k in first.obs}),
        action=action,
        label=action if same else _join([e.label for e in episodes]),
        labelled=_join([e.labelled for e in episodes]),
        reward=_join([e.reward for e in episodes]),
        first=np.cumsum(length) - length,
        length=length,
        terminated=np.array([e.terminated for e in episodes], np.bool_),
        success=tuple(e.success for e in episodes),
        meta=tuple(e.meta for e in episodes),
        time=tuple(e.time for e in episodes),
        control=tuple(e.control for e in episodes),
    )


def _shape(entry: tuple[str, tuple[int, ...]] | None) -> str:
    return "absent" if entry is None else f"{entry[0]}{list(entry[1])}"


class Dataset(Sequence[Episode]):
    """An immutable sequence of episodes, columnar inside; growth makes a new value.

    A slice, a selection or a split shares the columns of its source: nothing is copied. Indexing gives an
    Episode whose arrays are read-only views. Pictures that are `Frames` stay on disk through all of this:
    only `windows(...).batch` and `chunks` decode, and only what they give back.

    Raises:
        ValueError: when two episodes differ in observation names, shapes or dtypes, or action width.

    >>> one = Episode.demonstration(np.zeros((3, 2)), np.zeros((2, 1)))
    >>> data = Dataset([one]) + [one, one]
    >>> len(data), data.steps, len(data[1:])
    (3, 6, 2)
    """

    def __init__(self, episodes: Iterable[Episode] = ()) -> None:
        listed = tuple(episodes)
        self._columns: _Columns | None = _columns(listed) if listed else None
        self._rows: NDArray[np.int64] = np.arange(len(listed))

    @classmethod
    def from_columns(
        cls,
        obs: Mapping[str, Array],
        action: Array,
        length: ArrayLike,
        *,
        label: Array | None = None,
        labelled: Mask | None = None,
        reward: Array | None = None,
        terminated: ArrayLike | None = None,
        success: Sequence[bool | None] | None = None,
        meta: Sequence[Meta] | None = None,
        time: Sequence[Array | None] | None = None,
        control: Sequence[Array | None] | None = None,
    ) -> Dataset:
        """A dataset over columns that are already joined, without a copy where they are in canonical form.

        Args:
            obs: name -> [sum(T_i + 1), ...], each episode's states in turn; pictures may be `Frames`.
            action: [sum(T_i), A]. label, labelled and reward likewise; without a label the action is it.
            length: [E], the T_i.
            time: [E], each None or [T_i + 1] seconds.
            control: [E], each None or [T_i], who held the controls.
        """
        lengths = np.asarray(length, np.int64)
        steps, count = int(lengths.sum()), len(lengths)
        if count == 0 or (lengths < 1).any():
            raise ValueError("length must name at least one episode, each of one step or more")
        # Checked as one long episode per key: the rules are the same, but for the number of states.
        acted = _frozen_in_place(numbers("action", action, integers=True))
        said = (
            acted
            if label is None or label is action
            else _frozen_in_place(numbers("label", label, integers=True))
        )
        spoke = _frozen_in_place(
            np.ones(steps, np.bool_) if labelled is None else np.asarray(labelled, np.bool_)
        )
        paid = _frozen_in_place(
            np.zeros(steps, np.float32) if reward is None else numbers("reward", reward, integers=False)
        )
        seen = {k: _frozen_in_place(numbers(f"obs[{k!r}]", v, integers=False)) for k, v in obs.items()}
        sizes = {"action": len(acted), "label": len(said), "labelled": len(spoke), "reward": len(paid)}
        if wrong := {k: n for k, n in sizes.items() if n != steps}:
            raise ValueError(f"the episodes have {steps} steps, but the columns have {wrong} rows")
        if wrong := {k: len(v) for k, v in seen.items() if len(v) != steps + count}:
            raise ValueError(f"the episodes have {steps + count} states, but the columns have {wrong} rows")
        if acted.ndim != 2 or said.shape != acted.shape or said.dtype != acted.dtype:
            raise ValueError(f"action {acted.shape} and label {said.shape} must both be [steps, A]")
        made = cls.__new__(cls)
        made._columns = _Columns(
            obs=MappingProxyType(seen),
            action=acted,
            label=said,
            labelled=spoke,
            reward=paid,
            first=np.cumsum(lengths) - lengths,
            length=lengths,
            terminated=np.zeros(count, np.bool_) if terminated is None else np.asarray(terminated, np.bool_),
            success=(None,) * count if success is None else tuple(success),
            meta=({},) * count if meta is None else tuple(MappingProxyType(dict(m)) for m in meta),
            time=(None,) * count
            if time is None
            else tuple(
                None if t is None else times_of(t, int(n)) for t, n in zip(time, lengths, strict=True)
            ),
            control=(None,) * count
            if control is None
            else tuple(
                None if h is None else controls_of(h, int(n)) for h, n in zip(control, lengths, strict=True)
            ),
        )
        made._rows = np.arange(count)
        c = made._columns
        entries = {len(x) for x in (c.terminated, c.success, c.meta, c.time, c.control)}
        if entries != {count}:
            raise ValueError(
                f"terminated, success, meta, time and control must have {count} entries, one an episode"
            )
        return made

    def _need(self) -> _Columns:
        if self._columns is None:
            raise ValueError("the dataset is empty; it needs at least one episode")
        return self._columns

    @overload
    def __getitem__(self, index: int) -> Episode: ...
    @overload
    def __getitem__(self, index: slice) -> Dataset: ...
    def __getitem__(self, index: int | slice) -> Episode | Dataset:
        if isinstance(index, slice):
            return self._view(self._rows[index])
        c, i = self._need(), int(self._rows[index])
        a, n = int(c.first[i]), int(c.length[i])
        action = c.action[a : a + n]
        return Episode(
            {k: view(v, a + i, a + i + n + 1) for k, v in c.obs.items()},
            action,
            action if c.label is c.action else c.label[a : a + n],
            c.labelled[a : a + n],
            c.reward[a : a + n],
            bool(c.terminated[i]),
            c.success[i],
            c.meta[i],
            c.time[i],
            c.control[i],
        )

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Episode]:
        return (self[i] for i in range(len(self)))

    def __add__(self, more: Iterable[Episode]) -> Dataset:
        """A new dataset with more episodes behind these. Columns are joined, files are not read again."""
        return Dataset((*self, *more))

    def __repr__(self) -> str:
        if not len(self):
            return "Dataset(empty)"
        shapes = ", ".join(f"{k} {_shape(v)}" for k, v in self.schema.items())
        return f"Dataset({len(self)} episodes, {self.steps} steps: {shapes})"

    def _view(self, rows: NDArray[np.int64]) -> Dataset:
        made = Dataset.__new__(Dataset)
        made._columns, made._rows = self._columns, rows
        return made

    def select(self, indices: Iterable[int]) -> Dataset:
        """The named episodes, in that order, sharing these columns."""
        return self._view(self._rows[np.fromiter((int(i) for i in indices), np.int64)])

    @property
    def schema(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Name -> (dtype, shape of one step), for each observation and for "action"."""
        return _schema(self[0]) if len(self) else {}

    @property
    def steps(self) -> int:
        """The number of actions in all episodes together."""
        return int(self.lengths.sum())

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[E], the number of steps of each episode."""
        return self._need().length[self._rows] if len(self) else np.zeros(0, np.int64)

    @property
    def successes(self) -> tuple[bool | None, ...]:
        """[E], each episode's success; None where nobody said."""
        return tuple(self._need().success[int(i)] for i in self._rows) if len(self) else ()

    @property
    def facts(self) -> tuple[Meta, ...]:
        """[E], each episode's meta."""
        return tuple(self._need().meta[int(i)] for i in self._rows) if len(self) else ()

    def split(self, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
        """Two disjoint datasets, the first with round(fraction × len) episodes, drawn by `seed`.

        It splits by episode and never by step: neighbouring steps are near copies of one another, so a split
        by step measures memory instead of generalisation.
        """
        if not 0.0 <= fraction <= 1.0:
            raise ValueError(f"fraction is {fraction}; it must lie in [0, 1]")
        order = np.random.default_rng(seed).permutation(len(self))
        cut = round(fraction * len(self))
        return self.select(np.sort(order[:cut])), self.select(np.sort(order[cut:]))

    def chunks(self, key: str) -> Iterator[Array]:
        """The rows of one column, in pieces of bounded size: an observation's name, "action" or "label".

        "label" gives the labelled rows only. A whole column is never copied.
        """
        c = self._need()
        if key not in c.obs and key not in ("action", "label"):
            raise KeyError(f"no column {key!r}; there are {sorted(c.obs)}, 'action' and 'label'")
        column = c.obs.get(key, c.label)
        most = max(1, min(_CHUNK, _BYTES // max(1, row_bytes(column))))
        part: list[Array] = []
        rows = 0
        for i in self._rows:
            a, n = int(c.first[i]), int(c.length[i])
            if key in c.obs:
                piece = view(c.obs[key], a + i, a + i + n + 1)
            else:
                piece = (c.action if key == "action" else c.label)[a : a + n]
                if key == "label" and not (spoke := c.labelled[a : a + n]).all():
                    piece = piece[spoke]
            for at in range(0, len(piece), most):
                part.append(piece[at : at + most])
                rows += len(part[-1])
                if rows >= most:
                    yield np.concatenate(part)
                    part, rows = [], 0
        if rows:
            yield np.concatenate(part)

    def windows(self, history: int = 1, horizon: int = 1) -> Windows:
        """An index of every (episode, labelled step): `history` states up to it, `horizon` labels from it."""
        return Windows(self, history, horizon)

    def fingerprint(self) -> str:
        """SHA-256 over every value of every episode, in order: equal data, equal fingerprint."""
        digest = hashlib.sha256()
        for e in self:
            head = sorted((k, str(v.dtype), v.shape) for k, v in e.obs.items())
            facts = (
                head,
                str(e.action.dtype),
                e.action.shape,
                e.terminated,
                e.success,
                sorted(e.meta.items()),
            )
            digest.update(repr(facts).encode())
            for k in sorted(e.obs):
                for piece in pieces(e.obs[k]):
                    digest.update(piece.data)
            for column in (e.action, e.label, e.labelled, e.reward):
                digest.update(column.data)
            if e.time is not None:
                digest.update(e.time.data)
            if e.control is not None:
                digest.update(b"control")
                digest.update(e.control.data)
        return digest.hexdigest()


def _frozen_in_place(x: Array) -> Array:
    """Contiguous and read-only without a copy where possible: the caller hands the array over."""
    if lazy(x):
        return cast(Array, x)
    out: Array = np.ascontiguousarray(x)
    out.flags.writeable = False
    return out


class Windows:
    """Every labelled step of a dataset, ready to be drawn in batches. A batch is one gather a column.

    The index is built once and takes 8 bytes a step (16 in datasets of under four million). A window starts
    at a labelled step, so no row of a mask is all False; it never reaches into another episode: before the
    start the first state repeats, beyond the end the last action does, masked.

    Args:
        history: K >= 1, the number of states seen.
        horizon: H >= 1, the number of labels ahead.

    >>> e = Episode.demonstration(np.arange(4.0), np.arange(3.0))
    >>> b = Dataset([e]).windows(history=2, horizon=2).batch(np.array([0, 2]))
    >>> b.obs["state"][..., 0].tolist(), b.action[..., 0].tolist(), b.mask.tolist()
    ([[0.0, 0.0], [1.0, 2.0]], [[0.0, 1.0], [2.0, 2.0]], [[True, True], [True, False]])
    """

    def __init__(self, data: Dataset, history: int = 1, horizon: int = 1) -> None:
        if history < 1 or horizon < 1:
            raise ValueError(f"history {history} and horizon {horizon} must both be at least 1")
        c = data._need()
        self.history, self.horizon = history, horizon
        self._c = c
        rows = data._rows
        if len(c.labelled) + len(c.length) >= 2**31:
            raise ValueError(f"{len(c.labelled)} steps are more than one index holds; split the dataset")
        # Runs of steps rather than Python loops over them: a million steps take milliseconds.
        length = c.length[rows]
        # Twice as wide where that costs little: a gather wants 64-bit rows, and need not convert them then.
        kind: type[np.signedinteger[Any]] = np.int64 if length.sum() < _SMALL else np.int32
        episode = np.repeat(rows.astype(kind), length)
        start = np.repeat((c.first[rows] - (np.cumsum(length) - length)).astype(kind), length)
        step: NDArray[np.signedinteger[Any]] = np.arange(len(episode), dtype=kind)
        step += start
        del start
        spoke = c.labelled[step] if len(step) else np.zeros(0, np.bool_)
        if not spoke.all():
            step, episode = step[spoke], episode[spoke]
        if not len(step):
            raise ValueError("no step of the dataset is labelled; there is nothing to learn from")
        self._step, self._episode = step, episode
        self._past = np.arange(1 - history, 1)
        self._ahead = np.arange(horizon)

    def __len__(self) -> int:
        return len(self._step)

    def batch(self, index: NDArray[np.integer[Any]]) -> Batch:
        """The windows with these numbers, each in [0, len)."""
        c = self._c
        step = self._step.take(index).astype(np.int64, copy=False)
        episode = self._episode.take(index).astype(np.int64, copy=False)
        state = step + episode
        if self.history == 1:
            one = state[:, None]
            obs = {k: v.take(one, 0) for k, v in c.obs.items()}
        else:
            rows = np.maximum(state[:, None] + self._past, (c.first[episode] + episode)[:, None])
            obs = {k: v.take(rows, 0) for k, v in c.obs.items()}
        if self.horizon == 1:  # a window starts at a labelled step, so its one action always counts
            return Batch(obs, c.label.take(step[:, None], 0), np.ones((len(step), 1), np.bool_))
        ahead = step[:, None] + self._ahead
        inside = np.minimum(ahead, (c.first[episode] + c.length[episode] - 1)[:, None])
        return Batch(obs, c.label.take(inside, 0), (ahead == inside) & c.labelled.take(inside))
