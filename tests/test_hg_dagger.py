"""Who holds the gate, what is labelled, what is logged: HG-DAgger, EnsembleDAgger and their gates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from reversal import Reversal, demonstrations, steer
from understudy.agent import Agent, Chunked, doubt
from understudy.dataset import Dataset
from understudy.envs import task
from understudy.episode import EXPERT, POLICY, Array, Episode, Obs
from understudy.experts import Always, Gate, Gated, PolicyExpert, Watchful
from understudy.heads import Deterministic, Gaussian, Members
from understudy.interactive import Rounds, State, teach
from understudy.interactive import ensemble_dagger as ensemble
from understudy.interactive import hg_dagger as hg
from understudy.interactive.doubtgate import (
    Recall,
    UncertaintyGate,
    distance,
    distances,
    doubts,
    last_round,
    uncertainty,
    unit,
)
from understudy.learn import bc
from understudy.nets import MLP, MLPEnsemble
from understudy.rollout import rollout, rollouts
from understudy.runs import Network
from understudy.serial import read_tree, write_tree
from understudy.train import Budget

NOTHING: Obs = {"state": np.zeros(1, np.float32)}


def driven(gate: Any, gaps: list[float]) -> str:
    """Who drove each step, e or p, where the policy is off by so much."""
    held, out = False, ""
    gate.reset(0)
    for gap in gaps:
        held = gate.takes(NOTHING, np.array([gap]), held, lambda: np.zeros(1))
        out += "pe"[held]
    return out


# ── a script that watches ────────────────────────────────────────────────────────────────────────────────


def test_watchful_takes_over_and_hands_back_after_so_many_steps_in_a_row() -> None:
    gate = Watchful(1.0, 0.5, 1.0, patience=2, calm=3)
    gaps = [2, 0, 2, 2, 2, 0, 0, 2, 0, 0, 0, 0, 2, 0, 2, 2]
    assert driven(gate, gaps) == "pppeeeeeeeppppp" + "e"
    assert driven(gate, gaps) == "pppeeeeeeeppppp" + "e", "reset must forget the episode"


def test_watchful_between_the_thresholds_changes_nothing_and_counts_anew() -> None:
    gate = Watchful(1.0, 0.5, 1.0, patience=2, calm=2)
    assert driven(gate, [2, 0.7, 2, 0.7, 2, 2]) == "ppppp" + "e"
    assert driven(gate, [2, 2, 0, 0.7, 0, 0.7, 0.7, 0, 0]) == "peeeeeeep"
    assert driven(gate, [1.0, 1.0, 1.0]) == "ppp", "at the threshold is not above it"
    assert driven(gate, [2, 2, 0.5, 0.5]) == "peep", "at the lower one is close enough"


def test_watchful_does_not_chatter() -> None:
    worst = [2.0, 0.0] * 20
    assert driven(Watchful(1.0, 1.0, 1.0), worst) == "ep" * 20, "without patience this signal chatters"
    assert driven(Watchful(1.0, 0.5, 1.0, patience=2, calm=2), worst) == "p" * 40
    near = [0.9, 1.1] * 20  # hovers at the threshold: hysteresis holds on
    assert driven(Watchful(1.0, 0.5, 1.0), near) == "p" + "e" * 39


@pytest.mark.parametrize("late", [0, 1, 2, 5])
def test_watchful_is_late_by_his_reaction_time(late: int) -> None:
    gaps = np.random.default_rng(3).uniform(0.0, 2.0, 200).tolist()
    prompt = driven(Watchful(1.2, 0.8, 1.0, patience=2, calm=2), gaps)
    assert {"p", "e"} == set(prompt)
    slow = driven(Watchful(1.2, 0.8, 1.0, patience=2, calm=2, reaction=late), gaps)
    assert slow == "p" * late + prompt[: 200 - late]


def test_watchful_measures_in_units_of_scale() -> None:
    gate = Watchful(1.0, 0.5, [2.0, 10.0])
    for proposed, far in [([1.9, 0.0], False), ([2.1, 0.0], True), ([0.0, 9.9], False), ([1.6, 8.1], True)]:
        gate.reset(0)
        assert gate.takes(NOTHING, np.array(proposed), False, lambda: np.zeros(2)) is far


def test_watchful_worries_about_what_he_is_told_to() -> None:
    gate = Watchful(
        0.0, 0.0, 1.0, patience=2, calm=1, worried=lambda obs, proposed, advice: bool(obs["state"][0] > 1)
    )
    held, out = False, ""
    for x in [2.0, 2.0, 2.0, 0.0, 2.0]:
        held = gate.takes({"state": np.array([x])}, np.full(1, 99.0), held, lambda: np.zeros(1))
        out += "pe"[held]
    assert out == "peepp"


@pytest.mark.parametrize(
    ("given", "options", "rule"),
    [
        ((0.5, 1.0, 1.0), {}, "handback <= takeover"),
        ((np.nan, 0.0, 1.0), {}, "handback <= takeover"),
        ((1.0, 0.5, 0.0), {}, "scale"),
        ((1.0, 0.5, [[1.0]]), {}, "scale"),
        ((1.0, 0.5, 1.0), {"patience": 0}, "at least 1"),
        ((1.0, 0.5, 1.0), {"reaction": -1}, "at least 0"),
    ],
)
def test_watchful_refuses_what_is_out_of_range(given: Any, options: Any, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        Watchful(*given, **options)


# ── agents to try gates with ─────────────────────────────────────────────────────────────────────────────


def small(data: Dataset, steps: int = 60, seed: int = 0, history: int = 1) -> Agent:
    """An ensemble that has begun to learn."""
    agent = Agent.build(
        data, MLPEnsemble(3, (16,)), Members(3), history=history, bounds=([-1.0], [1.0]), seed=seed
    )
    learner = bc.Learner(agent, data, bc.Config(batch=64, seed=seed))
    for _ in range(steps):
        learner.step()
    return learner.agent


@pytest.fixture(scope="module")
def data() -> Dataset:
    return demonstrations(6)


@pytest.fixture(scope="module")
def agent(data: Dataset) -> Agent:
    return small(data)


def person() -> PolicyExpert:
    return PolicyExpert(steer())


# ── doubt ────────────────────────────────────────────────────────────────────────────────────────────────


def test_uncertainty_of_an_ensemble_is_its_doubt_and_of_a_gaussian_its_mean_spread(
    data: Dataset, agent: Agent
) -> None:
    states = {"state": np.linspace(-2, 2, 7, dtype=np.float32)[:, None]}
    assert np.array_equal(uncertainty(agent, states), np.asarray(doubt(agent, states)))
    bell = Agent.build(data, MLP((8,)), Gaussian("state"), horizon=2)
    learner = bc.Learner(bell, data)
    for _ in range(20):
        learner.step()
    seen = uncertainty(bell, states)
    assert seen.shape == (7,)
    assert np.ptp(seen) > 1e-3
    one = uncertainty(bell, {"state": states["state"][2]})
    assert one.shape == ()
    assert one == pytest.approx(seen[2], rel=1e-5)
    # The spread is of what the agent draws, in normalised units.
    generator = torch.Generator().manual_seed(0)
    many = {"state": np.repeat(states["state"][2:3, None], 40_000, 0)}
    drawn = bell.chunks(many, 1.0, generator)[:, 0, 0] / float(unit(bell)[0])
    assert drawn.std() == pytest.approx(seen[2], rel=0.02)  # 6 standard errors of a std from 40 000 draws


def test_uncertainty_asks_for_a_head_that_knows_it(data: Dataset) -> None:
    for head in (Deterministic(), Gaussian("global")):
        blunt = Agent.build(data, MLP((4,)), head)
        with pytest.raises(TypeError, match="does not say how unsure"):
            uncertainty(blunt, {"state": np.zeros(1)})
        with pytest.raises(TypeError, match="does not say how unsure"):
            UncertaintyGate(blunt, 0.5)


@pytest.mark.parametrize("history", [1, 3])
def test_doubts_along_an_episode_are_those_that_a_gate_sees(data: Dataset, history: int) -> None:
    agent = small(data, history=history)
    recall, seen = Recall(history), []

    class Noting:
        """A gate that notes the doubt of every step, and never takes over."""

        def reset(self, seed: int) -> None:
            recall.reset()

        def takes(self, obs: Obs, proposed: Array, held: bool, ask: Any) -> bool:
            seen.append(float(uncertainty(agent, recall(obs))))
            return False

    gated = Gated(person(), Noting(), "all")
    for seed in (1, 2):  # the second shows that memory does not reach over episodes
        seen.clear()
        episode = rollout(Reversal(), Chunked(agent), seed, gated, gated)
        along = doubts(agent, episode)
        assert along.shape == (len(episode) + 1,)
        assert along[:-1] == pytest.approx(seen, rel=1e-4, abs=1e-7)
        off = distance(episode.action, episode.label, unit(agent))
        assert distances(agent, episode) == pytest.approx(off, rel=1e-3, abs=1e-5)


def test_distances_are_unknown_where_nobody_spoke(agent: Agent, data: Dataset) -> None:
    e = data[0]
    labelled = np.arange(len(e)) % 2 == 0
    assert np.array_equal(np.isnan(distances(agent, replace(e, labelled=labelled))), ~labelled)


def test_uncertainty_gate_holds_on_until_release(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.interactive.doubtgate.uncertainty", lambda agent, obs: obs["state"][0])

    def drives(gate: UncertaintyGate, said: list[float]) -> str:
        held, out = False, ""
        for x in said:
            held = gate.takes({"state": np.array([x])}, np.zeros(1), held, pytest.fail)
            out += "pe"[held]
        return out

    said = [0.4, 0.6, 0.4, 0.3, 0.2, 0.4, 0.5, 0.6]
    assert drives(UncertaintyGate(agent, 0.5), said) == "pepppppe"
    assert drives(UncertaintyGate(agent, 0.5, release=0.25), said) == "peeepppe"
    with pytest.raises(ValueError, match="release <= threshold"):
        UncertaintyGate(agent, 0.5, release=0.6)
    with pytest.raises(ValueError, match="release <= threshold"):
        UncertaintyGate(agent, float("nan"))


# ── HG-DAgger ────────────────────────────────────────────────────────────────────────────────────────────


def state(round: int, data: Dataset, start: int, agent: Agent | None, drove: Agent | None) -> State:
    return State(round, data, start, agent, drove, None, 0)


def test_the_threshold_is_the_mean_of_the_last_quarter_in_time() -> None:
    assert hg.threshold([9, 9, 9, 9, 9, 9, 1, 2]) == 1.5  # the largest quarter has a mean of 9
    assert hg.threshold([5.0]) == 5.0
    assert hg.threshold([8.0, 4.0, 2.0]) == 2.0
    assert hg.threshold([8.0, 8.0, 8.0, 4.0, 2.0]) == 3.0  # entries from ⌊0.75 · 5⌋ = 3 on
    with pytest.raises(ValueError, match="nobody has taken over"):
        hg.threshold([])


def test_takeovers_are_the_steps_at_which_control_was_taken() -> None:
    e = Episode.demonstration(np.zeros((8, 1)), np.zeros(7))
    assert hg.takeovers(replace(e, control=[1, 1, 0, 0, 1, 0, 1])).tolist() == [0, 4, 6]
    assert hg.takeovers(replace(e, control=[0, 2, 1, 1, 0, 0, 0])).tolist() == [1]
    assert hg.takeovers(replace(e, control=[0] * 7)).tolist() == []
    with pytest.raises(ValueError, match="does not say who held"):
        hg.takeovers(e)


def test_labels_are_kept_only_where_the_expert_drives(data: Dataset, agent: Agent) -> None:
    method = hg.Method(person(), hg.Config(takeover=0.3, handback=0.1), 1)
    expert, arbiter = method.supervisor(state(0, data, len(data), agent, None))
    episodes = rollouts(Reversal, Chunked(agent), range(8), expert, arbiter)
    held = np.concatenate([e.control for e in episodes])
    assert 0 < (held == EXPERT).mean() < 1
    for e in episodes:
        assert e.control is not None
        assert np.array_equal(e.labelled, e.control == EXPERT)
        for t in range(len(e)):
            here = {"state": e.obs["state"][t]}
            drove = steer().act(here) if e.control[t] == EXPERT else agent.act(here)
            assert e.action[t] == pytest.approx(drove, abs=1e-6)


def test_a_person_who_can_take_over_holds_his_own_gate(data: Dataset, agent: Agent) -> None:
    class Person:
        """Drives at every second step."""

        def reset(self, seed: int) -> None:
            self.step = 0

        def takes(self, obs: Obs, proposed: Array, held: bool, ask: Any) -> bool:
            self.step += 1
            return self.step % 2 == 0

        def advise(self, obs: Obs, proposed: Array) -> Array:
            return steer().act(obs)

    where = state(0, data, len(data), agent, None)
    assert isinstance(Person(), Gate)
    for method in (hg.Method(Person(), hg.Config(), 1), hg.Method(person(), hg.Config(), 1, gate=Person())):
        expert, arbiter = method.supervisor(where)
        control = rollout(Reversal(), Chunked(agent), 0, expert, arbiter).control
        assert control is not None
        assert control.tolist()[:5] == [0, 1, 0, 1, 0]
    expert, _ = hg.Method(Person(), hg.Config(gate="watchful"), 1).supervisor(where)
    assert isinstance(expert, Gated)
    assert isinstance(expert.gate, Watchful)
    expert, _ = hg.Method(Person(), hg.Config(gate="uncertainty", doubt=0.3), 1).supervisor(where)
    assert isinstance(expert, Gated)
    assert isinstance(expert.gate, UncertaintyGate)
    assert expert.gate.threshold == 0.3
    with pytest.raises(ValueError, match="no policy yet"):
        hg.Method(person(), hg.Config(), 1).supervisor(state(0, data, len(data), None, None))


def test_the_log_holds_the_doubts_of_the_policy_that_drove(data: Dataset, agent: Agent) -> None:
    other = small(data, seed=7)
    method = hg.Method(person(), hg.Config(takeover=0.3, handback=0.1), 2)
    expert, arbiter = method.supervisor(state(0, data, len(data), agent, None))
    assert method.adapt(state(0, data, len(data), agent, None)) == {}
    found = rollouts(Reversal, Chunked(agent), range(8), expert, arbiter, meta={"round": 0})
    grown = data + found
    noted = method.adapt(state(1, grown, len(data), other, agent))
    wanted = [float(doubts(agent, e)[t]) for e in found for t in hg.takeovers(e)]
    assert len(wanted) > 4
    assert method.log == wanted
    assert method.log != [float(doubts(other, e)[t]) for e in found for t in hg.takeovers(e)]
    assert noted["tau"] == method.tau == hg.threshold(wanted)
    assert noted["doubt"] == pytest.approx(np.concatenate([doubts(agent, e)[:-1] for e in found]).mean())
    # The next round is added behind, and only that one is read.
    more = rollouts(Reversal, Chunked(other), range(8, 12), expert, arbiter, meta={"round": 1})
    method.adapt(state(2, grown + more, len(data), agent, other))
    assert method.log == wanted + [float(doubts(other, e)[t]) for e in more for t in hg.takeovers(e)]


def test_last_round_does_not_take_demonstrations_for_it(data: Dataset, agent: Agent) -> None:
    marked = Dataset(replace(e, meta={**e.meta, "round": 0}) for e in data)
    assert len(last_round(state(1, marked, len(marked), agent, agent))) == 0
    assert len(last_round(state(1, marked, 2, agent, agent))) == len(marked) - 2


def test_the_log_survives_on_disk(tmp_path: Path) -> None:
    method = hg.Method(person(), hg.Config(), 3)
    method.log = [0.1, 1 / 3, 2e-9]
    write_tree(tmp_path / "m.safetensors", {"found": method.state_dict()})
    other = hg.Method(person(), hg.Config(), 3)
    other.load_state_dict(read_tree(tmp_path / "m.safetensors")["found"])
    assert other.log == method.log
    for bad in ({}, {"log": "x"}, {"log": [-1.0]}, {"log": [float("nan")]}, {"log": ["0.1"]}):
        with pytest.raises(ValueError, match="log of doubts"):
            other.load_state_dict(bad)


@pytest.mark.parametrize(
    "bad",
    [
        {"gate": "human"},
        {"takeover": 0.1, "handback": 0.2},
        {"patience": 0},
        {"reaction": -1},
        {"doubt": -0.1},
    ],
)
def test_hg_dagger_config_refuses(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        hg.Config(**bad)


# ── EnsembleDAgger ───────────────────────────────────────────────────────────────────────────────────────


class Counted:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def reset(self, seed: int) -> None: ...

    def advise(self, obs: Obs, proposed: Array) -> Array:
        self.asked += 1
        return steer().act(obs)


def test_ensemble_dagger_asks_once_a_step_labels_all_and_follows_its_rule(
    data: Dataset, agent: Agent
) -> None:
    counted = Counted()
    where = state(0, data, len(data), agent, None)
    chi = float(np.quantile(doubts(agent, data[0]), 0.9))
    by: dict[str, NDArray[np.bool_]] = {"tau": np.zeros(0, bool), "chi": np.zeros(0, bool)}
    expert, arbiter = ensemble.Method(counted, ensemble.Config(tau=0.3, chi=chi), 1).supervisor(where)
    episodes = rollouts(Reversal, Chunked(agent), range(8), expert, arbiter)
    assert counted.asked == sum(map(len, episodes))
    for e in episodes:
        assert e.labelled.all()
        assert e.control is not None
        far, unsure = distances(agent, e) > 0.3, doubts(agent, e)[:-1] > chi
        assert np.array_equal(e.control != POLICY, far | unsure)
        by = {"tau": np.append(by["tau"], far & ~unsure), "chi": np.append(by["chi"], unsure & ~far)}
    assert by["tau"].any(), "each rule must have decided somewhere"
    assert by["chi"].any()


def test_chi_is_the_doubt_that_most_states_had_in_which_the_ensemble_was_right(
    data: Dataset, agent: Agent
) -> None:
    gated = Gated(person(), Always(), "all")
    episodes = rollouts(Reversal, Chunked(agent), range(20, 40), gated, gated, meta={"round": 0})
    chi = ensemble.calibrated(agent, episodes, 0.3, 0.8)
    unsure = np.concatenate([doubts(agent, e)[:-1] for e in episodes])
    right = np.concatenate([distances(agent, e) for e in episodes]) <= 0.3
    assert 0 < right.mean() < 1
    assert (unsure[right] <= chi).mean() == pytest.approx(0.8, abs=1 / right.sum())
    assert ensemble.calibrated(agent, [], 0.3, 0.8) == np.inf

    method = ensemble.Method(person(), ensemble.Config(tau=0.3, sure=0.8), 2)
    assert method.adapt(state(0, data, len(data), agent, None)) == {"tau": 0.3}
    noted = method.adapt(state(1, data + episodes, len(data), small(data, seed=3), agent))
    assert noted == {"tau": 0.3, "chi": chi}
    fixed = ensemble.Method(person(), ensemble.Config(tau=0.3, chi=0.5), 2)
    assert fixed.adapt(state(1, data + episodes, len(data), agent, agent)) == {"tau": 0.3, "chi": 0.5}


def test_chi_survives_on_disk(tmp_path: Path) -> None:
    for chi in (0.25, np.inf):
        method = ensemble.Method(person(), ensemble.Config(), 3)
        method.chi = chi
        write_tree(tmp_path / "m.safetensors", method.state_dict())
        other = ensemble.Method(person(), ensemble.Config(), 3)
        other.chi = 7.0
        other.load_state_dict(read_tree(tmp_path / "m.safetensors"))
        assert other.chi == chi
    for bad in ({}, {"chi": "x"}, {"chi": -1.0}, {"chi": float("nan")}):
        with pytest.raises(ValueError, match="EnsembleDAgger"):
            other.load_state_dict(bad)
    for wrong in ({"tau": -1.0}, {"chi": float("nan")}, {"sure": 0.0}):
        with pytest.raises(ValueError):
            ensemble.Config(**wrong)


# ── through the rounds ───────────────────────────────────────────────────────────────────────────────────

SMALL: dict[str, Any] = {
    "network": Network(members=5, hidden=(16,)),
    "budget": Budget(steps=150),
    "config": bc.Config(batch=64),
}


def test_hg_dagger_goes_on_after_an_interruption_with_the_same_log(tmp_path: Path, data: Dataset) -> None:
    def taught(rounds: int, resume: bool = False, run: Path | None = None) -> tuple[hg.Method, Any]:
        method = hg.Method(person(), hg.Config(takeover=0.3, handback=0.1), rounds)
        plan = Rounds(rounds=rounds, episodes=3, validation_episodes=0, select="last")
        return method, teach(method, Reversal, start=data, plan=plan, run=run, resume=resume, **SMALL)

    whole, all_at_once = taught(3)
    taught(2, run=tmp_path / "run")
    resumed, in_two = taught(3, resume=True, run=tmp_path / "run")
    assert len(whole.log) > 3
    assert resumed.log == whole.log
    assert resumed.tau == whole.tau == all_at_once.log[-1]["method"]["tau"]
    assert list(in_two.data) == list(all_at_once.data)


@pytest.mark.parametrize("method", [hg.Method(person(), hg.Config(), 2), None])
def test_rounds_on_a_real_task(method: Any) -> None:
    which = task("pendulum")
    assert which.expert is not None
    expert = PolicyExpert(which.expert())
    method = hg.Method(expert, hg.Config(), 2) if method else ensemble.Method(expert, ensemble.Config(), 2)
    start = Dataset(rollouts(which.make, which.expert(), range(2), PolicyExpert(which.expert())))
    plan = Rounds(rounds=2, episodes=2, validation_episodes=0, select="last")
    taught = teach(method, which, start=start, plan=plan, **SMALL)
    collected = taught.data[len(start) :]
    assert len(collected) == 4
    for e in collected:
        assert e.control is not None
        kept = e.control == EXPERT if isinstance(method, hg.Method) else np.ones(len(e), bool)
        assert np.array_equal(e.labelled, kept)
    assert taught.log[-1]["labelled"] == sum(int(e.labelled.sum()) for e in taught.data)
    assert taught.log[-1]["method"].keys() >= ({"tau", "doubt"} if isinstance(method, hg.Method) else {"chi"})
