"""Advantages against a slow computation of their own, episode by episode, and what ends mean."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from understudy.learn.rollouts import Rollout, gae

T, N = 23, 3


def drawn(seed: int = 0) -> dict[str, torch.Tensor]:
    """Random rewards and values; episodes end at random, by the task or by a time limit."""
    rng = np.random.default_rng(seed)
    over = rng.random((T, N)) < 0.2
    terminated = over & (rng.random((T, N)) < 0.5)
    assert terminated.any()
    assert (over & ~terminated).any()
    numbers = {k: rng.normal(size=(T, N)) for k in ("reward", "value", "next_value")}
    # Where no episode ends, a step leads to the next row's observation, whose value is known already.
    numbers["next_value"][:-1] = np.where(over[:-1], numbers["next_value"][:-1], numbers["value"][1:])
    found = numbers | {"terminated": terminated, "over": over}
    return {k: torch.from_numpy(np.asarray(v, np.float32)) for k, v in found.items()}


def slowly(x: dict[str, torch.Tensor], discount: float, trace: float) -> np.ndarray:
    """Â_t as the sum Σ_l (1 - λ) λ^(l-1) of l-step estimates, cut where episode or rollout ends.

    That is the definition (Schulman et al. 2016, equation 16); the code under test uses the recursion.
    """
    r, v, w, dead, over = (x[k].numpy().astype(np.float64) for k in x)
    out = np.zeros((T, N))
    for n in range(N):
        for t in range(T):
            last = next((i for i in range(t, T) if over[i, n]), T - 1)
            estimates = []
            for end in range(t, last + 1):
                paid = sum(discount ** (i - t) * r[i, n] for i in range(t, end + 1))
                future = discount ** (end - t + 1) * (1 - dead[end, n]) * w[end, n]
                estimates.append(paid + future - v[t, n])
            weights = [(1 - trace) * trace**i for i in range(len(estimates) - 1)]
            weights.append(trace ** (len(estimates) - 1))
            out[t, n] = np.dot(weights, estimates)
    return out


@pytest.mark.parametrize("discount", [0.0, 0.9, 1.0])
@pytest.mark.parametrize("trace", [0.0, 0.7, 1.0])
def test_the_recursion_is_the_definition(discount: float, trace: float) -> None:
    for seed in range(3):
        x = drawn(seed)
        advantage, returns = gae(**x, discount=discount, trace=trace)
        assert advantage.numpy() == pytest.approx(slowly(x, discount, trace), abs=1e-5)
        assert torch.equal(returns, advantage + x["value"])


def test_a_time_limit_bootstraps_and_a_termination_does_not() -> None:
    column = {"reward": [1.0, 1.0], "value": [0.0, 0.0], "next_value": [100.0, 10.0], "over": [1.0, 1.0]}
    for terminated, want in ((0.0, [1 + 50.0, 1 + 5.0]), (1.0, [1.0, 1.0])):
        x = {k: torch.tensor(v)[:, None] for k, v in column.items()}
        x["terminated"] = torch.full((2, 1), terminated)
        advantage, _ = gae(**x, discount=0.5, trace=0.95)
        assert advantage[:, 0].tolist() == want


def test_nothing_of_the_next_episode_leaks_over_an_end() -> None:
    x = drawn()
    t, n = (x["over"] > 0).nonzero()[0].tolist()
    assert t < T - 1
    before, _ = gae(**x, discount=0.99, trace=0.95)
    for k in ("reward", "value", "next_value"):
        x[k] = x[k].clone()
        x[k][t + 1 :, n] += 1000
    after, _ = gae(**x, discount=0.99, trace=0.95)
    assert torch.equal(before[: t + 1], after[: t + 1])
    assert not torch.equal(before[t + 1 :, n], after[t + 1 :, n])


def test_what_cannot_be_is_refused() -> None:
    x = drawn()
    with pytest.raises(ValueError, match="terminated where over is 0"):
        gae(**x | {"over": torch.zeros(T, N)}, discount=0.9, trace=0.9)
    with pytest.raises(ValueError, match="all must be one"):
        gae(**x | {"value": torch.zeros(T, N + 1)}, discount=0.9, trace=0.9)


def test_a_flat_rollout_has_the_steps_in_the_order_in_which_they_were_taken() -> None:
    cells = torch.arange(T * N, dtype=torch.float32).view(T, N)
    wide = cells[..., None].repeat(1, 1, 2)
    rows = Rollout(wide, wide[..., :1], cells, cells, wide + 1, 0 * cells, 0 * cells).flat()
    assert rows.reward.tolist() == list(range(T * N))
    assert rows.obs[:, 1].tolist() == rows.reward.tolist()
    assert rows.next_obs.tolist() == (rows.obs + 1).tolist()
    assert rows.action.shape == (T * N, 1)
