"""How long the annotator takes: to start, to answer the page, and from a key press to the next face on screen.

    python scripts/bench_annotate.py --faces 100000 --rounds 1000 --presses 200

The dataset is a table of so many ids of 200 drawn faces; half of them are answered by both annotators beforehand. Times
of start-up are those of the whole process, imports included. Then both annotators work at once, each as fast as replies
come: the next faces every sixth time, a picture and an answer every time. Key presses (5 a second) are timed in
Chromium, which needs ``npm install`` in tests/browser; ``--presses 0`` leaves them out.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from kill_annotator import PEOPLE, Server, ask
from PIL import Image
from rich.console import Console

from ranfer.data.drawing import draw_face
from ranfer.vocab import Expression

PICTURES = 200
ROOT = Path(__file__).parents[1]
out = Console(highlight=False)


def make_data(folder: Path, faces: int) -> Path:
    """A table of so many faces."""
    generator = np.random.default_rng(0)
    for number in range(PICTURES):
        Image.fromarray(draw_face(list(Expression)[number % 8], generator)).save(folder / f"{number}.png")
    table = folder / "faces.csv"
    table.write_text("image,id\n" + "".join(f"{number % PICTURES}.png,face{number:06d}\n" for number in range(faces)))
    return table


def answer_half(database: Path, faces: int) -> None:
    """The first half of the faces, answered by both annotators."""
    said = json.dumps({"occlusion": ["none"]})
    rows = [
        (
            f"{name}{number:020d}",
            name,
            f"face{number:06d}",
            0,
            "answered",
            said,
            "",
            1.0,
            "2026-01-01T00:00:00+00:00",
            1,
        )
        for number in range(faces // 2)
        for name in PEOPLE
    ]
    names = "ticket, annotator, face, final, status, said, note, seconds, at, stands"
    with sqlite3.connect(database) as connection:
        connection.executemany(f"INSERT INTO answer ({names}) VALUES ({', '.join('?' * 10)})", rows)
    connection.close()


def work(link: str, seed: int, rounds: int, times: dict[str, list[float]]) -> None:
    """One annotator's requests, timed by what is asked."""
    generator = np.random.default_rng(seed)

    def timed(what: str, *words: object) -> dict[str, list[dict[str, str]]]:
        start = time.perf_counter()
        said = ask(link, *words)  # type: ignore[arg-type]
        times.setdefault(what, []).append(time.perf_counter() - start)
        return said  # type: ignore[no-any-return]

    faces: list[dict[str, str]] = []
    for _ in range(rounds):
        if not faces:
            faces = timed("next faces", "/api/faces?n=6")["faces"]
        face = faces.pop(0)["id"]
        timed("picture", f"/api/image?face={face}")
        answer = {"ticket": generator.bytes(16).hex(), "face": face, "status": "answered"}
        timed("answer", "/api/answers", answer | {"said": {"occlusion": ["none"]}}, "POST")


def show(what: str, seconds: list[float]) -> None:
    """A row: median and 99th percentile, in milliseconds."""
    half, most = np.quantile(np.array(seconds) * 1000, [0.5, 0.99])
    out.print(f"{what:<28} n {len(seconds):>6,}   median {half:8.1f} ms   99th percentile {most:8.1f} ms")


def main() -> None:
    """Run it all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--presses", type=int, default=200)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data, database = f"folder:{make_data(folder, given.faces)}", folder / "answers.sqlite"
        Server(data, database).kill()  # makes the tables
        answer_half(database, given.faces)
        starts, pages = [], []
        for _ in range(5):
            begin = time.perf_counter()
            server = Server(data, database)
            starts.append(time.perf_counter() - begin)
            begin = time.perf_counter()
            ask(server.links[PEOPLE[0]], "/api/session")
            ask(server.links[PEOPLE[0]], "/api/faces?n=13")
            pages.append(time.perf_counter() - begin)
            server.kill()
        show("start-up", starts)
        show("first page after it", pages)
        server = Server(data, database)
        times: dict[str, list[float]] = {}
        workers = [
            threading.Thread(target=work, args=(server.links[name], place, given.rounds, times))
            for place, name in enumerate(PEOPLE)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        for what, seconds in times.items():
            show(what, seconds)
        if given.presses:
            command = ["node", "time_keys.mjs", server.links[PEOPLE[0]], str(given.presses)]
            said = subprocess.run(command, cwd=ROOT / "tests" / "browser", capture_output=True, text=True, check=True)
            show("key press to next face", [float(line) / 1000 for line in said.stdout.split()])
        server.kill()


if __name__ == "__main__":
    sys.exit(main())
