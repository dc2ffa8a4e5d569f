"""Policies that Stable-Baselines3 saved, read without it and without unpickling anything.

A file of `model.save` is a zip archive. Its member `data` is JSON in which pickles lie beside the same things
in words; only the words are read. Its member `policy.pth` holds the weights, which PyTorch reads under
`weights_only`. The network follows from the names and shapes of the weights, and is played with NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, final

import numpy as np
from numpy.typing import ArrayLike

from understudy.episode import Array, Obs
from understudy.experts import _sb3_file
from understudy.experts._sb3_file import Layers
from understudy.experts.advice import Bounded

__all__ = ["ObsNorm", "SB3Policy", "load_sb3"]

Finish: TypeAlias = Literal["choose", "clip", "squash"]


@dataclass(frozen=True, eq=False)
class ObsNorm:
    """What Stable-Baselines3's `VecNormalize` did to observations: (x - mean) / sqrt(var + epsilon), clipped.

    Its own file is a pickle, and is not read: `env.obs_rms.mean` and `env.obs_rms.var` are the numbers.

    Args:
        mean, var: [F] each, in the order in which the network sees the observations, or one number for all.
        clip: what the result is clipped to, `clip_obs` there.
        epsilon: as there.

    Raises:
        ValueError: when a number is not finite, or var or clip is negative.
    """

    mean: ArrayLike
    var: ArrayLike
    clip: float = 10.0
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        for name in ("mean", "var"):
            value = np.asarray(getattr(self, name), np.float64)
            value = value.reshape(-1) if value.ndim else value
            if not np.isfinite(value).all() or (name == "var" and (value < 0).any()):
                raise ValueError(f"{name} is {value}; it must be finite, and a variance not negative")
            object.__setattr__(self, name, value)
        if not (self.clip > 0 and self.epsilon > 0):
            raise ValueError(f"clip {self.clip} and epsilon {self.epsilon} must be greater than 0")

    def __call__(self, x: Array) -> Array:
        """[F] as it is seen to [F] as the network wants it, float32."""
        scaled = (x - np.asarray(self.mean)) / np.sqrt(np.asarray(self.var) + self.epsilon)
        return np.asarray(np.clip(scaled, -self.clip, self.clip), np.float32)


def _gelu(x: Array) -> Array:
    from scipy.special import ndtr

    return np.asarray(x * ndtr(x), np.float32)


_ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "Tanh": np.tanh,
    "ReLU": lambda x: np.maximum(x, 0),
    "ELU": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "LeakyReLU": lambda x: np.where(x > 0, x, np.float32(0.01) * x),
    "SiLU": lambda x: x * (0.5 + 0.5 * np.tanh(0.5 * x)),  # the logistic function, without overflow
    "GELU": _gelu,
}


@final
class SB3Policy:
    """The deterministic policy of a Stable-Baselines3 file; `load_sb3` makes it.

    Args:
        name: what it is called.
        layers: weights [out, in] and biases [out], the last one gives the action.
        activation: after every layer but the last: Tanh, ReLU, ELU, LeakyReLU, SiLU or GELU.
        finish: "choose" takes the largest output, "clip" clips to the bounds, "squash" bends by tanh and
            stretches to the bounds.
        low, high: [A], the bounds.
        limit: the outputs are clipped to ± this before they are squashed; infinite where they are not.
        keys: the observations in the order in which the network sees them; None for the only one.
        norm: what is done to them first.
    """

    def __init__(
        self,
        name: str,
        layers: Layers,
        activation: str,
        finish: Finish,
        low: Array,
        high: Array,
        limit: float = np.inf,
        keys: tuple[str, ...] | None = None,
        norm: ObsNorm | None = None,
    ) -> None:
        self.name, self.layers, self.activation, self.finish = name, layers, activation, finish
        self.low, self.high, self.limit, self.keys, self.norm = low, high, limit, keys, norm
        self.width = layers[0][0].shape[1]

    def reset(self, seed: int) -> None: ...

    def act(self, obs: Obs) -> Array:
        """The action [A]: int64 of width 1 for a choice, else float32 in the environment's units.

        Raises:
            ValueError: when the observations are not those that the policy was trained on.
        """
        x = self._seen(obs)
        bend = _ACTIVATIONS[self.activation]
        *hidden, (weight, bias) = self.layers
        for w, b in hidden:
            x = bend(w @ x + b)
        x = weight @ x + bias
        if self.finish == "choose":
            return np.array([np.argmax(x)], np.int64)
        if self.finish == "clip":
            return np.clip(x, self.low, self.high)
        x = np.tanh(np.clip(x, -self.limit, self.limit))
        return np.asarray(self.low + np.float32(0.5) * (x + np.float32(1.0)) * (self.high - self.low))

    def _seen(self, obs: Obs) -> Array:
        """[F], what the network sees."""
        keys = self.keys or tuple(obs)
        if self.keys is None and len(obs) != 1:
            raise ValueError(
                f"{self.name} sees one observation of {self.width} numbers, but there are {sorted(obs)}; "
                "name those it was trained on, in their order, with `keys`"
            )
        if missing := sorted(set(keys) - obs.keys()):
            raise ValueError(f"{self.name} wants observation {missing[0]!r}; there are {sorted(obs)}")
        x = np.concatenate([np.asarray(obs[k], np.float32).reshape(-1) for k in keys])
        if x.size != self.width:
            raise ValueError(f"{self.name} sees {self.width} numbers; observation {list(keys)} has {x.size}")
        return x if self.norm is None else self.norm(x)


def load_sb3(
    path: str | Path,
    action: Bounded | None = None,
    *,
    keys: Sequence[str] | None = None,
    norm: ObsNorm | None = None,
) -> SB3Policy:
    """The deterministic policy in a file that Stable-Baselines3 saved, with nothing in it unpickled.

    PPO, A2C, TRPO, SAC, TQC, TD3, DDPG and DQN with multilayer perceptrons are read, also with several
    observations side by side (`MultiInputPolicy`), with state-dependent exploration, and with the shared
    layers of old versions. Its actions equal `predict(obs, deterministic=True)` to rounding.

    Args:
        action: the actions of the environment it will act in (`understudy.envs.ActionSpec`), against which
            the file's own are held. Without it they are taken from the file.
        keys: which observations it sees, in their order, by this library's names (Gymnasium's "observation"
            is "state" here); None takes the names from the file.
        norm: what `VecNormalize` did to observations, where it was trained behind one.

    Raises:
        ValueError: when it is missing, damaged or no such file, holds what cannot be read (pictures,
            memory, several choices at once), was trained on normalised observations and `norm` is missing,
            or was trained for other actions; the message is one line and says what to do.
        ImportError: without PyTorch, which reads the weights.
    """
    path = Path(path)
    about, state = _sb3_file.read(path)
    found = _sb3_file.network(path, about, state)
    low, high = _sb3_file.bounds(path, about, found.outputs, action)
    finish: Finish = "squash" if found.squashed else "clip"
    if about.choices is not None:
        finish = "choose"
    elif found.squashed and not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise ValueError(f"{path}: squashed actions need finite bounds; they are {low} and {high}")
    if about.normalised and norm is None:
        raise ValueError(
            f"{path} was trained on normalised observations, whose statistics are a pickle that is not read; "
            "pass norm=ObsNorm(env.obs_rms.mean, env.obs_rms.var), or ObsNorm(0, 1, inf) where only rewards "
            "were normalised"
        )
    if (activation := about.activation or found.activation) not in _ACTIVATIONS:
        raise ValueError(f"{path}: activation {activation[:50]!r} is not one of {', '.join(_ACTIVATIONS)}")
    width = found.layers[0][0].shape[1]
    if norm is not None and {np.size(norm.mean), np.size(norm.var)} - {1, width}:
        raise ValueError(
            f"norm has {np.size(norm.mean)} means and {np.size(norm.var)} variances; the policy in {path} "
            f"sees {width} numbers"
        )
    seen = about.keys if keys is None else tuple(keys)
    return SB3Policy(path.stem, found.layers, activation, finish, low, high, found.limit, seen, norm)
