"""The tables and the drawing about inverse reinforcement learning, and about the learner that serves it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cells import interval, load, ratio
from understudy.report.charts import Point
from understudy.report.overlay import Level, Series, curve_figure, keys, save_figure

__all__ = ["continuous", "coverage", "objectworld", "sac_returns", "sac_step", "tabular", "value_curves"]

METHODS = {
    "deep": "deep MaxEnt",
    "linear_discrete": "linear MaxEnt, thresholds of distances",
    "linear": "linear MaxEnt, distances",
    "cloning_features": "cloning, network on the features",
    "cloning_table": "cloning, table",
}
PLACES = {"same": "same world", "placement": "new placement", "wind": "wind from the side"}


def coverage() -> str:
    d = load("irl_coverage")
    rows = [
        "| demonstrations | choices: covered | without a maximum | error (its standard error) "
        "| features: covered | without a maximum |",
        "|---:|---|---:|---|---|---:|",
    ]
    for n, found in d["sizes"].items():
        choices, features = found["choices"], found["features"]
        both = (choices["sandwich"]["error"], choices["sandwich"]["standard_error"])
        rows.append(
            f"| {n} | {interval(choices['sandwich']['covered'], 3)} | {choices['no_maximum']} "
            f"| {both[0]:.2g} ({both[1]:.2g}) | {interval(features['sandwich']['covered'], 3)} "
            f"| {features['no_maximum']} |"
        )
    rows += [
        "",
        f"{d['datasets']} simulated datasets of each size on a slippery 5 × 5 grid, γ = 0.95, four weights "
        "that are known; the share of the weights that their 95 % interval (sandwich) holds, with a "
        "bootstrap over datasets. A dataset without a maximum has no interval, and is counted beside. "
        "`python benchmarks/irl_coverage.py --json-out benchmarks/results/irl_coverage.json`",
    ]
    return "\n".join(rows)


def tabular() -> str:
    d = load("irl_tabular")
    rows = [
        "| world | `imitation` | its error | ours, to that error | ratio | ours, to 1e-7 | ratio |",
        "|---|---:|---:|---:|---|---:|---|",
    ]
    for name, w in d["worlds"].items():
        theirs = w["imitation"]
        rate = theirs["rates"][theirs["compared"]]
        ratios = list(w["ratios"].values())
        rows.append(
            f"| {name} | {theirs['cpu_ms'] / 1e3:.1f} s, {rate['iterations']} iterations "
            f"| {rate['error']:.1e} | {w['ours, to their error']['cpu_ms']:.0f} ms | {ratio(ratios[0])} "
            f"| {w['ours, to 1e-7']['cpu_ms']:.0f} ms | {ratio(ratios[1])} |"
        )
    sides = d["grid"]["sides"]
    last = sides["300"]
    rows += [
        "",
        "CPU time of a whole fit on one thread, from exact demonstrations of the same expert, undiscounted, "
        "the same features; the error is that of the state visits of the policy that is soft-optimal for the "
        "reward found. `imitation` stops at 1e-3 by its own measure or after 1,000 iterations; of two "
        "learning rates, its default and ten times that, the better one counts.",
        "",
        "One backward and one forward pass over a slippery 300 × 300 grid "
        f"({last['nonzeros']:,} transitions, horizon {d['horizon']}): {last['cpu_ms'] / 1e3:.1f} s, "
        f"{last['peak_mib']} MiB; cost grows with the transitions to the power "
        f"{d['grid']['exponent of nonzeros, by the fastest of each']:.2f}. "
        "`python benchmarks/irl_tabular.py --json-out benchmarks/results/irl_tabular.json`",
    ]
    return "\n".join(rows)


def objectworld() -> str:
    d = load("irl_objectworld")
    numbers = d["demonstrations"]
    rows = [
        "| value lost | "
        + " | ".join(f"{PLACES[p]}, {n}" for p in PLACES for n in (numbers[0], numbers[-1]))
        + " |",
        "|---|" + "---|" * (2 * len(PLACES)),
    ]
    for method, words in METHODS.items():
        cells = [interval(d["values"][method][p][i], 2) for p in PLACES for i in (0, -1)]
        rows.append(f"| {words} | " + " | ".join(cells) + " |")
    cells = [f"{d['chance'][p]['value']:.2f}" for p in PLACES for _ in range(2)]
    rows.append("| acting at random | " + " | ".join(cells) + " |")
    s = d["settings"]
    rows += [
        "",
        f"Objectworld of {s['size']} × {s['size']} cells with {s['objects']} objects, {s['slip']:.0%} of the "
        f"moves random, γ = {s['discount']}; {numbers[0]} and {numbers[-1]} demonstrations of {s['length']} "
        "steps; "
        f"{len(d['seeds'])} worlds, with Student's 95 % interval over them. Value lost is that of the policy "
        "that is optimal for the reward found (for cloning, of the clone), measured by the true reward. "
        f"`{d['command']}`",
    ]
    return "\n".join(rows)


def value_curves(out: Path) -> Path:
    """The value that is lost against demonstrations, in the same world."""
    d = load("irl_objectworld")
    series = [
        Series(
            words,
            tuple(
                Point(n, e["value"], max(e["low"], 0.0), e["high"], f"{n}")
                for n, e in zip(d["demonstrations"], d["values"][method]["same"], strict=True)
            ),
        )
        for method, words in METHODS.items()
    ]
    chance = d["chance"]["same"]
    levels = [Level("acting at random", chance["value"], chance["low"], chance["high"])]
    drawn = curve_figure(
        series, "demonstrations", "value lost", title="Objectworld: value lost against demonstrations",
        levels=levels, share=False, log_x=True, x_marks=tuple(d["demonstrations"]),
    )  # fmt: skip
    return save_figure(out, drawn, keys(series, levels), height=520)


def continuous() -> str:
    d = load("irl_continuous")
    rows = [
        "| task | policy of inverse RL | each seed | fresh policy on the frozen reward | each seed |",
        "|---|---|---|---|---|",
    ]
    for name, t in d["tasks"].items():
        cells = []
        for which in ("irl", "again"):
            m = t[which]
            spread = "" if m["low"] is None else f" [{m['low']:.3f}, {m['high']:.3f}]"
            cells += [f"{m['mean']:.3f}{spread}", ", ".join(f"{x:.2f}" for x in m["by_seed"])]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    each = "; ".join(
        f"{name}: {r['demonstrations']} demonstrations, {r['steps']:,} and {r['again']:,} steps"
        for name, r in d["recipes"].items()
    )
    rows += [
        "",
        "Return, 0 being the random policy's and 1 the expert's, of the last policy by its mode on "
        f"{d['test_seeds'][1]} fresh episodes; Student's 95 % interval over training seeds, each with "
        f"demonstrations of its own. {each}. `{d['command']}`",
    ]
    return "\n".join(rows)


def sac_step() -> str:
    d = load("sac_step")
    ratios = {k.split("/")[1]: r for k, r in {**d["ratios"], **d["untargeted"]}.items()}
    theirs = d["updates"]["stable-baselines3"]
    rows = ["| critics | ours, an update | Stable-Baselines3 | ratio |", "|---|---:|---:|---|"]
    for name, r in ratios.items():
        ours = d["updates"][name]["cpu_ms"]
        rows.append(f"| {name} | {ours:.1f} ms | {theirs['cpu_ms']:.1f} ms | {ratio(r)} faster |")
    s = d["setting"]
    rows += [
        "",
        f"{s['obs']} observations, {s['action']} actions, {s['hidden']}, batch {s['batch']}, a tuned "
        "temperature, the draw of the batch included; one thread, CPU time. Stable-Baselines3's critics are "
        "plain. "
        "`python benchmarks/sac_step.py --json-out benchmarks/results/sac_step.json`",
    ]
    return "\n".join(rows)


def sac_returns() -> str:
    d = load("sac_returns")
    names = ("plain", "layernorm", "crossq", "stable-baselines3")
    rows = ["| task, steps | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for task, found in d["summary"].items():
        cells = []
        for n in names:
            e: dict[str, Any] | None = found.get(n)
            if e is None:
                cells.append("not run")
                continue
            each = ", ".join(f"{x:.0f}" for x in e["seeds"].values())
            cells.append(f"{e['value']:.0f} ({each})")
        rows.append(f"| {task}, {d['setting']['steps'][task]:,} | " + " | ".join(cells) + " |")
    s = d["setting"]
    rows += [
        "",
        f"Mean return of the last policy by its mode on {s['episodes']} fresh episodes, and each training "
        f"seed's; the first {s['uniform']:,} steps are uniformly random, then one update a step. "
        "`python benchmarks/sac_returns.py --json-out benchmarks/results/sac_returns.json`",
    ]
    return "\n".join(rows)
