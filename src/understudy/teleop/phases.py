"""What a session does with each word in each phase: one table, which is all there is to know about it.

A word that a phase does not know is answered, never ignored: `WHY` says what.
"""

from __future__ import annotations

from collections.abc import Mapping

from understudy.teleop.words import WORDS

__all__ = ["PHASES", "TABLE", "WHY", "handler"]

# idle: nothing is under way. countdown: reset, wait until it is over. ready: the world waits for the
# operator's first motion. running. paused: the world stands still. asking: it waits for a label.
# review: an episode is over, and waits to be kept or dropped. saving. error: something broke.
PHASES = ("idle", "countdown", "ready", "running", "paused", "asking", "review", "saving", "error")
_UNDER_WAY = ("running", "paused", "asking")
_BEFORE = ("countdown", "ready")


def _each(phases: tuple[str, ...], handler: str) -> dict[str, str]:
    return dict.fromkeys(phases, handler)


# Word -> phase -> what is done: a method of the session, without its leading "_do_".
TABLE: Mapping[str, Mapping[str, str]] = {
    "start": {
        "idle": "begin", "error": "begin", "countdown": "go", "paused": "resume", "review": "keep_and_begin",
    },
    "end": {**_each(_BEFORE, "call_off"), **_each(_UNDER_WAY, "finish")},
    "discard": {**_each(_BEFORE, "call_off"), **_each(_UNDER_WAY, "drop"), "review": "drop"},
    "again": {**_each(_BEFORE, "repeat"), **_each(_UNDER_WAY, "repeat"), "review": "repeat"},
    "success": {**_each(_UNDER_WAY, "succeed"), "review": "succeed"},
    "failure": {**_each(_UNDER_WAY, "fail"), "review": "fail"},
    "save": {"review": "keep"},
    "take": {"running": "take", "paused": "take"},
    "hand": {"ready": "hand", "running": "hand", "paused": "hand"},
    "pause": {"running": "pause"},
    "resume": {"paused": "resume"},
    "answer": {"asking": "answer"},
    "skip": {"asking": "skip"},
    "evaluate": {"idle": "evaluate"},
    "mode": {"idle": "mode", "error": "mode", **_each(_BEFORE, "mode")},
    **{word: _each(PHASES, word) for word in ("speed", "operator", "instruction", "every", "guard", "pilot")},
}  # fmt: skip

# What a word is answered where the table has nothing for it; {phase} is put in.
WHY: Mapping[str, str] = {
    "start": "an episode is under way already ({phase})",
    "end": "there is no episode to end ({phase})",
    "discard": "there is no episode to discard ({phase})",
    "again": "there is no episode to record again ({phase})",
    "success": "there is no episode to mark ({phase})",
    "failure": "there is no episode to mark ({phase})",
    "save": "there is no finished episode to save ({phase})",
    "take": "there is nothing to take over ({phase})",
    "hand": "there is nothing to hand back ({phase})",
    "pause": "there is nothing to pause ({phase})",
    "resume": "nothing is paused ({phase})",
    "answer": "nothing is being asked ({phase})",
    "skip": "nothing is being asked ({phase})",
    "evaluate": "an evaluation begins when nothing else is under way ({phase})",
    "mode": "the mode changes between episodes; end or discard this one first ({phase})",
}
assert TABLE.keys() == WORDS.keys()


def handler(what: str, phase: str) -> str | None:
    """What is done with a word in a phase; None where `WHY` answers."""
    return TABLE[what].get(phase)
