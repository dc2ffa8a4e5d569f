"""Importance sampling with a mixture of proposals, in log space. Shapes: K proposals; N samples."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["WeightCollapse", "effective", "log_mixture", "normalised", "tempered"]


class WeightCollapse(ValueError):
    """A few samples carry all the weight: what they would estimate is noise."""


def log_mixture(log_density: Tensor, drawn: Tensor) -> Tensor:
    """[N], log Σ_k (n_k / Σ n) q_k(x_i): the density of samples of which n_k came from proposal k.

    With it as the denominator a sample that one proposal found by luck, and another finds often, cannot have
    a large weight (the balance heuristic; Veach and Guibas 1995, section 3.3).

    Args:
        log_density: [K, N], of every sample under every proposal.
        drawn: [K], how many samples each proposal gave; some positive.

    Raises:
        ValueError: when the counts do not add up to the samples.
    """
    if drawn.shape != log_density.shape[:1] or int(drawn.sum()) != log_density.shape[1]:
        raise ValueError(f"drawn is {drawn.tolist()} for log densities {list(log_density.shape)} [K, N]")
    share = (drawn.double() / drawn.sum()).log()
    return torch.logsumexp(log_density + share[:, None], 0)


def normalised(log_weight: Tensor) -> Tensor:
    """[N], weights that sum to one."""
    return torch.softmax(log_weight, 0)


def effective(log_weight: Tensor) -> float:
    """(Σ w)² / Σ w², the effective sample size (Kong 1992): N for equal weights, 1 for one that has all."""
    both = 2 * torch.logsumexp(log_weight, 0) - torch.logsumexp(2 * log_weight, 0)
    return math.exp(float(both))


def tempered(log_weight: Tensor, least: float) -> Tensor:
    """[N], the weights to the largest power in [0, 1] at which at least `least` samples are effective.

    Flatter weights lead a proposal only part of the way, from where the next samples show the rest.
    """
    if effective(log_weight) >= least:
        return log_weight
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if effective(middle * log_weight) >= least else (low, middle)
    return low * log_weight
