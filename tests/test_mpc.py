"""Model-predictive control: it does its task, advises anywhere, and follows from its seed."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from understudy.envs import ActionSpec, task
from understudy.experts import CEM, MPC, MPPI, PolicyExpert
from understudy.experts.mpc import pendulum_mpc, pendulum_state, pendulum_step
from understudy.rollout import rollout, rollouts

PENDULUM = task("pendulum")
SPEC = ActionSpec.box([-1.0], [3.0])  # not around zero
WIDE = ActionSpec.box([-4.0, -4.0], [4.0, 4.0])
PLANNERS = [MPPI(400, noise=0.15, temperature=0.05, rounds=8), CEM(100, noise=0.5, elites=10, rounds=10)]


def step(states: Any, actions: Any) -> Any:
    """A point that goes where it is told: x ← x + u."""
    return states + actions


def cost(states: Any, actions: Any) -> Any:
    return (actions**2).sum(1)


def final(states: Any) -> Any:
    return (states**2).sum(1)


def state_of(obs: Any) -> Any:
    return obs["state"]


def point(planner: Any, spec: ActionSpec = WIDE, horizon: int = 1, **more: Any) -> MPC:
    return MPC(step, cost, spec, state_of, horizon, planner, **{"final": final, **more})


@pytest.mark.parametrize("planner", PLANNERS, ids=["mppi", "cem"])
def test_the_best_action_of_a_quadratic_cost_is_found(planner: Any) -> None:
    """One step: (x + u)² + u² is least at u = -x / 2. Two steps share the way: -x / 3 each."""
    state = np.array([2.0, -1.5])
    assert np.allclose(point(planner).act({"state": state}), -state / 2, atol=0.1)
    assert np.allclose(point(planner, horizon=2).act({"state": state}), -state / 3, atol=0.1)


@pytest.mark.parametrize("planner", PLANNERS, ids=["mppi", "cem"])
def test_actions_stay_within_bounds_and_reach_them(planner: Any) -> None:
    far = point(planner, SPEC)
    actions = [float(far.act({"state": np.array([x])})[0]) for x in (50.0, 50.0, -50.0, -50.0, -50.0)]
    assert min(actions) >= -1.0
    assert max(actions) <= 3.0
    assert actions[1] == pytest.approx(-1.0, abs=0.05)
    assert actions[4] == pytest.approx(3.0, abs=0.05)


@pytest.mark.parametrize("planner", PLANNERS, ids=["mppi", "cem"])
def test_the_first_plan_is_the_middle_and_the_last_plan_is_moved_on(planner: Any) -> None:
    tried: list[Any] = []

    def spy(states: Any, actions: Any) -> Any:
        tried.append(actions.copy())
        return cost(states, actions)

    mpc = MPC(spy, lambda s, a: np.zeros(len(s)), SPEC, state_of, 3, planner)
    mpc.step, mpc.cost = step, spy
    mpc.act({"state": np.zeros(1)})
    assert tried[0][0] == pytest.approx(1.0), "the first sample is the plan itself"
    kept = mpc._plan.copy()
    tried.clear()
    mpc.act({"state": np.zeros(1)})
    assert [float(t[0, 0]) for t in tried[:3]] == pytest.approx(kept[:, 0].tolist())


@pytest.mark.parametrize("planner", PLANNERS, ids=["mppi", "cem"])
def test_everything_follows_from_the_seed(planner: Any) -> None:
    mpc = point(planner)
    seen = [{"state": np.array([k, 1.0 - k])} for k in range(4)]

    def episode(seed: int, who: MPC) -> list[list[float]]:
        who.reset(seed)
        return [who.act(o).tolist() for o in seen]

    first = episode(3, mpc)
    assert episode(4, mpc) != first
    assert episode(3, mpc) == first
    assert episode(3, pickle.loads(pickle.dumps(mpc))) == first


def test_the_pendulums_model_is_the_environments_own_dynamics() -> None:
    env = PENDULUM.make()
    obs, _ = env.reset(seed=5)
    rng = np.random.default_rng(0)
    for _ in range(50):
        action = rng.uniform(-2, 2, 1).astype(np.float32)
        want = pendulum_step(pendulum_state(obs)[None], action[None])[0]
        obs, *_ = env.step(action)
        got = pendulum_state(obs)
        apart = (got[0] - want[0] + np.pi) % (2 * np.pi) - np.pi
        assert abs(apart) < 1e-5
        assert abs(got[1] - want[1]) < 1e-5


def test_the_pendulum_swings_up() -> None:
    """Ten seeds, as they come; the task's own success on nine of them at least."""
    episodes = rollouts(PENDULUM.make, pendulum_mpc(PENDULUM.action), range(10))
    assert sum(bool(e.success) for e in episodes) >= 9


def test_cem_swings_it_up_too() -> None:
    mpc = pendulum_mpc(PENDULUM.action, planner=CEM(48, noise=0.5, elites=8, rounds=2))
    episodes = rollouts(PENDULUM.make, mpc, range(3))
    assert sum(bool(e.success) for e in episodes) >= 2


class Limp:
    """A policy that does nothing, so that it is the model's states the expert must cope with."""

    def reset(self, seed: int) -> None: ...

    def act(self, obs: Any) -> Any:
        return np.zeros(1, np.float32)


def test_it_advises_wherever_somebody_else_has_driven() -> None:
    """DAgger's use: the advice starts from where the robot is, not from where the plan would be."""
    expert = PolicyExpert(pendulum_mpc(PENDULUM.action))
    watched = rollout(PENDULUM.make(), Limp(), 0, expert, lambda proposed, advice: proposed)
    assert watched.labelled.all()
    assert not watched.action.any()
    assert np.abs(watched.label).max() > 1.0

    taken_over = rollout(PENDULUM.make(), Limp(), 0, expert)
    assert taken_over.success
    assert not watched.success


def test_plans_that_break_the_model_down_are_not_followed() -> None:
    def fragile(states: Any, actions: Any) -> Any:
        return np.where(actions > 0.5, np.nan, states + actions)

    mpc = MPC(fragile, cost, WIDE, state_of, 2, PLANNERS[0], final)
    action = mpc.act({"state": np.array([-3.0, -3.0])})
    assert np.isfinite(action).all()
    assert (action <= 0.5).all()
    gone = MPC(lambda s, a: s * np.nan, cost, WIDE, state_of, 2, PLANNERS[1], final)
    with pytest.raises(ValueError, match="has a finite cost; the model or the cost breaks down"):
        gone.act({"state": np.zeros(2)})


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(TypeError, match="discrete"):
        point(PLANNERS[0], ActionSpec.discrete(3))
    with pytest.raises(ValueError, match="plans need finite ones"):
        point(PLANNERS[0], ActionSpec.unbounded(2))
    with pytest.raises(ValueError, match="horizon is 0"):
        point(PLANNERS[0], horizon=0)
    with pytest.raises(
        ValueError, match=r"step gave shape \[400, 1\] for 400 samples; it must be \[400, 2\]"
    ):
        MPC(lambda s, a: s[:, :1], cost, WIDE, state_of, 1, PLANNERS[0]).act({"state": np.zeros(2)})
    with pytest.raises(ValueError, match=r"cost gave shape \[\]"):
        MPC(step, lambda s, a: 0.0, WIDE, state_of, 1, PLANNERS[0]).act({"state": np.zeros(2)})  # type: ignore[arg-type,return-value]
    with pytest.raises(ValueError, match=r"a state is \[S\]"):
        point(PLANNERS[0]).act({"state": np.zeros((2, 2))})
    for wrong in ({"samples": 1}, {"noise": 0.0}, {"temperature": 0.0}, {"rounds": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} (is )?{next(iter(wrong.values()))}"):
            MPPI(**{"samples": 8, "noise": 0.5, "temperature": 1.0, **wrong})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="elites is 9"):
        CEM(8, 0.5, elites=9, rounds=1)
