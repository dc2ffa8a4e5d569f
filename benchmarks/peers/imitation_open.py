"""A dataset that we write for `imitation` opens in it with equal numbers, and what it saves opens here.

Run with our own Python: it writes demonstrations of several kinds (low-dimensional, several observations side
by side, pictures, discrete actions), asks `imitation`, in its environment `.peers/imitation`, for every
trajectory, and lets it train a step of behavioural cloning on them. Then we read trajectories that
`imitation` made and saved, and those it had from us, saved again.

    .venv/bin/python benchmarks/peers/imitation_open.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

PEER = Path(__file__).parents[2] / ".peers" / "imitation" / "bin" / "python"
KINDS = ("plain", "several", "pictures", "discrete")


def demonstrations(kind: str) -> list[Any]:
    """Episodes of one kind."""
    from understudy.episode import Episode

    rng = np.random.default_rng(KINDS.index(kind))
    made = []
    for i in range(6):
        steps = 9 + 2 * i
        obs: dict[str, Any] = {"state": rng.standard_normal((steps + 1, 5))}
        if kind == "several":
            obs["keypoint"] = rng.standard_normal((steps + 1, 4, 2))
        if kind == "pictures":
            obs = {"front": rng.integers(0, 256, (steps + 1, 12, 10, 3), dtype=np.uint8)}
        action = rng.integers(0, 4, steps) if kind == "discrete" else rng.standard_normal((steps, 2))
        meta = {"task": "push", "seed": i}
        made.append(
            Episode.demonstration(
                obs, action, rng.random(steps), terminated=i % 2 == 0, success=i % 3 == 0, meta=meta
            )
        )
    return made


def columns(e: Any) -> dict[str, Any]:
    """What `imitation` should find in an episode."""
    seen = list(e.obs.values())
    obs = seen[0] if len(seen) == 1 else np.concatenate([s.reshape(len(s), -1) for s in seen], 1)
    acts = e.action[:, 0] if e.action.dtype == np.int64 else e.action
    return {"obs": obs, "acts": acts, "rews": e.reward, "terminal": np.array(e.terminated)}


def inside(folder: Path, kind: str) -> dict[str, Any]:
    """Inside imitation's environment: loads, compares, trains a step, and saves again and its own."""
    import imitation
    from imitation.algorithms import bc
    from imitation.data import rollout, serialize, types

    loaded = serialize.load(folder / kind)
    want = np.load(folder / f"{kind}.npz")
    off, frames = 0.0, 0
    for i, t in enumerate(serialize.load_with_rewards(folder / kind)):
        for name in ("obs", "acts", "rews"):
            ours, theirs = want[f"{i}.{name}"], getattr(t, name)
            if theirs.shape != ours.shape:
                raise SystemExit(f"{kind}: trajectory {i} has {name} {theirs.shape}, not {ours.shape}")
            off = max(off, float(np.abs(theirs - ours.astype(np.float64)).max()))
        if bool(t.terminal) != bool(want[f"{i}.terminal"]) or len(t.infos) != len(t.acts):
            raise SystemExit(f"{kind}: trajectory {i} ends differently")
        frames += len(t)
    if f"{len(loaded)}.obs" in want.files or f"{len(loaded) - 1}.obs" not in want.files:
        raise SystemExit(f"{kind}: imitation sees {len(loaded)} trajectories")
    serialize.save(folder / f"{kind}_again", loaded)
    if kind == "plain":
        _train(bc, rollout, [types.Trajectory(t.obs, t.acts, None, bool(t.terminal)) for t in loaded])
        infos = np.array([{"rollout": 1, "is_success": True}, {}, {"x": np.float32(2)}])
        acts, obs = np.arange(6.0).reshape(3, 2), np.arange(8.0).reshape(4, 2) / 3
        own = types.TrajectoryWithRew(obs=obs, acts=acts, infos=infos, terminal=True, rews=np.ones(3) / 3)
        serialize.save(folder / "theirs", [own, own])
    return {"dataset": kind, "imitation": imitation.__version__, "frames": frames, "largest difference": off}


def _train(bc: Any, rollout: Any, trajectories: list[Any]) -> None:
    import gymnasium as gym

    transitions = rollout.flatten_trajectories(trajectories)
    box = gym.spaces.Box(-np.inf, np.inf, (5,)), gym.spaces.Box(-10.0, 10.0, (2,))
    learner = bc.BC(
        observation_space=box[0],
        action_space=box[1],
        rng=np.random.default_rng(0),
        demonstrations=transitions,
        batch_size=32,
    )
    learner.train(n_batches=1)


def check(folder: Path) -> None:
    """What `imitation` saved, read here."""
    from understudy import formats

    (theirs, second) = formats.read(folder / "theirs")
    obs, acts = np.arange(8.0).reshape(4, 2) / 3, np.arange(6.0).reshape(3, 2)
    same = np.array_equal(theirs.obs["state"], obs.astype(np.float32)) and np.array_equal(theirs.action, acts)
    if not (same and theirs == second and theirs.terminated and theirs.success is None):
        sys.exit("we read other numbers than imitation saved")
    for kind in KINDS:
        for ours, again in zip(demonstrations(kind), formats.read(folder / f"{kind}_again"), strict=True):
            a, b = columns(ours), columns(again)
            # Saved again, what stood beside is gone, and with it the names of several observations.
            if any(not np.array_equal(a[k], b[k]) for k in a) or ours.success != again.success:
                sys.exit(f"{kind}: saved again by imitation, the numbers are others")


def main() -> None:
    if len(sys.argv) == 3:
        print(json.dumps(inside(Path(sys.argv[1]), sys.argv[2])))
        return
    if not PEER.exists():
        print(json.dumps({"skipped": f"{PEER} is not there; `make peers` sets it up"}))
        return
    from understudy import formats

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        env = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": f"{folder}/cache", "OMP_NUM_THREADS": "1"}
        for kind in KINDS:
            episodes = demonstrations(kind)
            formats.write(place / kind, episodes, "imitation")
            if list(formats.read(place / kind)) != episodes:
                sys.exit(f"{kind}: what we wrote comes back changed")
            want = {f"{i}.{k}": v for i, e in enumerate(episodes) for k, v in columns(e).items()}
            np.savez(place / f"{kind}.npz", **want)
            command = [str(PEER), __file__, folder, kind]
            done = subprocess.run(command, env=env, capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr[-2000:])
            found = json.loads(done.stdout.splitlines()[-1])
            print(json.dumps(found))
            if found["largest difference"]:
                sys.exit(f"{kind}: imitation reads other numbers than we wrote")
        check(place)
    print("equal: every value of every trajectory, there and back")


if __name__ == "__main__":
    main()
