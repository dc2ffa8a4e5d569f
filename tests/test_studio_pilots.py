"""A run's policy in a live session: interrupted and resumed exactly, its doubt, and what its threshold is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from understudy import storage
from understudy.agent import Chunked, Corrected
from understudy.dataset import Dataset
from understudy.episode import Episode, Obs
from understudy.interactive import doubtgate
from understudy.learn import bc
from understudy.runs import Network, fit_run, open_run, policy_of
from understudy.serial import read_json, write_json
from understudy.studio.pilots import QUANTILE, RunPilot, open_pilot
from understudy.train import Budget

HISTORY, HORIZON, EXECUTE = 4, 4, 3


def walk(seed: int, steps: int = 20) -> Episode:
    """A random walk, and what a linear law would do about it."""
    rng = np.random.default_rng(seed)
    x = np.cumsum(rng.normal(size=(steps + 1, 2)), 0)
    return Episode.demonstration(x, -0.5 * x[:-1], success=True, meta={"seed": seed})


def trained(at: Path, network: Network) -> Path:
    """A run of a few steps."""
    storage.write(at / "data", Dataset([walk(s) for s in range(6)]))
    fit_run(
        algorithm="bc", data=at / "data", out=at / "run", config=bc.Config(batch=16), network=network,
        budget=Budget(steps=5), validation=0.0,
    )  # fmt: skip
    return at / "run"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = Network(hidden=(8,), members=3, history=HISTORY, horizon=HORIZON, execute=EXECUTE)
    return trained(tmp_path_factory.mktemp("pilots"), network)


def seen(episode: Episode) -> list[Obs]:
    return [{"state": x} for x in episode.obs["state"]]


def fresh(run: Path) -> Chunked:
    policy = policy_of(run, open_run(run))
    assert isinstance(policy, Chunked)
    return policy


def window(states: list[Obs], step: int) -> Obs:
    """The history up to a step, the first state standing in for those before it."""
    return {"state": np.stack([states[max(0, i)]["state"] for i in range(step - HISTORY + 1, step + 1)])}


def test_left_alone_it_acts_as_evaluate_runs_it(run: Path) -> None:
    pilot, policy, states = open_pilot(run), fresh(run), seen(walk(100))
    pilot.reset(3)
    policy.reset(3)
    for obs in states:
        assert np.array_equal(pilot.act(obs), policy.act(obs))


@pytest.mark.parametrize("begins", [1, 2, 5, 10])
@pytest.mark.parametrize("lasts", [1, 2, 7])
def test_after_an_interruption_it_asks_anew_and_has_seen_what_happened(
    run: Path, begins: int, lasts: int
) -> None:
    pilot, agent, states = open_pilot(run), fresh(run).agent, seen(walk(101))
    pilot.reset(0)
    for obs in states[:begins]:
        pilot.act(obs)
    for obs in states[begins : begins + lasts]:
        pilot.watch(obs)
    back = begins + lasts
    chunk = agent.chunks({k: v[None] for k, v in window(states, back).items()})[0]
    acted = [pilot.act(obs) for obs in states[back : back + EXECUTE]]
    assert np.allclose(acted, chunk[:EXECUTE], atol=1e-6)
    # A policy that plays its old chunk on, or has slept meanwhile, would do something else.
    slept = fresh(run)
    slept.reset(0)
    for obs in states[:begins]:
        slept.act(obs)
    assert not np.allclose(slept.act(states[back]), acted[0], atol=1e-6)


def test_doubt_is_that_of_the_episode_whoever_drives_and_whenever_it_is_asked(run: Path) -> None:
    pilot, episode = open_pilot(run), walk(102)
    wanted = doubtgate.doubts(fresh(run).agent, episode)
    pilot.reset(0)
    for i, obs in enumerate(seen(episode)):
        before = pilot.doubt(obs) if i % 3 == 0 else None
        (pilot.watch if i % 5 in (2, 3) else pilot.act)(obs)
        after = pilot.doubt(obs)
        assert after == pytest.approx(wanted[i], rel=1e-5)
        assert before in (None, after)
    pilot.reset(0)  # forgets
    assert pilot.doubt({"state": episode.obs["state"][0]}) == pytest.approx(wanted[0], rel=1e-5)


def test_the_threshold_is_a_quantile_of_the_doubt_over_its_own_training_data(run: Path) -> None:
    pilot, agent = open_pilot(run), fresh(run).agent
    every = np.concatenate([doubtgate.doubts(agent, walk(s))[:-1] for s in range(6)])
    assert pilot.threshold == pytest.approx(np.quantile(every, QUANTILE), rel=1e-5)
    assert "99%" in pilot.why
    assert "120 labelled training states" in pilot.why


def test_without_members_there_is_no_doubt_and_it_says_so(tmp_path: Path) -> None:
    pilot = open_pilot(trained(tmp_path, Network(hidden=(8,))))
    assert pilot.doubt({"state": np.zeros(2, np.float32)}) is None
    assert pilot.threshold is None
    assert "does not say how unsure it is" in pilot.why


def test_a_run_whose_data_is_gone_has_doubt_but_no_threshold(tmp_path: Path) -> None:
    run = trained(tmp_path, Network(hidden=(8,), members=2))
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    pilot = open_pilot(run)
    assert pilot.doubt({"state": np.zeros(2, np.float32)}) is not None
    assert pilot.threshold is None
    assert "not at" in pilot.why


def test_a_correction_has_no_doubt_and_says_so(run: Path) -> None:
    base = fresh(run)
    policy = Corrected.__new__(Corrected)
    policy.base, policy.agent = base, base.agent
    pilot = RunPilot("corrected", policy, run, open_run(run))
    assert pilot.doubt({"state": np.zeros(2, np.float32)}) is None
    assert pilot.threshold is None
    assert "corrects another" in pilot.why


def test_what_is_no_finished_run_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a run") as none:
        open_pilot(tmp_path)
    run = trained(tmp_path, Network(hidden=(8,)))
    described = read_json(run / "run.json")
    write_json(run / "run.json", described | {"data": described["data"] | {"converted": True}})
    with pytest.raises(ValueError, match="converted actions") as converted:
        open_pilot(run)
    (run / "agent").rename(run / "hidden")
    with pytest.raises(ValueError, match="not finished") as begun:
        open_pilot(run)
    assert all("\n" not in str(e.value) for e in (none, converted, begun))
