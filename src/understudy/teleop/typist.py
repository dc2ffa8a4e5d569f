"""A scripted person: watches what happens and presses keys, for studies of what people would record.

What he wants is what a task's script would do. What he does about it is a person's: he sees it a moment late,
a key is down or up and nothing between, he presses where it matters and lets go when it no longer does, and
now and then too late. So his demonstrations are slower, coarser and less even than the script's.

Shapes: A action width.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from time import sleep
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from understudy.envs.door import DoorEnv
from understudy.envs.spaces import ActionSpec
from understudy.episode import Array, Obs
from understudy.roles import Policy
from understudy.teleop.controls import Controls
from understudy.teleop.input import Input
from understudy.teleop.session import Session

__all__ = ["Habits", "Onlooker", "Seen", "Shift", "Typist", "Worry"]

INPUTS = 30.0  # a second, as the page sends them


@final
@dataclass(frozen=True)
class Habits:
    """How a person types. Wishes are shares of the full action, in [-1, 1] a dimension.

    Args:
        reaction: seconds from what he sees to his fingers: what is left of some quarter of a second after he
            has foreseen his own motion.
        press: a wish from which he presses the key.
        release: a wish up to which he lets go; lower, so that he does not flutter.
        slip: the chance to let go too late, by up to `late` seconds.

    Raises:
        ValueError: when a number is out of its range.
    """

    reaction: float = 0.08
    press: float = 0.35
    release: float = 0.15
    slip: float = 0.05
    late: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.release < self.press <= 1:
            raise ValueError(
                f"press is {self.press} and release {self.release}; 0 <= release < press <= 1 is needed"
            )
        if not (0 <= self.reaction < np.inf and 0 <= self.late < np.inf and 0 <= self.slip <= 1):
            raise ValueError(
                f"reaction {self.reaction}, late {self.late} and slip {self.slip} are out of their ranges"
            )


@final
class Typist:
    """Fingers on the keyboard: what is seen, to the keys that are down.

    Args:
        controls: of the task; what each key does is read off its bindings, as a person reads the page.
        intent: what he wants done, as a policy; its actions are wishes.
        habits: how he types.
    """

    def __init__(self, controls: Controls, intent: Policy, habits: Habits | None = None) -> None:
        self.controls, self.intent = controls, intent
        self.habits = Habits() if habits is None else habits
        keyboard = [b for b in controls.bindings if b["device"] == "keyboard"]
        self._ways = {(b["dim"], b["sign"]): b["keys"][0] for b in keyboard if b["sign"]}
        self._toggles = {b["dim"]: b["keys"][0] for b in keyboard if not b["sign"]}
        if not self._ways:
            raise ValueError("these controls have no key that moves anything while it is held")
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Starts an episode; when he slips follows from `seed`."""
        # Salted: the environment draws its start from the same seed, and must not share its numbers.
        self._rng = np.random.default_rng([seed, 0x7E45])
        self._views: deque[tuple[float, Obs]] = deque()
        self._down: dict[tuple[int, int], float] = {}  # keys that are down, and when one that slips goes up
        self._toggled = -np.inf
        self.wish: NDArray[np.float64] | None = None
        self.intent.reset(seed)

    def let_go(self) -> None:
        """Takes the hands off the keys."""
        self._down.clear()

    def watch(self, obs: Obs, now: float) -> None:
        """Sees what there is at `now`, and knows `reaction` seconds later what he wants: `wish` [A]."""
        if not self._views or obs is not self._views[-1][1]:
            self._views.append((now, obs))
        seen: Obs | None = None
        while self._views and now - self._views[0][0] >= self.habits.reaction - 1e-9:
            seen = self._views.popleft()[1]
        if seen is not None:
            self.wish = _share(self.intent.act(seen), self.controls.spec)

    def keys(self, now: float) -> frozenset[str]:
        """The codes of the keys that are down at `now`."""
        if self.wish is None:
            return frozenset()
        for way in self._ways:
            self._finger(way, float(self.wish[way[0]]) * way[1], now)
        down = {self._ways[way] for way in self._down}
        return frozenset(down | {key for dim, key in self._toggles.items() if self._toggles_now(dim, now)})

    def _finger(self, way: tuple[int, int], wish: float, now: float) -> None:
        """Presses a key, or lets go of it."""
        if way not in self._down:
            if wish > self.habits.press:
                self._down[way] = -np.inf
        elif wish < self.habits.release:
            if self._down[way] == -np.inf:
                slips = self._rng.random() < self.habits.slip
                self._down[way] = now + (self._rng.uniform(0.0, self.habits.late) if slips else 0.0)
            if now >= self._down[way]:
                del self._down[way]
        else:
            self._down[way] = -np.inf

    def _toggles_now(self, dim: int, now: float) -> bool:
        """Whether he taps the key that changes the fingers over; then he waits for what comes of it."""
        assert self.wish is not None
        wrong = abs(self.wish[dim]) > self.habits.press and self.wish[dim] * self.controls.hold()[dim] < 0
        if not wrong or now - self._toggled < 4.0 / INPUTS + self.habits.reaction:
            return False
        self._toggled = now
        return True


def _share(action: Array, spec: ActionSpec) -> NDArray[np.float64]:
    """[A] in [-1, 1]: an action as a share of the bound on its side of zero."""
    a = np.asarray(action, np.float64)
    return np.clip(a / np.maximum(np.where(a > 0, spec.high, -spec.low), 1e-9), -1.0, 1.0)


@final
@dataclass(frozen=True)
class Worry:
    """When he takes over from a policy, and when he gives it back. For robots whose hand is state[0:3].

    He takes over when the hand has not gone his way for a while: the policy stands still, goes elsewhere or
    is stuck. Whether he would do something else is nothing to him as long as it gets on.

    Args:
        after: seconds that he watches before he judges, and between two judgements.
        pace: metres a second that the hand should come his way, at least.
        stay: seconds that he drives, between these two; then he gives the policy another chance.
    """

    after: float = 0.5
    pace: float = 0.04
    stay: tuple[float, float] = (1.5, 3.0)

    def justified(self, hands: NDArray[np.float64], wishes: NDArray[np.float64], seconds: float) -> bool:
        """Whether hands [N, 3], over that time, did not go where wishes [N, 3] pointed."""
        wish = wishes.mean(0)
        size = float(np.linalg.norm(wish))
        if size < 0.2:  # he wants hardly anything himself
            return False
        return float((hands[-1] - hands[0]) @ wish) / size / seconds < self.pace


@final
class Onlooker:
    """Somebody who worries while a policy drives one episode.

    Args:
        worry: when he takes over, and for how long. rng: what he draws.

    Attributes:
        takeovers: so far.
    """

    def __init__(self, worry: Worry, rng: np.random.Generator) -> None:
        self.worry, self.takeovers = worry, 0
        self._rng, self._until = rng, np.inf
        self._track: list[tuple[float, Array, Array]] = []

    def word(self, now: float, hand: Array, wish: Array) -> Literal["take", "hand"] | None:
        """What he says at `now`, seeing the hand [3] and wishing it to go along `wish` [3]."""
        if self._until < np.inf:
            if now < self._until:
                return None
            self._until, self._track = np.inf, []
            return "hand"
        self._track.append((now, hand, wish))
        since = now - self._track[0][0]
        if since < self.worry.after:
            return None
        hands, wishes = (np.array([t[i] for t in self._track]) for i in (1, 2))
        self._track = self._track[1:]
        if not self.worry.justified(hands, wishes, since):
            return None
        self._until, self.takeovers = now + self._rng.uniform(*self.worry.stay), self.takeovers + 1
        return "take"


@final
class Seen:
    """An environment with a window: `now` is the newest observation, for who watches beside the session."""

    def __init__(self, env: DoorEnv) -> None:
        self.env, self.raw = env, getattr(env, "raw", env)
        self.name, self.action, self.horizon = env.name, env.action, env.horizon
        self.now: Obs = {}

    @property
    def obs(self) -> Mapping[str, tuple[int, ...]]:
        """Observation name -> shape of one step."""
        return self.env.obs

    def reset(self, *, seed: int) -> tuple[Obs, Mapping[str, Any]]:
        """Starts an episode."""
        self.now, info = self.env.reset(seed=seed)
        return self.now, info

    def step(self, action: Array) -> tuple[Obs, float, bool, bool, Mapping[str, Any]]:
        """One control step."""
        out = self.env.step(action)
        self.now = out[0]
        return out

    def close(self) -> None:
        """Frees what the environment holds."""
        self.env.close()


@final
class Shift:
    """A person at work: episode after episode in a session, at simulated time, by nothing but its inputs.

    Args:
        session: made around `window`, with a clock that is not looked at.
        window: what he sees.
        typist: his fingers. worry: when he takes over.
        seed: of what he draws; everything follows from it, and from the session's own seeds.
    """

    def __init__(
        self, session: Session, window: Seen, typist: Typist, worry: Worry | None = None, seed: int = 0
    ) -> None:
        self.session, self.window, self.typist = session, window, typist
        self.worry = Worry() if worry is None else worry
        self._rng = np.random.default_rng([seed, 0x0B5E])
        self._now, self._next, self._seq = 0.0, 0.0, 0
        self._episodes = 0

    def work(self, mode: str, episodes: int) -> int:
        """So many episodes in a mode ("record" or "correct"), each saved; how often he took over.

        Raises:
            ValueError: when the session cannot go on, with its own words.
        """
        self.session.do("mode", name=mode)
        takeovers = 0
        for _ in range(episodes):
            self.session.do("start")
            self._tick()
            takeovers += self._episode(mode)
            self.session.do("save")
            self._tick()
            while self._phase() == "saving":  # a thread saves, in real time; for the person none passes
                sleep(0.001)
                self.session.tick(self._now)
            if self._phase() != "idle":
                raise ValueError(f"the episode was not saved: {self.session.state()['message']}")
        return takeovers

    def _phase(self) -> str:
        return str(self.session.state()["phase"])

    def _tick(self) -> None:
        """One control period, with the inputs that the page would send in it."""
        self._now += 1.0 / self.session.rate
        while self._next <= self._now:
            self.typist.watch(self.window.now, self._next)
            self._seq += 1
            drives = self.session.state()["driver"] == "operator" and self._phase() in ("ready", "running")
            keys = self.typist.keys(self._next) if drives else frozenset[str]()
            self.session.put(Input(self._seq, keys, received=self._next))
            self._next += 1.0 / INPUTS
        self.session.tick(self._now)

    def _episode(self, mode: str) -> int:
        """Until it is over; how often he took over."""
        while self._phase() == "countdown":
            self._tick()
        self._episodes += 1
        self.typist.reset(int(self._rng.integers(2**31)))
        onlooker = Onlooker(self.worry, self._rng)
        while (phase := self._phase()) in ("ready", "running"):
            self._tick()
            if mode != "correct" or self.typist.wish is None:
                continue
            hand = self.window.now["state"][:3].astype(np.float64)
            if (word := onlooker.word(self._now, hand, self.typist.wish[:3])) is not None:
                self.session.do(word)
                if word == "hand":
                    self.typist.let_go()
        if phase != "review":
            raise ValueError(f"the session is in phase {phase!r}: {self.session.state()['message']}")
        return onlooker.takeovers
