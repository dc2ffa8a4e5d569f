"""`understudy robot`: a simulated robot in a process of its own."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from understudy.envs.registry import task
from understudy.robots.limits import Limits
from understudy.robots.limits_file import read_limits
from understudy.robots.server import serve
from understudy.robots.simulated import SimulatedRobot
from understudy.robots.tokens import VARIABLE, new_token, token_from

__all__ = ["robot_run"]


def robot_run(
    name: str, *, host: str, port: int, token_file: Path | None, limits: Path | None, timeout: float
) -> Mapping[str, Any]:
    """Serves the task's simulated robot until interrupted.

    One JSON object on standard output says when and where it can be reached; words go to standard error. The
    token comes from the file (made where it does not exist) or the environment variable; where there is
    neither, a fresh one is part of that object.

    Raises:
        ValueError: when the token, the limits or the task cannot be used.
    """
    given = token_from(token_file, make=True)
    token = given or new_token()
    held = Limits() if limits is None else read_limits(limits)
    robot = SimulatedRobot(task(name), limits=held, timeout=timeout)

    def ready(at: str, taken: int) -> None:
        where = f"file {token_file}" if token_file else f"variable {VARIABLE}" if given else "in this line"
        words = {"robot": name, "host": at, "port": taken, "rate": robot.rate, "timeout": timeout}
        print(json.dumps(words | {"token_from": where} | ({} if given else {"token": token})), flush=True)
        print(f"{name} at {at}:{taken}; Ctrl-C ends it", file=sys.stderr, flush=True)

    begun = time.monotonic()
    try:
        counts = serve(robot, token=token, host=host, port=port, ready=ready)
    finally:
        robot.close()
    return {"robot": name, "seconds": round(time.monotonic() - begun, 3), **counts}
