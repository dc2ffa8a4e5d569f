"""Inverse RL as one command: a world, demonstrations and a method; a reward, its words, measures and page."""

from __future__ import annotations

from understudy.inverse.command import Task, recover
from understudy.inverse.methods import METHODS, Found, Settings

__all__ = ["METHODS", "Found", "Settings", "Task", "recover"]
