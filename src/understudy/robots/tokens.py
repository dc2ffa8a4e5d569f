"""The secret that a robot's side and its driver share; it never stands on a command line, for all to read."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

__all__ = ["VARIABLE", "checked_token", "new_token", "token_from"]

VARIABLE = "UNDERSTUDY_ROBOT_TOKEN"
_SHORTEST, _LONGEST = 16, 256


def checked_token(token: str, where: str) -> str:
    """The token itself.

    Raises:
        ValueError: when it is too short to be a secret, or not printable ASCII.
    """
    if not _SHORTEST <= len(token) <= _LONGEST or not token.isascii() or not token.isprintable():
        raise ValueError(
            f"{where} holds no token; one has {_SHORTEST} to {_LONGEST} printable ASCII characters"
        )
    return token


def new_token() -> str:
    """A fresh token of 192 random bits."""
    return secrets.token_urlsafe(24)


def token_from(file: Path | None, *, make: bool = False) -> str | None:
    """The token in a file, else in the environment variable UNDERSTUDY_ROBOT_TOKEN, else None.

    Args:
        make: where the file does not exist, a fresh token is written to it, for its owner alone.

    Raises:
        ValueError: when others than the owner may read the file, or there is no token in it.
    """
    if file is None:
        return checked_token(v, VARIABLE) if (v := os.environ.get(VARIABLE)) else None
    if make:
        try:
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as new:
                new.write(new_token() + "\n")
        except FileExistsError:
            pass
    with file.open("rb") as opened:
        mode = os.fstat(opened.fileno()).st_mode
        if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
            raise ValueError(f"others may read {file} (mode {stat.S_IMODE(mode):o}); chmod 600 it")
        raw = opened.read(2 * _LONGEST)
    return checked_token(raw.decode("ascii", "replace").strip(), str(file))
