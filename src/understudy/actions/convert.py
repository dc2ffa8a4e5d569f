"""Actions from one meaning to another, an episode at a time: absolute, delta, and forms of rotations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import final

import numpy as np

from understudy.actions import poses
from understudy.actions.poses import Target
from understudy.actions.space import META, RECORDED, ActionSpace, Delta, Effector, seen_keys
from understudy.dataset import Dataset
from understudy.episode import Array, Episode
from understudy.numerics import rotations

__all__ = ["Conversion", "convert"]

_ROUNDING = 1e-6  # a float32 action of 1 may come back that much larger


@final
class Conversion:
    """Converts episodes, one after the other, and counts what leaves [−1, 1].

    The new meaning is written into each episode's meta, so the way back needs no description, and beside it
    the one before the first conversion. From absolute to delta and back gives the same targets to 1e-6
    (metres, radians), unless values were clipped. Absolute quaternions come out with the sign nearer to the
    step before. A step without a label takes the executed action as one, which changes nothing: it is not
    read.

    Args:
        delta: what actions should be; None: absolute.
        form: the form of the action's rotations afterwards; None keeps it.
        source: what they are now; None: each episode's meta says it.

    >>> from understudy.actions import Field
    >>> space = ActionSpace(1, (Effector(Field(0, 1), seen_position=Field(0, 1, key="state")),))
    >>> e = Episode.demonstration(np.arange(3.0), np.array([1.5, 2.5]))
    >>> convert(Dataset([e]), Delta("measured", "world"), source=space)[0].action.ravel().tolist()
    [1.5, 1.5]
    """

    def __init__(
        self, delta: Delta | None, *, form: str | None = None, source: ActionSpace | None = None
    ) -> None:
        self.delta, self.form, self.source = delta, form, source
        self.steps = 0
        self.beyond: Array = np.zeros(0, np.int64)
        """[A'], in how many steps the action, or its label, was beyond ±1 in the effectors' columns; only
        counted for deltas. With `clip` this many were clipped."""

    def __call__(self, e: Episode) -> Episode:
        """The same episode with converted actions and labels.

        Raises:
            ValueError: when nothing says what the actions mean, or two sources disagree; or a column holds no
                rotation of the form that it is said to hold.
            KeyError: when the observation with the pose is not there.
        """
        source = self._source(e)
        to = source.to(self.delta, self.form)
        if e.action.dtype.kind == "i":
            raise ValueError("discrete actions are no positions and rotations; they cannot be converted")
        if e.action.shape[1] != source.width:
            raise ValueError(f"actions are {e.action.shape[1]} wide; the action space says {source.width}")
        shared = e.label is e.action
        said = e.action if shared else np.where(e.labelled[:, None], e.label, e.action)
        for field in source.fields:
            poses.check(e.action, field)
            poses.check(said, field)
        action, label = _converted(e, said, source, to)
        self._count(action, label, to)
        if to.delta is not None and to.delta.clip:
            for field in to.fields:
                for values in (action, label):
                    np.clip(values[:, field.columns], -1, 1, out=values[:, field.columns])
        action = action.astype(np.float32)
        label = action if shared else label.astype(np.float32)
        known = {RECORDED: source.text(), **e.meta, META: to.text()}
        return replace(e, action=action, label=label, meta=known)

    def _source(self, e: Episode) -> ActionSpace:
        own = ActionSpace.of(e.meta)
        if own is not None and self.source is not None and own != self.source:
            raise ValueError(
                "the episode says itself what its actions mean, and it is not what was given; leave that out"
            )
        source = own or self.source
        if source is None:
            raise ValueError("the data does not say what its actions mean; describe position and rotation")
        return source

    def _count(self, action: Array, label: Array, to: ActionSpace) -> None:
        if not len(self.beyond):
            self.beyond = np.zeros(to.width, np.int64)
        if len(self.beyond) != to.width:
            raise ValueError(f"an episode has actions {to.width} wide, others {len(self.beyond)}")
        self.steps += len(action)
        if to.delta is None:
            return
        for field in to.fields:
            most = np.maximum(np.abs(action[:, field.columns]), np.abs(label[:, field.columns]))
            self.beyond[field.columns] += (most > 1 + _ROUNDING).sum(0)

    def stream(self, episodes: Iterable[Episode]) -> Iterator[Episode]:
        """The converted episodes, one in memory at a time."""
        return map(self, episodes)


def convert(
    data: Dataset, delta: Delta | None, *, form: str | None = None, source: ActionSpace | None = None
) -> Dataset:
    """A new dataset with converted actions and labels; the arguments are those of `Conversion`.

    Statistics need no care: normalisers and writers take them from the data they are given.
    """
    return Dataset(Conversion(delta, form=form, source=source).stream(data))


def _converted(e: Episode, said: Array, source: ActionSpace, to: ActionSpace) -> tuple[Array, Array]:
    """Actions and labels [T, A'], float64."""
    action, label = (poses.others(x, source, to) for x in (e.action, said))
    steps = len(e)
    now = {k: np.asarray(e.obs[k][:steps]) for k in seen_keys(source) if k in e.obs}
    for old, new in zip(source.effectors, to.effectors, strict=True):
        if source.delta == to.delta:
            done, asked = (_numbers(x, old, source.delta) for x in (e.action, said))
        else:
            pose = poses.measured(now, old)
            done = _targets(_numbers(e.action, old, source.delta), pose, source.delta)
            asked = _numbers(said, old, source.delta)
            if source.delta is not None:
                asked = poses.joined(_reference(done, pose, source.delta), asked, source.delta.frame)
            if to.delta is not None:
                base = _reference(done, pose, to.delta)
                done, asked = (poses.apart(base, x, to.delta.frame) for x in (done, asked))
        for out, target in ((action, done), (label, asked)):
            poses.write(out, target, new)
            _scale(out, new, to.delta, divide=True)
        if to.delta is None:
            _continuous(action, label, new)
    return action, label


def _numbers(values: Array, e: Effector, delta: Delta | None) -> Target:
    """What the columns say, in metres and radians."""
    wide = values.astype(np.float64)
    _scale(wide, e, delta, divide=False)
    return poses.read(wide, e.position, e.rotation)


def _scale(values: Array, e: Effector, delta: Delta | None, *, divide: bool) -> None:
    if delta is None:
        return
    for field, scale in ((e.position, delta.position_scale), (e.rotation, delta.rotation_scale)):
        if field is not None and scale != 1:
            values[..., field.columns] *= 1 / scale if divide else scale


def _reference(targets: Target, pose: Target, delta: Delta) -> Target:
    """What the delta of each step is measured from: the pose, or the executed target one step earlier."""
    if delta.reference == "measured":
        return pose

    def late(target: Array | None, seen: Array | None) -> Array | None:
        if target is None or seen is None:
            return seen
        return np.concatenate([seen[:1], target[:-1]])

    return Target(late(targets.position, pose.position), late(targets.matrix, pose.matrix))


def _targets(said: Target, pose: Target, delta: Delta | None) -> Target:
    """The absolute targets [T, ...] of executed actions."""
    if delta is None:
        return said
    if delta.reference == "measured":
        return poses.joined(pose, said, delta.frame)
    position, matrix, body = said.position, said.matrix, delta.frame == "body"
    if matrix is not None:
        assert pose.matrix is not None
        turned = rotations.accumulate(matrix, left=not body)
        matrix = pose.matrix[:1] @ turned if body else turned @ pose.matrix[:1]
    if position is not None:
        assert pose.position is not None
        if body:
            assert pose.matrix is not None
            assert matrix is not None
            before = np.concatenate([pose.matrix[:1], matrix[:-1]])
            position = (before @ position[..., None])[..., 0]
        position = pose.position[:1] + np.cumsum(position, 0)
    return Target(position, matrix)


def _continuous(action: Array, label: Array, e: Effector) -> None:
    """Quaternions of absolute actions keep their sign along the episode, and labels follow them."""
    if e.rotation is None or e.rotation.form not in ("xyzw", "wxyz"):
        return
    columns = e.rotation.columns
    action[:, columns] = rotations.continuous(action[:, columns])
    far = (label[:, columns] * action[:, columns]).sum(-1) < 0
    label[far, columns] *= -1
