"""The door, the checker and the tasks: every environment comes out in one form, and faults are named."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import understudy.envs.filming as films
from understudy.baselines import RandomPolicy
from understudy.envs import (
    ActionSpec,
    FilmError,
    Finding,
    MissingExtra,
    UnknownTask,
    UnseededWarning,
    adapt,
    check,
    film,
    render_available,
    task,
    tasks,
)
from understudy.roles import Policy
from understudy.rollout import rollout

FETCH = {
    "fetch-reach": "FetchReach-v4",
    "fetch-push": "FetchPush-v4",
    "fetch-pick-place": "FetchPickAndPlace-v4",
}
RUNNERS = {"hopper", "half-cheetah", "walker2d", "ant"}  # their experts are trained, and files of weights


def player(name: str) -> Policy:
    """The task's expert; where it has none, whoever acts at random."""
    t = task(name)
    return RandomPolicy(t.action) if t.expert is None else t.expert()


class Point(gymnasium.Env):
    """A sound environment: a point [2] that actions move, with a time limit of 10 steps."""

    observation_space: Any = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space: Any = spaces.Box(-1.0, 1.0, (2,), np.float32)
    limit = 10

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.x, self.t = self.np_random.standard_normal(2).astype(np.float32), 0
        self.got: list[Any] = []
        return self.x.copy(), {}

    def step(self, action: Any) -> Any:
        self.got.append(action)
        self.x = (self.x + 0.1 * np.asarray(action, np.float32).sum()).astype(np.float32)
        self.t += 1
        return self.x.copy(), 1.0, False, self.t >= self.limit, {"is_success": np.float32(self.t > 3)}


class Old:
    """The old interface: a bare observation, four values, one `done`."""

    action_dim = 1

    def __init__(self, info: dict[str, Any] | None = None, done_at: int = 3) -> None:
        self.info, self.done_at = info or {}, done_at

    def reset(self) -> Any:
        self.t = 0
        return np.zeros(2)

    def step(self, action: Any) -> Any:
        self.t += 1
        done = self.t >= self.done_at
        return np.full(2, float(self.t)), 0.5, done, self.info if done else {}


class TestTheDoor:
    def test_bare_arrays_become_float32_state(self) -> None:
        env = adapt(gymnasium.make("Pendulum-v1"))
        obs, _ = env.reset(seed=0)
        assert list(obs) == ["state"]
        assert obs["state"].dtype == np.float32
        assert env.obs == {"state": (3,)}
        assert env.horizon == 200
        assert env.name == "Pendulum-v1"
        assert env.action == ActionSpec.box([-2.0], [2.0])

    def test_dict_spaces_flatten_and_observation_is_called_state(self) -> None:
        env = Point()
        env.observation_space = spaces.Dict(
            {
                "observation": spaces.Box(-9, 9, (2,), np.float64),
                "camera": spaces.Dict({"front": spaces.Box(0, 255, (4, 5), np.uint8)}),
                "gear": spaces.Discrete(3, start=1),
                "lamps": spaces.MultiBinary(2),
                "dials": spaces.MultiDiscrete([2, 3]),
                "height": spaces.Box(-1, 1, (), np.float64),
            }
        )
        image = np.arange(20, dtype=np.uint8).reshape(4, 5)
        raw = {
            "observation": np.array([1.5, 2.5]),
            "camera": {"front": image},
            "gear": 3,
            "lamps": np.array([1, 0], np.int8),
            "dials": np.array([1, 2]),
            "height": 0.25,
        }
        env.reset = lambda *, seed=None: (raw, {})
        door = adapt(env)
        obs, _ = door.reset(seed=0)
        assert {k: v.shape for k, v in obs.items()} == dict(door.obs)
        assert obs["state"].tolist() == [1.5, 2.5]
        assert obs["state"].dtype == np.float32
        assert obs["camera.front"].shape == (4, 5, 1)
        assert obs["camera.front"].dtype == np.uint8
        assert obs["gear"].tolist() == [0, 0, 1]
        assert obs["lamps"].tolist() == [1, 0]
        assert obs["height"].tolist() == [0.25]
        assert obs["dials"].tolist() == [0, 1, 0, 0, 1]

    def test_discrete_observations_are_one_hot_and_discrete_actions_are_ints(self) -> None:
        env = adapt(gymnasium.make("FrozenLake-v1"))
        obs, _ = env.reset(seed=0)
        assert obs["state"].shape == (16,)
        assert obs["state"].sum() == 1.0
        assert env.action.n == 4
        assert env.action.settle(2).dtype == np.int64
        assert env.action.settle([2.0]).tolist() == [2]
        env.step(np.array([1]))

    def test_a_discrete_space_that_starts_elsewhere_gets_its_own_numbers(self) -> None:
        env = Point()
        env.action_space = spaces.Discrete(3, start=5)
        door = adapt(env)
        door.reset(seed=0)
        door.step(np.array([2]))
        assert env.got == [7]
        assert type(env.got[0]) is int

    @pytest.mark.parametrize("choice", [3, -1, 0.5, np.nan])
    def test_a_choice_that_does_not_exist_is_an_error(self, choice: float) -> None:
        with pytest.raises(ValueError, match=r"not one of the choices 0\.\.2"):
            ActionSpec.discrete(3).settle(choice)

    def test_actions_are_clipped_to_the_bounds_and_reach_the_environment_in_its_own_shape(self) -> None:
        env = Point()
        env.action_space = spaces.Box(-1.0, 1.0, (1, 2), np.float32)
        door = adapt(env)
        door.reset(seed=0)
        door.step(np.array([5.0, -0.5]))
        assert door.action.width == 2
        assert env.got[0].tolist() == [[1.0, -0.5]]
        assert env.got[0].dtype == np.float32

    @pytest.mark.parametrize(("bad", "say"), [([1.0], r"2 numbers"), ([np.nan, 0.0], r"nan in dimension 0")])
    def test_actions_that_cannot_be_executed_are_errors(self, bad: list[float], say: str) -> None:
        with pytest.raises(ValueError, match=say):
            ActionSpec.box([-1, -1], [1, 1]).settle(bad)

    def test_bounds_must_be_bounds(self) -> None:
        with pytest.raises(ValueError, match="low <= high"):
            ActionSpec.box([1.0], [0.0])
        with pytest.raises(ValueError, match="low <= high"):
            ActionSpec.box([np.nan], [0.0])

    def test_action_specs_travel(self) -> None:
        for spec in (ActionSpec.box([-1, 0], [1, 2]), ActionSpec.discrete(4, 2), ActionSpec.unbounded(3)):
            back = pickle.loads(pickle.dumps(spec))
            assert back == spec
            assert hash(back) == hash(spec)
            assert not back.low.flags.writeable
        assert ActionSpec.discrete(4) != ActionSpec.discrete(4, 2)

    def test_the_old_interface_is_understood_and_says_once_that_it_takes_no_seed(self) -> None:
        door = adapt(Old())
        with pytest.warns(UnseededWarning, match=r"Old\.reset takes no seed"):
            obs, info = door.reset(seed=0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            door.reset(seed=1)
        assert obs["state"].dtype == np.float32
        assert info == {}
        assert door.obs == {"state": (2,)}
        ends = [door.step(np.zeros(1))[2:4] for _ in range(3)]
        assert ends == [(False, False), (False, False), (True, False)]

    @pytest.mark.filterwarnings("ignore::understudy.envs.UnseededWarning")
    @pytest.mark.parametrize("key", ["TimeLimit.truncated", "truncated"])
    def test_one_done_is_a_truncation_where_info_says_so(self, key: str) -> None:
        door = adapt(Old({key: True}, done_at=1))
        door.reset(seed=0)
        assert door.step(np.zeros(1))[2:4] == (False, True)

    def test_a_seed_method_is_used_where_reset_takes_none(self) -> None:
        class Seeded(Old):
            def seed(self, seed: int) -> None:
                self.seeded = seed

        env = Seeded()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            adapt(env).reset(seed=7)
        assert env.seeded == 7

    @pytest.mark.filterwarnings("ignore::understudy.envs.UnseededWarning")
    def test_a_horizon_truncates_what_would_not_end(self) -> None:
        door = adapt(Old(done_at=99), horizon=2)
        door.reset(seed=0)
        assert [door.step(np.zeros(1))[3] for _ in range(2)] == [False, True]
        assert door.horizon == 2

    @pytest.mark.parametrize("said", [True, 1.0, np.float32(1.0), np.array([1.0])])
    @pytest.mark.parametrize("key", ["success", "is_success"])
    def test_success_is_a_bool_under_one_name(self, key: str, said: Any) -> None:
        env = Point()
        env.step = lambda action: (np.zeros(2, np.float32), 0.0, True, False, {key: said})
        door = adapt(env)
        door.reset(seed=0)
        assert door.step(np.zeros(2))[4]["success"] is True

    def test_what_was_returned_is_a_copy(self) -> None:
        class Scribbles(Point):
            def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
                super().reset(seed=seed)
                return self.x, {}

            def step(self, action: Any) -> Any:
                self.x += 1.0
                return self.x, 0.0, False, False, {}

        door = adapt(Scribbles())
        first, _ = door.reset(seed=0)
        before = first["state"].copy()
        door.step(np.zeros(2))
        assert np.array_equal(first["state"], before)

    def test_what_is_adapted_stays_as_it_is(self) -> None:
        door = adapt(Point())
        assert adapt(door) is door
        with pytest.raises(ValueError, match="adapted already"):
            adapt(door, horizon=3)

    def test_what_cannot_be_an_environment_is_refused_in_one_line(self) -> None:
        class NoActions(Old):
            action_dim = None

        with pytest.raises(ValueError, match=r"neither action_space nor action_dim.*ActionSpec\.box"):
            adapt(NoActions())
        assert adapt(NoActions(), action=ActionSpec.box([0], [1])).action.high.tolist() == [1.0]
        with pytest.raises(TypeError, match=r"has no reset\(\)"):
            adapt(object())
        with pytest.raises(TypeError, match="Tuple"):
            adapt(gymnasium.make("Blackjack-v1", disable_env_checker=True))
        strange = Point()
        strange.action_space = spaces.MultiDiscrete([2, 2])
        with pytest.raises(TypeError, match="actions are MultiDiscrete"):
            adapt(strange)
        with pytest.raises(TypeError, match="vector of environments"):
            adapt(gymnasium.make_vec("CartPole-v1", 2))

    def test_an_observation_that_was_not_announced_is_an_error(self) -> None:
        env = Point()
        env.reset = lambda *, seed=None: (np.zeros(3, np.float32), {})
        with pytest.raises(ValueError, match=r"shape \[3\]; \[2\] was announced"):
            adapt(env).reset(seed=0)
        env.reset = lambda *, seed=None: ({"other": np.zeros(2)}, {})
        with pytest.raises(ValueError, match=r"\['other'\], but \['state'\]"):
            adapt(env).reset(seed=0)

    def test_a_step_of_three_values_is_an_error(self) -> None:
        env = Point()
        env.step = lambda action: (np.zeros(2), 0.0, True)
        door = adapt(env)
        door.reset(seed=0)
        with pytest.raises(TypeError, match="returned 3 values"):
            door.step(np.zeros(2))


def found(env: Any, severity: str, **kwargs: Any) -> list[str]:
    return [f.message for f in check(env, **kwargs) if f.severity == severity]


class TestTheChecker:
    def test_a_sound_environment_has_nothing_against_it(self) -> None:
        assert check(Point()) == []

    def test_infinite_observations(self) -> None:
        class Bad(Point):
            def step(self, action: Any) -> Any:
                obs, *rest = super().step(action)
                return obs / np.float32(0 if self.t == 2 else 1), *rest

        with np.errstate(all="ignore"):
            assert found(Bad(), "error")[0] == "observation 'state' is not finite at step 2"

    def test_rewards_that_are_not_finite(self) -> None:
        class Bad(Point):
            def step(self, action: Any) -> Any:
                obs, _, *rest = super().step(action)
                return obs, float("nan"), *rest

        assert "the reward is nan at step 0" in found(Bad(), "error")

    def test_shapes_that_differ_from_the_space(self) -> None:
        class Bad(Point):
            def step(self, action: Any) -> Any:
                obs, *rest = super().step(action)
                return obs[:1], *rest

        assert "shape [1]; [2] was announced" in found(Bad(), "error")[0]

    def test_dtypes_and_bounds_that_differ_from_the_space(self) -> None:
        class Bad(Point):
            observation_space = spaces.Box(-0.01, 0.01, (2,), np.float64)

        assert found(Bad(), "warning") == ["observation 'state' leaves the bounds of its space"]
        assert found(Bad(), "info") == ["observation 'state' is float32, announced as float64"]

    def test_a_seed_that_is_ignored(self) -> None:
        class Bad(Point):
            def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
                return super().reset(seed=None)

        assert "same seed and actions gave another trajectory (from state 0 on)" in found(Bad(), "error")[0]

    def test_something_left_over_from_the_last_episode(self) -> None:
        class Bad(Point):
            wear = 0.0

            def step(self, action: Any) -> Any:
                self.wear += 1e-3
                obs, *rest = super().step(action)
                return (obs + np.float32(self.wear)).astype(np.float32), *rest

        assert "same seed and actions gave another trajectory (from state 1 on)" in found(Bad(), "error")[0]

    def test_seeds_that_start_alike(self) -> None:
        class Bad(Point):
            def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
                return super().reset(seed=0)

        assert found(Bad(), "warning") == ["different seeds start alike"]

    def test_episodes_that_never_end(self) -> None:
        class Bad(Point):
            limit = 10**9

        assert found(Bad(), "warning", steps=50) == ["no episode ended within 50 steps"]

        class Late(Bad):
            horizon = 5
            name = "late"
            action = ActionSpec.box([-1, -1], [1, 1])
            obs: Any = {"state": (2,)}  # noqa: RUF012

            def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
                x, info = super().reset(seed=seed)
                return {"state": x}, info

            def step(self, action: Any) -> Any:
                x, *rest = super().step(action)
                return {"state": x}, *rest

        assert found(Late(), "error") == ["no episode ended at its limit of 5 steps"]

    def test_a_time_limit_reported_as_termination(self) -> None:
        class Bad(Point):
            def step(self, action: Any) -> Any:
                obs, r, _, truncated, info = super().step(action)
                return obs, r, truncated, False, info

        assert "every episode was terminated at step 10 exactly" in found(Bad(), "warning")[0]

    def test_arrays_written_to_after_they_were_returned(self) -> None:
        class Bad(Point):
            def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
                _, info = super().reset(seed=seed)
                return self.x, info

            def step(self, action: Any) -> Any:
                x = self.x
                _, *rest = super().step(action)
                x[:], self.x = self.x, x
                return self.x, *rest

        assert found(Bad(), "warning") == ["observation 'state' is written to after it was returned"]

    def test_actions_without_effect_and_odd_bounds(self) -> None:
        class Bad(Point):
            action_space = spaces.Box(
                np.array([0.0, -1e9, -np.inf], np.float32), np.array([0.0, 1e9, 1.0], np.float32)
            )

            def step(self, action: Any) -> Any:
                return super().step(0.5)

        messages = found(Bad(), "warning")
        assert "action dimension 0 can only be 0" in messages
        assert any(m.startswith("action dimension 1 is bounded by -1e+09") for m in messages)
        assert "action dimension 2 has one bound of two (-inf, 1)" in messages
        assert "actions change nothing that is observed" in messages

    def test_dimensions_that_never_change_and_silence_about_success_are_told(self) -> None:
        class Quiet(Point):
            def step(self, action: Any) -> Any:
                obs, r, a, b, _ = super().step(action)
                return np.array([obs[0], 4.0], np.float32), r, a, b, {}

            def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
                obs, info = super().reset(seed=seed)
                return np.array([obs[0], 4.0], np.float32), info

        assert found(Quiet(), "info") == [
            "nothing is said about success",
            "observation 'state' never changes in dimension 1",
        ]

    def test_code_that_raises_is_a_finding(self) -> None:
        class Bad(Point):
            def step(self, action: Any) -> Any:
                raise RuntimeError("motor off\nsecond line")

        assert found(Bad(), "error") == ["step raised RuntimeError: motor off"]

    def test_an_object_without_a_seed_is_found_irreproducible_where_it_is_random(self) -> None:
        class Dice(Old):
            def reset(self) -> Any:
                super().reset()
                return np.random.default_rng().standard_normal(2)

        assert "reset takes no seed" in found(Dice(), "warning")
        messages = found(Dice(), "error")
        assert len(messages) == 1
        assert "same seed" in messages[0]

    def test_what_is_no_environment_is_one_finding(self) -> None:
        assert [f.severity for f in check(object())] == ["error"]

        class Cart(Old):
            action_dim = None

        assert "Cart has neither action_space nor action_dim" in found(Cart(), "error")[0]

    def test_findings_are_sorted_and_readable(self) -> None:
        assert str(Finding("error", "a", "b")) == "error: a. b."


class TestTheTasks:
    @pytest.mark.parametrize("name", tasks())
    def test_what_a_task_says_is_what_its_environment_is(self, name: str) -> None:
        t = task(name)
        env = pickle.loads(pickle.dumps(t.make))()
        try:
            assert dict(t.obs) == dict(env.obs)
            assert t.action == env.action
            assert t.horizon == env.horizon
            assert t.name == env.name == name
            assert t.success
            assert t.summary
            assert t.expert is not None or name in RUNNERS
            assert t.film is not None
            obs, _ = env.reset(seed=0)
            assert {k: v.shape for k, v in obs.items()} == dict(t.obs)
            assert t.view is not None
            assert len(t.view.dims) == len(t.view.labels)
            obs[t.view.key][list(t.view.dims)]
            if t.view.goal is not None:
                assert t.obs[t.view.goal] == (len(t.view.dims),)
            for key, dims in t.angles.items():
                assert max(dims) < t.obs[key][0]
            action = player(name).act(obs)
            assert action.shape == (t.action.width,)
            assert action.dtype == np.float32
        finally:
            env.close()

    @pytest.mark.parametrize("name", tasks())
    def test_the_checker_has_nothing_against_a_task(self, name: str) -> None:
        worst = [f for f in check(task(name).make(), steps=250) if f.severity != "info"]
        assert worst == []

    @pytest.mark.parametrize("name", tasks())
    def test_an_episode_follows_from_its_seed_whatever_was_run_before(self, name: str) -> None:
        t = task(name)
        used, fresh, expert = t.make(), t.make(), player(name)
        for seed in (11, 12):
            rollout(used, expert, seed, arbiter=lambda p, a: -p, max_steps=60)
        assert rollout(used, expert, 3, max_steps=120) == rollout(fresh, expert, 3, max_steps=120)

    def test_a_registered_gymnasium_id_is_a_task(self) -> None:
        t = task("CartPole-v1")
        assert t.expert is None
        assert t.success == ""
        assert t.action.n == 2
        assert t.horizon == 500
        assert dict(t.obs) == {"state": (4,)}
        env = t.make()
        env.reset(seed=0)
        env.step(np.array([1]))

    def test_an_id_without_a_limit_gets_one(self) -> None:
        gymnasium.register("NoLimit-v0", entry_point=Point)
        try:
            t = task("NoLimit-v0")
            env = t.make()
            env.reset(seed=0)
            env.raw.unwrapped.limit = 10**9
            assert t.horizon == 1000
            assert [env.step(np.zeros(2))[3] for _ in range(1000)].index(True) == 999
        finally:
            del gymnasium.registry["NoLimit-v0"]

    @pytest.mark.parametrize(
        ("asked", "near"),
        [("fetch-pickplace", "fetch-pick-place"), ("Pendulum", "pendulum"), ("cartpole-v1", "CartPole-v1")],
    )
    def test_an_unknown_task_names_the_nearest(self, asked: str, near: str) -> None:
        with pytest.raises(UnknownTask) as e:
            task(asked)
        assert near in str(e.value)
        assert "\n" not in str(e.value)
        assert str(e.value).startswith("there is no task")

    def test_a_name_like_nothing_lists_the_tasks(self) -> None:
        with pytest.raises(UnknownTask, match="fetch-pick-place"):
            task("§§§§§§")

    @pytest.mark.parametrize(
        ("name", "missing"),
        [
            ("reacher", "mujoco"),
            ("fetch-push", "gymnasium_robotics"),
            ("lunar-lander-continuous", "Box2D"),
        ],
    )
    def test_a_missing_simulator_is_one_line_that_says_what_to_install(self, name: str, missing: str) -> None:
        code = f"import sys; sys.modules[{missing!r}] = None\n"
        code += "from understudy.envs import MissingExtra, task\n"
        code += f"try: task({name!r}).make()\nexcept MissingExtra as e: print(e)"
        out = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
        )
        assert out.stdout.count("\n") == 1
        assert f"{name} needs packages" in out.stdout
        assert 'pip install "understudy[sim]"' in out.stdout
        assert issubclass(MissingExtra, ValueError)

    def test_importing_environments_loads_no_simulator(self) -> None:
        code = "import sys, understudy.envs as e, understudy.rollout; e.tasks(); e.task('fetch-push'); "
        code += "print([m for m in ('gymnasium', 'mujoco', 'scipy', 'torch', 'PIL') if m in sys.modules])"
        out = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
        )
        assert out.stdout.strip() == "[]"

    def test_making_every_task_prints_and_warns_nothing(self) -> None:
        code = "from understudy.envs import task, tasks\n"
        code += "for n in tasks():\n    e = task(n).make(); e.reset(seed=0); e.close()"
        command = [sys.executable, "-W", "error", "-c", code]
        out = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
        assert (out.returncode, out.stdout, out.stderr) == (0, "", "")


class TestFetch:
    @pytest.mark.parametrize("name", FETCH)
    def test_it_is_gymnasium_robotics_environment_to_the_last_bit(self, name: str) -> None:
        t = task(name)
        assert t.expert is not None
        ours = t.make()
        theirs = adapt(gymnasium.make(FETCH[name], disable_env_checker=True))
        random, expert = np.random.default_rng(0), t.expert()
        for seed in range(3):
            (a, _), (b, _) = ours.reset(seed=seed), theirs.reset(seed=seed)
            for step in range(50):
                assert all(np.array_equal(a[k], b[k]) for k in b)
                assert a.keys() == b.keys()
                action = expert.act(a) if seed else random.uniform(-1.5, 1.5, 4)
                a, r, _, _, info = ours.step(action)
                b, r_, _, truncated, info_ = theirs.step(action)
                assert r == r_
                assert info["success"] == info_["success"]
                assert truncated == (step == 49)
            assert np.array_equal(ours.raw.data.qpos, theirs.raw.unwrapped.data.qpos)

    def test_it_ends_at_success_and_else_at_50_steps_by_truncation(self) -> None:
        env = task("fetch-reach").make()
        obs, _ = env.reset(seed=0)
        ends = [env.step(np.zeros(4))[2:4] for _ in range(50)]
        assert ends == [(False, False)] * 49 + [(False, True)]
        env.reset(seed=0)
        terminated = truncated = False
        while not (terminated or truncated):
            way = 10 * (obs["desired_goal"] - obs["state"][:3])
            obs, reward, terminated, truncated, info = env.step(np.append(way, 0.0))
        assert terminated
        assert info["success"]
        assert reward == 0.0
        assert np.linalg.norm(obs["achieved_goal"] - obs["desired_goal"]) < 0.05


class TestSuccessRules:
    def test_success_of_a_whole_episode_is_told_at_its_last_step_only(self) -> None:
        t = task("pendulum")
        assert t.expert is not None
        env, expert = t.make(), t.expert()
        obs, _ = env.reset(seed=0)
        told = []
        for _ in range(200):
            obs, _, _, truncated, info = env.step(expert.act(obs))
            told.append(info.get("success"))
        assert truncated
        assert told == [None] * 199 + [True]

    @pytest.mark.parametrize("name", ["pendulum", "reacher", "lunar-lander-continuous"])
    def test_doing_nothing_is_no_success(self, name: str) -> None:
        class Idle:
            def reset(self, seed: int) -> None: ...

            def act(self, obs: Any) -> Any:
                return np.zeros(task(name).action.width)

        env = task(name).make()
        assert [rollout(env, Idle(), s).success for s in range(3)] == [False] * 3

    def test_the_lander_succeeds_by_its_return(self) -> None:
        t = task("lunar-lander-continuous")
        assert t.expert is not None
        env = t.make()
        for seed in range(3):
            e = rollout(env, t.expert(), seed)
            assert e.success == (e.total_reward >= 200.0)

    def test_the_reacher_succeeds_by_its_last_distance(self) -> None:
        t = task("reacher")
        assert t.expert is not None
        env = t.make()
        for steps in (3, 50):
            e = rollout(env, t.expert(), 0, arbiter=lambda p, a, n=steps: p if n == 50 else p * 0)
            near = bool(np.linalg.norm(e.obs["state"][-1, 8:10]) < 0.01)
            assert e.success == near == (steps == 50)


class TestFilm:
    def test_without_opengl_there_is_a_reason_and_no_crash(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MUJOCO_GL", "disable")
        films._backend.cache_clear()
        films._filmed.cache_clear()
        try:
            reason = render_available()
            assert reason is not None
            assert "OpenGL" in reason
            assert "\n" not in reason
            with pytest.raises(FilmError, match="OpenGL"):
                film(task("fetch-reach"), 0, np.zeros((2, 4)))
        finally:
            films._backend.cache_clear()
            films._filmed.cache_clear()

    def test_pictures_of_a_task_that_needs_no_opengl(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MUJOCO_GL", "disable")
        films._backend.cache_clear()
        try:
            t = task("pendulum")
            shots = film(t, 0, np.full((9, 1), 2.0), count=4, size=60)
            assert [s.shape for s in shots] == [(60, 60, 3)] * 4
            assert shots[0].dtype == np.uint8
            assert not np.array_equal(shots[0], shots[-1])
            assert len(film(t, 0, np.zeros((1, 1)), count=4, size=60)) == 2
        finally:
            films._backend.cache_clear()

    def test_what_cannot_be_drawn_says_so(self) -> None:
        import dataclasses

        with pytest.raises(FilmError, match="no way to draw itself"):
            film(dataclasses.replace(task("pendulum"), film=None), 0, np.zeros((1, 1)))
        with pytest.raises(ValueError, match="count 0"):
            film(task("pendulum"), 0, np.zeros((1, 1)), count=0)


@pytest.mark.parametrize("name", tasks())
def test_a_task_says_how_many_steps_are_a_second_of_its_world(name: str) -> None:
    env = task(name).make()
    raw = env
    while (inner := getattr(raw, "raw", None) or getattr(raw, "env", None)) is not None:
        raw = inner
    step = getattr(raw.unwrapped, "dt", None) or 1 / raw.unwrapped.metadata["render_fps"]
    assert task(name).fps == pytest.approx(1 / step)
