"""What is shown while something goes on: bars with the time left, and the running means of an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich import progress
from rich.console import Console

from ranfer.vocab import Progress


def progress_bars(console: Console) -> progress.Progress:
    """Bars that vanish when they are done; none where the console is no terminal."""
    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
    )
    return progress.Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


@contextmanager
def showing(console: Console) -> Iterator[Callable[[str], Progress]]:
    """Bars while a block runs: the name of a bar gives the :data:`ranfer.vocab.Progress` that moves it."""
    with progress_bars(console) as bars:

        def bar(what: str) -> Progress:
            task = bars.add_task(what, total=None)
            return lambda done, total: bars.update(task, completed=done, total=total)

        yield bar


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
