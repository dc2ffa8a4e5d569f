"""Worlds to look at: geometry once, then poses, for a page that draws them. No OpenGL, no torch."""

from understudy.scene.again import NotDrawn, Player, Replayed, replayed
from understudy.scene.finding import scene_of
from understudy.scene.scene import Poses, Scene

__all__ = ["NotDrawn", "Player", "Poses", "Replayed", "Scene", "replayed", "scene_of"]
