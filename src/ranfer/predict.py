"""Pictures and videos through the recognizer: searched and classified side by side, written in order, resumable."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ranfer.draw import CELL, SHADED, UNTRUSTED, annotate, contact_sheet, fit
from ranfer.errors import ImageError
from ranfer.extras import need_extra
from ranfer.files import atomic_path
from ranfer.images import decode_image, processing
from ranfer.outputs import ABOUT, DRAWN, LINES, SHEET, Results, Unfinished, claim_drawings
from ranfer.prediction_lines import read_pictures, to_face
from ranfer.recognize import Face, Found, Recognizer
from ranfer.summary import Summary, summarise
from ranfer.tables import TABLES, Table, write_table
from ranfer.video import ALL, FPS, Frame, announced, frames, is_video, write_video
from ranfer.vocab import Progress, silent

GROUP = 8  # pictures whose faces go through the model together
# Pictures that may be searched before their group is there; with those of IN_MODEL they bound the memory.
AHEAD = GROUP
IN_MODEL = 2  # groups that may be with the model at once
WORKERS = 8  # pictures that are searched at once, at most: each takes some hundred megabytes for it
ON_SHEET = 48  # pictures at most

T = TypeVar("T")
R = TypeVar("R")


class _View(NamedTuple):
    """A picture, a frame of a video, or with neither the end of one."""

    number: int  # of its source in the folder
    path: Path
    video: Unfinished | None = None
    frame: Frame | None = None
    error: str | None = None


class _Looked(NamedTuple):
    """A view that was searched; ``shown`` only where it is a picture that is to be drawn."""

    view: _View  # without the pixels of its frame
    found: list[Found]
    shown: tuple[UInt8[np.ndarray, "h w 3"], float] | None = None


def predict(
    recognizer: Recognizer,
    inputs: Sequence[Path],
    folder: Path,
    *,
    fps: float = FPS,
    form: Literal["jsonl"] | Table = "jsonl",
    draw: bool = False,
    progress: Progress = silent,
    complain: Callable[[str], None] = lambda line: None,
) -> Summary:
    """Recognise pictures and videos into ``predictions.jsonl`` of a folder, in their order, except those that it has.

    An input that cannot be read gets a line of its own, and the rest goes on. Stopped at any moment, by Ctrl-C or
    worse, the next call with the same settings goes on from there, within a video too.

    Args:
        fps: how many frames of a video are looked at in a second.
        form: csv and parquet make a table of all lines in the end, too; those of earlier runs are brought up to date.
        draw: annotated copies in ``drawn/``, under the number of the input, and a contact sheet.
        progress: called with the pictures and frames done, and about how many there are in all.
        complain: called with a line for each of the inputs that cannot be read, or could not be in an earlier run.

    Raises:
        ConfigError: the folder holds predictions with other settings, Parquet cannot be written, or files that no run
            drew lie where drawings would.
        DataError: the folder's predictions are damaged otherwise than by a stop.
    """
    tables = [kind for kind in TABLES if kind == form or (folder / LINES).with_suffix(f".{kind}").exists()]
    if "parquet" in tables:
        need_extra("predictions.parquet", "parquet")
    if draw:
        claim_drawings(folder)
    again = set(map(str, inputs))
    settings = {**recognizer.settings(), "fps": fps}
    with Results(folder, settings, recognizer.description, again) as results:
        for source, reason in results.done.items():
            if reason is not None and source in again:
                complain(f"{reason} (in an earlier run; to try again, remove its lines from {results.path})")
        if draw:
            _draw_earlier(results.path, folder, fps, complain)
        waiting = [path for path in inputs if str(path) not in results.done]
        sizes = {path: announced(path, fps).frames if is_video(path) else 1 for path in inputs}
        total = sum(sizes[path] for path in inputs)
        done = total - sum(sizes[path] for path in waiting)
        broken: dict[int, str] = {}  # videos by their number: why a frame could not be searched
        with ThreadPoolExecutor(min(os.cpu_count() or 1, WORKERS)) as pool:
            views = _views(waiting, results, fps, broken)
            looked = _ahead(pool, lambda view: _look(recognizer, view, draw), views, AHEAD)
            groups: Iterator[list[_Looked]] = iter(lambda: list(islice(looked, GROUP)), [])

            def classify(group: list[_Looked]) -> tuple[list[_Looked], list[list[Face]]]:
                return group, recognizer.classify([one.found for one in group])

            for group, faces in _ahead(pool, classify, groups, IN_MODEL):
                if draw:
                    list(pool.map(lambda one, its_faces: _draw(one, its_faces, folder), group, faces))
                for (view, *_), its_faces in zip(group, faces, strict=True):
                    view = view._replace(error=broken.get(view.number, view.error))
                    if view.frame is not None and view.error is not None:
                        broken[view.number] = view.error
                        continue
                    _write(results, view, its_faces, folder if draw else None, fps, complain)
                    if view.frame is None:
                        done += sizes[view.path]
                begun = 0 if view.frame is None or view.video is None else min(view.video.frames, sizes[view.path])
                progress(done + begun, total)
    for kind in tables:
        write_table(results.path, kind, recognizer.classes, recognizer.regions)
    if draw:
        _write_sheet(results.path, folder / SHEET)
    return summarise(results.path)


def _views(waiting: Sequence[Path], results: Results, fps: float, broken: Container[int]) -> Iterator[_View]:
    """What is to be looked at, in order; of a video each frame that is not done yet, and then its end.

    Of those that turn out broken meanwhile, by their number, no further frame is looked at.
    """
    for number, path in enumerate(waiting, start=len(results.done) + 1):
        if not is_video(path):
            yield _View(number, path)
            continue
        video, error = results.begin(str(path)), None
        try:
            for frame in frames(path, fps, after=video.last):
                yield _View(number, path, video, frame)
                if number in broken:
                    break
        except ImageError as problem:
            error = str(problem)
        except MemoryError:
            error = f"{path}: a frame is too large for the memory that is left"
        yield _View(number, path, video, error=error)


def _ahead(pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterable[T], most: int) -> Iterator[R]:
    """The results in order, while the pool works on the next ones, on ``most`` at once."""
    pending: deque[Future[R]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) >= most:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()


def _look(recognizer: Recognizer, view: _View, draw: bool) -> _Looked:
    name = str(view.path)
    try:
        if view.frame is not None:
            number, time, pixels = view.frame
            view = view._replace(frame=view.frame._replace(image=pixels[:0].copy()))
            return _Looked(view, recognizer.find(pixels, f"{name}: frame {number}, at {time:.2f} s"))
        if view.video is not None:
            return _Looked(view, [])
        image = decode_image(view.path, name)
        found = recognizer.find(image, name)
        with processing(name):
            return _Looked(view, found, fit(image) if draw else None)
    except ImageError as error:
        return _Looked(view._replace(error=str(error)), [])


def _write(
    results: Results,
    view: _View,
    faces: Sequence[Face],
    drawings: Path | None,
    fps: float,
    complain: Callable[[str], None],
) -> None:
    """The lines of a picture or frame; a video whose end this is becomes part of the results, and is drawn."""
    if view.frame is not None and view.video is not None:
        view.video.write(view.frame.number, view.frame.time, faces)
        return
    if view.video is not None:
        if drawings is not None:
            try:
                _draw_video(view, _lines_of(view.video), drawings, fps)
            except ImageError as error:
                complain(str(error))
        results.finish(view.video, view.error)
    elif view.error is None:
        results.write(str(view.path), faces)
    else:
        results.write_error(str(view.path), view.error)
    if view.error is not None:
        complain(view.error)


def _drawn(view: _View, folder: Path) -> Path:
    stem = os.fsencode(view.path.stem)[:200].decode(errors="ignore")  # names of files end at 255 bytes
    return folder / DRAWN / f"{view.number:05d}-{stem}{'.mp4' if is_video(view.path) else '.jpg'}"


def _draw(looked: _Looked, faces: Sequence[Face], folder: Path) -> None:
    if looked.shown is not None:
        _save(annotate(looked.shown[0], faces, looked.shown[1]), _drawn(looked.view, folder))


def _draw_video(view: _View, lines: Iterable[list[dict[str, Any]]], folder: Path, fps: float) -> None:
    """The frames that were looked at, annotated with what ``lines`` tell of each."""

    def drawn() -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        with suppress(ImageError):  # of a file that ends early; it has been said
            for frame, its_lines in zip(frames(view.path, fps), lines, strict=False):  # it may have changed
                small, scale = fit(frame.image)
                yield np.asarray(annotate(small, _faces(its_lines), scale))

    write_video(_drawn(view, folder), drawn(), announced(view.path, fps).fps)


def _lines_of(video: Unfinished) -> Iterable[list[dict[str, Any]]]:
    return read_pictures(video.path) if video.path.exists() else []  # no frame could be read


def _draw_earlier(lines: Path, folder: Path, fps: float, complain: Callable[[str], None]) -> None:
    """What an earlier run recognised and did not draw; drawings of other predictions are taken away."""
    begun, kept = (folder / ABOUT).stat().st_mtime, set[Path]()
    for number, (source, groups) in enumerate(_by_source(lines), start=1):
        view = _View(number, Path(source))
        kept.add(path := _drawn(view, folder))
        if path.exists() and path.stat().st_mtime >= begun:
            continue
        seen = (group for group in groups if "error" not in group[0])
        try:
            if is_video(view.path):
                _draw_video(view, seen, folder, fps)
            else:
                for group in seen:
                    _draw(_Looked(view, [], fit(decode_image(view.path, source))), _faces(group), folder)
        except ImageError as error:
            complain(f"{error} (to draw it)")
    for path in (folder / DRAWN).glob("[0-9][0-9][0-9][0-9][0-9]-*"):
        if path not in kept:
            path.unlink()


def _by_source(lines: Path) -> Iterator[tuple[str, Iterator[list[dict[str, Any]]]]]:
    """Of each source, in order, its pictures or frames."""
    return groupby(read_pictures(lines), key=lambda group: str(group[0]["source"]))


def _faces(lines: Sequence[Mapping[str, Any]]) -> list[Face]:
    return [to_face(line) for line in lines if line["box"] is not None]


def _save(picture: Image.Image, path: Path) -> None:
    with atomic_path(path) as partial:
        picture.save(partial, format="JPEG", quality=90)


def _write_sheet(lines: Path, path: Path) -> None:
    """The first sources that can still be read, drawn at the size of the sheet, whoever recognised them and when.

    A video is shown by its first frame that has a face.
    """
    shown: list[tuple[str, Image.Image]] = []
    total, attends = 0, False
    for source, groups in _by_source(lines):
        total += 1
        if len(shown) == ON_SHEET or (view := _telling(groups)) is None:
            continue
        try:
            small, scale = fit(_image(Path(source), view[0]), CELL, CELL)
        except ImageError:
            continue
        faces = _faces(view)
        attends |= any(len(face.regions) > 1 for face in faces)
        name = Path(source).name if view[0]["time"] is None else f"{Path(source).name}, {view[0]['time']:.1f} s"
        shown.append((name if faces else f"{name}: no face", annotate(small, faces, scale)))
    if shown:
        title = f"pictures: {total}" if len(shown) == total else f"pictures: {len(shown)} of {total}"
        _save(contact_sheet(shown, title, f"{SHADED}; {UNTRUSTED}" if attends else UNTRUSTED), path)


def _telling(groups: Iterable[list[dict[str, Any]]]) -> list[dict[str, Any]] | None:
    """Of the pictures of a source the first with a face, or else the first that could be read."""
    first = None
    for group in groups:
        if "error" not in group[0]:
            if group[0]["box"] is not None:
                return group
            first = first or group
    return first


def _image(path: Path, line: Mapping[str, Any]) -> UInt8[np.ndarray, "h w 3"]:
    """The picture, or the frame of a video, that a line tells of."""
    if line["time"] is None:
        return decode_image(path, str(path))
    frame = next(frames(path, ALL, after=line["frame"] - 1), None)
    if frame is None:
        raise ImageError(f"{path}: has no frame {line['frame']} any more")
    return frame.image
