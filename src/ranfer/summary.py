"""What a ``predictions.jsonl`` holds, in numbers: the table at the end of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ranfer.prediction_lines import read_predictions
from ranfer.video import is_video
from ranfer.vocab import Expression


@dataclass
class Tally:
    """The faces of one expression."""

    faces: int = 0
    probability: float = 0.0  # summed
    trusted: int = 0


@dataclass
class Summary:
    """What a ``predictions.jsonl`` holds, in numbers.

    without_face: pictures and frames.  failed: pictures and videos that could not be read, or not to their end.
    """

    pictures: int = 0
    videos: int = 0
    frames: int = 0  # of videos
    without_face: int = 0
    failed: int = 0
    expressions: dict[Expression, Tally] = field(default_factory=lambda: {name: Tally() for name in Expression})

    @property
    def total(self) -> Tally:
        """All faces together."""
        tallies = self.expressions.values()
        return Tally(
            sum(tally.faces for tally in tallies),
            sum(tally.probability for tally in tallies),
            sum(tally.trusted for tally in tallies),
        )


def summarise(lines: Path) -> Summary:
    """Count a ``predictions.jsonl``.

    Raises:
        DataError: a line is not of its form.
    """
    summary, last = Summary(), (None, None)
    for line in read_predictions(lines):
        this = line["source"], line.get("frame")
        if is_video(Path(line["source"])):
            summary.videos += this[0] != last[0]
            summary.frames += this != last and "error" not in line
        else:
            summary.pictures += this != last
        last = this
        if "error" in line:
            summary.failed += 1
        elif line["box"] is None:
            summary.without_face += 1
        else:
            tally = summary.expressions[Expression(line["expression"])]
            tally.faces += 1
            tally.probability += line["probability"]
            tally.trusted += line["trusted"]
    return summary


def print_summary(summary: Summary, folder: Path, console: Console) -> None:
    """The table at the end of a run."""
    table = Table(box=None, pad_edge=False)
    table.add_column("expression")
    for heading in ("faces", "mean probability", "trusted"):
        table.add_column(heading, justify="right")
    rows = {name.value: tally for name, tally in summary.expressions.items() if tally.faces}
    for name, tally in {**rows, "all": summary.total}.items():
        shares = (tally.probability / tally.faces, tally.trusted / tally.faces) if tally.faces else (None, None)
        table.add_row(name, f"{tally.faces:,}", *("-" if share is None else f"{share:.0%}" for share in shares))
    console.print(table)
    counts = [f"pictures: {summary.pictures:,}"] if summary.pictures or not summary.videos else []
    counts += [f"videos: {summary.videos:,} (frames: {summary.frames:,})"] if summary.videos else []
    counts += [f"without a face: {summary.without_face:,}", f"unreadable: {summary.failed:,}"]
    console.print(f"{', '.join(counts)}; in {escape(str(folder))}", soft_wrap=True)
