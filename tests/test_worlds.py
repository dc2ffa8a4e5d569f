"""The worlds are what their papers say: moves, slips, winds, rules of reward, roads, Gymnasium's tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import gymnasium
import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra
from scipy.stats import kstest

from understudy.numerics import clopper_pearson, wilson
from understudy.tabular import TabularMDP, arrivals, hard_plan, policy_value
from understudy.tabular.worlds import (
    PREFERENCES,
    ROAD_FEATURES,
    TURNS,
    RoadMap,
    Thing,
    UnknownWorld,
    Wind,
    binaryworld,
    cliff,
    from_gymnasium,
    gridworld,
    macro_rewards,
    objectworld,
    random_mdp,
    routes,
    street_grid,
    world,
    worlds,
)


def dense(mdp: TabularMDP) -> np.ndarray:
    """[S, A, S]."""
    return mdp.transition.toarray().reshape(mdp.states, mdp.actions, mdp.states)


def state_features(mdp: TabularMDP) -> np.ndarray:
    """[S, K], of worlds whose features do not depend on the action."""
    phi = mdp.features.toarray() if not isinstance(mdp.features, np.ndarray) else mdp.features
    phi = phi.reshape(mdp.states, mdp.actions, -1)
    np.testing.assert_array_equal(phi, phi[:, :1].repeat(mdp.actions, axis=1))
    return phi[:, 0]


# ── all of them ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", worlds())
def test_every_world_is_whole_and_the_same_again(name: str) -> None:
    mdp, again = world(name), world(name)
    sums = np.asarray(mdp.transition.sum(axis=1)).reshape(mdp.states, mdp.actions)
    np.testing.assert_allclose(sums, mdp.available, atol=1e-12)
    assert not mdp.available[mdp.terminal].any()
    assert mdp.available[~mdp.terminal].any(axis=1).all()
    assert mdp.initial[mdp.terminal].sum() == 0
    assert mdp.reward is not None
    assert np.isfinite(mdp.reward).all()
    assert np.ptp(mdp.reward[mdp.available]) > 0
    assert (len(mdp.feature_names), len(mdp.state_names)) == (mdp.width, mdp.states)
    assert len(mdp.action_names) == mdp.actions
    assert len(set(mdp.feature_names)) == mdp.width
    assert len(set(mdp.state_names)) == mdp.states
    assert (mdp.transition != again.transition).nnz == 0
    np.testing.assert_array_equal(mdp.reward, again.reward)
    plan = hard_plan(mdp, mdp.reward)
    uniform = mdp.available / np.maximum(mdp.available.sum(axis=1, keepdims=True), 1)
    assert plan.start_value > mdp.initial @ policy_value(mdp, uniform, mdp.reward)


@pytest.mark.parametrize("name", ["objectworld", "binaryworld", "random", "routes"])
def test_another_seed_is_another_world(name: str) -> None:
    first, second = world(name, seed=1), world(name, seed=2)
    assert not np.array_equal(first.reward, second.reward)


def test_an_unknown_world_or_option_is_named() -> None:
    with pytest.raises(UnknownWorld, match="no world 'objektworld'; did you mean objectworld") as caught:
        world("objektworld")
    assert "\n" not in str(caught.value)
    with pytest.raises(UnknownWorld, match="there are gridworld, cliff"):
        world("zzzzzz")
    with pytest.raises(ValueError, match="'gridworld' has no option 'row'; it has rows, cols, slip"):
        world("gridworld", row=3)
    with pytest.raises(ValueError, match="rows is 'many'; it must be a whole number"):
        world("gridworld", rows="many")
    with pytest.raises(ValueError, match="unexpected keyword argument 'is_slipery'"):
        world("frozen-lake", is_slipery=True)


def test_options_and_a_wind_in_words_reach_the_world() -> None:
    blown = world("gridworld", rows=3, cols=4, slip=0.0, wind="left:0.25", horizon=7)
    made = gridworld(3, 4, slip=0.0, discount=0.9, wind=Wind("left", 0.25), horizon=7)
    np.testing.assert_array_equal(dense(blown), dense(made))
    assert (blown.horizon, blown.shape) == (7, (3, 4))
    assert world("taxi", is_rainy=True).transition.nnz > world("taxi").transition.nnz
    for text in ("left", "left:lots", "west:0.2", "left:2"):
        with pytest.raises(ValueError, match=r"as in up:0\.3"):
            world("gridworld", wind=text)


# ── grids ──────────────────────────────────────────────────────────────────────────────────────────────────


def slow_grid(rows: int, cols: int, slip: float, walls: set, ends: set, stay: bool, wind: Wind | None) -> Any:
    """[S, A, S], cell by cell, in the words of the definition."""
    steps = [(-1, 0), (0, 1), (1, 0), (0, -1)] + [(0, 0)] * stay
    push = {"up": 0, "right": 1, "down": 2, "left": 3}

    def go(cell: tuple[int, int], step: tuple[int, int]) -> tuple[int, int]:
        to = (cell[0] + step[0], cell[1] + step[1])
        return cell if to in walls or not (0 <= to[0] < rows and 0 <= to[1] < cols) else to

    p = np.zeros((rows * cols, len(steps), rows * cols))
    for cell in set(product(range(rows), range(cols))) - walls - ends:
        for a, made in product(range(len(steps)), repeat=2):
            chance = 1 - slip if a == made else slip / (len(steps) - 1)
            calm = go(cell, steps[made])
            after = calm if wind is None else go(calm, steps[push[wind.direction]])
            blow = 0.0 if wind is None else wind.probability
            p[cell[0] * cols + cell[1], a, calm[0] * cols + calm[1]] += chance * (1 - blow)
            p[cell[0] * cols + cell[1], a, after[0] * cols + after[1]] += chance * blow
    return p


@pytest.mark.parametrize("stay", [False, True])
@pytest.mark.parametrize("wind", [None, Wind("up", 0.4), Wind("left", 1.0), Wind("down", 0.1)])
def test_a_grid_with_walls_ends_slips_and_wind_is_its_definition(stay: bool, wind: Wind | None) -> None:
    walls, ends = {(1, 1), (1, 2), (3, 4)}, {(0, 4), (2, 2)}
    mdp = gridworld(
        4,
        5,
        slip=0.3,
        discount=0.9,
        walls=walls,
        terminal=ends,
        stay=stay,
        wind=wind,
        rewards=np.zeros((4, 5)),
    )
    np.testing.assert_allclose(dense(mdp), slow_grid(4, 5, 0.3, walls, ends, stay, wind), atol=1e-15)
    assert set(np.flatnonzero(mdp.terminal)) == {6, 7, 19, 4, 12}
    assert not dense(mdp)[:, :, [6, 7, 19]].any(), "a wall is entered"


def test_slips_by_hand() -> None:
    p = dense(gridworld(3, 3, slip=0.3, discount=0.9))
    np.testing.assert_allclose(p[4, 0, [1, 5, 7, 3]], [0.7, 0.1, 0.1, 0.1])
    np.testing.assert_allclose(p[0, 0, [0, 1, 3]], [0.8, 0.1, 0.1])  # up and left stay in the corner
    np.testing.assert_allclose(p[1, 1, [2, 4, 0, 1]], [0.7, 0.1, 0.1, 0.1])  # up stays at the border


def test_wind_by_hand() -> None:
    p = dense(gridworld(3, 3, slip=0.0, discount=0.9, wind=Wind("up", 0.4), walls=[(0, 0)]))
    np.testing.assert_allclose(p[4, 1, [5, 2]], [0.6, 0.4])
    assert p[1, 0, 1] == 1.0  # up from the border, and pushed at the border
    assert p[4, 3, 3] == 1.0  # to the left, and pushed into the wall
    np.testing.assert_allclose(p[4, 2, [7, 4]], [0.6, 0.4])  # down, and back


def test_a_grid_turns_and_mirrors_with_its_actions() -> None:
    p, cells = dense(gridworld(4, 4, slip=0.2, discount=0.9)), np.arange(16).reshape(4, 4)
    for moved, actions in ((np.rot90(cells), [1, 2, 3, 0]), (cells[:, ::-1], [0, 3, 2, 1])):
        order = moved.ravel()
        np.testing.assert_array_equal(p[np.ix_(order, actions, order)], p)


def test_a_large_grid_stays_sparse() -> None:
    mdp = gridworld(300, 300, slip=0.3, discount=0.99, horizon=300)
    assert mdp.transition.nnz == 4 * 360_000 - 4 * 4  # two moves end alike in each corner, under each action
    assert mdp.features.nnz == 360_000
    assert mdp.width == 90_000


def test_rewards_are_paid_where_one_is_or_where_one_arrives() -> None:
    here = gridworld(2, 2, slip=0.1, discount=0.9, rewards={(0, 1): 2.0, (1, 0): -1.0})
    np.testing.assert_array_equal(here.reward, np.repeat([[0.0], [2.0], [-1.0], [0.0]], 4, axis=1))
    there = gridworld(
        2, 2, slip=0.1, discount=0.9, rewards={(0, 1): 2.0, (1, 0): -1.0}, terminal=[(0, 1)], arrival=True
    )
    value = np.array([0.0, 2.0, -1.0, 0.0])
    np.testing.assert_allclose(there.reward.ravel(), there.transition @ value, atol=1e-15)
    np.testing.assert_allclose(there.linear(value), there.reward, atol=1e-15)
    assert there.reward[0, 1] > 1.5
    np.testing.assert_array_equal(there.reward[1], 0)
    with pytest.raises(ValueError, match=r"terminal cell \(0, 1\) would never be paid"):
        gridworld(2, 2, slip=0.1, discount=0.9, rewards={(0, 1): 2.0}, terminal=[(0, 1)])


def test_features_of_cells() -> None:
    one = gridworld(3, 4, slip=0.0, discount=0.9)
    np.testing.assert_array_equal(state_features(one), np.eye(12))
    assert one.feature_names[5] == "cell (1, 1)"
    macro = gridworld(3, 4, slip=0.0, discount=0.9, block=2)  # the last row of blocks is one cell high
    np.testing.assert_array_equal(state_features(macro).argmax(axis=1), [0, 0, 1, 1, 0, 0, 1, 1, 2, 2, 3, 3])
    np.testing.assert_array_equal(state_features(macro).sum(axis=1), 1)
    where = state_features(gridworld(3, 4, slip=0.0, discount=0.9, features="coordinates"))
    np.testing.assert_allclose(where[[0, 6, 11]], [[0, 0], [0.5, 2 / 3], [1, 1]])
    splits = gridworld(3, 4, slip=0.0, discount=0.9, features="splits")
    assert splits.feature_names == ("row < 1", "row < 2", "column < 1", "column < 2", "column < 3")
    np.testing.assert_array_equal(state_features(splits)[[0, 6, 11]], [[1] * 5, [0, 1, 0, 0, 1], [0] * 5])
    own = np.arange(24.0).reshape(12, 2)
    made = gridworld(3, 4, slip=0.2, discount=0.9, features=own, arrival=True)
    np.testing.assert_allclose(made.features, arrivals(own, made.transition))


def test_macro_rewards_are_sparse_equal_in_a_block_and_sum_to_one() -> None:
    reward = macro_rewards(128, 128, 16, seed=3)
    weights = reward[::16, ::16]
    np.testing.assert_array_equal(reward, np.kron(weights, np.ones((16, 16))))
    assert weights.sum() == pytest.approx(1.0)
    # 200 draws of 64 blocks, each not 0 with probability .1; draws of only zeros (.9^64) are drawn again
    filled = sum(int((macro_rewards(8, 8, 1, seed=s) > 0).sum()) for s in range(200))
    assert (
        clopper_pearson(filled, 200 * 64, level=0.9999).low
        < 0.1
        < clopper_pearson(filled, 12800, 0.9999).high
    )


def test_where_an_episode_begins() -> None:
    free = gridworld(2, 3, slip=0.0, discount=0.9, walls=[(0, 0)], terminal=[(1, 1)], rewards={})
    np.testing.assert_allclose(free.initial, [0, 0.25, 0.25, 0.25, 0, 0.25])
    fixed = gridworld(2, 3, slip=0.0, discount=0.9, initial=(1, 0))
    np.testing.assert_array_equal(fixed.initial, [0, 0, 0, 1, 0, 0])
    given = gridworld(2, 3, slip=0.0, discount=0.9, initial=[0.5, 0, 0, 0, 0, 0.5])
    np.testing.assert_array_equal(given.initial, [0.5, 0, 0, 0, 0, 0.5])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"rows": 0}, "rows is 0; it must be at least 1"),
        ({"slip": 1.5}, r"slip is 1.5; it must lie in \[0, 1\]"),
        ({"slip": "0.1"}, "slip is '0.1'"),
        ({"wind": 0.3}, "wind is 0.3; it must be a Wind or None"),
        ({"walls": [(3, 0)]}, r"cell \(3, 0\) lies outside the 3 x 3 grid"),
        ({"walls": [4]}, "4 is no cell"),
        ({"walls": [(0, 0)], "terminal": [(0, 0)]}, r"cell \(0, 0\) is both a wall and terminal"),
        ({"walls": [(0, 0)], "initial": (0, 0)}, r"begins in cell \(0, 0\), a wall or terminal"),
        ({"initial": [0.5, 0.5]}, "initial has 2 probabilities for 9 cells"),
        ({"walls": [(1, 1)], "rewards": {(1, 1): 1.0}}, r"reward of wall \(1, 1\) would never be paid"),
        ({"walls": list(product(range(3), range(3)))}, "no open cell"),
        ({"rewards": [[1.0]]}, r"rewards have the shape \(1, 1\)"),
        ({"features": "smell"}, "features are 'smell'; they must be cells"),
        ({"features": "splits", "block": 2}, "only the features 'cells' have blocks"),
        ({"features": [[1.0]]}, r"features have the shape \(1, 1\)"),
        ({"block": 0}, "block is 0"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        gridworld(**{"rows": 3, "cols": 3, "slip": 0.1, "discount": 0.9, **change})
    assert "\n" not in str(caught.value)


def test_a_wind_knows_directions_and_probabilities() -> None:
    with pytest.raises(ValueError, match="direction is 'north'; it must be one of up, right"):
        Wind("north", 0.1)
    with pytest.raises(ValueError, match=r"probability is -0.1; it must lie in"):
        Wind("up", -0.1)


def test_the_cliff_by_hand() -> None:
    mdp = cliff(discount=1.0, horizon=40)
    assert (mdp.states, mdp.shape, mdp.terminal.any()) == (28, (4, 7), False)
    np.testing.assert_array_equal(mdp.reward[:, 0], [-1, *[-10] * 5, 10, *[-1] * 21])
    np.testing.assert_array_equal(mdp.linear([-1.0, -10.0, 10.0]), mdp.reward)
    p = dense(mdp)
    np.testing.assert_allclose(p[9, 1, [10, 3]], [0.7, 0.3])  # right along the edge, or blown onto the cliff
    np.testing.assert_allclose(p[15, 0, [8, 1]], [0.7, 0.3])  # up, or up twice
    np.testing.assert_allclose(p[15, 2, [22, 15]], [0.7, 0.3])  # down, or nowhere
    plan = hard_plan(mdp, mdp.reward)
    assert plan.policy[0, 0, 2] == 1.0, "the best way begins with a step away from the cliff"


def test_the_diagonal_cliff_stops_each_coordinate_by_itself() -> None:
    p = dense(cliff(discount=1.0, horizon=40, moves="diagonal", features="cells"))
    assert p[21, 3, 22] == 1.0  # bottom left, down-right: the border takes the move down, or the wind does
    np.testing.assert_allclose(p[8, 0, 0], 1.0)  # from (1, 1) up-left, blown or not
    np.testing.assert_allclose(p[24, 1, [18, 11]], [0.7, 0.3])
    np.testing.assert_allclose(p[27, 3, 27], 1.0)
    xy = state_features(cliff(discount=1.0, horizon=40, features="coordinates"))
    np.testing.assert_allclose(xy[[0, 6, 27]], [[0, 0], [1, 0], [1, 1]])
    for change, says in (
        ({"moves": "knight"}, "moves are 'knight'"),
        ({"cols": 2}, "cols is 2; it must be at least 3"),
        ({"rewards": [1.0]}, "there are 1 rewards"),
        ({"features": "x"}, "features are 'x'"),
    ):
        with pytest.raises(ValueError, match=says):
            cliff(**{"discount": 1.0, "horizon": 4, **change})


# ── objectworld and binaryworld ────────────────────────────────────────────────────────────────────────────


def rule(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.where(first <= 3, np.where(second <= 2, 1.0, -1.0), 0.0)


def test_the_rule_of_objectworld_on_a_placement_made_by_hand() -> None:
    things = [Thing(0, 0, 1, 0), Thing(0, 4, 0, 1), Thing(6, 6, 1, 2)]
    mdp = objectworld(7, seed=0, objects=things, outer_colours=3)
    reward = mdp.reward[:, 0].reshape(7, 7)
    assert reward[0].tolist() == [-1, -1, 1, 1, 0, 0, 0]
    assert reward[1].tolist() == [-1, -1, -1, 0, 0, 0, 0]  # (1, 2): sqrt(5) from the second; (1, 3): sqrt(10)
    assert reward[3].tolist() == [-1, 0, 0, 0, 0, 0, 0]  # exactly 3 cells is within 3
    assert (reward != 0).sum() == 11  # the cells within 3 of a corner
    assert mdp.feature_names[2:] == tuple(f"distance to outer colour {k}" for k in range(3))
    phi = state_features(mdp).reshape(7, 7, 5)
    np.testing.assert_allclose(phi[2, 1], np.hypot([2, 2, 2, 2, 4], [3, 1, 1, 3, 5]))
    none = objectworld(7, seed=0, objects=things[:1], outer_colours=3)
    np.testing.assert_allclose(state_features(none)[:, 3:], np.sqrt(98))


def test_the_colours_of_objectworld_say_its_reward() -> None:
    for seed in range(4):
        phi = state_features(objectworld(seed=seed, inner_colours=3))
        made = objectworld(seed=seed, inner_colours=3, features="discrete")
        np.testing.assert_array_equal(made.reward[:, 0], rule(phi[:, 3], phi[:, 4]))
        assert set(made.reward[:, 0]) == {-1.0, 0.0, 1.0}
        binary = state_features(made).reshape(1024, 5, 32)
        np.testing.assert_array_equal(binary, phi[:, :, None] <= np.arange(1, 33))
        named = dict(zip(made.feature_names, state_features(made).T, strict=True))
        near, close = named["within 3 of outer colour 0"], named["within 2 of outer colour 1"]
        np.testing.assert_array_equal(made.reward[:, 0], near * (2 * close - 1))
        assert (phi.min(axis=1) == 0).sum() == 50  # every object in a cell of its own


@pytest.mark.parametrize("build", [objectworld, binaryworld])
def test_a_transfer_changes_the_placement_or_the_dynamics_not_both(build: Callable[..., TabularMDP]) -> None:
    first, blown, other = build(seed=4), build(seed=4, slip=0.1, wind=Wind("up", 0.3)), build(seed=5)
    np.testing.assert_array_equal(state_features(first), state_features(blown))
    np.testing.assert_array_equal(first.reward, blown.reward)
    assert (first.transition != blown.transition).nnz > 0
    assert (first.transition != other.transition).nnz == 0
    assert not np.array_equal(state_features(first), state_features(other))
    assert first.action_names == ("up", "right", "down", "left", "stay")
    np.testing.assert_allclose(
        first.transition.toarray()[33 * 5 + 4, [33, 1, 34, 65, 32]], [0.7] + [0.075] * 4
    )


def test_the_rule_of_binaryworld_on_colours_made_by_hand() -> None:
    blue = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1], [1, 1, 0, 1]], bool)
    mdp = binaryworld(4, seed=0, blue=blue)
    counts = [[3, 4, 2, 1], [4, 5, 4, 2], [4, 5, 5, 3], [3, 3, 4, 2]]
    around = state_features(mdp)
    np.testing.assert_array_equal(around.sum(axis=1).reshape(4, 4), counts)
    expected = np.select([np.array(counts) == 4, np.array(counts) == 5], [1.0, -1.0], 0.0)
    np.testing.assert_array_equal(mdp.reward[:, 0].reshape(4, 4), expected)
    np.testing.assert_array_equal(around[5], blue[:3, :3].ravel())
    np.testing.assert_array_equal(around[0], [0, 0, 0, 0, 1, 1, 0, 1, 0])
    assert mdp.feature_names[1] == "blue at (-1, +0)"


def test_half_of_binaryworld_is_blue() -> None:
    blue = sum(int(state_features(binaryworld(seed=s))[:, 4].sum()) for s in range(5))
    interval = clopper_pearson(blue, 5 * 1024, level=0.9999)
    assert interval.low < 0.5 < interval.high


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"objects": 50}, "there are 50 objects for 9 cells"),
        ({"objects": []}, "there are no objects"),
        ({"objects": 2.5}, "objects is 2.5; it must be a whole number"),
        ({"objects": [Thing(0, 0, 0, 0), Thing(0, 0, 1, 1)]}, "two objects lie in one cell"),
        ({"objects": [Thing(0, 9, 0, 0)]}, r"cell \(0, 9\) lies outside"),
        ({"objects": [Thing(0, 0, 2, 0)]}, "colour outside the 2 inner"),
        ({"outer_colours": 1}, "outer_colours is 1; it must be at least 2"),
        ({"features": "hue"}, "features are 'hue'"),
    ],
)
def test_an_objectworld_that_cannot_be_is_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        objectworld(**{"size": 3, "seed": 0, "objects": 2, **change})


def test_binaryworld_refuses_colours_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"blue is float64 \(3, 3\); it must be bool \(3, 3\)"):
        binaryworld(3, seed=0, blue=np.zeros((3, 3)))
    with pytest.raises(ValueError, match="blue is 2"):
        binaryworld(3, seed=0, blue=2)


# ── random MDPs ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_random_mdp_has_the_successors_asked_for() -> None:
    exact = random_mdp(40, 3, branching=5, seed=1, discount=0.9)
    np.testing.assert_array_equal(np.diff(exact.transition.indptr), 5)
    assert (exact.initial > 0).sum() == 5
    spread = np.diff(random_mdp(200, 4, branching=(1, 4), seed=1, discount=0.9).transition.indptr)
    np.testing.assert_array_equal(np.unique(spread), [1, 2, 3, 4])
    # Dirichlet(1, 1): one of the two probabilities is uniform; 4000 draws, Kolmogorov-Smirnov at 1e-4
    pairs = random_mdp(1000, 4, branching=2, seed=2, discount=0.9).transition
    assert kstest(pairs.data[::2], "uniform").pvalue > 1e-4


def test_the_parts_of_a_random_mdp_have_streams_of_their_own() -> None:
    one = random_mdp(30, 2, branching=3, seed=7, discount=0.9)
    few = random_mdp(30, 2, branching=3, seed=7, discount=1.0, horizon=10, width=4)
    assert (one.transition != few.transition).nnz == 0
    np.testing.assert_array_equal(state_features(one), np.eye(30))
    phi = state_features(few)
    weights = np.linalg.lstsq(phi, few.reward[:, 0], rcond=None)[0]
    np.testing.assert_allclose(few.linear(weights), few.reward, atol=1e-12)
    assert (few.width, few.horizon) == (4, 10)
    for branching in (0, 31, (3, 2)):
        with pytest.raises(ValueError, match="branching is"):
            random_mdp(30, 2, branching=branching, seed=0, discount=0.9)


# ── routes ─────────────────────────────────────────────────────────────────────────────────────────────────


def crossing() -> RoadMap:
    """Junction 0 in the middle, 1 to 4 to the east, north, west and south, 5 to the north-north-east."""
    places = np.array([[0, 0], [1, 0], [0, 1], [-1, 0], [0, -1], [0.9, 0.3]])
    arms = np.arange(1, 6)
    tail, head = np.concatenate([arms, 0 * arms]), np.concatenate([0 * arms, arms])
    length = np.linalg.norm(places[tail] - places[head], axis=1)
    kinds = ("street",) * 4 + ("highway",)
    return RoadMap(places, tail, head, length, np.full(10, 30.0), np.tile([0, 0, 0, 0, 2.0], 2), kinds * 2)


def test_turns_by_hand() -> None:
    roads = crossing()
    from_south = np.full(5, 3)  # the road from junction 4, which runs north
    turns = [TURNS[k] for k in roads.turns(from_south, np.arange(5, 10))]
    assert turns == ["right turn", "straight on", "left turn", "U-turn", "right turn"]
    from_east = np.full(5, 0)
    turns = [TURNS[k] for k in roads.turns(from_east, np.arange(5, 10))]
    assert turns == ["U-turn", "right turn", "straight on", "left turn", "hard turn"]


def test_a_step_counts_the_road_taken_and_the_turn_into_it() -> None:
    roads = crossing()
    mdp = routes(roads, goal=5)
    assert mdp.features.reshape(10, 5, 9)[3, 4].tolist() == pytest.approx(
        [np.hypot(0.9, 0.3), 2 * np.hypot(0.9, 0.3), np.hypot(0.9, 0.3), 2.0, 0, 0, 1, 0, 0]
    )
    assert mdp.features.reshape(10, 5, 9)[3, 2].tolist() == pytest.approx([1, 2, 0, 0, 0, 1, 0, 0, 0])
    np.testing.assert_array_equal(np.flatnonzero(mdp.terminal), [9])
    assert mdp.available.sum(axis=1).tolist() == [5, 5, 5, 5, 5, 1, 1, 1, 1, 0]
    assert dense(mdp)[3, 4, 9] == 1.0
    assert mdp.state_names[9] == "highway 0 to 5"
    theta = [PREFERENCES[name] for name in ROAD_FEATURES]
    np.testing.assert_allclose(np.where(mdp.available, mdp.linear(theta), 0), mdp.reward, atol=1e-15)
    start = routes(roads, goal=5, start=2)
    np.testing.assert_array_equal(np.flatnonzero(start.initial), [2])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_best_route_is_dijkstra_s(seed: int) -> None:
    town = street_grid(6, 7, seed=seed)
    mdp = routes(town, goal=20, preferences={"kilometres": -1.0})
    graph = csr_array((town.kilometres, (town.head, town.tail)), shape=(42, 42))
    to_goal = dijkstra(graph, indices=20)  # on junctions: turns cost nothing
    assert np.isfinite(to_goal).all(), "from every junction there is a way"
    plan = hard_plan(mdp, mdp.reward)
    np.testing.assert_allclose(-plan.value[0], to_goal[town.head], atol=1e-12)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_with_preferences_arriving_is_best_and_the_best_route_is_bellman_s(seed: int) -> None:
    town = street_grid(5, 5, seed=seed)
    mdp = routes(town, goal=24)
    cost = np.where(mdp.terminal, 0.0, np.inf)
    for _ in range(town.roads):  # Bellman and Ford, without a horizon
        onward = -mdp.reward.ravel() + np.where(
            mdp.available.ravel(), mdp.transition @ np.minimum(cost, 1e9), np.inf
        )
        cost = np.minimum(cost, onward.reshape(mdp.states, -1).min(axis=1))
    np.testing.assert_allclose(-hard_plan(mdp, mdp.reward).value[0], cost, atol=1e-9)


def test_a_town_is_plausible() -> None:
    town = street_grid(7, 8, seed=5)
    pairs = set(zip(town.tail.tolist(), town.head.tolist(), strict=True))
    assert {(h, t) for t, h in pairs} == pairs, "every road can be driven both ways"
    assert {k: town.kinds.count(k) for k in set(town.kinds)} == {"street": 2 * 87, "avenue": 12, "highway": 6}
    assert (
        town.kilometres >= np.linalg.norm(town.places[town.tail] - town.places[town.head], axis=1) - 1e-12
    ).all()
    speeds = {k: set(town.speed[[x == k for x in town.kinds]].tolist()) for k in set(town.kinds)}
    assert speeds["street"] == {30.0, 50.0}
    assert speeds["highway"] <= {90.0, 110.0}
    phi = routes(town, goal=0).features
    assert np.linalg.matrix_rank(phi) == len(ROAD_FEATURES), "no preference hides behind others"
    assert street_grid(7, 8, seed=5, closed=1.0).kinds.count("street") < town.kinds.count("street")
    routes(street_grid(7, 8, seed=5, closed=1.0), goal=0)  # refuses a map with a place that has no way there


def test_maps_and_goals_that_cannot_be_are_refused() -> None:
    roads = crossing()
    for change, says in (
        ({"goal": 6}, "goal is 6; the map has the junctions 0 to 5"),
        ({"goal": 5, "start": 9}, "start is 9"),
        ({"goal": 5, "start": 10}, "start is 10"),
        ({"goal": 5, "preferences": {"beauty": 1.0}}, "no road feature 'beauty'"),
        ({"goal": 5, "preferences": {"kilometres": 1.0}}, "every step must cost something"),
    ):
        with pytest.raises(ValueError, match=says):
            routes(roads, **change)
    parts = [roads.tail, roads.head, roads.kilometres, roads.speed, roads.toll]
    one_way = RoadMap(roads.places, *(x[:9] for x in parts), roads.kinds[:9])  # nothing leads to junction 5
    with pytest.raises(ValueError, match="no road ends at the goal"):
        routes(one_way, goal=5)
    dead_end = RoadMap(roads.places, *(x[1:] for x in parts), roads.kinds[1:])  # nothing leads away from 1
    with pytest.raises(ValueError, match="no way from street 0 to 1 to the goal"):
        routes(dead_end, goal=5)
    for k, value, says in (
        (0, roads.head, "road 0 leads back to its own tail"),
        (1, roads.head + 3, "junction outside the 6"),
        (0, np.concatenate([[2], roads.tail[1:]]), "two roads lead from and to the same junctions"),
        (2, -roads.kilometres, "road 0 needs a positive length"),
        (3, roads.speed[:4], "there are 10 tails and"),
    ):
        with pytest.raises(ValueError, match=says):
            RoadMap(roads.places, *(value if i == k else x for i, x in enumerate(parts)), roads.kinds)


# ── Gymnasium's worlds ─────────────────────────────────────────────────────────────────────────────────────

TOYS = [
    ("FrozenLake-v1", {}),
    ("FrozenLake-v1", {"map_name": "8x8", "is_slippery": False}),
    ("FrozenLake-v1", {"desc": ["SFF", "FHF", "HFG"]}),
    ("CliffWalking-v1", {}),
    ("CliffWalking-v1", {"is_slippery": True}),
    ("Taxi-v4", {}),
    ("Taxi-v4", {"is_rainy": True}),
]


@pytest.mark.parametrize(("name", "options"), TOYS)
def test_a_toy_world_is_its_own_table(name: str, options: dict[str, Any]) -> None:
    env: Any = gymnasium.make(name, **options).unwrapped
    mdp = from_gymnasium(name, discount=0.9, **options)
    p = dense(mdp)
    np.testing.assert_array_equal(mdp.initial, env.initial_state_distrib)
    for s, a in product(np.flatnonzero(~mdp.terminal), range(mdp.actions)):
        expected, reward = np.zeros(mdp.states), 0.0
        for chance, after, earned, terminated in env.P[s][a]:
            expected[after] += chance
            reward += chance * earned
            assert not terminated or mdp.terminal[after]
        np.testing.assert_allclose(p[s, a], expected, atol=1e-15)
        assert mdp.reward[s, a] == pytest.approx(reward, abs=1e-15)
    assert mdp.horizon is None
    assert mdp.shape == {16: (4, 4), 64: (8, 8), 9: (3, 3), 48: (4, 12), 500: None}[mdp.states]


def test_which_states_of_the_toys_are_terminal() -> None:
    assert np.flatnonzero(from_gymnasium("FrozenLake-v1", discount=0.9).terminal).tolist() == [
        5,
        7,
        11,
        12,
        15,
    ]
    assert np.flatnonzero(from_gymnasium("CliffWalking-v1", discount=0.9).terminal).tolist() == [47]
    taxi: Any = gymnasium.make("Taxi-v4").unwrapped
    done = {taxi.encode(r, c, k, k) for k, (r, c) in enumerate([(0, 0), (0, 4), (4, 0), (4, 3)])}
    assert set(np.flatnonzero(from_gymnasium("Taxi-v4", discount=0.9).terminal)) == done


@pytest.mark.parametrize(("state", "action"), [(6, 0), (14, 2), (0, 3)])
def test_a_slippery_lake_steps_as_its_table_says(state: int, action: int) -> None:
    env: Any = gymnasium.make("FrozenLake-v1").unwrapped
    env.reset(seed=0)
    row = dense(from_gymnasium("FrozenLake-v1", discount=0.9))[state, action]
    counts = np.zeros(16, int)
    for _ in range(3000):
        env.s = state
        counts[env.step(action)[0]] += 1
    assert not counts[row == 0].any()
    for k in np.flatnonzero(row):  # 8 intervals in all: one lies off by chance in 1 of 1250 runs
        interval = clopper_pearson(int(counts[k]), 3000, level=0.9999)
        assert interval.low <= row[k] <= interval.high


def test_known_values_of_the_lake_and_of_the_cliff_walk() -> None:
    lake = from_gymnasium("FrozenLake-v1", discount=0.99)
    assert hard_plan(lake, lake.reward).start_value == pytest.approx(0.5420259320, abs=1e-9)
    endless = from_gymnasium("FrozenLake-v1", discount=1.0, horizon=3000)
    assert hard_plan(endless, endless.reward).start_value == pytest.approx(14 / 17, abs=1e-6)
    walk = from_gymnasium("CliffWalking-v1", discount=1.0, horizon=50)
    assert hard_plan(walk, walk.reward).start_value == pytest.approx(-13)


def test_the_best_policy_of_the_lake_succeeds_in_the_real_one_as_often_as_planned() -> None:
    mdp = from_gymnasium("FrozenLake-v1", discount=1.0, horizon="limit")
    assert mdp.horizon == 100
    plan = hard_plan(mdp, mdp.reward)
    policy = plan.policy.argmax(axis=2)
    env, reached = gymnasium.make("FrozenLake-v1"), 0
    for episode in range(1500):
        state, _ = env.reset(seed=episode)
        for t in range(100):
            state, reward, terminated, truncated, _ = env.step(int(policy[t, state]))
            if terminated or truncated:
                reached += reward == 1
                break
    interval = wilson(int(reached), 1500, level=0.999)
    assert interval.low < plan.start_value < interval.high


def test_the_best_taxi_earns_exactly_what_is_planned() -> None:
    mdp = from_gymnasium("Taxi-v4", discount=1.0, horizon="limit")
    plan = hard_plan(mdp, mdp.reward)
    env = gymnasium.make("Taxi-v4")
    for seed in range(20):
        state, _ = env.reset(seed=seed)
        planned, earned = plan.value[0][state], 0.0
        for t in range(200):
            state, reward, terminated, _, _ = env.step(int(plan.policy[t, state].argmax()))
            earned += float(reward)
            if terminated:
                break
        assert terminated
        assert earned == pytest.approx(planned)


class Chain(gymnasium.Env):
    """0 to 1 to 2; from 1 one may also stop, in state 2, where otherwise one goes on."""

    observation_space, action_space = gymnasium.spaces.Discrete(3), gymnasium.spaces.Discrete(2)
    initial_state_distrib = np.array([1.0, 0.0, 0.0])

    def __init__(self, spoil: str = "") -> None:
        self.P: Any = {
            0: {0: [(0.25, 1, 1.0, False), (0.25, 1, 3.0, False), (0.5, 0, 0.0, False)]},
            1: {0: [(1.0, 2, 5.0, True)], 1: [(1.0, 2, 0.0, False)]},
            2: {0: [(1.0, 0, 2.0, False)], 1: [(0.5, 1, 4.0, True), (0.5, 2, 0.0, False)]},
        }
        if spoil == "back":  # where the end is, its table ends once more, elsewhere
            self.P = {
                0: {0: [(1.0, 1, 5.0, True)]},
                1: {0: [(1.0, 0, 0.0, True)]},
                2: {0: [(1.0, 0, 0.0, False)]},
            }
        if spoil == "shape":
            self.P[0][0] = [(1.0, 1)]
        if spoil == "state":
            self.P[0][0] = [(1.0, 9, 0.0, False)]
        if spoil == "sum":
            self.P[0][0] = [(0.5, 1, 0.0, False)]
        if spoil == "reward":
            self.P[0][0] = [(1.0, 1, float("nan"), False)]


@pytest.fixture
def chain() -> Iterator[str]:
    gymnasium.register("understudy/Chain-v0", Chain, disable_env_checker=True)
    yield "understudy/Chain-v0"
    del gymnasium.registry["understudy/Chain-v0"]


def test_an_end_in_a_state_that_does_not_always_end_gets_a_state_of_its_own(chain: str) -> None:
    mdp = from_gymnasium(chain, discount=0.9, features=[[1.0], [2.0], [3.0]])
    assert (mdp.states, mdp.state_names[3], np.flatnonzero(mdp.terminal).tolist()) == (4, "end", [3])
    p = dense(mdp)
    assert p[0, 0].tolist() == [0.5, 0.5, 0, 0]  # outcomes that lead to one state are one
    assert mdp.reward[0, 0] == pytest.approx(1.0)
    assert p[1].tolist() == [[0, 0, 0, 1], [0, 0, 1, 0]]
    assert p[2].tolist() == [[1, 0, 0, 0], [0, 0, 0.5, 0.5]]
    np.testing.assert_array_equal(mdp.available, [[1, 0], [1, 1], [1, 1], [0, 0]])
    np.testing.assert_array_equal(mdp.features.ravel(), [1, 1, 2, 2, 3, 3, 0, 0])


def test_an_end_needs_no_state_of_its_own_for_what_cannot_happen(chain: str) -> None:
    back = from_gymnasium(chain, discount=0.9, spoil="back")
    assert (back.states, np.flatnonzero(back.terminal).tolist()) == (3, [1])
    enclosed = ["SFFF", "FHHH", "FHHH", "FHHG"]  # nothing reaches the hole in the middle, or the goal
    lake = from_gymnasium("FrozenLake-v1", discount=0.9, desc=enclosed)
    assert lake.states == 16
    assert np.flatnonzero(lake.terminal).tolist() == [5, 6, 7, 9, 10, 11, 13, 14, 15]


def test_what_is_not_a_table_is_refused_in_one_line(chain: str) -> None:
    for name, options, says in (
        ("CartPole-v1", {}, "CartPole-v1 has no transition table P"),
        ("Lake-v1", {}, "Gymnasium makes no 'Lake-v1'"),
        ("FrozenLake-v1", {"map_name": "9x9"}, "Gymnasium makes no 'FrozenLake-v1'"),
        ("CliffWalking-v1", {"horizon": "limit"}, "without a step limit"),
        ("FrozenLake-v1", {"features": [[1.0]]}, r"it must be \[16, K\]"),
        (chain, {"spoil": "shape"}, r"not made of \(probability, next"),
        (chain, {"spoil": "state"}, "states beyond the 3"),
        (chain, {"spoil": "sum"}, "sum to 0.5"),
        (chain, {"spoil": "reward"}, "reward that is not finite"),
    ):
        with pytest.raises(ValueError, match=says) as caught:
            from_gymnasium(name, discount=0.9, **options)
        assert "\n" not in str(caught.value)
