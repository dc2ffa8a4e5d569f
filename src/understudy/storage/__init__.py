"""The native dataset on disk: LeRobotDataset v3.0, written so that no crash loses an episode. No torch."""

from __future__ import annotations

from understudy.storage.capture import Take
from understudy.storage.compaction import compact
from understudy.storage.files import DataError
from understudy.storage.folder import Info
from understudy.storage.reader import info, read, stream
from understudy.storage.recording import append, repair, write
from understudy.storage.video import VideoOptions
from understudy.storage.writer import Writer

__all__ = [
    "DataError",
    "Info",
    "Take",
    "VideoOptions",
    "Writer",
    "append",
    "compact",
    "info",
    "read",
    "repair",
    "stream",
    "write",
]
