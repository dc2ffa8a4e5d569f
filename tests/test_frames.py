"""Frames behave as the array of their pictures would, and decode no more than is asked for."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from understudy.dataset import Dataset
from understudy.episode import Episode
from understudy.frames import Cache, Frames, Spans, equal, join, pieces, view

RNG = np.random.default_rng(0)


class Counted(Frames):
    """Frames over an array, which note every row that is decoded."""

    def __init__(self, array: np.ndarray) -> None:
        super().__init__(array.shape)
        self.array, self.decoded = array, list[int]()

    def fill(self, rows: Any, out: Any) -> None:
        assert (np.diff(rows) > 0).all()
        assert out.shape == (len(rows), *self.shape[1:])
        self.decoded += rows.tolist()
        out[...] = self.array[rows]


def pictures(n: int, side: int = 4) -> np.ndarray:
    return RNG.integers(0, 256, (n, side, side + 1, 3), dtype=np.uint8)


INDICES = [
    3,
    -1,
    np.int32(2),
    slice(None),
    slice(2, 7),
    slice(None, None, -2),
    slice(5, 5),
    [4, 0, 4],
    np.array([[1, 2], [9, 1]]),
    np.array([], np.int64),
    np.arange(10) % 3 == 0,
]


@pytest.mark.parametrize("index", INDICES, ids=repr)
@pytest.mark.parametrize("form", ["whole", "view", "joined"])
def test_indexing_is_that_of_the_array(index: Any, form: str) -> None:
    array = pictures(14)
    lazy: Any = Counted(array)
    if form == "view":
        lazy, array = view(lazy, 2, 12), array[2:12]
    elif form == "joined":
        lazy, array = (
            join([view(lazy, 8, 12), array[:3], view(lazy, 2, 5)]),
            array[[8, 9, 10, 11, 0, 1, 2, 2, 3, 4]],
        )
    else:
        lazy, array = Counted(array[:10]), array[:10]
    got = lazy[index]
    assert isinstance(got, np.ndarray)
    assert got.dtype == np.uint8
    assert np.array_equal(got, array[index])
    assert got.shape == array[index].shape


def test_only_what_is_asked_for_is_decoded_and_once() -> None:
    source = Counted(pictures(20))
    lazy = view(join([view(source, 5, 15), view(source, 0, 5)]), 3, 14)
    lazy.take(np.array([[0, 7], [0, 8]]))
    assert source.decoded == [8, 0, 1]


def test_shapes_and_what_arrays_have() -> None:
    array = pictures(6)
    lazy = view(Counted(array), 1, 5)
    assert (len(lazy), lazy.shape, lazy.ndim, lazy.dtype) == (4, (4, 4, 5, 3), 4, np.uint8)
    assert lazy.nbytes == array[1:5].nbytes
    assert np.array_equal(np.asarray(lazy), array[1:5])
    assert np.asarray(lazy, np.float32).dtype == np.float32
    assert [p.shape for p in lazy] == [(4, 5, 3)] * 4
    assert np.array_equal(np.concatenate(list(pieces(lazy, 3))), array[1:5])


def test_mistakes_are_said() -> None:
    lazy = Counted(pictures(6))
    with pytest.raises(IndexError, match="no picture 6; there are 6"):
        lazy[6]
    with pytest.raises(TypeError, match="whole numbers are needed"):
        lazy[np.array([0.5])]
    with pytest.raises(TypeError, match="indexed by number"):
        lazy[0, 1]
    with pytest.raises(IndexError, match=r"\[4, 7\) is no part of 6"):
        view(lazy, 4, 7)
    with pytest.raises(ValueError, match="must be alike"):
        join([lazy, pictures(2, side=8)])
    with pytest.raises(ValueError, match="makes a copy"):
        np.array(lazy, copy=False)


def test_views_of_joins_of_views_stay_flat_and_neighbours_merge() -> None:
    source = Counted(pictures(30))
    parts = [view(source, i, i + 10) for i in (0, 10, 20)]
    assert join(parts) is source
    twice = join([join(parts[:2]), view(join(parts[1:]), 0, 5)])
    assert isinstance(twice, Spans)
    assert len(twice.sources) == 1
    assert np.array_equal(twice[:], np.concatenate([source.array[:20], source.array[10:15]]))


def test_equality_is_that_of_values() -> None:
    array = pictures(9)
    assert equal(Counted(array), array)
    assert equal(array, Counted(array))
    other = array.copy()
    other[8, 3, 4, 2] ^= 1
    assert not equal(Counted(array), other)
    assert not equal(Counted(array), array[:8])


def test_the_cache_keeps_to_its_limit_and_forgets_the_oldest() -> None:
    cache = Cache(100)
    for key in "abc":
        cache.put(key, key.upper(), 30)
    assert cache.get("a") == "A"
    cache.put("d", "D", 30)  # b was not asked for longest
    assert [cache.get(k) for k in "abcd"] == ["A", None, "C", "D"]
    cache.put("e", "E", 101)  # more than all of it
    assert cache.get("e") is None
    assert cache.nbytes == 0
    cache.put("a", "A", 60)
    cache.put("a", "B", 40)
    assert (cache.get("a"), cache.nbytes) == ("B", 40)
    cache.limit = 10
    assert (cache.get("a"), cache.nbytes) == (None, 0)
    with pytest.raises(ValueError, match="-1 bytes"):
        cache.limit = -1


def episodes(form: Any) -> list[Episode]:
    rng = np.random.default_rng(1)
    out = []
    for i in range(5):
        steps = 6 + i
        camera = rng.integers(0, 256, (steps + 1, 4, 5, 3), dtype=np.uint8)
        obs = {"state": rng.normal(size=(steps + 1, 2)), "camera": form(camera)}
        out.append(Episode.demonstration(obs, rng.normal(size=(steps, 2)), success=i % 2 == 0))
    return out


def test_a_dataset_of_frames_is_one_of_arrays() -> None:
    lazy, eager = Dataset(episodes(Counted)), Dataset(episodes(np.asarray))
    assert lazy.fingerprint() == eager.fingerprint()
    assert list(lazy) == list(eager)
    assert lazy.schema == eager.schema
    assert isinstance(lazy[1].obs["camera"], Frames)
    for change in (
        lambda d: d.select([3, 0, 3]),
        lambda d: d.split(0.6, 0)[0],
        lambda d: d[1:4],
        lambda d: d + d[2:4] + episodes(np.asarray)[:1],
    ):
        a, b = change(lazy), change(eager)
        assert a.fingerprint() == b.fingerprint()
        for x, y in zip(a.chunks("camera"), b.chunks("camera"), strict=True):
            assert np.array_equal(x, y)
        index = np.array([0, 11, 5, 5, len(a.windows()) - 1])
        for history in (1, 3):
            have, want = (d.windows(history, 2).batch(index) for d in (a, b))
            assert np.array_equal(have.obs["camera"], want.obs["camera"])
            assert np.array_equal(have.obs["state"], want.obs["state"])


def test_working_with_a_dataset_decodes_no_more_than_its_batches() -> None:
    made = episodes(Counted)
    sources = [e.obs["camera"] for e in made]
    data = (Dataset(made) + made[:2]).select([0, 6, 3])
    pickle.dumps(data.lengths)
    repr(data)
    data.windows(2, 2).batch(np.array([0, 1]))  # both begin with the first state
    assert [s.decoded for s in sources] == [[0, 1], [], [], [], []]


def test_a_last_state_that_was_not_recorded_is_repeated_without_decoding() -> None:
    source = Counted(pictures(5))
    e = Episode.demonstration({"camera": source}, np.zeros((5, 1)))
    assert source.decoded == []
    assert np.array_equal(e.obs["camera"][[4, 5]], source.array[[4, 4]])


def test_a_dataset_travels_by_pickle() -> None:
    for form in (Counted, np.asarray):
        data = Dataset(episodes(form)).select([2, 4])
        twin = pickle.loads(pickle.dumps(data))
        assert list(twin) == list(data)
        e = twin[0]
        assert not e.action.flags.writeable
        assert e.label is e.action
