"""Measures of how something moves: smoothness, straightness, noise, and how long a state of affairs lasts.

Paths and columns are [T, D]: T samples at one rate. All measures are free of the units of time and space.
"""

from __future__ import annotations

from math import comb, inf, log, sqrt
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from understudy.numerics.paths import path_length

__all__ = [
    "dimensionless_jerk",
    "log_dimensionless_jerk",
    "longest_run",
    "noise_level",
    "path_ratio",
    "runs",
    "spectral_arc_length",
]

_NORMAL_MAD = 0.6744897501960817  # the median of |Z| for a standard normal Z


def path_ratio(path: ArrayLike) -> float:
    """The length of a path [T, D] over the straight line between its ends: 1 where it is straight.

    Infinite where it comes back to its start; 1 where it never moves.

    >>> path_ratio([[0.0, 0.0], [3.0, 0.0], [3.0, 4.0]])
    1.4
    """
    x = np.asarray(path, np.float64)
    length, straight = path_length(x), float(np.linalg.norm(x[-1] - x[0]))
    if length == 0:
        return 1.0
    return length / straight if straight > 0 else inf


def dimensionless_jerk(samples: ArrayLike, given: Literal["position", "velocity"] = "position") -> float:
    """-(T^5 / L^2) times the integral of |jerk|^2 over a movement of duration T and path length L.

    Free of units and of the sampling rate (Hogan and Sternad 2009, J. Motor Behav. 41(6), with the path
    length as the amplitude and the sign of Balasubramanian et al. 2012, so that more is smoother). A
    minimum-jerk reach has -720, the largest value of any straight movement that begins and ends with neither
    speed nor acceleration. Jerk is the third
    difference, integrated by the trapezoidal rule and held constant over the 1.5 steps at either end, which
    no difference reaches: the error is of second order in the step.

    Args:
        samples: [T, D] positions or velocities at equal intervals.

    Raises:
        ValueError: when there are fewer than 4 positions or 3 velocities, or nothing moves.

    >>> t = np.linspace(0, 1, 1001)[:, None]
    >>> round(dimensionless_jerk(7 * (10 * t**3 - 15 * t**4 + 6 * t**5)))
    -720
    """
    x = np.asarray(samples, np.float64)
    lost = 3 if given == "position" else 2  # differences between the samples and their jerk
    if x.ndim != 2 or len(x) <= lost:
        raise ValueError(f"samples have shape {x.shape}; jerk from {given} takes [T, D] with T > {lost}")
    jerk = (np.diff(x, lost, axis=0) ** 2).sum(1)
    if given == "position":
        steps, length, end = len(x) - 1, path_length(x), 1.5
    else:  # the trapezoidal rule turns speeds into the way
        speed = np.sqrt((x**2).sum(1))
        steps, length, end = len(x) - 1, float((speed[1:] + speed[:-1]).sum() / 2), 1.0
    if length == 0:
        raise ValueError("nothing moves in these samples, so there is no smoothness to measure")
    inside = (jerk[1:] + jerk[:-1]).sum() / 2
    total = float(inside + end * (jerk[0] + jerk[-1]))
    return -total * float((steps**2.5 / length) ** 2)


def log_dimensionless_jerk(samples: ArrayLike, given: Literal["position", "velocity"] = "position") -> float:
    """-ln of the size of `dimensionless_jerk`: about -6.58 for a minimum-jerk reach, less where it shakes.

    Infinite where there is no jerk at all (Balasubramanian et al. 2015, equation 6).
    """
    size = -dimensionless_jerk(samples, given)
    return inf if size == 0 else -log(size)


def spectral_arc_length(
    speed: ArrayLike, *, rate: float = 1.0, cutoff: float | None = None, threshold: float = 0.05
) -> float:
    """Minus the length of the normalised magnitude spectrum's curve (SPARC): nearer to zero is smoother.

    Balasubramanian, Melendez-Calderon, Roby-Brami and Burdet 2015 (J. NeuroEng. Rehabil. 12:112), equations
    3 to 5: the spectrum of the speed is divided by its maximum and cut at the last frequency at which it
    reaches `threshold`; frequency is in units of that cut, so the measure is free of units. Their fixed
    `cutoff` of 10 Hz needs a rate; without one the band ends where half the rate does.

    Args:
        speed: [T], never negative, at equal intervals.
        rate: samples a second; only `cutoff` asks for it.
        cutoff: Hz, beyond which the spectrum is ignored.

    Raises:
        ValueError: when there are fewer than two samples, or nothing moves.

    >>> t = np.linspace(0, 1, 200)
    >>> reach = 30 * t**2 * (1 - t) ** 2
    >>> round(spectral_arc_length(reach), 2), round(spectral_arc_length(5 * reach, rate=50.0), 2)
    (-1.4, -1.4)
    """
    v = np.asarray(speed, np.float64)
    if v.ndim != 1 or len(v) < 2:
        raise ValueError(f"speed has shape {v.shape}; it must be [T] with T >= 2")
    points = 1 << (int(np.ceil(np.log2(len(v)))) + 4)  # padded with zeros, as in the paper
    spectrum = np.abs(np.fft.rfft(v, points))
    frequency = np.fft.rfftfreq(points, 1.0 / rate)
    if spectrum.max() == 0:
        raise ValueError("nothing moves in this speed profile, so there is no smoothness to measure")
    if cutoff is not None:
        spectrum, frequency = spectrum[frequency <= cutoff], frequency[frequency <= cutoff]
    spectrum = spectrum / spectrum.max()
    end = int(np.flatnonzero(spectrum >= threshold)[-1]) + 1
    if end < 2:
        return 0.0
    band = frequency[end - 1]
    return -float(np.hypot(np.diff(frequency[:end]) / band, np.diff(spectrum[:end])).sum())


def noise_level(column: ArrayLike, order: int = 2) -> NDArray[np.float64]:
    """[D], the std of white noise on columns [T, D], from their differences of that order.

    A smooth signal has differences near zero, white noise of std σ such of std σ sqrt(C(2k, k)). The median
    of their sizes estimates that std, so a few jumps do not count (the difference estimator of Gasser,
    Sroka and Jennen-Steinmetz 1986, with the median of Donoho and Johnstone 1994 in place of the mean).

    Raises:
        ValueError: when there are no more than `order` samples.

    >>> noise_level(np.arange(10.0)[:, None] ** 1, order=2)
    array([0.])
    """
    x = np.asarray(column, np.float64)
    if x.ndim != 2 or len(x) <= order or order < 1:
        raise ValueError(
            f"column has shape {x.shape}; differences of order {order} >= 1 need [T, D], T > order"
        )
    sizes: NDArray[np.float64] = np.median(np.abs(np.diff(x, order, axis=0)), axis=0)
    return sizes / (_NORMAL_MAD * sqrt(comb(2 * order, order)))


def longest_run(mask: ArrayLike) -> NDArray[np.int64]:
    """[...], how many True follow one another at most, along the first axis of a mask [T, ...].

    >>> longest_run([[True, False], [True, True], [False, False]])
    array([2, 1])
    """
    m = np.asarray(mask, np.bool_)
    step = np.arange(1, len(m) + 1).reshape(-1, *[1] * (m.ndim - 1))
    last_false = np.maximum.accumulate(np.where(m, 0, step), axis=0)
    run: NDArray[np.int64] = (step - last_false).max(axis=0, initial=0)
    return run


def runs(mask: ArrayLike) -> NDArray[np.intp]:
    """[R, 2], where each run of True in a mask [T] begins, and the step after its end.

    >>> runs([True, True, False, True]).tolist()
    [[0, 2], [3, 4]]
    """
    m: NDArray[Any] = np.concatenate([[False], np.asarray(mask, np.bool_), [False]])
    return np.flatnonzero(m[1:] != m[:-1]).reshape(-1, 2)
