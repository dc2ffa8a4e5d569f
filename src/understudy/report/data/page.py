"""The page about a dataset: its sections, put together by a template."""

from __future__ import annotations

from markupsafe import Markup

from understudy.report.data import head
from understudy.report.data.closeup import closeups
from understudy.report.data.compare import operators, spreads
from understudy.report.data.dims import groups
from understudy.report.data.ledger import ledger
from understudy.report.data.motion import motion
from understudy.report.data.space import scene
from understudy.report.data.survey import Survey, short
from understudy.report.data.timeline import calendar, drivers, used
from understudy.report.template import content_policy, environment, text_of

__all__ = ["render"]

_STYLES = ("report.css", "data.css")
_SCRIPTS = ("viewer.js", "controls.js")


def render(survey: Survey) -> str:
    """The whole page as text."""
    table = ledger(survey)
    linked = frozenset(line.index for line in table.lines)
    place = scene(survey.task.view if survey.task else None, survey.data)
    style, script = ("".join(map(text_of, names)) for names in (_STYLES, _SCRIPTS))
    return environment().get_template("data.html").render(
        title=f"{short(survey.source.name)}: {len(survey.episodes)} demonstrations",
        name=short(survey.source.name),
        when=head.when(survey),
        headline=head.headline(survey),
        doing=survey.task.summary if survey.task else "",
        done=survey.task.success if survey.task else "",
        verdict=head.verdict(survey),
        facts=head.facts(survey),
        concerns=head.concerns(survey.found.findings, linked),
        first=[(i, survey.says(i), why, i in linked) for i, why in survey.first],
        more=len(survey.worst) - len(survey.first),
        calendar=calendar(survey, linked),
        moments=used(survey),
        drivers=drivers(survey),
        outcomes=sorted(set(survey.outcomes)),
        motion=motion(survey, place),
        closeups=list(closeups(survey, survey.chosen, place)),
        table=table,
        hands=list(survey.legend.items()) if len(survey.hands) > 1 else [],
        spreads=list(spreads(survey, linked)),
        operators=operators(survey),
        groups=groups(survey),
        bounded=survey.source.bounds is not None,
        provenance=head.provenance_rows(survey),
        style=Markup(style),
        script=Markup(script),
        policy=content_policy(style, script),
    )  # fmt: skip
