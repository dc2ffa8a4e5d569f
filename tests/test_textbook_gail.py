"""The chapter's GAIL: what it pays, what its discriminator learns, and that its policy learns too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from understudy.envs import ActionSpec
from understudy.textbook import GAIL, Demonstration

GOAL = np.array([1.0, -1.0])
STEPS = 20


class Walk:
    """A point in the plane that goes where it is told, at most 0.3 a step, to a goal that only pays know."""

    action = ActionSpec.box([-1.0, -1.0], [1.0, 1.0])

    def reset(self, *, seed: int) -> Any:
        self._at, self._t = np.random.default_rng(seed).uniform(-1, 1, 2), 0
        return self._at.copy(), {}

    def step(self, action: Any) -> Any:
        self._at = self._at + 0.3 * np.asarray(action)
        self._t += 1
        return self._at.copy(), -float(np.linalg.norm(self._at - GOAL)), False, self._t == STEPS, {}


def expert(state: np.ndarray) -> np.ndarray:
    return np.clip(2 * (GOAL - state), -1, 1)


def played(act: Any, seeds: range) -> tuple[list[Demonstration], float]:
    """Episodes, and their mean return."""
    out, total = [], 0.0
    for seed in seeds:
        env, states, actions = Walk(), [], []
        state, _ = env.reset(seed=seed)
        for _ in range(STEPS):
            states.append(state)
            actions.append(act(state))
            state, reward, *_ = env.step(np.clip(actions[-1], -1, 1))
            total += reward
        out.append(Demonstration(np.array(states), np.array(actions)))
    return out, total / len(seeds)


def pairs(mean: float, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """States [n, 2] and actions [n, 1], normal around `mean`."""
    random = np.random.default_rng(seed)
    return random.normal(mean, 1.0, (n, 2)), random.normal(0.0, 1.0, (n, 1))


def test_the_reward_is_the_codes_and_not_the_diagrams() -> None:
    """-log(1 - D): above zero, growing with D, and equal to it computed from the module by hand."""
    gail = GAIL(2, 1, (16,), lr_discriminator=1e-2)
    for step in range(60):
        gail.update_discriminator(*pairs(1.0, 128, step), *pairs(-1.0, 128, 1000 + step))
    states, actions = pairs(0.0, 50, 7)
    rows = torch.tensor(np.concatenate([states, actions], 1), dtype=torch.float32)
    d = gail.discriminator(rows).detach().double().numpy()
    assert d.shape == (50, 1)
    assert d.min() < 0.2 < 0.8 < d.max()
    paid = np.array([gail.get_reward(s, a) for s, a in zip(states, actions, strict=True)])
    assert np.allclose(paid, -np.log(1 - d[:, 0]), rtol=1e-4)
    assert (np.diff(paid[np.argsort(d[:, 0])]) >= -1e-6).all()
    like, unlike = gail.get_reward(np.ones(2), np.zeros(1)), gail.get_reward(-np.ones(2), np.zeros(1))
    assert like > unlike > 0


def test_the_loss_begins_blind_and_falls() -> None:
    gail = GAIL(2, 1, (16,), lr_discriminator=1e-2)
    losses = [
        gail.update_discriminator(*pairs(1.0, 128, step), *pairs(-1.0, 128, 1000 + step))
        for step in range(60)
    ]
    assert losses[0] == pytest.approx(2 * np.log(2), abs=0.05)
    assert losses[-1] < 0.9


def test_two_gaussians_give_their_log_ratio_less_what_the_penalty_takes() -> None:
    """States N(±1/2, 1): the log-ratio of their densities is s. The penalty on the slope takes some of it."""
    gail, random = GAIL(1, 1, (32,), lr_discriminator=3e-3), np.random.default_rng(0)
    for _ in range(300):
        sides = [(random.normal(m, 1, (256, 1)), random.normal(0, 1, (256, 1))) for m in (0.5, -0.5)]
        gail.update_discriminator(*sides[0], *sides[1])
    s = torch.linspace(-1, 1, 21)[:, None]
    with torch.no_grad():
        found = gail.discriminator.logit(s, torch.zeros(21, 1)).numpy()
    truth = s[:, 0].numpy()
    assert np.corrcoef(found, truth)[0, 1] > 0.97
    assert 0.5 < found @ truth / (truth @ truth) < 1.1


def test_its_policy_learns_what_the_expert_does() -> None:
    """Five demonstrations, 4,800 steps, the reward never seen. Of the way from random to expert, over 0.8."""
    random = np.random.default_rng(0)
    shown, best = played(expert, range(5))
    _, worst = played(lambda s: random.uniform(-1, 1, 2), range(100, 140))
    gail = GAIL(2, 2, (32, 32), lr_discriminator=1e-3, lr_policy=1e-3)
    told = gail.train(Walk(), shown, n_iterations=12, steps_per_iteration=400)
    assert [len(v) for v in told.values()] == [12, 12]
    assert np.isfinite(told["returns"]).all()
    assert np.isfinite(told["losses"]).all()
    _, reached = played(gail.get_action, range(200, 240))
    assert (reached - worst) / (best - worst) > 0.8


def test_training_repeats_itself_and_goes_on() -> None:
    shown, _ = played(expert, range(2))
    runs = []
    for _ in range(2):
        gail = GAIL(2, 2, (8,), seed=3)
        first = gail.train(Walk(), shown, n_iterations=1, steps_per_iteration=64)
        then = gail.train(Walk(), shown, n_iterations=1, steps_per_iteration=64)
        runs.append((first, then, gail.get_action(np.zeros(2)).tolist()))
    assert runs[0] == runs[1]
    assert runs[0][0] != runs[0][1]


def test_actions_beyond_the_bounds_do_not_give_the_policy_away() -> None:
    """A policy that draws far outside is clipped as the expert was, before the discriminator sees it."""
    shown = [Demonstration(np.zeros((50, 2)), np.ones((50, 2)))]
    gail = GAIL(2, 2, (8,))
    with torch.no_grad():
        gail.policy.head.out.bias += 1e4
    seen = []
    step = gail._learner.step
    gail._learner.step = lambda e, p: seen.append((e.action.max(), p.action.max())) or step(e, p)
    gail.train(Walk(), shown, n_iterations=1, steps_per_iteration=20)
    assert seen
    assert all(float(policy) == pytest.approx(float(e)) for e, policy in seen)


def test_what_does_not_fit_is_one_line() -> None:
    gail = GAIL(2, 2, (8,))
    good = np.zeros((4, 2))
    with pytest.raises(RuntimeError, match="call train first"):
        gail.get_reward(good[0], good[0])
    with pytest.raises(ValueError, match=r"expert states \[4, 3\]"):
        gail.update_discriminator(np.zeros((4, 3)), good, good, good)
    with pytest.raises(ValueError, match="policy has a state"):
        gail.update_discriminator(good, good, good * np.nan, good)
    with pytest.raises(ValueError, match="demonstrations is empty"):
        gail.train(Walk(), [])
    with pytest.raises(ValueError, match="n_iterations is 0"):
        gail.train(Walk(), [Demonstration(good, good)], n_iterations=0)
    with pytest.raises(ValueError, match="GAIL was made for 3 and 2"):
        GAIL(3, 2, (8,)).train(Walk(), [Demonstration(np.zeros((4, 3)), good)])
    with pytest.raises(ValueError, match="device is 'cuda'"):
        GAIL(2, 2, device="cuda")
    gail.update_discriminator(good, good, good, good)
    with pytest.raises(ValueError, match=r"must be \[2\]"):
        gail.get_reward(np.zeros(3), np.zeros(2))
