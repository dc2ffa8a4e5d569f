"""What a reader or writer wants to have said aside: what it left out, replaced or dropped."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

__all__ = ["collected", "note"]

_LISTENER: ContextVar[dict[str, int] | None] = ContextVar("understudy_notes", default=None)
_MOST = 1000


def note(text: str, times: int = 1) -> None:
    """Says one sentence to whoever asked to hear; the same sentence again is only counted."""
    if (heard := _LISTENER.get()) is not None and (text in heard or len(heard) < _MOST):
        heard[text] = heard.get(text, 0) + times


@contextlib.contextmanager
def collected() -> Iterator[dict[str, int]]:
    """Within it, notes are gathered: sentence -> how often it was said.

    >>> with collected() as heard:
    ...     note("left out states")
    >>> heard
    {'left out states': 1}
    """
    heard: dict[str, int] = {}
    token = _LISTENER.set(heard)
    try:
        yield heard
    finally:
        _LISTENER.reset(token)
