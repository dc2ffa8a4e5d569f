"""Recording an episode live, step by step: cameras are encoded while it goes on, the rest waits in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike

from understudy.episode import EXPERT, POLICY, RECOVERY, Array, Episode, Meta, as_obs
from understudy.frames import Frames
from understudy.storage.cameras import Camera
from understudy.storage.files import DataError, make_folder
from understudy.storage.layout import Feature, Layout, feature_of, video_file
from understudy.storage.video import Clip, VideoOptions

__all__ = ["Take", "Target"]

_EXACT = 2**24  # float32 holds every integer up to here


@final
class _Filed(Frames):
    """Pictures that lie in a finished file, which is about to take its place in the dataset."""

    def fill(self, rows: Array, out: Array) -> None:
        raise DataError("these pictures are being committed; read them from the dataset")


@dataclass(frozen=True)
class Target:
    """Where a take goes: the writer's folder, the episode's number there, the steps a second, how cameras are
    encoded (None: they are not), the layout where there is one, and what commits it with its videos."""

    folder: Path
    number: int
    fps: int
    video: VideoOptions | None
    layout: Layout | None
    commit: Callable[[Episode, Mapping[str, tuple[Path, Clip]]], None]


@final
class Take:
    """An episode while it is recorded; made by `Writer.record`.

    ``step`` costs little and never waits for an encoder. Where the dataset stores video, cameras are encoded
    meanwhile by a thread each, so memory does not grow with them; other observations, and pictures stored as
    PNG, wait in memory. Nothing is in the dataset before ``finish``; what a killed recorder leaves is removed
    when the folder is next opened for writing.

        with writer.record({"task": "pick up the cube"}) as take:
            for _ in range(500):
                take.step(obs, action)
            take.finish(obs, success=True)

    Leaving the block by an exception discards the episode, and the exception says so; leaving it with steps
    that were neither finished nor discarded raises. Pictures that had to be dropped are counted in
    meta["dropped_frames"], meta["started"] is the time of the first step; each observation's time is kept.
    """

    def __init__(self, target: Target, meta: Meta, *, demonstration: bool) -> None:
        """`demonstration` says what a step without a label means: the action is its own label (somebody
        drives who shows how it is done), or, where False, nobody said what should have been done."""
        self._target, self._meta, self._demonstration = target, dict(meta), demonstration
        self.open = True
        self._kinds: dict[str, tuple[str, tuple[int, ...]]] = {}
        self._columns: dict[str, list[Array]] = {}
        self._cameras: dict[str, tuple[Feature, Camera]] = {}
        self._action: list[Array] = []
        self._label: list[Array | None] = []
        self._control: list[int | None] = []
        self._reward: list[float] = []
        self._time: list[float] = []
        self._own_clock: bool | None = None
        self._lost = 0  # pictures dropped by cameras that are closed

    def __len__(self) -> int:
        return len(self._action)

    @property
    def dropped(self) -> int:
        """Pictures that were dropped so far, of all cameras."""
        return self._lost + sum(camera.dropped for _, camera in self._cameras.values())

    def step(
        self,
        obs: Mapping[str, ArrayLike] | ArrayLike,
        action: ArrayLike,
        reward: float = 0.0,
        *,
        label: ArrayLike | None = None,
        control: int | None = None,
        time: float | None = None,
    ) -> None:
        """Records one step: what was seen, what was done, and what came of it. Arrays are copied.

        Args:
            label: [A], what the expert says should have been done.
            control: who holds the controls in this step: episode.POLICY, EXPERT or RECOVERY. All steps of an
                episode have it, or none.
            time: seconds, when obs was measured, on one clock; None means now, by this computer's monotonic
                clock. All steps of an episode have it, or none.

        Raises:
            ValueError: when a step is unlike those before it, or a number is not finite; it is not recorded.
            DataError: when the episode is over or does not fit the dataset, or a camera cannot be encoded.
        """
        self._need_open()
        done = _row("action", action)
        if self._action and (done.shape, done.dtype) != (self._action[0].shape, self._action[0].dtype):
            raise ValueError(
                f"action is {done.dtype}{list(done.shape)}, "
                f"was {self._action[0].dtype}{list(self._action[0].shape)}"
            )
        said = None if label is None else _row("label", label)
        if said is not None and (said.shape, said.dtype) != (done.shape, done.dtype):
            raise ValueError(
                f"label is {said.dtype}{list(said.shape)}, action is {done.dtype}{list(done.shape)}"
            )
        paid = float(_row("reward", reward)[0])
        if control not in (None, POLICY, EXPERT, RECOVERY):
            raise ValueError(f"control is {control!r}; it must be 0 (policy), 1 (expert) or 2 (recovery)")
        if self._control and (control is None) != (self._control[0] is None):
            raise ValueError("control must be given for every step of an episode, or for none")
        self._see(obs, time, last=False)
        self._action.append(done)
        self._label.append(said)
        self._control.append(control)
        self._reward.append(paid)

    def finish(
        self,
        obs: Mapping[str, ArrayLike] | ArrayLike,
        *,
        success: bool | None = None,
        terminated: bool = False,
        time: float | None = None,
    ) -> int:
        """Records the state after the last action and commits the episode; gives its number.

        When it returns, the episode survives a kill, a crash and a power cut. When it raises, it is not in
        the dataset.

        Raises:
            ValueError: when there were no steps, or obs is unlike those before.
            DataError: when it cannot be written.
        """
        self._need_open()
        if not self._action:
            raise ValueError("the episode has no steps; there is nothing to finish")
        self._see(obs, time, last=True)
        try:
            taken = {f.name: (camera.path, camera.finish()) for f, camera in self._cameras.values()}
            self.open = False
            self._target.commit(self._episode(success, terminated), taken)
        finally:
            self.discard()
        return self._target.number

    def discard(self) -> None:
        """Gives the episode up; nothing of it stays. Doing so twice, or after `finish`, is harmless."""
        self.open = False
        for _, camera in self._cameras.values():
            camera.abandon()
        self._lost = self.dropped
        self._cameras.clear()
        self._columns.clear()

    def __enter__(self) -> Take:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if not self.open:
            return
        steps = len(self)
        self.discard()
        if error is not None:
            error.add_note(f"the episode being recorded was discarded after {steps} steps")
        elif steps:
            raise DataError(f"an episode of {steps} steps was neither finished nor discarded; it is lost")

    def _need_open(self) -> None:
        if not self.open:
            raise DataError("the episode is over; begin another with Writer.record")

    def _see(self, obs: Any, time: float | None, *, last: bool) -> None:
        """Takes in one observation, all of it or nothing."""
        now = monotonic() if time is None else float(time)
        if self._own_clock not in (None, time is None):
            raise ValueError("time must be given for every step of an episode, or for none")
        if not np.isfinite(now) or (self._time and now < self._time[-1]):
            raise ValueError(f"time is {now} after {self._time[-1:]}; it must be finite and may only grow")
        rows = {key: _seen(key, value) for key, value in as_obs(obs).items()}
        kinds = {key: (str(row.dtype), row.shape) for key, row in rows.items()}
        if not self._kinds:
            self._begin(kinds)
        if kinds != self._kinds:
            key = min(k for k in kinds.keys() | self._kinds if kinds.get(k) != self._kinds.get(k))
            raise ValueError(f"observation {key!r} is {kinds.get(key)}, was {self._kinds.get(key)}")
        for key, row in rows.items():
            if (there := self._cameras.get(key)) is not None:
                there[1].put(row, wait=last)
            else:
                self._columns[key].append(row.copy() if row.dtype == np.uint8 else row)
        self._time.append(now)
        self._own_clock = time is None

    def _begin(self, kinds: dict[str, tuple[str, tuple[int, ...]]]) -> None:
        """Learns from the first observation what there is, and starts the cameras."""
        target = self._target
        if target.layout is not None:
            want = {k: (f.kind, f.shape) for k, f in target.layout.obs.items()}
            if kinds != want:
                key = min(k for k in kinds.keys() | want.keys() if kinds.get(k) != want.get(k))
                raise DataError(
                    f"observation {key!r} is {kinds.get(key)}, the dataset has {want.get(key)}; "
                    "all episodes of a dataset must be alike"
                )
        features = {k: feature_of(k, *kind, video=target.video is not None) for k, kind in kinds.items()}
        self._meta.setdefault("started", datetime.now(UTC).isoformat(timespec="milliseconds"))
        self._columns = {k: [] for k, f in features.items() if not f.video}
        for key, feature in features.items():
            if feature.video and target.video is not None:
                place = target.folder / video_file(feature.name, target.number)
                try:
                    make_folder(place.parent)
                except OSError as e:
                    raise DataError(f"cannot write into {target.folder}: {e.strerror or e}") from e
                path = place.parent / f".take-{place.stem}.mp4.tmp"
                self._cameras[key] = (feature, Camera(path, feature.shape, target.fps, target.video))
        self._kinds = kinds

    def _episode(self, success: bool | None, terminated: bool) -> Episode:
        action = np.stack(self._action)
        label, labelled = action, np.ones(len(action), np.bool_)
        if any(row is not None for row in self._label):
            label = np.stack([a if x is None else x for a, x in zip(self._action, self._label, strict=True)])
        if not self._demonstration:
            labelled = np.array([x is not None for x in self._label])
        obs: dict[str, Any] = {key: self._columns[key] for key in self._kinds if key in self._columns}
        obs = {key: np.stack(rows) for key, rows in obs.items()}
        for key, (feature, _) in self._cameras.items():
            obs[key] = _Filed((len(action) + 1, *feature.shape))
        if self._cameras:
            counted = self._meta.get("dropped_frames", 0)
            self._meta["dropped_frames"] = int(counted) + self.dropped
        obs = {key: obs[key] for key in self._kinds}
        reward, time = np.array(self._reward, np.float32), np.array(self._time)
        held = None if self._control[0] is None else np.array(self._control, np.uint8)
        return Episode(obs, action, label, labelled, reward, terminated, success, self._meta, time, held)


def _row(name: str, value: ArrayLike) -> Array:
    """A row of numbers in its canonical form, copied: float32 [n], or int64 [1] for one discrete choice."""
    x = np.array(value, ndmin=1)
    if x.dtype.kind not in "fiub" or x.ndim != 1:
        raise ValueError(f"{name} is {x.dtype}{list(x.shape)}; a row of numbers is needed")
    if x.dtype.kind in "iu" and name != "reward":
        return x.astype(np.int64, copy=False)
    return _finite(name, x.astype(np.float32, copy=False))


def _seen(key: str, value: ArrayLike) -> Array:
    """One observation in its canonical form: pictures as they are, uint8; numbers as float32, copied."""
    x = np.asarray(value)
    if x.dtype == np.uint8 and x.ndim >= 2:
        return x
    if x.dtype.kind not in "fiub":
        raise ValueError(f"observation {key!r} has dtype {x.dtype}; numbers are needed")
    if x.dtype.kind in "iu" and x.size and (x.max() > _EXACT or x.min() < -_EXACT):
        raise ValueError(
            f"observation {key!r} holds integers beyond ±2^24, which float32 cannot hold exactly"
        )
    return _finite(f"observation {key!r}", np.array(x, np.float32, ndmin=1))


def _finite(name: str, x: Array) -> Array:
    if not np.isfinite(x).all():
        raise ValueError(f"{name} is {x[~np.isfinite(x)][0]}; every value must be finite in float32")
    return x
