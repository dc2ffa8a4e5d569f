"""Pictures of rewards, occupancies and policies over the states of a finite MDP: cells, roads, bars."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from understudy.report.facts import printable
from understudy.report.svg import number, tag
from understudy.tabular import TabularMDP

__all__ = ["Layer", "arrows", "bars", "cells", "layers_of", "on_arrival", "per_state", "roads"]

Floats: TypeAlias = NDArray[np.float64]

_MOST_CELLS = 1100  # drawn one by one, each with its words; a larger grid is one picture
_MOST_ARROWS = 225  # cells
_BARS = 24
_LEAST = 0.06  # probability of an action whose arrow is drawn
_BLUE, _ORANGE = (0x0B, 0x63, 0xB0), (0xC2, 0x41, 0x0C)  # as the page's --success and --failure
_WAYS = {
    "up": (0, -1),
    "north": (0, -1),
    "right": (1, 0),
    "east": (1, 0),
    "down": (0, 1),
    "south": (0, 1),
    "left": (-1, 0),
    "west": (-1, 0),
    "up-left": (-1, -1),
    "up-right": (1, -1),
    "down-left": (-1, 1),
    "down-right": (1, 1),
    "stay": (0, 0),
}


@dataclass(frozen=True, eq=False)
class Layer:
    """One quantity over states, and how it is coloured.

    Args:
        name: what the picture is of. values: [S], NaN where there is nothing to draw.
        most: the value of full colour; pictures that stand side by side share it.
        amounts: of amounts, from 0 on, colour grows with the square root; else with the value, in one colour
            above 0 and in another below.
    """

    name: str
    values: Floats
    most: float
    amounts: bool = False

    def strength(self) -> Floats:
        """[S] in [-1, 1]: the sign says which colour, the size how much of it."""
        with np.errstate(invalid="ignore"):
            share = np.clip(self.values / (self.most or 1.0), -1.0, 1.0)
            return np.sqrt(np.maximum(share, 0.0)) if self.amounts else share

    def ends(self) -> tuple[str, str]:
        """What stands at the ends of its scale."""
        return "0" if self.amounts else number(-self.most), number(self.most)


def layers_of(named: Sequence[tuple[str, Floats]], *, amounts: bool = False) -> list[Layer]:
    """Layers on one scale."""
    seen = [v for _, values in named for v in np.abs(values[np.isfinite(values)])]
    most = float(max(seen, default=0.0))
    return [Layer(name, values, most, amounts) for name, values in named]


def per_state(mdp: TabularMDP, reward: Floats) -> Floats:
    """[S]: the mean of a reward [S, A] over the actions that a state has; NaN where nothing is done."""
    count = mdp.available.sum(1)
    total = np.where(mdp.available, reward, 0.0).sum(1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def on_arrival(mdp: TabularMDP, reward: Floats) -> Floats:
    """[S]: the mean of a reward [S, A] over the steps that lead to a state; NaN where none does."""
    weight = np.asarray(mdp.transition.sum(0)).ravel()
    total = mdp.transition.T @ np.where(mdp.available, reward, 0.0).ravel()
    return np.where(weight > 0, total / np.where(weight > 0, weight, 1.0), np.nan)


def cells(
    layer: Layer, shape: tuple[int, int], names: Sequence[str] = (), drawn: Markup | None = None
) -> Markup:
    """A grid of cells, row by row.

    Args:
        names: of the states, for who points at one; row and column unless given.
        drawn: what lies over the cells, such as `arrows`.
    """
    rows, cols = shape
    if rows * cols <= _MOST_CELLS:
        strength, values = layer.strength(), layer.values
        body = [
            _cell(s, cols, float(strength[s]), float(values[s]), names)
            for s in range(rows * cols)
            if np.isfinite(values[s])
        ]
    else:
        body = [_picture(layer.strength(), shape)]
    frame = tag("rect", x=0, y=0, width=cols, height=rows, class_="frame")
    unit = max(rows, cols)
    return tag(
        "svg",
        tag("title", layer.name),
        tag("rect", x=0, y=0, width=cols, height=rows, class_="nothing"),
        *body,
        drawn,
        frame,
        viewBox=f"{-0.01 * unit:.3f} {-0.01 * unit:.3f} {cols + 0.02 * unit:.3f} {rows + 0.02 * unit:.3f}",
        class_="states",
        role="img",
        aria_label=layer.name,
    )


def _cell(s: int, cols: int, strength: float, value: float, names: Sequence[str]) -> Markup:
    row, col = divmod(s, cols)
    where = printable(names[s]) if names else f"row {row}, column {col}"
    kind = "over" if strength >= 0 else "under"
    # The paper lies under the colour, so that 0 looks like no value at all in light and in dark.
    return tag(
        "g",
        tag("rect", x=col, y=row, width=1, height=1, class_="ground"),
        tag(
            "rect",
            tag("title", f"{where}: {number(value)}"),
            x=col,
            y=row,
            width=1,
            height=1,
            class_=kind,
            fill_opacity=f"{abs(strength):.3f}",
        ),
    )


def _picture(strength: Floats, shape: tuple[int, int]) -> Markup:
    """One pixel a cell, as a PNG inside the page."""
    known = np.isfinite(strength)
    pixels = np.zeros((*shape, 4), np.uint8)
    flat = pixels.reshape(-1, 4)
    flat[:, :3] = np.where((np.nan_to_num(strength) >= 0)[:, None], _BLUE, _ORANGE)
    flat[:, 3] = np.where(known, np.round(255 * np.abs(np.nan_to_num(strength))), 0)
    coded = base64.b64encode(_png(pixels)).decode()
    uri = f"data:image/png;base64,{coded}"
    ground = tag("rect", x=0, y=0, width=shape[1], height=shape[0], class_="ground")
    image = tag("image", href=uri, x=0, y=0, width=shape[1], height=shape[0], class_="pixels")
    return tag("g", ground, image)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """[rows, cols, 4] as a PNG file."""
    rows, cols, _ = pixels.shape

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    lines = np.concatenate([np.zeros((rows, 1), np.uint8), pixels.reshape(rows, -1)], 1).tobytes()
    head = struct.pack(">IIBBBBB", cols, rows, 8, 6, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(lines, 9))
        + chunk(b"IEND", b"")
    )


def arrows(mdp: TabularMDP, policy: Floats) -> Markup | None:
    """The policy [S, A] over the cells of a small grid: an arrow for each action, as long as it is likely.

    None where states are no cells, are too many, or actions have no direction by name.
    """
    names = [n.lower() for n in mdp.action_names]
    if mdp.shape is None or mdp.states > _MOST_ARROWS or not names or not all(n in _WAYS for n in names):
        return None
    drawn = []
    for s, a in zip(*np.nonzero(mdp.available & (policy > _LEAST)), strict=True):
        row, col = divmod(int(s), mdp.shape[1])
        x, y = col + 0.5, row + 0.5
        way, share = np.array(_WAYS[names[int(a)]], float), float(policy[s, a])
        length = np.hypot(*way)
        if length == 0:
            drawn.append(tag("circle", cx=x, cy=y, r=0.14 * share, class_="tip"))
            continue
        end = np.array([x, y]) + 0.44 * share * way / length
        drawn.append(tag("line", x1=x, y1=y, x2=end[0], y2=end[1], class_="shaft"))
        drawn.append(_tip(end, way / length, 0.09 * (0.5 + 0.5 * share)))
    return tag("g", *drawn, class_="arrows")


def _tip(end: Floats, way: Floats, size: float) -> Markup:
    side = np.array([-way[1], way[0]])
    corners = [
        end + size * way,
        end + 0.7 * size * side - 0.4 * size * way,
        end - 0.7 * size * side - 0.4 * size * way,
    ]
    return tag("polygon", points=" ".join(f"{x:.3f},{y:.3f}" for x, y in corners), class_="tip")


def roads(layer: Layer, places: Floats, names: Sequence[str] = ()) -> Markup:
    """Directed roads, each on its right-hand side of the way between its ends.

    Args:
        places: [S, 2, 2], (east, north) of where each road begins and ends.
    """
    low, high = places.min((0, 1)), places.max((0, 1))
    scale = 100.0 / max(float((high - low).max()), 1e-12)
    at = (places - low) * scale
    at[..., 1] = (high[1] - low[1]) * scale - at[..., 1]  # north is up
    along = at[:, 1] - at[:, 0]
    length = np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-12)[:, None]
    right = np.stack([-along[:, 1], along[:, 0]], 1) / length
    gap = 0.09 * float(np.median(length))
    first, last = at[:, 0] + gap * right + gap * along / length, at[:, 1] + gap * right - gap * along / length
    strength = np.nan_to_num(layer.strength())
    drawn = []
    for s in np.argsort(np.abs(strength)):
        (x1, y1), (x2, y2), v = first[s], last[s], float(strength[s])
        name = printable(names[s]) if names else f"state {s}"
        said = f"{name}: {number(float(layer.values[s]))}"
        ends = {"x1": f"{x1:.2f}", "y1": f"{y1:.2f}", "x2": f"{x2:.2f}", "y2": f"{y2:.2f}"}
        drawn.append(tag("line", class_="road", stroke_width=f"{0.5 * gap:.2f}", **ends))
        drawn.append(
            tag(
                "line",
                tag("title", said),
                class_="over" if v >= 0 else "under",
                stroke_opacity=f"{abs(v):.3f}",
                stroke_width=f"{gap * (0.5 + 0.9 * abs(v)):.2f}",
                **ends,
            )
        )
    width, height = (high - low) * scale
    box = f"{-2 * gap:.2f} {-2 * gap:.2f} {width + 4 * gap:.2f} {height + 4 * gap:.2f}"
    return tag(
        "svg", tag("title", layer.name), *drawn, viewBox=box, class_="states map", role="img",
        aria_label=layer.name,
    )  # fmt: skip


def bars(
    layers: Sequence[Layer], name: Callable[[int], str], most: int = _BARS
) -> list[tuple[str, list[tuple[Markup, str]]]]:
    """Rows (state, one bar and its number for each layer) of the states with the largest values.

    Args:
        layers: on one scale.
    """
    size = np.nanmax(np.abs(np.stack([layer.values for layer in layers])), axis=0, initial=0.0)
    rows = []
    for s in np.argsort(-size, kind="stable")[:most]:
        marks = [
            (_bar(layer, float(layer.strength()[s])), number(float(layer.values[s]))) for layer in layers
        ]
        rows.append((printable(name(int(s))), marks))
    return rows


def _bar(layer: Layer, strength: float) -> Markup:
    if not np.isfinite(strength):
        return tag("svg", class_="bars", viewBox="0 0 200 10", preserveAspectRatio="none")
    zero, reach = (0.0, 200.0) if layer.amounts else (100.0, 100.0)
    x, width = (zero, strength * reach) if strength >= 0 else (zero + strength * reach, -strength * reach)
    return tag(
        "svg",
        tag(
            "rect",
            x=f"{x:.2f}",
            y=1,
            width=f"{width:.2f}",
            height=8,
            class_="over" if strength >= 0 else "under",
        ),
        tag("line", x1=zero, x2=zero, y1=0, y2=10, class_="zero"),
        class_="bars",
        viewBox="0 0 200 10",
        preserveAspectRatio="none",
        aria_hidden="true",
    )
