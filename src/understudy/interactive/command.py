"""`understudy train dagger` and its relatives: rounds into a run folder, with the selected policy on top."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from understudy import formats
from understudy.dataset import Dataset
from understudy.envs import Task
from understudy.envs import task as find_task
from understudy.interactive.rounds import Rounds, Taught, teach
from understudy.learn import bc
from understudy.roles import Expert
from understudy.runs import Network, about, begin_run, keep_agent, nothing_else_asked, open_run, task_of
from understudy.serial import parse, write_json
from understudy.sources import expert_from
from understudy.storage import compact
from understudy.supervision import Supervision, supervision_table
from understudy.train import Budget

__all__ = ["teach_run"]

_OWN = "interactive"  # what run.json calls the part that other runs do not have


def teach_run(
    *,
    algorithm: str,
    out: Path,
    task: str | None,
    data: Path | None,
    expert: str,
    method: Any,
    plan: Rounds,
    config: bc.Config,
    network: Network,
    steps: int | None = None,
    schedule: Literal["cosine", "constant"] = "cosine",
    workers: int = 1,
    resume: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Learns with an expert at hand, into a run folder; with `resume`, goes on where it was interrupted.

    Args:
        algorithm: a module of `understudy.interactive`.
        data: demonstrations to start from.
        expert: who stands by, as `understudy.sources.expert_from` reads it.
        method: the algorithm's own Config.
        steps: of each training; 5,000 unless given.

    Raises:
        ValueError: when the folder or the data is not what it should be.
    """
    console = console or Console(quiet=True)
    asked = (method, plan, config, network)
    budget = Budget(steps=_STEPS if steps is None else steps)
    if resume:
        run = open_run(out)
        if run["algorithm"] != algorithm or _OWN not in run:
            raise ValueError(f"{out} was begun with {run['algorithm']}, not {algorithm}")
        own, where = _kept(run, asked, out, data), run["data"]
        budget = parse(Budget, run["budget"], "budget")
        nothing_else_asked(out, asked, own)
        if steps not in (None, budget.steps):
            raise ValueError(f"steps is {steps}, but {out} was begun with {budget.steps}; leave it out")
        method, plan, config, network = own
        task, expert = run["task"], run[_OWN]["expert"]
        data = out / where["path"] if run[_OWN]["demonstrations"] else None
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} exists and is not empty; choose another folder, or --resume the run in it")
    start = Dataset() if data is None else formats.read(data)
    which = _task(task, start, data)
    if resume and data is not None and start.fingerprint() != run["data"]["fingerprint"]:
        raise ValueError(f"{data} is not the data that {out} was begun with")
    if plan.epochs is not None and steps is not None:
        raise ValueError(f"steps {steps} and epochs {plan.epochs} are two answers to one question; give one")
    stands_by = expert_from(expert, which)
    made = _method(algorithm, stands_by, method, plan.rounds)
    if not resume:
        source = out / "collected" if data is None else data
        run = begin_run(
            out, source, start, config=config, network=network, budget=budget, validation=0.0,
            algorithm=algorithm, task=which.name,
        )  # fmt: skip
        run[_OWN] = {
            "method": asdict(method), "plan": asdict(plan), "expert": expert, "schedule": schedule,
            "demonstrations": data is not None,
        }  # fmt: skip
        write_json(out / "run.json", run)
    constant = run[_OWN]["schedule"] == "constant" and config.decay is None
    taught = teach(
        made, which, start=start, plan=plan, network=network,
        config=replace(config, decay=_NEVER) if constant else config,
        budget=budget, workers=workers, run=out, resume=resume, console=console,
    )  # fmt: skip
    if taught.stopped == "interrupted":
        console.print(f"interrupted after {max(0, len(taught.log) - 1)} rounds; go on with --resume")
        return {"run": str(out), "stopped": "interrupted", "rounds": len(taught.log), "exit_status": 130}
    return _finish(out, run, taught, console)


_STEPS = 5000  # of each training
_NEVER = 1 << 60  # steps after which the learning rate has fallen: it stays what it is


def _method(algorithm: str, expert: Expert, config: Any, rounds: int) -> Any:
    return import_module(f"understudy.interactive.{algorithm}").Method(expert, config, rounds)


def _task(name: str | None, start: Dataset, data: Path | None) -> Task:
    made_for = task_of(start) if len(start) else None
    if name is None and made_for is None:
        raise ValueError(
            "no task is named, and no data that names one; the expert needs somewhere to stand by"
        )
    if name is not None and made_for not in (None, name):
        raise ValueError(f"{data} was recorded on {made_for}, not on {name}")
    return find_task(str(name or made_for))


def _kept(run: Mapping[str, Any], asked: tuple[Any, ...], out: Path, data: Path | None) -> tuple[Any, ...]:
    """The settings that a resumed run was begun with."""
    own = run[_OWN]
    if data is not None and (out / run["data"]["path"]).resolve() != data.resolve():
        raise ValueError(f"{out} was begun with other data than {data}; leave --data out")
    kinds = [type(a) for a in asked]
    said = (own["method"], own["plan"], run["config"], run["network"])
    names = ("method", "plan", "config", "network")
    return tuple(parse(k, s, n) for k, s, n in zip(kinds, said, names, strict=True))


def _finish(out: Path, run: dict[str, Any], taught: Taught, console: Console) -> dict[str, Any]:
    """Puts the selected policy on top of the run, and says what the rounds cost."""
    chosen = taught.log[taught.selected]
    run[_OWN] |= {"selected_round": taught.selected, "labelled": taught.log[-1]["labelled"]}
    compact(out / "collected")  # one file an episode is safe to write and slow to read
    if not run[_OWN]["demonstrations"]:  # everything that was learned from is what was collected
        run["data"] = about(out / "collected", out, taught.data, taught.data.fingerprint())
    run["stopped"] = "steps"
    run["cpu_seconds"] = round(sum(line.get("train_cpu_seconds", 0.0) for line in taught.log), 3)
    keep_agent(out, run, taught.agent, "last", run["budget"]["steps"])
    shutil.copyfile(out / "rounds" / f"{taught.selected:03d}" / "metrics.jsonl", out / "metrics.jsonl")
    rounds = {
        f"round {line['round']}": Supervision.of(
            [e for e in taught.data if e.meta.get("round") == line["round"] - 1]
        )
        for line in taught.log
        if line.get("supervision")
    }
    total = Supervision.of([e for e in taught.data if "round" in e.meta])
    console.print(supervision_table(rounds | {"all rounds": total}))
    before, after = taught.log[0], chosen
    console.print(
        f"kept the policy of round {taught.selected} of {len(taught.log) - 1}: {_words(after)} on the "
        f"validation seeds (before the rounds {_words(before)}), {taught.log[-1]['labelled']} labelled "
        f"states in all; in {out}",
        soft_wrap=True,
    )
    return {
        "run": str(out), "stopped": "done", "task": run["task"], "algorithm": run["algorithm"],
        "selected_round": taught.selected, "labelled": taught.log[-1]["labelled"],
        "supervision": total.summary(), "rounds": [dict(line) for line in taught.log],
    }  # fmt: skip


def _words(line: Mapping[str, Any]) -> str:
    for name in ("success", "return"):
        if found := line.get(name):
            return f"{name} {found['value']:.3g} [{found['low']:.3g}, {found['high']:.3g}]"
    return "not measured"
