"""Your own environment and your own controller, from nothing to a measured policy in a minute.

    python examples/own_robot.py

The environment is any object with `reset` and `step`, here with the old four-value step; the expert is any
object with `reset` and `act`.
"""

from __future__ import annotations

import numpy as np

import understudy as us
from understudy.envs import ActionSpec
from understudy.episode import Obs
from understudy.experts import ENDORSE
from understudy.heads import Deterministic
from understudy.learn import bc
from understudy.nets import MLP


class Cart:
    """A cart that should come to rest at the origin: state (position, speed), action (force)."""

    def reset(self, seed: int) -> np.ndarray:
        self.state = np.random.default_rng(seed).uniform(-1.0, 1.0, 2)
        self.steps = 0
        return self.state

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, dict[str, bool]]:
        position, speed = self.state
        speed = speed + 0.1 * float(action[0])
        self.state = np.array([position + 0.1 * speed, speed])
        self.steps += 1
        done = bool(np.abs(self.state).max() < 0.02)
        late = self.steps >= 100
        return self.state, -float(self.state @ self.state), done or late, {"success": done, "truncated": late}


class Controller:
    """Proportional-derivative control."""

    def reset(self, seed: int) -> None: ...

    def act(self, obs: Obs) -> np.ndarray:
        position, speed = obs["state"]
        return np.array([-2.0 * position - 2.5 * speed])


def make() -> us.Env:
    return us.adapt(Cart(), action=ActionSpec.box(-1.0, 1.0))


def main() -> None:
    demonstrations = us.Dataset(us.rollouts(make, Controller(), range(40), ENDORSE))
    agent = us.Agent.build(demonstrations, MLP((64, 64)), Deterministic())
    us.train(bc.Learner(agent, demonstrations, bc.Config(decay=2000)), us.Budget(steps=2000))
    seeds = range(1_000_000, 1_000_100)
    learned = us.evaluate(us.Chunked(agent), make, seeds, name="learned")
    controller = us.evaluate(Controller(), make, seeds, name="controller")
    print(learned, controller, us.compare(learned, controller), sep="\n")


if __name__ == "__main__":
    main()
