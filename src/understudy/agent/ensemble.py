"""What the members of an ensemble would each do, and how far they disagree: its doubt.

Shapes: B batch, M members, A action width.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from understudy.agent.agent import Agent
from understudy.agent.single_ensemble import SingleEnsemble
from understudy.episode import Array
from understudy.heads import MembersHead

__all__ = ["doubt", "member_actions"]


def member_actions(agent: Agent, obs: Mapping[str, ArrayLike] | ArrayLike) -> Array:
    """The first action of each member, [M, A] for one observation or [B, M, A] for a batch, in raw units.

    Each is what that member alone would do, so each is within the agent's bounds. Where none is clipped,
    their mean is what `Agent.act` gives. An observation is as there: with a history of K > 1 a window.

    Raises:
        ValueError: when the agent is no ensemble, for an observation that does not belong, or when a result
            is not finite.
    """
    checked, single = agent.windows(obs)
    modes = _modes(agent, checked)
    size, members = modes.shape[:2]
    actions = agent.action_normalizer.decoder()(modes)
    if agent.low is not None and agent.high is not None:
        actions = actions.clip(agent.low.numpy(), agent.high.numpy())
    if agent.frame is not None:
        each = {k: x.repeat(members, 0) for k, x in checked.items()}
        actions = agent.frame.to_absolute(each, actions.reshape(-1, *actions.shape[2:]))
        actions = actions.reshape(size, members, *actions.shape[1:])
    return actions[0, :, 0] if single else actions[:, :, 0]


def doubt(agent: Agent, obs: Mapping[str, ArrayLike] | ArrayLike) -> float | NDArray[np.float64]:
    """‖diag C‖₂, C the covariance of the members' first actions: how far they disagree.

    As in HG-DAgger (Kelly et al. 2019). A number for one observation, [B] for a batch. C is the sample
    covariance, divided by M - 1, in the agent's normalised units before anything is clipped, so that a
    threshold does not hang on the unit of actions. Members also disagree where the expert's action jumps,
    however much data is there: doubt is not distance alone.

    Raises:
        ValueError: when the agent has fewer than two members, for an observation that does not belong, or
            when a result is not finite: a gate that compares must not be fed NaN.
    """
    checked, single = agent.windows(obs)
    first = _modes(agent, checked)[:, :, 0].astype(np.float64)  # members that agree have a variance of 0 here
    members = first.shape[1]
    if members < 2:
        raise ValueError("the agent has one member, and doubt is disagreement; it needs at least two")
    first -= np.add.reduce(first, 1, keepdims=True) / members
    first *= first
    variance = np.add.reduce(first, 1) / (members - 1)
    variance *= variance
    size: NDArray[np.float64] = np.sqrt(np.add.reduce(variance, -1))
    return float(size[0]) if single else size


def _modes(agent: Agent, obs: Mapping[str, Array]) -> Array:
    """[B, M, H, A], normalised, from what `Agent.windows` returned."""
    head = agent.head
    if not isinstance(head, MembersHead):
        raise ValueError(
            f"the agent's head is {agent.head_config.kind!r}, not 'members': one network has no doubt; "
            "train an ensemble"
        )
    fast = agent.single
    if isinstance(fast, SingleEnsemble) and len(next(iter(obs.values()))) == 1:
        modes = fast.members(obs)[None]
    else:
        with torch.inference_mode():
            tokens = agent.tokens({k: torch.from_numpy(x) for k, x in obs.items()})
            modes = head.member_modes(tokens).numpy()
    if not np.isfinite(modes).all():
        raise ValueError("an action is not finite: the observation is too far from all that was learned")
    return modes
