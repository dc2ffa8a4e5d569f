"""The permitted set: membership, starts inside and outside, and the statistics that compare them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import fisher_exact, spearmanr

from reversal import LOST, Reversal, demonstrations
from understudy.agent import Agent, Chunked, load
from understudy.dataset import Dataset
from understudy.envs import ActionSpec, task
from understudy.episode import Episode
from understudy.heads import Deterministic, Members
from understudy.interactive import Rounds, hg_dagger
from understudy.interactive.command import teach_run
from understudy.interactive.doubtgate import doubts
from understudy.interactive.permitted import PermittedSet, Pushed, Validation, permitted_set, validate
from understudy.learn import bc
from understudy.nets import MLP, MLPEnsemble
from understudy.numerics import fisher, newcombe, wilson
from understudy.record import demonstrate
from understudy.rollout import Workers, rollouts
from understudy.runs import Network
from understudy.serial import write_json
from understudy.storage import Writer

# ── two unpaired rates ───────────────────────────────────────────────────────────────────────────────────


def test_newcombe_gives_the_intervals_of_the_paper() -> None:
    """Newcombe (1998), table II, method 10."""
    table = {
        (56, 70, 48, 80): (0.0524, 0.3339),
        (9, 10, 3, 10): (0.1705, 0.8090),
        (6, 7, 2, 7): (0.0582, 0.8062),
        (5, 56, 0, 29): (-0.0381, 0.1926),
        (0, 10, 0, 20): (-0.1611, 0.2775),
        (0, 10, 0, 10): (-0.2775, 0.2775),
        (10, 10, 0, 20): (0.6791, 1.0000),
        (10, 10, 0, 10): (0.6075, 1.0000),
    }
    for counts, ends in table.items():
        found = newcombe(*counts)
        assert (found.low, found.high) == pytest.approx(ends, abs=5e-5), counts
        assert found.value == counts[0] / counts[1] - counts[2] / counts[3]


def test_fisher_agrees_with_scipy_on_every_small_table() -> None:
    for n1, n2 in itertools.product(range(1, 6), repeat=2):
        for k1, k2 in itertools.product(range(n1 + 1), range(n2 + 1)):
            wanted = fisher_exact([[k1, n1 - k1], [k2, n2 - k2]]).pvalue
            assert fisher(k1, n1, k2, n2) == pytest.approx(wanted, rel=1e-9), (k1, n1, k2, n2)
    assert fisher(900, 1000, 100, 1000) < 1e-200, "exact beyond what floats of the counts would hold"
    for bad in ((1, 0, 0, 1), (0, 1, 2, 1), (-1, 1, 0, 1)):
        with pytest.raises(ValueError, match="trial"):
            fisher(*bad)


# ── the comparison ───────────────────────────────────────────────────────────────────────────────────────


def test_validation_counts_what_failed_inside_and_outside() -> None:
    doubt = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    failed = np.array([False, True, False, True, True, True])
    found = Validation(0.3, doubt, failed, over=2)
    assert found.inside == wilson(1, 3), "a doubt of tau is inside"
    assert found.outside == wilson(3, 3)
    assert found.difference == newcombe(3, 3, 1, 3)
    assert found.p == fisher(3, 3, 1, 3)
    assert found.spearman == pytest.approx(spearmanr(doubt, failed).statistic)
    assert found.auroc == pytest.approx(7 / 8)
    assert "not shown to fail less" in str(found)
    assert found.summary()["inside"]["n"] == 3
    assert found.summary()["over"] == 2
    clear = Validation(0.5, np.repeat([0.0, 1.0], 20), np.repeat([False, True], 20), over=0)
    assert "fail less often than starts outside" in str(clear)
    assert clear.p < 1e-9
    same = Validation(0.5, np.repeat([0.0, 1.0], 20), np.ones(40, bool), over=0)
    assert same.spearman is None
    assert same.auroc is None
    assert "Spearman" not in str(same)


def test_validation_needs_starts_on_both_sides() -> None:
    failed = np.array([True, False])
    with pytest.raises(ValueError, match=r"all 2 starts lie inside.*push harder"):
        Validation(0.9, np.array([0.1, 0.2]), failed, 0)
    with pytest.raises(ValueError, match=r"all 2 starts lie outside.*push less hard"):
        Validation(0.05, np.array([0.1, 0.2]), failed, 0)
    with pytest.raises(ValueError, match="must both be"):
        Validation(0.05, np.array([0.1, 0.2, 0.3]), failed, 0)


# ── pushes ───────────────────────────────────────────────────────────────────────────────────────────────

SPEC = ActionSpec.box([-1.0, 0.0], [1.0, 4.0])


def pushed(arbiter: Pushed, seed: int, steps: int = 12) -> np.ndarray[Any, Any]:
    """[steps, A], how far it moves an action at the middle of its range, in half ranges."""
    arbiter.reset(seed)
    middle = np.array([0.0, 2.0], np.float32)
    return np.stack([(arbiter(middle, None) - middle) / [1.0, 2.0] for _ in range(steps)])


def test_pushes_last_so_many_steps_and_follow_from_the_seed() -> None:
    arbiter = Pushed(0.3, 5, SPEC)
    first = pushed(arbiter, 7)
    assert (first[:5] != 0).all()
    assert (first[5:] == 0).all()
    assert np.array_equal(pushed(arbiter, 7), first)
    assert not np.array_equal(pushed(arbiter, 8), first)


def test_pushes_are_as_hard_as_was_asked() -> None:
    """The root mean square of σ z with σ uniform in [0, s] is s / sqrt(3)."""
    arbiter = Pushed(0.1, 5, SPEC)  # so small that nothing is clipped
    size = np.array([np.square(pushed(arbiter, seed, 5)).mean() for seed in range(500)])
    mean, error = size.mean(), size.std() / np.sqrt(len(size))
    assert abs(mean - 0.1**2 / 3) < 4 * error


def test_pushes_refuse_what_makes_no_sense() -> None:
    for strength, steps in ((0.0, 5), (float("inf"), 5), (1.0, 0)):
        with pytest.raises(ValueError, match="must be positive"):
            Pushed(strength, steps, SPEC)
    with pytest.raises(TypeError, match="discrete"):
        Pushed(1.0, 5, ActionSpec.discrete(3))
    with pytest.raises(ValueError, match="infinite"):
        Pushed(1.0, 5, ActionSpec.unbounded(2))


# ── a policy that knows one side of an edge ──────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def data() -> Dataset:
    return demonstrations(10)


@pytest.fixture(scope="module")
def agent(data: Dataset) -> Agent:
    made = Agent.build(data, MLPEnsemble(5, (32,)), Members(5), bounds=([-1.0], [1.0]))
    learner = bc.Learner(made, data, bc.Config(batch=64, decay=600))
    for _ in range(600):
        learner.step()
    return learner.agent


@pytest.fixture(scope="module")
def tau(agent: Agent, data: Dataset) -> float:
    """The most doubt that demonstrated states have."""
    return float(max(doubts(agent, e).max() for e in data))


def test_membership_is_the_doubt_against_tau(agent: Agent, data: Dataset, tau: float) -> None:
    e = data[0]
    doubt = doubts(agent, e)
    middle = float(np.median(doubt))
    some = PermittedSet(agent, middle)
    assert np.array_equal(some.along(e), doubt <= middle)
    assert 0 < some.along(e).mean() < 1
    assert np.array_equal(some.contains(e.obs), some.along(e))
    one = some.contains({"state": e.obs["state"][3]})
    assert one.shape == ()
    assert all(PermittedSet(agent, tau).along(x).all() for x in data), "demonstrated states are permitted"
    for bad in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="at least 0"):
            PermittedSet(agent, bad)
    blunt = Agent.build(data, MLP((4,)), Deterministic())
    with pytest.raises(TypeError, match="does not say how unsure"):
        PermittedSet(blunt, 1.0).contains(e.obs)


def test_starts_inside_fail_less_than_starts_outside(agent: Agent, tau: float) -> None:
    """200 seeds, each once; the interval of the difference, at 95 %, must lie above 0.2."""
    found = validate(PermittedSet(agent, tau), Reversal, range(1000, 1200), strength=1.5, steps=6)
    assert found.inside.n > 30
    assert found.outside.n > 30
    assert found.difference.low > 0.2
    assert found.p < 1e-6
    assert found.spearman is not None
    assert found.spearman > 0.5
    assert "fail less often" in str(found)


def test_validation_does_not_depend_on_who_runs_it(agent: Agent, tau: float) -> None:
    permitted, options = PermittedSet(agent, tau), {"strength": 1.5, "steps": 6}
    here = validate(permitted, Reversal, range(16), **options)
    with Workers(2) as pool:
        there = validate(permitted, Reversal, range(16), workers=pool, **options)
    assert np.array_equal(here.doubt, there.doubt)
    assert np.array_equal(here.failed, there.failed)
    part = validate(permitted, Reversal, range(8, 16), **options)
    assert np.array_equal(here.doubt[8:], part.doubt), "a start follows from its seed alone"


def test_validation_judges_the_state_of_the_hand_over(agent: Agent, tau: float) -> None:
    """Recomputed from the episodes themselves."""
    seeds = range(40)
    found = validate(PermittedSet(agent, tau), Reversal, seeds, strength=1.5, steps=6)
    arbiter = Pushed(1.5, 6, Reversal.action)
    episodes = [e for e in rollouts(Reversal, Chunked(agent), seeds, arbiter=arbiter) if len(e) > 6]
    assert found.over == len(seeds) - len(episodes)
    for e, doubt, failed in zip(episodes, found.doubt, found.failed, strict=True):
        assert doubt == doubts(agent, e)[6]
        assert failed == (not e.success)
        assert e.action[6:] == pytest.approx(agent.act({"state": e.obs["state"][6:-1]}), abs=1e-5)


def test_failure_can_be_what_the_caller_says(agent: Agent, tau: float) -> None:
    def lost(episode: Episode, start: int) -> bool:
        assert start == 6
        return bool(np.abs(episode.obs["state"][start:]).max() > LOST)

    class Mute:
        """The same world, which says nothing of success."""

        action = Reversal.action

        def __init__(self) -> None:
            self.world = Reversal()

        def reset(self, *, seed: int) -> Any:
            return self.world.reset(seed=seed)

        def step(self, action: Any) -> Any:
            return (*self.world.step(action)[:4], {})

    permitted, options = PermittedSet(agent, tau), {"strength": 1.5, "steps": 6}
    with pytest.raises(ValueError, match="does not say whether an episode succeeded"):
        validate(permitted, Mute, range(40), **options)
    found = validate(permitted, Mute, range(40), failed=lost, **options)
    assert 0 < found.failed.sum() < len(found.failed)


def test_validation_needs_episodes_that_go_on(agent: Agent, tau: float) -> None:
    with pytest.raises(ValueError, match="all 4 episodes are over within 25 steps"):
        validate(PermittedSet(agent, tau), Reversal, range(4), steps=25)


# ── a run on disk ────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_of_hg_dagger_knows_its_permitted_set(tmp_path: Path) -> None:
    which = task("pendulum")
    settings: dict[str, Any] = {
        "task": "pendulum",
        "expert": "task",
        "plan": Rounds(rounds=1, episodes=1, validation_episodes=0, select="last"),
        "config": bc.Config(batch=64),
        "network": Network(hidden=(8,)),
        "steps": 20,
    }
    with Writer(tmp_path / "demos", fps=which.fps) as writer:
        demonstrate(which, range(1), writer=writer)
    run = tmp_path / "run"
    found = teach_run(
        algorithm="hg_dagger", method=hg_dagger.Config(), data=tmp_path / "demos", out=run, **settings
    )
    permitted = permitted_set(run)
    assert permitted.tau == found["rounds"][1]["method"]["tau"] > 0
    kept = load(run / "rounds" / "001" / "agent")
    states = {"state": np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)}
    assert np.array_equal(permitted.agent.act(states), kept.act(states))

    described = json.loads((run / "run.json").read_text())
    write_json(run / "run.json", described | {"interactive": {"selected_round": 0}})
    with pytest.raises(ValueError, match="round 0, before which nobody had taken over"):
        permitted_set(run)
    for other in ({"algorithm": "dagger"}, {"interactive": {}}):
        write_json(run / "run.json", described | other)
        with pytest.raises(ValueError, match="no finished run of hg_dagger"):
            permitted_set(run)
    with pytest.raises(ValueError, match=r"no run\.json"):
        permitted_set(tmp_path)
