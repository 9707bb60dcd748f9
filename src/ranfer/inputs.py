"""What a user names, as an ordered list of pictures and videos: files, folders, patterns, and lists of them."""

from __future__ import annotations

import codecs
import glob
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ranfer import video
from ranfer.outputs import is_drawing
from ranfer.vocab import PICTURES

# What is taken from a folder or by a pattern; a file that is named itself is tried whatever it is called.
SUFFIXES = PICTURES | video.SUFFIXES


@dataclass
class Listing:
    """Pictures and videos in the order of their names, each once; and a line for each input that gives none."""

    files: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def list_inputs(inputs: Sequence[str], read: Callable[[], bytes] | None = None) -> Listing:
    """The pictures and videos that the inputs name; a file that is reached twice, by links too, counts once.

    An input is a file, a folder (with all folders in it, but nothing hidden, in the order of names), a pattern such as
    ``photos/*.jpg`` or ``photos/**/*.png``, or ``-``: a list of files, folders and patterns, one a line (or
    separated by NUL), as ``read`` gives it. Whether a named file exists shows when it is read. What a run has drawn
    is taken only where it is named itself.

    >>> list_inputs(["*.jpg", "photo.jpg", "*.png"])
    Listing(files=[PosixPath('photo.jpg')], problems=['*.png: no picture or video matches this pattern'])
    """
    listing, seen = Listing(), set[str]()
    for where, name in _names(inputs, read, listing.problems):
        found = _expand(name, where, listing.problems)
        for path in found:
            real = os.path.realpath(path)
            if real not in seen:
                seen.add(real)
                listing.files.append(path)
    return listing


def _names(inputs: Sequence[str], read: Callable[[], bytes] | None, problems: list[str]) -> Iterator[tuple[str, str]]:
    """Each name, and what messages call it: ``standard input:17: photos``."""
    for name in inputs:
        if name != "-":
            yield name, name
        elif read is None:
            problems.append("-: there is no standard input")
        else:
            content = read().removeprefix(codecs.BOM_UTF8)
            if not content.strip():
                problems.append("-: standard input names nothing")
            ends = b"\0" if b"\0" in content else b"\n"  # as `find -print0` and `ls` write them
            for number, line in enumerate(content.split(ends), start=1):
                if text := os.fsdecode(line).strip("\r\n"):  # names may begin and end with spaces
                    yield f"standard input:{number}: {text}", text


def _expand(name: str, where: str, problems: list[str]) -> Iterable[Path]:
    path = Path(name)
    if not name:  # Path would take it for the current folder
        problems.append("an input is an empty name")
        return []
    if stat.S_ISDIR(_mode(path)):
        found = list(_in_folder(path, problems))
        if not found:
            problems.append(f"{where}: no pictures or videos in this folder (none of {', '.join(sorted(SUFFIXES))})")
        return found
    if "://" in name and not _mode(path):  # Path would make one slash of the two
        problems.append(f"{where}: an address; download it first")
        return []
    if glob.has_magic(name) and not _mode(path):
        matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207  # Path.glob takes no absolute patterns
        found = [path for match in matches for path in _matched(Path(match), problems)]
        if not found:
            problems.append(f"{where}: no picture or video matches this pattern")
        return found
    return [path]


def _matched(match: Path, problems: list[str]) -> Iterable[Path]:
    if stat.S_ISDIR(_mode(match)):
        return _in_folder(match, problems)
    return [match] if _is_wanted(match) else []


def _in_folder(folder: Path, problems: list[str]) -> Iterator[Path]:
    def report(error: OSError) -> None:
        problems.append(f"{error.filename}: {error.strerror}")

    for parent, folders, files in os.walk(folder, onerror=report):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(parent, name)
            if not name.startswith(".") and _is_wanted(path):
                yield path


def _is_wanted(path: Path) -> bool:
    if path.suffix.lower() not in SUFFIXES or is_drawing(path):
        return False
    mode = _mode(path)
    return not mode or stat.S_ISREG(mode)  # a pipe is passed over; a broken link is told when it is read


def _mode(path: Path) -> int:
    """What stands there, as :mod:`stat` tells it; 0 for nothing, or for what is out of reach."""
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return 0
