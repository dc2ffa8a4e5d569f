"""The 3-D replay: what the policy did, and the expert beside it, as geometry once and poses for every step.

Nothing needs to have been recorded for it: the actions are played again from their seeds, and an episode that
does not come back to what was observed is left out. The page draws it by itself; see web/src/replay.js.

Shapes: F frames of a clip, n moving bodies.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from understudy.envs import Task
from understudy.episode import Episode
from understudy.provenance import portable
from understudy.report.facts import printable
from understudy.report.svg import number
from understudy.report.template import embedded
from understudy.report.words import counted
from understudy.roles import Policy
from understudy.rollout import rollout
from understudy.scene import NotDrawn, Player, Replayed, Scene

__all__ = ["Clip", "Stage", "chosen", "packed", "stage"]

Floats = NDArray[np.float32]
_EPISODES, _STEPS = 12, 6000  # that are played again for one page's section
_FRAMES = 240  # of one clip: a longer one is thinned, and the page joins what is left
_TURNS = 32767  # steps of a quaternion's component
_FPS = 20  # steps a second where a task does not say


@dataclass(frozen=True)
class Clip:
    """One episode as it is shown: poses [F, n, 7] of its steps 0 to `steps`, evenly spaced."""

    name: str
    outcome: str
    steps: int
    poses: Floats


@dataclass(frozen=True)
class Stage:
    """What the page gets: two JSON blocks, and what to say of them.

    Args:
        json: None where there is nothing to show; then `absent` says why, in one sentence.
        scene: name and content of the block that holds the geometry; replays of one page may share it.
        names: the episodes shown, in words. note: what is left out, and why.
    """

    id: str
    json: Markup | None = None
    scene: tuple[str, Markup] = ("", Markup(""))
    names: tuple[str, ...] = ()
    expert: bool = False
    note: str = ""
    absent: str = ""


@dataclass
class _Played:
    """What came of playing episodes again."""

    scene: Scene
    pairs: list[tuple[Clip, Clip | None]] = field(default_factory=list)
    strayed: int = 0
    refused: list[str] = field(default_factory=list)


def stage(
    id: str, which: Task | None, tried: Sequence[tuple[int, Episode]], *, expert: bool, share: int = 1
) -> Stage:
    """The replay of some of these (seed, episode), failures first.

    Args:
        id: of the replay in the page. which: the task; None for one that nobody can make again.
        expert: whether to let the task's expert do each episode, too.
        share: how many replays share the page: together they take hardly more time and room than one.
    """
    if not tried:
        return Stage(id, absent="There are no rollouts to play again.")
    if which is None:
        return Stage(id, absent="No 3-D replay: only built-in tasks can be played again.")
    picked = chosen(tried, max(_EPISODES // share, 3))
    try:
        played = _played(which, picked, which.expert() if expert and which.expert else None)
    except (ValueError, ImportError) as wrong:  # a simulator that is not installed, or does not start
        return Stage(id, absent=f"No 3-D replay: {printable(portable(str(wrong)))}.")
    if not played.pairs:
        why = "no episode came to what was recorded when its actions were played again"
        why = played.refused[0] if played.refused and not played.strayed else why
        return Stage(id, absent=f"No 3-D replay: {printable(portable(why))}.")
    names = tuple(f"{a.name}, {a.outcome}" for a, _ in played.pairs)
    geometry = _compressed(played.scene.blob)
    scene = f"scene-{hashlib.sha256(geometry.encode()).hexdigest()[:12]}"
    return Stage(
        id,
        embedded(_body(which, scene, played.scene.bodies, played.pairs)),
        (scene, embedded(geometry)),
        names,
        any(b is not None for _, b in played.pairs),
        _note(len(tried), len(played.pairs), played),
    )


def chosen(tried: Sequence[tuple[int, Episode]], most: int = _EPISODES) -> list[tuple[int, Episode]]:
    """At most so many episodes and 6000 steps: failures first, yet a third is kept for the others."""
    lost = [x for x in tried if x[1].success is False]
    rest = [x for x in tried if x[1].success is not False]
    room = max(most - len(rest), 2 * most // 3)
    out: list[tuple[int, Episode]] = []
    steps = 0
    for x in (lost[:room] + rest)[:most]:
        steps += len(x[1])
        if steps > _STEPS and out:
            break
        out.append(x)
    return out


def _played(which: Task, picked: Iterable[tuple[int, Episode]], expert: Policy | None) -> _Played:
    with Player(which) as player:
        out = _Played(player.scene)
        for seed, episode in picked:
            if len(episode) > _STEPS:
                out.refused.append(f"it has {len(episode)} steps; at most {_STEPS} are played")
                continue
            try:
                again = player.play(replace(episode, meta={**episode.meta, "seed": seed}))
            except NotDrawn as wrong:
                out.refused.append(str(wrong))
                continue
            if again.faithful:
                beside = None if expert is None else _beside(which, expert, seed, player)
                out.pairs.append((_clip(f"seed {seed}", episode, again), beside))
            else:
                out.strayed += 1
    return out


def _beside(which: Task, expert: Policy, seed: int, player: Player) -> Clip:
    """The expert on the same seed."""
    episode = rollout(player.env, expert, seed, max_steps=which.horizon)
    return _clip("expert", episode, player.play(episode))


def _clip(name: str, episode: Episode, again: Replayed) -> Clip:
    said = {None: "nobody says whether it succeeded", True: "success", False: "failure"}[episode.success]
    count = min(len(again.poses), _FRAMES)
    at = np.rint(np.linspace(0, len(again.poses) - 1, count)).astype(int)
    return Clip(name, said, len(episode), again.poses[at])


def _note(total: int, shown: int, played: _Played) -> str:
    parts = []
    if shown < total:
        parts.append(f"{number(shown)} of {counted(total, 'episode')} can be seen, failures first")
    if played.strayed:
        strayed = counted(played.strayed, "episode")
        parts.append(f"left out: {strayed} whose actions, played again, did not lead to what was recorded")
    if played.refused:
        refused = counted(len(played.refused), "episode")
        parts.append(f"{refused} could not be played again: {printable(portable(played.refused[0]))}")
    return "".join(f"{p[:1].upper()}{p[1:]}. " for p in parts).strip()


def _body(which: Task, scene: str, bodies: int, pairs: Sequence[tuple[Clip, Clip | None]]) -> dict[str, Any]:
    clips = [clip for pair in pairs for clip in pair if clip is not None]
    low, high, data = packed([c.poses for c in clips])
    return {
        "fps": which.fps or _FPS,
        "bodies": bodies,
        "low": low,
        "high": high,
        "episodes": [[_about(c) for c in pair if c is not None] for pair in pairs],
        "scene": scene,
        "data": data,
    }


def _about(c: Clip) -> dict[str, Any]:
    return {"name": c.name, "outcome": c.outcome, "steps": c.steps, "frames": len(c.poses)}


def packed(clips: Sequence[Floats]) -> tuple[list[float], list[float], str]:
    """Poses [F, n, 7] of several clips in a few bytes a pose: (low [3], high [3], base64).

    Places become uint16 between low and high, quaternions int16; of every number the difference from the
    frame before is kept, all low bytes before all high bytes, compressed by gzip. A body that stands still
    costs next to nothing. The steps are (high − low) / 65535, a few µm on a table, and 1 / 32767.
    """
    places = np.concatenate([c[..., :3].reshape(-1, 3) for c in clips]).astype(np.float64)
    low, high = places.min(0), places.max(0)
    high = np.where(high > low, high, low + 1.0)
    low, high = (np.array([float(f"{v:.9g}") for v in ends]) for ends in (low, high))
    words = []
    for c in clips:
        share = np.clip(np.rint((c[..., :3] - low) / (high - low) * 65535), 0, 65535)
        turns = np.rint(_near(c[..., 3:].astype(np.float64)) * _TURNS)
        rows = np.concatenate([share, turns], axis=2).reshape(len(c), -1).astype(np.int64)
        words.append(np.diff(rows, axis=0, prepend=0).T.ravel() & 0xFFFF)
    flat = np.concatenate(words).astype("<u2")
    planes = np.concatenate([(flat & 0xFF).astype(np.uint8), (flat >> 8).astype(np.uint8)])
    return low.tolist(), high.tolist(), _compressed(planes.tobytes())


def _near(turns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of q and −q, which turn alike, the one nearer to the frame before."""
    signs = np.sign((turns[1:] * turns[:-1]).sum(-1, keepdims=True))
    signs[signs == 0] = 1.0
    turned = turns.copy()
    turned[1:] *= np.cumprod(signs, axis=0)
    return np.clip(turned, -1.0, 1.0)


def _compressed(raw: bytes) -> str:
    """gzip in base64, the same at any time of day."""
    return base64.b64encode(gzip.compress(raw, 9, mtime=0)).decode()
