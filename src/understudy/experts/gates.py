"""Who holds the controls: an expert behind a gate speaks only while he drives.

DAgger's human-gated family differs in two things: who decides when the expert takes over and hands back, and
which labels are kept. The first is a `Gate`, one small object a rule; the second is `labels`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, final, runtime_checkable

from understudy.episode import EXPERT, Array, Obs
from understudy.roles import Expert

__all__ = ["Always", "Gate", "Gated", "Never"]


@runtime_checkable
class Gate(Protocol):
    """Decides who drives: a human, a script, or the policy's own doubt."""

    def reset(self, seed: int) -> None:
        """Starts an episode; every random choice of it follows from `seed`."""
        ...

    def takes(self, obs: Obs, proposed: Array, held: bool, ask: Callable[[], Array]) -> bool:
        """Whether the expert drives this step.

        Args:
            proposed: [A], what the policy would do.
            held: whether the expert drove the step before; False at the start.
            ask: what the expert would do now, [A]. He is asked at most once a step, and only where this is
                called or he drives: asking costs.
        """
        ...


@final
class Always:
    """The expert drives all the way."""

    def reset(self, seed: int) -> None: ...

    def takes(self, obs: Obs, proposed: Array, held: bool, ask: Callable[[], Array]) -> bool:
        return True


@final
class Never:
    """The policy drives all the way: with `labels="all"`, the expert only says what he would have done."""

    def reset(self, seed: int) -> None: ...

    def takes(self, obs: Obs, proposed: Array, held: bool, ask: Callable[[], Array]) -> bool:
        return False


@final
class Gated:
    """An expert and the gate before him: expert and arbiter in one, `rollout(env, policy, seed, g, g)`.

    Args:
        expert: who would drive.
        gate: who decides whether he does.
        labels: "held" keeps what he says while he drives; "all" asks him at every step.
        disturb: what is done to his actions before they are executed (`NoisyExecution`, as LazyDAgger does);
            labels stay what he said.
    """

    def __init__(
        self,
        expert: Expert,
        gate: Gate,
        labels: Literal["held", "all"] = "held",
        disturb: Callable[[Array, Array | None], Array] | None = None,
    ) -> None:
        if labels not in ("held", "all"):
            raise ValueError(f"labels is {labels!r}; it must be 'held' or 'all'")
        self.expert, self.gate, self.labels, self.disturb = expert, gate, labels, disturb
        self.held = False

    @property
    def control(self) -> int:
        """In what capacity the expert drives, when he does: he may be on the way back (RECOVERY)."""
        return int(getattr(self.expert, "control", EXPERT))

    def reset(self, seed: int) -> None:
        """Starts an episode, with the policy at the controls."""
        self.held = False
        for part in (self.expert, self.gate, self.disturb):
            if callable(fresh := getattr(part, "reset", None)):
                fresh(seed)

    def advise(self, obs: Obs, proposed: Array) -> Array | None:
        """[A] where the expert drives or every step is labelled, and he has something to say; else None."""
        said: list[Array | None] = []

        def ask() -> Array:
            if not said:
                said.append(self.expert.advise(obs, proposed))
            # He has nothing to object: what is proposed is what he would do.
            return proposed if said[0] is None else said[0]

        self.held = bool(self.gate.takes(obs, proposed, self.held, ask))
        if not self.held and self.labels == "held":
            return None
        ask()
        return said[0]

    def __call__(self, proposed: Array, advice: Array | None) -> Array:
        """What is executed, [A]."""
        if advice is None or not self.held:
            return proposed
        return advice if self.disturb is None else self.disturb(proposed, advice)
