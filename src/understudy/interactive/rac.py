"""RaC (Hu et al. 2025): where failure is near, first back to where the robot knows what to do, then on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import numpy as np

from understudy.agent import Agent
from understudy.dataset import Dataset
from understudy.editing.episodes import trimmed
from understudy.episode import POLICY, RECOVERY, Episode
from understudy.experts.gates import Gate, Gated
from understudy.experts.rewind import Back, Familiar, Rewinding, Undo
from understudy.interactive.base import Interactive, State
from understudy.interactive.doubtgate import last_round, unit
from understudy.interactive.watched import Watched
from understudy.numerics import runs
from understudy.roles import Expert
from understudy.rollout import Arbiter

__all__ = ["Config", "Method", "until_corrected"]


@dataclass(frozen=True)
class Config(Watched):
    """How the operator goes back, what comes after, and when the scripted one takes over and hands back."""

    displacements: tuple[int, ...] = ()
    """Dimensions of the action that are displacements, which he undoes on the way back: 0 1 2 for the Fetch
    tasks. They must be named: what an action means, nobody can guess."""
    others: tuple[float, ...] = ()
    """Values of the other dimensions on the way back, in order: 1 for open fingers in the Fetch tasks."""
    back: int = 15
    """The most steps of a way back."""
    familiar: float = 0.95
    """A way back ends earlier (and may be empty) where the state is as near to a demonstrated one as this
    share of the demonstrated states are to those of another episode; 0 goes back all the way."""
    correction: int = 10
    """The fewest steps of the correction that follows."""
    after: Literal["end", "policy"] = "end"
    """After a correction: the episode ends (the paper's rule), or the policy drives on."""

    def __post_init__(self) -> None:
        if self.back < 1 or self.correction < 1:
            raise ValueError(f"back {self.back} and correction {self.correction} must be at least 1 step")
        if not 0.0 <= self.familiar <= 1.0:
            raise ValueError(f"familiar is {self.familiar}; a share lies in [0, 1]")
        if self.after not in ("end", "policy"):
            raise ValueError(f"after is {self.after!r}; it must be 'end' or 'policy'")
        self.watchful(1.0)  # its rules are theirs


def until_corrected(episode: Episode) -> Episode:
    """The episode up to the end of its first intervention; all of it where nobody intervened.

    An episode that is cut did not end by itself: it has no outcome.
    """
    human = np.zeros(len(episode), np.bool_) if episode.control is None else episode.control != POLICY
    after = np.flatnonzero(human[:-1] & ~human[1:])
    if not len(after):
        return episode
    return trimmed(episode, 0, int(after[0]) + 1, success=None)


@final
class Method(Interactive):
    """Recovery, then correction.

    When failure is near, the operator takes over, goes back to a state that the policy knows, and completes
    the sub-task from there; then the episode is over. Both segments are labelled with what he did, what the
    policy did is not: the policy learns to back off and try again, besides how it is done.

    A way back through states that the policy knows teaches it to go both ways there, which a policy without
    memory cannot: on fetch-pick-place, from 10 demonstrations and 25 episodes, one network learned to succeed
    in .13 of 60 with ways back of up to 8 steps (`familiar` 0), in .88 with the same corrections alone. So a
    way back ends, or never begins, where the state is familiar.

    Not taken from the paper: its policies (flow matching on pictures), and operators who know where a
    sub-task ends; here `gate` says when a correction is complete. An environment cannot be told to end, so
    the steps after a correction are driven by the policy and thrown away.

    Args:
        expert: who corrects.
        config: the way back, and the scripted operator's habits.
        rounds: not needed by this method.
        gate: who decides when the operator takes over and hands back, in place of the script.
        back: the way back, in place of undoing displacements.

    An expert who takes over himself (a person) also goes back himself, and says so in his `control`; then
    neither `gate` nor `back` is asked.

    Raises:
        ValueError: when nobody says how to go back.
    """

    def __init__(
        self, expert: Expert, config: Config, rounds: int, gate: Gate | None = None, back: Back | None = None
    ) -> None:
        if back is None and not config.displacements and not isinstance(expert, Gate):
            raise ValueError(
                "rac must know which dimensions of an action are displacements, to undo them; for the Fetch "
                "tasks: displacements 0 1 2, others 1"
            )
        self.expert, self.config, self.gate = expert, config, gate
        self.back = back

    def supervisor(self, state: State) -> tuple[Expert, Arbiter]:
        agent = state.driver()
        if isinstance(self.expert, Gate):
            stands_by = Gated(self.expert, self.expert)
        else:
            operator = self._operator(agent, state.data[: state.start])
            stands_by = Gated(operator, operator)
        return stands_by, stands_by

    def _operator(self, agent: Agent, demonstrations: Dataset) -> Rewinding:
        c = self.config
        gate = self.gate or c.watchful(unit(agent))
        return Rewinding(
            self.expert,
            gate,
            self.back or Undo(c.displacements, c.others),
            Familiar(demonstrations, c.familiar) if c.familiar > 0 else None,
            most=c.back,
            least=c.correction,
            once=c.after == "end",
        )

    def adapt(self, state: State) -> dict[str, float]:
        """The recoveries of the round that is over, and how long they were."""
        back = [e.control == RECOVERY for e in last_round(state) if e.control is not None]
        count = sum(len(runs(b)) for b in back)
        steps = sum(int(b.sum()) for b in back)
        return {"recoveries": float(count), "mean_way_back": steps / count} if count else {}

    def kept(self, episode: Episode) -> Episode:
        return until_corrected(episode) if self.config.after == "end" else episode
