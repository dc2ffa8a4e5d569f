"""Scenes of worlds that MuJoCo does not simulate, drawn from simple shapes: pendulum, mazes, road and lander.

Worlds in an upright plane lie in x and z and are seen along y; angles there turn against the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from understudy.envs import SlipRoad
from understudy.envs.point_maze import NEAR, PointMaze
from understudy.scene.blob import Blob, Camera, Mesh, Shape, Triple
from understudy.scene.scene import Poses, Scene

__all__ = ["world_scene"]

_GROUND, _WALL = (0.80, 0.82, 0.85, 1.0), (0.55, 0.60, 0.68, 1.0)
_MOVER, _METAL = (0.10, 0.45, 0.75, 1.0), (0.25, 0.28, 0.33, 1.0)
_GOAL = (0.9, 0.2, 0.2, 0.4)
_HIDDEN = -50.0  # z of what is not to be seen just now


def world_scene(name: str, world: Any) -> Scene | None:
    """The scene of an environment that is no MuJoCo model; None where nobody has drawn it."""
    if isinstance(world, PointMaze):
        return _maze(name, world)
    if isinstance(world, SlipRoad):
        return _road(name, world)
    # By the class's name: neither Gymnasium nor Box2D need be installed to ask.
    draw = {"PendulumEnv": _pendulum, "LunarLander": _lander}.get(type(world).__name__)
    return None if draw is None else draw(name, world)


def _box(
    half: Triple, pos: Triple, rgba: tuple[float, float, float, float], body: int = -1, angle: float = 0.0
) -> Shape:
    return Shape("box", half, rgba, pos, _turned(angle), body)


def _turned(angle: float) -> tuple[float, float, float, float]:
    """A turn in the x–z plane, against the clock as seen along y."""
    return 0.0, -float(np.sin(angle / 2)), 0.0, float(np.cos(angle / 2))


def _poses(rows: Iterable[tuple[float, float, float, float]]) -> Poses:
    """(x, y, z, angle in the x–z plane) of each body -> [n, 7]."""
    return np.array([(x, y, z, *_turned(a)) for x, y, z, a in rows], np.float32).reshape(-1, 7)


def _pendulum(name: str, world: Any) -> Scene:
    """A rod of one metre on a stand; upright is up."""
    blob = Blob(
        [
            Shape("plane", (0.0, 0.0, 1.0), _GROUND, (0.0, 0.0, -1.3)),
            _box((0.05, 0.05, 0.65), (0.0, 0.16, -0.65), _METAL),
            _box((0.35, 0.25, 0.03), (0.0, 0.16, -1.27), _METAL),
            Shape("cylinder", (0.06, 0.16, 0.0), _METAL, (0.0, 0.04, 0.0), (0.7071068, 0.0, 0.0, 0.7071068)),
            Shape("capsule", (0.05, 0.5, 0.0), (0.80, 0.30, 0.28, 1.0), (0.0, -0.1, 0.5), body=0),
            Shape("sphere", (0.1, 0.1, 0.1), (0.80, 0.30, 0.28, 1.0), (0.0, -0.1, 1.0), body=0),
        ]
    )

    def read() -> Poses:
        state = getattr(world, "state", None)  # there is none before the first reset
        return _poses([(0.0, 0.0, 0.0, np.pi if state is None else float(state[0]))])

    return Scene(name, blob, read, names=["rod"], camera=Camera((0.0, 0.0, -0.1), 4.2, 78.0, -8.0))


def _maze(name: str, world: PointMaze) -> Scene:
    """The square from above, its walls, the point and the goal."""
    maze, thick, high = world.maze, 0.02, 0.09
    left, right = maze.opening - maze.half, maze.opening + maze.half
    blob = Blob([_box((1.0 + 2 * thick, 1.0 + 2 * thick, 0.02), (0.0, 0.0, -0.02), _GROUND)])
    for a, b in ((-1.0, left), (right, 1.0)):
        if b > a:
            blob.shapes.append(_box(((b - a) / 2, thick / 2, high), ((a + b) / 2, 0.0, high), _WALL))
    for side in (-1.0, 1.0):
        edge = side * (1.0 + thick)
        blob.shapes.append(_box((1.0 + 2 * thick, thick, high), (0.0, edge, high), _WALL))
        blob.shapes.append(_box((thick, 1.0 + 2 * thick, high), (edge, 0.0, high), _WALL))
    blob.shapes.append(Shape("sphere", (0.05, 0.05, 0.05), _MOVER, body=0))
    blob.shapes.append(Shape("cylinder", (NEAR, 0.004, 0.0), _GOAL, body=1))

    def read() -> Poses:
        x, y = world._place
        return _poses([(x, y, 0.05, 0.0), (*maze.goal, 0.006, 0.0)])

    camera = Camera((0.0, 0.0, 0.0), 3.6, 90.0, -62.0)
    return Scene(name, blob, read, names=["point", "goal"], camera=camera, hand=0, goal=1)


def _road(name: str, world: SlipRoad) -> Scene:
    """A car on a road of two lanes; the lamp that is lit on the board ahead of it is the sign it sees."""
    length, contexts = float(world.road.horizon), world.road.contexts
    middle = length / 2
    blob = Blob(
        [
            Shape("plane", (0.0, 0.0, 1.0), (0.62, 0.70, 0.58, 1.0), (0.0, 0.0, -0.03)),
            _box((middle + 4, 1.0, 0.02), (middle, 0.0, -0.01), (0.42, 0.44, 0.47, 1.0)),
            _box((0.38, 0.22, 0.11), (0.0, 0.0, 0.19), _MOVER, 0),
            _box((0.2, 0.19, 0.08), (-0.04, 0.0, 0.36), (0.75, 0.85, 0.92, 1.0), 0),
        ]
    )
    for x in np.arange(-3.0, length + 3.0, 1.0):
        blob.shapes.append(_box((0.22, 0.025, 0.005), (float(x), 0.0, 0.012), (0.9, 0.9, 0.85, 1.0)))
    for x, y in ((x, y) for x in (-0.24, 0.24) for y in (-0.22, 0.22)):
        wheel = (0.7071068, 0.0, 0.0, 0.7071068)
        blob.shapes.append(Shape("cylinder", (0.1, 0.035, 0.0), _METAL, (x, y, 0.1), wheel, 0))
    lamps = [(0.0, 0.3 * (i - (contexts - 1) / 2)) for i in range(contexts)]
    blob.shapes.append(_box((0.03, 0.15 * contexts + 0.08, 0.17), (0.0, 0.0, 1.5), _METAL, 1))
    blob.shapes += [
        Shape("sphere", (0.09, 0.09, 0.09), (0.4, 0.42, 0.45, 1.0), (-0.03, y, 1.5), body=1) for _, y in lamps
    ]
    blob.shapes.append(Shape("sphere", (0.12, 0.12, 0.12), (1.0, 0.75, 0.15, 1.0), (-0.04, 0.0, 1.5), body=2))

    def read() -> Poses:
        t = world._step
        right = 0.0 if t == 0 else 0.5 - float(world._z[t - 1] % 2)  # lane 0 lies on the left
        y = -3.2 * right if world._off else right
        lit = not world._off and not world._blank[t]
        lamp = lamps[int(world._z[t]) % contexts][1]
        board = float(t) + 2.2
        return _poses([(t, y, 0.0, 0.0), (board, 0.0, 0.0, 0.0), (board, lamp, 0.0 if lit else _HIDDEN, 0.0)])

    camera = Camera((1.0, 0.0, 0.4), 5.5, 22.0, -24.0)
    return Scene(name, blob, read, names=["car", "sign", "lamp"], camera=camera, follow=0)


_WIDE, _HIGH, _CHUNKS = 20.0, 40.0 / 3.0, 10  # of the moon that is seen, and pieces of its ground
_DEEP = 2.0  # half of how far the ground reaches into the picture


def _lander(name: str, world: Any) -> Scene:
    """The craft, its legs, the pad between two flags, and ground that is laid anew at every reset."""
    outline = [(-14, 17), (-17, 0), (-17, -10), (17, -10), (17, 0), (14, 17)]
    blob = Blob(meshes=[_prism(outline, 1 / 30, 0.45)])
    blob.shapes.append(Shape("mesh", (1.0, 1.0, 1.0), (0.50, 0.42, 0.85, 1.0), body=0, mesh=0))
    for leg in (1, 2):
        blob.shapes.append(_box((2 / 30, 0.1, 8 / 30), (0.0, 0.0, 0.0), (0.36, 0.33, 0.55, 1.0), leg))
    for piece in range(2 * _CHUNKS):
        half = _WIDE / _CHUNKS / 2
        blob.shapes.append(_box((half, _DEEP, 0.05), (0.0, 0.0, -0.05), (0.78, 0.78, 0.80, 1.0), 3 + piece))
    pad = 0.99 * _HIGH / 4  # the environment smooths heights by 0.33 three times
    for x in (8.0, 12.0):
        blob.shapes.append(_box((0.03, 0.03, 0.6), (x, 0.0, pad + 0.6), _METAL))
        blob.shapes.append(_box((0.3, 0.015, 0.15), (x + 0.3, 0.0, pad + 1.05), (0.9, 0.75, 0.1, 1.0)))
    names = ["craft", "left leg", "right leg", *(f"ground {i}" for i in range(2 * _CHUNKS))]
    camera = Camera((_WIDE / 2, 0.0, 0.55 * _HIGH), 21.0, 90.0, -9.0)
    return Scene(name, blob, _lander_reader(world), names=names, camera=camera)


def _lander_reader(world: Any) -> Callable[[], Poses]:
    laid: tuple[object, Poses] = (None, _poses([]))  # the ground of one reset, worked out once

    def read() -> Poses:
        nonlocal laid
        craft = getattr(world, "lander", None)
        if craft is None:  # before the first reset
            return _poses([(0.0, 0.0, _HIDDEN, 0.0)] * (3 + 2 * _CHUNKS))
        if laid[0] is not world.sky_polys:
            edges = [(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b, *_ in world.sky_polys]
            laid = world.sky_polys, _poses(row for a, b in edges for row in _laid(a, b))
        bodies = [craft, *world.legs]
        rows = [(float(b.position[0]), 0.0, float(b.position[1]), float(b.angle)) for b in bodies]
        return np.concatenate([_poses(rows), laid[1]])

    return read


def _laid(a: Any, b: Any) -> list[tuple[float, float, float, float]]:
    """Two planks of fixed length along a piece of ground: one from its start, one to its end.

    A piece is longer than a plank and shorter than two, so together they cover just the piece.
    """
    along = (b - a) / np.linalg.norm(b - a)
    half, angle = _WIDE / _CHUNKS / 2, float(np.arctan2(along[1], along[0]))
    return [(float(p[0]), 0.0, float(p[1]), angle) for p in (a + half * along, b - half * along)]


def _prism(outline: Sequence[tuple[float, float]], scale: float, half: float) -> Mesh:
    """A convex outline in x and z, `half` thick to both sides along y, with flat faces."""
    flat = np.array(outline, np.float64) * scale
    middle, n = flat.mean(0), len(flat)
    rows: list[np.ndarray[Any, Any]] = []
    for i in range(n):
        (x0, z0), (x1, z1) = flat[i], flat[(i + 1) % n]
        for y, (p, q) in ((-half, ((x1, z1), (x0, z0))), (half, ((x0, z0), (x1, z1)))):
            rows.append(np.array([(middle[0], y, middle[1]), (p[0], y, p[1]), (q[0], y, q[1])]))
        rows.append(np.array([(x0, -half, z0), (x0, half, z0), (x1, half, z1)]))
        rows.append(np.array([(x0, -half, z0), (x1, half, z1), (x1, -half, z1)]))
    outward = [_outward(t, (middle[0], 0.0, middle[1])) for t in rows]
    corners = np.concatenate([t for t, _ in outward]).astype(np.float32)
    normals = np.repeat(np.array([v for _, v in outward]), 3, axis=0).astype(np.float32)
    return Mesh(corners, normals, None, np.arange(len(corners)).reshape(-1, 3))


def _outward(triangle: Any, inside: Triple) -> tuple[Any, Any]:
    """The triangle, turned so that its normal points away from `inside`, and that normal."""
    normal = np.cross(triangle[1] - triangle[0], triangle[2] - triangle[0])
    normal /= np.linalg.norm(normal)
    if normal @ (triangle.mean(0) - np.array(inside)) < 0:
        return triangle[::-1], -normal
    return triangle, normal
