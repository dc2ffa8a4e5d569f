"""Inverse RL in finite MDPs: ours against `imitation`'s MCEIRL, and one pass over a large grid.

    python benchmarks/irl_tabular.py --json-out benchmarks/results/irl_tabular.json

Three worlds: random MDPs of 16 and of 100 states, of the family that `seals` has, and its cliff world. The
demonstrations are exact, those of the soft-optimal policy of the true reward, and both fit a reward that is
linear in the same features, from the same transitions, undiscounted. Reading the file and making the world
are not timed; all of a fit is, from its arguments to the reward.

An error is the largest difference of a state's expected visits to the demonstrations', of the soft-optimal
policy of the reward that was returned, over the decisions of an episode: the same for both. What `imitation`
stops at, 1e-3, counts the state after the last decision too; its demonstrations are given as it asks, and its
own figure is beside ours. It takes steps of Adam, at most 1,000 as we call it; at its default rate and at one
that is ten times that, and the faster one that stopped by itself is compared with. Where neither did, the
one of the smaller error is, and what it would have taken to 1e-3 is more than it says.

Ours is asked for a slope, not for an error: half powers of ten are tried, untimed, and the loosest whose
error is no larger than theirs, or than 1e-7, is timed. Times are CPU time, the median of several fits.

The grid: 300 × 300 cells, four actions that slip with probability 0.2, a horizon of 300; one backward and one
forward pass. Smaller grids with the same horizon say how the cost grows with the nonzeros.
"""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common import Contender, Timing, arguments, emit, launch, launch_peer, missing, ratio, significant
from understudy.tabular import TabularMDP, occupancy, soft_plan
from understudy.tabular.worlds import cliff, random_mdp

RATES = ["0.01", "0.1"]  # the default, and ten times that
LIMIT, STOPS, EXACT = 1000, 1e-3, 1e-7
SIDES, HORIZON = (75, 106, 150, 212, 300), 300
HALVES = range(2, 25)  # slopes from 10^-1 to 10^-12


def worlds() -> dict[str, TabularMDP]:
    """Name -> a world with a true reward."""
    return {
        "random, S 16, H 10": random_mdp(16, 3, branching=(1, 2), seed=42, discount=1.0, horizon=10, width=5),
        "cliff, S 28, H 40": cliff(discount=1.0, horizon=40, moves="diagonal", features="cells"),
        "random, S 100, H 50": random_mdp(
            100, 4, branching=(1, 5), seed=42, discount=1.0, horizon=50, width=20
        ),
    }


@dataclass(frozen=True)
class World:
    """A world, how often its demonstrations are where, [S], and the file both sides read."""

    mdp: TabularMDP
    states: np.ndarray
    path: Path

    @staticmethod
    def write(mdp: TabularMDP, path: Path) -> World:
        assert mdp.reward is not None
        assert mdp.horizon is not None
        visits = occupancy(mdp, soft_plan(mdp, mdp.reward))
        s, a = mdp.states, mdp.actions
        phi = mdp.features.toarray() if hasattr(mdp.features, "toarray") else mdp.features
        np.savez(
            path,
            transition=mdp.transition.toarray().reshape(s, a, s),
            initial=mdp.initial,
            horizon=mdp.horizon,
            features=phi.reshape(s, a, -1)[:, 0],
            reward=mdp.reward[:, 0],
            visits=visits,
            states_and_last=mdp.initial + _arrived(mdp, visits),
        )
        return World(mdp, visits.sum(1), path)

    def error(self, reward: list[float]) -> float:
        """Largest difference of expected visits, of the soft-optimal policy of a reward [S]."""
        found = np.repeat(np.array(reward)[:, None], self.mdp.actions, 1)
        return float(np.abs(occupancy(self.mdp, soft_plan(self.mdp, found)).sum(1) - self.states).max())


def _arrived(mdp: TabularMDP, visits: np.ndarray) -> np.ndarray:
    """[S], how often a step is expected to lead where; with the first states, all that an episode is in."""
    return np.asarray(mdp.transition.T @ visits.ravel())


def loosest(ours: Contender, name: str, world: World, error: float) -> tuple[int, dict[str, Any]]:
    """The loosest slope, in half powers of ten, whose error is at most that, and what it finds."""
    for halves in HALVES:
        found = ours.run(name, halves)["result"]
        if world.error(found["reward"]) <= error:
            return halves, found
    raise RuntimeError(f"{name}: no slope comes to an error of {error:.1e}")


def timed(c: Contender, run: str, n: int, repeats: int) -> Timing:
    """CPU milliseconds of a whole run, `repeats` times; each was run before, untimed."""
    timing = Timing(n)
    for _ in range(repeats):
        answer = c.run(run, n)
        timing.cpu.append(1e3 * answer["cpu"])
        timing.wall.append(1e3 * answer["wall"])
    return timing


def theirs(c: Contender, name: str, world: World, repeats: int) -> tuple[dict[str, Any], Timing]:
    """The run of `imitation` that is compared with, and its times."""
    tried = {r: c.run(f"{name}, lr {r}", LIMIT)["result"] for r in RATES}
    stopped = [r for r in RATES if tried[r]["passes"] < LIMIT]
    rate = (
        min(stopped, key=lambda r: tried[r]["passes"])
        if stopped
        else min(RATES, key=lambda r: tried[r]["own_error"])
    )
    timing = timed(c, f"{name}, lr {rate}", LIMIT, repeats)
    each = {
        f"lr {r}": {
            "iterations": found["passes"],
            "stopped": "by itself" if r in stopped else f"at {LIMIT} iterations",
            "error": significant(world.error(found["reward"])),
            "own_error": significant(found["own_error"]),
        }
        for r, found in tried.items()
    }
    return {"rates": each, "compared": f"lr {rate}", "chosen": tried[rate]} | _times(timing), timing


def measure(ours: Contender, peer: Contender | None, name: str, world: World, repeats: int) -> dict[str, Any]:
    """One world: both sides' times and errors, and the ratios."""
    halves, found = loosest(ours, name, world, EXACT)
    exact = timed(ours, name, halves, repeats)
    out: dict[str, Any] = {"ours, to 1e-7": _ours(world, halves, found, exact)}
    if peer is None:
        return out | {"imitation": missing("imitation", None)}
    record, slow = theirs(peer, name, world, min(repeats, 3))
    chosen = record.pop("chosen")
    error = max(STOPS, world.error(chosen["reward"]))
    halves, found = loosest(ours, name, world, error)
    loose = timed(ours, name, halves, repeats)
    out |= {"ours, to their error": _ours(world, halves, found, loose), "imitation": record}
    for t in (exact, loose):  # rounds of theirs are few and alike; ours are short and vary
        t.cpu = [float(np.median(t.cpu))] * len(slow.cpu)
    ratios = {
        "imitation/ours, to their error": ratio(slow, loose, ">= 30"),
        "imitation to 1e-3/ours to 1e-7": ratio(slow, exact, ">= 1"),
    }
    return out | {"ratios": ratios}


def _ours(world: World, halves: int, found: dict[str, Any], timing: Timing) -> dict[str, Any]:
    asked = {"slope": significant(10 ** (-halves / 2)), "passes": found["passes"]}
    return asked | {"error": significant(world.error(found["reward"]))} | _times(timing)


def _times(timing: Timing) -> dict[str, Any]:
    """A timing's record; each of its runs is a whole fit or pass."""
    return {k: v for k, v in timing.record().items() if k != "steps"}


def grid(repeats: int) -> dict[str, Any]:
    """One backward and one forward pass for every side, each in a process of its own."""
    each: dict[str, Any] = {}
    for side in SIDES:
        with launch(f"grid {side}", "understudy_irl.py", {"side": side, "horizon": HORIZON}) as c:
            done = c.run("pass", 1)["result"]
            timing = timed(c, "pass", 1, repeats)
        np.testing.assert_allclose(done["decisions"], HORIZON, rtol=1e-9)
        facts = {k: c.facts[k] for k in ("states", "nonzeros")}
        each[str(side)] = facts | _times(timing) | {"peak_mib": round(done["peak_mib"])}
    nonzeros = [each[str(n)]["nonzeros"] for n in SIDES]
    times = [each[str(n)]["low"] for n in SIDES]
    growth = float(np.polyfit(np.log(nonzeros), np.log(times), 1)[0])
    seconds = each[str(SIDES[-1])]["cpu_ms"] / 1e3
    return {
        "sides": each,
        "seconds, 300 x 300": {"cpu": significant(seconds), "target": "<= 4", "met": seconds <= 4},
        "exponent of nonzeros, by the fastest of each": significant(growth, 3),
    }


def main() -> None:
    """Measures, and prints the record."""
    parser = arguments(__doc__)
    parser.add_argument("--repeats", type=int, default=9, help="timed fits of ours; 3 of the peer's at most")
    parser.add_argument("--passes", type=int, default=5, help="timed passes over each grid")
    args = parser.parse_args()
    out: dict[str, Any] = {"unit": "CPU milliseconds", "horizon": HORIZON, "worlds": {}}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        given = {n: World.write(m, folder / f"{i}.npz") for i, (n, m) in enumerate(worlds().items())}
        told = {"worlds": {n: str(w.path) for n, w in given.items()}, "rates": RATES}
        ours = stack.enter_context(launch("ours", "understudy_irl.py", told))
        peer = launch_peer("imitation", "imitation_irl.py", told, "imitation")
        if peer is not None:
            stack.enter_context(peer)
        for name, world in given.items():
            out["worlds"][name] = measure(ours, peer, name, world, args.repeats)
        out["versions"] = {c.name: c.facts["versions"] for c in (ours, peer) if c is not None}
    emit(out | {"grid": grid(args.passes)}, args.json_out)


if __name__ == "__main__":
    main()
