"""The page of a run that learned by acting: curves are its numbers, and its diagnosis is told."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from understudy.report import write_report
from understudy.report.folder import load_run
from understudy.report.learning import Acting, acting

RUN = {
    "format": "understudy-run", "version": 1, "task": "pendulum", "algorithm": "gail", "config": {},
    "network": {}, "budget": {}, "validation": 0.0, "successes_only": False, "online": {"method": {}},
    "data": {"episodes": 5, "steps": 1000}, "agent": {"selected": "last", "selected_step": 4000},
}  # fmt: skip
LINES = [
    {
        "step": 1000 * i, "validation": 1200.0 - 200 * i, "d_expert": 0.9 - 0.05 * i, "d_policy": 0.95,
        "d_held": 0.6, "reward_expert": 1.0, "reward_policy": -1.0, "entropy": 1.0, "temperature": 0.1**i,
        "seconds": 1.0 * i,
    }
    for i in (1, 2, 3, 4)
]  # fmt: skip
FOUND = {
    "severity": "error",
    "kind": "saturated",
    "evidence": "the gap is 9 <b>logits</b>",
    "advice": "Add noise",
}
LEAK = {
    "severity": "warning",
    "kind": "clipped",
    "evidence": "25% have action[0] at a bound",
    "advice": "Noise",
}
TOLD = {
    "format": "understudy-diagnosis", "version": 1, "findings": [FOUND],
    "facts": {"expert_return": -150.0}, "standing": {"share": 0.41},
    "audit": {"findings": [LEAK], "halves": {"value": 0.52, "low": 0.45, "high": 0.6, "n": 8, "method": "t"}},
}  # fmt: skip


def made(folder: Path, run: Any = RUN, lines: Any = LINES, told: Any = TOLD) -> Path:
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if told is not None:
        (folder / "diagnosis.json").write_text(json.dumps(told))
    return folder


def shown(folder: Path) -> Acting:
    found = acting(load_run(folder, "run"))
    assert found is not None
    return found


def test_every_curve_stands_where_its_numbers_are(tmp_path: Path) -> None:
    found = shown(made(tmp_path / "run"))
    assert found.curve is not None
    labels = re.findall(r"<title>(step [^<]*)</title>", found.curve.drawn)
    wanted = (
        ("1\u202f000", "−1\u202f000"),
        ("2\u202f000", "−800"),
        ("3\u202f000", "−600"),
        ("4\u202f000", "−400"),
    )
    assert labels == [f"step {at}: {value}" for at, value in wanted]
    titles = [c.title for c in found.charts]
    assert titles == [
        "What the discriminator gets right", "What a step is paid, on either side",
        "Entropy of the policy, nats", "Temperature",
    ]  # fmt: skip
    assert [name for _, name in found.charts[0].keys] == [
        "demonstrations taken for the expert’s", "held-out ones likewise", "the policy’s taken for its own",
    ]  # fmt: skip
    assert ("level", "the demonstrations: −150") in found.curve.keys


def test_the_diagnosis_is_told_in_words_and_escaped(tmp_path: Path) -> None:
    page = write_report([made(tmp_path / "run")], tmp_path / "page.html", films=False).read_text()
    assert "came 41\u202f% of the way from uniformly random actions" in page
    assert "The gap is 9 &lt;b&gt;logits&lt;/b&gt;. Add noise." in page
    assert "What a discriminator could win by in these demonstrations" in page
    assert "25% have action[0] at a bound. Noise." in page
    assert "in 52\u202f% [45, 60] of the steps of 8 unseen episodes" in page
    assert "GAIL from 5 demonstrations of pendulum" in page


def test_a_mark_that_is_a_finding_is_told_once(tmp_path: Path) -> None:
    both = TOLD | {"findings": [LEAK | {"evidence": LEAK["evidence"] + "; it wins by 90%"}]}
    found = shown(made(tmp_path / "run", told=both))
    assert [f.evidence for f in found.findings] == ["25% have action[0] at a bound; it wins by 90%"]
    assert found.marks == []


def test_no_finding_is_said_too(tmp_path: Path) -> None:
    clean = TOLD | {"findings": [], "audit": {"findings": [], "halves": None}}
    page = write_report([made(tmp_path / "run", told=clean)], tmp_path / "p.html", films=False).read_text()
    assert "Nothing that usually goes wrong was seen" in page
    assert "could win by" not in page


def test_without_a_diagnosis_the_curves_stand_alone(tmp_path: Path) -> None:
    nobody = RUN | {"algorithm": "sac", "data": {"episodes": 0, "steps": 0}}
    folder = made(tmp_path / "run", run=nobody, told=None)
    found = shown(folder)
    assert (found.judged, found.summary) == (False, "It acted for 4\u202f000 environment steps.")
    page = write_report([folder], tmp_path / "p.html", films=False).read_text()
    assert "Nothing that usually goes wrong" not in page
    assert "Soft actor-critic from the task’s own reward of pendulum" in page


def test_a_run_that_did_not_act_is_shown_as_ever(tmp_path: Path) -> None:
    cloned = {k: v for k, v in RUN.items() if k != "online"}
    folder = made(tmp_path / "run", run=cloned, told=None)
    assert acting(load_run(folder, "run")) is None
    page = write_report([folder], tmp_path / "p.html", films=False).read_text()
    assert "A lower validation loss is no promise" in page


def test_many_lines_become_means_of_stretches(tmp_path: Path) -> None:
    lines = [{"step": i, "entropy": float(i)} for i in range(1, 401)]
    found = shown(made(tmp_path / "run", lines=lines))
    assert found.curve is None
    labels = re.findall(r"<title>step ([^:]*): ([^<]*)</title>", found.charts[0].drawn)
    assert len(labels) == 40
    assert labels[0] == ("5.5", "5.5")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "not a version 1 diagnosis"),
        ({"findings": [{"severity": "fatal", "evidence": "x", "advice": "y"}]}, "severity 'fatal'"),
        ({"findings": ["x"]}, "an object is needed"),
        ({"findings": [FOUND] * 30}, "at most 24"),
        ({"standing": {"share": "all"}}, "a number is needed"),
        ({"audit": {"findings": [], "halves": {"n": 3}}}, "needs a value"),
    ],
)
def test_a_damaged_diagnosis_is_refused_in_a_line(tmp_path: Path, change: Any, words: str) -> None:
    folder = made(tmp_path / "run", told=TOLD | change)
    with pytest.raises(ValueError, match=words) as caught:
        write_report([folder], tmp_path / "p.html", films=False)
    assert "\n" not in str(caught.value)
