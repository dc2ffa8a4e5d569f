"""The replay: what goes in comes out, the oldest leaves first, and a resumed one draws the same."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import numpy as np
import pytest
import torch

from understudy.learn.replay import Replay, Transitions
from understudy.serial import read_tree, write_tree

OBS, ACTION = 3, 2


def made(n: int, first: int = 0) -> Transitions:
    """n different transitions: every number says which one it belongs to, and which column."""
    row = torch.arange(first, first + n, dtype=torch.float32)
    obs = row[:, None] + torch.arange(OBS) / 10
    return Transitions(obs, -row[:, None] - torch.arange(ACTION) / 10, row * 2, obs + 0.5, row % 2)


def equal(a: Transitions, b: Transitions) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("sizes", [[1] * 30, [4, 3, 7, 1, 7, 2], [11, 25], [3]])
def test_the_newest_rows_are_kept_in_the_order_of_their_arrival(sizes: list[int]) -> None:
    ring, oracle, first = Replay(7, OBS, ACTION), deque[int](maxlen=7), 0
    for n in sizes:
        rows = made(n, first)
        if n == 1:
            ring.add(*(x[0] for x in rows))
        else:
            ring.add(*rows)
        oracle.extend(range(first, first + n))
        first += n
        assert len(ring) == len(oracle)
        kept = ring.take(torch.arange(len(ring)))
        assert equal(kept, made(len(oracle), oracle[0]))
        assert equal(ring.take(torch.tensor([-1, 0])), ring.take(torch.tensor([len(ring) - 1, 0])))
    assert all(x.dtype == torch.float32 for x in ring.take(torch.tensor([0])))


def test_arrays_of_any_float_and_numbers_are_taken() -> None:
    ring = Replay(2, OBS, ACTION)
    ring.add(np.zeros(OBS), np.ones(ACTION, np.float64), 2.5, np.zeros(OBS), True)
    row = ring.take(torch.tensor([0]))
    assert (float(row.reward), float(row.terminated), row.action.tolist()) == (2.5, 1.0, [[1.0, 1.0]])


def test_draws_are_uniform_over_what_is_there_and_follow_the_generator() -> None:
    ring = Replay(100, OBS, ACTION)
    ring.add(*made(5))
    drawn = ring.sample(20_000, torch.Generator().manual_seed(0))
    counts = torch.bincount(drawn.obs[:, 0].long(), minlength=5)
    # Pearson's statistic with 4 degrees of freedom exceeds 23.5 once in 10,000 fair draws.
    assert float(((counts - 4000) ** 2 / 4000).sum()) < 23.5
    assert len(counts) == 5
    again = ring.sample(20_000, torch.Generator().manual_seed(0))
    assert equal(drawn, again)


def test_what_was_drawn_is_not_the_rings_memory() -> None:
    ring = Replay(4, OBS, ACTION)
    with pytest.raises(IndexError, match="rows 0 to 0 are asked of 0"):
        ring.take(torch.tensor([0]))
    ring.add(*made(4))
    with pytest.raises(IndexError, match="rows -5 to 4 are asked of 4"):
        ring.take(torch.tensor([4, -5]))
    ring.sample(8, torch.Generator().manual_seed(0)).obs.zero_()
    assert equal(ring.take(torch.arange(4)), made(4))


@pytest.mark.parametrize("before", [0, 3, 7, 12])
def test_a_ring_from_a_file_goes_on_as_the_first_one(before: int, tmp_path: Path) -> None:
    first, second = Replay(7, OBS, ACTION), Replay(7, OBS, ACTION)
    if before:
        first.add(*made(before))
    write_tree(tmp_path / "ring", first.state_dict())
    second.load_state_dict(read_tree(tmp_path / "ring"))
    for ring in (first, second):
        ring.add(*made(3, before))
    draws = [ring.sample(50, torch.Generator().manual_seed(1)) for ring in (first, second)]
    assert equal(*draws)


def test_what_does_not_fit_is_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match="must each be at least 1"):
        Replay(0, 1, 1)
    with pytest.raises(ValueError, match="more than 64 GiB"):
        Replay(1 << 40, 1, 1)
    ring = Replay(4, OBS, ACTION)
    with pytest.raises(ValueError, match="nothing to draw from"):
        ring.sample(1, torch.Generator())
    good = [x.numpy() for x in made(2)]
    with pytest.raises(ValueError, match=r"shape \[2, 4\], not \[2, 3\]"):
        ring.add(np.zeros((2, 4)), *good[1:])
    with pytest.raises(ValueError, match=r"shape \[1, 3\], not \[2, 3\]"):
        ring.add(good[0][:1], *good[1:])
    with pytest.raises(ValueError, match=r"shape \[2\], not \[3\]"):
        ring.add(np.zeros(2), np.zeros(2), 0.0, np.zeros(3), 0.0)
    with pytest.raises(IndexError, match="rows 0 to 0 are asked of 0"):
        ring.take(torch.tensor([0]))
    ring.add(*made(4))
    with pytest.raises(IndexError, match="rows -5 to 4 are asked of 4"):
        ring.take(torch.tensor([4, -5]))
    with pytest.raises(ValueError, match=r"shape \[3\], not \[2, 1\]"):
        ring.add(*(x.numpy() for x in made(2, 9)[:4]), np.zeros(3))
    assert equal(ring.take(torch.arange(4)), made(4))  # nothing of it was written
    ring = Replay(4, OBS, ACTION)
    state = ring.state_dict()
    for wrong, rule in (
        ({"capacity": 5}, "capacity 5"),
        ({"rows": torch.zeros(2, 3)}, "rows must be a tensor"),
        ({"at": 1}, "are not those of a ring"),
        ({"extra": 1}, "a replay's state has"),
    ):
        with pytest.raises(ValueError, match=rule):
            ring.load_state_dict(state | wrong)
