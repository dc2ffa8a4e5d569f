"""What is in these demonstrations, and what is wrong with them? NumPy only.

`inspect` measures every dimension and every episode, and turns what it measured into findings. A measure is a
named number of an episode; a finding says how bad something is, the evidence, and what to do.
"""

from __future__ import annotations

from understudy.quality.inspection import inspect
from understudy.quality.types import Column, EpisodeQuality, Finding, Inspection

__all__ = ["Column", "EpisodeQuality", "Finding", "Inspection", "inspect"]
