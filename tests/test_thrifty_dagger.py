"""ThriftyDAgger: who drives when, the budget that is kept, and the estimate of risk."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from understudy.agent import Agent
from understudy.dataset import Dataset
from understudy.envs import task
from understudy.episode import EXPERT, POLICY, Array, Episode, Obs
from understudy.experts import PolicyExpert
from understudy.heads import Deterministic
from understudy.interactive import Rounds, lazy_dagger, teach, thrifty_dagger
from understudy.interactive.base import State
from understudy.interactive.risk import Critic, Risk, Transitions, fitted
from understudy.interactive.thrifty_dagger import Thresholds, affordable, calibrated, rehearsed
from understudy.nets import MLP
from understudy.record import demonstrate
from understudy.runs import Network
from understudy.serial import read_tree, write_tree
from understudy.supervision import Supervision
from understudy.train import Budget


def lanes(n: int, steps: int, seed: int, succeeded: bool | None = None) -> Dataset:
    """Straight drives [x, y] to x = 1; those with y > 0 arrive, unless `succeeded` says otherwise of all."""
    rng = np.random.default_rng(seed)
    made = []
    for y in rng.uniform(-1, 1, n):
        x = -1 + 2 * np.arange(steps + 1) / steps
        move = 2 / steps + 0.01 * rng.standard_normal((steps, 1))
        won = bool(y > 0) if succeeded is None else succeeded
        made.append(Episode.demonstration(np.stack([x, np.full(steps + 1, y)], 1), move, success=won))
    return Dataset(made)


def driver(data: Dataset) -> Agent:
    return Agent.build(data, MLP((8,)), Deterministic())


def supervised(*held: list[int]) -> Supervision:
    """Episodes in which the expert drove the steps marked 1."""
    made = [Episode.demonstration(np.zeros((len(h) + 1, 1)), np.zeros(len(h))) for h in held]
    return Supervision.of(replace(e, control=h) for e, h in zip(made, held, strict=True))


class TestGate:
    """States are numbered; novelty, Q and what the expert wants are given for each."""

    def drive(
        self,
        monkeypatch: pytest.MonkeyPatch,
        novelty: list[float],
        chance: list[float] | None,
        far: list[float],
    ) -> tuple[list[bool], list[int]]:
        monkeypatch.setattr(
            thrifty_dagger, "doubt", lambda agent, obs: novelty[int(obs["state"][0])], raising=True
        )
        risk: Any = None if chance is None else lambda obs, action: np.float64(chance[int(obs["state"][0])])
        gate = thrifty_dagger.Novel(driver(lanes(2, 5, 0)), risk, Thresholds(1.0, 0.2, 0.25, 0.5))
        gate.distance.scale = np.array([1.0])
        gate.reset(0)
        held, drove, asked = False, [], []
        for i in range(len(novelty)):

            def ask(i: int = i) -> Any:
                asked.append(i)
                return np.array([far[i]])

            held = gate.takes({"state": np.array([float(i)])}, np.array([0.0]), held, ask)
            drove.append(held)
        return drove, asked

    def test_novelty_calls_him_and_agreement_with_safety_lets_him_go(self, monkeypatch: Any) -> None:
        drove, asked = self.drive(
            monkeypatch,
            novelty=[1.0, 1.1, 9.0, 0.0, 0.0, 0.0, 0.0],
            chance=[0.9, 0.9, 0.9, 0.5, 0.9, 0.9, 0.1],
            #        not above δ_H, above, far apart, Q not above ε_R, both: back, -, below ε_H
            far=[9.0, 9.0, 1.0, 0.1, 0.4, 9.0, 9.0],
        )
        assert drove == [False, True, True, True, False, False, True]
        assert asked == [2, 3, 4]  # only while he drives

    def test_at_exactly_the_tolerance_he_stays(self, monkeypatch: Any) -> None:
        drove, _ = self.drive(monkeypatch, [2.0, 0.0, 0.0], [0.9, 0.9, 0.9], [0.0, 0.5, 0.49])
        assert drove == [True, True, False]

    def test_without_an_estimate_of_risk_novelty_alone_decides(self, monkeypatch: Any) -> None:
        drove, _ = self.drive(monkeypatch, [0.0, 2.0, 0.0], None, [0.0, 0.0, 0.1])
        assert drove == [False, True, False]


class TestBudget:
    def test_a_rehearsed_intervention_lasts_and_ends_with_its_episode(self) -> None:
        crossed = [np.array([0, 1, 1, 0, 0, 1], bool), np.array([0, 0, 0, 1], bool)]
        assert rehearsed(crossed, 1) == pytest.approx(4 / 10)
        assert rehearsed(crossed, 3) == pytest.approx((3 + 1 + 1) / 10)  # steps 1 to 3, 5; and 3
        assert rehearsed(crossed, 99) == pytest.approx((5 + 1) / 10)

    def test_thresholds_are_crossed_as_often_as_can_be_afforded(self) -> None:
        rng = np.random.default_rng(0)
        novelty = [rng.exponential(size=100) for _ in range(20)]
        chance = [rng.uniform(size=100) for _ in range(20)]
        for share, length in ((0.05, 1.0), (0.2, 1.0), (0.1, 10.0), (0.4, 25.0)):
            delta, eps = calibrated(novelty, chance, share, length)
            crossed = [(n > delta) | (q < eps) for n, q in zip(novelty, chance, strict=True)]
            assert 0.6 * share < rehearsed(crossed, length) <= share
        # The plain quantile of level α would have the expert drive nearly all the time.
        naive = [n > np.quantile(np.concatenate(novelty), 0.9) for n in novelty]
        assert rehearsed(naive, 10.0) > 0.4

    def test_what_cannot_be_afforded_at_all_is_not_begun(self) -> None:
        delta, eps = calibrated([np.array([1.0, 2.0, 3.0])], [np.array([0.5, 0.6, 0.7])], 0.1, 3.0)
        assert (delta, eps) == (3.0, 0.5)

    def test_what_was_overdrawn_is_saved_and_what_is_left_is_spent(self) -> None:
        none = Supervision.of([])
        assert affordable(0.1, none, 50.0) == 0.1
        # 20 steps, 2 of them due: 2 too many, and 2 too few, made good over the 40 steps of four episodes.
        assert affordable(0.1, supervised([1] * 4 + [0] * 16), 10.0) == pytest.approx(0.1 - 0.05)
        assert affordable(0.1, supervised([0] * 20), 10.0) == pytest.approx(0.1 + 0.05)
        assert affordable(0.1, supervised([1] * 20), 1.0) == pytest.approx(0.1 / 4)
        assert affordable(0.1, supervised([0] * 200), 1.0) == pytest.approx(0.1 * 4)
        assert affordable(0.9, supervised([0] * 200), 1.0) == 1.0


class TestRisk:
    def test_it_tells_from_the_start_who_will_arrive(self) -> None:
        # The outcome is said in the last step alone, 20 steps after the start, where Q is asked for.
        data = lanes(40, 20, 0)
        risk = fitted(driver(data), data, 400, 0)
        assert risk is not None
        fresh = [e for e in lanes(40, 20, 1) if abs(e.obs["state"][0, 1]) > 0.2]
        start = np.array([risk.along(driver(data), e)[0] for e in fresh])
        won = np.array([e.success for e in fresh])
        assert ((start >= 0) & (start <= 1)).all()
        assert start[won].min() > 0.6
        assert start[~won].max() < 0.4

    def test_the_target_is_made_with_its_network(self) -> None:
        data = lanes(6, 5, 0)
        found = Transitions.of(data, driver(data))
        assert found is not None
        risk = fitted(driver(data), data, 1, 0)
        assert risk is not None
        for seed in (0, 1):  # of a first fit and of one after it
            critic = Critic(risk.network, found, seed)
            mine, slow = (dict(x.named_parameters()) for x in (critic.network, critic.target))
            assert all(torch.equal(mine[k], slow[k]) for k in mine)
            assert all(mine[k].data_ptr() != slow[k].data_ptr() for k in mine)
            before = {k: v.detach().clone() for k, v in mine.items()}
            critic.step()
            moved = {k: (mine[k] - before[k]).abs().max() for k in mine}
            assert all(m > 0 for m in moved.values())
            for k in mine:  # and it follows, a tenth of the way
                torch.testing.assert_close(slow[k], 0.9 * before[k] + 0.1 * mine[k])

    def test_a_tenth_of_a_batch_are_last_steps_of_successes(self) -> None:
        data = lanes(10, 20, 0)
        found = Transitions.of(data, driver(data))
        assert found is not None
        rows = Critic(fitted(driver(data), data, 1, 0).network, found, 0)._drawn()  # type: ignore[union-attr]
        assert len(rows) == 256
        assert found.success[rows].sum() == 26
        assert found.last[found.success].all()

    def test_a_transition_looks_ahead_with_what_the_policy_would_do(self) -> None:
        data = lanes(3, 4, 0)
        agent = driver(data)
        found = Transitions.of(data, agent)
        assert found is not None
        np.testing.assert_array_equal(found.obs["(action)"], np.concatenate([e.action for e in data]))
        np.testing.assert_array_equal(found.after["(action)"], agent.act({"state": found.after["state"]}))
        np.testing.assert_array_equal(found.after["state"][:4], data[0].obs["state"][1:])
        assert found.last.tolist() == [False, False, False, True] * 3

    @pytest.mark.parametrize("succeeded", [True, False])
    def test_of_one_outcome_alone_nothing_is_learned(self, succeeded: bool) -> None:
        data = lanes(4, 5, 0, succeeded)
        assert fitted(driver(data), data, 5, 0) is None

    def test_where_nobody_says_who_succeeded_nothing_is_learned(self) -> None:
        data = Dataset(replace(e, success=None) for e in lanes(4, 5, 0))
        assert fitted(driver(data), data, 5, 0) is None


PENDULUM = task("pendulum")


def method(alpha: float = 0.2, rounds: int = 2, **more: Any) -> thrifty_dagger.Method:
    assert PENDULUM.expert is not None
    config = thrifty_dagger.Config(alpha=alpha, fit_steps=60, **more)
    return thrifty_dagger.Method(PolicyExpert(PENDULUM.expert()), config, rounds)


@pytest.fixture(scope="module")
def taught() -> Any:
    """24 episodes of the pendulum, 4800 states, with a budget of 0.2."""
    return teach(
        method(), PENDULUM, start=demonstrate(PENDULUM, range(3)),
        plan=Rounds(2, 12, validation_episodes=0, select="last"),
        network=Network(hidden=(16,), members=5), budget=Budget(steps=80),
    )  # fmt: skip


def test_the_budget_is_kept(taught: Any) -> None:
    # Within 30 % of α, over n = 4800 states of 24 episodes. One intervention is at most an
    # episode, a 24th of the states and 21 % of the budget.
    collected = [e for e in taught.data if "round" in e.meta]
    cost = Supervision.of(collected)
    assert cost.steps == 4800
    assert cost.share == pytest.approx(0.2, rel=0.3)
    for e in collected:
        np.testing.assert_array_equal(e.labelled, e.control == EXPERT)


def test_what_was_found_survives_the_disk(taught: Any, tmp_path: Path) -> None:
    start = sum("round" not in e.meta for e in taught.data)
    # An outcome that both kinds of are known of, so that there is a risk to be kept.
    data = Dataset(replace(e, success=bool(i % 2)) for i, e in enumerate(taught.data[: start + 6]))
    state = State(1, data, start, taught.agents[1], taught.agents[0], PENDULUM, 0)
    mine, other = method(), method()
    with pytest.raises(ValueError, match="not been fitted"):
        mine.supervisor(state)
    mine.adapt(state)
    write_tree(tmp_path / "state", mine.state_dict())
    other.load_state_dict(read_tree(tmp_path / "state"))
    assert isinstance(other.risk, Risk)
    assert mine.thresholds(state) == other.thresholds(state)
    assert np.isfinite(mine.thresholds(state)).all()
    # Three more episodes, supervised all the way or not at all: after the dear ones he is called for less.
    own = replace(data[-1], control=np.full(len(data[-1]), POLICY))
    dear = replace(data[-1], control=np.full(len(data[-1]), EXPERT))
    cheap, costly = (replace(state, data=data + Dataset([e] * 3)) for e in (own, dear))
    assert mine.thresholds(costly) == other.thresholds(costly)
    assert mine.thresholds(costly).delta_h > mine.thresholds(cheap).delta_h
    with pytest.raises(ValueError, match="has delta_r and risk"):
        other.load_state_dict({})


class Patient:
    """An expert whom somebody calls away at the start of his n-th episode."""

    def __init__(self, expert: PolicyExpert, n: int | None) -> None:
        self.expert, self.left = expert, n

    def reset(self, seed: int) -> None:
        if self.left is not None:
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt
        self.expert.reset(seed)

    def advise(self, obs: Obs, proposed: Array) -> Array | None:
        return self.expert.advise(obs, proposed)


@pytest.mark.parametrize("module", [lazy_dagger, thrifty_dagger])
def test_killed_in_a_round_it_goes_on_with_the_same_thresholds(module: Any, tmp_path: Path) -> None:
    reach = task("fetch-reach")
    assert reach.expert is not None
    expert = PolicyExpert(reach.expert())
    start = demonstrate(reach, range(3))

    def go(place: Path, n: int | None, resume: bool = False) -> Any:
        made = module.Method(Patient(expert, n), module.Config(fit_steps=20), 2)
        return teach(
            made, reach, start=start, plan=Rounds(2, 3, validation_episodes=0, select="last"),
            network=Network(hidden=(8,)), budget=Budget(steps=20), run=place, resume=resume,
        )  # fmt: skip

    whole = go(tmp_path / "whole", None)
    assert go(tmp_path / "cut", 5).stopped == "interrupted"  # in the second episode of the second round
    shutil.copytree(tmp_path / "cut", tmp_path / "left")  # as a kill leaves it, with no writer at work
    resumed = go(tmp_path / "left", None, resume=True)
    assert resumed.stopped == "done"
    assert resumed.data.fingerprint() == whole.data.fingerprint()
    assert [line["method"] for line in resumed.log] == [line["method"] for line in whole.log]


@pytest.mark.parametrize("wrong", [{"alpha": 0.0}, {"alpha": 1.0}, {"fit_steps": 0}])
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        thrifty_dagger.Config(**wrong)


def test_without_a_policy_nobody_can_be_lost() -> None:
    with pytest.raises(ValueError, match="give demonstrations"):
        method().adapt(State(0, Dataset(), 0, None, None, PENDULUM, 0))
