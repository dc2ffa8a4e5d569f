"""What features are called in sentences, and what they are counted in."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["phrases", "units"]

_PHRASES = {
    "kilometres": ("prefers longer ways", "prefers shorter ways"),
    "minutes": ("prefers slower ways", "prefers quicker ways"),
    "highway kilometres": ("prefers highways", "avoids highways"),
    "toll": ("prefers tolls", "avoids tolls"),
    "straight on": ("prefers to go straight on", "avoids to go straight on"),
    "left turn": ("prefers left turns", "avoids left turns"),
    "right turn": ("prefers right turns", "avoids right turns"),
    "hard turn": ("prefers hard turns", "avoids hard turns"),
    "U-turn": ("prefers U-turns", "avoids U-turns"),
}
_UNITS = {"kilometres": "km", "minutes": "min", "highway kilometres": "km of highway"}
_FAR = "distance to "


def phrases(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Feature -> what a positive and what a negative weight mean, of those that have more than a name."""
    found = {n: _PHRASES[n] for n in names if n in _PHRASES}
    for name in names:
        if name.startswith(_FAR):
            what = name.removeprefix(_FAR)
            found[name] = (f"keeps away from {what}", f"keeps close to {what}")
    return found


def units(names: Sequence[str]) -> dict[str, str]:
    """Feature -> its unit, of those that have one."""
    return {n: _UNITS[n] for n in names if n in _UNITS}
