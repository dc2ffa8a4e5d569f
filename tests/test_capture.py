"""Recording live: what is committed is what was stepped, and what was not finished leaves no trace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from understudy import storage
from understudy.episode import EXPERT, POLICY, RECOVERY
from understudy.storage import DataError, cameras

pytest.importorskip("av")


def scene(i: int, height: int = 32, width: int = 48) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([(x + 3 * i) % 200, (x + 3 * i) % 200, (x + y) % 150], -1).astype(np.uint8)


def seen(i: int) -> dict[str, Any]:
    rng = np.random.default_rng(i)
    return {"arm": rng.normal(size=3), "gripper": float(i), "front": scene(i), "wrist": scene(i + 9)}


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*.mp4*"))


def test_a_take_is_what_was_stepped(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    actions, labels = rng.normal(size=(2, 20, 2))
    camera = np.empty((32, 48, 3), np.uint8)
    with storage.Writer(tmp_path / "d", fps=20, video=True) as writer:
        with writer.record({"task": "pour"}) as take:
            for i in range(20):
                camera[...] = scene(i)  # one buffer, as cameras have
                label = labels[i] if i % 4 == 0 else None
                take.step({**seen(i), "front": camera}, actions[i], i / 7, label=label, time=100 + i / 19)
            assert take.finish(seen(20), success=True, terminated=True, time=102.0) == 0
        assert (writer.episodes, writer.steps, len(take)) == (1, 20, 20)
        with writer.record() as take:
            take.step(seen(0), actions[0])
            assert take.finish(seen(1)) == 1
    first, second = storage.read(tmp_path / "d")
    assert np.array_equal(first.obs["arm"], np.float32([seen(i)["arm"] for i in range(21)]))
    assert first.obs["gripper"].ravel().tolist() == list(range(21))
    assert np.array_equal(first.action, np.float32(actions))
    want = np.where((np.arange(20) % 4 == 0)[:, None], labels, actions)
    assert np.array_equal(first.label, np.float32(want))
    assert first.labelled.all()
    assert np.array_equal(first.reward, np.float32(np.arange(20) / 7))
    assert first.time is not None
    assert first.time.tolist() == [100 + i / 19 for i in range(20)] + [102.0]
    assert (first.success, first.terminated, first.meta["task"]) == (True, True, "pour")
    assert first.meta["dropped_frames"] == 0
    assert str(first.meta["started"]).startswith("20")
    for key, shift in (("front", 0), ("wrist", 9)):
        pictures = np.stack([scene(i + shift) for i in range(21)])
        assert np.asarray(first.obs[key]).shape == pictures.shape
        assert np.abs(first.obs[key][:].astype(int) - pictures).mean((1, 2, 3)).max() < 8
    assert second.time is not None
    assert second.time[1] >= second.time[0]  # measured here, as nobody said
    assert second.label is second.action or np.array_equal(second.label, second.action)


def test_without_video_pictures_are_exact(tmp_path: Path) -> None:
    with storage.Writer(tmp_path / "d", fps=5) as writer, writer.record() as take:
        for i in range(4):
            take.step(seen(i), [i])
        take.finish(seen(4))
    e = storage.read(tmp_path / "d")[0]
    assert np.array_equal(e.obs["front"], np.stack([scene(i) for i in range(5)]))
    assert e.action.ravel().tolist() == [0, 1, 2, 3]
    assert e.action.dtype == np.int64  # whole numbers of width 1 are one discrete choice


def test_where_it_is_no_demonstration_only_given_labels_count(tmp_path: Path) -> None:
    with storage.Writer(tmp_path / "d") as writer, writer.record(demonstration=False) as take:
        for i in range(4):
            take.step([0.0, i], [0.5], label=[1.5] if i == 2 else None)
        take.finish([0.0, 4])
    e = storage.read(tmp_path / "d")[0]
    assert e.labelled.tolist() == [False, False, True, False]
    assert e.label[2, 0] == 1.5


def test_who_holds_the_controls_is_recorded_where_it_is_said(tmp_path: Path) -> None:
    with storage.Writer(tmp_path / "d") as writer:
        with writer.record(demonstration=False) as take:
            for i, held in enumerate((POLICY, EXPERT, np.int64(RECOVERY), POLICY)):
                take.step([0.0, i], [0.5], label=[0.5] if held else None, control=held)
                with pytest.raises(ValueError, match="control must be given for every step"):
                    take.step([0.0, i], [0.5])
            take.finish([0.0, 4])
        with writer.record() as take:
            take.step([0.0, 0], [0.5])
            take.finish([0.0, 1])
    first, second = storage.read(tmp_path / "d")
    assert first.control is not None
    assert (first.control.tolist(), first.control.dtype) == ([0, 1, 2, 0], np.uint8)
    assert first.labelled.tolist() == [False, True, True, False]
    assert second.control is None


def one_step(writer: storage.Writer, error: Exception | None = None) -> None:
    """A step in a block that is then left, by an error where there is one."""
    with writer.record() as take:
        take.step(seen(0), [0.0])
        if error is not None:
            raise error


def test_what_is_not_finished_leaves_no_trace(tmp_path: Path) -> None:
    with storage.Writer(tmp_path / "d", fps=20, video=True) as writer:
        with writer.record() as take:
            take.step(seen(0), [0.0])
            take.discard()
        assert files(tmp_path / "d") == []
        with pytest.raises(RuntimeError, match="the arm fell off") as caught:
            one_step(writer, error=RuntimeError("the arm fell off"))
        assert caught.value.__notes__ == ["the episode being recorded was discarded after 1 steps"]
        with pytest.raises(DataError, match="1 steps was neither finished nor discarded"):
            one_step(writer)
        with pytest.raises(DataError, match="the episode is over"):
            take.step(seen(1), [0.0])
        assert (writer.episodes, files(tmp_path / "d")) == (0, [])
        with writer.record() as take:
            take.step(seen(0), [0.0])
            take.finish(seen(1))
    assert files(tmp_path / "d") == ["file-000.mp4"] * 2
    assert not [t for t in threading.enumerate() if t.name.startswith("encode")]


def test_one_episode_at_a_time(tmp_path: Path) -> None:
    writer = storage.Writer(tmp_path / "d", fps=20, video=True)
    take = writer.record()
    take.step(seen(0), [0.0])
    with pytest.raises(DataError, match="an episode is being recorded"):
        writer.record()
    with pytest.raises(DataError, match="an episode is being recorded"):
        writer.add(None)  # type: ignore[arg-type]
    writer.close()  # gives up what is being recorded
    assert files(tmp_path / "d") == []
    with pytest.raises(DataError, match="closed"):
        writer.record()


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (lambda take: take.step({**seen(1), "arm": [0, 0, np.nan]}, [0.0]), "'arm' is nan"),
        (lambda take: take.step({**seen(1), "arm": [0, 0]}, [0.0]), "'arm' is .*was"),
        (lambda take: take.step({"arm": [0, 0, 0]}, [0.0]), "'front' is None, was"),
        (lambda take: take.step({**seen(1), "front": scene(1, 30)}, [0.0]), "'front' is .*30, 48, 3"),
        (lambda take: take.step(seen(1), [0.0, 1.0]), r"action is float32\[2\], was float32\[1\]"),
        (lambda take: take.step(seen(1), [0.0], label=[0.0, 1.0]), "label is"),
        (
            lambda take: take.step(seen(1), [0.0], time=-1.0),
            "given for every step of an episode, or for none",
        ),
        (lambda take: take.step(seen(1), [0.0], float("inf")), "reward is inf"),
        (lambda take: take.step(seen(1), [0.0], control=1), "control must be given for every step"),
        (lambda take: take.step(seen(1), [0.0], control=3), "control is 3; it must be 0"),
    ],
)
def test_a_step_that_does_not_fit_is_refused_and_not_recorded(tmp_path: Path, step: Any, said: str) -> None:
    with storage.Writer(tmp_path / "d", fps=20, video=True) as writer, writer.record() as take:
        take.step(seen(0), [0.0])
        with pytest.raises(ValueError, match=said):
            step(take)
        assert len(take) == 1
        take.step(seen(1), [1.0])
        take.finish(seen(2))
    e = storage.read(tmp_path / "d")[0]
    assert (len(e), len(e.obs["front"]), e.action.ravel().tolist()) == (2, 3, [0.0, 1.0])


def test_time_may_only_grow(tmp_path: Path) -> None:
    with storage.Writer(tmp_path / "d") as writer, writer.record() as take:
        take.step([0.0], [0.0], time=5.0)
        with pytest.raises(ValueError, match=r"time is 4.0 after \[5.0\]"):
            take.step([0.0], [0.0], time=4.0)
        take.discard()


def test_a_step_that_does_not_fit_the_dataset_is_refused_at_once(tmp_path: Path) -> None:
    with storage.Writer(tmp_path / "d", fps=20, video=True) as writer:
        with writer.record() as take:
            take.step(seen(0), [0.0])
            take.finish(seen(1))
        with writer.record() as take, pytest.raises(DataError, match="'front' is None, the dataset has"):
            take.step({"arm": [0, 0, 0], "gripper": 1.0}, [0.0])


def test_a_slow_encoder_drops_pictures_and_nothing_else(tmp_path: Path, monkeypatch: Any) -> None:
    """With an encoder that stands still, the queue fills; indices stay aligned, and drops are counted."""
    held, go = threading.Event(), threading.Event()
    real = cameras.Encoder

    class Slow:
        def __init__(self, *args: Any) -> None:
            self.inner = real(*args)

        def add(self, picture: np.ndarray, times: int) -> None:
            held.set()
            go.wait(60)
            self.inner.add(picture, times)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

    monkeypatch.setattr(cameras, "Encoder", Slow)
    monkeypatch.setattr(cameras, "_WAITING", 4 * 32 * 48 * 3)  # four pictures wait at most
    with storage.Writer(tmp_path / "d", fps=20, video=True) as writer, writer.record() as take:
        for i in range(12):
            take.step({"front": np.full((32, 48, 3), 20 * i, np.uint8)}, [float(i)])
            assert held.wait(60)  # the first is in the encoder's hands before the queue fills
        dropped = take.dropped
        go.set()
        take.finish({"front": np.full((32, 48, 3), 250, np.uint8)})
    e = storage.read(tmp_path / "d")[0]
    assert dropped == 7  # four in the queue, and one in the encoder's hands
    assert e.meta["dropped_frames"] == take.dropped == dropped
    levels = e.obs["front"][:].mean((1, 2, 3))
    kept = 12 - dropped
    assert levels[:kept] == pytest.approx([20 * i for i in range(kept)], abs=3)
    assert levels[kept:12] == pytest.approx([20 * (kept - 1)] * dropped, abs=3)  # the one before stands in
    assert levels[12] == pytest.approx(250, abs=3)  # the last is never dropped
    assert e.action.ravel().tolist() == list(range(12))


def test_an_encoder_that_fails_is_met_at_a_step(tmp_path: Path, monkeypatch: Any) -> None:
    failed = threading.Event()

    class Broken:
        def __init__(self, *_: Any) -> None:
            pass

        def add(self, *_: Any) -> None:
            failed.set()
            raise OSError(28, "No space left on device")

        def abandon(self) -> None:
            pass

    monkeypatch.setattr(cameras, "Encoder", Broken)
    with storage.Writer(tmp_path / "d", fps=20, video=True) as writer:
        take = writer.record()
        take.step(seen(0), [0.0])
        failed.wait(10)
        for _, camera in take._cameras.values():
            camera._thread.join(10)
        with pytest.raises(DataError, match="No space left on device"):
            take.step(seen(1), [0.0])
        take.discard()
        assert writer.episodes == 0
    assert files(tmp_path / "d") == []


FULL = """
import resource, sys
import numpy as np
from understudy import storage
from understudy.episode import EXPERT, POLICY, RECOVERY
from understudy.episode import Episode

def picture():
    return np.random.default_rng(0).integers(0, 256, (101, 64, 64, 3), dtype=np.uint8)

def episode(steps):
    return Episode.demonstration({"front": picture()[: steps + 1]}, np.zeros((steps, 1)))

def take(writer):
    with writer.record() as take:
        for x in picture():
            take.step({"front": x}, [0.0])
        take.finish({"front": x})

with storage.Writer(sys.argv[1], fps=20, video=True) as writer:
    writer.add(episode(5))
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))  # as a full disk
    for record in (lambda: writer.add(episode(100)), lambda: take(writer)):
        try:
            record()
        except storage.DataError as e:
            print(e)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    writer.add(episode(6))
"""


def test_a_disk_that_fills_up_loses_the_episode_in_flight_alone(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(folder)], capture_output=True, text=True, check=True
    )
    first, second = done.stdout.splitlines()
    assert "File too large; the 1 episodes committed before are safe" in first
    assert second == "cannot record observation.images.front: File too large"
    data = storage.read(folder)
    assert data.lengths.tolist() == [5, 6]
    assert [e.obs["front"][:].shape[0] for e in data] == [6, 7]
    assert files(folder) == ["file-000.mp4", "file-001.mp4"]


RECORDER = """
import sys
import numpy as np
from understudy import storage
from understudy.episode import EXPERT, POLICY, RECOVERY
writer = storage.Writer(sys.argv[1], append=True, fps=20, video=True)
print(writer.episodes, flush=True)
while True:
    with writer.record() as take:
        for i in range(30):
            picture = np.random.default_rng(i).integers(0, 256, (64, 64, 3), dtype=np.uint8)
            take.step({"front": picture, "n": [float(writer.episodes)]}, [float(i)])
            print("step", flush=True)
        take.finish({"front": picture, "n": [float(writer.episodes)]})
        print("committed", writer.episodes, flush=True)
"""


def test_a_recorder_killed_in_the_middle_of_a_take_loses_that_take_alone(tmp_path: Path) -> None:
    """Killed after so many lines of its output: within the first take and later ones."""
    folder, said = tmp_path / "d", list[int]()
    for lines in (8, 47, 66):
        child = subprocess.Popen(
            [sys.executable, "-c", RECORDER, str(folder)],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert child.stdout is not None
        for _ in range(lines):
            line = child.stdout.readline()
            if line.startswith("committed"):
                said.append(int(line.split()[1]))
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read()
        said += [int(x.split()[1]) for x in rest.splitlines() if x.startswith("committed")]
        child.stdout.close()
        child.wait()
        if said:
            data = storage.read(folder)
            assert len(data) in (said[-1], said[-1] + 1)  # committed, but killed before it could say so
            for i, e in enumerate(data):
                assert len(e) == 30
                assert e.obs["n"].ravel().tolist() == [i] * 31
                assert e.obs["front"][:].shape == (31, 64, 64, 3)
    assert said[-1] >= 2
    with storage.Writer(folder, append=True):
        pass  # removes what is unfinished
    left = files(folder)
    assert len(left) == storage.info(folder).episodes
    assert not [name for name in left if name.endswith(".tmp")]
