"""Augmentations do what they say, to whole windows, from their own generators, and only in training."""

from __future__ import annotations

import json
import math
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from understudy import storage
from understudy.actions import ActionSpace, Delta, Effector, Field
from understudy.agent import Agent, load
from understudy.augment import (
    Colour,
    Crop,
    Cutout,
    Mirror,
    Noise,
    Shift,
    Tensors,
    TimeWarp,
    Turn,
    Wish,
    augmented,
)
from understudy.cli import main
from understudy.dataset import Dataset
from understudy.envs import Flips, Reflection, Turning, Turns, task
from understudy.episode import Episode
from understudy.heads import Deterministic, Mixture
from understudy.learn import bc
from understudy.nets import MLP
from understudy.numerics import rotations
from understudy.serial import read_tree, write_tree

MIRROR = Reflection(
    "x = 1", {"state": Flips(odd=(2,), about=((0, 1.0),)), "goal": Flips(about=((0, 1.0),))}, Flips((0,))
)
TURNING = Turning("the origin", {"state": Turns(((0, 1),)), "goal": Turns(((0, 1),))}, Turns(free=((0, 1),)))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def vectors(b: int = 64, k: int = 3, h: int = 4) -> Tensors:
    g = generator(7)
    obs = {"state": torch.randn(b, k, 3, generator=g), "goal": torch.randn(b, k, 2, generator=g)}
    return Tensors(obs, torch.randn(b, h, 2, generator=g), torch.rand(b, h, generator=g) < 0.8)


def pictures(dtype: torch.dtype = torch.uint8, b: int = 16, k: int = 2) -> Tensors:
    """Every frame of a window is the same picture but for its top left pixel."""
    g = generator(8)
    x = torch.randint(0, 256, (b, 1, 12, 10, 3), generator=g).repeat(1, k, 1, 1, 1)
    x = x.to(torch.uint8) if dtype == torch.uint8 else x.to(dtype) / 255
    return Tensors({"cam": x, "state": torch.zeros(b, k, 1)}, torch.zeros(b, 1, 1), torch.ones(b, 1).bool())


SPACE = ActionSpace(2, (Effector(Field(0, 1), seen_position=Field(0, 1, key="state")),))
ALL: list[tuple[Any, Tensors]] = [
    (Noise({"state": (0.1, 0.0, 2.0)}), vectors()),
    (Mirror(MIRROR), vectors()),
    (Turn(TURNING, 20.0), vectors()),
    (TimeWarp(SPACE.to(Delta("previous", "world")), 0.3), vectors()),
    (Shift(3), pictures()),
    (Crop(0.6), pictures()),
    (Colour(0.3, 0.3, 0.3), pictures()),
    (Cutout(4), pictures()),
]
IDS = [type(a).__name__ for a, _ in ALL]


def same(a: Tensors, b: Tensors) -> bool:
    return (
        a.obs.keys() == b.obs.keys()
        and all(torch.equal(a.obs[k], b.obs[k]) for k in a.obs)
        and torch.equal(a.action, b.action)
        and torch.equal(a.mask, b.mask)
    )


# ── what all of them keep ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("change", "batch"), ALL, ids=IDS)
def test_each_changes_something_repeats_itself_and_leaves_what_it_was_given(
    change: Any, batch: Tensors
) -> None:
    before = deepcopy(batch)
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    once = change(batch, generator(3))
    assert torch.equal(state, torch.random.get_rng_state()), "it draws from its own generator alone"
    assert same(batch, before)
    assert same(once, change(batch, generator(3)))
    assert not same(once, change(batch, generator(4)))
    assert not same(once, batch)
    for k, x in batch.obs.items():
        assert (once.obs[k].shape, once.obs[k].dtype) == (x.shape, x.dtype)
    assert (once.action.shape, once.action.dtype) == (batch.action.shape, batch.action.dtype)
    assert once.mask.dtype == torch.bool
    assert once.mask.any(1).all() or not batch.mask.any(1).all()


@pytest.mark.parametrize(("change", "batch"), ALL, ids=IDS)
def test_what_is_masked_cannot_matter(change: Any, batch: Tensors) -> None:
    junk = torch.where(batch.mask[..., None], batch.action, 1e6)
    a, b = change(batch, generator()), change(batch._replace(action=junk), generator())
    assert torch.equal(a.mask, b.mask)
    assert torch.equal(a.action[a.mask], b.action[b.mask])
    assert all(torch.equal(a.obs[k], b.obs[k]) for k in a.obs)


@pytest.mark.parametrize(("change", "batch"), ALL[4:], ids=IDS[4:])
def test_all_frames_of_a_window_are_changed_alike(change: Any, batch: Tensors) -> None:
    out = change(batch, generator()).obs["cam"]
    assert torch.equal(out[:, 0], out[:, 1])
    assert not torch.equal(out[0], change(batch, generator()).obs["cam"][1])


@pytest.mark.parametrize("change", [Shift(0), Crop(1.0), Colour(0, 0, 0), Noise({"state": (0.0,)})], ids=str)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=["uint8", "float32"])
def test_an_amount_of_nothing_changes_nothing(change: Any, dtype: torch.dtype) -> None:
    batch = pictures(dtype)
    out = change(batch, generator())
    torch.testing.assert_close(out.obs["cam"], batch.obs["cam"], atol=1e-6, rtol=0)


def test_a_list_draws_by_seed_step_and_place() -> None:
    batch = vectors()
    noise = Noise({"state": (1.0, 1.0, 1.0)})
    one = augmented(batch, [noise], 5, 9)
    assert same(one, augmented(batch, [noise], 5, 9))
    assert not same(one, augmented(batch, [noise], 5, 10))
    assert not same(one, augmented(batch, [noise], 6, 9))
    both = augmented(batch, [noise, noise], 5, 9)
    first, second = one.obs["state"] - batch.obs["state"], both.obs["state"] - one.obs["state"]
    assert not torch.allclose(first, second)
    correlation = float((first * second).mean())
    assert abs(correlation) < 4 / math.sqrt(first.numel())  # four standard errors of nothing in common
    assert same(batch, augmented(batch, [], 5, 9))


# ── vectors ───────────────────────────────────────────────────────────────────────────────────────────


def test_noise_has_the_spread_it_says_and_is_new_in_every_frame() -> None:
    batch = vectors(4000)
    moved = Noise({"state": (0.1, 0.0, 2.0)})(batch, generator())
    d = moved.obs["state"] - batch.obs["state"]
    n = d[..., 0].numel()
    np.testing.assert_allclose(d[..., 0].std(), 0.1, rtol=4 / math.sqrt(2 * n))
    assert (d[..., 1] == 0).all()
    assert abs(float((d[:, 0, 2] * d[:, 1, 2]).mean())) / 4 < 4 / math.sqrt(4000)
    assert torch.equal(moved.action, batch.action)
    assert torch.equal(moved.obs["goal"], batch.obs["goal"])


def test_noise_in_units_of_the_data() -> None:
    rng = np.random.default_rng(0)
    data = Dataset(
        Episode.demonstration(
            {"a": rng.normal(1e4, [1, 9], (50, 2)), "cam": np.zeros((50, 8, 8, 3), np.uint8)}, np.zeros(49)
        )
        for _ in range(4)
    )
    noise = Noise.fit(data, 0.02)
    assert noise.spread.keys() == {"a"}
    whole = np.concatenate([e.obs["a"] for e in data]).astype(np.float64)
    np.testing.assert_allclose(noise.spread["a"], 0.02 * whole.std(0), rtol=1e-9)
    with pytest.raises(ValueError, match="obs 'cam' is none"):
        Noise.fit(data, 0.02, ["cam"])
    with pytest.raises(ValueError, match="at least 0"):
        Noise.fit(data, -1.0)


def test_mirrors_move_observation_and_action_together() -> None:
    batch = vectors(2000)
    out = Mirror(MIRROR, 0.25)(batch, generator())
    flipped = out.obs["goal"][:, 0, 0] != batch.obs["goal"][:, 0, 0]
    assert abs(float(flipped.float().mean()) - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 2000)
    for i in (int(torch.where(flipped)[0][0]), int(torch.where(~flipped)[0][0])):
        f = bool(flipped[i])
        state, was = out.obs["state"][i], batch.obs["state"][i]
        want = torch.stack([2 - was[:, 0], was[:, 1], -was[:, 2]], -1) if f else was
        torch.testing.assert_close(state, want)
        torch.testing.assert_close(
            out.action[i, :, 0], -batch.action[i, :, 0] if f else batch.action[i, :, 0]
        )
        assert torch.equal(out.action[i, :, 1], batch.action[i, :, 1])


def test_turns_are_rigid_and_stay_within_their_angle() -> None:
    batch = vectors(500)
    out = Turn(TURNING, 20.0)(batch, generator())

    def angle(x: Tensor) -> Tensor:
        return torch.atan2(x[..., 1], x[..., 0])

    turned = [angle(out.obs[k]) - angle(batch.obs[k]) for k in ("state", "goal")]
    turned.append(angle(out.action) - angle(batch.action))
    turned = [(t + math.pi) % (2 * math.pi) - math.pi for t in turned]
    each = turned[0][:, 0]
    for t in turned:
        torch.testing.assert_close(t, each[:, None].expand_as(t), atol=1e-3, rtol=0)
    assert 15 < float(each.abs().max()) * 180 / math.pi < 20.1
    torch.testing.assert_close(out.action.norm(dim=-1), batch.action.norm(dim=-1))


def test_symmetries_refuse_what_they_were_not_declared_for() -> None:
    batch = vectors()
    more = batch._replace(obs={**batch.obs, "cam": torch.zeros(64, 3, 4, 4, 3)})
    for change in (Mirror(MIRROR), Turn(TURNING, 5.0)):
        with pytest.raises(ValueError, match="what becomes of obs 'cam'"):
            change(more, generator())
        with pytest.raises(ValueError, match="discrete"):
            change(batch._replace(action=torch.zeros(64, 4, 1, dtype=torch.int64)), generator())
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        Mirror(MIRROR, 1.5)
    with pytest.raises(ValueError, match=r"\[0, 180\]"):
        Turn(TURNING, -1.0)


# ── pictures ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_shift_moves_every_pixel_by_the_same_and_repeats_the_border() -> None:
    batch = pictures()
    x, y = batch.obs["cam"], Shift(3)(batch, generator()).obs["cam"]
    found = set()
    for i in range(len(x)):
        fits = [
            (dy, dx)
            for dy in range(-3, 4)
            for dx in range(-3, 4)
            if torch.equal(
                y[i, 0], x[i, 0][(torch.arange(12) + dy).clamp(0, 11)][:, (torch.arange(10) + dx).clamp(0, 9)]
            )
        ]
        assert len(fits) == 1
        found.add(fits[0])
    assert len(found) > 8


def test_each_camera_has_its_own_draws() -> None:
    one = pictures()
    two = one._replace(obs={**one.obs, "hand": one.obs["cam"]})
    out = Shift(3)(two, generator()).obs
    assert not torch.equal(out["cam"], out["hand"])
    only = Shift(3, keys=("hand",))(two, generator()).obs
    assert torch.equal(only["cam"], one.obs["cam"])
    assert not torch.equal(only["hand"], one.obs["cam"])


def test_a_crop_is_a_window_into_the_picture() -> None:
    ramp = torch.arange(12.0)[:, None] / 12 + torch.zeros(12, 10)
    x = ramp[None, None, :, :, None].repeat(50, 1, 1, 1, 3)
    batch = Tensors({"cam": x}, torch.zeros(50, 1, 1), torch.ones(50, 1).bool())
    y = Crop(0.5)(batch, generator()).obs["cam"]
    inner = y[:, 0, 1:-1, 5, 0]
    slope = (
        inner.diff(dim=1) * 12
    )  # of a stretched ramp: the share of the side that is left, at the border less
    assert float(slope.max()) <= 1.0 + 1e-4
    assert 0.45 < float(slope[:, 4:6].min()) < 0.7
    assert (y.amin((1, 2, 3, 4)) >= -1e-6).all()
    assert y.std(dim=(0,))[0, 5, 5, 0] > 0


def test_colours() -> None:
    x = torch.full((200, 1, 4, 4, 3), 100, dtype=torch.uint8)
    x[..., :2, 0] = 150
    batch = Tensors({"cam": x}, torch.zeros(200, 1, 1), torch.ones(200, 1).bool())
    bright = Colour(0.2, 0, 0)(batch, generator()).obs["cam"].float()
    factor = bright[:, 0, 0, 3, 1] / 100
    assert 0.79 < factor.min() < 0.83
    assert 1.17 < factor.max() < 1.21
    torch.testing.assert_close(bright[..., 0, 0], bright[..., 0, 1] * 1.5, atol=1.5, rtol=0)
    light = torch.tensor([0.299, 0.587, 0.114])
    grey = (batch.obs["cam"].float() * light).sum(-1)
    for change in (Colour(0, 0, 0.9), Colour(0, 0.9, 0)):
        y = change(batch, generator()).obs["cam"].float()
        assert float((y - x.float()).abs().max()) > 8
        after = (y * light).sum(-1)
        if change.saturation:  # each pixel's brightness stays
            torch.testing.assert_close(after, grey, atol=1.5, rtol=0)
        else:  # the picture's mean stays, and differences scale
            torch.testing.assert_close(after.mean((1, 2, 3)), grey.mean((1, 2, 3)), atol=1.5, rtol=0)


def test_colours_are_changed_in_the_order_that_is_said(monkeypatch: Any) -> None:
    factors = iter([1.3, 0.6, 1.4])
    monkeypatch.setattr(
        "understudy.augment.images.uniform", lambda b, *_: torch.full((len(b.action),), next(factors))
    )
    x = pictures(torch.float32).obs["cam"]
    y = Colour(0.5, 0.5, 0.5)(pictures(torch.float32), generator()).obs["cam"]

    def grey(z: Tensor) -> Tensor:
        return (z * torch.tensor([0.299, 0.587, 0.114])).sum(-1, keepdim=True)

    z = (x * 1.3).clamp(0, 1)
    mean = grey(z).mean((1, 2, 3, 4), keepdim=True)
    z = mean + 0.6 * (z - mean)
    z = grey(z) + 1.4 * (z - grey(z))
    torch.testing.assert_close(y, z.clamp(0, 1), atol=1e-5, rtol=0)


def test_a_cutout_covers_one_square() -> None:
    batch = pictures()
    x, y = batch.obs["cam"], Cutout(4)(batch, generator()).obs["cam"]
    for i in range(len(x)):
        changed = (x[i, 0] != y[i, 0]).any(-1)
        rows, columns = torch.where(changed.any(1))[0], torch.where(changed.any(0))[0]
        assert 1 <= len(rows) <= 4
        assert 1 <= len(columns) <= 4
        assert int(rows[-1] - rows[0]) < 4
        assert len(torch.unique(y[i, 0][changed], dim=0)) == 1


def test_pictures_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="none of the observations"):
        Shift(2)(vectors(), generator())
    with pytest.raises(ValueError, match="'state' is no image"):
        Shift(2, keys=("state",))(pictures(), generator())
    for make in (lambda: Shift(-1), lambda: Crop(0.0), lambda: Colour(2.0, 0, 0), lambda: Cutout(0)):
        with pytest.raises(ValueError, match=r"must (lie|be)"):
            make()


# ── time-warp ─────────────────────────────────────────────────────────────────────────────────────────


def at_speed(speed: float, warp: TimeWarp, batch: Tensors, monkeypatch: Any) -> Tensors:
    monkeypatch.setattr(
        "understudy.augment.warp.uniform", lambda b, g, low, high: torch.full((len(b.action),), speed)
    )
    return warp(batch, generator())


def line(b: int = 2, k: int = 3, h: int = 8) -> Tensors:
    """x moves by 0.5 a step and is 0 now; its velocity is seen; the third column is a gripper."""
    time = torch.arange(1 - k, 1.0)
    obs = {"state": torch.stack([0.5 * time, torch.full((k,), 0.5)], -1).repeat(b, 1, 1)}
    target = 0.5 * (torch.arange(h) + 1.0)
    action = torch.stack([target, (torch.arange(h) >= 4).float()], -1).repeat(b, 1, 1)
    return Tensors(obs, action, torch.ones(b, h).bool())


@pytest.mark.parametrize("speed", [0.8, 1.0, 1.25])
@pytest.mark.parametrize("kind", ["absolute", "delta"])
def test_motion_at_constant_speed_becomes_the_same_line_at_another(
    speed: float, kind: str, monkeypatch: Any
) -> None:
    batch = line()
    space = SPACE if kind == "absolute" else SPACE.to(Delta("previous", "world"))
    if kind == "delta":
        batch = batch._replace(action=torch.cat([torch.full((2, 8, 1), 0.5), batch.action[..., 1:]], -1))
    warp = TimeWarp(space, 0.5, velocities={"state": (1,)})
    out = at_speed(speed, warp, batch, monkeypatch)
    k = torch.arange(-2, 1.0)
    torch.testing.assert_close(out.obs["state"][0, :, 0], 0.5 * speed * k)
    torch.testing.assert_close(out.obs["state"][0, :, 1], torch.full((3,), 0.5 * speed))
    steps = torch.arange(8.0)
    want = 0.5 * speed * (steps + 1) if kind == "absolute" else torch.full((8,), 0.5 * speed)
    assert out.mask[0].tolist() == (speed * (steps + 1) <= 8 + 1e-6).tolist()
    torch.testing.assert_close(out.action[0, out.mask[0], 0], want[out.mask[0]])
    torch.testing.assert_close(
        out.action[0, out.mask[0], 1], (speed * (steps + 0.5) >= 4).float()[out.mask[0]]
    )


def test_warped_deltas_go_as_far_as_what_they_cover(monkeypatch: Any) -> None:
    batch = vectors(20, 1, 10)._replace(mask=torch.ones(20, 10).bool())
    warp = TimeWarp(SPACE.to(Delta("previous", "world")), 0.5)
    out = at_speed(0.5, warp, batch, monkeypatch)
    torch.testing.assert_close(out.action[:, :10, 0].sum(1), batch.action[:, :5, 0].sum(1))
    fast = at_speed(1.25, warp, batch, monkeypatch)
    assert fast.mask.sum(1).tolist() == [8] * 20
    torch.testing.assert_close(fast.action[:, :8, 0].sum(1), batch.action[:, :, 0].sum(1))


def test_a_window_that_would_lose_everything_stays(monkeypatch: Any) -> None:
    batch = line()
    batch = batch._replace(mask=torch.zeros(2, 8).bool())
    batch.mask[:, 0] = True
    out = at_speed(1.25, TimeWarp(SPACE, 0.5, velocities={"state": (1,)}), batch, monkeypatch)
    assert same(out, batch)


def test_angles_and_pictures_and_quaternions_are_warped_on_their_way_round(monkeypatch: Any) -> None:
    b, h = 1, 6
    turns = torch.linspace(3.0, 3.5, h).to(torch.float64)  # through half a turn, where canonical signs jump
    r = np.stack([0 * turns.numpy(), 0 * turns.numpy(), turns.numpy()], -1)
    q = torch.tensor(rotations.convert(r, "axis_angle", "xyzw"), dtype=torch.float32)
    space = ActionSpace(4, (Effector(rotation=Field(0, 4, "xyzw")),))
    wrapped = (torch.tensor([3.1, 3.2]) + math.pi) % (2 * math.pi) - math.pi
    obs = {"angle": wrapped.reshape(b, 2, 1), "cam": torch.arange(2).to(torch.uint8).reshape(b, 2, 1, 1, 1)}
    batch = Tensors(obs, q[None], torch.ones(b, h).bool())
    out = at_speed(0.5, TimeWarp(space, 0.5, angles={"angle": (0,)}), batch, monkeypatch)
    got = rotations.convert(out.action[0].numpy(), "xyzw", "matrix")
    want = 3.0 + 0.1 * (0.5 * (np.arange(h) + 1) - 1)
    want = rotations.convert(np.stack([0 * want, 0 * want, want], -1), "axis_angle", "matrix")
    assert rotations.angle_between(got, want).max() < 1e-3
    halfway = float(out.obs["angle"][0, 0, 0])
    assert math.cos(halfway) == pytest.approx(math.cos(3.15), abs=1e-4)
    assert out.obs["cam"].flatten().tolist() in ([0, 1], [1, 1])
    with pytest.raises(ValueError, match="convert them to xyzw"):
        TimeWarp(ActionSpace(3, (Effector(rotation=Field(0, 3, "axis_angle")),)), 0.1)
    with pytest.raises(ValueError, match="needs chunks"):
        TimeWarp(SPACE, 0.1)(vectors(h=1), generator())
    with pytest.raises(ValueError, match="wide"):
        TimeWarp(space, 0.1)(vectors(), generator())


# ── in training ───────────────────────────────────────────────────────────────────────────────────────


def walks(seed: int = 0, n: int = 8) -> Dataset:
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(n):
        obs = {"state": rng.normal(size=(21, 3)).cumsum(0), "goal": rng.normal(size=(21, 2))}
        made.append(Episode.demonstration(obs, rng.normal(size=(20, 2))))
    return Dataset(made)


def built(head: Any = None, **options: Any) -> Agent:
    trunk = MLP((16,), dropout=options.pop("dropout", 0.0))
    return Agent.build(walks(), trunk, head or Deterministic(), **options)


LIST = [Noise({"state": (0.3, 0.3, 0.3)}), Mirror(MIRROR), Turn(TURNING, 10.0)]


@pytest.mark.parametrize("options", [{}, {"history": 2, "horizon": 3}, {"dropout": 0.1}], ids=str)
def test_without_augmentations_nothing_is_different(options: dict[str, Any]) -> None:
    weights = []
    for extra in ({}, {"augment": []}, {"augment": LIST}):
        learner = bc.Learner(built(**options), walks(), bc.Config(batch=16, jitter=0.1), **extra)
        for _ in range(5):
            learner.step()
        weights.append(torch.cat([p.detach().flatten() for p in learner.agent.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("dropout", [0.0, 0.1], ids=["fused", "tape"])
@pytest.mark.parametrize("head", [Deterministic(), Mixture(3)], ids=["deterministic", "mixture"])
def test_resuming_continues_to_the_same_bits(dropout: float, head: Any, tmp_path: Path) -> None:
    def learner(augment: Any = LIST) -> bc.Learner:
        return bc.Learner(built(head, dropout=dropout, horizon=2), walks(), bc.Config(batch=16), augment)

    whole, part = learner(), learner()
    for _ in range(8):
        whole.step()
    for _ in range(3):
        part.step()
    write_tree(tmp_path / "state", part.state_dict())
    rest = learner()
    rest.load_state_dict(read_tree(tmp_path / "state"))
    for _ in range(5):
        rest.step()
    for a, b in zip(whole.agent.parameters(), rest.agent.parameters(), strict=True):
        assert torch.equal(a, b)
    other = learner([*LIST[:2], replace(LIST[2], degrees=11.0)])
    with pytest.raises(ValueError, match="augment"):
        other.load_state_dict(read_tree(tmp_path / "state"))


def test_validation_and_acting_know_nothing_of_it() -> None:
    plain = bc.Learner(built(), walks(), bc.Config(batch=16))
    noisy = bc.Learner(built(), walks(), bc.Config(batch=16), [Noise({"state": (9.0, 9.0, 9.0)})])
    held = walks(1)
    assert plain.validation_loss(held) == noisy.validation_loss(held)
    obs = {"state": np.ones(3), "goal": np.zeros(2)}
    assert np.array_equal(plain.agent.act(obs), noisy.agent.act(obs))


def test_the_fused_and_the_taped_way_see_the_same_batches() -> None:
    """A dropout too small to drop anything keeps the tape; both then walk the same path."""
    paths = []
    for dropout in (0.0, 1e-12):
        agent = built(dropout=dropout)
        learner = bc.Learner(agent, walks(), bc.Config(batch=16), LIST)
        paths.append([learner.step()["loss"] for _ in range(5)])
    np.testing.assert_allclose(paths[0], paths[1], rtol=1e-5)


def test_mirrored_training_makes_a_mirrored_policy() -> None:
    """Demonstrations from one side alone, a(s) = √s: the mirror teaches the other side, −√−s."""
    rng = np.random.default_rng(0)
    states = rng.uniform(0.5, 2.0, (40, 11, 1))
    data = Dataset([Episode.demonstration(s, np.sqrt(s[:-1])) for s in states])
    odd = Reflection("0", {"state": Flips((0,))}, Flips((0,)))
    error = {}
    for name, augment in (("plain", []), ("mirror", [Mirror(odd)])):
        agent = Agent.build(data, MLP((32,)), Deterministic(), observations="identity", actions="identity")
        learner = bc.Learner(agent, data, bc.Config(batch=64, learning_rate=1e-2, decay=400), augment)
        for _ in range(400):
            learner.step()
        there = -np.linspace(0.6, 1.9, 20, dtype=np.float32)[:, None]
        error[name] = float(np.abs(agent.act({"state": there}) + np.sqrt(-there)).max())
    assert error["mirror"] < 0.25 < 0.5 < error["plain"]


def test_the_declared_mirror_of_a_task_goes_through_training() -> None:
    which = task("fetch-push")
    rng = np.random.default_rng(0)
    obs = {k: rng.normal(size=(11, *shape)) for k, shape in which.obs.items()}
    data = Dataset([Episode.demonstration(obs, rng.normal(size=(10, 4))) for _ in range(2)])
    agent = Agent.build(data, MLP((8,)), Deterministic(), history=2, horizon=2)
    learner = bc.Learner(agent, data, bc.Config(batch=4), [Mirror(s) for s in which.symmetries])  # type: ignore[arg-type]
    assert math.isfinite(learner.step()["loss"])


# ── by name ───────────────────────────────────────────────────────────────────────────────────────────


def test_wishes_become_augmentations() -> None:
    data, symmetries = walks(), (MIRROR, TURNING)
    (noise,) = Wish.parse("noise:0.5").build(data, symmetries)
    assert noise == Noise.fit(data, 0.5)
    assert Wish.parse("mirror").build(data, symmetries) == [Mirror(MIRROR, 0.5)]
    assert Wish.parse("mirror:0.25").build(data, symmetries) == [Mirror(MIRROR, 0.25)]
    assert Wish.parse("rotation:5").build(data, symmetries) == [Turn(TURNING, 5.0)]
    seen = {"cam": np.zeros((3, 8, 8, 3), np.uint8)}
    filmed = Dataset([Episode.demonstration(seen, np.zeros(2))])
    made = [
        w.build(filmed, ())[0] for w in map(Wish.parse, ("shift:4", "crop:0.9", "colour:0.2", "cutout:3"))
    ]
    assert made == [Shift(4), Crop(0.9), Colour(0.2, 0.2, 0.2), Cutout(3)]
    for text in ("noise:0.1234567890123", "shift:4", "mirror:0.5"):
        assert str(Wish.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("noise", "needs an amount"),
        ("noise:lots", "must be a number"),
        ("noise:-1", "at least 0"),
        ("noise:nan", "at least 0"),
        ("wobble:1", "one of noise, mirror"),
        ("shift:1.5", "whole number"),
        ("shift:4", "is for pictures"),
        ("mirror:2", r"\[0, 1\]"),
        ("rotation:500", r"\[0, 180\]"),
    ],
)
def test_wishes_that_cannot_be_are_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Wish.parse(text).build(walks(), (MIRROR, TURNING))


def test_a_task_without_symmetries_has_none() -> None:
    for text in ("mirror", "rotation:5"):
        with pytest.raises(ValueError, match="declares no"):
            Wish.parse(text).build(walks(), ())


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    which = task("reacher")
    made = []
    for seed in range(3):
        obs = {k: rng.normal(size=(11, *shape)) for k, shape in which.obs.items()}
        meta = {"task": "reacher", "seed": seed}
        made.append(Episode.demonstration(obs, rng.uniform(-1, 1, (10, 2)), success=True, meta=meta))
    storage.write(tmp_path / "data", Dataset(made))

    def train(*more: str, out: str = "run") -> tuple[int, str]:
        words = ["train", "bc", "--data", str(tmp_path / "data"), "--out", str(tmp_path / out), *more]
        return main(words), capsys.readouterr().err

    flags = ("--steps", "6", "--validate-every", "3")
    assert train(*flags, "--augment", "noise:0.02", "mirror", "rotation:5") == (0, "")
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["augment"] == ["noise:0.02", "mirror:0.5", "rotation:5"]
    assert train("--resume", "--augment", "noise:0.02", "mirror", "rotation:5")[0] == 0
    assert train("--resume")[0] == 0
    status, said = train("--resume", "--augment", "mirror")
    assert status == 2
    assert "begun with noise:0.02 mirror:0.5 rotation:5" in said
    assert train(*flags, out="plain")[0] == 0
    weights = [load(tmp_path / n / "agent").state_dict() for n in ("run", "plain")]
    assert any(not torch.equal(weights[0][k], weights[1][k]) for k in weights[0])
    status, said = train(*flags, "--augment", "shift:4", out="wrong")
    assert (status, said.count("\n")) == (2, 1)
    assert not (tmp_path / "wrong").exists()
