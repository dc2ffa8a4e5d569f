"""The tasks by name: what they are, how they are made, who can do them and when they are done."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from understudy.envs import fetch, point_maze, slip_road
from understudy.envs.door import Adapted, DoorEnv
from understudy.envs.judge import FinallyNear, Judged, ReturnAtLeast, Rule, StaysUpright
from understudy.envs.spaces import ActionSpec
from understudy.envs.symmetry import Flips, Reflection, Turning, Turns
from understudy.experts.fetch import FetchPickAndPlace, FetchPush, FetchReach
from understudy.experts.lander import LunarLanderExpert
from understudy.experts.pendulum import PendulumExpert
from understudy.experts.point_maze import MAZE, MOVED, Maze, PointMazeExpert
from understudy.experts.reacher import ReacherExpert
from understudy.experts.slip_road import ROAD, SlipRoadExpert
from understudy.experts.trained import trained
from understudy.roles import Policy

__all__ = ["MissingExtra", "Task", "UnknownTask", "View", "task", "tasks", "worlds"]

_NO_LIMIT = 1000  # steps, for Gymnasium environments that state no limit


class UnknownTask(KeyError):
    """No task has that name; the message gives the nearest ones."""

    def __str__(self) -> str:
        return str(self.args[0])


class MissingExtra(ImportError, ValueError):
    """A task needs packages that are not installed; the message says how to get them."""


@dataclass(frozen=True)
class View:
    """What to plot and to track: obs[key][..., dims].

    Args:
        labels: one name a dimension. unit: of all of them.
        goal: the observation that holds the target of the same dims, None where there is no such target.
    """

    key: str
    dims: tuple[int, ...]
    labels: tuple[str, ...]
    unit: str
    goal: str | None = None


@dataclass(frozen=True)
class Task:
    """One task.

    Args:
        name: as the command line knows it. summary: one line.
        make: makes the environment; can be pickled.
        film: makes the same environment able to draw itself; None where it cannot.
        horizon: the most steps of an episode; then it is truncated.
        obs: observation name -> shape of one step. action: what actions it takes.
        success: in words, when an episode counts as success; "" where the environment does not say.
        expert: makes a policy that can do it, scripted or trained; None where there is none.
        view: what to plot; None where nothing in the state is a place.
        angles: observation name -> the dims that are raw angles in radians, which jump at ±π.
        fps: control steps in a second of the simulated world; None where nobody says.
        symmetries: mirrors and turns under which dynamics, goals and bounds of actions stay the same.
        lasting: makes the same environment with another time limit in steps, for people, who are slower than
            scripts; None where the limit is part of the task.
    """

    name: str
    summary: str
    make: Callable[[], DoorEnv]
    horizon: int
    obs: Mapping[str, tuple[int, ...]]
    action: ActionSpec
    success: str = ""
    expert: Callable[[], Policy] | None = None
    view: View | None = None
    angles: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    film: Callable[[], DoorEnv] | None = None
    fps: int | None = None
    symmetries: tuple[Reflection | Turning, ...] = ()
    lasting: Callable[[int], DoorEnv] | None = None


def tasks() -> tuple[str, ...]:
    """The names of the built-in tasks. Besides them, `task` takes worlds and any registered Gymnasium id."""
    return tuple(_TASKS)


def worlds() -> tuple[str, ...]:
    """The names of the built-in worlds: tasks too, made to ask one question.

    `slip-road` is small enough for theory to say exactly what must come out. `point-maze-moved` and
    `ant-disabled` are `point-maze` and `ant` with another wall and another body: a reward that was learned
    on one is tried on the other (Fu et al. 2018).
    """
    return tuple(_WORLDS)


def task(name: str) -> Task:
    """The task of that name: a built-in task or world, or a registered Gymnasium id (`"CartPole-v1"`).

    A Gymnasium id has no expert, no view and no words for success, and where its registration gives no limit
    an episode is truncated after 1000 steps.

    Raises:
        UnknownTask: when there is none, naming the nearest.
        MissingExtra: when an id's packages are not installed.
    """
    built_in = _TASKS | _WORLDS
    return built_in[name] if name in built_in else _registered(name)


def _registered(name: str) -> Task:
    import gymnasium

    if name not in gymnasium.registry and ":" not in name:
        with contextlib.suppress(ImportError):
            _import_robotics()
    if name not in gymnasium.registry and ":" not in name:
        known = [*_TASKS, *_WORLDS, *(k for k, s in gymnasium.registry.items() if s.entry_point is not None)]
        lower = {k.lower(): k for k in known}
        near = [lower[k] for k in difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.4)]
        say = f"; did you mean {' or '.join(near)}?" if near else f"; there are {', '.join(_TASKS)}"
        raise UnknownTask(f"there is no task {name!r}{say}")
    make = partial(_make_gym, name)
    env = make()
    try:
        horizon = env.horizon or _NO_LIMIT
        modes = getattr(env.raw, "metadata", {}).get("render_modes") or ()
        drawn = partial(_make_gym, name, "rgb_array") if "rgb_array" in modes else None
        return Task(name, f"Gymnasium's {name}", make, horizon, dict(env.obs), env.action, film=drawn)
    finally:
        env.close()


def _import_robotics() -> None:
    """Imports gymnasium_robotics without the notice on Adroit's versions that it prints on import."""
    if sys.modules.get("gymnasium_robotics") is not None:
        return
    with contextlib.suppress(ImportError, AttributeError):
        notifications = importlib.import_module("farama_notifications").notifications
        notifications.pop("gymnasium_robotics", None)
    import gymnasium_robotics  # noqa: F401


@contextlib.contextmanager
def _extra(name: str) -> Iterator[None]:
    """Missing packages become one line that says what to install; Box2D's noise on import is kept quiet."""
    import gymnasium

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "builtin type .* has no __module__ attribute", DeprecationWarning)
        try:
            yield
        except (ImportError, gymnasium.error.DependencyNotInstalled) as e:
            missing = getattr(e, "name", None) or str(e).split("\n")[0]
            raise MissingExtra(
                f'{name} needs packages that are not installed ({missing}): pip install "understudy[sim]"'
            ) from None


def _gym(name: str, id: str, render_mode: str | None, **kwargs: Any) -> Any:
    import gymnasium

    with _extra(name):
        if id.startswith("Fetch"):
            _import_robotics()
        # Without Gymnasium's checker, which looks at every step: `check` looks once.
        if render_mode is not None:  # some environments know no such argument
            kwargs["render_mode"] = render_mode
        return gymnasium.make(id, disable_env_checker=True, **kwargs)


def _make_gym(id: str, render_mode: str | None = None) -> Adapted:
    raw = _gym(id, id, render_mode)
    limited = getattr(raw.spec, "max_episode_steps", None)
    return Adapted(raw, horizon=None if limited else _NO_LIMIT)


def _make_fetch(name: str, id: str, render_mode: str | None = None, horizon: int = 50) -> DoorEnv:
    raw = _gym(name, id, render_mode, default_camera_config=fetch.CAMERA).unwrapped
    return fetch.Fetch(raw, name, horizon)


def _make_judged(
    name: str, id: str, rule: Callable[[], Rule], kwargs: Mapping[str, Any], render_mode: str | None = None
) -> DoorEnv:
    env = Adapted(_gym(name, id, render_mode, **kwargs))
    env.name = name
    return Judged(env, rule())


_NEAR = "the episode ends (terminated) as soon as the {} is within 5 cm of the goal; 50 steps at most"
_BLOCK = View("achieved_goal", (0, 1, 2), ("x", "y", "z"), "m", "desired_goal")


def _fetch(name: str, id: str, what: str, summary: str, expert: Callable[[], Policy], *, block: bool) -> Task:
    make = partial(_make_fetch, name, id)
    return Task(
        name, summary, make, 50, fetch.shapes(block=block), fetch.ACTION, _NEAR.format(what), expert, _BLOCK,
        {"state": (11, 12, 13)} if block else {}, partial(_make_fetch, name, id, "rgb_array"), 25,
        (fetch.mirror(block=block),), partial(_make_fetch, name, id, None),
    )  # fmt: skip


def _judged(
    name: str, id: str, rule: Callable[[], Rule], kwargs: Mapping[str, Any] | None = None, **facts: Any
) -> Task:
    make = partial(_make_judged, name, id, rule, kwargs or {})
    return Task(name=name, make=make, film=partial(make, render_mode="rgb_array"), **facts)


def _runner(name: str, id: str, summary: str, obs: int, actions: int, fps: int, enough: float) -> Task:
    """A task of Gymnasium's where the reward is forward speed, and falling ends the episode where it can."""
    # Ant's 78 outside forces on its bodies are left out: no robot feels them, and they are mostly zero.
    kwargs = {"include_cfrc_ext_in_observation": False} if name == "ant" else {}
    return _judged(
        name, id, partial(ReturnAtLeast, enough), kwargs,
        summary=summary,
        horizon=1000,
        obs={"state": (obs,)},
        action=ActionSpec.box([-1.0] * actions, [1.0] * actions),
        success=f"the episode's return is {enough:.0f} or more",
        expert=trained(name),
        view=View("state", (0,), ("height of the torso",), "m"),
        fps=fps,
    )  # fmt: skip


def _maze(name: str, maze: Maze, where: str) -> Task:
    return Task(
        name,
        f"walk around a wall that is open on the {where}, to a point behind it",
        partial(point_maze.PointMaze, maze, name),
        point_maze.HORIZON,
        {"state": (4,)},
        point_maze.ACTION,
        f"the point is within {point_maze.NEAR} of the goal after {point_maze.HORIZON} steps",
        partial(PointMazeExpert, maze),
        View("state", (0, 1), ("x", "y"), "half a side"),
    )


_CRIPPLED = ("hip_1", "ankle_1", "hip_2", "ankle_2")  # the joints of the two front legs


def _make_crippled(make: Callable[..., DoorEnv], name: str, render_mode: str | None = None) -> DoorEnv:
    """An ant whose front legs' motors give no torque; the joints still bend."""
    env = make(render_mode=render_mode)
    assert isinstance(env, Judged)
    env.name, model = name, env.raw.unwrapped.model
    for motor in range(model.nu):
        if model.joint(model.actuator_trnid[motor, 0]).name in _CRIPPLED:
            model.actuator_gear[motor] = 0.0
    return env


def _crippled(ant: Task) -> Task:
    name = "ant-disabled"
    make = partial(_make_crippled, ant.make, name)
    return replace(
        ant,
        name=name,
        summary="run forward on four legs, of which the front two have no power",
        make=make,
        film=partial(make, render_mode="rgb_array"),
        expert=None,
    )


_TASKS: dict[str, Task] = {
    t.name: t
    for t in (
        _judged(
            "pendulum",
            "Pendulum-v1",
            partial(StaysUpright, angle=0.2, steps=20),
            summary="swing a pendulum up with too weak a motor, and hold it there",
            horizon=200,
            obs={"state": (3,)},
            action=ActionSpec.box([-2.0], [2.0]),
            success="the pendulum is within 0.2 rad of upright at each of the last 20 of 200 steps",
            expert=PendulumExpert,
            view=View("state", (0, 1), ("cos θ (up)", "sin θ"), ""),
            fps=20,
            symmetries=(Reflection("the vertical through the joint", {"state": Flips((1, 2))}, Flips((0,))),),
        ),
        _judged(
            "lunar-lander-continuous",
            "LunarLander-v3",
            partial(ReturnAtLeast, 200.0),
            {"continuous": True},
            summary="land a spacecraft softly between two flags, with throttled engines",
            horizon=1000,
            obs={"state": (8,)},
            action=ActionSpec.box([-1.0, -1.0], [1.0, 1.0]),
            success="the episode's return is 200 or more",
            expert=LunarLanderExpert,
            view=View("state", (0, 1), ("x", "y"), "half a screen"),
            fps=50,
            angles={"state": (4,)},
            symmetries=(
                Reflection(
                    "the vertical through the pad", {"state": Flips((0, 2, 4, 5), (), ((6, 7),))}, Flips((1,))
                ),
            ),
        ),
        _judged(
            "reacher",
            "Reacher-v5",
            partial(FinallyNear, dims=(8, 9), distance=0.01),
            summary="put the fingertip of a two-link arm on a target in the plane",
            horizon=50,
            obs={"state": (10,)},
            action=ActionSpec.box([-1.0, -1.0], [1.0, 1.0]),
            success="the fingertip is within 1 cm of the target after 50 steps",
            expert=ReacherExpert,
            view=View("state", (8, 9), ("x to the target", "y to the target"), "m"),
            fps=50,
            symmetries=(
                Reflection("the x axis", {"state": Flips((2, 3, 5, 6, 7, 9))}, Flips((0, 1))),
                Turning("the shoulder", {"state": Turns(((4, 5),), free=((0, 2), (8, 9)))}),
            ),
        ),
        _fetch(
            "fetch-reach",
            "FetchReach-v4",
            "hand",
            "move the hand of a Fetch robot to a point in the air",
            FetchReach,
            block=False,
        ),
        _fetch(
            "fetch-push",
            "FetchPush-v4",
            "block",
            "push a block across a table to a point, with closed fingers",
            FetchPush,
            block=True,
        ),
        _fetch(
            "fetch-pick-place",
            "FetchPickAndPlace-v4",
            "block",
            "pick a block up and carry it to a point, on the table or in the air",
            FetchPickAndPlace,
            block=True,
        ),
        _runner("hopper", "Hopper-v5", "hop forward on one leg, without falling", 11, 3, 125, 2500.0),
        _runner("half-cheetah", "HalfCheetah-v5", "run forward on two legs in the plane", 17, 6, 20, 4800.0),
        _runner("walker2d", "Walker2d-v5", "walk forward on two legs, without falling", 17, 6, 125, 3000.0),
        _runner("ant", "Ant-v5", "run forward on four legs, without tipping over", 27, 8, 20, 3000.0),
    )
}

_WORLDS: dict[str, Task] = {
    t.name: t
    for t in (
        Task(
            "slip-road",
            "keep to the right lane of a signposted road; only one action leads back onto it",
            partial(slip_road.SlipRoad, ROAD),
            ROAD.horizon,
            slip_road.shapes(ROAD),
            slip_road.ACTION,
            "the car is on the road at the end of 64 steps",
            partial(SlipRoadExpert, ROAD),
        ),
        _maze("point-maze", MAZE, "right"),
        _maze("point-maze-moved", MOVED, "left"),
        _crippled(_TASKS["ant"]),
    )
}
