"""Residual learning: the whole is the base and a small correction, in practice and when it is loaded."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from point_mass import BEST, Slow, demonstrations, point_mass, resumed, returns, setting
from understudy import cli, formats
from understudy.agent import Agent, Chunked, Corrected, load
from understudy.envs import task
from understudy.episode import Obs
from understudy.evaluate import VALIDATION_SEED, evaluate, fresh_seeds
from understudy.heads import Deterministic
from understudy.nets import MLP
from understudy.online import residual
from understudy.online.base import Practising
from understudy.online.residual import Config, Residual, assisted, build, corrections, start_at_zero
from understudy.rewards import RewardConfig, RewardNet
from understudy.rollout import rollout
from understudy.runs import open_run, policy_of
from understudy.runtime import tuned

PLAN = Practising(uniform=100, batch=32)
LEARNER = replace(residual.LEARNER, discount=0.9, hidden=(32, 32), learning_rate=1e-3)
CONFIG = Config(base_steps=600, reach=0.5)


def begun(config: Config = CONFIG) -> Residual:
    return build(setting(LEARNER, PLAN), config)


def chunky() -> Chunked:
    """A base that remembers two observations, says four actions at once and plays three."""
    agent = Agent.build(demonstrations(4), MLP((8,)), Deterministic(), history=2, horizon=4)
    with torch.no_grad():
        for p in agent.parameters():
            p.add_(0.05)
    return Chunked(agent, execute=3)


def reader() -> Agent:
    """An agent in whose units a reward can read the world."""
    return setting(LEARNER, PLAN).actor()[0]


def observations() -> list[Obs]:
    rng = np.random.default_rng(0)
    return [{"state": rng.standard_normal(2).astype(np.float32)} for _ in range(20)]


def test_the_first_policy_is_the_base() -> None:
    learner = begun(replace(CONFIG, base_steps=100))
    whole, base = Corrected(learner.base, learner.agent), Chunked(learner.base.agent)
    for obs in observations():
        assert np.array_equal(whole.act(obs), base.act(obs))


def test_no_correction_is_longer_than_its_reach() -> None:
    learner = begun(replace(CONFIG, base_steps=1, reach=0.2))
    with torch.no_grad():
        for p in learner.agent.parameters():
            p.add_(3.0)
    whole, base = Corrected(learner.base, learner.agent), Chunked(learner.base.agent)
    gaps = [abs(whole.act(o) - base.act(o)).max() for o in observations()]
    assert 0.19 < max(gaps) <= 0.2 + 1e-6


def test_practice_in_the_assisted_task_is_the_whole_policy_in_the_task() -> None:
    """Also for a base that plays chunks and remembers: the same actions, rewards and observations."""
    base = chunky()
    helped = assisted(point_mass(), base, 0.3)
    agent, _ = replace(setting(LEARNER, PLAN), task=helped, data=None).actor()
    start_at_zero(agent)
    with torch.no_grad():
        for p in agent.parameters():
            p.add_(0.02)
    inside = rollout(helped.make(), Chunked(agent), 5)
    outside = rollout(point_mass().make(), Corrected(base, agent), 5)
    assert np.array_equal(inside.obs["state"], outside.obs["state"])
    assert inside.reward.tolist() == outside.reward.tolist()
    assert abs(inside.action).max() > 0
    assert not np.array_equal(inside.action, outside.action)


def test_it_leaves_base_and_demonstrator_behind_and_the_base_as_it_was() -> None:
    """30 episodes each, intervals that do not overlap; on the way no measurement 20 % under the base's."""
    with tuned(1):
        learner, seen = begun(), []
        before = {k: v.clone() for k, v in learner.base.agent.state_dict().items()}
        base, shown = returns(Chunked(learner.base.agent)), returns(Slow())
        for _ in range(3):
            for _ in range(150):
                learner.step()
            seen.append(returns(Corrected(learner.base, learner.agent)))
    assert all(torch.equal(v, before[k]) for k, v in learner.base.agent.state_dict().items())
    assert min(s.low for s in seen) > 0.8 * base.value
    assert seen[-1].low > max(shown.high, base.high)
    assert seen[-1].high <= BEST


def test_what_was_interrupted_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    with tuned(1):
        resumed(lambda: begun(replace(CONFIG, base_steps=20)), 30, 30, tmp_path / "state.safetensors")


def told(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert cli.main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_a_run_acts_whole_when_it_is_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, run, second = (str(tmp_path / n) for n in ("demos", "run", "second"))
    told(capsys, "record", "reacher", "--episodes", "2", "--out", data, "--workers", "1")
    few = ("--hidden", "16", "--batch", "8", "--uniform", "30", "--validation-episodes", "2", "--steps", "40",
           "--validate-every", "20")  # fmt: skip
    told(capsys, "train", "residual", "--data", data, "--out", run, "--base-steps", "50", *few)
    described = open_run(Path(run))
    whole = policy_of(Path(run), described)
    assert isinstance(whole, Corrected)
    seen, moved = task("reacher").make().reset(seed=1)[0], load(Path(run) / "base")
    assert not np.array_equal(whole.act(seen), Chunked(moved).act(seen))
    # On the task itself it gets what it got in practice's own validation.
    line = json.loads((Path(run) / "metrics.jsonl").read_text().splitlines()[-1])
    seeds = fresh_seeds(2, formats.read(Path(data)), VALIDATION_SEED)
    found = evaluate(whole, task("reacher").make, seeds).mean_return.value
    assert found == pytest.approx(-line["validation"], abs=1e-6)
    again = told(capsys, "evaluate", run, "--episodes", "2", "--workers", "1")
    assert again["policies"]["policy"]["return"]["n"] == 2
    # A corrected policy is no base, and shadowing looks at single agents.
    for words in (
        ("train", "residual", "--task", "reacher", "--base", run, "--out", second, *few),
        ("shadow", run, "--out", str(tmp_path / "page"), "--episodes", "2"),
    ):
        assert cli.main(list(words)) == 2
        assert "correct" in capsys.readouterr().err


def test_any_run_can_be_the_base(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, base, run = (str(tmp_path / n) for n in ("demos", "base", "run"))
    told(capsys, "record", "reacher", "--episodes", "2", "--out", data, "--workers", "1")
    chunks = ("--horizon", "4", "--execute", "3", "--history", "2", "--steps", "20", "--hidden", "8")
    told(capsys, "train", "bc", "--data", data, "--out", base, *chunks)
    few = ("--hidden", "16", "--batch", "8", "--uniform", "30", "--validation-episodes", "2", "--steps", "10")
    told(capsys, "train", "residual", "--task", "reacher", "--base", base, "--out", run, *few)
    whole = policy_of(Path(run), open_run(Path(run)))
    assert isinstance(whole, Corrected)
    assert (whole.base.execute, whole.base.agent.history) == (3, 2)
    wanted = load(Path(base) / "agent").state_dict()
    assert all(torch.equal(v, wanted[k]) for k, v in whole.base.agent.state_dict().items())


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    for name, value in (("base_steps", 0), ("reach", 0.0), ("reach", 2.1), ("capacity", 0)):
        with pytest.raises(ValueError, match=f"{name} is"):
            replace(CONFIG, **{name: value})
    with pytest.raises(ValueError, match="without --base learns from demonstrations"):
        build(replace(setting(LEARNER, PLAN), data=None), CONFIG)
    learned = RewardNet.of(reader(), RewardConfig(), seed=0)
    for name in ("awac", "bc_rl", "residual", "rlpd"):
        module = import_module(f"understudy.online.{name}")
        with pytest.raises(ValueError, match="own reward; leave --reward out"):
            module.build(replace(setting(LEARNER, PLAN), given=learned), module.Config())
    with pytest.raises(ValueError, match="the base sees"):
        assisted(task("reacher"), chunky(), 0.3)
    with pytest.raises(ValueError, match="only continuous actions"):
        corrections(task("CartPole-v1").action, 0.3)
    with pytest.raises(ValueError, match="the correction sees"):
        Corrected(chunky(), chunky().agent)
