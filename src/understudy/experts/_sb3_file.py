"""What stands in a Stable-Baselines3 file, in words and weights."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from understudy.episode import Array, as_obs
from understudy.experts.advice import Bounded

Layers: TypeAlias = tuple[tuple[Array, Array], ...]
State: TypeAlias = Mapping[str, Array]

_MOST_WORDS, _MOST_WEIGHTS = 64 << 20, 1 << 30  # bytes
# Whose networks are what their weights' names say. A class from elsewhere may compute something else.
_MODULES = {
    "stable_baselines3.common.policies",
    "stable_baselines3.sac.policies",
    "stable_baselines3.td3.policies",
    "stable_baselines3.dqn.policies",
    "sb3_contrib.tqc.policies",
    "imitation.policies.base",
}
_EXTRACTORS = {"FlattenExtractor", "CombinedExtractor"}


@dataclass(frozen=True)
class About:
    """What `data` says in words.

    Args:
        keys: the names of several observations, by this library's names; None where there is one.
        choices: the number of discrete choices, None for continuous actions.
        low, high: the bounds of actions as they are printed.
        activation: the class of the activation, None where it is the algorithm's own.
        squashed: whether a policy with state-dependent exploration squashes.
        clip_mean: the bound of a mean with state-dependent exploration.
        normalised: whether it is known to have been trained behind `VecNormalize`.
    """

    keys: tuple[str, ...] | None
    choices: int | None
    low: str
    high: str
    activation: str | None
    squashed: bool
    clip_mean: float
    normalised: bool


@dataclass(frozen=True)
class Network:
    """What plays: layers, the algorithm's own activation, whether actions are squashed, and within what."""

    layers: Layers
    activation: str
    squashed: bool
    limit: float = np.inf

    @property
    def outputs(self) -> int:
        """How many numbers come out."""
        return int(self.layers[-1][0].shape[0])


def read(path: Path) -> tuple[About, State]:
    """The words and the weights.

    Raises:
        ValueError: when the file is damaged, hostile or of another kind.
    """
    from understudy.formats._zips import Zip  # here, because few experts need the formats

    with Zip(path) as archive:
        if missing := {"data", "policy.pth"} - set(archive.names()):
            raise ValueError(f"{path} is not a Stable-Baselines3 file: it has no {min(missing)!r}")
        words, weights = archive.bytes("data", _MOST_WORDS), archive.bytes("policy.pth", _MOST_WEIGHTS)
    try:
        data = json.loads(words)
    except (ValueError, RecursionError):
        raise ValueError(f"{path}: 'data' is not valid JSON") from None
    if not isinstance(data, dict):
        raise ValueError(f"{path}: 'data' is not a JSON object")
    return _about(path, data), _weights(path, weights)


def _part(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = data.get(name)
    return value if isinstance(value, dict) else {}


def _class(text: object) -> str:
    """ "<class 'torch.nn.modules.activation.ReLU'>" to "ReLU"; what is not of that form stays."""
    found = re.fullmatch(r"<class '(?:[\w.]*\.)?(\w+)'>", str(text))
    return found[1] if found else str(text)


def _about(path: Path, data: Mapping[str, Any]) -> About:
    policy, more = _part(data, "policy_class"), _part(data, "policy_kwargs")
    module = str(policy.get("__module__", "an unknown module"))
    if module not in _MODULES:
        hint = "; recurrent policies are not read" if "recurrent" in module else ""
        raise ValueError(f"{path}: its policy class is from {module[:80]}, whose network is not known{hint}")
    extractor = _class(more.get("features_extractor_class", "FlattenExtractor"))
    if extractor not in _EXTRACTORS:
        raise ValueError(f"{path} sees through a {extractor[:50]}; only flat observations are read")
    seen, acts = _part(data, "observation_space"), _part(data, "action_space")
    kind = _class(acts.get(":type:", ""))
    if kind not in ("Box", "Discrete"):
        raise ValueError(f"{path}: its actions are {kind[:50] or 'not described'}; Box and Discrete are read")
    on_policy = "gae_lambda" in data
    clip_mean = more.get("clip_mean", 2.0)
    return About(
        keys=_names(path, str(seen.get("spaces", ""))) if _class(seen.get(":type:")) == "Dict" else None,
        choices=_whole(path, acts.get("n")) if kind == "Discrete" else None,
        low=str(acts.get("low", "")),
        high=str(acts.get("high", "")),
        activation=_class(more["activation_fn"]) if "activation_fn" in more else None,
        squashed=more.get("squash_output") is True,
        clip_mean=float(clip_mean) if isinstance(clip_mean, int | float) else 2.0,
        # Algorithms that replay what they saw keep this anyway; the others only when it was normalised.
        normalised=on_policy and data.get("_last_original_obs") is not None,
    )


def _names(path: Path, spaces: str) -> tuple[str, ...]:
    """The names in a printed dictionary of spaces, in their order, as this library calls them."""
    names = re.findall(r"'([^'\\]+)'(?:, |: )(?:Box|Discrete|MultiDiscrete|MultiBinary)\(", spaces)
    if not names or len(set(names)) != len(names):
        raise ValueError(f"{path}: the names of its observations cannot be read")
    return tuple(as_obs(dict.fromkeys(names)))


def _whole(path: Path, text: object) -> int:
    if not re.fullmatch(r"[1-9]\d{0,8}", str(text)):
        raise ValueError(f"{path}: it has {str(text)[:50]!r} choices; that is no number of them")
    return int(str(text))


def _weights(path: Path, raw: bytes) -> dict[str, Array]:
    """The state dictionary as float32 arrays, held against the bytes they lie in."""
    try:
        import torch
    except ImportError:
        raise ImportError("reading Stable-Baselines3 files needs PyTorch: pip install torch") from None
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as inner:
            infos = inner.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        raise ValueError(f"{path}: 'policy.pth' is damaged") from None
    if any(i.compress_type != zipfile.ZIP_STORED for i in infos) or sum(i.file_size for i in infos) > len(
        raw
    ):
        raise ValueError(f"{path}: 'policy.pth' claims more than its {len(raw)} bytes hold")
    try:
        state = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
    except Exception:  # what PyTorch says here advises to open it all the same
        raise ValueError(f"{path}: 'policy.pth' is damaged, or holds more than weights") from None
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise ValueError(f"{path}: 'policy.pth' does not hold weights by name")
    # A view can repeat one stored number as often as it likes, and names can share what they view.
    if 4 * sum(v.numel() for v in state.values()) > 8 * len(raw):
        raise ValueError(f"{path}: 'policy.pth' claims more weights than its {len(raw)} bytes hold")
    found: dict[str, Array] = {}
    for name, tensor in state.items():
        plain = tensor.layout is torch.strided and tensor.device.type == "cpu"
        if not plain or not tensor.is_floating_point():
            raise ValueError(f"{path}: weights {str(name)[:80]!r} are not plain floating-point numbers")
        found[str(name)] = tensor.detach().float().numpy().copy()
        if not np.isfinite(found[str(name)]).all():
            raise ValueError(f"{path}: weights {str(name)[:80]!r} hold a value that is not finite")
    return found


def _stack(state: State, prefix: str) -> list[str]:
    """The layers of a sequence of linear layers with an activation after each: prefix.0, prefix.2, ..."""
    names: list[str] = []
    while f"{prefix}.{2 * len(names)}.weight" in state:
        names.append(f"{prefix}.{2 * len(names)}")
    return names


def network(path: Path, about: About, state: State) -> Network:
    """The network that acts, from the names and shapes of the weights.

    Raises:
        ValueError: when there are weights that this reader does not know, or the layers do not fit together.
    """
    if "action_net.weight" in state:
        names = _stack(state, "mlp_extractor.shared_net") + _stack(state, "mlp_extractor.policy_net")
        names, idle = [*names, "action_net"], ("mlp_extractor.value_net.", "value_net.", "log_std")
        layers = _layers(path, state, names, idle)
        return Network(layers, "Tanh", about.squashed and about.choices is None)
    critics = ("critic.", "critic_target.", "actor_target.")
    if "q_net.q_net.0.weight" in state:
        layers = _layers(path, state, _stack(state, "q_net.q_net"), ("q_net_target.",))
        return Network(layers, "ReLU", squashed=False)
    if "actor.log_std.weight" in state:
        names = [*_stack(state, "actor.latent_pi"), "actor.mu"]
        return Network(_layers(path, state, names, (*critics, "actor.log_std.")), "ReLU", squashed=True)
    if "actor.log_std" in state:  # state-dependent exploration, which also bounds the mean
        bounded = about.clip_mean > 0
        names = [*_stack(state, "actor.latent_pi"), "actor.mu.0" if bounded else "actor.mu"]
        layers = _layers(path, state, names, (*critics, "actor.log_std"))
        return Network(layers, "ReLU", True, about.clip_mean if bounded else np.inf)
    if "actor.mu.0.weight" in state:
        return Network(_layers(path, state, _stack(state, "actor.mu"), critics), "ReLU", squashed=True)
    raise ValueError(f"{path}: its weights are of no policy that is known: {_some(state)}")


def _layers(path: Path, state: State, names: list[str], idle: tuple[str, ...]) -> Layers:
    """The weights and biases of these layers, every other weight being known to play no part."""
    used = {f"{n}.{part}" for n in names for part in ("weight", "bias")}
    if missing := used - state.keys():
        raise ValueError(f"{path}: weights {min(missing)!r} are missing")
    if unknown := {k for k in state.keys() - used if not k.startswith(idle)}:
        signs = {"lstm": "it is recurrent", "cnn": "it sees pictures"}
        why = next((w for s, w in signs.items() if any(s in k for k in unknown)), "its network is not known")
        raise ValueError(f"{path} cannot be read, {why}: it has weights {_some(unknown)}")
    layers = tuple((state[f"{n}.weight"], state[f"{n}.bias"]) for n in names)
    width: int | None = None
    for name, (weight, bias) in zip(names, layers, strict=True):
        fits = weight.ndim == 2 and weight.size and width in (None, weight.shape[1])
        if not fits or bias.shape != weight.shape[:1]:
            raise ValueError(
                f"{path}: layer {name!r} has weights {list(weight.shape)} and biases {list(bias.shape)}, "
                "which do not fit"
            )
        width = weight.shape[0]
    return layers


def _some(names: Any) -> str:
    return ", ".join(sorted(str(n)[:60] for n in names)[:3]) or "none"


def bounds(path: Path, about: About, outputs: int, action: Bounded | None) -> tuple[Array, Array]:
    """The bounds of actions, float32 [A]: those of the file, which must be those of `action`.

    Raises:
        ValueError: when the file's actions are not those of the environment, or cannot be read and `action`
            is missing.
    """
    if action is not None and action.n != about.choices:
        kinds = [f"{n} choices" if n is not None else "continuous" for n in (about.choices, action.n)]
        raise ValueError(f"{path} was trained for actions that are {kinds[0]}; here they are {kinds[1]}")
    if about.choices is not None:
        if about.choices != outputs:
            raise ValueError(f"{path}: {outputs} numbers come out for {about.choices} choices")
        return np.zeros(1, np.float32), np.full(1, outputs - 1, np.float32)
    own_low, own_high = _vector(about.low), _vector(about.high)
    known = own_low is not None and own_high is not None and own_low.size == own_high.size == outputs
    if action is None:
        if own_low is None or own_high is None or not known:
            raise ValueError(f"{path}: the bounds of its actions cannot be read; pass `action`")
        return own_low, own_high
    low, high = (np.asarray(b, np.float32) for b in (action.low, action.high))
    if low.size != outputs:
        raise ValueError(f"{path} was trained for actions of width {outputs}; here they have {low.size}")
    for side, said, its in (("from", own_low, low), ("up to", own_high, high)):
        if known and said is not None and not np.allclose(said, its, rtol=1e-5, atol=1e-7):
            raise ValueError(
                f"{path} was trained for actions {side} {said}; here they go {side} {its}: leave `action` "
                "out to play it in its own units"
            )
    return low, high


def _vector(text: str) -> Array | None:
    """A printed array, flattened; None where it was printed in part, or is none."""
    try:
        values = [float(word) for word in text.replace("[", " ").replace("]", " ").split()]
    except ValueError:
        return None
    return np.array(values, np.float32) if values else None
