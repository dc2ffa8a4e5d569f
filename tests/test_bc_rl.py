"""Cloning, then PPO: nothing is lost at the hand-over, and the demonstrator is left behind."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from point_mass import BEST, Slow, resumed, returns, setting
from understudy import cli
from understudy.agent import Chunked, load
from understudy.learn.sac import Config as SACConfig
from understudy.online import bc_rl
from understudy.online.base import Collecting
from understudy.online.bc_rl import CloneThenPPO, Config, build
from understudy.runs import open_run
from understudy.runtime import tuned

PLAN = Collecting(uniform=100, envs=4, rollout=64)
LEARNER = replace(bc_rl.LEARNER, discount=0.9, hidden=(32, 32), learning_rate=1e-3)
CONFIG = Config(cloning=600, critic_warmup=512, ramp=1024)


SHORT = replace(CONFIG, cloning=100)


def begun(config: Config = CONFIG) -> CloneThenPPO:
    return build(setting(LEARNER, PLAN), config)


def test_it_leaves_the_demonstrator_behind_and_does_not_fall_at_the_hand_over() -> None:
    """30 episodes each; the intervals may not overlap, and no measurement may lie 20 % under the clone's."""
    with tuned(1):
        learner = begun()
        for _ in range(CONFIG.cloning):
            learner.step()
        clone, seen = returns(Chunked(learner.agent)), []
        for step in range(1, 4097):
            learner.step()
            if step % 512 == 0:
                seen.append(returns(Chunked(learner.agent)))
    shown = returns(Slow())
    assert clone.value > 0.8 * shown.value  # there is something to lose
    assert min(s.low for s in seen) > 0.8 * clone.value
    assert seen[-1].low > shown.high
    assert seen[-1].high <= BEST


def test_while_the_critic_warms_up_only_the_values_learn() -> None:
    learner = begun(SHORT)
    for _ in range(SHORT.cloning):
        learner.step()
    before = {k: v.clone() for k, v in learner.agent.state_dict().items()}
    probe = torch.randn(8, 2)
    assert learner.ppo.values(probe).abs().max() == 0  # they have not seen a return
    for _ in range(CONFIG.critic_warmup - 1):
        assert learner.step()["pace"] == 0
    assert learner.ppo.values(probe).abs().max() > 0
    assert all(torch.equal(v, before[k]) for k, v in learner.agent.state_dict().items())
    for _ in range(257):
        learner.step()
    assert any(not torch.equal(v, before[k]) for k, v in learner.agent.state_dict().items())


def test_the_rate_rises_in_a_straight_line() -> None:
    paces = [CONFIG.pace(n) for n in (0, 512, 768, 1024, 1536, 9999)]
    assert paces == [0.0, 0.0, 0.25, 0.5, 1.0, 1.0]
    at_once = replace(CONFIG, ramp=0)
    assert [at_once.pace(n) for n in (511, 512)] == [0.0, 1.0]


def test_the_agent_is_the_clone_at_the_hand_over_and_its_spread_has_a_floor() -> None:
    learner = begun(replace(SHORT, log_std_floor=-1.0))
    for _ in range(SHORT.cloning - 1):
        learner.step()
    last = learner._cloning.learner
    learner.step()
    assert learner.agent is learner.ppo.agent
    wanted = last.agent.state_dict()
    assert all(torch.equal(v, wanted[k]) for k, v in learner.agent.state_dict().items())
    tokens = learner.agent.tokens({"state": torch.randn(5, 1, 2)})
    _, log_std = learner.agent.head.parts(tokens)  # type: ignore[operator]
    assert log_std.min() > -1.0


def test_leaving_the_clone_costs_what_the_densities_say() -> None:
    learner = begun(replace(SHORT, kl_penalty=0.5))
    for _ in range(SHORT.cloning + 100):
        learner.step()
    lived = learner.collect.rollout()
    paid, told = learner._paid(lived)
    torch.testing.assert_close(paid, lived.reward, atol=1e-4, rtol=0)  # it is the clone still
    assert abs(told["kl_clone"]) < 1e-4
    with torch.no_grad():
        for p in learner.ppo.agent.parameters():
            p.add_(0.1)
    rows = lived.flat()
    now = learner.ppo.log_prob(rows.obs, rows.action).view(lived.reward.shape)
    paid, told = learner._paid(lived._replace(log_prob=now))
    torch.testing.assert_close(paid, lived.reward - 0.5 * (now - lived.log_prob), atol=1e-4, rtol=1e-4)
    assert (now - lived.log_prob).abs().mean() > 0.01


@pytest.mark.parametrize("steps", [40, 660])  # while it clones, and while it practises
def test_what_was_interrupted_goes_on_to_the_same_bits(steps: int, tmp_path: Path) -> None:
    config = replace(CONFIG, cloning=100, critic_warmup=256, ramp=256, kl_penalty=0.1)
    with tuned(1):
        resumed(lambda: begun(config), steps, 300, tmp_path / "state.safetensors")


def test_what_cannot_be_is_refused() -> None:
    for name, value in (("cloning", 0), ("critic_warmup", -1), ("ramp", -1), ("kl_penalty", -0.1)):
        with pytest.raises(ValueError, match=f"{name} is"):
            replace(CONFIG, **{name: value})
    with pytest.raises(ValueError, match="log_std_floor is 0"):
        Config(log_std_floor=0.0)
    with pytest.raises(TypeError, match="bc-rl wants PPO"):
        build(setting(SACConfig(hidden=(8,)), PLAN), CONFIG)
    with pytest.raises(ValueError, match="bc-rl learns from demonstrations"):
        build(replace(setting(LEARNER, PLAN), data=None), CONFIG)
    state = begun().state_dict()
    with pytest.raises(ValueError, match="was saved with"):
        begun(replace(CONFIG, ramp=7)).load_state_dict(state)


TINY = {
    "bc-rl": ("--cloning", "20", "--critic-warmup", "8", "--ramp", "8", "--envs", "2", "--rollout", "8"),
    "awac": ("--offline", "10", "--batch", "8"),
    "rlpd": ("--critics", "3", "--batch", "8"),
}


@pytest.mark.parametrize("name", TINY)
def test_each_is_a_run_like_any_other(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = str(tmp_path / "demos"), tmp_path / "run"
    record = ("record", "reacher", "--episodes", "2", "--out", data, "--workers", "1")
    few = ("--hidden", "8", "--uniform", "30", "--validation-episodes", "2", "--steps", "60")
    words = ("train", name, "--data", data, "--out", str(out), *few, *TINY[name])
    for command in (record, (*words, "--validate-every", "30"), (*words[:2], "--out", str(out), "--resume")):
        assert cli.main([*command]) == 0
    capsys.readouterr()
    run = open_run(out)
    said = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in said] == [30, 60]
    assert {"reward", "validation"} <= said[-1].keys()
    agent = load(out / "agent")
    trunk, head = agent.description["trunk"], agent.description["head"]
    network = run["network"]
    assert (network["activation"], network["std"]) == (trunk["activation"], head["std"])
    assert network["hidden"] == list(trunk["hidden"]) == [8]
    assert run["algorithm"] == name.replace("-", "_")
