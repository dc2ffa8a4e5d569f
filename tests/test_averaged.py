"""An agent that is the moving average of a learner's."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from understudy.online.averaged import Averaged
from understudy.online.base import Practising


class Walk:
    """A learner with one weight, which walks along numbers."""

    def __init__(self) -> None:
        self.agent: Any = torch.nn.Linear(1, 1, bias=False)
        self.taken = 0

    def step(self) -> dict[str, float]:
        self.taken += 1
        with torch.no_grad():
            self.agent.weight.fill_(float(self.taken % 7))
        return {"loss": float(self.taken)}

    def state_dict(self) -> dict[str, Any]:
        return {"taken": self.taken, "weight": self.agent.weight.detach().clone()}

    def load_state_dict(self, state: Any) -> None:
        self.taken = state["taken"]
        with torch.no_grad():
            self.agent.weight.copy_(state["weight"])


def averages(steps: int) -> list[float]:
    mean, found = 0.0, list[float]()
    for k in range(1, steps + 1):
        mean = mean * min(0.8, k / (k + 9)) + k % 7 * (1 - min(0.8, k / (k + 9)))
        found.append(mean)
    return found


def weight(learner: Any) -> float:
    return float(learner.agent.weight.item())


def test_the_average_follows_and_the_learner_goes_its_own_way() -> None:
    walk = Walk()
    torch.nn.init.zeros_(walk.agent.weight)
    learner = Averaged(walk, 0.8)
    for k, mean in enumerate(averages(60), 1):
        assert learner.step() == {"loss": k}
        assert weight(learner) == pytest.approx(mean, abs=1e-5)
        assert weight(walk) == k % 7
    # Remembered, both of them, and nothing of the one that takes over.
    other = Averaged(Walk(), 0.8)
    other.load_state_dict(learner.state_dict())
    for mean in averages(80)[60:]:
        other.step()
        assert weight(other) == pytest.approx(mean, abs=1e-5)
    assert weight(learner) == pytest.approx(averages(60)[-1], abs=1e-5)


def test_what_does_not_fit_is_refused() -> None:
    for memory in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=r"ema is .*; it must be in \(0, 1\)"):
            Averaged(Walk(), memory)
        with pytest.raises(ValueError, match=r"ema is .*; it must be in \(0, 1\), or None"):
            Practising(ema=memory)
    learner = Averaged(Walk(), 0.5)
    state = learner.state_dict()
    state["average"]["agent"] = {"weight": torch.zeros(2, 2)}
    with pytest.raises(ValueError, match="tensor 'weight' is"):
        learner.load_state_dict(state)
