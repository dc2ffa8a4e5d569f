"""Shadow mode: a policy beside an expert, how far apart they are, when it could be trusted, what to label."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import pytest

from understudy import storage
from understudy.dataset import Dataset
from understudy.episode import EXPERT, Episode
from understudy.evaluate import evaluate
from understudy.experts import PolicyExpert
from understudy.report.shadow import write_shadow_page
from understudy.shadow import (
    Shadow,
    agrees,
    by_share,
    by_step,
    chosen_frames,
    evidence,
    maps,
    readiness,
    scale_of,
    shadow,
    shadow_data,
    trust,
    worth_labelling,
)


class Plane:
    """A point in a plane that moves as told, for ten steps; success is being left of where it began."""

    name = "plane"

    def reset(self, *, seed):
        self.random = np.random.default_rng(seed)
        self.at, self.t = self.random.normal(size=2), 0
        self.start = self.at[0]
        return {"state": self.at.copy()}, {}

    def step(self, action):
        self.at, self.t = self.at + np.asarray(action, np.float64), self.t + 1
        return {"state": self.at.copy()}, 0.0, False, self.t == 10, {"success": bool(self.at[0] < self.start)}


class Steps:
    """Acts by the number of its steps since its reset, as a policy with a memory does."""

    def __init__(self, first: float, each: float = 0.0, offset=(0.0, 0.0)) -> None:
        self.first, self.each, self.offset = first, each, np.asarray(offset)

    def reset(self, seed: int) -> None:
        self.t = -1

    def act(self, obs):
        self.t += 1
        return np.array([self.first + self.each * self.t, obs["state"][0]]) + self.offset


EXPERT_POLICY = partial(Steps, -1.0, 0.2)


def side_by_side(policy=None, seeds=range(4), **more) -> Shadow:
    return shadow(policy or EXPERT_POLICY(), PolicyExpert(EXPERT_POLICY()), Plane, seeds, **more)


def made(disagreements, successes=None) -> Shadow:
    """A shadow with these disagreements, an episode a row, in one dimension of scale 1."""
    episodes, proposed = [], []
    for i, d in enumerate(disagreements):
        d = np.asarray(d, np.float64)[:, None]
        e = Episode.demonstration(np.zeros((len(d) + 1, 1)), np.zeros(len(d)), meta={"seed": i})
        episodes.append(replace(e, success=None if successes is None else successes[i]))
        proposed.append(d)
    return Shadow(Dataset(episodes), tuple(proposed), np.ones(1), "expert")


def test_the_expert_agrees_with_itself():
    s = side_by_side()
    assert all((d == 0).all() for d in s.disagreement)
    assert s.mean.value == 0
    assert agrees(s, 0.0, 0).all()
    assert s.task == "plane"


def test_the_policy_controls_nothing_while_the_expert_drives():
    alone = shadow(EXPERT_POLICY(), PolicyExpert(EXPERT_POLICY()), Plane, range(3))
    beside = side_by_side(Steps(99.0), range(3))
    for a, b in zip(alone.data, beside.data, strict=True):
        assert (a.action == b.action).all()
        assert (a.obs["state"] == b.obs["state"]).all()
        assert b.control is not None
        assert (b.control == EXPERT).all()
        assert b.labelled.all()


def test_a_known_offset_is_a_known_disagreement():
    s = side_by_side(Steps(-1.0, 0.2, offset=(0.3, -0.4)), scale=(0.1, 0.2))
    assert all(d == pytest.approx(np.full(10, np.sqrt((3**2 + 2**2) / 2)), rel=1e-5) for d in s.disagreement)
    assert s.by_dimension == pytest.approx([3.0, 2.0], rel=1e-5)
    assert s.mean.value == pytest.approx(np.sqrt(6.5), rel=1e-5)


def test_the_mean_action_disagrees_by_about_one_standard_deviation():
    data = side_by_side().data
    mean = np.concatenate([e.label for e in data]).mean(0)

    class Mean:
        def reset(self, seed: int) -> None: ...

        def act(self, obs):
            return mean

    d = np.concatenate(shadow_data(Mean(), data).disagreement)
    assert np.sqrt((d**2).mean()) == pytest.approx(1.0, rel=1e-5)


def test_a_dimension_that_never_varies_has_scale_one():
    e = Episode.demonstration(np.zeros((5, 1)), np.array([[1.0, 7.0], [3.0, 7.0], [1.0, 7.0], [3.0, 7.0]]))
    assert scale_of([e]).tolist() == [1.0, 1.0]
    half = replace(e, labelled=[True, False, True, False])
    assert scale_of([half]).tolist() == [1.0, 1.0]  # both labelled actions are alike, too
    with pytest.raises(ValueError, match="nothing to take a scale of"):
        scale_of([replace(e, labelled=np.zeros(4, bool))])


def test_recorded_episodes_are_fed_in_order_from_a_reset():
    data = side_by_side().data
    s = shadow_data(EXPERT_POLICY(), data)
    assert all((d == 0).all() for d in s.disagreement)
    late = shadow_data(Steps(-0.8, 0.2), data, scale=1.0)
    assert np.concatenate(late.disagreement) == pytest.approx(np.sqrt(0.2**2 / 2), rel=1e-4)


def test_live_and_recorded_are_the_same_question():
    live = side_by_side(Steps(-1.0, 0.3))
    off = shadow_data(Steps(-1.0, 0.3), live.data)
    for a, b in zip(live.disagreement, off.disagreement, strict=True):
        assert a == pytest.approx(b, abs=1e-6)
    assert (live.driver, off.driver) == ("expert", "recorded")


def test_steps_without_a_label_are_not_compared():
    data = Dataset([replace(e, labelled=np.arange(10) < 6) for e in side_by_side().data])
    s = shadow_data(Steps(5.0), data)
    assert all(np.isnan(d[6:]).all() and np.isfinite(d[:6]).all() for d in s.disagreement)
    assert np.isfinite(s.mean.value)
    assert by_step(s)[-1].stop <= 6
    some = Dataset([replace(data[0], labelled=np.zeros(10, bool)), *data])
    with_silent = readiness(shadow_data(Steps(5.0), some, scale=1.0), tolerance=0.5, lapse=0, level=0.9)
    assert with_silent.episodes.n == len(data)  # an episode without a label neither agrees nor disagrees
    with pytest.raises(ValueError, match="nothing to compare"):
        shadow_data(Steps(5.0), Dataset([replace(e, labelled=np.zeros(10, bool)) for e in data]), scale=1.0)


def test_an_expert_with_nothing_to_say_agrees():
    class Late(PolicyExpert):
        """Silent about the first coordinate below 0."""

        def __init__(self) -> None:
            self.policy = EXPERT_POLICY()

        def advise(self, obs, proposed):
            advice = self.policy.act(obs)
            return None if obs["state"][0] < 0 else advice

    s = shadow(Steps(3.0), Late(), Plane, range(6))
    silent = [e.obs["state"][:-1, 0] < 0 for e in s.data]
    assert any(x.any() for x in silent)
    assert all((d[x] == 0).all() and (d[~x] > 0).all() for d, x in zip(s.disagreement, silent, strict=True))


def test_choices_agree_or_do_not():
    e = Episode.demonstration(np.zeros((4, 1)), np.array([[0], [2], [1]]))

    class Two:
        def reset(self, seed: int) -> None: ...

        def act(self, obs):
            return np.array([2])

    s = shadow_data(Two(), Dataset([e]))
    assert s.discrete
    assert s.disagreement[0].tolist() == [1.0, 0.0, 1.0]


def test_with_the_policy_at_the_controls_the_expert_speaks_of_its_states():
    s = side_by_side(Steps(2.0), driver="policy")
    assert s.driver == "policy"
    for e, p in zip(s.data, s.proposed, strict=True):
        assert (e.action == p).all()
        assert e.action[:, 0] == pytest.approx(2.0)
        assert e.label[:, 1] == pytest.approx(e.obs["state"][:-1, 0], abs=1e-5)
    with pytest.raises(ValueError, match="driver is 'nobody'"):
        side_by_side(driver="nobody")


def test_workers_see_the_same():
    one, two = (side_by_side(Steps(-1.0, 0.3), workers=w) for w in (1, 2))
    assert one.data.fingerprint() == two.data.fingerprint()
    assert all((a == b).all() for a, b in zip(one.proposed, two.proposed, strict=True))


def test_stretches_cover_the_way_and_average_episodes():
    s = made([[1.0] * 10, [3.0] * 20])
    steps, shares = by_step(s, 4), by_share(s, 5)
    assert [(x.start, x.stop) for x in steps] == [(0, 5), (5, 10), (10, 15), (15, 20)]
    assert [x.mean.value for x in steps] == [2.0, 2.0, 3.0, 3.0]
    assert [x.mean.n for x in steps] == [2, 2, 1, 1]
    assert [x.mean.value for x in shares] == [2.0] * 5
    assert all(a.stop == b.start for a, b in pairwise(shares))


def test_maps_hold_every_step_once_and_the_mean_of_each_cell():
    s = side_by_side(Steps(-1.0, 0.3), range(8))

    class View:
        key, dims, labels, unit = "state", (0, 1), ("x", "y"), "m"

    named, plane = maps(s, View(), cells=6)
    for m in (named, plane):
        assert m.steps.sum() == s.data.steps
        assert (np.isnan(m.mean) == (m.steps == 0)).all()
        total = np.nansum(m.mean * m.steps)
        assert total == pytest.approx(np.concatenate(s.disagreement).sum(), rel=1e-9)
    assert named.labels == ("x (m)", "y (m)")
    assert named.x[0] == pytest.approx(min(e.obs["state"][:-1, 0].min() for e in s.data), abs=1e-6)
    assert len(maps(s, None)) == 1
    assert maps(made([[1.0, 2.0]])) == []  # nothing moves there


def test_a_lapse_is_overlooked_and_a_stretch_is_not():
    s = made([[0, 9, 9, 0, 9], [0, 9, 9, 9, 0], [0, 0, 0.5, 0, 0]])
    assert agrees(s, 0.5, 2).tolist() == [True, False, True]
    assert agrees(s, 0.5, 0).tolist() == [False, False, True]
    assert agrees(s, 9.0, 0).all()
    with pytest.raises(ValueError, match="tolerance -1"):
        agrees(s, -1.0, 0)


def test_evidence_is_the_integral_of_the_likelihood_ratio():
    from scipy.integrate import quad

    trials = [True, True, False, True, True, True, False]
    found = evidence(trials, 0.6)
    for n in (1, 3, 7):
        k = sum(trials[:n])

        def ratio(p, k=k, n=n):
            return (p / 0.6) ** k * ((1 - p) / 0.4) ** (n - k) / 0.4

        assert found[n - 1] == pytest.approx(quad(ratio, 0.6, 1.0)[0], rel=1e-9)


def test_evidence_of_very_many_episodes_is_a_number():
    assert np.isfinite(evidence(np.ones(20_000, bool), 0.5)).all()
    assert evidence(np.zeros(2_000, bool), 0.9)[-1] == 0


def test_evidence_lies_at_most_one_time_in_twenty_however_often_one_looks():
    # 2000 runs of 200 episodes at exactly the level; Ville's bound is 5 %. A binomial with p = .05 stays
    # below 0.065 with a probability of 0.999.
    random = np.random.default_rng(0)
    runs = random.random((2000, 200)) < 0.8
    ever = np.mean([(evidence(r, 0.8) >= 20).any() for r in runs])
    assert ever <= 0.065
    # The same evidence finds a policy that is better, most of the time.
    good = np.mean([(evidence(r, 0.8) >= 20).any() for r in random.random((200, 200)) < 0.95])
    assert good > 0.9


def test_readiness_says_when_it_was_shown_and_how_many_are_missing():
    flawless = readiness(made([[0.0]] * 50), tolerance=0.5, lapse=0, level=0.9)
    assert flawless.proven_after == 43
    assert flawless.missing == 0
    assert flawless.ready
    few = readiness(made([[0.0]] * 30), tolerance=0.5, lapse=0, level=0.9)
    assert few.proven_after is None
    assert few.missing == 13
    assert "13 more episodes" in str(few)
    bad = readiness(made([[0.0], [9.0]] * 10), tolerance=0.5, lapse=0, level=0.9)
    assert bad.missing is None
    assert (bad.episodes.value, bad.steps.value, bad.ever.value) == (0.5, 0.5, 0.5)
    assert "never will be" in str(bad)
    json.dumps(bad.summary(), allow_nan=False)


def test_trust_compares_the_promise_with_what_came_of_it():
    before = made([[0.0], [0.1], [0.2], [9.0]] * 10)
    won = [True, False, False, False] * 10
    alone = made([[0.5]] * 40, won)
    t = trust(before, alone, tolerance=0.5, lapse=0)
    assert (t.agreed.value, t.success.value) == (0.75, 0.25)
    assert t.gap.value == pytest.approx(0.5)
    assert t.gap.low > 0
    assert t.success_if_agreed is not None
    assert t.success_if_agreed.value == pytest.approx(1 / 3)
    assert t.success_if_not is not None
    assert t.success_if_not.value == 0
    assert t.warns == 1.0
    assert t.drift is not None
    assert t.drift.value == pytest.approx(0.5 - 2.325)
    assert "do not read agreement as success" in str(t)
    json.dumps(t.summary(), allow_nan=False)


def test_trust_takes_an_evaluation_and_pairs_by_seed():
    policy = Steps(-1.0, 0.2)
    s = side_by_side(policy, range(5))
    report = evaluate(policy, Plane, range(3, 9))
    t = trust(s, report, tolerance=0.5, lapse=0)
    assert t.success.n == 2  # seeds 3 and 4
    assert t.drift is None
    with pytest.raises(ValueError, match="share no seed"):
        trust(s, evaluate(policy, Plane, range(50, 52)), tolerance=0.5, lapse=0)


def test_frames_are_the_largest_apart_and_spread():
    d = np.zeros((3, 30))
    d[0, [3, 4, 5, 12, 20]] = [5.0, 9.0, 8.0, 7.0, 6.0]
    d[1, 7] = 1.0
    s = made(d)
    assert chosen_frames(s, 10, apart=5, each=2) == {0: [4, 12], 1: [7]}
    assert chosen_frames(s, 10, apart=5, each=9) == {0: [4, 12, 20], 1: [7]}
    assert chosen_frames(s, 10, apart=1, each=9) == {0: [3, 4, 5, 12, 20], 1: [7]}
    assert chosen_frames(s, 1, apart=5, each=9) == {0: [4]}
    with pytest.raises(ValueError, match="apart 0"):
        chosen_frames(s, 1, apart=0)


def test_what_is_worth_labelling_is_a_dataset_that_reads_back(tmp_path):
    s = side_by_side(Steps(-1.0, 0.3), range(4))
    frames = chosen_frames(s, 6, apart=3, each=2)
    worth = worth_labelling(s, frames)
    assert sum(map(len, frames.values())) == 6
    for (i, steps), e in zip(frames.items(), worth, strict=True):
        assert np.flatnonzero(e.labelled).tolist() == steps
        assert (e.label[e.labelled] == s.data[i].label[e.labelled]).all()
        assert len(e) == len(s.data[i])
    assert len(worth.windows(history=2)) == 6
    storage.write(tmp_path / "worth", worth)
    assert storage.read(tmp_path / "worth").fingerprint() == worth.fingerprint()


def test_an_expert_leaves_nothing_worth_labelling():
    s = side_by_side()
    assert chosen_frames(s, 5) == {}
    assert len(worth_labelling(s, {})) == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"proposed": ()}, "as many of both"),
        ({"proposed": (np.zeros((9, 1)),)}, r"proposals are \[9, 1\]"),
        ({"scale": np.zeros(1)}, "positive"),
        ({"scale": np.ones(2)}, "positive"),
    ],
)
def test_a_shadow_that_does_not_fit_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        replace(made([[1.0, 2.0]]), **change)


@pytest.mark.parametrize("known", [True, False])
def test_the_page_is_one_closed_file(tmp_path, known):
    s = side_by_side(Steps(-1.0, 0.3), range(8))
    s = replace(s, task="<script>alert(1)</script>", policy="<b>")
    ready = readiness(s, tolerance=0.1, lapse=1, level=0.9)
    own = side_by_side(Steps(-1.0, 0.3), range(8), driver="policy")
    trusted = trust(s, own, tolerance=0.1, lapse=1) if known else None
    frames = chosen_frames(s, 5)
    page = write_shadow_page(s, ready, tmp_path / "x" / "shadow.html", worth=frames, trusted=trusted)
    text = page.read_text()
    assert "<script" not in text
    assert "http://" not in text
    assert "https://" not in text
    assert text.count("<svg") >= 7
    assert ("nobody in these episodes let it" in text) != known
    assert text.count("(seed ") == 5
    with pytest.raises(ValueError, match="is a folder"):
        write_shadow_page(s, ready, tmp_path, worth=frames)


def test_the_page_of_one_short_episode_and_no_disagreement(tmp_path):
    s = made([[0.0]])
    ready = readiness(s, tolerance=0.5, lapse=0, level=0.9)
    text = write_shadow_page(s, ready, tmp_path / "shadow.html", worth={}).read_text()
    assert "no frame is worth a label" in text
    assert not re.search(r"\b(nan|inf)\b", text)


def test_the_command_writes_numbers_page_and_frames(tmp_path, capsys):
    from understudy.cli import main
    from understudy.envs import task
    from understudy.record import demonstrate

    storage.write(tmp_path / "demos", demonstrate(task("fetch-reach"), range(6)))
    run, out = tmp_path / "run", tmp_path / "out"
    train = [
        "train",
        "bc",
        "--data",
        str(tmp_path / "demos"),
        "--out",
        str(run),
        "--steps",
        "60",
    ]  # of all six: none is held out
    assert main([*train, "--hidden", "16", "--validation", "0", "--json"]) == 0
    ask = ["shadow", str(run), "--out", str(out), "--episodes", "4", "--workers", "1", "--frames", "5"]
    capsys.readouterr()
    assert main([*ask, "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    kept = json.loads((out / "shadow.json").read_text())
    assert said["readiness"] == kept["readiness"]
    assert kept["trust"]["success"]["n"] == 4
    assert len(kept["disagreement"]) == 4
    worth = storage.read(out / "worth-labelling")
    assert sum(int(e.labelled.sum()) for e in worth) == sum(map(len, kept["frames"].values())) <= 5
    assert (out / "shadow.html").stat().st_size > 10_000
    assert main(ask) == 2
    assert "not empty" in capsys.readouterr().err
    data = ["shadow", str(run), "--data", str(tmp_path / "demos"), "--out", str(tmp_path / "recorded")]
    assert main([*data, "--json"]) == 0
    recorded = json.loads((tmp_path / "recorded" / "shadow.json").read_text())
    assert recorded["driver"] == "recorded"
    assert recorded["trust"] is None
    assert recorded["episodes"] == 6
    assert "trained on" in recorded["warning"]
    assert kept["warning"] == ""
