"""Coherent soft imitation: what the clone is sure of, what that pays, and where the learner starts."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from understudy.dataset import Dataset
from understudy.envs import ActionSpec, adapt, task
from understudy.episode import Episode
from understudy.learn.lessons import Facts, SoftBellman
from understudy.learn.replay import Transitions
from understudy.learn.sac import Config as SACConfig
from understudy.online.base import Practising, Setting
from understudy.online.coherent import Coherent, Prior, clone
from understudy.online.csil import CSIL, ClippedBellman, Config, build
from understudy.online.start import actor, transitions
from understudy.rewards import RewardConfig
from understudy.runtime import tuned
from understudy.serial import read_tree, write_tree

SMALL = SACConfig(hidden=(16,), discount=0.9, learning_rate=1e-3)
SPEC = ActionSpec.box([-1.0, -1.0], [1.0, 1.0])


class Walk:
    """A step on a line is what is done; the task ends beyond 2, time after 15 steps."""

    action = ActionSpec.box([-1.0], [1.0])

    def reset(self, seed: int | None = None) -> Any:
        self._at = np.random.default_rng(seed).uniform(-1, 1, 1).astype(np.float32)
        return self._at

    def step(self, action: Any) -> Any:
        self._at = self._at + 0.3 * np.asarray(action, np.float32)
        return self._at, -float(abs(self._at[0])), bool(self._at[0] > 2), False, {}


def make_walk() -> Any:
    return adapt(Walk(), horizon=15)


def homing(n: int = 8, ended: bool = False) -> Dataset:
    """Demonstrations that walk to 0 on the line."""
    rng, made = np.random.default_rng(0), []
    for _ in range(n):
        states = [rng.uniform(-1, 1, 1)]
        for _ in range(15):
            states.append(states[-1] + 0.3 * np.clip(-2 * states[-1], -1, 1))
        done = np.diff(states, axis=0) / 0.3
        e = Episode.demonstration(np.array(states), done)
        made.append(Episode(dict(e.obs), e.action, e.label, e.labelled, e.reward, ended, None, {}))
    return Dataset(made)


@pytest.fixture(scope="module")
def rows() -> Transitions:
    """300 states [2] near the origin and actions [2] that a network can learn."""
    rng = torch.Generator().manual_seed(0)
    obs = 0.5 * torch.randn(300, 2, generator=rng)
    action = torch.stack((obs[:, 0].sin(), -obs[:, 1]), 1).clamp(-1, 1)
    zero = torch.zeros(300)
    return Transitions(obs, action, zero, obs, zero)


def fresh(rows: Transitions) -> Any:
    data = Dataset([Episode.demonstration(torch.cat((rows.obs, rows.obs[-1:])).numpy(), rows.action.numpy())])
    return actor(SPEC, data, hidden=(32,), seed=1)


@pytest.fixture(scope="module")
def coherent(rows: Transitions) -> Coherent:
    with tuned():
        return Coherent(fresh(rows), rows, Prior(400, 0.01, 1.0, 0.1), 0)


def modes(agent: Any, obs: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return agent.head.mode(agent.trunk.forward({"state": obs[:, None]}))[:, 0]


def density(c: Coherent, obs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A grid of actions [G, 2], and π_0 / p_0 there in one state, [G]."""
    line = (torch.arange(200) + 0.5) / 100 - 1
    grid = torch.cartesian_prod(line, line)
    return grid, torch.exp(c.reward(obs.expand(len(grid), -1), grid) / c.unit)


# ── the clone and its doubts ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("place", [(0.1, -0.2), (1.5, 1.0), (50.0, -50.0)])
def test_the_mixture_is_a_density_wherever_it_is_asked(
    coherent: Coherent, place: tuple[float, float]
) -> None:
    """∫ π_0 da = 1 on a grid of 200²: near, at the edge of and far from the demonstrations."""
    _, ratio = density(coherent, torch.tensor([place]))
    assert float(ratio.mean()) == pytest.approx(1.0, abs=2e-3)


def test_a_known_state_pays_by_the_formula(coherent: Coherent, rows: Transitions) -> None:
    """log((1 - c) + c 2^A N(a; m, σ²) / Z), term by term."""
    from scipy.special import ndtr

    obs = rows.obs[:20] + 0.05
    action = rows.action[:20].flip(0)
    m, s = modes(coherent._clone, obs).numpy(), coherent.spread.numpy()
    bell = np.exp(-0.5 * ((action.numpy() - m) / s) ** 2) / (s * np.sqrt(2 * np.pi))
    cut = bell / (ndtr((1 - m) / s) - ndtr((-1 - m) / s))
    c = coherent.known(obs).numpy()
    by_hand = np.log(1 - c + c * 4 * cut.prod(1)) * coherent.unit
    assert np.allclose(coherent.reward(obs, action).numpy(), by_hand, rtol=1e-3, atol=1e-4)


def test_far_away_nothing_is_paid_and_near_the_demonstrated_action_is_best(
    coherent: Coherent, rows: Transitions
) -> None:
    far = rows.obs + 50
    assert float(coherent.known(far).max()) == 0.0
    assert float(coherent.reward(far, rows.action).abs().max()) < 1e-20
    right = coherent.reward(rows.obs, rows.action)
    wrong = coherent.reward(rows.obs, -rows.action.sign())
    assert float(right.mean()) == pytest.approx(1.0, abs=1e-4)
    assert float(wrong.mean()) < 0
    low, high = coherent.bounds
    assert low - 1e-5 <= float(wrong.min())
    assert float(right.max()) <= high + 1e-5
    assert low == pytest.approx(coherent.unit * math.log(0.01))


def test_knowledge_falls_with_distance(coherent: Coherent) -> None:
    away = torch.linspace(0, 8, 30)[:, None] * torch.tensor([[0.7, 0.7]]) + coherent.anchors.amax(0)
    c = coherent.known(away)
    assert (c.diff() <= 0).all()
    assert 0.5 < float(coherent.known(coherent.anchors).min()) <= 0.99


def test_cloning_learns_the_actions_and_leaves_the_agents_memory_alone(rows: Transitions) -> None:
    agent = fresh(rows)
    places = [p.data_ptr() for p in agent.parameters()]
    before = (modes(agent, rows.obs) - rows.action).square().mean()
    clone(agent, rows.obs, rows.action, 400, torch.Generator().manual_seed(0))
    after = (modes(agent, rows.obs) - rows.action).square().mean()
    assert after < 0.05 * before
    assert [p.data_ptr() for p in agent.parameters()] == places


def test_the_gradient_of_cloning_is_that_of_automatic_differentiation(rows: Transitions) -> None:
    """One step of Adam without decay of the rate moves each weight by the sign of its gradient."""
    agent, draws = fresh(rows), torch.Generator().manual_seed(0)
    picked = rows.obs[torch.randint(300, (256,), generator=torch.Generator().manual_seed(0))]
    wanted = rows.action[torch.randint(300, (256,), generator=torch.Generator().manual_seed(0))]
    loss = (agent.head.mode(agent.trunk.forward({"state": picked[:, None]}))[:, 0] - wanted).square()
    loss.sum(1).mean().backward()
    first = agent.trunk.linear[0]
    grad, before = first.weight.grad.clone(), first.weight.detach().clone()
    clone(agent, rows.obs, rows.action, 1, draws)
    moved = first.weight.detach() - before * (1 - 1e-6)  # the decay of weights
    clear = grad.abs() > 1e-5
    assert clear.float().mean() > 0.9
    assert torch.equal(moved[clear].sign(), -grad[clear].sign())


def test_too_few_rows_and_a_clone_that_knows_nothing_are_refused(rows: Transitions) -> None:
    few = Transitions(*(x[:10] for x in rows))
    with pytest.raises(ValueError, match="there are 10 demonstrated steps"):
        Coherent(fresh(rows), few, Prior(10, 0.01, 1.0, 0.1), 0)
    noise = torch.rand(300, 2, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with pytest.raises(ValueError, match="no higher than that of uniform ones"):
        Coherent(fresh(rows), rows._replace(action=noise.sign()), Prior(20, 0.9, 1.0, 0.1), 0)


# ── the learner ──────────────────────────────────────────────────────────────────────────────────────────


def test_the_lesson_is_the_clipped_bellman_error() -> None:
    facts = Facts(
        q=torch.tensor([[1.0, 2.0, 3.0]]), here=None, after=torch.tensor([[10.0, -50.0, 90.0]]),
        reward=torch.tensor([1.0, 0.0, 2.0]), scale=torch.tensor([0.5, 0.5, 0.5]),
    )  # fmt: skip
    found = ClippedBellman(-8.0, 20.0)(facts)
    assert found.toward.tolist() == [[6.0, -8.0, 20.0]]
    assert found.loss == pytest.approx((25 + 100 + 289) / 3)
    assert torch.allclose(found.q, (facts.q - found.toward) * 2 / 3)
    wide, plain = ClippedBellman(-1e9, 1e9)(facts), SoftBellman()(facts)
    assert wide.loss == plain.loss
    assert torch.equal(wide.q, plain.q)


def learner(data: Dataset, **changes: Any) -> CSIL:
    config = replace(Config(bc_steps=50, pretraining=10), **changes)
    walk = replace(task("pendulum"), make=make_walk, action=Walk.action, obs={"state": (1,)}, angles={})
    setting = Setting(walk, data, Practising(uniform=40, batch=32), SMALL, RewardConfig())
    return build(setting, config)


def test_it_begins_as_the_clone_and_pretraining_leaves_it_so() -> None:
    made = learner(homing(), bc_steps=300, pretraining=50)
    data = homing(3)
    seen = transitions(made.agent, data)
    before = made.agent.act({"state": data[0].obs["state"]})
    assert float((modes(made.agent, seen.obs) - seen.action).square().mean()) < 0.01
    untaught = made._sac.values(seen.obs, seen.action)
    made._prepare()
    assert np.array_equal(made.agent.act({"state": data[0].obs["state"]}), before)
    taught = made._sac.values(seen.obs, seen.action)
    assert float((taught - untaught).abs().mean()) > 0.02  # only the critics have moved


@pytest.mark.parametrize("ended", [False, True])
def test_an_end_is_paid_for_ever_only_where_demonstrations_end(ended: bool) -> None:
    made = learner(homing(ended=ended))
    lived = made.practice.replay.sample(8, torch.Generator().manual_seed(0))
    over, _ = made._paid(lived._replace(terminated=torch.ones(8)))
    going, _ = made._paid(lived._replace(terminated=torch.zeros(8)))
    assert torch.allclose(over - going, torch.full((8,), 9.0 if ended else 0.0), atol=1e-5)


def test_a_learner_saved_in_the_middle_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    with tuned():
        whole, part = learner(homing()), learner(homing())
        for _ in range(30):
            told = whole.step()
        for _ in range(13):
            part.step()
        write_tree(tmp_path / "state", part.state_dict())
        resumed = learner(homing())
        resumed.load_state_dict(read_tree(tmp_path / "state"))
        for _ in range(17):
            again = resumed.step()
    assert told == again
    ours, theirs = whole.agent.state_dict(), resumed.agent.state_dict()
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)
    assert {"reward_expert", "reward_policy", "known", "critic_loss"} <= told.keys()


def test_a_state_of_other_demonstrations_or_settings_is_refused() -> None:
    state = learner(homing()).state_dict()
    with pytest.raises(ValueError, match="saved with demonstrations"):
        learner(homing(7)).load_state_dict(state)
    with pytest.raises(ValueError, match="saved with config"):
        learner(homing(), doubt=0.02).load_state_dict(state)


def test_without_demonstrations_or_out_of_range_it_says_so() -> None:
    with pytest.raises(ValueError, match="csil learns from demonstrations"):
        build(Setting(task("pendulum"), None, Practising(), SMALL, RewardConfig()), Config())
    for name, value in {"doubt": 1.0, "reach": 0.0, "expert_share": 1.0, "bc_steps": 0}.items():
        with pytest.raises(ValueError, match=f"{name} is {value}"):
            Config(**{name: value})
