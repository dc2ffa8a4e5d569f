"""The library of episodes: what the page is told is what is in the folder, while it grows and changes."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from library_samples import corrected, filmed, pushes, walk, walks

pytest.importorskip("mujoco")  # scenes are simulated again

from understudy import storage
from understudy.episode import Episode
from understudy.quality import inspect
from understudy.scene import NotDrawn
from understudy.studio.library import Library
from understudy.studio.library_scene import packed
from understudy.studio.library_shelf import Shelf, known, version_of
from understudy.studio.library_timeline import at_step, binned, timeline


def flags_of(library: Library, source: str = "data", **how: Any) -> dict[str, Any]:
    """The list when the inspection is done."""
    library.episodes(source)
    library._shelf(source)[1].wait(60)
    return library.episodes(source, **how)


def test_the_list_says_what_the_episodes_are(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    storage.write(folder, [walk(0), corrected(1), walk(2, 40, instruction="go left")], fps=10)
    rows = Library(folder).episodes("data")["rows"]
    assert [r["steps"] for r in rows] == [30, 20, 40]
    assert [r["seconds"] for r in rows] == [3.0, 2.0, 4.0]
    assert [r["success"] for r in rows] == [False, True, True]
    assert [r["operator"] for r in rows] == ["op0", "op1", "op0"]
    assert [r["takeovers"] for r in rows] == [None, 2, None]
    assert [r["labelled"] for r in rows] == [1.0, 7 / 20, 1.0]
    assert [r["instruction"] for r in rows] == ["walk about", "walk about", "go left"]


def test_measured_time_counts_before_the_nominal_rate(tmp_path: Path) -> None:
    e = walk(0, 4)
    storage.write(tmp_path / "d", [replace(e, time=np.array([1.0, 1.2, 1.5, 1.6, 3.25]))], fps=10)
    assert Library(tmp_path / "d").episodes("data")["rows"][0]["seconds"] == 2.25


def test_without_a_rate_nobody_knows_the_seconds(tmp_path: Path) -> None:
    storage.write(tmp_path / "d", [walk(0, 4)])
    assert Library(tmp_path / "d").episodes("data")["rows"][0]["seconds"] is None


def test_text_without_end_is_cut_where_it_is_shown(tmp_path: Path) -> None:
    long = "x" * 100_000
    storage.write(
        tmp_path / "d", [walk(0, operator=long, instruction=long, source=long, **{long: long})], fps=10
    )
    library = Library(tmp_path / "d")
    row = library.episodes("data")["rows"][0]
    assert (row["operator"], row["instruction"]) == ("x" * 99 + "…", "x" * 499 + "…")
    assert library.episodes("data", operator=row["operator"])["matching"] == 1
    assert len(json.dumps(library.episode("data", 0))) < 10_000


def test_a_page_of_the_list_is_cut_from_what_fits(tmp_path: Path) -> None:
    library = Library(walks(tmp_path / "d", 7))
    page = library.episodes("data", success="yes", start=1, count=2)
    assert (page["total"], page["matching"]) == (7, 4)  # 1, 2, 4, 5
    assert [r["index"] for r in page["rows"]] == [2, 4]
    assert [r["index"] for r in library.episodes("data", operator="op1", descending=True)["rows"]] == [
        5,
        3,
        1,
    ]
    assert library.episodes("data", start=700)["rows"] == []


def test_a_filter_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    library = Library(walks(tmp_path / "d", 2))
    for wrong in ({"sort": "size"}, {"success": "maybe"}, {"count": 0}, {"count": 501}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            library.episodes("data", **wrong)  # type: ignore[arg-type]


def test_flags_follow_the_list_and_the_worst_comes_first(tmp_path: Path) -> None:
    odd = [replace(walk(i, 60), success=i != 4) for i in range(9)]
    odd[7] = odd[2]
    storage.write(tmp_path / "d", odd, fps=10)
    library = Library(tmp_path / "d")
    first = library.episodes("data")
    assert first["measuring"]
    assert all(not r["flags"] for r in first["rows"])
    told = flags_of(library, sort="worst")
    found = inspect(storage.read(tmp_path / "d"))
    worst = [w.index for w in found.worst]
    assert not told["measuring"]
    assert {4, 7} <= set(worst)
    assert [r["index"] for r in told["rows"]][: len(worst)] == worst
    for row in told["rows"]:
        named = [f.kind for f in found.findings if row["index"] in f.episodes]
        assert [f["kind"] for f in row["flags"] if f["kind"] != "stands-out"] == named
        assert all(f["text"] and f["advice"] for f in row["flags"])
    assert [f["kind"] for f in told["whole"]] == [f.kind for f in found.findings if not f.episodes]
    assert told["kinds"]
    for kind in told["kinds"]:
        fits = library.episodes("data", flag=kind)["rows"]
        assert fits
        assert all(kind in [f["kind"] for f in r["flags"]] for r in fits)


def test_an_inspection_that_fails_says_so(tmp_path: Path) -> None:
    folder = walks(tmp_path / "d", 3)
    library = Library(folder)
    library.episodes("data")
    library._shelf("data")[1].wait(60)
    data = next((folder / "data").rglob("*.parquet"))
    version = version_of(folder)
    data.write_bytes(b"PAR1" + os.urandom(200) + b"PAR1")
    fresh = Library(folder)
    assert version_of(folder) == version
    assert str(folder) in str(flags_of(fresh)["trouble"])


def test_new_recordings_appear_while_a_writer_holds_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    library = Library(folder)
    assert library.episodes("data")["total"] == 0  # nothing was recorded yet
    with storage.Writer(folder, fps=10) as writer:
        for i in range(3):
            writer.add(walk(i))
            said = library.episodes("data")
            assert said["total"] == i + 1
            assert library.step("data", i, 2)["obs"]["state"] == walk(i).obs["state"][2].tolist()


def test_the_version_changes_with_every_commit_and_only_then(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    assert version_of(folder) == ""
    seen = []
    with storage.Writer(folder, fps=10) as writer:
        for i in range(4):
            writer.add(walk(i))
            seen.append(version_of(folder))
            assert version_of(folder) == seen[-1]
    seen.append(version_of(folder))
    assert len(set(seen[:4])) == 4
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    assert version_of(copy) != seen[-1]


def test_numbers_are_those_of_the_episode(tmp_path: Path) -> None:
    storage.write(tmp_path / "d", [corrected(1), walk(2)], fps=10)
    library, e = Library(tmp_path / "d"), corrected(1)
    for step in (0, 6, 19):
        told = library.step("data", 0, step)
        assert told["obs"]["state"] == e.obs["state"][step].tolist()
        assert told["action"] == e.action[step].tolist()
        assert told["control"] == int(e.control[step])  # type: ignore[index]
        assert told["label"] == (e.label[step].tolist() if e.labelled[step] else None)
    last = library.step("data", 0, 20)
    assert last["action"] is last["reward"] is last["control"] is None
    assert last["obs"]["state"] == e.obs["state"][20].tolist()
    for step in (21, 10**8):
        with pytest.raises(IndexError, match="no step"):
            library.step("data", 0, step)
    for episode in (2, 10**8):
        with pytest.raises(IndexError, match="no episode"):
            library.step("data", episode, 0)


def test_a_fine_timeline_is_the_column_itself(tmp_path: Path) -> None:
    e = corrected(1)
    told = timeline(e, 100)
    series = {s["name"]: s for s in told["series"]}
    assert series["action"]["high"] is None
    np.testing.assert_allclose(np.array(series["action"]["low"]).T, e.action, rtol=1e-6)
    np.testing.assert_allclose(np.array(series["state"]["low"]).T, e.obs["state"], rtol=1e-6, atol=1e-30)
    assert told["control"] == e.control.tolist()  # type: ignore[union-attr]
    assert told["labelled"] == e.labelled.astype(int).tolist()
    said = list(series["label"]["low"][0])
    assert [x is not None for x in said] == e.labelled.tolist()


def test_no_spike_is_lost_in_a_coarse_timeline() -> None:
    column = np.zeros((10_000, 2), np.float32)
    column[6_543, 1], column[77, 0] = 9.0, -4.0
    low, high = binned(column, 40)
    assert low.shape == high.shape == (40, 2)
    assert high[:, 1].max() == 9.0
    assert np.count_nonzero(high[:, 1]) == 1
    assert low[:, 0].min() == -4.0
    assert np.count_nonzero(low[:, 0]) == 1
    assert int(np.argmax(high[:, 1])) == 6_543 * 40 // 10_000


@pytest.mark.parametrize("rows", [1, 7, 40, 41, 999])
def test_bins_are_the_rows_in_order_without_one_left_out(rows: int) -> None:
    column = np.arange(rows, dtype=np.float64)[:, None]
    low, high = binned(column, 40)
    assert low[0, 0] == 0
    assert high[-1, 0] == rows - 1
    np.testing.assert_array_equal(low[1:, 0], high[:-1, 0] + 1)


def test_wide_observations_are_cut_and_say_so() -> None:
    e = Episode.demonstration({f"v{i}": np.ones((5, 200)) for i in range(20)}, np.ones((4, 3)))
    told = timeline(e, 10)
    assert sum(len(s["low"]) for s in told["series"]) == 160
    assert {s["dims"] for s in told["series"] if s["kind"] == "observation"} == {200}
    assert len(at_step(e, 0)["obs"]["v0"]) == 64
    for bins in (0, 2001):
        with pytest.raises(ValueError, match="bins"):
            timeline(e, bins)


def test_pictures_are_those_of_the_step(tmp_path: Path) -> None:
    simplejpeg = pytest.importorskip("simplejpeg")
    storage.write(tmp_path / "d", [filmed(1), filmed(2)], fps=10)
    library = Library(tmp_path / "d")
    assert library.episode("data", 1)["cameras"] == ["front", "wrist"]
    for step in (0, 3, 6):
        seen = simplejpeg.decode_jpeg(library.picture("data", 1, step, "front"))
        assert seen.shape == (24, 32, 3)
        np.testing.assert_allclose(seen[..., 0], step * 30, atol=4)
    grey = simplejpeg.decode_jpeg(library.picture("data", 0, 1, "wrist"), colorspace="GRAY")
    np.testing.assert_allclose(grey, 200, atol=2)
    with pytest.raises(KeyError, match="no camera"):
        library.picture("data", 0, 1, "state")
    with pytest.raises(IndexError, match="no step"):
        library.picture("data", 0, 7, "front")
    assert not {"front", "wrist"} & {s["name"] for s in library.timeline("data", 0, 10)["series"]}


def test_everything_told_is_json_without_nan(tmp_path: Path) -> None:
    storage.write(tmp_path / "d", [corrected(1), filmed(2)][:1], fps=10)
    library = Library(tmp_path / "d")
    told = [library.sources(), flags_of(library), library.episode("data", 0), library.timeline("data", 0, 5)]
    assert json.loads(json.dumps(told, allow_nan=False)) == told


def test_demonstrations_are_simulated_again_for_the_scene(tmp_path: Path) -> None:
    folder = pushes(tmp_path / "push", 2)
    library = Library(folder)
    made = library.played("data", 1)
    steps = library.episode("data", 1)["steps"]
    assert made.faithful
    assert made.poses.shape == (steps + 1, made.scene.bodies, 7)
    assert library.played("data", 1) is made
    raw = packed(made)
    assert np.frombuffer(raw, "<u4", 2).tolist() == [steps + 1, made.scene.bodies]
    np.testing.assert_array_equal(np.frombuffer(raw, "<f4", offset=8).reshape(made.poses.shape), made.poses)


def test_what_cannot_be_drawn_is_refused_in_words(tmp_path: Path) -> None:
    odd = [walk(0), walk(1, task="fetch-push"), walk(2, task="os:path")]
    odd.append(replace(walk(3), meta={"operator": "x"}))
    storage.write(tmp_path / "d", odd, fps=10)
    library = Library(tmp_path / "d")
    for index, words in enumerate(
        ["no task that is built in", "actions", "no task that is built in", "does not say"]
    ):
        with pytest.raises(NotDrawn, match=words):
            library.played("data", index)
    assert known("os:path") is None


def test_a_run_brings_its_data_and_its_evaluations(tmp_path: Path) -> None:
    walks(tmp_path / "data", 4)
    run = tmp_path / "run"
    for name in ("policy", "expert"):
        storage.write(run / "evaluations" / name / "episodes", [walk(i) for i in (2, 1, 9)], fps=10)
    (run / "evaluations" / "broken").mkdir()
    (run / "run.json").write_text(json.dumps({"data": {"path": "../data"}}))
    told = Library(run).sources()
    assert [(s["name"], s["kind"], s["episodes"]) for s in told] == [
        ("data", "demonstrations", 4),
        ("run: expert", "rollouts", 3),
        ("run: policy", "rollouts", 3),
    ]
    assert not any(s["editable"] for s in told)
    beside = Library(tmp_path / "data", runs=[run])
    assert [s["id"] for s in beside.sources()] == ["data", "run0.tried0", "run0.tried1"]
    assert beside.sources()[0]["editable"]
    assert beside.pair("data", 2, "run0.tried1") == {"source": "run0.tried1", "index": 0, "same_start": True}
    assert beside.pair("data", 3, "run0.tried1")["same_start"] is False
    with pytest.raises(IndexError, match="no episode"):
        beside.pair("data", 4, "run0.tried1")


@pytest.mark.parametrize(
    "said", ["[]", "{", '{"data": 3}', '{"data": {"path": "/proc"}}', '{"data": {"path": "a\\u0000"}}']
)
def test_a_run_that_says_nonsense_has_no_data(tmp_path: Path, said: str) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text(said)
    assert Library(run).sources() == []


def test_an_unknown_source_is_refused(tmp_path: Path) -> None:
    library = Library(walks(tmp_path / "d", 1))
    for source in ("", "..", "../d", str(tmp_path / "d"), "data\0"):
        with pytest.raises(KeyError, match="no source"):
            library.episodes(source)


def test_a_damaged_folder_says_so(tmp_path: Path) -> None:
    folder = walks(tmp_path / "d", 2)
    (folder / "meta" / "info.json").write_text("{")
    with pytest.raises(storage.DataError, match=r"info\.json"):
        Shelf(folder).contents()
