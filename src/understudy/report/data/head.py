"""What was done, by whom, when and how well: sentences and numbers at the top, findings, and provenance."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata

from markupsafe import Markup

from understudy.frames import Frames
from understudy.numerics import wilson
from understudy.quality import Finding
from understudy.quality.types import Severity
from understudy.report import words
from understudy.report.data.survey import Survey, short
from understudy.report.facts import printable
from understudy.report.svg import number, percent

__all__ = ["Concern", "concerns", "facts", "headline", "provenance_rows", "verdict"]

_NAMES = 3  # operators or tasks that a sentence names
_LINKS = 40  # episodes that one finding links to


@dataclass(frozen=True)
class Concern:
    """A finding with the episodes that have a row to lead to."""

    severity: Severity
    evidence: str
    advice: str
    linked: tuple[int, ...]
    more: int


def _listed(counts: Counter[str], *, quoted: bool = False) -> str:
    names = [f"“{short(k)}”" if quoted else short(k) for k, _ in counts.most_common(_NAMES)]
    if len(counts) > _NAMES:
        return f"{', '.join(names)} and {len(counts) - _NAMES} more"
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def _said(survey: Survey, key: str) -> Counter[str]:
    return Counter(str(f[key]) for f in survey.data.facts if f.get(key) not in (None, ""))


def headline(survey: Survey) -> Markup:
    """One sentence: how many demonstrations, of what, by whom, and how many succeeded."""
    count = words.counted(len(survey.episodes), "demonstration")
    # The name of a built-in task is a word; anything else is somebody's sentence.
    tasks = _listed(_said(survey, "task"), quoted=survey.task is None)
    people = _listed(_said(survey, "operator"))
    people = "the scripted expert" if survey.task and people == "expert" else people
    of = Markup(" of {}").format(tasks) if tasks else Markup("")
    by = Markup(", recorded by {}").format(people) if people else Markup("")
    known = [s for s in survey.data.successes if s is not None]
    if not known:
        return Markup("{}{}{}; nobody says whether they succeeded.").format(count, of, by)
    if len(known) == len(survey.episodes) == sum(known):
        return Markup("{}{}{}: <em>all succeeded</em>.").format(count, of, by)
    score = Markup("<em>{} of {}</em>").format(number(sum(known)), number(len(known)))
    rest = "" if len(known) == len(survey.episodes) else " that say"
    return Markup("{}{}{}: {}{} succeeded.").format(count, of, by, score, rest)


def verdict(survey: Survey) -> tuple[Severity, Markup]:
    """Whether one should train on it, and what to look at before: how bad, and in words with links."""
    found = survey.found.findings
    graver: list[Finding] = [f for f in found if f.severity != "info"]
    if graver and graver[0].severity == "error":
        return "error", Markup("<b>Not fit to train on as it is:</b> {}").format(
            _sentence(graver[0].evidence)
        )
    if survey.first:
        links = Markup(", ").join(Markup('<a href="#e{0}">{0}</a>').format(i) for i, _ in survey.first)
        many = len(survey.first) > 1
        what = f"{len(survey.first)} demonstrations" if many else "one demonstration"
        why = (
            f"The reasons, and {words.counted(len(graver), 'warning')}, are" if graver else "The reasons are"
        )
        return "warning", Markup(
            '<b>Look at {} first:</b> episode{} {}. {} <a href="#findings">below</a>.'
        ).format(what, "s" * many, links, why)
    if graver:
        text = Markup("<b>Train on it with care:</b> {} {}")
        return "warning", text.format(_sentence(graver[0].evidence), _sentence(graver[0].advice))
    return "info", Markup("<b>Fit to train on,</b> as far as can be measured: nothing suspicious was found.")


def concerns(found: Iterable[Finding], linked: frozenset[int]) -> list[Concern]:
    """The findings as they come, the worst first."""
    out = []
    for f in found:
        named = [i for i in f.episodes if i in linked][:_LINKS]
        out.append(
            Concern(
                f.severity,
                _sentence(f.evidence),
                _sentence(f.advice),
                tuple(named),
                len(f.episodes) - len(named),
            )
        )
    return out


def _sentence(text: str) -> str:
    shown = printable(text)
    return shown if shown.endswith((".", "…", "?", "!")) else f"{shown}."


def facts(survey: Survey) -> list[tuple[str, str, str]]:
    """(name, value, remark) of the few numbers under the headline."""
    data, source = survey.data, survey.source
    known = [s for s in data.successes if s is not None]
    out = []
    if known:
        e = wilson(sum(known), len(known))
        low, high = (percent(v).removesuffix("\u202f%") for v in (e.low, e.high))
        out.append(("success", percent(e.value), f"95\u202f%: [{low}, {high}]"))
    lengths = data.lengths
    ends = dict.fromkeys((number(float(lengths.min())), number(float(lengths.max()))))
    span = f"{' to '.join(ends)} steps each"
    out.append(("episodes", number(len(data)), span))
    seconds = _seconds(survey)
    out.append(("steps", number(data.steps), f"{words.duration(seconds)} of motion" if seconds else ""))
    if source.fps and source.fps != 1:
        out.append(("rate", f"{number(source.fps)} Hz", _measured(survey)))
    if source.robot:
        out.append(("robot", short(source.robot), ""))
    if (share := survey.supervision.share) is not None:
        often = survey.supervision.interventions / survey.supervision.noted_episodes
        out.append(("driven by the expert", percent(share), f"interventions: {often:.2g} an episode"))
    if survey.cameras:
        sizes = dict.fromkeys("×".join(map(str, survey.schema[k][1][:2])) for k in survey.cameras)
        names = ", ".join(short(k) for k in survey.cameras[:3]) + ", …" * (len(survey.cameras) > 3)
        out.append(("cameras", str(len(survey.cameras)), f"{names}: {', '.join(sizes)}"))
    for key, name, word in (("operator", "operators", "by"), ("task", "tasks", "of")):
        if len(found := _said(survey, key)) > 1:
            top, n = found.most_common(1)[0]
            out.append((name, str(len(found)), f"{percent(n / len(data))} {word} {short(top)}"))
    return out


def _seconds(survey: Survey) -> float:
    """How long it all lasts: as measured where it was, else by the nominal rate; 0 where nobody knows."""
    times = [e.time for e in survey.episodes]
    if all(t is not None for t in times):
        return float(sum(t[-1] - t[0] for t in times if t is not None))
    fps = survey.source.fps
    return survey.data.steps / fps if fps and fps != 1 else 0.0


def _measured(survey: Survey) -> str:
    spans = [e.time[-1] - e.time[0] for e in survey.episodes if e.time is not None]
    if len(spans) < len(survey.episodes) or not sum(spans):
        return "nominal"
    return f"measured: {number(survey.data.steps / float(sum(spans)))} Hz"


def when(survey: Survey) -> str:
    """The first and the last day of recording, where episodes say when they started; else ""."""
    days = sorted(str(f["started"])[:10] for f in survey.data.facts if isinstance(f.get("started"), str))
    shown = [short(d) for d in (days[:1] + days[-1:] if days else [])]
    return "" if not shown else shown[0] if shown[0] == shown[-1] else f"{shown[0]} to {shown[-1]}"


def provenance_rows(survey: Survey) -> list[tuple[str, str]]:
    """Where the data comes from and what looked at it, line by line."""
    source = survey.source
    rows = [("dataset", printable(source.name)), ("stored as", printable(source.layout))]
    for key, name in (
        ("task", "tasks"),
        ("operator", "operators"),
        ("source", "sources"),
        ("noise", "noise added"),
    ):
        rows.append((name, _counted(_said(survey, key))))
    rows.append(("recorded", when(survey)))
    rows.append(
        ("observations", "; ".join(_column(k, s) for k, (_, s) in survey.schema.items() if k != "action"))
    )
    rows.append(("action", _action(survey)))
    seeds = [f["seed"] for f in survey.data.facts if isinstance(f.get("seed"), int)]
    rows.append(("seeds", words.seeds_text([int(s) for s in seeds]) if seeds else ""))
    rows.append(("fingerprint (SHA-256)", _fingerprint(survey)))
    rows.append(("looked at", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")))
    rows.append(("versions", f"understudy {_version()}, Python {platform.python_version()}"))
    return [(k, v) for k, v in rows if v]


def _counted(found: Counter[str]) -> str:
    top = [f"{short(k)} ({n})" for k, n in found.most_common(8)]
    return ", ".join(top) + (f" and {len(found) - 8} more" if len(found) > 8 else "")


def _column(key: str, shape: Sequence[int]) -> str:
    return f"{printable(key)} [{', '.join(map(str, shape))}]"


def _action(survey: Survey) -> str:
    kind, (width, *_) = survey.schema["action"]
    return "one discrete choice" if kind == "int64" else words.counted(width, "dimension")


def _fingerprint(survey: Survey) -> str:
    if any(isinstance(column, Frames) for column in survey.episodes[0].obs.values()):
        return "not taken: every picture would have to be decoded for it"
    return survey.data.fingerprint()


def _version() -> str:
    try:
        return metadata.version("understudy")
    except metadata.PackageNotFoundError:
        return "(not installed)"
