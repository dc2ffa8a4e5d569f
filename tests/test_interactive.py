"""The rounds and DAgger: what is labelled, what is learned, and that nothing is lost or asked twice."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from understudy import storage
from understudy.agent import Agent, Chunked, load
from understudy.cli import _methods, main
from understudy.dataset import Dataset
from understudy.envs import task
from understudy.episode import EXPERT, POLICY, Array, Episode, Obs
from understudy.experts import Gated, Never, PolicyExpert
from understudy.interactive import Interactive, Rounds, State, dagger, teach
from understudy.interactive.rounds import VALIDATION_SEED, chosen
from understudy.learn import bc
from understudy.record import demonstrate
from understudy.rollout import rollout
from understudy.runs import Network, fit
from understudy.train import Budget

REACH = task("fetch-reach")
NETWORK = Network(hidden=(16,))
BUDGET = Budget(steps=40)
CONFIG = bc.Config(batch=32)


def expert() -> PolicyExpert:
    assert REACH.expert is not None
    return PolicyExpert(REACH.expert())


def same(a: Agent, b: Agent) -> bool:
    mine, its = a.state_dict(), b.state_dict()
    return mine.keys() == its.keys() and all(torch.equal(mine[k], its[k]) for k in mine)


def short(rounds: int = 2, **changes: Any) -> Rounds:
    return Rounds(**{"rounds": rounds, "episodes": 2, "validation_episodes": 0, "select": "last", **changes})


class TestSchedules:
    def test_the_named_ones(self) -> None:
        def betas(name: Any, p: float = 0.5) -> list[float]:
            return [dagger.Config(name, p).schedule(i, 4) for i in range(5)]

        assert betas("indicator") == [1, 0, 0, 0, 0]
        assert betas("linear") == [1, 0.75, 0.5, 0.25, 0]
        assert betas("exponential", 0.3) == pytest.approx([1, 0.3, 0.09, 0.027, 0.0081])
        assert betas("constant", 0.2) == [0.2] * 5

    def test_any_callable_takes_their_place(self) -> None:
        method = dagger.Method(expert(), dagger.Config(), 3, schedule=lambda i: 1 / (i + 1))
        assert [method.beta(i) for i in range(3)] == [1, 1 / 2, 1 / 3]

    def test_bad_ones_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"p is 1\.5"):
            dagger.Config("constant", 1.5)
        with pytest.raises(ValueError, match="beta is 'cubic'"):
            dagger.Config("cubic")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"beta is -0\.1"):
            dagger.Mixture(-0.1)


class TestMixture:
    def test_the_expert_drives_that_share_of_steps_one_by_one(self) -> None:
        mixture, a, b = dagger.Mixture(0.3), np.zeros(1), np.ones(1)
        mixture.reset(0)
        drove = np.array([mixture(a, b) is b for _ in range(4000)])
        assert abs(drove.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 4000)  # 1 false alarm in 16,000
        # By the step and not by the episode: neighbours are independent.
        assert abs(np.corrcoef(drove[1:], drove[:-1])[0, 1]) < 4 / np.sqrt(4000)

    def test_an_episode_follows_from_its_seed(self) -> None:
        def coins(seed: int) -> list[bool]:
            mixture, b = dagger.Mixture(0.5), np.ones(1)
            mixture.reset(seed)
            return [mixture(np.zeros(1), b) is b for _ in range(50)]

        assert coins(1) == coins(1) != coins(2)

    def test_labels_are_the_experts_whoever_drove(self) -> None:
        class Still:
            def reset(self, seed: int) -> None: ...

            def act(self, obs: Obs) -> Array:
                return np.zeros(4, np.float32)

        e = rollout(REACH.make(), Still(), 3, expert(), dagger.Mixture(0.2))
        assert e.control is not None
        assert {POLICY, EXPERT} == set(e.control.tolist())
        assert e.labelled.all()
        policy = e.control == POLICY
        assert (e.action[policy] == 0).all()
        assert (e.label[policy] != 0).any(1).all()
        assert (e.action[~policy] == e.label[~policy]).all()


class TestDAgger:
    def test_beta_1_for_ever_gives_the_weights_of_cloning_bit_for_bit(self) -> None:
        method = dagger.Method(expert(), dagger.Config("constant", 1.0), 3)
        plan = short(3)
        taught = teach(method, REACH, plan=plan, network=NETWORK, config=CONFIG, budget=BUDGET)
        demos = demonstrate(REACH, range(plan.first_seed, plan.first_seed + 6))
        assert all(np.array_equal(a.action, b.action) for a, b in zip(taught.data, demos, strict=True))
        config = bc.Config(batch=32, decay=BUDGET.steps)
        cloned, _ = fit(demos, config=config, network=NETWORK, budget=BUDGET, validation=0, which=REACH)
        assert same(taught.agent, cloned)

    def test_the_set_grows_by_every_visited_state(self) -> None:
        start = demonstrate(REACH, range(3))
        method = dagger.Method(expert(), dagger.Config("linear"), 3)
        taught = teach(
            method, REACH, start=start, plan=short(3), network=NETWORK, config=CONFIG, budget=BUDGET
        )
        assert len(taught.data) == 3 + 3 * 2
        assert taught.data[:3].fingerprint() == start.fingerprint()
        for line in taught.log:
            mine = [e for e in taught.data if e.meta.get("round", -1) < line["round"]]
            assert line["labelled"] == sum(len(e) for e in mine) == line["states"]
        assert [line["method"] for line in taught.log] == [
            {"beta": 1.0}, {"beta": pytest.approx(2 / 3)}, {"beta": pytest.approx(1 / 3)}, {},
        ]  # fmt: skip
        assert len(taught.agents) == 4
        assert all(a is not None for a in taught.agents)

    def test_without_demonstrations_the_expert_drives_first(self) -> None:
        taught = teach(
            dagger.Method(expert(), dagger.Config(), 2), REACH,
            plan=short(), network=NETWORK, config=CONFIG, budget=BUDGET,
        )  # fmt: skip
        assert taught.agents[0] is None
        first, second = (
            [e for e in taught.data if e.meta["round"] == i and e.control is not None] for i in (0, 1)
        )
        assert all((e.control == EXPERT).all() for e in first)  # type: ignore[union-attr]
        assert all((e.control == POLICY).all() for e in second)  # type: ignore[union-attr]
        with pytest.raises(ValueError, match=r"beta of the first round is 0\.5 and there is no policy"):
            teach(dagger.Method(expert(), dagger.Config("constant"), 2), REACH, plan=short())

    def test_it_repeats_and_workers_change_nothing(self) -> None:
        def run(workers: int) -> Dataset:
            method = dagger.Method(expert(), dagger.Config("linear"), 2)
            return teach(
                method, REACH, plan=short(), network=NETWORK, config=CONFIG, budget=BUDGET, workers=workers
            ).data

        assert run(1).fingerprint() == run(2).fingerprint()

    def test_warm_goes_on_from_the_weights_and_the_statistics(self) -> None:
        start = demonstrate(REACH, range(3))

        def run(retrain: Any) -> tuple[Agent, Agent]:
            method = dagger.Method(expert(), dagger.Config(), 1)
            plan = short(1, retrain=retrain)
            taught = teach(
                method, REACH, start=start, plan=plan, network=NETWORK, config=CONFIG,
                budget=Budget(steps=1),
            )  # fmt: skip
            before, after = taught.agents
            assert before is not None
            assert after is not None
            return before, after

        before, after = run("warm")
        assert torch.equal(before.obs[0].shift, after.obs[0].shift)  # type: ignore[arg-type]
        moved = max(
            (a - b).abs().max().item() for a, b in zip(before.parameters(), after.parameters(), strict=True)
        )
        assert 0 < moved < 0.01  # one step of Adam
        before, after = run("scratch")
        assert not torch.equal(before.obs[0].shift, after.obs[0].shift)  # type: ignore[arg-type]

    def test_epochs_are_passes_over_all_data_so_far(self, tmp_path: Path) -> None:
        plan = short(2, epochs=3)
        method = dagger.Method(expert(), dagger.Config("constant", 1.0), 2)
        taught = teach(
            method, REACH, plan=plan, network=NETWORK, config=bc.Config(batch=2), run=tmp_path / "run"
        )
        for i in (1, 2):
            states = sum(len(e) for e in taught.data if e.meta["round"] < i)
            file = tmp_path / "run" / "rounds" / f"{i:03d}" / "metrics.jsonl"
            last = json.loads(file.read_text().splitlines()[-1])
            assert last["step"] == math.ceil(3 * states / 2)
            assert last["learning_rate"] >= 0
        with pytest.raises(ValueError, match="epochs is 0"):
            short(epochs=0)


class TestSelection:
    def line(self, i: int, success: float | None, value: float = 0.0) -> dict[str, Any]:
        rate = None if success is None else {"value": success}
        return {"round": i, "success": rate, "return": {"value": value}}

    def test_the_best_of_the_sequence_and_of_equals_the_last(self) -> None:
        log = [self.line(i, s) for i, s in enumerate((0.2, 0.9, 0.9, 0.5))]
        assert chosen(log, "best") == 2
        assert chosen(log, "last") == 3
        assert chosen([{"round": 0}, self.line(1, None, -5.0), self.line(2, None, -9.0)], "best") == 1

    def test_policies_are_measured_on_seeds_of_their_own(self) -> None:
        start = demonstrate(REACH, range(VALIDATION_SEED, VALIDATION_SEED + 1))
        with pytest.raises(ValueError, match="recorded as demonstrations"):
            teach(
                dagger.Method(expert(), dagger.Config(), 1), REACH,
                start=start, plan=Rounds(1, 1, validation_episodes=2),
            )  # fmt: skip
        taught = teach(
            dagger.Method(expert(), dagger.Config(), 1), REACH, start=demonstrate(REACH, range(2)),
            plan=Rounds(1, 1, validation_episodes=3), network=NETWORK, config=CONFIG, budget=BUDGET,
        )  # fmt: skip
        assert [line["success"]["n"] for line in taught.log] == [3, 3]

    def test_bad_plans_are_refused(self) -> None:
        with pytest.raises(ValueError, match="rounds 0"):
            Rounds(rounds=0)
        with pytest.raises(ValueError, match="needs validation_episodes"):
            Rounds(validation_episodes=0)


class OneByOne(Interactive):
    """Notes how much data it saw before each episode."""

    one_at_a_time = True

    def __init__(self) -> None:
        self.saw: list[int] = []
        self.adapted = 0

    def supervisor(self, state: State) -> tuple[Any, Any]:
        self.saw.append(len(state.data))
        gated = Gated(expert(), Never(), labels="all")
        return gated, gated

    def adapt(self, state: State) -> Mapping[str, float]:
        self.adapted += 1
        assert (state.drove is None) == (state.round == 0)
        return {"adapted": self.adapted}

    def kept(self, episode: Episode) -> Episode:
        from dataclasses import replace

        return replace(episode, labelled=np.arange(len(episode)) == 0, label=episode.label)

    def state_dict(self) -> dict[str, Any]:
        return {"adapted": self.adapted}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.adapted = state["adapted"]


def test_a_method_may_look_before_every_episode_and_keep_less_than_was_said() -> None:
    method = OneByOne()
    taught = teach(
        method, REACH, start=demonstrate(REACH, range(2)), plan=short(), network=NETWORK, config=CONFIG,
        budget=BUDGET,
    )  # fmt: skip
    assert method.saw == [2, 3, 4, 5]
    assert [line["method"]["adapted"] for line in taught.log] == [1, 2, 3]
    collected = taught.data[2:]
    assert all(e.labelled.sum() == 1 and e.control is not None and not e.control.any() for e in collected)
    # What the expert was asked counts, whatever was kept of it.
    assert taught.log[-1]["labelled"] == taught.data.steps


_PROGRAM = """
import sys, torch
from pathlib import Path
torch.set_num_threads(1)
from understudy.envs import task
from understudy.experts import PolicyExpert
from understudy.interactive import Rounds, dagger, teach
from understudy.learn import bc
from understudy.runs import Network
from understudy.train import Budget

class Noting:
    def __init__(self, inner, path):
        self.inner, self.path = inner, path
    def reset(self, seed):
        self.inner.reset(seed)
        self.seed = seed
        with open(self.path, "a") as out:
            out.write(f"{seed}\\n")
    def advise(self, obs, proposed):
        return self.inner.advise(obs, proposed)

reach = task("fetch-reach")
folder = Path(sys.argv[1])
method = dagger.Method(Noting(PolicyExpert(reach.expert()), sys.argv[2]), dagger.Config("linear"), 10)
plan = Rounds(10, 3, validation_episodes=0, select="last")
taught = teach(method, reach, plan=plan, network=Network(hidden=(16,)), config=bc.Config(batch=32),
               budget=Budget(steps=20), run=folder, resume=len(sys.argv) > 3)
print(taught.stopped, taught.data.fingerprint(), len(taught.log))
"""


def test_killed_in_round_7_of_10_it_goes_on_with_nothing_labelled_twice(tmp_path: Path) -> None:
    def command(name: str, *more: str) -> list[str]:
        return [sys.executable, "-c", _PROGRAM, str(tmp_path / name), str(tmp_path / f"{name}.txt"), *more]

    whole = subprocess.run(command("whole"), capture_output=True, text=True, check=True, timeout=300)
    asked = tmp_path / "killed.txt"
    child = subprocess.Popen(command("killed"), stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 300
        while not asked.exists() or len(asked.read_text().split()) < 6 * 3 + 2:  # the 2nd episode of round 7
            assert time.monotonic() < deadline
            assert child.poll() is None
            time.sleep(0.002)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    lines = (tmp_path / "killed" / "rounds.jsonl").read_text().splitlines()
    assert len(lines) < 11  # it was killed before it was done
    resumed = subprocess.run(
        command("killed", "go on"), capture_output=True, text=True, check=True, timeout=300
    )
    assert resumed.stdout == whole.stdout
    assert resumed.stdout.split()[0] == "done"
    seeds = [e.meta["seed"] for e in storage.read(tmp_path / "killed" / "collected")]
    assert len(seeds) == len(set(seeds)) == 30
    # An episode that was cut short by the kill is begun again: it had not been kept. No other is.
    begun = asked.read_text().split()
    assert len(begun) <= 31
    assert (tmp_path / "whole" / "rounds.jsonl").read_text().count("\n") == 11
    for i in range(1, 11):
        a, b = (load(tmp_path / name / "rounds" / f"{i:03d}" / "agent") for name in ("whole", "killed"))
        assert same(a, b)


class TestFolder:
    def run(self, folder: Path, rounds: int = 1, **more: Any) -> Any:
        return teach(
            dagger.Method(expert(), dagger.Config(), rounds), REACH, plan=short(rounds), network=NETWORK,
            config=CONFIG, budget=BUDGET, run=folder, **more,
        )  # fmt: skip

    def test_a_run_is_not_overwritten(self, tmp_path: Path) -> None:
        self.run(tmp_path)
        with pytest.raises(ValueError, match="holds rounds already"):
            self.run(tmp_path)

    def test_more_rounds_can_follow(self, tmp_path: Path) -> None:
        first = self.run(tmp_path)
        more = self.run(tmp_path, 3, resume=True)
        assert len(more.log) == 4
        assert [e == f for e, f in zip(first.data, more.data, strict=False)] == [True] * len(first.data)

    def test_an_edited_log_is_refused(self, tmp_path: Path) -> None:
        self.run(tmp_path)
        file = tmp_path / "rounds.jsonl"
        file.write_text(json.dumps({"round": 4}) + "\n")
        with pytest.raises(ValueError, match="line 1 is not of round 0"):
            self.run(tmp_path, resume=True)

    def test_every_policy_is_kept_and_can_be_loaded(self, tmp_path: Path) -> None:
        taught = self.run(tmp_path, 2)
        for i, agent in enumerate(taught.agents):
            place = tmp_path / "rounds" / f"{i:03d}" / "agent"
            assert place.exists() == (agent is not None)
            if agent is not None:
                assert same(load(place), agent)
        assert os.listdir(tmp_path / "rounds" / "002") == ["agent", "method.safetensors"] or set(
            os.listdir(tmp_path / "rounds" / "002")
        ) == {"agent", "method.safetensors", "metrics.jsonl"}


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "demos"
    assert main(["record", "fetch-reach", "--episodes", "3", "--out", str(folder), "--workers", "1"]) == 0
    return folder


class TestCommandLine:
    """`understudy train dagger`, as a user types it."""

    RUN = (
        "--rounds",
        "2",
        "--episodes",
        "2",
        "--validation-episodes",
        "3",
        "--hidden",
        "16",
        "--workers",
        "1",
    )

    def call(self, *words: str) -> int:
        return main(["train", *map(str, words)])

    def test_a_run_like_any_other_comes_out(self, demos: Path, tmp_path: Path, capsys: Any) -> None:
        run = tmp_path / "run"
        steps = ("--steps", "30", *self.RUN)
        assert self.call("dagger", "--data", str(demos), "--out", str(run), "--json", *steps) == 0
        said = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert said["task"] == "fetch-reach"
        assert [line["round"] for line in said["rounds"]] == [0, 1, 2]
        assert said["supervision"]["labelled"] == said["labelled"] - storage.read(demos).steps
        assert main(["evaluate", str(run), "--episodes", "2", "--no-baselines", "--workers", "1"]) == 0
        assert main(["report", str(run), "--out", str(tmp_path / "report.html"), "--no-films"]) == 0
        assert "labelled states" in (tmp_path / "report.html").read_text()
        capsys.readouterr()
        # Once done, resuming changes nothing; other settings and other data are refused.
        before = (run / "rounds.jsonl").read_text()
        assert self.call("dagger", "--out", str(run), "--resume") == 0
        assert (run / "rounds.jsonl").read_text() == before
        assert self.call("dagger", "--out", str(run), "--resume", "--steps", "31") == 2
        assert "steps is 31" in capsys.readouterr().err
        assert self.call("dagger", "--out", str(run), "--resume", "--beta", "linear") == 2
        assert "beta is 'linear'" in capsys.readouterr().err
        assert self.call("hg-dagger", "--out", str(run), "--resume") == 2
        assert "was begun with dagger" in capsys.readouterr().err
        assert self.call("dagger", "--data", str(demos), "--out", str(run)) == 2
        assert "not empty" in capsys.readouterr().err

    def test_without_demonstrations(self, tmp_path: Path, capsys: Any) -> None:
        run = tmp_path / "run"
        words = ("--task", "fetch-reach", "--out", str(run), "--epochs", "2", *self.RUN)
        assert self.call("dagger", *words) == 0
        facts = json.loads((run / "run.json").read_text())
        data = storage.read(run / facts["data"]["path"])
        assert data.fingerprint() == facts["data"]["fingerprint"]
        capsys.readouterr()
        assert self.call("hg-dagger", "--task", "fetch-reach", "--out", str(tmp_path / "b"), *self.RUN) == 2
        assert "give demonstrations" in capsys.readouterr().err

    def test_bad_words_are_one_line(self, demos: Path, tmp_path: Path, capsys: Any) -> None:
        for words, says in (
            (("--task", "fetch-push", "--data", str(demos)), "recorded on fetch-reach, not on fetch-push"),
            ((), "no task is named"),
            (("--data", str(demos), "--expert", "nobody"), "nobody"),
            (("--data", str(demos), "--steps", "3", "--epochs", "3"), "two answers"),
        ):
            assert self.call("dagger", *words, "--out", str(tmp_path / "run")) == 2
            error = capsys.readouterr().err
            assert says in error
            assert len(error.splitlines()) == 1
            assert not (tmp_path / "run").exists()

    def test_every_method_of_the_family_has_its_flags(self, capsys: Any) -> None:
        for name in _methods():
            with pytest.raises(SystemExit) as left:
                self.call(name, "--help")
            assert left.value.code == 0
            assert "--rounds" in capsys.readouterr().out
        assert {"dagger", "hg-dagger", "thrifty-dagger", "sirius", "rac"} <= set(_methods())


def test_the_policy_that_is_taught_can_be_played() -> None:
    taught = teach(
        dagger.Method(expert(), dagger.Config(), 2), REACH, plan=short(episodes=8),
        network=Network(hidden=(64,)), config=CONFIG, budget=Budget(steps=1000),
    )  # fmt: skip
    wins = [rollout(REACH.make(), Chunked(taught.agent), s).success for s in range(5_000_000, 5_000_010)]
    assert sum(map(bool, wins)) >= 8
