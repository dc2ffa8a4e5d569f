"""The page of the study `compounding`, from its numbers alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from markupsafe import Markup

from understudy.report.svg import number
from understudy.report.template import content_policy, environment, text_of
from understudy.report.words import counted
from understudy.study.figures import Series, against_horizon, in_a_row, series_of
from understudy.study.words import lessons

__all__ = ["provenance_rows", "render"]

Found = Mapping[str, Any]
ROAD = {"bc": ("cloning", "r1"), "dagger": ("DAgger", "r0")}
CONTROL = {"shared": ("one table for all steps", "r2"), "per_step": ("a table for each step", "r3")}
RELAY = {
    "bc": ("cloning, all labels from demonstrations", "r1"),
    "dagger": ("DAgger, as many labels", "r0"),
    "start": ("where both started", "r5"),
}


def render(result: Found) -> str:
    """The whole page as text, from what compounding.json holds."""
    style, plan = text_of("report.css") + _own("compounding.css"), result["plan"]
    tables, control = result["tables"]["slopes"], result["control"]["slopes"]
    shown = {
        "cloning, slope": tables["bc"],
        "DAgger, slope": tables["dagger"],
        "no blanks, one table": control["shared"],
        "no blanks, a table a step": control["per_step"],
    }
    page = environment().from_string(_own("compounding.html"))
    return page.render(
        title="Compounding errors: cloning and DAgger against the horizon",
        headline=Markup("Cloning’s cost grows like <em>T{}</em>, DAgger’s like <em>T{}</em>").format(
            _power(tables["bc"]), _power(tables["dagger"])
        ),
        facts=[(name, f"{e['value']:.2f}", _ends(e)) for name, e in shown.items()],
        quick=result["quick"],
        epsilon=number(plan["tables"]["epsilon"]),
        road=_part(result["tables"], ROAD, "Cost against the horizon, tables")
        | {"note": _tables_note(plan["tables"])},
        net=_part(result["networks"], ROAD, "Cost against the horizon, networks")
        | {"note": _networks_note(plan["networks"])},
        control=_part(result["control"], CONTROL, "Cost against the horizon, no blank signs", "expected")
        | {"demonstrations": number(plan["control"]["demonstrations"])},
        relays=[_relay(f, p) for f, p in zip(result["relays"], plan["relays"], strict=True)],
        provenance=provenance_rows(result["provenance"]),
        style=Markup(style),
        policy=content_policy(style, ""),
    )


def _own(name: str) -> str:
    return files("understudy.study").joinpath(name).read_text("utf-8").replace("\r\n", "\n")


def _power(slope: Found) -> Markup:
    return Markup("<sup>{}</sup>").format(f"{slope['value']:.2f}")


def _ends(e: Found) -> str:
    return f"95\u202f%: [{e['low']:.2f}, {e['high']:.2f}], theory {e['theory']:.2f}"


def _part(
    found: Found, methods: Mapping[str, tuple[str, str]], title: str, theory: str = "exact"
) -> dict[str, Any]:
    """Chart, keys and table of one set of costs; `theory` is what the table calls what theory says."""
    series = [series_of(name, hue, found["costs"][key]) for key, (name, hue) in methods.items()]
    slopes = [found["slopes"][key] for key in methods]
    keys = [Series(f"{s.name}: slope {_text(e)}", s.hue, (), ()) for s, e in zip(series, slopes, strict=True)]
    horizons = list(next(iter(found["costs"].values())))
    rows = [(t, [c for key in methods for c in _cells(found["costs"][key][t])]) for t in horizons]
    rows.append(("slope", [c for e in slopes for c in (_text(e), f"{e['theory']:.2f}", "")]))
    heads = [h for name, _ in methods.values() for h in (f"{name}: measured", theory, "off by")]
    return {
        "series": keys,
        "chart": against_horizon(series, title, "cost of an episode"),
        "table": {"title": f"{title} (“off by”: in standard errors)", "heads": heads, "rows": rows},
    }


def _text(e: Found) -> str:
    return f"{e['value']:.2f} [{e['low']:.2f}, {e['high']:.2f}]".replace("-", "−")


def _cells(row: Found) -> list[str]:
    measured = f"{number(row['value'])} ± {number(row['standard_error'], 2)}"
    off = row["standard_errors_off"]
    return [measured, number(row["theory"]), "–" if off is None else f"{off:+z.1f}".replace("-", "−")]


def _tables_note(plan: Found) -> str:
    return (
        f"{number(plan['learners'])} learners of each kind at each T, {number(plan['measured'])} fresh "
        f"episodes each; {number(plan['rounds'])} rounds of {number(plan['episodes'])} episodes for DAgger, "
        "as many demonstrations for cloning"
    )


def _networks_note(plan: Found) -> str:
    return (
        f"Points: {counted(plan['seeds'], 'training run')} at each T, {number(plan['measured'])} fresh "
        f"episodes each, with 95\u202f% intervals; {number(plan['rounds'])} rounds of "
        f"{number(plan['states'])} visited states for DAgger, demonstrations of as many for cloning."
    )


def _relay(found: Found, plan: Found) -> dict[str, Any]:
    """Chart, table and words of the relays."""
    methods, expert = found["methods"], found["expert"]
    rounds, relays = counted(plan["rounds"], "round"), counted(plan["episodes"], "relay")
    units = " × ".join(map(str, plan["hidden"]))
    what = (
        f"The expert reached all {plan['legs']} goals in {expert['done']} of {expert['relays']} relays. Both "
        f"methods, with networks of {units} hidden units, start from {plan['demonstrations']} of his. DAgger "
        f"drives {rounds} of {relays}, and its policy is chosen on {plan['validation']} others."
    )
    note = (
        f"Points: share of {plan['measured']} fresh relays for each of "
        f"{counted(plan['seeds'], 'training run')}, with Wilson’s 95\u202f% intervals. Lines: q to the power "
        "k, with q the share of legs done of legs begun: what success would be if all legs were alike. "
        "Errors in the table are root mean squares of policy less expert, in actions of range ±1."
    )
    return {
        "title": f"{plan['task']}, {plan['legs']} goals",
        "what": what,
        "series": [Series(name, hue, (), ()) for name, hue in RELAY.values()],
        "chart": in_a_row(RELAY, methods, f"Goals reached in a row, {plan['task']}"),
        "note": note,
        "heads": [
            "labelled states",
            "first goal",
            f"{plan['legs']} in a row",
            "a leg, q",
            "error on the expert’s states",
            "on its own",
        ],
        "rows": [(name.split(",")[0], _relay_cells(methods[key])) for key, (name, _) in RELAY.items()],
        "says": lessons(found, plan["legs"]),
    }


def _relay_cells(m: Found) -> list[str]:
    labels, q = sorted(set(m["labels"])), m["geometric"]["per_leg"]
    span = number(labels[0]) if len(labels) == 1 else f"{number(labels[0])}–{number(labels[-1])}"
    leg = f"{q['value']:.3f} [{q['low']:.3f}, {q['high']:.3f}]"
    errors = [number(sum(m["errors"][at]) / len(m["errors"][at]), 2) for at in ("expert", "own")]
    return [span, _text(m["in_a_row"][0]), _text(m["in_a_row"][-1]), leg, *errors]


def provenance_rows(made: Found) -> Sequence[tuple[str, str]]:
    """How a result came about, name by name."""
    rows = [("made with", str(made.get("command") or "")), ("made on", str(made.get("date") or ""))]
    rows += [(k, str(made[k])) for k in ("revision", "system", "cpu", "cores", "python") if made.get(k)]
    versions = made.get("versions") or {}
    rows.append(("packages", ", ".join(f"{k} {v}" for k, v in versions.items())))
    return [(k, v) for k, v in rows if v]
