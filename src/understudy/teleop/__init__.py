"""People at the controls: their input, what it does in each task, the session that records them. No torch."""

from understudy.teleop.controls import Controls, controls_for
from understudy.teleop.frame import Frame
from understudy.teleop.input import STALE, Input
from understudy.teleop.keeping import FIRST_SEED
from understudy.teleop.loop import Loop
from understudy.teleop.phases import PHASES
from understudy.teleop.pilots import ExpertPilot, Pilot
from understudy.teleop.session import Session
from understudy.teleop.words import MODES
from understudy.teleop.world import paced, patient

__all__ = [
    "FIRST_SEED",
    "MODES",
    "PHASES",
    "STALE",
    "Controls",
    "ExpertPilot",
    "Frame",
    "Input",
    "Loop",
    "Pilot",
    "Session",
    "controls_for",
    "paced",
    "patient",
]
