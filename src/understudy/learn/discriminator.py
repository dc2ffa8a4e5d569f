"""A discriminator between experts and a policy, whose logit is the reward (Ho & Ermon 2016, Fu et al. 2018).

Its logit l is high where experts are: l = log D - log(1 - D), D the probability that a row is an expert's. It
is a `RewardNet`, whose config says in which form the logit is paid.

Everything is computed from logits: log σ(l) is -softplus(-l), which never overflows. A loss is given by its
derivatives by the logits and by the slopes, so that networks of ReLU layers learn without a tape.

**The end of the task.** An episode that terminates goes on for ever in an absorbing state, here as in
`RewardNet.relabel`: one termination stands for γ + γ² + ... = γ/(1 - γ) visits of it, beside the one visit
that each row is. Each side's rows and visits together weigh one. A time limit is no end.

Shapes: B rows, I inputs of the network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from understudy.learn.optim import Adam, flatten
from understudy.learn.penalties import PenaltyKind, Rectified, Spectral, between, steepness
from understudy.learn.replay import Transitions
from understudy.learn.sac import stream
from understudy.rewards import RewardNet

__all__ = ["Config", "Discriminator"]

_CENTRING = 0.1  # the share of a critic's distance from zero that each step takes back
_FORGETS = 0.01  # of the running shares of terminations


@dataclass(frozen=True)
class Config:
    """How a discriminator learns."""

    d_rate: float = 3e-4
    """Adam's learning rate."""
    d_loss: Literal["bce", "wasserstein"] = "bce"
    """"bce" is the cross-entropy, equal weight to both sides, whose logit is the log-ratio of their
    densities. "wasserstein" is the difference of the mean logits, for a network that may not be steep. It
    leaves a constant open, and so each step moves the middle between the two means towards zero: the paid
    reward is centred."""
    penalty: float = 10.0
    """λ of the gradient penalty, on random points between experts and policy, in normalised units."""
    penalty_kind: PenaltyKind = "wgan"
    """"wgan" pulls the norm of the slope to one, "zero" to zero, "none" leaves it."""
    noise: float = 0.1
    """Standard deviation of Gaussian noise on the actions of both sides, in normalised units, where actions
    are read: otherwise the last digits of a clipped or rounded action tell who acted."""
    obs_noise: float = 0.0
    """The same for observations, those that an action led to included."""
    smoothing: float = 0.0
    """ε in [0, 0.5): the labels are 1 - ε for experts and ε for the policy. Of "bce" only."""
    d_entropy: float = 0.0
    """β of a bonus β H(D) for doubt, in nats, on each row. Of "bce" only."""
    spectral: bool = False
    """Whether every matrix is held to a spectral norm of one."""

    def __post_init__(self) -> None:
        rules = {
            "d_rate": 0 < self.d_rate < math.inf,
            "d_loss": self.d_loss in ("bce", "wasserstein"),
            "penalty": 0 < self.penalty < math.inf,
            "penalty_kind": self.penalty_kind in ("wgan", "zero", "none"),
            "noise": 0 <= self.noise < math.inf,
            "obs_noise": 0 <= self.obs_noise < math.inf,
            "smoothing": 0 <= self.smoothing < 0.5,
            "d_entropy": 0 <= self.d_entropy < math.inf,
        }
        if broken := [name for name, kept in rules.items() if not kept]:
            raise ValueError(f"{broken[0]} is {getattr(self, broken[0])!r}, which is out of its range")
        if self.d_loss == "wasserstein":
            if asked := [name for name in ("smoothing", "d_entropy") if getattr(self, name)]:
                raise ValueError(f"{asked[0]} is {getattr(self, asked[0])}, which is of d_loss 'bce' only")
            if self.penalty_kind == "none" and not self.spectral:
                raise ValueError("d_loss is 'wasserstein', which needs a penalty_kind or spectral norms")


class _Side(NamedTuple):
    """The experts' rows, or the policy's."""

    weight: Tensor  # [B], sums to what is not the absorbing state's
    after: float  # the weight of the absorbing state in this batch
    share: float  # the same in the long run
    offset: Tensor | None  # [B]


class Discriminator:
    """Trains a reward in place to tell experts from a policy; the caller draws the rows.

    Deviations from the papers: Gulrajani et al. (2017) take the penalty where the critic is read; so do we,
    noise included. The logit of the absorbing state is a number of its own and no output of the network; it
    counts as one unit away from every row, so that the penalty is λ max(0, |l_end - l̄| - 1)² for "wgan"
    and λ (l_end - l̄)² for "zero", times its weight, l̄ the mean logit of the rows: only what lies further
    than a slope of one allows is pulled back, for a pull to a distance of one would make a difference where
    there is none. With spectral norms l_end is held to l̄ ± 1.

    Args:
        reward: what is trained. A network of ReLU layers over "inputs" without a bound learns by gradients
            that are written out, any other by automatic differentiation, at several times the cost.
        config: how.
        discount: γ in [0, 1), by which a termination is weighed; that of the learner which is paid.
        seed: of all noise.

    Raises:
        ValueError: when the discount is out of its range, or "wasserstein" meets a form other than "logit".
    """

    def __init__(self, reward: RewardNet, config: Config = Config(), *, discount: float, seed: int) -> None:
        if not 0 <= discount < 1:
            raise ValueError(f"discount is {discount}; it must lie in [0, 1)")
        if config.d_loss == "wasserstein" and reward.config.form != "logit":
            raise ValueError(
                f"d_loss is 'wasserstein' and form {reward.config.form!r}; a critic is no log-ratio and is "
                "paid as 'logit'"
            )
        self.config, self.reward = config, reward
        self._later = discount / (1 - discount)
        self._noise = stream(seed, 4)
        self._flat, self._grad, _ = flatten(reward.parameters())
        self._adam = Adam(self._flat, self._grad, 0, 0.0)
        self._net = Rectified(reward) if Rectified.suits(reward) else None
        layers = (*reward.trunk.linear, reward.out)
        self._spectral = (
            Spectral([m.weight.detach() for m in layers], self._noise) if config.spectral else None
        )
        self._steps, self._ends = 0, [0.0, 0.0]

    def step(
        self,
        expert: Transitions,
        policy: Transitions,
        *,
        expert_offset: Tensor | None = None,
        policy_offset: Tensor | None = None,
        expert_weight: Tensor | None = None,
        policy_weight: Tensor | None = None,
    ) -> dict[str, float]:
        """One gradient step.

        Args:
            expert, policy: rows in normalised units; not necessarily as many of both.
            expert_offset, policy_offset: [B], what is added to the network's output to make the logit, as
                AIRL adds -log π(a|s). The absorbing state and the penalty know only the network.
            expert_weight, policy_weight: [B], how much each row counts beside its side's others.

        Returns:
            d_loss (without the penalty: 2 log 2 = 1.39 for a blind discriminator); d_expert and d_policy, the
            shares of both sides that are told rightly; d_gap, the mean logit of experts less that of the
            policy; penalty, before it is multiplied by λ.

        Raises:
            ValueError: when an offset comes with "wasserstein", which it would not change.
        """
        if self.config.d_loss == "wasserstein" and not (expert_offset is None is policy_offset):
            raise ValueError("d_loss is 'wasserstein', whose gradient does not know offsets; use 'bce'")
        with torch.no_grad():
            rows = [self._disturbed(side) for side in (expert, policy)]
            sides = (
                self._side(0, expert, expert_weight, expert_offset),
                self._side(1, policy, policy_weight, policy_offset),
            )
            lines = between(rows[0], rows[1], self._noise)
        told = self._descend(torch.cat(rows), lines, sides)
        with torch.no_grad():
            self._adam.step(self.config.d_rate)
            self._hold(told)
        self._steps += 1
        return {k: told[k] for k in ("d_loss", "d_expert", "d_policy", "d_gap", "penalty")}

    def _disturbed(self, steps: Transitions) -> Tensor:
        """[B, I], what the network reads, with noise."""
        for name, spread in (
            ("obs", self.config.obs_noise),
            ("next_obs", self.config.obs_noise * self.reward.reads_next),
            ("action", self.config.noise * self.reward.reads_action),
        ):
            if spread:
                x = getattr(steps, name)
                moved = torch.randn(x.shape, generator=self._noise).mul_(spread).add_(x)
                steps = steps._replace(**{name: moved})
        return self.reward.inputs(steps)

    def _side(self, which: int, steps: Transitions, weight: Tensor | None, offset: Tensor | None) -> _Side:
        n = len(steps.terminated)
        w = torch.full((n,), 1 / n) if weight is None else weight / weight.sum()
        ended = float(torch.dot(w, steps.terminated))
        self._ends[which] += max(_FORGETS, 1 / (self._steps + 1)) * (ended - self._ends[which])
        # By the mean of many batches: by its own, a batch without a termination would count for more.
        total = 1 + self._later * self._ends[which]
        return _Side(w / total, self._later * ended / total, 1 - 1 / total, offset)

    def _descend(self, x: Tensor, lines: Tensor, sides: tuple[_Side, _Side]) -> dict[str, float]:
        """The gradients into `.grad`, and what is told."""
        penalised = self.config.penalty_kind != "none"
        n = len(x)
        if self._net is not None:
            with torch.no_grad():
                passed = self._net.forward(torch.cat((x, lines)) if penalised else x)
                told, by_out = self._loss(passed.out[:n], sides)
                slope = self._net.slope(passed, n) if penalised else x[:0]
                told["penalty"], by_slope = steepness(slope, self.config.penalty_kind)
                self._net.backward(passed, by_out, by_slope * self.config.penalty)
        else:
            self._grad.zero_()
            score = self.reward.score(x)
            told, by_out = self._loss(score.detach(), sides)
            loss, told["penalty"] = torch.dot(by_out, score), 0.0
            if penalised:
                lines.requires_grad_(True)
                (slope,) = torch.autograd.grad(self.reward.score(lines).sum(), lines, create_graph=True)
                told["penalty"], by_slope = steepness(slope.detach(), self.config.penalty_kind)
                loss = loss + self.config.penalty * (by_slope * slope).sum()
            loss.backward()  # type: ignore[no-untyped-call]
        self._learn_end(told, sides)
        return told

    def _loss(self, score: Tensor, sides: tuple[_Side, _Side]) -> tuple[dict[str, float], Tensor]:
        """What is told, and the loss's derivatives [B] by the network's outputs."""
        loss, by_out, right, means, middle = 0.0, [], [], [], 0.0
        for which, side in enumerate(sides):
            logit = score[: len(side.weight)] if which == 0 else score[-len(side.weight) :]
            middle += float(logit.mean()) / 2
            if side.offset is not None:
                logit = logit + side.offset
            part, by = self._by_logit(logit, which == 0)
            loss += float(torch.dot(side.weight, part))
            by_out.append(by.mul_(side.weight))
            right.append(_right(logit, which == 0))
            means.append(float(logit.mean()))
        told = {"d_loss": loss, "d_expert": right[0], "d_policy": right[1], "d_gap": means[0] - means[1]}
        return {**told, "middle": middle}, torch.cat(by_out)

    def _by_logit(self, logit: Tensor, expert: bool) -> tuple[Tensor, Tensor]:
        """The loss of each logit, and its derivative."""
        if self.config.d_loss == "wasserstein":
            sign = -1.0 if expert else 1.0
            return sign * logit, torch.full_like(logit, sign)
        label = 1 - self.config.smoothing if expert else self.config.smoothing
        d, soft = logit.sigmoid(), F.softplus(logit)
        loss, by = soft - label * logit, d - label
        if beta := self.config.d_entropy:  # H = softplus(l) - l D, and its derivative is -l D (1 - D)
            loss = loss - beta * (soft - logit * d)
            by = by + beta * logit * d * (1 - d)
        return loss, by

    @torch.no_grad()
    def _learn_end(self, told: dict[str, float], sides: tuple[_Side, _Side]) -> None:
        """The same loss for the visits of the absorbing state."""
        end, bound = self.reward.end, self.reward.config.bound
        assert end.grad is not None
        if not any(self._ends):  # nothing has ever ended
            end.grad.zero_()
            return
        logit, by_end = self.reward.absorbing_logit, torch.zeros(())
        for which, side in enumerate(sides):
            part, by = self._by_logit(logit, which == 0)
            told["d_loss"] += side.after * float(part)
            by_end += side.after * by
        off = logit - told["middle"]
        weight = self.config.penalty * (sides[0].share + sides[1].share) / 2
        if self.config.penalty_kind == "wgan":
            by_end += 2 * weight * (off - off.clamp(-1, 1))
        elif self.config.penalty_kind == "zero":
            by_end += 2 * weight * off
        end.grad.copy_(by_end if bound is None else by_end * (1 - (logit / bound).square()))

    def _hold(self, told: Mapping[str, float]) -> None:
        """Norms and constants that no gradient holds."""
        end, bias = self.reward.end, self.reward.out.bias
        if self._spectral is not None:
            self._spectral.project()
            if any(self._ends):
                end.clamp_(told["middle"] - 1, told["middle"] + 1)
        if self.config.d_loss == "wasserstein":
            by = _CENTRING * told["middle"]
            bias.sub_(by)
            end.sub_(by)

    @torch.no_grad()
    def accuracy(self, transitions: Transitions, expert: bool, offset: Tensor | None = None) -> float:
        """The share of rows that are told rightly, without noise; `expert` says whose they are."""
        logit = self.reward.logit(transitions)
        if offset is not None:
            logit = logit + offset
        return _right(logit, expert)

    def state_dict(self) -> dict[str, Any]:
        """All that continues to the same bits: a tree for `serial.write_tree`."""
        state = {
            "config": asdict(self.config),
            "later": self._later,
            "reward": self.reward.state_dict(),
            "adam": self._adam.state_dict(),
            "noise": self._noise.get_state(),
            "steps": self._steps,
            "ends": list(self._ends),
        }
        return state if self._spectral is None else {**state, "spectral": self._spectral.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from there to the same bits as if there had been no interruption.

        Raises:
            ValueError: when the state belongs to other settings or another reward.
        """
        mine = self.state_dict()
        if state.keys() != mine.keys():
            raise ValueError(f"a discriminator's state has {sorted(mine)}, not {sorted(state)}")
        for name in ("config", "later"):
            if state[name] != mine[name]:
                raise ValueError(f"the state was saved with {name} {state[name]}, this has {mine[name]}")
        self.reward.restore(state["reward"])
        self._adam.load_state_dict(state["adam"])
        self._noise.set_state(state["noise"])
        self._steps, self._ends = int(state["steps"]), [float(x) for x in state["ends"]]
        if self._spectral is not None:
            self._spectral.load_state_dict(state["spectral"])


def _right(logit: Tensor, expert: bool) -> float:
    return int(((logit > 0) if expert else (logit < 0)).count_nonzero()) / len(logit)
