"""The annotator on a socket: where it listens, and the links to hand out."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection

import uvicorn

from ranfer.annotate.app import create_app
from ranfer.annotate.guard import guarded
from ranfer.annotate.study import Person, Study
from ranfer.errors import ConfigError


def serve(
    study: Study, host: str, port: int, names: Collection[str], ready: Callable[[list[tuple[Person, str]]], None]
) -> None:
    """Serve a study until a signal; ``ready`` is told of each person's link once the server can be reached.

    Raises:
        ConfigError: it cannot listen on the address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigError(
            f"--host {host} --port {port}: cannot listen on this address ({error.strerror or error})"
        ) from error
    shown = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
    address = f"http://{f'[{shown}]' if ':' in shown else shown}:{listener.getsockname()[1]}/"
    ready([(person, f"{address}#token={person.token}") for person in study.people])
    settings = uvicorn.Config(
        guarded(create_app(study), names), log_level="warning", access_log=False, server_header=False, ws="none"
    )
    uvicorn.Server(settings).run(sockets=[listener])
