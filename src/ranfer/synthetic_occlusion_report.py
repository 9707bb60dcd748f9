"""Results of a test with covered faces, as JSON, words and a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from ranfer import intervals, plots
from ranfer.formatting import as_json, markdown_table, p_value, percent, points
from ranfer.intervals import Estimate
from ranfer.occluders import Kind
from ranfer.synthetic_occlusion import NEAR, OcclusionResult

PLOT = "occlusion.png"
FEWEST = 30  # faces from which on one model is called better: intervals of fewer may have no width


class Cell(NamedTuple):
    """The faces under one kind of thing at one share, by one or two models."""

    share: float  # that was asked for
    covered: float  # that was reached, the mean over faces
    reached: bool
    accuracy: tuple[Estimate, ...]
    difference: Estimate | None  # the first model's accuracy minus the other's
    only_right: tuple[int, int] | None  # faces that one model alone gets right; None for means over kinds
    p_value: float | None  # exact McNemar; None for means over kinds, whose answers are several a face


def cells(found: OcclusionResult) -> dict[Kind, list[Cell]]:
    """For each kind, the faces without it and then at each share; differences are those of paired proportions."""
    return {
        kind: [
            _cell(found.plain == found.truth, 0.0, 0.0, True),
            *(
                _cell(
                    found.predicted[:, row, column] == found.truth,
                    share,
                    float(found.covered[row, column].mean()),
                    bool(found.reached[row, column]),
                )
                for column, share in enumerate(found.shares)
            ),
        ]
        for row, kind in enumerate(found.kinds)
    }


def _cell(right: Bool[np.ndarray, "m n"], share: float, covered: float, reached: bool) -> Cell:
    n = right.shape[1]
    accuracy = tuple(intervals.share(int(one.sum()), n) for one in right)
    if len(right) == 1:
        return Cell(share, covered, reached, accuracy, None, None, None)
    first, other = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    difference = Estimate((first - other) / n, intervals.paired_difference(first, other, n))
    return Cell(share, covered, reached, accuracy, difference, (first, other), intervals.mcnemar(first, other))


def means(found: OcclusionResult) -> list[Cell]:
    """Means over the kinds that reach every share, with bootstrap intervals over faces; empty where there is none."""
    if not found.graded:
        return []
    right = np.concatenate([(found.plain == found.truth)[:, None].astype(float), found.mean_right], axis=1)
    kinds = [found.kinds.index(kind) for kind in found.graded]
    covered = [0.0, *found.covered[kinds].mean(axis=(0, 2)).tolist()]
    return [
        Cell(
            share,
            covered[column],
            True,
            tuple(map(intervals.mean, right[:, column])),
            intervals.mean(right[0, column] - right[1, column]) if len(right) > 1 else None,
            None,
            None,
        )
        for column, share in enumerate((0.0, *found.shares))
    ]


def to_json(found: OcclusionResult) -> dict[str, Any]:
    """For ``report.json``: by kind and by share (as ``0.3``), and the mean over the kinds that reach every share."""
    return {
        "n": len(found.ids),
        "chosen": "the faces of the split whose ids have the least SHA-256",
        "landmarks": found.placed,
        "kinds": {kind.value: _json(row, len(found.ids)) for kind, row in cells(found).items()},
        "mean": {"kinds": [kind.value for kind in found.graded], **_json(means(found), len(found.ids))},
    }


def _json(row: Sequence[Cell], n: int) -> dict[str, Any]:
    return {f"{cell.share:g}": _values(cell, n) for cell in row}


def _values(cell: Cell, n: int) -> dict[str, Any]:
    values = {"n": n, "covered": cell.covered, "reached": cell.reached, **as_json("accuracy", cell.accuracy[0])}
    if cell.difference is not None:
        values |= as_json("other_accuracy", cell.accuracy[1]) | as_json("accuracy_difference", cell.difference)
    if cell.only_right is not None:
        values |= {"only_first_right": cell.only_right[0], "only_other_right": cell.only_right[1]}
        values |= {"mcnemar_p": cell.p_value}
    return values


def section(found: OcclusionResult, names: Sequence[str], faces: int) -> str:
    """The part of a report; ``names`` are the models', ``faces`` are in the split."""
    n, by_kind, mean = len(found.ids), cells(found), means(found)
    shares = [f"{100 * share:.0f} %" for share in (0.0, *found.shares)]
    parts = [
        "## Synthetic occlusion",
        f"Over {n:,} of the {faces:,} faces, those whose ids have the least SHA-256, an object is drawn and enlarged "
        "until it covers a share of the face's oval. What is drawn follows from the face's id and the kind alone, so "
        f"that every model sees the same faces. Landmarks that place it: {found.placed}.",
    ]
    if mean:
        rows = [
            (
                name,
                *(percent(number, 1) for number in cell.accuracy),
                *([points(cell.difference)] if cell.difference else []),
            )
            for name, cell in zip(shares, mean, strict=True)
        ]
        header = ["covered", *(f"{name}, %" for name in names), *(["difference, points"] if len(names) > 1 else [])]
        parts += [
            f"Mean accuracy over the kinds that reach every share ({_listed(found.graded)}), with bootstrap intervals "
            "over faces:",
            markdown_table(header, rows),
        ]
        if len(names) > 1:
            parts.append(_verdict(mean, len(found.ids)))
    parts += [
        f"Accuracy of {names[0]} by kind, %, n = {n:,} each. Where a kind cannot cover as much, the share "
        f"actually covered is given in brackets (the mean over faces, where it is off by more than {100 * NEAR:.0f} "
        "points):",
        markdown_table(["", *shares], [(kind, *map(_accuracy, row)) for kind, row in by_kind.items()]),
    ]
    if len(names) > 1:
        parts += [
            f"Difference to {names[1]}, points, and p of the exact McNemar test:",
            markdown_table(["", *shares], [(kind, *map(_difference, row)) for kind, row in by_kind.items()]),
        ]
    return "\n\n".join([*parts, f"![accuracy against the covered share]({PLOT})"])


def _listed(kinds: Sequence[Kind]) -> str:
    return ", ".join(kind.value for kind in kinds)


def _accuracy(cell: Cell) -> str:
    value = f"{100 * cell.accuracy[0].value:.1f}"
    return value if cell.reached else f"{value} [{100 * cell.covered:.0f} %]"


def _difference(cell: Cell) -> str:
    assert cell.difference is not None and cell.p_value is not None
    return f"{100 * cell.difference.value:+.1f} (p {p_value(cell.p_value)})"


def _verdict(mean: Sequence[Cell], n: int) -> str:
    """At which shares the difference's interval includes zero, in words; of n faces."""
    if n < FEWEST:
        return f"{n} faces are too few for their intervals to say which model is better."
    shares: dict[str, list[str]] = {"better": [], "worse": [], "neither": []}
    for cell in mean:
        assert cell.difference is not None
        low, high = cell.difference.interval
        shares["better" if low > 0 else "worse" if high < 0 else "neither"].append(f"{100 * cell.share:.0f} %")
    words = {
        "better": "The first model is better at",
        "worse": "The first model is worse at",
        "neither": "The interval includes zero, so that no difference is shown, at",
    }
    return " ".join(f"{words[how]} {', '.join(at)}." for how, at in shares.items() if at)


def plot(found: OcclusionResult, names: Sequence[str], path: Path) -> None:
    """Accuracy against the share that is really covered, a panel for the mean and for each kind, with intervals."""
    mean = means(found)
    panels = ([("mean over kinds", mean)] if mean else []) + [(kind.value, row) for kind, row in cells(found).items()]
    columns = min(4, len(panels))
    rows = math.ceil(len(panels) / columns)
    with plots.picture(
        path, rows, columns, (2.9 * columns, 2.4 * rows + 0.5), sharex=True, sharey=True, squeeze=False
    ) as grid:
        for axes, (title, row) in zip(grid.flat, panels, strict=False):
            for series, (name, colour, marker) in enumerate(zip(names, (plots.BLUE, plots.ORANGE), "os", strict=False)):
                values = 100 * np.array(
                    [[cell.covered, cell.accuracy[series].value, *cell.accuracy[series].interval] for cell in row]
                )
                values[:, 0] += (series - (len(names) - 1) / 2) * 1.2  # side by side, so that no interval hides another
                axes.vlines(values[:, 0], values[:, 2], values[:, 3], color=colour, linewidth=1.2)
                axes.plot(*values[:, :2].T, f"{marker}-", color=colour, markersize=4, linewidth=1.4, label=name)
            axes.set(title=title, ylim=(0, 100))
            axes.tick_params(labelbottom=True)
            axes.grid()
        for axes in grid.flat[len(panels) :]:
            axes.set_axis_off()
        for axes in grid[:, 0]:
            axes.set(ylabel="accuracy, %")
        figure = grid[0, 0].figure
        figure.supxlabel(f"occluded share of the face, %; n = {len(found.ids):,}, 95 % intervals", size=10)
        if len(names) > 1:
            figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
