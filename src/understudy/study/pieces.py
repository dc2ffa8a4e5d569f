"""A study in pieces, each on disk as soon as it is found: one that was broken off goes on where it stood."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, final

from rich.console import Console

from understudy.serial import CorruptFile, read_json, write_json

__all__ = ["Pieces"]


@final
class Pieces:
    """Results by name in a folder, each with the settings that it was found with.

    Args:
        folder: where they lie, one JSON file each.
        console: told what is being found, and what was there already.
    """

    def __init__(self, folder: Path, console: Console) -> None:
        self.folder, self.console = folder, console

    def found(
        self, name: str, settings: Mapping[str, Any], work: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """What `work` finds; where it was found before with the same settings, that.

        A piece with other settings, or one that cannot be read, is found anew and replaced.
        """
        path = self.folder / f"{name}.json"
        asked = json.loads(json.dumps(settings))  # as the file would give it back
        with suppress(FileNotFoundError, CorruptFile):
            before = read_json(path)
            if before.get("settings") == asked and isinstance(result := before.get("result"), dict):
                self.console.print(f"{name}: found before", style="dim")
                return result
        with self.console.status(name):
            result = work()
        write_json(path, {"settings": asked, "result": result})
        self.console.print(f"{name}: done")
        return result
