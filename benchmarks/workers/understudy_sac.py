"""Ours, through its public names: `SAC.update` on batches drawn from a `Replay`, under `tuned`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from worker import serve, spec, versions

from understudy.agent import Agent, Columns, Normalizer
from understudy.heads import Gaussian
from understudy.learn.replay import Replay
from understudy.learn.sac import SAC, Config
from understudy.nets import MLP
from understudy.runtime import tuned

ASK = spec()


def learner(**how: object) -> SAC:
    """A learner on observations and actions that are normalised already."""
    obs, action, hidden = ASK["obs"], ASK["action"], tuple(ASK["hidden"])
    torch.manual_seed(0)
    seen = Normalizer(Columns((obs,)), torch.zeros(obs), torch.ones(obs))
    acted = Normalizer(Columns((action,), "range"), torch.zeros(action), torch.ones(action))
    agent = Agent({"state": seen}, acted, MLP(hidden), Gaussian("state", True), 1, 1)
    return SAC(agent, Config(hidden=hidden, learning_rate=ASK["lr"], **how))


def updates(replay: Replay, **how: object) -> Callable[[int], float]:
    """n updates: the last one's critic loss."""
    sac, draws = learner(**how), torch.Generator().manual_seed(0)

    def run(n: int) -> float:
        for _ in range(n - 1):
            sac.update(replay.sample(ASK["batch"], draws))
        return sac.update(replay.sample(ASK["batch"], draws))["critic_loss"]

    return run


def main() -> None:
    obs, action, rows = ASK["obs"], ASK["action"], ASK["rows"]
    drawn = torch.Generator().manual_seed(0)
    replay = Replay(rows, obs, action)
    replay.add(
        torch.randn(rows, obs, generator=drawn),
        2 * torch.rand(rows, action, generator=drawn) - 1,
        torch.randn(rows, generator=drawn),
        torch.randn(rows, obs, generator=drawn),
        torch.zeros(rows),
    )
    kinds = {name: updates(replay, critic=name) for name in ("plain", "layernorm", "crossq")}
    sac, seen = learner(critic="plain"), torch.randn(obs, generator=drawn)

    def explore(n: int) -> None:
        for _ in range(n):
            sac.explore(seen)

    runs = kinds | {"layernorm, actor every 2nd": updates(replay, critic="layernorm", actor_every=2)}
    with tuned():
        serve(runs | {"explore": explore}, versions("torch", "numpy"))


main()
