"""The loop: exact resumption, truly best weights, interruption without loss."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from understudy.train import Budget, train


class Descent:
    """Noisy gradient descent on one number: everything the next step depends on is in its state."""

    def __init__(self, seed: int = 0, interrupt_at: int | None = None) -> None:
        self.agent: Any = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.constant_(self.agent.weight, 1.0)
        self.generator = torch.Generator().manual_seed(seed)
        self.interrupt_at, self.steps = interrupt_at, 0

    def step(self) -> dict[str, float]:
        self.steps += 1
        if self.steps == self.interrupt_at:
            os.kill(os.getpid(), signal.SIGINT)
        with torch.no_grad():
            noise = torch.randn(1, generator=self.generator)
            self.agent.weight += 0.1 * (noise - self.agent.weight)
        return {"loss": float(self.agent.weight.detach().square())}

    def state_dict(self) -> dict[str, Any]:
        weight, state = self.agent.weight.detach().clone(), self.generator.get_state()
        return {"weight": weight, "generator": state, "steps": self.steps}

    def load_state_dict(self, state: Any) -> None:
        with torch.no_grad():
            self.agent.weight.copy_(state["weight"])
        self.generator.set_state(state["generator"])
        self.steps = state["steps"]


def value(agent: Any) -> float:
    return float(agent.weight.detach().abs())


def lines(run: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def test_interrupted_and_resumed_equals_uninterrupted_to_the_bit(tmp_path: Path) -> None:
    whole = Descent()
    train(whole, Budget(50, validate_every=7), run=tmp_path / "whole", validate=value)
    first = Descent(interrupt_at=24)  # amid an interval of metrics
    outcome = train(first, Budget(50, validate_every=7), run=tmp_path / "parts", validate=value)
    assert (outcome.stopped, outcome.steps) == ("interrupted", 24)
    second = Descent(seed=99)  # every trace of the wrong seed must go
    outcome = train(second, Budget(50, validate_every=7), run=tmp_path / "parts", validate=value, resume=True)
    assert (outcome.stopped, outcome.steps, outcome.selected) == ("steps", 50, "last")
    assert torch.equal(second.agent.weight, whole.agent.weight)
    assert lines(tmp_path / "parts") == lines(tmp_path / "whole")


def test_metrics_written_after_the_last_checkpoint_are_not_kept_twice(tmp_path: Path) -> None:
    train(Descent(interrupt_at=10), Budget(20, validate_every=5), run=tmp_path, validate=value)
    with (tmp_path / "metrics.jsonl").open("a") as out:
        out.write('{"step": 15, "loss": 0.0}\n')  # as if killed after a line, before a checkpoint
    train(Descent(), Budget(20, validate_every=5), run=tmp_path, validate=value, resume=True)
    assert [row["step"] for row in lines(tmp_path)] == [5, 10, 15, 20]


def test_early_stopping_restores_the_truly_best_weights(tmp_path: Path) -> None:
    seen: dict[float, float] = {}

    def validate(agent: Any) -> float:
        number = value(agent)
        seen[number] = float(agent.weight.detach())
        return number

    learner = Descent()
    outcome = train(learner, Budget(500, validate_every=1, patience=9), run=tmp_path, validate=validate)
    assert outcome.stopped == "patience"
    assert outcome.selected == "best"
    assert outcome.best == min(seen)
    assert float(learner.agent.weight.detach()) == seen[min(seen)]
    assert outcome.steps == outcome.selected_step + 9


def test_without_patience_the_last_weights_stay() -> None:
    learner, other = Descent(), Descent()
    outcome = train(learner, Budget(30, validate_every=1), validate=value)
    for _ in range(30):
        other.step()
    assert torch.equal(learner.agent.weight, other.agent.weight)
    assert outcome.selected_step == 30


def test_what_cannot_work_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="patience needs validation"):
        train(Descent(), Budget(5, patience=1))
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        train(Descent(), Budget(5), run=tmp_path, resume=True)
    with pytest.raises(ValueError, match="must be at least 1"):
        Budget(0)


def test_divergence_is_said_with_its_step() -> None:
    class Diverging(Descent):
        def step(self) -> dict[str, float]:
            return {"loss": float("nan") if super().step() else 0.0}

    with pytest.raises(ValueError, match="loss is nan at step 10; training has diverged"):
        train(Diverging(), Budget(20, validate_every=10))


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    train(Descent(), Budget(3), run=tmp_path)
    file = tmp_path / "checkpoint" / "state.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError) as caught:
        train(Descent(), Budget(3), run=tmp_path, resume=True)
    assert "\n" not in str(caught.value)


def test_the_signal_handlers_are_given_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    train(Descent(), Budget(3))
    assert signal.getsignal(signal.SIGINT) is before
