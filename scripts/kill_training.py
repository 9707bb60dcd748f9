"""Kill a training run with SIGKILL at random moments, resume it each time, and compare it with an uninterrupted one.

    python scripts/kill_training.py --kills 20 --out killed/

Both runs train one tiny model on drawn faces, on the CPU. Moments are uniform over a life of the run: start-up, then as
many epochs as let the kills spread over the whole run. Every fourth one waits from there until a file is being written.
What must hold at the end: the best and the last checkpoint are equal bit for bit in every tensor, and metrics.jsonl in
every line but for the seconds; what must hold at every kill: no finished epoch is lost, and the run goes on from where
the files stand. Exit status 1 where anything differs.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from rich.console import Console
from rich.progress import track
from rich.table import Table
from safetensors import safe_open
from safetensors.numpy import load_file

from ranfer.data.drawn import write_ferplus
from ranfer.train import BEST, LAST, METRICS

# The last stage makes the checkpoints large for so small a network: writing them takes a good part of an epoch, so that
# kills fall into it.
SETTINGS: dict[str, Any] = {
    "model": {"size": 24, "cut": "stem", "region_size": 12, "backbone": {"arguments": {"widths": [8, 8, 8, 256]}}},
    "loss": {"margin": 0.02},
    "optimizer": {"name": "adamw", "lr": 0.002},
    "augment": {"mixup": 0.2},
    "ema": 0.9,  # it learns, so that the best checkpoint is written again and again
    "batch": 16,
}
POLL = 0.002  # seconds


class Life(NamedTuple):
    """A life of the run that was killed."""

    seconds: float
    moment: str
    resumed: int  # the epoch after which it went on; 0 also where it died before it said so
    told: int  # the last epoch that it reported as finished
    before: int  # the last epoch on disk just before the kill
    after: int  # ... and after it


class Run:
    """A training run in a folder: it is started, and looked at from outside."""

    def __init__(self, config: Path, folder: Path) -> None:
        self.folder, self.config, self.lives = folder, config, 0
        self.folder.mkdir()

    def start(self) -> subprocess.Popen[bytes]:
        """A new process that begins the run or resumes it."""
        self.lives += 1
        self.started = time.time()
        # Bit for bit is a promise for the CPU. A tiny model gains nothing from threads.
        environment = {"OMP_NUM_THREADS": "1", **os.environ, "CUDA_VISIBLE_DEVICES": ""}
        command = [sys.executable, "-m", "ranfer", "train", str(self.config), "--out", str(self.folder), "--resume"]
        with self.log.open("wb") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)

    @property
    def log(self) -> Path:
        """What the latest life said."""
        return self.folder / f"life-{self.lives}.log"

    def reported(self, pattern: str) -> int:
        """The last number that the latest life reported with this pattern; 0 where it said nothing."""
        found = re.findall(pattern, self.log.read_text(), re.MULTILINE)
        return int(found[-1]) if found else 0

    def epoch(self, name: str = LAST) -> int:
        """The epoch of a checkpoint on disk; 0 where there is none yet."""
        path = self.folder / name
        if not path.exists():
            return 0
        with safe_open(path, framework="numpy") as file:
            return int(file.metadata()["epoch"])

    def trains(self) -> bool:
        """Whether the latest life is through its start-up, at whose end it writes the metrics of earlier lives anew."""
        return self._is_of_this_life(self.folder / METRICS)

    def writes(self) -> str:
        """The files that are being written, or were when the latest life died."""
        partial = [path.stem for path in self.folder.glob("*.partial") if self._is_of_this_life(path)]
        return ", ".join(sorted(partial))

    def moment(self) -> str:
        """What the run was doing when it died, from what it left."""
        if partial := self.writes():
            return f"writing {partial}"
        if not self.trains():
            return "start-up"
        if self.epoch(BEST) > self.epoch():
            return f"between {BEST} and {LAST}"
        return f"epoch {self.epoch() + 1}"

    def _is_of_this_life(self, path: Path) -> bool:
        try:
            return path.stat().st_mtime >= self.started
        except FileNotFoundError:  # not yet, or renamed just now
            return False

    def must_end_well(self, process: subprocess.Popen[bytes]) -> None:
        """Stop everything with the run's own words where it failed by itself."""
        if process.wait() != 0:
            sys.exit(f"{self.log}: the run failed with status {process.returncode}:\n{self.log.read_text()[-2000:]}")


def live_and_die(run: Run, startup: float, epoch: float, moment: float, while_writing: bool) -> Life:
    """A life that is killed ``moment`` seconds after its start, on a clock of which start-up and epochs take so long.

    The clock follows the run: whole epochs are waited for, and no more than one is let go by beyond them, so that a
    machine that slows down or speeds up changes neither where the kills fall nor how far the run comes.
    """
    process = run.start()
    started, first = time.perf_counter(), run.epoch()
    epochs, wait = divmod(moment - startup, epoch) if moment > startup else (0, moment)
    while moment > startup and process.poll() is None and not (run.trains() and run.epoch() >= first + epochs):
        time.sleep(POLL)
    end = time.perf_counter() + wait
    while time.perf_counter() < end and process.poll() is None and run.epoch() <= first + epochs:
        time.sleep(POLL)
    while while_writing and process.poll() is None and not run.writes():
        time.sleep(POLL)
    before = run.epoch()
    if process.poll() is not None:
        run.must_end_well(process)
        sys.exit(f"{run.folder}: the run ended before kill {run.lives}; give it more --epochs")
    process.send_signal(signal.SIGKILL)
    process.wait()
    return Life(
        seconds=time.perf_counter() - started,
        moment=run.moment(),
        resumed=run.reported(r"^resuming after epoch (\d+)"),
        told=run.reported(r"^epoch +(\d+) +loss"),
        before=before,
        after=run.epoch(),
    )


def uninterrupted(run: Run, epochs: int) -> tuple[float, float]:
    """Seconds that the start-up takes, and an epoch with its validation and its checkpoints."""
    started = time.perf_counter()
    process = run.start()
    while process.poll() is None and not run.trains():
        time.sleep(POLL)
    startup = time.perf_counter() - started
    run.must_end_well(process)
    return startup, (time.perf_counter() - started - startup) / epochs


def wrong_in_lives(lives: list[Life], last_resumed: int) -> list[str]:
    """What was lost at a kill beyond the running epoch."""
    wrong = []
    resumed_next = [life.resumed for life in lives[1:]] + [last_resumed]
    trained = [life.moment != "start-up" for life in lives[1:]] + [True]
    for number, (life, resumed, says) in enumerate(zip(lives, resumed_next, trained, strict=True), start=1):
        if life.after < max(life.before, life.told):
            finished = max(life.before, life.told)
            wrong.append(f"kill {number}: epoch {finished} was finished, and the files are of {life.after}")
        if says and resumed != life.after:  # a life that died in its start-up said nothing yet
            wrong.append(f"kill {number}: the files were of epoch {life.after}, and the run resumed after {resumed}")
    return wrong


def wrong_at_the_end(whole: Path, killed: Path, epochs: int) -> list[str]:
    """What differs between the files of the two runs."""
    wrong = []
    for name in (BEST, LAST):
        one, other = load_file(whole / name), load_file(killed / name)
        wrong += [f"{name}: {key} is in one run alone" for key in sorted(one.keys() ^ other.keys())]
        for key in sorted(one.keys() & other.keys()):
            bits = [(array.dtype, array.shape, array.tobytes()) for array in (one[key], other[key])]
            if bits[0] != bits[1]:
                wrong.append(f"{name}: {key} differs")
    lines = [[json.loads(line) for line in (run / METRICS).read_text().splitlines()] for run in (whole, killed)]
    if [line["epoch"] for line in lines[1]] != list(range(1, epochs + 1)):
        wrong.append(f"{METRICS}: epochs {[line['epoch'] for line in lines[1]]}, expected 1 to {epochs}")
    timeless = [[{**line, "seconds": None} for line in run] for run in lines]
    if timeless[0] != timeless[1]:
        wrong.append(f"{METRICS}: figures differ")
    return wrong


def show(lives: list[Life], last_resumed: int, console: Console) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("kill", "after s"):
        table.add_column(heading, justify="right")
    table.add_column("moment", no_wrap=True)
    for heading in ("resumed after", "reported", "before", "after"):
        table.add_column(heading, justify="right")
    for number, life in enumerate(lives, start=1):
        began = "-" if life.moment == "start-up" else str(life.resumed)
        figures = "-" if life.told == 0 else str(life.told), str(life.before), str(life.after)
        table.add_row(str(number), f"{life.seconds:.2f}", life.moment, began, *figures)
    table.add_row("", "", "to the end", str(last_resumed))
    console.print(table)
    console.print(
        "in epochs: what a life resumed after and reported as finished, what was on disk before and after the kill"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="a new folder that keeps the runs; else they are removed"
    )
    options = parser.parse_args()
    if options.out is not None and options.out.exists():
        parser.error(f"--out: {options.out} is there already")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.out or Path(temporary) / "runs"
        folder.mkdir(parents=True)
        wrong = compare(folder, options.kills, options.epochs, options.seed, Console(highlight=False, soft_wrap=True))
    if wrong:
        sys.exit("\n".join(wrong))


def compare(folder: Path, kills: int, epochs: int, seed: int, console: Console) -> list[str]:
    """Both runs, and what is wrong with the killed one."""
    data = write_ferplus(folder / "drawn", {"train": 128, "valid": 64}).data.resolve()
    config = folder / "config.yaml"
    settings = {**SETTINGS, "data": {"source": f"ferplus:{data}"}, "epochs": epochs}
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")

    whole, killed = Run(config, folder / "whole"), Run(config, folder / "killed")
    startup, epoch = uninterrupted(whole, epochs)
    console.print(f"uninterrupted: {startup:.1f} s to start, then {epochs} epochs of {epoch:.2f} s")
    generator = np.random.default_rng(seed)
    lives: list[Life] = []
    for left in track(range(kills, 0, -1), "killing", console=Console(stderr=True), transient=True):
        # Kills in the start-up bring the run no further, so that the later lives get what is left. Two epochs stay.
        remaining = epochs - killed.epoch()
        span = max(0.0, min(2 * remaining / (left + 1), remaining - 2))
        moment = generator.uniform(0, startup + span * epoch)
        lives.append(live_and_die(killed, startup, epoch, moment, while_writing=left % 4 == 0))
    killed.must_end_well(killed.start())
    last_resumed = killed.reported(r"^resuming after epoch (\d+)")
    show(lives, last_resumed, console)
    wrong = wrong_in_lives(lives, last_resumed) + wrong_at_the_end(whole.folder, killed.folder, epochs)
    if not wrong:
        console.print(f"{kills} kills: checkpoints equal bit for bit, metrics complete, no finished epoch lost")
    return wrong


if __name__ == "__main__":
    main()
