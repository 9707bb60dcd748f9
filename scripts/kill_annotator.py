"""Kill the annotator with SIGKILL in the middle of fast work, again and again, and look for what it had acknowledged.

    python scripts/kill_annotator.py --kills 50

Two annotators answer as fast as the server lets them, over HTTP, from two threads, changing and undoing some answers.
Each life of the server ends at a random moment, 0 to 0.5 s after its first answer. After each, the database
is opened and compared: every acknowledged answer must stand, with its values, or be replaced or undone by a later one
that was sent. Exit status 1 where anything is lost.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from rich.console import Console

from ranfer.annotate.store import Store
from ranfer.data.drawing import draw_face
from ranfer.vocab import Expression

PEOPLE = ("anna", "ben")
KINDS = ("none", "upper", "lower", "side", "eyewear")


class Outcome(NamedTuple):
    """What was acknowledged over all lives of the server, and how much of that is not in the database."""

    kills: int
    acknowledged: int
    lost: int


class Server:
    """An annotator in a process of its own."""

    def __init__(self, data: str, database: Path, port: int = 0) -> None:
        words = ["annotate", "serve", "--data", data, "--split", "all", "--attributes", "occlusion"]
        people = [word for name in PEOPLE for word in ("--annotator", name)]
        command = [sys.executable, "-m", "ranfer", *words, *people, "--database", str(database), "--port", str(port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.links: dict[str, str] = {}
        for line in self.process.stdout:
            name, _, link = line.strip().partition(": ")
            if link.startswith("http"):
                self.links[name] = link
            if len(self.links) == len(PEOPLE):
                return
        raise RuntimeError("the server did not start")

    def kill(self) -> None:
        """End it as a loss of power would, as far as a process is concerned."""
        self.process.kill()
        self.process.wait()


def ask(link: str, path: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
    """What the server says."""
    address, _, token = link.partition("#token=")
    content = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(address.rstrip("/") + path, content, headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as response:
        is_json = response.headers.get_content_type() == "application/json"
        return json.load(response) if is_json else response.read()


class Worker(threading.Thread):
    """An annotator who never pauses, until the server is gone; knows what must stand for each face."""

    def __init__(self, name: str, seed: int, first: threading.Event) -> None:
        super().__init__()
        self.who, self.first = name, first
        self.generator = np.random.default_rng(seed)
        self.stands: dict[str, dict[str, Any] | None] = {}  # by face, as acknowledged
        self.pending: dict[str, list[dict[str, Any] | None]] = {}  # sent without a reply: either may stand
        self.acknowledged = 0
        self.link = ""

    def run(self) -> None:
        """Answer faces; every tenth answer is changed at once, and every tenth undone."""
        try:
            while True:
                for face in ask(self.link, "/api/faces?n=20")["faces"]:
                    known = None if face["answer"] is None else face["answer"]["ticket"]
                    answer = self.answer(face["id"], known)
                    chance = self.generator.random()
                    if chance < 0.1:
                        self.answer(face["id"], answer["ticket"])
                    elif chance < 0.2:
                        self.pending[face["id"]] = [answer, None]
                        ask(self.link, f"/api/answers/{answer['ticket']}", method="DELETE")
                        self.acknowledge(face["id"], None)
        except (OSError, HTTPException, urllib.error.URLError):
            return  # killed

    def answer(self, face: str, replaces: str | None) -> dict[str, Any]:
        """Send one answer, and remember it once it is acknowledged."""
        said = {"occlusion": [KINDS[self.generator.integers(len(KINDS))]]}
        answer = {"ticket": self.generator.bytes(16).hex(), "face": face, "status": "answered", "said": said}
        self.pending[face] = [self.stands.get(face), answer]
        ask(self.link, "/api/answers", answer | {"replaces": replaces}, "POST")
        self.acknowledge(face, answer)
        self.first.set()
        return answer

    def acknowledge(self, face: str, answer: dict[str, Any] | None) -> None:
        """What stands from now on."""
        self.stands[face] = answer
        del self.pending[face]
        self.acknowledged += 1


def kill_often(folder: Path, kills: int, seed: int, faces: int) -> Outcome:
    """Kill the server so often while two people work on ``faces`` faces; what was lost is counted."""
    generator = np.random.default_rng(seed)
    (folder / "kill").mkdir()
    Image.fromarray(draw_face(Expression.NEUTRAL, generator)).save(folder / "kill" / "face.png")
    lines = "".join(f"face.png,face{number:06d}\n" for number in range(faces))
    (folder / "kill" / "faces.csv").write_text("image,id\n" + lines)
    database = folder / "kill" / "answers.sqlite"
    workers = {name: Worker(name, seed + place, threading.Event()) for place, name in enumerate(PEOPLE)}
    lost = 0
    for life in range(kills):
        server = Server(f"folder:{folder / 'kill' / 'faces.csv'}", database)
        first = threading.Event()
        lives = []
        for name, before in workers.items():
            worker = Worker(name, seed + 1000 * (life + 1) + len(lives), first)
            worker.stands, worker.acknowledged, worker.link = before.stands, before.acknowledged, server.links[name]
            lives.append(worker)
            worker.start()
        first.wait(60)
        time.sleep(generator.uniform(0, 0.5))
        server.kill()
        for worker in lives:
            worker.join()
            lost += missing(worker, database)
            workers[worker.who] = worker
    return Outcome(kills, sum(worker.acknowledged for worker in workers.values()), lost)


def missing(worker: Worker, database: Path) -> int:
    """How many faces do not stand as acknowledged; what was sent at the last moment may stand or not."""
    store = Store(str(database), create=False)
    found = {answer.face: answer for answer in store.standing(worker.who)}
    store.close()
    lost = 0
    for face in worker.stands.keys() | worker.pending.keys():
        allowed = worker.pending.get(face, [worker.stands.get(face)])
        row = found.get(face)
        told = None if row is None else (row.ticket, dict(row.said))
        lost += told not in [None if answer is None else (answer["ticket"], answer["said"]) for answer in allowed]
        if face in worker.pending:  # from now on, what stands stands
            worker.stands[face] = next((a for a in allowed if a and row and a["ticket"] == row.ticket), None)
    return lost


def main() -> int:
    """Run it, and say what was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--faces", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = kill_often(Path(folder), given.kills, given.seed, given.faces)
    Console(highlight=False).print(
        f"{outcome.kills} kills, {outcome.acknowledged:,} acknowledged answers and undos, {outcome.lost} lost"
    )
    return int(outcome.lost > 0)


if __name__ == "__main__":
    sys.exit(main())
