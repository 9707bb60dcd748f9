"""What no request gets past: a foreign host or origin, too large a body. Written for any ASGI application."""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

LARGEST = 16 * 1024  # bytes of a request's body
HEADERS = {
    # The page is one file with its own modules; pictures come as blobs, because they need the token.
    "content-security-policy": "default-src 'self'; img-src blob: data:; frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


def guarded(app: App, names: Collection[str] = ()) -> App:
    """The application behind checks of Host, Origin and size; ``names`` are further names of this machine.

    A browser that is led here under another name (DNS rebinding) or by another page's script is refused.
    """
    known = {"localhost", socket.gethostname().lower(), *(name.lower() for name in names)}

    async def guard(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in HEADERS.items())]
            await send(message)

        async def refuse(status: int, why: str) -> None:
            body = json.dumps({"error": why}).encode()
            kind = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send_with_headers({"type": "http.response.start", "status": status, "headers": kind})
            await send({"type": "http.response.body", "body": body})

        host = headers.get("host", "")
        if not _is_ours(host, known):
            await refuse(421, f"unknown host name {host[:80]!r}; allow it with --host-name")
        elif "origin" in headers and ((split := _split(headers["origin"])) is None or split.netloc != host):
            await refuse(403, f"cross-origin request from {headers['origin'][:80]!r} refused")
        elif (body := await _read_body(headers.get("content-length", "0"), receive)) is None:
            await refuse(413, f"expected a request of at most {LARGEST:,} bytes")
        else:
            unread = [body]

            async def receive_again() -> Message:
                if unread:
                    return {"type": "http.request", "body": unread.pop(), "more_body": False}
                return await receive()

            await app(scope, receive_again, send_with_headers)

    return guard


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


async def _read_body(announced: str, receive: Receive) -> bytes | None:
    """The body of a request; None where it is too large, whatever it announced."""
    if not announced.isdigit() or int(announced) > LARGEST:
        return None
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return body
        body += bytes(message.get("body", b""))
        if len(body) > LARGEST:
            return None
        if not message.get("more_body", False):
            return body
