"""Who drives: one page at a time, who gives the controls up, and for whom they are kept."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

__all__ = ["Seat", "Sitter"]

GRACE = 10.0  # seconds for which the controls are kept for a browser whose link broke


class Sitter(Protocol):
    """Somebody with a key of his browser's."""

    @property
    def key(self) -> str:
        """The same for all pages of one browser."""
        ...


S = TypeVar("S", bound=Sitter)


class Seat(Generic[S]):
    """The driver's seat. Times are seconds of any one clock.

    Who comes first has it. Others ask: they get it when the driver gives it up, in the order in which they
    asked. Two pages of one browser are one person, so that the page that asks last has it. When the driver's
    link breaks, the seat is kept for his browser for `grace` seconds.
    """

    def __init__(self, grace: float = GRACE) -> None:
        self.driver: S | None = None
        self.waiting: list[S] = []
        self._grace = grace
        self._kept: tuple[str, float] | None = None  # whose browser, until when

    def join(self, one: S, now: float) -> None:
        """A page arrived: it drives where the seat is free, or kept for its browser."""
        self.settle(now)
        if self.driver is None and (self._kept is None or self._kept[0] == one.key):
            self._sit(one)

    def ask(self, one: S, now: float) -> bool:
        """A page asks for the seat; whether it has it now. If not, it waits in line."""
        self.settle(now)
        theirs = self.driver.key if self.driver else self._kept[0] if self._kept else one.key
        if one.key == theirs:
            self._sit(one)
        elif one not in self.waiting:
            self.waiting.append(one)
        return self.driver is one

    def release(self, one: S, now: float) -> bool:
        """A page gives the seat up, or its place in the line; whether it was the driver."""
        if one in self.waiting:
            self.waiting.remove(one)
        if self.driver is not one:
            return False
        self.driver = None
        self.settle(now)
        return True

    def leave(self, one: S, now: float) -> bool:
        """A page's link ended; whether it was the driver, for whom the seat is then kept."""
        if one in self.waiting:
            self.waiting.remove(one)
        if self.driver is not one:
            return False
        self.driver, self._kept = None, (one.key, now + self._grace)
        return True

    def settle(self, now: float) -> bool:
        """Gives a free seat to the first in line once nobody's return is waited for; whether it did."""
        if self._kept is not None and now >= self._kept[1]:
            self._kept = None
        if self.driver is None and self._kept is None and self.waiting:
            self._sit(self.waiting[0])
            return True
        return False

    def _sit(self, one: S) -> None:
        self.driver, self._kept = one, None
        if one in self.waiting:
            self.waiting.remove(one)
