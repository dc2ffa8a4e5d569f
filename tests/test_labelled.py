"""Methods that are a lesson: half of each batch is demonstrated; a resumed run goes on to the same bits."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from understudy import cli, storage
from understudy.agent import load
from understudy.dataset import Dataset
from understudy.envs import task
from understudy.learn.replay import Transitions
from understudy.online import iq, lsiq, sqil
from understudy.online.base import Practising, Setting
from understudy.online.labelled import Labelled
from understudy.record import demonstrate
from understudy.rewards import RewardConfig
from understudy.serial import read_tree, write_tree

PENDULUM = task("pendulum")
PLAN = Practising(uniform=50, batch=16)
METHODS = [sqil, iq, lsiq]


@pytest.fixture(scope="module")
def demos() -> Dataset:
    return demonstrate(PENDULUM, range(100, 102))


@pytest.fixture
def made(demos: Dataset) -> Callable[..., Labelled]:
    def build(method: ModuleType, plan: Practising = PLAN, learner: Any = None, **how: Any) -> Labelled:
        config = replace(method.LEARNER, hidden=(16, 16)) if learner is None else learner
        setting = Setting(PENDULUM, demos, plan, config, RewardConfig())
        found = method.build(setting, method.Config(**{"pretraining": 3} | how))
        assert isinstance(found, Labelled)
        return found

    return build


def same(a: Any, b: Any) -> bool:
    """Whether two trees are equal to the bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else bool(a == b)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.__name__.split(".")[-1])
def test_a_resumed_run_goes_on_to_the_same_bits(
    method: ModuleType, made: Callable[..., Labelled], tmp_path: Path
) -> None:
    plan = replace(PLAN, updates=2, every=3)
    whole, first, second = (made(method, plan) for _ in range(3))
    told = [whole.step() for _ in range(12)]
    for _ in range(7):
        first.step()
    write_tree(tmp_path / "state", first.state_dict())
    second.load_state_dict(read_tree(tmp_path / "state"))
    assert [second.step() for _ in range(5)] == told[7:]
    assert same(whole.state_dict(), second.state_dict())
    assert {"reward_expert", "reward_policy", "critic_loss"} <= told[2].keys()
    for other in (made(method, plan, keep_every=2), made(method, replace(plan, updates=1))):
        with pytest.raises(ValueError, match="the state was saved with"):
            other.load_state_dict(whole.state_dict())


def test_a_state_of_another_method_is_refused(made: Callable[..., Labelled]) -> None:
    config = replace(lsiq.LEARNER, hidden=(8,))
    state = made(sqil, learner=config).state_dict()
    with pytest.raises(ValueError, match=r"the state was saved with Labels.*this learner has LeastSquares"):
        made(lsiq, learner=config).load_state_dict(state)


def test_half_of_each_batch_is_demonstrated_and_labelled_so(made: Callable[..., Labelled]) -> None:
    learner, batches = made(sqil), list[Transitions]()
    update = learner._sac.update
    learner._sac.update = lambda batch: batches.append(batch) or update(batch)  # type: ignore[func-returns-value, method-assign]
    learner.step()
    assert len(batches) == 4  # 3 before the first step, and one behind it
    demonstrated = {tuple(r.tolist()) for r in learner._demos.rows.obs}
    lived = learner.practice.replay.take(torch.arange(51)).obs
    own = {tuple(r.tolist()) for r in lived}
    for b in batches:
        assert b.reward.tolist() == [1.0] * 8 + [0.0] * 8
        assert all(tuple(r.tolist()) in demonstrated for r in b.obs[:8])
        assert all(tuple(r.tolist()) in own for r in b.obs[8:])


def test_what_cannot_be_is_refused(made: Callable[..., Labelled], demos: Dataset) -> None:
    with pytest.raises(ValueError, match="batch is 15"):
        made(sqil, replace(PLAN, batch=15))
    with pytest.raises(ValueError, match="entropy_in_target is True"):
        made(lsiq, learner=replace(lsiq.LEARNER, entropy_in_target=True))
    setting = Setting(PENDULUM, None, PLAN, iq.LEARNER, RewardConfig())
    with pytest.raises(ValueError, match="iq learns from demonstrations"):
        iq.build(setting, iq.Config())


@pytest.mark.parametrize("name", ["sqil", "iq", "lsiq"])
def test_each_is_a_command(
    name: str, demos: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage.write(tmp_path / "data", demos)
    words = (
        f"train {name} --data {tmp_path}/data --out {tmp_path}/run --steps 6 --validate-every 3 --hidden 8"
    )
    small = "--batch 8 --uniform 20 --validation-episodes 1 --pretraining 2 --json --keep-every"
    assert cli.main([*words.split(), *small.split(), "5"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["steps"] == 6
    lines = [json.loads(x) for x in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert {"reward_expert", "reward_policy", "validation"} <= lines[-1].keys()
    assert load(tmp_path / "run/agent").actions == 1
