"""The page's files, by a fixed list: what a request names is looked up, never opened."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

__all__ = ["Asset", "assets", "packed"]

_TYPES = {
    "index.html": "text/html; charset=utf-8",
    "studio.css": "text/css; charset=utf-8",
    "library.css": "text/css; charset=utf-8",
    "studio.min.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "LICENSES.txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True)
class Asset:
    """Bytes to serve, as they are and compressed.

    Args:
        tag: a digest of the bytes: the ETag, and the version in the address of what may be kept for ever.
    """

    body: bytes
    zipped: bytes
    type: str
    tag: str


def packed(body: bytes, type: str) -> Asset:
    """Bytes ready to serve; the compression is of a kind that gives the same bytes each time."""
    zipped = gzip.compress(body, 6, mtime=0)
    return Asset(body, zipped, type, hashlib.sha256(body).hexdigest()[:20])


@cache
def assets() -> dict[str, Asset]:
    """Name -> file; the page's links carry the versions of the others.

    Raises:
        ValueError: when the package holds no page: it was installed from sources without it.
    """
    home = files("understudy.studio") / "assets"
    found = {name: home / name for name in _TYPES}
    if missing := [name for name, path in found.items() if not path.is_file()]:
        raise ValueError(f"the package lacks the page's {missing[0]}; build it by `node web/build.mjs`")
    made = {name: packed(path.read_bytes(), _TYPES[name]) for name, path in found.items()}
    page = made["index.html"].body
    for name, asset in made.items():
        page = page.replace(f'"assets/{name}"'.encode(), f'"assets/{name}?v={asset.tag}"'.encode())
    return made | {"index.html": packed(page, _TYPES["index.html"])}
