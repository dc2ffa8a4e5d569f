"""Normalisation: exact statistics in one pass, an exact way back, and nothing that explodes."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from understudy.agent import Columns, Normalizer
from understudy.agent.normalize import Moments, columns_of
from understudy.dataset import Dataset
from understudy.episode import Episode

KINDS = ["standard", "range", "quantile", "identity"]


def data_of(x: NDArray[Any], action: NDArray[Any] | None = None, key: str = "state") -> Dataset:
    """One episode a hundred rows."""
    parts = [x[i : i + 100] for i in range(0, len(x), 100)]
    acts = [np.zeros((len(p) - 1, 1)) if action is None else action[: len(p) - 1] for p in parts]
    return Dataset([Episode.demonstration({key: p}, a) for p, a in zip(parts, acts, strict=True)])


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.lists(st.integers(1, 50), min_size=1, max_size=6), st.sampled_from([0, 1e4])
)
def test_pieces_merge_to_the_statistics_of_the_whole(seed: int, sizes: list[int], offset: float) -> None:
    rng = np.random.default_rng(seed)
    pieces = [rng.normal(offset, 3, (n, 2)).astype(np.float32) for n in sizes]
    whole = np.concatenate(pieces).astype(np.float64)
    m = Moments.of(pieces)
    assert m.rows == len(whole)
    np.testing.assert_allclose(m.mean, whole.mean(0), rtol=1e-12)
    np.testing.assert_allclose(m.squares, whole.var(0) * len(whole), rtol=1e-9, atol=1e-9)
    assert np.array_equal(m.low, whole.min(0))
    assert np.array_equal(m.high, whole.max(0))


def test_statistics_of_nothing_are_an_error() -> None:
    with pytest.raises(ValueError, match="no rows"):
        Moments.of([])
    with pytest.raises(ValueError, match="must be"):
        Normalizer(Columns((3,)), torch.zeros(2), torch.ones(3))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_there_and_back(kind: Any, offset: float) -> None:
    x = np.random.default_rng(0).normal(offset, [0.01, 1, 50], (500, 3)).astype(np.float32)
    n = Normalizer.fit(data_of(x), "state", Columns((3,), kind))
    back = n.inverse(n(torch.from_numpy(x))).numpy()
    np.testing.assert_allclose(back, x, rtol=2e-6, atol=1e-6)


def test_each_kind_does_what_it_says() -> None:
    x = np.random.default_rng(1).gamma(2.0, [1, 20], (2000, 2)).astype(np.float32)
    data, t = data_of(x), torch.from_numpy(x)
    z = {k: Normalizer.fit(data, "state", Columns((2,), k))(t).double().numpy() for k in KINDS}  # type: ignore[arg-type]
    np.testing.assert_allclose(z["standard"].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(z["standard"].std(0), 1, atol=1e-5)
    np.testing.assert_allclose([z["range"].min(0), z["range"].max(0)], [[-1, -1], [1, 1]], atol=1e-6)
    np.testing.assert_allclose(
        np.quantile(z["quantile"], [0.01, 0.99], axis=0), [[-1, -1], [1, 1]], atol=1e-5
    )
    assert (z["quantile"].max(0) > 1).all(), "nothing is clipped"
    assert np.array_equal(z["identity"], x)


@pytest.mark.parametrize("kind", ["standard", "range", "quantile"])
@pytest.mark.parametrize("value", [0.0, 1e-9, 5.0, -1e6])
def test_a_constant_is_shifted_and_not_scaled(kind: Any, value: float) -> None:
    x = np.full((100, 1), value, np.float32)
    n = Normalizer.fit(data_of(x), "state", Columns((1,), kind))
    assert n(torch.from_numpy(x)).abs().max() <= 1e-6 * max(1, abs(value))
    assert n.scale.item() == 1.0, "when it moves one day, it moves by its own size"
    assert n.inverse(torch.zeros(1)).item() == np.float32(value)


def test_rounding_noise_is_a_constant_and_a_small_signal_is_not() -> None:
    rng = np.random.default_rng(2)
    noise = (1000 + 6e-5 * rng.integers(0, 2, (200, 1))).astype(np.float32)
    assert Normalizer.fit(data_of(noise), "state", Columns((1,))).scale.item() == 1.0
    signal = rng.normal(0, 1e-4, (200, 1)).astype(np.float32)
    assert Normalizer.fit(data_of(signal), "state", Columns((1,))).scale.item() == pytest.approx(
        signal.std(), rel=1e-4
    )


def test_percentiles_of_a_gripper_that_is_nearly_always_open() -> None:
    x = np.zeros((1000, 1), np.float32)
    x[:5] = 1.0
    n = Normalizer.fit(data_of(x), "state", Columns((1,), "quantile"))
    assert n(torch.tensor([[0.0], [1.0]])).flatten().tolist() == [-1.0, 1.0]


def test_percentiles_are_taken_in_blocks_of_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(3).normal(size=(300, 7)).astype(np.float32)
    whole = Normalizer.fit(data_of(x), "state", Columns((7,), "quantile"))
    monkeypatch.setattr("understudy.agent.normalize._BLOCK", 4 * 300 * 2)
    parts = Normalizer.fit(data_of(x), "state", Columns((7,), "quantile"))
    assert torch.equal(whole.shift, parts.shift)
    assert torch.equal(whole.scale, parts.scale)


def test_fitting_makes_no_second_copy() -> None:
    x = np.random.default_rng(4).normal(size=(400_000, 20)).astype(np.float32)  # 32 MB
    data = Dataset.from_columns({"state": x}, np.zeros((399_900, 1), np.float32), [3999] * 100)
    for kind in ("standard", "quantile"):
        tracemalloc.start()
        Normalizer.fit(data, "state", Columns((20,), kind))  # type: ignore[arg-type]
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        # 65,536 rows in float64 (10 MB), or one block of columns (here all 32 MB), and working copies.
        assert peak < {"standard": 28e6, "quantile": 110e6}[kind]


def test_images_have_a_mean_and_a_spread_a_channel_and_keep_their_shape() -> None:
    rng = np.random.default_rng(5)
    x = rng.integers(0, 256, (100, 4, 6, 3)).astype(np.uint8)
    x[..., 2] = 51
    data = data_of(x, key="camera")
    columns = columns_of(data, "standard", {}, {})["camera"]
    assert columns.image
    assert columns.statistics == (3,)
    assert columns.encoded == (4, 6, 3)
    n = Normalizer.fit(data, "camera", columns)
    z = n(torch.from_numpy(x)[:, None])
    assert z.shape == (100, 1, 4, 6, 3)
    assert z.dtype == torch.float32
    np.testing.assert_allclose(z[..., :2].double().mean((0, 1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(z[..., :2].double().std((0, 1, 2, 3)), 1, atol=1e-3)
    assert z[..., 2].abs().max() < 1e-6
    assert n.shift[2].item() == pytest.approx(0.2)


def test_angles_become_sine_and_cosine() -> None:
    x = np.random.default_rng(6).normal(3, 2, (200, 3)).astype(np.float32)
    n = Normalizer.fit(data_of(x), "state", Columns((3,), "standard", angles=(1,)))
    plain = Normalizer.fit(data_of(x), "state", Columns((3,), "standard"))
    z, t = n(torch.from_numpy(x)), torch.from_numpy(x)
    assert z.shape == (200, 4) == (200, *n.columns.encoded)
    assert torch.equal(z[:, :2], plain(t)[:, [0, 2]])
    assert torch.equal(z[:, 2], t[:, 1].sin())
    assert torch.equal(z[:, 3], t[:, 1].cos())
    turned = torch.from_numpy(x)
    turned[:, 1] += 2 * torch.pi
    assert torch.allclose(n(turned), z, atol=1e-5), "a whole turn changes nothing"


def test_arrays_of_sealed_episodes_are_encoded_as_others_are() -> None:
    """Their memory is read-only, of which torch warns; a warning is an error here."""
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    data = data_of(x)
    n = Normalizer.fit(data, "state", Columns((3,), "standard", angles=(1,)))
    sealed = np.asarray(next(iter(data)).obs["state"])
    assert not sealed.flags.writeable
    out = np.empty((len(sealed), 4), np.float32)
    want = n(torch.from_numpy(sealed.copy())).numpy()
    assert np.array_equal(n.encoder()(sealed), want)
    assert np.array_equal(n.encoder()(sealed, out), want)
    assert np.array_equal(out, want)


@pytest.mark.parametrize("order", ["wxyz", "xyzw"])
def test_a_quaternion_and_its_negative_are_one_rotation(order: Any) -> None:
    rng = np.random.default_rng(7)
    q = rng.normal(size=(300, 4))
    w = 0 if order == "wxyz" else 3
    q[0, w] = 0.0  # half a turn: the next component decides
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    x = np.concatenate([rng.normal(size=(300, 1)), q, rng.normal(size=(300, 1))], 1).astype(np.float32)
    n = Normalizer.fit(data_of(x), "state", Columns((6,), "standard", quaternions=((1, order),)))
    flipped = x.copy()
    flipped[:, 1:5] *= -1
    a, b = n(torch.from_numpy(x)), n(torch.from_numpy(flipped))
    assert torch.equal(a[:, 1:5], b[:, 1:5])
    np.testing.assert_allclose(a[:, 1:5].norm(dim=1), 1, atol=1e-6)
    assert (a[1:, 1 + w] > 0).all()
    assert torch.equal(a[:, 1:5].abs(), torch.from_numpy(x)[:, 1:5].abs()), "not scaled"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Columns((3,), "other"), "must be one of"),  # type: ignore[arg-type]
        (lambda: Columns(()), "at least one dimension"),
        (lambda: Columns((2, 3), angles=(0,)), "must be a vector"),
        (lambda: Columns((3,), angles=(3,)), "must lie in width 3"),
        (lambda: Columns((5,), quaternions=((2, "wxyz"),)), "must lie in width 5"),
        (lambda: Columns((5,), angles=(1,), quaternions=((0, "wxyz"),)), "name a dimension twice"),
        (lambda: Columns((4,), quaternions=((0, "zyxw"),)), "order must be"),  # type: ignore[arg-type]
        (lambda: Columns((1,), "standard", discrete=True), "must be 'identity'"),
        (lambda: columns_of(data_of(np.zeros((9, 2))), "standard", {"pose": (0,)}, {}), "obs 'pose'"),
    ],
)
def test_contradictions_are_named(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
