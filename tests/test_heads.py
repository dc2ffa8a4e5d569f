"""Heads: densities that integrate to one, exact gradients, and masked entries that cannot matter."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor, nn

from understudy.heads import KINDS, Categorical, Deterministic, Gaussian, Head, Mixture, Readout
from understudy.heads.base import LogStd
from understudy.serial import from_spec, spec

F = 6  # width of tokens
CONFIGS: list[Any] = [
    Deterministic("mse"),
    Deterministic("l1"),
    Deterministic("huber"),
    Gaussian(),
    Gaussian("global"),
    Gaussian(squash=True),
    Gaussian("global", squash=True, log_std=(-3.0, 1.0)),
    Mixture(3),
    Mixture(1),
    Categorical(4),
]
DENSITIES = [c for c in CONFIGS if not isinstance(c, Deterministic)]


def named(config: Any) -> str:
    return "-".join(str(v) for v in spec(config).values() if not isinstance(v, tuple))


def shaken(config: Any, horizon: int = 1, actions: int = 1, seed: int = 0, by: float = 0.5) -> Any:
    """A head whose weights are far from their start, so that nothing is zero by accident."""
    torch.manual_seed(seed)
    head = config.build(F, horizon, 1 if isinstance(config, Categorical) else actions)
    with torch.no_grad():
        for p in head.parameters():
            p.add_(by * torch.randn_like(p))
    return head


def batch(head: Head, size: int, horizon: int, actions: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, actions and a mask whose rows are valid up to some step."""
    g = torch.Generator().manual_seed(seed)
    tokens = torch.randn(size, 1, F, generator=g)
    if head.discrete:
        action = torch.randint(0, 4, (size, horizon, 1), generator=g)
    else:
        action = torch.randn(size, horizon, actions, generator=g)
        action = 0.9 * action.tanh() if head.bounded else action
    length = torch.randint(1, horizon + 1, (size, 1), generator=g)
    return tokens, action, torch.arange(horizon) < length


def line(head: Any) -> tuple[Any, Any]:
    """Points u and the actions there; squashed ones are evenly spaced before the squashing."""
    u = np.linspace(-7.2, 7.2, 801) if head.bounded else np.linspace(-16, 16, 801)
    return u, np.tanh(u) if head.bounded else u


def density(head: Any, token: Tensor, actions: Any) -> Any:
    """[n], the density at actions [n, H, A] for one token, times their slope in u."""
    with torch.no_grad():
        p = head.log_prob(token.expand(len(actions), 1, F), torch.from_numpy(actions)).exp().numpy()
    return p * (1 - actions**2).prod((1, 2)) if head.bounded else p


# ── densities ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("config", [c for c in DENSITIES if not isinstance(c, Categorical)], ids=named)
@pytest.mark.parametrize(("horizon", "actions"), [(1, 1), (2, 1), (1, 2)])
def test_a_density_integrates_to_one(config: Any, horizon: int, actions: int) -> None:
    head = shaken(config, horizon, actions, seed=3, by=0.1).double()
    token = torch.randn(1, 1, F, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    u, a = line(head)
    if horizon * actions == 1:
        total = integrate.trapezoid(density(head, token, a[:, None, None]), u)
    else:
        grid = np.stack(np.meshgrid(a, a, indexing="ij"), -1).reshape(-1, horizon, actions)
        p = density(head, token, grid).reshape(len(a), -1)
        total = integrate.trapezoid(integrate.trapezoid(p, u, axis=1), u)
    assert total == pytest.approx(1.0, abs=1e-6)  # the trapezium rule is exact to rounding on smooth tails


@pytest.mark.parametrize("horizon", [1, 2])
def test_probabilities_of_choices_sum_to_one(horizon: int) -> None:
    head = shaken(Categorical(4), horizon).double()
    tokens = torch.randn(5, 1, F, dtype=torch.float64)
    total = torch.zeros(5, dtype=torch.float64)
    for choice in itertools.product(range(4), repeat=horizon):
        total += head.log_prob(tokens, torch.tensor(choice).view(1, horizon, 1).expand(5, -1, -1)).exp()
    torch.testing.assert_close(total, torch.ones(5, dtype=torch.float64))


def test_a_gaussian_agrees_with_scipy() -> None:
    for config in (Gaussian(), Gaussian("global")):
        head = shaken(config, 2, 3)
        tokens, action, _ = batch(head, 8, 2, 3)
        mean, log_std = (x.detach().double().numpy() for x in head.parts(tokens))
        want = stats.norm.logpdf(action.double().numpy(), mean, np.exp(log_std)).sum((1, 2))
        np.testing.assert_allclose(head.log_prob(tokens, action).detach(), want, rtol=1e-5)


def test_a_mixture_is_the_weighted_sum_over_whole_chunks() -> None:
    head = shaken(Mixture(3), 2, 2)
    tokens, action, _ = batch(head, 8, 2, 2)
    w, mean, log_std = (x.detach().double().numpy() for x in head.parts(tokens))
    each = stats.norm.pdf(action.double().numpy()[:, None], mean, np.exp(log_std)).prod((2, 3))
    np.testing.assert_allclose(head.log_prob(tokens, action).detach(), np.log((w * each).sum(1)), rtol=1e-4)


def test_the_squashed_density_is_the_slope_of_the_distribution() -> None:
    head = shaken(Gaussian(squash=True), seed=4).double()
    token = torch.zeros(1, 1, F, dtype=torch.float64)
    mean, log_std = (x.item() for x in head.parts(token))
    for a in (-0.99, -0.5, 0.0, 0.3, 0.9, 0.999):
        h = 1e-6 * (1 - a * a)
        low, high = stats.norm.cdf(np.arctanh([a - h, a + h]), mean, math.exp(log_std))
        p = head.log_prob(token, torch.tensor([[[a]]], dtype=torch.float64)).exp().item()
        assert p == pytest.approx((high - low) / (2 * h), rel=1e-5, abs=1e-5)


def test_squashed_actions_at_the_edge_have_a_finite_loss_and_gradient() -> None:
    head = shaken(Gaussian(squash=True), 1, 2)
    tokens, _, mask = batch(head, 4, 1, 2)
    loss = head.loss(tokens, torch.ones(4, 1, 2), mask).mean()
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in head.parameters())


# ── losses ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("config", DENSITIES, ids=named)
@pytest.mark.parametrize("horizon", [1, 3])
def test_the_loss_is_the_negative_log_density_a_step(config: Any, horizon: int) -> None:
    head = shaken(config, horizon, 2)
    tokens, action, _ = batch(head, 8, horizon, 2)
    full = torch.ones(8, horizon, dtype=torch.bool)
    torch.testing.assert_close(head.loss(tokens, action, full), -head.log_prob(tokens, action) / horizon)


@pytest.mark.parametrize(
    ("error", "formula"),
    [
        ("mse", lambda e: e**2),
        ("l1", np.abs),
        ("huber", lambda e: np.where(np.abs(e) < 1, e**2 / 2, np.abs(e) - 0.5)),
    ],
)
def test_regression_sums_over_dimensions_and_means_over_valid_steps(error: Any, formula: Any) -> None:
    head = shaken(Deterministic(error), 3, 2)
    tokens, action, mask = batch(head, 16, 3, 2)
    miss = (head.mode(tokens) - action).detach().numpy()
    want = [formula(m[v]).sum(-1).mean() for m, v in zip(miss, mask.numpy(), strict=True)]
    np.testing.assert_allclose(head.loss(tokens, action, mask).detach(), want, rtol=1e-5)


@pytest.mark.parametrize("config", DENSITIES, ids=named)
def test_a_masked_chunk_is_the_shorter_chunk(config: Any) -> None:
    """Masked steps are integrated out: for the mixture too, whose steps share a component."""
    head = shaken(config, 3, 2).double()
    tokens, action, _ = batch(head, 1, 3, 2)
    tokens = tokens.double()
    action = action if head.discrete else action.double()
    mask = torch.tensor([[True, True, False]])
    short = config.build(F, 2, 1 if head.discrete else 2)
    with torch.no_grad():
        full, part = head.out, short.out
        rows = _rows(config, head.shape, 3), _rows(config, head.shape, 2)
        keep = [i for i, name in enumerate(rows[0]) if name in set(rows[1])]
        part.weight.data, part.bias.data = full.weight.data[keep].clone(), full.bias.data[keep].clone()
        if getattr(head, "raw", None) is not None:
            short.raw.data = head.raw.data.clone()
    torch.testing.assert_close(
        head.loss(tokens, action, mask), short.double().loss(tokens, action[:, :2], mask[:, :2])
    )


def _rows(config: Any, shape: tuple[int, ...], horizon: int) -> list[tuple[int, ...]]:
    """What each output of a head's linear map is, by name: (part, component, step, dimension)."""
    last = range(shape[-1])
    steps = range(horizon)
    if isinstance(config, Mixture):
        m = range(config.components)
        return [(0, i) for i in m] + [(1, *x) for x in itertools.product(range(2), m, steps, last)]
    parts = range(2) if getattr(config, "std", None) == "state" else range(1)
    return list(itertools.product(parts, steps, last))


@pytest.mark.parametrize("config", CONFIGS, ids=named)
@pytest.mark.parametrize("junk", [1e3, float("nan"), float("inf")])
def test_masked_entries_change_no_loss_and_no_gradient(config: Any, junk: float) -> None:
    head = shaken(config, 4, 3)
    tokens, action, mask = batch(head, 32, 4, 3)
    assert not mask.all()
    spoiled = action.clone()
    spoiled[~mask] = 3 if head.discrete else junk
    results = []
    for a in (action, spoiled):
        head.zero_grad()
        seen = tokens.clone().requires_grad_()
        loss = head.loss(seen, a, mask)
        loss.mean().backward()
        params = head.out(tokens[:, 0]).detach().numpy().T.copy()
        closed = head.gradient(params, a.numpy(), mask.numpy())
        results.append(
            [loss, seen.grad, *[p.grad.clone() for p in head.parameters()], *map(torch.as_tensor, closed)]
        )
    assert all(torch.equal(x, y) for x, y in zip(*results, strict=True))


def test_the_loss_has_a_floor() -> None:
    """A perfect prediction cannot drive the loss below low + 0.919 a dimension."""
    for config in (Gaussian(), Mixture(2)):
        head = config.build(F, 1, 2)
        with torch.no_grad():
            head.out.weight.zero_()
            head.out.bias.fill_(-100.0)
        loss = head.loss(
            torch.zeros(1, 1, F), head.mode(torch.zeros(1, 1, F)), torch.ones(1, 1, dtype=torch.bool)
        )
        assert loss.item() == pytest.approx(2 * (-5 + 0.5 * math.log(2 * math.pi)), abs=1e-4)


# ── gradients ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("config", CONFIGS, ids=named)
@pytest.mark.parametrize(("horizon", "size"), [(1, 16), (4, 16)])
def test_the_closed_form_is_the_gradient(config: Any, horizon: int, size: int) -> None:
    head = shaken(config, horizon, 3)
    assert isinstance(head, Readout)
    tokens, action, mask = batch(head, size, horizon, 3)
    for dtype, tol in ((torch.float32, 3e-6), (torch.float64, 1e-7)):  # the weights of steps stay float32
        head = head.to(dtype)
        head.zero_grad()
        params = head.out(tokens[:, 0].to(dtype)).detach().requires_grad_()
        a = action if head.discrete else action.to(dtype)
        loss = _loss_of(head, params, a, mask)
        loss.backward()
        assert params.grad is not None
        own = None if getattr(head, "raw", None) is None else head.raw.grad.clone()
        value, grad = head.gradient(params.detach().numpy().T.copy(), a.numpy(), mask.numpy())
        assert value == pytest.approx(loss.item(), rel=tol)
        assert (torch.from_numpy(grad).T - params.grad).norm() <= tol * params.grad.norm()
        if own is not None:
            assert (head.raw.grad - own).norm() <= tol * own.norm()


def _loss_of(head: Any, params: Tensor, action: Tensor, mask: Tensor) -> Tensor:
    """The head's own loss of given outputs of its linear map: the map is replaced by the identity."""
    width = params.shape[1]
    kept = head.out
    head.out = nn.Linear(width, width, dtype=params.dtype)
    with torch.no_grad():
        head.out.weight.copy_(torch.eye(width))
        head.out.bias.zero_()
    loss: Tensor = head.loss(params[:, None], action, mask).mean()
    head.out = kept
    return loss


@pytest.mark.parametrize("config", [c for c in CONFIGS if c != Deterministic("l1")], ids=named)
def test_the_gradient_is_that_of_finite_differences(config: Any) -> None:
    head = shaken(config, 2, 2).double()
    tokens, action, mask = batch(head, 3, 2, 2)
    action = action if head.discrete else action.double()
    assert torch.autograd.gradcheck(
        lambda t: head.loss(t, action, mask), (tokens.double().requires_grad_(),), atol=1e-6
    )


def test_log_std_is_bounded_smooth_and_inverted() -> None:
    bound = LogStd(-5.0, 2.0)
    raw = torch.linspace(-4, 4, 50, dtype=torch.float64)
    out = bound(raw)
    assert (out > -5).all()
    assert (out < 2).all()
    assert (out.diff() > 0).all()
    assert torch.allclose(bound(torch.tensor(bound.inverse(0.3))), torch.tensor(0.3))
    value, slope = bound.with_slope(raw.numpy())
    np.testing.assert_allclose(value, out)
    np.testing.assert_allclose(slope[1:-1], np.gradient(value, raw.numpy())[1:-1], rtol=0.02)


# ── actions ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("config", CONFIGS, ids=named)
def test_draws_follow_their_generator_alone(config: Any) -> None:
    head = shaken(config, 3, 2)
    tokens, _, _ = batch(head, 64, 3, 2)
    draw = [head.sample(tokens, torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    width = 1 if head.discrete else 2
    assert draw[0].shape == (64, 3, width) == head.mode(tokens).shape
    assert torch.equal(draw[0], draw[1])
    assert torch.equal(draw[0], draw[2]) == isinstance(config, Deterministic)


@pytest.mark.parametrize("config", CONFIGS, ids=named)
def test_one_answer_is_the_mode_of_a_batch(config: Any) -> None:
    head = shaken(config, 3, 2)
    tokens, _, _ = batch(head, 16, 3, 2)
    mode = head.mode(tokens).detach().numpy()
    for params, want in zip(head.out(tokens[:, 0]).detach().numpy(), mode, strict=True):
        np.testing.assert_allclose(head.answer(params), want, rtol=1e-6)


@pytest.mark.parametrize(
    "config", [Gaussian(), Gaussian("global"), Gaussian(squash=True), Mixture(3)], ids=named
)
def test_draws_have_the_density_s_distribution(config: Any) -> None:
    head = shaken(config, seed=5, by=0.2).double()
    token = torch.randn(1, 1, F, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        draw = head.sample(token.expand(10_000, 1, F), torch.Generator().manual_seed(3)).flatten().numpy()
    u, a = line(head)
    below = integrate.cumulative_trapezoid(density(head, token, a[:, None, None]), u, initial=0)
    # Kolmogorov and Smirnov's distance passes 1.95/√n by chance once in a thousand.
    assert stats.kstest(draw, lambda x: np.interp(x, a, below)).statistic < 1.95 / 100


def test_noise_scales_the_spread_within_a_mode() -> None:
    head = shaken(Mixture(3), 1, 2)
    tokens, _, _ = batch(head, 500, 1, 2)
    _, mean, _ = head.parts(tokens)
    low = head.sample(tokens, torch.Generator().manual_seed(0), noise=0.0)
    nearest = (low[:, None] - mean).abs().amax((2, 3)).amin(1)
    assert nearest.max() == 0, "without noise a draw is the mean of some component"
    gaussian = shaken(Gaussian(), 1, 2)
    assert torch.equal(gaussian.sample(tokens, None, noise=0.0), gaussian.mode(tokens))
    wide, half = (
        gaussian.sample(tokens, torch.Generator().manual_seed(0), n) - gaussian.mode(tokens) for n in (1, 0.5)
    )
    torch.testing.assert_close(half * 2, wide, rtol=1e-4, atol=1e-5)
    choice = shaken(Categorical(4), 2)
    assert torch.equal(choice.sample(tokens, None, noise=0.0), choice.mode(tokens))


def test_a_mixture_draws_one_component_for_the_whole_chunk() -> None:
    head = shaken(Mixture(2), 4, 1)
    tokens, _, _ = batch(head, 300, 4, 1)
    _, mean, _ = head.parts(tokens)
    low = head.sample(tokens, torch.Generator().manual_seed(0), noise=0.0)
    chosen = (low[:, None] == mean).all((2, 3))
    assert (chosen.sum(1) == 1).all()
    assert 0 < chosen[:, 0].sum() < 300


def test_the_mode_of_a_mixture_is_the_heaviest_mean() -> None:
    head = shaken(Mixture(3), 2, 2)
    tokens, _, _ = batch(head, 20, 2, 2)
    weights, mean, _ = head.parts(tokens)
    for m, w, a in zip(mean, weights, head.mode(tokens), strict=True):
        assert torch.equal(a, m[w.argmax()])


def test_several_tokens_are_averaged() -> None:
    head = shaken(Deterministic(), 2, 2)
    tokens = torch.randn(5, 3, F)
    torch.testing.assert_close(head.mode(tokens), head.mode(tokens.mean(1, keepdim=True)))


def test_the_first_prediction_is_the_mean_action_with_a_spread_of_one() -> None:
    tokens = torch.randn(10, 1, F)
    assert Deterministic().build(F, 2, 3).mode(tokens).abs().max() < 0.1
    for std in ("state", "global"):
        mean, log_std = Gaussian(std).build(F, 2, 3).parts(tokens)  # type: ignore[arg-type]
        assert mean.abs().max() < 0.1
        assert log_std.abs().max() < 0.2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Deterministic("l3"), "must be 'mse'"),  # type: ignore[arg-type]
        (lambda: Gaussian("none"), "must be 'state'"),  # type: ignore[arg-type]
        (lambda: Gaussian(log_std=(0.0, 1.0)), "low < 0 < high"),
        (lambda: Mixture(0), "components is 0"),
        (lambda: Mixture(log_std=(-float("nan"), 1.0)), "low < 0 < high"),
        (lambda: Categorical(1), "choices is 1"),
        (lambda: Categorical(3).build(F, 1, 2), "chooses one number"),
    ],
)
def test_what_cannot_be_built_is_named(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("config", CONFIGS, ids=named)
def test_its_configuration_survives_json(config: Any) -> None:
    assert from_spec(KINDS, spec(config), "head") == config
