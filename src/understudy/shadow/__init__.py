"""The policy runs beside the expert and controls nothing: where do they disagree, and when is it ready?"""

from __future__ import annotations

from understudy.shadow.frames import chosen_frames, worth_labelling
from understudy.shadow.measure import Shadow, scale_of, shadow, shadow_data
from understudy.shadow.places import Map, Stretch, by_share, by_step, maps
from understudy.shadow.trust import Readiness, Trust, agrees, evidence, readiness, trust

__all__ = [
    "Map",
    "Readiness",
    "Shadow",
    "Stretch",
    "Trust",
    "agrees",
    "by_share",
    "by_step",
    "chosen_frames",
    "evidence",
    "maps",
    "readiness",
    "scale_of",
    "shadow",
    "shadow_data",
    "trust",
    "worth_labelling",
]
