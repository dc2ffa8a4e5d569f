"""The log of learning in rounds, rounds.jsonl: read within bounds, and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from understudy.numerics import Estimate
from understudy.report.facts import get, number_in, printable
from understudy.report.folder import estimate_in

__all__ = ["Round", "read"]

_MOST_ROUNDS, _MOST_NOTES = 10_000, 24


@dataclass(frozen=True)
class Round:
    """What stands in the log of one round; the first is that of the demonstrations alone.

    Args:
        number: how many rounds had been collected.
        labelled: states labelled so far, demonstrations included. new: of these, in this round.
        success, returned: of its policy, on the validation seeds.
        supervision: how its episodes were supervised, name -> number.
        failures: of a hundred episodes while supervised.
        noted: what the method itself noted.
    """

    number: int
    labelled: int
    new: int
    success: Estimate | None
    returned: Estimate | None
    loss: float | None
    cpu_seconds: float | None
    supervision: Mapping[str, float]
    failures: Estimate | None
    noted: Mapping[str, float]


def read(lines: Sequence[Mapping[str, Any]], where: str = "rounds.jsonl") -> tuple[Round, ...]:
    """The log of rounds, checked.

    Raises:
        ValueError: in one line, when a number is missing or of another kind, or rounds are out of order.
    """
    if len(lines) > _MOST_ROUNDS:
        raise ValueError(f"{where} has {len(lines)} rounds; at most {_MOST_ROUNDS} are shown")
    found = [_round(line, f"{where} line {i + 1}") for i, line in enumerate(lines)]
    for i, r in enumerate(found):
        if r.number != i:
            raise ValueError(f"{where} line {i + 1} is of round {r.number}, not {i}")
    return tuple(found)


def _round(line: Mapping[str, Any], where: str) -> Round:
    counts = {k: get(line, k, int, where) for k in ("round", "labelled", "labelled_new")}
    for name, value in counts.items():
        if value is None or value < 0:
            raise ValueError(f"{where}: {name} is {value}; a count is needed")
    supervised = get(line, "supervision", dict, where) or {}
    return Round(
        int(counts["round"] or 0),
        int(counts["labelled"] or 0),
        int(counts["labelled_new"] or 0),
        estimate_in(line, "success", where),
        estimate_in(line, "return", where),
        number_in(line, "loss", where),
        number_in(line, "train_cpu_seconds", where),
        _numbers({k: v for k, v in supervised.items() if not isinstance(v, dict)}, where),
        estimate_in(supervised, "failures_per_100", where),
        _numbers(get(line, "method", dict, where) or {}, where),
    )


def _numbers(facts: Mapping[str, Any], where: str) -> dict[str, float]:
    if len(facts) > _MOST_NOTES:
        raise ValueError(f"{where} notes {len(facts)} values; at most {_MOST_NOTES} are shown")
    found = {
        printable(str(k)): number_in({"": v}, "", f"{where}: {printable(str(k))}") for k, v in facts.items()
    }
    return {k: v for k, v in found.items() if v is not None}
