"""Live recording of two 640x480 cameras at 50 Hz: dropped pictures, what a step costs, what encoding costs.

    python benchmarks/camera_recording.py --json-out benchmarks/results/camera_recording.json

The pictures are a moving gradient with sensor noise, made beforehand so that only recording is measured. The
control loop waits for each tick as a robot's would; what is timed is `take.step`, in real time. CPU shares
are of one core: what the encoders got, and what they need for all pictures, which does not depend on who else
is on the machine (a busy one drops pictures; the load average is noted). Beside it: how many steps a second
can be recorded without cameras, in no real time.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from common import arguments, emit
from understudy import storage

HEIGHT, WIDTH, RATE, CAMERAS = 480, 640, 50, ("front", "wrist")
STATE, ACTION, NOISE = 14, 14, 4.0  # widths; noise in levels of 255


def scene(count: int, seed: int) -> list[np.ndarray]:
    """Pictures [H, W, 3] of a gradient that moves, with noise as a sensor has it."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    out = []
    for i in range(count):
        wave = 110 + 90 * np.sin((x + 6 * i) / 70 + seed)
        still = np.stack([wave, 40 + y * 160 / HEIGHT, 200 - wave / 2], -1)
        out.append(np.clip(still + rng.normal(0, NOISE, still.shape), 0, 255).astype(np.uint8))
    return out


def film(folder: Path, seconds: float, options: storage.VideoOptions) -> dict[str, Any]:
    """Records that long in real time, and says what it took."""
    scenes = {key: scene(64, i) for i, key in enumerate(CAMERAS)}
    state, action = np.zeros(STATE), np.zeros(ACTION)
    steps, taken, late = int(seconds * RATE), [], 0
    with storage.Writer(folder, fps=RATE, video=options) as writer, writer.record() as take:
        cpu, own = time.process_time(), time.thread_time()
        start = time.perf_counter()
        for i in range(steps):
            obs = {"state": state, **{key: pictures[i % 64] for key, pictures in scenes.items()}}
            before = time.perf_counter()
            take.step(obs, action)
            taken.append(1e3 * (time.perf_counter() - before))
            wait = start + (i + 1) / RATE - time.perf_counter()
            late += wait < 0
            time.sleep(max(0.0, wait))
        wall = time.perf_counter() - start
        spent, looped = time.process_time() - cpu, time.thread_time() - own
        before = time.perf_counter()
        take.finish(obs)
        finished = time.perf_counter() - before
        encoding, dropped = time.process_time() - cpu - (time.thread_time() - own), take.dropped
    data = storage.read(folder)[0]
    rows = np.arange(0, steps, steps // 20)
    psnr = min(
        10 * np.log10(255**2 / np.mean((data.obs[k][int(i)].astype(float) - scenes[k][i % 64]) ** 2))
        for k in CAMERAS
        for i in rows
    )
    size = sum(p.stat().st_size for p in folder.rglob("*.mp4"))
    p50, p99 = np.percentile(taken, [50, 99])
    return {
        "pictures": steps * len(CAMERAS),
        "dropped": dropped,
        "late_ticks": late,
        "step_ms": {"p50": round(p50, 3), "p99": round(p99, 3), "max": round(max(taken), 3)},
        "encoder_cpu": round((spent - looped) / wall, 3),
        "encoder_cpu_needed": round(encoding / (steps * len(CAMERAS) - dropped) * RATE * len(CAMERAS), 3),
        "control_loop_cpu": round(looped / wall, 3),
        "finish_s": round(finished, 3),
        "mb_a_second": round(size / wall / 1e6, 3),
        "lowest_psnr_db": round(float(psnr), 1),
    }


def bare(folder: Path, steps: int) -> float:
    """Steps a second without cameras, the commit with its syncs included."""
    state, action = np.zeros(STATE), np.zeros(ACTION)
    with storage.Writer(folder, fps=RATE) as writer:
        start = time.perf_counter()
        with writer.record() as take:
            for _ in range(steps):
                take.step({"state": state}, action)
            take.finish({"state": state})
        return steps / (time.perf_counter() - start)


def main() -> None:
    """Measures, and prints the record."""
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of recording with cameras, each preset")
    args = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for preset in ("ultrafast", "veryfast"):
            found[preset] = film(Path(folder) / preset, args.seconds, storage.VideoOptions(preset=preset))
            print(preset, found[preset], file=sys.stderr)
        speed = bare(Path(folder) / "bare", 20_000)
    default = found[storage.VideoOptions().preset]
    emit(
        {
            "unit": "two 640x480 cameras at 50 Hz in real time; CPU as a share of one core",
            "setting": {"seconds": args.seconds, "crf": storage.VideoOptions().crf, "state": STATE},
            "load_average": [round(x, 2) for x in os.getloadavg()],
            "presets": found,
            "without_cameras": {
                "steps_a_second": round(speed, -2),
                "target": ">= 5000",
                "met": speed >= 5000,
            },
            "verdict": {
                "dropped": float(default["dropped"]),
                "target": "<= 0",
                "met": default["dropped"] == 0,
            },
        },
        args.json_out,
    )


if __name__ == "__main__":
    main()
