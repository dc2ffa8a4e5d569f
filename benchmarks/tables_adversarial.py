"""The tables about learning by acting from demonstrations, and about the learners beneath."""

from __future__ import annotations

from typing import Any

from cells import load

__all__ = ["adversarial", "on_policy", "past_the_teacher", "runners"]


def adversarial() -> str:
    d = load("adversarial")
    rows = [
        "| method | score: mean, 95 % interval | each seed's | steps a CPU second "
        "| `imitation`: score | steps a CPU second | ratio |",
        "|---|---|---|---:|---|---:|---|",
    ]
    for name, found in d["methods"].items():
        ours, theirs = found["ours"], found.get("imitation")
        each = ", ".join(f"{x:.2f}" for _, x in sorted(ours["by_seed"].items()))
        span = f" [{ours['low']:.3f}, {ours['high']:.3f}]" if ours.get("low") is not None else ""
        peer = ["not run", "", ""]
        if theirs is not None:
            scores = ", ".join(f"{x:.2f}" for x in theirs["by_seed"].values())
            peer = [
                scores,
                f"{theirs['steps_a_cpu_second']:,.0f}",
                f"{found['times_as_fast']['median']:.2g} ×",
            ]
        rows.append(
            f"| {name.upper()}, {found['seeds']} seeds | {ours['mean']:.3f}{span} | {each} "
            f"| {ours['steps_a_cpu_second']:,.0f} | " + " | ".join(peer) + " |"
        )
    rows += [
        "",
        f"Pendulum, PPO as the generator, {d['steps']:,} steps, {d['demonstrations']} demonstrations, no "
        "start from cloning. The return of the last policy by its mode on 100 fresh episodes, 0 being random "
        "actions and 1 the expert; Student's interval over training seeds. A ratio is that of CPU time in "
        "one run of both, all work included, on the seeds that both ran. "
        "`python benchmarks/adversarial.py --out benchmarks/results/adversarial.json`",
    ]
    return "\n".join(rows)


def on_policy() -> str:
    d = load("onpolicy_returns")
    names = ("ppo", "stable-baselines3 ppo", "trpo")
    rows = [
        "| task, steps | " + " | ".join(f"{n}: return | steps a CPU second" for n in names) + " |",
        "|---|" + "---|---:|" * len(names),
    ]
    for task, found in d["summary"].items():
        cells: list[str] = []
        for n in names:
            e: dict[str, Any] | None = found.get(n)
            if e is None:
                cells += ["not run", ""]
                continue
            each = ", ".join(f"{x:.0f}" for x in e["seeds"].values())
            cells += [f"{e['value']:.0f} ({each})", f"{e['steps_a_cpu_second']:,.0f}"]
        rows.append(f"| {task}, {d['setting']['steps'][task]:,} | " + " | ".join(cells) + " |")
    s = d["setting"]
    rows += [
        "",
        f"Mean return of the last policy by its mode on {s['episodes']} fresh episodes, and each training "
        "seed's. Both PPOs have the same settings, networks and number of environments; ours normalises "
        "observations and values by itself, the other one is as it is without its optional wrapper for that. "
        "TRPO has no peer here. "
        "`python benchmarks/onpolicy_returns.py --json-out benchmarks/results/onpolicy_returns.json`",
    ]
    return "\n".join(rows)


def runners() -> str:
    """The trained experts that ship."""
    rows = [
        "| task | steps of training | return | least of all | to the time limit |",
        "|---|---:|---|---:|---|",
    ]
    commands = list[str]()
    for name, e in load("trained_experts")["experts"].items():
        r = e["reaches"]
        mean, full = r["return"], r["to_the_time_limit"]
        rows.append(
            f"| {name} | {e['steps']:,} | {mean['value']:,.0f} [{mean['low']:,.0f}, {mean['high']:,.0f}] "
            f"| {r['least_return']:,.0f} | {full['value']:.2f} [{full['low']:.2f}, {full['high']:.2f}] |"
        )
        n, command = mean["n"], e["command"]
        commands.append(f"`{command}`")
    rows += [
        "",
        f"The shipped files, on {n} fresh episodes each: mean return with the bootstrap's interval, share of "
        "full episodes with Wilson's. Each is the moving average of one run's weights at its end, "
        f"which was set, or moved on, by what validations on other seeds said. {'; '.join(commands)}; then "
        "`python benchmarks/trained_experts.py --from RUN "
        "--json-out benchmarks/results/trained_experts.json`",
    ]
    return "\n".join(rows)


def past_the_teacher() -> str:
    """From demonstrations of an expert at 60 %, past it on the sparse reward."""
    d = load("bc_rl")
    rows = [
        "| task | method | steps | before practice | after it | each seed's | deepest dips | CPU ms a step |",
        "|---|---|---:|---|---|---|---|---:|",
    ]
    s, spans = d["setting"], list[str]()
    for name, methods in d["summary"].items():
        for method, e in sorted(methods.items(), key=lambda m: -len(m[1]["seeds"])):
            runs = [r for r in d["runs"] if (r["task"], r["method"]) == (name, method)]
            runs.sort(key=lambda r: r["seed"])
            rates = [
                f"{c['success']:.3f} [{c['low']:.3f}, {c['high']:.3f}]" for c in (e["before"], e["last"])
            ]
            each = ", ".join(f"{r['last']['success']:.2f}" for r in runs)
            dips = ", ".join("–" if r["dip"] is None else f"{100 * r['dip']:.0f} %" for r in runs)
            cpu = sorted(r["cpu_ms_a_step"] for r in runs)[len(runs) // 2]
            rows.append(
                f"| {name} | `{method}` | {runs[0]['steps']:,} | {rates[0]} | {rates[1]} "
                f"| {each} | {dips} | {cpu:.2g} |"
            )
        x = e["expert"]
        spans.append(f"{name} {x['success']:.3f} [{x['low']:.3f}, {x['high']:.3f}]")
    rows += [
        "",
        f"The demonstrator: {'; '.join(spans)}. Success over {s['episodes']} fresh episodes, the same for "
        "all, with Wilson's interval, training seeds pooled; each seed has "
        f"{s['demonstrations']} demonstrations of its own, failures among them, by the scripted expert "
        "slowed down until it is in time in about 60 % of the episodes. In practice each step costs 1 until "
        "the block is there; before it there is the clone. The dip is the deepest fall under that in 16 "
        "measurements on the way, as a share of it. "
        "`python benchmarks/bc_rl.py --json-out benchmarks/results/bc_rl.json`",
    ]
    return "\n".join(rows)
