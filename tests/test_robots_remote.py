"""A robot in another process keeps its limits there, and whatever happens to the link stops it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gliding import Arm, glide
from understudy.cli import main
from understudy.envs import task
from understudy.robots import (
    Guarded,
    Limits,
    ManualClock,
    Reading,
    Refused,
    RemoteRobot,
    Robot,
    RobotEnv,
    RobotLost,
    RobotStopped,
    SafeRobot,
    SimulatedRobot,
    Speed,
    serve,
    wire,
)
from understudy.robots.tokens import VARIABLE, token_from
from understudy.rollout import rollout
from understudy.scene import scene_of

TOKEN = "a secret of tests only"
PATIENCE = 20.0  # seconds after which a test gives up; nothing here takes that long


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


class Side:
    """A robot's side in a thread of this process."""

    def __init__(self, robot: Robot) -> None:
        self.log: list[str] = []
        self.counts: dict[str, int] = {}
        self._over, there, at = threading.Event(), threading.Event(), list[str]()

        def ready(host: str, port: int) -> None:
            at.append(f"{host}:{port}")
            there.set()

        def run() -> None:
            self.counts = serve(robot, token=TOKEN, ready=ready, log=self.log.append, until=self._over)

        self._thread = threading.Thread(target=run)
        self._thread.start()
        assert there.wait(PATIENCE)
        self.address = at[0]

    def remote(self, **kwargs: Any) -> RemoteRobot:
        return RemoteRobot(self.address, TOKEN, **kwargs)

    def close(self) -> None:
        self._over.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


@contextlib.contextmanager
def serving(robot: Any) -> Iterator[Side]:
    side = Side(robot)
    try:
        yield side
    finally:
        side.close()
        robot.close()


@pytest.fixture(scope="module")
def side() -> Iterator[Side]:
    with serving(SimulatedRobot(glide(rate=100), timeout=5.0)) as open_side:
        yield open_side


class Raw:
    """A client that says what it likes."""

    def __init__(self, address: str, role: str | None = "command") -> None:
        host, port = address.split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=PATIENCE)
        self.file = self.socket.makefile("rb")
        self.nonce = self.hear()["nonce"]
        if role is not None:
            self.say({"t": "hello", "version": 1, "role": role, "proof": wire.proof(TOKEN, self.nonce, role)})
            assert self.hear()["t"] == "robot"

    def say(self, head: dict[str, Any], body: bytes = b"") -> None:
        self.socket.sendall(wire.frame(head, body))

    def hear(self) -> dict[str, Any]:
        head, body = wire.LENGTHS.unpack(self.file.read(wire.LENGTHS.size))
        found: dict[str, Any] = json.loads(self.file.read(head))
        self.file.read(body)
        return found

    def farewell(self) -> str:
        """The reason given before the connection is closed."""
        with contextlib.suppress(ConnectionError):
            while (head := self.hear())["t"] != "bye":
                pass
            assert self.file.read(1) == b""
            return str(head["why"])
        return "reset"

    def close(self) -> None:
        self.file.close()
        self.socket.close()


def test_a_remote_robot_is_the_robot(side: Side) -> None:
    robot = side.remote()
    assert isinstance(robot, SafeRobot)
    here = SimulatedRobot(glide(rate=100), clock=ManualClock())
    assert (robot.name, robot.rate, robot.action) == (here.name, here.rate, here.action)
    assert (dict(robot.obs), robot.resets) == (dict(here.obs), True)
    reading = robot.reset(7)
    assert reading.obs["state"].tobytes() == here.reset(7).obs["state"].tobytes()
    robot.command(np.array([0.5, 0.0]))
    later = robot.wait(reading.time, PATIENCE)
    assert later is not None
    assert later.time > reading.time
    until(lambda: bool(robot.observe().success))
    steps = (robot.observe().obs["state"][0] - 0.07) / 0.05
    assert steps == pytest.approx(round(float(steps)), abs=1e-3)
    assert robot.wait(later.time + 1e6, 0.01) is None
    robot.close()
    robot.close()
    with pytest.raises(RobotLost, match="it was closed here"):
        robot.command(np.zeros(2))


def test_a_refusal_comes_back_in_its_own_words() -> None:
    limits = Limits(speeds=(Speed("point", (0, 1), 1.0, 0.75),))
    with serving(SimulatedRobot(glide(rate=100), limits=limits, timeout=5.0)) as held:
        robot = held.remote()
        robot.reset(0)
        for action, words in (
            ([1.0, 0.0], "speed: the point would move at 1, above its bound 0.75"),
            ([np.nan, 0.0], "finite: dimension 0 is nan; every value must be finite in float32"),
            ([0.0, -2.0], "bounds: dimension 1 is -2, below its bound -1"),
        ):
            with pytest.raises(Refused) as refused:
                robot.command(np.array(action))
            assert str(refused.value) == words
        robot.command(np.array([0.25, 0.0]))
        with pytest.raises(RobotStopped, match="speed") as stop:
            RobotEnv(robot).step(np.array([1.0, 0.0]))
        assert stop.value.cause == "refused"
        robot.close()
    assert held.counts == {"commands": 1, "refused": 4, "drivers": 1}


def test_a_robot_without_commands_stops_and_says_so_to_all() -> None:
    with serving(SimulatedRobot(glide(rate=100), timeout=0.1)) as quick:
        robot, viewer = quick.remote(), quick.remote(watch=True)
        robot.reset(0)
        robot.command(np.array([0.125, 0.0]))
        until(lambda: viewer.observe().stopped == "no command for 0.1 s")
        place = viewer.observe().obs["state"].tolist()
        assert 0 < place[0] <= 0.0125 * 11  # no step begins later than 0.1 s after the command
        with pytest.raises(Refused, match="resume or reset it"):
            robot.command(np.zeros(2))
        robot.resume()
        until(lambda: viewer.observe().stopped == "")
        assert viewer.observe().obs["state"].tolist() == place
        robot.stop("a hand is in the way")
        until(lambda: viewer.observe().stopped == "a hand is in the way")
        for order in (lambda: viewer.command(np.zeros(2)), viewer.stop, viewer.resume):
            with pytest.raises(Refused, match="only watches"):
                order()
        viewer.close()
        robot.close()
    assert any("stopped: no command for 0.1 s" in line for line in quick.log)


def test_one_client_commands_and_the_next_is_told_why_it_does_not(side: Side) -> None:
    first = side.remote()
    with pytest.raises(RobotLost, match=r"127\.0\.0\.1:\d+ commands this robot already; one at a time"):
        side.remote()
    first.close()
    until(lambda: "left" in side.log[-1] or "stopped" in side.log[-1])
    second = side.remote()
    assert "is gone" in second.observe().stopped  # whoever comes next has to begin anew
    with pytest.raises(Refused, match="is gone"):
        second.command(np.zeros(2))
    second.reset(0)
    second.command(np.zeros(2))
    second.close()


def test_without_the_token_nobody_comes_in(side: Side) -> None:
    with pytest.raises(RobotLost, match="the token is wrong"):
        RemoteRobot(side.address, "another secret of tests")
    with pytest.raises(ValueError, match="token holds no token; one has 16 to 256"):
        RemoteRobot(side.address, "short")
    # A proof is good for its own connection and its own role.
    old = Raw(side.address, None)
    new = Raw(side.address, None)
    for client, nonce, role in ((new, old.nonce, "command"), (old, old.nonce, "watch")):
        said = wire.proof(TOKEN, nonce, "command")
        client.say({"t": "hello", "version": 1, "role": role, "proof": said})
        assert client.farewell() == "the token is wrong"
        client.close()


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (wire.LENGTHS.pack(1 << 20, 0), "a head of 1048576 bytes; 16384 are the most"),
        (wire.LENGTHS.pack(0, 0), "a head of 0 bytes"),
        (wire.LENGTHS.pack(20, 100_000_000), "a body of 100000000 bytes; 8 are the most here"),
        (b"GET / HTTP/1.1\r\nHost: robot\r\n\r\n", "a head of 542393671 bytes"),
        (bytes(range(128, 228)), "a head of 2206368128 bytes"),
        (wire.LENGTHS.pack(4, 0) + b"\xff\xfe\x00\x01", "a head is not JSON"),
        (wire.LENGTHS.pack(9, 0) + b'{"t":NaN}', "a head is not JSON"),
        (wire.LENGTHS.pack(9000, 0) + b"[" * 9000, "a head is not JSON"),
        (wire.LENGTHS.pack(2, 0) + b"[]", "a head is not an object that says what it is"),
        (wire.frame({"t": "command"}, bytes(8)), "id is not a finite number"),
        (wire.frame({"t": "command", "id": 1}, bytes(4)), "'command' is nothing that a client says so"),
        (wire.frame({"t": "reset", "id": 1, "seed": -1}), "a seed is a whole number from 0"),
        (wire.frame({"t": "reset", "id": 1, "seed": "0"}), "seed is not a finite number"),
        (wire.frame({"t": "stop", "id": 1, "why": "x" * 1000}), "why is not a text of at most 500"),
        (wire.frame({"t": "format the disk", "id": 1}), "'format the disk' is nothing that a client says so"),
        (wire.frame({"t": "hello", "version": 1}), "id is not a finite number"),
    ],
)
def test_what_is_no_frame_closes_the_link_and_stops_the_robot(side: Side, sent: bytes, why: str) -> None:
    viewer, client = side.remote(watch=True), Raw(side.address)
    client.say({"t": "reset", "id": 1, "seed": 0})
    while client.hear()["t"] != "done":
        pass
    client.say({"t": "command", "id": 2}, np.array([0.1, 0.0], "<f4").tobytes())
    until(lambda: viewer.observe().obs["state"][0] > 0.05)
    client.socket.sendall(sent)
    said = client.farewell()
    assert why in said or said == "reset"
    until(lambda: why in viewer.observe().stopped)
    client.close()
    viewer.close()
    side.remote().close()  # and the next one is welcome
    until(lambda: "left" in side.log[-1] or "stopped" in side.log[-1])


@pytest.mark.parametrize(
    "sent",
    [
        wire.LENGTHS.pack(1 << 20, 0), wire.frame({"t": "hello"}), wire.frame({"t": "command", "id": 1}),
        wire.frame({"t": "hello", "version": 2, "role": "command", "proof": ""}), b"x" * 4096,
        wire.LENGTHS.pack(100, 8), wire.frame({"t": "hello", "version": 1, "role": "command", "proof": "é"}),
    ],
)  # fmt: skip
def test_a_stranger_who_says_anything_else_is_shown_out(side: Side, sent: bytes) -> None:
    client = Raw(side.address, None)
    client.socket.sendall(sent)
    assert client.farewell()
    client.close()


def test_who_watches_and_commands_all_the_same_is_shown_out(side: Side) -> None:
    driver = side.remote()
    driver.reset(0)
    viewer = Raw(side.address, "watch")
    viewer.say({"t": "stop", "id": 1, "why": "no"})
    assert viewer.farewell() == "who watches does not command"
    viewer.close()
    driver.command(np.zeros(2))  # which disturbs nobody
    driver.close()


def test_who_falls_silent_is_given_up(side: Side) -> None:
    client = Raw(side.address)
    client.say({"t": "reset", "id": 1, "seed": 0})
    assert client.farewell() == "silent for 1 s"
    client.close()
    viewer = side.remote(watch=True)
    assert "is gone: silent for 1 s" in viewer.observe().stopped
    viewer.close()


class Mute:
    """A side that greets and then says nothing, or nonsense."""

    def __init__(self, *frames: bytes) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.frames, self.done = frames, threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.listener.getsockname()[1]}"

    def _run(self) -> None:
        client, _ = self.listener.accept()
        with client:
            for frame in self.frames:
                client.sendall(frame)
            self.done.wait(PATIENCE)

    def close(self) -> None:
        self.done.set()
        self.thread.join()
        self.listener.close()


WHO = wire.frame({"t": "who", "version": 1, "nonce": "00"})
ROBOT = {"t": "robot", "name": "r", "rate": 10, "action": {"low": [-1], "high": [1]}, "resets": True}
FIRST = wire.reading_frame(Reading({"s": np.zeros(1, np.float32)}, 0.0))


@pytest.mark.parametrize(
    ("frames", "error", "words"),
    [
        ((), RobotLost, "does not answer: timed out"),
        ((wire.frame({"t": "hi"}),), RobotLost, "does not speak version 1"),
        ((wire.LENGTHS.pack(1 << 30, 0),), wire.Malformed, "a head of 1073741824 bytes"),
        ((WHO, wire.frame({**ROBOT, "arrays": {}})), wire.Malformed, "does not say what it observes"),
        (
            (WHO, wire.frame({**ROBOT, "arrays": {"obs s": [1 << 30]}})),
            wire.Malformed,
            "whole numbers from 1",
        ),
        ((WHO, wire.frame({**ROBOT, "arrays": {"obs s": [1 << 25]}})), wire.Malformed, "larger than a frame"),
        ((WHO, wire.frame({**ROBOT, "rate": 0, "arrays": {"obs s": [1]}})), wire.Malformed, "rate is 0"),
        ((WHO, wire.frame({**ROBOT, "arrays": {"obs s": [2]}}), FIRST), wire.Malformed, "not announced"),
    ],
)
def test_a_side_that_is_no_robot_is_an_error_in_words(
    frames: tuple[bytes, ...], error: type[Exception], words: str
) -> None:
    mute = Mute(*frames)
    with pytest.raises(error, match=words):
        RemoteRobot(mute.address, TOKEN, timeout=0.3)
    mute.close()


@pytest.mark.parametrize(
    ("last", "words"),
    [(b"", "silent for 0.8 s"), (b"\0" * 8, "it sent what it should not: a head of 0 bytes")],
)
def test_a_robot_that_falls_silent_or_talks_nonsense_is_lost(last: bytes, words: str) -> None:
    mute = Mute(WHO, wire.frame({**ROBOT, "arrays": {"obs s": [1]}}), FIRST, last)
    robot = RemoteRobot(mute.address, TOKEN)
    with pytest.raises(RobotLost, match=words):
        robot.wait(1.0, PATIENCE)
    with pytest.raises(RobotStopped, match=words) as stop:
        RobotEnv(robot).step(np.zeros(1))
    assert stop.value.cause == "lost"
    robot.stop()  # it has stopped by itself: nothing to say, and no error
    robot.close()
    mute.close()


def test_an_address_where_nobody_is_and_one_that_is_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()[1]
    with pytest.raises(RobotLost, match=f"no robot answers at 127.0.0.1:{free}"):
        RemoteRobot(f"127.0.0.1:{free}", TOKEN)
    for address in ("", "7777", ":7777", "host:", "host:0", "host:99999", "host:٣", "host:-1"):
        with pytest.raises(ValueError, match="is no address of a robot"):
            RemoteRobot(address, TOKEN)


def test_somebodys_robot_is_served_with_three_methods_and_its_errors_come_across() -> None:
    arm = Arm()
    arm.rate = 50.0
    with serving(Guarded(arm, timeout=5.0)) as open_side:
        robot = open_side.remote()
        robot.reset(0)
        robot.command(np.array([0.25, 0.0]))
        assert arm.told[-1] == [0.25, 0.0]
        with pytest.raises(Refused, match="which it never takes"):
            robot.command(np.array([0.0, 0.5]))
        arm.fails = {"command"}
        with pytest.raises(Refused, match="stopped: the command failed: no command: the bus is down"):
            robot.command(np.zeros(2))
        robot.close()
    assert arm.stops >= 1


def test_a_bare_robot_is_guarded_while_it_is_served_and_closed_afterwards() -> None:
    arm = Arm()
    side = Side(arm)
    robot = side.remote()
    with pytest.raises(Refused, match="bounds: dimension 0 is 2, above its bound 1"):
        robot.command(np.array([2.0, 0.0]))
    robot.close()
    side.close()
    assert arm.told[-1] == "closed"
    assert arm.stops >= 1


def test_a_stop_does_not_wait_for_a_reset() -> None:
    begun, stopped = threading.Event(), threading.Event()

    class Homing(Arm):
        def stop(self) -> None:
            super().stop()
            if begun.is_set():
                stopped.set()

        def reset(self, seed: int) -> None:
            begun.set()
            assert stopped.wait(PATIENCE)

    with serving(Guarded(Homing(), timeout=5.0)) as homing:
        robot, said = homing.remote(), list[str]()

        def home() -> None:
            try:
                robot.reset(0)
            except Refused as e:
                said.append(str(e))

        thread = threading.Thread(target=home)
        thread.start()
        assert begun.wait(PATIENCE)
        with pytest.raises(Refused, match="being reset; wait for its end"):
            robot.command(np.zeros(2))
        with pytest.raises(Refused, match="being reset; wait for its end"):
            robot.reset(1)
        robot.stop("a hand is in the way")
        thread.join(PATIENCE)
        assert said == ["stopped: while being reset; resume or reset it before the next command"]
        with pytest.raises(Refused, match="stopped: being reset"):
            robot.command(np.zeros(2))
        robot.close()


class Process:
    """`understudy robot TASK` as a process."""

    def __init__(self, name: str, *flags: str) -> None:
        command = [sys.executable, "-m", "understudy", "robot", name, "--port", "0", *flags]
        self.popen = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.popen.stdout is not None
        self.said = json.loads(self.popen.stdout.readline())
        self.address = f"{self.said['host']}:{self.said['port']}"

    def close(self) -> tuple[str, str]:
        self.popen.terminate()
        return self.popen.communicate(timeout=PATIENCE)


@pytest.fixture(scope="module")
def token_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("robot") / "token"


@pytest.fixture
def process(token_file: Path) -> Iterator[Process]:
    # A busy machine may keep this process from its commands for longer than the usual 0.1 s.
    started = Process("fetch-reach", "--token-file", str(token_file), "--timeout", "5", "--json")
    yield started
    started.close()


class Killing:
    """A policy that does something at its step n."""

    def __init__(self, n: int, what: Callable[[], None]) -> None:
        self.n, self.what = n, what

    def reset(self, seed: int) -> None:
        self.left = self.n

    def act(self, obs: Any) -> Any:
        self.left -= 1
        if self.left == 0:
            self.what()
        return np.array([0.02, 0.0, 0.0, 0.0], np.float32)


def test_an_expert_reaches_his_goals_through_a_second_process_until_it_is_killed(
    process: Process, token_file: Path
) -> None:
    token = token_from(token_file)
    assert token is not None
    assert token_file.stat().st_mode & 0o777 == 0o600
    assert "token" not in process.said  # it is in the file, and nowhere else
    reach = task("fetch-reach")
    assert reach.expert is not None
    env = RobotEnv(RemoteRobot(process.address, token), twin=reach)
    episodes = [rollout(env, reach.expert(), seed, max_steps=100) for seed in range(3)]
    assert all(e.success and e.terminated and e.time is not None for e in episodes)
    # The scene that is drawn here is that of the other process.
    obs, _ = env.reset(seed=11)
    scene = scene_of(env)
    assert scene is not None
    assert scene.poses()[scene.head["goal"], :3] == pytest.approx(obs["desired_goal"])
    assert scene.poses()[scene.head["hand"], :3] == pytest.approx(obs["achieved_goal"], abs=1e-3)

    long = rollout(env, Killing(0, lambda: None), 4, max_steps=36)
    assert len(long) == 36
    assert long.time is not None
    assert (np.diff(long.time) > 0).all()

    kill = Killing(10, lambda: os.kill(process.popen.pid, signal.SIGKILL))
    with pytest.raises(RobotStopped, match=r"the robot at 127\.0\.0\.1:\d+ is lost: ") as stop:
        rollout(env, kill, 5, max_steps=10_000)
    assert stop.value.cause == "lost"
    assert stop.value.episode is not None
    assert len(stop.value.episode) >= 9
    with pytest.raises(RobotLost):
        env.robot.observe()
    env.close()


CLIENT = """
import sys, numpy as np
from understudy.robots import RemoteRobot, RobotEnv
env = RobotEnv(RemoteRobot(sys.argv[1], sys.stdin.readline().strip()))
env.reset(seed=0)
for step in range(10**6):
    env.step(np.array([0.01, 0.0, 0.0, 0.0]))
    if step == 5:
        print("driving", flush=True)
"""


def test_a_client_that_is_killed_leaves_a_robot_that_stands_still(process: Process, token_file: Path) -> None:
    token = token_from(token_file)
    assert token is not None
    viewer = RemoteRobot(process.address, token, watch=True)
    command = [sys.executable, "-c", CLIENT, process.address]
    client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert client.stdin is not None
    assert client.stdout is not None
    client.stdin.write(token + "\n")
    client.stdin.flush()
    assert client.stdout.readline() == "driving\n"
    assert viewer.observe().stopped == ""
    client.kill()
    client.communicate(timeout=PATIENCE)
    until(lambda: "is gone: the connection was closed" in viewer.observe().stopped)
    after = viewer.observe()
    settled = viewer.wait(after.time + 0.4, PATIENCE)
    assert settled is not None
    last = viewer.wait(settled.time + 0.2, PATIENCE)
    assert last is not None
    assert last.obs["state"][:3] == pytest.approx(settled.obs["state"][:3], abs=1e-3)
    viewer.close()
    out, err = process.close()
    told = json.loads(out)
    assert (process.popen.returncode, told["drivers"], told["refused"]) == (0, 1, 0)
    assert told["commands"] >= 6
    assert "is gone: the connection was closed" in err


def test_a_token_lies_in_a_file_for_its_owner_or_in_a_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert token_from(None) is None
    file = tmp_path / "token"
    with pytest.raises(FileNotFoundError):
        token_from(file)
    made = token_from(file, make=True)
    assert made is not None
    assert len(made) >= 32
    assert token_from(file) == token_from(file, make=True) == made
    file.chmod(0o640)
    with pytest.raises(ValueError, match=r"others may read .*token \(mode 640\); chmod 600 it"):
        token_from(file)
    file.chmod(0o600)
    file.write_text("short")
    with pytest.raises(ValueError, match="holds no token"):
        token_from(file)
    monkeypatch.setenv(VARIABLE, TOKEN)
    assert token_from(None) == TOKEN
    monkeypatch.setenv(VARIABLE, "tab\tin the middle of it")
    with pytest.raises(ValueError, match=f"{VARIABLE} holds no token"):
        token_from(None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fetch-rech"], "there is no task 'fetch-rech'; did you mean fetch-reach"),
        (["slip-road"], "slip-road does not say how many control steps a second has"),
        (["pendulum", "--timeout", "0"], "timeout is 0.0; it must be a finite number of seconds above 0"),
        (["pendulum", "--limits", "nowhere.json"], "No such file or directory: 'nowhere.json'"),
        (["pendulum", "--host", "203.0.113.1"], "annot assign requested address"),
        (["pendulum", "--port", "65536"], "port is 65536; it must lie in 0..65535"),
    ],
)
def test_mistakes_on_the_command_line_are_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["robot", "--port", "0", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1
