"""Behaviour cloning (Pomerleau 1989): maximise the head's score of the expert's labels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from understudy.actions import ChunkRelative
from understudy.agent import Agent
from understudy.augment import Augmentation, Tensors, augmented
from understudy.dataset import Batch, Dataset, Windows
from understudy.heads import MembersHead
from understudy.learn.fused import Fused
from understudy.learn.optim import Adam, flatten
from understudy.learn.order import Order, resamples, shares
from understudy.learn.stacked import Stacked, clip_members

__all__ = ["Config", "Learner"]


@dataclass(frozen=True)
class Config:
    """How an agent is trained.

    Args:
        batch: B, windows in one step; fewer where the data has fewer.
        learning_rate: Adam's.
        decay: steps over which the learning rate falls to zero along half a cosine; None keeps it.
        warmup: steps over which it first rises from zero in a straight line.
        weight_decay: decoupled, on matrices only.
        clip: largest Euclidean norm of the gradient, of each member's where there are several; None leaves
            it.
        ema: None, or in (0, 1): the agent to evaluate is a moving average of the weights with this memory.
        jitter: standard deviation of noise added to normalised observations in training.
        seed: of the order of the data and of all noise.
    """

    batch: int = 256
    learning_rate: float = 1e-3
    decay: int | None = None
    warmup: int = 0
    weight_decay: float = 0.0
    clip: float | None = None
    ema: float | None = None
    jitter: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        rules = {
            "batch": self.batch >= 1,
            "learning_rate": 0 < self.learning_rate < math.inf,
            "decay": self.decay is None or self.decay >= 1,
            "warmup": self.warmup >= 0,
            "weight_decay": 0 <= self.weight_decay < math.inf,
            "clip": self.clip is None or self.clip > 0,
            "ema": self.ema is None or 0 < self.ema < 1,
            "jitter": 0 <= self.jitter < math.inf,
            "seed": self.seed >= 0,
        }
        if broken := [name for name, kept in rules.items() if not kept]:
            raise ValueError(f"{broken[0]} is {getattr(self, broken[0])!r}, which is out of its range")

    def rate(self, step: int) -> float:
        """The learning rate of the step with this number, the first being 0."""
        rate = self.learning_rate
        if step < self.warmup:
            rate *= (step + 1) / self.warmup
        if self.decay is not None:
            rate *= 0.5 * (1 + math.cos(math.pi * min(step / self.decay, 1.0)))
        return rate


class Learner:
    """Trains `agent` in place on all windows of `data`.

    Every window is drawn once before any is drawn again. The order of an epoch follows from (seed, epoch)
    and the noise of a step from (seed, step), so a checkpoint holds one number for all of it and continues
    to the same bits.

    Where the agent is an ensemble, each member trains on a bootstrap resample of the windows of its own, as
    in EnsembleDAgger (Menda et al. 2019) and ThriftyDAgger (Hoque et al. 2021): members that learned from the
    same data would agree where they should doubt. All see the same batch, and a window counts for a member
    as often as its resample holds it, which is once in the mean and two in the mean square: the expected
    gradient is that of the resample, and as noisy as with half the batch. Each member is trained as if
    alone; the loss that is told is their mean, and noise is the same for all.

    Args:
        agent: what is trained. It takes a buffer of this learner's as the home of its weights.
        data: training episodes.
        augment: what is done to each training batch, in this order; never to what the agent is measured on.
        weights: None, or [number of labelled windows], how often each is drawn in proportion: not negative,
            some positive. An epoch is then as many draws with replacement as there are windows.

    Raises:
        ValueError: when the weights are not that.
    """

    def __init__(
        self,
        agent: Agent,
        data: Dataset,
        config: Config = Config(),
        augment: Sequence[Augmentation] = (),
        weights: NDArray[Any] | None = None,
    ) -> None:
        self.config, self.augment = config, tuple(augment)
        self._agent, self._windows = agent, data.windows(agent.history, agent.horizon)
        trained = [p for p in agent.parameters() if p.requires_grad]
        self._flat, self._grad, matrices = flatten(trained)
        self._first = next(p for p in trained if p.data_ptr() == self._flat.data_ptr())
        self._adam = Adam(self._flat, self._grad, matrices, config.weight_decay)
        self._batch = min(config.batch, len(self._windows))
        self._order = Order(len(self._windows), self._batch, config.seed, weights)
        self._fused = Fused(agent, self._batch) if Fused.suits(agent) else None
        self._stacked = Stacked(agent, self._batch) if Stacked.suits(agent) else None
        self._shares: NDArray[np.float32] | None = None
        if isinstance(agent.head, MembersHead):
            chance = self._order.chance
            counts = resamples(agent.head.config.members, len(self._windows), config.seed, chance)
            self._shares = shares(counts, chance)
        self._step = 0
        self._average: tuple[Agent, Tensor] | None = None
        if config.ema is not None:
            smooth = deepcopy(agent)
            self._average = smooth, flatten(p for p in smooth.parameters() if p.requires_grad)[0]

    @property
    def agent(self) -> Agent:
        """The agent to evaluate and to save: the moving average of the weights where there is one."""
        return self._agent if self._average is None else self._average[0]

    def step(self) -> dict[str, float]:
        """One gradient step on one batch: its mean loss and the learning rate.

        Raises:
            RuntimeError: when the agent's weights have moved, as a second learner moves them.
        """
        if self._first.data_ptr() != self._flat.data_ptr():
            raise RuntimeError("the agent's weights have moved to other memory; make a new learner for it")
        rate = self.config.rate(self._step)
        loss = self._gradient(self._next())
        if self.config.clip is not None:
            self._clip(self.config.clip)
        self._adam.step(rate)
        self._step += 1
        if self._average is not None and self.config.ema is not None:
            # Young averages forget faster, so that the random first weights do not stay.
            memory = min(self.config.ema, self._step / (self._step + 9))
            self._average[1].lerp_(self._flat, 1 - memory)
        return {"loss": loss, "learning_rate": rate}

    def validation_loss(self, data: Dataset | Windows | ChunkRelative) -> float:
        """The mean loss over all windows of other episodes, of the agent to evaluate."""
        windows = self.agent.examples(data) if isinstance(data, Dataset) else data
        if isinstance(windows, ChunkRelative) != (self.agent.frame is not None):
            raise ValueError(
                "these windows are not what the agent predicts; give the dataset, or agent.examples"
            )
        total = 0.0
        with torch.inference_mode(), _seeded(self.config.seed):
            for at in range(0, len(windows), 1024):
                batch = windows.batch(np.arange(at, min(at + 1024, len(windows))))
                total += float(self.agent.loss(*_tensors(batch)).sum(dtype=torch.float64))
        return total / len(windows)

    def _gradient(self, batch: Batch) -> float:
        """The mean loss of a batch; its gradient is left in the buffer."""
        jitter, seed = self.config.jitter, (self.config.seed, self._step)
        batch = self._prepared(batch)
        rng = np.random.default_rng(seed) if jitter else None
        if self._fused is not None:
            return self._fused(batch, jitter, rng)
        share = self._share()
        if self._stacked is not None and share is not None:
            return self._stacked(batch, share, jitter, rng)
        agent, (obs, action, mask) = self._agent, _tensors(batch)
        self._grad.zero_()
        agent.train()
        with _seeded(*seed):
            seen = agent.normalised(obs)
            if jitter:
                seen = {k: x + jitter * torch.randn_like(x) for k, x in seen.items()}
            acted = agent.action_normalizer.forward(action)
            tokens, members = agent.trunk(seen), 1
            if share is not None and isinstance(agent.head, MembersHead):
                each = agent.head.member_losses(tokens, acted, mask) * torch.from_numpy(share.T)
                loss, members = each.sum(1).mean(), len(share)
            else:
                loss = agent.head.loss(tokens, acted, mask).mean()
            loss.backward()  # type: ignore[no-untyped-call]
        agent.eval()
        return float(loss.detach()) / members

    def _share(self) -> NDArray[np.float32] | None:
        """[M, B], how much each window of this step counts for each member; None for a single network."""
        return None if self._shares is None else self._shares.take(self._order.index(self._step), 1)

    def _clip(self, most: float) -> None:
        """Scales the gradient where its norm is larger."""
        if self._shares is not None:
            return clip_members(self._agent, most)
        norm = torch.linalg.vector_norm(self._grad)
        self._grad.mul_((most / (norm + 1e-6)).clamp(max=1.0))

    def _prepared(self, batch: Batch) -> Batch:
        """A raw batch augmented and then, where the agent wants it so, relative to its chunks' starts."""
        if self.augment:
            batch = _arrays(augmented(_tensors(batch), self.augment, self.config.seed, self._step))
        if (frame := self._agent.frame) is not None:
            batch = batch._replace(action=frame.to_relative(batch.obs, batch.action, batch.mask))
        return batch

    def _next(self) -> Batch:
        """The next windows in the order of this epoch, and of the next where this one ends."""
        return self._windows.batch(self._order.index(self._step))

    def state_dict(self) -> dict[str, Any]:
        """Step, weights, moments and settings: a tree for `serial.write_tree`."""
        state = {
            "step": self._step,
            "windows": len(self._windows),
            "config": asdict(self.config),
            "weights": self._agent.state_dict(),
            "adam": self._adam.state_dict(),
        }
        if self.augment:
            state["augment"] = [repr(a) for a in self.augment]
        if (sampling := self._order.digest) is not None:
            state["sampling"] = sampling
        return state if self._average is None else {**state, "average": self._average[0].state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from there to the same bits as if there had been no interruption.

        Raises:
            ValueError: when the state belongs to other settings, another agent or other data.
        """
        mine = self.state_dict()
        if state.keys() != mine.keys():
            raise ValueError(f"a learner's state has {sorted(mine)}, not {sorted(state)}")
        for name in ("windows", "config", "augment", "sampling"):
            if state.get(name) != mine.get(name):
                raise ValueError(
                    f"the state was saved with {name} {state[name]}, this learner has {mine[name]}"
                )
        if type(state["step"]) is not int or state["step"] < 0:
            raise ValueError(f"step is {state['step']!r}; it must be a number of steps")
        self._agent.restore(state["weights"])
        self._adam.load_state_dict(state["adam"])
        if self._average is not None:
            self._average[0].restore(state["average"])
        self._step = state["step"]


def _tensors(batch: Batch) -> Tensors:
    """Copies: memory of PyTorch's own is aligned alike in every run, so that results repeat to the bit."""
    obs = {k: torch.tensor(v) for k, v in batch.obs.items()}
    return Tensors(obs, torch.tensor(batch.action), torch.tensor(batch.mask))


def _arrays(batch: Tensors) -> Batch:
    return Batch({k: v.numpy() for k, v in batch.obs.items()}, batch.action.numpy(), batch.mask.numpy())


@contextmanager
def _seeded(seed: int, step: int = 0) -> Iterator[None]:
    """Noise that follows from (seed, step) alone; the caller's generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0] >> 1))
        yield
