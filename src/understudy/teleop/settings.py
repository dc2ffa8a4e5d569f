"""What the operator chose: it holds from episode to episode, and goes into the facts of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

__all__ = ["Settings"]


@final
@dataclass
class Settings:
    """The task's name, the person's, the task in words, the share of the full action, and the mode."""

    task: str
    operator: str
    instruction: str
    speed: float
    mode: str

    def facts(self, policy: str | None) -> dict[str, str | int | float]:
        """What is known of an episode besides what happened in it; `policy` is whoever took part in it."""
        facts: dict[str, str | int | float] = {"task": self.task, "operator": self.operator}
        facts |= {"instruction": self.instruction, "source": "teleop", "speed": self.speed}
        return facts if policy is None else facts | {"policy": policy}
