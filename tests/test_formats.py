"""The door to all formats: what is recognised, options, conversion from any to any, files whole or absent."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from understudy import formats, storage
from understudy.cli import main
from understudy.episode import Episode
from understudy.formats import lerobot, placing
from understudy.formats.notes import collected, note
from understudy.formats.options import from_json, from_words, to_json
from understudy.storage import DataError

NAMES = ("act", "arrays", "diffusion_policy", "imitation", "lerobot", "mcap", "minari", "robomimic")
WRITING = {
    "act": ["sim=yes"],
    "robomimic": ["out_of_range=keep"],
}


def episodes(count: int = 3) -> list[Episode]:
    rng = np.random.default_rng(0)
    made = []
    for i in range(count):
        steps = 3 + i
        obs = {
            "state": rng.standard_normal((steps + 1, 3)),
            "front": rng.integers(0, 256, (steps + 1, 8, 6, 3), dtype=np.uint8),
        }
        action = rng.standard_normal((steps, 2)).astype(np.float32)
        labelled = np.arange(steps) != 1
        time = np.cumsum(rng.random(steps + 1))
        meta = {"task": "stack", "seed": i, "dropped_frames": i}
        reward = rng.standard_normal(steps)
        said = (i == 0, (True, None, False)[i % 3], meta, time, np.arange(steps) % 3 if i else None)
        made.append(Episode(obs, action, -action, labelled, reward, *said))
    return made


def writable() -> list[str]:
    return [n for n in formats.names() if hasattr(formats.layout(n), "write")]


def options(name: str) -> object:
    return from_words(formats.layout(name).Writing, WRITING.get(name, []))


def test_the_formats_are_found() -> None:
    assert set(formats.names()) <= set(NAMES)
    assert {"act", "lerobot", "minari", "robomimic"} <= set(formats.names())
    for name in formats.names():
        module = formats.layout(name)
        assert "\n" not in module.ABOUT
        for kind in (module.Reading, module.Writing):
            assert kind() == from_json(kind, json.loads(json.dumps(to_json(kind()))))
            assert kind.__doc__
            assert len(dataclasses.fields(kind)) <= 12
    with pytest.raises(ValueError, match="no format 'hdf6'; there are act,"):
        formats.layout("hdf6")


def test_finding_them_loads_no_heavy_package() -> None:
    code = (
        "from understudy import formats; import sys; formats.names(); print([m for m in sys.modules if m in "
    )
    code += "('torch', 'h5py', 'zarr', 'minari', 'mcap', 'av', 'datasets', 'gymnasium', 'rich')])"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("name", writable())
def test_from_native_to_a_format_and_back_nothing_is_lost(tmp_path: Path, name: str) -> None:
    given = episodes()
    storage.write(tmp_path / "native", given, fps=30, robot_type="arm")
    there, back = tmp_path / "there", tmp_path / "back"
    try:
        done = formats.convert(tmp_path / "native", there, name, writing=options(name), guard=False)
    except DataError as e:
        pytest.fail(f"{name} cannot hold what the native layout holds: {e}")
    assert (done.source, done.target, done.episodes, done.steps, done.dropped) == ("lerobot", name, 3, 12, 3)
    assert formats.recognise(there) == name
    formats.convert(there, back, "lerobot", guard=False)
    assert list(storage.read(back)) == given
    assert (storage.info(back).fps, storage.info(back).robot_type) == (30, "arm")


def test_what_is_not_recognised_is_said_with_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is nothing at"):
        formats.recognise(tmp_path / "no")
    with pytest.raises(DataError, match=r"no dataset of a known format; known are act: .*robomimic"):
        formats.recognise(tmp_path)
    storage.write(tmp_path / "a", episodes())
    (tmp_path / "a" / "episode_0.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(DataError, match="could be act or lerobot; say which"):
        formats.recognise(tmp_path / "a")
    assert len(formats.read(tmp_path / "a", "lerobot")) == 3


@pytest.mark.parametrize("name", formats.names())
def test_recognising_never_raises(tmp_path: Path, name: str) -> None:
    recognises = formats.layout(name).recognises
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").touch()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "deep").mkdir()
    for inner in (
        "data",
        "meta",
        "main_data.hdf5",
        "metadata.json",
        "episode_0.hdf5",
        ".zgroup",
        "state.json",
    ):
        (tmp_path / "deep" / inner).mkdir()
    for path in ("pipe", "empty", "loop", "deep", "missing", "a\0b", "x" * 5000):
        assert recognises(tmp_path / path) is False


def test_the_wrong_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"options are a Reading; format 'lerobot' takes .*lerobot\.Writing"):
        formats.write(tmp_path / "a", episodes(), "lerobot", lerobot.Reading())


def test_a_missing_package_is_one_line_that_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"'robomimic' needs the package h5py; .*understudy\[formats\]"):
        formats.write(tmp_path / "a", episodes(), "robomimic")
    (tmp_path / "b.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n")
    assert "understudy[formats]" in said(capsys, tmp_path / "b.hdf5", tmp_path / "c", "--to", "lerobot")
    storage.write(tmp_path / "d", episodes())
    assert len(formats.read(tmp_path / "d")) == 3


@dataclasses.dataclass(frozen=True)
class Some:
    rate: float = 1.0
    count: int = 2
    yes: bool = False
    names: tuple[str, ...] = ()
    kind: Literal["a", "b"] = "a"
    maybe: str | None = "x"


def test_words_become_options_or_one_clear_error() -> None:
    words = ["rate=2.5", "count=3", "yes=true", "names=a, b", "kind=b", "maybe=none"]
    assert from_words(Some, words) == Some(2.5, 3, True, ("a", "b"), "b", None)
    assert from_words(Some, ["maybe=a=b"]) == Some(maybe="a=b")
    for word, said in (
        ("ratte=2", "no some option 'ratte=2'; write name=value, there are rate, count"),
        ("rate", "no some option 'rate'"),
        ("rate=fast", "rate is 'fast'; it must be of type float"),
        ("yes=1", "yes is '1'; it must be true or false"),
        ("kind=c", "kind is 'c'; it must be one of a, b"),
    ):
        with pytest.raises(ValueError, match=said):
            from_words(Some, [word])


def failing(count: int) -> Iterator[Episode]:
    yield from episodes(count)
    raise KeyboardInterrupt


@pytest.mark.parametrize("name", writable())
def test_what_is_interrupted_or_empty_leaves_nothing(tmp_path: Path, name: str) -> None:
    for source, error in ((failing(2), KeyboardInterrupt), (iter([]), DataError)):
        with pytest.raises(error):
            formats.write(tmp_path / "out", source, name, options(name))
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", writable())
def test_a_full_disk_is_one_error_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(0)
    one = Episode.demonstration({"state": rng.standard_normal((1001, 128))}, rng.standard_normal((1000, 2)))
    formats.write(tmp_path / "warm", [one], name, options(name))  # what is imported is not to meet the limit
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limit[1]))
    try:
        with pytest.raises(DataError, match="File too large"):
            formats.write(tmp_path / "out", [one] * 3, name, options(name))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert [p.name for p in tmp_path.iterdir()] == ["warm"]


@pytest.mark.parametrize("name", writable())
def test_nothing_is_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / "out").write_text("precious")
    with pytest.raises(DataError, match="there already"):
        formats.write(tmp_path / "out", episodes(), name, options(name))
    assert (tmp_path / "out").read_text() == "precious"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_place_taken_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    def file() -> None:
        with placing.new_file(tmp_path / "a") as temporary:
            temporary.write_text("new")
            (tmp_path / "a").write_text("quicker")

    def folder() -> None:
        with placing.new_folder(tmp_path / "b") as temporary:
            (temporary / "x").write_text("new")
            (tmp_path / "b").mkdir()
            (tmp_path / "b" / "y").touch()

    for make in (file, folder):
        with pytest.raises(DataError, match="cannot write"):
            make()
    assert (tmp_path / "a").read_text() == "quicker"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_a_source_is_not_converted_into_itself(tmp_path: Path) -> None:
    storage.write(tmp_path / "a", episodes())
    with pytest.raises(DataError, match="lies inside"):
        formats.convert(tmp_path / "a", tmp_path / "a" / "b", "lerobot")


def test_episodes_that_differ_are_refused(tmp_path: Path) -> None:
    other = Episode.demonstration(np.zeros((3, 2)), np.zeros((2, 2)))
    for name in ("robomimic", "act", "minari"):
        with pytest.raises(DataError, match="episode 1 has "):
            formats.write(tmp_path / name, [episodes()[0], other], name, options(name))
    assert not list(tmp_path.iterdir())


def test_notes_reach_those_who_listen() -> None:
    note("nobody hears this")
    with collected() as heard:
        note("twice")
        with collected() as inner:
            note("inside")
        note("twice")
    assert (heard, inner) == ({"twice": 2}, {"inside": 1})


def said(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main(["convert", *map(str, words)]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1, captured.err
    return captured.err


def test_the_command_converts_and_says_what_it_did(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    storage.write(tmp_path / "a", episodes())
    words = ["convert", str(tmp_path / "a"), str(tmp_path / "b"), "--to", "act"]
    assert main([*words, "--writing", "sim=yes", "qvel=", "--writing", "compress=true", "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (result["from"], result["to"], result["episodes"], result["steps"]) == ("lerobot", "act", 3, 12)
    assert result["dropped_frames"] == 3
    assert any("qvel" in n for n in result["notes"])
    assert main(["convert", str(tmp_path / "b"), str(tmp_path / "c.hdf5"), "--to", "robomimic"]) == 2
    assert "out_of_range=keep" in capsys.readouterr().err
    assert not (tmp_path / "c.hdf5").exists()
    assert (
        main(["convert", str(tmp_path / "b"), str(tmp_path / "c"), "--from", "act", "--to", "lerobot"]) == 0
    )
    assert "wrote" in (out := capsys.readouterr().out)
    assert "3 episodes, 12 steps, from act to lerobot" in out
    assert list(storage.read(tmp_path / "c")) == episodes()


def test_the_commands_mistakes_are_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    storage.write(tmp_path / "a", episodes())
    a, b = tmp_path / "a", tmp_path / "b"
    assert "no format 'foo'; there are act," in said(capsys, a, b, "--to", "foo")
    assert "no format 'foo'" in said(capsys, a, b, "--to", "act", "--from", "foo")
    assert "no writing option 'x=1'" in said(capsys, a, b, "--to", "act", "--writing", "x=1")
    assert "no reading option 'x=1'" in said(capsys, a, b, "--to", "act", "--reading", "x=1")
    assert "there is nothing at" in said(capsys, tmp_path / "no", b, "--to", "act")
    assert "there already" in said(capsys, a, a, "--to", "lerobot")


def test_the_commands_help_names_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["convert", "--help"])
    out = capsys.readouterr().out
    for name in formats.names():
        assert f"{name}: {formats.layout(name).ABOUT}" in out
    assert "done_mode=2" in out
    assert "shifts the actions of real robots" not in out
    with pytest.raises(SystemExit):
        main(["convert", "--to", "act", "--help"])
    assert "shifts the actions of real robots" in capsys.readouterr().out


def test_ctrl_c_leaves_nothing_half_written(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (201, 64, 64, 3), np.uint8)  # slow to pack
    big = [Episode.demonstration(noise, np.zeros((200, 2)))] * 30
    source = tmp_path / "in.hdf5"
    formats.write(source, big, "robomimic")
    out = tmp_path / "out"
    out.mkdir()
    words = [
        sys.executable,
        "-m",
        "understudy",
        "convert",
        str(source),
        str(out / "new.hdf5"),
        "--to",
        "robomimic",
        "--writing",
        "compress=true",
    ]
    started = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    children: list[str] = []
    while not (children and list(out.iterdir())) and time.monotonic() < until:
        time.sleep(0.01)
        children = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
    started.send_signal(signal.SIGINT)
    _, err = started.communicate(timeout=60)
    assert started.returncode == 130, err
    assert err.strip() == "understudy: interrupted"
    assert not list(out.iterdir())
    assert children
    until = time.monotonic() + 10
    while left := [c for c in children if Path(f"/proc/{c}").exists()]:
        assert time.monotonic() < until, left
        time.sleep(0.01)
