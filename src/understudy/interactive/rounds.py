"""The rounds that every method of the family goes through: collect, aggregate, train, measure, and again.

What a round collected is on disk episode by episode, what it trained and measured when it is complete; a run
that was killed goes on where it stood, and no state is labelled twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console

from understudy.agent import Agent, Chunked
from understudy.baselines import ZeroPolicy
from understudy.dataset import Dataset
from understudy.envs import Task
from understudy.episode import Episode
from understudy.evaluate import VALIDATION_SEED, evaluate, fresh_seeds
from understudy.interactive.base import Interactive, State
from understudy.interactive.folder import Folder
from understudy.learn import bc
from understudy.record import tracked
from understudy.roles import Env, Policy
from understudy.rollout import Workers, rollouts
from understudy.runs import Network
from understudy.supervision import Supervision
from understudy.train import Budget, Outcome, train

__all__ = ["FIRST_SEED", "VALIDATION_SEED", "Rounds", "Taught", "teach"]

FIRST_SEED = 10_000_000


@dataclass(frozen=True)
class Rounds:
    """How the rounds go, whatever the method."""

    rounds: int = 10
    """Rounds of collecting and training."""
    episodes: int = 5
    """Collected in a round."""
    retrain: Literal["scratch", "warm"] = "scratch"
    """After each round: from new weights, with statistics of all data so far; or on from the weights and the
    statistics that are there."""
    epochs: int | None = None
    """Passes over all data so far in each training, in place of the same number of steps every time."""
    validation_episodes: int = 50
    """Episodes that every round's policy is measured on, on seeds kept for that; 0 measures none."""
    select: Literal["best", "last"] = "best"
    """Which round's policy is the result: the best on the validation seeds, of equals the last; or the last.
    DAgger's guarantee is for the best of the sequence (Ross et al. 2011, theorem 3.2)."""
    first_seed: int = FIRST_SEED
    """Of the episodes collected; the others follow."""

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.episodes < 1:
            raise ValueError(f"rounds {self.rounds} and episodes {self.episodes} must both be at least 1")
        if self.retrain not in ("scratch", "warm") or self.select not in ("best", "last"):
            raise ValueError(
                f"retrain is {self.retrain!r} and select is {self.select!r}; they must be scratch or warm, "
                "and best or last"
            )
        if self.epochs is not None and self.epochs < 1:
            raise ValueError(f"epochs is {self.epochs}; it must be at least 1, or None")
        if self.validation_episodes < 0 or self.first_seed < 0:
            raise ValueError("validation_episodes and first_seed must not be negative")
        if self.select == "best" and not self.validation_episodes:
            raise ValueError("select is 'best', which needs validation_episodes; or take select 'last'")


@dataclass(frozen=True)
class Taught:
    """What came of it.

    Args:
        agents: the policy after 0, 1, 2, ... rounds; the first is None where there were no demonstrations.
        data: the demonstrations given at the start and every episode collected, labels included.
        log: one line for each of `agents`: labelled states so far, how the round was supervised, the loss,
            success and return on the validation seeds, and what the method noted.
        selected: the round whose policy is the result.
        stopped: "done", or "interrupted": everything up to then is kept.
        outcome: of the last training.
    """

    agents: tuple[Agent | None, ...]
    data: Dataset
    log: tuple[Mapping[str, Any], ...]
    selected: int
    stopped: Literal["done", "interrupted"]
    outcome: Outcome | None

    @property
    def agent(self) -> Agent:
        """The selected policy."""
        chosen = self.agents[self.selected]
        if chosen is None:
            raise ValueError("no policy has been trained yet")
        return chosen


def teach(
    method: Interactive,
    env: Task | Callable[[], Env],
    *,
    start: Dataset | None = None,
    plan: Rounds | None = None,
    network: Network | None = None,
    config: bc.Config | None = None,
    budget: Budget | None = None,
    workers: int | Workers = 1,
    run: Path | str | None = None,
    resume: bool = False,
    console: Console | None = None,
) -> Taught:
    """Learns a policy with an expert at hand.

    Every round trains on everything so far, from one seed: with the same data, the same weights come out bit
    for bit as from behavioural cloning. The learning rate falls to zero over each training, unless
    `config.decay` says otherwise.

    Args:
        method: who stands by, and what is kept: `understudy.interactive.dagger.Method` and its relatives.
        env: a task, or what makes an environment (its actions are then not clipped by the policy).
        start: demonstrations; they stand before everything that is collected.
        plan, network, config, budget: the rounds, what the policy is made of, and how it is trained each
            time; 5,000 steps unless `budget` or `plan.epochs` says otherwise.
        run: a folder that keeps all of it: `collected/` (a dataset), `rounds/NNN/` (each policy, and what
            the method found), `rounds.jsonl` (the log). None keeps it in memory.
        resume: go on with what is in `run`, to the same result as without the interruption.

    Raises:
        ValueError: when there is nothing to start from, the network has fewer members than the method needs,
            or a demonstration was recorded on a validation seed.
    """
    network, config = network or Network(), config or bc.Config()
    budget = budget or Budget(steps=5000)
    if network.members < method.members:
        network = replace(network, members=method.members)
    if budget.patience is not None:
        raise ValueError("patience needs held-out episodes, which rounds have not; leave it out")
    loop = _Loop(
        method, env, Dataset() if start is None else start, plan or Rounds(), network,
        config, budget,
        Folder(run, resume=resume), console or Console(quiet=True),
    )  # fmt: skip
    pool = workers if isinstance(workers, Workers) else Workers(workers)
    with nullcontext() if pool is workers else pool:
        return loop.go(pool)


class _Loop:
    """The state of `teach`."""

    def __init__(
        self,
        method: Interactive,
        env: Task | Callable[[], Env],
        start: Dataset,
        plan: Rounds,
        network: Network,
        config: bc.Config,
        budget: Budget,
        folder: Folder,
        console: Console,
    ) -> None:
        self.method, self.plan, self.network, self.config = method, plan, network, config
        self.budget, self.folder, self.console = budget, folder, console
        self.task = env if isinstance(env, Task) else None
        self.make: Callable[[], Env] = env.make if isinstance(env, Task) else env
        self.start = len(start)
        self.data = start + folder.collected
        self.agents: list[Agent | None] = []
        self.log: list[dict[str, Any]] = []
        self.outcome: Outcome | None = None
        n = plan.validation_episodes
        self.validation = fresh_seeds(n, start, VALIDATION_SEED) if n else ()

    def go(self, pool: Workers) -> Taught:
        """All rounds that are still to do."""
        try:
            self._restore()
            for i in range(len(self.agents), self.plan.rounds + 1):
                if i:
                    self._collect(i - 1, pool)
                if not self._learn(i, pool):
                    return self._taught("interrupted")
        except KeyboardInterrupt:
            if self.folder.path is None:
                raise
            return self._taught("interrupted")
        finally:
            self.folder.close()
        return self._taught("done")

    def _restore(self) -> None:
        """What earlier parts of a resumed run have finished."""
        for i in range(self.folder.finished):
            line, agent, noted = self.folder.round(i)
            self.log.append(line)
            self.agents.append(agent)
            self.method.load_state_dict(noted)

    def _state(self, i: int, agents: list[Agent | None]) -> State:
        drove = agents[i - 1] if i else None
        return State(i, self.data, self.start, agents[i], drove, self.task, self.config.seed)

    def _collect(self, i: int, pool: Workers) -> None:
        """The episodes of round i that are not there yet; each is on disk before the next one is kept."""
        have = sum(e.get("round") == i for e in self.data.facts[self.start :])
        first = self.plan.first_seed + i * self.plan.episodes
        seeds = range(first + have, first + self.plan.episodes)
        agent = self.agents[i]
        policy = self._still() if agent is None else Chunked(agent, self.network.execute)
        with self._bar(f"round {i + 1}: collect", len(seeds)) as advance:
            if not self.method.one_at_a_time:
                self._some(i, policy, seeds, pool, advance)
                return
            for seed in seeds:
                self._some(i, policy, range(seed, seed + 1), pool, advance)

    def _some(self, i: int, policy: Policy, seeds: range, pool: Workers, advance: Callable[[], None]) -> None:
        if not seeds:
            return
        expert, arbiter = self.method.supervisor(self._state(i, self.agents))
        found: list[Episode] = []

        def keep(episode: Episode) -> None:
            kept = self.method.kept(episode)
            if (asked := int(episode.labelled.sum())) != int(kept.labelled.sum()):
                kept = replace(kept, meta={**kept.meta, "asked": asked})
            self.folder.add(kept, None if self.task is None else self.task.fps)
            found.append(kept)
            advance()

        rollouts(self.make, policy, seeds, expert, arbiter, workers=pool, meta={"round": i}, progress=keep)
        self.data = self.data + found

    def _still(self) -> ZeroPolicy:
        """Who stands at the controls before there is a policy; nothing it proposes is executed or kept."""
        if self.task is not None:
            return ZeroPolicy(self.task.action)
        env: Any = self.make()
        try:
            return ZeroPolicy(env.action)
        finally:
            if callable(close := getattr(env, "close", None)):
                close()

    def _learn(self, i: int, pool: Workers) -> bool:
        """Trains and measures the policy after i rounds; False when somebody interrupted."""
        agent = self._train(i) if len(self.data) and any(map(np.any, self._labelled())) else None
        if agent is None and i:
            raise ValueError(f"nothing was labelled in {i} rounds, so there is nothing to learn from")
        if self.outcome is not None and self.outcome.stopped == "interrupted":
            return False
        agents = [*self.agents, agent]
        line = self._line(i)
        if agent is not None:
            line |= self._measured(agent, i, pool)
        line["method"] = dict(self.method.adapt(self._state(i, agents)))
        self.folder.finish(i, line, agent, self.method.state_dict())
        self.agents, self.log = agents, [*self.log, line]
        self._say(line)
        return True

    def _labelled(self) -> Iterator[Any]:
        return (e.labelled for e in self.data)

    def _train(self, i: int) -> Agent:
        before = self.agents[-1] if self.agents else None
        if self.plan.retrain == "warm" and before is not None:
            agent = deepcopy(before)
        else:
            agent = self.network.agent(self.data, self.task, self.config.seed)
        budget, config = self.budget, self.config
        if self.plan.epochs is not None:
            windows = sum(int(labelled.sum()) for labelled in self._labelled())
            batches = windows / min(config.batch, windows)
            budget = replace(budget, steps=ceil(self.plan.epochs * batches))
        if config.decay is None:
            config = replace(config, decay=budget.steps)
        learner = bc.Learner(agent, self.data, config, weights=self.method.weights(self.data))
        place, begun = self.folder.training(i)
        bar = self.console.is_terminal
        self.outcome = train(learner, budget, run=place, resume=begun, progress=bar)
        return learner.agent

    def _line(self, i: int) -> dict[str, Any]:
        """What round i cost, and all rounds so far."""
        mine = [e for e in self.data[self.start :] if e.meta.get("round") == i - 1]
        total = sum(int(e.meta.get("asked", e.labelled.sum())) for e in self.data)
        new = sum(int(e.meta.get("asked", e.labelled.sum())) for e in mine)
        line: dict[str, Any] = {"round": i, "labelled": total, "labelled_new": new, "states": self.data.steps}
        if mine:
            line["supervision"] = Supervision.of(mine).summary()
        return line

    def _measured(self, agent: Agent, i: int, pool: Workers) -> dict[str, Any]:
        """The loss of the last training, and how the policy does alone on the validation seeds."""
        out = self.outcome
        found: dict[str, Any] = {} if out is None else {
            "loss": out.metrics[-1]["loss"], "train_cpu_seconds": round(out.cpu_seconds, 3),
        }  # fmt: skip
        if not self.validation:
            return found
        with self._bar(f"round {i}: measure", len(self.validation)) as advance:
            report = evaluate(
                Chunked(agent, self.network.execute), self.make, self.validation, workers=pool,
                name=f"round {i}", progress=lambda _: advance(),
            )  # fmt: skip
        rate = report.success_rate
        return found | {
            "success": None if rate is None else rate.summary(),
            "return": report.mean_return.summary(),
        }

    def _taught(self, stopped: Literal["done", "interrupted"]) -> Taught:
        return Taught(
            tuple(self.agents), self.data, tuple(self.log), chosen(self.log, self.plan.select), stopped,
            self.outcome,
        )  # fmt: skip

    def _say(self, line: Mapping[str, Any]) -> None:
        words = [f"round {line['round']:2d}", f"{line['labelled']} labelled states"]
        if said := line.get("supervision"):
            words.append(f"{said['interventions']} interventions, {said['context_switches']} switches")
        if measured := line.get("success") or line.get("return"):
            name = "success" if line.get("success") else "return"
            words.append(f"{name} {measured['value']:.3g} [{measured['low']:.3g}, {measured['high']:.3g}]")
        ahead = ", ".join(f"{k} {v:.3g}" for k, v in line["method"].items())
        self.console.print(", ".join(words) + (f"; next: {ahead}" if ahead else ""), soft_wrap=True)

    @contextmanager
    def _bar(self, title: str, total: int) -> Iterator[Callable[[], None]]:
        with tracked(self.console, title, total) as bar:
            yield lambda: bar.advance(bar.task_ids[0])


def chosen(log: list[dict[str, Any]], select: str) -> int:
    """The round whose policy is the result: the last, or the best on the validation seeds."""
    if select == "last" or not any("return" in line for line in log):
        return max(0, len(log) - 1)

    def merit(line: Mapping[str, Any]) -> tuple[float, float, int]:
        if "return" not in line:
            return (-np.inf, -np.inf, -1)
        success = line["success"]["value"] if line["success"] else 0.0
        # Equal successes are told apart by the number of rounds, not by the return: it is the task's
        # success that counts, and more data is the better bet.
        return (success, 0.0 if line["success"] else line["return"]["value"], line["round"])

    return int(max(log, key=merit)["round"])
