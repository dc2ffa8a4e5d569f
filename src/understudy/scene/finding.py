"""Finds what there is to draw behind an environment, however it is wrapped."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from understudy.envs import DoorEnv
from understudy.scene.scene import Scene

__all__ = ["scene_of"]

_INWARD = ("env", "robot", "raw", "unwrapped")  # what wrappers call the thing inside
_DEEPEST = 32


def scene_of(env: DoorEnv) -> Scene | None:
    """The scene of an environment: MuJoCo's model behind any wrapper, or a world that is drawn by hand.

    Needs no OpenGL. None where there is nothing that can be drawn.
    """
    name = str(getattr(env, "name", type(env).__name__))
    for world in _inside(env):
        if (found := _mujoco(world)) is not None:
            from understudy.scene.model import model_scene

            return model_scene(name, world, *found)
    for world in _inside(env):
        from understudy.scene.worlds import world_scene

        if (scene := world_scene(name, world)) is not None:
            return scene
    return None


def _inside(env: object) -> Iterator[Any]:
    """The environment and everything it wraps, from the innermost outwards."""
    found: list[object] = []
    waiting = [env]
    while waiting and len(found) < _DEEPEST:
        world = waiting.pop()
        if any(world is seen for seen in found):
            continue
        found.append(world)
        waiting += [v for k in _INWARD if (v := getattr(world, k, None)) is not None]
    return reversed(found)


def _mujoco(world: Any) -> tuple[Any, Any] | None:
    """(model, data) where the thing holds them, also as dm_control does; else None."""
    if (mujoco := sys.modules.get("mujoco")) is None:  # then nobody can have made a model
        return None
    holders = [world] if (physics := getattr(world, "physics", None)) is None else [physics, world]
    for holder in holders:
        model, data = getattr(holder, "model", None), getattr(holder, "data", None)
        model, data = getattr(model, "_model", model), getattr(data, "_data", data)
        if isinstance(model, mujoco.MjModel) and isinstance(data, mujoco.MjData):
            return model, data
    return None
