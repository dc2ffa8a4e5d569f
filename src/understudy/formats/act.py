"""ACT HDF5 (ALOHA): a folder of episode_<i>.hdf5 with joint positions, velocities, images and actions."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from understudy.episode import Array, Episode
from understudy.formats._facts import nonempty
from understudy.formats._hdf5 import Opened, is_hdf5, opened
from understudy.formats._hdf5_extras import OURS, Extras, write_extras
from understudy.formats._hdf5_writing import created, put, stored_names
from understudy.formats.notes import note
from understudy.formats.placing import new_folder
from understudy.storage.files import DataError, Root

__all__ = ["Reading", "Writing", "episodes", "recognises", "write"]

ABOUT = "ACT HDF5, a folder of episode_<i>.hdf5"
NEEDS = ("h5py",)

_EPISODE = re.compile(r"episode_(\d{1,18})\.hdf5")
_KNOWN = {"observations", "action", "reward", OURS}
_ENTRIES = 1_000_000


@dataclass(frozen=True)
class Reading:
    """How files become episodes.

    Attributes:
        task: what is done, which the files do not say; "" leaves it open.
        cameras: which images; none named means all.
        velocities: keep `qvel`.
    """

    task: str = ""
    cameras: tuple[str, ...] = ()
    velocities: bool = True


@dataclass(frozen=True)
class Writing:
    """How episodes become files.

    Attributes:
        sim: whether they come from simulation: "yes", "no", or "meta", which is what meta["sim"] says. It
            must be said, since ACT's loader shifts the actions of real robots by one step.
        qpos: which observation is the joints' positions; "" means `qpos`, else `state`, else the only one
            that is no image.
        qvel: which is their velocities; "" means `qvel`, or zeros where there is none, which ACT loads but
            does not use.
        compress: pack images with gzip, without loss.
    """

    sim: Literal["meta", "yes", "no"] = "meta"
    qpos: str = ""
    qvel: str = ""
    compress: bool = False


def recognises(path: Path) -> bool:
    """Whether it is a folder with an HDF5 file called episode_<i>.hdf5, or such a file."""
    if is_hdf5(path):
        return _EPISODE.fullmatch(path.name) is not None
    return any(is_hdf5(path / name) for _, name in _listed(path)[:1])


def _listed(path: Path) -> list[tuple[int, str]]:
    """The episodes' numbers and file names, in order."""
    found = []
    try:
        with os.scandir(path) as entries:
            for count, entry in enumerate(entries):
                if count > _ENTRIES:
                    break
                if m := _EPISODE.fullmatch(entry.name):
                    found.append((int(m[1]), entry.name))
    except (OSError, ValueError):
        return []
    return sorted(found)


def episodes(path: Path, options: Reading) -> Iterator[Episode]:
    """The episodes in the order of their numbers, of any lengths.

    Observations are `qpos`, `qvel`, the cameras, and whatever else stands beside them. ACT records no state
    after the last action, so the last one stands in for it. meta holds `sim` (0 or 1) and the file's number
    as `episode`, unless we wrote the file: then everything is as it was. Pictures that ALOHA's forks packed
    as JPEG come out with the channels in the order in which OpenCV, which packs and unpacks them there,
    gives them.

    Raises:
        DataError: when a file is none of ACT's, or is damaged.
    """
    if path.is_dir():
        root = Root(path)
        files = [(i, Path(root.path(name))) for i, name in _listed(path)]
    else:
        m = _EPISODE.fullmatch(path.name)
        files = [(int(m[1]) if m else 0, path)]
    for number, file in files:
        with opened(file) as inside:
            yield _episode(inside, number, options)


def _episode(file: Opened, number: int, options: Reading) -> Episode:
    extras = Extras(file)
    seen = file.need("observations")
    action = file.array("action")
    obs: dict[str, Array] = {}
    for name in seen.names():
        if name == "images" or name in extras.made_up or (name == "qvel" and not options.velocities):
            continue
        if seen.shape(name) is None:
            note(f"left out 'observations/{name}', which is no array of numbers")
            continue
        obs[extras.key(name)] = seen.states(name, extras.final(name))
    for name, images in _images(file, seen, options, extras):
        if (key := extras.key(name)) in obs:
            raise DataError(f"a camera and another observation are both called {key!r}")
        obs[key] = images
    for other in sorted(set(file.names()) - _KNOWN):
        note(f"left out {other!r}")
    meta: dict[str, str | int | float] = {"episode": number}
    if (sim := file.attribute("sim")) is not None:
        meta["sim"] = int(bool(sim))
    if options.task:
        meta["task"] = options.task
    paid = file.need(OURS) if extras.ours else file
    return extras.episode(obs, action, paid.array("reward") if "reward" in paid else None, meta=meta)


def _images(file: Opened, seen: Opened, options: Reading, extras: Extras) -> Iterator[tuple[str, Array]]:
    """Camera and pictures [T + 1, H, W, C]."""
    cameras = seen.group("images")
    there = [] if cameras is None else cameras.names()
    if missing := sorted(set(options.cameras) - set(there)):
        raise DataError(f"there is no camera {missing[0]!r}; there are {', '.join(there) or 'none'}")
    if cameras is None:
        return
    packed = bool(file.attribute("compress"))
    for name in options.cameras or there:
        if packed or cameras.shape(name) is None:
            # OpenCV takes and gives blue first, so its own order comes back when red and blue are exchanged.
            column = cameras.pictures(name)[..., ::-1]
            yield name, np.concatenate([column, column[-1:]])
        else:
            yield name, cameras.states(name, extras.final(name))


def write(path: Path, episodes: Iterable[Episode], options: Writing) -> None:
    """A new folder that ACT's loader opens.

    Raises:
        DataError: when the place is taken, there are no episodes, nobody says whether they are simulated, no
            observation can be told to be `qpos`, or writing fails.
    """
    lengths = set()
    with new_folder(path) as folder:
        for number, e in enumerate(nonempty(episodes)):
            with created(folder / f"episode_{number}.hdf5") as file:
                _write_episode(file, e, options)
            lengths.add(len(e))
    if len(lengths) > 1:
        note("the episodes differ in length, which ACT's own loader does not batch; ours does")


def _write_episode(file: Any, e: Episode, options: Writing) -> None:
    images = [k for k, v in e.obs.items() if v.dtype == np.uint8 and v.ndim == 4]
    joints = _joints(e, images, options)
    others = stored_names(k for k in e.obs if k not in joints)
    names = {k: (others | joints)[k] for k in e.obs}
    if {"qpos", "qvel", "images"} & set(others.values()):
        raise DataError("an observation has a name that ACT's layout gives to another; rename it")
    last = len(e)
    file.attrs["sim"] = _sim(e, options.sim)
    seen = file.create_group("observations")
    cameras = seen.create_group("images")
    for key, name in names.items():
        image = key in images
        dtype = "uint8" if e.obs[key].dtype == np.uint8 else "float32"
        place, pack = cameras if image else seen, image and options.compress
        put(place, name, e.obs[key], dtype, slice(0, last), pack=pack)
    made_up: tuple[str, ...] = ()
    if "qvel" not in names.values():
        note("no observation is qvel; zeros stand in for it, which ACT loads but does not use")
        seen.create_dataset("qvel", data=np.zeros(seen["qpos"].shape, np.float32))
        made_up = ("qvel",)
    file.create_dataset("action", data=e.action)
    write_extras(file, e, names, made_up=made_up)
    file[OURS].create_dataset("reward", data=e.reward)


def _joints(e: Episode, images: list[str], options: Writing) -> dict[str, str]:
    """Observation -> `qpos` or `qvel`."""
    flat = [k for k, v in e.obs.items() if k not in images and v.ndim == 2]
    for asked in (options.qpos, options.qvel):
        if asked and asked not in flat:
            raise DataError(f"no observation {asked!r} of joints; there are {', '.join(flat) or 'none'}")
    likely = [options.qpos] if options.qpos else [k for k in ("qpos", "state") if k in flat] or flat
    if not likely or (len(likely) > 1 and likely[0] not in ("qpos", "state")):
        raise DataError(
            f"which observation are the joints' positions? Say qpos=NAME, one of {', '.join(flat) or 'none'}"
        )
    velocity = options.qvel or ("qvel" if "qvel" in flat else "")
    if velocity == likely[0]:
        raise DataError(f"observation {velocity!r} cannot be both qpos and qvel")
    return {likely[0]: "qpos"} | ({velocity: "qvel"} if velocity else {})


def _sim(e: Episode, asked: str) -> bool:
    if asked != "meta":
        return asked == "yes"
    if not isinstance(said := e.meta.get("sim"), int) or said not in (0, 1):
        raise DataError(
            "are these episodes simulated? Say sim=yes or sim=no: ACT shifts the actions of real robots by "
            "one step"
        )
    return bool(said)
