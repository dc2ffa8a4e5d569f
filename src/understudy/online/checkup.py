"""What a run that learns by acting says about itself: its demonstrations before, its numbers after.

RUN/diagnosis.json holds the audit of the demonstrations, the facts that the run is held against, how far it
came, and the findings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from understudy.online.audit import Audit, audit, plain
from understudy.online.base import Setting
from understudy.online.diagnosis import Row, Standing, diagnose, facts_of, standing
from understudy.online.leaks import JUDGED
from understudy.quality.types import Finding
from understudy.serial import write_json

__all__ = ["FILE", "after", "before"]

FILE = "diagnosis.json"


def before(setting: Setting, console: Console, *, judged: bool) -> Audit | None:
    """Looks at the demonstrations and says what is wrong with them; None where there are none.

    Args:
        judged: whether the method learns to tell experts from a policy. What only a discriminator goes by is
            said to nobody else.
    """
    if setting.data is None:
        return None
    found = audit(setting.data, setting.task)
    told = [f for f in found.findings if judged or f.kind not in JUDGED]
    _say([f"the demonstrations: {f}" for f in told], console)
    return found


def after(
    out: Path, setting: Setting, looked: Audit | None, rows: Sequence[Row], console: Console
) -> list[dict[str, str]]:
    """Writes RUN/diagnosis.json, says what is wrong with the run, and returns the findings as plain values.

    Without demonstrations there is nothing to hold a run against, and so nothing to say or to write.
    """
    facts = facts_of(setting, () if looked is None else looked.findings)
    if looked is None or facts is None:
        return []
    found, stands = diagnose(rows, facts), standing(rows, facts)
    listed = [plain(f) for f in found]
    told = {"facts": {k: v for k, v in asdict(facts).items() if k != "leaks"}, "standing": asdict(stands)}
    write_json(
        out / FILE,
        {
            "format": "understudy-diagnosis",
            "version": 1,
            "audit": looked.summary(),
            **told,
            "findings": listed,
        },
    )
    _say([_came(stands, found), *map(str, found)], console)
    return listed


def _came(stands: Standing, found: Sequence[Finding]) -> str:
    if stands.returned is None or stands.share is None:
        return "how far it came is not known: the demonstrations' return, or a beginner's, is missing"
    way = f"it came {stands.share:.0%} of the way from random actions to the demonstrations"
    if stands.gaining:
        return f"{way}, and is still gaining"
    return f"{way}; nothing that usually goes wrong is seen" if stands.fails and not found else way


def _say(lines: Sequence[str], console: Console) -> None:
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
