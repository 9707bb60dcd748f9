"""What made a file: the code, by version and, in a checkout, git revision; other files, by their hashes."""

from __future__ import annotations

import hashlib
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path


@cache
def revision() -> str:
    """``0.1.0`` of an installed package, ``0.1.0+g1a2b3c4`` in a git checkout, with ``.dirty`` where files differ."""
    number = version("ranfer")
    here = Path(__file__).resolve().parent
    if not (here.parents[1] / ".git").exists():  # installed: a checkout round site-packages is somebody else's
        return number
    try:
        described = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty=.dirty", "--exclude=*"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):  # no git on this machine
        return number
    return f"{number}+g{described.stdout.strip()}"


def file_hash(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
