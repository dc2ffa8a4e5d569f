"""A reward's form alone can decide to live or to end: exact numbers, worlds where it fails, what mends it.

The worlds are tabular and the discriminator is the converged one: its logit is log ρ_E - log ρ of each state,
ρ the average of all policies so far, and the next policy is the best one for what that pays (fictitious play,
where every step of the adversarial game is exact).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from holding import ARRIVE, demonstrations, imitated
from understudy.learn.replay import Transitions
from understudy.online import actor
from understudy.online.diagnosis import standing
from understudy.rewards import FORMS, RewardConfig, RewardNet
from understudy.tabular import TabularMDP, hard_plan, occupancy

GAMMA = 0.99

# ── exact numbers ────────────────────────────────────────────────────────────────────────────────────────


def undecided(form: Any) -> RewardNet:
    """A reward whose discriminator says D = 1/2 of everything, the absorbing state included."""
    agent = actor(ARRIVE.action, demonstrations(ARRIVE, 2), hidden=(4,))
    reward = RewardNet.of(agent, RewardConfig("state-action", reward_hidden=(4,), form=form), 0)
    with torch.no_grad():
        for p in reward.parameters():
            p.zero_()
    return reward


def steps(n: int, terminated: bool) -> Transitions:
    last = torch.zeros(n)
    last[-1] = float(terminated)
    return Transitions(torch.zeros(n, 2), torch.zeros(n, 1), torch.zeros(n), torch.zeros(n, 2), last)


def worth(paid: torch.Tensor) -> float:
    return float((GAMMA ** torch.arange(len(paid)).double() * paid.double()).sum())


@pytest.mark.parametrize(
    ("form", "now", "later"),
    [("survival", 0.69, 69.31), ("termination", -0.69, -69.31), ("logit", 0.0, 0.0), ("fairl", 0.0, 0.0)],
)
def test_ending_now_beside_living_a_thousand_steps(form: str, now: float, later: float) -> None:
    reward = undecided(form)
    with torch.no_grad():
        ended, lived = (worth(reward.forward(steps(n, True))) for n in (1, 1000))
    assert ended == pytest.approx(now, abs=0.005)
    assert lived == pytest.approx(later, abs=0.005)
    assert ended == pytest.approx(float(FORMS[form](torch.zeros(()))), abs=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_with_the_absorbing_state_both_are_worth_the_same(form: str) -> None:
    reward = undecided(form)
    ended, lived = (worth(reward.relabel(steps(n, True), GAMMA).reward) for n in (1, 1000))
    assert ended == pytest.approx(lived, abs=1e-3)
    assert ended == pytest.approx(float(FORMS[form](torch.zeros(()))) / (1 - GAMMA), rel=1e-4, abs=1e-6)


# ── two worlds ───────────────────────────────────────────────────────────────────────────────────────────

FAR, NEAR, END = 0, 1, 2


def world(goes: bool, absorbing: bool) -> tuple[TabularMDP, np.ndarray[Any, Any]]:
    """Far, near, end: one action goes on to the next, the other stays. And the expert's policy [S, A].

    In the termination world the expert goes to the end; in the survival world he goes near and stays. The end
    is terminal, or an absorbing state that is seen and paid like any other.
    """
    move = np.zeros((3, 2, 3))
    for s in (FAR, NEAR):
        move[s, 0, s + 1] = move[s, 1, s] = 1.0
    if absorbing:
        move[END, :, END] = 1.0
    mdp = TabularMDP.make(
        move, initial=[1.0, 0.0, 0.0], discount=GAMMA, horizon=None,
        terminal=[False, False, not absorbing],
    )  # fmt: skip
    policy = np.array([[1.0, 0.0], [float(goes), float(not goes)], [0.5, 0.5]])
    return mdp, policy * mdp.available


def imitate(goes: bool, absorbing: bool, form: str, rounds: int = 100) -> tuple[float, float]:
    """How long the expert lives, and the average policy, in discounted steps before the end."""
    mdp, expert = world(goes, absorbing)

    def visits(policy: Any) -> np.ndarray[Any, Any]:
        return occupancy(mdp, policy).sum(1)

    alive, target = visits(expert)[:END].sum(), visits(expert)
    target = target / target.sum()  # of rows, which is all that a discriminator sees
    mean, lived = np.full(3, 1 / 3), 0.0
    for k in range(rounds):
        logit = np.log(target + 1e-6) - np.log(mean + 1e-6)
        paid = FORMS[form](torch.from_numpy(logit)).numpy()
        seen = visits(hard_plan(mdp, np.repeat(paid[:, None], 2, 1)))
        mean = mean + (seen / seen.sum() - mean) / (k + 2)
        lived += (seen[:END].sum() - lived) / (k + 1)
    return float(alive), float(lived)


def test_a_form_that_pays_for_living_never_ends_and_the_absorbing_state_mends_it() -> None:
    alive, lived = imitate(goes=True, absorbing=False, form="survival")
    assert alive == pytest.approx(1 + GAMMA)
    assert lived > 99.0
    for form in ("survival", "termination", "logit"):
        assert imitate(goes=True, absorbing=True, form=form)[1] == pytest.approx(alive, abs=1.0)


def test_a_form_that_charges_for_living_ends_at_once_and_the_absorbing_state_mends_it() -> None:
    alive, lived = imitate(goes=False, absorbing=False, form="termination")
    assert alive == pytest.approx(100.0)
    assert lived == pytest.approx(1 + GAMMA)
    for form in ("survival", "termination", "logit"):
        assert imitate(goes=False, absorbing=True, form=form)[1] == pytest.approx(alive, rel=0.05)


def test_the_right_sign_needs_no_mending_where_it_happens_to_fit() -> None:
    assert imitate(goes=True, absorbing=False, form="termination")[1] == pytest.approx(1 + GAMMA)
    assert imitate(goes=False, absorbing=False, form="survival")[1] == pytest.approx(100.0)


# ── a learner ────────────────────────────────────────────────────────────────────────────────────────────


def test_gail_that_pays_for_living_arrives_where_the_absorbing_state_is_learned() -> None:
    """Without it, the same run never does: see `test_diagnosis`."""
    outcome, facts = imitated(ARRIVE, demonstrations(ARRIVE), 4000, form="survival")
    share = standing(outcome.metrics, facts).share
    assert share is not None
    assert share > 0.7
