"""IQ-Learn: its gradient is autograd's, and on a table its optimum is the demonstrator's soft policy."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor

from understudy.learn.lessons import Facts
from understudy.online.iq import Config, Inverse
from understudy.online.labelled import shares, told_sides

GAMMA = 0.9


def facts(seed: int = 0, members: int = 2, rows: int = 10) -> Facts:
    """Six demonstrated rows and four own ones; two rows end the task."""
    g = torch.Generator().manual_seed(seed)
    q, here, after = torch.randn(3, members, rows, generator=g, dtype=torch.float64)
    expert = (torch.arange(rows) < 6).double()
    scale = torch.full((rows,), GAMMA, dtype=torch.float64)
    scale[2] = scale[8] = 0
    return Facts(q, here, after, expert, scale)


@pytest.mark.parametrize("objective", ["value", "v0"])
@pytest.mark.parametrize("through", [True, False])
def test_the_gradient_is_that_of_the_objective_as_the_paper_writes_it(
    objective: Literal["value", "v0"], through: bool
) -> None:
    seen, lesson = facts(), Inverse(GAMMA, objective, 0.3, through)
    assert seen.here is not None
    leaves = [x.clone().requires_grad_() for x in (seen.q, seen.here, seen.after)]
    q, here, after = leaves
    r = q - seen.scale * after
    loss = -r[:, :6].mean(1) + r.square().mean(1) / (4 * 0.3)
    if objective == "value":
        loss = loss + (here - seen.scale * after).mean(1)
    else:
        loss = loss + (1 - GAMMA) * here[:, :6].mean(1)
    expected = torch.autograd.grad(loss.sum(), leaves)
    found = lesson(seen)
    assert found.loss == pytest.approx(float(loss.detach().mean()), rel=1e-9)
    assert found.here is not None
    torch.testing.assert_close(found.q, expected[0])
    torch.testing.assert_close(found.here, expected[1])
    if through:
        assert found.after is not None
        torch.testing.assert_close(found.after, expected[2])
    else:
        assert found.after is None


def test_the_sides_are_told_by_what_the_values_imply() -> None:
    seen = facts(members=1)
    r = (seen.q - seen.scale * seen.after)[0]
    r[2], r[8] = (1 - GAMMA) * r[2], (1 - GAMMA) * r[8]  # behind an end it is paid for ever
    told = told_sides(seen, GAMMA)
    assert told["reward_expert"] == pytest.approx(float(r[:6].mean()))
    assert told["reward_policy"] == pytest.approx(float(r[6:].mean()))
    expert, own = shares(seen)
    assert float(expert.sum()) == pytest.approx(1)
    assert float(own.sum()) == pytest.approx(1)


def test_on_a_table_the_optimum_is_the_demonstrators_policy() -> None:
    """Two states, three actions, known dynamics and exact occupancies; V by a sum over actions, not a draw.

    Both halves are the demonstrator's: then its policy is the optimum, up to α log π beside χ²'s scale.
    """
    g = torch.Generator().manual_seed(3)
    step = torch.rand(2, 3, 2, generator=g, dtype=torch.float64).pow(2)
    step /= step.sum(-1, keepdim=True)
    start = torch.tensor([1.0, 0.0], dtype=torch.float64)
    expert = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]], dtype=torch.float64)
    occupied = occupancy(expert, step, start)
    found = {a: soft_policy(optimum(occupied, start, step, a), a) for a in (0.05, 0.005)}
    gaps = {a: float((occupancy(pi, step, start) - occupied).abs().sum()) for a, pi in found.items()}
    assert gaps[0.005] < 0.02
    assert gaps[0.005] < 0.3 * gaps[0.05]  # what is left is the entropy's share: it shrinks with α
    torch.testing.assert_close(found[0.005], expert, rtol=0, atol=0.02)


def occupancy(policy: Tensor, step: Tensor, start: Tensor) -> Tensor:
    """[S, A], (1 - γ) Σ γ^t P(s_t, a_t)."""
    walk = torch.einsum("sa,sat->st", policy, step)
    eye = torch.eye(len(start), dtype=start.dtype)
    return torch.linalg.solve(eye - GAMMA * walk.T, (1 - GAMMA) * start)[:, None] * policy


def soft_policy(q: Tensor, alpha: float) -> Tensor:
    return torch.softmax(q / alpha, 1)


def optimum(occupied: Tensor, start: Tensor, step: Tensor, alpha: float) -> Tensor:
    """Q [S, A] by the lesson's slopes, each cell of the table a row that counts by its occupancy.

    The lesson weighs rows alike, so each cell comes as often, in 2000, as it is occupied.
    """
    counts = (2000 * occupied).round().long().flatten()
    cell = torch.repeat_interleave(torch.arange(6), counts)
    state, following = cell // 3, step.reshape(6, 2)[cell]
    rows = len(cell)
    label = torch.cat((torch.ones(rows), torch.zeros(rows))).double()
    lesson = Inverse(GAMMA, "value", 0.5, True)
    q = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([q], max_iter=500, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimiser.zero_grad()
        v = alpha * torch.logsumexp(q / alpha, 1)  # dV/dQ is the policy: the draw's mean
        said = [x.repeat(2)[None] for x in (q.flatten()[cell], v[state], following @ v)]
        with torch.no_grad():
            slopes = lesson(Facts(*said, label, torch.full((2 * rows,), GAMMA, dtype=torch.float64)))
        assert slopes.here is not None
        assert slopes.after is not None
        torch.autograd.backward(said, [slopes.q, slopes.here, slopes.after])
        return slopes.loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    assert float(q.grad.abs().max()) < 1e-4  # type: ignore[union-attr]
    return q.detach()


@pytest.mark.parametrize("wrong", [{"objective": "v1"}, {"chi": 0.0}, {"keep_every": 0}, {"pretraining": -1}])
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Config(**wrong)  # type: ignore[arg-type]
