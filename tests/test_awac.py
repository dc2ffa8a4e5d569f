"""AWAC: its gradient and weights are the paper's, demonstrations alone teach it, and acting teaches more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from point_mass import BEST, Slow, demonstrations, resumed, returns, setting
from understudy.agent import Agent, Chunked, Columns, Normalizer
from understudy.dataset import Dataset
from understudy.heads import Gaussian
from understudy.learn.awac import AWAC, Likelihood
from understudy.learn.awac import Config as LearnerConfig
from understudy.learn.replay import Transitions
from understudy.nets import MLP
from understudy.online.awac import Config, Offline, build
from understudy.online.base import Practising
from understudy.runtime import tuned

PLAN = Practising(uniform=100, batch=64)
LEARNER = LearnerConfig(discount=0.9, advantage_scale=0.1, hidden=(32, 32), learning_rate=1e-3)


def an_agent(obs: int = 3, action: int = 2, **head: Any) -> Agent:
    torch.manual_seed(0)
    seen = Normalizer(Columns((obs,)), torch.zeros(obs), torch.ones(obs))
    acted = Normalizer(Columns((action,), "range"), torch.zeros(action), torch.ones(action))
    how = {"std": "global", "log_std": (-2.0, 0.5), **head}
    return Agent({"state": seen}, acted, MLP((8, 8), "gelu"), Gaussian(**how), 1, 1)


def a_batch(rows: int = 16, reward: float = 1.0) -> Transitions:
    g = torch.Generator().manual_seed(1)
    obs, action, after = (torch.randn(rows, n, generator=g) for n in (3, 2, 3))
    return Transitions(obs, action.clamp(-1, 1), torch.full((rows,), reward), after, torch.zeros(rows))


def test_the_gradient_of_the_likelihood_is_automatic_differentiations() -> None:
    agent, batch = an_agent(), a_batch()
    weight = torch.rand(16, generator=torch.Generator().manual_seed(2))
    mine = Likelihood(agent)
    tokens = agent.trunk({"state": batch.obs[:, None]})
    loss = -(weight * agent.head.log_prob(tokens, batch.action[:, None])).mean()  # type: ignore[operator]
    parameters = list(agent.parameters())
    expected = torch.autograd.grad(loss, parameters)
    with torch.no_grad():
        found = mine.imitate(batch.obs, batch.action, weight, 0.0)
    assert found == pytest.approx(float(loss.detach()), abs=1e-5)
    for p, e in zip(parameters, expected, strict=True):
        torch.testing.assert_close(p.grad, e, rtol=1e-4, atol=1e-5)


def test_the_weights_are_exponentials_of_the_advantage_over_their_mean() -> None:
    learner, batch = AWAC(an_agent(), LEARNER), a_batch()
    for _ in range(20):
        learner.update(batch._replace(reward=batch.obs[:, 0]))
    noise = torch.Generator()
    noise.set_state(learner.state_dict()["noise"])
    own = learner._policy.draw(batch.obs, torch.randn(16, 2, generator=noise))
    better = learner.values(batch.obs, batch.action).amin(0) - learner.values(batch.obs, own).amin(0)
    wanted = (better / 0.1).exp()
    found = learner.weights(batch)
    torch.testing.assert_close(found, wanted / wanted.mean(), rtol=1e-4, atol=1e-6)
    assert found.max() > 2 * found.min()
    capped = AWAC(an_agent(), replace(LEARNER, advantage_scale=1e-6, advantage_cap=3.0)).weights(batch)
    assert capped.max() == 3.0
    even = AWAC(an_agent(), replace(LEARNER, advantage_scale=1e6)).weights(batch)
    torch.testing.assert_close(even, torch.ones(16), rtol=0, atol=1e-3)


def test_nothing_follows_a_termination() -> None:
    """Rewards of 1 for ever are worth 1 / (1 - γ) = 2 at γ = ½, and 1 where each step ends the task."""
    for ended, worth in ((0.0, 2.0), (1.0, 1.0)):
        learner = AWAC(an_agent(), replace(LEARNER, discount=0.5, polyak=0.05, learning_rate=3e-3))
        batch = a_batch()._replace(terminated=torch.full((16,), ended))
        for _ in range(300):
            learner.update(batch)
        q = learner.values(batch.obs, batch.action)
        assert (q - worth).abs().max() < 0.4  # the least of two critics that still learn is a little low


def begun(offline: int = 300, seed: int = 0, data: Dataset | None = None) -> Offline:
    return build(setting(replace(LEARNER, seed=seed), PLAN, data=data), Config(offline=offline))


def test_demonstrations_teach_it_and_acting_takes_it_past_them() -> None:
    """30 episodes each: after the offline part it is near the demonstrator, in the end above his interval."""
    with tuned(1):
        learner = begun(300)
        for _ in range(300):
            learner.step()
        assert learner.practice.steps == 0  # it has not acted yet
        taught, shown = returns(Chunked(learner.agent)), returns(Slow())
        for _ in range(600):
            learner.step()
    assert learner.practice.steps == 600
    assert taught.low > 0.8 * shown.value
    last = returns(Chunked(learner.agent))
    assert last.low > shown.high
    assert last.high <= BEST


@pytest.mark.parametrize("steps", [20, 90])  # offline, and acting
def test_what_was_interrupted_goes_on_to_the_same_bits(steps: int, tmp_path: Path) -> None:
    with tuned(1):
        resumed(lambda: begun(50), steps, 60, tmp_path / "state.safetensors")


def test_demonstrations_without_rewards_are_refused() -> None:
    data = Dataset([replace(e, reward=0 * e.reward) for e in demonstrations(2)])
    with pytest.raises(ValueError, match="rewards are all 0, but the task's are not"):
        begun(data=data)


def test_what_cannot_be_is_refused() -> None:
    for name in ("discount", "advantage_scale", "advantage_cap", "learning_rate", "polyak", "seed"):
        with pytest.raises(ValueError, match=f"{name} is -1"):
            replace(LEARNER, **{name: -1})
    with pytest.raises(ValueError, match="log_std_floor is 1"):
        replace(LEARNER, log_std_floor=1.0)
    with pytest.raises(ValueError, match="offline -1"):
        Config(offline=-1)
    for agent in (an_agent(std="state"), an_agent(squash=True)):
        with pytest.raises(ValueError, match="it must be Gaussian"):
            AWAC(agent)
    state = begun(10).state_dict()
    with pytest.raises(ValueError, match="of 10 offline steps, this has 11"):
        begun(11).load_state_dict(state)
    with pytest.raises(ValueError, match="was saved with"):
        begun(10, seed=1).practice.sac.load_state_dict(state["practice"]["sac"])
    with pytest.raises(TypeError, match="awac wants"):
        build(replace(setting(LEARNER, PLAN), learner=object()), Config())
