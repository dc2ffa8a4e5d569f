"""DAC: demonstrations thinned and held out, batches by halves, ends of tasks, resumption, and a run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from understudy.agent import Agent
from understudy.dataset import Dataset
from understudy.envs import task
from understudy.episode import Episode
from understudy.heads.gaussian import GaussianHead
from understudy.learn import discriminator
from understudy.learn.replay import Transitions
from understudy.learn.sac import SAC
from understudy.learn.sac import Config as SACConfig
from understudy.online import actor as new_actor
from understudy.online import transitions
from understudy.online.base import Practising, Setting
from understudy.online.dac import DAC, LEARNER, READING, Config, build
from understudy.online.demonstrated import Demonstrated, beside
from understudy.record import demonstrate
from understudy.rewards import RewardConfig, RewardNet
from understudy.serial import read_tree, write_tree
from understudy.train import Budget
from walk import Walk, make_walk

SMALL = SACConfig(first_temperature=0.1, entropy_in_target=False, hidden=(8,), discount=0.9)
BRIEF = Config(pretraining=3, bc_steps=0)


def episode(n: int, ended: bool, seed: int) -> Episode:
    """Every observation and action differs, so that a row tells where it comes from."""
    obs = np.random.default_rng(seed).normal(size=(n + 1, 1))
    return replace(Episode.demonstration(obs, 0.5 - 0.3 * np.tanh(obs[:-1])), terminated=ended)


@pytest.fixture(scope="module")
def demos() -> Dataset:
    return Dataset([episode(n, ended, n) for n, ended in ((20, True), (40, False), (30, True))])


@pytest.fixture(scope="module")
def agent(demos: Dataset) -> Agent:
    return new_actor(Walk.action, demos, hidden=(8,))


def keys(rows: Transitions) -> list[tuple[float, ...]]:
    return [tuple(r) for r in torch.cat((rows.obs, rows.action), 1).tolist()]


# ── demonstrations ───────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_lost_where_nothing_is_left_out(agent: Agent, demos: Dataset) -> None:
    d = Demonstrated(agent, demos, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(d.rows, transitions(agent, demos), strict=True))
    assert len(d) == 90
    assert len(d.held.reward) == 0
    assert float(d.rows.terminated.sum()) == 2


@pytest.mark.parametrize("seed", range(3))
def test_one_pair_in_five_is_kept_of_every_episode(agent: Agent, demos: Dataset, seed: int) -> None:
    d, all_rows = Demonstrated(agent, demos, keep_every=5, seed=seed), keys(transitions(agent, demos))
    where = np.array([all_rows.index(k) for k in keys(d.rows)])
    for first, n in ((0, 20), (20, 40), (60, 30)):
        own = where[(where >= first) & (where < first + n)] - first
        assert own[0] < 5
        assert len(own) == n // 5
        assert set(np.diff(own)) == {5}
    again = Demonstrated(agent, demos, keep_every=5, seed=seed)
    assert keys(d.rows) == keys(again.rows)


def test_where_an_episode_begins_is_drawn(agent: Agent, demos: Dataset) -> None:
    first = {keys(Demonstrated(agent, demos, keep_every=5, seed=s).rows)[0] for s in range(20)}
    assert len(first) == 5


@pytest.mark.parametrize(("share", "episodes"), [(0.34, True), (0.1, False)])
def test_what_is_held_out_is_never_learned_from(
    agent: Agent, demos: Dataset, share: float, episodes: bool
) -> None:
    """Whole episodes where the share makes one, single rows of one or few; together they are all there is."""
    d, all_rows = Demonstrated(agent, demos, held_out=share, seed=1), keys(transitions(agent, demos))
    mine, held = ({all_rows.index(k) for k in keys(r)} for r in (d.rows, d.held))
    assert not mine & held
    assert mine | held == set(range(90))
    whole = [set(range(20)), set(range(20, 60)), set(range(60, 90))]
    assert (held in whole) == episodes
    if not episodes:
        assert len(held) == 9
    drawn = d.draw(500, torch.Generator().manual_seed(0))
    assert {all_rows.index(k) for k in keys(drawn)} == mine


def test_cloning_sees_what_is_learned_from_and_nothing_else(agent: Agent, demos: Dataset) -> None:
    d = Demonstrated(agent, demos, keep_every=4, held_out=0.2, seed=0)
    seen = np.concatenate([e.label[e.labelled, 0] for e in d.dataset()])
    assert np.allclose(np.sort(seen), np.sort(d.rows.action[:, 0].numpy()), atol=1e-6)
    assert 90 > len(seen) == len(d)


def test_thinning_to_nothing_is_refused(agent: Agent) -> None:
    short = Dataset([episode(3, False, 0)])
    with pytest.raises(ValueError, match="nothing is left of"):
        [Demonstrated(agent, short, keep_every=50, seed=s) for s in range(20)]
    with pytest.raises(ValueError, match="keep_every is 0"):
        Demonstrated(agent, short, keep_every=0, seed=0)
    with pytest.raises(ValueError, match=r"held_out 1\.0"):
        Demonstrated(agent, short, held_out=1.0, seed=0)


# ── the loop ─────────────────────────────────────────────────────────────────────────────────────────────


def start(agent: Agent) -> Transitions:
    return transitions(agent, Dataset([episode(40, False, 99)]))


def learner(
    demos: Dataset, config: Config = BRIEF, seed: int = 0, reads: Any = "state-action", **plan: Any
) -> DAC:
    agent = new_actor(Walk.action, demos, hidden=(8,))
    reward = RewardNet.of(agent, RewardConfig(reads, reward_hidden=(8,), reward_activation="relu"), 0)
    rows = Demonstrated(agent, demos, keep_every=config.keep_every, held_out=config.held_out, seed=0)
    asked = {"batch": 8} | plan
    return DAC(make_walk, rows, SAC(agent, SMALL), reward, config, seed=seed, start=start(agent), **asked)


class _Seen:
    """Stands in for a learner's update and writes down what it was given."""

    def __init__(self, dac: DAC) -> None:
        self.batches: list[Transitions] = []
        self.lessons: list[tuple[Transitions, Transitions]] = []
        self.paid: list[torch.Tensor] = []
        self.cloned: list[tuple[int, float]] = []
        update, step = dac._sac.update, dac.discriminator.step
        self._dac = dac

        def seen(batch: Transitions, cloned: int, weight: float) -> dict[str, float]:
            self.batches.append(batch)
            self.paid.append(dac.reward.relabel(batch, 0.9).reward)
            self.cloned.append((cloned, weight))
            return update(batch, cloned, weight)

        def taught(expert: Transitions, policy: Transitions) -> dict[str, float]:
            self.lessons.append((expert, policy))
            return step(expert, policy)

        dac._sac.update, dac.discriminator.step = seen, taught  # type: ignore[method-assign, assignment]


@pytest.mark.parametrize(("share", "experts"), [(0.5, 4), (0.25, 2), (0.0, 0), (0.75, 6)])
def test_batches_are_made_of_both_sides(demos: Dataset, share: float, experts: int) -> None:
    """The learner's batch by the share, the discriminator's by halves: experts first, the replay's behind."""
    dac = learner(demos, Config(pretraining=5, bc_steps=0, expert_share=share, held_out=0.0, bc_weight=0.5))
    seen = _Seen(dac)
    for _ in range(3):
        told = dac.step()
    assert len(seen.batches) == len(seen.lessons) == 8
    assert seen.cloned == [(experts, 0.5)] * 8
    theirs = set(keys(transitions(dac.agent, demos)))
    for batch, (expert, policy) in zip(seen.batches, seen.lessons, strict=True):
        assert [k in theirs for k in keys(batch)] == [True] * experts + [False] * (8 - experts)
        assert all(k in theirs for k in keys(expert))
        assert not any(k in theirs for k in keys(policy))
        assert len(expert.reward) == len(policy.reward) == 4
    assert ("reward_expert" in told) == (share > 0)


def test_every_batch_is_paid_by_the_discriminator_as_it_is_then(demos: Dataset) -> None:
    """What the replay holds is not read: the reward of each batch is that of the weights at that moment."""
    dac = learner(demos, Config(pretraining=40, bc_steps=0))
    seen = _Seen(dac)
    dac.step()
    for batch, paid in zip(seen.batches, seen.paid, strict=True):
        assert torch.equal(batch.reward, paid)
    row = seen.batches[0]
    moved = dac.reward.relabel(row, 0.9).reward - row.reward
    assert float(moved.abs().max()) > 1e-4  # it has learned since
    assert not dac.practice.replay.take(torch.arange(41)).reward.any()


@pytest.mark.parametrize(("every", "lessons"), [(1, 9), (2, 5), (4, 3)])
def test_the_discriminator_learns_in_every_nth_update(demos: Dataset, every: int, lessons: int) -> None:
    dac = learner(demos, Config(pretraining=5, bc_steps=0, d_every=every), updates=2, every=3)
    seen = _Seen(dac)
    for _ in range(6):
        told = dac.step()
    assert len(seen.batches) == 5 + 2 * 2
    assert len(seen.lessons) == lessons
    assert {"d_loss", "d_expert", "d_policy", "d_gap", "penalty", "critic_loss"} <= told.keys()


def test_an_end_is_paid_and_a_time_limit_is_not(demos: Dataset) -> None:
    """Practice marks what ended at 0.8; the absorbing state learns from both sides and is paid there."""
    dac = learner(demos, Config(pretraining=20, bc_steps=0))
    seen = _Seen(dac)
    for _ in range(60):
        dac.step()
    assert float(dac.reward.end.detach()) != 0
    batch = next(
        b for b in reversed(seen.batches) if bool(b.terminated.any()) and not bool(b.terminated.all())
    )
    plain, paid = dac.reward(batch).detach(), dac.reward.relabel(batch, 0.9).reward
    later = 0.9 / 0.1 * float(dac.reward.absorbing.detach())
    assert torch.allclose(paid - plain, later * batch.terminated, atol=1e-5)
    lived = dac.practice.replay.take(torch.arange(40, 100))
    beyond = lived.next_obs > float(dac.practice._flat.obs({"state": np.array([0.8], np.float32)})[0])
    assert torch.equal(lived.terminated.bool(), beyond[:, 0])
    assert any(f.length == 7 for f in dac.practice.finished)


def test_held_out_demonstrations_are_asked_about(demos: Dataset) -> None:
    dac = learner(demos, Config(pretraining=98, bc_steps=0, held_out=0.34))
    assert "d_held" not in dac.step()
    told = dac.step()  # the hundredth update
    held = dac._demos.held
    assert 0 <= told["d_held"] <= 1
    assert told["d_held"] == dac.discriminator.accuracy(held, expert=True)
    none = learner(demos, Config(pretraining=99, bc_steps=0, held_out=0.0))
    assert "d_held" not in none.step()


def test_cloning_moves_the_policy_before_the_first_step(demos: Dataset) -> None:
    """Towards the demonstrations' actions, in the weights that the learner goes on with."""
    plain, cloned = (learner(demos, Config(pretraining=0, bc_steps=n)) for n in (0, 200))
    fits = []
    for dac in (plain, cloned):
        dac.step()
        rows = dac._demos.rows
        fits.append(float(dac._sac.log_prob(rows.obs, rows.action).mean()))
    assert fits[1] > fits[0] + 0.3
    before = fits[1]
    for _ in range(20):
        cloned.step()
    rows = cloned._demos.rows
    assert float(cloned._sac.log_prob(rows.obs, rows.action).mean()) != before


def test_by_default_actions_are_cloned_where_they_are_read_and_labelled(
    demos: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Observations without actions are to be imitated without actions."""
    monkeypatch.setattr("understudy.online.dac._BC_STEPS", 3)
    seen = {}
    silent = Dataset([replace(e, labelled=np.zeros(len(e), np.bool_)) for e in demos])
    for name, data, reads in (
        ("both", demos, "state-action"), ("states", demos, "next-state"), ("silent", silent, "state-action"),
    ):  # fmt: skip
        dac = learner(data, Config(pretraining=1), reads=reads)
        before, watch = [p.clone() for p in dac.agent.parameters()], _Seen(dac)
        monkeypatch.setattr(dac, "update", dict)  # the first step's cloning, and nothing else
        dac._prepare()
        moved = not all(map(torch.equal, before, dac.agent.parameters()))
        DAC.update(dac)
        seen[name] = (moved, watch.cloned)
    none = (False, [(4, 0.0)])
    assert seen == {"both": (True, [(4, 2.0)]), "states": none, "silent": none}


def test_cloning_goes_on_beside_the_discriminator(demos: Dataset) -> None:
    """The more it weighs, the nearer the mode stays to what was demonstrated, whatever the critics say."""
    far = []
    for weight in (0.0, 20.0):
        dac = learner(demos, Config(pretraining=0, bc_steps=0, bc_weight=weight))
        for _ in range(150):
            dac.step()
        rows, head = dac._demos.rows, dac.agent.head
        assert isinstance(head, GaussianHead)
        with torch.no_grad():
            mode = head.parts(dac._sac._actor.tokens(rows.obs))[0][:, 0].tanh()
        far.append(float((mode - rows.action).square().sum(1).mean()))
    assert far[0] > 1.5 * far[1]


@pytest.mark.parametrize(
    "config",
    [
        Config(pretraining=5, d_every=2, keep_every=2, bc_steps=3, bc_weight=0.5),
        Config(
            pretraining=5, bc_steps=0, discriminator=discriminator.Config(spectral=True, penalty_kind="zero")
        ),
    ],
)
def test_it_goes_on_to_the_same_bits(demos: Dataset, config: Config, tmp_path: Path) -> None:
    whole, half, back = learner(demos, config), learner(demos, config), learner(demos, config, seed=0)
    told = [whole.step() for _ in range(24)]
    for _ in range(11):
        half.step()
    write_tree(tmp_path / "dac", half.state_dict())
    back.load_state_dict(read_tree(tmp_path / "dac"))
    assert [back.step() for _ in range(13)] == told[11:]
    for mine, theirs in ((whole.agent, back.agent), (whole.reward, back.reward)):
        a, b = mine.state_dict(), theirs.state_dict()
        assert all(torch.equal(a[k], b[k]) for k in a)


def test_another_runs_state_is_refused(demos: Dataset) -> None:
    state = learner(demos).state_dict()
    for other, words in (
        (learner(demos, Config(pretraining=4, bc_steps=0)), "config"),
        (learner(demos[:2]), "demonstrations"),
        (learner(demos, every=2), "updates"),
        (learner(demos, seed=1), "seed"),
    ):
        with pytest.raises(ValueError, match=words):
            other.load_state_dict(state)
    with pytest.raises(ValueError, match="the state has"):
        learner(demos).load_state_dict({k: v for k, v in state.items() if k != "draws"})


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"d_every": 0}, "d_every is 0"),
        ({"expert_share": 1.0}, "expert_share is 1.0"),
        ({"pretraining": -1}, "pretraining is -1"),
        ({"keep_every": 0}, "keep_every is 0"),
        ({"held_out": 1.0}, "held_out is 1.0"),
        ({"bc_steps": -1}, "bc_steps is -1"),
        ({"bc_weight": -0.1}, "bc_weight is -0.1"),
        ({"bc_weight": float("inf")}, "bc_weight is inf"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Config(**wrong)


def test_what_does_not_belong_together_is_refused(demos: Dataset) -> None:
    agent, other = (new_actor(Walk.action, d, hidden=(8,)) for d in (demos, demos[:1]))
    reward = RewardNet.of(other, READING, 0)
    rows = Demonstrated(agent, demos, seed=0)
    with pytest.raises(ValueError, match="normalise 'state' differently"):
        DAC(make_walk, rows, SAC(agent, SMALL), reward, seed=0, start=start(agent))
    with pytest.raises(ValueError, match="batch is 7"):
        learner(demos, batch=7)
    pendulum = task("pendulum")
    with pytest.raises(ValueError, match="dac learns from demonstrations"):
        build(Setting(pendulum, None, Practising(uniform=10), LEARNER, READING), Config())
    with pytest.raises(ValueError):
        build(Setting(pendulum, demos, Practising(uniform=10), LEARNER, READING), Config())


def test_rows_of_both_stand_in_order(agent: Agent, demos: Dataset) -> None:
    a, b = Demonstrated(agent, demos, seed=0).rows, start(agent)
    both = beside(a, b)
    assert torch.equal(both.obs[:90], a.obs)
    assert torch.equal(both.next_obs[90:], b.next_obs)


# ── a task ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_leaves_its_policy_and_its_reward(tmp_path: Path) -> None:
    """By the command's own way: a run folder, a resumption with the method's nested settings."""
    from understudy import storage
    from understudy.online.command import defaults, practise_run

    pendulum = task("pendulum")
    storage.write(tmp_path / "data", demonstrate(pendulum, range(2)))
    _, plan, own, reading, _ = defaults("dac")
    config = Config(pretraining=2, bc_steps=0, discriminator=discriminator.Config(penalty=3.0))
    plan = replace(plan, uniform=20, batch=8, validation_episodes=1)
    own = replace(own, hidden=(8,))
    for steps, resume in ((6, False), (6, True)):
        told = practise_run(
            algorithm="dac", out=tmp_path / "run", task="pendulum", data=tmp_path / "data", reward=None,
            method=config, plan=plan, learner=own, reading=reading,
            budget=Budget(steps=steps, validate_every=3), resume=resume,
        )  # fmt: skip
    assert (tmp_path / "run" / "reward" / "reward.json").is_file()
    lines = [json.loads(x) for x in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {"d_loss", "d_gap", "reward_expert", "validation"} <= lines[-1].keys()
    assert told["stopped"]
