"""The head of an ensemble: every token is one member's, read by a linear map of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from understudy.heads.base import Array, Head, Mask, batch_last, masked_mean, silenced
from understudy.heads.deterministic import Deterministic, errors, slopes
from understudy.nets.ensemble import Stack, check_members

__all__ = ["Members", "MembersHead"]


@dataclass(frozen=True)
class Members:
    """How the head of an ensemble is built; the trunk must have as many members.

    Args:
        members: how many there are.
        error: what each learns, as in `Deterministic`.
    """

    members: int = 5
    error: Literal["mse", "l1", "huber"] = "mse"
    kind: ClassVar[str] = "members"
    bounded: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_members(self.members)
        Deterministic(self.error)  # its rules are theirs

    def build(self, width: int, horizon: int, actions: int) -> MembersHead:
        """A head with fresh weights."""
        return MembersHead(width, horizon, actions, self)


class MembersHead(Head):
    """M deterministic heads, one for each token [B, N = M, F]; the ensemble's answer is their mean.

    The loss is the mean of the members' own losses, so it does not tell how good the mean is: for squared
    errors that is better by the members' variance (Krogh and Vedelsby 1995).
    """

    def __init__(self, width: int, horizon: int, actions: int, config: Members) -> None:
        super().__init__()
        self.config, self.shape = config, (horizon, actions)
        # As small as a readout's, so that the first prediction is the mean action.
        self.out = Stack(config.members, width, horizon * actions, 0.01)

    def member_modes(self, tokens: Tensor) -> Tensor:
        """[B, M, H, A], what each member would do."""
        each: Tensor = self.out(tokens.transpose(0, 1))
        return each.transpose(0, 1).reshape(len(tokens), -1, *self.shape)

    def member_losses(self, tokens: Tensor, action: Tensor, mask: Tensor) -> Tensor:
        """[B, M], each member's loss; the rest as in `loss`."""
        miss = self.member_modes(tokens) - silenced(action, mask)[:, None]
        return masked_mean(errors(self.config.error, miss).sum(-1), mask[:, None])

    def member_gradient(self, params: Array, action: Array, mask: Mask, share: Array) -> tuple[float, Array]:
        """The members' mean loss, and the gradient of their sum with respect to `params`, both [M, P, B].

        Args:
            params: what the linear maps gave, P = H × A.
            action: [B, H, A], and `mask` [B, H].
            share: [M, B], how much each window counts for each member.
        """
        turned, weight = batch_last(action, mask)
        miss = params.reshape(len(params), *turned.shape) - turned
        error, slope = slopes(self.config.error, miss)
        weight = share[:, None, None] * weight
        error *= weight
        slope *= weight
        return float(error.sum()) / len(params), slope.reshape(params.shape)

    def loss(self, tokens: Tensor, action: Tensor, mask: Tensor) -> Tensor:
        return self.member_losses(tokens, action, mask).mean(1)

    def mode(self, tokens: Tensor) -> Tensor:
        return self.member_modes(tokens).mean(1)

    def sample(self, tokens: Tensor, generator: torch.Generator | None, noise: float = 1.0) -> Tensor:
        """The mean of the members: there is nothing to draw."""
        return self.mode(tokens)
