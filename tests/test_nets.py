"""The multilayer perceptron is its formula."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from understudy.nets import KINDS, MLP
from understudy.serial import from_spec, spec

FORMULAS: dict[Any, Any] = {
    "relu": lambda x: x.clamp(min=0),
    "tanh": lambda x: (x.exp() - (-x).exp()) / (x.exp() + (-x).exp()),
    "gelu": lambda x: 0.5 * x * (1 + torch.erf(x / 2**0.5)),
    "silu": lambda x: x / (1 + (-x).exp()),
}


@pytest.mark.parametrize("activation", FORMULAS)
def test_it_is_its_formula(activation: Any) -> None:
    trunk = MLP((7, 5), activation).build({"b": (2,), "a": (3,)}, history=2)
    a, b = torch.randn(4, 2, 3), torch.randn(4, 2, 2)
    x = torch.cat([a[:, 0], b[:, 0], a[:, 1], b[:, 1]], 1)  # names in order within each step, oldest first
    for layer in trunk.linear:
        x = FORMULAS[activation](x @ layer.weight.T + layer.bias)
    for obs in ({"a": a, "b": b}, {"b": b, "a": a}):
        tokens = trunk(obs)
        assert tokens.shape == (4, 1, 5) == (4, 1, trunk.width)
        torch.testing.assert_close(tokens[:, 0], x)


def test_without_hidden_layers_it_passes_observations_on() -> None:
    trunk = MLP(()).build({"a": (3,)}, history=2)
    x = torch.randn(4, 2, 3)
    assert trunk.width == 6
    assert torch.equal(trunk({"a": x})[:, 0], x.flatten(1))
    assert not list(trunk.parameters())


def test_weights_start_orthogonal_and_biases_at_zero() -> None:
    for activation, gain in (("relu", 2**0.5), ("tanh", 5 / 3)):
        trunk = MLP((64, 64), activation).build({"a": (9,)}, history=1)  # type: ignore[arg-type]
        for layer in trunk.linear:
            w: Tensor = layer.weight
            torch.testing.assert_close(w.T @ w, gain**2 * torch.eye(w.shape[1]), atol=1e-5, rtol=0)
            assert not layer.bias.any()


def test_dropout_drops_in_training_alone_and_keeps_the_mean() -> None:
    trunk = MLP((400,), dropout=0.25).build({"a": (3,)}, history=1)
    obs = {"a": torch.randn(1, 1, 3).expand(500, 1, 3)}
    trunk.eval()
    whole = trunk(obs)
    assert torch.equal(whole, trunk(obs))
    trunk.train()
    torch.manual_seed(0)
    some = trunk(obs)
    alive = whole > 0
    assert 0.24 < (some[alive] == 0).float().mean() < 0.26  # 80,000 draws: five standard errors are 0.008
    assert abs(some[alive].mean() / whole[alive].mean() - 1) < 0.01


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MLP((0,)), "at most 100 widths"),
        (lambda: MLP(activation="sin"), "must be one of"),  # type: ignore[arg-type]
        (lambda: MLP(dropout=1.0), r"must lie in \[0, 1\)"),
        (lambda: MLP().build({"camera": (8, 8, 3)}, 1), "reads vectors only"),
    ],
)
def test_what_cannot_be_built_is_named(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_its_configuration_survives_json() -> None:
    for config in (MLP(), MLP((), "tanh", 0.5)):
        assert from_spec(KINDS, spec(config), "trunk") == config
