"""The tables and the drawing about learning with an expert at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cells import interval, load, ratio
from understudy.report.charts import Point
from understudy.report.overlay import Level, Series, curve_figure, keys, save_figure

__all__ = ["compounding", "dagger_round", "ensemble", "interactive", "permitted", "success_curves"]


def ends(e: dict[str, Any]) -> tuple[float, float, float]:
    return e["value"], e["low"], e["high"]


def interactive() -> str:
    d = load("interactive")
    rows = [
        "| method | seeds | rounds | labelled states to 95 % of the expert | to no difference shown "
        "| labelled at the end | success | interventions | switches | steps held | failures in 100 |",
        "|---|---:|---:|---:|---:|---:|---|---:|---:|---:|---:|",
    ]
    for method, m in d["methods"].items():
        if method == "expert":
            continue
        last, s = m["curve"][-1], m["supervision"]
        near, equal = (
            "–" if m[f"labelled_to_{k}"] is None else f"{m[f'labelled_to_{k}']:.0f}"
            for k in ("95_percent_of_expert", "no_difference_from_expert")
        )
        rounds = "–" if method == "bc" else str(len(m["curve"]) - 1)
        cells = [
            str(m["seeds"]),
            rounds,
            near,
            equal,
            f"{last['labelled']:.0f}",
            interval(last["success"], 2),
        ]
        told = method in ("bc", "dagger")  # whose expert drives by the schedule, or not at all
        cells += ["–" if told or not s else f"{s[k]:.0f}" for k in ("interventions", "context_switches")]
        cells += ["–" if told or not s else f"{s['held'] / s['steps']:.0%}"]
        cells += ["–" if not s else f"{100 * s['failures'] / s['episodes']:.0f}"]
        rows.append(f"| {method.replace('_', '-')} | " + " | ".join(cells) + " |")
    n = d["test_seeds"][1]
    rows += [
        "",
        f"{d['task']}, each policy alone on the same {n} fresh episodes; expert "
        f"{interval(d['methods']['expert'], 2)}. Labelled states include the 10 demonstrations, and are "
        "means over training seeds. The first column is the first policy whose success is within a "
        "twentieth of the expert's, the second the first whose paired interval against the expert holds 0. "
        f"A round has {d['episodes']} episodes; interventions, switches, the share of steps the expert held "
        "and failures are of all of them. 95 % intervals over all episodes. "
        f"`{d['command']}`",
    ]
    return "\n".join(rows)


def success_curves(out: Path) -> Path:
    """The methods' success against labelled states, as one drawing."""
    d = load("interactive")
    series = [
        Series(
            method.replace("_", "-"),
            tuple(
                Point(
                    p["labelled"],
                    *(p["success"][k] for k in ("value", "low", "high")),
                    f"{p['labelled']:.0f}",
                )
                for p in m["curve"]
            ),
        )
        for method, m in d["methods"].items()
        if method != "expert"
    ]
    expert = d["methods"]["expert"]
    levels = [Level("expert", *ends(expert))]
    drawn = curve_figure(
        series, "labelled states", "success", title="Success against labelled states", levels=levels,
        share=True, log_x=True, x_marks=(200, 300, 500, 700, 1000, 1500),
    )  # fmt: skip
    return save_figure(out, drawn, keys(series, levels), height=520)


def permitted() -> str:
    d = load("permitted")
    rows = [
        "| training seed | labelled states | τ | failures inside | failures outside | Fisher's p "
        "| doubt and distance, Spearman |",
        "|---|---:|---:|---|---|---:|---:|",
    ]
    for r in d["runs"]:
        cells = [f"{r['labelled']}", f"{r['tau']:.2f}", interval(r["inside"], 2), interval(r["outside"], 2)]
        cells += [f"{r['p']:.2g}", f"{r['spearman_distance']:.2f}"]
        rows.append(f"| {r['seed']} | " + " | ".join(cells) + " |")
    all_ = d["together"]
    rows += [
        "",
        f"{d['task']}: HG-DAgger from 10 demonstrations, {d['rounds']} rounds of {d['episodes']} episodes, "
        f"its last policy; {d['starts']} starts each, states into which the policy was pushed for "
        f"{d['pushed_steps']} steps. All starts together: {interval(all_['inside'], 2)} of "
        f"{all_['inside']['n']} fail inside, {interval(all_['outside'], 2)} of {all_['outside']['n']} "
        f"outside. 95 % intervals. `{d['command']}`",
    ]
    return "\n".join(rows)


def ensemble() -> str:
    d = load("ensemble_step")
    rows = [
        "| hidden layers | one network | ensemble of 5 | ratio | five learners in turn | act | doubt |",
        "|---|---:|---:|---|---:|---:|---:|",
    ]
    for name, n in d["nets"].items():
        cells = [f"{n['steps'][k]['cpu_ms']:.2f} ms" for k in ("one", "ensemble")]
        cells += [ratio(n["ratios"]["ensemble/one"]), f"{n['untargeted']['separate/one']['median']:.2g} ×"]
        cells += [f"{n['answers'][k]['median_us']:.0f} µs" for k in ("act", "doubt")]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    rows += [
        "",
        "A training step with batch 64 for every member, and an answer to one observation; CPU time on one "
        "thread. Up to 64 units most of a small network's step is calls, which five members share; at 256 it "
        "is arithmetic, of which there is five times as much. "
        "`python benchmarks/ensemble_step.py --json-out benchmarks/results/ensemble_step.json`",
    ]
    return "\n".join(rows)


def dagger_round() -> str:
    d = load("dagger_round")
    rows = [
        "| hidden layers | ours, CPU a round | `imitation` | ratio | return, ours | `imitation` "
        "| ours − `imitation` |",
        "|---|---:|---:|---|---|---|---|",
    ]
    for name, n in d["nets"].items():
        c, r = n["contenders"], n["ratios"]
        cells = [f"{c[k]['cpu_ms'] / 1e3:.2f} s" for k in ("ours", "imitation")]
        cells += [ratio(r["imitation/ours"])]
        cells += [interval(c[k]["return"], 0) for k in ("ours", "imitation")]
        cells += [interval(r["return, ours - imitation"], 1)]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    s, expert = d["setting"], next(iter(d["nets"].values()))["expert_return"]
    rows += [
        "",
        f"{s['task']}, {s['rounds']} rounds of {s['steps']:,} steps, {s['epochs']} passes with batch "
        f"{s['batch']} after each, one thread; {s['seeds']} training seeds, their last policies on the same "
        f"{s['fresh']} fresh episodes (the expert: {interval(expert, 0)}). "
        "`python benchmarks/dagger_round.py --json-out benchmarks/results/dagger_round.json`",
    ]
    return "\n".join(rows)


def compounding() -> str:
    d = load("compounding")
    horizons = list(d["tables"]["costs"]["bc"])
    rows = [
        "| measured (exact) | T = " + " | ".join(horizons) + " | slope (exact) |",
        "|---|" + "---:|" * len(horizons) + "---|",
    ]
    parts = (
        ("tables", "bc", "cloning, tables"),
        ("tables", "dagger", "DAgger, tables"),
        ("networks", "bc", "cloning, networks"),
        ("networks", "dagger", "DAgger, networks"),
        ("control", "shared", "control: one policy for all steps"),
        ("control", "per_step", "control: one for each step"),
    )
    for part, which, words in parts:
        costs, slope = d[part]["costs"][which], d[part]["slopes"][which]
        cells = [
            f"{costs[t]['value']:.3g} ({costs[t]['theory']:.3g})" if t in costs else "–" for t in horizons
        ]
        cells.append(f"{interval(slope, 2)} ({slope['theory']:.2f})")
        rows.append(f"| {words} | " + " | ".join(cells) + " |")
    rows += [
        "",
        f"Cost of an episode on the slip road, ε = {d['plan']['tables']['epsilon']}; `{d['command']}`",
    ]
    names = {"start": "cloning of the start", "bc": "cloning", "dagger": "DAgger"}
    rows += ["", "| relay | labelled states | 1 goal | 4 in a row | 8 in a row | a leg |"]
    rows += ["|---|---:|---|---|---|---|"]
    for plan, relay in zip(d["plan"]["relays"], d["relays"], strict=True):
        for which, words in names.items():
            m = relay["methods"][which]
            cells = [f"{sum(m['labels']) / len(m['labels']):,.0f}"]
            cells += [interval(m["in_a_row"][k - 1], 2) for k in (1, 4, 8)]
            cells.append(interval(m["geometric"]["per_leg"], 3))
            rows.append(f"| {plan['task']}, {words} | " + " | ".join(cells) + " |")
    return "\n".join(rows)
