"""LS-IQ: its gradient is that of completed squares with held values, and its reward the one of theory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from understudy.learn.lessons import Facts
from understudy.online.lsiq import Config, LeastSquares

GAMMA, C = 0.9, 0.5
MOST = 1 / (C * (1 - GAMMA))  # 20


def facts(seed: int = 0, rows: int = 10) -> Facts:
    """Six demonstrated rows, four own ones; rows 2 and 8 end the task; some values are out of bounds."""
    g = torch.Generator().manual_seed(seed)
    q, here, after = 30 * torch.randn(3, 2, rows, generator=g, dtype=torch.float64)
    scale = torch.full((rows,), GAMMA, dtype=torch.float64)
    scale[2] = scale[8] = 0
    return Facts(q, here, after, (torch.arange(rows) < 6).double(), scale)


@pytest.mark.parametrize("fresh", [True, False])
def test_the_gradient_is_that_of_the_objective_with_its_targets_held(fresh: bool) -> None:
    seen, lesson = facts(), LeastSquares(GAMMA, C, fresh)
    assert lesson.bound == pytest.approx(MOST)
    assert seen.here is not None
    assert 0 < int((seen.after.abs() > MOST).sum()) < seen.after.numel()
    q, here = (x.clone().requires_grad_() for x in (seen.q, seen.here))
    y = -1 / C + GAMMA * seen.after[:, 6:].clamp(-MOST, MOST)
    y[:, 2] = -MOST  # row 8: falling is paid for ever
    loss = C / 2 * (q[:, :6] - MOST).square().mean(1) + C / 2 * (q[:, 6:] - y).square().mean(1)
    if fresh:
        loss = loss + (here[:, 6:] - q[:, 6:]).mean(1)
    expected = torch.autograd.grad(loss.sum(), (q, here), allow_unused=True)
    found = lesson(seen if fresh else seen._replace(here=None))
    assert found.loss == pytest.approx(float(loss.detach().mean()), rel=1e-9)
    torch.testing.assert_close(found.q, expected[0])
    if fresh:
        torch.testing.assert_close(found.here, expected[1])
    else:
        assert found.here is None
    assert found.after is None
    assert float(found.toward.abs().max()) <= MOST


def test_bootstrapped_squares_are_iq_learns_objective_but_for_a_constant() -> None:
    """The identity that the method starts from, on random values."""
    seen = facts()
    assert seen.here is not None
    r, v = seen.q - seen.scale * seen.after, seen.here - seen.scale * seen.after
    of_e, of_p = slice(6), slice(6, None)
    paper = -r[:, of_e].mean(1) + v[:, of_p].mean(1)
    paper = paper + C / 2 * (r[:, of_e].square().mean(1) + r[:, of_p].square().mean(1))
    squares = C / 2 * ((r[:, of_e] - 1 / C).square().mean(1) + (r[:, of_p] + 1 / C).square().mean(1))
    squares = squares + (seen.here - seen.q)[:, of_p].mean(1)
    torch.testing.assert_close(squares - paper, torch.full((2,), 1 / C, dtype=torch.float64))


def test_where_both_sides_go_the_value_lies_between_by_how_often_each_does() -> None:
    """A one-step world that ends: the best Q is the mean of ±bound, (ρ_E - ρ) / (ρ_E + ρ) of the bound."""
    demonstrated, own = torch.tensor([6.0, 3, 1, 0]), torch.tensor([1.0, 3, 4, 2])
    counts = torch.cat((demonstrated, own)).long()
    cell = torch.repeat_interleave(torch.arange(4).repeat(2), counts)
    label = (torch.arange(20) < 10).double()
    lesson, q = LeastSquares(GAMMA, C, False), torch.zeros(4, dtype=torch.float64)
    none = torch.zeros(1, 20, dtype=torch.float64)
    for _ in range(3000):
        slopes = lesson(Facts(q[cell][None], None, none, label, torch.zeros(20, dtype=torch.float64)))
        q = q - 0.5 * torch.zeros(4, dtype=torch.float64).index_add(0, cell, slopes.q[0])
    expected: Tensor = MOST * ((demonstrated - own) / (demonstrated + own)).double()
    torch.testing.assert_close(q, expected)
    told = lesson(Facts(q[cell][None], None, none, label, torch.zeros(20, dtype=torch.float64))).told
    assert told["reward_policy"] < 0 < told["reward_expert"] <= 1 / C


@pytest.mark.parametrize("wrong", [{"weight": 0.0}, {"keep_every": 0}, {"pretraining": -1}])
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Config(**wrong)  # type: ignore[arg-type]
