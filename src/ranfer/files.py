"""Files that are written: they appear, finished, by rename; one run has them; what is read is not written over."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ranfer.errors import ConfigError

if sys.platform != "win32":
    import fcntl


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """The path to write to, which becomes ``path`` in the end; after an error ``path`` stands as it did before.

    The folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str | Iterable[str]) -> None:
    """Write a file, in one piece or in many, that appears when it is whole."""
    with (
        atomic_path(path) as partial,
        partial.open("w", encoding="utf-8", errors="surrogateescape", newline="\n") as file,
    ):
        file.writelines([text] if isinstance(text, str) else text)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other runs from a file or a folder while this one writes it; where nothing can be locked, nothing happens.

    Raises:
        ConfigError: another process has it.
    """
    if sys.platform == "win32":
        yield
        return
    place = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"{path}: another run is writing it; wait, or choose another --out") from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(place)


def refuse_overwriting(outputs: Iterable[Path], inputs: Iterable[Path | None]) -> None:
    """Refuse to write over what is read.

    Raises:
        ConfigError: one of the outputs is one of the inputs, by whatever name.
    """
    read = [path for path in inputs if path is not None and path.exists()]
    for output in outputs:
        if output.exists() and any(output.samefile(path) for path in read):
            raise ConfigError(f"{output}: is read here, and must not be written over; choose another name")
