"""Rollouts record what was done and what was said, and are the same for any number of workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

import gymnasium
import numpy as np
import pytest

from understudy.envs import ActionSpec, adapt, task
from understudy.episode import Episode
from understudy.experts import ENDORSE, SILENT, NoisyExecution, PolicyExpert
from understudy.rollout import RolloutError, Workers, defer, rollout, rollouts


class Echo:
    """The identity environment: the next observation is the action that was executed."""

    name = "echo"
    horizon = 5
    action = ActionSpec.box([-1.0, -1.0], [1.0, 1.0])
    obs: Any = {"state": (2,)}  # noqa: RUF012

    def __init__(self) -> None:
        self.closed = False

    def reset(self, *, seed: int) -> Any:
        self.t = 0
        return {"state": np.full(2, seed, np.float32)}, {"success": True}

    def step(self, action: Any) -> Any:
        self.t += 1
        return {"state": action}, float(action[0]), False, self.t >= self.horizon, {}

    def close(self) -> None:
        self.closed = True


class Random:
    """Proposes anything, also beyond the bounds, by the episode's seed."""

    name = "random"

    def reset(self, seed: int) -> None:
        self.rng = np.random.default_rng([seed, 1])

    def act(self, obs: Any) -> Any:
        return self.rng.normal(size=2) * 2


class Sometimes:
    """Speaks on every other step."""

    def reset(self, seed: int) -> None:
        self.t = 0

    def advise(self, obs: Any, proposed: Any) -> Any:
        self.t += 1
        return np.array([0.5, 9.0]) if self.t % 2 else None


class Says(Echo):
    """Says these things about success, step by step."""

    def __init__(self, *said: bool | None) -> None:
        super().__init__()
        self.said, self.horizon = said, len(said)

    def step(self, action: Any) -> Any:
        obs, r, terminated, truncated, _ = super().step(action)
        said = self.said[self.t - 1]
        return obs, r, terminated, truncated, {} if said is None else {"success": said}


class Fails:
    """Breaks on some seeds."""

    def __init__(self, *seeds: int, error: type[Exception] = RuntimeError) -> None:
        self.seeds, self.error = seeds, error

    def reset(self, seed: int) -> None:
        if seed in self.seeds:
            raise self.error(f"broken on {seed}")

    def act(self, obs: Any) -> Any:
        return np.zeros(2)


class Dies(Random):
    def act(self, obs: Any) -> Any:
        os._exit(3)


class TestOneEpisode:
    def test_what_was_executed_is_recorded_after_clipping(self) -> None:
        e = rollout(Echo(), Random(), 3)
        assert np.array_equal(e.obs["state"][1:], e.action)
        assert np.abs(e.action).max() == 1.0
        policy = Random()
        policy.reset(3)
        proposed = np.stack([policy.act({}) for _ in range(5)]).astype(np.float32)
        assert np.array_equal(e.action, np.clip(proposed, -1, 1))
        assert e.obs["state"][0].tolist() == [3.0, 3.0]
        assert e.action.dtype == np.float32
        assert np.array_equal(e.reward, e.action[:, 0])

    def test_without_an_expert_nothing_is_labelled(self) -> None:
        e = rollout(Echo(), Random(), 0)
        assert not e.labelled.any()
        assert e.label is e.action

    def test_the_expert_who_speaks_is_obeyed_and_recorded_where_he_spoke(self) -> None:
        e = rollout(Echo(), Random(), 0, Sometimes())
        assert e.labelled.tolist() == [True, False, True, False, True]
        assert (e.label[e.labelled] == [0.5, 1.0]).all()
        assert np.array_equal(e.action, e.label)

    def test_an_arbiter_decides_what_is_executed_and_not_what_is_taught(self) -> None:
        e = rollout(Echo(), Random(), 0, Sometimes(), lambda proposed, advice: proposed)
        free = rollout(Echo(), Random(), 0)
        assert np.array_equal(e.action, free.action)
        assert (e.label[e.labelled] == [0.5, 1.0]).all()
        assert not np.array_equal(e.action, e.label)

    def test_everybody_is_reset_with_the_seed(self) -> None:
        class Listens:
            heard: Any = None

            def reset(self, seed: int) -> None:
                self.heard = seed

            def __call__(self, proposed: Any, advice: Any) -> Any:
                return defer(proposed, advice)

            act = advise = lambda self, *_: np.zeros(2)

        three = Listens(), Listens(), Listens()
        e = rollout(Echo(), three[0], 17, three[1], three[2])
        assert [x.heard for x in three] == [17, 17, 17]
        assert e.meta["seed"] == 17

    def test_meta_says_what_was_played(self) -> None:
        e = rollout(Echo(), Random(), 2, meta={"operator": "me", "policy": "mine"})
        assert dict(e.meta) == {"task": "echo", "policy": "mine", "seed": 2, "operator": "me"}

    def test_max_steps_is_a_truncation(self) -> None:
        e = rollout(Echo(), Random(), 0, max_steps=2)
        assert len(e) == 2
        assert not e.terminated
        with pytest.raises(ValueError, match="max_steps is 0"):
            rollout(Echo(), Random(), 0, max_steps=0)

    @pytest.mark.parametrize(
        ("said", "success"),
        [
            ((None, None), None),
            ((False, True), True),
            ((True, False), False),
            ((True, None), True),
            ((None, False), False),
        ],
    )
    def test_success_is_the_last_thing_said(
        self, said: tuple[bool | None, ...], success: bool | None
    ) -> None:
        assert rollout(Says(*said), Random(), 0).success is success

    def test_observations_are_kept_as_they_were(self) -> None:
        class Scribbles(Echo):
            def reset(self, *, seed: int) -> Any:
                super().reset(seed=seed)
                self.x = np.zeros(2, np.float32)
                return {"state": self.x}, {}

            def step(self, action: Any) -> Any:
                self.x += 1
                _, *rest = super().step(action)
                return {"state": self.x}, *rest

        assert rollout(Scribbles(), Random(), 0).obs["state"][:, 0].tolist() == [0, 1, 2, 3, 4, 5]

    def test_discrete_actions_are_int64_of_width_1(self) -> None:
        class Left:
            def reset(self, seed: int) -> None: ...

            def act(self, obs: Any) -> Any:
                return 0

        e = rollout(adapt(gymnasium.make("CartPole-v1")), Left(), 0)
        assert e.action.dtype == np.int64
        assert e.action.shape == (len(e), 1)
        assert e.terminated

    @pytest.mark.parametrize(
        ("action", "say"),
        [
            ([0.0, np.nan], r"step 0, Bad: an action is nan in dimension 1"),
            ([np.inf, 0.0], r"step 0, Bad: an action is inf in dimension 0"),
            ([0.0], r"step 0, Bad: an action has shape \(1,\); 2 numbers are needed"),
        ],
    )
    def test_an_action_that_cannot_be_executed_names_the_step_and_the_value(
        self, action: Any, say: str
    ) -> None:
        class Bad:
            def reset(self, seed: int) -> None: ...

            def act(self, obs: Any) -> Any:
                return np.array(action)

        with pytest.raises(ValueError, match=say):
            rollout(Echo(), Bad(), 0)

    def test_a_policy_that_saw_nonsense_is_not_blamed_alone(self) -> None:
        class Blind(Echo):
            def reset(self, *, seed: int) -> Any:
                super().reset(seed=seed)
                return {"state": np.full(2, np.nan)}, {}

        class Copies(Random):
            def act(self, obs: Any) -> Any:
                return obs["state"]

        with pytest.raises(ValueError, match="saw a value that is not finite in observation 'state'"):
            rollout(Blind(), Copies(), 0)

    def test_what_has_not_been_adapted_is_refused(self) -> None:
        with pytest.raises(TypeError, match="not adapted yet"):
            rollout(gymnasium.make("CartPole-v1"), Random(), 0)

        class Bare:
            def reset(self, *, seed: int) -> Any:
                return np.zeros(2), {}

            def step(self, action: Any) -> Any:
                raise AssertionError

        with pytest.raises(TypeError, match="ndarray, not a mapping"):
            rollout(Bare(), Random(), 0)

    def test_an_environment_that_says_nothing_of_its_actions_gets_them_as_they_are(self) -> None:
        class Free:
            def reset(self, *, seed: int) -> Any:
                return {"state": np.zeros(2)}, {}

            def step(self, action: Any) -> Any:
                return {"state": action}, 0.0, True, False, {}

        e = rollout(Free(), Random(), 0)
        assert np.array_equal(e.action[0], e.obs["state"][1])
        assert np.abs(e.action).max() > 1.0


class TestManyEpisodes:
    def test_one_worker_is_a_loop_over_seeds(self) -> None:
        seeds = [4, 2, 9]
        assert rollouts(Echo, Random(), seeds) == [rollout(Echo(), Random(), s) for s in seeds]

    def test_an_environment_is_made_once_and_closed(self) -> None:
        made: list[Echo] = []

        def make() -> Echo:
            made.append(Echo())
            return made[-1]

        rollouts(make, Random(), range(3))
        assert [e.closed for e in made] == [True]

    def test_open_workers_keep_the_environment(self) -> None:
        made: list[Echo] = []

        def make() -> Echo:
            made.append(Echo())
            return made[-1]

        with Workers(1) as pool:
            rollouts(make, Random(), range(2), workers=pool)
            rollouts(make, Random(), range(2), workers=pool)
            assert [e.closed for e in made] == [False]
        assert [e.closed for e in made] == [True]
        with pytest.raises(ValueError, match="open others"):
            rollouts(make, Random(), range(2), workers=pool)

    def test_progress_comes_in_the_order_of_the_seeds(self) -> None:
        seen: list[Any] = []
        rollouts(Echo, Random(), [3, 1, 2], progress=lambda e: seen.append(e.meta["seed"]))
        assert seen == [3, 1, 2]

    def test_a_failure_names_its_seed(self) -> None:
        with pytest.raises(RolloutError, match=r"^seed 7: broken on 7$") as e:
            rollouts(Echo, Fails(7, 8), range(10))
        assert isinstance(e.value, ValueError)
        assert isinstance(e.value.__cause__, RuntimeError)

    def test_no_seeds_no_episodes(self) -> None:
        assert rollouts(Echo, Random(), []) == []

    def test_there_is_at_least_one_worker(self) -> None:
        with pytest.raises(ValueError, match="workers is 0"):
            rollouts(Echo, Random(), [1], workers=0)


@pytest.fixture(scope="module")
def pool() -> Any:
    """Started once for all tests: that is what they are for."""
    with Workers(2) as pool:
        yield pool


class TestWorkers:
    @pytest.mark.parametrize("name", ["fetch-pick-place", "lunar-lander-continuous"])
    def test_results_are_the_same_to_the_last_bit(self, pool: Workers, name: str) -> None:
        t = task(name)
        assert t.expert is not None
        arbiter = NoisyExecution(0.2, t.action, persistence=0.5)
        seen: list[Episode] = []
        alone = rollouts(t.make, t.expert(), range(5), ENDORSE, arbiter, meta={"a": 1}, max_steps=60)
        roles = (t.make, t.expert(), range(5), ENDORSE, arbiter)
        shared = rollouts(*roles, workers=pool, meta={"a": 1}, max_steps=60, progress=seen.append)
        assert shared == alone
        assert seen == shared

    def test_experts_travel_too(self, pool: Workers) -> None:
        alone = rollouts(Echo, Random(), range(4), PolicyExpert(Random()))
        assert rollouts(Echo, Random(), range(4), PolicyExpert(Random()), workers=pool) == alone

    def test_a_failure_names_the_first_seed_and_the_workers_go_on(self, pool: Workers) -> None:
        for _ in range(3):
            with pytest.raises(RolloutError, match=r"^seed 5: broken on 5$") as e:
                rollouts(Echo, Fails(5, 6, 9), range(12), workers=pool)
            assert "In a worker process" in "".join(e.value.__cause__.__notes__)
        assert len(rollouts(Echo, Random(), range(3), workers=pool)) == 3

    def test_an_error_that_cannot_travel_arrives_in_words(self, pool: Workers) -> None:
        class Local(Exception):
            pass

        with pytest.raises(ValueError, match=r"everything must travel by pickle"):
            rollouts(Echo, Fails(1, error=Local), range(3), workers=pool)
        with pytest.raises(RolloutError, match="seed 1: Unpicklable: 1, 2"):
            rollouts(Echo, Fails(1, error=Unpicklable), range(3), workers=pool)

    def test_what_cannot_travel_is_said_in_one_line(self, pool: Workers) -> None:
        with pytest.raises(ValueError, match="with several workers everything must travel by pickle") as e:
            rollouts(lambda: Echo(), Random(), range(3), workers=pool)
        assert "\n" not in str(e.value)

    def test_a_worker_works_on_one_thread_and_is_deaf_to_ctrl_c(self, pool: Workers) -> None:
        facts = list(pool.map(_facts, [0, 1]))
        assert {f["threads"] for f in facts} == {"1"}
        assert {f["sigint"] for f in facts} == {signal.SIG_IGN}
        assert os.getpid() not in {f["pid"] for f in facts}

    def test_a_worker_that_dies_is_reported(self) -> None:
        with pytest.raises(RuntimeError, match="ended by itself \\(exit code 3\\)"):
            rollouts(Echo, Dies(), range(4), workers=2)

    def test_stopping_early_ends_the_workers(self) -> None:
        class Enough(Exception):
            pass

        def stop(episode: Episode) -> None:
            raise Enough

        pool = Workers(2)
        pids = {f["pid"] for f in pool.map(_facts, range(8))}
        with pytest.raises(Enough):
            rollouts(Echo, Random(), range(50), workers=pool, progress=stop)
        assert _gone(pids)


class Unpicklable(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.handle = open(os.devnull)  # noqa: SIM115

    def __str__(self) -> str:
        return "1, 2"


def _facts(item: int, kept: dict[object, Any]) -> dict[str, Any]:
    time.sleep(0.05)  # long enough that the other worker gets an item
    return {
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "sigint": signal.getsignal(signal.SIGINT),
        "pid": os.getpid(),
    }


def _gone(pids: set[int]) -> bool:
    for _ in range(100):
        if not any(_alive(pid) for pid in pids):
            return True
        time.sleep(0.1)
    return False


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


SLOW = """
import sys, time
import numpy as np
from understudy.rollout import Workers, rollouts

class Slow:
    def reset(self, *, seed):
        return {"state": np.zeros(1)}, {}
    def step(self, action):
        time.sleep(0.02)
        return {"state": np.zeros(1)}, 0.0, False, False, {}

class Still:
    def reset(self, seed): ...
    def act(self, obs): return np.zeros(1)

def pid(item, kept):
    import os
    time.sleep(0.2)
    return os.getpid()

if __name__ == "__main__":
    pool = Workers(2)
    print(*set(pool.map(pid, range(4))), flush=True)
    rollouts(Slow, Still(), range(4), workers=pool)
"""


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="looks processes up in /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_script_leaves_no_orphans(tmp_path: Any, how: signal.Signals) -> None:
    script = tmp_path / "slow.py"
    script.write_text(SLOW)
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    pids = {int(p) for p in process.stdout.readline().split()}
    assert len(pids) == 2
    time.sleep(0.3)
    if how is signal.SIGINT:
        os.killpg(process.pid, how)  # as a terminal does: to everybody
    else:
        process.kill()
    try:
        _, errors = process.communicate(timeout=20)  # until the workers, too, have let go of the pipe
    finally:
        for pid in pids:
            if _alive(pid):
                os.kill(pid, signal.SIGKILL)
    assert process.returncode != 0
    if how is signal.SIGINT:
        assert errors.count("KeyboardInterrupt") == 1, errors  # the workers say nothing
        assert errors.count("Traceback") == 1, errors
    assert _gone(pids)


def test_silence_is_the_default() -> None:
    e = rollout(Echo(), Random(), 0, SILENT, defer)
    assert e == rollout(Echo(), Random(), 0)
