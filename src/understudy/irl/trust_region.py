"""Steps that gain most within a radius, of a function that is known by its slope and its curvature.

The function is -½ xᵀ H x + gᵀ x; H need not be positive (Nocedal and Wright 2006, chapter 4).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["dense_step", "product_step"]

Floats: TypeAlias = NDArray[np.float64]

_PRODUCTS = 500  # with the curvature, that one step may take


def dense_step(curvature: Floats, slope: Floats, radius: float) -> tuple[Floats, float]:
    """The step [R] and what it gains, from the eigenvalues of H [R, R]."""
    values, vectors = np.linalg.eigh(curvature)
    along = vectors.T @ slope
    amounts = along / (values + _shift(values, along, radius))
    return vectors @ amounts, float(along @ amounts - 0.5 * amounts @ (values * amounts))


def _shift(values: Floats, along: Floats, radius: float) -> float:
    """The least μ >= 0 with H + μ not negative and (H + μ)⁻¹ g no longer than the radius, to 1 %.

    By bisection of the logarithm of what μ adds to the least that makes H not negative.
    """
    base = max(0.0, -float(values.min()))

    def length(added: float) -> float:
        return float(np.linalg.norm(along / (values + base + added)))

    low = 1e-15 * max(float(np.abs(values).max()), 1e-300)
    if values.min() > low and length(0.0) <= radius:
        return 0.0
    if length(low) <= radius:
        return base + low
    high = low + float(np.linalg.norm(along)) / radius
    while high > 1.01 * low:
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if length(middle) > radius else (low, middle)
    return base + high


def product_step(multiply: Callable[[Floats], Floats], slope: Floats, radius: float) -> tuple[Floats, float]:
    """Conjugate gradients that stop at the radius or where the curvature is not positive (Steihaug 1983)."""
    x, rest = np.zeros_like(slope), slope.copy()
    way, size = rest.copy(), float(rest @ rest)
    enough = size * min(0.25, np.sqrt(size)) ** 2

    def gain(x: Floats) -> float:
        return float(0.5 * x @ (slope + rest))  # as slope - rest = H x

    for _ in range(_PRODUCTS):
        if size <= enough:
            break
        curved = multiply(way)
        bend = float(way @ curved)
        length = size / bend if bend > 0 else np.inf
        if bend <= 0 or np.linalg.norm(x + length * way) > radius:
            a, b, c = float(way @ way), float(x @ way), float(x @ x) - radius**2
            length = (-b + np.sqrt(b * b - a * c)) / a
            rest = rest - length * curved
            return x + length * way, gain(x + length * way)
        x, rest = x + length * way, rest - length * curved
        size, before = float(rest @ rest), size
        way = rest + size / before * way
    return x, gain(x)
