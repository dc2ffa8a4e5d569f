"""The report's section about rounds, and curves over one another."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from understudy.numerics import wilson
from understudy.report import write_report
from understudy.report.charts import Point
from understudy.report.overlay import Level, Series, curve_figure, keys, save_figure
from understudy.report.roundlog import read
from understudy.report.rounds import against_labels, teaching

RATES = (4, 20, 41, 50, 48)
NOTE = "<b>\u202enovelty"


def log() -> list[dict]:
    """Four rounds after 500 demonstrated states, as the rounds write them."""
    lines = []
    for i, hits in enumerate(RATES):
        line = {
            "round": i, "labelled": 500 + 100 * i, "labelled_new": 100 * (i > 0), "states": 500 + 250 * i,
            "loss": 0.5 / (1 + i), "train_cpu_seconds": 2.5, "success": wilson(hits, 50).summary(),
            "return": {"value": -20.0 + i, "low": -22.0 + i, "high": -18.0 + i, "n": 50, "method": ""},
            "method": {"doubt": 0.4 / (1 + i), "tau": 0.5, NOTE: 7.25} if i else {},
        }  # fmt: skip
        if i:
            line["supervision"] = {
                "episodes": 5, "steps": 250, "labelled": 100, "interventions": 12 - i, "held": 100,
                "context_switches": 23 - i, "share": 0.4, "mean_length": 9.5, "effort": 100.0, "recovery": 0,
                "success": None, "failures_per_100": {"value": 20.0, "low": 4.0, "high": 62.0, "n": 5},
            }  # fmt: skip
        lines.append(line)
    return lines


def a_run(folder: Path, lines: list[dict] | None, *, task: str = "fetch-pick-place") -> Path:
    folder.mkdir()
    facts = {"format": "understudy-run", "version": 1, "task": task, "algorithm": "hg-dagger"}
    facts |= {"interactive": {"selected_round": 3}, "data": {"episodes": 10, "steps": 500}}
    (folder / "run.json").write_text(json.dumps(facts))
    if lines is not None:
        (folder / "rounds.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def shapes(svg: str, name: str) -> list[dict[str, str]]:
    return [e.attrib for e in ElementTree.fromstring(svg).iter() if e.tag.split("}")[-1] == name]


def at(value: str) -> float:
    return float(value.removesuffix("%"))


def test_the_curve_stands_where_the_numbers_are() -> None:
    chart = against_labels([("", read(log()))], expert=(wilson(48, 50), None), kept=3)
    assert chart is not None
    dots = shapes(chart.drawn, "circle")
    assert [at(d["cy"]) for d in dots] == pytest.approx([100 - 2 * hits for hits in RATES], abs=0.01)
    across = [at(d["cx"]) for d in dots]
    steps = [b - a for a, b in pairwise(across)]
    assert steps == pytest.approx([steps[0]] * 4, abs=0.02), "labelled states grow by 100 a round"
    whiskers = [a for a in shapes(chart.drawn, "line") if a.get("class") == "whisker"]
    ends = [(wilson(h, 50).low, wilson(h, 50).high) for h in RATES]
    assert [(100 - at(w["y2"])) / 100 for w in whiskers] == pytest.approx([low for low, _ in ends], abs=1e-4)
    assert [(100 - at(w["y1"])) / 100 for w in whiskers] == pytest.approx(
        [high for _, high in ends], abs=1e-4
    )
    markers = [a for a in shapes(chart.drawn, "line") if a.get("class") == "marker"]
    assert [at(m["x1"]) for m in markers] == [across[3]]
    assert "kept: round 3" in chart.drawn
    level = next(a["points"] for a in shapes(chart.drawn, "polyline"))
    assert [float(p.split(",")[1]) for p in level.split()] == [4.0, 4.0]
    assert [name for _, name in chart.keys] == ["the expert: 96\u202f% [87, 99]"]


def test_where_no_success_is_known_the_return_is_drawn() -> None:
    lines = [line | {"success": None} for line in log()]
    chart = against_labels([("", read(lines))])
    assert chart is not None
    assert chart.title == "Return against labelled states"
    heights = [at(d["cy"]) for d in shapes(chart.drawn, "circle")]
    assert heights == sorted(heights, reverse=True)
    assert against_labels([("", read([line | {"success": None, "return": None} for line in lines]))]) is None


def test_the_page_has_the_rounds(tmp_path: Path) -> None:
    text = write_report([a_run(tmp_path / "run", log())], tmp_path / "page.html").read_text()
    assert 'href="#rounds"' in text
    assert "In 4 rounds the expert labelled 400 states, after 500 states of demonstrations." in text
    assert (
        "The policy after round 3 was kept: success 100\u202f% [93, 100], from 800 labelled states." in text
    )
    titles = ("Success against labelled states", "Interventions and switches", "Share of states supervised",
              "Doubt and its threshold", "Mean length of an intervention, steps")  # fmt: skip
    for title in titles:
        assert f"<h4>{title}</h4>" in text
    table = text[text.index("round by round</summary>") :]
    for cell in ("500", "900", "20 [4, 62]", "40\u202f%", "9.5", "7.25", "8\u202f% [3, 19]"):
        assert f'<td class="num">{cell}</td>' in table
    assert NOTE not in text
    assert "&lt;b&gt;\ufffdnovelty" in text
    assert "on the way back" not in table, "nobody was ever on the way back: the column says nothing"


def test_a_run_without_rounds_has_no_such_section(tmp_path: Path) -> None:
    text = write_report([a_run(tmp_path / "run", None)], tmp_path / "page.html").read_text()
    assert "#rounds" not in text.split("</style>")[1]
    assert 'id="rounds"' not in text


def test_runs_on_one_task_are_laid_over_one_another(tmp_path: Path) -> None:
    runs = [a_run(tmp_path / name, log()) for name in ("one", "two")]
    text = write_report(runs, tmp_path / "page.html").read_text()
    assert text.count("<h4>Success against labelled states</h4>") == 3
    assert '<li class="key r1 d0"><i></i><span>two</span></li>' in text
    other = a_run(tmp_path / "three", log(), task="pendulum")
    text = write_report([runs[0], other], tmp_path / "page.html").read_text()
    assert text.count("<h4>Success against labelled states</h4>") == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"round": 5}, "line 2 is of round 5, not 1"),
        ({"round": None}, "line 2: round is None"),
        ({"labelled": -1}, "line 2: labelled is -1"),
        ({"labelled": "many"}, "line 2: labelled is 'many'"),
        ({"labelled_new": True}, "line 2: labelled_new is True"),
        ({"success": {"value": 0.5}}, "line 2: success needs"),
        ({"method": {"tau": "high"}}, "line 2: tau.* is 'high'; a number"),
        ({"method": {"tau": 1e200}}, "must lie within"),
        ({"method": {str(i): 0.0 for i in range(99)}}, "notes 99 values; at most 24"),
        ({"supervision": [1]}, "line 2: supervision is"),
    ],
)
def test_a_log_that_does_not_fit_is_refused_in_one_line(change: dict, words: str) -> None:
    lines = log()
    lines[1] |= change
    with pytest.raises(ValueError, match=words) as refused:
        read(lines)
    assert "\n" not in str(refused.value)


def test_a_damaged_log_stops_the_page_and_an_unfinished_line_does_not(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run", log())
    file = run / "rounds.jsonl"
    whole = file.read_text()
    file.write_text(whole + '{"round": 5, "lab')
    assert "In 4 rounds" in write_report([run], tmp_path / "page.html").read_text()
    file.write_text(whole.replace('"labelled": 600', '"labelled": NaN'))
    with pytest.raises(ValueError, match="not readable JSON"):
        write_report([run], tmp_path / "page.html")


def test_what_rounds_write_is_what_is_read(tmp_path: Path) -> None:
    from understudy.envs import task
    from understudy.experts import PolicyExpert
    from understudy.interactive import dagger
    from understudy.interactive.rounds import Rounds, teach
    from understudy.runs import Network
    from understudy.train import Budget

    which = task("pendulum")
    assert which.expert is not None
    method = dagger.Method(PolicyExpert(which.expert()), dagger.Config(), 2)
    plan = Rounds(rounds=2, episodes=1, validation_episodes=2)
    folder = a_run(tmp_path / "run", None, task="pendulum")
    taught = teach(
        method, which, plan=plan, network=Network(hidden=(8,)), budget=Budget(steps=5), run=folder
    )  # fmt: skip
    from understudy.report.folder import load_run

    found = read(load_run(folder, "run").rounds)
    assert [r.labelled for r in found] == [line["labelled"] for line in taught.log] == [0, 200, 400]
    assert [r.returned is None for r in found] == [True, False, False]
    assert found[1].noted == {"beta": 0.0}
    assert found[1].supervision["share"] == 1.0
    shown = teaching(load_run(folder, "run"))
    assert shown is not None
    assert shown.curve is not None
    assert shown.curve.title == "Success against labelled states"
    assert len(shapes(shown.curve.drawn, "circle")) == 2
    assert "In 2 rounds the expert labelled 400 states." in shown.summary


def several(n: int) -> list[Series]:
    return [
        Series(f"method <{i}>", tuple(Point(10.0**k, 0.1 * k + i, i - 1.0, i + 1.0, "") for k in range(4)))
        for i in range(n)
    ]


def test_a_logarithmic_axis_has_equal_ratios_at_equal_distances() -> None:
    drawn = curve_figure(several(1), "states", "cost", title="t", log_x=True)
    across = [at(d["cx"]) for d in shapes(drawn, "circle")]
    steps = [b - a for a, b in pairwise(across)]
    assert steps == pytest.approx([steps[0]] * 3, abs=0.02)
    power = [Series("", tuple(Point(x, x**2, x**2, x**2, "") for x in (1.0, 10.0, 100.0)))]
    spots = shapes(curve_figure(power, "T", "cost", title="t", log_x=True, log_y=True), "circle")
    heights = [at(d["cy"]) for d in spots]
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2], abs=0.02)


def test_curves_differ_and_only_one_alone_has_whiskers() -> None:
    eight = several(8)
    named = keys(eight, [Level("the expert", 1.0, 1.0, 1.0)])
    assert len(set(named)) == len({hue for hue, _ in named}) == 9
    drawn = curve_figure(eight, "x", "y", title="t")
    assert not [a for a in shapes(drawn, "line") if a.get("class") == "whisker"]
    assert len(shapes(drawn, "polygon")) == 8
    unknown = Series("", (Point(1.0, 2.0, -math.inf, math.inf, ""), Point(2.0, 3.0, -math.inf, math.inf, "")))
    drawn = curve_figure([unknown], "x", "y", title="t")
    assert not shapes(drawn, "polygon")
    assert "inf" not in drawn.replace("interface", "")


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no curve"):
        curve_figure([], "x", "y", title="t")
    with pytest.raises(ValueError, match="the curve 'a' has no point"):
        Series("a", ())
    with pytest.raises(ValueError, match="has a point at"):
        Series("a", (Point(1.0, math.nan, 0.0, 1.0, ""),))


def test_a_figure_of_its_own_is_whole(tmp_path: Path) -> None:
    curves = several(5)
    drawn = curve_figure(curves, "labelled states", "success", title="A & B")
    file = save_figure(tmp_path / "docs" / "figure.svg", drawn, keys(curves), width=600, height=400)
    text = file.read_text()
    root = ElementTree.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.attrib["viewBox"] == "0 0 600 400"
    assert "prefers-color-scheme: dark" in text
    for name in ("--r4", ".overlay .line", ".whisker", ".grid"):
        assert name in text, "a rule that the figure needs is not in it"
    names = [e for e in root.iter() if e.tag.endswith("text") and (e.text or "").startswith("method <")]
    assert [e.text for e in names] == [s.name for s in curves]
    assert max(float(e.attrib["x"]) + 6.6 * len(e.text or "") for e in names) <= 600
    assert len({e.attrib["y"] for e in names}) > 1, "five names do not fit into one row of 600 pixels"
    assert len([e for e in root.iter() if e.tag.endswith("circle")]) == 20
