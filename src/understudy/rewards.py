"""Rewards as objects: a network over normalised observations that is learned, saved, loaded and paid out.

Shapes: B batch, O width of an encoded observation, A action width, F input features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, cast

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F

from understudy.agent import Agent
from understudy.agent.agent import check_state
from understudy.agent.door import windows
from understudy.agent.normalize import Columns, Normalizer
from understudy.episode import Array
from understudy.heads.base import readout
from understudy.nets import MLP
from understudy.nets.mlp import vector_widths
from understudy.serial import of_version, parse, read_described, write_described

__all__ = ["RewardConfig", "RewardNet", "Steps", "load_reward"]

FORMAT, VERSION = "understudy-reward", 1
DESCRIPTION, WEIGHTS = "reward.json", "reward.safetensors"
READS = ("state", "state-action", "transition", "next-state")
_STEEPEST = 5.0  # logits beyond ±5 count as ±5 in FAIRL's reward, which is exponential in them


def _fairl(logit: Tensor) -> Tensor:
    held = logit.clamp(-_STEEPEST, _STEEPEST)
    return -held * held.exp()


FORMS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "logit": lambda logit: logit,
    "survival": F.softplus,
    "termination": lambda logit: -F.softplus(-logit),
    "fairl": _fairl,
}


class Steps(Protocol):
    """Transitions in normalised units, such as a replay buffer gives."""

    @property
    def obs(self) -> Tensor:
        """[B, O], where the action was taken."""
        ...

    @property
    def action(self) -> Tensor:
        """[B, A]."""
        ...

    @property
    def next_obs(self) -> Tensor:
        """[B, O], where it led."""
        ...

    @property
    def terminated(self) -> Tensor:
        """[B], 1 where the task ended there; a time limit is no end of the task."""
        ...


_Transitions = TypeVar("_Transitions", bound=Steps)


@dataclass(frozen=True)
class RewardConfig:
    """What a reward reads, and how it is built."""

    reads: Literal["state", "state-action", "transition", "next-state"] = "state"
    """r(s), r(s, a), r(s, a, s') or r(s, s'). A reward on states cannot simply name the expert's actions, and
    so goes on to mean something where bodies or worlds differ."""
    features: Literal["inputs", "quadratic"] = "inputs"
    """What the first layer sees: the inputs x_i, or besides them all products x_i x_j with i <= j."""
    reward_hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers; none makes the reward linear in its features."""
    reward_activation: Literal["relu", "tanh", "gelu", "silu"] = "tanh"
    """Bounded units extrapolate flatly, so that no far-away state looks ever better."""
    bound: float | None = None
    """None, or b > 0: the network's f counts as b tanh(f / b), which lies in (-b, b)."""
    form: Literal["logit", "survival", "termination", "fairl"] = "logit"
    """What is paid for the network's l, for a discriminator D = σ(l) of experts: "logit" l itself, which is
    log D - log(1 - D); "survival" -log(1 - D), above zero, so that living on pays whatever is done;
    "termination" log D, below zero, so that an early end pays; "fairl" -l exp(l) (Ghasemipour et al. 2020),
    where l counts as ±5 beyond that."""

    def __post_init__(self) -> None:
        for name, allowed in (
            ("reads", READS),
            ("features", ("inputs", "quadratic")),
            ("form", tuple(FORMS)),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be one of {list(allowed)}")
        if self.bound is not None and not 0 < self.bound < float("inf"):
            raise ValueError(f"bound is {self.bound}; it must be None or a positive number")
        MLP(self.reward_hidden, self.reward_activation)  # refuses widths and names


class RewardNet(nn.Module):
    """r(s), r(s, a), r(s, a, s') or r(s, s') over observations and actions in normalised units.

    The network gives a number l; what is paid is that number in the form that `config` names. A reward that
    no discriminator has learned is l itself.

    Units are those of `obs` and `action`, statistics of the demonstrations that never change: a reward whose
    normaliser followed the policy would be another function after every episode. What an agent with the
    same normalisers sees is what this sees, so a replay buffer's rows can be paid as they are.

    **The end of the task.** An episode that terminates goes on, in the model, in an absorbing state that pays
    `absorbing`, a learned number, at every later step. Otherwise the sign of the reward alone would decide
    whether to live long or to die soon (Kostrikov et al. 2019, section 4.1). A time limit is not an end.

    Args:
        obs: the normaliser of each observation; vectors only.
        action: the normaliser of actions.
        config: what is read.

    Raises:
        ValueError: when an observation is not a vector.
    """

    def __init__(self, obs: Mapping[str, Normalizer], action: Normalizer, config: RewardConfig) -> None:
        super().__init__()
        if not obs:
            raise ValueError("obs is empty; a reward needs at least one observation")
        self.config = config
        self.obs_normalizers = {k: obs[k] for k in sorted(obs)}
        self.obs, self.action_normalizer = nn.ModuleList(self.obs_normalizers.values()), action
        widths = vector_widths({k: n.columns.encoded for k, n in self.obs_normalizers.items()}, "reward")
        self.width = sum(widths.values())
        self.actions = action.columns.shape[0]
        read = self.width * (1 + self.reads_next) + self.actions * self.reads_action
        if config.features == "quadratic":
            read += read * (read + 1) // 2
        self.trunk = MLP(config.reward_hidden, config.reward_activation).build({"features": (read,)}, 1)
        self.out = readout(self.trunk.width, 1)
        self.end = nn.Parameter(torch.zeros(()))
        self.requires_grad_(True)

    @property
    def reads_action(self) -> bool:
        """Whether it reads what was done."""
        return self.config.reads in ("state-action", "transition")

    @property
    def reads_next(self) -> bool:
        """Whether it reads where that led."""
        return self.config.reads in ("transition", "next-state")

    @classmethod
    def of(cls, agent: Agent, config: RewardConfig, seed: int) -> RewardNet:
        """A reward with fresh weights in the units of `agent`, whose normalisers are copied.

        Raises:
            ValueError: when the agent sees a history, predicts chunks or makes discrete choices.
        """
        if agent.history != 1 or agent.horizon != 1 or agent.head.discrete:
            raise ValueError(
                f"the agent has history {agent.history}, horizon {agent.horizon} and "
                f"{'discrete' if agent.head.discrete else 'continuous'} actions; "
                "a reward needs 1, 1 and continuous"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(deepcopy(agent.obs_normalizers), deepcopy(agent.action_normalizer), config)

    # ── normalised tensors ────────────────────────────────────────────────────────────────────────────

    def forward(self, steps: Steps) -> Tensor:
        """[B], the reward of each transition; what comes after the end of the task is `absorbing`."""
        return self.read(self.inputs(steps))

    def logit(self, steps: Steps) -> Tensor:
        """[B], the network's l of each transition, whatever form of it is paid."""
        return self.score(self.inputs(steps))

    def inputs(self, steps: Steps) -> Tensor:
        """[B, D], what the reward reads of each transition, side by side."""
        if self.config.reads == "state":
            return steps.obs
        parts = (steps.obs, *([steps.action] * self.reads_action), *([steps.next_obs] * self.reads_next))
        return torch.cat(parts, -1)

    def read(self, inputs: Tensor) -> Tensor:
        """[B], the reward of what `inputs` returned."""
        return FORMS[self.config.form](self.score(inputs))

    def score(self, inputs: Tensor) -> Tensor:
        """[B], l of what `inputs` returned."""
        f = inputs
        if self.config.features == "quadratic":
            first, second = torch.triu_indices(inputs.shape[-1], inputs.shape[-1])
            f = torch.cat((inputs, inputs[:, first] * inputs[:, second]), -1)
        return self._bounded(self.out(self.trunk({"features": f[:, None]})[:, 0])[:, 0])

    def _bounded(self, f: Tensor) -> Tensor:
        b = self.config.bound
        return f if b is None else b * (f / b).tanh()

    @property
    def absorbing(self) -> Tensor:
        """[], what a step after the end of the task pays."""
        return FORMS[self.config.form](self.absorbing_logit)

    @property
    def absorbing_logit(self) -> Tensor:
        """[], l of the absorbing state."""
        return self._bounded(self.end)

    def relabel(self, transitions: _Transitions, discount: float) -> _Transitions:
        """The same transitions paid by this reward, without a tape.

        A step that ends the task also gets what all later steps are worth, γ / (1 - γ) × `absorbing`: a
        learner that does not bootstrap there then values it rightly.

        Raises:
            ValueError: when a task ends and the discount is 1: what follows would have no finite value.
        """
        with torch.no_grad():
            paid = self.forward(transitions)
            if bool(transitions.terminated.any()):
                if discount >= 1:
                    raise ValueError("discount is 1 and a task ends; what follows has no finite value")
                after = discount / (1 - discount) * self.absorbing
                paid = paid + after * transitions.terminated
        return cast(_Transitions, cast(Any, transitions)._replace(reward=paid))

    def slope(self, steps: Steps) -> Tensor:
        """[B], the squared norm of ∂r/∂inputs: what a gradient penalty weighs."""
        inputs = self.inputs(steps).detach().requires_grad_(True)
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(self.read(inputs).sum(), inputs, create_graph=True)
        return gradient.square().sum(-1)

    # ── arrays in raw units ───────────────────────────────────────────────────────────────────────────

    def flat(self, obs: Mapping[str, ArrayLike] | ArrayLike) -> Tensor:
        """[B, O], raw observations normalised and side by side in the order of their names.

        Raises:
            ValueError: for a name, shape or value that does not belong.
        """
        known = {k: n.columns for k, n in self.obs_normalizers.items()}
        checked, _ = windows(obs, known, 1)
        return torch.cat(
            [n.forward(torch.from_numpy(checked[k]))[:, 0] for k, n in self.obs_normalizers.items()], -1
        )

    def values(
        self,
        obs: Mapping[str, ArrayLike] | ArrayLike,
        action: ArrayLike | None = None,
        next_obs: Mapping[str, ArrayLike] | ArrayLike | None = None,
    ) -> Array:
        """[B], the reward of raw transitions; of one observation, one number in an array [1].

        Args:
            obs: name -> [B, *shape] or [*shape], or a bare array where there is one name.
            action: [B, A] or [A] in raw units; needed where the reward reads it.
            next_obs: as `obs`; needed where the reward reads it.

        Raises:
            ValueError: when something that is read is missing or does not fit.
        """
        seen = self.flat(obs)
        parts = [seen]
        if self.reads_action:
            a = np.asarray(np.nan if action is None else action, np.float32)
            if a.size != len(seen) * self.actions or not np.isfinite(a).all():
                raise ValueError(f"action must be {len(seen)} × {self.actions} finite numbers: it is read")
            parts.append(self.action_normalizer.forward(torch.tensor(a.reshape(len(seen), self.actions))))
        if self.reads_next:
            parts.append(seen[:0] if next_obs is None else self.flat(next_obs))
            if len(parts[-1]) != len(seen):
                raise ValueError(f"next_obs must be {len(seen)} observations: they are read")
        with torch.inference_mode():
            paid: Array = self.read(torch.cat(parts, -1)).numpy()
        return paid

    def check_units(self, agent: Agent) -> None:
        """Refuses an agent whose normalised units are not this reward's.

        Raises:
            ValueError: naming the column that differs.
        """
        theirs = {**agent.obs_normalizers, "action": agent.action_normalizer}
        mine = {**self.obs_normalizers, "action": self.action_normalizer}
        for name in sorted(theirs.keys() | mine.keys()):
            a, b = mine.get(name), theirs.get(name)
            if a is None or b is None or a.columns != b.columns or not _equal(a, b):
                raise ValueError(
                    f"the agent and the reward normalise {name!r} differently; both must come from the same "
                    "demonstrations"
                )

    # ── files ─────────────────────────────────────────────────────────────────────────────────────────

    @property
    def description(self) -> dict[str, Any]:
        """All that is needed to build this reward but for its tensors, as JSON."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "obs": {k: asdict(n.columns) for k, n in self.obs_normalizers.items()},
            "action": asdict(self.action_normalizer.columns),
            "reward": asdict(self.config),
        }

    def save(self, folder: str | Path) -> None:
        """Writes reward.json and reward.safetensors; `load_reward` is the way back."""
        folder = Path(folder)
        write_described(folder / DESCRIPTION, folder / WEIGHTS, self.description, self.state_dict())

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes over the tensors of an equal reward's `state_dict`, in place.

        Raises:
            ValueError: when a tensor is missing, unknown, of another shape or dtype, or not finite.
        """
        check_state(self.state_dict(), state)
        self.load_state_dict(dict(state))


def _equal(a: Normalizer, b: Normalizer) -> bool:
    return torch.equal(a.shift, b.shift) and torch.equal(a.scale, b.scale)


def load_reward(folder: str | Path) -> RewardNet:
    """The reward in a folder written by `RewardNet.save`, equal to the last bit. Reading runs no code.

    Raises:
        FileNotFoundError: when one of the two files is missing.
        CorruptFile: a ValueError, when a file is damaged, the two do not belong together, or they hold what
            this version does not understand.
    """
    return read_described(Path(folder) / DESCRIPTION, Path(folder) / WEIGHTS, _from_description)


def _from_description(description: Mapping[str, Any], state: Mapping[str, Any]) -> RewardNet:
    d = of_version(dict(description), FORMAT, VERSION)
    if d.keys() != (names := {"obs", "action", "reward"}) or not isinstance(d["obs"], dict):
        raise ValueError(f"the description has {sorted(d)}; it must have {sorted(names)}")
    obs = {k: parse(Columns, v, f"obs.{k}") for k, v in d["obs"].items()}
    action = parse(Columns, d["action"], "action")
    if len(action.shape) != 1:
        raise ValueError(f"action has shape {list(action.shape)}; it must be a vector")
    config = parse(RewardConfig, d["reward"], "reward")
    # Before anything of that width is built: the file's own tensors bound what is allocated.
    _check_widths({f"obs.{i}": obs[k] for i, k in enumerate(sorted(obs))}, state)
    _check_widths({"action_normalizer": action}, state)
    try:
        with torch.device("meta"):  # shapes alone: a description cannot make this machine allocate
            made = RewardNet({k: _blank(c) for k, c in obs.items()}, _blank(action), config)
    except (RuntimeError, OverflowError):  # PyTorch, when a number of elements does not fit 64 bits
        raise ValueError("the description asks for tensors larger than any memory") from None
    check_state(made.state_dict(), state)
    made.load_state_dict(dict(state), assign=True)
    return made


def _check_widths(columns: Mapping[str, Columns], state: Mapping[str, Any]) -> None:
    for name, c in columns.items():
        held = getattr(state.get(f"{name}.shift"), "shape", None)
        if held != c.statistics:
            raise ValueError(f"{name} has shape {list(c.shape)}, but its statistics are not of that shape")


def _blank(columns: Columns) -> Normalizer:
    return Normalizer(columns, torch.empty(columns.statistics), torch.empty(columns.statistics))
