"""SQIL: labels as rewards, paid for ever where the task ends, and the reward that they average to."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from understudy.agent import Agent, Columns, Normalizer
from understudy.heads import Gaussian
from understudy.learn.lessons import Facts
from understudy.learn.replay import Transitions
from understudy.learn.sac import SAC
from understudy.learn.sac import Config as SACConfig
from understudy.nets import MLP
from understudy.online.sqil import Config, Labels
from understudy.runtime import tuned

GAMMA = 0.5


def test_labels_are_rewards_and_ends_are_paid_for_ever() -> None:
    q, after = torch.randn(2, 2, 4)
    label, scale = torch.tensor([1.0, 1, 0, 0]), torch.tensor([GAMMA, 0, GAMMA, 0])
    found = Labels(GAMMA)(Facts(q, None, after, label, scale))
    target = torch.stack(
        [1 + GAMMA * after[:, 0], torch.full((2,), 2.0), GAMMA * after[:, 2], torch.zeros(2)], 1
    )
    torch.testing.assert_close(found.toward, target)
    torch.testing.assert_close(found.q, (q - target) / 2)
    assert found.loss == pytest.approx(float((q - target).square().mean()))


def test_the_reward_is_the_demonstrators_share_of_what_is_seen() -> None:
    """Two states that lead to themselves; demonstrations are in the first in 3 of 4 steps, own steps in 1."""
    seen = Normalizer(Columns((2,)), torch.zeros(2), torch.ones(2))
    acted = Normalizer(Columns((1,), "range"), torch.zeros(1), torch.ones(1))
    torch.manual_seed(0)
    agent = Agent({"state": seen}, acted, MLP((16,)), Gaussian("state", True), 1, 1)
    config = SACConfig(
        discount=GAMMA, temperature=0.1, entropy_in_target=False, hidden=(32,), learning_rate=3e-3, polyak=0.1
    )
    sac = SAC(agent, config, Labels(GAMMA))
    n, draws = 64, torch.Generator().manual_seed(0)
    state = torch.tensor(([0] * 3 + [1]) * (n // 8) + ([0] + [1] * 3) * (n // 8))
    obs, label = F.one_hot(state, 2).float(), (torch.arange(n) < n // 2).float()
    with tuned():
        for _ in range(600):
            action = 2 * torch.rand(n, 1, generator=draws) - 1
            told = sac.update(Transitions(obs, action, label, obs, torch.zeros(n)))
    q = sac.values(torch.eye(2), torch.zeros(2, 1)).mean(0)
    # ρ_E / (ρ_E + ρ) is 3/4 and 1/4; a loop is worth that over 1 - γ. 5 % of the range of values.
    assert q.numpy() == pytest.approx([1.5, 0.5], abs=0.1)
    assert told["reward_expert"] == pytest.approx(0.625, abs=0.06)  # 3/4 · 3/4 + 1/4 · 1/4
    assert told["reward_policy"] == pytest.approx(0.375, abs=0.06)


@pytest.mark.parametrize("wrong", [{"keep_every": 0}, {"pretraining": -1}])
def test_settings_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Config(**wrong)
