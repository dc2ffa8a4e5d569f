"""A run folder as the report needs it: what is there, and one sentence about each thing that is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from understudy import storage
from understudy.dataset import Dataset
from understudy.episode import Episode
from understudy.evaluate import Report
from understudy.numerics import Estimate
from understudy.provenance import portable
from understudy.report.facts import get, load_json, load_lines, number_in, printable, read_text, text_in

__all__ = ["POLICY", "CurvePoint", "Run", "estimate_in", "load_run"]

POLICY = "policy"  # the name of the run's own policy among the evaluations
_ORDER = (POLICY, "expert", "nearest-neighbour", "replay", "random", "zero")
_MOST_EVALUATIONS = 24
_MOST_STEPS = 20_000_000  # states of one dataset that are taken into memory


@dataclass(frozen=True)
class CurvePoint:
    """What came of so many demonstrations."""

    episodes: int
    steps: int | None
    success: Estimate | None
    returned: Estimate | None


@dataclass(frozen=True)
class Run:
    """One run.

    Args:
        name: what the page calls it; runs of one page have different names.
        facts: run.json.
        metrics: one mapping a line, with finite numbers only.
        evaluations: name -> report, the policy first.
        rollouts: of the policy, in the order of its report's seeds.
        demos: what was learned from, without its pictures.
        rounds: the lines of rounds.jsonl, where it learned with an expert at hand.
        diagnosis: diagnosis.json, where it learned by acting and was held against demonstrations; else empty.
        missing: what is not there -> one sentence.
        warnings: what is there but should worry the reader.
    """

    path: Path
    name: str
    facts: Mapping[str, Any]
    metrics: tuple[Mapping[str, float], ...] = ()
    curve: tuple[CurvePoint, ...] = ()
    evaluations: Mapping[str, Report] = field(default_factory=dict)
    rollouts: Dataset | None = None
    demos: Dataset | None = None
    rounds: tuple[Mapping[str, Any], ...] = ()
    diagnosis: Mapping[str, Any] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def policy(self) -> Report | None:
        """The report of the run's own policy."""
        return self.evaluations.get(POLICY)

    @property
    def task(self) -> str:
        """What it was measured on, else what it was trained on; "" where nothing says."""
        measured = self.policy.task if self.policy else ""
        return printable(measured) or text_in(self.facts, "task") or ""

    def tried(self) -> list[tuple[int, Episode]]:
        """(seed, episode) of every rollout of the policy."""
        if self.policy is None or self.rollouts is None:
            return []
        return list(zip(self.policy.seeds, self.rollouts, strict=True))


def load_run(folder: Path, name: str) -> Run:
    """What is in a run folder.

    Raises:
        ValueError: in one line, when the folder is no run, or a file in it is damaged.
    """
    file = folder / "run.json"
    if not folder.is_dir() or not file.is_file():
        raise ValueError(f"{folder} is not a run: it has no run.json")
    facts = load_json(file)
    if not isinstance(facts, dict):
        raise ValueError(f"{file} is {type(facts).__name__}; an object is needed")
    if (facts.get("format"), facts.get("version")) != ("understudy-run", 1):
        raise ValueError(
            f"{file} is of format {facts.get('format')!r}, version {facts.get('version')!r}; "
            "only version 1 of 'understudy-run' is understood"
        )
    missing: dict[str, str] = {}
    warnings: list[str] = []
    evaluations = _evaluations(folder / "evaluations")
    if POLICY not in evaluations:
        missing["evaluation"] = (
            "The policy of this run has not been evaluated: “understudy evaluate” does that."
        )
    made = Run(
        folder,
        name,
        facts,
        metrics=_metrics(folder / "metrics.jsonl", missing),
        curve=_curve(folder / "curve.json", missing),
        evaluations=evaluations,
        rollouts=_rollouts(folder / "evaluations" / POLICY / "episodes", evaluations.get(POLICY), missing),
        demos=_demos(folder, facts, missing, warnings),
        rounds=tuple(load_lines(log)) if (log := folder / "rounds.jsonl").is_file() else (),
        diagnosis=_diagnosis(folder / "diagnosis.json"),
        missing=missing,
        warnings=tuple(warnings),
    )
    text_in(facts, "task")  # whatever else names the task: one that is no text is found now
    return made


def _metrics(file: Path, missing: dict[str, str]) -> tuple[Mapping[str, float], ...]:
    if not file.is_file():
        missing["metrics"] = "There is no record of the training (metrics.jsonl)."
        return ()
    lines = []
    for i, line in enumerate(load_lines(file)):
        where = f"{file} line {i + 1}"
        found = {printable(k): number_in({"": v}, "", where) for k, v in line.items()}
        if found.get("step") is None:
            raise ValueError(f"{where} has no step")
        lines.append({k: v for k, v in found.items() if v is not None})
    if not lines:
        missing["metrics"] = "The record of the training (metrics.jsonl) holds no line yet."
    return tuple(lines)


def _diagnosis(file: Path) -> Mapping[str, Any]:
    if not file.is_file():
        return {}
    told = load_json(file)
    if not isinstance(told, dict) or (told.get("format"), told.get("version")) != ("understudy-diagnosis", 1):
        raise ValueError(f"{file} is not a version 1 diagnosis of understudy")
    return told


def _curve(file: Path, missing: dict[str, str]) -> tuple[CurvePoint, ...]:
    if not file.is_file():
        missing["curve"] = (
            "Only one number of demonstrations was tried, so there is no curve; “understudy demo” draws one."
        )
        return ()
    listed = load_json(file)
    if not isinstance(listed, list) or not all(isinstance(p, dict) for p in listed):
        raise ValueError(f"{file} must be a list of objects")
    out = []
    for i, p in enumerate(listed):
        where = f"{file} entry {i}"
        episodes = get(p, "episodes", int, where)
        if episodes is None or episodes < 1:
            raise ValueError(f"{where}: episodes is {episodes}; at least 1 is needed")
        steps = get(p, "steps", int, where)
        out.append(
            CurvePoint(episodes, steps, estimate_in(p, "success", where), estimate_in(p, "return", where))
        )
    return tuple(sorted(out, key=lambda p: p.episodes))


def estimate_in(facts: Mapping[str, Any], key: str, where: str) -> Estimate | None:
    """The estimate under a key, None where there is none; ValueError when it is not one."""
    found = get(facts, key, dict, where)
    if found is None:
        return None
    value, low, high = (number_in(found, k, f"{where}: {key}") for k in ("value", "low", "high"))
    n = get(found, "n", int, f"{where}: {key}")
    if value is None or n is None:
        raise ValueError(f"{where}: {key} needs at least a value and an n")
    ends = (-np.inf if low is None else low, np.inf if high is None else high)
    try:
        return Estimate(value, *ends, n, text_in(found, "method", where) or "")
    except ValueError as wrong:
        raise ValueError(f"{where}: {key}: {wrong}") from None


def _evaluations(folder: Path) -> dict[str, Report]:
    names = [p.name for p in folder.iterdir() if (p / "report.json").is_file()] if folder.is_dir() else []
    if len(names) > _MOST_EVALUATIONS:
        raise ValueError(f"{folder} holds {len(names)} evaluations; at most {_MOST_EVALUATIONS} are shown")
    found = {}
    for name in sorted(names, key=lambda n: (_ORDER.index(n) if n in _ORDER else len(_ORDER), n)):
        file = folder / name / "report.json"
        try:
            found[printable(name)] = Report.from_json(read_text(file))
        except ValueError as wrong:
            raise ValueError(f"{file}: {wrong}" if str(file) not in str(wrong) else str(wrong)) from None
    return found


def _rollouts(folder: Path, report: Report | None, missing: dict[str, str]) -> Dataset | None:
    if report is None:
        return None
    if not folder.is_dir():
        missing["rollouts"] = "The rollouts themselves were not kept, so there are no paths to draw."
        return None
    data = _read(folder)
    if len(data) != len(report.outcomes):
        raise ValueError(f"{folder} has {len(data)} episodes, its report.json {len(report.outcomes)}")
    seeds = [e.meta.get("seed", s) for e, s in zip(data, report.seeds, strict=True)]
    if seeds != list(report.seeds):
        raise ValueError(f"{folder} has other seeds than its report.json, or another order")
    return data


def _demos(
    run: Path, facts: Mapping[str, Any], missing: dict[str, str], warnings: list[str]
) -> Dataset | None:
    named = get(facts, "data.path", str)
    folder = None if named is None else run / named
    if folder is None:
        missing["demos"] = "This policy learned without demonstrations."
        return None
    if not folder.is_dir():
        where = f" in “{printable(folder.name)}” beside this run"
        missing["demos"] = f"The demonstrations are not there any more{where}, so they cannot be drawn."
        return None
    try:
        data = _read(folder)
    except ValueError as wrong:
        missing["demos"] = f"The demonstrations cannot be read: {printable(portable(str(wrong)))}"
        return None
    wanted = text_in(facts, "data.fingerprint")
    if _whole(folder) and wanted is not None and wanted != data.fingerprint():
        warnings.append(
            "The folder of demonstrations has changed since this policy was trained from it: "
            "its fingerprint is another one. What is drawn of it is what is there now."
        )
    return data


def _whole(folder: Path) -> bool:
    return not _pictures(storage.info(folder))


def _pictures(about: storage.Info) -> list[str]:
    return [k for k, (kind, shape) in about.schema.items() if kind == "uint8" and len(shape) >= 2]


def _read(folder: Path) -> Dataset:
    """A dataset without its pictures: a page shows paths, and pictures would not fit into memory."""
    about = storage.info(folder)
    if about.steps > _MOST_STEPS:
        raise ValueError(f"{folder} has {about.steps} steps; at most {_MOST_STEPS} are drawn")
    if not (pictures := _pictures(about)):
        return storage.read(folder, video="skip")
    kept = about.schema.keys() - set(pictures) - {"action"}
    return Dataset(_without(e, kept) for e in storage.stream(folder, video="skip"))


def _without(e: Episode, kept: set[str]) -> Episode:
    # An episode needs an observation: where all are pictures, the steps are counted instead.
    obs = {k: e.obs[k].copy() for k in sorted(kept)} or {"step": np.arange(len(e) + 1.0)[:, None]}
    return replace(e, obs=obs)


def names(folders: Sequence[Path]) -> list[str]:
    """A short name for each folder, with as much of its parents as it takes to tell them apart."""
    resolved = [f.resolve() for f in folders]
    if len(set(resolved)) < len(resolved):
        twice = next(f for i, f in enumerate(folders) if resolved[i] in resolved[:i])
        raise ValueError(f"{twice} is named twice; each run is shown once")
    deepest = max(len(f.parts) for f in resolved)
    for depth in range(1, deepest + 1):
        short = ["/".join(f.parts[-depth:]) for f in resolved]
        if len(set(short)) == len(short):
            return [printable(s) for s in short]
    return [printable(str(f)) for f in resolved]
