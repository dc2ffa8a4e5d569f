"""Learning by acting from the command line: run folders, resumption, and rewards that are handed on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from understudy import cli
from understudy.agent import load
from understudy.envs import task
from understudy.learn import discriminator
from understudy.online import dac
from understudy.rewards import load_reward
from understudy.runs import nothing_else_asked, open_run

TINY = ("--hidden", "16", "--batch", "8", "--uniform", "30", "--validation-episodes", "2")


def run(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> Any:
    """What a command printed as JSON, or the one line it complained in."""
    assert cli.main([*words, "--json"] if status == 0 else list(words)) == status
    printed = capsys.readouterr()
    if status == 0:
        return json.loads(printed.out.splitlines()[-1])
    assert len(printed.err.strip().splitlines()) == 1
    return printed.err


def train(capsys: pytest.CaptureFixture[str], out: Path, steps: int, *more: str, status: int = 0) -> Any:
    budget = ("--steps", str(steps), "--validate-every", "20")
    words = ("train", "sac", "--task", "reacher", "--out", str(out), *budget, *TINY, *more)
    return run(capsys, *words, status=status)


def weights(folder: Path) -> dict[str, np.ndarray]:
    return {k: v.numpy() for k, v in load(folder / "agent").state_dict().items()}


def test_a_run_is_one_like_any_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = train(capsys, tmp_path / "run", 40)
    assert (told["steps"], told["stopped"], told["reward_folder"]) == (40, "steps", None)
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [20, 40]
    assert {"critic_loss", "entropy", "temperature", "validation", "reward"} <= lines[0].keys()
    found = run(capsys, "evaluate", str(tmp_path / "run"), "--episodes", "3", "--workers", "1")
    assert found["policies"]["policy"]["return"]["n"] == 3
    page = tmp_path / "page.html"
    run(capsys, "report", str(tmp_path / "run"), "--out", str(page), "--no-films")
    assert "learned without demonstrations" in page.read_text()


@pytest.mark.parametrize("more", [(), ("--ema", "0.9")])
def test_what_was_interrupted_goes_on_to_the_same_bits(
    more: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    train(capsys, tmp_path / "whole", 60, *more)
    from understudy.online.practice import Practice

    taken, step = [0], Practice.step

    def interrupted(self: Practice) -> dict[str, float]:
        taken[0] += 1
        if taken[0] == 25:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGINT)
        return step(self)

    monkeypatch.setattr(Practice, "step", interrupted)
    words = ("--task", "reacher", "--steps", "60", "--validate-every", "20", *TINY, *more, "--json")
    assert cli.main(["train", "sac", "--out", str(tmp_path / "cut"), *words]) == 130
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["steps"] == 25
    monkeypatch.setattr(Practice, "step", step)
    begun = open_run(tmp_path / "cut")
    told = run(capsys, "train", "sac", "--out", str(tmp_path / "cut"), "--resume")
    assert told["steps"] == 60
    assert open_run(tmp_path / "cut")["begun"] == begun["provenance"]
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(np.array_equal(whole[k], cut[k]) for k in whole)


def test_an_ended_run_goes_on_to_more_steps_as_if_it_had_been_given_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(capsys, tmp_path / "whole", 60)
    train(capsys, tmp_path / "more", 40)
    told = run(capsys, "train", "sac", "--out", str(tmp_path / "more"), "--resume", "--steps", "60")
    assert told["steps"] == 60
    assert open_run(tmp_path / "more")["budget"] == open_run(tmp_path / "whole")["budget"]
    whole, more = weights(tmp_path / "whole"), weights(tmp_path / "more")
    assert all(np.array_equal(whole[k], more[k]) for k in whole)
    out = str(tmp_path / "more")
    fewer = run(capsys, "train", "sac", "--out", out, "--resume", "--steps", "50", status=2)
    assert "steps is 50, but" in fewer
    again = run(capsys, "train", "sac", "--out", str(tmp_path / "more"), "--resume")
    assert again["steps"] == 60  # the usual steps are more, but nobody asked for them


def test_other_settings_than_its_own_are_refused_on_resumption(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "run")
    train(capsys, tmp_path / "run", 20)
    for more, words in (
        (("--polyak", "0.5"), "polyak is 0.5"),
        (("--data", str(tmp_path)), "begun with other data"),
        (("--reward", str(tmp_path)), "begun with other reward"),
    ):
        assert words in run(capsys, "train", "sac", "--out", out, "--resume", *more, status=2)
    assert open_run(tmp_path / "run")["task"] == "reacher"
    assert "is not empty" in train(capsys, tmp_path / "run", 20, status=2)


def test_of_nested_settings_each_may_be_repeated_by_itself(tmp_path: Path) -> None:
    mine = dac.Config(discriminator=discriminator.Config(d_rate=1e-4, penalty=5.0))
    usual = dac.Config()
    repeated = dac.Config(discriminator=discriminator.Config(d_rate=1e-4))
    nothing_else_asked(tmp_path, (repeated,), (mine,), (usual,))
    other = dac.Config(discriminator=discriminator.Config(d_rate=2e-4, penalty=5.0))
    with pytest.raises(ValueError, match=r"d_rate is 0\.0002, but .* was begun with 0\.0001"):
        nothing_else_asked(tmp_path, (other,), (mine,), (usual,))


def test_what_cannot_be_is_refused_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ("--out", str(tmp_path / "run"))
    for more, words in (
        (("--task", "slip-road"), "continuous"),
        (("--task", "reacher", "--reward", str(tmp_path)), "has no reward"),
        ((), "no task is named"),
    ):
        assert words in run(capsys, "train", "sac", *out, *more, status=2)
        assert not (tmp_path / "run").exists()
    for more in (("--uniform", "0"), ("--capacity", "0"), ("--discount", "1")):
        with pytest.raises(SystemExit):
            cli.main(["train", "sac", "--task", "reacher", *out, *more])
        assert more[0].strip("-") in capsys.readouterr().err


def test_a_reward_is_learned_and_handed_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, irl, again = (str(tmp_path / name) for name in ("demos", "irl", "again"))
    run(capsys, "record", "reacher", "--episodes", "2", "--out", data, "--workers", "1")
    budget = ("--steps", "120", "--validate-every", "60", *TINY)
    told = run(capsys, "train", "maxent-irl", "--data", data, "--out", irl, "--reward-hidden", "8", *budget)
    assert told["task"] == "reacher"
    assert {"reward_expert", "reward_policy", "loss", "validation"} <= told.keys()
    reward = load_reward(told["reward_folder"])
    seen = {k: np.zeros(shape) for k, shape in task("reacher").obs.items()}
    assert np.isfinite(reward.values(seen, np.zeros(2))).all()
    fresh = run(capsys, "train", "sac", "--task", "reacher", "--reward", irl, "--out", again, *budget)
    assert fresh["reward_folder"] is None
    reward.check_units(load(Path(again) / "agent"))
    found = run(capsys, "evaluate", irl, "--episodes", "2", "--workers", "1")
    assert {"policy", "expert", "replay"} <= found["policies"].keys()
    words = ("train", "sac", "--task", "pendulum", "--reward", irl, "--out", str(tmp_path / "x"))
    assert "the reward reads" in run(capsys, *words, status=2)


def test_what_a_method_cannot_do_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = str(tmp_path / "demos"), ("--out", str(tmp_path / "run"))
    run(capsys, "record", "reacher", "--episodes", "2", "--out", data, "--workers", "1")
    for words, said in (
        (("maxent-irl", "--task", "reacher"), "learns from demonstrations"),
        (("maxent-irl", "--data", data, "--task", "pendulum"), "recorded on reacher"),
        (("guided-cost", "--task", "reacher"), "learns from demonstrations"),
    ):
        assert said in run(capsys, "train", *words, *out, *TINY, status=2)
