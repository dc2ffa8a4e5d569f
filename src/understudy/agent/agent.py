"""The learned policy: normalisers, trunk and head in one object that speaks the environment's units."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from understudy import heads, nets
from understudy.agent.normalize import Columns, Kind, Normalizer, columns_of
from understudy.dataset import Dataset
from understudy.episode import Array, as_obs
from understudy.serial import CorruptFile, parse, read_json, read_tree, write_json, write_tree

__all__ = ["Agent", "load"]

Tensors = Mapping[str, Tensor]
Bounds = tuple[ArrayLike, ArrayLike]

_FORMAT, _VERSION = "understudy-agent", 1
_DESCRIPTION, _WEIGHTS = "agent.json", "weights.safetensors"


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
        bounds: (low, high), each [A] in raw units: actions that leave are clipped to them. Without, nothing is.

    Raises:
        ValueError: when head, trunk and normalisers do not fit together.
    """

    action: Normalizer
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
    ) -> None:
        super().__init__()
        if not obs:
            raise ValueError("obs is empty; an agent needs at least one observation")
        if not (1 <= history <= 1 << 20 and 1 <= horizon <= 1 << 20):
            raise ValueError(f"history {history} and horizon {horizon} must both lie in [1, 2^20]")
        if len(action.columns.shape) != 1 or action.columns.angles or action.columns.quaternions:
            raise ValueError("actions must be vectors, without angles and quaternions: these have no inverse")
        self.keys = tuple(sorted(obs))
        self.history, self.horizon = history, horizon
        self.actions = action.columns.shape[0]
        self._obs = tuple(obs[k] for k in self.keys)
        self.obs = nn.ModuleList(self._obs)  # by position: names may hold dots
        self.action = action
        self.trunk_config, self.head_config = trunk, head
        self.trunk = trunk.build({k: obs[k].columns.encoded for k in self.keys}, history)
        self.head = head.build(self.trunk.width, horizon, self.actions)
        if self.head.discrete != action.columns.discrete:
            kinds = ("continuous", "discrete")
            raise ValueError(
                f"the {head.kind} head gives {kinds[self.head.discrete]} actions, the data has "
                f"{kinds[action.columns.discrete]} ones"
            )
        if self.head.bounded and action.columns.kind != "range":
            raise ValueError(
                f"the {head.kind} head ends at ±1, but actions are normalised by {action.columns.kind!r}; "
                "it must be 'range'"
            )
        if bounds is not None and self.head.discrete:
            raise ValueError("discrete actions have no bounds")
        for name, bound in zip(("low", "high"), bounds or (None, None), strict=True):
            value = None if bound is None else torch.as_tensor(np.array(bound, np.float32))
            if value is not None and value.shape != (self.actions,):
                raise ValueError(f"{name} has shape {list(value.shape)}; it must be [{self.actions}]")
            self.register_buffer(name, value)
        if self.low is not None and self.high is not None and not bool((self.low < self.high).all()):
            raise ValueError("low must be below high in every action dimension")
        self.eval()

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
        seed: int = 0,
    ) -> Agent:
        """An agent with fresh weights whose normalisers are fitted to `data`, which should be training data only.

        Args:
            observations: how observations are normalised; see `Columns`.
            actions: how actions are. None: "range" for a head that ends at ±1, else "standard"; discrete
                choices are left as they are.
            angles: observation name -> dimensions that are angles in radians.
            quaternions: observation name -> (first dimension, "wxyz" | "xyzw") of unit quaternions.
            seed: of the first weights.
        """
        columns = columns_of(
            data,
            observations,
            {k: tuple(v) for k, v in (angles or {}).items()},
            {k: tuple(v) for k, v in (quaternions or {}).items()},
        )
        obs = {k: Normalizer.fit(data, k, c) for k, c in columns.items()}
        dtype, shape = data.schema["action"]
        discrete = dtype == "int64"
        bounded = bool(getattr(head, "squash", False))
        kind: Kind = "identity" if discrete else actions or ("range" if bounded else "standard")
        if discrete and actions not in (None, "identity"):
            raise ValueError(f"actions are discrete choices; their normaliser must be 'identity', not {actions!r}")
        action = Normalizer.fit(data, "label", Columns(shape, kind, discrete=discrete))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(obs, action, trunk, head, history, horizon, bounds)

    # ── tensors in raw units ──────────────────────────────────────────────────────────────────────────

    def normalised(self, obs: Tensors) -> dict[str, Tensor]:
        """Raw observations, name -> [B, K, *shape], to what the trunk sees, name -> [B, K, *encoded]."""
        return {k: n.forward(obs[k]) for k, n in zip(self.keys, self._obs, strict=True)}

    def tokens(self, obs: Tensors) -> Tensor:
        """Raw observations, name -> [B, K, *shape], to tokens [B, N, F]."""
        out: Tensor = self.trunk(self.normalised(obs))
        return out

    def loss(self, obs: Tensors, action: Tensor, mask: Tensor) -> Tensor:
        """[B], the head's loss of raw actions [B, H, A] with mask [B, H], in normalised units."""
        out: Tensor = self.head.loss(self.tokens(obs), self.action(action), mask)
        return out

    def log_prob(self, obs: Tensors, action: Tensor) -> Tensor:
        """[B], the log density of raw actions [B, H, A] per raw unit (log mass where discrete).

        Raises:
            TypeError: when the head has no density.
        """
        if not isinstance(self.head, heads.Density):
            raise TypeError(f"the {self.head_config.kind} head has no density")
        log: Tensor = self.head.log_prob(self.tokens(obs), self.action(action))
        return log - self.horizon * self.action.log_volume()

    def mode(self, obs: Tensors) -> Tensor:
        """[B, H, A], the raw actions to take when nothing should be left to chance."""
        return self._leaving(self.head.mode(self.tokens(obs)))

    def sample(self, obs: Tensors, generator: torch.Generator | None = None, noise: float = 1.0) -> Tensor:
        """[B, H, A], raw actions drawn; `noise` scales the spread within a mode."""
        return self._leaving(self.head.sample(self.tokens(obs), generator, noise))

    def _leaving(self, z: Tensor) -> Tensor:
        action = self.action.inverse(z)
        return action if self.low is None else action.clamp(self.low, self.high)

    # ── arrays in raw units ───────────────────────────────────────────────────────────────────────────

    @torch.inference_mode()
    def act(self, obs: Mapping[str, ArrayLike] | ArrayLike) -> Array:
        """The first action of the mode, [A] for one observation or [B, A] for a batch, in raw units.

        An observation is a mapping, or a bare array where the agent knows only one. With a history of
        K > 1 it is a window [K, ...], oldest first; `Chunked` remembers it for you.

        Raises:
            ValueError: for a name, shape or value that does not belong.
        """
        windows, single = self.windows(obs)
        action: Array = self._leaving(self.head.mode(self.tokens(windows)))[:, 0].numpy()
        return action[0] if single else action

    def windows(self, obs: Mapping[str, ArrayLike] | ArrayLike) -> tuple[dict[str, Tensor], bool]:
        """Checked tensors, name -> [B, K, *shape], and whether it was a single window (B = 1)."""
        if not isinstance(obs, Mapping):
            if len(self.keys) > 1:
                raise ValueError(f"obs is a bare array, but there are several: {list(self.keys)}")
            obs = {self.keys[0]: obs}
        elif obs.keys() != set(self.keys):
            obs = as_obs(obs)
            if obs.keys() != set(self.keys):
                raise ValueError(f"obs has {sorted(obs)}; the agent knows {list(self.keys)}")
        out: dict[str, Tensor] = {}
        single = False
        for key, normalizer in zip(self.keys, self._obs, strict=True):
            x = np.asarray(obs[key])
            image, shape = normalizer.columns.image, normalizer.columns.shape
            if image != (x.dtype == np.uint8):
                raise ValueError(f"obs[{key!r}] has dtype {x.dtype}; it must be {'uint8' if image else 'float32'}")
            if x.dtype != np.float32 and not image:
                x = x.astype(np.float32)
            window = shape if self.history == 1 else (self.history, *shape)
            single = x.shape == window
            if not single and (x.shape[1:] != window or not len(x)):
                raise ValueError(
                    f"obs[{key!r}] has shape {list(x.shape)}; it must be {list(window)}, or [B, ...] of these"
                )
            # The sum is not finite when a value is not; it may also overflow, so only then look closely.
            if not image and not math.isfinite(x.sum()) and not np.isfinite(x).all():
                raise ValueError(f"obs[{key!r}] holds a value that is not finite in float32")
            if not x.flags.writeable or not x.flags.c_contiguous:
                x = x.copy()
            out[key] = torch.from_numpy(x).view(-1, self.history, *shape)
        if len(self.keys) > 1 and len({len(x) for x in out.values()}) > 1:
            raise ValueError(f"obs has batches of {({k: len(x) for k, x in out.items()})}; they must be equal")
        return out, single

    # ── description and files ─────────────────────────────────────────────────────────────────────────

    @property
    def description(self) -> dict[str, Any]:
        """All that is needed to build this agent but for its tensors, as JSON."""
        return {
            "format": _FORMAT,
            "version": _VERSION,
            "history": self.history,
            "horizon": self.horizon,
            "obs": {k: asdict(n.columns) for k, n in zip(self.keys, self._obs, strict=True)},
            "action": asdict(self.action.columns),
            "trunk": {"kind": self.trunk_config.kind, **asdict(self.trunk_config)},
            "head": {"kind": self.head_config.kind, **asdict(self.head_config)},
            "bounded": self.low is not None,
        }

    @property
    def parameters_count(self) -> int:
        """How many numbers are learned."""
        return sum(p.numel() for p in self.parameters())

    def save(self, folder: str | Path) -> None:
        """Writes agent.json and weights.safetensors, each whole or not at all."""
        folder = Path(folder)
        write_tree(folder / _WEIGHTS, self.state_dict())
        digest = hashlib.sha256((folder / _WEIGHTS).read_bytes()).hexdigest()
        write_json(folder / _DESCRIPTION, {**self.description, "weights": digest})

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes over the tensors of an equal agent's `state_dict`, in place.

        Raises:
            ValueError: when a tensor is missing, unknown, of another shape or dtype, or not finite.
        """
        _check_state(self.state_dict(), state)
        self.load_state_dict(dict(state))

    def __reduce__(self) -> tuple[Any, ...]:
        # Arrays, because tensors that share one buffer would each travel with the whole of it.
        return _rebuilt, (self.description, {k: v.numpy() for k, v in self.state_dict().items()})


def _rebuilt(description: Mapping[str, Any], state: Mapping[str, Array]) -> Agent:
    return _from_description(description, {k: torch.from_numpy(v.copy()) for k, v in state.items()})


def load(folder: str | Path) -> Agent:
    """The agent in a folder written by `Agent.save`, equal to the last bit. No code is run.

    Raises:
        FileNotFoundError: when one of the two files is missing.
        CorruptFile: a ValueError, when a file is damaged, the two do not belong together, or they hold
            what this version does not understand.
    """
    folder = Path(folder)
    description = read_json(folder / _DESCRIPTION)
    digest = description.pop("weights", None)
    state = read_tree(folder / _WEIGHTS)
    if digest != hashlib.sha256((folder / _WEIGHTS).read_bytes()).hexdigest():
        raise CorruptFile(f"{folder / _WEIGHTS} is not the file that {_DESCRIPTION} was written with")
    try:
        return _from_description(description, state)
    except ValueError as error:
        raise CorruptFile(f"{folder / _DESCRIPTION}: {error}") from None


def _config(kinds: Mapping[str, type[Any]], spec: object, what: str) -> Any:
    kind = spec.get("kind") if isinstance(spec, Mapping) else None
    if not isinstance(spec, Mapping) or not isinstance(kind, str) or kind not in kinds:
        raise ValueError(f"{what} is of kind {kind!r}; this version knows {sorted(kinds)}")
    return parse(kinds[kind], {k: v for k, v in spec.items() if k != "kind"}, what)


def _from_description(description: Mapping[str, Any], state: Mapping[str, Any]) -> Agent:
    """An agent from JSON and tensors; every tensor must be there with its shape and dtype, and no other."""
    d = dict(description)
    if (d.pop("format", None), d.pop("version", None)) != (_FORMAT, _VERSION):
        raise ValueError(
            f"format is {description.get('format')!r} version {description.get('version')!r}; this version "
            f"reads {_FORMAT!r} version {_VERSION}"
        )
    names = {"history", "horizon", "obs", "action", "trunk", "head", "bounded"}
    if d.keys() != names:
        raise ValueError(f"the description's fields are {sorted(d)}; they must be {sorted(names)}")
    for name in ("history", "horizon"):
        if type(d[name]) is not int:
            raise ValueError(f"{name} is {d[name]!r}; it must be int")
    if not isinstance(d["obs"], Mapping) or type(d["bounded"]) is not bool:
        raise ValueError("obs must be an object and bounded true or false")
    columns = {k: parse(Columns, v, f"obs.{k}") for k, v in d["obs"].items()}
    action = parse(Columns, d["action"], "action")
    with torch.device("meta"):  # shapes alone: a description cannot make this machine allocate
        agent = Agent(
            {k: _blank(c) for k, c in columns.items()},
            _blank(action),
            _config(nets.KINDS, d["trunk"], "trunk"),
            _config(heads.KINDS, d["head"], "head"),
            d["history"],
            d["horizon"],
        )
    if d["bounded"]:
        agent.low = agent.high = torch.empty(action.shape, device="meta")
    _check_state(agent.state_dict(), state)
    agent.load_state_dict(dict(state), assign=True)
    return agent


def _check_state(wanted: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
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


def _blank(columns: Columns) -> Normalizer:
    return Normalizer(columns, torch.empty(columns.statistics), torch.empty(columns.statistics))
