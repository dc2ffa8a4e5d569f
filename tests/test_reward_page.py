"""The page of a recovered reward: what it draws, on what scale, and that it trusts no text."""

from __future__ import annotations

import base64
import re
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from understudy.irl.measures import expected_value_difference
from understudy.irl.preferences import Weights, feature_ranges
from understudy.report.reward_maps import Layer, arrows, bars, cells, layers_of, on_arrival, per_state, roads
from understudy.report.reward_pictures import reward_layers
from understudy.report.rewards import (
    Measure,
    Recovered,
    render_rewards,
    save_reward_figure,
    write_reward_page,
)
from understudy.tabular import TabularMDP, occupancy, soft_plan
from understudy.tabular.worlds import world

EVIL = "<script>alert(1)</script>"


def recovered(mdp: TabularMDP, **more) -> Recovered:
    assert mdp.reward is not None
    learned = mdp.reward + 0.1 * np.random.default_rng(0).normal(size=mdp.reward.shape)
    expert, policy = soft_plan(mdp, mdp.reward).policy, soft_plan(mdp, learned).policy
    names = mdp.feature_names or tuple(f"feature {k}" for k in range(mdp.width))
    values = np.linspace(-1, 1, mdp.width)
    given = {
        "weights": Weights(names, values, feature_ranges(mdp), 10, covariance=0.01 * np.eye(mdp.width)),
        "lost": expected_value_difference(mdp, learned, temperature=0.0),
        "measures": [Measure("EPIC distance", "0.12", "small is near", head=True)],
        "data": [("demonstrations", "10")],
        "provenance": [("made with", "understudy irl")],
        "expert": expert,
        **more,
    }
    return Recovered(
        mdp, "Max\u00adEnt", learned, policy, occupancy(mdp, expert), occupancy(mdp, policy), **given
    )


class Page(HTMLParser):
    """Tags with their attributes, and that those opened are closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "col", "input", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("name", ["gridworld", "random", "routes", "frozen-lake"])
def test_the_page_is_whole_and_loads_nothing(name: str) -> None:
    text = render_rewards(recovered(world(name)))
    page = Page(text)
    assert page.open == []
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        for key in ("src", "href", "xlink:href"):
            assert (attributes.get(key) or "#").startswith(("#", "data:image/png"))
        assert "style" not in attributes  # which the content policy would refuse
        assert not any(key.startswith("on") for key in attributes)
    assert "default-src &#39;none&#39;" in text or "default-src 'none'" in text
    assert "�" not in text


def test_text_from_a_world_is_text() -> None:
    plain = world("random")
    names = tuple(f"{EVIL}{i}" for i in range(plain.states))
    evil = plain.with_(name=EVIL, state_names=names, feature_names=names, features=plain.features)
    shown = recovered(
        evil,
        warnings=[EVIL, "a\u202eb"],
        data=[(EVIL, EVIL)],
        provenance=[(EVIL, EVIL)],
        measures=[Measure(EVIL, EVIL, EVIL, head=True)],
    )
    text = render_rewards(shown)
    assert EVIL not in text
    assert "\u202e" not in text
    assert text.count("&lt;script&gt;") > 40


def test_the_headline_is_what_is_lost() -> None:
    found = recovered(world("gridworld"))
    assert found.lost is not None
    half = replace(found.lost, best=2.0, reached=1.0, random=0.0)
    assert "loses <em>50\u202f%</em> of what" in render_rewards(replace(found, lost=half))
    assert "loses <em>nothing</em>" in render_rewards(replace(found, lost=replace(half, reached=2.0)))
    unknown = replace(found, lost=None, mdp=found.mdp.with_(reward=None))
    assert "Nobody knows the true reward" in render_rewards(unknown)
    assert "True reward" not in render_rewards(unknown)


def test_true_learned_and_difference_share_a_scale_that_knows_no_shift_or_scale() -> None:
    mdp = world("gridworld")
    found = recovered(mdp)
    layers, _ = reward_layers(found)
    assert [layer.name for layer in layers] == ["True reward", "Learned reward", "Learned less true"]
    assert len({layer.most for layer in layers}) == 1
    moved, _ = reward_layers(replace(found, learned=5 * found.learned - 3))
    for a, b in zip(layers, moved, strict=True):
        np.testing.assert_allclose(a.values, b.values, atol=1e-9)
    exact, _ = reward_layers(replace(found, learned=mdp.reward))
    np.testing.assert_allclose(exact[2].values, 0, atol=1e-12)


def test_a_constant_reward_is_drawn_as_it_stands() -> None:
    found = recovered(world("gridworld"))
    layers, note = reward_layers(replace(found, learned=np.full_like(found.learned, 2.0)))
    assert [layer.name for layer in layers] == ["True reward", "Learned reward"]
    assert "as it stands" in note


def test_rewards_by_state_and_by_arrival() -> None:
    mdp = world("gridworld", slip=0.0)
    np.testing.assert_allclose(per_state(mdp, mdp.reward), mdp.reward[:, 0])
    after = mdp.expected(np.broadcast_to(np.arange(25.0), (25, 4, 25)))  # of arriving in a state: its number
    np.testing.assert_allclose(on_arrival(mdp, after), np.arange(25.0))
    ends = world("gridworld", terminal=[(4, 4)], rewards={(0, 0): 1.0})
    assert np.isnan(per_state(ends, ends.reward)[24])


def test_cells_are_coloured_by_sign_and_size() -> None:
    layer = Layer("r", np.array([2.0, -1.0, 0.0, np.nan]), 2.0)
    np.testing.assert_allclose(layer.strength(), [1, -0.5, 0, np.nan])
    drawn = ElementTree.fromstring(str(cells(layer, (2, 2))))
    coloured = [
        (r.get("class"), float(r.get("fill-opacity"))) for r in drawn.iter("rect") if r.get("fill-opacity")
    ]
    assert coloured == [("over", 1.0), ("under", 0.5), ("over", 0.0)]
    assert [t.text for t in drawn.iter("title")][1:] == [
        "row 0, column 0: 2",
        "row 0, column 1: −1",
        "row 1, column 0: 0",
    ]
    amounts = Layer("n", np.array([4.0, 1.0, 0.0]), 4.0, amounts=True)
    np.testing.assert_allclose(amounts.strength(), [1, 0.5, 0])


def test_a_large_grid_is_one_picture_with_a_pixel_a_cell() -> None:
    values = np.zeros(40 * 50)
    values[3], values[50], values[51] = 2.0, -1.0, np.nan
    text = str(cells(Layer("r", values, 2.0), (40, 50)))
    data = base64.b64decode(re.search(r"data:image/png;base64,([^\"]+)", text).group(1))
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert data[16:24] == (50).to_bytes(4, "big") + (40).to_bytes(4, "big")
    at = data.index(b"IDAT")
    raw = zlib.decompress(data[at + 4 : at + 4 + int.from_bytes(data[at - 4 : at], "big")])
    pixels = np.frombuffer(raw, np.uint8).reshape(40, 201)[:, 1:].reshape(40, 50, 4)
    assert tuple(pixels[0, 3]) == (0x0B, 0x63, 0xB0, 255)
    assert tuple(pixels[1, 0]) == (0xC2, 0x41, 0x0C, 128)
    assert pixels[1, 1, 3] == pixels[0, 0, 3] == 0
    assert len(text) < 5000


def test_arrows_point_where_actions_lead() -> None:
    mdp = world("gridworld", rows=1, cols=2, slip=0.0)
    policy = np.zeros((2, 4))
    policy[0, mdp.action_names.index("right")] = 1.0
    policy[1, mdp.action_names.index("up")] = 0.5
    policy[1, mdp.action_names.index("down")] = 0.01  # too rare to be drawn
    shafts = [
        [float(line.get(k)) for k in ("x1", "y1", "x2", "y2")]
        for line in ElementTree.fromstring(str(arrows(mdp, policy))).iter("line")
    ]
    np.testing.assert_allclose(shafts, [[0.5, 0.5, 0.94, 0.5], [1.5, 0.5, 1.5, 0.28]])
    assert arrows(world("random"), np.ones((16, 3))) is None
    assert arrows(world("gridworld", rows=30, cols=30), np.ones((900, 4))) is None


def test_roads_go_both_ways_side_by_side() -> None:
    places = np.array([[[0.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]]])  # east, and back west
    drawn = ElementTree.fromstring(
        str(roads(Layer("r", np.array([1.0, -1.0]), 1.0), places, ("out", "back")))
    )
    lines = {x.find("title").text: x for x in drawn.iter("line") if x.find("title") is not None}
    assert lines["out: 1"].get("class") == "over"
    assert lines["back: −1"].get("class") == "under"
    # On the right-hand side of their way: eastward is further south, which is further down.
    assert float(lines["out: 1"].get("y1")) > 0 > float(lines["back: −1"].get("y1"))
    assert float(lines["out: 1"].get("x1")) < float(lines["out: 1"].get("x2"))


def test_bars_are_the_largest_states_first() -> None:
    layers = layers_of([("a", np.array([0.1, -3.0, 1.0])), ("b", np.array([0.2, 1.0, -2.0]))])
    rows = bars(layers, str, most=2)
    assert [(name, [says for _, says in marks]) for name, marks in rows] == [
        ("1", ["−3", "1"]),
        ("2", ["1", "−2"]),
    ]


def test_the_page_shows_policies_of_small_grids_alone() -> None:
    assert "<h3>Policies</h3>" in render_rewards(recovered(world("gridworld")))
    assert "<h3>Policies</h3>" not in render_rewards(recovered(world("random")))


def test_without_weights_the_page_says_why() -> None:
    text = render_rewards(recovered(world("gridworld"), weights=None, silence="A network has no weights."))
    assert "A network has no weights." in text
    assert "Weights and their intervals" not in text


def test_files_are_written_whole_and_the_figure_is_xml(tmp_path: Path) -> None:
    found = recovered(world("gridworld"))
    page = write_reward_page(found, tmp_path / "made" / "reward.html")
    assert page.read_text() == render_rewards(found)
    with pytest.raises(ValueError, match="is a folder"):
        write_reward_page(found, tmp_path)
    figure = save_reward_figure(found, tmp_path / "reward.svg")
    root = ElementTree.parse(figure).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "--success: #0b63b0" in figure.read_text()
    assert save_reward_figure(recovered(world("random")), tmp_path / "none.svg") is None
    assert not (tmp_path / "none.svg").exists()
