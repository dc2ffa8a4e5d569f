"""robomimic HDF5: all demonstrations in one file, /data/demo_<i>, with filter keys under /mask."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from understudy.episode import EXPERT, POLICY, Array, Episode
from understudy.formats._facts import nonempty
from understudy.formats._hdf5 import Opened, is_hdf5, opened
from understudy.formats._hdf5_extras import OURS, Extras, write_extras
from understudy.formats._hdf5_writing import created, put, stored_names
from understudy.formats.notes import note
from understudy.formats.placing import new_file
from understudy.storage.files import DataError

__all__ = ["Reading", "Writing", "episodes", "recognises", "write"]

ABOUT = "robomimic HDF5, one file with /data/demo_<i>"
NEEDS = ("h5py",)

_DEMO = re.compile(r"demo_(\d{1,18})")
_ELSEWHERE = re.compile(r"(episode_\d+|main_data)\.(hdf5|h5)")  # names that ACT and Minari give
_TEXTS = ("ep_meta", "camera_info")  # attributes of a demonstration that are kept as facts
_MOST_TEXT = 60_000  # bytes; HDF5 has no room for an attribute beyond 64 KiB
_EXACT = 2**53  # float64 holds every integer up to here
_MODES = "action_modes"
_KNOWN = {"obs", "next_obs", "actions", "rewards", "dones", _MODES, OURS}


@dataclass(frozen=True)
class Reading:
    """How demonstrations become episodes.

    Attributes:
        mask: a filter key, whose demonstrations alone are read; "" means all.
        action: which dataset is the action; several are joined with "+", such as
            "action_dict/abs_pos+action_dict/abs_rot_6d+action_dict/gripper".
        obs: which observations; none named means all.
        states: keep the simulator's states as an observation of that name.
        done_mode: what `dones` mean, in robomimic's own numbers, which a file does not note. 0: the task is
            done. 1: the demonstration ends. 2: either. With 0 the dones say whether it succeeded; with 1 and
            2 a reward of 1, which its tasks pay for success alone, says that it did, and nothing says that it
            did not. An episode is terminated where its last step brings success.
    """

    mask: str = ""
    action: str = "actions"
    obs: tuple[str, ...] = ()
    states: bool = False
    done_mode: int = 2


@dataclass(frozen=True)
class Writing:
    """How episodes become demonstrations.

    Attributes:
        env_args: JSON of robomimic's environment; "" means meta["env_args"], else one of type Gymnasium that
            is named as meta["task"].
        next_obs: write each observation twice, as robomimic's reinforcement learning needs; "auto" does where
            there are no images.
        done_mode: as for reading. 0: the last step is done if it brought success. 1, 2: it is done.
        out_of_range: robomimic's policies give actions in [-1, 1]; "refuse" others or "keep" them.
        compress: pack images with gzip, without loss.
    """

    env_args: str = ""
    next_obs: Literal["auto", "yes", "no"] = "auto"
    done_mode: int = 2
    out_of_range: Literal["refuse", "keep"] = "refuse"
    compress: bool = False


def recognises(path: Path) -> bool:
    """Whether it is one HDF5 file, not named as a part of another layout. Nothing is parsed."""
    return is_hdf5(path) and not _ELSEWHERE.fullmatch(path.name)


def episodes(path: Path, options: Reading) -> Iterator[Episode]:
    """The demonstrations in the order of their numbers.

    The state after the last action is the last row of next_obs; without next_obs the last state stands in for
    it. meta holds as `task` the instruction in `ep_meta`, else the environment's name, and `env_args`,
    `ep_meta`, `camera_info`, `demo` and `mask` (filter keys, joined with commas), unless we wrote the file:
    then everything is as it was. Where Sirius (Liu et al. 2023) noted `action_modes`, they become `control`;
    every action stays its own label, the policy's too, as its training has it.

    Raises:
        DataError: when the file is none of robomimic's, or is damaged.
    """
    _check_mode(options.done_mode)
    with opened(path) as file:
        if (data := file.group("data")) is None:
            raise DataError(f"{path} has no group /data; it is not robomimic's")
        numbers = {int(m[1]): n for n in data.names() if (m := _DEMO.fullmatch(n))}
        if len(numbers) < len(data.names()):
            note("left out members of /data that are not called demo_<i>")
        masks = _masks(file)
        if options.mask and options.mask not in masks:
            there = ", ".join(sorted(masks)) or "none"
            raise DataError(f"{path} has no filter key {options.mask!r}; there are {there}")
        facts = _environment(data)
        for _, name in sorted(numbers.items()):
            inside = sorted(k for k, demos in masks.items() if name in demos)
            if not options.mask or options.mask in inside:
                demo = data.need(name)
                meta = facts | _described(demo) | {"demo": name}
                yield _episode(demo, name, meta | ({"mask": ",".join(inside)} if inside else {}), options)


def _check_mode(mode: int) -> None:
    if mode not in (0, 1, 2):
        raise DataError(f"done_mode is {mode}; it must be 0 (success), 1 (end) or 2 (either)")


def _masks(file: Opened) -> dict[str, set[str]]:
    group = file.group("mask")
    return {} if group is None else {k: set(group.texts(k)) for k in group.names()}


def _environment(data: Opened) -> dict[str, str | int | float]:
    """What the file says of the environment, as facts."""
    text = data.attribute("env_args")
    if not isinstance(text, str):
        return {}
    try:
        name = json.loads(text).get("env_name")
    except (ValueError, AttributeError, RecursionError):
        return {"env_args": text}
    facts: dict[str, str | int | float] = {"env_args": text}
    return facts | ({"task": name} if isinstance(name, str) and name else {})


def _described(demo: Opened) -> dict[str, str | int | float]:
    """What a demonstration says of itself: as it says it, and an instruction in words as the task."""
    texts = {name: demo.attribute(name) for name in _TEXTS}
    facts: dict[str, str | int | float] = {name: t for name, t in texts.items() if isinstance(t, str)}
    try:
        said = json.loads(str(facts.get("ep_meta", "{}"))).get("lang")
    except (ValueError, AttributeError, RecursionError):
        said = None
    return facts | ({"task": said} if isinstance(said, str) and said else {})


def _episode(demo: Opened, name: str, meta: dict[str, str | int | float], options: Reading) -> Episode:
    extras = Extras(demo)
    action = _action(demo, name, options.action)
    noted = demo.attribute("num_samples")
    if noted is not None and noted != len(action):
        raise DataError(f"{name} says num_samples {noted} but has {len(action)} actions")
    obs = {extras.key(k): v for k, v in _observations(demo, name, extras, options).items()}
    reward = demo.array("rewards").reshape(-1) if "rewards" in demo else None
    terminated, success = _outcome(demo, reward, options.done_mode)
    left = sorted(set(demo.names()) - _KNOWN - {p.split("/")[0] for p in options.action.split("+")})
    for other in left:
        if other != "states" or not options.states:
            note(f"left out {other!r} of the demonstrations")
    if demo.attribute("model_file") is not None:
        note("left out the simulator's model (model_file)")
    e = extras.episode(obs, action, reward, terminated=terminated, success=success, meta=meta)
    if not extras.ours and (control := _control(demo)) is not None:
        e = replace(e, control=control)
    if extras.ours and (now := meta.get("mask", "")) != _keys(e):
        # Written by us, and given other filter keys since, as robomimic's own scripts do.
        e = replace(e, meta={k: v for k, v in e.meta.items() if k != "mask"} | ({"mask": now} if now else {}))
    return e


def _control(demo: Opened) -> Array | None:
    """[T], who held the controls, as Sirius notes it: a human in demonstrations (-1) and interventions (1),
    the policy in rollouts (0, or 2 for whole ones)."""
    if _MODES not in demo:
        return None
    modes = demo.array(_MODES).reshape(-1)
    if not np.isin(modes, (-1, 0, 1, 2)).all():
        note(f"left out {_MODES!r} of the demonstrations, whose values are not those of Sirius")
        return None
    return np.where(np.abs(modes) == 1, EXPERT, POLICY)


def _keys(e: Episode) -> str:
    """The filter keys of an episode, as they are called in a file."""
    keys = {k.replace("/", ".") for k in str(e.meta.get("mask", "")).split(",") if k}
    return ",".join(sorted(keys))


def _action(demo: Opened, name: str, paths: str) -> Array:
    """[T, A], the named datasets side by side."""
    parts = []
    for path in paths.split("+"):
        *folders, last = path.split("/")
        group: Opened | None = demo
        for folder in folders:
            group = None if group is None else group.group(folder)
        if group is None or last not in group:
            raise DataError(f"{name} has no action {path!r}; it has {', '.join(demo.names())}")
        part = group.array(last)
        parts.append(part[:, None] if part.ndim == 1 else part)
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def _observations(demo: Opened, name: str, extras: Extras, options: Reading) -> dict[str, Array]:
    """Each [T + 1, ...]."""
    seen, later = demo.need("obs"), demo.group("next_obs")
    there = [k for k in seen.names() if seen.shape(k) is not None]
    if len(there) < len(seen.names()):
        note("left out observations that are not arrays of numbers")
    if missing := sorted(set(options.obs) - set(there)):
        raise DataError(f"{name} has no observation {missing[0]!r}; it has {', '.join(there)}")
    found: dict[str, Array] = {}
    for key in options.obs or there:
        last = extras.final(key)
        if last is None and later is not None and key in later:
            last = later.row(key)
        found[key] = seen.states(key, last)
        if seen.double(key) and not extras.ours:
            note("rounded observations from float64 to float32")
    if options.states and "states" in demo:
        found["states"] = demo.states("states", None)
    return found


def _outcome(demo: Opened, reward: Array | None, mode: int) -> tuple[bool, bool | None]:
    """(terminated, success) by the convention that `Reading` states."""
    done = demo.array("dones").reshape(-1) != 0 if "dones" in demo else np.zeros(0, np.bool_)
    if mode == 0 and len(done):
        return bool(done[-1]), bool(done.any())
    paid = reward is not None and len(reward) > 0
    success = True if paid and bool((np.asarray(reward) >= 1).any()) else None
    ended = mode == 2 and len(done) > 0 and bool(done[-1]) and paid
    return ended and bool(np.asarray(reward)[-1] >= 1), success


def write(path: Path, episodes: Iterable[Episode], options: Writing) -> None:
    """A new file that robomimic trains on. The filter keys are those in meta["mask"].

    Raises:
        DataError: when the place is taken, there are no episodes, an action lies outside [-1, 1], or writing
            fails.
    """
    _check_mode(options.done_mode)
    masks: dict[str, list[str]] = {}
    total = 0
    with new_file(path) as temporary, created(temporary) as file:
        data = file.create_group("data")
        for count, e in enumerate(nonempty(episodes), 1):
            name = f"demo_{count - 1}"
            if count == 1:
                data.attrs["env_args"] = _env_args(e, options.env_args)
            _write_episode(data.create_group(name), e, count - 1, options)
            total += len(e)
            for key in filter(None, _keys(e).split(",")):
                masks.setdefault(key, []).append(name)
        data.attrs["total"] = np.int64(total)
        for key, names in masks.items():
            file.create_dataset(f"mask/{key}", data=np.array(names, dtype="S"))


def _env_args(e: Episode, given: str) -> str:
    """The environment as robomimic notes it; type 2 is Gymnasium."""
    text = given or str(e.meta.get("env_args", ""))
    if text:
        try:
            fits = isinstance(json.loads(text), dict)
        except ValueError:
            fits = False
        if not fits or len(text.encode()) >= _MOST_TEXT:
            raise DataError(f"env_args is {text[:60]!r}; it must be a JSON object below {_MOST_TEXT} bytes")
        return text
    task = str(e.meta.get("task", ""))
    if not task:
        note("the episodes name no task, so env_args names no environment; robomimic can train, not evaluate")
    return json.dumps({"env_name": task, "env_version": "", "type": 2, "env_kwargs": {}}, indent=4)


def _write_episode(demo: Any, e: Episode, number: int, options: Writing) -> None:
    _check_range(e.action, number, options.out_of_range)
    names = stored_names(e.obs)
    images = any(v.dtype == np.uint8 for v in e.obs.values())
    twice = options.next_obs == "yes" or (options.next_obs == "auto" and not images)
    demo.attrs["num_samples"] = np.int64(len(e))
    for name in _TEXTS:
        if isinstance(text := e.meta.get(name), str) and len(text.encode()) < _MOST_TEXT:
            demo.attrs[name] = text
    demo.create_dataset("actions", data=e.action.astype(np.float64))
    demo.create_dataset("rewards", data=e.reward.astype(np.float64))
    demo.create_dataset("dones", data=_dones(e, options.done_mode))
    now, later = demo.create_group("obs"), demo.create_group("next_obs") if twice else None
    for key, name in names.items():
        column = e.obs[key]
        image = column.dtype == np.uint8
        dtype = "uint8" if image else "float64"
        put(now, name, column, dtype, slice(0, len(e)), pack=image and options.compress)
        if later is not None:
            put(later, name, column, dtype, slice(1, len(e) + 1), pack=image and options.compress)
    write_extras(demo, e, names, final=not twice)


def _check_range(action: Array, number: int, out_of_range: str) -> None:
    """Refuses an action that robomimic cannot take, or a float64 cannot hold."""
    outside = (action > 1) | (action < -1)
    if not outside.any():
        return
    step, dim = (int(i) for i in np.argwhere(outside)[0])
    said = f"action is {action[step, dim]} at step {step}, dimension {dim} of episode {number}"
    if out_of_range == "refuse":
        raise DataError(
            f"{said}, but robomimic's policies give [-1, 1]; scale the actions first, or keep them as "
            "they are with out_of_range=keep"
        )
    if action.dtype == np.int64 and ((action > _EXACT) | (action < -_EXACT)).any():
        raise DataError(f"episode {number} has actions beyond ±2^53, which a float64 cannot hold exactly")
    note("kept actions outside [-1, 1], which robomimic's policies cannot give")


def _dones(e: Episode, mode: int) -> Array:
    dones = np.zeros(len(e), np.int64)
    dones[-1] = mode != 0 or (e.terminated and e.success is not False) or bool(e.success)
    return dones
