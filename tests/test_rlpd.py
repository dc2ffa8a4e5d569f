"""RLPD: every batch is half demonstrations to the row, and these save most of the way to a sparse reward."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from point_mass import Slow, demonstrations, point_mass, resumed, returns, setting
from understudy.agent import Chunked
from understudy.dataset import Dataset
from understudy.learn.replay import Replay, Transitions
from understudy.learn.sac import SAC
from understudy.online import rlpd
from understudy.online.base import Practising
from understudy.online.practice import Practice
from understudy.online.rlpd import RLPD, Config, build, halves
from understudy.online.start import transitions
from understudy.runtime import tuned

PLAN = Practising(uniform=100, batch=32, updates=2)
LEARNER = replace(rlpd.LEARNER, discount=0.95, critics=4, hidden=(32, 32), learning_rate=1e-3, actor_every=2)


def begun(seed: int = 0, data: Dataset | None = None, plan: Practising = PLAN) -> RLPD:
    return build(setting(replace(LEARNER, seed=seed), plan, sparse=True, data=data), Config())


def ring(rows: int, mark: float) -> Replay:
    """Transitions that say whose they are, and which."""
    replay = Replay(rows, 1, 1)
    each = torch.arange(rows, dtype=torch.float32)[:, None]
    replay.add(*Transitions(each, each, torch.full((rows,), mark), each, torch.zeros(rows)))
    return replay


def test_every_batch_is_half_and_half_to_the_row_whatever_their_numbers_are() -> None:
    """Each half is uniform: over 500 batches no row's count is 5 standard deviations from its mean."""
    demos, lived, draws = ring(10, 1.0), ring(1000, 0.0), torch.Generator().manual_seed(0)
    counts = np.zeros(10)
    for _ in range(500):
        batch = halves(demos, lived, 64, draws)
        assert len(batch.reward) == 64
        assert batch.reward[:32].tolist() == [1.0] * 32
        assert batch.reward[32:].tolist() == [0.0] * 32
        counts += np.bincount(batch.obs[:32, 0].long().numpy(), minlength=10)
    assert abs(counts - 1600).max() < 5 * np.sqrt(16_000 * 0.1 * 0.9)
    for odd in (0, 1, 63):
        with pytest.raises(ValueError, match="must be even"):
            halves(demos, lived, odd, draws)


def test_updates_learn_from_such_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    learner, seen = begun(), list[Transitions]()
    update = SAC.update

    def watched(self: SAC, batch: Transitions) -> dict[str, float]:
        seen.append(batch)
        return update(self, batch)

    monkeypatch.setattr(SAC, "update", watched)
    for _ in range(3):
        learner.step()
    assert len(seen) == 3 * PLAN.updates
    known = {tuple(row) for row in learner.demos.take(torch.arange(len(learner.demos))).obs.tolist()}
    for batch in seen:
        of_them = [tuple(row) in known for row in batch.obs.tolist()]
        assert of_them == [True] * 16 + [False] * 16


def test_demonstrations_keep_their_ends_and_their_rewards() -> None:
    data = demonstrations(sparse=True)
    learner = begun(data=data)
    rows = learner.demos.take(torch.arange(len(learner.demos)))
    assert rows.reward.tolist() == [r for e in data for r in e.reward.tolist()]
    assert int(rows.terminated.sum()) == sum(e.terminated for e in data) == len(data)


def test_it_passes_the_demonstrator_where_the_same_learner_without_him_finds_nothing() -> None:
    """30 episodes each: above the demonstrator's interval after 400 steps; alone, still below after 800."""
    with tuned(1):
        learner = begun()
        for _ in range(400):
            learner.step()
        where = replace(setting(LEARNER, PLAN, sparse=True), data=None)
        agent, first = where.actor()
        alone = Practice(
            point_mass(True).make, SAC(agent, where.sac), seed=0, start=transitions(agent, first),
            batch=PLAN.batch, updates=PLAN.updates,
        )  # fmt: skip
        for _ in range(800):
            alone.step()
    shown = returns(Slow(), sparse=True)
    assert returns(Chunked(learner.agent), sparse=True).low > shown.high
    assert returns(Chunked(alone.agent), sparse=True).high < shown.low


def test_what_was_interrupted_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    with tuned(1):
        resumed(begun, 40, 40, tmp_path / "state.safetensors")


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="batch is 33"):
        begun(plan=replace(PLAN, batch=33))
    with pytest.raises(ValueError, match="capacity is 0"):
        Config(capacity=0)
    free = Dataset([replace(e, reward=0 * e.reward) for e in demonstrations(2, sparse=True)])
    with pytest.raises(ValueError, match="rewards are all 0"):
        begun(data=free)
    state = begun().state_dict()
    with pytest.raises(ValueError, match="state's batch"):
        begun(plan=replace(PLAN, updates=3)).load_state_dict(state)
    with pytest.raises(ValueError, match="rlpd learns from demonstrations"):
        build(replace(setting(LEARNER, PLAN), data=None), Config())
