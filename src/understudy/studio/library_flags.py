"""What is wrong with which episode, in words: `quality.inspect` in a thread of its own, once a version."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from understudy import storage
from understudy.dataset import Dataset
from understudy.quality import Inspection, inspect
from understudy.storage.decoding import need_av
from understudy.studio.library_shelf import known, version_of

__all__ = ["Flag", "Flags", "Measured"]

Flag = dict[str, str]  # kind, severity, text, advice


@dataclass(frozen=True)
class Measured:
    """What an inspection said of the folder at one version.

    Args:
        episodes: index -> its flags, the gravest first. whole: findings about the dataset as such.
        worst: episodes that stand out, the one to look at first coming first.
        success: [E], what the episodes themselves say, where the list's metadata does not.
        error: in words, where inspecting failed; then the rest is empty.
    """

    version: str
    episodes: Mapping[int, list[Flag]] = field(default_factory=dict)
    whole: tuple[Flag, ...] = ()
    worst: tuple[int, ...] = ()
    success: tuple[bool | None, ...] = ()
    error: str = ""


@final
class Flags:
    """Inspects a folder in the background, at most one inspection at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._measured = Measured("")

    def at(self, version: str) -> Measured | None:
        """What is known of this version; None while it is being found out."""
        with self._lock:
            if self._measured.version == version:
                return self._measured
            if version and self._thread is None:
                self._thread = threading.Thread(target=self._inspect, name="inspection", daemon=True)
                self._thread.start()
        return None

    def wait(self, seconds: float) -> None:
        """Waits for the inspection that is under way."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(seconds)

    def _inspect(self) -> None:
        version = ""
        try:
            version = version_of(self._folder)
            found = _flagged(version, _inspected(self._folder))
        # Whatever it is must reach the page in words, for nobody waits for this thread.
        except Exception as e:
            found = Measured(version, error=(str(e) or type(e).__name__).splitlines()[0][:300])
        try:
            same = version_of(self._folder) == version
        except OSError:
            same = False
        with self._lock:
            self._thread = None
            if same:
                self._measured = found


def _inspected(folder: Path) -> Inspection:
    """As the verb `inspect` does it. Where there is nothing to decode videos with, without them."""
    try:
        need_av()
        data = storage.read(folder, images="disk")
    except ImportError:
        data = storage.read(folder, images="disk", video="skip")
    names = {str(facts.get("task", "")) for facts in data.facts}
    task = known(names.pop()) if len(names) == 1 else None
    if task is None:
        return inspect(data)
    fits = task.action.bounded and data.schema["action"] == ("float32", task.action.low.shape)
    bounds = (task.action.low, task.action.high) if fits else None
    return inspect(data, bounds=bounds, angles=_angles(data, task.obs, task.angles))


def _angles(data: Dataset, obs: Mapping[str, tuple[int, ...]], angles: Mapping[str, Any]) -> dict[str, Any]:
    """The observed angles, of observations that are the task's own."""
    same = {k for k, (_, shape) in data.schema.items() if obs.get(k) == shape}
    return {k: dims for k, dims in angles.items() if k in same}


def _flagged(version: str, found: Inspection) -> Measured:
    episodes: dict[int, list[Flag]] = {}
    whole: list[Flag] = []
    for finding in found.findings:
        flag = {
            "kind": finding.kind,
            "severity": finding.severity,
            "text": finding.evidence,
            "advice": finding.advice,
        }
        if not finding.episodes:
            whole.append(flag)
        for i in finding.episodes:
            episodes.setdefault(i, []).append(flag)
    for worst in found.worst:
        if why := [r for r in worst.reasons if r != "failed"]:  # there is a finding about failures
            flag = {"kind": "stands-out", "severity": "info", "text": "; ".join(why), "advice": "Look at it"}
            episodes.setdefault(worst.index, []).append(flag)
    return Measured(
        version,
        episodes,
        tuple(whole),
        tuple(w.index for w in found.worst),
        tuple(e.success for e in found.episodes),
    )
