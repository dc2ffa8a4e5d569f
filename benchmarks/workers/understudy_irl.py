"""Our exact inverse RL in finite MDPs: fits of the worlds in files, or one pass over a large grid."""

from __future__ import annotations

import resource
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from worker import serve, spec, versions

from understudy.irl import fit_maxent
from understudy.tabular import Demonstrations, TabularMDP, occupancy, soft_plan
from understudy.tabular.worlds import gridworld

ASK = spec()


def read(path: str) -> tuple[TabularMDP, Demonstrations]:
    """A world and its exact demonstrations."""
    with np.load(path, allow_pickle=False) as f:
        mdp = TabularMDP.make(
            f["transition"],
            initial=f["initial"],
            discount=1.0,
            horizon=int(f["horizon"]),
            features=f["features"],
        )
        return mdp, Demonstrations(f["visits"], f["initial"], None, None)


def fit(mdp: TabularMDP, demonstrations: Demonstrations, halves: int) -> dict[str, Any]:
    """A fit to a slope of 10^(-halves/2): the reward of each state, and how many passes it took."""
    found = fit_maxent(mdp, demonstrations, tolerance=10 ** (-halves / 2))
    return {"reward": found.reward[:, 0].tolist(), "passes": found.evaluations}


def one_pass(mdp: TabularMDP, _: int) -> dict[str, float]:
    """One backward and one forward pass, and the most memory that the process has had."""
    assert mdp.reward is not None
    done = float(occupancy(mdp, soft_plan(mdp, mdp.reward)).sum())
    return {"decisions": done, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10}


def main() -> None:
    runs: dict[str, Callable[[int], Any]] = {}
    facts = {}
    for name, path in ASK.get("worlds", {}).items():
        runs[name] = partial(fit, *read(path))
    if side := ASK.get("side"):
        mdp = gridworld(side, side, slip=0.2, discount=1.0, horizon=ASK["horizon"])
        _ = mdp.forward, mdp.backward  # made once for a world, whatever is planned in it
        runs["pass"] = partial(one_pass, mdp)
        facts = {"states": mdp.states, "nonzeros": mdp.transition.nnz}
    serve(runs, versions("numpy", "scipy"), **facts)


main()
