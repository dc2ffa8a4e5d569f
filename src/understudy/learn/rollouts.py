"""What an on-policy learner learns from: steps of several environments side by side, and their advantages.

Shapes: T steps, N environments, O width of the flat normalised observation, A of the action.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from understudy.learn.replay import Transitions

__all__ = ["Rollout", "gae"]


class Rollout(NamedTuple):
    """T steps in each of N environments, float32, observations and actions in the agent's normalised units.

    Episodes follow each other within a column. `next_obs` is where a step led, before any reset: at the end
    of an episode it is not the next row's `obs`.
    """

    obs: Tensor  # [T, N, O]
    action: Tensor  # [T, N, A], as drawn: an environment with bounds gets it clipped to them
    log_prob: Tensor  # [T, N], of the policy that drew it
    reward: Tensor  # [T, N]
    next_obs: Tensor  # [T, N, O]
    terminated: Tensor  # [T, N], 1 where the task itself ended the episode
    over: Tensor  # [T, N], 1 where the episode ended, by the task or by a time limit

    def flat(self) -> Transitions:
        """All steps as [T × N] rows, the environments of one step next to each other."""
        parts = (self.obs, self.action, self.reward, self.next_obs, self.terminated)
        return Transitions(*(x.flatten(0, 1) for x in parts))


def gae(
    reward: Tensor,
    value: Tensor,
    next_value: Tensor,
    terminated: Tensor,
    over: Tensor,
    discount: float,
    trace: float,
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimates (Schulman et al. 2016, equation 16), all arguments [T, N].

    δ_t = r_t + γ (1 - terminated_t) V(s'_t) - V(s_t) and Â_t = δ_t + γ λ (1 - over_t) Â_{t+1}. An episode cut
    by a time limit goes on in the model, so its last step counts V of where it led; one that the task ended
    counts nothing there. Neither passes on what belongs to the next episode. After the last row nothing is
    known but V, as if the trace ended there.

    Args:
        reward: r.
        value: V(s).
        next_value: V(s'), of where each step led before any reset.
        terminated: 1 where the task ended.
        over: 1 where the episode did.
        discount: γ.
        trace: λ, from 0, one step and then V, to 1, all rewards that there are.

    Returns:
        Advantages, and the targets of V, advantage + V; each [T, N].

    Raises:
        ValueError: when the shapes differ, or a task ended where the episode did not.
    """
    shapes = {tuple(x.shape) for x in (reward, value, next_value, terminated, over)}
    if len(shapes) > 1 or reward.ndim != 2:
        raise ValueError(f"the shapes are {sorted(shapes)}; all must be one [T, N]")
    if bool((terminated > over).any()):
        raise ValueError("a step terminated where over is 0; an episode that terminates is over")
    # One row of N numbers after another: NumPy's calls cost a third of a tensor library's.
    delta = (reward + discount * (1 - terminated) * next_value - value).numpy()
    carried = (discount * trace * (1 - over)).numpy()
    advantage = torch.empty_like(reward)
    out, later = advantage.numpy(), 0.0 * delta[:1].sum(0)
    for t in range(len(delta) - 1, -1, -1):
        out[t] = later = delta[t] + carried[t] * later
    return advantage, advantage + value
