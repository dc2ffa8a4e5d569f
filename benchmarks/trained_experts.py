"""Turns a finished `understudy train sac` run into the expert that ships, and says what it reaches.

    understudy train sac --task hopper --out RUN ...
    python benchmarks/trained_experts.py --from RUN --json-out benchmarks/results/trained_experts.json

The file of weights goes to src/understudy/experts/weights. What is measured is that file as it is read back:
100 episodes on seeds that training and validation never used. The record has the returns with their bootstrap
interval, the least of them, the share of episodes that last to the time limit, and the curve of the run: the
mean return of its validations by environment steps. Other tasks' entries stay as they are.

`--only TASK` measures a file that is there already.
"""

from __future__ import annotations

import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from common import arguments, emit, significant
from understudy.agent import Agent
from understudy.agent.files import load
from understudy.envs import task
from understudy.episode import Array
from understudy.experts import ENDORSE
from understudy.experts.trained import WEIGHTS, Network, TrainedExpert, read, write
from understudy.heads.gaussian import GaussianHead
from understudy.nets import MLPTrunk
from understudy.numerics import bootstrap, wilson
from understudy.rollout import rollouts
from understudy.serial import read_json

SEEDS = range(5_000, 5_100)


def network(agent: Agent, half: bool = False) -> Network:
    """The mode of a tanh-Gaussian agent that sees one vector "state", as arrays.

    Args:
        half: whether the layers are rounded to float16, for a file of half the size.

    Raises:
        ValueError: when the agent is of another kind.
    """
    trunk, head, seen = agent.trunk, agent.head, agent.obs_normalizers
    columns = next(iter(seen.values())).columns
    if not isinstance(trunk, MLPTrunk) or trunk.config.activation != "relu" or agent.history != 1:
        raise ValueError(
            f"the trunk is {agent.trunk_config}; an expert's is an MLP with ReLU, without history"
        )
    if not isinstance(head, GaussianHead) or not head.bounded or head.shape[0] != 1:
        raise ValueError(f"the head is {agent.head_config}; an expert's is Gaussian, squashed, one step long")
    if [*seen] != ["state"] or columns.angles or columns.quaternions or len(columns.shape) != 1:
        raise ValueError(f"the agent sees {[*seen]}; an expert sees one vector, state, without angles")
    kind = np.float16 if half else np.float32
    linear = [(m.weight.detach().numpy(), m.bias.detach().numpy()) for m in (*trunk.linear, head.out)]
    linear[-1] = (linear[-1][0][: agent.actions], linear[-1][1][: agent.actions])  # the rest is the spread
    layers = tuple((w.astype(kind), b.astype(kind)) for w, b in linear)
    ends: list[Array] = []
    for normalizer in (seen["state"], agent.action_normalizer):
        ends += [normalizer.shift.numpy().copy(), normalizer.scale.numpy().copy()]
    if columns.kind == "identity":
        ends[0], ends[1] = np.zeros_like(ends[0]), np.ones_like(ends[1])
    return Network(ends[0], ends[1], layers, ends[2], ends[3])


def curve(run: Path) -> dict[str, float]:
    """Environment steps to the mean return of the validation there."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {str(m["step"]): significant(-m["validation"], 5) for m in lines if "validation" in m}


def measured(expert: TrainedExpert) -> dict[str, Any]:
    """What it reaches on fresh seeds."""
    t = task(expert.task)
    episodes = rollouts(t.make, expert, SEEDS, ENDORSE)
    returns = [e.total_reward for e in episodes]
    found, full = bootstrap(returns), wilson(sum(len(e) == t.horizon for e in episodes), len(episodes))
    success = wilson(sum(bool(e.success) for e in episodes), len(episodes))
    return {
        "seeds": [SEEDS.start, SEEDS.stop - 1],
        "return": {k: significant(getattr(found, k), 5) for k in ("value", "low", "high")} | {"n": found.n},
        "least_return": significant(min(returns), 5),
        "spread": significant(float(np.std(returns)), 4),
        "to_the_time_limit": {k: significant(getattr(full, k)) for k in ("value", "low", "high")},
        "success": {k: significant(getattr(success, k)) for k in ("value", "low", "high")},
    }


def exported(run: Path, half: bool) -> tuple[str, dict[str, Any]]:
    """Writes the run's expert among the weights: its task, and its entry of the record."""
    said = read_json(run / "run.json")
    name = str(said["task"])
    ended = said["provenance"]
    made = {k: said.get("begun", ended)[k] for k in ("command", "versions", "revision")}
    if ended["command"] != made["command"]:  # interrupted, or found too short, and resumed
        made["command"] += f"; {ended['command']}"
    about = {"task": name, "steps": said["agent"]["selected_step"], "seed": said["config"]["seed"]} | made
    net = network(load(run / "agent"), half)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.safetensors"
        write(path, net, about)
        reached = measured(TrainedExpert(name, Path(folder)))
        write(path, net, about | {"reaches": reached})
        WEIGHTS.mkdir(exist_ok=True)
        (WEIGHTS / path.name).write_bytes(path.read_bytes())
    return name, about | {"reaches": reached, "curve": curve(run)}


def main() -> None:
    """Exports and measures, and prints the record."""
    parser = arguments(__doc__ or "")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--from", dest="run", type=Path, help="a finished run of `understudy train sac`")
    which.add_argument("--only", help="measure this task's expert again")
    parser.add_argument("--half", action="store_true", help="round the layers to float16")
    args = parser.parse_args()
    experts: dict[str, Any] = {}
    if args.json_out is not None and args.json_out.exists():
        experts = json.loads(args.json_out.read_text())["experts"]
    if args.run is not None:
        name, entry = exported(args.run, args.half)
    else:
        name = args.only
        _, about = read(WEIGHTS / f"{name}.safetensors")
        kept = experts.get(name, {k: v for k, v in about.items() if k != "reaches"})
        entry = kept | {"reaches": measured(TrainedExpert(name))}
    entry["bytes"] = (WEIGHTS / f"{name}.safetensors").stat().st_size
    command = "python benchmarks/trained_experts.py --from RUN, for each"  # where a run lay says nothing
    emit({"command": command, "experts": dict(sorted((experts | {name: entry}).items()))}, args.json_out)


if __name__ == "__main__":
    main()
