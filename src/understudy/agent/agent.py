"""The learned policy: normalisers, trunk and head in one object that speaks the environment's units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from understudy import heads, nets
from understudy.actions import ChunkFrame, ChunkRelative
from understudy.agent.door import check_frame, check_members, windows
from understudy.agent.normalize import Columns, Kind, Normalizer, columns_of
from understudy.agent.single import Single
from understudy.agent.single_ensemble import SingleEnsemble, quick
from understudy.dataset import Dataset, Windows
from understudy.episode import Array
from understudy.serial import spec, write_described

__all__ = ["Agent"]

Tensors = Mapping[str, Tensor]
Bounds = tuple[ArrayLike, ArrayLike]

FORMAT, VERSION = "understudy-agent", 1
DESCRIPTION, WEIGHTS = "agent.json", "weights.safetensors"
_LONGEST = 1 << 20  # of histories and chunks


class Agent(nn.Module):
    """Raw observations in, raw actions out; what is normalised never leaves.

    It is in evaluation mode, but for the moment of a learner's step. `Agent.build` fits one to data.

    Shapes: B batch, K history, H horizon, A action width.

    Args:
        obs: the normaliser of each observation.
        action: the normaliser of actions.
        trunk: how the trunk is built.
        head: how the head is built.
        history: K >= 1, the number of observations seen.
        horizon: H >= 1, the number of actions predicted.
        bounds: (low, high), each [A] in raw units, to which actions are clipped before they leave. Without
            them nothing is clipped.
        frame: None, or how the head's actions are relative to the pose at a chunk's start. Then `act` and
            `chunks` give absolute actions all the same; methods on tensors speak of relative ones.

    Raises:
        ValueError: when head, trunk and normalisers do not fit together.
    """

    trunk: nets.Trunk
    head: heads.Head
    low: Tensor | None
    high: Tensor | None

    def __init__(
        self,
        obs: Mapping[str, Normalizer],
        action: Normalizer,
        trunk: nets.TrunkConfig,
        head: heads.HeadConfig,
        history: int,
        horizon: int,
        bounds: Bounds | None = None,
        frame: ChunkFrame | None = None,
    ) -> None:
        super().__init__()
        columns, self.frame = action.columns, frame
        if frame is not None:
            check_frame(frame, columns, obs, bounded=bounds is not None)
        if not obs:
            raise ValueError("obs is empty; an agent needs at least one observation")
        if not (1 <= history <= _LONGEST and 1 <= horizon <= _LONGEST):
            raise ValueError(f"history {history} and horizon {horizon} must both lie in [1, {_LONGEST}]")
        if len(columns.shape) != 1 or columns.angles or columns.quaternions:
            raise ValueError("actions must be vectors without angles and quaternions, which have no inverse")
        self.history, self.horizon, self.actions = history, horizon, columns.shape[0]
        self.trunk_config, self.head_config = trunk, head
        # Twice: as plain attributes, found in a tenth of the time, and as submodules, whose names may not
        # hold the dots that names of observations may.
        self.obs_normalizers = {k: obs[k] for k in sorted(obs)}
        self.action_normalizer = action
        self._columns = {k: n.columns for k, n in self.obs_normalizers.items()}
        self.obs, self.action = nn.ModuleList(self.obs_normalizers.values()), action
        check_members(trunk, head)
        self.trunk = trunk.build({k: n.columns.encoded for k, n in self.obs_normalizers.items()}, history)
        self.head = head.build(self.trunk.width, horizon, self.actions)
        if self.head.discrete != columns.discrete:
            kinds = ("continuous", "discrete")
            raise ValueError(
                f"the {head.kind} head gives {kinds[self.head.discrete]} actions, but the data has "
                f"{kinds[columns.discrete]} ones"
            )
        if self.head.bounded and columns.kind != "range":
            raise ValueError(
                f"the head's actions end at ±1, but the normaliser is {columns.kind!r}; it must be 'range'"
            )
        self._set_bounds(bounds)
        self._single = self._new_single()
        self.eval()

    def _set_bounds(self, bounds: Bounds | None) -> None:
        if bounds is not None and self.head.discrete:
            raise ValueError("discrete choices have no bounds")
        low, high = (None, None) if bounds is None else (np.array(b, np.float32) for b in bounds)
        for name, bound in (("low", low), ("high", high)):
            if bound is not None and (bound.shape != (self.actions,) or not np.isfinite(bound).all()):
                raise ValueError(f"{name} is {bound.tolist()}; it must be {self.actions} finite numbers")
            self.register_buffer(name, None if bound is None else torch.from_numpy(bound))
        if low is not None and high is not None and (low > high).any():
            raise ValueError(f"low {low.tolist()} must nowhere be above high {high.tolist()}")

    @classmethod
    def build(
        cls,
        data: Dataset,
        trunk: nets.TrunkConfig,
        head: heads.HeadConfig,
        *,
        history: int = 1,
        horizon: int = 1,
        observations: Kind = "standard",
        actions: Kind | None = None,
        angles: Mapping[str, Sequence[int]] | None = None,
        quaternions: Mapping[str, Sequence[tuple[int, Literal["wxyz", "xyzw"]]]] | None = None,
        bounds: Bounds | None = None,
        frame: ChunkFrame | None = None,
        seed: int = 0,
    ) -> Agent:
        """An agent with fresh weights and normalisers fitted to `data`, which should be training data only.

        Args:
            data: whose observations and labels are measured.
            trunk: as in the constructor, and so are head, history, horizon, bounds and frame.
            observations: how observations are normalised; see `Columns`.
            actions: how actions are. None: "range" for a head that ends at ±1, "identity" for discrete
                choices, else "standard".
            angles: observation name -> dimensions that are angles in radians.
            quaternions: observation name -> (first dimension, "wxyz" | "xyzw") of unit quaternions.
            seed: of the first weights.
        """
        named = (
            {k: tuple(v) for k, v in (angles or {}).items()},
            {k: tuple(v) for k, v in (quaternions or {}).items()},
        )
        obs = {k: Normalizer.fit(data, k, c) for k, c in columns_of(data, observations, *named).items()}
        acted = data if frame is None else ChunkRelative(data, 1, horizon, frame)
        dtype, shape = acted.schema["action"]
        discrete = dtype == "int64"
        usual: Kind = "identity" if discrete else "range" if head.bounded else "standard"
        columns = Columns(shape, usual if actions is None else actions, discrete=discrete)
        action = Normalizer.fit(acted, "label", columns)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(obs, action, trunk, head, history, horizon, bounds, frame)

    def examples(self, data: Dataset) -> Windows | ChunkRelative:
        """All windows of `data`, with actions as the head should predict them."""
        if self.frame is None:
            return data.windows(self.history, self.horizon)
        return ChunkRelative(data, self.history, self.horizon, self.frame)

    # ── tensors in raw units ──────────────────────────────────────────────────────────────────────────

    def normalised(self, obs: Tensors) -> dict[str, Tensor]:
        """Raw observations, name -> [B, K, *shape], to what the trunk sees, name -> [B, K, *encoded]."""
        return {k: n.forward(obs[k]) for k, n in self.obs_normalizers.items()}

    def tokens(self, obs: Tensors) -> Tensor:
        """Raw observations, name -> [B, K, *shape], to tokens [B, N, F]."""
        return self.trunk.forward(self.normalised(obs))

    def loss(self, obs: Tensors, action: Tensor, mask: Tensor) -> Tensor:
        """[B], the head's loss of raw actions [B, H, A] with mask [B, H], in normalised units."""
        return self.head.loss(self.tokens(obs), self.action_normalizer.forward(action), mask)

    def log_prob(self, obs: Tensors, action: Tensor) -> Tensor:
        """[B], the log density of raw actions [B, H, A] per raw unit (log mass where discrete).

        Raises:
            TypeError: when the head has no density.
        """
        if not isinstance(self.head, heads.Density):
            raise TypeError(f"the {self.head_config.kind} head has no density")
        log = self.head.log_prob(self.tokens(obs), self.action_normalizer.forward(action))
        return log - self.horizon * self.action_normalizer.log_volume()

    def mode(self, obs: Tensors) -> Tensor:
        """[B, H, A], the raw actions to take when nothing should be left to chance."""
        return self._leaving(self.head.mode(self.tokens(obs)))

    def sample(self, obs: Tensors, generator: torch.Generator | None = None, noise: float = 1.0) -> Tensor:
        """[B, H, A], raw actions drawn; `noise` scales the spread within a mode."""
        return self._leaving(self.head.sample(self.tokens(obs), generator, noise))

    def _leaving(self, z: Tensor) -> Tensor:
        action = self.action_normalizer.inverse(z)
        low, high = self.low, self.high
        return action if low is None or high is None else action.clamp(low, high)

    # ── arrays in raw units ───────────────────────────────────────────────────────────────────────────

    def act(self, obs: Mapping[str, ArrayLike] | ArrayLike) -> Array:
        """The first action of the mode, [A] for one observation or [B, A] for a batch, in raw units.

        An observation is a mapping, or a bare array where the agent knows only one. With a history of
        K > 1 it is a window [K, ...], oldest first; `Chunked` remembers it for you.

        Raises:
            ValueError: for a name, shape or value that does not belong.
        """
        checked, single = self.windows(obs)
        chunks = self.chunks(checked)
        return chunks[0, 0] if single else chunks[:, 0]

    def chunks(
        self,
        obs: Mapping[str, Array],
        noise: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Array:
        """Actions [B, H, A] from what `windows` returned, name -> [B, K, *shape], both in raw units.

        The mode; or, where `noise` is given, a draw with that share of the spread within a mode.

        Raises:
            ValueError: when the result is not finite.
        """
        single = self.single
        if noise is None and single is not None and len(next(iter(obs.values()))) == 1:
            out = single(obs)[None]
        else:
            with torch.inference_mode():
                seen = {k: torch.from_numpy(x) for k, x in obs.items()}
                out = (self.mode(seen) if noise is None else self.sample(seen, generator, noise)).numpy()
        if not np.isfinite(out).all():
            raise ValueError("the action is not finite: the observation is too far from all that was learned")
        return out if self.frame is None else self.frame.to_absolute(obs, out)

    def windows(self, obs: Mapping[str, ArrayLike] | ArrayLike) -> tuple[dict[str, Array], bool]:
        """Checked arrays, name -> [B, K, *shape], and whether it was a single window (so B = 1).

        Raises:
            ValueError: for a name, shape, dtype or value that does not belong.
        """
        return windows(obs, self._columns, self.history)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in ("trunk", "head") and "_single" in self.__dict__:  # it stands in for another now
            self._single = self._new_single()

    @property
    def single(self) -> Single | SingleEnsemble | None:
        """The fast way for one observation, or None where there is none."""
        single = self._single
        if single is not None and not single.current:  # the weights have moved to other memory
            single = self._single = self._new_single()
        return single

    def _new_single(self) -> Single | SingleEnsemble | None:
        bounds = None if self.low is None or self.high is None else (self.low, self.high)
        return quick(self.obs_normalizers, self.action_normalizer, self.trunk, self.head, bounds)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """As in PyTorch."""
        result = super().load_state_dict(*args, **kwargs)
        self._single = self._new_single()
        return result

    # ── description and files ─────────────────────────────────────────────────────────────────────────

    @property
    def description(self) -> dict[str, Any]:
        """All that is needed to build this agent but for its tensors, as JSON."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "history": self.history,
            "horizon": self.horizon,
            "obs": {k: asdict(n.columns) for k, n in self.obs_normalizers.items()},
            "action": asdict(self.action_normalizer.columns),
            "trunk": spec(self.trunk_config),
            "head": spec(self.head_config),
            "bounded": self.low is not None,
            **({} if self.frame is None else {"frame": self.frame.text()}),
        }

    def save(self, folder: str | Path) -> None:
        """Writes agent.json and weights.safetensors, each whole or not at all; `load` is the way back."""
        folder = Path(folder)
        write_described(folder / DESCRIPTION, folder / WEIGHTS, self.description, self.state_dict())

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes over the tensors of an equal agent's `state_dict`, in place.

        Raises:
            ValueError: when a tensor is missing, unknown, of another shape or dtype, or not finite.
        """
        check_state(self.state_dict(), state)
        self.load_state_dict(dict(state))

    def __reduce__(self) -> tuple[Any, ...]:
        # Arrays, because tensors that share one buffer would each travel with the whole of it.
        from understudy.agent.files import rebuilt

        return rebuilt, (self.description, {k: v.numpy() for k, v in self.state_dict().items()})


def check_state(wanted: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Refuses tensors that are missing, unknown, of another shape or dtype, or not finite."""
    if different := sorted(wanted.keys() ^ state.keys()):
        raise ValueError(f"tensor {different[0]!r} is {'missing' if different[0] in wanted else 'unknown'}")
    for name, want in wanted.items():
        have = state[name]
        if not isinstance(have, Tensor) or (have.shape, have.dtype) != (want.shape, want.dtype):
            got = f"{have.dtype}{list(have.shape)}" if isinstance(have, Tensor) else type(have).__name__
            raise ValueError(f"tensor {name!r} is {got}; it must be {want.dtype}{list(want.shape)}")
        if not bool(have.isfinite().all()):
            raise ValueError(f"tensor {name!r} holds values that are not finite")
        if name.endswith(".scale") and not bool((have > 0).all()):
            raise ValueError(f"tensor {name!r} holds a scale that is not positive")
