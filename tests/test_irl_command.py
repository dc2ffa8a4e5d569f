"""`understudy irl`: from a world's name to a reward, its words and measures; and files from strangers."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest

from understudy.cli import Irl, main
from understudy.inverse.command import options_of
from understudy.inverse.files import read_trajectories
from understudy.inverse.judge import Case, judged, lines
from understudy.inverse.methods import METHODS, Settings, fit
from understudy.inverse.wording import phrases, units
from understudy.irl import fit_maxent, standard_errors
from understudy.irl.measures import expected_value_difference, held_out_likelihood, policy_divergence
from understudy.tabular import Demonstrations, sample, soft_plan
from understudy.tabular.worlds import world, worlds

SMALL = ("gridworld", "--option", "rows=3", "cols=3", "--temperature", "0.5", "--demonstrations", "40")


def run(capsys: pytest.CaptureFixture[str], out: Path, *words: str) -> dict[str, Any]:
    assert main(["irl", *words, "--out", str(out), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_what_it_says_is_what_the_library_finds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = run(
        capsys, tmp_path / "r", *SMALL, "--changed", "wind=up:0.3", "--seed", "4", "--objective", "features"
    )
    kept = json.loads((tmp_path / "r" / "reward.json").read_text())
    assert {k: kept[k] for k in said if k in kept} == {k: said[k] for k in said if k in kept}
    mdp = world("gridworld", rows=3, cols=3)
    expert = soft_plan(mdp, mdp.reward, 0.5).policy
    steps = 66  # .9^66 is the first power below a thousandth
    drawn = sample(mdp, expert, 60, 4, steps)
    shown, rest = drawn.select(np.arange(40)), drawn.select(np.arange(40, 60))
    found = fit_maxent(mdp, shown, objective="features")
    np.testing.assert_allclose(kept["reward"], found.reward, atol=1e-9)
    measures = said["measures"]
    greedy = expected_value_difference(mdp, found.reward, temperature=0.0)
    assert measures["here"]["greedy"]["difference"] == pytest.approx(greedy.difference, abs=1e-9)
    there = world("gridworld", rows=3, cols=3, wind="up:0.3")
    moved = expected_value_difference(there, there.linear(found.weights), temperature=0.0)
    assert measures["changed"]["greedy"]["normalised"] == pytest.approx(moved.normalised, abs=1e-9)
    d = policy_divergence(mdp, expert, found.policy)
    assert measures["divergence"]["kl"] == pytest.approx(d.kl, abs=1e-9)
    held = held_out_likelihood(mdp, found.policy, rest)
    assert measures["held_out"]["value"] == pytest.approx(held.value, abs=1e-9)
    assert held.value == pytest.approx(found.held_out(rest).log_likelihood, abs=1e-9)
    assert (held.high - held.value) / 1.959964 == pytest.approx(found.held_out(rest).error, rel=1e-5)
    assert abs(measures["feature_gap"]["largest"]) < 1e-6
    assert 0 < measures["epic"] < 1
    assert 0 < measures["starc"] < 1
    errors = standard_errors(found)
    corner = next(w for w in said["weights"] if w["feature"] == "cell (2, 2)")
    mean = np.full(9, -1 / 9)  # a weight a state is known relative to the mean of all
    mean[8] += 1
    known = errors.combination(mean)
    assert (corner["value"], corner["low"], corner["high"]) == pytest.approx(
        (known.value, known.low, known.high)
    )
    assert said["words"][0].startswith("prefers cell (2, 2): ")
    assert said["words"][-1] == "not identified: the sum of all 9 features"
    assert len(said["unidentified"]) == 1


def test_the_same_words_give_the_same_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = (run(capsys, tmp_path / name, *SMALL) for name in "ab")
    assert a["measures"] == b["measures"]
    other = run(capsys, tmp_path / "c", *SMALL, "--seed", "1")
    assert other["measures"] != a["measures"]


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("maxent", ("--l2", "0.01")),
        ("maxent", ("--prior-std", "2", "--objective", "features")),
        ("trajectory-maxent", ("--horizon", "12")),
        ("apprenticeship", ()),
        ("max-margin", ("--l2", "1.0")),
        ("bayesian", ("--prior-std", "3", "--horizon", "6")),
        ("deep-maxent", ("--hidden", "8", "--l2", "0.01", "--steps", "20")),
    ],
)
def test_every_method_writes_numbers_and_a_page(
    method: str, more: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = run(capsys, tmp_path / "r", *SMALL, "--method", method, *more)
    assert said["method"] == method
    measures = said["measures"]
    assert measures["here"]["greedy"]["normalised"] < 0.5  # 1 is what chance loses
    assert (measures["held_out"] is None) == (method in ("apprenticeship", "max-margin"))
    assert (said["weights"] is None) == (method in ("apprenticeship", "deep-maxent"))
    page = (tmp_path / "r" / "reward.html").read_text()
    assert METHODS[method].title in page
    assert (tmp_path / "r" / "reward.svg").is_file()


def test_routes_are_told_in_their_own_words_and_drawn_as_roads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    town = ("routes", "--option", "rows=4", "cols=4", "seed=3", "--demonstrations", "300")
    said = run(capsys, tmp_path / "r", *town)
    assert any(line.startswith("prefers shorter ways: −") and " per km, " in line for line in said["words"])
    assert any(line.endswith("] km") for line in said["trade_offs"])
    assert 'class="states map"' in (tmp_path / "r" / "reward.html").read_text()


def test_an_optimal_expert_has_no_entropy_to_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = run(capsys, tmp_path / "r", *SMALL, "--expert", "optimal", "--l2", "0.001")
    assert said["measures"]["here"]["policy"]["temperature"] == 0
    assert said["data"]["source"] == "simulated: optimal"


def test_words_come_without_json_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["irl", *SMALL, "--out", str(tmp_path / "r")]) == 0
    out = capsys.readouterr().out
    assert "prefers cell (2, 2)" in out
    assert "STARC distance" in out
    assert "�" not in out


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (("gridwrld",), "did you mean gridworld"),
        (("gridworld", "--option", "colour=3"), "has no option 'colour'"),
        (("gridworld", "--option", "rows"), "an option is NAME=VALUE"),
        (("gridworld", "--option", "rows=3", "rows=4"), "'rows' is said twice"),
        (("gridworld", "--option", "discount=.5", "--discount", "0.9"), "discount is said twice"),
        (("gridworld", "--discount", "1.5"), "discount is 1.5"),
        (("gridworld", "--demonstrations", "0"), "demonstrations is 0"),
        (("gridworld", "--temperature", "-1"), "temperature is -1"),
        (("gridworld", "--method", "max-margin"), "max-margin needs --l2"),
        (("gridworld", "--method", "bayesian"), "bayesian needs --prior-std"),
        (("gridworld", "--method", "apprenticeship", "--l1", "1"), "does not take --l1"),
        (("gridworld", "--hidden", "8"), "maxent does not take --hidden"),
        (("gridworld", "--method", "trajectory-maxent"), "has no horizon"),
        (("gridworld", "--changed", "rows=4"), "has other features"),
        (("gridworld", "--trajectories", "nowhere.json"), "is no file"),
    ],
)
def test_a_mistake_is_one_line(
    words: tuple[str, ...], rule: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["irl", *words, "--out", str(tmp_path / "r")]) == 2
    err = capsys.readouterr().err
    assert rule in err
    assert err.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_options_are_numbers_words_and_nothing_else() -> None:
    said = options_of(["a=3", "b=0.5", "c=up:0.3", "d=true", "e=None", "f=1e-3", "g=__import__('os')"])
    assert said == {"a": 3, "b": 0.5, "c": "up:0.3", "d": True, "e": None, "f": 1e-3, "g": "__import__('os')"}
    assert type(said["a"]) is int


def test_features_have_words() -> None:
    names = ("distance to red", "left turn", "kilometres", "cell")
    assert phrases(names)["distance to red"] == ("keeps away from red", "keeps close to red")
    assert set(phrases(names)) == {"distance to red", "left turn", "kilometres"}
    assert units(names) == {"kilometres": "km"}


def test_what_a_fit_must_not_be_believed_in_is_said() -> None:
    mdp = world("gridworld", rows=3, cols=3)
    policy = soft_plan(mdp, mdp.reward, 0.5).policy
    one = sample(mdp, policy, 1, 0, 30)
    found = fit("maxent", mdp, one, Settings(l2=0.1), 0)
    assert any("no standard errors" in w for w in found.warnings)
    lasso = fit("maxent", mdp, sample(mdp, policy, 30, 0, 30), Settings(l1=0.05), 0)
    assert any("no standard errors" in w for w in lasso.warnings)
    assert lasso.weights is not None
    assert not np.isfinite(lasso.weights.estimates()[0].low)
    with pytest.raises(ValueError, match="no method 'magic'"):
        fit("magic", mdp, one, Settings(), 0)


# Files


def given() -> tuple[np.ndarray, np.ndarray]:
    mdp = world("gridworld", rows=3, cols=3)
    drawn = sample(mdp, soft_plan(mdp, mdp.reward, 0.5).policy, 25, 0, 20)
    return drawn.states, drawn.actions


def test_trajectories_from_files_are_learned_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    states, actions = given()
    (tmp_path / "t.json").write_text(json.dumps({"states": states.tolist(), "actions": actions.tolist()}))
    np.savez(tmp_path / "t.npz", states=states, actions=actions)
    for name in ("t.json", "t.npz"):
        read = read_trajectories(tmp_path / name)
        np.testing.assert_array_equal(read.states, states)
        np.testing.assert_array_equal(read.actions, actions)
    flags = ("gridworld", "--option", "rows=3", "cols=3", "--trajectories", str(tmp_path / "t.npz"))
    said = run(capsys, tmp_path / "r", *flags, "--l2", "0.01")
    assert said["data"] | {"decisions": 0} == {
        "source": "the file t.npz", "demonstrations": 20, "decisions": 0, "held_out": 5, "seed": 0,
    }  # fmt: skip
    assert said["measures"]["divergence"] is None  # nobody knows the policy that did this
    assert str(tmp_path) not in (tmp_path / "r" / "reward.json").read_text()


def test_rows_of_json_may_be_as_long_as_their_trajectory(tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    file.write_text('{"states": [[0, 1, 2], [4, 5]], "actions": [[1, 1], [1]]}')
    read = read_trajectories(file)
    np.testing.assert_array_equal(read.states, [[0, 1, 2], [4, 5, -1]])
    np.testing.assert_array_equal(read.actions, [[1, 1], [1, -1]])
    mdp = world("gridworld", rows=3, cols=3)
    assert Demonstrations.of(mdp, read).visits.sum() == pytest.approx((1 + 0.9 + 1) / 2)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "not readable JSON"),
        ("[]", "an object with states and actions"),
        ('{"states": 3, "actions": 4}', "a list of lists"),
        ('{"states": [[0, 1.5]], "actions": [[1]]}', "whole numbers"),
        ('{"states": [[0, true]], "actions": [[1]]}', "whole numbers"),
        ('{"states": [[0, 99999999999999999999]], "actions": [[1]]}', "whole numbers"),
        ('{"states": [[0, -7]], "actions": [[1]]}', "whole numbers"),
        ('{"states": [[0, 1]], "actions": [[1, 1]]}', "one state more"),
        ('{"states": [[0, 1, 2, 3]], "actions": [[1]]}', r"\[N, T \+ 1\]"),
        ('{"states": [[0, 1]], "actions": [[1], [1]]}', r"\[N, T \+ 1\]"),
        ('{"states": [[0, -1, 2]], "actions": [[1, 1]]}', "gap"),
        ('{"states": [[0]], "actions": [[]]}', "states is"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_json_that_is_no_trajectories_is_refused(text: str, rule: str, tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=rule) as caught:
        read_trajectories(file)
    assert "\n" not in str(caught.value)


def test_padding_cannot_be_made_to_fill_the_memory(tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    rows = [[0] * 30_000, *([[0]] * 30_000)]  # 60 000 numbers, which padded are 900 million
    file.write_text(json.dumps({"states": rows, "actions": rows}))
    with pytest.raises(ValueError, match="are the most"):
        read_trajectories(file)


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("sprung"),))


def test_an_npz_with_objects_is_not_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    objects = np.empty(1, object)
    objects[0] = Trap()
    np.savez(tmp_path / "t.npz", states=objects, actions=np.zeros((1, 1), np.int64), allow_pickle=True)
    with pytest.raises(ValueError, match="states"):
        read_trajectories(tmp_path / "t.npz")
    raw = tmp_path / "raw.npz"
    with zipfile.ZipFile(raw, "w") as archive:
        archive.writestr("states.npy", pickle.dumps(Trap()))
        archive.writestr("actions.npy", b"")
    with pytest.raises(ValueError, match="states"):
        read_trajectories(raw)
    assert not (tmp_path / "sprung").exists()


def test_an_npz_of_something_else_is_refused(tmp_path: Path) -> None:
    states, actions = given()
    file = tmp_path / "t.npz"

    def refused(rule: str, **arrays: np.ndarray) -> None:
        np.savez(file, **arrays)
        with pytest.raises(ValueError, match=rule) as caught:
            read_trajectories(file)
        assert "\n" not in str(caught.value)

    refused("no array 'actions'", states=states)
    refused("whole numbers", states=states.astype(float), actions=actions)
    refused("whole numbers", states=states[0], actions=actions)
    refused(r"below 2\^31", states=states.astype(np.uint64) + np.uint64(2**63), actions=actions)
    refused("states is", states=states[:, :-1], actions=actions)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<i8", "fortran_order": False, "shape": (2**40, 3)}
    )
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("states.npy", header.getvalue())
        archive.writestr("actions.npy", header.getvalue())
    with pytest.raises(ValueError, match="declares"):
        read_trajectories(file)
    (tmp_path / "t.txt").write_text("")
    with pytest.raises(ValueError, match=r"ends in '\.txt'"):
        read_trajectories(tmp_path / "t.txt")


def test_steps_that_cannot_have_happened_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "t.json"
    file.write_text('{"states": [[0, 8]], "actions": [[0]]}')
    flags = ("irl", "gridworld", "--option", "rows=3", "cols=3", "--trajectories", str(file))
    assert main([*flags, "--out", str(tmp_path / "r")]) == 2
    assert "cannot lead to state 8" in capsys.readouterr().err


def test_a_policy_that_never_does_what_was_done_has_no_likelihood() -> None:
    mdp = world("gridworld", rows=3, cols=3)
    expert = soft_plan(mdp, mdp.reward, 0.5).policy
    drawn = sample(mdp, expert, 20, 0, 20)
    stubborn = np.zeros_like(expert)
    stubborn[:, 0] = 1
    with pytest.raises(ValueError, match="the policy never does action"):
        held_out_likelihood(mdp, stubborn, drawn)
    found = replace(fit("maxent", mdp, drawn, Settings(l2=0.1), 0), policy=stubborn)
    case = Case(mdp, found, Demonstrations.of(mdp, drawn), drawn, None, expert, 0.5)
    measures = judged(case)
    assert measures["held_out"]["value"] is None
    assert measures["divergence"]["kl"] is None
    told = {m.name: m.value for m in lines(measures, "")}
    assert told["held-out likelihood"] == "none"
    assert told["KL(expert || learned)"] == "infinite"
    json.dumps(measures, allow_nan=False)


def test_the_help_names_every_world_and_every_method(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["irl", "--help"])
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "Example: understudy irl gridworld" in said
    assert all(name in said for name in worlds())
    assert get_args(get_type_hints(Irl)["method"]) == tuple(METHODS)
