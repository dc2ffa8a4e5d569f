"""What came out of the relays, in sentences that follow from the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from understudy.report.svg import number, percent
from understudy.report.words import p_text

__all__ = ["lessons"]


def lessons(found: Mapping[str, Any], legs: int) -> list[str]:
    """Who did better over all legs, who loses how many, how far both are off, and whether legs are alike.

    Args:
        found: what `relays_report` says.
    """
    bc, dagger = found["methods"]["bc"], found["methods"]["dagger"]
    a, b = bc["in_a_row"][-1], dagger["in_a_row"][-1]
    better = "DAgger" if b["value"] > a["value"] else "cloning"
    over = f"Over {legs} goals in a row "
    if a["high"] < b["low"] or b["high"] < a["low"]:
        verdict = f"{over}{better} succeeds more often, and the intervals are apart."
    else:
        verdict = f"{over}the intervals overlap: no difference is shown."
    lost = [1 - m["geometric"]["per_leg"]["value"] for m in (bc, dagger)]
    ratio = f", a ratio of {number(lost[0] / lost[1], 2)}" if lost[1] else ""
    said = f"Cloning fails in {percent(lost[0])} of the legs it begins, DAgger in {percent(lost[1])}{ratio}."
    alike = f"{_alike('cloning', bc)} {_alike('DAgger', dagger)}"
    vain = sum(found["lost"]) / len(found["lost"])
    spent = (
        f"Of the labels of DAgger’s rounds {percent(vain)} were spent in legs that were then not finished."
    )
    return [f"{verdict} {said}", f"{_errors(bc, dagger)} {spent}", alike]


def _errors(bc: Mapping[str, Any], dagger: Mapping[str, Any]) -> str:
    """The two ε of the theorems: cloning's bound is made of the first, DAgger's of the second."""
    a, b = ({k: sum(v) / len(v) for k, v in {**m["errors"], "loss": m["loss"]}.items()} for m in (bc, dagger))
    said = (
        f"Cloning’s error is {number(a['expert'], 2)} where the expert goes and {number(a['own'], 2)} where "
        f"it goes itself; DAgger’s is {number(b['expert'], 2)} and {number(b['own'], 2)}."
    )
    if b["own"] < a["own"]:
        return f"{said} On its own states DAgger is nearer to the expert than cloning is on its own."
    return (
        f"{said} On its own states DAgger is no nearer to the expert than cloning is on its own. Its bound "
        "is made of the error that the class can reach on the states that it was taught. Training "
        f"reached a loss of {number(b['loss'], 2)} on DAgger’s and of {number(a['loss'], 2)} on cloning’s."
    )


def _alike(name: str, m: Mapping[str, Any]) -> str:
    g = m["geometric"]
    test = (
        f"likelihood ratio {number(g['statistic'])} on {g['degrees']} degrees of freedom, p {p_text(g['p'])}"
    )
    if g["p"] < 0.05:
        return f"For {name}, legs are not alike: one probability for all of them is refuted ({test})."
    return f"For {name}, one probability for all legs fits ({test}): success falls geometrically."
