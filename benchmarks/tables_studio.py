"""The tables about the studio: what a person at the keyboard teaches, and what the server bears."""

from __future__ import annotations

from typing import Any

from cells import interval, load

__all__ = ["browser", "operator", "studio_load"]


def operator() -> str:
    return _study(load("studio_operator"), "who only presses keys")


def browser() -> str:
    return _study(load("studio_browser"), "who presses the keys of a browser before the real page")


def _study(d: dict[str, Any], who: str) -> str:
    recording, own = d["success"]["limit of recording"], d["success"]["50 steps"]
    rows = [
        f"| after | within {d['limit_steps']} steps, as recorded | each seed's "
        "| within the task's own 50 steps | labelled states |",
        "|---|---|---|---|---:|",
    ]
    for i, labelled in enumerate(d["success"]["labelled"]):
        mine, fast = recording["rounds"][i], own["rounds"][i]
        each = ", ".join(f"{x:.2f}" for x in mine["by_seed"])
        after = f"{d['demonstrations']} demonstrations" if not i else f"round {i} of corrections"
        rows.append(f"| {after} | {interval(mine, 2)} | {each} | {interval(fast, 2)} | {labelled:,.0f} |")
    rows += [
        "",
        f"{d['task']}, a scripted person with a reaction time {who}, {d['episodes_a_round']} "
        "episodes a round in which he takes over where the policy fails; trained by the studio's own button. "
        f"{recording['rounds'][0]['n']} fresh episodes in all, {len(d['runs'])} seeds, Wilson intervals. The "
        "last round less the demonstrations: "
        f"{interval(recording['last_round_minus_demonstrations'], 2)} and, within 50 steps, "
        f"{interval(own['last_round_minus_demonstrations'], 2)}. A key moves the hand at three tenths of the "
        f"speed that 50 steps are made for; standing still succeeds in {interval(d['standing_still'], 2)}.",
    ]
    return "\n".join(rows)


def studio_load() -> str:
    d = load("studio_load")
    s, command, frame = d["setting"], d["input_to_command_ms"], d["input_to_frame_ms"]
    minutes = s["seconds"] / 60
    dropped = sum(v["dropped"] for v in d["viewers"])
    rows = [
        "| | half of all | 95 % | 99 % |",
        "|---|---:|---:|---:|",
        f"| a key to the step that used it | {command['p50']:.0f} ms | {command['p95']:.0f} ms "
        f"| {command['p99']:.0f} ms |",
        f"| a key to the picture's poses in the page | {frame['p50']:.0f} ms | {frame['p95']:.0f} ms "
        f"| {frame['p99']:.0f} ms |",
        "",
        f"{s['task']}, one page that drives at {s['inputs_hz']:.0f} Hz and {s['viewers']} that look on, "
        f"{minutes:.0f} minutes, n = {command['n']:,}; a control period is 40 ms, and an input waits for the "
        f"next. The server took {d['server_cores']:.2f} of a core, physics included; its memory was "
        f"{d['memory_mib']['start']:.0f} MiB at the start and {d['memory_mib']['end']:.0f} at the end; "
        f"{dropped} frames were missed by {len(d['viewers'])} pages.",
    ]
    return "\n".join(rows)
