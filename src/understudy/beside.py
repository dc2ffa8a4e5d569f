"""`understudy shadow`: a run's policy beside an expert, live or on demonstrations, with a page about it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from understudy import formats, storage
from understudy.agent import Chunked, Corrected
from understudy.envs import Task
from understudy.envs import task as find_task
from understudy.evaluate import FIRST_SEED, fresh_seeds
from understudy.interactive.doubtgate import unit
from understudy.provenance import provenance
from understudy.record import tracked
from understudy.report.shadow import write_shadow_page
from understudy.rollout import Workers
from understudy.runs import open_run, policy_of
from understudy.shadow import (
    Readiness,
    Shadow,
    Stretch,
    Trust,
    by_share,
    by_step,
    chosen_frames,
    readiness,
    shadow,
    shadow_data,
    trust,
    worth_labelling,
)
from understudy.sources import expert_from

__all__ = ["shadow_run"]

_FORMAT, _VERSION = "understudy-shadow", 1


def shadow_run(
    policy: Path,
    *,
    out: Path,
    task: str | None = None,
    expert: str = "task",
    data: Path | None = None,
    episodes: int = 50,
    seed: int = FIRST_SEED,
    tolerance: float = 0.5,
    lapse: int = 2,
    level: float = 0.9,
    frames: int = 50,
    alone: bool = True,
    workers: int = 1,
    console: Console | None = None,
) -> dict[str, Any]:
    """Lets a run's policy look on and says where it disagrees, when it could be trusted, what to label next.

    Writes OUT/shadow.json, OUT/shadow.html and OUT/worth-labelling (a dataset, where there is anything worth
    it). Disagreement is in units of the agent's own action normaliser.

    Args:
        policy: the run's folder.
        task: where the expert drives live; by default what the run was trained on.
        expert: who drives, as `understudy.sources.expert_from` reads it.
        data: recorded episodes to look at instead.
        alone: let the policy drive on the same seeds, too, and compare.

    Raises:
        ValueError: when the folder is no run, `out` is not empty, or there is no such expert.
    """
    console = console or Console(quiet=True)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} exists and is not empty; choose another folder")
    run = open_run(policy)
    acts, scale = _opened(policy, run)
    trusted: Trust | None = None
    warning = ""
    if data is not None:
        which = _known(task or run["task"])
        recorded = formats.read(data)
        seen = shadow_data(acts, recorded, scale=scale)
        if recorded.fingerprint() == run["data"].get("fingerprint"):
            warning = "these are the episodes it was trained on, where it agrees more than elsewhere"
    else:
        which = _task(task or run["task"])
        seeds = fresh_seeds(episodes, (), seed)
        with Workers(workers) as pool:
            live = partial(_live, acts, expert, which, seeds, scale, pool, console)
            seen, own = live("expert"), live("policy") if alone else None
        if own is not None and any(won is not None for won in own.data.successes):
            trusted = trust(seen, own, tolerance=tolerance, lapse=lapse)
    ready = readiness(seen, tolerance=tolerance, lapse=lapse, level=level)
    return _written(out, Found(seen, ready, trusted, chosen_frames(seen, frames), warning), which, console)


@dataclass(frozen=True)
class Found:
    """What is written: what was seen, what follows, what came of it, which frames, and what to beware of."""

    seen: Shadow
    ready: Readiness
    trusted: Trust | None
    frames: Mapping[int, list[int]]
    warning: str


def _opened(folder: Path, run: Mapping[str, Any]) -> tuple[Chunked, NDArray[np.float64] | None]:
    """The policy as it acts, and the scale of its actions; None where theirs is not that of commands."""
    acts = policy_of(folder, run)
    if isinstance(acts, Corrected):
        raise ValueError(f"{folder} corrects a base, step by step; shadow looks at single agents")
    acts.name = str(run["algorithm"])  # type: ignore[attr-defined]
    return acts, None if acts.agent.frame is not None else unit(acts.agent)


def _task(name: str | None) -> Task:
    """The task that the expert drives on."""
    if name is None:
        raise ValueError("the run does not say which task it is for; name one with --task, or give --data")
    return find_task(str(name))


def _known(name: str | None) -> Task | None:
    """The task where it is one that can be had: recorded episodes do without."""
    if name is None:
        return None
    try:
        return find_task(name)
    except (KeyError, ImportError, ValueError):
        return None


def _live(
    acts: Chunked,
    expert: str,
    which: Task,
    seeds: tuple[int, ...],
    scale: NDArray[np.float64] | None,
    pool: Workers,
    console: Console,
    driver: Literal["expert", "policy"],
) -> Shadow:
    """One of the two at the controls, the other beside him."""
    beside = expert_from(expert, which)
    with tracked(console, f"the {driver} drives", len(seeds)) as bar:
        return shadow(
            acts, beside, which.make, seeds, scale=scale, driver=driver, workers=pool,
            progress=lambda _: bar.advance(bar.task_ids[0]),
        )  # fmt: skip


def _written(out: Path, found: Found, which: Task | None, console: Console) -> dict[str, Any]:
    """Writes everything, says it, and returns it ready for JSON."""
    out.mkdir(parents=True, exist_ok=True)
    if found.frames:
        fps = None if which is None else which.fps
        storage.write(out / "worth-labelling", worth_labelling(found.seen, found.frames), fps=fps)
    body = _body(found)
    (out / "shadow.json").write_text(json.dumps(body, allow_nan=False) + "\n")
    write_shadow_page(
        found.seen, found.ready, out / "shadow.html", worth=found.frames, trusted=found.trusted,
        view=None if which is None else which.view, provenance=body["provenance"], warning=found.warning,
    )  # fmt: skip
    if found.warning:
        console.print(f"beware: {found.warning}", markup=False, soft_wrap=True)
    came = "what comes of it when the policy drives was not measured"
    for line in (found.ready, came if found.trusted is None else found.trusted):
        console.print(str(line), soft_wrap=True, markup=False)
    count = sum(map(len, found.frames.values()))
    kept = f"{count} frames worth labelling in {out / 'worth-labelling'}" if count else "no frame to label"
    console.print(f"{kept}; the page is {out / 'shadow.html'}", soft_wrap=True, markup=False)
    long = ("disagreement", "by_step", "by_share")
    return {k: v for k, v in body.items() if k not in long} | {"out": str(out)}


def _body(found: Found) -> dict[str, Any]:
    """What shadow.json says."""
    seen = found.seen
    return {
        "format": _FORMAT, "version": _VERSION, "task": seen.task, "policy": seen.policy,
        "driver": seen.driver, "episodes": len(seen.data), "steps": seen.data.steps,
        "warning": found.warning, "scale": seen.scale.tolist(), "mean_disagreement": seen.mean.summary(),
        "by_dimension": seen.by_dimension.tolist(), "readiness": found.ready.summary(),
        "trust": None if found.trusted is None else found.trusted.summary(),
        "by_step": _stretches(by_step(seen)), "by_share": _stretches(by_share(seen)),
        "frames": {str(i): steps for i, steps in found.frames.items()},
        "disagreement": [[None if np.isnan(x) else round(float(x), 6) for x in d] for d in seen.disagreement],
        "provenance": provenance(),
    }  # fmt: skip


def _stretches(found: Sequence[Stretch]) -> list[dict[str, Any]]:
    return [{"start": s.start, "stop": s.stop, "mean": s.mean.summary()} for s in found]
