"""`understudy studio`: what it opens, what it refuses in a line, and how a new policy comes to drive."""

from __future__ import annotations

import asyncio
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("aiohttp")
from teleop_bench import Script
from understudy import cli, storage
from understudy.episode import Episode
from understudy.studio import command, opening
from understudy.studio.access import is_loopback
from understudy.studio.command import Serving
from understudy.studio.library import Library
from understudy.studio.opening import Opening, opened
from understudy.studio.room import Nobody, Room, Teacher


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line with which a command is refused."""
    assert cli.main(["studio", "--no-open", *words]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    return line


def written(folder: Path, name: str) -> Path:
    """A dataset of one episode of a task of that name."""
    steps = 3
    episode = Episode(
        obs={"state": np.zeros((steps + 1, 2), np.float32)},
        action=np.zeros((steps, 1), np.float32),
        label=np.zeros((steps, 1), np.float32),
        labelled=np.ones(steps, np.bool_),
        reward=np.zeros(steps, np.float32),
        terminated=False,
        success=None,
        meta={"task": name, "seed": 1},
    )
    storage.write(folder, [episode])
    return folder


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        ((), "one of --task, --data and --policy, not none"),
        (("--task", "point-maze", "--data", "x"), "not --task and --data"),
        (("--data", "x", "--out", "y"), "recorded into itself"),
        (("--task", "point-maz"), "did you mean"),
        (("--data", "nowhere"), "nowhere"),
        (("--policy", "nowhere"), "nowhere"),
        (("--task", "point-maze", "--mode", "watch", "--out", "y"), "needs a policy"),
        (("--task", "point-maze", "--port", "70000"), "between 0 and 65535"),
        (("--task", "point-maze", "--seed", "1000000", "--out", "y"), "kept for evaluation"),
        (("--task", "point-maze", "--seconds", "0", "--out", "y"), "seconds"),
        (("--task", "pendulum", "--robot", "127.0.0.1:1", "--out", "y"), "wants its secret"),
    ],
)
def test_what_cannot_be_opened_is_refused_in_a_line(
    words: tuple[str, ...],
    rule: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("UNDERSTUDY_ROBOT_TOKEN", raising=False)
    assert rule in refused(capsys, *words)
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_taken_is_said_before_anything_is_loaded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "opened", lambda *_: pytest.fail("loaded first"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refused(capsys, "--task", "point-maze", "--port", str(port))
    assert f"cannot listen at 127.0.0.1:{port}" in line


@pytest.mark.parametrize("package", ["aiohttp", "simplejpeg"])
def test_without_its_packages_it_says_how_to_get_them(
    package: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert 'pip install "understudy[studio]"' in refused(capsys, "--task", "point-maze")


def test_recording_needs_no_torch(tmp_path: Path) -> None:
    import subprocess

    code = "import sys; sys.modules['torch'] = None\n"
    code += "from understudy.studio.opening import Opening, opened\nfrom pathlib import Path\n"
    code += f"room = opened(Opening(task='point-maze', out=Path({str(tmp_path / 'data')!r})))\n"
    code += "assert room.session.mode == 'record'\nroom.session.close()\n"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=120)


def test_a_task_is_opened_for_recording(tmp_path: Path) -> None:
    room = opened(Opening(task="point-maze", out=tmp_path / "data", instruction="go around", operator="Ann"))
    assert room.session is not None
    room.session.tick(0.0)
    state = room.session.state()
    assert (state["mode"], state["operator"], state["instruction"]) == ("record", "Ann", "go around")
    assert (room.hello["task"], room.hello["data"], room.hello["obs"]) == ("point-maze", True, {"state": [4]})
    assert room.hello["action"]["low"] == [-1.0, -1.0]
    assert room.scene is not None
    assert room.folder == tmp_path / "data"
    assert not room.folder.exists()  # nothing is written before there is an episode
    room.session.close()


def test_data_of_a_known_task_can_be_recorded_more_of_and_other_data_only_looked_at(tmp_path: Path) -> None:
    known = opened(Opening(data=written(tmp_path / "known", "point-maze")))
    assert known.session is not None
    assert known.session.folder == tmp_path / "known"
    known.session.close()
    other = opened(Opening(data=written(tmp_path / "other", "our-own-arm")))
    assert (other.session, other.hello["task"], other.scene) == (None, None, None)
    assert isinstance(other.live, Nobody)
    with pytest.raises(ValueError, match="nothing can be driven"):
        opened(Opening(data=tmp_path / "other", mode="record"))


def test_a_task_named_by_a_file_imports_nothing(tmp_path: Path) -> None:
    (tmp_path / "hostile.py").write_text("raise SystemExit('imported')")
    folder = written(tmp_path / "data", "hostile:Arm-v0")
    sys.path.insert(0, str(tmp_path))
    try:
        assert opened(Opening(data=folder)).session is None
    finally:
        sys.path.remove(str(tmp_path))
    assert "hostile" not in sys.modules


def test_another_address_than_this_machines_is_explained(tmp_path: Path) -> None:
    room = Room(None, tmp_path, Library(tmp_path), Teacher(tmp_path, None))
    local = " ".join(command._greeting(room, Serving()))
    wide = " ".join(command._greeting(room, Serving(host="0.0.0.0")))
    assert "network" not in local
    for words in ("drives the robot", "plain http", "gamepad"):
        assert words in wide
    assert not is_loopback("0.0.0.0")
    assert command._shown("::1") == "[::1]"
    assert command._shown("127.0.0.1") == "127.0.0.1"
    assert command._shown("0.0.0.0") != "0.0.0.0"


class Learner:
    """A teacher whose first policy is broken, and whose second one is not."""

    def __init__(self) -> None:
        self.looks = 0

    def state(self) -> dict[str, Any]:
        self.looks += 1
        return {"phase": "training", "step": self.looks, "steps": 2, "round": 1, "message": ""}

    def take(self) -> Script | None:
        if self.looks == 1:
            raise ValueError("round 1 cannot be opened")
        return Script("round-2") if self.looks == 2 else None


def test_a_new_policy_drives_as_soon_as_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_POLL", 0.001)
    room = opened(Opening(task="point-maze", out=tmp_path / "data"))
    session = room.session
    assert session is not None

    async def work() -> None:
        follow = asyncio.create_task(command._follow(replace(room, teacher=Learner())))  # type: ignore[arg-type]
        while not (session.training or {}).get("message"):
            await asyncio.sleep(0.001)
        assert session.training == {
            "phase": "failed", "step": 1, "steps": 2, "round": 1, "message": "round 1 cannot be opened",
        }  # fmt: skip
        now = 0.0
        while session.state()["pilot"] != "round-2":
            session.tick(now := now + 0.1)
            await asyncio.sleep(0.001)
        follow.cancel()

    asyncio.run(asyncio.wait_for(work(), 30))
    assert "correct" in session.modes
    session.close()
