"""Small valid files of the layouts, for tests that damage them. Each holds the same three episodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from understudy import formats
from understudy.episode import Episode


def sample_episodes(count: int = 3, *, pictures: bool = True, discrete: bool = False) -> list[Episode]:
    """Episodes with all that an episode can have: labels of their own, times, who held the controls, ..."""
    rng = np.random.default_rng(7)
    made = []
    for i in range(count):
        steps = 4 + i
        obs: dict[str, Any] = {
            "state": rng.standard_normal((steps + 1, 3)),
            "keypoint": rng.standard_normal((steps + 1, 4, 2))
            * 10.0 ** rng.integers(-30, 30, (steps + 1, 4, 2)),
            "obs": np.where(rng.random((steps + 1, 1)) < 0.5, -0.0, 0.0),
        }
        if pictures:
            obs["camera/front é"] = rng.integers(0, 256, (steps + 1, 8, 6, 3), dtype=np.uint8)
            obs["depth.0"] = rng.integers(0, 256, (steps + 1, 5, 4, 1), dtype=np.uint8)
            obs["raw"] = rng.integers(0, 256, (steps + 1, 3, 7), dtype=np.uint8)
        action: Any = rng.standard_normal((steps, 2)).astype(np.float32)
        label = action + np.float32(1)
        if discrete:
            action = rng.integers(-(2**62), 2**62, (steps, 1))
            label = action[::-1]
        made.append(
            Episode(
                obs,
                action,
                label if i == 1 else action,
                np.arange(steps) != 1 if i == 2 else np.ones(steps, bool),
                rng.standard_normal(steps),
                terminated=i == 0,
                success=(True, None, False)[i % 3],
                meta={"task": 'say "a, b"\n', "seed": i, "gain": 0.1 + i, "operator": "ann é"},
                time=1.7e9 + np.cumsum(rng.random(steps + 1)) if i != 1 else None,
                control=np.arange(steps) % 3 if i else None,
            )
        )
    return made


def _write(place: Path, format: str, *, pictures: bool = True) -> Path:
    formats.write(place, sample_episodes(pictures=pictures), format)
    return place


def sample_diffusion_policy(folder: Path) -> Path:
    """A zarr store in a zip archive."""
    return _write(folder / "sample.zarr.zip", "diffusion_policy")


def sample_diffusion_policy_folder(folder: Path) -> Path:
    """A zarr store in a folder."""
    return _write(folder / "sample.zarr", "diffusion_policy")


def sample_imitation(folder: Path) -> Path:
    """A `datasets` folder."""
    return _write(folder / "imitation", "imitation")


def sample_mcap(folder: Path) -> Path:
    """A folder of bags."""
    return _write(folder / "bags", "mcap")


def sample_arrays(folder: Path) -> Path:
    """An npz archive."""
    return _write(folder / "sample.npz", "arrays")


def sample_arrays_csv(folder: Path) -> Path:
    """A CSV table."""
    return _write(folder / "sample.csv", "arrays", pictures=False)
