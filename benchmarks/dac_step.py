"""One environment step of DAC on half-cheetah with all its updates: CPU time, and what it goes to.

    python benchmarks/dac_step.py --json-out benchmarks/results/dac_step.json

`settings` are whole steps: the simulation, the drawn action, the batch, the discriminator's step, the pay and
the learner's update. "reference" is the size that the field uses, [256, 256] everywhere, batch 256, an actor
that learns in every second update; "default" is what `understudy train dac` does. `parts` times the same
pieces alone, and `operations` is the share of a step's time inside PyTorch by kind: matrix products, norms,
and all else. The demonstrations are random steps: time does not ask who acted.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from common import emit, significant, timed_arguments

TARGET = 5.0  # ms an environment step
ROWS = 500  # of demonstrations, and in the replay from the beginning
PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::mv", "aten::addmv", "aten::baddbmm", "aten::dot")
NORMS = ("aten::native_layer_norm", "aten::native_layer_norm_backward")
FIELD = {"hidden": (256, 256), "actor_every": 2}
SETTINGS: dict[str, dict[str, Any]] = {
    "reference": {"learner": FIELD, "batch": 256, "judge": (256, 256), "d_every": 1},
    "reference, discriminator [128, 128]": {
        "learner": FIELD, "batch": 256, "judge": (128, 128), "d_every": 1,
    },
    "reference, discriminator [64, 64]": {"learner": FIELD, "batch": 256, "judge": (64, 64), "d_every": 1},
    "reference, discriminator every 2nd": {
        "learner": FIELD, "batch": 256, "judge": (256, 256), "d_every": 2,
    },
    "reference, batch 128": {"learner": FIELD, "batch": 128, "judge": (256, 256), "d_every": 1},
    "default": {},
}  # fmt: skip


def main() -> None:
    """Measures, and prints the record."""
    args = timed_arguments(__doc__, seconds=1.5, repeats=5).parse_args()
    from understudy.runtime import tuned

    with tuned():
        demos = demonstrations()
        made = {name: learner(demos, **how) for name, how in SETTINGS.items()}
        steps = in_turns({k: v.step for k, v in made.items()}, args.seconds, args.repeats)
        for name, told in steps.items():
            told |= {"target_ms": TARGET, "met": told["median"] <= TARGET}
            print(f"{name}: {told['median']} ms a step", file=sys.stderr)
        parts = in_turns(pieces(made["default"]), args.seconds / 3, args.repeats)
        shares = {name: operations(made[name].step) for name in ("reference", "default")}
    setting = {name: described(v) for name, v in made.items()} | {"threads": 1}
    record = {"settings": steps, "parts of default": parts, "operations": shares}
    emit({"unit": "CPU milliseconds", "setting": setting} | record, args.json_out)


def demonstrations() -> Any:
    """Random steps in place of an expert's."""
    from understudy.envs import task
    from understudy.online.start import uniform

    return uniform(task("half-cheetah"), ROWS, 1)


def learner(
    demos: Any,
    learner: dict[str, Any] | None = None,
    batch: int | None = None,
    judge: tuple[int, ...] | None = None,
    d_every: int | None = None,
) -> Any:
    """A DAC in its environment, past its random start; None is the default's."""
    from understudy.envs import task
    from understudy.online import dac
    from understudy.online.base import Setting

    def asked(**given: Any) -> dict[str, Any]:
        return {k: v for k, v in given.items() if v is not None}

    cheetah = task("half-cheetah")
    setting = Setting(
        cheetah,
        demos,
        replace(dac.PLAN, uniform=ROWS, **asked(batch=batch)),
        replace(dac.LEARNER, **(learner or {})),
        replace(dac.READING, **asked(reward_hidden=judge)),
    )
    return dac.build(setting, replace(dac.Config(pretraining=0, bc_steps=0), **asked(d_every=d_every)))


def described(dac: Any) -> dict[str, Any]:
    """The sizes that matter."""
    own = dac._sac.config
    return {
        "hidden": own.hidden,
        "discriminator": dac.reward.config.reward_hidden,
        "batch": 2 * dac._half,
        "actor_every": own.actor_every,
        "d_every": dac.config.d_every,
        "updates": [dac.practice._updates, dac.practice._every],
    }


def pieces(dac: Any) -> dict[str, Callable[[], Any]]:
    """The parts of a step, each alone."""
    half, draws = dac._half, dac._draws

    def batch() -> Any:
        return dac._demos.draw(half, draws), dac.practice.replay.sample(half, draws)

    experts, lived = batch()
    from understudy.online.demonstrated import beside

    both = beside(experts, lived)
    paid = dac.reward.relabel(both, 0.99)
    return {
        "simulation and drawn action": dac.practice._live,
        "batch": batch,
        "discriminator": lambda: dac.discriminator.step(experts, lived),
        "pay": lambda: dac.reward.relabel(both, 0.99),
        "learner": lambda: dac._sac.update(paid),
    }


def in_turns(runs: dict[str, Callable[[], Any]], seconds: float, repeats: int) -> dict[str, dict[str, Any]]:
    """CPU milliseconds of a call: median, least and most of the rounds, the runs in turn in each round."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(repeats + 1):
        for name, run in runs.items():
            began, calls = time.process_time(), 0
            while calls < 4 or time.process_time() - began < seconds * (0.2 if round_ == 0 else 1):
                run()
                calls += 1
            if round_:  # the first one warms up
                found[name].append(1e3 * (time.process_time() - began) / calls)
    return {
        name: {
            "median": significant(statistics.median(v)),
            "low": significant(min(v)),
            "high": significant(max(v)),
        }
        for name, v in found.items()
    }


def operations(step: Callable[[], Any], calls: int = 40) -> dict[str, float]:
    """Shares of the CPU time of a step: matrix products, norms, and all other operations of PyTorch."""
    from torch.profiler import ProfilerActivity, profile

    began = time.process_time()
    for _ in range(calls):
        step()
    whole = 1e6 * (time.process_time() - began)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(calls):
            step()
    own = {e.key: e.self_cpu_time_total for e in seen.key_averages() if e.key.startswith("aten::")}
    products = sum(v for k, v in own.items() if k in PRODUCTS)
    norms = sum(v for k, v in own.items() if k in NORMS)
    rest = sum(own.values()) - products - norms
    shares = {
        "products": products,
        "norms": norms,
        "other operations, the profiler's own cost included": rest,
    }
    told = {k: significant(v / whole, 3) for k, v in shares.items()}
    return told | {"microseconds a step without the profiler": significant(whole / calls)}


if __name__ == "__main__":
    main()
