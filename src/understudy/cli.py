"""The command line: the only place where strings become objects.

Each verb is a frozen dataclass whose fields are its flags. A verb returns one JSON-ready mapping; `--json`
prints it as the last thing on standard output and sends everything else to standard error.
"""

from __future__ import annotations

import json as jsonlib
import os
import pkgutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass
from importlib import import_module
from inspect import signature
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from tyro.conf import Positional

import understudy

__all__ = ["main"]

Result = Mapping[str, Any]


@dataclass(frozen=True)
class _Verb:
    json: bool = field(default=False, kw_only=True)
    """Print one JSON object, last on standard output; words go to standard error."""

    def console(self) -> Console:
        console = Console(stderr=self.json, highlight=False)
        if not console.is_terminal:  # a file or a pipe has no width; tables should not be folded for it
            console.width = 120
        return console


@dataclass(frozen=True)
class Tasks(_Verb):
    """Lists the built-in tasks. Any registered Gymnasium id works too.

    Example: understudy tasks
    """

    def run(self) -> Result:
        from understudy import show

        return show.tasks(self.console())


@dataclass(frozen=True)
class Record(_Verb):
    """Records demonstrations of a task's expert.

    Example: understudy record fetch-push --episodes 100 --out pushes
    """

    task: Positional[str]
    """A task's name (see `understudy tasks`)."""
    out: Path
    """The folder to write; it must not hold a dataset yet, unless --append."""
    episodes: int = 50
    """How many episodes."""
    seed: int = 0
    """The first episode's seed; the others follow."""
    noise: float = 0.0
    """Noise in what is executed, in half action ranges; the clean action stays the label (DART)."""
    workers: int = 2
    """Processes; the recording is the same for any number."""
    append: bool = False
    """Add to a dataset that is there."""

    def run(self) -> Result:
        from understudy import record

        fields = _fields(self)
        return record.record(fields.pop("task"), **fields, console=self.console())


@dataclass(frozen=True)
class Inspect(_Verb):
    """Says what is in a dataset, and what is wrong with it, in words and as one HTML page.

    Example: understudy inspect pushes --out inspection.html
    """

    data: Positional[Path]
    """A dataset: a folder or file of any known format."""
    out: Path = Path("inspection.html")
    """The page to write."""
    page: bool = True
    """The page too; --no-page leaves it out."""
    replay: int = 0
    """So many episodes are also played again in simulation: do their actions lead where they led?"""

    def run(self) -> Result:
        from understudy import show

        return show.inspection(self.data, self.console(), self.out if self.page else None, self.replay)


@dataclass(frozen=True)
class Convert(_Verb):
    """Demonstrations from one layout into another; the layout of the source is recognised.

    Example: understudy convert lift.hdf5 lift --reading mask=train
    """

    src: Positional[Path]
    """The file or folder to read; it is left as it is."""
    dst: Positional[Path]
    """The file or folder to write; nothing may be there."""
    to: str = "lerobot"
    """The layout to write; our own, unless another is named."""
    source: Annotated[str | None, tyro.conf.arg(name="from")] = None
    """The layout to read, where it is not to be recognised."""
    reading: tyro.conf.UseAppendAction[tuple[tuple[str, ...], ...]] = ()
    """Options of the layout read, each NAME=VALUE; `--from LAYOUT --help` explains them."""
    writing: tyro.conf.UseAppendAction[tuple[tuple[str, ...], ...]] = ()
    """Options of the layout written, each NAME=VALUE; `--to LAYOUT --help` explains them."""

    def run(self) -> Result:
        from understudy.formats.command import convert_files

        reading, writing = (list(chain.from_iterable(words)) for words in (self.reading, self.writing))
        return convert_files(self.src, self.dst, self.to, self.source, reading, writing, self.console())


@dataclass(frozen=True)
class Actions(_Verb):
    """Actions from absolute targets to deltas and back, and their rotations into another form.

    The data remembers what its actions mean; only the first conversion needs the flags that say it.

    Example: understudy actions lift lift-delta --to delta --reference measured --frame world --from absolute
    --position 0:3 --rotation 3:6=axis_angle --pose ee_pos,ee_quat=xyzw
    """

    src: Positional[Path]
    """The dataset to read, of any known layout; it is left as it is."""
    dst: Positional[Path]
    """The folder to write; nothing may be there."""
    to: Literal["absolute", "delta"]
    """Targets, or how far to go."""
    form: str | None = None
    """Of the action's rotations afterwards: matrix, xyzw, wxyz, axis_angle, 6d (columns), 6d_rows, or euler_
    and three letters, lower case for fixed axes; by default as they are."""
    source: Annotated[Literal["absolute", "delta"] | None, tyro.conf.arg(name="from")] = None
    """What the actions are now, where the data does not say."""
    position: tuple[str, ...] = ()
    """Columns START:STOP of positions (or joints), one for each hand or arm, - for none."""
    rotation: tuple[str, ...] = ()
    """Columns START:STOP=FORM of their rotations."""
    pose: tuple[str, ...] = ()
    """Where observations hold the measured pose: NAME,NAME=FORM or NAME[START:STOP],NAME[START:STOP]=FORM."""
    reference: Literal["measured", "previous"] | None = None
    """A delta is from the measured pose, as robosuite's controllers take it, or from the target before."""
    frame: Literal["world", "body"] | None = None
    """Of a delta: in fixed axes (ΔR R), or in the hand's own (R ΔR)."""
    position_scale: float = 1.0
    """The distance that a delta of 1 means."""
    rotation_scale: float = 1.0
    """The radians that a delta of 1 means."""
    clip: bool = False
    """Clip deltas to ±1; how many is reported."""

    def run(self) -> Result:
        from understudy.actions import Delta
        from understudy.actions.command import Words, convert_actions

        delta = None
        if self.reference is not None and self.frame is not None:
            delta = Delta(self.reference, self.frame, self.position_scale, self.rotation_scale, self.clip)
        elif (
            self.reference or self.frame or self.clip or (self.position_scale, self.rotation_scale) != (1, 1)
        ):
            raise ValueError("a delta needs both: --reference measured|previous and --frame world|body")
        words = Words(self.source, self.position, self.rotation, self.pose)
        return convert_actions(self.src, self.dst, self.to, words, delta, self.form, self.console())


@dataclass(frozen=True)
class Evaluate(_Verb):
    """Measures a trained policy on fresh seeds, beside the expert and four baselines.

    Example: understudy evaluate run --task fetch-push --episodes 100 --json
    """

    policy: Positional[Path]
    """A run's folder."""
    task: str | None = None
    """The task; by default the one it was trained on."""
    episodes: int = 100
    """How many episodes, each on its own seed."""
    seed: int = 1_000_000
    """The first seed; the others follow. Seeds of the demonstrations are refused."""
    baselines: bool = True
    """Measure expert, random, zero, replay and nearest neighbour on the same seeds."""
    other_task: bool = False
    """Allow a task that the policy was not trained on."""
    workers: int = 2
    """Processes; the result is the same for any number."""

    def run(self) -> Result:
        from understudy import runs

        return runs.evaluate_run(**_fields(self), console=self.console())


@dataclass(frozen=True)
class Compare(_Verb):
    """Compares two evaluated runs, seed by seed.

    Example: understudy compare run-a run-b
    """

    first: Positional[Path]
    """A run's folder, after `understudy evaluate`."""
    second: Positional[Path]
    """Another one, evaluated on the same seeds."""

    def run(self) -> Result:
        from understudy import show

        return show.comparison(self.first, self.second, self.console())


@dataclass(frozen=True)
class Shadow(_Verb):
    """Lets a trained policy look on while the expert drives: where they disagree, and which frames to label.

    Example: understudy shadow run --episodes 50 --out shadow
    """

    policy: Positional[Path]
    """A run's folder."""
    out: Path
    """The folder to write: shadow.json, shadow.html, and worth-labelling, a dataset."""
    task: str | None = None
    """Where he drives; by default the task that the policy was trained on."""
    expert: str = "task"
    """Who drives: task (the task's own), or any other that `train dagger` takes."""
    data: Path | None = None
    """Recorded episodes to look at, in place of a live expert."""
    episodes: int = 50
    """How many episodes he drives, each on its own seed."""
    seed: int = 1_000_000
    """The first seed; the others follow."""
    tolerance: float = 0.5
    """The largest disagreement that is none, in standard deviations of training actions, root mean square
    over the dimensions."""
    lapse: int = 2
    """An episode agrees where no disagreement beyond tolerance lasts longer than so many steps."""
    level: float = 0.9
    """The share of episodes that must agree before the policy counts as ready."""
    frames: int = 50
    """The most frames worth labelling."""
    alone: bool = True
    """Let the policy drive on the same seeds, too, and say what the agreement was worth."""
    workers: int = 2
    """Processes; the result is the same for any number."""

    def run(self) -> Result:
        from understudy import beside

        return beside.shadow_run(**_fields(self), console=self.console())


@dataclass(frozen=True)
class Report(_Verb):
    """Writes one self-contained HTML page about one or more runs.

    Example: understudy report run --out report.html
    """

    runs: Positional[tuple[Path, ...]]
    """Folders of runs."""
    out: Path = Path("report.html")
    """The file to write."""
    films: bool = True
    """Show what happened: the scene in 3-D, and film strips where the machine can draw them."""

    def run(self) -> Result:
        from understudy.report import write_report

        path = write_report(list(self.runs), self.out, films=self.films)
        self.console().print(f"wrote {path}")
        return {"report": str(path), "bytes": path.stat().st_size}


@dataclass(frozen=True)
class Irl(_Verb):
    """What does the expert want? A reward from demonstrations in a finite world, and what it is worth.

    Example: understudy irl gridworld --demonstrations 200 --changed wind=up:0.3 --out reward
    """

    world: Positional[str]
    """gridworld, cliff, objectworld, binaryworld, random, routes, frozen-lake, cliff-walking or taxi."""
    out: Path
    """The folder to write: reward.json and reward.html."""
    method: Literal[
        "maxent", "trajectory-maxent", "apprenticeship", "max-margin", "bayesian", "deep-maxent"
    ] = "maxent"
    """Of inverse RL."""
    demonstrations: int = 100
    """How many an expert of the world's true reward gives."""
    expert: Literal["soft", "optimal"] = "soft"
    """Soft: he chooses with exp(Q / temperature), as MaxEnt takes it; optimal: the best, ties alike."""
    temperature: float = 1.0
    """Of the soft expert."""
    steps: int | None = None
    """Cut a demonstration off after so many; by default at the horizon, or where a thousandth is left."""
    trajectories: Path | None = None
    """A .json or .npz of states [N, T + 1] and actions [N, T], -1 behind the end, in place of an expert."""
    seed: int = 0
    """Of demonstrations, samplers and networks; a world's own is --option seed=N."""
    discount: float | None = None
    """The world's discount; its own by default."""
    horizon: int | None = None
    """The world's number of decisions; its own by default."""
    option: tyro.conf.UseAppendAction[tuple[tuple[str, ...], ...]] = ()
    """Options of the world, each NAME=VALUE."""
    changed: tyro.conf.UseAppendAction[tuple[tuple[str, ...], ...]] = ()
    """Options that differ in another world, in which the reward is tried: NAME=VALUE."""
    objective: Literal["features", "choices"] | None = None
    """The likelihood of actions (choices, unless said), or to match what is collected (maxent)."""
    l1: float | None = None
    """Penalty that makes weights 0 (maxent)."""
    l2: float | None = None
    """Penalty on large weights (the MaxEnt methods), their price (max-margin), or decay (deep-maxent)."""
    prior_std: float | None = None
    """Standard deviation of the weights before anything was seen (bayesian, maxent)."""
    hidden: tuple[int, ...] | None = None
    """Widths of the reward's layers (deep-maxent); 32 32 unless given."""

    def run(self) -> Result:
        from understudy.inverse import Settings, Task, recover
        from understudy.inverse.command import options_of

        own = {k: v for k in ("discount", "horizon") if (v := getattr(self, k)) is not None}
        said, changed = (options_of(list(chain.from_iterable(w))) for w in (self.option, self.changed))
        if twice := own.keys() & said.keys():
            raise ValueError(f"{min(twice)} is said twice, as a flag and as an option")
        task = Task(
            self.world, {**said, **own}, changed, self.demonstrations, self.expert, self.temperature,
            self.steps, self.trajectories, self.seed,
        )  # fmt: skip
        settings = Settings(self.objective, self.l1, self.l2, self.prior_std, self.hidden)
        return recover(task, self.out, method=self.method, settings=settings, console=self.console())


@dataclass(frozen=True)
class Robot(_Verb):
    """Serves a task as a robot in a process of its own: it moves by the clock, with limits and a watchdog.

    Example: understudy robot fetch-push --port 7777 --token-file robot.token
    """

    task: Positional[str]
    """A task with continuous actions, and a rate."""
    port: int
    """The TCP port to listen at; 0 takes a free one, which the first line on standard output names."""
    host: str = "127.0.0.1"
    """The address; another than this computer's own lets a network in, without encryption."""
    token_file: Path | None = None
    """Where the secret is kept, for its owner alone; made where it does not exist. By default it comes from
    the environment variable UNDERSTUDY_ROBOT_TOKEN, or is made and printed."""
    limits: Path | None = None
    """A JSON file of boxes, speeds and step; by default the action's own bounds are the only limits."""
    timeout: float = 0.1
    """Seconds without a command, after which the robot stops."""

    def run(self) -> Result:
        from understudy.robots.command import robot_run

        fields = _fields(self)
        return robot_run(fields.pop("task"), **fields)


@dataclass(frozen=True)
class Studio(_Verb):
    """A page in the browser: drive by hand and record, correct a policy, look at the data.

    Example: understudy studio --task fetch-reach --operator Ann
    """

    task: str | None = None
    """A task to record."""
    data: Path | None = None
    """A dataset to look at, and to record more of where its task is known."""
    policy: Path | None = None
    """A run whose policy drives until somebody takes over."""
    robot: str | None = None
    """HOST:PORT of a robot of that task, in place of the simulation (see `understudy robot`)."""
    robot_token: Path | None = None
    """A file with the robot's secret; by default the environment variable UNDERSTUDY_ROBOT_TOKEN."""
    out: Path | None = None
    """The dataset to record into, new or not; by default TASK-demonstrations here, or RUN-corrections."""
    operator: str = "unnamed"
    """The name of who drives; the page can change it."""
    instruction: str | None = None
    """The task in words, kept with each episode; the page can change it."""
    seed: int | None = None
    """The first episode's seed; by default the first of those kept for what is driven by hand."""
    seconds: float = 60.0
    """The longest an episode may take."""
    mode: Literal["record", "correct", "label", "watch", "shadow"] | None = None
    """What to begin with; by default correct with a policy, else record."""
    host: str = "127.0.0.1"
    """The address to listen at; another than this computer's own lets a network in, without encryption."""
    port: int = 0
    """The port; 0 takes a free one."""
    open: bool = True
    """Open a browser; --no-open prints the address only."""
    share: bool = False
    """Let more than one browser in by the same address; one at a time drives."""

    def run(self) -> Result:
        from understudy.studio.command import Serving, opening, studio

        fields = _fields(self)
        serving = Serving(fields.pop("host"), fields.pop("port"), fields.pop("open"), fields.pop("share"))
        return studio(opening(**fields), serving, self.console())


@dataclass(frozen=True)
class Demo(_Verb):
    """The main job: demonstrations, behavioural cloning, evaluation, report.

    Example: understudy demo --out demo
    """

    out: Path = Path("demo")
    """The folder to write."""
    task: str = "fetch-pick-place"
    """A task with an expert."""
    demonstrations: tuple[int, ...] = (10, 25, 50, 100)
    """Numbers of demonstrations for the curve; the largest gives the policy that is reported."""
    episodes: int = 200
    """Fresh episodes for each evaluation."""
    workers: int = 2
    """Processes for simulation."""

    def run(self) -> Result:
        from understudy import demo

        fields = _fields(self)
        return demo.demo(task_name=fields.pop("task"), **fields, console=self.console())


_VERBS: dict[str, type[_Verb]] = {
    "tasks": Tasks,
    "record": Record,
    "inspect": Inspect,
    "convert": Convert,
    "actions": Actions,
    "evaluate": Evaluate,
    "compare": Compare,
    "shadow": Shadow,
    "report": Report,
    "irl": Irl,
    "robot": Robot,
    "studio": Studio,
    "demo": Demo,
}


def _fields(verb: _Verb) -> dict[str, Any]:
    return {k: v for k, v in vars(verb).items() if k != "json"}


def _modules(package: Any, *wanted: str) -> list[str]:
    """The modules of a package that have all these names: a new one is found without being registered."""
    names = [m.name for m in pkgutil.iter_modules(package.__path__)]
    modules = {n: import_module(f"{package.__name__}.{n}") for n in names}
    return [n for n, m in modules.items() if all(hasattr(m, w) for w in wanted)]


def _algorithms() -> list[str]:
    """The modules of `learn` with a Config and a Learner."""
    from understudy import learn

    return _modules(learn, "Config", "Learner")


def _methods() -> list[str]:
    """The modules of `interactive` with a Config and a Method, as words."""
    from understudy import interactive

    return [n.replace("_", "-") for n in _modules(interactive, "Config", "Method")]


def _acting() -> list[str]:
    """The modules of `online` with a Config and `build`, as words."""
    from understudy import online

    return [n.replace("_", "-") for n in _modules(online, "Config", "build")]


def _said(kind: Any, words: str) -> Any:
    """A flag of that kind, and what `--help` says of it."""
    return Annotated[kind, tyro.conf.arg(help=words)]


def _practise(name: str) -> type[_Verb]:
    """The verb `train METHOD` for a method that acts: its own Config, its learner's, and the rest."""
    from understudy.online.command import defaults, practise_run

    algorithm = name.replace("-", "_")
    module = import_module(f"understudy.online.{algorithm}")
    method, plan, learner, reading, budget = defaults(algorithm)

    def run(self: Any) -> Result:
        return practise_run(algorithm=algorithm, console=self.console(), **_fields(self))

    fields: list[Any] = [
        ("out", _said(Path, "The run's folder to write.")),
        ("task", _said(str | None, "The task; by default the one that the data names."), None),
        ("data", _said(Path | None, "Demonstrations, for methods that learn from them."), None),
        ("reward", _said(Path | None, "A run whose learned reward takes the place of the task's own."), None),
        ("method", type(method), method),
        ("plan", type(plan), plan),
        ("learner", type(learner), learner),
        ("reading", type(reading), reading),
        ("budget", type(budget), budget),
        ("resume", _said(bool, "Go on where the run was interrupted."), False),
    ]
    made = make_dataclass(
        "Practise", fields, bases=(_Verb,), namespace={"run": run}, frozen=True, kw_only=True
    )
    made.__doc__ = (
        f"{(module.__doc__ or name).splitlines()[0]}\n\n"
        f"Example: understudy train {name} {getattr(module, 'EXAMPLE', '--data demos')} --out run"
    )
    return made


def _teach(name: str) -> type[_Verb]:
    """The verb `train METHOD` for a method that asks an expert: its own Config, the rounds, and the rest."""
    from understudy.interactive import Rounds
    from understudy.interactive.command import teach_run
    from understudy.learn import bc
    from understudy.runs import Network
    from understudy.sources import HELP

    algorithm = name.replace("-", "_")
    module = import_module(f"understudy.interactive.{algorithm}")

    def run(self: Any) -> Result:
        return teach_run(algorithm=algorithm, console=self.console(), **_fields(self))

    fields: list[Any] = [
        ("out", _said(Path, "The run's folder to write.")),
        ("task", _said(str | None, "The task; by default the one that the data names."), None),
        ("data", _said(Path | None, "Demonstrations to start from."), None),
        ("expert", _said(str, f"Who stands by: {HELP}."), "task"),
        ("method", module.Config, module.Config()),
        ("plan", Rounds, Rounds()),
        ("config", bc.Config, bc.Config()),
        ("network", Network, Network()),
        ("steps", _said(int | None, "Gradient steps of each training; 5000 unless given."), None),
        ("schedule", _said(Literal["cosine", "constant"], "Of the learning rate."), "cosine"),
        ("workers", _said(int, "Processes for simulation; the result is the same for any number."), 2),
        ("resume", _said(bool, "Go on where the run was interrupted."), False),
    ]  # fmt: skip
    made = make_dataclass("Teach", fields, bases=(_Verb,), namespace={"run": run}, frozen=True, kw_only=True)
    made.__doc__ = (
        f"{(module.__doc__ or name).splitlines()[0]}\n\n"
        f"Example: understudy train {name} --task fetch-pick-place --data demos --out run"
    )
    return made


def _train(algorithm: str) -> type[_Verb]:
    """The verb `train ALGORITHM`: from where to where, the algorithm's own Config, network and budget."""
    from understudy.augment import Wish
    from understudy.augment.wishes import KINDS
    from understudy.runs import Network, fit_run
    from understudy.train import Budget

    module = import_module(f"understudy.learn.{algorithm}")
    config: Any = module.Config

    def run(self: Any) -> Result:
        fields = _fields(self)
        if "augment" in fields:
            fields["augment"] = tuple(map(Wish.parse, fields["augment"]))
        return fit_run(algorithm=algorithm, console=self.console(), **fields)

    fields: list[Any] = [
        ("data", Annotated[Path, tyro.conf.arg(help="The demonstrations: a dataset's folder.")]),
        ("out", Annotated[Path, tyro.conf.arg(help="The run's folder to write.")]),
        ("config", config, config()),
        ("network", Network, Network()),
        ("budget", Budget, Budget()),
        ("task", Annotated[str | None, tyro.conf.arg(help="Refuse data made for another task.")], None),
        (
            "schedule",
            Annotated[
                Literal["cosine", "constant"],
                tyro.conf.arg(help="Of the learning rate; cosine: to zero over all steps, or over --decay."),
            ],
            "cosine",
        ),
        (
            "validation",
            Annotated[float, tyro.conf.arg(help="Share of the episodes held out for validation.")],
            0.1,
        ),
        (
            "successes_only",
            Annotated[bool, tyro.conf.arg(help="Leave failed demonstrations out.")],
            False,
        ),
        ("resume", Annotated[bool, tyro.conf.arg(help="Go on from the run's checkpoint.")], False),
    ]
    if "augment" in signature(module.Learner).parameters:
        kinds = "; ".join(f"{name} ({kind.amount})" for name, kind in KINDS.items())
        words = f"What is done to training batches, in this order, each NAME:AMOUNT: {kinds}."
        fields.append(("augment", Annotated[tuple[str, ...], tyro.conf.arg(help=words)], ()))
    made = make_dataclass("Train", fields, bases=(_Verb,), namespace={"run": run}, frozen=True, kw_only=True)
    made.__doc__ = (
        f"Trains a policy: {(module.__doc__ or algorithm).splitlines()[0].rstrip('.')}.\n\n"
        f"Example: understudy train {algorithm} --data pushes --out run"
    )
    return made


def _first_line(name: str) -> str:
    """What a way to a policy is, in a line."""
    for package in ("online", "interactive", "learn"):
        if found := sys.modules.get(f"understudy.{package}.{name.replace('-', '_')}"):
            return (found.__doc__ or name).splitlines()[0]
    return name


def _edits() -> dict[str, str]:
    """The changes that `edit` makes, each in a line."""
    from understudy import edit

    return {name: (command.__doc__ or name).splitlines()[0] for name, command in edit.EDITS.items()}


def _edit(action: str) -> type[_Verb]:
    """The verb `edit ACTION`."""
    from understudy import edit

    command: Any = edit.EDITS[action]

    def run(self: Any) -> Result:
        made: Result = command.run(self)
        for part in made.get("parts", {"": made}).values():
            self.console().print(f"{part['dataset']}: {part['episodes']} episodes, {part['steps']} steps")
            if part["kept"]:
                self.console().print(f"the dataset before is {part['kept']}")
            if part["left_out"]:
                self.console().print(f"left out, since no episode holds it: {', '.join(part['left_out'])}")
        return made

    made = make_dataclass("Edit", [], bases=(command, _Verb), namespace={"run": run}, frozen=True)
    made.__doc__ = command.__doc__
    return made


def _study(name: str) -> type[_Verb]:
    """The verb `study NAME`."""
    from understudy import study

    command: Any = study.STUDIES[name]

    def run(self: Any) -> Result:
        found: Result = command.run(self, self.console())
        return found

    made = make_dataclass("Study", [], bases=(command, _Verb), namespace={"run": run}, frozen=True)
    made.__doc__ = command.__doc__
    return made


_FLAGS = (tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes)

_USAGE = """understudy: demonstrations in, a measured policy out.

  understudy demo                                     the main job, in one go
  understudy tasks                                    what can be done
  understudy record TASK --episodes N --out DIR       demonstrations of the task's expert
  understudy inspect DIR                              what is in a dataset, what is wrong, and a page of it
  understudy convert SRC DST --to LAYOUT              demonstrations from one layout into another
  understudy actions SRC DST --to delta|absolute      absolute actions to deltas and back, forms of rotations
  understudy edit CHANGE DIR --out NEW                a changed copy of a dataset (`understudy edit --help`)
  understudy train bc --data DIR --out RUN            a policy from demonstrations alone
  understudy train dagger --task TASK --out RUN       one with an expert at hand (`understudy train --help`)
  understudy evaluate RUN --task TASK --episodes N    how good it is, beside five baselines
  understudy compare RUN RUN                          which one is better, seed by seed
  understudy shadow RUN --out DIR                     where it disagrees with the expert, who drives
  understudy report RUN...                            one HTML page
  understudy irl WORLD --out DIR                      what an expert wants, from what he does (finite worlds)
  understudy robot TASK --port P                      a simulated robot in a process of its own
  understudy studio --task TASK                       drive, correct and look at data in the browser
  understudy study compounding --out DIR              cloning and DAgger against the horizon, beside theory

Each takes --help, and --json for one JSON object on standard output."""


def _second(verb: str, words: list[str], known: Sequence[str], what: str, usage: str) -> str:
    """Takes the second word of a verb that has one; where help is asked for instead, prints the usage."""
    if words and words[0] in ("-h", "--help"):
        print(usage)
        raise SystemExit(0)
    if not words or words[0] not in known:
        given = f"not {words[0]!r}" if words else "but none is named"
        raise ValueError(f"{verb} takes {what}, one of {', '.join(known)}, {given}")
    return words.pop(0)


def _parse(argv: Sequence[str]) -> _Verb:
    words = list(argv)
    verb = words.pop(0)
    if verb == "train":
        offline, asking, acting = _algorithms(), _methods(), _acting()
        known = [*offline, *asking, *acting]
        usage = "\n".join(f"  understudy train {n:<18}{_first_line(n)}" for n in known)
        chosen = _second(verb, words, known, "an algorithm", f"Ways to a policy.\n\n{usage}")
        makers = dict.fromkeys(asking, _teach) | dict.fromkeys(acting, _practise)
        verb, kind = f"train {chosen}", makers.get(chosen, _train)(chosen)
    elif verb == "edit":
        edits = _edits()
        usage = "\n".join(f"  understudy edit {name:<12}{text}" for name, text in edits.items())
        chosen = _second(verb, words, list(edits), "a change", f"Changed copies of datasets.\n\n{usage}")
        verb, kind = f"edit {chosen}", _edit(chosen)
    elif verb == "study":
        from understudy.study import STUDIES

        lines = {name: (s.__doc__ or name).splitlines()[0] for name, s in STUDIES.items()}
        usage = "\n".join(f"  understudy study {name:<13}{text}" for name, text in lines.items())
        chosen = _second(verb, words, list(STUDIES), "a study", f"Theory made visible.\n\n{usage}")
        verb, kind = f"study {chosen}", _study(chosen)
    elif verb in _VERBS:
        kind = _VERBS[verb]
        if verb == "convert" and {"-h", "--help"} & {*words}:
            from understudy.formats.command import described

            print(f"Layouts, and their options with defaults:\n{described(words)}\n")
    else:
        raise ValueError(f"no verb {verb!r}; there are {', '.join([*_VERBS, 'edit', 'study', 'train'])}")
    return tyro.cli(kind, prog=f"understudy {verb}", args=words, config=_FLAGS)


def _guarded(work: Callable[[], int]) -> int:
    """Runs it; a mistake in what was given becomes one line and exit status 2."""
    if os.environ.get("UNDERSTUDY_TRACEBACK"):
        return work()
    try:
        return work()
    except KeyboardInterrupt:
        print("understudy: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `understudy … | head` is no error
        return 0
    except (ValueError, KeyError, OSError, ImportError) as wrong:
        words = wrong.args[0] if isinstance(wrong, KeyError) and wrong.args else wrong
        print(f"understudy: {' '.join(str(words).split())}", file=sys.stderr)
        return 2


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit status: 0 done, 2 bad input, 130 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(_USAGE)
        return 0
    if words[0] == "--version":
        print(understudy.__version__)
        return 0

    def work() -> int:
        verb = _parse(words)
        result = dict(verb.run())  # type: ignore[attr-defined]
        status: int = result.pop("exit_status", 0)
        if verb.json:
            print(jsonlib.dumps(result, allow_nan=False))
        return status

    return _guarded(work)


if __name__ == "__main__":
    raise SystemExit(main())
