"""The child process: what crashes, stalls, swells or lies there becomes one DataError here, and no more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from understudy.episode import Episode
from understudy.formats import guard, wire
from understudy.formats.guard import Guard, Limits
from understudy.formats.notes import collected
from understudy.storage import DataError

READER = """
import ctypes, json, os, subprocess, time
from dataclasses import dataclass
import numpy as np
from understudy.episode import Episode
from understudy.formats import child
from understudy.formats.notes import note
from understudy.storage import DataError

@dataclass(frozen=True)
class Reading:
    do: str = "read"
    names: tuple[str, ...] = ()

def episode(i):
    return Episode.demonstration(np.full((4, 2), i), np.ones((3, 1)), meta={"i": i})

def raw(data):
    for fd in range(3, 20):
        try:
            if os.readlink(f"/proc/self/fd/{fd}").startswith("pipe"):
                os.write(fd, data)
        except OSError:
            pass

def head(**said):
    text = json.dumps(said).encode()
    return len(text).to_bytes(4, "big") + text

def episodes(path, options):
    do = options.do
    if do == "read":
        assert options.names == ("a", "b"), options
        print("chatter on standard output")
        os.write(1, b"more of it")
        note("once"); note("twice"); note("twice")
        yield episode(0)
        yield episode(1)
    if do == "crash":
        yield episode(0)
        ctypes.string_at(0)
    if do == "exit":
        os._exit(3)
    if do == "hang":
        while True: time.sleep(60)
    if do == "drip":
        while True:
            yield episode(0)
            time.sleep(0.05)
    if do == "flood":
        while True: yield Episode.demonstration(np.zeros((2, 1 << 17)), np.ones((1, 1)))
    if do == "memory":
        bytearray(2 << 30)
    if do == "raise":
        raise KeyError("two\\nlines")
    if do == "refuse":
        raise DataError("refused, and\\nsaid so")
    if do == "write":
        path.with_suffix(".out").write_text("x")
    if do == "execute":
        subprocess.run(["/bin/sh", "-c", "true"])
        raise DataError("executed")
    if do == "remove":
        path.unlink()
    if do == "environment":
        raise DataError(" ".join(sorted(os.environ)))
    if do == "length":
        raw(b"\\xff\\xff\\xff\\xff")
    if do == "nonsense":
        raw(b"\\0\\0\\0\\2[]")
    if do == "huge":
        raw(head(kind="episode", arrays=[["action", "float32", [1 << 40, 1]]]))
    if do == "negative":
        raw(head(kind="episode", arrays=[["action", "float32", [-1, -8]]]))
    if do == "object":
        raw(head(kind="episode", arrays=[["action", "object", [1]]]))
    if do == "less":
        raw(head(kind="episode", arrays=[["action", "float32", [9, 1]]]) + b"abc")
    if do == "none":
        raw(head(kind="episode", arrays=[]))
    if do in ("length", "nonsense", "huge", "negative", "object", "less", "none"):
        time.sleep(60)
"""


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Iterator[Episode]]]:
    """Asks a reader that misbehaves on demand, in a guard whose patience is short."""
    (tmp_path / "bad_reader.py").write_text(READER)
    (tmp_path / "file").write_bytes(bytes(1000))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("SECRET_TOKEN", "x")
    monkeypatch.setattr(guard, "_BASE_SECONDS", 1.0)
    with Guard() as child:

        def ask(do: str, **options: Any) -> Iterator[Episode]:
            return child.episodes("bad_reader", tmp_path / "file", {"do": do, **options})

        ask.child = child  # type: ignore[attr-defined]
        yield ask


def test_episodes_and_notes_come_through_and_the_child_serves_again(ask: Any) -> None:
    for _ in range(2):
        with collected() as notes:
            found = list(ask("read", names=["a", "b"]))
        want = [Episode.demonstration(np.full((4, 2), i), np.ones((3, 1)), meta={"i": i}) for i in (0, 1)]
        assert found == want
        assert notes == {"once": 1, "twice": 2}
    with pytest.raises(DataError, match=r"^refused, and said so$"):
        list(ask("refuse"))
    with pytest.raises(DataError, match=r"file cannot be read \('two.nlines'\)"):
        list(ask("raise"))
    assert ask.child.alive


@pytest.mark.parametrize(
    ("do", "said"),
    [
        ("crash", "made its reader crash .SIGSEGV."),
        ("exit", "made its reader crash .status 3."),
        ("hang", "stopped after 1.0 s"),
        ("drip", "stopped after 1.0 s"),
        ("memory", "takes more than 640 MiB of memory"),
        ("write", "File too large|Permission denied"),
        ("length", "answers nonsense"),
        ("nonsense", "answers nonsense"),
        ("huge", "one episode takes 4194304 MiB unpacked"),
        ("negative", "an array that cannot be"),
        ("object", "an array that cannot be"),
        ("less", "stopped after"),
        ("none", "lacks an array"),
    ],
)
def test_whatever_goes_wrong_is_one_error(ask: Any, tmp_path: Path, do: str, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        list(ask(do))
    assert "\n" not in str(caught.value)
    left = tmp_path / "file.out"
    assert not left.exists() or not left.read_bytes()


@pytest.mark.parametrize("do", ["execute", "remove", "write"])
def test_the_kernel_keeps_it_from_doing_anything_but_reading(ask: Any, tmp_path: Path, do: str) -> None:
    confined = "from understudy.formats._confine import confine; raise SystemExit(not confine())"
    if subprocess.run([sys.executable, "-c", confined], timeout=60).returncode:
        pytest.skip("this kernel cannot take rights away from a process")
    with pytest.raises(DataError, match="Permission denied"):
        list(ask(do))
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "__pycache__") == ["bad_reader.py", "file"]


def test_more_data_than_the_file_can_hold_are_refused(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "may_unfold", lambda size: 5 << 20)
    with pytest.raises(DataError, match="MiB unpacked"):
        list(ask("flood"))


def test_the_child_sees_none_of_our_secrets(ask: Any) -> None:
    with pytest.raises(DataError) as caught:
        list(ask("environment"))
    assert "SECRET_TOKEN" not in str(caught.value)
    assert "HDF5_PLUGIN_PRELOAD" in str(caught.value)


def test_silence_is_said_to_be_silence(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_BASE_SECONDS", 60.0)
    monkeypatch.setattr(guard, "_SILENCE", 0.5)
    with pytest.raises(DataError, match=r"stopped after 0\.5 s"):
        list(ask("hang"))


def test_leaving_early_ends_the_child(ask: Any) -> None:
    episodes = ask("drip")
    next(episodes)
    assert ask.child.alive
    episodes.close()
    assert not ask.child.alive


def test_a_module_beside_the_data_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("numpy", "json", "understudy", "h5py"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    with Guard() as child, pytest.raises(DataError, match="not an HDF5 file"):
        list(child.episodes("understudy.formats.robomimic", Path("file"), {}))
    assert not (tmp_path / "executed").exists()


def test_limits_grow_with_the_file(tmp_path: Path) -> None:
    small, large = Limits(10_000), Limits(5 << 30)
    assert small.seconds < 4
    assert small.memory < 700 << 20
    assert large.memory >= 4 << 30 or large.memory >= guard._physical() // 2
    assert large.seconds > 3600
    assert large.silence <= 300
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_bytes(bytes(100))
    (tmp_path / "d" / "b").write_bytes(bytes(11))
    (tmp_path / "d" / "out").symlink_to("/usr")
    assert 111 <= guard.size_of(tmp_path / "d") < 1000
    with pytest.raises(DataError, match="cannot be read"):
        guard.size_of(tmp_path / "missing")


def sent(e: Episode) -> tuple[dict[str, Any], bytes]:
    frame = wire.pack(wire.header_of(e))
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    return json.loads(frame[4:]), b"".join(wire.arrays_of(e))


def received(head: dict[str, Any], data: bytes, limit: int = 1 << 30) -> Episode:
    at = 0

    def fill(view: memoryview) -> None:
        nonlocal at
        view[:] = data[at : at + len(view)]
        at += len(view)

    made = wire.episode_of(head, fill, limit)
    assert at == len(data)
    return made


def test_an_episode_survives_the_wire_bit_for_bit() -> None:
    rng = np.random.default_rng(0)
    obs = {"é/x": rng.standard_normal((4, 2)), "front": rng.integers(0, 256, (4, 5, 6, 3), dtype=np.uint8)}
    action = rng.standard_normal((3, 2))
    meta = {"task": "ü", "seed": 3, "noise": 0.1, "large": 2**62}
    time = np.cumsum(rng.random(4))
    said = (True, False, meta, time, [2, 0, 1])
    e = Episode(obs, action, -action, np.array([1, 0, 1], bool), rng.random(3), *said)
    plain = Episode.demonstration(np.zeros((3, 1)), np.array([4, 7]), success=None)
    for one in (e, plain):
        back = received(*sent(one))
        assert back == one
        assert back.time is None or np.array_equal(back.time, one.time)
        assert back.control is None or back.control.dtype == np.uint8
    assert back.label is back.action


def test_an_episode_beyond_the_limit_is_refused_before_it_is_received() -> None:
    head, data = sent(Episode.demonstration(np.zeros((3, 1)), np.zeros((2, 1))))
    with pytest.raises(DataError, match="unpacked; 0 are the most"):
        received(head, data, len(data) - 1)
    assert received(head, data, len(data))


def test_facts_beyond_the_limit_are_refused() -> None:
    facts = {"text": "x" * wire.MAX_HEADER}
    with pytest.raises(DataError, match="an episode's facts take"):
        wire.pack(wire.header_of(Episode.demonstration(np.zeros((3, 1)), np.zeros((2, 1)), meta=facts)))


def test_a_bool_that_is_neither_is_made_one() -> None:
    head, data = sent(Episode.demonstration(np.zeros((3, 1)), np.zeros((2, 1))))
    at = data.index(b"\x01\x01")
    back = received(head, data[:at] + b"\x02\x00" + data[at + 2 :])
    assert back.labelled.view(np.uint8).tolist() == [1, 0]


def test_a_reader_that_does_not_start_is_not_the_files_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with Guard() as child, pytest.raises(ImportError, match="does not start; guard=False says why"):
        list(child.episodes("no.such.module", tmp_path / "file", {}))


def test_where_nothing_can_be_guarded_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(guard.select, "poll")
    with pytest.raises(DataError, match="guard=False"):
        Guard()


def test_no_child_is_left_behind(tmp_path: Path) -> None:
    with Guard() as child:
        pid = child.pid
        assert child.alive
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
