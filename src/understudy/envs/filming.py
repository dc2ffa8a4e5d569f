"""Pictures of an episode: its actions are played again in a fresh environment, in a process of its own.

Drawing may need OpenGL, and a broken OpenGL ends the process that asks for it: so this process never does.
"""

from __future__ import annotations

import functools
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from understudy.episode import Array

if TYPE_CHECKING:
    from understudy.envs.registry import Task

__all__ = ["FilmError", "film", "render_available"]

_SECONDS = 120  # what a film may take; a hanging driver is given up then
_PROBE = """
import mujoco
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom size='1'/></worldbody></mujoco>")
renderer = mujoco.Renderer(model, 8, 8)
renderer.update_scene(mujoco.MjData(model))
assert renderer.render().shape == (8, 8, 3)
"""


class FilmError(ValueError):
    """The pictures cannot be taken; the message says why, in one line."""


def render_available(task: Task | None = None) -> str | None:
    """None where MuJoCo can draw on this machine, else a line that says why not. Asked once, then remembered.

    With a task, whether that task can be filmed: some (pendulum, the lander) need no OpenGL.
    """
    if task is None:
        return None if _backend() else "no OpenGL here: neither EGL (libegl1) nor OSMesa (libosmesa6) works"
    try:
        _filmed(_request(task, 0, np.zeros((0, task.action.width), np.float32), 1, 16))
    except FilmError as e:
        return str(e)
    return None


def film(
    task: Task, episode_seed: int, actions: Array | Sequence[Array], count: int = 8, size: int = 240
) -> list[Array]:
    """At most `count` pictures uint8 [size, W, 3] of an episode, evenly spaced from start to end.

    Args:
        episode_seed: the seed that the episode was reset with.
        actions: [T, A], what was executed.
        count: how many, at least 1; one a state where there are fewer states.
        size: the height in pixels; the width follows.

    Raises:
        FilmError: where the task cannot be drawn on this machine.
        ValueError: when count or size is not positive.
    """
    if count < 1 or size < 1:
        raise ValueError(f"count {count} and size {size} must be at least 1")
    return list(_filmed(_request(task, episode_seed, np.asarray(actions), count, size)))


def _request(task: Task, seed: int, actions: Array, count: int, size: int) -> bytes:
    if task.film is None:
        raise FilmError(f"task {task.name!r} has no way to draw itself")
    return pickle.dumps((task.film, seed, actions, count, size))


@functools.cache
def _backend() -> str | None:
    """The first OpenGL that draws; the user's own choice is the only one tried where there is one."""
    chosen = os.environ.get("MUJOCO_GL")
    display = ["glfw"] if os.environ.get("DISPLAY") or sys.platform != "linux" else []
    for name in [chosen] if chosen else [*display, "egl", "osmesa"]:
        if _child(["-c", _PROBE], name).returncode == 0:
            return name
    return None


@functools.lru_cache(maxsize=16)
def _filmed(request: bytes) -> tuple[Array, ...]:
    backend = _backend()
    with tempfile.TemporaryDirectory() as folder:
        ask, answer = Path(folder, "ask"), Path(folder, "answer.npy")
        ask.write_bytes(request)
        done = _child(["-m", "understudy.envs.filming", str(ask), str(answer)], backend or "disable")
        if done.returncode == 0 and answer.exists():
            return tuple(np.load(answer, allow_pickle=False))
    if backend is None and (reason := render_available()):
        raise FilmError(reason)
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    raise FilmError(
        f"drawing failed (exit code {done.returncode}): {lines[-1] if lines else 'without a word'}"
    )


def _child(arguments: list[str], backend: str) -> subprocess.CompletedProcess[bytes]:
    env = os.environ | {
        "MUJOCO_GL": backend,
        "PYOPENGL_PLATFORM": backend if backend in ("egl", "osmesa") else "",
        "SDL_VIDEODRIVER": "dummy",
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
    }
    command = [sys.executable, *arguments]
    try:
        return subprocess.run(command, env=env, capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, b"", f"no answer in {_SECONDS} s".encode())


def _take(ask: Path, answer: Path) -> None:
    """In the child: plays the episode and writes its pictures.

    It is played from its start for each picture, because drawing disturbs: some simulators bring what the
    physics remember up to date in order to draw it, and then go on a little differently.
    """
    make, seed, actions, count, size = pickle.loads(ask.read_bytes())  # written by the parent, a moment ago
    env, frames = make(), []
    for stop in sorted(set(np.linspace(0, len(actions), count).round().astype(int).tolist())):
        env.reset(seed=seed)
        over = False
        for action in actions[:stop]:
            _, _, terminated, truncated, _ = env.step(action)
            if over := terminated or truncated:
                break
        frames.append(_picture(env.raw.render(), size))
        if over:
            break
    np.save(answer, np.stack(frames), allow_pickle=False)


def _picture(frame: Array, size: int) -> Array:
    from PIL import Image

    image = Image.fromarray(frame)
    width = max(1, round(image.width * size / image.height))
    return np.asarray(image.resize((width, size), Image.Resampling.LANCZOS), np.uint8)


if __name__ == "__main__":
    _take(Path(sys.argv[1]), Path(sys.argv[2]))
