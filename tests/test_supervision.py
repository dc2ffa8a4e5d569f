"""What it costs to stand by: exact counts on control columns made by hand."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from io import StringIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from understudy.episode import EXPERT, POLICY, RECOVERY, Episode
from understudy.numerics import wilson
from understudy.supervision import Supervision, supervision_table

P, E, R = POLICY, EXPERT, RECOVERY
WORDS = st.lists(st.lists(st.sampled_from([P, E, R]), min_size=1, max_size=12), min_size=1, max_size=4)


def driven(*control: int, **changes: Any) -> Episode:
    steps = len(control)
    plain = Episode.demonstration(np.zeros((steps + 1, 1)), np.zeros(steps))
    return replace(plain, **({"control": np.array(control)} | changes))


@pytest.mark.parametrize(
    ("control", "held", "recovery", "interventions", "switches"),
    [
        ([P, P, P], 0, 0, 0, 0),
        ([E, E, E], 3, 0, 1, 0),  # a demonstration: taken over at the start, never handed back
        ([R], 1, 1, 1, 0),
        ([P, E, E, P], 2, 0, 1, 2),
        ([E, P, P, P], 1, 0, 1, 1),
        ([P, P, P, E], 1, 0, 1, 1),  # ended while he drove: nothing was handed back
        ([E, P, E, P, E], 3, 0, 3, 4),
        ([P, R, R, E, P], 3, 2, 1, 2),  # on the way back, then the correction: one intervention
        ([P, R, P, E, P], 2, 1, 2, 4),
    ],
)
def test_an_episode_is_counted(
    control: list[int], held: int, recovery: int, interventions: int, switches: int
) -> None:
    s = Supervision.of([driven(*control)], latency=5)
    assert (s.held, s.recovery, s.interventions, s.context_switches) == (
        held, recovery, interventions, switches,
    )  # fmt: skip
    assert s.share == held / len(control)
    assert s.mean_length == (held / interventions if interventions else None)
    assert s.effort == held + 5 * switches
    assert (s.noted_episodes, s.noted_steps) == (1, len(control))


def test_nothing_passes_between_two_episodes() -> None:
    s = Supervision.of([driven(P, E), driven(E, P)])
    assert (s.interventions, s.context_switches, s.effort) == (2, 2, 2.0)


def test_labels_count_with_and_without_control_and_as_many_as_were_asked_for() -> None:
    silent = driven(P, P, P, labelled=np.zeros(3, bool))
    some = driven(P, E, P, labelled=np.array([False, True, True]))
    asked = replace(some, meta={"asked": 3})  # and one label was dropped again
    said = replace(some, meta={"asked": "many"})  # a stranger's fact
    unknown = driven(P, P, P, P, control=None)
    assert [Supervision.of([e]).labelled for e in (silent, some, asked, said, unknown)] == [0, 2, 3, 2, 4]
    s = Supervision.of([some, unknown])
    assert (s.episodes, s.steps, s.noted_episodes, s.noted_steps) == (2, 7, 1, 3)
    assert s.share == 1 / 3  # of what is known, not of all
    nobody = Supervision.of([unknown])
    assert (nobody.share, nobody.mean_length, nobody.interventions, nobody.effort) == (None, None, 0, 0)


def test_failures_are_those_of_episodes_that_say() -> None:
    ends = [True, True, False, None, True, None]
    s = Supervision.of([driven(P, success=x) for x in ends])
    assert (s.successes, s.failures) == (3, 1)
    assert s.success == wilson(3, 4)
    rate, want = s.failures_per_100, wilson(1, 4)
    assert rate is not None
    assert (rate.value, rate.low, rate.high, rate.n) == (25, 100 * want.low, 100 * want.high, 4)
    none = Supervision.of([driven(P)])
    assert (none.success, none.failures_per_100) == (None, None)


@settings(max_examples=60, deadline=None)
@given(WORDS, WORDS, st.floats(0, 1e6))
def test_rounds_add_up(first: list[list[int]], second: list[list[int]], latency: float) -> None:
    a, b = ([driven(*c, success=len(c) % 2 == 0) for c in part] for part in (first, second))
    whole = Supervision.of([*a, *b], latency)
    assert Supervision.of(a, latency) + Supervision.of(b, latency) == whole
    assert Supervision.of([], latency) + whole == whole
    # Each take-over and each hand-over is one switch; what starts or ends an episode is none.
    ends = sum((c[0] != P) + (c[-1] != P) for c in [*first, *second])
    assert whole.context_switches == 2 * whole.interventions - ends
    assert whole.recovery <= whole.held <= whole.noted_steps == whole.steps


def test_what_cannot_be_added_or_counted_is_refused() -> None:
    a = Supervision.of([driven(P, E)], latency=2)
    with pytest.raises(ValueError, match=r"latencies are 2\.0 and 0\.0"):
        a + Supervision.of([driven(P, E)])
    with pytest.raises(TypeError):
        a + 3  # type: ignore[operator]
    for wrong in (-1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=f"latency is {wrong}; it must be finite and not negative"):
            Supervision.of([driven(P)], latency=wrong)
    with pytest.raises(ValueError, match="held is -1"):
        replace(a, held=-1)


def test_the_summary_is_json_and_holds_everything() -> None:
    episodes = [driven(P, R, E, P, success=False), driven(P, control=None)]
    said = json.loads(json.dumps(Supervision.of(episodes, latency=3).summary(), allow_nan=False))
    assert {f.name for f in fields(Supervision)} < said.keys()
    counts = ("episodes", "steps", "labelled", "held", "recovery", "interventions", "context_switches")
    assert [said[k] for k in counts] == [2, 5, 5, 2, 1, 1, 2]
    assert (said["share"], said["mean_length"], said["effort"]) == (0.5, 2.0, 8.0)
    assert said["failures_per_100"]["value"] == 100
    assert said["success"]["high"] == wilson(0, 1).high
    empty = json.loads(json.dumps(Supervision.of([]).summary(), allow_nan=False))
    assert (empty["share"], empty["mean_length"], empty["success"]) == (None, None, None)


def test_in_words() -> None:
    s = Supervision.of([driven(P, R, E, E, P), driven(E, P, P, P, P)])
    assert str(s) == (
        "policy 60.0%, expert 30.0%, recovery 10.0% of the steps; interventions: 1 an episode, 2 steps long"
    )
    assert str(Supervision.of([driven(P)])).endswith("of the steps; interventions: 0 an episode")
    assert "(1 of 2 episodes say)" in str(Supervision.of([driven(P), driven(P, control=None)]))
    assert str(Supervision.of([driven(P, control=None)])) == "nobody noted who held the controls"


@pytest.mark.parametrize("back", [False, True])
def test_the_table_fits_a_terminal_and_takes_no_markup_from_names(back: bool) -> None:
    busy = [driven(P, R if back else E, E, P, success=False)] * 2000
    unknown = [driven(P, control=None)]
    rows = {"round 1": Supervision.of(busy, latency=10), "[red]all": Supervision.of(unknown)}
    out = StringIO()
    Console(width=80, file=out).print(supervision_table(rows))
    *head, first, second = out.getvalue().rstrip().split("\n")
    assert len(head) == 2
    assert "…" not in out.getvalue()
    assert ("covery" in head[1]) == back
    held = ["50.0%", *["2000"] * back, "44000", "100", "[100,", "100]"]
    assert first.split() == ["round", "1", "8000", "2000", "2.0", "4000", *held]
    assert second.split() == ["[red]all", "1", *["–"] * (7 if back else 6)]
