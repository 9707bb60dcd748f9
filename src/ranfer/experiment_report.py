"""A table of runs as JSON, words and pictures: means over seeds, and the differences between rows with intervals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ranfer import intervals, plots
from ranfer.files import write_text
from ranfer.formatting import as_json, markdown_table, number, p_value, points
from ranfer.intervals import Estimate
from ranfer.provenance import revision

PLOT, CURVES = "experiment.png", "occlusion.png"


@dataclass(frozen=True)
class Row:
    """A row of the table: which settings it changes, the seeds that are done, and what its training costs.

    epochs: of one run.  cost: multiply-adds of a training step for one face, forward and backward.
    total: multiply-adds of one run.  starts_from: the row whose weights it goes on from.
    """

    changes: tuple[str, ...]
    seeds: tuple[int, ...]
    epochs: int
    cost: int
    total: int
    starts_from: str | None = None


@dataclass(frozen=True)
class Group:
    """The n faces that rows are compared on: a split, a subset, or covered faces.

    right: by row, for each of its seeds and each face, the share of its answers that are right; 0 or 1 where there is
        one answer a face.
    single: whether that is so, and McNemar's test can be made.
    """

    right: Mapping[str, Float[np.ndarray, "s n"]]
    n: int
    single: bool = True


class Difference(NamedTuple):
    """A row minus a reference, over the seeds that both have; intervals by a bootstrap over faces and seeds.

    With one shared seed the interval is over faces alone.
    """

    accuracy: Estimate  # NaN without faces
    seeds: tuple[int, ...]
    p_values: dict[int, float]  # exact McNemar, by seed

    @property
    def verdict(self) -> str:
        """``better``, ``worse``, ``no difference is shown`` (the interval includes zero), or ``not measured`` (NaN)."""
        low, high = self.accuracy.interval
        if np.isnan(low):
            return "not measured"
        return "better" if low > 0 else "worse" if high < 0 else "no difference is shown"


@dataclass(frozen=True)
class Table:
    """All that a report is written from.

    references: rows that the others are compared with.  curves: by row, seed and covered share, accuracy.
    missing: runs that are not done.  facts: what else a reader must know, by name.
    """

    rows: Mapping[str, Row]
    references: tuple[str, ...]
    groups: Mapping[str, Group]
    shares: tuple[float, ...]
    curves: Mapping[str, Float[np.ndarray, "s k"]]
    missing: tuple[str, ...]
    facts: Mapping[str, Any]


def compare(table: Table, group: Group, row: str, reference: str) -> Difference | None:
    """A row against a reference on a group; None where they share no seed, or are the same row."""
    seeds = tuple(seed for seed in table.rows[row].seeds if seed in table.rows[reference].seeds)
    if row == reference or not seeds:
        return None
    first, other = (
        group.right[name][[table.rows[name].seeds.index(seed) for seed in seeds]] for name in (row, reference)
    )
    values = first - other
    p_values = {
        seed: intervals.mcnemar(int((one > 0).sum()), int((one < 0).sum()))
        for seed, one in zip(seeds, values, strict=True)
        if group.single
    }
    value = float(values.mean()) if group.n else float("nan")
    return Difference(Estimate(value, intervals.bootstrap_runs(values)), seeds, p_values)


def write_report(table: Table, out: Path, command: str) -> None:
    """``experiment.json``, ``experiment.md`` and plots in the folder ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    found = {
        (name, row, reference): compare(table, group, row, reference)
        for name, group in table.groups.items()
        for row in table.rows
        for reference in table.references
    }
    report = _to_json(table, found, command)
    plot_groups(table, out / PLOT)
    (out / CURVES).unlink(missing_ok=True)
    if table.curves:
        plot_curves(table, out / CURVES)
    write_text(out / "experiment.md", _to_markdown(table, found, report))
    write_text(out / "experiment.json", json.dumps(report, indent=2, allow_nan=False) + "\n")


_Found = Mapping[tuple[str, str, str], Difference | None]
_ONE_SEED = (
    "Where two rows share only one seed, the difference is marked so: its interval is over faces alone, and nothing "
    "is known of the spread over seeds."
)


def _to_json(table: Table, found: _Found, command: str) -> dict[str, Any]:
    def of_row(name: str, group: Group, row: str) -> dict[str, Any]:
        accuracies, deviation = _accuracies(group, row)
        return {
            "seeds": list(table.rows[row].seeds),
            "accuracies": [number(value) for value in accuracies],
            "accuracy": number(float(accuracies.mean())),
            "standard_deviation": number(deviation),
            "against": {
                reference: {
                    **as_json("accuracy_difference", difference.accuracy),
                    "verdict": difference.verdict,
                    "shared_seeds": list(difference.seeds),
                    "mcnemar_p": {str(seed): p for seed, p in difference.p_values.items()},
                }
                for reference in table.references
                if (difference := found[name, row, reference]) is not None
            },
        }

    return {
        "rows": {
            name: {
                "changes": list(row.changes),
                "starts_from": row.starts_from,
                "epochs": row.epochs,
                "multiply_adds_per_face_and_step": row.cost,
                "multiply_adds_per_run": row.total,
            }
            for name, row in table.rows.items()
        },
        "groups": {
            name: {"n": group.n, "rows": {row: of_row(name, group, row) for row in table.rows if row in group.right}}
            for name, group in table.groups.items()
        },
        "covered": {
            row: dict(zip(map("{:g}".format, table.shares), curve.mean(axis=0).tolist(), strict=True))
            for row, curve in table.curves.items()
        },
        "missing": list(table.missing),
        **table.facts,
        "command": command,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "ranfer": revision(),
    }


def _accuracies(group: Group, row: str) -> tuple[Float[np.ndarray, " s"], float]:
    """The accuracy of each seed, and their standard deviation (NaN for one seed)."""
    right = group.right[row]
    accuracies = right.mean(axis=1) if group.n else np.full(len(right), np.nan)
    return accuracies, float(accuracies.std(ddof=1)) if len(accuracies) > 1 else float("nan")


def _to_markdown(table: Table, found: _Found, report: Mapping[str, Any]) -> str:
    seeds = max(len(row.seeds) for row in table.rows.values())
    parts = [
        f"# {len(table.rows)} rows, up to {seeds} seeds each",
        "Where the split is the one that chose each run's best epoch, that inflates all rows alike. ± is the standard "
        "deviation over seeds. Differences are in points, with 95 % intervals by a bootstrap over faces and seeds, "
        "which with few seeds are too narrow; p is the exact McNemar test of two fixed runs, seed by seed. Of many "
        "comparisons, one in twenty seems to differ by chance."
        + (f" **{_ONE_SEED}**" if any(len(one.seeds) == 1 for one in found.values() if one is not None) else ""),
        *(_group_section(table, name, group, found) for name, group in table.groups.items()),
        f"![accuracy of each seed, and the mean of each row]({PLOT})",
        _curve_section(table),
        _cost_section(table),
        *(["## Not done\n\n" + "\n".join(f"- {name}" for name in table.missing)] if table.missing else []),
        f"## Provenance\n\n`{report['command']}`\n\nranfer {report['ranfer']}, {report['date']}.\n\n"
        + "\n".join(f"- {name}: {value}" for name, value in table.facts.items()),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _group_section(table: Table, name: str, group: Group, found: _Found) -> str:
    header = ["", "seeds", "accuracy, %"]
    for reference in table.references:
        header += [f"against {reference}", *(["p, by seed"] if group.single else [])]
    rows = []
    for row in group.right:
        accuracies, deviation = _accuracies(group, row)
        spread = f" ± {100 * deviation:.2f}" if np.isfinite(deviation) else ""
        cells = [row, len(accuracies), f"{100 * accuracies.mean():.2f}{spread}" if group.n else "-"]
        for reference in table.references:
            difference = found[name, row, reference]
            cells.append("" if difference is None else points(difference.accuracy) + _mark(difference))
            if group.single:
                cells.append("" if difference is None else ", ".join(map(p_value, difference.p_values.values())))
        rows.append(cells)
    words = [_words(name, group, reference, found) for reference in table.references if reference in group.right]
    return "\n\n".join([f"## {name} (n = {group.n:,})", markdown_table(header, rows), *words])


def _mark(difference: Difference) -> str:
    return " (one seed)" if len(difference.seeds) == 1 else ""


def _words(name: str, group: Group, reference: str, found: _Found) -> str:
    """What the intervals say of all rows against a reference, in a sentence."""
    said: dict[str, list[str]] = {"better": [], "worse": [], "no difference is shown": [], "not measured": []}
    for row in group.right:
        difference = found[name, row, reference]
        if difference is not None:
            said[difference.verdict].append(row + _mark(difference))
    note = {"no difference is shown": " (the interval includes zero)"}
    parts = [f"{verdict}{note.get(verdict, '')}: {', '.join(rows)}" for verdict, rows in said.items() if rows]
    return f"Against *{reference}*: {'; '.join(parts)}." if parts else ""


def _curve_section(table: Table) -> str:
    if not table.curves:
        return ""
    header = ["covered", *(f"{100 * share:.0f} %" for share in table.shares)]
    rows = [(row, *(f"{100 * value:.1f}" for value in curve.mean(axis=0))) for row, curve in table.curves.items()]
    return (
        "## Accuracy by covered share, %\n\nMeans over seeds and over the kinds of things that reach every share.\n\n"
        f"{markdown_table(header, rows)}\n\n![accuracy against the covered share]({CURVES})"
    )


def _cost_section(table: Table) -> str:
    header = ["", "epochs", "multiply-adds a face and step, million", "a run, 10^12", "starts from", "changes"]
    rows = [
        (
            name,
            row.epochs,
            f"{row.cost / 1e6:,.1f}",
            f"{row.total / 1e12:.3g}",
            row.starts_from or "-",
            " ".join(row.changes) or "-",
        )
        for name, row in table.rows.items()
    ]
    said = "Forward and backward, counted by PyTorch, without that of the weights it starts from."
    return f"## What a run costs\n\n{said}\n\n{markdown_table(header, rows)}"


def plot_groups(table: Table, path: Path) -> None:
    """The accuracy of every seed and the mean of each row, a panel a group."""
    names = list(table.rows)
    place = np.arange(len(names))[::-1]
    columns = len(table.groups)
    with plots.picture(
        path, 1, columns, (1.6 + 2.8 * columns, 1.2 + 0.36 * len(names)), sharey=True, squeeze=False
    ) as grid:
        for axes, (name, group) in zip(grid[0], table.groups.items(), strict=True):
            for y, row in zip(place, names, strict=True):
                if row in group.right and group.n:
                    accuracies = 100 * _accuracies(group, row)[0]
                    colour = plots.ORANGE if row in table.references else plots.BLUE
                    axes.plot(accuracies, np.full(len(accuracies), y), "o", color=colour, markersize=4, alpha=0.5)
                    axes.plot(accuracies.mean(), y, "|", color=colour, markersize=14, markeredgewidth=2.2)
            axes.set(title=f"{name} (n = {group.n:,})", xlabel="accuracy, %", ylim=(-0.6, len(names) - 0.4))
            axes.set_yticks(place, names)
            axes.grid(axis="x")
            axes.tick_params(axis="y", length=0)


def plot_curves(table: Table, path: Path) -> None:
    """Mean accuracy over seeds against the covered share, a line a row."""
    styles = [(colour, line) for line in ("-", "--", ":") for colour in plots.SERIES]
    with plots.picture(path, 1, 1, (7.4, 4.2)) as axes:
        for row, (colour, line) in zip(table.curves, styles * len(table.curves), strict=False):
            accuracy = 100 * table.curves[row].mean(axis=0)
            axes.plot(100 * np.array(table.shares), accuracy, line, color=colour, marker="o", markersize=3, label=row)
        axes.set(
            xlabel="occluded share of the face, %", ylabel="accuracy, %", title="Synthetic occlusion, mean over seeds"
        )
        axes.grid()
        axes.figure.legend(loc="outside right upper")
