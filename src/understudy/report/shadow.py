"""The page about shadow mode: when and where a policy disagrees with the expert, and what that is worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from understudy.numerics import Estimate
from understudy.provenance import Provenance
from understudy.report import words
from understudy.report.charts import axis_row, interval_row
from understudy.report.facts import printable
from understudy.report.results import Row, Table
from understudy.report.svg import Axis, figure, number, percent, polyline, stretched, tag
from understudy.report.template import content_policy, environment, save, text_of
from understudy.shadow import (
    Map,
    Readiness,
    Shadow,
    Stretch,
    Trust,
    agrees,
    by_share,
    by_step,
    evidence,
    maps,
)
from understudy.shadow.trust import ENOUGH

if TYPE_CHECKING:
    from understudy.envs import View

__all__ = ["write_shadow_page"]

_FRAMES = 60  # rows of the table of frames
_DRIVERS = {
    "expert": "The expert drove; the policy proposed and controlled nothing.",
    "policy": "The policy drove; the expert said what he would have done.",
    "recorded": "These are recorded episodes; the policy was asked at each of their states.",
}


@dataclass(frozen=True)
class Frame:
    """A row of the table of frames worth labelling."""

    episode: str
    step: str
    size: str
    expert: str
    policy: str


def write_shadow_page(
    shadow: Shadow,
    ready: Readiness,
    out: Path,
    *,
    worth: Mapping[int, Sequence[int]],
    trusted: Trust | None = None,
    view: View | None = None,
    provenance: Provenance | None = None,
    warning: str = "",
) -> Path:
    """Writes one self-contained page. It opens offline, loads nothing and trusts no text in it.

    Args:
        shadow: what was seen.
        ready: what follows of it.
        out: the HTML file to write; its folder is made where it is missing.
        worth: the frames worth labelling: episode number -> steps.
        trusted: what came of it when the policy drove, where that is known.
        view: what the task says is worth plotting.
        provenance: see `understudy.provenance.provenance`.
        warning: what to beware of in reading it, in words.

    Returns:
        The path of the file.

    Raises:
        ValueError: when `out` is a folder.
    """
    target = Path(out)
    if target.is_dir():
        raise ValueError(f"{target} is a folder; the page is one file, such as {target / 'shadow.html'}")
    style = text_of("report.css") + text_of("shadow.css")
    found = maps(shadow, view)
    page = environment().get_template("shadow.html").render(
        title=f"{printable(shadow.task) or 'A policy'} in the shadow of its expert",
        task=printable(shadow.task),
        policy_name=printable(shadow.policy),
        headline=_headline(shadow, ready, trusted),
        driver=_DRIVERS[shadow.driver],
        warning=warning[:1].upper() + warning[1:],
        verdict=_verdict(ready, trusted),
        facts=_facts(shadow, ready, trusted),
        table=_estimates(ready, trusted),
        trusted=[] if trusted is None else [line[:1].upper() + line[1:] for line in str(trusted).split("\n")],
        proof=_proof(shadow, ready),
        ready=ready,
        enough=ENOUGH,
        level=percent(ready.level),
        times=[
            ("By step", _curve(by_step(shadow), ready.tolerance, "By step", "step", number)),
            ("By share of the way", _curve(by_share(shadow), ready.tolerance, "By share", "share", percent)),
        ],
        maps=[(printable(m.title), _map(m), _legend(m)) for m in found],
        dimensions=_dimensions(shadow),
        discrete=shadow.discrete,
        frames=_frames(shadow, worth),
        more=max(0, sum(map(len, worth.values())) - _FRAMES),
        provenance=_rows(provenance or {}),
        style=Markup(style),
        policy=content_policy(style, ""),
    )  # fmt: skip
    save(target, page)
    return target


def _headline(shadow: Shadow, ready: Readiness, trusted: Trust | None) -> Markup:
    on = Markup(" on {}").format(printable(shadow.task)) if shadow.task else Markup("")
    agreed = Markup("Policy and expert agree{} in <em>{}</em> episodes").format(on, _of(ready.episodes))
    if trusted is None:
        return agreed + "."
    return agreed + Markup("; alone, the policy succeeds in <em>{}</em>.").format(_of(trusted.success))


def _of(e: Estimate) -> str:
    return f"{number(round(e.value * e.n))} of {number(e.n)}"


def _verdict(ready: Readiness, trusted: Trust | None) -> tuple[str, str]:
    """The kind of call, and what it says: what the shadow promised, and whether that was kept."""
    rate = percent(ready.level)
    if ready.proven_after is not None:
        many = words.counted(ready.proven_after, "episode")
        kind, text = (
            "info",
            f"A rate of agreement above {rate} is shown after {many}, on the expert’s states.",
        )
    elif ready.missing is None:
        kind, text = (
            "warning",
            f"A rate of agreement above {rate} is not shown, and at this rate never will be.",
        )
    else:
        many = words.counted(ready.missing, "more episode")
        kind, text = (
            "warning",
            f"A rate of agreement above {rate} is not shown; at this rate it takes {many}.",
        )
    if trusted is not None and trusted.gap.low > 0:
        return "warning", f"Do not read it as success: the policy alone did worse than it agreed. {text}"
    return kind, text


def _facts(shadow: Shadow, ready: Readiness, trusted: Trust | None) -> list[tuple[str, str, str]]:
    def ends(e: Estimate) -> str:
        text = words.rate(e)
        return f"95\u202f%: {text[text.index('[') :]}"

    mean = words.amount(shadow.mean)
    out = [
        ("episodes that agree", percent(ready.episodes.value), ends(ready.episodes)),
        ("steps within tolerance", percent(ready.steps.value), ends(ready.steps)),
        ("mean disagreement", mean.split(" [")[0], f"95\u202f%: {mean[mean.index('[') :]}"),
        ("seen", words.counted(len(shadow.data), "episode"), words.counted(shadow.data.steps, "step")),
    ]
    if trusted is not None:
        out.insert(1, ("succeeded alone", percent(trusted.success.value), ends(trusted.success)))
    return out


def _estimates(ready: Readiness, trusted: Trust | None) -> Table:
    """Agreement above what came of it, on one scale."""
    entries: list[tuple[str, str, Estimate | None]] = [
        ("episodes that agree", "policy", ready.episodes),
        ("steps within tolerance", "baseline", ready.steps),
        ("episodes with any step beyond", "failure", ready.ever),
    ]
    if trusted is not None:
        entries += [
            ("succeeded alone", "policy", trusted.success),
            ("of those that had agreed", "baseline", trusted.success_if_agreed),
            ("of those that had not", "baseline", trusted.success_if_not),
        ]
    axis, marks = Axis(0.0, 1.0), [0.0, 0.25, 0.5, 0.75, 1.0]
    rows = [
        Row(
            who, kind,
            interval_row(e.value, e.low, e.high, axis, marks, kind=kind, bar=True, label=words.rate(e)),
            words.rate(e), number(e.n),
        )
        for who, kind, e in entries if e is not None
    ]  # fmt: skip
    note = "shares, with 95 % intervals"
    return Table("Agreement, and what came of it", note, tuple(rows), axis_row(axis, marks, percent))


def _proof(shadow: Shadow, ready: Readiness) -> Markup:
    """The evidence for the level, episode by episode, on a logarithmic scale."""
    proof = np.clip(evidence(agrees(shadow, ready.tolerance, ready.lapse), ready.level), 1e-6, 1e12)
    n = np.arange(1, len(proof) + 1)
    x = Axis(0.0, float(max(len(proof), 2)))
    y = Axis(float(min(proof.min(), 0.1)), float(max(proof.max(), 2 * ENOUGH)), log=True)
    at = f"{100 - y.at(ENOUGH):.2f}%"
    route = [(x.at(float(a)), y.at(float(b))) for a, b in zip(n, proof, strict=True)]
    marks = (
        stretched(polyline([(x.at(0.0), y.at(1.0)), *route], "line policy")),
        tag("line", x1=0, x2="100%", y1=at, y2=at, class_="marker"),
        tag("text", "enough", x="100%", y=at, dy=-6, class_="note halo end"),
    )
    title = f"Evidence for a rate of agreement above {percent(ready.level)}"
    says = f"after {len(proof)} episodes it is {number(float(proof[-1]))}, {number(ENOUGH)} is enough"
    powers = [m for m in y.ticks(3) if np.isclose(np.log10(m) % 1, 0)]
    return figure(
        title, says, *marks, x=x, y=y, x_name="episode", y_name="evidence", y_marks=powers or None,
        class_="low",
    )  # fmt: skip


def _curve(
    stretches: Sequence[Stretch], tolerance: float, title: str, x_name: str, x_text: Callable[[float], str]
) -> Markup:
    """Mean disagreement with its band; the tolerance is a dashed line."""
    x = Axis(stretches[0].start, stretches[-1].stop)
    ends = [(max(s.mean.low, 0.0), min(s.mean.high, 1e3)) for s in stretches]
    ends = [
        (s.mean.value,) * 2 if not np.isfinite(s.mean.high) else e
        for s, e in zip(stretches, ends, strict=True)
    ]
    y = Axis(0.0, 1.08 * max(tolerance, *(high for _, high in ends)))
    middle = [(s.start + s.stop) / 2 for s in stretches]
    edge = [(m, high) for m, (_, high) in zip(middle, ends, strict=True)]
    edge += [(m, low) for m, (low, _) in zip(middle[::-1], ends[::-1], strict=True)]
    area = " ".join(f"{x.at(a):.2f},{100 - y.at(b):.2f}" for a, b in edge)
    route = [(x.at(m), y.at(s.mean.value)) for m, s in zip(middle, stretches, strict=True)]
    at = f"{100 - y.at(tolerance):.2f}%"
    layers = [tag("polygon", points=area, class_="band"), polyline(route, "line policy")]
    marks = [
        stretched(*layers),
        tag("line", x1=0, x2="100%", y1=at, y2=at, class_="marker"),
        tag("text", "tolerance", x="100%", y=at, dy=-6, class_="note halo end"),
    ]
    worst = max(stretches, key=lambda s: s.mean.value)
    where = f"{x_text(worst.start)} to {x_text(worst.stop)}"
    says = f"largest at {x_name} {where}: {words.amount(worst.mean)}"
    return figure(title, says, *marks, x=x, y=y, x_name=x_name, y_name="mean disagreement", x_text=x_text)


def _map(m: Map) -> Markup:
    """A cell the darker, the larger the mean disagreement in it; nobody was where none is drawn."""
    x, y = Axis(float(m.x[0]), float(m.x[-1])), Axis(float(m.y[0]), float(m.y[-1]))
    top = float(np.nanmax(m.mean)) or 1.0
    cells = []
    for i, j in np.argwhere(m.steps > 0):
        left, right = x.at(float(m.x[i])), x.at(float(m.x[i + 1]))
        low, high = y.at(float(m.y[j])), y.at(float(m.y[j + 1]))
        says = f"{number(float(m.mean[i, j]))} over {words.counted(int(m.steps[i, j]), 'step')}"
        cells.append(
            tag(
                "rect", tag("title", says), x=f"{left:.2f}%", y=f"{100 - high:.2f}%",
                width=f"{right - left:.2f}%", height=f"{high - low:.2f}%", class_="heat",
                fill_opacity=f"{0.06 + 0.94 * float(m.mean[i, j]) / top:.3f}",
            )
        )  # fmt: skip
    i, j = np.unravel_index(int(np.nanargmax(m.mean)), m.mean.shape)
    worst = [number(float((e[k] + e[k + 1]) / 2)) for e, k in ((m.x, i), (m.y, j))]
    says = f"largest around {worst[0]}, {worst[1]}: {number(top)}"
    names = [printable(label) for label in m.labels]
    return figure(
        printable(m.title), says, *cells, x=x, y=y, x_name=names[0], y_name=names[1], class_="square"
    )


def _legend(m: Map) -> str:
    return number(float(np.nanmax(m.mean)))


def _dimensions(shadow: Shadow) -> list[tuple[str, Markup, str, str]]:
    """(name, bar, root mean square in units of the scale, in raw units), the worst first."""
    size = shadow.by_dimension
    axis = Axis(0.0, float(max(size.max(), 1e-12)))
    rows = []
    for d in np.argsort(-size, kind="stable"):
        value, says = float(size[d]), number(float(size[d]))
        bar = interval_row(value, value, value, axis, [], kind="policy", bar=True, label=says)
        rows.append((f"action {d}", bar, says, number(value * float(shadow.scale[d]))))
    return rows


def _frames(shadow: Shadow, worth: Mapping[int, Sequence[int]]) -> list[Frame]:
    """The frames, largest disagreement first."""
    pairs = [(i, int(t)) for i, steps in worth.items() for t in steps]
    pairs.sort(key=lambda p: -float(shadow.disagreement[p[0]][p[1]]))

    def action(values: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> str:
        return ", ".join(number(round(float(v), 3), 2) for v in values[:8]) + (
            " …" if len(values) > 8 else ""
        )

    return [
        Frame(
            f"{i}" if (seed := shadow.data[i].meta.get("seed")) is None else f"{i} (seed {seed})",
            str(t),
            number(float(shadow.disagreement[i][t])),
            action(shadow.data[i].label[t]),
            action(shadow.proposed[i][t]),
        )
        for i, t in pairs[:_FRAMES]
    ]


def _rows(provenance: Provenance) -> list[tuple[str, str]]:
    rows = []
    for key, value in provenance.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v}" for k, v in value.items())
        if value is not None:
            rows.append((key, printable(str(value)) + " GiB" * (key == "memory")))
    return rows
