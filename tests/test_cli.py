"""The command line as its users meet it: results as JSON, mistakes in one line with exit status 2."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from understudy import storage
from understudy.cli import main
from understudy.dataset import Dataset
from understudy.episode import Episode

FAST = ["--steps", "60", "--validate-every", "20", "--hidden", "16", "16", "--batch", "32"]


def call(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    assert main([*map(str, words), "--json"]) == 0, capsys.readouterr().err
    out = capsys.readouterr().out.strip().splitlines()
    value: dict[str, Any] = json.loads(out[-1])
    return value


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main([str(w) for w in words]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1, captured.err
    return captured.err


@pytest.fixture(scope="module")
def swings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four demonstrations of the pendulum."""
    folder = tmp_path_factory.mktemp("data") / "swings"
    assert main(["record", "pendulum", "--episodes", "4", "--out", str(folder), "--workers", "1"]) == 0
    return folder


@pytest.fixture(scope="module")
def trained(swings: Path) -> Path:
    run = swings.parent / "run"
    assert main(["train", "bc", "--data", str(swings), "--out", str(run), *FAST]) == 0
    return run


def test_the_way_from_a_task_to_a_report(capsys, swings, trained, tmp_path) -> None:
    assert "pendulum" in {t["name"] for t in call(capsys, "tasks")["tasks"]}
    seen = call(capsys, "inspect", swings, "--out", tmp_path / "inspection.html", "--replay", 2)
    assert seen["episodes"] == 4
    assert [(r["faithful"], r["parted"]) for r in seen["replay"]] == [(True, None)] * 2
    assert "pendulum" in (tmp_path / "inspection.html").read_text()
    result = call(capsys, "evaluate", trained, "--task", "pendulum", "--episodes", "5", "--workers", "1")
    policy = result["policies"]["policy"]
    assert policy["success"]["n"] == 5
    assert policy["success"]["low"] <= policy["success"]["value"] <= policy["success"]["high"]
    assert set(result["policies"]) == {"policy", "expert", "random", "zero", "replay", "nearest-neighbour"}
    again = call(capsys, "compare", trained, trained)
    assert again["return"]["value"] == 0
    page = tmp_path / "report.html"
    assert Path(call(capsys, "report", trained, "--out", page)["report"]) == page
    assert "pendulum" in page.read_text()


def test_evaluation_repeats_itself_and_does_not_depend_on_the_workers(capsys, trained) -> None:
    words = ("evaluate", trained, "--episodes", "3", "--no-baselines")
    first = call(capsys, *words, "--workers", "1")["policies"]["policy"]["return"]
    second = call(capsys, *words, "--workers", "2")["policies"]["policy"]["return"]
    assert first == second


def test_nothing_given_or_help_asked_explains(capsys) -> None:
    assert main([]) == 0
    assert "understudy demo" in capsys.readouterr().out
    for verb in ("record", "evaluate", "inspect", "convert", "actions", "compare", "report", "demo", "tasks"):
        with pytest.raises(SystemExit) as done:
            main([verb, "--help"])
        assert done.value.code == 0
        assert f"Example: understudy {verb}" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["train", "bc", "--help"])
    assert "--learning-rate" in capsys.readouterr().out


def test_bad_input_is_one_line_and_status_2(capsys, swings, trained, tmp_path) -> None:
    assert "no verb 'trian'" in refused(capsys, "trian")
    assert "one of bc" in refused(capsys, "train", "gial", "--data", swings, "--out", tmp_path / "r")
    missing = refused(capsys, "train", "bc", "--data", tmp_path / "nowhere", "--out", tmp_path / "r")
    assert "nowhere" in missing
    assert "pendulum" in refused(capsys, "record", "pendulam", "--out", tmp_path / "d")
    assert "swings" in refused(capsys, "record", "pendulum", "--out", swings, "--episodes", "1")
    other = refused(capsys, "train", "bc", "--data", swings, "--out", tmp_path / "r", "--task", "reacher")
    assert "pendulum" in other
    assert "reacher" in other
    assert "pendulum" in refused(capsys, "evaluate", trained, "--task", "reacher")
    assert "seed" in refused(capsys, "evaluate", trained, "--seed", "0", "--episodes", "3")
    assert "exists" in refused(capsys, "train", "bc", "--data", swings, "--out", trained)
    assert "evaluate" in refused(capsys, "compare", swings, trained)
    resume = ("train", "bc", "--data", swings, "--out", trained, "--resume")
    assert "steps is 999, but" in refused(capsys, *resume, "--steps", "999")
    assert not (tmp_path / "r").exists()


def test_a_truncated_weights_file_is_refused(capsys, trained, tmp_path) -> None:
    broken = tmp_path / "broken"
    subprocess.run(["cp", "-r", str(trained), str(broken)], check=True)
    weights = broken / "agent" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "weights.safetensors" in refused(capsys, "evaluate", broken, "--episodes", "2")


def test_data_that_cannot_be_is_refused_with_its_place(capsys, tmp_path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def folder(name: str, column: str, change: Any) -> Path:
        e = Episode.demonstration(np.zeros((6, 2)), np.zeros((5, 2)))
        storage.write(tmp_path / name, Dataset([e, e]))
        file = sorted((tmp_path / name / "data").rglob("*.parquet"))[-1]
        table = pq.read_table(file)
        at = table.schema.get_field_index(column)
        new = change(table.column(column).to_pylist())
        table = table.set_column(at, pa.field(column, new.type), new)
        pq.write_table(table, file)
        return tmp_path / name

    def with_nan(rows: list[list[float]]) -> Any:
        rows[2][1] = float("nan")
        return pa.array(rows, pa.list_(pa.float32(), 2))

    nan = folder("nan", "observation.state", with_nan)
    words = refused(capsys, "train", "bc", "--data", nan, "--out", tmp_path / "r")
    assert "nan" in words.lower()
    assert "step 2" in words
    wide = folder("wide", "action", lambda rows: pa.array([[0.0] * 3] * len(rows), pa.list_(pa.float32(), 3)))
    words = refused(capsys, "inspect", wide)
    assert "action" in words
    assert "3" in words


def test_ctrl_c_leaves_a_checkpoint_that_resumes_to_the_same_weights(swings, tmp_path) -> None:
    words = [sys.executable, "-m", "understudy", "train", "bc", "--data", str(swings)]
    size = ["--steps", "4000", "--validate-every", "500", "--hidden", "16", "16", "--batch", "32"]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    subprocess.run(
        [*words, "--out", str(whole), *size], check=True, env=env, capture_output=True, timeout=200
    )
    begin = [*words, "--out", str(parts), *size]
    child = subprocess.Popen(begin, env=env, stdout=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 100
        while not (metrics := parts / "metrics.jsonl").exists() or not metrics.read_text():
            assert time.monotonic() < deadline
            assert child.poll() is None
            time.sleep(0.005)
        child.send_signal(signal.SIGINT)
        said, _ = child.communicate(timeout=60)
    finally:
        child.kill()
    assert child.returncode == 130, said
    assert "--resume" in said
    resume = [*words, "--out", str(parts), "--resume"]
    subprocess.run(resume, check=True, env=env, capture_output=True, timeout=200)
    a, b = (load_file(run / "agent" / "weights.safetensors") for run in (whole, parts))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_the_demo_goes_all_the_way_on_a_small_scale(capsys, tmp_path) -> None:
    size = ("--demonstrations", "3", "6", "--episodes", "8", "--workers", "1")
    result = call(capsys, "demo", "--task", "fetch-reach", *size, "--out", tmp_path / "demo")
    assert [c["episodes"] for c in result["curve"]] == [3, 6]
    assert result["policies"]["expert"]["success_rate"]["value"] == 1.0
    assert result["seeds"] == [1_000_000, 1_000_008]
    page = (tmp_path / "demo" / "report.html").read_text()
    assert "fetch-reach" in page
    assert "How much data it takes" in page
    again = refused(capsys, "demo", "--out", tmp_path / "demo")
    assert "not empty" in again
    assert call(capsys, "inspect", tmp_path / "demo" / "demonstrations", "--no-page")["episodes"] == 6
