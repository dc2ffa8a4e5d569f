"""Discriminators: gradients against automatic differentiation, log-ratios, ends of tasks, resumption."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from understudy.agent import Columns, Normalizer
from understudy.learn.discriminator import Config, Discriminator
from understudy.learn.penalties import Rectified, Spectral, between, steepness
from understudy.learn.replay import Transitions
from understudy.rewards import FORMS, RewardConfig, RewardNet
from understudy.serial import read_tree, write_tree

OBS, ACTION = 3, 2
CLEAN = Config(noise=0.0)


def reward(seed: int = 0, obs: int = OBS, action: int = ACTION, **config: Any) -> RewardNet:
    asked = {"reads": "state-action", "reward_hidden": (16, 16), "reward_activation": "relu"} | config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = RewardNet({"x": _unit(obs)}, _unit(action), RewardConfig(**asked))
        for p in made.parameters():  # the last layer begins near zero, biases at it
            p.data.add_(0.3 * torch.randn(p.shape))
    return made


def number(x: Tensor) -> float:
    return float(x.detach())


def _unit(width: int) -> Normalizer:
    return Normalizer(Columns((width,), "standard"), torch.zeros(width), torch.ones(width))


def steps(n: int, seed: int, ended: int = 0, shift: float = 0.0) -> Transitions:
    g = torch.Generator().manual_seed(seed)
    obs, action, after = (torch.randn(n, w, generator=g) + shift for w in (OBS, ACTION, OBS))
    terminated = torch.zeros(n)
    terminated[:ended] = 1
    return Transitions(obs, action, torch.zeros(n), after, terminated)


# ── gradients ────────────────────────────────────────────────────────────────────────────────────────────


def autograd_step(
    r: RewardNet, c: Config, discount: float, expert: Transitions, policy: Transitions, lines: Tensor,
    offsets: tuple[Tensor, Tensor], weights: tuple[Tensor, Tensor],
) -> dict[str, Tensor]:  # fmt: skip
    """The loss as its definition reads, differentiated twice by the machine."""
    later, loss, shares = discount / (1 - discount), torch.zeros(()), []
    middle = (r.logit(expert).mean() + r.logit(policy).mean()).detach() / 2

    def side(logit: Tensor, is_expert: bool) -> Tensor:
        if c.d_loss == "wasserstein":
            return -logit if is_expert else logit
        y = 1 - c.smoothing if is_expert else c.smoothing
        doubt = -(logit.sigmoid() * F.logsigmoid(logit) + (-logit).sigmoid() * F.logsigmoid(-logit))
        return -y * F.logsigmoid(logit) - (1 - y) * F.logsigmoid(-logit) - c.d_entropy * doubt

    for rows, offset, weight, is_expert in zip(
        (expert, policy), offsets, weights, (True, False), strict=True
    ):
        w = weight / weight.sum()
        ends = later * (w * rows.terminated).sum()
        per_row = side(r.logit(rows) + offset, is_expert)
        loss = loss + ((w * per_row).sum() + ends * side(r.absorbing_logit, is_expert)) / (1 + ends)
        shares.append(ends / (1 + ends))
    x = lines.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(r.score(x).sum(), x, create_graph=True)
    off = r.absorbing_logit - middle
    if c.penalty_kind == "wgan":
        steep = (slope.norm(dim=1) - 1).square().mean()
        steep = steep + sum(shares) / 2 * F.relu(off.abs() - 1).square()
    elif c.penalty_kind == "zero":
        steep = slope.square().sum(1).mean() + sum(shares) / 2 * off.square()
    else:
        steep = torch.zeros(())
    parameters = dict(r.named_parameters())
    total = loss + c.penalty * steep
    grads = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
    return {
        k: torch.zeros_like(p) if g is None else g
        for (k, p), g in zip(parameters.items(), grads, strict=True)
    }


CASES: list[tuple[dict[str, Any], Config]] = [
    ({}, CLEAN),
    ({"reward_hidden": (70, 9, 5)}, Config(noise=0, penalty_kind="zero", smoothing=0.1, d_entropy=0.3)),
    ({"reward_hidden": (8,), "reads": "transition"}, Config(noise=0, d_loss="wasserstein")),
    ({"reward_hidden": (), "reads": "next-state"}, CLEAN),
    ({"reads": "state"}, Config(noise=0, penalty_kind="none")),
    ({"reward_activation": "tanh"}, CLEAN),
    ({"bound": 1.5}, Config(noise=0, penalty_kind="zero")),
    ({"features": "quadratic", "reward_hidden": (8,)}, Config(noise=0, smoothing=0.2)),
]  # fmt: skip


@pytest.mark.parametrize(("net", "config"), CASES)
@pytest.mark.parametrize("end", [0.2, 3.0])
def test_the_gradient_is_that_of_automatic_differentiation(
    net: dict[str, Any], config: Config, end: float
) -> None:
    """Loss, penalty, offsets, weights and the end of the task, to 1e-5 of the largest entry."""
    r = reward(**net)
    with torch.no_grad():
        r.end.fill_(end)
    expert, policy = steps(9, 0, ended=1, shift=0.5), steps(6, 1, ended=2)
    g = torch.Generator().manual_seed(5)
    plain = config.d_loss == "wasserstein"
    offsets = tuple(torch.randn(n, generator=g) * (not plain) for n in (9, 6))
    weights = tuple(torch.rand(n, generator=g) + 0.1 for n in (9, 6))
    d = Discriminator(r, config, discount=0.9, seed=3)
    again = torch.Generator()
    again.set_state(d.state_dict()["noise"])
    lines = between(r.inputs(expert), r.inputs(policy), again)
    want = autograd_step(r, config, 0.9, expert, policy, lines, offsets, weights)
    given = {} if plain else {"expert_offset": offsets[0], "policy_offset": offsets[1]}
    d.step(expert, policy, **given, expert_weight=weights[0], policy_weight=weights[1])  # type: ignore[arg-type]
    largest = max(float(v.abs().max()) for v in want.values())
    for name, p in r.named_parameters():
        assert p.grad is not None
        assert float((p.grad - want[name]).abs().max()) <= 1e-5 * largest, name
    assert (Rectified.suits(r)) == (
        net.get("reward_activation", "relu") == "relu" and not {"bound", "features"} & net.keys()
    )


@pytest.mark.parametrize("kind", ["wgan", "zero"])
def test_the_penalty_is_the_slopes_by_finite_differences(kind: Any) -> None:
    r = reward().double()
    for p in r.parameters():
        p.grad = torch.zeros_like(p)
    x = torch.randn(5, OBS + ACTION, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    net, h = Rectified(r), 1e-6
    passed = net.forward(x)
    eye = torch.eye(OBS + ACTION, dtype=torch.float64) * h
    want = torch.stack([(r.score(x + e) - r.score(x - e)) / (2 * h) for e in eye], 1)
    slope = net.slope(passed, 0)
    assert torch.allclose(slope, want, atol=1e-7)
    aim = float((slope.norm(dim=1) - float(kind == "wgan")).square().mean())
    assert steepness(slope, kind)[0] == pytest.approx(aim, rel=1e-12)


def test_a_flat_network_has_a_finite_penalty() -> None:
    r = reward()
    with torch.no_grad():
        for p in r.parameters():
            p.zero_()
    told = Discriminator(r, CLEAN, discount=0.9, seed=0).step(steps(4, 0), steps(4, 1))
    assert told["penalty"] == 1.0
    assert told["d_loss"] == pytest.approx(2 * math.log(2))
    assert all(bool(p.isfinite().all()) for p in r.parameters())


def test_spectral_norms_are_at_most_one_and_hold_the_slope() -> None:
    """By singular values: each matrix after each step, and so the slope anywhere."""
    r = reward(reward_hidden=(24, 24))
    with torch.no_grad():
        for p in r.parameters():
            p.mul_(5.0)
    d = Discriminator(r, Config(spectral=True, penalty_kind="none", d_rate=3e-3), discount=0.9, seed=0)
    for i in range(80):
        d.step(steps(16, i, shift=1.0), steps(16, 100 + i, ended=1))
        norms = [number(torch.linalg.matrix_norm(m.weight, 2)) for m in (*r.trunk.linear, r.out)]
        assert max(norms) <= 1.06, i  # one power iteration a step follows the largest within a few percent
    assert number(r.slope(steps(64, 7)).max()) <= 1.06**6
    assert max(norms) > 0.9  # it does not shrink what is allowed
    assert abs(number(r.end - r.logit(steps(512, 8)).mean())) < 2.5


def test_a_projection_leaves_small_matrices_alone() -> None:
    small, large = torch.eye(3) * 0.5, torch.eye(3) * 4.0
    Spectral([small, large], torch.Generator().manual_seed(0))
    assert torch.equal(small, torch.eye(3) * 0.5)
    assert torch.allclose(large, torch.eye(3))


# ── what is learned ──────────────────────────────────────────────────────────────────────────────────────


def gaussians(n: int, mean: float, seed: int) -> Transitions:
    """One observation from N(mean, 1), an action that says nothing."""
    x = torch.randn(n, 1, generator=torch.Generator().manual_seed(seed)) + mean
    return Transitions(x, torch.zeros(n, 1), torch.zeros(n), x, torch.zeros(n))


@pytest.mark.parametrize("penalty", [0.0, 1e-3])
def test_the_logit_of_two_gaussians_is_their_log_ratio(penalty: float) -> None:
    """N(0.5, 1) against N(-0.5, 1): l(x) = x, within 0.1 where both have most of their mass.

    100,000 rows of each side, whose best linear slope alone is known to ±0.01.
    """
    r = reward(0, 1, 1, reads="state", reward_hidden=(32,))
    kind: Any = "zero" if penalty else "none"
    pools = gaussians(100_000, 0.5, 1), gaussians(100_000, -0.5, 2)
    draws = torch.Generator().manual_seed(0)
    for rate, count in ((5e-3, 400), (5e-4, 300)):
        config = Config(noise=0, penalty_kind=kind, penalty=penalty or 1.0, d_rate=rate)
        d = Discriminator(r, config, discount=0.0, seed=0)
        for _ in range(count):
            index = torch.randint(100_000, (512,), generator=draws)
            told = d.step(*(Transitions(*(x[index] for x in pool)) for pool in pools))
    x = torch.linspace(-1.25, 1.25, 51)[:, None]
    with torch.no_grad():
        found = r.score(x)
    assert float((found - x[:, 0]).abs().max()) < 0.1
    fresh = gaussians(20_000, 0.5, 3)
    right = 0.5 * (1 + math.erf(0.5 / math.sqrt(2)))  # P(x > 0) = Φ(0.5)
    assert d.accuracy(fresh, expert=True) == pytest.approx(right, abs=0.02)
    assert d.accuracy(fresh, expert=False) == pytest.approx(1 - right, abs=0.02)
    assert told["d_gap"] == pytest.approx(1.0, abs=0.15)  # E_expert x - E_policy x


def test_offsets_are_what_the_network_need_not_learn() -> None:
    """With the log-ratio as offset nothing is left to say: the network stays flat at zero."""
    r = reward(0, 1, 1, reads="state", reward_hidden=(16,))
    d = Discriminator(r, Config(noise=0, penalty_kind="none", d_rate=5e-3), discount=0.0, seed=0)
    for i in range(250):
        a, b = gaussians(512, 0.5, 2 * i), gaussians(512, -0.5, 2 * i + 1)
        d.step(a, b, expert_offset=a.obs[:, 0], policy_offset=b.obs[:, 0])
    with torch.no_grad():
        assert float(r.score(torch.linspace(-1, 1, 21)[:, None]).abs().max()) < 0.15


def test_a_critic_pays_around_zero() -> None:
    """A constant is free in the Wasserstein loss; the middle of both means comes to rest at zero."""
    r = reward(0, 1, 1, reads="state", reward_hidden=(16,))
    with torch.no_grad():
        r.out.bias.fill_(40.0)
        r.end.fill_(40.0)
    config = Config(noise=0, d_loss="wasserstein", penalty_kind="zero", penalty=0.5, d_rate=5e-3)
    d = Discriminator(r, config, discount=0.9, seed=0)
    for i in range(200):
        told = d.step(gaussians(256, 0.5, 2 * i), gaussians(256, -0.5, 2 * i + 1))
    a, b = (float(r.logit(gaussians(5000, m, 9)).mean().detach()) for m in (0.5, -0.5))
    assert abs(a + b) / 2 < 0.1
    assert abs(number(r.end)) < 2  # it moved along
    assert told["d_loss"] == pytest.approx(-told["d_gap"])
    assert a - b == pytest.approx(1.0, abs=0.15)  # where the gap less half the squared slope is greatest


def _at_two_points(config: Config, count: int) -> float:
    """The logit where all rows are experts', of a linear network whose other side is elsewhere."""
    r = reward(0, 1, 1, reads="state", reward_hidden=())
    here = gaussians(8, 0.0, 0)._replace(obs=torch.ones(8, 1))
    d = Discriminator(r, config, discount=0.0, seed=0)
    for _ in range(count):
        d.step(here, here._replace(obs=-here.obs))
    return number(r.score(torch.ones(1, 1)))


def test_smoothed_labels_and_a_bonus_for_doubt_bound_the_logit() -> None:
    """Where both sides never meet, l = log((1 - ε)/ε), or l D(l) = 1/β from (1 - D)(β l D - 1) = 0."""
    free: dict[str, Any] = {"noise": 0, "penalty_kind": "none", "d_rate": 0.03}
    assert _at_two_points(Config(**free), 400) > 3
    assert _at_two_points(Config(**free, smoothing=0.1), 400) == pytest.approx(math.log(9), abs=0.01)
    doubtful = _at_two_points(Config(**free, d_entropy=0.5), 400)
    assert doubtful / (1 + math.exp(-doubtful)) == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize(("noise", "told_apart"), [(0.0, True), (0.5, False)])
def test_noise_hides_the_last_digits_of_actions(noise: float, told_apart: bool) -> None:
    r = reward(reward_hidden=())
    sides = steps(256, 0), steps(256, 0)
    a, b = (
        s._replace(action=torch.full((256, ACTION), x)) for s, x in zip(sides, (0.01, -0.01), strict=True)
    )
    d = Discriminator(r, Config(noise=noise, penalty_kind="none", d_rate=0.03), discount=0.9, seed=0)
    for _ in range(300):
        told = d.step(a, b)
    right = (told["d_expert"] + told["d_policy"]) / 2
    assert (right > 0.95) if told_apart else (right < 0.6)


# ── the end of the task ──────────────────────────────────────────────────────────────────────────────────


def test_a_termination_weighs_what_the_absorbing_state_is_visited() -> None:
    """Rows that say nothing, 1 of 8 and 1 of 32 terminations: all logits are logs of ratios of occupancies.

    A side's share of the absorbing state is p k / (1 + p k), with k = γ/(1 - γ) visits a termination.
    """
    gamma, shares = 0.9, []
    r = reward(0, reward_hidden=())
    same = steps(32, 0)
    sides = [same._replace(terminated=(torch.arange(32) < n).float()) for n in (4, 1)]
    d = Discriminator(r, Config(noise=0, penalty_kind="none", d_rate=0.03), discount=gamma, seed=0)
    for _ in range(300):
        d.step(*sides)
    for s in sides:
        visits = float(s.terminated.mean()) * sum(gamma**i for i in range(1, 400))
        shares.append(visits / (1 + visits))
    assert number(r.end) == pytest.approx(math.log(shares[0] / shares[1]), abs=0.01)
    rows = r.logit(same).detach()
    assert torch.allclose(rows, torch.full((32,), math.log((1 - shares[0]) / (1 - shares[1]))), atol=0.02)


def test_time_limits_teach_the_absorbing_state_nothing() -> None:
    r = reward()
    with torch.no_grad():
        r.end.fill_(0.3)
    d = Discriminator(r, Config(), discount=0.99, seed=0)
    for i in range(20):
        d.step(steps(8, i, shift=1.0), steps(8, 50 + i))
    assert number(r.end) == pytest.approx(0.3, abs=1e-7)


@pytest.mark.parametrize("kind", ["wgan", "zero"])
def test_the_penalty_makes_no_difference_between_ends_where_there_is_none(kind: Any) -> None:
    """Both sides end alike: the absorbing state stays level with the rows. Only one ends: it stays near."""
    for ends, low, high in (((2, 2), -0.25, 0.25), ((0, 2), -1.25, -0.02)):
        r = reward(reward_hidden=())
        with torch.no_grad():
            for p in r.parameters():
                p.zero_()
        d = Discriminator(r, Config(penalty_kind=kind, d_rate=0.03), discount=0.99, seed=0)
        for i in range(200):
            told = d.step(steps(32, i, ends[0]), steps(32, 5000 + i, ends[1]))
        middle = float(r.logit(steps(512, 99_999)).mean().detach())
        assert low < number(r.end) - middle < high, (ends, told)


@pytest.mark.parametrize("form", sorted(FORMS))
def test_absorbing_states_mend_the_bias_of_every_form(form: Any) -> None:
    """At D = 1/2 everywhere: to end now or to live 2,000 steps is worth the same once what follows is paid.

    Without it a reward above zero, 0.69 against 69.31, speaks for a long life, one below for an early end.
    """
    gamma, r = 0.99, reward(form=form)
    with torch.no_grad():
        for p in r.parameters():
            p.zero_()
    once = steps(1, 0)
    step = number(r(once))
    life = step * sum(gamma**i for i in range(2000))
    now = float(r.relabel(once._replace(terminated=torch.ones(1)), gamma).reward)
    assert now == pytest.approx(life, abs=1e-4)
    without = {"survival": (0.69, 69.31), "termination": (-0.69, -69.31), "logit": (0, 0), "fairl": (0, 0)}
    assert (step, life) == pytest.approx(without[form], abs=5e-3)


def test_a_form_is_paid_and_the_logit_stays_what_it_is() -> None:
    batch, plain = steps(50, 0), reward()
    logit = plain.logit(batch).detach().double()
    big = np.exp(logit.numpy())
    for form, want in (
        ("logit", np.log(big)),
        ("survival", np.log1p(big)),
        ("termination", -np.log1p(1 / big)),
        ("fairl", -np.log(big) * big),
    ):
        r = reward(form=form)
        assert torch.equal(r.logit(batch), plain.logit(batch))
        assert np.allclose(r(batch).detach().numpy(), want, atol=1e-5), form
        with torch.no_grad():
            r.end.fill_(200.0)
            assert bool(r.absorbing.isfinite())
    assert number(reward(form="fairl").absorbing) == pytest.approx(0, abs=3)


# ── resumption, and what is refused ──────────────────────────────────────────────────────────────────────

SETTINGS = [
    ({}, Config()),
    ({}, Config(spectral=True, penalty_kind="none", obs_noise=0.1)),
    ({"reward_activation": "tanh"}, Config(d_loss="wasserstein", penalty_kind="zero")),
]


@pytest.mark.parametrize(("net", "config"), SETTINGS)
def test_it_goes_on_to_the_same_bits(net: dict[str, Any], config: Config, tmp_path: Path) -> None:
    def lesson(d: Discriminator, i: int) -> dict[str, float]:
        return d.step(steps(8, i, i % 2), steps(8, 100 + i, ended=1))

    whole = Discriminator(reward(**net), config, discount=0.9, seed=1)
    half = Discriminator(reward(**net), config, discount=0.9, seed=1)
    told = [lesson(whole, i) for i in range(6)]
    for i in range(3):
        lesson(half, i)
    write_tree(tmp_path / "d", half.state_dict())
    back = Discriminator(reward(1, **net), config, discount=0.9, seed=7)
    back.load_state_dict(read_tree(tmp_path / "d"))
    assert [lesson(back, i) for i in range(3, 6)] == told[3:]
    mine, theirs = whole.reward.state_dict(), back.reward.state_dict()
    assert all(torch.equal(mine[k], theirs[k]) for k in mine)


def test_another_discriminators_state_is_refused() -> None:
    d = Discriminator(reward(), Config(), discount=0.9, seed=0)
    for other, words in (
        (Discriminator(reward(), Config(penalty=1.0), discount=0.9, seed=0), "config"),
        (Discriminator(reward(), Config(), discount=0.8, seed=0), "later"),
        (Discriminator(reward(), Config(spectral=True), discount=0.9, seed=0), "spectral"),
    ):
        with pytest.raises(ValueError, match=words):
            d.load_state_dict(other.state_dict())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"d_rate": 0.0}, "d_rate is 0.0"),
        ({"smoothing": 0.5}, "smoothing is 0.5"),
        ({"penalty": 0.0}, "penalty is 0.0"),
        ({"penalty_kind": "r1"}, "penalty_kind is 'r1'"),
        ({"noise": -1.0}, "noise is -1.0"),
        ({"d_loss": "wasserstein", "smoothing": 0.1}, "smoothing is 0.1"),
        ({"d_loss": "wasserstein", "penalty_kind": "none"}, "needs a penalty_kind"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Config(**wrong)


def test_a_critic_takes_no_offsets_and_no_other_form() -> None:
    critic = Config(d_loss="wasserstein")
    with pytest.raises(ValueError, match="form 'survival'"):
        Discriminator(reward(form="survival"), critic, discount=0.9, seed=0)
    d = Discriminator(reward(), critic, discount=0.9, seed=0)
    with pytest.raises(ValueError, match="offsets"):
        d.step(steps(4, 0), steps(4, 1), policy_offset=torch.zeros(4))
    with pytest.raises(ValueError, match="discount is 1"):
        Discriminator(reward(), Config(), discount=1.0, seed=0)
