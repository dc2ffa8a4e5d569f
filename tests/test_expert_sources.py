"""Experts from anywhere: other libraries' objects, Stable-Baselines3's files, words on a command line."""

from __future__ import annotations

import io
import json
import pickle
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from understudy import storage
from understudy.agent import Agent, Chunked, load
from understudy.dataset import Dataset
from understudy.envs import ActionSpec, task
from understudy.episode import POLICY, RECOVERY, as_obs
from understudy.experts import ENDORSE, ObsNorm, PolicyExpert, as_expert, as_policy, load_sb3
from understudy.experts.pendulum import PendulumExpert
from understudy.experts.queue import QueueExpert
from understudy.experts.sb3 import SB3Policy
from understudy.heads import Deterministic
from understudy.learn import bc
from understudy.nets import MLP
from understudy.rollout import rollout, rollouts
from understudy.runs import Network, fit_run
from understudy.sources import expert_from
from understudy.train import Budget

FILES = Path(__file__).parent / "data" / "sb3"
ANSWERS = json.loads((FILES / "answers.json").read_text())
ONE = {"state": np.array([0.5, -1.0, 2.0], np.float32)}
TWO = {**ONE, "goal": np.zeros(2, np.float32)}
NOTHING = np.zeros(1, np.float32)


# ── things that are no experts by themselves ──────────────────────────────────────────────────────────


def on_array(state: Any) -> Any:
    return [2.0 * state[0]]


def on_mapping(obs: Any) -> Any:
    return 2.0 * obs["state"][:1]


class Predicts:
    """Stable-Baselines3's form, with a memory that counts."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def predict(
        self, obs: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> Any:
        self.asked.append((state, episode_start, deterministic))
        return np.asarray(obs)[:1] * 2.0, (0 if state is None else state) + 1


class Gives:
    def get_action(self, state: Any) -> Any:
        return torch.tensor(np.asarray(state)[:1] * 2.0, requires_grad=True)


class Acts:
    """A policy with no `reset` of its own."""

    def act(self, obs: Any) -> Any:
        return 2.0 * obs["state"][:1]


@pytest.mark.parametrize("thing", [on_array, on_mapping, Predicts(), Gives(), Acts()], ids=str)
def test_every_form_answers_as_an_expert_and_as_a_policy(thing: Any) -> None:
    expert, policy = as_expert(thing), as_policy(thing)
    for _ in range(3):
        expert.reset(0)
        policy.reset(0)
        said = expert.advise(ONE, NOTHING)
        assert said is not None
        assert said.tolist() == policy.act(ONE).tolist() == [1.0]


@pytest.mark.parametrize("thing", [on_array, on_mapping, Predicts(), Gives(), Acts()], ids=str)
def test_an_expert_travels_between_processes_where_the_thing_does(thing: Any) -> None:
    copy = pickle.loads(pickle.dumps(as_expert(thing)))
    copy.reset(1)
    assert np.asarray(copy.advise(ONE, NOTHING)).tolist() == [1.0]


def test_experts_and_policies_of_this_library_stay_what_they_are() -> None:
    policy = PendulumExpert()
    assert as_policy(policy) is policy
    assert isinstance(made := as_expert(policy), PolicyExpert)
    assert made.policy is policy
    assert as_expert(ENDORSE) is ENDORSE


def test_a_function_teaches_on_a_task() -> None:
    """What `imitation` refuses: a bare function as the expert that stands by."""
    own = PendulumExpert()
    t = task("pendulum")
    plain = as_expert(lambda state: own.act({"state": state}))
    taught = rollout(t.make(), as_policy(lambda obs: np.zeros(1)), 3, plain)
    direct = rollout(t.make(), as_policy(lambda obs: np.zeros(1)), 3, PolicyExpert(own))
    assert np.array_equal(taught.label, direct.label)
    assert taught.labelled.all()


def test_none_means_go_on_for_an_expert_and_is_refused_of_a_policy() -> None:
    episode = rollout(
        task("pendulum").make(), PendulumExpert(), 0, as_expert(lambda s: None if s[0] < 0 else [0.25])
    )
    seen = episode.obs["state"][:-1, 0] < 0
    assert 0 < seen.sum() < len(seen)
    assert np.array_equal(episode.labelled, ~seen)
    with pytest.raises(TypeError, match="gave no action"):
        as_policy(lambda s: None).act(ONE)


def test_auto_tries_the_array_once_and_keeps_what_went_well() -> None:
    seen: list[Any] = []

    def picky(given: Any) -> Any:
        seen.append(type(given))
        return given["state"][:1]

    expert = as_expert(picky)
    for _ in range(3):
        expert.advise(ONE, NOTHING)
    assert seen == [np.ndarray, dict, dict, dict]


def test_auto_gives_the_mapping_wherever_there_is_more_than_one_state() -> None:
    seen: list[Any] = []
    as_expert(lambda o: seen.append(o)).advise(TWO, NOTHING)
    as_expert(lambda o: seen.append(o)).advise({"camera": ONE["state"]}, NOTHING)
    assert [set(o) for o in seen] == [{"state", "goal"}, {"camera"}]


def test_takes_decides_and_its_errors_say_what_was_tried() -> None:
    assert np.asarray(as_expert(on_mapping, "mapping").advise(TWO, NOTHING)).tolist() == [1.0]
    assert np.asarray(as_expert(on_array, "array").advise({"camera": ONE["state"]}, NOTHING)).tolist() == [
        1.0
    ]
    with pytest.raises(ValueError, match=r"takes a bare array, but there are 2 observations"):
        as_expert(on_array, "array").advise(TWO, NOTHING)
    with pytest.raises(ValueError, match="takes is 'list'"):
        as_expert(on_array, "list")  # type: ignore[arg-type]

    def broken(given: Any) -> Any:
        return given["speed"]

    with pytest.raises(
        TypeError, match=r"^broken takes neither the bare array \[3\] \(IndexError.*KeyError: 'speed'"
    ):
        as_expert(broken).advise(ONE, NOTHING)


def test_what_a_model_remembers_is_handed_back_until_the_episode_ends() -> None:
    model = Predicts()
    expert = as_expert(model)
    for _ in range(2):
        expert.reset(0)
        expert.advise(ONE, NOTHING)
        expert.advise(ONE, NOTHING)
    assert [a[0] for a in model.asked] == [None, 1, None, 1]
    assert all(a[2] is True for a in model.asked)


def test_a_model_that_announces_its_observations_gets_them_by_its_own_names() -> None:
    class Announces:
        class observation_space:
            spaces = {"observation": None, "goal": None}  # noqa: RUF012

        def predict(self, obs: Any) -> Any:
            return [float(len(obs["observation"]) + len(obs["goal"]))]

    assert np.asarray(as_expert(Announces()).advise(TWO, NOTHING)).tolist() == [5.0]
    with pytest.raises(ValueError, match="wants observation 'goal'"):
        as_expert(Announces(), "mapping").advise(ONE, NOTHING)


def test_resets_with_a_seed_and_without_are_both_understood() -> None:
    called: list[Any] = []

    class Bare(Acts):
        def reset(self) -> None:
            called.append("bare")

    class Named(Acts):
        def reset(self, options: Any = None, *, seed: int) -> None:
            called.append(seed)

    class Strange(Acts):
        def reset(self, env: Any, speed: float) -> None: ...

    class Own(Acts):
        def reset(self, number: int) -> None:
            called.append(number)

    class Late(Acts):
        def reset(self, seed: int = 0, *, env: Any) -> None: ...

    own = Own()
    assert as_policy(own) is own
    for thing in (Bare(), Named()):
        as_expert(thing).reset(7)
        as_policy(thing).reset(8)
    assert called == ["bare", "bare", 7, 8]
    for strange in (Strange(), Late()):
        with pytest.raises(TypeError, match="a reset that wants 'env'"):
            as_expert(strange)


def test_an_expert_that_knows_another_reset_still_says_in_what_capacity_it_drives() -> None:
    class Rescuer:
        control = RECOVERY

        def reset(self) -> None: ...

        def advise(self, obs: Any, proposed: Any) -> Any:
            return None if obs["state"][0] < 0 else [1.0]

    episode = rollout(task("pendulum").make(), PendulumExpert(), 0, as_expert(Rescuer()))
    assert episode.control is not None
    assert set(episode.control.tolist()) == {POLICY, RECOVERY}
    assert np.array_equal(episode.control == RECOVERY, episode.labelled)


@pytest.mark.parametrize("thing", [3, "terminal", PendulumExpert], ids=str)
def test_what_is_no_expert_is_refused(thing: Any) -> None:
    with pytest.raises(TypeError, match=r"is no expert|is a class"):
        as_expert(thing)


def test_what_only_advises_cannot_act() -> None:
    with pytest.raises(TypeError, match="only advises"):
        as_policy(ENDORSE)


# ── Stable-Baselines3's files ─────────────────────────────────────────────────────────────────────────


def read(name: str, **more: Any) -> SB3Policy:
    norm = ObsNorm(ANSWERS[name]["mean"], ANSWERS[name]["var"]) if "mean" in ANSWERS[name] else None
    return load_sb3(FILES / f"{name}.zip", norm=norm, **more)


def asked(name: str) -> list[dict[str, Any]]:
    """The observations as this library gives them: choices one-hot, "observation" called "state"."""
    out = []
    for obs in ANSWERS[name]["obs"]:
        now = as_obs({k: np.asarray(v, np.float32) for k, v in obs.items()} if isinstance(obs, dict) else obs)
        if "mode" in now:
            now["mode"] = np.eye(3, dtype=np.float32)[int(now["mode"])]
        out.append({k: np.asarray(v, np.float32) for k, v in now.items()})
    return out


def played(policy: SB3Policy, name: str) -> Any:
    return np.stack([policy.act(o) for o in asked(name)])


@pytest.mark.parametrize("name", ANSWERS)
def test_a_file_acts_as_stable_baselines3_does(name: str) -> None:
    got = played(read(name), name)
    want = np.asarray(ANSWERS[name]["action"]).reshape(got.shape)
    assert np.ptp(want) > 0, "answers that are all alike would prove little"
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)
    again = played(pickle.loads(pickle.dumps(read(name))), name)
    assert np.array_equal(got, again)


def changed(
    name: str,
    where: Path,
    data: Callable[[dict[str, Any]], Any] = lambda d: None,
    state: Callable[[dict[str, Any]], Any] = lambda s: None,
    packing: int = zipfile.ZIP_STORED,
) -> Path:
    """The file of that name with its words or its weights changed."""
    with zipfile.ZipFile(FILES / f"{name}.zip") as archive:
        parts = {i: archive.read(i) for i in archive.namelist()}
    words = json.loads(parts["data"])
    data(words)
    weights = torch.load(io.BytesIO(parts["policy.pth"]), weights_only=True)
    state(weights)
    buffer = io.BytesIO()
    torch.save(weights, buffer)
    parts["data"], parts["policy.pth"] = json.dumps(words).encode(), buffer.getvalue()
    path = where / f"{name}.zip"
    with zipfile.ZipFile(path, "w", packing) as archive:
        for member, content in parts.items():
            archive.writestr(member, content)
    return path


def poison(node: Any) -> None:
    """Every pickle in the words becomes one that must never be opened."""
    for key, value in list(node.items()):
        if isinstance(value, dict):
            poison(value)
        elif key == ":serialized:":
            node[key] = "Y29zCnN5c3RlbQooUydmYWxzZScKdFIu"


def test_no_pickle_is_ever_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("something was unpickled")

    path = changed("sac", tmp_path, poison)
    monkeypatch.setattr(pickle, "loads", never)
    monkeypatch.setattr(pickle, "load", never)
    assert np.allclose(played(load_sb3(path), "sac"), ANSWERS["sac"]["action"], atol=1e-5)


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.mkdir, (self.mark,)


def test_weights_that_would_run_code_are_refused(tmp_path: Path) -> None:
    path = changed("sac", tmp_path, state=lambda s: s.update(bomb=Bomb(tmp_path / "ran")))
    with pytest.raises(ValueError, match="damaged, or holds more than weights"):
        load_sb3(path)
    assert not (tmp_path / "ran").exists()


def test_shared_layers_of_old_versions_are_played_first(tmp_path: Path) -> None:
    def old(state: dict[str, Any]) -> None:
        for part in ("weight", "bias"):
            state[f"mlp_extractor.shared_net.0.{part}"] = state.pop(f"mlp_extractor.policy_net.0.{part}")
            state[f"mlp_extractor.policy_net.0.{part}"] = state.pop(f"mlp_extractor.policy_net.2.{part}")

    path = changed("ppo_tanh", tmp_path, state=old)
    assert np.array_equal(played(load_sb3(path), "ppo_tanh"), played(read("ppo_tanh"), "ppo_tanh"))


def test_the_mean_of_state_dependent_exploration_is_bounded_before_it_is_squashed(tmp_path: Path) -> None:
    path = changed("sac_gsde", tmp_path, state=lambda s: s["actor.mu.0.weight"].mul_(1e4))
    spec = ActionSpec.box([-1.0, 0.1, -30.0], [3.0, 0.3, 10.0])
    reached = (played(load_sb3(path, spec), "sac_gsde") - spec.low) / (spec.high - spec.low) * 2 - 1
    assert np.abs(reached).max() == pytest.approx(np.tanh(2.0), abs=1e-5)


@pytest.mark.parametrize("name", ["Tanh", "ReLU", "ELU", "LeakyReLU", "SiLU", "GELU"])
def test_activations_are_pytorchs_own(name: str, tmp_path: Path) -> None:
    kind = f"<class 'torch.nn.modules.activation.{name}'>"
    path = changed("td3", tmp_path, lambda d: d["policy_kwargs"].update(activation_fn=kind))
    with zipfile.ZipFile(path) as archive:
        state = torch.load(io.BytesIO(archive.read("policy.pth")), weights_only=True)
    bend = getattr(torch.nn, name)()
    x = torch.tensor(np.stack([o["state"] for o in asked("td3")]))
    for i in (0, 2):
        x = bend(x @ state[f"actor.mu.{i}.weight"].T + state[f"actor.mu.{i}.bias"])
    x = torch.tanh(x @ state["actor.mu.4.weight"].T + state["actor.mu.4.bias"])
    low, high = np.float32([-1.0, 0.1, -30.0]), np.float32([3.0, 0.3, 10.0])
    np.testing.assert_allclose(
        played(load_sb3(path), "td3"), low + 0.5 * (x.numpy() + 1) * (high - low), atol=2e-5
    )


def test_normalised_observations_need_their_statistics() -> None:
    with pytest.raises(ValueError, match=r"pass norm=ObsNorm\(env.obs_rms.mean"):
        load_sb3(FILES / "ppo_normalised.zip")
    raw = load_sb3(FILES / "ppo_normalised.zip", norm=ObsNorm(0.0, 1.0, np.inf))
    assert not np.allclose(played(raw, "ppo_normalised"), played(read("ppo_normalised"), "ppo_normalised"))
    with pytest.raises(ValueError, match=r"norm has 2 means and 1 variances; .* sees 3 numbers"):
        load_sb3(FILES / "ppo_normalised.zip", norm=ObsNorm([0.0, 0.0], 1.0))
    with pytest.raises(ValueError, match="var is"):
        ObsNorm(0.0, [-1.0])


def test_the_environments_actions_must_be_those_of_the_file(tmp_path: Path) -> None:
    spec = ActionSpec.box([-1.0, 0.1, -30.0], [3.0, 0.3, 10.0])
    assert np.array_equal(played(read("sac", action=spec), "sac"), played(read("sac"), "sac"))
    for other, why in (
        (ActionSpec.box([-1.0, 0.1, -30.0], [3.0, 0.3, 20.0]), "up to"),
        (ActionSpec.box([-1.0], [3.0]), "of width 3; here they have 1"),
        (ActionSpec.discrete(3), "are continuous; here they are 3 choices"),
    ):
        with pytest.raises(ValueError, match=why):
            read("sac", action=other)
    path = changed("sac", tmp_path, lambda d: d["action_space"].update(low="[-1. ... -30.]"))
    with pytest.raises(ValueError, match="bounds of its actions cannot be read; pass `action`"):
        load_sb3(path)
    assert np.array_equal(played(load_sb3(path, spec), "sac"), played(read("sac"), "sac"))


def test_observations_must_be_those_it_was_trained_on() -> None:
    pendulum = read("ppo_tanh")
    with pytest.raises(ValueError, match="name those it was trained on"):
        pendulum.act(TWO)
    with pytest.raises(ValueError, match=r"sees 3 numbers; observation .* has 2"):
        pendulum.act({"state": np.zeros(2)})
    named = read("ppo_tanh", keys=["state"])
    assert np.array_equal(named.act(TWO), pendulum.act(ONE))
    rooms = read("a2c_dict")
    assert rooms.keys == ("goal", "mode", "state")
    with pytest.raises(ValueError, match="wants observation 'goal'"):
        rooms.act(ONE)


def lstm(state: dict[str, Any]) -> None:
    state["lstm_actor.weight_ih_l0"] = torch.zeros(4, 4)


def cnn(state: dict[str, Any]) -> None:
    state["features_extractor.cnn.0.weight"] = torch.zeros(4, 4)


CANNOT: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any], str]] = {
    "recurrent": (lambda d: None, lstm, "it is recurrent"),
    "pictures": (lambda d: None, cnn, "it sees pictures"),
    "stranger": (lambda d: d["policy_class"].update(__module__="my.nets"), lambda s: None, "from my.nets"),
    "activation": (
        lambda d: d.update(policy_kwargs={"activation_fn": "<class 'torch.nn.modules.activation.Softsign'>"}),
        lambda s: None,
        "activation 'Softsign' is not one of",
    ),
    "extractor": (
        lambda d: d.update(policy_kwargs={"features_extractor_class": "<class 'a.NatureCNN'>"}),
        lambda s: None,
        "sees through a NatureCNN",
    ),
    "many choices": (
        lambda d: d["action_space"].update({":type:": "<class 'gymnasium.spaces.MultiDiscrete'>"}),
        lambda s: None,
        "its actions are MultiDiscrete",
    ),
    "no bias": (lambda d: None, lambda s: s.pop("action_net.bias"), "weights 'action_net.bias' are missing"),
    "no fit": (
        lambda d: None,
        lambda s: s.update({"action_net.weight": torch.zeros(1, 5)}),
        "layer 'action_net' has weights .* do not fit",
    ),
    "no policy": (lambda d: None, lambda s: s.clear(), "of no policy that is known: none"),
    "not finite": (lambda d: None, lambda s: s["action_net.bias"].fill_(np.nan), "not finite"),
    "whole numbers": (
        lambda d: None,
        lambda s: s.update({"action_net.bias": torch.zeros(1, dtype=torch.int64)}),
        "not plain floating-point numbers",
    ),
    "repeated": (
        lambda d: None,
        lambda s: s.update({"action_net.bias": torch.zeros(1).expand(1 << 40)}),
        "claims more weights than",
    ),
}  # fmt: skip


@pytest.mark.parametrize("why", CANNOT)
def test_what_cannot_be_read_is_said_in_one_line(why: str, tmp_path: Path) -> None:
    data, state, words = CANNOT[why]
    with pytest.raises(ValueError, match=words) as caught:
        load_sb3(changed("ppo_tanh", tmp_path, data, state))
    assert "\n" not in str(caught.value)


def test_files_from_strangers_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_text("not a zip")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("../../data", "{}")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data", b"[" * (65 << 20))
        archive.writestr("policy.pth", b"")
    with zipfile.ZipFile(tmp_path / "deep.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data", b"[" * (1 << 20))
        archive.writestr("policy.pth", b"")
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"0" * (8 << 20))
    with zipfile.ZipFile(FILES / "sac.zip") as archive, zipfile.ZipFile(tmp_path / "inner.zip", "w") as out:
        out.writestr("data", archive.read("data"))
        out.writestr("policy.pth", inner.getvalue())
    for name, words in (
        ("nothing", "No such file"),
        ("text", "cannot be read"),
        ("other", "is not a Stable-Baselines3 file: it has no 'data'"),
        ("bomb", "more than"),
        ("deep", "not valid JSON"),
        ("inner", "'policy.pth' claims more than its"),
    ):
        with pytest.raises(ValueError, match=words) as caught:
            load_sb3(tmp_path / f"{name}.zip")
        assert "\n" not in str(caught.value), name


def test_a_damaged_file_is_refused_or_whole(tmp_path: Path) -> None:
    """Bytes changed at random never crash, hang or run anything: a ValueError, or a policy that plays."""
    raw = (FILES / "ppo_tanh.zip").read_bytes()
    rng = np.random.default_rng(0)
    refused = said = 0
    for _ in range(150):
        bad = bytearray(raw)
        for at in rng.integers(0, len(raw), 4):
            bad[at] = rng.integers(0, 256)
        (tmp_path / "bad.zip").write_bytes(bad)
        try:
            load_sb3(tmp_path / "bad.zip").act(ONE)
        except ValueError as e:
            refused += "\n" not in str(e)
            said += 1
    assert refused == said > 50  # most changes hit a member that is read, whose checksum then fails


# ── words on a command line ───────────────────────────────────────────────────────────────────────────

PENDULUM = task("pendulum")


def agent() -> Agent:
    data = Dataset(rollouts(PENDULUM.make, PendulumExpert(), [0], ENDORSE, max_steps=20))
    return Agent.build(data, MLP((8,)), Deterministic())


def test_the_tasks_own_expert_and_its_absence() -> None:
    said = expert_from("task", PENDULUM).advise(ONE, NOTHING)
    assert np.array_equal(np.asarray(said), PendulumExpert().act(ONE))
    with pytest.raises(ValueError, match="'CartPole-v1' has no expert of its own"):
        expert_from("task", task("CartPole-v1"))


def test_a_saved_agent_is_an_expert(tmp_path: Path) -> None:
    made = agent()
    made.save(tmp_path / "agent")
    said = expert_from(str(tmp_path / "agent"), PENDULUM).advise(ONE, NOTHING)
    assert np.array_equal(np.asarray(said), Chunked(made).act(ONE))
    with pytest.raises(ValueError, match="does not fit task fetch-reach"):
        expert_from(str(tmp_path / "agent"), task("fetch-reach"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="neither a run nor a saved agent"):
        expert_from(str(tmp_path / "empty"), PENDULUM)


def test_a_run_is_an_expert_that_plays_its_chunks(tmp_path: Path) -> None:
    data = Dataset(rollouts(PENDULUM.make, PendulumExpert(), [0, 1], ENDORSE, max_steps=20))
    storage.write(tmp_path / "data", data)
    network = Network(hidden=(8,), horizon=3, execute=3)
    fit_run(
        algorithm="bc",
        data=tmp_path / "data",
        out=tmp_path / "run",
        config=bc.Config(batch=8),
        network=network,
        budget=Budget(2, validate_every=1),
    )
    expert = expert_from(str(tmp_path / "run"), PENDULUM)
    expert.reset(0)
    own = Chunked(load(tmp_path / "run" / "agent"), execute=3)
    others = [{"state": ONE["state"] * k} for k in (1, 2, 3, 4)]
    for obs in others:
        assert np.array_equal(np.asarray(expert.advise(obs, NOTHING)), own.act(obs))


def test_a_stable_baselines3_file_is_an_expert_of_its_own_task_only() -> None:
    said = expert_from(str(FILES / "ppo_tanh.zip"), PENDULUM).advise(ONE, NOTHING)
    assert np.array_equal(np.asarray(said), read("ppo_tanh").act(ONE))
    for name, why in (("dqn", "here they are continuous"), ("sac", "of width 3; here they have 1")):
        with pytest.raises(ValueError, match=why):
            expert_from(str(FILES / f"{name}.zip"), PENDULUM)
    with pytest.raises(ValueError, match="does not fit task Pendulum-v1: a2c_dict wants observation 'goal'"):
        expert_from(str(FILES / "a2c_dict.zip"), replace(task("Pendulum-v1"), action=ActionSpec.discrete(4)))


MODULE = """
import numpy as np
def double(state): return 2 * state[:1]
class Controller:
    def get_action(self, state): return 2 * state[:1]
class Needy:
    def __init__(self, gain): ...
class inner:
    held = Controller()
number = 3
"""


def test_a_module_in_the_current_folder_is_searched_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_experts_7f.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("double", "Controller", "inner.held"):
        said = expert_from(f"my_experts_7f:{name}", PENDULUM).advise(ONE, NOTHING)
        assert np.asarray(said).tolist() == [1.0]
    for words, why in (
        ("my_experts_7f:missing", "has no 'missing'"),
        ("my_experts_7f:Needy", "cannot be made without arguments"),
        ("my_experts_7f:number", "is no expert"),
        ("no_such_module_7f:x", "there is no module 'no_such_module_7f'"),
        ("no such words", "no file or folder here, nor any other expert"),
        ("nothing.zip", "no file or folder here"),
    ):
        with pytest.raises(ValueError, match=why):
            expert_from(words, PENDULUM)
    expert = expert_from("my_experts_7f:double", PENDULUM)
    here, there = (
        rollouts(PENDULUM.make, PendulumExpert(), range(2), expert, workers=n, max_steps=5) for n in (1, 2)
    )
    assert here == there, "worker processes find the module too"


def test_terminal_is_a_person_who_can_hold_a_gate() -> None:
    expert = expert_from("terminal", PENDULUM)
    assert isinstance(expert, QueueExpert)
    expert.queue.close()
