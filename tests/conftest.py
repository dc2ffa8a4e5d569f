"""One torch thread, so that results and timings do not depend on who else is on the machine."""

from __future__ import annotations

import os
import signal
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, os.path.dirname(__file__))  # tests share their samples
# A shell starts what runs in its background deaf to Ctrl-C, and the children that tests interrupt inherit it.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup() -> None:
    # Only where a test has brought torch in already: the ground floors must run without it.
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)
