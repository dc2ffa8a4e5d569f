"""The study of compounding errors: slopes that theory predicts, a relay, pieces that are kept, and a page."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from understudy.cli import main
from understudy.envs import task
from understudy.envs.relay import Relay, legs_of, relay
from understudy.envs.slip_road import cloning_cost, dagger_cost
from understudy.episode import Episode
from understudy.experts import ENDORSE
from understudy.experts.slip_road import RETURN, Road
from understudy.numerics import Estimate
from understudy.rollout import Workers, rollout, rollouts
from understudy.study import costs, page, relays, sharing, tabular
from understudy.study.compounding import QUICK, Plan, compounding
from understudy.study.costs import Control, Networks, Tables
from understudy.study.pieces import Pieces
from understudy.study.relays import Relays, leg_by_leg, trimmed

SMALL = Plan(
    Tables(horizons=(8, 16), learners=20, rounds=3, episodes=10, measured=20),
    Networks((8, 16), epsilon=0.05, seeds=1, rounds=2, states=160, measured=20, steps=30, hidden=(8,)),
    Control(horizons=(8, 16), demonstrations=200, shared=50, per_step=10),
    (Relays("fetch-reach", 3, 2, 1, 1, validation=2, measured=4, seeds=2, steps=20, hidden=(8,)),),
)  # fmt: skip


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return costs.tables(Tables(learners=100, measured=100))


def test_the_slopes_are_those_of_the_theorems(found: dict[str, Any]) -> None:
    """100 learners at each of five T; the whole 95 % intervals lie inside the bounds that are asked for."""
    bc, dagger = found["slopes"]["bc"], found["slopes"]["dagger"]
    assert 1.8 < bc["low"] < bc["high"] < 2.1
    assert 0.9 < dagger["low"] < dagger["high"] < 1.15
    for s in (bc, dagger):
        assert abs(s["value"] - s["theory"]) < 3 * (s["high"] - s["low"]) / 3.92


def test_measured_costs_are_the_exact_ones(found: dict[str, Any]) -> None:
    """Ten costs within 3 standard errors; by chance alone one would be out in 1 of 37 sets of seeds."""
    for method, law in (("bc", cloning_cost), ("dagger", dagger_cost)):
        assert set(found["costs"][method]) == {"16", "32", "64", "128", "256"}
        for t, row in found["costs"][method].items():
            assert row["theory"] == pytest.approx(law(int(t), 0.004))
            assert abs(row["value"] - row["theory"]) < 3 * row["standard_error"]


def test_a_table_does_what_was_labelled_most_and_invents_nothing() -> None:
    counts = np.zeros((1, 4, 3), int)
    counts[0, 0] = [5, 1, 0]
    counts[0, 1] = [0, 9, 0]
    assert tabular.fitted(counts).tolist() == [[0, 1, 1, 1]]
    counts[0, 3] = [0, 0, 1]
    assert tabular.fitted(counts).tolist() == [[0, 1, 1, RETURN]]


def test_the_expert_drives_for_nothing_and_labels_all_he_sees() -> None:
    road = Road(horizon=50, epsilon=0.1)
    paid, counts = tabular.drive(road, None, 3, 40, np.random.default_rng(0))
    assert not paid.any()
    assert counts.sum((1, 2)).tolist() == [2000] * 3
    assert not counts[:, road.off].any()
    assert not counts[:, :, RETURN].any()


def test_cloning_never_learns_the_way_back_and_dagger_does() -> None:
    road, random = Road(horizon=64, epsilon=0.02), np.random.default_rng(0)
    cloned = tabular.clone(road, 50, 60, random)
    taught = tabular.dagger(road, 50, 20, 3, random)
    lanes = np.arange(road.contexts) % 2
    for table in (cloned, taught):
        assert (table[:, : road.contexts] == lanes).all()
    assert (cloned[:, road.off] != RETURN).all()
    assert (taught[:, road.off] == RETURN).all()


def test_one_round_of_dagger_is_cloning() -> None:
    road = Road(horizon=16, epsilon=0.02)
    same = [np.random.default_rng(3) for _ in range(2)]
    assert np.array_equal(tabular.dagger(road, 5, 7, 1, same[0]), tabular.clone(road, 5, 7, same[1]))


def test_the_slope_of_a_power_is_its_exponent_and_its_interval_covers() -> None:
    exact = {t: Estimate(3.0 * t**1.5, 3.0 * t**1.5, 3.0 * t**1.5, 9, "") for t in (10, 20, 50)}
    assert tabular.loglog_slope(exact).value == pytest.approx(1.5)
    assert tabular.loglog_slope(exact).high == pytest.approx(1.5)
    # 1000 slopes from means of 400 exponential numbers: 95 % cover, within 5 standard errors of 0.7 %.
    random, covered = np.random.default_rng(0), 0
    for _ in range(1000):
        drawn = {t: tabular.mean(random.exponential(t**2.0, 400)) for t in (4, 8, 16, 32)}
        slope = tabular.loglog_slope(drawn)
        covered += slope.low < 2.0 < slope.high
    assert 0.915 < covered / 1000 < 0.985
    with pytest.raises(ValueError, match="two horizons"):
        tabular.loglog_slope({4: exact[10]})


def test_cloning_is_linear_where_one_table_is_shared_and_quadratic_where_none_is() -> None:
    """The whole 95 % intervals lie inside: 1000 and 40 learners at each of five T."""
    slopes = costs.control(Control(shared=1000, per_step=40))["slopes"]
    assert 0.9 < slopes["shared"]["low"] < slopes["shared"]["high"] < 1.15
    assert 1.8 < slopes["per_step"]["low"] < slopes["per_step"]["high"] < 2.1


def test_the_cost_of_a_chain_is_the_formula_where_the_error_is_the_same() -> None:
    assert sharing.chain_cost(np.full((2, 40), 0.03)).tolist() == pytest.approx([cloning_cost(40, 0.03)] * 2)
    assert sharing.chain_cost(np.array([0.5, 0.0, 0.0])) == pytest.approx(1.0)  # off for 2 steps or none
    assert sharing.chain_cost(np.array([0.0, 0.0, 1.0])) == 0.0  # the last error is never paid for


def test_what_is_unseen_is_about_one_in_n_whatever_n_is() -> None:
    world = sharing.Rare()
    assert world.probability.sum() == pytest.approx(1.0)
    scaled = [n * sharing.predicted(world, n) for n in (1000, 4000, 16000, 64000, 256000)]
    assert max(scaled) / min(scaled) < 1.02
    with pytest.raises(ValueError, match="ratio is 1"):
        sharing.Rare(1.0)


def test_a_relay_goes_on_from_where_it_is_until_all_legs_are_done() -> None:
    which = relay(task("fetch-reach"), 4)
    assert (which.name, which.horizon) == ("fetch-reach-relay-4", 200)
    assert which.expert is not None
    env = pickle.loads(pickle.dumps(which.make))()
    episode = rollout(env, which.expert(), 3, ENDORSE)
    assert episode.success
    assert episode.terminated
    assert legs_of(episode) == 4
    goals = np.unique(episode.obs["desired_goal"], axis=0)
    assert len(goals) == 4
    moved = np.flatnonzero((np.diff(episode.obs["desired_goal"], axis=0) != 0).any(1))
    assert moved.tolist() == np.flatnonzero(episode.reward == 0)[:-1].tolist()  # just where one was reached
    hand = episode.obs["achieved_goal"]
    assert np.linalg.norm(np.diff(hand, axis=0), axis=1).max() < 0.06  # and nothing jumped
    assert rollout(env, which.expert(), 3, ENDORSE) == episode
    env.close()


def test_a_relay_ends_where_a_leg_is_late() -> None:
    class Idle:
        def reset(self, seed: int) -> None: ...

        def act(self, obs: object) -> np.ndarray:
            return np.zeros(4, np.float32)

    env = Relay(task("fetch-reach"), 3)
    # Seed 0's goal is not where the hand starts.
    episode = rollout(env, Idle(), 0)
    assert (len(episode), episode.terminated, episode.success, legs_of(episode)) == (50, False, False, 0)
    env.close()


def test_relays_are_for_fetch_tasks_and_have_a_leg() -> None:
    for make in (Relay, relay):
        with pytest.raises(ValueError, match="legs is 0"):
            make(task("fetch-reach"), 0)
    with pytest.raises(TypeError, match="slip-road is not a Fetch task"):
        Relay(task("slip-road"), 2)


@pytest.mark.parametrize("name", ["fetch-push", "fetch-pick-place"])
def test_the_experts_manage_long_relays(name: str) -> None:
    """6 relays of 8 goals: at least 45 of the 48 legs that could be done."""
    which = relay(task(name), 8)
    assert which.expert is not None
    episodes = rollouts(which.make, which.expert(), range(6))
    assert sum(map(legs_of, episodes)) >= 45


def test_labels_are_trimmed_to_the_very_state() -> None:
    episodes = [Episode.demonstration(np.zeros((6, 1)), np.ones((5, 1))) for _ in range(3)]
    kept = trimmed(episodes, 7)
    assert [int(e.labelled.sum()) for e in kept] == [5, 2]
    assert kept[1].labelled.tolist() == [True, True, False, False, False]
    assert len(trimmed(episodes, 15)) == 3
    with pytest.raises(ValueError, match="16 labelled states were asked for; there are 15"):
        trimmed(episodes, 16)


def test_legs_that_are_alike_are_found_geometric_and_others_are_not() -> None:
    random = np.random.default_rng(0)
    alike = np.minimum(random.geometric(0.2, 400) - 1, 8)
    said = leg_by_leg(alike.tolist(), 8)
    q = said["geometric"]["per_leg"]
    assert abs(q["value"] - 0.8) < 5 * np.sqrt(0.8 * 0.2 / q["n"])  # standard errors
    assert said["geometric"]["p"] > 0.001
    assert said["in_a_row"][2]["value"] == pytest.approx((alike >= 3).mean())
    hard_first = np.where(random.random(400) < 0.5, 0, 8)
    assert leg_by_leg(hard_first.tolist(), 8)["geometric"]["p"] < 1e-6
    never = leg_by_leg([0, 0], 3)
    assert never["leg"][1:] == [None, None]
    assert never["geometric"]["degrees"] == 0
    assert never["geometric"]["p"] == 1.0


def test_a_piece_is_found_once_and_again_only_where_its_settings_changed(tmp_path: Path) -> None:
    pieces, calls = Pieces(tmp_path, Console(quiet=True)), []

    def work() -> dict[str, Any]:
        calls.append(1)
        return {"n": len(calls)}

    assert pieces.found("a", {"x": (1, 2)}, work) == {"n": 1}
    assert pieces.found("a", {"x": (1, 2)}, work) == {"n": 1}
    assert pieces.found("a", {"x": (1, 3)}, work) == {"n": 2}
    (tmp_path / "a.json").write_text("{")
    assert pieces.found("a", {"x": (1, 3)}, work) == {"n": 3}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study")
    compounding(out, SMALL, workers=1)
    return out


def test_the_study_writes_all_numbers_and_goes_on_where_it_was_broken_off(small: Path) -> None:
    first = json.loads((small / "compounding.json").read_text())
    assert {"study", "version", "command", "date", "plan", "provenance"} <= first.keys()
    assert first["quick"] is False
    assert {*first["tables"]["costs"]} == {"bc", "dagger"} == {*first["networks"]["slopes"]}
    assert {*first["control"]["costs"]} == {"shared", "per_step"}
    (relayed,) = first["relays"]
    methods = relayed["methods"]
    assert {*methods} == {"start", "bc", "dagger"}
    assert methods["bc"]["labels"] == methods["dagger"]["labels"]  # as many labelled states
    assert methods["bc"]["in_a_row"][0]["n"] == 8
    assert relayed["expert"]["done"] == relayed["expert"]["relays"]
    (small / "pieces" / "relay-fetch-reach-8-seed-1.json").unlink()
    kept = {p.name: p.stat().st_mtime_ns for p in (small / "pieces").iterdir()}
    compounding(small, SMALL, workers=1)
    again = json.loads((small / "compounding.json").read_text())
    moving = ("date", "provenance", "command")
    assert {k: v for k, v in again.items() if k not in moving} == {
        k: v for k, v in first.items() if k not in moving
    }
    assert {p.name: p.stat().st_mtime_ns for p in (small / "pieces").iterdir() if p.name in kept} == kept


def test_the_page_stands_alone_and_shows_every_slope(small: Path) -> None:
    result = json.loads((small / "compounding.json").read_text())
    text = (small / "compounding.html").read_text()
    assert text == page.render(result)
    assert text.count('class="plot tall"') == 4
    assert "<script" not in text
    for word in ("http://", "https://", "url(", "@import"):
        assert word not in text
    for part in ("tables", "networks", "control"):
        for s in result[part]["slopes"].values():
            assert f"{s['value']:.2f} [{s['low']:.2f}, {s['high']:.2f}]".replace("-", "−") in text


def test_networks_and_workers_change_nothing_about_the_road() -> None:
    plan = replace(SMALL.networks, seeds=1, measured=5)
    with Workers(1) as alone:
        one, two = (costs.networks(plan, 8, alone) for _ in range(2))
    assert one == two
    assert one["labelled"] == 2 * 160
    assert [len(x) for x in one["costs"]["bc"]] == [5]


def test_the_quick_plan_is_smaller_than_the_full_one() -> None:
    assert QUICK.tables.learners < Plan().tables.learners
    assert QUICK.relays[0].seeds < Plan().relays[0].seeds


def test_the_command_line_knows_the_study(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["study", "--help"])
    assert "understudy study compounding" in capsys.readouterr().out
    assert main(["study", "nonsense"]) == 2
    assert "one of compounding" in capsys.readouterr().err
    file = tmp_path / "file"
    file.write_text("")
    assert main(["study", "compounding", "--out", str(file)]) == 2
    assert "is a file" in capsys.readouterr().err


def test_steps_in_vain_are_those_after_the_last_goal_of_a_lost_relay() -> None:
    def ran(reward: list[float], success: bool) -> Episode:
        n = len(reward)
        return Episode.demonstration(np.zeros((n + 1, 1)), np.ones((n, 1)), reward, success=success)

    lost, won = ran([-1, 0, -1, -1, -1, -1], False), ran([-1, -1, -1, 0], True)
    assert relays._lost([lost, won]) == 4 / 10
    assert relays._lost([ran([-1, -1], False)]) == 1.0
    assert relays._lost([won]) == 0.0


def test_a_report_of_relays_keeps_each_seed() -> None:
    names = relays.METHODS
    piece = {
        "legs": {name: [2, 1] for name in names},
        "labels": dict.fromkeys(names, 5),
        "expert": [2, 1],
        "loss": dict.fromkeys(names, 0.5),
        "errors": {name: {"expert": 0.1, "own": 0.2} for name in names},
        "rounds": [[2]],
        "selected": 1,
        "lost": 0.25,
    }
    report = relays.relays_report(replace(SMALL.relays[0], legs=2), [piece, piece])
    assert report["methods"]["bc"]["by_seed"] == [[1.0, 0.5]] * 2
    assert report["methods"]["bc"]["in_a_row"][1]["n"] == 4
    assert report["expert"] == {"relays": 4, "done": 2}
    assert report["methods"]["dagger"]["errors"] == {"expert": [0.1] * 2, "own": [0.2] * 2}
