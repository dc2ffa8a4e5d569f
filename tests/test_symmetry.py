"""Each symmetry that a task declares is one: of its expert, and of its simulator."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from understudy.envs import Flips, Reflection, Task, Turning, Turns, task, tasks
from understudy.episode import Array, Obs
from understudy.rollout import rollout

ANGLE = 0.7  # radians


def seen(symmetry: Reflection | Turning, obs: Obs) -> dict[str, Array]:
    if isinstance(symmetry, Reflection):
        return {k: symmetry.obs[k](v) for k, v in obs.items()}
    return {k: symmetry.obs[k](v, np.cos(ANGLE), np.sin(ANGLE), ANGLE) for k, v in obs.items()}


def acted(symmetry: Reflection | Turning, action: Array) -> Array:
    if isinstance(symmetry, Reflection):
        return np.asarray(symmetry.action(action))
    return np.asarray(symmetry.action(action, np.cos(ANGLE), np.sin(ANGLE), ANGLE))


DECLARED = [(name, s) for name in tasks() for s in task(name).symmetries]
NAMES = [f"{name}-{type(s).__name__}" for name, s in DECLARED]


def test_what_is_declared() -> None:
    assert set(NAMES) == {
        "pendulum-Reflection", "lunar-lander-continuous-Reflection", "reacher-Reflection", "reacher-Turning",
        "fetch-reach-Reflection", "fetch-push-Reflection", "fetch-pick-place-Reflection",
    }  # fmt: skip


@pytest.mark.parametrize(("name", "symmetry"), DECLARED, ids=NAMES)
def test_it_names_every_observation_and_every_dimension_exists(
    name: str, symmetry: Reflection | Turning
) -> None:
    which = task(name)
    assert symmetry.obs.keys() == which.obs.keys()
    rng = np.random.default_rng(0)
    obs = {k: rng.normal(size=(5, *shape)).astype(np.float32) for k, shape in which.obs.items()}
    changed = seen(symmetry, obs)
    for k in obs:
        assert changed[k].dtype == np.float32
        assert not np.array_equal(changed[k], obs[k])
    if isinstance(symmetry, Reflection):
        for k in obs:
            np.testing.assert_allclose(seen(symmetry, changed)[k], obs[k], atol=1e-6)
        low, high = which.action.low, which.action.high
        np.testing.assert_array_equal(np.sort([acted(symmetry, low), acted(symmetry, high)], 0), [low, high])


@cache
def visited(name: str) -> tuple[Task, Any]:
    """States that the expert meets, and what it does there."""
    which = task(name)
    env, expert = which.make(), which.expert
    assert expert is not None
    episodes = [rollout(env, expert(), seed) for seed in range(3)]
    env.close()
    return which, [
        ({k: v[t] for k, v in e.obs.items()}, e.action[t]) for e in episodes for t in range(len(e))
    ]


@pytest.mark.parametrize(("name", "symmetry"), DECLARED, ids=NAMES)
def test_the_expert_does_the_same_in_the_mirror(name: str, symmetry: Reflection | Turning) -> None:
    which, pairs = visited(name)
    assert which.expert is not None
    expert = which.expert()
    expert.reset(0)
    there = np.stack([expert.act(seen(symmetry, obs)) for obs, _ in pairs])
    want = np.stack([acted(symmetry, action) for _, action in pairs])
    off = np.abs(there - want).max(-1) / (which.action.high - which.action.low).max()
    # Where the expert chooses between two equally good ways, rounding chooses.
    assert (off < 1e-3).mean() > 0.99, np.flatnonzero(off >= 1e-3)


# ── the simulators ────────────────────────────────────────────────────────────────────────────────────


def played(env: Any, actions: list[Array], n: int) -> dict[str, Array]:
    found = []
    for a in actions[:n]:
        obs, _, done, cut, _ = env.step(a)
        found.append(obs)
        if done or cut:
            break
    return {k: np.stack([o[k] for o in found]) for k in found[0]}


def assert_alike(a: dict[str, Array], b: dict[str, Array], atol: float, only: Any = slice(None)) -> None:
    for k in a:
        assert len(a[k]) == len(b[k]), "the episode ends at the same step"
    np.testing.assert_allclose(a["state"][:, only], b["state"][:, only], atol=atol)


def test_pendulum() -> None:
    which = task("pendulum")
    (mirror,) = which.symmetries
    env = which.make()
    inner = env.raw.unwrapped  # type: ignore[attr-defined]
    actions = list(np.random.default_rng(0).uniform(-2, 2, (100, 1)).astype(np.float32))
    runs = []
    for sign in (1, -1):
        env.reset(seed=3)
        inner.state = sign * np.array([2.5, 0.7])
        runs.append(played(env, [sign * a for a in actions], 100))
    assert_alike(seen(mirror, runs[0]), runs[1], 1e-4)


@pytest.mark.parametrize("kind", [Reflection, Turning])
def test_reacher(kind: type) -> None:
    which = task("reacher")
    (symmetry,) = (s for s in which.symmetries if isinstance(s, kind))
    env = which.make()
    inner = env.raw.unwrapped  # type: ignore[attr-defined]
    actions = list(np.random.default_rng(0).uniform(-1, 1, (50, 2)).astype(np.float32))
    q, v = np.array([0.3, 0.5, 0.12, 0.04]), np.array([1.0, -2.0, 0.0, 0.0])
    c, s = np.cos(ANGLE), np.sin(ANGLE)
    if kind is Reflection:
        starts = [(q, v), (q * [-1, -1, 1, -1], v * [-1, -1, 1, -1])]
    else:
        starts = [(q, v), (np.array([q[0] + ANGLE, q[1], c * q[2] - s * q[3], s * q[2] + c * q[3]]), v)]
    runs = []
    for i, (place, speed) in enumerate(starts):
        env.reset(seed=3)
        inner.set_state(place, speed)
        runs.append(played(env, [acted(symmetry, a) if i else a for a in actions], 50))
    assert_alike(seen(symmetry, runs[0]), runs[1], 1e-4)


class Still:
    """No turbulence: the simulator draws the scatter of its engines from this."""

    def uniform(self, low: float, high: float, size: Any = None) -> Any:
        return (low + high) / 2 if size is None else np.full(size, (low + high) / 2)


def test_lunar_lander_in_flight() -> None:
    which = task("lunar-lander-continuous")
    (mirror,) = which.symmetries
    env = which.make()
    inner = env.raw.unwrapped  # type: ignore[attr-defined]
    actions = list(np.random.default_rng(0).uniform(-1, 1, (60, 2)).astype(np.float32))
    runs = []
    for i in range(2):
        env.reset(seed=3)
        inner._np_random = Still()
        bodies = [inner.lander, *inner.legs]
        if i:
            facts = [(b.position, b.angle, b.linearVelocity, b.angularVelocity) for b in bodies]
            facts = [((20 - p[0], p[1]), -a, (-v[0], v[1]), -w) for p, a, v, w in facts]
            for b, (p, a, v, w) in zip((bodies[0], bodies[2], bodies[1]), facts, strict=True):
                b.position, b.angle, b.linearVelocity, b.angularVelocity = p, a, v, w
        runs.append(played(env, [acted(mirror, a) if i else a for a in actions], 60))
    # The joints' solver takes the left leg first, in both worlds.
    assert_alike(seen(mirror, runs[0]), runs[1], 0.02)
    assert np.abs(runs[0]["state"][-1, 0]) > 0.05  # they did fly


@pytest.mark.parametrize("name", ["fetch-reach", "fetch-push", "fetch-pick-place"])
def test_fetch(name: str) -> None:
    which = task(name)
    (mirror,) = which.symmetries
    assert which.expert is not None
    env: Any = which.make()
    expert, raw = which.expert(), env.raw
    for seed in (1, 5):
        obs, _ = env.reset(seed=seed)
        taken = []
        for _ in range(12):
            taken.append(expert.act(obs))
            obs, *_ = env.step(taken[-1])
        runs = []
        for i in range(2):
            obs, _ = env.reset(seed=seed)
            if i:
                raw.goal = seen(mirror, obs)["desired_goal"].astype(np.float64)
                if "push" in name or "place" in name:
                    q = raw._utils.get_joint_qpos(raw.model, raw.data, "object0:joint").copy()
                    q[1] = 2 * 0.7491 - q[1]  # a block that lies flat and straight
                    raw._utils.set_joint_qpos(raw.model, raw.data, "object0:joint", q)
                raw._mujoco.mj_forward(raw.model, raw.data)
            runs.append(played(env, [acted(mirror, a) if i else a for a in taken], 12))
        assert_alike(seen(mirror, runs[0]), runs[1], 1e-3, slice(0, 3))  # the hand: 1 mm
        np.testing.assert_allclose(
            seen(mirror, runs[0])["achieved_goal"], runs[1]["achieved_goal"], atol=0.01
        )


# ── the arithmetic ────────────────────────────────────────────────────────────────────────────────────


def test_flips() -> None:
    flips = Flips(odd=(0,), about=((1, 2.0),), swap=((2, 3), (4, 0)))
    assert flips(np.array([1.0, 5.0, 7.0, 8.0, 9.0])).tolist() == [-9.0, -1.0, 8.0, 7.0, 1.0]


def test_turns() -> None:
    turns = Turns(places=((0, 1),), centre=(1.0, 0.0), free=((2, 3),), angles=(4,))
    x = np.array([2.0, 0.0, 1.0, 0.0, 3.0, 9.0])
    out = turns(x, 0.0, 1.0, np.pi / 2)
    np.testing.assert_allclose(out, [1.0, 1.0, 0.0, 1.0, 3.0 + np.pi / 2 - 2 * np.pi, 9.0], atol=1e-12)
    assert x[0] == 2.0
