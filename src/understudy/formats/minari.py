"""Minari: a folder data/ with main_data.hdf5 and metadata.json."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from understudy.episode import Array, Episode, as_obs
from understudy.formats._facts import nonempty
from understudy.formats._hdf5 import Opened, is_hdf5, opened
from understudy.formats._hdf5_extras import Extras, write_extras
from understudy.formats._hdf5_writing import created, put, stored_names
from understudy.formats.notes import note
from understudy.formats.placing import new_folder
from understudy.storage.files import DataError, Root

__all__ = ["Reading", "Writing", "episodes", "recognises", "write"]

ABOUT = "Minari, a folder with data/main_data.hdf5 and data/metadata.json"
NEEDS = ("h5py",)

_EPISODE = re.compile(r"episode_(\d{1,18})")
_ID = re.compile(r"[-_\w]+-v\d+")
_METADATA = 256 << 20  # bytes; spaces are stored with every bound, those of images too
_DEPTH = 8
_FILE = "main_data.hdf5"


@dataclass(frozen=True)
class Reading:
    """How Minari's episodes become ours.

    Attributes:
        success: the name in the step infos that says whether the task is done; "" means `success` or
            `is_success`, where there is one.
    """

    success: str = ""


@dataclass(frozen=True)
class Writing:
    """How episodes become Minari's.

    Attributes:
        dataset_id: Minari's name, such as "arm/push-v0"; "" means the folder's name, with "-v0" behind it
            unless it ends in a version.
        author: who made it.
        email: the author's address.
        code: where the code is that made it.
        description: what it is.
        env_spec: JSON of the Gymnasium environment; "" means meta["env_spec"], or none.
        choices: how many discrete actions there are to choose from; 0 means that nobody knows.
    """

    dataset_id: str = ""
    author: str = ""
    email: str = ""
    code: str = ""
    description: str = ""
    env_spec: str = ""
    choices: int = 0


def _data(path: Path) -> Path:
    """The folder in which the files lie: itself, or `data` in it."""
    return path if os.path.isfile(path / _FILE) else path / "data"


def recognises(path: Path) -> bool:
    """Whether it is such a folder, or its folder `data`."""
    data = _data(path)
    return is_hdf5(data / _FILE) and os.path.isfile(data / "metadata.json")


def episodes(path: Path, options: Reading) -> Iterator[Episode]:
    """The episodes in the order of their numbers.

    Nested observations are joined with dots, `observation` and bare arrays are called `state`; discrete
    actions are int64 of width 1. terminated is the last of `terminations`; success is whether the step infos
    say so at any step, None where they do not speak of it. meta holds `task` (the environment's id),
    `env_spec` and `seed`, unless we wrote the folder: then everything is as it was.

    Raises:
        DataError: when the folder is no such dataset, is damaged, or has actions of several parts.
    """
    root = Root(_data(path))
    said = json.loads(root.bytes("metadata.json", _METADATA))
    if not isinstance(said, dict):
        raise DataError(f"{path} has a metadata.json that is no object")
    if said.get("data_format", "hdf5") != "hdf5":
        raise DataError(f"{path} holds {said['data_format']!r}; of Minari's storages only hdf5 is read")
    spaces = [_space(said.get(k)) for k in ("observation_space", "action_space")]
    packed = bool(said.get("jpeg_encoding", True))
    facts = _facts(said)
    with opened(Path(root.path(_FILE))) as file:
        numbers = {int(m[1]): n for n in file.names() if (m := _EPISODE.fullmatch(n))}
        for _, name in sorted(numbers.items()):
            yield _episode(file.need(name), spaces[0], spaces[1], packed, facts, options)


def _space(text: object) -> Mapping[str, Any]:
    """A space as Minari writes it; {} where it leaves it to the environment."""
    space = json.loads(text) if isinstance(text, str) else {}
    return space if isinstance(space, dict) else {}


def _facts(said: Mapping[str, Any]) -> dict[str, str | int | float]:
    text = said.get("env_spec")
    if not isinstance(text, str):
        return {}
    spec = json.loads(text)
    task = spec.get("id") if isinstance(spec, dict) else None
    facts: dict[str, str | int | float] = {"env_spec": text}
    return facts | ({"task": task} if isinstance(task, str) else {})


def _episode(
    group: Opened,
    seen: Mapping[str, Any],
    done: Mapping[str, Any],
    packed: bool,
    facts: dict[str, str | int | float],
    options: Reading,
) -> Episode:
    extras = Extras(group)
    if extras.ours:
        inside = group.need("observations")
        obs = {extras.key(name): inside.array(name) for name in inside.names()}
    else:
        tree = as_obs(_tree(group, "observations", seen, packed, 0))
        obs = {k: v[:, None] if v.ndim == 1 else v for k, v in tree.items()}
    action = _action(group, done)
    seed = group.attribute("seed")
    meta = facts | ({"seed": int(seed)} if isinstance(seed, int | float) else {})
    ends = group.array("terminations").reshape(-1)
    return extras.episode(
        obs,
        action,
        group.array("rewards"),
        terminated=bool(len(ends) and ends[-1]),
        success=_success(group, options.success),
        meta=meta,
    )


def _tree(parent: Opened, name: str, space: Mapping[str, Any], packed: bool, depth: int) -> Any:
    """Arrays in nested mappings, as the groups are."""
    if (group := parent.group(name)) is None:
        if packed and _is_image(space):
            return parent.pictures(name)
        return parent.array(name)
    if depth > _DEPTH:
        raise DataError("its observations are nested too deeply")
    below = space.get("subspaces")
    tree: dict[str, Any] = {}
    for inner in group.names():
        if isinstance(below, list) and inner.removeprefix("_index_").isdigit():
            at = int(inner.removeprefix("_index_")[:9])
            its = below[at] if at < len(below) else {}
        else:
            its = below.get(inner, {}) if isinstance(below, dict) else {}
        its = its if isinstance(its, dict) else {}
        if its.get("type") == "Text":
            note(f"left out the texts in observation {inner!r}")
            continue
        tree[inner.removeprefix("_index_")] = _tree(group, inner, its, packed, depth + 1)
    return tree


def _is_image(space: Mapping[str, Any]) -> bool:
    """Whether Minari packs it as JPEG: uint8 of at least 32 by 32, from 0 to 255."""
    shape = space.get("shape")
    if space.get("type") != "Box" or space.get("dtype") != "uint8" or not isinstance(shape, list):
        return False
    if len(shape) not in (2, 3) or not all(isinstance(n, int) for n in shape) or min(shape[:2]) < 32:
        return False
    low, high = np.asarray(space.get("low")), np.asarray(space.get("high"))
    return bool((low == 0).all() and (high == 255).all())


def _action(group: Opened, space: Mapping[str, Any]) -> Array:
    if group.group("actions") is not None:
        raise DataError(f"its actions are of several parts ({space.get('type')}); one array is needed")
    action = group.array("actions")
    if action.dtype.kind in "iu" and action.ndim == 1 and space.get("type", "Discrete") == "Discrete":
        return action.astype(np.int64)[:, None]
    if action.dtype.kind in "iub":
        note("several discrete choices a step are kept as numbers")
    if action.ndim > 2:
        note(f"actions of shape {list(action.shape[1:])} were laid out in one row")
    return action.reshape(len(action), -1).astype(np.float32 if action.dtype.kind in "iub" else action.dtype)


def _success(group: Opened, asked: str) -> bool | None:
    infos = group.group("infos")
    for name in (asked,) if asked else ("success", "is_success"):
        if infos is not None and name in infos and infos.shape(name) is not None:
            return bool(infos.array(name).any())
    if asked:
        raise DataError(f"the infos have no {asked!r}")
    return None


def write(path: Path, episodes: Iterable[Episode], options: Writing) -> None:
    """A new folder, its spaces and facts written by Minari itself, its images without Minari's lossy packing.

    `minari.MinariDataset(path / "data")` opens it; so does `minari.load_dataset(id)` where the folder lies at
    its id below MINARI_DATASETS_PATH.

    Raises:
        DataError: when the place is taken, there are no episodes, the id is none, or writing fails.
        ImportError: when minari is missing.
    """
    name = options.dataset_id or (path.name if _ID.fullmatch(path.name) else f"{path.name}-v0")
    if not all(re.fullmatch(r"[-_\w]+", part) for part in name.split("/")) or not _ID.search(name):
        raise DataError(f"dataset_id is {name!r}; Minari's ids are like 'arm/push-v0'")
    spaces: Any = None
    text = options.env_spec
    count = steps = 0
    with new_folder(path) as folder:
        with created(folder / _FILE) as file:
            for count, e in enumerate(nonempty(episodes), 1):
                if spaces is None:
                    spaces = _spaces(e, options.choices)
                    text = text or str(e.meta.get("env_spec", ""))
                _write_episode(file, e, count - 1)
                steps += len(e)
        _describe(
            folder / "data", spaces, text, name, options, {"total_episodes": count, "total_steps": steps}
        )
        os.replace(folder / _FILE, folder / "data" / _FILE)  # in place of the empty one that Minari made


def _spaces(e: Episode, choices: int) -> tuple[Any, Any]:
    """Gymnasium's spaces of observations and of actions."""
    from gymnasium import spaces

    def box(x: Array) -> Any:
        low, high = (0, 255) if x.dtype == np.uint8 else (-np.inf, np.inf)
        return spaces.Box(low, high, x.shape[1:], x.dtype.type)

    seen = spaces.Dict({name: box(e.obs[key]) for key, name in stored_names(e.obs).items()})
    if e.action.dtype != np.int64:
        return seen, box(e.action)
    if not choices:
        note("Minari wants to know how many actions there are; 2^31 was noted, say otherwise with choices=N")
    return seen, spaces.Discrete(choices or 2**31)


def _describe(
    folder: Path,
    spaces: tuple[Any, Any],
    env_spec: str,
    name: str,
    options: Writing,
    counts: dict[str, int],
) -> None:
    """Lets Minari make its folder with metadata.json."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from gymnasium.envs.registration import EnvSpec
            from minari import __version__
            from minari.dataset.minari_storage import MinariStorage
    except ImportError as missing:
        raise ImportError("writing Minari needs the package; pip install 'understudy[formats]'") from missing
    try:
        spec = EnvSpec.from_json(env_spec) if env_spec else None
    except Exception as wrong:  # whatever is wrong with it, it comes as any exception
        raise DataError(f"env_spec is {env_spec[:60]!r}, which Gymnasium cannot read") from wrong
    storage = MinariStorage.new(
        folder,
        observation_space=spaces[0],
        action_space=spaces[1],
        env_spec=spec,
        data_format="hdf5",
        jpeg_encoding=False,
    )
    size = round((folder.parent / _FILE).stat().st_size / 1e6, 1)
    people = {"author": options.author, "author_email": options.email}
    said = {"code_permalink": options.code, "description": options.description}
    storage.update_metadata(
        {"dataset_id": name, "minari_version": __version__, "dataset_size": size, **counts}
        | {k: {v} for k, v in people.items() if v}
        | {k: v for k, v in said.items() if v}
    )


def _write_episode(file: Any, e: Episode, number: int) -> None:
    group = file.create_group(f"episode_{number}")
    group.attrs["id"], group.attrs["total_steps"] = number, len(e)
    seed = e.meta.get("seed")
    if isinstance(seed, int) and 0 <= seed < 2**63:
        group.attrs["seed"] = seed
    names = stored_names(e.obs)
    seen = group.create_group("observations")
    for key, name in names.items():
        put(seen, name, e.obs[key], str(e.obs[key].dtype), slice(None))
    group.create_dataset("actions", data=e.action[:, 0] if e.action.dtype == np.int64 else e.action)
    group.create_dataset("rewards", data=e.reward)
    last = np.arange(len(e)) == len(e) - 1
    group.create_dataset("terminations", data=last & e.terminated)
    group.create_dataset("truncations", data=last & (not e.terminated))
    if e.success is not None:
        group.create_dataset("infos/success", data=last & e.success)
    write_extras(group, e, names, final=False)
