"""Edits from the page: they land on disk, on the version that was seen, and can be taken back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from library_samples import corrected, pushes, walk, walks

pytest.importorskip("mujoco")

from understudy import storage
from understudy.editing import trimmed
from understudy.quality import inspect
from understudy.scene import NotDrawn
from understudy.storage import DataError
from understudy.studio.library import Library
from understudy.studio.library_edits import Busy, Edits, Stale
from understudy.studio.library_shelf import version_of


def edits(folder: Path, busy: str = "") -> Edits:
    return Edits(folder, lambda: busy)


def test_delete_leaves_the_others_as_they_were(tmp_path: Path) -> None:
    folder = walks(tmp_path / "d", 6)
    before = list(storage.read(folder))
    told = edits(folder).delete(version_of(folder), [1, 4, 1])
    assert list(storage.read(folder)) == [before[i] for i in (0, 2, 3, 5)]
    assert list(storage.read(tmp_path / told["kept"])) == before
    assert told["episodes"] == 4
    assert told["version"] == version_of(folder)
    assert len(inspect(storage.read(folder)).episodes) == 4


def test_the_last_episode_cannot_be_deleted(tmp_path: Path) -> None:
    folder = walks(tmp_path / "d", 2)
    with pytest.raises(ValueError, match="all 2 episodes"):
        edits(folder).delete(version_of(folder), [0, 1])
    assert storage.info(folder).episodes == 2
    assert not (tmp_path / "d.before").exists()


def test_trim_keeps_the_steps_and_what_was_said_of_them(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    storage.write(folder, [walk(1), corrected(2)], fps=10)
    before = list(storage.read(folder))
    edits(folder).trim(version_of(folder), 1, 0, 15, None)
    now = list(storage.read(folder))
    assert now[0] == before[0]
    assert now[1] == trimmed(before[1], 0, 15, success=None)
    assert len(now[1]) == 15
    assert now[1].success is None
    rows = Library(folder).episodes("data")["rows"]
    assert (rows[1]["steps"], rows[1]["takeovers"]) == (15, 1)


def test_a_start_that_was_cut_off_is_noted_and_not_drawn_wrong(tmp_path: Path) -> None:
    folder = pushes(tmp_path / "d", 2)
    library = Library(folder)
    before = list(storage.read(folder))
    library.edits.trim(version_of(folder), 0, 2, 8, "keep")
    library.edits.trim(version_of(folder), 0, 1, 6, "keep")
    library.edits.trim(version_of(folder), 1, 0, 5, "keep")
    now = storage.read(folder)
    assert now[0].meta["trimmed_start"] == 3
    assert "trimmed_start" not in now[1].meta
    np.testing.assert_array_equal(now[0].action, before[0].action[3:8])
    with pytest.raises(NotDrawn, match="first 3 steps were cut off"):
        library.played("data", 0)
    assert library.played("data", 1).faithful
    assert len(library.played("data", 1).poses) == 6


@pytest.mark.parametrize("window", [(5, 5), (6, 5), (0, 31), (-1, 5), (0, -1), (30, 31), (10**9, 10**9 + 1)])
def test_a_window_that_leaves_nothing_is_refused(tmp_path: Path, window: tuple[int, int]) -> None:
    folder = walks(tmp_path / "d", 2)
    version = version_of(folder)
    with pytest.raises(ValueError, match="steps"):
        edits(folder).trim(version, 0, *window, "keep")
    assert version_of(folder) == version
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d"]


@pytest.mark.parametrize("success", ["yes", 1, 0, 1.0, "True", []])
def test_an_outcome_is_true_false_or_null(tmp_path: Path, success: Any) -> None:
    folder = walks(tmp_path / "d", 2)
    with pytest.raises(ValueError, match="success"):
        edits(folder).trim(version_of(folder), 0, 0, 5, success)
    with pytest.raises(ValueError, match="success"):
        edits(folder).relabel(version_of(folder), [0], {"success": success})


def test_relabel_sets_what_it_says_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    storage.write(folder, [walk(1), walk(2, task="fetch-push"), walk(3)], fps=10)
    before = list(storage.read(folder))
    script = "<script>alert('x')</script> grün"
    edits(folder).relabel(
        version_of(folder), [0, 1], {"success": False, "operator": " ann ", "instruction": script}
    )
    now = list(storage.read(folder))
    assert [e.success for e in now] == [False, False, before[2].success]
    assert now[0].meta == {**before[0].meta, "operator": "ann", "task": script}
    assert now[1].meta == {**before[1].meta, "operator": "ann", "instruction": script}
    assert now[2] == before[2]
    np.testing.assert_array_equal(now[0].obs["state"], before[0].obs["state"])
    rows = Library(folder).episodes("data", operator="ann")["rows"]
    assert [r["instruction"] for r in rows] == [script, script]
    assert inspect(storage.read(folder)).facts["operator"]["ann"] == 2


def test_an_outcome_that_a_person_gave_is_no_longer_the_tasks_word(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    storage.write(
        folder, [walk(1, success_by="task", task_success=1), walk(2), walk(4, success_by="task")], fps=10
    )
    own = edits(folder)
    own.relabel(version_of(folder), [0, 1], {"success": False})
    own.trim(version_of(folder), 2, 0, 9, "keep")
    now = storage.read(folder)
    assert [e.meta.get("success_by") for e in now] == ["operator", None, "task"]
    assert now[0].meta["task_success"] == 1
    own.trim(version_of(folder), 2, 0, 5, False)
    last = storage.read(folder)[2]
    assert (last.meta["success_by"], last.success) == ("operator", False)


@pytest.mark.parametrize(
    "facts",
    [{}, {"task": "x"}, {"operator": "a\nb"}, {"operator": "\ud800"}, {"operator": 3},
     {"operator": "x" * 101}, {"instruction": "x" * 501}, {"operator": None}, {"../x": "y"}],
)  # fmt: skip
def test_a_fact_that_cannot_be_is_refused(tmp_path: Path, facts: dict[str, Any]) -> None:
    folder = walks(tmp_path / "d", 2)
    version = version_of(folder)
    with pytest.raises((ValueError, TypeError)):
        edits(folder).relabel(version, [0], facts)
    assert version_of(folder) == version


def every(folder: Path) -> list[Callable[[Edits, str], Any]]:
    return [
        lambda e, v: e.delete(v, [0]),
        lambda e, v: e.trim(v, 0, 0, 5, "keep"),
        lambda e, v: e.relabel(v, [0], {"success": None}),
    ]


def test_an_edit_of_what_has_changed_is_refused(tmp_path: Path) -> None:
    folder = walks(tmp_path / "d", 3)
    seen = version_of(folder)
    storage.append(folder, [walk(9)])
    before = version_of(folder)
    for edit in every(folder):
        for version in (seen, "", "0" * 16):
            with pytest.raises(Stale, match="changed"):
                edit(edits(folder), version)
    assert version_of(folder) == before
    assert storage.info(folder).episodes == 4


def test_two_pages_that_edit_the_same_version_do_not_both_win(tmp_path: Path) -> None:
    folder = walks(tmp_path / "d", 6)
    version, gate, ended = version_of(folder), threading.Barrier(4), []

    def page(index: int) -> None:
        own = edits(folder)  # as another process would have
        gate.wait()
        try:
            own.delete(version, [index])
            ended.append("won")
        except (Stale, DataError) as e:
            ended.append(type(e).__name__)

    threads = [threading.Thread(target=page, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert ended.count("won") == 1
    assert storage.info(folder).episodes == 5


def test_nothing_is_edited_while_somebody_records(tmp_path: Path) -> None:
    folder = walks(tmp_path / "d", 3)
    version = version_of(folder)
    for edit in every(folder):
        with pytest.raises(Busy, match="being recorded"):
            edit(edits(folder, "an episode is being recorded"), version)
    with pytest.raises(Busy, match="being recorded"):
        edits(folder, "an episode is being recorded").undo(version)
    with storage.Writer(folder, append=True):
        for edit in every(folder):
            with pytest.raises(DataError, match="being written"):
                edit(edits(folder), version)
    assert version_of(folder) == version


def test_undo_goes_back_one_edit_at_a_time(tmp_path: Path) -> None:
    folder, own = walks(tmp_path / "d", 4), edits(tmp_path / "d")
    states = [list(storage.read(folder))]
    own.delete(version_of(folder), [0])
    states.append(list(storage.read(folder)))
    own.relabel(version_of(folder), [1], {"operator": "zoe"})
    for words, state in (("episode 1: operator set", states[1]), ("episode 0 deleted", states[0])):
        assert own.undoable(version_of(folder)) == words
        assert own.undo(version_of(folder))["version"] == version_of(folder)
        assert list(storage.read(folder)) == state
    assert own.undoable(version_of(folder)) is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d"]
    with pytest.raises(ValueError, match="no edit"):
        own.undo(version_of(folder))


def test_undo_says_where_what_it_could_not_remove_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, own = walks(tmp_path / "d", 3), edits(tmp_path / "d")
    own.delete(version_of(folder), [0])

    def refuse(path: Path) -> None:
        raise PermissionError(1, "not allowed", str(path))

    monkeypatch.setattr("understudy.studio.library_edits.shutil.rmtree", refuse)
    assert "is in d.before (not allowed)" in own.undo(version_of(folder))["words"]
    assert storage.info(folder).episodes == 3


def test_undo_is_refused_when_something_was_recorded_since(tmp_path: Path) -> None:
    folder, own = walks(tmp_path / "d", 4), edits(tmp_path / "d")
    own.delete(version_of(folder), [0])
    storage.append(folder, [walk(7)])
    assert own.undoable(version_of(folder)) is None
    with pytest.raises(Stale, match="changed since"):
        own.undo(version_of(folder))
    assert storage.info(folder).episodes == 4
    assert storage.info(tmp_path / "d.before").episodes == 4


def test_undo_is_refused_when_the_dataset_before_is_gone(tmp_path: Path) -> None:
    folder, own = walks(tmp_path / "d", 4), edits(tmp_path / "d")
    told = own.delete(version_of(folder), [0])
    (tmp_path / told["kept"]).rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="not there any more"):
        own.undo(version_of(folder))
    assert storage.info(folder).episodes == 3
    assert not (tmp_path / told["kept"]).exists()


@pytest.mark.parametrize("episodes", [[], [6], [-1], [10**12], [0, 6]])
def test_episodes_that_are_not_there_are_refused(tmp_path: Path, episodes: list[int]) -> None:
    folder = walks(tmp_path / "d", 6)
    with pytest.raises((IndexError, ValueError), match="episode"):
        edits(folder).delete(version_of(folder), episodes)
    assert storage.info(folder).episodes == 6
