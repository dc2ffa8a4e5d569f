"""Editing datasets: what is not named stays to the last bit, and the source is never lost."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy import cli, editing, storage
from understudy.edit import EDITS, numbers, windows
from understudy.editing import folders
from understudy.episode import Episode
from understudy.storage import DataError, Writer

SAMPLE = Path(__file__).parent / "data" / "lerobot_v3_video"


def episode(number: int, steps: int | None = None, **changes: object) -> Episode:
    rng = np.random.default_rng(number)
    steps = steps or 4 + number % 5
    action = rng.standard_normal((steps, 2)).astype(np.float32)
    given = {
        "obs": {"state": rng.standard_normal((steps + 1, 3)), "goal": rng.standard_normal((steps + 1, 1))},
        "action": action,
        "label": action if number % 2 else action + 1,
        "labelled": rng.random(steps) < 0.7,
        "reward": rng.standard_normal(steps),
        "terminated": number % 2 == 0,
        "success": (True, False, None)[number % 3],
        "meta": {"task": f"task {number % 2}", "operator": ("ann", "bob")[number % 3 == 0], "seed": number},
        "time": np.cumsum(rng.random(steps + 1)) if number % 4 else None,
        "control": np.arange(steps) % 3 if number % 3 else None,
    }
    return Episode(**(given | changes))


@pytest.fixture
def source(tmp_path) -> tuple[Path, list[Episode]]:
    episodes = [episode(i) for i in range(10)]
    with Writer(tmp_path / "source", fps=20, robot_type="arm") as writer:
        for e in episodes[:6]:
            writer.add(e)
        writer.extend(episodes[6:])
    return tmp_path / "source", episodes


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


EDITS_OF_ALL = {  # an edit of a folder -> what it makes of ten episodes
    "select": (lambda f, **to: editing.select(f, [7, 0, 7], **to), lambda e: [e[0], e[7]]),
    "delete": (lambda f, **to: editing.delete(f, [1, 9], **to), lambda e: [e[0], *e[2:9]]),
    "trim": (
        lambda f, **to: editing.trim(f, {2: (1, 3)}, **to),
        lambda e: [*e[:2], editing.trimmed(e[2], 1, 3), *e[3:]],
    ),
    "trim all": (
        lambda f, **to: editing.trim(f, (1, -1), **to),
        lambda e: [editing.trimmed(x, 1, -1) for x in e],
    ),
    "rename": (
        lambda f, **to: editing.rename(f, {"goal": "target"}, **to),
        lambda e: [editing.renamed(x, {"goal": "target"}) for x in e],
    ),
    "drop": (
        lambda f, **to: editing.drop(f, ["goal"], **to),
        lambda e: [editing.without(x, ["goal"]) for x in e],
    ),
    "task": (
        lambda f, **to: editing.set_fact(f, "task", "push", episodes=[3], **to),
        lambda e: [*e[:3], editing.with_fact(e[3], "task", "push"), *e[4:]],
    ),
    "operator": (
        lambda f, **to: editing.set_fact(f, "operator", "cy", **to),
        lambda e: [editing.with_fact(x, "operator", "cy") for x in e],
    ),
    "statistics": (lambda f, **to: editing.recompute_statistics(f, **to), lambda e: e),
}


@pytest.mark.parametrize("name", EDITS_OF_ALL)
def test_a_copy_is_what_was_asked_and_the_source_is_untouched(source, tmp_path, name) -> None:
    folder, episodes = source
    edit, want = EDITS_OF_ALL[name]
    before = contents(folder)
    made = edit(folder, out=tmp_path / "deep" / "new")
    back = list(storage.read(tmp_path / "deep" / "new"))
    assert back == want(episodes)
    assert (made.folder, made.episodes, made.steps) == (
        tmp_path / "deep" / "new",
        len(back),
        sum(map(len, back)),
    )
    assert (made.kept, made.left_out) == (None, ())
    assert contents(folder) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["deep", "source"]
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["new"]
    there = storage.info(tmp_path / "deep" / "new")
    assert (there.fps, there.robot_type) == (20, "arm")
    stats = json.loads((tmp_path / "deep" / "new" / "meta" / "stats.json").read_text())
    action = np.concatenate([e.action for e in back]).astype(np.float64)
    np.testing.assert_allclose(stats["action"]["std"], action.std(0), rtol=1e-12)


@pytest.mark.parametrize("name", EDITS_OF_ALL)
def test_a_replacement_keeps_the_original_beside(source, tmp_path, name) -> None:
    folder, episodes = source
    edit, want = EDITS_OF_ALL[name]
    before = contents(folder)
    made = edit(folder, in_place=True)
    assert list(storage.read(folder)) == want(episodes)
    if name == "statistics":  # nothing but the statistics was written
        assert made.kept is None
        return
    assert made.kept == tmp_path / "source.before"
    assert contents(made.kept) == before
    again = editing.set_fact(folder, "task", "lift", in_place=True)
    assert again.kept == tmp_path / "source.before-2"
    assert contents(made.kept) == before
    thrown = editing.set_fact(folder, "task", "put", in_place=True, keep=False)
    assert thrown.kept is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source", "source.before", "source.before-2"]
    storage.append(folder, [storage.read(folder)[0]])  # nobody holds its lock


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 9), st.integers(-12, 12), st.one_of(st.none(), st.integers(-12, 12)))
def test_trimming_is_a_slice_with_the_state_after_it(steps, start, stop) -> None:
    e = episode(steps + 1, steps, terminated=True, success=False)
    first, end, _ = slice(start, stop).indices(steps)
    inside = -steps <= start < steps and (stop is None or -steps <= stop <= steps)
    if not inside or first >= end:
        with pytest.raises(ValueError, match=f"of an episode with {steps} steps"):
            editing.trimmed(e, start, stop)
        return
    cut = editing.trimmed(e, start, stop)
    assert len(cut) == end - first
    for key in e.obs:
        assert np.array_equal(cut.obs[key], e.obs[key][first : end + 1])
    assert np.array_equal(cut.action, e.action[first:end])
    assert np.array_equal(cut.label, e.label[first:end])
    assert np.array_equal(cut.labelled, e.labelled[first:end])
    assert np.array_equal(cut.reward, e.reward[first:end])
    assert (cut.time is None) == (e.time is None)
    if e.time is not None:
        assert np.array_equal(cut.time, e.time[first : end + 1])
    assert (cut.control is None) == (e.control is None)
    if e.control is not None:
        assert np.array_equal(cut.control, e.control[first:end])
    assert cut.terminated == (end == steps)
    assert cut.success is False
    assert dict(cut.meta) == dict(e.meta)
    assert editing.trimmed(e, start, stop, success=None).success is None


def test_merging_joins_in_order_and_refuses_what_is_not_alike(source, tmp_path) -> None:
    folder, episodes = source
    more = [episode(i) for i in range(20, 23)]
    storage.write(tmp_path / "more", more, fps=20)
    made = editing.merge([folder, tmp_path / "more"], tmp_path / "all")
    assert list(storage.read(tmp_path / "all")) == [*episodes, *more]
    assert made.episodes == 13
    assert storage.info(tmp_path / "all").tasks == ("task 0", "task 1")
    assert (
        storage.info(tmp_path / "all").robot_type == "arm"
    )  # where nobody says, there is nothing to disagree
    editing.merge([tmp_path / "more", folder], in_place=True)
    assert list(storage.read(tmp_path / "more")) == [*more, *episodes]
    assert list(storage.read(tmp_path / "more.before")) == more
    wide = episode(0, 4, obs={"state": np.zeros((5, 7)), "goal": np.zeros((5, 1))})
    for other, fps, robot, message in (
        (wide, 20, "arm", r"'state' is float32\[3\] in .*source and float32\[7\] in .*other"),
        (editing.without(wide, ["goal"]), 20, "arm", r"'goal' is float32\[1\] in .*source and absent in"),
        (
            episode(0, 4, action=np.zeros((4, 5)), label=np.zeros((4, 5))),
            20,
            "arm",
            r"'action' is float32\[2\]",
        ),
        (episode(0), 30, "arm", "has 20 steps a second, .* has 30"),
        (episode(0), 20, "leg", "is of robot 'arm', .* of 'leg'"),
    ):
        shutil.rmtree(tmp_path / "other", ignore_errors=True)
        storage.write(tmp_path / "other", [other], fps=fps, robot_type=robot)
        with pytest.raises(DataError, match=message):
            editing.merge([folder, tmp_path / "other"], tmp_path / "new")
    with pytest.raises(ValueError, match="two datasets or more"):
        editing.merge([folder], tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_splitting_by_fraction_by_fact_and_by_numbers(source, tmp_path) -> None:
    folder, episodes = source
    drawn = editing.parts_by_fraction(folder, 0.7, 3)
    assert sorted(drawn["train"] + drawn["validation"]) == list(range(10))
    assert len(drawn["train"]) == 7
    assert drawn == editing.parts_by_fraction(folder, 0.7, 3)
    assert drawn != editing.parts_by_fraction(folder, 0.7, 4)
    one, two = storage.read(folder).split(0.7, 3)  # the same draw as of a dataset in memory
    editing.split(folder, drawn, tmp_path / "parts")
    assert list(storage.read(tmp_path / "parts" / "train")) == list(one)
    assert list(storage.read(tmp_path / "parts" / "validation")) == list(two)
    by = editing.parts_by_fact(folder, "operator")
    assert {k: len(v) for k, v in by.items()} == {"bob": 4, "ann": 6}
    made = editing.split(folder, by, tmp_path / "people")
    assert made["ann"].folder == tmp_path / "people" / "ann"
    assert list(storage.read(tmp_path / "people" / "ann")) == [episodes[i] for i in by["ann"]]
    storage.write(tmp_path / "odd", [episode(0, meta={"a": "x/../y"}), episode(1, meta={"b": 1})])
    with pytest.raises(ValueError, match="episode 1 says no 'a'; it says b"):
        editing.parts_by_fact(tmp_path / "odd", "a")
    editing.select(tmp_path / "odd", [0], in_place=True)
    assert list(editing.parts_by_fact(tmp_path / "odd", "a")) == ["x%2F..%2Fy"]
    for parts, message in (
        ({"a": [10]}, "no episode 10"),
        ({"a": []}, "'a' would be empty"),
        ({"../a": [1]}, "cannot be the name of a folder"),
        ({"": [1]}, "cannot be the name of a folder"),
    ):
        with pytest.raises(ValueError, match=message):
            editing.split(folder, parts, tmp_path / "new")
    with pytest.raises(ValueError, match="between 0 and 1"):
        editing.parts_by_fraction(folder, 1.0, 0)
    assert not (tmp_path / "new").exists()


def test_what_does_not_fit_is_refused_and_nothing_is_made(source, tmp_path) -> None:
    folder, _ = source
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    new = tmp_path / "new"
    before = contents(folder)
    for make, kind, message in (
        (lambda: editing.select(folder, [], new), DataError, "no episode would be left"),
        (lambda: editing.select(folder, [10], new), ValueError, "no episode 10; .* 9"),
        (lambda: editing.delete(folder, [-1], new), ValueError, "no episode -1"),
        (lambda: editing.delete(folder, range(10), new), ValueError, "all 10 episodes would be deleted"),
        (
            lambda: editing.trim(folder, {3: (7, 9)}, new),
            ValueError,
            "episode 3: steps 7:9 of an episode with 7",
        ),
        (lambda: editing.trim(folder, {10: (0, 1)}, new), ValueError, "no episode 10"),
        (
            lambda: editing.rename(folder, {"gaol": "x"}, new),
            KeyError,
            "no observation 'gaol'; .*'state', 'goal'",
        ),
        (lambda: editing.rename(folder, {"goal": "state"}, new), ValueError, "would be named 'state'"),
        (lambda: editing.drop(folder, ["x"], new), KeyError, "no observation 'x'"),
        (lambda: editing.drop(folder, ["state", "goal"], new), ValueError, "no observation would be left"),
        (lambda: editing.select(folder, [0]), ValueError, "not both"),
        (lambda: editing.select(folder, [0], new, in_place=True), ValueError, "not both"),
        (lambda: editing.select(folder, [0], folder), ValueError, "is the dataset itself"),
        (lambda: editing.select(folder, [0], folder / "new"), ValueError, "lies inside the dataset"),
        (lambda: editing.select(folder, [0], tmp_path / "full"), DataError, "is there already"),
        (lambda: editing.select(tmp_path / "gone", [0], new), DataError, "no folder"),
    ):
        with pytest.raises(kind, match=message) as caught:
            make()
        assert "\n" not in str(caught.value)
    assert contents(folder) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["full", "source"]


def test_a_damaged_or_busy_source_is_not_replaced(source, tmp_path, monkeypatch) -> None:
    folder, episodes = source
    with Writer(folder, append=True), pytest.raises(DataError, match="being written by process"):
        editing.select(folder, [0], in_place=True)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match=r"also holds notes.txt"):
        editing.select(folder, [0], in_place=True, keep=False)
    (folder / "notes.txt").unlink()

    there = storage.info(folder)
    with pytest.raises(DataError, match="has changed since"):  # another recorder was quicker
        folders.replace_with(folder, lambda: episodes, dataclasses.replace(there, episodes=9))

    def fail(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    with monkeypatch.context() as patch:
        patch.setattr(folders, "exchange", fail)
        with pytest.raises(DataError, match="it is as it was"):
            editing.select(folder, [0], in_place=True)
    with monkeypatch.context() as patch:
        patch.setattr(folders, "_same", lambda a, b: False)
        with pytest.raises(DataError, match="not what it should be; nothing was replaced"):
            editing.select(folder, [0], in_place=True)
    file = folder / "data" / "chunk-000" / "file-002.parquet"
    good = file.read_bytes()
    file.write_bytes(good[:-50])
    for to in ({"in_place": True}, {"out": tmp_path / "new"}):
        with pytest.raises(DataError, match=r"file-002.parquet"):
            editing.delete(folder, [0], **to)
    file.write_bytes(good)
    assert list(storage.read(folder)) == episodes
    assert [p.name for p in tmp_path.iterdir()] == ["source"]


KILLED = """
import os, shutil, signal, sys
from understudy import editing
from understudy.editing import folders
small, work = sys.argv[1:]
def dying(call):
    def instead(*args, **more):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return call(*args, **more)
    return instead
k = status = 0
while status or not k:
    k, left = k + 4, k
    shutil.copytree(small, f"{work}/{k}/d")
    if (child := os.fork()) == 0:
        os.replace, os.rename, os.fsync = map(dying, (os.replace, os.rename, os.fsync))
        folders.exchange = dying(folders.exchange)
        editing.delete(f"{work}/{k}/d", [0], in_place=True)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
"""


def test_killed_at_any_step_of_a_replacement_nothing_is_lost(source, tmp_path) -> None:
    folder, episodes = source
    editing.select(folder, [0, 1, 2], tmp_path / "small")
    whole, less = episodes[:3], episodes[1:3]
    command = [sys.executable, "-W", "error", "-c", KILLED, str(tmp_path / "small"), str(tmp_path / "work")]
    subprocess.run(command, check=True, timeout=120)
    works = sorted((tmp_path / "work").iterdir(), key=lambda p: int(p.name))
    assert len(works) > 4
    for work in works:
        now = list(storage.read(work / "d"))
        assert now == whole or (now == less and list(storage.read(work / "d.before")) == whole)
        editing.delete(work / "d", [0], in_place=True)  # what was left does not stand in the way
    assert now == less  # the last one was not killed


def test_a_dataset_of_lerobots_becomes_one_of_ours(tmp_path) -> None:
    made = editing.select(SAMPLE, [0, 2], tmp_path / "d")
    assert made.episodes == 2
    assert (
        list(storage.stream(tmp_path / "d"))[1].meta["task"] == list(storage.stream(SAMPLE))[2].meta["task"]
    )
    storage.append(tmp_path / "d", [next(storage.stream(tmp_path / "d"))])


def test_video_is_copied_where_it_is_not_cut(tmp_path) -> None:
    pytest.importorskip("av")

    def filmed(number: int) -> Episode:
        steps = 12
        frames = np.zeros((steps + 1, 32, 48, 3), np.uint8)
        frames[:] = np.linspace(0, 200, 48, dtype=np.uint8)[:, None] + 5 * number
        frames += np.arange(steps + 1, dtype=np.uint8)[:, None, None, None]
        action = np.zeros((steps, 2), np.float32)
        return Episode.demonstration({"front": frames, "state": np.ones((steps + 1, 2)) * number}, action)

    with Writer(tmp_path / "d", fps=10, video=True) as writer:
        for i in range(3):
            writer.add(filmed(i))
    before = [np.asarray(e.obs["front"]) for e in storage.read(tmp_path / "d")]
    editing.delete(tmp_path / "d", [1], tmp_path / "less")
    editing.rename(tmp_path / "less", {"state": "robot"}, in_place=True)
    after = storage.read(tmp_path / "less")
    assert storage.info(tmp_path / "less").videos == ("observation.images.front",)
    assert [np.array_equal(e.obs["front"], before[i]) for e, i in zip(after, (0, 2), strict=True)] == [
        True,
        True,
    ]
    editing.trim(tmp_path / "d", {0: (3, 9)}, tmp_path / "cut")
    cut = [np.asarray(e.obs["front"]) for e in storage.read(tmp_path / "cut")]
    assert cut[0].shape == (7, 32, 48, 3)
    assert np.abs(cut[0].astype(int) - before[0][3:10]).mean() < 4  # compressed once more
    assert np.array_equal(cut[1], before[1])
    mixed = tmp_path / "mixed"
    shutil.copytree(SAMPLE, mixed)
    said = json.loads((mixed / "meta" / "info.json").read_text())
    wrist = {"dtype": "image", "shape": [64, 64, 3], "names": ["height", "width", "channels"]}
    said["features"]["observation.images.wrist"] = wrist
    (mixed / "meta" / "info.json").write_text(json.dumps(said))
    with pytest.raises(DataError, match="1 cameras as video and 1 as PNG"):
        editing.select(mixed, [0], tmp_path / "new")


def test_one_episode_is_in_memory_at_a_time(source, tmp_path, monkeypatch) -> None:
    refs: list[weakref.ref[Episode]] = []
    most, real = 0, storage.stream

    def counted(*args: object) -> Iterator[Episode]:
        nonlocal most
        for e in real(*args):
            refs.append(weakref.ref(e))
            most = max(most, sum(r() is not None for r in refs))
            yield e

    monkeypatch.setattr("understudy.storage.writer._GROUP_EPISODES", 1)
    monkeypatch.setattr(storage, "stream", counted)
    editing.delete(source[0], [0], tmp_path / "new")
    editing.trim(source[0], (0, 2), in_place=True)
    assert 0 < most <= 6  # what is read, what it became and what is being written, twice while comparing


# -------------------------------------------------------------------------------------------- command line


def run(capsys, *words: str) -> tuple[int, dict, str]:
    status = cli.main(["edit", *words, "--json"])
    said = capsys.readouterr()
    return status, json.loads(said.out) if status == 0 else {}, said.err


def test_the_command_line(source, tmp_path, capsys) -> None:
    folder, episodes = source
    d, new = str(folder), str(tmp_path / "new")
    status, record, _ = run(capsys, "delete", d, "--episodes", "3", "5", "7-9", "--out", new)
    assert (status, record["episodes"], record["dataset"]) == (0, 5, new)
    assert list(storage.read(new)) == [episodes[i] for i in (0, 1, 2, 4, 6)]
    assert run(capsys, "trim", new, "--steps", "0=1:3", "1=:-2", "--success", "no", "--in-place")[0] == 0
    cut = storage.read(new)
    assert cut[0] == editing.trimmed(episodes[0], 1, 3, success=False)
    assert cut[1] == editing.trimmed(episodes[1], 0, -2, success=False)
    assert cut[2] == episodes[2]
    assert run(capsys, "rename", new, "--names", "goal=target", "--in-place", "--discard")[0] == 0
    assert run(capsys, "task", new, "--to", "push the cube", "--in-place", "--discard")[0] == 0
    assert run(capsys, "operator", new, "--to", "cy", "--episodes", "1-2", "--in-place", "--discard")[0] == 0
    assert run(capsys, "drop", new, "--names", "target", "--in-place", "--discard")[0] == 0
    assert run(capsys, "statistics", new, "--in-place")[0] == 0
    facts = storage.read(new).facts
    assert {f["task"] for f in facts} == {"push the cube"}
    assert [f["operator"] for f in facts] == ["bob", "cy", "cy", "ann", "bob"]
    assert set(storage.read(new).schema) == {"state", "action"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["new", "new.before", "source"]
    parts = str(tmp_path / "parts")
    status, record, _ = run(capsys, "split", d, "--parts", "early=0-4", "late=5-8,9", "--out", parts)
    assert (status, {k: v["episodes"] for k, v in record["parts"].items()}) == (0, {"early": 5, "late": 5})
    status, record, _ = run(capsys, "merge", f"{parts}/early", f"{parts}/late", "--out", str(tmp_path / "m"))
    assert status == 0
    assert list(storage.read(tmp_path / "m")) == episodes
    assert run(capsys, "merge", new, new, "--in-place", "--discard")[1]["episodes"] == 10
    assert run(capsys, "split", d, "--by", "operator", "--out", str(tmp_path / "by"))[1]["parts"].keys() == {
        "ann",
        "bob",
    }
    status, record, _ = run(
        capsys, "split", d, "--fraction", "0.5", "--seed", "0", "--out", str(tmp_path / "f")
    )
    assert record["parts"]["train"]["episodes"] == 5
    assert run(capsys, "select", d, "--episodes", "0-1", "--out", str(tmp_path / "s"))[1]["episodes"] == 2


def test_mistakes_are_one_line_and_status_two(source, tmp_path, capsys) -> None:
    d, new = str(source[0]), str(tmp_path / "new")
    for words, message in (
        (["delete", d, "--episodes", "3"], "--out NEW or --in-place"),
        (["delete", d, "--episodes", "3", "--out", new, "--discard"], "--discard goes with --in-place"),
        (["delete", d, "--out", new], "say which --episodes"),
        (["delete", d, "--episodes", "9-3", "--out", new], "'9-3' is no range"),
        (["delete", d, "--episodes", "x", "--out", new], "'x' names no episodes"),
        (["trim", d, "--steps", "3", "--out", new], "'3' is no window of steps"),
        (["trim", d, "--steps", "1:2", "0=1:2", "--out", new], "for all episodes"),
        (["trim", d, "--steps", "0=1:2", "0=1:3", "--out", new], "episode 0 has two windows"),
        (["trim", d, "--steps", "90:", "--out", new], "episode 0: steps 90: of an episode with 4 steps"),
        (["rename", d, "--names", "goal", "--out", new], "--names OLD=NEW"),
        (["task", d, "--out", new], "--to TEXT"),
        (["split", d, "--fraction", "0.5", "--out", new], "--fraction and --seed go together"),
        (["split", d, "--out", new], "say how to split"),
        (["split", d, "--parts", "a=1", "a=2", "--out", new], "'a=2' is no part of its own"),
        (["merge", d, "--out", new], "two datasets or more"),
        (["fold", d], "edit takes a change, one of select, .*, not 'fold'"),
    ):
        assert cli.main(["edit", *words]) == 2, words
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert re.search(message, said), said
    assert [p.name for p in tmp_path.iterdir()] == ["source"]


def test_words_for_numbers_and_windows() -> None:
    assert numbers(["3", "7-9", "9-9"]) == [3, 7, 8, 9, 9]
    assert windows(["10:120"]) == (10, 120)
    assert windows([":"]) == (0, None)
    assert windows(["3=-9:-1", "5=:20"]) == {3: (-9, -1), 5: (0, 20)}


def test_every_change_has_help_with_an_example(capsys) -> None:
    with pytest.raises(SystemExit):
        cli.main(["edit", "--help"])
    usage = capsys.readouterr().out
    for name in EDITS:
        assert f"understudy edit {name} " in usage
        with pytest.raises(SystemExit):
            cli.main(["edit", name, "--help"])
        assert f"Example: understudy edit {name} " in capsys.readouterr().out
