"""Who may come in: a link that works once, a cookie for the browser that used it, and where it may come from.

The printed link holds a token of 32 random bytes. The first browser that opens it gets a cookie in exchange,
and from then on the link is only good for that browser: it may be opened again, since the cookie says who
asks. Anybody else who finds it later, in a history, a chat or a photograph of the screen, is refused, and the
terminal shows a fresh link to the person who sits there. With `share` the link stays good for everybody who
has it: for viewers in the same room. One browser at a time drives either way.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Iterable
from urllib.parse import urlsplit

__all__ = ["Access", "is_loopback", "names_of"]

_BYTES = 32
_BROWSERS = 64  # cookies kept; the oldest goes


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def names_of(host: str, own: Iterable[str] = ()) -> frozenset[str]:
    """The names under which a server that is bound to `host` may be asked for.

    Args:
        own: names of this machine, allowed besides where others can reach it.
    """
    names = {"localhost", "127.0.0.1", "::1", host.lower()}
    if not is_loopback(host):
        names |= {name.lower() for name in own if name}
    return frozenset(names)


class Access:
    """The door: tokens for cookies, and the names and origins that requests may carry.

    Args:
        names: what a Host header may name (see `names_of`).
        numbers: whether it may be any address in numbers: for a server that others reach under addresses
            that it need not know. A rebound DNS name is a name, so nothing is lost by it.
        share: whether the link admits more than one browser.
    """

    def __init__(self, names: Iterable[str], *, numbers: bool = False, share: bool = False) -> None:
        self._names = frozenset(names)
        self._numbers, self._share = numbers, share
        self._token = secrets.token_urlsafe(_BYTES)
        self._used = False
        self._keys: list[str] = []

    @property
    def token(self) -> str:
        """The token of the link that is good now."""
        return self._token

    def admit(self, token: str) -> str | None:
        """A new cookie's value in exchange for the token; None where it is wrong or used."""
        if not _same(token, self._token) or (self._used and not self._share):
            return None
        self._used = True
        key = secrets.token_urlsafe(_BYTES)
        self._keys = [*self._keys[-(_BROWSERS - 1) :], key]
        return key

    def renew(self, token: str) -> bool:
        """Somebody else opened a used link: makes a fresh token. False where that was no link of ours."""
        if self._share or not self._used or not _same(token, self._token):
            return False
        self._token, self._used = secrets.token_urlsafe(_BYTES), False
        return True

    def knows(self, key: str | None) -> bool:
        """Whether that is the value of a cookie that was given out; the time it takes says nothing."""
        found = False
        for known in self._keys:
            found |= _same(key or "", known)
        return found

    def is_ours(self, host: str | None) -> bool:
        """Whether a Host header names this server; that of a page whose name was rebound to us does not."""
        name = _name_of(host)
        if name is None:
            return False
        return name in self._names or (self._numbers and _in_numbers(name))

    def same_origin(self, origin: str | None, host: str | None) -> bool:
        """Whether a request comes from our own page: its origin is the very server it asks."""
        if origin is None or host is None:
            return False
        scheme, _, rest = origin.partition("://")
        return scheme in ("http", "https") and rest.lower() == host.lower()


def _same(given: str, known: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), known.encode())


def _name_of(host: str | None) -> str | None:
    """The name in a Host header, without its port; None where it is none."""
    if not host or len(host) > 255:
        return None
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port  # raises where it is no port
        if parts.netloc != host or parts.username is not None or parts.path or parts.query or parts.fragment:
            return None
        return parts.hostname
    except ValueError:
        return None


def _in_numbers(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
