"""A run folder: what was trained from what, and how it was measured.

RUN/run.json            settings, data, agent, times, provenance
RUN/metrics.jsonl       one line a validation
RUN/agent/              the policy: agent.json and weights.safetensors
RUN/base/               likewise, where the agent corrects another that stays as it is
RUN/checkpoint/         where `--resume` goes on
RUN/evaluations/NAME/   report.json, and the rollouts as a dataset
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from understudy import formats, storage
from understudy.actions import converted
from understudy.actions.chunks import declared
from understudy.agent import Agent, Chunked, Corrected, load
from understudy.augment import Augmentation, Wish
from understudy.baselines import baseline_policies
from understudy.dataset import Dataset
from understudy.envs import Task, UnknownTask
from understudy.envs import task as find_task
from understudy.evaluate import FIRST_SEED, Report, compare, evaluate, fresh_seeds
from understudy.heads import Categorical, Deterministic, Gaussian, HeadConfig, Members, Mixture
from understudy.nets import MLP, MLPEnsemble, TrunkConfig
from understudy.provenance import provenance
from understudy.record import tracked
from understudy.roles import Policy
from understudy.rollout import Workers
from understudy.serial import parse, read_json, write_json
from understudy.train import Budget, Outcome, train

__all__ = [
    "POLICY",
    "Network",
    "about",
    "begin_run",
    "describe_run",
    "evaluate_run",
    "fit",
    "fit_run",
    "keep_agent",
    "keep_base",
    "measure",
    "nothing_else_asked",
    "open_run",
    "policies_table",
    "policy_of",
    "save_run",
    "went_on",
]

_FORMAT, _VERSION = "understudy-run", 1
POLICY = "policy"  # the name of the run's own policy among the evaluations


@dataclass(frozen=True)
class Network:
    """What the policy is made of, and how it acts."""

    head: Literal["auto", "deterministic", "gaussian", "mixture", "categorical"] = "auto"
    """auto: categorical for discrete actions, else deterministic. Take the mixture where demonstrators do one
    of several things in the same situation: an average of them is none of them."""
    components: int = 5
    """Of the mixture."""
    std: Literal["global", "state"] = "global"
    """Of the Gaussian: one spread for each action dimension, or one predicted from the observation, which on
    few demonstrations collapses onto them and spoils the mean (docs/cloning.md has figures)."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers."""
    activation: Literal["relu", "tanh", "gelu", "silu"] = "gelu"
    """Smooth ones need fewer demonstrations (docs/cloning.md has figures)."""
    dropout: float = 0.0
    members: int = 1
    """More than one: an ensemble of such networks, each trained on a resample of its own. It acts by their
    mean and doubts where they disagree; the head is then deterministic, without dropout."""
    history: int = 1
    """Observations seen."""
    horizon: int = 1
    """Actions predicted at once."""
    execute: int = 1
    """Actions played before the policy is asked again."""
    normalizer: Literal["standard", "range", "quantile", "identity"] = "standard"
    """Of observations and continuous actions; its statistics come from the training episodes."""
    relative: Literal["no", "body", "world"] = "no"
    """Predict actions relative to the pose at the chunk's start, in the hand's axes or in fixed ones. The
    data must have absolute actions and say what they mean (see `understudy actions`)."""

    def head_for(self, data: Dataset, which: Task | None) -> HeadConfig:
        """The head's configuration for these actions."""
        discrete = data.schema["action"][0] == "int64"
        name = ("categorical" if discrete else "deterministic") if self.head == "auto" else self.head
        if name == "categorical":
            if not discrete:
                raise ValueError("a categorical head needs discrete actions; these are continuous")
            known = None if which is None else which.action.n
            return Categorical(known or 1 + max(int(part.max()) for part in data.chunks("action")))
        if self.members != 1 and name == "deterministic":
            return Members(self.members)
        kinds: dict[str, HeadConfig] = {
            "deterministic": Deterministic(),
            "gaussian": Gaussian(self.std),
            "mixture": Mixture(self.components),
        }
        return kinds[name]

    def trunk(self, head: HeadConfig) -> TrunkConfig:
        """The trunk's configuration for that head.

        Raises:
            ValueError: when there are several members, and the head or dropout is not for that.
        """
        if self.members == 1:
            return MLP(self.hidden, self.activation, self.dropout)
        if self.dropout:
            raise ValueError(f"dropout is {self.dropout} with members {self.members}; an ensemble has none")
        if not isinstance(head, Members):
            raise ValueError(
                f"members is {self.members} with a {head.kind} head; an ensemble's is deterministic"
            )
        return MLPEnsemble(self.members, self.hidden, self.activation)

    def agent(self, data: Dataset, which: Task | None, seed: int) -> Agent:
        """A fresh agent, its normalisers fitted to `data`, its actions within the task's bounds, if any."""
        head = self.head_for(data, which)
        discrete = isinstance(head, Categorical)
        frame = None if self.relative == "no" else declared(data, self.relative)
        # The task's bounds are for actions as it takes them.
        own = frame is None and not converted(data.facts)
        bounded = which is not None and not discrete and which.action.bounded and own
        return Agent.build(
            data,
            self.trunk(head),
            head,
            history=self.history,
            horizon=self.horizon,
            observations=self.normalizer,
            actions=None if discrete else self.normalizer,
            angles={} if which is None else dict(which.angles),
            bounds=(which.action.low, which.action.high) if bounded and which is not None else None,
            frame=frame,
            seed=seed,
        )


def task_of(data: Dataset) -> str | None:
    """The one task that all episodes name; None where they name none.

    Raises:
        ValueError: when they name several.
    """
    names = sorted({str(e["task"]) for e in data.facts if "task" in e})
    if len(names) > 1:
        raise ValueError(f"the episodes are of {len(names)} tasks, {', '.join(names[:4])}; one is needed")
    return names[0] if names else None


def _known(name: str | None) -> Task | None:
    """The registered task of that name; None for a user's own."""
    try:
        return None if name is None else find_task(name)
    except UnknownTask:
        return None


def fit(
    data: Dataset,
    *,
    algorithm: str = "bc",
    config: Any,
    network: Network,
    budget: Budget,
    validation: float,
    which: Task | None,
    augment: Sequence[Wish] = (),
    run: Path | None = None,
    resume: bool = False,
    progress: bool = False,
) -> tuple[Agent, Outcome]:
    """Trains an agent on `data`, holding out a share `validation` of its episodes.

    `augment` is for algorithms whose learner takes augmentations; it is fitted to the training episodes.
    """
    held = (
        0 if validation == 0 or len(data) < 2 else min(len(data) - 1, max(1, round(validation * len(data))))
    )
    val, training = data.split(held / len(data), config.seed)
    agent = network.agent(training, which, config.seed)
    changes = _built(augment, training, which)
    extra = {"augment": changes} if changes else {}
    learner = import_module(f"understudy.learn.{algorithm}").Learner(agent, training, config, **extra)
    windows = agent.examples(val) if held else None
    outcome = train(
        learner,
        budget,
        run=run,
        validate=None if windows is None else lambda _: float(learner.validation_loss(windows)),
        resume=resume,
        progress=progress,
    )
    return learner.agent, outcome


def _built(augment: Sequence[Wish], data: Dataset, which: Task | None) -> list[Augmentation]:
    """The augmentations that were asked for, fitted to this data."""
    symmetries = () if which is None else which.symmetries
    if symmetries and converted(data.facts):
        symmetric = [str(w) for w in augment if w.name in ("mirror", "rotation")]
        if symmetric:
            raise ValueError(
                f"{symmetric[0]} is declared for the actions that the task takes, and these were converted"
            )
    return [change for wish in augment for change in wish.build(data, symmetries)]


def fit_run(
    *,
    algorithm: str,
    data: Path,
    out: Path,
    config: Any,
    network: Network,
    budget: Budget,
    task: str | None = None,
    schedule: Literal["cosine", "constant"] = "cosine",
    validation: float = 0.1,
    successes_only: bool = False,
    augment: tuple[Wish, ...] = (),
    resume: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Trains into a run folder; with `resume`, goes on where an interrupted run stopped, with its settings.

    Raises:
        ValueError: when the data was made for another task, or the folder is not what it should be.
    """
    console = console or Console(quiet=True)
    if not 0 <= validation < 1:
        raise ValueError(f"validation is {validation}; it must lie in [0, 1)")
    asked = (config, network, budget)
    if schedule == "cosine" and config.decay is None:
        config = replace(config, decay=budget.steps)
    settings = _settings(algorithm, config, network, budget, validation, successes_only, augment)
    before: dict[str, Any] = {}
    if resume:
        before, settings = _to_resume(out, algorithm)
        config = parse(type(config), settings["config"], "config")
        network, budget = (
            parse(Network, settings["network"], "network"),
            parse(Budget, settings["budget"], "budget"),
        )
        validation, successes_only = float(settings["validation"]), bool(settings["successes_only"])
        nothing_else_asked(out, asked, (config, network, budget))
        augment = _own_augment(out, augment, settings["augment"])
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} exists and is not empty; choose another folder, or --resume the run in it")
    episodes = formats.read(data)
    made_for = task_of(episodes)
    if task is not None and made_for != task:
        raise ValueError(f"{data} was recorded on {made_for or 'no task it names'}, not on {task}")
    fingerprint = episodes.fingerprint()
    if before and before["data"]["fingerprint"] != fingerprint:
        raise ValueError(f"{data} is not the data that {out} was begun with")
    used = (
        episodes.select(i for i, won in enumerate(episodes.successes) if won) if successes_only else episodes
    )
    if not len(used):
        raise ValueError(f"no episode of {data} is a success; leave --successes-only out")
    if validation and len(used) < 2:
        console.print("one episode cannot be split: training without validation")
    which = _known(made_for)
    _built(augment, used, which)  # a wrong one is refused before the folder is begun
    run = _description(made_for, settings, about(data, out, used, fingerprint))
    if resume:
        went_on(run, before)
    else:
        write_json(out / "run.json", run)  # so that --resume knows the settings
    agent, outcome = fit(
        used,
        algorithm=algorithm,
        config=config,
        network=network,
        budget=budget,
        validation=validation,
        which=which,
        augment=augment,
        run=out,
        resume=resume,
        progress=console.is_terminal,
    )
    if outcome.stopped == "interrupted":
        console.print(f"interrupted at step {outcome.steps} of {budget.steps}; go on with --resume")
        return {"run": str(out), "stopped": "interrupted", "steps": outcome.steps, "exit_status": 130}
    save_run(out, run, agent, outcome)
    last = outcome.metrics[-1] if outcome.metrics else {}
    words = ", ".join(f"{k} {last[k]:.4g}" for k in ("loss", "validation") if k in last)
    console.print(
        f"trained {algorithm} on {len(used)} episodes ({used.steps} steps) for {outcome.steps} steps in "
        f"{outcome.seconds:.1f} s: {words}; kept the {outcome.selected} weights, in {out}"
    )
    names = ("task", "algorithm", "agent", "seconds", "cpu_seconds")
    return {
        "run": str(out),
        "stopped": outcome.stopped,
        "steps": outcome.steps,
        **{k: run[k] for k in names},
        **last,
    }


def begin_run(
    out: Path,
    data: Path,
    used: Dataset,
    *,
    config: Any,
    network: Network,
    budget: Budget,
    validation: float,
    algorithm: str = "bc",
    task: str | None = None,
) -> dict[str, Any]:
    """What run.json says of a run on `used`, read from `data`, that is about to begin; `used` may be empty.

    `task` is named by the episodes, unless it is given.
    """
    settings = _settings(algorithm, config, network, budget, validation, False, ())
    facts = about(data, out, used, used.fingerprint())
    return _description(task_of(used) if task is None else task, settings, facts)


def _settings(
    algorithm: str,
    config: Any,
    network: Network,
    budget: Budget,
    validation: float,
    successes_only: bool,
    augment: Sequence[Wish],
) -> dict[str, Any]:
    return {
        "algorithm": algorithm,
        "config": asdict(config),
        "network": asdict(network),
        "budget": asdict(budget),
        "validation": validation,
        "successes_only": successes_only,
        "augment": [str(w) for w in augment],
    }


def _description(made_for: str | None, settings: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    head = {"format": _FORMAT, "version": _VERSION, "task": made_for}
    return {**head, **settings, "data": facts, "provenance": provenance()}


def describe_run(
    made_for: str, facts: dict[str, Any], *, algorithm: str, config: Any, network: Network, budget: Budget
) -> dict[str, Any]:
    """What run.json says of a run that is about to begin with all its data, or with none."""
    return _description(made_for, _settings(algorithm, config, network, budget, 0.0, False, ()), facts)


def went_on(run: dict[str, Any], before: Mapping[str, Any]) -> None:
    """Notes in a resumed run how it was begun: its provenance says how it was ended."""
    run["begun"] = before.get("begun", before["provenance"])


def save_run(out: Path, run: dict[str, Any], agent: Agent, outcome: Outcome) -> None:
    """Writes the agent, and into run.json what became of it."""
    run["stopped"] = outcome.stopped
    run["seconds"], run["cpu_seconds"] = round(outcome.seconds, 3), round(outcome.cpu_seconds, 3)
    keep_agent(out, run, agent, outcome.selected, outcome.selected_step)


def keep_agent(out: Path, run: dict[str, Any], agent: Agent, selected: str, step: int) -> None:
    """Writes the agent, and run.json with what it is and which weights it has."""
    agent.save(out / "agent")
    description = agent.description
    run["agent"] = {
        "parameters": sum(p.numel() for p in agent.parameters()),
        **{k: description[k] for k in ("trunk", "head", "history", "horizon")},
        "selected": selected,
        "selected_step": step,
    }
    write_json(out / "run.json", run)


def about(data: Path, out: Path, used: Dataset, fingerprint: str) -> dict[str, Any]:
    """What run.json says of the data: where it lies and what was used of it."""
    said = [won for won in used.successes if won is not None]
    return {
        # Relative to the run, so that both can be moved together and no machine's paths travel.
        "path": os.path.relpath(data, out),
        "fingerprint": fingerprint,
        "episodes": len(used),
        "steps": used.steps,
        "success": sum(said) / len(said) if said else None,
        "converted": converted(used.facts),
    }


def _to_resume(out: Path, algorithm: str) -> tuple[dict[str, Any], dict[str, Any]]:
    run = open_run(out)
    if run["algorithm"] != algorithm:
        raise ValueError(f"{out} was begun with {run['algorithm']}, not {algorithm}")
    names = ("algorithm", "config", "network", "budget", "validation", "successes_only")
    return run, {k: run[k] for k in names} | {"augment": run.get("augment", [])}


def nothing_else_asked(
    out: Path, asked: tuple[Any, ...], kept: tuple[Any, ...], usual: tuple[Any, ...] | None = None
) -> None:
    """Refuses a flag that a resumed run would not follow: neither as usual nor the run's own.

    `usual` is what is asked for where nothing is said; the classes' own defaults, unless given.
    """
    unsaid = tuple(type(given)() for given in asked) if usual is None else usual
    for given, own, silent in zip(asked, kept, unsaid, strict=True):
        for name, value in vars(given).items():
            mine, usually = getattr(own, name), getattr(silent, name)
            if is_dataclass(value) and type(value) is type(mine) is type(usually):
                nothing_else_asked(out, (value,), (mine,), (usually,))
            elif value not in (usually, mine):
                raise ValueError(
                    f"{name} is {value!r}, but {out} was begun with {mine!r}; --resume goes on with the "
                    "run's own settings, so leave it out"
                )


def _own_augment(out: Path, asked: tuple[Wish, ...], said: Sequence[str]) -> tuple[Wish, ...]:
    """The augmentations that a resumed run was begun with; others are refused."""
    own = tuple(Wish.parse(str(w)) for w in said)
    if asked not in ((), own):
        raise ValueError(
            f"augment is {' '.join(map(str, asked))}, but {out} was begun with {' '.join(said) or 'none'}; "
            "--resume goes on with the run's own settings, so leave it out"
        )
    return own


def open_run(folder: Path) -> dict[str, Any]:
    """What run.json says.

    Raises:
        ValueError: when the folder is not a run of this version.
    """
    file = folder / "run.json"
    if not file.is_file():
        raise ValueError(f"{folder} is not a run: it has no run.json; make one with `understudy train`")
    run = read_json(file)
    if (run.get("format"), run.get("version")) != (_FORMAT, _VERSION):
        raise ValueError(f"{file} is not a version {_VERSION} run of understudy")
    names = ("algorithm", "config", "network", "budget", "validation", "successes_only", "data", "task")
    if missing := [k for k in names if k not in run]:
        raise ValueError(f"{file} has no {missing[0]!r}")
    return run


def keep_base(out: Path, run: dict[str, Any], base: Chunked) -> None:
    """Writes the base that the run's agent corrects, for `policy_of`; run.json is written with the agent."""
    if base.noise is not None or base.ensemble is not None:
        raise ValueError("a base that draws or averages chunks cannot be kept; give one that does neither")
    base.agent.save(out / "base")
    run["base"] = {"execute": base.execute}


def policy_of(folder: Path, run: Mapping[str, Any]) -> Chunked | Corrected:
    """A run's policy, acting as it was made to; `run` is what `open_run` gave."""
    agent, execute = load(folder / "agent"), parse(Network, run["network"], "network").execute
    if (said := run.get("base")) is None:
        return Chunked(agent, execute)
    return Corrected(Chunked(load(folder / "base"), parse(_Base, said, "base").execute), agent)


@dataclass(frozen=True)
class _Base:
    """What run.json says of a base beside the agent."""

    execute: int


def measure(
    policies: Mapping[str, Policy],
    which: Task,
    seeds: tuple[int, ...],
    *,
    run: Path | None = None,
    workers: int | Workers = 1,
    console: Console | None = None,
) -> dict[str, Report]:
    """Evaluates each policy on the same seeds, writing into `run` where there is one.

    The expert, when it is among the policies, goes first, and the others are measured against its path.
    """
    console = console or Console(quiet=True)
    reports: dict[str, Report] = {}
    for name in sorted(policies, key=lambda n: n != "expert"):
        bar = tracked(console, f"evaluate {name}", len(seeds))
        expert = reports.get("expert")
        with bar:
            reports[name] = evaluate(
                policies[name],
                which.make,
                seeds,
                name=name,
                view=which.view,
                reference=None if expert is None or which.view is None else expert.episodes,
                workers=workers,
                progress=lambda _, bar=bar: bar.advance(bar.task_ids[0]),  # type: ignore[misc]
            )
        if run is not None:
            _keep(run / "evaluations" / name, reports[name])
    return {name: reports[name] for name in policies}


def _keep(folder: Path, report: Report) -> None:
    """An evaluation replaces the one before it; its rollouts are a dataset like any other."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    storage.write(folder / "episodes", Dataset(report.episodes or ()))
    (folder / "report.json").write_text(report.to_json())


def policies_table(reports: Mapping[str, Report], title: str) -> Table:
    """One row a policy: success, return, tracking error, final distance, each with its interval."""
    table = Table(title=title, title_justify="left", box=SIMPLE)
    table.add_column("policy", no_wrap=True)
    unit = next((r.unit for r in reports.values() if r.unit), "")
    columns = {
        "success": "success_rate",
        "return": "mean_return",
        f"path error ({unit})": "tracking_rmse",
        f"to the goal ({unit})": "goal_distance",
    }
    shown = {t: c for t, c in columns.items() if any(getattr(r, c) is not None for r in reports.values())}
    for column in shown:
        table.add_column(column, justify="right", no_wrap=True)
    for name, report in reports.items():
        table.add_row(name, *(escape(str(getattr(report, c) or "–")) for c in shown.values()))
    return table


def evaluate_run(
    policy: Path,
    *,
    task: str | None,
    episodes: int,
    seed: int = FIRST_SEED,
    baselines: bool = True,
    other_task: bool = False,
    workers: int = 1,
    console: Console | None = None,
) -> dict[str, Any]:
    """Measures a run's policy on fresh seeds, and beside it the baselines on the same ones.

    Raises:
        ValueError: when the task is not the one it was trained on, or a seed is a demonstration's.
    """
    console = console or Console(quiet=True)
    run = open_run(policy)
    name = task or run["task"]
    if name is None:
        raise ValueError(f"{policy} does not say which task it is for; name one with --task")
    which = find_task(name)
    if run["task"] not in (None, which.name) and not other_task:
        raise ValueError(
            f"{policy} was trained on {run['task']}, not on {which.name}; to try it there all the same, "
            "add --other-task"
        )
    if run["data"].get("converted"):
        raise ValueError(
            f"{policy} learned from converted actions, which {which.name} does not take; train on actions "
            "converted back (`understudy actions`)"
        )
    chunked = policy_of(policy, run)
    data, why = _demonstrations(policy, run)
    seeds = fresh_seeds(episodes, () if data is None else data, seed)
    policies: dict[str, Policy] = {POLICY: chunked}
    if baselines:
        expert = None if which.expert is None else which.expert()
        policies |= baseline_policies(data, which.action, expert)
        if expert is None:
            console.print(f"without the expert: {which.name} has none")
        if why is not None:
            console.print(f"without replay and nearest neighbour: {why}")
    with Workers(workers) as pool:
        reports = measure(policies, which, seeds, run=policy, workers=pool, console=console)
    console.print(
        policies_table(reports, f"{which.name}, {episodes} fresh episodes from seed {seed}, 95 % intervals")
    )
    result: dict[str, Any] = {
        "run": str(policy),
        "task": which.name,
        "episodes": episodes,
        "seeds": [seeds[0], seeds[-1] + 1],
        "policies": {n: _brief(r) for n, r in reports.items()},
    }
    if "expert" in reports:
        difference = compare(reports[POLICY], reports["expert"])
        console.print(str(difference))
        result["against_expert"] = {k: v for k, v in difference.summary().items() if k != "seeds"}
    return result


def _brief(report: Report) -> dict[str, Any]:
    summary = report.summary()
    return {"success": summary.pop("success_rate"), "return": summary.pop("mean_return"), **summary}


def _demonstrations(folder: Path, run: Mapping[str, Any]) -> tuple[Dataset | None, str | None]:
    """The episodes that a run learned from, or why they are not at hand."""
    if "path" not in run["data"]:
        return None, "it learned without demonstrations"
    where = folder / str(run["data"]["path"])
    if not where.exists():
        return None, f"the demonstrations are not at {where} any more"
    data = formats.read(where)
    if data.fingerprint() != run["data"]["fingerprint"]:
        return None, f"{where} has changed since training"
    return data, None
