"""Reports say what happened, comparisons are pair by pair, and files from strangers do no harm."""

from __future__ import annotations

import dataclasses
import io
import json
import pickle
import random
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from understudy.envs import ActionSpec, View
from understudy.episode import Episode
from understudy.evaluate import FIRST_SEED, Outcome, Report, Tracking, compare, evaluate, fresh_seeds
from understudy.numerics import bootstrap, mcnemar, paired_bootstrap, tango, tracking, wilson
from understudy.rollout import Workers, rollouts

VIEW = View("position", (0, 1), ("x", "y"), "m", "goal")
PLAIN = View("position", (0, 1), ("x", "y"), "m")


class Reach:
    """A point in the plane that moves by its action; done within 0.1 of the goal, out of time at step 20."""

    name = "reach"
    action = ActionSpec.box([-0.2, -0.2], [0.2, 0.2])

    def __init__(self, shift: float = 0.0, mute: bool = False) -> None:
        self.shift, self.mute = shift, mute

    def reset(self, *, seed: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        rng = np.random.default_rng(seed)
        self.position, self.goal = rng.uniform(-1, 1, 2) + self.shift, rng.uniform(-1, 1, 2)
        self.step_count = 0
        return self._seen(), {}

    def _seen(self) -> dict[str, np.ndarray]:
        return {"position": self.position.copy(), "goal": self.goal.copy()}

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        self.position = self.position + action
        self.step_count += 1
        far = float(np.linalg.norm(self.position - self.goal))
        done = far < 0.1
        return self._seen(), -far, done, self.step_count >= 20, {} if self.mute else {"success": done}


class Toward:
    """Goes to the goal with a gain, and with noise of its own."""

    def __init__(self, gain: float = 1.0, noise: float = 0.0) -> None:
        self.gain, self.noise = gain, noise

    def reset(self, seed: int) -> None:
        self.rng = np.random.default_rng((seed, 1))

    def act(self, obs: Any) -> np.ndarray:
        return self.gain * (obs["goal"] - obs["position"]) + self.noise * self.rng.normal(size=2)


SEEDS = fresh_seeds(12)


@pytest.fixture(scope="module")
def good() -> Report:
    return evaluate(Toward(), Reach, SEEDS, name="good", view=VIEW)


@pytest.fixture(scope="module")
def poor(good: Report) -> Report:
    return evaluate(Toward(0.3, 0.2), Reach, SEEDS, name="poor", view=VIEW, reference=good.episodes)


def made(
    success: list[bool | None], policy: str = "p", task: str = "t", first: int = 0, **rest: Any
) -> Report:
    """A report with these successes; the return is 1 where there is one."""
    outcomes = tuple(
        Outcome(first + i, s, float(s or 0), 5, bool(s), 0.25 * (first + i)) for i, s in enumerate(success)
    )
    return dataclasses.replace(Report(policy, task, outcomes, "m", 1.5, 1.25, {"command": "c"}), **rest)


# --- seeds


def test_fresh_seeds_are_one_list_for_everybody_and_never_those_of_demonstrations():
    assert fresh_seeds(3) == (1_000_000, 1_000_001, 1_000_002)
    assert fresh_seeds(2, start=5) == (5, 6)
    demos = [dataclasses.replace(DEMO, meta={"seed": s}) for s in (0, 1, 7)] + [DEMO]
    assert fresh_seeds(4, avoid=demos) == fresh_seeds(4)
    with pytest.raises(ValueError, match=r"2 of the 3 seeds from 0 were recorded as demonstrations \(0, 1\)"):
        fresh_seeds(3, avoid=demos, start=0)
    for n, start in ((0, 0), (3, -1)):
        with pytest.raises(ValueError, match="seeds from"):
            fresh_seeds(n, start=start)


DEMO = Episode.demonstration(np.zeros((3, 2)), np.zeros((2, 2)))


# --- evaluate


def test_a_report_says_what_the_episodes_say(good: Report, poor: Report):
    episodes = rollouts(Reach, Toward(0.3, 0.2), SEEDS)
    assert poor.seeds == SEEDS
    assert (poor.policy, poor.task, poor.unit) == ("poor", "reach", "m")
    for outcome, e, reference in zip(poor.outcomes, episodes, good.episodes, strict=True):
        assert outcome.success == e.success
        assert outcome.total_reward == e.total_reward
        assert (outcome.steps, outcome.terminated) == (len(e), e.terminated)
        path = e.obs["position"].astype(np.float64)
        assert outcome.tracking == tracking(path, reference.obs["position"])
        assert outcome.goal_distance == pytest.approx(np.linalg.norm(path[-1] - e.obs["goal"][-1]), rel=1e-6)
    assert (
        0 < sum(o.success for o in poor.outcomes) < 12
    )  # both kinds are there, or this test would say little
    assert poor.success_rate == wilson(sum(o.success for o in poor.outcomes), 12)
    assert poor.mean_return == bootstrap([e.total_reward for e in episodes])
    assert poor.mean_steps == bootstrap([len(e) for e in episodes])
    assert poor.tracking_rmse == bootstrap([o.tracking.rmse for o in poor.outcomes])
    assert poor.max_deviation == bootstrap([o.tracking.max_deviation for o in poor.outcomes])
    assert poor.goal_distance == bootstrap([o.goal_distance for o in poor.outcomes])
    assert poor.seconds > 0
    assert poor.cpu_seconds is not None
    assert poor.cpu_seconds >= 0
    assert [e.meta["policy"] for e in poor.episodes] == ["poor"] * 12


def test_a_policy_tracks_itself_exactly_and_a_seed_without_a_reference_gets_no_error(good: Report):
    by_seed = {s: e for s, e in zip(good.seeds, good.episodes, strict=True) if s % 2}
    again = evaluate(Toward(), Reach, SEEDS, view=VIEW, reference=by_seed)
    for o in again.outcomes:
        assert o.tracking == (Tracking(0.0, 0.0, 1.0) if o.seed % 2 else None)
    assert again.tracking_rmse.n == 6
    assert again.policy == "Toward"


def test_the_numbers_do_not_depend_on_the_order_of_the_seeds(poor: Report, good: Report):
    order = list(SEEDS)
    random.Random(0).shuffle(order)
    other = evaluate(Toward(0.3, 0.2), Reach, order, name="poor", view=VIEW, reference=good.episodes)
    assert other.seeds == tuple(order)
    assert sorted(other.outcomes, key=lambda o: o.seed) == list(poor.outcomes)
    drop = ("seconds", "cpu_seconds")
    first, second = ({k: v for k, v in r.summary().items() if k not in drop} for r in (poor, other))
    assert first == second
    assert compare(good, other) == compare(good, poor)


def test_outcomes_are_made_as_episodes_end_and_progress_sees_them_in_order(good: Report):
    seen: list[Episode] = []
    report = evaluate(Toward(), Reach, SEEDS[:3], progress=seen.append)
    assert tuple(seen) == report.episodes
    assert [o.goal_distance for o in report.outcomes] == [None] * 3
    assert (report.tracking_rmse, report.max_deviation, report.goal_distance, report.unit) == (
        None,
        None,
        None,
        "",
    )
    seen.clear()
    with pytest.raises(ValueError, match=r"dimensions \(0, 5\) of 'position'"):
        evaluate(Toward(), Reach, SEEDS, view=View("position", (0, 5), ("x", "z"), "m"), progress=seen.append)
    assert not seen  # known after the first episode, not after the last


def test_processor_time_is_not_claimed_where_other_processes_did_the_work(monkeypatch: pytest.MonkeyPatch):
    lent: list[Any] = []

    def here(make_env: Any, policy: Any, seeds: Any, *, workers: Any, **rest: Any) -> list[Episode]:
        lent.append(workers)
        return rollouts(make_env, policy, seeds, **rest)

    monkeypatch.setattr(import_module("understudy.evaluate.measure"), "rollouts", here)
    with Workers(3) as three, Workers(1) as one:
        made = [evaluate(Toward(), Reach, SEEDS[:2], workers=w) for w in (1, 2, one, three)]
        assert lent == [1, 2, one, three]
    assert [r.cpu_seconds is None for r in made] == [False, True, False, True]
    assert len({r.outcomes for r in made}) == 1


def test_where_nobody_says_whether_it_succeeded_there_is_no_rate():
    report = evaluate(Toward(), lambda: Reach(mute=True), SEEDS[:4])
    assert report.success_rate is None
    assert "none says whether it succeeded" in str(report)
    assert report.summary()["success_rate"] is None
    mixed = made([True, None, False, None, True])
    assert mixed.success_rate == wilson(2, 3)
    assert "2 of 3 episodes" in str(mixed)
    assert "2 more do not say" in str(mixed)


def test_an_episode_can_be_cut_short():
    report = evaluate(Toward(0.0), Reach, SEEDS[:2], max_steps=3)
    assert [o.steps for o in report.outcomes] == [3, 3]
    assert not any(o.terminated for o in report.outcomes)


def test_a_goal_may_be_all_of_its_observation_or_the_same_dimensions_of_it(good: Report):
    e = good.episodes[0]
    lone = View("position", (1,), ("y",), "m", "goal")
    report = evaluate(Toward(), Reach, SEEDS[:1], view=lone)
    gap = abs(float(e.obs["position"][-1, 1]) - float(e.obs["goal"][-1, 1]))
    assert report.outcomes[0].goal_distance == pytest.approx(gap, rel=1e-9)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seeds": [1, 2, 1]}, "each once"),
        ({"seeds": []}, "at least one"),
        ({"seeds": [-1]}, "none negative"),
        ({"view": None}, "needs a view"),
        ({"view": View("place", (0, 1), ("x", "y"), "m")}, "of 'place'"),
        ({"view": View("position", (0, 1), ("x", "y"), "m", "target")}, "of 'target'"),
        ({"reference": {}}, "no reference has any of the 12 seeds"),
        ({"reference": [DEMO]}, "seed None in its meta"),
        ({"name": "a\nb"}, "printable"),
    ],
)
def test_what_cannot_be_measured_is_refused(good: Report, change: dict[str, Any], says: str):
    settings = {"seeds": SEEDS, "view": PLAIN, "reference": good.episodes} | change
    with pytest.raises(ValueError, match=says) as error:
        evaluate(Toward(), Reach, **settings)
    assert "\n" not in str(error.value)


def test_a_reference_that_starts_elsewhere_is_refused(good: Report):
    with pytest.raises(ValueError, match="seed 1000000: the reference starts from another state"):
        evaluate(Toward(), lambda: Reach(shift=0.01), SEEDS, view=VIEW, reference=good.episodes)
    twice = [*good.episodes, good.episodes[0]]
    assert evaluate(
        Toward(), Reach, SEEDS, view=VIEW, reference=twice
    ).outcomes  # the same one again is no doubt
    other = evaluate(Toward(0.5), Reach, SEEDS).episodes
    with pytest.raises(ValueError, match="two references for seed"):
        evaluate(Toward(), Reach, SEEDS, view=VIEW, reference=[*good.episodes, *other])


# --- a report as a value


def test_a_report_refuses_what_is_no_evidence():
    one = Outcome(3, True, 1.0, 5, True, 0.0)
    with pytest.raises(ValueError, match="no outcomes"):
        Report("p", "t", (), "", 0.0, None, {})
    with pytest.raises(ValueError, match="seed 3 appears twice"):
        Report("p", "t", (one, one), "", 0.0, None, {})
    with pytest.raises(ValueError, match="seconds is nan"):
        Report("p", "t", (one,), "", float("nan"), None, {})
    with pytest.raises(ValueError, match="printable"):
        Report("p\x1b[2J", "t", (one,), "", 0.0, None, {})
    with pytest.raises(ValueError, match=r"provenance\.cpu is of type list"):
        Report("p", "t", (one,), "", 0.0, None, {"cpu": ["x"]})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="2 episodes and 1 outcomes"):
        Report("p", "t", (one,), "", 0.0, None, {}, (DEMO, DEMO))
    for bad in (
        {"seed": -1},
        {"steps": 0},
        {"total_reward": np.inf},
        {"start": np.nan},
        {"goal_distance": -1.0},
    ):
        with pytest.raises(ValueError):
            dataclasses.replace(one, **bad)
    for off in ((-1.0, 1.0, 1.0), (2.0, 1.0, 1.0), (1.0, np.inf, 1.0), (0.0, 0.0, 0.0), (np.nan, 1.0, 1.0)):
        with pytest.raises(ValueError):
            Tracking(*off)


def test_a_report_in_words(poor: Report):
    text = str(poor)
    assert text.count("\n") == 1
    assert text.startswith("poor on reach: success 0.")
    assert f"{sum(o.success for o in poor.outcomes)} of 12 episodes, Wilson 95 %" in text
    assert "m RMS against 12 references" in text
    assert "final distance to the goal" in text
    assert str(made([True] * 3)).count("\n") == 0


def test_the_table_has_a_row_an_episode_and_takes_no_markup_from_names(poor: Report):
    def printed(report: Report) -> str:
        console = Console(file=io.StringIO(), width=140)
        console.print(report.table())
        return console.file.getvalue()

    text = printed(poor)
    for o in poor.outcomes:
        row = next(line for line in text.splitlines() if str(o.seed) in line)
        assert ("yes" if o.success else "no") in row
        assert f"{o.tracking.rmse:.4g}" in row
        assert ("task" if o.terminated else "time limit") in row
    assert "RMSE" in text
    assert "distances in m" in text
    plain = printed(made([True, None], policy="[bold]p[/bold]"))
    assert "[bold]p[/bold] on t" in plain
    assert "RMSE" not in plain
    assert "goal" not in plain


# --- JSON


def test_json_gives_the_same_report_to_the_last_bit(poor: Report, good: Report):
    for report in (poor, good, made([True, None, False])):
        text = report.to_json()
        back = Report.from_json(text)
        assert back == report
        assert back.episodes is None
        assert back.to_json() == text
        assert compare(back, report).success is not None
        assert [o.total_reward.hex() for o in back.outcomes] == [
            o.total_reward.hex() for o in report.outcomes
        ]
    assert pickle.loads(pickle.dumps(poor)) == poor


finite = st.floats(allow_nan=False, allow_infinity=False)
words = st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=20)


@st.composite
def reports(draw: Any) -> Report:
    outcomes = []
    for seed in draw(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=4, unique=True)):
        off = None
        if draw(st.booleans()):
            far = draw(st.floats(0, 1e100))
            off = Tracking(far * draw(st.floats(0, 1)), far, draw(st.floats(1e-9, 1)))
        outcomes.append(
            Outcome(
                seed=seed,
                success=draw(st.none() | st.booleans()),
                total_reward=draw(st.floats(-1e100, 1e100)),
                steps=draw(st.integers(1, 10**6)),
                terminated=draw(st.booleans()),
                start=draw(st.floats(-1e100, 1e100)),
                tracking=off,
                goal_distance=draw(st.none() | st.floats(0, 1e100)),
            )
        )
    facts = st.dictionaries(words, words | st.integers(-(2**63), 2**63 - 1) | finite | st.none(), max_size=3)
    deep = {"versions": draw(st.dictionaries(words, words, max_size=2))}
    seconds, cpu = draw(st.floats(0, 1e9)), draw(st.none() | st.floats(0, 1e9))
    return Report(draw(words), draw(words), tuple(outcomes), draw(words), seconds, cpu, draw(facts) | deep)


@settings(max_examples=60, deadline=None)
@given(reports())
def test_json_round_trip_of_any_report(report: Report):
    text = report.to_json()
    back = Report.from_json(text)
    assert back == report
    assert back.to_json() == text


def refused(text: str) -> str:
    with pytest.raises(ValueError) as error:
        Report.from_json(text)
    assert type(error.value) is ValueError
    said = str(error.value)
    assert said
    assert said.isprintable()
    assert len(said) < 300
    return said


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
BODY = json.loads(made([True, None, False]).to_json())
PLACES = [(k,) for k in BODY if k != "summary"] + [("outcomes", k) for k in BODY["outcomes"]]
PLACES += [("outcomes", k, 0) for k in BODY["outcomes"]] + [("provenance", "command")]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(PLACES), anything)
def test_a_field_replaced_by_anything_is_read_as_it_stands_or_refused_in_one_line(
    place: tuple[Any, ...], value: Any
):
    body = json.loads(json.dumps(BODY))
    holder = body
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value
    try:
        text = json.dumps(body)
    except UnicodeEncodeError:  # a lone surrogate, which no file holds
        return
    try:
        report = Report.from_json(text)
    except ValueError:
        refused(text)
        return
    assert Report.from_json(report.to_json()) == report


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200) | anything.map(json.dumps))
def test_any_other_text_is_refused(text: str):
    refused(text)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_a_report_cut_anywhere_is_refused(start: int, stop: int):
    text = made([True, None, False]).to_json()
    start, stop = start % len(text), stop % len(text)
    if text[start:stop].strip() != text.strip():
        refused(text[start:stop])


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"version": 1', '"version": 2', "version is 2; only 1"),
        ('"version": 1', '"version": true', "version is True"),
        ('"format": "understudy-report"', '"format": "x"', "format is 'x'"),
        ('"policy": "p"', '"policy": "p", "extra": 1', "'extra', which is not understood"),
        ('"policy": "p"', '"policy": "p", "policy": "q"', "names a field twice"),
        ('"policy": "p"', '"policy": "\\u001b[2J"', "printable"),
        ('"policy": "p"', '"policy": 3', "policy is 3; a text"),
        ('"seconds": 1.5', '"seconds": NaN', "NaN"),
        ('"seconds": 1.5', '"seconds": 1e999', "finite"),
        ('"seconds": 1.5', '"seconds": ' + "9" * 5000, "5000 digits"),
        ('"seconds": 1.5', '"seconds": ' + "9" * 19, "63 bits"),
        ('"seconds": 1.5', '"seconds": ' + "[" * 100_000, "nested too deeply"),
        ('"seed": [0, 1, 2]', '"seed": [0, 1, 1]', "seed 1 appears twice"),
        ('"seed": [0, 1, 2]', '"seed": [0, 1]', "differ in length"),
        ('"seed": [0, 1, 2]', '"seed": [0, 1, 2.0]', "whole number"),
        ('"success": [true, null, false]', '"success": [1, null, 0]', "true or false"),
        ('"rmse": [null, null, null]', '"rmse": [0.5, null, null]', "2 of 3 tracking entries missing"),
        ('"steps": [5, 5, 5]', '"steps": [5, 0, 5]', "at least one"),
        ('"steps": [5, 5, 5]', '"steps": [5, true, 5]', "steps[1] is True; a whole number"),
        ('"steps": [5, 5, 5]', '"steps": [5, 5, 5], "more": []', "outcomes has 'more'"),
        ('"steps": [5, 5, 5]', '"stepz": [5, 5, 5]', "outcomes has no 'steps'"),
        ('"command": "c"', '"command": ["c"]', "of type list"),
        ('"command": "c"', '"command": {"a": 1}', "a text is needed"),
    ],
)
def test_a_hostile_change_is_named(old: str, new: str, says: str):
    text = made([True, None, False]).to_json()
    assert old in text
    assert says in refused(text.replace(old, new, 1))


def test_a_summary_is_for_reading_and_never_believed():
    text = made([True, True, False]).to_json()
    body = json.loads(text)
    assert body["summary"]["success_rate"]["value"] == pytest.approx(2 / 3)
    body["summary"] = {"success_rate": {"value": 1.0}}
    assert Report.from_json(json.dumps(body)).to_json() == text


def test_a_text_without_end_is_not_read(monkeypatch):
    monkeypatch.setattr(import_module("understudy.evaluate.reading"), "_TEXT", 100)
    assert "at most 100 are read" in refused(made([True]).to_json())


# --- compare


def pair(only_a: int, only_b: int, both: int, neither: int) -> tuple[Report, Report]:
    a = [True] * only_a + [False] * only_b + [True] * both + [False] * neither
    b = [False] * only_a + [True] * only_b + [True] * both + [False] * neither
    return made(a, "A"), made(b, "B")


def test_a_difference_is_counted_in_pairs_and_said_in_words():
    a, b = pair(31, 7, 140, 22)
    d = compare(a, b)
    assert (d.both, d.only_a, d.only_b, d.neither) == (140, 31, 7, 22)
    assert d.success == tango(31, 7, 200)
    assert d.p == mcnemar(31, 7)
    assert d.mean_return == paired_bootstrap(a.returns, b.returns)
    said = str(d)
    assert "A succeeds more often than B on t: +0.12 [+0.06, +0.18], McNemar p = 0.00012, 200 pairs" in said
    assert "31 only A, 7 only B" in said
    assert "A has the higher return" in said
    back = compare(b, a)
    assert "B succeeds less often than A" in str(back)
    assert "B has the lower return" in str(back)
    assert (back.success.value, back.p, back.detectable) == (-d.success.value, d.p, d.detectable)


def test_where_no_difference_is_shown_it_says_what_could_have_been_missed():
    d = compare(*pair(12, 9, 150, 29))
    said = str(d)
    assert "No difference in success shown between A and B on t: +0.01" in said
    assert f"below {d.detectable:.2f} could have been missed" in said
    assert "No difference in return shown" in said
    # If they differed by that much, on as many pairs as the data allow, four studies in five would say so.
    share = wilson(21, 200).high
    p, q = (share + d.detectable) / 2, (share - d.detectable) / 2
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(200, [p, q, 1 - p - q], size=2000)
    found = np.mean([mcnemar(int(x), int(y)) <= 0.05 for x, y, _ in drawn])
    assert found == pytest.approx(0.8, abs=4 * np.sqrt(0.8 * 0.2 / 2000))  # four standard errors
    few = compare(*pair(3, 0, 1, 1))
    assert few.detectable == np.inf
    assert "so few pairs could have missed any difference" in str(few)
    assert json.loads(few.to_json())["detectable"] is None


def test_pairs_in_which_one_does_not_say_are_left_out_and_returns_still_count():
    a, b = made([True, None, False, True], "A"), made([False, True, None, True], "B")
    d = compare(a, b)
    assert (d.only_a, d.only_b, d.both, d.neither) == (1, 0, 1, 0)
    assert (d.success.n, d.mean_return.n) == (2, 4)
    silent = compare(made([None, None], "A"), made([True, False], "B"))
    assert (silent.success, silent.p, silent.detectable) == (None, None, None)
    assert "succeeds" not in str(silent)
    assert "return" in str(silent)
    assert json.loads(silent.to_json())["success"] is None


def test_the_order_of_the_seeds_does_not_matter():
    a, b = pair(9, 2, 5, 4)
    order = list(range(20))
    random.Random(1).shuffle(order)
    assert compare(dataclasses.replace(a, outcomes=tuple(a.outcomes[i] for i in order)), b) == compare(a, b)


def test_one_pair_and_equal_names():
    d = compare(made([True], "A"), made([False], "A"))
    assert (d.a, d.b) == ("A (a)", "A (b)")
    assert "No difference in return shown" in str(d)
    body = json.loads(d.to_json())
    assert body["mean_return"]["low"] is None
    assert body["verdict"] == str(d)
    assert body["seeds"] == [0]


def test_what_is_no_pair_is_refused_and_named():
    a = made([True] * 9)
    with pytest.raises(ValueError, match=r"2 seeds have no partner \(0 only in a, 9 only in b\)"):
        compare(a, made([True] * 9, first=1))
    with pytest.raises(ValueError, match=r"18 seeds have no partner .*, \.\.\.\)"):
        compare(a, made([True] * 9, first=50))
    with pytest.raises(ValueError, match="measured on 't' and q on 'u'"):
        compare(a, made([True] * 9, "q", "u"))
    moved = tuple(dataclasses.replace(o, start=o.start + (o.seed == 4)) for o in a.outcomes)
    with pytest.raises(ValueError, match=r"1 seeds started the two policies from different states \(4\)"):
        compare(a, dataclasses.replace(a, outcomes=moved))


def test_an_environment_that_ignores_its_seed_makes_no_pairs(good: Report):
    class Wilful(Reach):
        made = 0

        def reset(self, *, seed: int) -> Any:
            Wilful.made += 1
            return super().reset(seed=Wilful.made)

    first, second = (evaluate(Toward(), Wilful, SEEDS, name=n) for n in "ab")
    with pytest.raises(ValueError, match="does not follow its seed"):
        compare(first, second)


def test_starts_are_told_apart_whatever_is_observed():
    # Pictures alone: one pixel differs. Numbers beside pictures: the numbers decide.
    def start(**obs: np.ndarray) -> float:
        class Still:
            name = "still"

            def reset(self, *, seed: int) -> Any:
                return dict(obs), {}

            def step(self, action: Any) -> Any:
                return dict(obs), 0.0, True, False, {}

        class Nothing:
            def reset(self, seed: int) -> None: ...

            def act(self, obs: Any) -> np.ndarray:
                return np.zeros(1)

        return evaluate(Nothing(), Still, [0]).outcomes[0].start

    picture = np.zeros((8, 8, 3), np.uint8)
    other = picture.copy()
    other[3, 4, 1] = 1
    assert start(camera=picture) != start(camera=other)
    assert start(camera=picture, arm=np.ones(3)) == start(camera=other, arm=np.ones(3))
    assert start(arm=np.array([1.0, 2.0])) != start(arm=np.array([2.0, 1.0]))


def test_evaluation_starts_far_from_where_recording_does():
    assert FIRST_SEED == 1_000_000
