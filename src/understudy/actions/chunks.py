"""Actions of a chunk relative to the pose at its start (Chi et al. 2024, "Universal Manipulation Interface").

A chunk that says "ten centimetres ahead of where the hand is now" is the same wherever the hand is; one of
absolute targets is not, and one of per-step deltas adds up its errors. Which pose a target is relative to
depends on the window, so this happens to windows and is undone when the policy acts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from understudy.actions import poses
from understudy.actions.poses import Target
from understudy.actions.space import META, ActionSpace, Delta, seen_keys
from understudy.dataset import Batch, Dataset
from understudy.episode import Array, Mask

__all__ = ["ChunkFrame", "ChunkRelative", "declared"]

_ROWS = 1 << 13  # actions converted at once where statistics are taken


@dataclass(frozen=True)
class ChunkFrame:
    """How the actions of a chunk are given relative to the measured pose at its start.

    Args:
        space: of the data: absolute actions, with the observations that hold the measured poses.
        frame: "body": Rᵀ (p′ − p) and Rᵀ R′, in the hand's own axes (UMI's). "world": p′ − p and R′ Rᵀ.
        form: of the relative rotations; None keeps that of the actions.

    Raises:
        ValueError: when the space is of deltas, or does not know the poses that `frame` needs.
    """

    space: ActionSpace
    frame: Literal["body", "world"]
    form: str | None = None

    def __post_init__(self) -> None:
        if self.space.delta is not None:
            raise ValueError(
                "actions relative to a chunk's start are made from absolute ones; these are deltas"
            )
        self.space.to(Delta("measured", self.frame))  # needs the same of the space, and says what is missing

    @property
    def relative(self) -> ActionSpace:
        """Where relative actions have what; its poses and its meaning as absolute are those of `space`."""
        return self.space if self.form is None else self.space.with_form(self.form)

    def text(self) -> dict[str, Any]:
        """As JSON, which `parse` reads."""
        return {"space": self.space.text(), "frame": self.frame, "form": self.form}

    @classmethod
    def parse(cls, tree: Any) -> ChunkFrame:
        """What `text` gave.

        Raises:
            ValueError: when it is something else.
        """
        if not isinstance(tree, dict) or tree.keys() != {"space", "frame", "form"}:
            raise ValueError(f"a chunk's frame is {tree!r}; it must have space, frame and form")
        return cls(ActionSpace.parse(str(tree["space"])), tree["frame"], tree["form"])

    def to_relative(self, obs: Mapping[str, Array], action: Array, mask: Mask) -> Array:
        """Absolute actions [B, H, A], of which those in `mask` [B, H] count, to relative ones [B, H, A'].

        Args:
            obs: name -> [B, K, ...], oldest first: the pose is the last one's.
        """
        # What does not count may be no rotation at all; the first of a window always counts.
        safe = np.where(mask[..., None], action, action[:, :1])
        return self._through(obs, safe, forward=True)

    def to_absolute(self, obs: Mapping[str, Array], action: Array) -> Array:
        """Relative actions [B, H, A'] to absolute ones [B, H, A], from the same observations."""
        return self._through(obs, action, forward=False)

    def _through(self, obs: Mapping[str, Array], action: Array, *, forward: bool) -> Array:
        source, to = (self.space, self.relative) if forward else (self.relative, self.space)
        if action.shape[-1] != source.width:
            raise ValueError(f"actions are {action.shape[-1]} wide; the action space says {source.width}")
        out = poses.others(action, source, to)
        change = poses.apart if forward else poses.joined
        last = {k: v[:, -1] for k, v in obs.items()}
        for old, new in zip(source.effectors, to.effectors, strict=True):
            pose = poses.measured(last, old, checked=False)
            base = Target(*(None if x is None else x[:, None] for x in pose))
            target = poses.read(action, old.position, old.rotation)
            poses.write(out, change(base, target, self.frame), new)
        return out.astype(np.float32)


class ChunkRelative:
    """All windows of a dataset with actions relative to the pose at each chunk's start.

    It stands in for `Windows` where batches are drawn, and for the `Dataset` where a normaliser is fitted:
    the statistics of "label" are those of the relative actions of all windows that count.

    Args:
        data: with absolute actions of `frame.space`.
        history: K. horizon: H.
        frame: relative to what, and how.

    Raises:
        ValueError: when the data's actions have another width.
    """

    def __init__(self, data: Dataset, history: int, horizon: int, frame: ChunkFrame) -> None:
        dtype, shape = data.schema["action"]
        if dtype != "float32" or shape != (frame.space.width,):
            raise ValueError(
                f"actions are {dtype}{list(shape)}; the action space says {frame.space.width} wide"
            )
        self._data, self._windows, self.frame = data, data.windows(history, horizon), frame
        self.history, self.horizon = history, horizon

    def __len__(self) -> int:
        return len(self._windows)

    def batch(self, index: NDArray[np.integer[Any]]) -> Batch:
        """The windows with these numbers, each in [0, len)."""
        batch = self._windows.batch(index)
        return batch._replace(action=self.frame.to_relative(batch.obs, batch.action, batch.mask))

    @property
    def schema(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """That of the data, with the width of relative actions."""
        return {**self._data.schema, "action": ("float32", (self.frame.relative.width,))}

    def chunks(self, key: str) -> Iterator[Array]:
        """The rows of one column in pieces of bounded size, as `Dataset.chunks`; "label" is relative."""
        return self._labels() if key in ("label", "action") else self._data.chunks(key)

    def _labels(self) -> Iterator[Array]:
        """All relative labels that count, [n, A'] at a time, without looking at other observations."""
        keys = seen_keys(self.frame.space)
        ahead, most = np.arange(self.horizon), max(1, _ROWS // self.horizon)
        for e in self._data:
            started = np.flatnonzero(e.labelled)
            for at in range(0, len(started), most):
                start = started[at : at + most]
                steps = start[:, None] + ahead
                inside = np.minimum(steps, len(e) - 1)
                mask = (steps == inside) & e.labelled[inside]
                obs = {k: e.obs[k][start][:, None] for k in keys}
                for effector in self.frame.space.effectors:
                    poses.measured(obs, effector)  # wrong columns are noticed here, once
                yield self.frame.to_relative(obs, e.label[inside], mask)[mask]


def declared(data: Dataset, frame: Literal["body", "world"]) -> ChunkFrame:
    """The chunk frame of data that says itself what its actions mean, rotations in the form that they have.

    Raises:
        ValueError: when an episode says nothing, or not the same as the others.
    """
    spaces = {str(meta.get(META, "")) for meta in data.facts}
    space = ActionSpace.of(data.facts[0]) if len(spaces) == 1 else None
    if space is None:
        raise ValueError(
            "relative chunks need data that says what its actions mean, the same in every episode; "
            "`understudy actions` writes it"
        )
    return ChunkFrame(space, frame)
