"""How a policy is trained in the studio: as the run before it was, or, where there is none, quickly."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from understudy.learn import bc
from understudy.runs import Network, open_run
from understudy.serial import parse
from understudy.train import Budget

__all__ = ["FIRST", "Recipe", "recipe_of"]


@final
@dataclass(frozen=True)
class Recipe:
    """What a policy is made of and how it is trained.

    Args:
        successes_only: leave demonstrations that are marked as failures out; corrections stay.
    """

    network: Network
    config: bc.Config
    budget: Budget
    validation: float
    successes_only: bool
    augment: tuple[str, ...] = ()


# Of a first policy, from demonstrations alone. Five members, so that it knows where it does not know; small
# layers and few steps, so that a person who waits for it waits for seconds; a little noise on what is seen,
# since keys that are down or up leave jumps in the actions that a network would learn by heart.
FIRST = Recipe(
    Network(hidden=(128, 128), members=5),
    bc.Config(batch=128, weight_decay=1e-3, decay=2000),
    Budget(steps=2000),
    validation=0.1,
    successes_only=True,
    augment=("noise:0.02",),
)


def recipe_of(folder: Path) -> Recipe:
    """How a run was trained, to train the next one likewise.

    Raises:
        ValueError: when it did not learn from labels, so that it cannot learn from corrections.
    """
    run = open_run(folder)
    rounds = run.get("interactive")
    if run["algorithm"] != "bc" and rounds is None:
        raise ValueError(
            f"{folder} was trained by {run['algorithm']}, which does not learn from corrections; take a run "
            "of bc or of DAgger's family"
        )
    if rounds is not None and rounds["plan"].get("epochs") is not None:
        raise ValueError(f"{folder} was trained by epochs; corrections need a run with a number of steps")
    network, config = parse(Network, run["network"], "network"), parse(bc.Config, run["config"], "config")
    budget = parse(Budget, run["budget"], "budget")
    if rounds is not None:
        head = run.get("agent", {}).get("head", {})
        network = replace(network, members=int(head.get("members", network.members)))
        if rounds.get("schedule") != "constant" and config.decay is None:
            config = replace(config, decay=budget.steps)
    wishes = tuple(str(w) for w in run.get("augment", ()))
    return Recipe(network, config, budget, float(run["validation"]), bool(run["successes_only"]), wishes)
