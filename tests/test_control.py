"""Who held the controls goes wherever an episode goes: datasets, rollouts, folders, files of others."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from understudy import formats, storage
from understudy.dataset import Dataset
from understudy.envs import ActionSpec, task
from understudy.episode import EXPERT, POLICY, RECOVERY, Episode
from understudy.experts import ENDORSE, SILENT, NoisyExecution, PolicyExpert
from understudy.formats.options import from_words
from understudy.quality import FAULTS, inject
from understudy.rollout import rollout, rollouts
from understudy.storage import DataError

STEPS = 5


def plain(seed: int = 0, steps: int = STEPS, **changes: Any) -> Episode:
    rng = np.random.default_rng(seed)
    e = Episode.demonstration(
        {"qpos": rng.standard_normal((steps + 1, 2))},
        rng.uniform(-1, 1, (steps, 2)),
        meta={"task": "stack", "seed": seed, "sim": 1},
    )
    return replace(e, **changes)


def mixed(count: int = 4) -> list[Episode]:
    """Episodes of which every other one says who drove."""
    return [plain(i, STEPS + i, control=np.arange(STEPS + i) % 3 if i % 2 else None) for i in range(count)]


def listed(e: Episode) -> list[int] | None:
    return None if e.control is None else e.control.tolist()


# ---------------------------------------------------------------------------------- episodes and datasets


@pytest.mark.parametrize("given", [[0, 1, 2, 1, 0], np.array([0, 1, 2, 1, 0], np.int64)])
def test_an_episode_keeps_a_small_frozen_column(given: Any) -> None:
    e = plain(control=given)
    assert e.control is not None
    assert (e.control.dtype, e.control.tolist()) == (np.uint8, [0, 1, 2, 1, 0])
    with pytest.raises(ValueError, match="read-only"):
        e.control[0] = 1
    if isinstance(given, np.ndarray):
        given[0] = 2  # the caller's own array is not the episode's
        assert e.control[0] == 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([0, 1, 3, 0, 0], "control is 3 at step 2; it must be 0"),
        ([0, -1, 0, 0, 0], "control is -1 at step 1"),
        ([0, 1], r"control is int64\[2\]; with 5 actions it must be 5 whole numbers"),
        ([[0]] * 5, r"control is int64\[5, 1\]"),
        ([0.0, 1.0, 0.0, 0.0, 0.0], r"control is float64\[5\]"),
        (["a"] * 5, r"control is <U1\[5\]"),
        ([2**70] * 5, r"control is object\[5\]"),
    ],
)
def test_what_is_no_driver_is_refused(given: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        plain(control=given)
    assert "\n" not in str(caught.value)


def test_it_is_part_of_what_an_episode_is() -> None:
    bare, held = plain(), plain(control=[0, 0, 1, 1, 0])
    assert bare != held
    assert held != plain(control=[0, 0, 1, 2, 0])
    assert held == plain(control=[0, 0, 1, 1, 0])
    assert listed(pickle.loads(pickle.dumps(held))) == [0, 0, 1, 1, 0]
    prints = {Dataset([e]).fingerprint() for e in (bare, held, plain(control=np.zeros(STEPS, int)))}
    assert len(prints) == 3


def test_a_dataset_gives_it_back_in_every_view() -> None:
    episodes = mixed()
    data = Dataset(episodes)
    assert list(data) == episodes
    assert [listed(e) for e in data[1::2]] == [listed(e) for e in episodes[1::2]]
    assert [listed(e) for e in data.select([3, 0])] == [listed(episodes[3]), None]
    more = data + [plain(9, control=[2] * STEPS)]  # noqa: RUF005  that is what is tested
    assert listed(more[len(data)]) == [2] * STEPS
    assert list(pickle.loads(pickle.dumps(data))) == episodes


# ----------------------------------------------------------------------------------------------- rollouts


class Line:
    """A point on a line that goes where it is pushed."""

    name = "line"
    action = ActionSpec.box([-1.0], [1.0])
    obs: Any = {"state": (1,)}  # noqa: RUF012

    def reset(self, *, seed: int) -> Any:
        self.t = 0
        return {"state": np.full(1, seed, np.float32)}, {}

    def step(self, action: Any) -> Any:
        self.t += 1
        return {"state": action}, 0.0, False, self.t >= 6, {}

    def close(self) -> None: ...


class Left:
    """Proposes to go left."""

    def reset(self, seed: int) -> None: ...

    def act(self, obs: Any) -> Any:
        return np.array([-1.0])


class Thirds:
    """Says nothing for two steps, goes right for two steps, then says to go left, as the policy does."""

    def reset(self, seed: int) -> None:
        self.t = -1

    def advise(self, obs: Any, proposed: Any) -> Any:
        self.t += 1
        return (None, np.array([1.0]), proposed)[self.t // 2]


class Backwards(Thirds):
    """The same on the way back, from its second word on."""

    @property
    def control(self) -> int:
        return RECOVERY if self.t > 2 else EXPERT


def ignore(proposed: Any, advice: Any) -> Any:
    return proposed


def test_whoever_is_deferred_to_drives() -> None:
    e = rollout(Line(), Left(), 0, Thirds())
    assert listed(e) == [POLICY, POLICY, EXPERT, EXPERT, EXPERT, EXPERT]
    assert e.action.ravel().tolist() == [-1, -1, 1, 1, -1, -1]
    assert e.labelled.tolist() == [False, False, True, True, True, True]


def test_labels_alone_are_no_control() -> None:
    e = rollout(Line(), Left(), 0, PolicyExpert(Left()), ignore)
    assert e.labelled.all()
    assert listed(e) == [POLICY] * 6


def test_an_expert_says_in_what_capacity_he_drives() -> None:
    e = rollout(Line(), Left(), 0, Backwards())
    assert listed(e) == [POLICY, POLICY, EXPERT, RECOVERY, RECOVERY, RECOVERY]
    assert listed(rollout(Line(), Left(), 0, Backwards(), ignore)) == [0, 0, 0, 0, 2, 2]  # his is the same


def test_a_disturbed_action_is_the_ones_who_gave_it() -> None:
    e = rollout(Line(), Left(), 3, Thirds(), NoisyExecution(0.3, Line.action))
    assert listed(e) == [POLICY, POLICY, EXPERT, EXPERT, EXPERT, EXPERT]
    assert not np.array_equal(e.action, e.label)


@pytest.mark.parametrize("expert", [SILENT, ENDORSE])
def test_where_nobody_stands_by_nobody_notes_it(expert: Any) -> None:
    assert rollout(Line(), Left(), 0, expert).control is None


def test_workers_note_the_same() -> None:
    t = task("pendulum")
    assert t.expert is not None
    policy, expert = t.expert(), PolicyExpert(t.expert())
    noise = NoisyExecution(0.2, t.action)
    alone = rollouts(t.make, policy, range(3), expert, noise, max_steps=9)
    both = rollouts(t.make, policy, range(3), expert, noise, max_steps=9, workers=2)
    assert alone == both
    assert [listed(e) for e in both] == [[EXPERT] * 9] * 3


# ------------------------------------------------------------------------------------------ native folders


def rows_of(folder: Path) -> Path:
    return folder / "meta" / "episodes" / "chunk-000" / "file-000.parquet"


def as_before(folder: Path) -> None:
    """Takes the column out, as if the folder had been written before there was one."""
    table = pq.read_table(rows_of(folder))
    pq.write_table(table.drop_columns(["understudy/control"]), rows_of(folder))


@pytest.mark.parametrize("compacted", [False, True])
def test_a_folder_from_before_is_read_added_to_and_compacted(tmp_path: Path, compacted: bool) -> None:
    folder, episodes = tmp_path / "d", mixed(6)
    old = [replace(e, control=None) for e in episodes[:3]]
    with storage.Writer(folder) as writer:
        for e in old:
            writer.add(e)
    as_before(folder)
    assert list(storage.read(folder)) == old
    assert storage.repair(folder) == ()
    assert storage.append(folder, episodes[3:]) == ()
    if compacted:
        assert storage.compact(folder) == (4, 1)
    assert list(storage.read(folder)) == list(storage.stream(folder)) == [*old, *episodes[3:]]
    assert pq.read_schema(rows_of(folder)).field("understudy/control").type == pa.list_(pa.uint8())


def test_an_episode_lost_to_a_crash_takes_its_column_along(tmp_path: Path) -> None:
    folder, episodes = tmp_path / "d", mixed(4)
    with storage.Writer(folder) as writer:
        for e in episodes:
            writer.add(e)
    last = folder / "data" / "chunk-000" / "file-003.parquet"
    last.write_bytes(last.read_bytes()[:-40])
    assert "dropped episode 3" in storage.repair(folder)[0]
    storage.append(folder, [episodes[1]])
    assert list(storage.read(folder)) == [*episodes[:3], episodes[1]]


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ([[7] * 5, None], "control is 7 at step 0"),
        ([None, [0] * 5], r"with 6 actions it must be 6 whole numbers"),
        ([[0.5] * 5, None], r"control is float64\[5\]"),
        ([[0, None, 0, 0, 0], None], "cannot be read"),
        (["01100", None], "cannot be read"),
        ([[[0]] * 5, None], "cannot be read|whole numbers"),
    ],
)
@pytest.mark.parametrize("verify", [True, False])
def test_a_folders_strange_column_is_refused(tmp_path: Path, column: Any, said: str, verify: bool) -> None:
    folder = tmp_path / "d"
    storage.write(folder, mixed(2))
    table = pq.read_table(rows_of(folder))
    at = table.column_names.index("understudy/control")
    pq.write_table(table.set_column(at, "understudy/control", pa.array(column)), rows_of(folder))
    with pytest.raises(DataError, match=f"{said}|checksum differs" if verify else said) as caught:
        storage.read(folder, verify=verify)
    assert "\n" not in str(caught.value)


# ----------------------------------------------------------------------------------------- other formats

WRITING = {"act": ["sim=yes"], "mcap": []}
OTHERS = [n for n in formats.names() if n != "lerobot" and hasattr(formats.layout(n), "write")]


def written(place: Path, episodes: list[Episode], name: str) -> Path:
    asked = from_words(formats.layout(name).Writing, WRITING.get(name, []))
    formats.write(place, episodes, name, asked)
    return place


@pytest.mark.parametrize("name", OTHERS)
def test_a_format_keeps_it_and_only_it(tmp_path: Path, name: str) -> None:
    given = mixed()
    back = list(formats.stream(written(tmp_path / "x", given, name), name, guard=False))
    assert [listed(e) for e in back] == [listed(e) for e in given]
    assert back == given


def test_it_comes_through_the_guard(tmp_path: Path) -> None:
    given = mixed()
    assert list(formats.stream(written(tmp_path / "x.npz", given, "arrays"))) == given


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (np.full(STEPS, 7, np.uint8), "control is 7 at step 0"),
        (np.full(STEPS, 0.5), r"control is float\d\d\[5\]"),
        (np.zeros(STEPS - 1, np.uint8), r"control|row|cannot be read"),
    ],
)
def test_a_strange_column_is_refused_in_one_line(tmp_path: Path, name: str, bad: Any, said: str) -> None:
    e = plain(control=np.zeros(STEPS, np.uint8))
    object.__setattr__(e, "control", bad)  # no episode of ours, but what a stranger may write
    path = written(tmp_path / "x", [e], name)
    with pytest.raises(DataError, match=said) as caught:
        list(formats.stream(path, name, guard=False))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("x", "column 'control' is 'x'"),
        ("", "column 'control' is ''"),
        ("0.0", "column 'control' is '0.0'"),
        ("3", "control is 3 at step 2"),
        ("9" * 19, "control is 9+ at step 2|control is (object|float64)"),
    ],
)
def test_a_table_holds_it_in_a_column_of_its_own(tmp_path: Path, cell: str, said: str) -> None:
    given = mixed()
    path = written(tmp_path / "x.csv", given, "arrays")
    assert list(formats.stream(path, guard=False)) == given
    rows = [line.split(",") for line in path.read_text().splitlines()]
    at = rows[0].index("control")
    (row,) = (r for r in rows if r[:2] == ["1", "2"])  # episode, step
    assert row[at] == "2"
    row[at] = cell
    path.write_text("\n".join(map(",".join, rows)))
    with pytest.raises(DataError, match=said):
        list(formats.stream(path, guard=False))


@pytest.mark.parametrize("name", ["x.npz", "x.csv"])
def test_in_files_of_others_the_name_alone_says_nothing(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(0)
    path, pushed, held = tmp_path / name, rng.random(4), np.array([0, 1, 1, 0])
    if name.endswith("npz"):
        np.savez(path, action=rng.random((4, 2)), x=rng.random(4), control=pushed, driver=held)
    else:
        rows = [f"1,2,{p!r},{h}" for p, h in zip(pushed.tolist(), held.tolist(), strict=True)]
        path.write_text("\n".join(["action.0,action.1,control,driver", *rows]))
    (e,) = formats.stream(path, guard=False)
    assert e.control is None
    assert np.allclose(e.obs["control"][:4, 0], pushed)
    asked = formats.layout("arrays").Reading(control="driver")
    (e,) = formats.stream(path, options=asked, guard=False)
    assert listed(e) == held.tolist()
    assert "driver" not in e.obs
    for other in ("control", "nobody"):
        with pytest.raises(DataError, match="control" if other == "control" else "nobody"):
            list(formats.stream(path, options=replace(asked, control=other), guard=False))


def test_an_observation_of_that_name_is_another_thing(tmp_path: Path) -> None:
    one = plain(control=[0, 1, 2, 0, 0])
    one = replace(one, obs={"qpos": one.obs["qpos"], "control": one.obs["qpos"][:, :1]})
    for name in ("x.npz", "x.csv"):
        assert list(formats.stream(written(tmp_path / name, [one], "arrays"), guard=False)) == [one]


def test_a_file_from_before_is_read_as_it_was(tmp_path: Path) -> None:
    given = [replace(e, control=None) for e in mixed()]
    path = written(tmp_path / "x.csv", given, "arrays")
    rows = [line.split(",") for line in path.read_text().splitlines()]
    at = rows[0].index("control")
    assert all(r[at] == "" for r in rows[1:])
    (tmp_path / "old.csv").write_text("\n".join(",".join(r[:at] + r[at + 1 :]) for r in rows))
    assert list(formats.stream(tmp_path / "old.csv", guard=False)) == given


def test_facts_may_promise_only_what_there_is(tmp_path: Path) -> None:
    with np.load(written(tmp_path / "x.npz", mixed(), "arrays")) as file:
        columns = dict(file)
    said = json.loads(columns["understudy"].tobytes())
    assert [e["extras"] for e in said["episodes"]] == [[], ["control"], [], ["control"]]
    for change in ({"control": columns["control"][:-1]}, {"control": columns["control"][:, None]}):
        np.savez(tmp_path / "bad.npz", **(columns | change))
        with pytest.raises(DataError):
            list(formats.stream(tmp_path / "bad.npz", guard=False))
    del columns["control"]
    np.savez(tmp_path / "bad.npz", **columns)
    with pytest.raises(DataError, match="has no 'control', of which 'understudy' tells"):
        list(formats.stream(tmp_path / "bad.npz", guard=False))


# ------------------------------------------------------------------------------------------- what is made


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_keeps_a_driver_for_every_step(fault: str) -> None:
    steps = 40
    episodes = [
        plain(i, steps, control=np.repeat([0, 1, 2, 0], steps // 4), reward=np.arange(steps))
        for i in range(4)
    ]
    spoilt, bad = inject(Dataset(episodes), fault, share=1.0, seed=0)
    assert bad.all()
    for before, after in zip(episodes, spoilt, strict=True):
        assert before.control is not None
        assert after.control is not None
        # The reward is the number of the step that was recorded: the driver is still that step's.
        assert after.control.tolist() == before.control[after.reward.astype(int)].tolist()
