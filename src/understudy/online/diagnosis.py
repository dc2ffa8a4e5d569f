"""Says in words what a learner's own numbers show when it does not learn, and what to try.

It reads the lines of metrics.jsonl and a few facts about demonstrations and task. A line may tell

- d_expert, d_policy, d_held: shares of the demonstrations' rows that are taken for the expert's, of the
  policy's that are taken for the policy's, and of held-out demonstrations' that are taken for the expert's;
  d_gap: the mean logit of the first less that of the second;
- reward_expert, reward_policy: what is paid for a step, on average over either side's batch;
- reward, ended: the environment's own reward of a step, and whether an episode ended there;
- q, critic_loss, entropy, temperature; and validation, minus the mean return.

Whatever is not told is not judged. A finding is about a run that fails: one whose mean return, in the last
third of its lines, has come less than 70 % of the way from uniformly random actions to the demonstrations,
and has not gained another 10 % since the middle third. What would be odd in a failing run is no fault in one
that has learned its task or is about to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from understudy.dataset import Dataset
from understudy.online.base import Setting
from understudy.online.leaks import JUDGED
from understudy.online.start import uniform
from understudy.quality.types import Finding

__all__ = ["Facts", "Standing", "diagnose", "facts_of", "standing"]

Row = Mapping[str, float]

_FAR = 0.7  # of the way to the demonstrations: a run that has come less far fails
_SURE = ((0.97, 4.0), (0.9, 10.0))  # shares and logits from which a discriminator is saturated
_FLAT = 0.1  # of the way: less progress from the middle third to the last one is none
_GUESS = 0.56  # mean of both shares under which a discriminator guesses
_FULL = 0.9  # of the demonstrations' length: shorter episodes end by themselves
_WINS = 0.8  # mean of both shares from which a leak may be what it goes by
_HELD = 0.2  # more of the demonstrations than of held-out ones taken for the expert's: learned by heart
_FEW_ROWS = 100  # of demonstrations, where nothing was held out to ask
_LONGER, _SHORTER = 1.5, 0.5  # times the demonstrations' length
_BEYOND = 10.0  # times the value of being paid the largest mean reward for ever
_NARROW = -4.0  # nats an action dimension: a standard deviation of 0.4 % of half the range
_FLOOR = 1e-3  # of the first temperature


@dataclass(frozen=True)
class Facts:
    """What is known of a run beside what its learner told.

    Args:
        episodes, steps: of the demonstrations.
        expert_return: their mean return by the task's own reward; None where they carry none.
        beginner_return: the mean return of uniformly random actions; None where no whole episode was seen.
        expert_length: their mean number of steps. expert_ended: the share that the task itself ended.
        discount: γ of the learner. actions: A.
        form: of the reward (`RewardConfig.form`); None where it has none.
        leaks: what an audit found in the demonstrations.
    """

    episodes: int
    steps: int
    expert_return: float | None
    beginner_return: float | None
    expert_length: float
    expert_ended: float
    discount: float
    actions: int
    form: str | None = None
    leaks: tuple[Finding, ...] = ()


def facts_of(setting: Setting, leaks: tuple[Finding, ...] = ()) -> Facts | None:
    """The facts of a run; None without demonstrations, which are what it is held against.

    The uniformly random steps are those that the run itself begins with.
    """
    data, task = setting.data, setting.task
    if data is None:
        return None
    lengths = np.array([len(e) for e in data])
    form = getattr(setting.reading, "form", None)
    return Facts(
        episodes=len(data),
        steps=data.steps,
        expert_return=expert_return(data),
        beginner_return=_whole(uniform(task, setting.plan.uniform, setting.learner.seed), task.horizon),
        expert_length=float(lengths.mean()),
        expert_ended=float(np.mean([e.terminated for e in data])),
        discount=float(setting.learner.discount),
        actions=task.action.width,
        form=form,
        leaks=leaks,
    )


def expert_return(data: Dataset) -> float | None:
    """The mean return of demonstrations; None where they were recorded without rewards, as zeros."""
    returns = [float(e.reward.sum()) for e in data]
    told = any(bool(e.reward.any()) for e in data)
    return float(np.mean(returns)) if told else None


def _whole(data: Dataset, horizon: int) -> float | None:
    """The mean return of the episodes that were not cut off where the steps ended."""
    done = [e for i, e in enumerate(data) if i + 1 < len(data) or e.terminated or len(e) >= horizon]
    return float(np.mean([e.reward.sum() for e in done])) if done else None


@dataclass(frozen=True)
class Standing:
    """How far a run has come.

    Args:
        returned: the mean return on the validation seeds, over the last third of the lines.
        before: the same over the middle third.
        share: of the way from random actions (without them, from the run's own worst) to the demonstrations;
            None where one of these is not known, or the demonstrations are no better.
        progress: the part of `share` that was made since the middle third.
    """

    returned: float | None
    before: float | None
    share: float | None
    progress: float | None

    @property
    def gaining(self) -> bool:
        """Whether it is better than random and has come a good part of the way since the middle third."""
        if self.share is None or self.progress is None:
            return False
        return self.share > 0 and self.progress >= _FLAT

    @property
    def fails(self) -> bool:
        """Whether the run is far from the demonstrations and stays there; it may, where nobody can say."""
        return not self.gaining and (self.share is None or self.share < _FAR)


def standing(rows: Sequence[Row], facts: Facts) -> Standing:
    """How far a run has come, from its lines."""
    told = _Told(rows)
    late, middle = told.late("validation"), told.middle("validation")
    if late is None or middle is None:
        return Standing(None, None, None, None)
    worst = min(-r["validation"] for r in rows if "validation" in r)
    first = worst if facts.beginner_return is None else facts.beginner_return
    way = None if facts.expert_return is None else facts.expert_return - first
    if way is None or way <= 0:
        return Standing(-late, -middle, None, None)
    return Standing(-late, -middle, (-late - first) / way, (middle - late) / way)


def diagnose(rows: Sequence[Row], facts: Facts) -> list[Finding]:
    """What is wrong with a run as far as its numbers show it, the likeliest cause first; [] if all is well.

    Args:
        rows: the lines of metrics.jsonl, in their order.
        facts: see `facts_of`.
    """
    if not rows:
        return []
    run = _Run(_Told(rows), facts, standing(rows, facts))
    return [f for rule in _RULES for f in rule(run)] if run.stands.fails else []


class _Told:
    """Means of what was told, over thirds of the lines. None where it was not told there."""

    def __init__(self, rows: Sequence[Row]) -> None:
        third = max(1, len(rows) // 3)
        self.rows, self._late = rows, rows[-third:]
        self._middle = rows[-2 * third : -third] or rows[:1]

    def late(self, key: str) -> float | None:
        return _mean(self._late, key)

    def middle(self, key: str) -> float | None:
        return _mean(self._middle, key)

    def every(self, key: str) -> list[float]:
        return [r[key] for r in self.rows if key in r]


def _mean(rows: Sequence[Row], key: str) -> float | None:
    told = [r[key] for r in rows if key in r]
    return float(np.mean(told)) if told else None


@dataclass(frozen=True)
class _Run:
    told: _Told
    facts: Facts
    stands: Standing

    @property
    def words(self) -> str:
        """The return beside the demonstrations'."""
        if self.stands.returned is None or self.facts.expert_return is None:
            return "the return is not known"
        got, theirs = self.stands.returned, self.facts.expert_return
        return f"the return stands at {got:.4g} (demonstrations: {theirs:.4g})"

    @property
    def right(self) -> float | None:
        """How often the discriminator is right in the last third, both sides weighing the same."""
        a, b = self.told.late("d_expert"), self.told.late("d_policy")
        return None if a is None or b is None else (a + b) / 2


def _saturated(run: _Run) -> Iterator[Finding]:
    a, b, gap = (run.told.late(k) for k in ("d_expert", "d_policy", "d_gap"))
    if a is None or b is None:
        return
    if not any(
        min(a, b) >= share and (_SURE[0][1] if gap is None else gap) >= apart for share, apart in _SURE
    ):
        return
    apart = "" if gap is None else f", {gap:.1f} apart in logits"
    yield Finding(
        "error",
        "saturated",
        f"the discriminator is right in {a:.1%} of the demonstrations' rows and {b:.1%} of the "
        f"policy's{apart}, and {run.words}",
        "It leaves nothing to climb: raise its gradient penalty or noise, lower its rate, and see by which "
        "mark it could win",
    )


def _guessing(run: _Run) -> Iterator[Finding]:
    pairs = list(zip(run.told.every("d_expert"), run.told.every("d_policy"), strict=False))
    if not pairs or max((a + b) / 2 for a, b in pairs) > _GUESS:
        return
    # Where episodes end by themselves, the absorbing state outweighs the rows and moves their logits to one
    # side: then the shares say nothing.
    ended = run.told.late("ended")
    if run.facts.expert_ended or (ended and ended * run.facts.expert_length > 1 / _FULL):
        return
    a, b = (float(np.mean(x)) for x in zip(*pairs, strict=True))
    yield Finding(
        "error",
        "guessing",
        f"the discriminator has guessed from the start, {a:.1%} right on demonstrations and {b:.1%} on the "
        f"policy, and {run.words}",
        "Raise its rate or lower its penalty and noise; let it read actions too; or the demonstrations show "
        "no skill",
    )


def _sign(run: _Run) -> Iterator[Finding]:
    """A reward of one sign decides by itself whether to live long or to end soon (Kostrikov et al. 2019)."""
    ended, facts = run.told.late("ended"), run.facts
    if not ended or facts.form not in ("survival", "termination"):
        return
    length, theirs = 1 / ended, facts.expert_length
    lives = facts.form == "survival" and facts.expert_ended >= 0.5 and length >= _LONGER * theirs
    ends = facts.form == "termination" and facts.expert_ended < 0.5 and length <= _SHORTER * theirs
    if lives or ends:
        yield Finding(
            "error",
            "reward-sign",
            f"the reward form {facts.form!r} {'pays' if lives else 'charges'} for every further step, and "
            f"episodes last {length:.0f} steps where the demonstrations' last {theirs:.0f} and "
            f"{facts.expert_ended:.0%} of them end by the task itself",
            "Take --form logit, which has no sign of its own, with the absorbing state learned",
        )


def _few(run: _Run) -> Iterator[Finding]:
    """Demonstrations that are known by heart."""
    a, held, facts = run.told.late("d_expert"), run.told.late("d_held"), run.facts
    amount = f"{facts.episodes} demonstration{'s' * (facts.episodes != 1)} of {facts.steps} steps"
    if a is not None and held is not None:
        if a - held < _HELD:
            return
        said = (
            f"{a:.0%} of the demonstrations' rows are taken for the expert's, but {held:.0%} of held-out ones"
        )
    elif a is not None and a >= _WINS and facts.steps < _FEW_ROWS:
        said = f"{a:.0%} of the demonstrations' rows are taken for the expert's, and they are few"
    else:
        return
    yield Finding(
        "warning",
        "few-demonstrations",
        f"{said}: {amount}, and {run.words}",
        "Record more; until then raise the gradient penalty, or let the reward read states alone",
    )


def _leaks(run: _Run) -> Iterator[Finding]:
    """Marks in the demonstrations that a discriminator may go by, where it wins."""
    if run.right is not None and run.right < _WINS:
        return
    how = "" if run.right is None else f"; the discriminator is right in {run.right:.1%} of the rows"
    for leak in run.facts.leaks:
        if run.right is not None or leak.kind not in JUDGED:
            yield replace(leak, evidence=leak.evidence + how)


def _diverging(run: _Run) -> Iterator[Finding]:
    """Values beyond what the largest mean reward and entropy bonus would be worth for ever."""
    late, middle = run.told.late("q"), run.told.middle("q")
    paid = run.told.every("reward_expert") + run.told.every("reward_policy") or run.told.every("reward")
    if late is None or middle is None or not paid:
        return
    bonus = [
        abs(r["temperature"] * r["entropy"]) for r in run.told.rows if {"temperature", "entropy"} <= r.keys()
    ]
    most = (max(map(abs, paid)) + max(bonus, default=0.0)) / (1 - run.facts.discount)
    if abs(late) > max(_BEYOND * most, 1.0) and abs(late) > abs(middle):
        yield Finding(
            "error",
            "diverging",
            f"the critics' mean value is {late:.3g} and growing, {abs(late) / most:.0f} times what the "
            f"largest mean reward is worth for ever ({most:.3g})",
            "Lower the learning rate or the discount, take --critic layernorm, or bound the reward (--bound)",
        )


def _narrow(run: _Run) -> Iterator[Finding]:
    entropy = run.told.late("entropy")
    if entropy is None or entropy / run.facts.actions >= _NARROW:
        return
    yield Finding(
        "warning",
        "entropy-collapsed",
        f"the policy's entropy is {entropy / run.facts.actions:.2f} nats an action dimension: it tries "
        f"nothing any more, and {run.words}",
        "Raise the temperature or the target entropy, or lower the actor's rate",
    )


def _cold(run: _Run) -> Iterator[Finding]:
    told = run.told.every("temperature")
    if len(told) < 2 or told[0] == told[-1] or told[-1] >= _FLOOR * told[0]:
        return
    yield Finding(
        "warning",
        "temperature-floor",
        f"the temperature has fallen from {told[0]:.2g} to {told[-1]:.2g}: randomness is worth nothing any "
        f"more, and {run.words}",
        "Ask for less entropy (a lower --target-entropy) or fix the temperature",
    )


_RULES: tuple[Callable[[_Run], Iterator[Finding]], ...] = (
    _sign, _saturated, _guessing, _leaks, _few, _diverging, _narrow, _cold,
)  # fmt: skip
