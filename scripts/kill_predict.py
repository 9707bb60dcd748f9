"""Recognise a folder of many photos: how long, with how much memory, and whether it goes on after any stop.

    python scripts/kill_predict.py --photos 10000 --kills 20

The photos are JPEG files of 640 x 480 pixels with one face, the portrait of the package; so many are drawn as VARIANTS
says, and the others are hard links to them. One run goes through, on a terminal, of which it tells what the progress
bar said half way, and the peak memory up to a tenth, half and all of the photos (``anonymous`` is what the program
holds; the rest of ``resident`` are pages of files, which the kernel may drop). Another is stopped at random moments by
SIGKILL and Ctrl-C in turn, every fourth time while it starts, and called again. In the end predictions.jsonl must hold
each photo exactly once, in order, with the answers of the first run; and what was written before a stop must have
stayed but for the last photo. Exit status 1 otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from ranfer.demo import PORTRAIT
from ranfer.images import decode_image
from ranfer.outputs import LINES
from ranfer.prediction_lines import read_pictures, read_predictions

VARIANTS = 200
SLACK = 1e-5  # by which a probability may differ where photos were batched otherwise
POLL = 0.01  # seconds


class Passed(NamedTuple):
    """How a run stood when so many photos were done."""

    photos: int
    seconds: float
    resident: float  # peak until then, in MiB
    anonymous: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_photos(folder / "photos", options.photos)
        marks, shown = run_through(folder, options.photos)
        for mark in marks:
            memory = f"peak {mark.resident:.0f} MiB resident, {mark.anonymous:.0f} MiB anonymous"
            print(f"{mark.photos:6} photos: {mark.seconds:7.1f} s, {memory}")
        print(f"half way the terminal says: {shown}")
        wrong = [] if re.search(r"\d+/\d+ \d+:\d\d:\d\d", shown) else ["progress and time left were not shown"]
        wrong += run_stopped(folder, options.kills, options.seed, startup=marks[0].seconds)
    if wrong:
        sys.exit("\n".join(wrong))
    print(f"{options.kills} stops: each photo is there once, in order, with the same answers; what was done stayed")


def write_photos(folder: Path, count: int) -> None:
    folder.mkdir()
    generator = np.random.default_rng(0)
    portrait = decode_image(PORTRAIT, PORTRAIT.name)
    for number in range(count):
        path = folder / f"{number:06d}.jpg"
        if number >= VARIANTS:
            path.hardlink_to(folder / f"{number % VARIANTS:06d}.jpg")
            continue
        coarse = generator.integers(60, 200, size=(6, 8, 3), dtype=np.uint8)
        photo = cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC)
        side = int(generator.integers(160, 440))
        left, top = (int(generator.integers(room - side)) for room in (640, 480))
        head = portrait[:, ::-1] if number % 2 else portrait
        photo[top : top + side, left : left + side] = cv2.resize(head, (side, side), interpolation=cv2.INTER_AREA)
        Image.fromarray(photo).save(path, quality=90)


def start(folder: Path, out: str, stderr: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "ranfer", "predict", "photos", "--out", out]
    return subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr)


def run_through(folder: Path, photos: int) -> tuple[list[Passed], str]:
    """A run that nobody stops: its state after the first photos, a tenth, half and all; and its bar at half."""
    terminal, theirs = pty.openpty()
    os.set_blocking(terminal, False)
    started = time.perf_counter()
    process = start(folder, "whole", stderr=theirs)
    os.close(theirs)
    lines, waiting, marks = Lines(folder / "whole" / LINES), [1, photos // 10, photos // 2, photos], list[Passed]()
    peak, said, half = {"VmHWM": 0.0, "RssAnon": 0.0}, b"", 0
    ended = False
    while not ended:
        time.sleep(POLL)
        ended = process.poll() is not None
        with suppress(OSError):  # it ended
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
            for name, kilobytes in re.findall(r"(VmHWM|RssAnon):\s+(\d+)", status):
                peak[name] = max(peak[name], int(kilobytes) / 1024)
        with suppress(OSError):  # it said nothing new
            said += os.read(terminal, 1 << 16)
        done = lines.photos()
        while waiting and done >= waiting[0]:
            marks.append(Passed(waiting.pop(0), time.perf_counter() - started, *peak.values()))
        half = half or (len(said) if done >= photos // 2 else 0)
    os.close(terminal)
    if process.returncode or waiting:
        sys.exit(f"status {process.returncode} after {lines.photos()} photos: {said.decode()[-2000:]}")
    bars = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said[:half].decode(errors="ignore")).replace("\n", "\r").split("\r")
    return marks, next((" ".join(bar.split()) for bar in reversed(bars) if "/" in bar), "nothing")


class Lines:
    """A growing predictions.jsonl, of which each look reads what is new."""

    def __init__(self, path: Path) -> None:
        self.path, self.read, self.sources = path, 0, set[str]()

    def photos(self) -> int:
        """How many photos it holds in whole lines."""
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self.read)
                whole, newline, _ = file.read().rpartition(b"\n")
            self.read += len(whole + newline)
            self.sources |= {json.loads(line)["source"] for line in whole.splitlines()}
        return len(self.sources)


def run_stopped(folder: Path, kills: int, seed: int, startup: float) -> list[str]:
    """Stop a run at random moments and call it again, to the end; what is wrong with it then.

    ``startup`` is how many seconds pass until the first answers.
    """
    generator = np.random.default_rng(seed)
    path, whole = folder / "stopped" / LINES, folder / "whole" / LINES
    end = whole.stat().st_size
    moments = np.sort(generator.uniform(0, 0.99 * end, kills))  # in bytes, a clock that stands still with the run
    wrong, kept, seconds = list[str](), list[bytes](), 0.0
    for number, moment in enumerate(track(moments, "stopping", console=Console(stderr=True), transient=True)):
        how = signal.SIGINT if number % 2 else signal.SIGKILL
        started, begun = time.perf_counter(), size(path)
        process = start(folder, "stopped", stderr=subprocess.PIPE)
        if number % 4 == 3:
            time.sleep(generator.uniform(0, startup))
        while number % 4 < 3 and process.poll() is None and size(path) < max(moment, begun + 1):
            time.sleep(POLL)
        time.sleep(generator.uniform(0, POLL))
        at_work = begun < size(path) < 0.99 * end
        process.send_signal(how)
        _, said = process.communicate()
        seconds += time.perf_counter() - started
        # While it starts or ends, Python or a library may take Ctrl-C for itself.
        if how == signal.SIGINT and at_work and (process.returncode != 130 or said.count(b"\n") != 1):
            wrong.append(f"stop {number + 1}: Ctrl-C gave status {process.returncode}: {said.decode()[-500:]}")
        kept.append(before_the_last(path))
    started = time.perf_counter()
    process = start(folder, "stopped", stderr=subprocess.PIPE)
    _, said = process.communicate()
    seconds += time.perf_counter() - started
    print(f"stopped {kills} times, it took {seconds:.1f} s in all")
    if process.returncode:
        return [*wrong, f"called again, it ended with status {process.returncode}: {said.decode()}"]
    content = path.read_bytes()
    wrong += [f"stop {i}: what was done was done again" for i, one in enumerate(kept, 1) if not content.startswith(one)]
    photos = [str(Path("photos", one.name)) for one in sorted((folder / "photos").iterdir())]
    for name, lines in (("whole", whole), ("stopped", path)):
        if [group[0]["source"] for group in read_pictures(lines)] != photos:
            wrong.append(f"{name}: {LINES} does not hold each photo once, in order")
    if not wrong:
        pairs = zip(read_predictions(whole), read_predictions(path), strict=True)
        wrong += [f"{one['source']}: other answers" for one, other in pairs if not alike(one, other)]
    return wrong


def alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two lines say the same of a face."""
    exact, near = ("source", "box", "landmarks", "expression"), abs(one["probability"] - other["probability"])
    return all(one[key] == other[key] for key in exact) and near < SLACK


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def before_the_last(path: Path) -> bytes:
    """The lines of whole photos; the last may have had more faces than were written."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()
    last = json.loads(lines[-1])["source"] if lines else None
    return b"".join(line for line in lines if json.loads(line)["source"] != last)


if __name__ == "__main__":
    main()
