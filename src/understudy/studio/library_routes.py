"""The library over HTTP: routes under /api/data/. Whoever mounts them asks for the session's token first.

Errors are JSON ``{"error": one line}``: 400 for what does not fit, 403 for what may only be looked at, 404
for what is not there, 409 for an edit of something that has changed, 415 for anything but JSON, 422 for an
episode that cannot be drawn, 423 while the folder is being recorded into, 500 for a damaged folder.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Any

from aiohttp import web

from understudy.scene import NotDrawn
from understudy.storage import DataError
from understudy.studio.library import Library
from understudy.studio.library_edits import Busy, Stale
from understudy.studio.library_scene import packed

__all__ = ["add_routes"]

_BODY = 1 << 20  # bytes of an edit: a hundred thousand episode numbers
_FAR = 1e12  # a deviation beyond counts as this: a page reads no infinity
_QUERY = 200  # characters of one value

# One simulation at a time; whoever waits for his turn must not hold a thread that others need.
_SCENES: web.AppKey[asyncio.Semaphore] = web.AppKey("scenes", asyncio.Semaphore)

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
Handler = Callable[[Library, web.Request], Awaitable[web.StreamResponse]]


class _NotJson(ValueError):
    """A body of another kind: what a form on a foreign page could send."""


def add_routes(app: web.Application, library: Library, prefix: str = "/api/data") -> None:
    """Mounts the library; nothing of it blocks the event loop."""
    app[_SCENES] = asyncio.Semaphore(1)
    for path, handler in _READ.items():
        app.router.add_get(f"{prefix}/{path}", _bound(handler, library))
    for path, (keys, edit) in _EDITS.items():
        app.router.add_post(f"{prefix}/{path}", _bound(_editing(keys, edit), library))


def _bound(handler: Handler, library: Library) -> Answer:
    """The handler with this library, its errors turned into answers."""

    @wraps(handler)
    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(library, request)
        except Stale as e:
            return _error(409, e)
        except Busy as e:
            return _error(423, e)
        except _NotJson as e:
            return _error(415, e)
        except NotDrawn as e:
            return _error(422, e)
        except DataError as e:
            return _error(409 if request.method == "POST" else 500, e)
        except (KeyError, IndexError) as e:
            return _error(404, e)
        except (ValueError, TypeError, RecursionError) as e:
            return _error(400, e)
        except (ImportError, OSError) as e:
            return _error(500, e)

    return answer


def _error(status: int, e: BaseException) -> web.Response:
    said = str(e.args[0]) if isinstance(e, KeyError) and e.args else str(e)
    return web.json_response({"error": " ".join((said or type(e).__name__).split())[:500]}, status=status)


async def _json(value: Callable[[], Any]) -> web.Response:
    made = await asyncio.to_thread(lambda: json.dumps(value(), allow_nan=False))
    return web.json_response(text=made, headers={"Cache-Control": "no-store"})


async def _binary(value: Callable[[], bytes], kind: str, **headers: str) -> web.Response:
    body = await asyncio.to_thread(value)
    told = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", **headers}
    return web.Response(body=body, content_type=kind, headers=told)


def _text(request: web.Request, name: str, default: str | None = None) -> str:
    value = request.query.get(name, default)
    if value is None:
        raise ValueError(f"the address lacks {name!r}")
    if len(value) > _QUERY:
        raise ValueError(f"{name} has {len(value)} characters; at most {_QUERY} are read")
    return value


def _number(request: web.Request, name: str, default: int | None = None) -> int:
    value = _text(request, name, None if default is None else str(default))
    if re.fullmatch(r"[0-9]{1,9}", value) is None:
        raise ValueError(f"{name} is {value[:40]!r}; it must be a whole number, not negative")
    return int(value)


async def _sources(library: Library, request: web.Request) -> web.StreamResponse:
    return await _json(lambda: {"sources": library.sources()})


async def _episodes(library: Library, request: web.Request) -> web.StreamResponse:
    q = request.query
    source, sort = _text(request, "source"), _text(request, "sort", "index")
    start, count = _number(request, "start", 0), _number(request, "count", 200)
    operator = _text(request, "operator") if "operator" in q else None
    descending = _text(request, "order", "up")
    if descending not in ("up", "down"):
        raise ValueError(f"order is {descending[:40]!r}; it must be 'up' or 'down'")
    return await _json(
        lambda: library.episodes(
            source,
            sort=sort,
            descending=descending == "down",
            success=_text(request, "success", ""),
            operator=operator,
            flag=_text(request, "flag", ""),
            start=start,
            count=count,
        )
    )


async def _episode(library: Library, request: web.Request) -> web.StreamResponse:
    source, index = _text(request, "source"), _number(request, "episode")
    return await _json(lambda: library.episode(source, index))


async def _timeline(library: Library, request: web.Request) -> web.StreamResponse:
    source, index, bins = _text(request, "source"), _number(request, "episode"), _number(request, "bins")
    return await _json(lambda: library.timeline(source, index, bins))


async def _step(library: Library, request: web.Request) -> web.StreamResponse:
    source, index, step = _text(request, "source"), _number(request, "episode"), _number(request, "step")
    return await _json(lambda: library.step(source, index, step))


async def _pair(library: Library, request: web.Request) -> web.StreamResponse:
    source, index, other = _text(request, "source"), _number(request, "episode"), _text(request, "other")
    return await _json(lambda: library.pair(source, index, other))


async def _picture(library: Library, request: web.Request) -> web.StreamResponse:
    source, index, step = _text(request, "source"), _number(request, "episode"), _number(request, "step")
    camera = _text(request, "camera")
    return await _binary(lambda: library.picture(source, index, step, camera), "image/jpeg")


async def _scene(library: Library, request: web.Request) -> web.StreamResponse:
    source, index = _text(request, "source"), _number(request, "episode")
    async with request.app[_SCENES]:
        return await _binary(lambda: library.played(source, index).scene.blob, "application/octet-stream")


async def _poses(library: Library, request: web.Request) -> web.StreamResponse:
    source, index = _text(request, "source"), _number(request, "episode")
    async with request.app[_SCENES]:
        made = await asyncio.to_thread(library.played, source, index)
    told = {"X-Deviation": repr(min(made.deviation, _FAR)), "X-Faithful": "1" if made.faithful else "0"}
    return await _binary(lambda: packed(made), "application/octet-stream", **told)


_READ: Mapping[str, Handler] = {
    "sources": _sources,
    "episodes": _episodes,
    "episode": _episode,
    "timeline": _timeline,
    "step": _step,
    "pair": _pair,
    "picture": _picture,
    "scene.bin": _scene,
    "poses.bin": _poses,
}


async def _body(request: web.Request, keys: Mapping[str, type]) -> dict[str, Any]:
    """The object in a request, with exactly these keys and "source"."""
    if request.content_type != "application/json":
        raise _NotJson(f"an edit is sent as application/json, not {request.content_type}")
    raw = bytearray()
    async for piece in request.content.iter_chunked(1 << 16):
        raw += piece
        if len(raw) > _BODY:
            raise ValueError(f"the edit is larger than {_BODY} bytes")
    said = json.loads(raw.decode("utf-8"), parse_constant=_constant)
    wanted = {"source": str, "version": str, **keys}
    if not isinstance(said, dict) or said.keys() != wanted.keys():
        raise ValueError(f"an edit must be an object with {', '.join(wanted)}")
    for name, kind in wanted.items():
        if kind is not object and type(said[name]) is not kind:
            raise TypeError(f"{name} is {type(said[name]).__name__}; it must be {_WORDS[kind]}")
    return said


_WORDS = {str: "text", int: "a whole number", list: "a list of whole numbers", dict: "an object"}


def _constant(name: str) -> None:
    raise ValueError(f"{name} is no number that JSON knows")


def _numbers(value: list[Any]) -> list[int]:
    if not all(type(v) is int for v in value):
        raise TypeError("episodes must be whole numbers")
    return value


def _editing(keys: Mapping[str, type], edit: Callable[[Library, dict[str, Any]], Any]) -> Handler:
    async def handler(library: Library, request: web.Request) -> web.StreamResponse:
        said = await _body(request, keys)
        source = await asyncio.to_thread(library.source, said["source"])
        if not source.editable:
            return _error(
                403, ValueError(f"{source.name} may only be looked at: what was measured on it must stay")
            )
        return await _json(lambda: edit(library, said))

    return handler


_EDITS: Mapping[str, tuple[Mapping[str, type], Callable[[Library, dict[str, Any]], Any]]] = {
    "delete": (
        {"episodes": list},
        lambda library, said: library.edits.delete(said["version"], _numbers(said["episodes"])),
    ),
    "trim": (
        {"episode": int, "start": int, "stop": int, "success": object},
        lambda library, said: library.edits.trim(
            said["version"], said["episode"], said["start"], said["stop"], said["success"]
        ),
    ),
    "relabel": (
        {"episodes": list, "facts": dict},
        lambda library, said: library.edits.relabel(
            said["version"], _numbers(said["episodes"]), said["facts"]
        ),
    ),
    "undo": ({}, lambda library, said: library.edits.undo(said["version"])),
}
