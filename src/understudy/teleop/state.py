"""What the page is told besides the scene: one flat mapping, ready for JSON."""

from __future__ import annotations

from typing import Any

from understudy.teleop.desk import Desk
from understudy.teleop.driving import needs_pilot, records
from understudy.teleop.world import World

__all__ = ["described"]


def described(desk: Desk, world: World, now: float) -> dict[str, Any]:
    """The state of a session."""
    course, chosen = desk.course, desk.settings
    return {
        "mode": chosen.mode,
        "modes": list(desk.modes),
        "phase": course.phase,
        "countdown": max(0.0, course.begins_at - now) if course.phase == "countdown" else 0.0,
        "step": world.steps,
        "seconds": world.sim,
        "longest": course.longest / world.fps,
        "driver": "operator" if desk.driving.operator else "policy",
        "success": world.success,
        "mark": course.mark,
        "episode": world.episode,
        "labelled": 0 if course.tape is None else course.tape.labelled,
        "saved": course.saved,
        "discarded": course.discarded,
        "operator": chosen.operator,
        "instruction": chosen.instruction,
        "speed": chosen.speed,
        "guard": course.guard,
        "every": course.every,
        **_policy(desk),
        "training": None,
        "evaluation": None if desk.trial is None else desk.trial.state(),
        "robot": None if world.robot is None else {"name": world.robot.name, "stopped": world.why_stopped()},
        "message": desk.message,
        "last": list(course.newest),
    }


def _policy(desk: Desk) -> dict[str, Any]:
    """The pilot, its doubt, how far it is from the operator, and what it asks."""
    driving, course = desk.driving, desk.course
    pilot = driving.pilot
    known = pilot is not None and driving.doubt is not None and needs_pilot(course.mode)
    asked = course.question
    return {
        "pilot": None if pilot is None else pilot.name,
        "doubt": {"value": driving.doubt, "threshold": pilot.threshold} if known and pilot else None,
        "disagreement": driving.apart,
        "question": None
        if asked is None
        else {
            "proposed": asked.action.tolist(),
            "held": None if desk.held_now is None else desk.held_now.tolist(),
            "step": 0 if course.tape is None else len(course.tape),
        },
        "recorded": records(course.mode),
    }
