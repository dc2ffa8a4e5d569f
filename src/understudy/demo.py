"""The main job in one call: demonstrations in, a measured policy and a report out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from understudy import storage
from understudy.agent import Chunked
from understudy.baselines import baseline_policies
from understudy.envs import Task, task
from understudy.evaluate import Report, compare, fresh_seeds
from understudy.learn import bc
from understudy.provenance import provenance
from understudy.record import demonstrate
from understudy.report import write_report
from understudy.roles import Policy
from understudy.rollout import Workers
from understudy.runs import POLICY, Network, begin_run, fit, measure, policies_table, save_run
from understudy.serial import write_json
from understudy.show import inspection
from understudy.storage import Writer
from understudy.train import Budget

__all__ = ["demo"]

BUDGET = Budget(steps=5000, validate_every=250)
CONFIG = bc.Config(batch=256, learning_rate=1e-3, decay=BUDGET.steps, weight_decay=1e-3)
NETWORK = Network()
VALIDATION = 0.1


def demo(
    *,
    out: Path,
    task_name: str,
    demonstrations: tuple[int, ...] = (10, 25, 50, 100),
    episodes: int = 200,
    workers: int = 2,
    console: Console | None = None,
) -> dict[str, Any]:
    """Records a task's expert, clones it from more and more demonstrations, measures it beside baselines.

    Every policy is measured on the same fresh seeds, with the weights of the last step. The policy of the
    report is the one from most demonstrations.

    Raises:
        ValueError: when the folder is in use, or a number of demonstrations is below 2.
    """
    console = console or Console(quiet=True)
    sizes = sorted(set(demonstrations))
    if not sizes or sizes[0] < 2:
        raise ValueError(f"demonstrations is {demonstrations}; each number must be at least 2")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} exists and is not empty; choose another folder, or remove it")
    began = time.monotonic()
    which = task(task_name)
    data_folder, run_folder = out / "demonstrations", out / "run"
    with Workers(workers) as pool:
        console.rule(f"1  record {sizes[-1]} demonstrations of {which.name}")
        with Writer(data_folder, fps=which.fps) as writer:
            demonstrate(which, range(sizes[-1]), workers=pool, writer=writer, console=console)
        data = storage.read(data_folder)
        console.print(f"{len(data)} episodes, {data.steps} steps, {sum(map(bool, data.successes))} successes")

        console.rule("2  clone and measure: success against the number of demonstrations")
        seeds = fresh_seeds(episodes, data)
        expert = which.expert() if which.expert else None
        curve: list[dict[str, Any]] = []
        reports: dict[str, Report] = {}
        for size in sizes:
            last = size == sizes[-1]
            used = data[:size]
            settings: dict[str, Any] = {
                "config": CONFIG,
                "network": NETWORK,
                "budget": BUDGET,
                "validation": VALIDATION,
            }
            run = begin_run(run_folder, data_folder, used, **settings) if last else {}
            agent, outcome = fit(
                used,
                **settings,
                which=which,
                run=run_folder if last else None,
                progress=console.is_terminal,
            )
            policies: dict[str, Policy] = {POLICY: Chunked(agent, NETWORK.execute)}
            if last:
                save_run(run_folder, run, agent, outcome)
                policies |= baseline_policies(data, which.action, expert)
            found = measure(
                policies, which, seeds, run=run_folder if last else None, workers=pool, console=console
            )
            reports = found
            rate = found[POLICY].success_rate
            curve.append(
                {
                    "episodes": size,
                    "steps": used.steps,
                    "success": None if rate is None else rate.summary(),
                    "return": found[POLICY].mean_return.summary(),
                }
            )
            console.print(f"{size:4d} demonstrations, {used.steps:5d} steps: success {rate}")
        write_json(run_folder / "curve.json", curve)

    console.rule("3  the policy beside the baselines")
    console.print(policies_table(reports, f"{which.name}, {episodes} fresh episodes each, 95 % intervals"))
    difference = compare(reports[POLICY], reports["expert"])
    console.print(str(difference))
    page = write_report([run_folder], out / "report.html")
    inspection(data_folder, Console(quiet=True), out / "inspection.html")
    seconds = time.monotonic() - began
    console.rule(f"done in {seconds:.0f} s")
    console.print(_next(out, which, page))
    return {
        "task": which.name,
        "report": str(page),
        "seconds": round(seconds, 1),
        "curve": curve,
        "policies": {n: r.summary() for n, r in reports.items()},
        "against_expert": {k: v for k, v in difference.summary().items() if k != "seeds"},
        "seeds": [seeds[0], seeds[-1] + 1],
        "provenance": provenance(),
    }


def _next(out: Path, which: Task, page: Path) -> Table:
    """What to do now, as commands that work."""
    table = Table.grid(padding=(0, 2))
    table.add_row("look at it", f"{page}")
    table.add_row("the demonstrations", f"{out / 'inspection.html'}")
    table.add_row("twice as many", f"understudy record {which.name} --episodes 200 --out more")
    table.add_row("a policy from them", "understudy train bc --data more --out more-run")
    table.add_row("measure it", f"understudy evaluate more-run --task {which.name} --episodes 200")
    table.add_row("is it better?", f"understudy compare more-run {out / 'run'}")
    return table
