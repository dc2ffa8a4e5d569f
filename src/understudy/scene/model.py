"""Scenes of worlds simulated by MuJoCo: shapes and materials read from an `MjModel`, without OpenGL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.scene.blob import STILL, Blob, Camera, Kind, Mesh, Shape, Texture, Triple
from understudy.scene.scene import Poses, Scene

__all__ = ["model_scene"]

# mjtGeom: planes, spheres, capsules, ellipsoids, cylinders, boxes and meshes are drawn.
_KINDS: dict[int, Kind] = {
    0: "plane", 2: "sphere", 3: "capsule", 4: "ellipsoid", 5: "cylinder", 6: "box", 7: "mesh",
}  # fmt: skip
_GROUPS = 3  # groups 0, 1 and 2 are seen; higher ones hold collision shapes
_GREY = (0.5, 0.5, 0.5, 1.0)  # MuJoCo's colour of a shape that was given none
_CUBE, _MOST_PIXELS = 1, 512  # mjTEXTURE_CUBE, and pixels along a texture's side
_HAND_SITE, _HAND_BODY, _GOAL_BODY, _TORSO = "robot0:grip", "fingertip", "target", "torso"
_CLOSE, _NEAR = (0.9, 0.15, 0.15, 0.85), (0.9, 0.15, 0.15, 0.16)  # a goal, and what counts as there
_OUT_OF_SIGHT = (0.0, 0.0, -50.0)
_FIELD = 2.0  # radii from which a ball is seen whole, nearly
_ROOM = 1.2  # of the environment's own distance: what is dragged must not leave the picture
_XYZW = [1, 2, 3, 0]


def model_scene(name: str, world: Any, model: Any, data: Any) -> Scene:
    """The scene of a MuJoCo model.

    Args:
        world: the environment around it. Where it has a `goal` [3], that is drawn, and its `mujoco_renderer`
            says where to look from.
        model, data: `mujoco.MjModel` and the live `mujoco.MjData`. The data is only ever read: bringing its
            poses up to date would change what the next step computes, so that happens in a copy.
    """
    goal = _goal_of(world)
    drawn = _Drawn(model, sites=goal is None)
    rows = {body: row for row, body in enumerate(drawn.bodies)}
    names = [_name(model, "body", b) for b in drawn.bodies]
    hand_site = _find(model, "site", _HAND_SITE)
    hand, aim = (rows.get(_find(model, "body", n)) for n in (_HAND_BODY, _GOAL_BODY))
    if hand_site >= 0:
        hand, names = len(names), [*names, "hand"]
    if goal is not None:
        aim, names = len(names), [*names, "goal"]
        radius = float(getattr(world, "distance_threshold", 0.03))
        for size, rgba in ((0.3 * radius, _CLOSE), (radius, _NEAR)):
            drawn.blob.shapes.append(Shape("sphere", (size, size, size), rgba, body=aim))
    torso = rows.get(_find(model, "body", _TORSO))
    follow = torso if torso is not None and model.body_jntnum[drawn.bodies[torso]] else None
    if follow is not None:
        drawn.without_end()
    read = _Reader(model, data, drawn.bodies, hand_site, world if goal is not None else None)
    start = None if follow is None else drawn.bodies[follow]
    return Scene(
        name, drawn.blob, read, names=names, camera=_camera(world, model, start), hand=hand, goal=aim,
        follow=follow,
    )  # fmt: skip


def _goal_of(world: Any) -> NDArray[np.float64] | None:
    """Where something should get, in environments that keep such a place; empty before the first reset."""
    goal = getattr(world, "goal", None)
    return goal if isinstance(goal, np.ndarray) and goal.shape in ((3,), (0,)) else None


class _Reader:
    """The poses of now, worked out in a copy of the data."""

    def __init__(self, model: Any, data: Any, bodies: list[int], hand: int, goals: Any | None) -> None:
        import mujoco

        self.model, self.data, self.bodies, self.hand, self.goals = model, data, bodies, hand, goals
        self.own, self.kinematics = mujoco.MjData(model), mujoco.mj_kinematics

    def __call__(self) -> Poses:
        own, data, n = self.own, self.data, len(self.bodies)
        own.qpos[:] = data.qpos
        own.mocap_pos[:], own.mocap_quat[:] = data.mocap_pos, data.mocap_quat
        self.kinematics(self.model, own)
        out = np.zeros((n + (self.hand >= 0) + (self.goals is not None), 7), np.float32)
        out[:, 6] = 1.0
        out[:n, :3] = own.xpos[self.bodies]
        out[:n, 3:] = own.xquat[self.bodies][:, _XYZW]
        if self.hand >= 0:
            out[n, :3] = own.site_xpos[self.hand]
        if self.goals is not None:
            out[-1, :3] = self.goals.goal if self.goals.goal.shape == (3,) else _OUT_OF_SIGHT
        return out


class _Drawn:
    """The shapes of a model that are seen, and the bodies that carry them, the world aside.

    A body without a joint is sent like any other: some environments move theirs at a reset.
    """

    def __init__(self, model: Any, *, sites: bool) -> None:
        self.model, self.blob = model, Blob()
        self.bodies: list[int] = []
        self._meshes: dict[int, int] = {}
        self._textures: dict[int, int] = {}
        for kind, count in (("geom", model.ngeom), ("site", model.nsite if sites else 0)):
            for i in range(count):
                self._add(kind, i)

    def without_end(self) -> None:
        """The ground goes on wherever a body runs."""
        for i, s in enumerate(self.blob.shapes):
            if s.kind == "plane":
                wide, deep = (1.0 if s.uniform or not half else 2 * half for half in s.size[:2])
                tiles = (s.repeat[0] / wide, s.repeat[1] / deep)
                self.blob.shapes[i] = replace(s, size=(0.0, 0.0, 1.0), repeat=tiles, uniform=True)

    def _add(self, what: str, i: int) -> None:
        m = self.model
        kind = _KINDS.get(int(getattr(m, f"{what}_type")[i]))
        if kind is None or getattr(m, f"{what}_group")[i] >= _GROUPS:
            return
        material, body = int(getattr(m, f"{what}_matid")[i]), int(getattr(m, f"{what}_bodyid")[i])
        rgba = _colour(m, getattr(m, f"{what}_rgba")[i], material)
        # A see-through shape on a mocap body marks a target of the engine's, such as Fetch's crossed bars.
        if rgba[3] <= 0 or (m.body_mocapid[body] >= 0 and rgba[3] < 1):
            return
        size, pos = getattr(m, f"{what}_size")[i], getattr(m, f"{what}_pos")[i]
        w, x, y, z = map(float, getattr(m, f"{what}_quat")[i])
        quat = (x, y, z, w)
        mesh = self._mesh(int(m.geom_dataid[i])) if kind == "mesh" else None
        shape = Shape(kind, _three(size), rgba, _three(pos), quat, self._row(body), mesh)
        if (texture := self._texture(material)) is not None:
            u, v = m.mat_texrepeat[material]
            uniform = bool(m.mat_texuniform[material])
            shape = replace(shape, texture=texture, repeat=(float(u), float(v)), uniform=uniform)
        self.blob.shapes.append(shape)

    def _row(self, body: int) -> int:
        if body == 0:
            return STILL
        if body not in self.bodies:
            self.bodies.append(body)
        return self.bodies.index(body)

    def _mesh(self, mesh: int) -> int:
        if mesh not in self._meshes:
            self._meshes[mesh] = len(self.blob.meshes)
            self.blob.meshes.append(_mesh(self.model, mesh))
        return self._meshes[mesh]

    def _texture(self, material: int) -> int | None:
        m = self.model
        if material < 0:
            return None
        # Roles: 1 is the colour, 2 colour with alpha.
        texture = next((int(t) for t in m.mat_texid[material][1:3] if t >= 0), -1)
        if texture < 0:
            return None
        if texture not in self._textures:
            self._textures[texture] = len(self.blob.textures)
            self.blob.textures.append(_texture(m, texture))
        return self._textures[texture]


def _three(values: NDArray[np.float64]) -> Triple:
    return float(values[0]), float(values[1]), float(values[2])


def _colour(m: Any, own: NDArray[np.float32], material: int) -> tuple[float, float, float, float]:
    """The shape's own colour, unless it has none and a material has."""
    unset = np.allclose(own, _GREY, atol=1e-6)
    r, g, b, a = m.mat_rgba[material] if material >= 0 and unset else own
    return float(r), float(g), float(b), float(a)


def _mesh(m: Any, i: int) -> Mesh:
    """One list of vertices from MuJoCo's separate indices of places, normals and texture coordinates."""
    faces = slice(m.mesh_faceadr[i], m.mesh_faceadr[i] + m.mesh_facenum[i])
    places, normals = m.mesh_face[faces].ravel(), m.mesh_facenormal[faces].ravel()
    textured = m.mesh_texcoordadr[i] >= 0 and m.mesh_texcoordnum[i] > 0
    uvs = m.mesh_facetexcoord[faces].ravel() if textured else np.zeros_like(places)
    # One number for each triple of indices is much faster to sort than the triples are.
    key = places.astype(np.int64)
    for more in (normals, uvs):
        key = key * (int(more.max(initial=0)) + 1) + more
    _, first, index = np.unique(key, return_index=True, return_inverse=True)
    return Mesh(
        m.mesh_vert[m.mesh_vertadr[i] + places[first]],
        m.mesh_normal[m.mesh_normaladr[i] + normals[first]],
        m.mesh_texcoord[m.mesh_texcoordadr[i] + uvs[first]] if textured else None,
        index.reshape(-1, 3).astype(np.int64),
    )


def _texture(m: Any, i: int) -> Texture:
    """Its pixels, thinned to at most 512 a side; a cube of one face has it six times."""
    w, h, n = int(m.tex_width[i]), int(m.tex_height[i]), int(m.tex_nchannel[i])
    at = int(m.tex_adr[i])
    pixels = np.asarray(m.tex_data[at : at + w * h * n]).reshape(h, w, n)
    pixels = np.repeat(pixels, 3, axis=2) if n == 1 else pixels[:, :, :3]
    cube = int(m.tex_type[i]) == _CUBE
    every = -(-max(w, h // 6 if cube and h != w else h) // _MOST_PIXELS)
    if cube:
        faces = pixels.reshape(-1, w, w, 3)[:, ::every, ::every]
        faces = np.concatenate([faces] * 6) if len(faces) == 1 else faces
        return Texture(faces.reshape(-1, faces.shape[2], 3), True)
    return Texture(pixels[::every, ::every], False)


def _camera(world: Any, m: Any, follow: int | None) -> Camera:
    """Where the environment itself looks from, as far as it says."""
    renderer = getattr(world, "mujoco_renderer", None)
    said: Mapping[str, Any] = getattr(renderer, "default_cam_config", None) or {}
    middle, radius = _bounds(m)
    target = said.get("lookat")
    if target is None:
        target = middle if follow is None else m.body_pos[follow]
    elevation = -45.0 if follow is None else -15.0
    return Camera(
        (float(target[0]), float(target[1]), float(target[2])),
        _ROOM * float(said.get("distance", _FIELD * radius)),
        float(said.get("azimuth", 90.0)),
        float(said.get("elevation", elevation)),
    )


def _bounds(m: Any) -> tuple[NDArray[np.float64], float]:
    """Middle and radius of a ball around all that is drawn, planes aside, in the model's first pose."""
    import mujoco

    own = mujoco.MjData(m)
    mujoco.mj_kinematics(m, own)
    solid = (m.geom_type != 0) & (m.geom_group < _GROUPS)
    if not solid.any():
        return np.asarray(m.stat.center, np.float64), float(m.stat.extent)
    at, reach = own.geom_xpos[solid], m.geom_rbound[solid][:, None]
    low, high = (at - reach).min(0), (at + reach).max(0)
    middle = (low + high) / 2
    return middle, float((np.linalg.norm(at - middle, axis=1) + reach[:, 0]).max())


def _find(m: Any, kind: str, name: str) -> int:
    """The index of a named body or site; −1 where there is none."""
    import mujoco

    of = {"body": mujoco.mjtObj.mjOBJ_BODY, "site": mujoco.mjtObj.mjOBJ_SITE}[kind]
    return int(mujoco.mj_name2id(m, of, name))


def _name(m: Any, kind: str, i: int) -> str:
    return str(getattr(m, kind)(i).name) or f"{kind} {i}"
