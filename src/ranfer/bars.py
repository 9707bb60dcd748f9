"""What a training run shows while it goes on: bars, and the running means of an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def progress_bars(console: Console) -> Progress:
    """Bars with the time left, which vanish when they are done."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


@contextmanager
def counting(console: Console, what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar while something is done to each face; to be called with how many are done."""
    with progress_bars(console) as bars:
        bar = bars.add_task(what, total=total)
        yield lambda done: bars.update(bar, completed=done)


class Totals:
    """Running means of an epoch."""

    def __init__(self) -> None:
        self.faces = self.right = 0
        self.loss = self.last = 0.0

    def add(self, loss: float, right: int, faces: int) -> None:
        """One batch: its mean loss, how many were right, of how many."""
        self.last = loss
        self.loss += loss * faces
        self.right += right
        self.faces += faces

    def figures(self) -> dict[str, float]:
        """Mean loss and share of faces that were right."""
        return {"loss": self.loss / self.faces, "accuracy": self.right / self.faces}

    def __str__(self) -> str:
        """As the progress line shows it."""
        return "loss {loss:.4f}  accuracy {accuracy:.4f}".format(**self.figures())
