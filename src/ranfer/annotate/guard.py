"""What no request gets past: a foreign host or origin, too large a body."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST = 16 * 1024  # bytes of a request's body
TOO_LARGE = f"expected a request of at most {LARGEST:,} bytes"
HEADERS = {
    # The page is one file with its own modules; pictures come as blobs, because they need the token.
    "content-security-policy": "default-src 'self'; img-src blob: data:; frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


def guarded(app: ASGIApp, names: Collection[str] = ()) -> ASGIApp:
    """The application behind checks of Host, Origin and size; ``names`` are further names of this machine.

    A browser that is led here under another name (DNS rebinding) or by another page's script is refused. A body is
    counted as it comes, so that no more of it is read than the limit and one more piece.
    """
    known = {"localhost", socket.gethostname().lower(), *(name.lower() for name in names)}

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > LARGEST:
                raise HTTPException(413, TOO_LARGE)  # where the application reads, which answers with it
            return message

        async def hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await (_refusal(Headers(scope=scope), known) or app)(scope, counted, hardened)

    return guard


def _refusal(headers: Headers, known: Collection[str]) -> JSONResponse | None:
    """The answer to a request that the application must not see; None for others."""
    host, origin = headers.get("host", ""), headers.get("origin")
    if not _is_ours(host, known):
        return _refused(421, f"unknown host name {host[:80]!r}; allow it with --host-name")
    if origin is not None and ((split := _split(origin)) is None or split.netloc != host):
        return _refused(403, f"cross-origin request from {origin[:80]!r} refused")
    announced = headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced) > LARGEST:
        return _refused(413, TOO_LARGE)
    return None


def _refused(status: int, why: str) -> JSONResponse:
    return JSONResponse({"error": why}, status)


def _is_ours(host: str, known: Collection[str]) -> bool:
    """Whether a Host header is an address, which no foreign name can pretend to be, or a name of ours."""
    split = _split(f"//{host}")
    name = None if split is None else split.hostname
    try:
        ipaddress.ip_address(name or "")
    except ValueError:
        return name in known
    return True


def _split(address: str) -> SplitResult | None:
    """The parts of an address; None of what is no address, such as one with half a bracket."""
    try:
        return urlsplit(address)
    except ValueError:
        return None
