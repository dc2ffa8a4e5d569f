"""The studio's web server: the page, the scene, the link to the session, and who may reach them.

Every answer carries a policy that lets the page load nothing from elsewhere; every request names this server,
shows its cookie, and, where it changes anything, comes from our own page.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket as sockets
from collections.abc import Awaitable, Callable

from aiohttp import WSMsgType, web

from understudy.studio.access import Access
from understudy.studio.assets import Asset, assets, packed
from understudy.studio.hub import BURST, RATE, Hub, TooMany
from understudy.studio.viewer import Bucket, Viewer
from understudy.studio.wire import LARGEST, Malformed

__all__ = ["build_app"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_ACCESS: web.AppKey[Access] = web.AppKey("access", Access)
_HUB: web.AppKey[Hub] = web.AppKey("hub", Hub)
_LINKS: web.AppKey[set[web.WebSocketResponse]] = web.AppKey("links", set)
_COOKIE: web.AppKey[str] = web.AppKey("cookie", str)

BODY = 1 << 20  # bytes of a request: an edit of the library names its episodes one by one
HEARTBEAT = 4.0  # seconds; a page that answers no ping for half as long again is gone
_UNSENT = 16 << 10  # bytes that the kernel may hold for a slow page
_FIXED = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_STRANGER = "This page needs the address that `understudy studio` printed when it started.\n"
_USED = "This address was used before, in another browser. The terminal shows a fresh one.\n"
_ONWARD = '<!doctype html><meta http-equiv="refresh" content="0; url=/"><title>understudy studio</title>\n'


def build_app(
    hub: Hub,
    access: Access,
    scene: bytes | None,
    *,
    cookie: str = "understudy",
    used: Callable[[str], None] = lambda token: None,
) -> web.Application:
    """The application, without the library's routes (see `understudy.studio.library_routes`).

    Args:
        hub: of the session. access: who may come in.
        scene: the geometry (see `understudy.scene`); None where nothing can be drawn.
        cookie: its name; servers on other ports of the machine need others, for cookies know no ports.
        used: is told the fresh token when somebody opened a link that had been used.

    Raises:
        ValueError: when the package holds no page.
    """
    app = web.Application(middlewares=[_guarded], client_max_size=BODY)
    app[_ACCESS], app[_HUB], app[_COOKIE], app[_LINKS] = access, hub, cookie, set()
    files, geometry = assets(), None if scene is None else packed(scene, "application/octet-stream")

    async def page(request: web.Request) -> web.StreamResponse:
        if "token" in request.query:
            return _enter(request, used)
        return _asset(request, files["index.html"], "no-cache")

    async def asset(request: web.Request) -> web.StreamResponse:
        found = files.get(request.match_info["name"])
        if found is None:
            raise web.HTTPNotFound
        kept = request.query.get("v") == found.tag
        return _asset(request, found, "private, max-age=31536000, immutable" if kept else "no-cache")

    async def shape(request: web.Request) -> web.StreamResponse:
        if geometry is None:
            raise web.HTTPNotFound(text="nothing of this task can be drawn\n")
        return _asset(request, geometry, "private, no-cache")

    app.router.add_get("/", page)
    app.router.add_get("/assets/{name}", asset)
    app.router.add_get("/scene.bin", shape)
    app.router.add_get("/ws", _link, allow_head=False)
    app.on_response_prepare.append(_headers)
    app.on_startup.append(_start)
    app.on_shutdown.append(_close_links)
    app.on_cleanup.append(_stop)
    return app


async def _start(app: web.Application) -> None:
    await app[_HUB].start()


async def _stop(app: web.Application) -> None:
    await app[_HUB].stop()


async def _close_links(app: web.Application) -> None:
    links = app[_LINKS]
    for link in list(links):
        await link.close(code=1001, message=b"The studio was ended.")


@web.middleware
async def _guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Lets a request in, or says why not: its host, its size, its cookie, its origin, in this order."""
    access = request.app[_ACCESS]
    if not access.is_ours(request.headers.get("Host")):
        raise web.HTTPForbidden(text="this server has another name\n")
    if (request.content_length or 0) > BODY:
        raise web.HTTPRequestEntityTooLarge(BODY, request.content_length or 0)
    if request.path == "/" and request.method == "GET" and "token" in request.query:
        return await handler(request)
    if not access.knows(_key(request)):
        raise web.HTTPUnauthorized(text=_STRANGER)
    changes = request.method not in ("GET", "HEAD") or request.path == "/ws"
    if changes and not _from_our_page(request):
        raise web.HTTPForbidden(text="this was asked for by a page of another server\n")
    return await handler(request)


def _bearer(request: web.Request) -> str | None:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return key if scheme == "Bearer" else None


def _key(request: web.Request) -> str:
    """What says which browser asks: what a program shows, else the cookie."""
    return _bearer(request) or request.cookies.get(request.app[_COOKIE], "")


def _from_our_page(request: web.Request) -> bool:
    """Browsers always say where such a request comes from; only a program that shows its key need not."""
    origin = request.headers.get("Origin")
    if origin is None:
        return _bearer(request) is not None
    return request.app[_ACCESS].same_origin(origin, request.headers.get("Host"))


async def _headers(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in _FIXED.items():
        response.headers[name] = value
    response.headers.setdefault("Cache-Control", "no-store")
    own = request.headers.get("Host") or ""
    # Some browsers do not take 'self' to mean this server's WebSockets; a name that is not ours is not named.
    socket = f" ws://{own} wss://{own}" if request.app[_ACCESS].is_ours(own) else ""
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'{socket}; "
        "img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _enter(request: web.Request, used: Callable[[str], None]) -> web.StreamResponse:
    """Exchanges the token for a cookie and sends the browser to the address without it."""
    access, name = request.app[_ACCESS], request.app[_COOKIE]
    token = request.query["token"]
    key = None if access.knows(request.cookies.get(name)) else access.admit(token)
    if key is None and not access.knows(request.cookies.get(name)):
        if access.renew(token):
            used(access.token)
            raise web.HTTPUnauthorized(text=_USED)
        raise web.HTTPUnauthorized(text=_STRANGER)
    if request.headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin"):
        answer = web.Response(status=303, headers={"Location": "/"})
    else:  # a redirect of somebody else's page would come without a SameSite=Strict cookie; our own brings it
        answer = web.Response(text=_ONWARD, content_type="text/html")
    if key is not None:
        answer.set_cookie(name, key, path="/", httponly=True, samesite="Strict")
    return answer


def _asset(request: web.Request, asset: Asset, kept: str) -> web.StreamResponse:
    headers = {"ETag": f'"{asset.tag}"', "Cache-Control": kept, "Vary": "Accept-Encoding"}
    if any(tag.value == asset.tag for tag in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    body = asset.body
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        body, headers["Content-Encoding"] = asset.zipped, "gzip"
    return web.Response(body=body, headers=headers | {"Content-Type": asset.type})


async def _link(request: web.Request) -> web.StreamResponse:
    """The WebSocket of one page, from its first message to its end."""
    hub = request.app[_HUB]
    # Compressing costs more than it saves. The writer waits after each message: nothing grows old in it.
    link = web.WebSocketResponse(
        compress=False, heartbeat=HEARTBEAT, max_msg_size=LARGEST, timeout=1.0, writer_limit=1
    )
    await link.prepare(request)
    _hold_little(request.transport)
    try:
        viewer = hub.join(_key(request))
    except TooMany as full:
        await link.close(code=1013, message=_reason(full))
        return link
    request.app[_LINKS].add(link)
    sending = asyncio.create_task(hub.serve(viewer, link))
    try:
        await _listen(link, hub, viewer)
    finally:
        request.app[_LINKS].discard(link)
        hub.leave(viewer)
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await sending
    return link


async def _listen(link: web.WebSocketResponse, hub: Hub, viewer: Viewer) -> None:
    """Hands on what the page says, until its link ends or it says what it must not."""
    rate = Bucket(RATE, BURST)
    async for message in link:
        if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
            return
        try:
            hub.hear(viewer, message.data, rate)
        except (Malformed, TooMany) as wrong:
            await link.close(code=1008, message=_reason(wrong))
            return


def _reason(wrong: ValueError) -> bytes:
    """At most 123 bytes: what a closing frame has room for."""
    return str(wrong).encode()[:120].decode(errors="ignore").encode()


def _hold_little(transport: asyncio.Transport | None) -> None:
    """Keeps what waits for a slow page small: a frame that waited for seconds is of no use."""
    if transport is None:
        return
    transport.set_write_buffer_limits(high=_UNSENT)
    socket = transport.get_extra_info("socket")
    if socket is not None and hasattr(sockets, "TCP_NOTSENT_LOWAT"):
        socket.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NOTSENT_LOWAT, _UNSENT)
