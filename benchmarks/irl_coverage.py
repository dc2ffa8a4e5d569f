"""How often the intervals of inverse RL's weights hold the true weights.

    python benchmarks/irl_coverage.py --json-out benchmarks/results/irl_coverage.json

A slippery 5 × 5 gridworld with a goal, γ = 0.95 and at most 20 steps, whose expert's four weights are known
and can be told apart. For each number of demonstrations 400 datasets are drawn (seeds 0 to 399), fitted
with both objectives, and each weight's 95 % interval is made in both ways. Covered is the share of a
dataset's weights whose interval holds the truth, with a bootstrap over datasets; beside it stands every
weight's own rate, with Wilson's interval. A dataset without a maximum has no
interval; these are counted under "no_maximum". The error is the root mean square of the weights' errors,
beside what the intervals make of it (their root mean square standard error). Times are of CPU on one thread.
"""

from __future__ import annotations

import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import arguments, emit, significant
from understudy.irl import Fit, fit_maxent, standard_errors
from understudy.irl.errors import Kind
from understudy.irl.likelihood import Objective
from understudy.numerics import bootstrap, wilson
from understudy.tabular import TabularMDP, sample, soft_plan
from understudy.tabular.worlds import gridworld

DATASETS, SIZES = 400, (20, 50, 100, 200, 400)
WEIGHTS = {"step": -0.4, "mud": -0.8, "road": 0.3, "edge": -0.5}
OBJECTIVES: tuple[Objective, ...] = ("features", "choices")
KINDS: tuple[Kind, ...] = ("sandwich", "model")
TARGET = (0.93, 0.97)


def world() -> TabularMDP:
    """Steps cost, mud costs more, a road is pleasant, the edge is not; the goal ends the episode."""
    rows, cols = np.indices((5, 5)).reshape(2, 25)
    mud = (rows == 2) & (cols >= 1) & (cols <= 3)
    road = (cols == 0) | (rows == 4)
    edge = (rows == 0) | (cols == 4)
    features = np.column_stack([np.ones(25), mud, road, edge]).astype(float)
    mdp = gridworld(
        5, 5, slip=0.2, discount=0.95, horizon=20, terminal=[(4, 4)], arrival=True, features=features
    )
    return mdp.with_(feature_names=tuple(WEIGHTS))


def tally(fits: list[Fit], kind: Kind) -> dict[str, Any]:
    """Coverage of the intervals of many fits."""
    truth = np.array(list(WEIGHTS.values()))
    inside, off, errors = [], [], []
    for fit in fits:
        found = standard_errors(fit, kind=kind)
        inside.append([e.low <= w <= e.high for e, w in zip(found.intervals(), truth, strict=True)])
        off.append(fit.weights - truth)
        errors.append(found.errors)
    held: NDArray[np.bool_] = np.array(inside)
    covered = bootstrap(held.mean(1))
    return {
        "covered": covered.summary(),
        "met": bool(TARGET[0] <= covered.value <= TARGET[1]),
        "each": {name: wilson(int(held[:, k].sum()), len(held)).summary() for k, name in enumerate(WEIGHTS)},
        "error": significant(float(np.sqrt(np.square(off).mean()))),
        "standard_error": significant(float(np.sqrt(np.square(errors).mean()))),
    }


def measure(mdp: TabularMDP, policy: NDArray[np.float64], n: int) -> dict[str, Any]:
    """All datasets of one size."""
    record: dict[str, Any] = {}
    data = [sample(mdp, policy, n, seed) for seed in range(DATASETS)]
    for objective in OBJECTIVES:
        begun = time.process_time()
        fits = [fit_maxent(mdp, d, objective=objective) for d in data]
        seconds = time.process_time() - begun
        sound = [fit for fit in fits if fit.converged]
        record[objective] = {kind: tally(sound, kind) for kind in KINDS} | {
            "no_maximum": len(fits) - len(sound),
            "ms_a_fit": significant(1e3 * seconds / len(fits)),
        }
    return record


def main() -> None:
    """Measures, and prints the record."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="demonstrations in a dataset")
    options = parser.parse_args()
    mdp = world()
    policy = soft_plan(mdp, mdp.linear(list(WEIGHTS.values()))).policy
    record = {
        "datasets": DATASETS,
        "weights": WEIGHTS,
        "target": list(TARGET),
        "sizes": {str(n): measure(mdp, policy, n) for n in options.sizes},
    }
    emit(record, options.json_out)


if __name__ == "__main__":
    main()
