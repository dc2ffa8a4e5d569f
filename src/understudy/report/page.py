"""The page: sections from runs, put together by templates, with nothing that is not inside the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from understudy.numerics import Estimate
from understudy.report import words
from understudy.report.facts import get, number_in, printable
from understudy.report.failures import Failures, failures
from understudy.report.folder import Run
from understudy.report.learning import Acting, acting
from understudy.report.motion import Look, Route, look, paths, still, viewer
from understudy.report.origin import Data, data, provenance_rows, settings
from understudy.report.replay3d import Stage, stage
from understudy.report.results import comparisons, curves, groups, learning
from understudy.report.roundlog import read
from understudy.report.rounds import Chart, Teaching, against_labels, teaching
from understudy.report.strips import Strip, known_task, strips
from understudy.report.svg import number, percent
from understudy.report.template import content_policy, embedded, environment, text_of

__all__ = ["render"]

_SCRIPTS = ("viewer.js", "controls.js")
_REPLAY = "replay.min.js"  # made from web/; 0.6 MB, so only where there is a replay


@dataclass(frozen=True)
class Motion:
    """The viewer of one run: what it reads, its stand-in without a script, and what it shows, in words."""

    id: str
    title: str
    json: Markup
    still: Markup
    note: str
    marks: str


@dataclass(frozen=True)
class Part:
    """Everything the page shows of one run."""

    run: Run
    colour: str
    learning: Sequence[tuple[str, Markup]]
    acting: Acting | None
    curve: Markup | None
    taught: Teaching | None
    motion: Motion | None
    failures: Failures | None
    replay: Stage | None
    strips: Sequence[Strip]
    no_strips: str
    data: Data
    provenance: Sequence[tuple[str, str]]
    settings: str


def render(runs: Sequence[Run], *, title: str | None, films: bool) -> str:
    """The whole page as text."""
    parts = [_part(run, i, films, share=len(runs)) for i, run in enumerate(runs)]
    played = any(p.replay and p.replay.json for p in parts)
    script = "".join(text_of(name) for name in (*_SCRIPTS, *[_REPLAY] * played))
    style = text_of("report.css")
    return environment().get_template("report.html").render(
        title=title or _title(runs),
        headline=words.headline(runs),
        verdict=words.verdict(runs[0]) if len(runs) == 1 else words.between(runs),
        facts=_facts(runs[0]) if len(runs) == 1 else [],
        parts=parts,
        scenes=dict(p.replay.scene for p in parts if p.replay and p.replay.json),
        many=len(runs) > 1,
        overlaid=_overlaid(runs),
        groups=groups(runs),
        comparisons=comparisons(runs),
        made=_made(runs),
        style=Markup(style),
        script=Markup(script),
        policy=content_policy(style, script),
    )  # fmt: skip


def _part(run: Run, index: int, films: bool, share: int) -> Part:
    shown = run.rollouts if run.rollouts is not None else run.demos
    which = known_task(run.task)
    view = None if shown is None else look(which.view if which else None, shown.schema)
    pictures, why = strips(run) if films else ([], "Pictures were left out of this page.")
    return Part(
        run,
        f"r{index % 6}",
        learning(run),
        acting(run),
        curves(run),
        teaching(run),
        None if view is None else _motion(run, view, f"motion-{index}", share),
        failures(run, view),
        stage(f"replay-{index}", which, run.tried(), expert=True, share=share) if films else None,
        pictures,
        why,
        data(run),
        provenance_rows(run),
        settings(run),
    )


def _overlaid(runs: Sequence[Run]) -> Chart | None:
    """The curves of several runs that were taught in rounds on one task, over one another."""
    taught = [(r.name, read(r.rounds)) for r in runs if r.rounds]
    one = len({r.task for r in runs if r.rounds}) == 1
    return against_labels(taught) if one and len(taught) > 1 else None


def _motion(run: Run, view: Look, id: str, share: int) -> Motion | None:
    demos = run.demos
    if demos is not None:
        same = look(view, demos.schema)
        if same is None or replace(same, guessed=view.guessed) != view:
            demos = None  # recorded with other observations: they cannot be laid over one another
    tried = run.tried()
    drawn = paths(view, demos, tried, share)
    if not drawn:
        return None
    title = f"{view.labels[0] if len(view.dims) == 1 else ', '.join(view.labels)} of every episode"
    total = len(tried) + (0 if demos is None else len(demos))
    note = f"obs[“{printable(view.key)}”]" + (
        f", going to obs[“{printable(view.goal)}”]" if view.goal else ""
    )
    if view.guessed:
        note += "; no task says what to plot, so this is a guess"
    if len(drawn) < total:
        note += f"; {number(len(drawn))} of {number(total)} episodes are drawn, failures first"
    return Motion(
        id, title, embedded(viewer(view, drawn, title)), still(view, drawn, title), note, _marks(drawn)
    )


def _marks(drawn: Sequence[Route]) -> str:
    """How to read the picture: only what is in it."""
    kinds = {p.kind for p in drawn}
    styles = ["demonstrations are dotted"] * ("demo" in kinds) + ["rollouts are lines"] * (kinds != {"demo"})
    ends = [
        f"a {mark} marks {what}"
        for mark, what, there in (
            ("disc", "the end of a success", "success" in kinds),
            ("disc", "the end of a rollout", "rollout" in kinds),
            ("cross", "the end of a failure", "failure" in kinds),
            ("diamond", "a goal", any(p.goal is not None and p.kind != "demo" for p in drawn)),
        )
        if there
    ]
    text = "; ".join([", ".join(styles), ", ".join(ends)] if ends else [", ".join(styles)])
    return f"{text[:1].upper()}{text[1:]}."


def _title(runs: Sequence[Run]) -> str:
    tasks = sorted({r.task for r in runs if r.task})
    what = tasks[0] if len(tasks) == 1 else runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
    return f"{what}: {words.algorithm(runs[0])}" if len(runs) == 1 else f"{what}: {len(runs)} runs compared"


def _made(runs: Sequence[Run]) -> str:
    dates = [get(r.facts, "provenance.date", object) for r in runs]
    found = sorted(d[:10] for d in dates if isinstance(d, str))
    return found[-1] if found else ""


def _facts(run: Run) -> list[tuple[str, str, str]]:
    """(name, value, remark) of the few numbers under the headline."""
    out = []
    report = run.policy
    if report is not None and report.success_rate is not None:
        out.append(("success", percent(report.success_rate.value), _ends(report.success_rate, share=True)))
    if report is not None:
        out.append(("mean return", _short(report.mean_return), _ends(report.mean_return)))
    expert = run.evaluations.get("expert")
    if expert is not None and expert.success_rate is not None:
        out.append(("the expert", percent(expert.success_rate.value), _ends(expert.success_rate, share=True)))
    if (labelled := number_in(run.facts, "interactive.labelled")) is not None:
        out.append(("labelled states", number(labelled, 9), "what the expert was asked for"))
    begun = get(run.facts, "interactive.demonstrations", bool) is not False
    if begun and (episodes := number_in(run.facts, "data.episodes")) is not None:
        steps = number_in(run.facts, "data.steps")
        out.append(
            ("demonstrations", number(episodes), "" if steps is None else words.counted(steps, "step"))
        )
    if (seconds := number_in(run.facts, "seconds")) is not None:
        weights = number_in(run.facts, "agent.parameters")
        out.append(
            ("training", words.duration(seconds), "" if weights is None else words.counted(weights, "weight"))
        )
    return out


def _ends(e: Estimate, *, share: bool = False) -> str:
    text = words.rate(e) if share else words.amount(e)
    return f"95\u202f%: {text[text.index('[') :]}"


def _short(e: Estimate) -> str:
    return words.amount(e).split(" [")[0]
