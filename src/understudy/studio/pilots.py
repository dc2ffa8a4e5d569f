"""A run's policy at the controls of a live session: it acts, says how unsure it is, and can be interrupted.

Shapes: A action width; K history; D steps of history that are kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np

from understudy import formats
from understudy.agent import Agent, Chunked, Corrected
from understudy.dataset import Dataset
from understudy.episode import Array, Obs
from understudy.interactive.doubtgate import UncertaintyGate, doubts, uncertainty
from understudy.interactive.permitted import permitted_set
from understudy.runs import open_run, policy_of

__all__ = ["QUANTILE", "RunPilot", "Threshold", "open_pilot"]

QUANTILE = 0.99  # of the doubt over training data, where nobody has taken over yet
_ENOUGH = 200  # episodes that the quantile is taken over


class Threshold(NamedTuple):
    """From what doubt on a person should look, None where nothing says; and where the number comes from."""

    value: float | None
    why: str


@final
class RunPilot:
    """The policy of a run folder, as `understudy evaluate` runs it, for a session in which others drive too.

    Every observation of an episode goes to exactly one of `act` and `watch`, in order; `doubt` is asked of
    the one at hand, before or after. Where somebody else drove, `act` begins anew: no half-executed chunk of
    actions is played on, and the policy has seen what happened meanwhile.

    Args:
        name: what a page calls it.
        policy: what acts.
        folder, run: where it comes from, and what its run.json says.
    """

    def __init__(self, name: str, policy: Chunked | Corrected, folder: Path, run: Mapping[str, Any]) -> None:
        self.name, self.folder, self.run = name, folder, run
        self._policy = policy
        inner = policy if isinstance(policy, Chunked) else policy.base
        self._history, execute = inner.agent.history, inner.execute
        # A chunk is asked for at every multiple of `execute`: so many past steps are played again that the
        # next question falls on the present step.
        self._again = -(-(self._history - 1) // execute) * execute
        self._doubtful, self._why_not = _doubtful(policy)
        self.reset(0)

    @property
    def task(self) -> str | None:
        """The task it was trained on; None where its data named none."""
        task: str | None = self.run["task"]
        return task

    def reset(self, seed: int) -> None:
        """Starts an episode."""
        self._seed, self._interrupted = seed, False
        self._past: deque[dict[str, Array]] = deque(maxlen=max(self._history, self._again + 1))
        self._last: Obs | None = None
        self._policy.reset(seed)

    def act(self, obs: Obs) -> Array:
        """[A], what the policy does now, raw units."""
        if self._interrupted:
            self._begin_again()
        self._see(obs)
        return self._policy.act(obs)

    def watch(self, obs: Obs) -> None:
        """Sees a step in which somebody else drives."""
        self._see(obs)
        self._interrupted = True

    def doubt(self, obs: Obs) -> float | None:
        """How unsure the policy is in this step (`doubtgate.uncertainty`); None where it does not say."""
        if self._doubtful is None:
            return None
        self._see(obs)
        if self._history == 1:
            return float(uncertainty(self._doubtful, obs))
        window = _padded(self._past, self._history)
        return float(uncertainty(self._doubtful, {k: np.stack([o[k] for o in window]) for k in window[0]}))

    @property
    def threshold(self) -> float | None:
        """From what doubt on a person should look; None where nothing says."""
        return self._threshold.value

    @property
    def why(self) -> str:
        """Where the threshold comes from, or why there is none, in one line."""
        return self._threshold.why

    @cached_property
    def _threshold(self) -> Threshold:
        """Found when first asked for, which reads the training data: ask before the session runs."""
        if self._doubtful is None:
            return Threshold(None, self._why_not)
        return _found(self._doubtful, self.folder, self.run)

    def _see(self, obs: Obs) -> None:
        """Remembers a step, once however often it is shown."""
        if obs is self._last:
            return
        # Copied: an environment may write its next observation into the same arrays.
        self._past.append({k: np.array(v) for k, v in obs.items()})
        self._last = obs

    def _begin_again(self) -> None:
        """Shows the policy what happened while somebody else drove, so that it decides anew at this step."""
        self._policy.reset(self._seed)
        if self._again:
            for seen in _padded(self._past, self._again):
                self._policy.act(seen)
        self._interrupted = False


def _padded(past: deque[dict[str, Array]], count: int) -> list[dict[str, Array]]:
    """The last `count` observations; the first stands in for those before it, as in `Chunked`."""
    last = list(past)[-count:]
    return [last[0]] * (count - len(last)) + last


def _doubtful(policy: Chunked | Corrected) -> tuple[Agent | None, str]:
    """The agent that says how unsure it is, or None and the reason."""
    if isinstance(policy, Corrected):
        return None, "this policy corrects another one, and neither says how unsure the two are together"
    try:
        UncertaintyGate(policy.agent, 0.0)
    except TypeError as reason:
        return None, str(reason)
    return policy.agent, ""


def _found(agent: Agent, folder: Path, run: Mapping[str, Any]) -> Threshold:
    """HG-DAgger's threshold where the run has one, else a quantile of the doubt over its training data."""
    if (tau := _at_takeovers(folder, run)) is not None:
        return Threshold(tau, "the doubt at which a person took over, as HG-DAgger finds it")
    if "path" not in run["data"]:
        return Threshold(None, "no threshold: this policy learned without demonstrations")
    where = folder / str(run["data"]["path"])
    if not where.exists():
        return Threshold(None, f"no threshold: the training data is not at {where} any more")
    unsure = _over(agent, formats.read(where))
    if not len(unsure):
        return Threshold(None, f"no threshold: {where} has no labelled step")
    return Threshold(
        float(np.quantile(unsure, QUANTILE)),
        f"{QUANTILE:.0%} of the {len(unsure)} labelled training states have less doubt",
    )


def _at_takeovers(folder: Path, run: Mapping[str, Any]) -> float | None:
    """HG-DAgger's threshold, of a run of its own or of a round in the studio; None without a takeover."""
    if "takeovers" in run:
        return float(run["takeovers"]["tau"])
    if run["algorithm"] != "hg_dagger":
        return None
    try:
        return permitted_set(folder).tau
    except (ValueError, OSError):
        return None  # nobody took over before the round that was kept


def _over(agent: Agent, data: Dataset) -> Array:
    """The doubt in every labelled state, of at most 200 episodes spread evenly over the data."""
    rows = np.unique(np.linspace(0, len(data) - 1, min(len(data), _ENOUGH)).round().astype(int))
    parts = [doubts(agent, e)[:-1][e.labelled] for e in (data[int(i)] for i in rows)]
    found: Array = np.concatenate(parts) if parts else np.zeros(0)
    return found


def open_pilot(run: Path) -> RunPilot:
    """The pilot of any run folder.

    Raises:
        ValueError: in one line, when it is not a finished run, or it learned from converted actions, which
            its task does not take.
    """
    described = open_run(run)
    if not (run / "agent").is_dir():
        raise ValueError(f"{run} has no policy yet: its training is not finished; go on with --resume")
    if described["data"].get("converted"):
        raise ValueError(
            f"{run} learned from converted actions, which {described['task'] or 'its task'} does not take"
        )
    return RunPilot(run.resolve().name, policy_of(run, described), run, described)
