"""An expert who first brings the robot back to where it knows what to do, and then shows how to go on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, final

import numpy as np
from numpy.typing import NDArray

from understudy.episode import EXPERT, RECOVERY, Array, Episode, Obs
from understudy.experts.gates import Gate
from understudy.roles import Expert

__all__ = ["Back", "Familiar", "Rewinding", "Undo"]

_ROWS = 20_000  # states that are compared with; more are thinned evenly
_BLOCK = 256  # rows of the matrix of distances at a time


class Back(Protocol):
    """A way back, one action at a time."""

    def action(self, obs: Obs, done: Sequence[Array]) -> Array | None:
        """[A], or None where there is no further back; `done` is what was done in this episode and is
        not undone yet; its last entry is taken off after each action.
        """
        ...


@final
class Undo:
    """Plays displacements backwards: what moved the robot there, negated, in reverse order.

    Only for actions that are displacements (positions relative to the present one, joint or hand velocities):
    those of the named dimensions are negated; the others get a fixed value.

    Args:
        dims: the dimensions that are displacements.
        others: the values of the remaining dimensions on the way back, in order, such as 1 for open fingers.

    Raises:
        ValueError: when no dimension is named, or one twice.
    """

    def __init__(self, dims: Sequence[int], others: Sequence[float] = ()) -> None:
        if not dims or len(set(dims)) != len(dims) or min(dims) < 0:
            raise ValueError(
                f"displacements are dimensions {list(dims)}; at least one is needed, each once, none negative"
            )
        self.dims, self.others = tuple(int(d) for d in dims), tuple(float(v) for v in others)

    def action(self, obs: Obs, done: Sequence[Array]) -> Array | None:
        """[A]; None where everything is undone."""
        if not done:
            return None
        last = done[-1]
        rest = [d for d in range(len(last)) if d not in self.dims]
        if len(rest) != len(self.others) or max(self.dims) >= len(last):
            raise ValueError(
                f"actions have {len(last)} dimensions; {list(self.dims)} are displacements and "
                f"{len(self.others)} values are given for the {len(rest)} others"
            )
        out = np.empty(len(last), last.dtype)
        out[list(self.dims)] = -last[list(self.dims)]
        out[rest] = self.others
        return out


@final
class Familiar:
    """Whether a state is near one that was demonstrated.

    Near is at most `quantile` of the distances from demonstrated states to the nearest one of another
    episode: about as near as demonstrations are to one another. Distances are Euclidean over all observed
    numbers, each in units of its standard deviation; pictures are not compared.

    Args:
        episodes: at least two.
        quantile: in (0, 1].

    Raises:
        ValueError: when there are fewer than two episodes, or nothing but pictures.
    """

    def __init__(self, episodes: Iterable[Episode], quantile: float = 0.95) -> None:
        listed = list(episodes)
        if len(listed) < 2 or not 0.0 < quantile <= 1.0:
            raise ValueError(
                f"there are {len(listed)} episodes and the quantile is {quantile}; at least two episodes and "
                "a quantile in (0, 1] are needed"
            )
        self.keys = sorted(k for k, v in listed[0].obs.items() if v.dtype != np.uint8)
        if not self.keys:
            raise ValueError("nothing but pictures is observed; say how to go back in another way")
        stride = max(1, -(-sum(len(e) for e in listed) // _ROWS))
        # Without each episode's last state, from which nobody showed how to go on.
        parts = [np.stack([self._flat(e.obs, t) for t in range(0, len(e), stride)]) for e in listed]
        states = np.concatenate(parts)
        spread = states.std(0)
        moves = spread > 1e-6 * np.maximum(1.0, np.abs(states.mean(0)))
        # What never varies is not looked at: any change in it would be infinitely far.
        self.unit = np.where(moves, spread, np.inf)
        self.states = states / self.unit
        owner = np.repeat(np.arange(len(parts)), [len(p) for p in parts])
        self.near = float(np.quantile(self._apart(owner), quantile))

    def _flat(self, obs: Obs, t: int | None = None) -> NDArray[np.float64]:
        rows = [obs[k] if t is None else obs[k][t] for k in self.keys]
        return np.concatenate([np.asarray(r, np.float64).ravel() for r in rows])

    def _apart(self, owner: NDArray[np.int64]) -> NDArray[np.float64]:
        """[N], from each state to the nearest one of another episode."""
        found = []
        for at in range(0, len(self.states), _BLOCK):
            some = self.states[at : at + _BLOCK]
            square = (some**2).sum(1)[:, None] + (self.states**2).sum(1) - 2 * some @ self.states.T
            square[owner[at : at + _BLOCK, None] == owner] = np.inf
            found.append(np.sqrt(np.maximum(square.min(1), 0.0)))
        return np.concatenate(found)

    def distance(self, obs: Obs) -> float:
        """From the nearest demonstrated state, in standard deviations."""
        away = self.states - self._flat(obs) / self.unit
        return float(np.sqrt((away**2).sum(1).min()))

    def __call__(self, obs: Obs) -> bool:
        """Whether the state is near enough."""
        return self.distance(obs) <= self.near


@final
class Rewinding:
    """RaC's operator (Hu et al. 2025): when he takes over he first goes back, then corrects.

    Expert and gate in one, to stand behind a `Gated` that knows it as both: `g = Gated(r, r)`, then
    `rollout(env, policy, seed, g, g)`. As a gate it sees every step, so it knows what the policy did and
    how to undo it. While it goes back its `control` is RECOVERY, then EXPERT.

    A way back ends where the state is familiar again, where `gate` would hand back, after `most` steps, or
    where everything is undone; it may be empty. The correction that follows (the paper's first rule: no
    recovery without one) lasts at least `least` steps, then for as long as `gate` says.

    Args:
        expert: who corrects, and who is asked where `gate` wants advice.
        gate: who decides when the operator takes over and when he hands back.
        back: the way back.
        familiar: whether a state is one that the policy knows; None goes back `most` steps every time.
        most: of the steps back.
        least: of the steps of a correction.
        once: he takes over once an episode and never again (the paper's second rule: after a correction the
            episode is over).

    Raises:
        ValueError: when a number of steps is not positive.
    """

    def __init__(
        self,
        expert: Expert,
        gate: Gate,
        back: Back,
        familiar: Callable[[Obs], bool] | None,
        *,
        most: int,
        least: int,
        once: bool,
    ) -> None:
        if most < 1 or least < 1:
            raise ValueError(f"most is {most} and least is {least}; both are at least 1 step")
        self.expert, self.gate, self.back, self.familiar = expert, gate, back, familiar
        self.most, self.least, self.once = most, least, once
        self._begin()

    def reset(self, seed: int) -> None:
        """Starts an episode: nothing has been done yet."""
        self._begin()
        self.expert.reset(seed)
        self.gate.reset(seed)

    def _begin(self) -> None:
        self.control = EXPERT
        self._done: list[Array] = []  # by whoever drove, not undone yet
        self._way, self._corrected = 0, 0  # steps of the present recovery and correction
        self._spent = False
        self._next: Array | None = None

    def takes(self, obs: Obs, proposed: Array, held: bool, ask: Callable[[], Array]) -> bool:
        """Whether he drives this step, on the way back or correcting."""
        said: list[Array | None] = []

        def correct() -> Array:
            if not said:
                said.append(self.expert.advise(obs, proposed))
            return proposed if said[0] is None else said[0]

        drives = self._decided(obs, proposed, held, correct)
        if not drives:
            self._spent = self._spent or (held and self.once)
            self._next = None
            self._done.append(np.array(proposed))
        elif self.control != RECOVERY:
            self._corrected += 1
            self._done.append(np.array(correct()))
            self._next = said[0]
        return drives

    def _decided(self, obs: Obs, proposed: Array, held: bool, correct: Callable[[], Array]) -> bool:
        """Whether he drives; leaves `control`, and on the way back the action, as they are to be."""
        wants = bool(self.gate.takes(obs, proposed, held, correct))
        if not held:
            if not wants or self._spent:
                return False
            self.control, self._way, self._corrected = RECOVERY, 0, 0
        if self.control == RECOVERY:
            if wants and self._goes_back(obs):
                return True
            self.control = EXPERT
        return wants or self._corrected < self.least

    def _goes_back(self, obs: Obs) -> bool:
        """Takes one more step back where there is a reason to."""
        known = self.familiar is not None and self.familiar(obs)
        action = None if known or self._way >= self.most else self.back.action(obs, self._done)
        if action is None:
            return False
        self._next = action
        self._way += 1
        if self._done:
            self._done.pop()
        return True

    def advise(self, obs: Obs, proposed: Array) -> Array | None:
        """[A], the step back or the correction, as `takes` found; None where the policy drives."""
        return self._next
