"""The report's charts: positions and counts in the SVG are those of the numbers."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.report.charts import Point, curve, interval_row, lines
from understudy.report.spreads import Mark, histogram, plan, strip
from understudy.report.svg import Axis, number, percent, tag, ticks

reals = st.floats(-1e12, 1e12, allow_nan=False)


@given(reals, reals)
def test_ticks_lie_within_the_range_and_are_evenly_spaced(a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    found = ticks(low, high)
    width = high - low
    assert all(low - 1e-6 * width - 1e-9 <= t <= high + 1e-6 * width + 1e-9 for t in found)
    assert len(found) <= 12
    if len(found) > 2:
        gaps = np.diff(found)
        assert np.allclose(gaps, gaps[0], rtol=1e-6, atol=1e-12)
        leading = f"{gaps[0]:.6e}"[0]
        assert leading in "1259", "a step is 1, 2 or 5 times a power of ten (or rounds to one from below)"


@given(reals, reals, reals, reals)
def test_an_axis_is_monotone_and_never_leaves_the_plot(a: float, b: float, x: float, y: float) -> None:
    axis = Axis.over([a, b])
    assert 0 <= axis.at(min(x, y)) <= axis.at(max(x, y)) <= 100


@given(st.floats(1e-9, 1e9), st.floats(1.01, 1e6))
def test_a_logarithmic_axis_puts_equal_ratios_at_equal_distances(low: float, factor: float) -> None:
    axis = Axis(low, low * factor**2, log=True)
    assert axis.at(low * factor) == pytest.approx(50, abs=1e-6)
    assert all(low * 0.999 <= t <= axis.high * 1.001 for t in axis.ticks())


def test_an_axis_of_one_value_has_room_around_it() -> None:
    assert Axis(3.0, 3.0).at(3.0) == 50
    with pytest.raises(ValueError, match="cannot start at 0"):
        Axis(0.0, 1.0, log=True)
    with pytest.raises(ValueError, match="no finite ends"):
        Axis(0.0, math.inf)


SUPERSCRIPT = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


@given(st.floats(1e-30, 1e30) | st.floats(-1e30, -1e-30))
def test_a_written_number_can_be_read_back_to_three_digits(x: float) -> None:
    text = number(x).replace("−", "-").replace("\u202f", "")
    head, power = re.fullmatch(r"(.*?)(?:10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+))?", text).groups()  # type: ignore[union-attr]
    factor = (
        {"": 1.0, "-": -1.0}[head.rstrip("·")] if head.rstrip("·") in ("", "-") else float(head.rstrip("·"))
    )
    value = factor * 10.0 ** int(power.translate(SUPERSCRIPT)) if power else float(text)
    assert value == pytest.approx(x, rel=0.0051)


@given(st.integers(1, 5000), st.data())
def test_a_percentage_is_100_or_0_only_where_it_is(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    text = percent(k / n).removesuffix("\u202f%")
    assert (text == "100") == (k == n)
    assert (text == "0") == (k == 0)
    assert float(text) == pytest.approx(100 * k / n, abs=0.51)


def test_an_element_escapes_text_and_attributes() -> None:
    assert tag("text", "<b>", class_='"x"') == '<text class="&#34;x&#34;">&lt;b&gt;</text>'


def test_an_interval_is_drawn_where_it_is() -> None:
    svg = interval_row(0.5, 0.25, 0.75, Axis(0, 1), [0, 1], kind="policy", bar=True, label="half")
    assert 'x1="25.00%" x2="75.00%"' in svg
    assert 'cx="50.00%"' in svg
    assert 'x="0.00%" width="50.00%"' in svg


def test_a_curve_shows_every_estimate() -> None:
    points = [Point(n, v, v - 0.1, v + 0.1, f"{n}") for n, v in ((10, 0.2), (20, 0.5), (100, 0.9))]
    svg = curve(points, "Curve", "n", "success", share=True)
    assert [float(y) for y in re.findall(r'cy="([\d.]+)%"', svg)] == [80, 50, 10]
    assert svg.count("<circle") == 3


def test_a_long_curve_is_thinned_but_its_extremes_are_kept() -> None:
    steps = np.arange(1.0, 5001.0)
    wave = np.sin(steps / 40)
    svg = lines({"loss": (steps.tolist(), wave.tolist())}, "Loss", "step")
    polyline = re.search(r'<polyline points="([^"]*)"', svg)
    polygon = re.search(r'<polygon points="([^"]*)"', svg)
    assert polyline is not None
    assert polygon is not None
    assert len(polyline[1].split()) == 240
    ys = [float(p.split(",")[1]) for p in polygon[1].split()]
    drawn = max(ys) - min(ys)
    assert drawn == pytest.approx(100 / 1.12, abs=0.5), (
        "the range from -1 to 1, with 6 % of room at either side"
    )


@given(st.lists(st.integers(0, 60), min_size=1, max_size=80), st.lists(st.integers(0, 60), max_size=40))
def test_a_histogram_holds_every_value_once(won: list[int], lost: list[int]) -> None:
    svg = histogram({"success": won, "failure": lost}, "Lengths", "steps", whole=True)
    every = np.array(won + lost)
    low, high = every.min(), every.max()
    width = max(1, math.ceil((high - low + 1) / 24))
    top = np.histogram(every, np.arange(low - 0.5, high + width, width))[0].max()
    for kind, values in (("success", won), ("failure", lost)):
        heights = [float(h) for h in re.findall(rf'height="([\d.]+)" class="fill {kind}"', svg)]
        assert sum(heights) * 1.05 * top / 100 == pytest.approx(len(values), abs=0.02 * (len(heights) + 1))


def test_a_strip_has_one_stroke_a_value_and_the_median() -> None:
    svg = strip({"success": [1.0, 2.0, 9.0], "failure": [20.0]}, "Length", "steps")
    assert svg.count('class="stroke"') == 4
    assert svg.count('class="median"') == 2


def test_a_plan_has_one_mark_an_episode_at_equal_scales() -> None:
    marks = [Mark(0.0, 0.0, "success", "a"), Mark(2.0, 0.0, "failure", "b"), Mark(0.0, 1.0, "success", "c")]
    svg = plan(marks, "Starts", ("x", "y"), (Axis(0, 2), Axis(0, 1)))
    assert svg.count('class="disc"') == 2
    assert svg.count('class="cross"') == 1
    spots = [(float(a), float(b)) for a, b in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', svg)]
    assert spots == [(0, 125), (0, 0)], "one unit is 125 pixels on both axes"
