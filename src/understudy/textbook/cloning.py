"""Behavioural cloning with the chapter's signatures.

Where the chapter's own definitions do not do what their descriptions say, these do:

- `get_action` takes and returns the environment's own units, whatever the network sees inside.
- "Best" weights are those of the best validation, not the last ones under another name.
- Validation holds out whole demonstrations: frames of one demonstration never lie on both sides.
- A constant dimension passes through the normalisation instead of being divided by 1e-8.
- Log standard deviations are bounded smoothly, so that a likelihood cannot run away to infinity.
- Trained again on more data, statistics are those of the new data and the policy goes on from what it did:
  old weights read in new units would be another policy.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from understudy.agent import Agent
from understudy.agent.normalize import Normalizer
from understudy.dataset import Dataset
from understudy.episode import Episode
from understudy.heads import (
    Deterministic,
    DeterministicHead,
    Gaussian,
    GaussianHead,
    HeadConfig,
    Mixture,
    MixtureHead,
)
from understudy.learn import bc
from understudy.nets import MLP
from understudy.textbook.units import moved
from understudy.train import Budget, train

__all__ = ["BCPolicy", "BehavioralCloning", "Demonstration", "DemonstrationDataset"]

_OUTPUTS: dict[str, HeadConfig] = {
    "deterministic": Deterministic(),
    "gaussian": Gaussian(),
    "mixture": Mixture(components=5),
}


@dataclass
class Demonstration:
    """One demonstration: states [T, S], or [T + 1, S] with the state after the last action; actions [T, A].

    Args:
        states: [T, S] or [T + 1, S].
        actions: [T, A].
        rewards: [T], where they were recorded.
    """

    states: NDArray[Any]
    actions: NDArray[Any]
    rewards: NDArray[Any] | None = None

    def episode(self) -> Episode:
        """The library's own form of it."""
        return Episode.demonstration(self.states, np.asarray(self.actions, np.float64), self.rewards)


def _dataset(demonstrations: Sequence[Demonstration]) -> Dataset:
    if not demonstrations:
        raise ValueError("demonstrations is empty; at least one is needed")
    return Dataset(d.episode() for d in demonstrations)


class DemonstrationDataset(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """All (state, action) pairs of some demonstrations as float32 tensors, normalised unless asked not to be.

    Attributes:
        states: [N, S]. actions: [N, A].
        state_mean, state_std, action_mean, action_std: of the raw values; a constant has std 1.
    """

    def __init__(self, demonstrations: Sequence[Demonstration], normalize: bool = True) -> None:
        data = _dataset(demonstrations)
        agent = Agent.build(data, MLP(()), Deterministic())
        states = np.concatenate([e.obs["state"][:-1] for e in data])
        actions = np.concatenate([e.action for e in data])
        obs, action = cast(Normalizer, agent.obs[0]), agent.action
        self.state_mean, self.state_std = _array(obs.shift), _array(obs.scale)
        self.action_mean, self.action_std = _array(action.shift), _array(action.scale)
        self.states, self.actions = torch.tensor(states), torch.tensor(actions)
        if normalize:
            self.states, self.actions = obs(self.states), action(self.actions)

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, idx: int) -> tuple[Tensor, Tensor]:
        return self.states[idx], self.actions[idx]


def _array(x: object) -> NDArray[np.float32]:
    return cast(Tensor, x).numpy().copy()


class BCPolicy(nn.Module):
    """A multilayer perceptron with one of three outputs, in the units of its inputs: it normalises nothing.

    Args:
        state_dim: S. action_dim: A.
        hidden_dims: widths of the hidden layers.
        activation: "relu", "tanh" or "gelu".
        output_type: "deterministic", "gaussian" or "mixture" (5 components).
    """

    def __init__(
        self,
        state_dim: int,
        action_dim: int,
        hidden_dims: Sequence[int] = (256, 256),
        activation: str = "relu",
        output_type: str = "deterministic",
    ) -> None:
        super().__init__()
        if output_type not in _OUTPUTS:
            raise ValueError(f"output_type is {output_type!r}; it must be one of {sorted(_OUTPUTS)}")
        self.output_type, self.state_dim, self.action_dim = output_type, state_dim, action_dim
        self.trunk_config = MLP(tuple(hidden_dims), cast(Literal["relu", "tanh", "gelu"], activation))
        self.head_config = _OUTPUTS[output_type]
        self.encoder = self.trunk_config.build({"state": (state_dim,)}, history=1)
        self.head = self.head_config.build(self.encoder.width, 1, action_dim)

    def _tokens(self, state: Tensor) -> Tensor:
        if state.shape[-1:] != (self.state_dim,) or state.ndim != 2:
            raise ValueError(f"state has shape {list(state.shape)}; it must be [batch, {self.state_dim}]")
        tokens: Tensor = self.encoder({"state": state[:, None]})
        return tokens

    def forward(self, state: Tensor) -> Tensor | tuple[Tensor, ...]:
        """States [B, S] to what describes the actions.

        Returns:
            deterministic: actions [B, A]. gaussian: mean and log std, each [B, A]. mixture: weights [B, M],
            means [B, M, A] and log stds [B, M, A].
        """
        tokens, head = self._tokens(state), self.head
        if isinstance(head, DeterministicHead):
            return head.mode(tokens)[:, 0]
        if isinstance(head, GaussianHead):
            mean, log_std = head.parts(tokens)
            return mean[:, 0], log_std[:, 0]
        assert isinstance(head, MixtureHead)
        weights, means, log_stds = head.parts(tokens)
        return weights, means[:, :, 0], log_stds[:, :, 0]

    def get_action(self, state: Tensor, deterministic: bool = True) -> Tensor:
        """States [B, S] to actions [B, A]: the mean (of the heaviest component), or a draw."""
        tokens = self._tokens(state)
        chunk: Tensor = self.head.mode(tokens) if deterministic else self.head.sample(tokens, None)
        return chunk[:, 0]


class BehavioralCloning:
    """Behavioural cloning of demonstrations.

    Args:
        state_dim: S. action_dim: A.
        lr: learning rate of Adam.
        weight_decay: decoupled from the gradient (AdamW, Loshchilov and Hutter 2019).
        hidden_dims: widths of the hidden layers.
        output_type: "deterministic", "gaussian" or "mixture".
        device: "cpu"; others are refused rather than ignored.

    Attributes:
        policy: the BCPolicy, in normalised units.
        agent: the library's Agent, in raw units, once trained: it can be saved, evaluated and rolled out.
    """

    def __init__(
        self,
        state_dim: int,
        action_dim: int,
        lr: float = 1e-3,
        weight_decay: float = 1e-4,
        hidden_dims: Sequence[int] = (256, 256),
        output_type: str = "deterministic",
        device: str = "cpu",
    ) -> None:
        if torch.device(device).type != "cpu":
            raise ValueError(f"device is {device!r}; behavioural cloning of this size is fastest on 'cpu'")
        self.policy = BCPolicy(state_dim, action_dim, hidden_dims, output_type=output_type)
        self.output_type, self.lr, self.weight_decay = output_type, lr, weight_decay
        self.agent: Agent | None = None
        self.train_losses: list[float] = []
        self.val_losses: list[float] = []

    def compute_loss(self, states: Tensor, actions: Tensor) -> Tensor:
        """The mean loss of a batch of states [B, S] and actions [B, A], both normalised.

        The sum over action dimensions of the squared error, or the negative log density.
        """
        tokens = self.policy._tokens(states)
        mask = torch.ones(len(states), 1, dtype=torch.bool)
        loss: Tensor = self.policy.head.loss(tokens, actions[:, None], mask)
        return loss.mean()

    def train(
        self,
        demonstrations: Sequence[Demonstration],
        n_epochs: int = 100,
        batch_size: int = 64,
        val_split: float = 0.1,
        early_stopping: int = 10,
    ) -> dict[str, Any]:
        """Trains until the epochs are over or validation has not improved for `early_stopping` of them.

        A policy that is trained already goes on from what it does, in the units of these demonstrations and
        with a fresh optimiser: the old moments belong to gradients of other data in other units. Whole
        demonstrations are held out, at least one where val_split > 0. The best weights are restored; with
        val_split 0 there is nothing to judge by, and the last weights stay.

        Returns:
            train_losses and val_losses, one an epoch, and best_val_loss (infinite without validation).

        Raises:
            ValueError: when a demonstration does not fit, or one demonstration should be split in two.
        """
        data = _dataset(demonstrations)
        shape = (data.schema["state"][1], data.schema["action"][1])
        if shape != (wanted := ((self.policy.state_dim,), (self.policy.action_dim,))):
            raise ValueError(f"demonstrations have (state, action) shapes {shape}; this learner has {wanted}")
        held = max(1, round(val_split * len(data))) if val_split > 0 else 0
        if held >= len(data):
            raise ValueError(
                f"val_split {val_split} of {len(data)} demonstrations leaves none to learn from; validation "
                "holds out whole demonstrations, so give more of them or val_split=0"
            )
        val, fit = data.split(held / len(data), seed=0)
        self._in_units_of(fit)
        config = bc.Config(
            batch=min(batch_size, fit.steps), learning_rate=self.lr, weight_decay=self.weight_decay
        )
        assert self.agent is not None
        learner = bc.Learner(self.agent, fit, config)
        epoch = math.ceil(fit.steps / config.batch)
        outcome = train(
            learner,
            Budget(n_epochs * epoch, validate_every=epoch, patience=early_stopping if held else None),
            validate=(lambda _: learner.validation_loss(val)) if held else None,
            progress=sys.stderr.isatty(),
        )
        if outcome.stopped == "interrupted":
            raise KeyboardInterrupt
        for number, line in enumerate(outcome.metrics, 1):
            self.train_losses.append(line["loss"])
            words = f"Epoch {number}: Train Loss = {line['loss']:.4f}"
            if held:
                self.val_losses.append(line["validation"])
                words += f", Val Loss = {line['validation']:.4f}"
            if number % 10 == 0:
                print(words)
        if outcome.stopped == "patience":
            print(f"Early stopping at epoch {len(outcome.metrics)}")
        best = math.inf if outcome.best is None else outcome.best
        return {"train_losses": self.train_losses, "val_losses": self.val_losses, "best_val_loss": best}

    def _in_units_of(self, data: Dataset) -> None:
        """Makes the agent anew around this object's policy, which learns: training again goes on from it."""
        before, self.agent = self.agent, Agent.build(data, self.policy.trunk_config, self.policy.head_config)
        if before is not None:
            moved(before, self.agent)
        self.agent.trunk, self.agent.head = self.policy.encoder, self.policy.head

    def get_action(self, state: NDArray[Any]) -> NDArray[Any]:
        """The action [A] for a state [S], or [B, A] for [B, S], both in raw units.

        Raises:
            RuntimeError: before training, when the units are not known yet.
        """
        if self.agent is None:
            raise RuntimeError("get_action needs a trained policy; call train first")
        return self.agent.act(np.asarray(state))
