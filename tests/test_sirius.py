"""Intervention-weighted training: who is in which class, and how often each class is drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from understudy.dataset import Dataset
from understudy.episode import EXPERT, POLICY, RECOVERY, Episode
from understudy.interactive.sirius import (
    DEMONSTRATION,
    INTERVENTION,
    PRE,
    ROBOT,
    Config,
    Method,
    classes,
    shares,
)


class Nobody:
    """An expert who is not asked in these tests."""

    def reset(self, seed: int) -> None: ...

    def advise(self, obs, proposed):
        raise AssertionError("nobody is to be asked")


def collected(control, success: bool | None = True, round: int | None = 0) -> Episode:
    """An episode driven so; the expert said -1 where he drove, and what was executed is the step's number."""
    control = np.asarray(control)
    n = len(control)
    held = control != POLICY
    action = np.arange(n, dtype=np.float64)[:, None]
    return Episode(
        {"state": np.zeros((n + 1, 1))},
        action,
        np.where(held[:, None], -1.0, action),
        held,
        np.zeros(n),
        success=success,
        meta={} if round is None else {"round": round},
        control=control,
    )


def demonstration(n: int) -> Episode:
    return Episode.demonstration(np.zeros((n + 1, 1)), np.zeros(n))


def method(**settings) -> Method:
    return Method(Nobody(), Config(**settings), 3)


def test_the_steps_before_an_intervention_are_a_class_of_their_own():
    one = method().kept(collected([POLICY] * 4 + [EXPERT] * 2 + [POLICY] * 3 + [RECOVERY, EXPERT]))
    want = [ROBOT, ROBOT, PRE, PRE, INTERVENTION, INTERVENTION, ROBOT, PRE, PRE, INTERVENTION, INTERVENTION]
    assert classes(Dataset([one]), 2).tolist() == want


def test_the_pre_intervention_stretch_never_reaches_into_an_earlier_intervention():
    one = method().kept(collected([POLICY, EXPERT, POLICY, EXPERT]))
    assert classes(Dataset([one]), 15).tolist() == [PRE, INTERVENTION, PRE, INTERVENTION]


def test_without_an_intervention_ahead_the_robot_was_trusted():
    one = method().kept(collected([EXPERT, POLICY, POLICY]))
    assert classes(Dataset([one]), 15).tolist() == [INTERVENTION, ROBOT, ROBOT]


def test_episodes_of_no_round_are_demonstrations_whoever_drove():
    driven = collected([EXPERT] * 3, round=None)
    assert classes(Dataset([driven, demonstration(2)]), 15).tolist() == [DEMONSTRATION] * 5


def test_classes_follow_the_order_of_windows():
    data = Dataset([demonstration(2), collected([POLICY, EXPERT, EXPERT]), demonstration(1)])
    # Only two of the collected steps are labelled: `kept` has not been asked.
    assert len(classes(data, 1)) == len(data.windows()) == 5
    assert classes(data, 1).tolist() == [DEMONSTRATION] * 2 + [INTERVENTION] * 2 + [DEMONSTRATION]


def test_shares_are_the_papers():
    assert shares(np.array([0.3, 0.4, 0.1, 0.2]), 0.5).tolist() == pytest.approx([0.3, 0.2, 0.0, 0.5])


@pytest.mark.parametrize(
    ("found", "want"),
    [
        ([0.7, 0.1, 0.1, 0.1], [0.5, 0.0, 0.0, 0.5]),  # demonstrations make room
        ([0.6, 0.4, 0.0, 0.0], [0.6, 0.4, 0.0, 0.0]),  # nobody intervened
        ([0.2, 0.0, 0.3, 0.5], [2 / 7, 0.0, 0.0, 5 / 7]),  # nothing the robot did was let alone
        ([1.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]),
        ([0.0, 0.0, 0.4, 0.6], [0.0, 0.0, 0.0, 1.0]),
    ],
)
def test_shares_where_a_class_is_empty_or_leaves_no_room(found, want):
    assert shares(np.array(found), 0.5).tolist() == pytest.approx(want)


def test_drawn_windows_have_the_wanted_shares_exactly():
    m = method(before=3)
    data = Dataset([demonstration(12), m.kept(collected([POLICY] * 20 + [EXPERT] * 5 + [POLICY] * 3))])
    weights = m.weights(data)
    assert weights is not None
    assert weights.shape == (len(data.windows()),)
    c = classes(data, 3)
    drawn = np.bincount(c, weights, minlength=4) / weights.sum()
    assert drawn == pytest.approx([12 / 40, 0.5 - 12 / 40, 0.0, 0.5], abs=1e-12)
    assert weights.mean() == pytest.approx(1.0)
    assert all(len(set(weights[c == k])) == 1 for k in np.unique(c))


def test_the_learner_draws_them_in_those_shares():
    from understudy.agent import Agent
    from understudy.heads import Deterministic
    from understudy.learn import bc
    from understudy.nets import MLP

    m = method(before=5)
    episodes = [demonstration(30), m.kept(collected([POLICY] * 60 + [EXPERT] * 10))]
    data = Dataset(episodes)
    weights, c = m.weights(data), classes(data, 5)
    agent = Agent.build(data, MLP((4,)), Deterministic(), seed=0)
    learner = bc.Learner(agent, data, bc.Config(batch=50), weights=weights)
    drawn = []
    windows, batch = learner._windows, learner._windows.batch
    windows.batch = lambda index: (drawn.append(index), batch(index))[1]
    for _ in range(200):
        learner.step()
    found = np.bincount(c[np.concatenate(drawn)], minlength=4) / 10_000
    # n = 10 000 draws: four standard errors of a share are at most 0.02.
    assert found == pytest.approx([0.3, 0.2, 0.0, 0.5], abs=0.02)
    assert found[PRE] == 0


def test_whole_episodes_are_kept_with_the_robots_actions_as_its_own_labels():
    e = collected([POLICY, EXPERT, POLICY])
    kept = method().kept(e)
    assert kept.labelled.all()
    assert kept.label[:, 0].tolist() == [0.0, -1.0, 2.0]
    assert kept.action.tolist() == e.action.tolist()
    assert kept.control is not None


def test_what_the_robot_did_in_a_failure_is_learned_only_where_asked():
    e = collected([POLICY, EXPERT, POLICY], success=False)
    assert method().kept(e) == e
    assert method(failures=True).kept(e).labelled.all()
    assert method().kept(replace(e, success=None)).labelled.all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"before": -1}, "before is -1"),
        ({"share": 1.0}, "share is 1.0"),
        ({"takeover": 0.1}, "handback"),
        ({"calm": 0}, "calm 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        Config(**settings)


def test_a_round_collects_whole_episodes_and_counts_only_what_the_human_said():
    from understudy.envs import task
    from understudy.experts import PolicyExpert
    from understudy.interactive.rounds import Rounds, teach
    from understudy.record import demonstrate
    from understudy.runs import Network
    from understudy.train import Budget

    which = task("fetch-reach")
    assert which.expert is not None
    m = Method(PolicyExpert(which.expert()), Config(takeover=0.3, handback=0.2, patience=1), 1)
    got = teach(
        m,
        which,
        start=demonstrate(which, range(3)),
        plan=Rounds(1, 3, validation_episodes=0, select="last"),
        network=Network(hidden=(8,)),
        budget=Budget(steps=20),
    )
    mine = [e for e in got.data if "round" in e.meta]
    human = sum(int((e.control != POLICY).sum()) for e in mine)
    assert len(mine) == 3
    assert human > 0
    assert sum(int(e.meta.get("asked", e.labelled.sum())) for e in mine) == human
    assert any(e.success for e in mine)
    assert all(e.labelled.all() for e in mine if e.success)
    assert got.log[1]["labelled"] == got.log[0]["labelled"] + human
