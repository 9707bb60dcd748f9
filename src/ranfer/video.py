"""The frames of a video at a chosen rate, upright and in RGB; or one clear error."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8

from ranfer.errors import ConfigError, ImageError
from ranfer.images import check_file

# What is taken for a video; all other files are tried as pictures.
SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".webm", ".wmv"})
FPS = 5.0  # looked at in a second unless told otherwise: an expression lasts half a second and more
ALL = 1e6  # looked at in a second: every frame
SLACK = 0.01  # a frame may come early by this share of the time between two of them, because times are rounded
ROUNDED = 0.001  # seconds: to these, some formats round times
MOST_PIXELS = 178_000_000  # of a frame, as of a picture
SLOWEST, FASTEST = 0.1, 240.0  # frames a second that a drawn video can have

# FFmpeg otherwise writes of broken files on standard error, beside our own line; OpenCV reads this at first use.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_FFMPEG_READ_ATTEMPTS", "1000000")  # packets of sound in a row, after which it gives up


class Frame(NamedTuple):
    """A frame of a video: its number among all, from 0; its time in seconds; its pixels in RGB, upright."""

    number: int
    time: float
    image: UInt8[np.ndarray, "h w 3"]


def is_video(path: Path) -> bool:
    """Whether the ending of a file's name is that of a video."""
    return path.suffix.lower() in SUFFIXES


class Announced(NamedTuple):
    """What a file says of itself: how many frames :func:`frames` will give, and how many a second."""

    frames: int
    fps: float


def announced(path: Path, fps: float) -> Announced:
    """About what there is to look at; a video that cannot be read, or does not say it, has one frame."""
    try:
        video = _open(path)
    except ImageError:
        return Announced(1, fps)
    count, rate = video.get(cv2.CAP_PROP_FRAME_COUNT), video.get(cv2.CAP_PROP_FPS)
    video.release()
    share = min(1.0, fps / rate) if rate > 0 else 1.0
    return Announced(max(1, round(count * share)), share * rate if rate > 0 else fps)


def frames(path: str | Path, fps: float = FPS, after: int = -1) -> Iterator[Frame]:
    """The first frame of every ``1 / fps`` seconds; all of them where the video has no more than ``fps``.

    The others are decoded and passed over, as is what lies up to frame ``after``: which frames are given does not
    depend on it.

    Raises:
        ConfigError: ``fps`` is no positive number.
        ImageError: missing, empty, of no known format, of too large frames, or without a frame; or, after the frames
            that could be read, an AVI that ends before the end: other formats only estimate how many there are.

    >>> [(frame.number, frame.time) for frame in frames("clip.mp4", fps=5.0)]
    [(0, 0.0), (2, 0.2), (4, 0.4)]
    """
    if not 0 < fps <= ALL:
        raise ConfigError(f"fps must be a positive number of at most {ALL:g}, got {fps:g}")
    path = Path(path)
    video = _open(path)
    try:
        count, rate = int(video.get(cv2.CAP_PROP_FRAME_COUNT)), video.get(cv2.CAP_PROP_FPS)
        slack = min(max(SLACK, ROUNDED * fps), 0.99)
        step = 1 / rate if rate > 0 else 0.04
        number, slot, before, offset, moves = 0, -1, -step, 0.0, False
        while video.grab():
            time = video.get(cv2.CAP_PROP_POS_MSEC) / 1000 + offset
            moves |= number > 0 and time > before
            if before - 1.5 * step < time <= before and moves:  # two frames of one time, or out of order
                time = before + step / 2
            elif time <= before:  # a file without times, or one whose clock starts again
                offset += before + step - time
                time = before + step
            before = time
            this = int(time * fps + slack)
            if this > slot:
                slot = this
                if number > after:
                    yield Frame(number, time, _rgb(video, path))
            number += 1
    finally:
        video.release()
    if number == 0:
        raise ImageError(f"{path}: the video has no frame that can be read")
    if path.suffix.lower() == ".avi" and number < count - 1:
        raise ImageError(f"{path}: the video ends early: {number:,} of {count:,} frames could be read")


def write_video(path: Path, pictures: Iterable[UInt8[np.ndarray, "h w 3"]], fps: float) -> None:
    """An MP4 file of pictures in RGB, all at the size of the first, which appears when it is whole; none without any.

    Odd sides lose a pixel.

    Raises:
        ImageError: it cannot be written. What ``pictures`` raises is passed on, and no file is left.
    """
    partial = path.absolute().with_name(f"{path.stem}.partial{path.suffix}")
    _check_name(path)
    remaining = iter(pictures)
    first = next(remaining, None)
    if first is None:
        return
    size = (first.shape[1], first.shape[0])
    rate = min(max(fps, SLOWEST), FASTEST)
    video = cv2.VideoWriter(str(partial), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), rate, size)
    try:
        if not video.isOpened():
            raise ImageError(f"{path}: the video cannot be written")
        written = 0
        for picture in chain([first], remaining):
            fitting = picture if picture.shape[1::-1] == size else cv2.resize(picture, size)
            video.write(cv2.cvtColor(fitting, cv2.COLOR_RGB2BGR))
            written += 1
        video.release()  # tells of no error, be the disk full
        made = cv2.VideoCapture(str(partial), cv2.CAP_FFMPEG)
        there = int(made.get(cv2.CAP_PROP_FRAME_COUNT)) if made.isOpened() else 0
        made.release()
        if there != written:
            raise ImageError(f"{path}: the video cannot be written: {there} of {written} frames are there")
        partial.replace(path)
    finally:
        video.release()
        partial.unlink(missing_ok=True)


def _open(path: Path) -> cv2.VideoCapture:
    check_file(path, str(path))
    _check_name(path)
    name = str(path.absolute())  # a name that begins with a slash is no address and no protocol of FFmpeg's
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    video = cv2.VideoCapture(name, cv2.CAP_FFMPEG)
    cv2.utils.logging.setLogLevel(level)
    if not video.isOpened():
        raise ImageError(f"{path}: not a readable video")
    width, height = (int(video.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    if width * height > MOST_PIXELS:
        video.release()
        raise ImageError(f"{path}: too many pixels ({width} x {height})")
    return video


def _check_name(path: Path) -> None:
    """OpenCV crashes on names that are no text."""
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError:
        raise ImageError(f"{path}: a video whose name is not UTF-8 cannot be opened; rename it") from None


def _rgb(video: cv2.VideoCapture, path: Path) -> UInt8[np.ndarray, "h w 3"]:
    try:
        fine, image = video.retrieve()
        if fine and image is not None:
            return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    except cv2.error as error:
        raise ImageError(f"{path}: a frame cannot be decoded ({' '.join(str(error).split())})") from error
    raise ImageError(f"{path}: a frame cannot be decoded")
