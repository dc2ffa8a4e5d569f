"""The Fetch robot's tasks (Plappert et al. 2018), with Gymnasium-Robotics' models and exactly its physics.

Gymnasium-Robotics spends nearly half of a step on looking up names; here the addresses are looked up once.
States are the same to the last bit, and a test says so. One thing differs: the episode ends (terminated) at
success.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import numpy as np

from understudy.envs.spaces import ActionSpec
from understudy.envs.symmetry import Flips, Reflection
from understudy.episode import Array, Obs

__all__ = ["ACTION", "CAMERA", "Fetch", "mirror", "shapes"]

ACTION = ActionSpec.box([-1.0] * 4, [1.0] * 4)
CAMERA = {"distance": 1.3, "azimuth": 145.0, "elevation": -20.0, "lookat": np.array([1.3, 0.75, 0.5])}
_SUBSTEPS = 20
_MIDDLE = 0.7491  # metres, y of the hand at the start of every episode
_DOWN = (1.0, 0.0, 1.0, 0.0)  # added to the hand's quaternion each step, which the weld then normalises
_EPS4 = np.finfo(np.float64).eps * 4.0


def shapes(*, block: bool) -> dict[str, tuple[int, ...]]:
    """Observation name -> shape, with or without a block."""
    return {"achieved_goal": (3,), "desired_goal": (3,), "state": (25,) if block else (10,)}


def mirror(*, block: bool) -> Reflection:
    """The upright plane along the table's middle, in which the hand starts.

    The arm is not its own mirror image, but the hand follows its target all the same: to half a millimetre.
    There is no turn about the vertical: the fingers' direction is fixed, and so are the bounds of x and y.
    """
    y = _MIDDLE
    place = Flips(about=((1, y),))
    state = Flips((6,), ((1, y),), ((3, 4), (8, 9)))
    if block:
        # Euler angles and angular velocity are axial: the components in the mirror's plane change sign.
        state = Flips((7, 11, 13, 15, 17, 19, 21), ((1, y), (4, y)), ((9, 10), (23, 24)))
    obs = {"achieved_goal": place, "desired_goal": place, "state": state}
    return Reflection("the upright plane along the table's middle", obs, Flips((1,)))


@final
class Fetch:
    """One Fetch task. Actions [4]: the hand's displacement (x, y, z; 1 is 5 cm) and the fingers (1 opens).

    state [25] is, in metres and metres a step: hand 0:3, block 3:6, block − hand 6:9, fingers 9:11, the
    block's Euler angles 11:14, its velocity relative to the hand 14:17 and its angular velocity 17:20, the
    hand's velocity 20:23 and the fingers' 23:25. Without a block [10] it is hand, fingers, their velocities.

    Args:
        raw: Gymnasium-Robotics' environment, bare of wrappers.
        name: the task's name.
        horizon: the episode is truncated after that many steps.
    """

    def __init__(self, raw: Any, name: str, horizon: int) -> None:
        import mujoco

        self.raw, self.name = raw, name
        self.horizon: int | None = horizon
        self._limit = horizon
        self.action = ACTION
        model, data = raw.model, raw.data
        if model.nu not in (0, 2) or model.nmocap != 1 or raw.n_substeps != _SUBSTEPS:
            raise ValueError(f"{name}: this version of gymnasium-robotics has another Fetch model")
        self._step, self._forward, self._jac = mujoco.mj_step, mujoco.mj_forward, mujoco.mj_jacSite
        self._model, self._data = model, data
        self._block: bool = raw.has_object
        self._grip = model.site("robot0:grip").id
        self._object = model.site("object0").id if self._block else -1
        self._hand = model.body("robot0:gripper_link").id
        # The observation takes the last two of the robot's joints in the order of their names' addresses.
        fingers = [n for n in raw._model_names.joint_names if n.startswith("robot")][-2:]
        self._finger_at = [int(model.joint(n).qposadr[0]) for n in fingers]
        self._finger_v_at = [int(model.joint(n).dofadr[0]) for n in fingers]
        blocked = ("robot0:l_gripper_finger_joint", "robot0:r_gripper_finger_joint")
        self._blocked = [int(model.joint(n).qposadr[0]) for n in blocked] if raw.block_gripper else []
        self._servo = [  # where a motor's target is relative to its joint, that joint's address
            int(model.jnt_qposadr[model.actuator_trnid[i, 0]]) if model.actuator_biastype[i] else None
            for i in range(model.nu)
        ]
        self._jacp, self._jacr = np.zeros((3, model.nv)), np.zeros((3, model.nv))
        self._dt = raw.n_substeps * model.opt.timestep
        self._steps = 0

    @property
    def obs(self) -> Mapping[str, tuple[int, ...]]:
        """Observation name -> shape of one step."""
        return shapes(block=self._block)

    def reset(self, *, seed: int) -> tuple[Obs, Mapping[str, Any]]:
        """Starts an episode."""
        self._steps = 0
        self.raw.reset(seed=seed)
        return self._observe()[0], {}

    def step(self, action: Array) -> tuple[Obs, float, bool, bool, Mapping[str, Any]]:
        """One control step of 40 ms. The reward is 0 at the goal and −1 elsewhere."""
        a, data = self.action.settle(action), self._data
        for i, at in enumerate(self._servo):
            # A closed gripper is held closed by its blocked joints, not by its motors.
            push = 0.0 if self._blocked else float(a[3])
            data.ctrl[i] = push if at is None else data.qpos[at] + push
        data.mocap_pos[0] = data.xpos[self._hand] + (a[:3] * np.float32(0.05)).astype(np.float64)
        data.mocap_quat[0] = data.xquat[self._hand] + _DOWN
        self._step(self._model, data, _SUBSTEPS)
        if self._blocked:
            data.qpos[self._blocked] = 0.0
            self._forward(self._model, data)
        self._steps += 1
        obs, distance = self._observe()
        there = bool(distance < self.raw.distance_threshold)
        reward = -float(distance > self.raw.distance_threshold)
        return obs, reward, there, self._steps >= self._limit and not there, {"success": there}

    def close(self) -> None:
        """Frees the simulator."""
        self.raw.close()

    def _observe(self) -> tuple[Obs, float]:
        model, data, dt, jacp, jacr = self._model, self._data, self._dt, self._jacp, self._jacr
        grip = data.site_xpos[self._grip]
        self._jac(model, data, jacp, None, self._grip)
        grip_v = jacp @ data.qvel * dt
        fingers = [data.qpos[i] for i in self._finger_at]
        fingers_v = [data.qvel[i] * dt for i in self._finger_v_at]
        if self._block:
            achieved = data.site_xpos[self._object]
            self._jac(model, data, jacp, jacr, self._object)
            v = jacp @ data.qvel * dt - grip_v
            turn = jacr @ data.qvel * dt
            angles = _euler(data.site_xmat[self._object])
            parts = [grip, achieved, achieved - grip, fingers, angles, v, turn, grip_v, fingers_v]
        else:
            achieved = grip
            parts = [grip, fingers, grip_v, fingers_v]
        goal = self.raw.goal
        return {
            "achieved_goal": achieved.astype(np.float32),
            "desired_goal": goal.astype(np.float32),
            "state": np.concatenate(parts).astype(np.float32),
        }, float(np.linalg.norm(achieved - goal))


def _euler(m: Array) -> list[Any]:
    """The angles of a rotation matrix [9], by rows; zero roll where the pitch is ±90°."""
    cy = np.sqrt(m[8] * m[8] + m[5] * m[5])
    if cy > _EPS4:
        return [-np.arctan2(m[5], m[8]), -np.arctan2(-m[2], cy), -np.arctan2(m[1], m[0])]
    return [0.0, -np.arctan2(-m[2], cy), -np.arctan2(-m[3], m[4])]
