"""Predictions as a file: ``predictions.jsonl``, which grows source by source, and which a stopped run goes on with."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Container, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from ranfer.data.textfiles import to_jsonl
from ranfer.errors import ConfigError, DataError
from ranfer.files import locked, write_text
from ranfer.prediction_lines import parse_line, to_lines
from ranfer.provenance import revision
from ranfer.recognize import Face
from ranfer.tracks import Tracker

LINES, ABOUT = "predictions.jsonl", "predictions.meta.json"
DRAWN, SHEET = "drawn", "contact_sheet.jpg"  # annotated copies, in a folder of their own
OWN = ".ranfer"  # an empty file in that folder: what lies there, and the sheet, were drawn by us
GROWING = "unfinished-{}.jsonl"  # by a hash of the video's name


def is_drawing(path: Path) -> bool:
    """Whether a run of :func:`ranfer.predict.predict` drew this file into its folder."""
    real = Path(os.path.realpath(path))
    folder = real.parent if real.name == SHEET else real.parent.parent if real.parent.name == DRAWN else None
    return folder is not None and (folder / DRAWN / OWN).exists()


def claim_drawings(folder: Path) -> None:
    """Make the folder for drawings; those of earlier runs may be there.

    Raises:
        ConfigError: files that no run drew lie where drawings would, and might be lost.
    """
    drawn = folder / DRAWN
    if (drawn / OWN).exists():
        return
    if (folder / SHEET).exists() or (drawn.exists() and any(drawn.iterdir())):
        raise ConfigError(f"{folder}: holds {DRAWN}/ or {SHEET} of something else; choose another --out")
    drawn.mkdir(parents=True, exist_ok=True)
    (drawn / OWN).touch()


class Results:
    """The growing ``predictions.jsonl`` of a folder, and what has been done of it by an earlier run.

    Beside it, ``predictions.meta.json`` remembers the settings that the answers depend on. The last picture of an
    earlier run is taken off where it is done again or was torn: it may have had more faces than were written. A video
    grows in a file of its own, see :class:`Unfinished`, which is there until all its lines are here.

    Args:
        settings: plain values by name; those of an earlier run must be the same.
        about: what else to remember for the reader.
        again: the sources of this run.

    Raises:
        ConfigError: the earlier run had other settings, or one is at work here now.
        DataError: the folder's predictions are of no known form.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, Any], about: Mapping[str, Any], again: Container[str] = ()
    ) -> None:
        self.path = folder / LINES
        self.done: dict[str, str | None]  # by source: why it could not be read, or None
        folder.mkdir(parents=True, exist_ok=True)
        self.done, end = {}, 0
        self._open = ExitStack()
        self._file = self._open.enter_context(self.path.open("ab"))
        try:
            self._open.enter_context(locked(self.path))
            begun = self._file.tell() > 0
            if begun or any(folder.glob(GROWING.format("*"))):
                _check_settings(folder, settings)
                if begun:
                    self.done, end = _done(self.path, again)
            else:
                told = {"settings": settings, "ranfer": revision(), "model": about}
                write_text(folder / ABOUT, json.dumps(told, indent=2) + "\n")
            self._file.truncate(end)
        except BaseException:
            self._open.close()
            raise

    def write(self, source: str, faces: Sequence[Face]) -> None:
        """Append what was found in a picture; it has been passed to the operating system on return."""
        self._append(source, to_lines(source, faces), None)

    def write_error(self, source: str, message: str) -> None:
        """Append that an input could not be read."""
        self._append(source, [{"source": source, "error": message}], message)

    def begin(self, source: str) -> Unfinished:
        """The lines of a video, as far as an earlier run came."""
        return Unfinished(_growing(self.path.parent, source), source)

    def finish(self, video: Unfinished, error: str | None) -> None:
        """Append all that was found in a video, and where it could not be read to its end, why."""
        if video.path.exists():
            with video.path.open("rb") as lines:
                shutil.copyfileobj(lines, self._file)
        self._append(video.source, [] if error is None else [{"source": video.source, "error": error}], error)
        video.path.unlink(missing_ok=True)

    def _append(self, source: str, lines: Sequence[Mapping[str, Any]], error: str | None) -> None:
        self._file.write(to_jsonl(lines).encode("ascii"))
        self._file.flush()
        self.done[source] = error

    def __enter__(self) -> Results:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()


class Unfinished:
    """The lines of a video that is not at its end, in a file of their own beside ``predictions.jsonl``.

    A stopped run leaves the file. The next goes on after the last frame but one, for the last may lack faces.

    last: the number of the frame up to which all is there, or -1.  frames: how many frames are there.
    """

    def __init__(self, path: Path, source: str) -> None:
        self.path, self.source = path, source
        self.last, self.frames = -1, 0
        self._follow = Tracker()
        if path.exists():
            self._go_on()

    def _go_on(self) -> None:
        group: list[dict[str, Any]] = []  # the lines of a frame
        start = end = 0
        with self.path.open("r+b") as file:
            for number, text in enumerate(file, start=1):
                if not text.endswith(b"\n"):
                    break
                line = parse_line(text, f"{self.path}:{number}")
                if "error" in line or line["time"] is None or (line["box"] is not None and line["track"] is None):
                    raise DataError(f"{self.path}:{number}: expected a frame; remove the file to begin the video anew")
                if group and line["frame"] != group[0]["frame"]:
                    faces = [(tuple(face["box"]), face["track"]) for face in group if face["box"] is not None]
                    self._follow.remember(group[0]["time"], [box for box, _ in faces], [track for _, track in faces])
                    self.last, self.frames = group[0]["frame"], self.frames + 1
                    group, start = [], end
                group.append(line)
                end += len(text)
            file.truncate(start)

    def write(self, frame: int, time: float, faces: Sequence[Face]) -> None:
        """Append what was found in the next frame."""
        # As they will be read again, so that a resumed run numbers faces as a whole one does.
        boxes = [(round(x0, 2), round(y0, 2), round(x1, 2), round(y1, 2)) for x0, y0, x1, y1 in (f.box for f in faces)]
        tracks = self._follow(round(time, 4), boxes)
        with self.path.open("ab") as file:
            file.write(to_jsonl(to_lines(self.source, faces, frame, time, tracks)).encode("ascii"))
        self.last, self.frames = frame, self.frames + 1


def _growing(folder: Path, source: str) -> Path:
    return folder / GROWING.format(hashlib.sha256(os.fsencode(source)).hexdigest()[:16])


def _check_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    cure = f"choose another --out, or remove {folder / LINES} and {GROWING.format('*')} beside it to start anew"
    try:
        earlier = dict(json.loads((folder / ABOUT).read_bytes())["settings"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder / ABOUT}: how {LINES} was made cannot be read ({error}); {cure}") from None
    differing = [name for name in {**earlier, **settings} if earlier.get(name) != settings.get(name)]
    if differing:
        changes = "; ".join(f"{name}: {_short(earlier, name)}, now {_short(settings, name)}" for name in differing)
        raise ConfigError(f"{folder / LINES} was made with other settings ({changes}): {cure}")


def _short(settings: Mapping[str, Any], name: str) -> str:
    value = str(settings.get(name))
    return value[:8] if name.endswith("weights") else value  # of a hash, the beginning tells enough


def _done(path: Path, again: Container[str]) -> tuple[dict[str, str | None], int]:
    """The sources that are done with their errors, in their order, and the byte at which they end."""
    done: dict[str, str | None] = {}
    first: dict[str, Any] | None = None  # line of the last source
    last: dict[str, Any] = {}
    end = start = 0
    torn = b""  # a last line that was not written to its end
    with path.open("rb") as file:
        for number, text in enumerate(file, start=1):
            if not text.endswith(b"\n"):
                torn = text
                break
            line = parse_line(text, f"{path}:{number}")
            if first is None or line["source"] != first["source"]:
                if first is not None:
                    done[first["source"]] = last.get("error")
                first, end = line, start
            last = line
            start += len(text)
    if first is None:
        return done, end
    source = first["source"]
    if first.get("time") is not None:  # of a video, which is here as a whole before its own file goes
        whole = not _growing(path.parent, source).exists()
    else:
        whole = source not in again and not (torn and _may_be_of(torn, source))
    if whole:
        done[source], end = last.get("error"), start
    return done, end


def _may_be_of(torn: bytes, source: str) -> bool:
    """Whether the beginning of a line may be that of a source's line."""
    begun = json.dumps({"source": source})[:-1].encode("ascii") + b","
    return torn.startswith(begun) or begun.startswith(torn)
