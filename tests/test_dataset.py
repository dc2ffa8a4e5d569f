"""Episodes and datasets: what is refused, what stays exact, what windows may never do."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.dataset import Dataset
from understudy.episode import Episode, as_obs


def episode(steps: int, offset: float = 0.0, labelled: np.ndarray | None = None, width: int = 2) -> Episode:
    """Every value names its place: state t is offset + t, action t is offset + t + 0.5."""
    t = np.arange(steps, dtype=np.float32)[:, None]
    action = np.repeat(offset + t + 0.5, width, 1)
    spoke = np.ones(steps, bool) if labelled is None else labelled
    states = offset + np.arange(steps + 1, dtype=np.float32)[:, None]
    return Episode({"state": states}, action, action.copy(), spoke, np.zeros(steps), meta={"offset": offset})


GOOD = {
    "obs": {"state": np.zeros((4, 2))},
    "action": np.zeros((3, 1)),
    "label": np.zeros((3, 1)),
    "labelled": np.ones(3, bool),
    "reward": np.zeros(3),
}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"obs": {"state": np.zeros((3, 2))}},
            ValueError,
            r"obs\['state'\] has 3 states for 3 actions; it must have 4",
        ),
        ({"obs": {}}, ValueError, "at least one observation"),
        ({"obs": {"state": np.zeros(4)}}, ValueError, r"must be \[T \+ 1, ...\]"),
        ({"obs": {"": np.zeros((4, 2))}}, TypeError, "non-empty string"),
        ({"obs": {"state": np.array([["a"]] * 4)}}, TypeError, "numbers are needed"),
        ({"action": np.zeros(3)}, ValueError, r"must be \[T, A\]"),
        ({"action": np.zeros((0, 1))}, ValueError, "T >= 1"),
        ({"action": np.zeros((3, 2), int)}, ValueError, "discrete choice of width 1"),
        ({"label": np.zeros((3, 2))}, ValueError, "must be alike"),
        ({"label": np.zeros((3, 1), int)}, ValueError, "must be alike"),
        ({"labelled": np.ones(2, bool)}, ValueError, r"labelled has shape \(2,\)"),
        ({"reward": np.zeros((3, 1))}, ValueError, r"reward has shape \(3, 1\)"),
        ({"reward": np.array([0, np.inf, 0])}, ValueError, "reward is inf at step 1"),
        ({"meta": {"seed": [1]}}, TypeError, "meta\\['seed'\\] is list"),
    ],
)
def test_a_wrong_episode_is_refused_with_the_rule(change: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        Episode(**(GOOD | change))
    assert "\n" not in str(caught.value)


def test_nan_is_named_with_its_place() -> None:
    states = np.zeros((4, 2))
    states[2, 1] = np.nan
    with pytest.raises(ValueError, match=r"obs\['state'\] is nan at step 2, dimension 1"):
        Episode(**(GOOD | {"obs": {"state": states}}))


def test_a_number_too_large_for_float32_is_refused_rather_than_made_infinite() -> None:
    with pytest.raises(ValueError, match="1e\\+300"):
        Episode(**(GOOD | {"obs": {"state": np.full((4, 2), 1e300)}}))
    with pytest.raises(ValueError, match="2\\^24"):
        Episode(**(GOOD | {"obs": {"state": np.full((4, 2), 2**24 + 1)}}))


def test_an_episode_cannot_be_changed_through_any_door() -> None:
    action = np.zeros((3, 1), np.float32)
    e = Episode.demonstration(np.zeros((4, 2), np.float32), action)
    action[0] = 7  # the caller's own array is not the episode's
    assert e.action[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        e.action[0] = 1
    with pytest.raises(TypeError):
        e.obs["other"] = action  # type: ignore[index]
    with pytest.raises(AttributeError):
        e.reward = action  # type: ignore[misc]
    view = Dataset([e])[0]
    with pytest.raises(ValueError, match="read-only"):
        view.obs["state"][0] = 1


def test_kinds_of_values_have_one_form_each() -> None:
    image = np.zeros((4, 8, 8, 3), np.uint8)
    e = Episode.demonstration({"camera": image, "state": np.zeros((4, 2))}, np.array([0, 2, 1]))
    assert e.obs["camera"].dtype == np.uint8
    assert e.obs["state"].dtype == np.float32
    assert e.action.dtype == np.int64
    assert e.action.shape == (3, 1)


def test_observations_have_one_form() -> None:
    assert set(as_obs(np.zeros(3))) == {"state"}
    assert set(as_obs({"observation": 1, "desired_goal": 2})) == {"state", "desired_goal"}
    with pytest.raises(ValueError, match="two observations would be named 'state'"):
        as_obs({"observation": 1, "state": 2})


def test_a_recording_without_the_last_state_repeats_it() -> None:
    e = Episode.demonstration(np.arange(3.0), np.arange(3.0))
    assert e.obs["state"][:, 0].tolist() == [0, 1, 2, 2]


def test_pickle_keeps_an_episode_equal_and_its_label_shared() -> None:
    e = Episode.demonstration(np.zeros((4, 2)), np.ones((3, 1)), success=True, meta={"seed": 3})
    back = pickle.loads(pickle.dumps(e))
    assert back == e
    assert back.label is back.action
    assert back != episode(3)


lengths = st.lists(st.integers(1, 7), min_size=1, max_size=5)


@settings(deadline=None, max_examples=60)
@given(lengths, st.integers(1, 4), st.integers(1, 4), st.randoms(use_true_random=False))
def test_windows_equal_their_definition_and_never_cross_episodes(sizes, history, horizon, random) -> None:
    marks = [np.array([random.random() < 0.6 for _ in range(n)]) for n in sizes]
    marks[0][0] = True
    episodes = [episode(n, 100.0 * i, m) for i, (n, m) in enumerate(zip(sizes, marks, strict=True))]
    windows = Dataset(episodes).windows(history, horizon)
    starts = [(i, t) for i, m in enumerate(marks) for t in np.flatnonzero(m)]
    assert len(windows) == len(starts)
    batch = windows.batch(np.arange(len(windows)))
    for row, (i, t) in enumerate(starts):
        past = [100.0 * i + max(0, t - history + 1 + k) for k in range(history)]
        assert batch.obs["state"][row, :, 0].tolist() == past
        for h in range(horizon):
            inside = t + h < sizes[i]
            assert batch.action[row, h, 0] == 100.0 * i + min(t + h, sizes[i] - 1) + 0.5
            assert batch.mask[row, h] == (inside and marks[i][min(t + h, sizes[i] - 1)])
    assert batch.mask[:, 0].all()


@settings(deadline=None, max_examples=40)
@given(lengths)
def test_a_dataset_gives_its_episodes_back(sizes) -> None:
    episodes = [episode(n, 100.0 * i) for i, n in enumerate(sizes)]
    data = Dataset(episodes)
    assert list(data) == episodes
    assert data.steps == sum(sizes)
    assert list(Dataset(episodes[:1]) + episodes[1:]) == episodes
    rebuilt = Dataset.from_columns(
        {"state": np.concatenate([e.obs["state"] for e in episodes])},
        np.concatenate([e.action for e in episodes]),
        sizes,
        meta=[e.meta for e in episodes],
    )
    assert rebuilt.fingerprint() == data.fingerprint()


def test_a_view_shares_memory_and_behaves_like_a_copy() -> None:
    data = Dataset([episode(3, 0.0), episode(2, 100.0), episode(4, 200.0)])
    view = data.select([2, 0])
    assert np.shares_memory(view[0].action, data[2].action)
    assert view.windows(2, 2).batch(np.arange(7)).action[:, 0, 0].tolist() == (
        Dataset([data[2], data[0]]).windows(2, 2).batch(np.arange(7)).action[:, 0, 0].tolist()
    )
    assert [len(e) for e in data[1:]] == [2, 4]


def test_splits_are_disjoint_whole_episodes_and_repeat_with_their_seed() -> None:
    data = Dataset([episode(2, 10.0 * i) for i in range(10)])
    first, second = data.split(0.3, seed=1)
    offsets = [{e.meta["offset"] for e in part} for part in (first, second)]
    assert len(first) == 3
    assert offsets[0] | offsets[1] == {10.0 * i for i in range(10)}
    assert not offsets[0] & offsets[1]
    assert [e.meta for e in data.split(0.3, seed=1)[0]] == [e.meta for e in first]
    with pytest.raises(ValueError, match="must lie in"):
        data.split(1.5, seed=0)


def test_episodes_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"episode 1 has 'action' as float32\[3\], episode 0 as float32\[2\]"
    ):
        Dataset([episode(2), episode(2, width=3)])


def test_an_empty_or_unlabelled_dataset_says_so() -> None:
    with pytest.raises(ValueError, match="empty"):
        Dataset().windows()
    with pytest.raises(ValueError, match="no step of the dataset is labelled"):
        Dataset([episode(2, labelled=np.zeros(2, bool))]).windows()
    with pytest.raises(ValueError, match="at least 1"):
        Dataset([episode(2)]).windows(0, 1)


def test_chunks_cover_a_column_once_and_labels_only_where_spoken() -> None:
    marks = np.array([True, False, True])
    data = Dataset([episode(3, 0.0, marks), episode(2, 100.0)])
    assert np.concatenate(list(data.chunks("label")))[:, 0].tolist() == [0.5, 2.5, 100.5, 101.5]
    assert np.concatenate(list(data.chunks("state")))[:, 0].tolist() == [0, 1, 2, 3, 100, 101, 102]
    with pytest.raises(KeyError, match="no column 'camera'"):
        list(data.chunks("camera"))


def test_fingerprints_tell_one_changed_bit() -> None:
    one, other = episode(3), episode(3)
    assert Dataset([one]).fingerprint() == Dataset([other]).fingerprint()
    action = one.action.copy()
    action[1, 0] = np.nextafter(action[1, 0], np.float32(9))
    changed = Episode(one.obs, action, one.label, one.labelled, one.reward, meta=one.meta)
    assert Dataset([changed]).fingerprint() != Dataset([one]).fingerprint()


def test_measured_times_are_kept_and_checked() -> None:
    when = np.array([0.0, 0.02, 0.02, 0.061])
    e = Episode.demonstration(np.zeros((4, 2)), np.zeros((3, 1)), time=when)
    assert e.time is not None
    assert e.time.dtype == np.float64
    assert not e.time.flags.writeable
    bare = Episode.demonstration(np.zeros((4, 2)), np.zeros((3, 1)))
    assert e != bare
    assert pickle.loads(pickle.dumps(e)) == e
    data = Dataset([bare, e])
    assert data[1] == e
    assert data[0].time is None
    assert data.fingerprint() != Dataset([bare, bare]).fingerprint()
    for wrong, rule in (
        ([0, 1, 2], "4 numbers"),
        ([0, 1, 0.5, 2], "goes back from 1.0 to 0.5 at step 2"),
        ([0, 1, np.nan, 2], "nan at step 2"),
        (["a", "b", "c", "d"], "4 numbers"),
    ):
        with pytest.raises(ValueError, match=rule):
            Episode.demonstration(np.zeros((4, 2)), np.zeros((3, 1)), time=wrong)
    with pytest.raises(ValueError, match="goes back"):
        Dataset.from_columns({"state": np.zeros((4, 2))}, np.zeros((3, 1)), [3], time=[when[::-1]])
