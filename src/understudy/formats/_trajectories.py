"""The files of a Hugging Face `datasets` folder with the trajectories of `imitation`, by pyarrow alone."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from understudy.episode import Array, Episode
from understudy.formats._facts import extras_of, facts_of
from understudy.storage.files import DataError

__all__ = ["OURS", "Trajectories"]

OURS = "understudy.arrow"
_DATA = "data-00000-of-00001.arrow"
_MOST = 2**31 - 1  # values of one list in Arrow


class Trajectories:
    """A folder on its way: a stream of trajectories, and one of what they have no place for.

    Raises:
        DataError: when the observations named do not go into one array.
    """

    def __init__(self, folder: Path, first: Episode, observations: tuple[str, ...]) -> None:
        import pyarrow as pa

        self._folder = folder
        self._inside = _chosen(first, observations)
        shapes = [[k, list(first.obs[k].shape[1:])] for k in self._inside]
        said = {"version": 1, "observations": shapes, "order": list(first.obs)}
        main, beside = self._rows(first)
        self._features = {k: _feature(v.type) for k, v in main.items()}
        hugging = {"huggingface": json.dumps({"info": {"features": self._features}})}
        self._streams = [
            pa.ipc.new_stream(
                str(folder / name), pa.schema([(k, v.type) for k, v in row.items()], metadata=meta)
            )
            for name, row, meta in ((_DATA, main, hugging), (OURS, beside, {"understudy": json.dumps(said)}))
        ]

    def add(self, e: Episode) -> None:
        """Writes one trajectory."""
        import pyarrow as pa

        for stream, row in zip(self._streams, self._rows(e), strict=True):
            stream.write_batch(pa.record_batch(list(row.values()), names=list(row)))

    def close(self) -> None:
        """Finishes both streams, and writes the descriptions."""
        for stream in self._streams:
            stream.close()
        about = {"citation": "", "description": "", "features": self._features, "homepage": "", "license": ""}
        (self._folder / "dataset_info.json").write_text(json.dumps(about, indent=2))
        state: dict[str, Any] = {"_data_files": [{"filename": _DATA}], "_fingerprint": "understudy"}
        state |= {"_format_columns": None}
        state |= {"_format_kwargs": {}, "_format_type": None, "_output_all_columns": False, "_split": None}
        (self._folder / "state.json").write_text(json.dumps(state, indent=2))

    def _rows(self, e: Episode) -> tuple[dict[str, Any], dict[str, Any]]:
        """A row of each of the two streams, as columns of length 1."""
        import pyarrow as pa

        parts = [np.asarray(e.obs[k]) for k in self._inside]
        obs = parts[0] if len(parts) == 1 else np.concatenate([p.reshape(len(p), -1) for p in parts], 1)
        if obs.size > _MOST:
            raise DataError(f"an episode's observations have {obs.size} values; this layout holds {_MOST}")
        infos: list[dict[str, Any]] = [{} for _ in range(len(e))]
        if e.success is not None:
            infos[-1] = {"is_success": e.success}
        main = {
            "obs": _nested(obs),
            "acts": _nested(e.action[:, 0] if e.action.dtype == np.int64 else e.action),
            "infos": pa.array([[json.dumps(i) for i in infos]]),
            "terminal": pa.array([e.terminated]),
            "rews": _nested(e.reward),
        }
        arrays = {f"obs {k}": np.asarray(v) for k, v in e.obs.items() if k not in self._inside} | extras_of(e)
        struct = pa.struct(
            [
                ("name", pa.string()),
                ("dtype", pa.string()),
                ("shape", pa.list_(pa.int64())),
                ("data", pa.large_binary()),
            ]
        )
        entries = [
            {
                "name": k,
                "dtype": str(x.dtype),
                "shape": list(x.shape),
                "data": x.astype(x.dtype.newbyteorder("<")).tobytes(),
            }
            for k, x in arrays.items()
        ]
        return main, {"facts": pa.array([facts_of(e).text]), "arrays": pa.array([entries], pa.list_(struct))}


def _chosen(e: Episode, asked: tuple[str, ...]) -> tuple[str, ...]:
    """The observations that go into `obs`."""
    for key in asked:
        if key not in e.obs:
            raise DataError(f"there is no observation {key!r}; there are {', '.join(e.obs)}")
    low = tuple(k for k, v in e.obs.items() if v.dtype == np.float32)
    keys = asked or (tuple(e.obs) if len(e.obs) == 1 else low)
    if not keys or (len(keys) > 1 and not set(keys) <= set(low)):
        raise DataError(
            f"imitation's trajectories have one observation, low-dimensional ones side by side or one image; "
            f"name it with observations=..., out of {', '.join(e.obs)}"
        )
    if any(prod(e.obs[k].shape[1:]) == 0 for k in keys):
        raise DataError("an observation without values cannot be written as lists")
    return keys


def _nested(x: Array) -> Any:
    """[n, ...] as one row of lists of lists."""
    import pyarrow as pa

    values = pa.array(np.ascontiguousarray(x).reshape(-1))
    for i in range(x.ndim - 1, -1, -1):
        count = prod(x.shape[:i])
        offsets = np.arange(count + 1, dtype=np.int32) * np.int32(x.shape[i])
        values = pa.ListArray.from_arrays(pa.array(offsets), values)
    return values


def _feature(kind: Any) -> dict[str, Any]:
    """A type in the words of `datasets`; "Sequence" is what all its versions understand."""
    import pyarrow as pa

    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "Sequence"}
    names = {"float": "float32", "double": "float64"}
    return {"dtype": names.get(str(kind), str(kind)), "_type": "Value"}
