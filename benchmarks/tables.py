"""Fills the tables of README and docs from the committed results, so that no figure is typed by hand.

python benchmarks/tables.py            rewrites the pages
python benchmarks/tables.py --check    exits 1 where it would change
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from cells import REPO, interval, load, ratio
from tables_adversarial import adversarial, on_policy, past_the_teacher, runners
from tables_interactive import (
    compounding,
    dagger_round,
    ensemble,
    interactive,
    permitted,
    success_curves,
)
from tables_inverse import (
    continuous,
    coverage,
    objectworld,
    sac_returns,
    sac_step,
    tabular,
    value_curves,
)
from tables_studio import browser, operator, studio_load


def demo() -> str:
    d = load("demo")
    rows = ["| demonstrations | steps | success of the policy |", "|---:|---:|---|"]
    rows += [f"| {c['episodes']} | {c['steps']} | {interval(c['success'], 3)} |" for c in d["curve"]]
    others = ("expert", "nearest-neighbour", "replay", "random", "zero")
    beside = ", ".join(f"{n} {interval(d['policies'][n]['success_rate'], 3)}" for n in others)
    n = d["curve"][0]["success"]["n"]
    rows += ["", f"{d['task']}, {n} fresh episodes each, 95 % intervals. Beside it: {beside}."]
    return "\n".join(rows)


def cloning() -> str:
    d = load("cloning")
    names = list(d["success"])
    rows = ["| variant | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for label in d["success"][names[0]]:
        cells = []
        for name in names:
            e = d["success"][name].get(label)
            by_seed = "" if e is None else ", ".join(f"{x:.2f}" for x in e["by_seed"])
            cells.append("not run" if e is None else f"{interval(e, 2)} ({by_seed})")
        rows.append(f"| {label} | " + " | ".join(cells) + " |")
    rows += [
        "",
        f"Success from {d['demonstrations']} demonstrations after 5,000 steps with the last weights, on 100 "
        "validation seeds; in brackets Wilson's 95 % interval over all episodes, which leaves out the spread "
        "between training seeds, then each training seed, with demonstrations and first weights of its own. "
        "The head is deterministic where none is named. "
        "`python benchmarks/cloning.py --out benchmarks/results/cloning.json`",
    ]
    return "\n".join(rows)


def augmentation() -> str:
    d = load("augmentation")
    tasks = list(d["success"])
    rows = ["| augmentation | " + " | ".join(tasks) + " |", "|---|" + "---|" * len(tasks)]
    for label in d["success"][tasks[0]]:
        cells = []
        for task in tasks:
            e = d["success"][task][label]
            by_seed = ", ".join(f"{x:.2f}" for x in e["by_seed"])
            more = f"; {interval(e['against_none'], 2)} more" if "against_none" in e else ""
            cells.append(f"{interval(e, 2)} ({by_seed}){more}")
        rows.append(f"| {label} | " + " | ".join(cells) + " |")
    rows += [
        "",
        f"Success of cloning from {d['demonstrations']} demonstrations, last weights, on 100 validation "
        "seeds; in brackets each training seed. Intervals are 95 %, over episodes; differences are paired by "
        "training seed and episode. "
        "`python benchmarks/augmentation.py --out benchmarks/results/augmentation.json`",
    ]
    return "\n".join(rows)


def data() -> str:
    rec, camera = load("recording")["episodes_of"], load("camera_recording")
    opened, sums, windows = load("opening"), load("dataset_statistics"), load("windows")
    crash, native, foreign = load("crash"), load("native_fuzz"), load("fuzz_formats")
    live, there, theirs = camera["presets"]["ultrafast"], opened["folders"], opened["lerobot"]
    asked, pieces = opened["setting"], sums["one_pass"]["pieces of 65,536 rows"]
    files = sum(f["files"] for f in foreign["formats"])
    slowest = max(f["slowest_s"] for f in foreign["formats"])
    more = windows["ratios"]["lerobot/ours"]
    rate = {k: c["frames_a_second"] for k, c in windows["contenders"].items()}
    found = {
        "recording.py": (
            "recording, an episode synced each time",
            f"{rec['200 steps']['median']:,.0f} steps a second in episodes of 200, "
            f"{rec['50 steps']['median']:,.0f} in episodes of 50",
        ),
        "camera_recording.py": (
            f"two 640×480 cameras at 50 Hz, live, {camera['setting']['seconds']:.0f} s",
            f"{live['dropped']} of {live['pictures']:,} pictures dropped; encoders take "
            f"{live['encoder_cpu']:.2f} of a core; a step takes {live['step_ms']['p50']:.1f} ms, 99 % are "
            f"within {live['step_ms']['p99']:.1f}",
        ),
        "opening.py": (
            f"opening {asked['episodes']:,} episodes of {asked['steps']} steps, every value in memory",
            f"{there['recorded']['read']['median']:.2f} s of CPU as recorded one by one, "
            f"{there['compacted']['read']['median']:.2f} compacted; LeRobot {theirs['first_wall']:.1f} s the "
            f"first time, {theirs['again']:.2f} again",
        ),
        "dataset_statistics.py": (
            f"statistics of {sums['setting']['frames']:,} × {sums['setting']['width']} numbers",
            f"{pieces['cpu']:.1f} s; quantiles are off by {pieces['rank_error']:.2%} of the rank, the bound "
            f"is {pieces['rank_error_bound']:.2%}",
        ),
        "windows.py": (
            f"windows with a chunk of {windows['setting']['horizon']}, batch {windows['setting']['batch']}",
            f"{rate['ours']:,.0f} a second, LeRobot's loader {rate['lerobot']:,.0f}; ratio in CPU time "
            f"{more['median']:,.0f} ({more['low']:,.0f} to {more['high']:,.0f})",
        ),
        "crash.py": (
            f"recorders killed, {crash['found']['kills']} times",
            f"{crash['verdict']['lost']:.0f} committed episodes lost",
        ),
        "native_fuzz.py": (
            f"hostile native folders, {native['setting']['cases']:,}",
            f"{native['verdict']['wrong']:.0f} crashes, hangs, floods or wrong reads; at most "
            f"{native['most_memory_mib']:,} MiB",
        ),
        "fuzz_formats.py": (
            f"hostile files of other layouts, {files:,}",
            f"{foreign['verdict']['broken']} crashes, hangs, floods or writes outside; at most "
            f"{slowest:.1f} s and {foreign['peak_MB_of_any_child']} MB",
        ),
    }
    rows = ["| work | measured | script |", "|---|---|---|"]
    return "\n".join(rows + [f"| {work} | {said} | `{script}` |" for script, (work, said) in found.items()])


def measures() -> str:
    from understudy.quality import MEASURES

    rows = ["| measure | unit | what it is | worse | sees |", "|---|---|---|---|---|"]
    for name, m in MEASURES.items():
        rows.append(f"| `{name}` | {m.unit} | {m.about} | {m.worse or ''} | {', '.join(m.sees)} |")
    return "\n".join(rows)


def quality() -> str:
    d = load("quality")
    tasks = list(d["tasks"])
    rows = ["| fault | measure | " + " | ".join(tasks) + " |", "|---|---|" + "---|" * len(tasks)]
    for where, said in (("in_recording", ""), ("in_simulation", ", the robot shaken as well")):
        for fault, found in d["tasks"][tasks[0]][where].items():
            for name in found["measures"]:
                each = (d["tasks"][t][where][fault]["measures"][name] for t in tasks)
                cells = [f"{m['auroc']:.3f} ({m['least']:.3f})" for m in each]
                rows.append(f"| {fault}{said} | `{name}` | " + " | ".join(cells) + " |")
    first, last = d["seeds"]
    rows += [
        "",
        f"Area under the ROC curve, mean and least of seeds {first} to {last}; {d['episodes']} "
        f"demonstrations, {d['share']:.0%} of them spoilt. "
        "`python benchmarks/quality.py --json-out benchmarks/results/quality.json`",
    ]
    return "\n".join(rows)


def speed() -> str:
    step, mixture, act, memory = load("bc_step"), load("bc_gmm_step"), load("act_latency"), load("memory")
    rows = ["| work, one thread, CPU time | ours | peer | ratio |", "|---|---|---|---|"]
    for batch, found in step["batches"].items():
        c, r = found["contenders"], found["ratios"]
        what = f"cloning step 11→256→256→3, batch {batch}"
        peer = f"`imitation` {c['imitation']['cpu_ms']:.2f} ms"
        rows.append(
            f"| {what} | {c['ours']['cpu_ms']:.2f} ms | {peer} | {ratio(r['imitation/ours'])} faster |"
        )
        peer = f"JAX, jitted {c['jax']['cpu_ms']:.2f} ms"
        rows.append(f"| | {c['ours']['cpu_ms']:.2f} ms | {peer} | {ratio(r['ours/jax'])} the time |")
    c, r = mixture["step"]["contenders"], mixture["step"]["ratios"]["robomimic/ours"]
    rows.append(
        f"| mixture step 1024→1024, batch 100 | {c['ours']['cpu_ms']:.1f} ms "
        f"| robomimic {c['robomimic']['cpu_ms']:.1f} ms | {ratio(r)} faster |"
    )
    c = act["contenders"]
    rows.append(
        f"| one observation to one action | {c['ours']['median_us']:.0f} µs "
        f"| `imitation` {c['imitation']['median_us']:.0f}, robomimic {c['robomimic']['median_us']:.0f} µs | |"
    )
    peak = memory["verdict"]["peak_gb"]
    rows.append(f"| peak memory, learning from 1 GB of demonstrations | {peak:.2f} GB | | |")
    where = f"{step['machine']['cpu']}, {', '.join(step['machine']['vector'])}"
    rows += [
        "",
        f"Median (smallest to largest) of rounds in one run on a shared {where}; "
        "`make peers bench` repeats it.",
    ]
    return "\n".join(rows)


TABLES: dict[str, Callable[[], str]] = {
    "adversarial": adversarial,
    "augmentation": augmentation,
    "browser": browser,
    "cloning": cloning,
    "compounding": compounding,
    "continuous": continuous,
    "coverage": coverage,
    "dagger_round": dagger_round,
    "data": data,
    "demo": demo,
    "ensemble": ensemble,
    "interactive": interactive,
    "measures": measures,
    "objectworld": objectworld,
    "on_policy": on_policy,
    "operator": operator,
    "permitted": permitted,
    "quality": quality,
    "past_the_teacher": past_the_teacher,
    "runners": runners,
    "sac_returns": sac_returns,
    "sac_step": sac_step,
    "speed": speed,
    "studio_load": studio_load,
    "tabular": tabular,
}
DOCS = ("actions", "adversarial", "cloning", "data", "interactive", "inverse", "quality", "studio", "theory")
FIGURES = (
    (REPO / "docs" / "img" / "interactive.svg", success_curves),
    (REPO / "docs" / "img" / "objectworld.svg", value_curves),
)
PAGES = (REPO / "README.md", *(REPO / "docs" / f"{name}.md" for name in DOCS))


def filled(text: str) -> str:
    """The page with every table made anew."""
    for name, table in TABLES.items():
        if f"<!-- table:{name} -->" in text:
            body = f"<!-- table:{name} -->\n{table()}\n<!-- /table -->"
            text = re.sub(rf"<!-- table:{name} -->.*?<!-- /table -->", lambda _, b=body: b, text, flags=re.S)
    return text


def main() -> int:
    pages = {page: page.read_text() for page in PAGES}
    new = {page: filled(text) for page, text in pages.items()}
    if "--check" in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as scratch:
            same = [draw(Path(scratch) / path.name).read_text() == path.read_text() for path, draw in FIGURES]
        return int(new != pages or not all(same))
    for path, draw in FIGURES:
        path.parent.mkdir(exist_ok=True)
        draw(path)
    for page, text in new.items():
        page.write_text(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
