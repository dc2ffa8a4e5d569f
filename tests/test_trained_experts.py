"""Experts from files of weights: they act as the agents they were made of, and files are read with care."""

from __future__ import annotations

import importlib.util
import json
import pickle
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

import understudy.experts.trained as weights
from understudy.agent import Agent
from understudy.dataset import Dataset
from understudy.envs import ActionSpec, task
from understudy.episode import Episode
from understudy.experts.trained import WEIGHTS, DamagedExpert, Network, TrainedExpert, read, trained, write
from understudy.heads import Deterministic
from understudy.nets import MLP
from understudy.online.start import actor
from understudy.rollout import rollouts

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "trained_experts.py"
SHIPPED = sorted(path.stem for path in WEIGHTS.glob("*.safetensors"))
SPEC = ActionSpec.box([-2.0, 0.0], [2.0, 5.0])


@pytest.fixture(scope="module")
def exporter() -> ModuleType:
    if not BENCHMARK.exists():
        pytest.skip("the benchmarks are not installed with the tests")
    sys.path.insert(0, str(BENCHMARK.parent))
    try:
        spec = importlib.util.spec_from_file_location("trained_experts", BENCHMARK)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(BENCHMARK.parent))
    return module


def seen(seed: int = 0, steps: int = 50) -> Dataset:
    """One episode of an observation [3] in far-apart units and an action [2]."""
    random = np.random.default_rng(seed)
    states = (random.normal(size=(steps + 1, 3)) * [1.0, 30.0, 0.05] + [0.0, 100.0, -1.0]).astype(np.float32)
    action = random.uniform([-2, 0], [2, 5], (steps, 2)).astype(np.float32)
    return Dataset([Episode.demonstration(states, action)])


def agent() -> Agent:
    """A tiny tanh-Gaussian agent whose last layer is not near zero."""
    made = actor(SPEC, seen(), hidden=(16, 8), seed=3)
    made.head.out.weight.data *= 100
    return made


def net(seed: int = 0, kind: Any = np.float32) -> Network:
    random = np.random.default_rng(seed)
    sizes = ((3, 8), (8, 2))
    layers = tuple((random.normal(size=(o, i)).astype(kind), np.ones(o, kind)) for i, o in sizes)
    ends = (np.zeros(3), np.full(3, 2.0), np.zeros(2), np.ones(2))
    shift, scale, centre, reach = (x.astype(np.float32) for x in ends)
    return Network(shift, scale, layers, centre, reach)


def test_it_acts_as_the_agent_it_was_made_of(exporter: ModuleType, tmp_path: Path) -> None:
    made = agent()
    write(tmp_path / "tiny.safetensors", exporter.network(made), {"task": "tiny"})
    expert = TrainedExpert("tiny", tmp_path)
    states = seen(1)[0].obs["state"]
    theirs = made.act({"state": states})
    ours = np.stack([expert.act({"state": s}) for s in states])
    assert ours.dtype == np.float32
    assert theirs.std(0).min() > 0.1  # it moves
    assert np.abs(ours - theirs).max() < 1e-5


def test_half_the_bits_are_nearly_the_same_expert(exporter: ModuleType, tmp_path: Path) -> None:
    made = agent()
    for half in (False, True):
        write(tmp_path / f"half{half}.safetensors", exporter.network(made, half), {"task": f"half{half}"})
    whole, half = (TrainedExpert(f"half{h}", tmp_path) for h in (False, True))
    states = seen(1)[0].obs["state"]
    gap = max(np.abs(whole.act({"state": s}) - half.act({"state": s})).max() for s in states)
    assert 0 < gap < 0.02


def test_an_agent_of_another_kind_is_refused(exporter: ModuleType) -> None:
    other = Agent.build(seen(), MLP((8,)), Deterministic())
    with pytest.raises(ValueError, match="Gaussian, squashed"):
        exporter.network(other)
    with pytest.raises(ValueError, match="MLP with ReLU"):
        exporter.network(Agent.build(seen(), MLP((8,), activation="tanh"), Deterministic()))


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_what_is_written_is_read_to_the_last_bit(kind: Any, tmp_path: Path) -> None:
    about = {"task": "tiny", "steps": 3, "reaches": {"value": 1.5}}
    write(tmp_path / "x.safetensors", net(kind=kind), about)
    back, said = read(tmp_path / "x.safetensors")
    assert said == about
    for name, array in net(kind=kind).arrays().items():
        assert back.arrays()[name].dtype == array.dtype
        assert np.array_equal(back.arrays()[name], array)


def test_the_answer_is_the_formula(tmp_path: Path) -> None:
    n = net(2)
    write(tmp_path / "tiny.safetensors", n, {"task": "tiny"})
    x = np.array([0.5, -1.0, 2.0], np.float32)
    (w0, b0), (w1, b1) = n.layers
    expected = np.tanh(w1 @ np.maximum(w0 @ (x / 2) + b0, 0) + b1)
    expert = TrainedExpert("tiny", tmp_path)
    assert np.allclose(expert.act({"state": x}), expected, atol=1e-6)
    assert np.array_equal(x, np.array([0.5, -1.0, 2.0], np.float32))  # what was given is left alone


def test_it_travels_and_gives_the_same_bits(tmp_path: Path) -> None:
    write(tmp_path / "tiny.safetensors", net(), {"task": "tiny"})
    expert = TrainedExpert("tiny", tmp_path)
    back = pickle.loads(pickle.dumps(expert))
    for s in np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32):
        assert np.array_equal(expert.act({"state": s}), back.act({"state": s}))


@pytest.mark.parametrize("obs", [{}, {"state": np.zeros(4, np.float32)}, {"picture": np.zeros(3)}])
def test_another_observation_is_an_error_that_says_what_it_sees(obs: Any, tmp_path: Path) -> None:
    write(tmp_path / "tiny.safetensors", net(), {"task": "tiny"})
    with pytest.raises(ValueError, match=r"tiny expert sees state of shape \(3,\)"):
        TrainedExpert("tiny", tmp_path).act(obs)


def changed(**arrays: Any) -> dict[str, Any]:
    """The arrays of a network with some replaced, or left out where None."""
    return {k: v for k, v in (net().arrays() | arrays).items() if v is not None}


NAMED = {"format": "understudy-expert-1", "about": json.dumps({"task": "tiny"})}
HOSTILE = {
    "empty": (b"", "not a whole safetensors file"),
    "a header longer than the file": ((1 << 60).to_bytes(8, "little") + b"{}", "not a whole"),
    "no words": (save(changed()), "names its task"),
    "another format": (save(changed(), NAMED | {"format": "other"}), "names its task"),
    "no task": (save(changed(), NAMED | {"about": "{}"}), "names its task"),
    "words nested deeply": (save(changed(), NAMED | {"about": "[" * 100_000}), "names its task"),
    "a body cut short": (save(changed(), NAMED)[:-4], "is damaged"),
    "an array missing": (save(changed(reach=None), NAMED), "an expert has"),
    "an array too many": (save(changed(more=np.zeros(1)), NAMED), "an expert has"),
    "whole numbers": (save(changed(bias0=np.ones(8, np.int32)), NAMED), "bias0 must be finite"),
    "not a number": (save(changed(bias0=np.full(8, np.nan, np.float32)), NAMED), "bias0 must be finite"),
    "layers that do not meet": (save(changed(weight1=np.ones((2, 9), np.float32)), NAMED), "weight1 has"),
    "a scale of zero": (save(changed(scale=np.zeros(3, np.float32)), NAMED), "scale must be 3 positive"),
    "another width": (save(changed(reach=np.ones(3, np.float32)), NAMED), r"must have \[2\] numbers"),
    "a large file": (b"\0" * ((4 << 20) + 1), "more than 4194304 bytes"),
}


@pytest.mark.parametrize(("raw", "say"), HOSTILE.values(), ids=HOSTILE)
def test_a_damaged_or_hostile_file_is_one_line(raw: bytes, say: str, tmp_path: Path) -> None:
    (tmp_path / "tiny.safetensors").write_bytes(raw)
    with pytest.raises(DamagedExpert, match=say) as e:
        TrainedExpert("tiny", tmp_path)
    assert "\n" not in str(e.value)


def test_a_file_under_another_tasks_name_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "hopper.safetensors", net(), {"task": "tiny"})
    with pytest.raises(DamagedExpert, match="holds the expert of 'tiny'"):
        TrainedExpert("hopper", tmp_path)


def test_what_could_not_be_read_is_not_written(tmp_path: Path) -> None:
    bad = net()._replace(scale=np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="scale must be 3 positive"):
        write(tmp_path / "tiny.safetensors", bad, {"task": "tiny"})
    with pytest.raises(ValueError, match="names its task"):
        write(tmp_path / "tiny.safetensors", net(), {})
    assert not list(tmp_path.iterdir())


def test_a_task_has_an_expert_where_the_file_is_there(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setattr(weights, "WEIGHTS", tmp_path)
    assert trained("tiny") is None
    (tmp_path / "tiny.safetensors").write_bytes(b"not read before it is asked for")
    assert trained("tiny") is not None


def test_neither_the_registry_nor_an_expert_brings_torch_in(tmp_path: Path) -> None:
    write(tmp_path / "tiny.safetensors", net(), {"task": "tiny"})
    code = "import sys, pathlib, numpy as np\nimport understudy.envs.registry\n"
    code += "print('safetensors' in sys.modules)\n"
    code += "from understudy.experts import TrainedExpert\n"
    code += f"TrainedExpert('tiny', pathlib.Path({str(tmp_path)!r})).act({{'state': np.zeros(3)}})\n"
    code += "print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_expert_fits_its_task_and_reaches_what_its_file_says(name: str) -> None:
    t = task(name)
    assert t.expert is not None
    expert = t.expert()
    assert isinstance(expert, TrainedExpert)
    assert (WEIGHTS / f"{name}.safetensors").stat().st_size < 400_000
    said = expert.about["reaches"]
    first, _ = said["seeds"]
    # The measured seeds again. Another processor may round otherwise, so a spread's width is allowed.
    for e in rollouts(t.make, expert, range(first, first + 2)):
        assert e.total_reward >= said["least_return"] - said["spread"]
        assert len(e) == t.horizon or said["to_the_time_limit"]["value"] < 1
