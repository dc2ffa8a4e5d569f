"""The tables about the studio: what a person at the keyboard teaches, and what the server bears."""

from __future__ import annotations

from cells import interval, load

__all__ = ["operator"]


def operator() -> str:
    d = load("studio_operator")
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
        f"{d['task']}, a scripted person with a reaction time who only presses keys, {d['episodes_a_round']} "
        "episodes a round in which he takes over where the policy fails; trained by the studio's own button. "
        f"{recording['rounds'][0]['n']} fresh episodes in all, {len(d['runs'])} seeds, Wilson intervals. The "
        "last round less the demonstrations: "
        f"{interval(recording['last_round_minus_demonstrations'], 2)} and, within 50 steps, "
        f"{interval(own['last_round_minus_demonstrations'], 2)}. A key moves the hand at three tenths of the "
        f"speed that 50 steps are made for; standing still succeeds in {interval(d['standing_still'], 2)}.",
    ]
    return "\n".join(rows)
