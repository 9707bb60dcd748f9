"""The pictures of a report, with matplotlib, which is imported only when one is drawn.

Colours are of the Okabe-Ito palette and of maps that colour-blind people can read.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from ranfer import regions
from ranfer.answers import Answers
from ranfer.config import RegionsConfig
from ranfer.evaluate import Evaluation
from ranfer.files import atomic_path
from ranfer.intervals import SEED, Estimate, wilson
from ranfer.metrics import Reliability, Scores
from ranfer.vocab import ESTIMATED, NAMES, Attributes, Pose

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#6b6b6b"
SERIES = (BLUE, ORANGE, "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.edgecolor": "#9a9a9a",
    "grid.color": "#e4e4e4",
    "xtick.color": "#404040",
    "ytick.color": "#404040",
    "legend.frameon": False,
    "savefig.dpi": 150,
    "savefig.bbox": "tight",
    "savefig.pad_inches": 0.15,
}
PLOTS = ("confusion.png", "classes.png", "reliability.png", "subsets.png", "regions.png")


def draw(evaluation: Evaluation, answers: Answers, out: Path, faces: bool = True) -> list[str]:
    """The plots that this evaluation has data for; returns their names, and removes those of an earlier report.

    ``answers`` are those about the faces of the split. ``faces`` False leaves out the page of faces, which a report
    that is published must not show.
    """
    for name in PLOTS:
        (out / name).unlink(missing_ok=True)
    scores = evaluation.whole.scores
    plot_confusion(scores.confusion, out / "confusion.png")
    plot_classes(scores, out / "classes.png")
    drawn = ["confusion.png", "classes.png"]
    if scores.reliability is not None and scores.calibration_error is not None:
        plot_reliability(scores.reliability, scores.calibration_error, out / "reliability.png")
        drawn.append("reliability.png")
    groups = {evaluation.split: evaluation.whole, **evaluation.subsets}
    if evaluation.subsets or evaluation.against:
        rows = {
            name: (
                group.scores.n,
                [group.scores.accuracy, *([] if group.comparison is None else [group.comparison.other])],
            )
            for name, group in groups.items()
        }
        plot_subsets(rows, evaluation.titles, out / "subsets.png")
        drawn.append("subsets.png")
    if faces and evaluation.whole.scores.n and answers.attends:
        pages = _page(evaluation.whole.truth, answers.predicted)
        plot_regions(evaluation, answers, pages, out / "regions.png")
        drawn.append("regions.png")
    return drawn


def _page(truth: Int[np.ndarray, " n"], predicted: Int[np.ndarray, " n"]) -> list[list[int | None]]:
    """For each expression in the truth a random face that is answered correctly and one that is not; None without."""
    generator = np.random.default_rng(SEED)
    rows: list[list[int | None]] = []
    for column in np.unique(truth):
        faces = generator.permutation(np.flatnonzero(truth == column))
        right = predicted[faces] == column
        rows.append([int(some[0]) if len(some) else None for some in (faces[right], faces[~right])])
    return rows


def region_names(description: dict[str, Any], count: int) -> list[str]:
    """What the regions of a model are called, as far as its description says; the face comes first."""
    model = description.get("model")
    if isinstance(model, dict) and "regions" in model:
        names = regions.names(RegionsConfig.model_validate(model["regions"]))
        if len(names) == count:
            return list(names)
    return ["face", *(f"region {i}" for i in range(1, count))]


@contextmanager
def picture(path: Path, rows: int, columns: int, size: tuple[float, float], **options: Any) -> Iterator[Any]:
    """The axes of a picture, laid out so that nothing overlaps, which is saved at the end."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)  # draws to memory on any machine, and leaves pyplot's state alone
        yield figure.subplots(rows, columns, **options)
        with atomic_path(path) as partial:
            figure.savefig(partial, format="png")


def plot_confusion(matrix: Int[np.ndarray, "8 8"], path: Path) -> None:
    """Shares of each true class, in percent; classes absent from the truth stay white."""
    support = matrix.sum(axis=1)
    shares = 100 * matrix / np.maximum(support, 1)[:, None]
    with picture(path, 1, 1, (6.4, 5.4)) as axes:
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
        for row, column in np.argwhere(matrix > 0):
            value = shares[row, column]
            axes.text(
                column,
                row,
                f"{value:.0f}" if value >= 0.5 else "<1",
                ha="center",
                va="center",
                color="white" if value > 55 else "#303030",
                fontweight="bold" if row == column else "normal",
            )
        axes.set_xticks(range(8), NAMES, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(8), [f"{name} ({count:,})" for name, count in zip(NAMES, support, strict=True)])
        axes.set(xlabel="predicted", ylabel="true (faces)", title="Answers to each true expression, %")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)


def plot_classes(scores: Scores, path: Path) -> None:
    """Recall and precision of each class with their intervals, and F1."""
    support = scores.confusion.sum(axis=1)
    order = np.argsort(support, kind="stable")  # the most frequent class on top
    place = np.arange(len(order))
    with picture(path, 1, 1, (6.8, 4.6)) as axes:
        _intervals(axes, [scores.recall[i] for i in order], place + 0.14, BLUE, "o", "recall")
        _intervals(axes, [scores.precision[i] for i in order], place - 0.14, ORANGE, "s", "precision")
        axes.plot(100 * scores.f1[order], place, "|", color="black", markersize=13, label="F1")
        axes.set_yticks(place, [f"{NAMES[i]} ({support[i]:,})" for i in order])
        axes.set(xlim=(-1, 101), xlabel="%, with 95 % intervals", title="Each expression (faces)")
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
        axes.figure.legend(loc="outside lower right", ncols=3)


def plot_reliability(table: Reliability, error: Estimate, path: Path) -> None:
    """Accuracy against confidence by bin, with intervals, over how many faces each bin holds."""
    filled = table.faces > 0
    right = np.rint(np.nan_to_num(table.accuracy) * table.faces).astype(int)
    accuracy = [Estimate(table.accuracy[i], wilson(int(right[i]), int(table.faces[i]))) for i in np.flatnonzero(filled)]
    with picture(path, 2, 1, (5.2, 6.0), sharex=True, gridspec_kw={"height_ratios": [3.2, 1]}) as (upper, lower):
        upper.plot([0, 100], [0, 100], "--", color=GREY, linewidth=1, label="perfect calibration")
        values = 100 * np.array([[f.value, *f.interval] for f in accuracy]).reshape(-1, 3)
        confidence = 100 * table.confidence[filled]
        upper.vlines(confidence, values[:, 1], values[:, 2], color=BLUE, linewidth=1.4)
        upper.plot(confidence, values[:, 0], "o-", color=BLUE, linewidth=1, markersize=5)
        upper.set(xlim=(0, 100), ylim=(0, 102), ylabel="accuracy, %")
        low, high = (100 * limit for limit in error.interval)
        upper.set_title(
            f"Calibration error {100 * error.value:.1f} % ({low:.1f} to {high:.1f}), {len(table.faces)} bins"
        )
        upper.grid()
        upper.legend(loc="lower right")
        width = 100 / len(table.faces)
        lower.bar(100 * table.edges[:-1], table.faces, width=0.92 * width, align="edge", color=BLUE, alpha=0.55)
        lower.set(xlabel="probability of the answer, %", ylabel="faces")


def plot_subsets(rows: Mapping[str, tuple[int, Sequence[Estimate]]], labels: Sequence[str], path: Path) -> None:
    """Accuracy on the whole and on subsets: of each n, and a figure a model with its interval."""
    names = list(rows)
    place = np.arange(len(names))[::-1].astype(float)
    shift = 0.0 if len(labels) == 1 else 0.14
    with picture(path, 1, 1, (6.8, 1.5 + 0.55 * len(names))) as axes:
        for series, (label, colour, marker) in enumerate(zip(labels, (BLUE, ORANGE), "os", strict=False)):
            figures = [rows[name][1][series] for name in names]
            _intervals(axes, figures, place + (shift if series == 0 else -shift), colour, marker, label, written=True)
        axes.set_yticks(place, [f"{name}  (n = {rows[name][0]:,})" for name in names])
        axes.set(ylim=(-0.6, len(names) - 0.4), xlabel="%, with 95 % intervals", title="Accuracy")
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
        if len(labels) > 1:
            axes.figure.legend(loc="outside lower right", ncols=2)


def _intervals(
    axes: Any,
    figures: Sequence[Estimate],
    place: Float[np.ndarray, " n"],
    colour: str,
    marker: str,
    label: str,
    written: bool = False,
) -> None:
    """Points with horizontal intervals; a figure that is NaN leaves its row empty."""
    values = 100 * np.array([[figure.value, *figure.interval] for figure in figures])
    axes.hlines(place, values[:, 1], values[:, 2], color=colour, linewidth=1.6)
    axes.plot(values[:, 0], place, marker, color=colour, markersize=6, label=label)
    if written:
        for (value, _, high), y in zip(values, place, strict=True):
            if np.isfinite(value):
                axes.annotate(
                    f"{value:.1f}",
                    (high, y),
                    (4, 0),
                    textcoords="offset points",
                    va="center",
                    color=colour,
                    fontsize=8.5,
                )


def plot_regions(evaluation: Evaluation, answers: Answers, page: Sequence[Sequence[int | None]], path: Path) -> None:
    """Faces, each beside its regions, which are tinted by their weights: left a right answer, to its right a wrong one.

    ``answers`` are those of the evaluation's split; ``page`` lists which of them are in each row.
    """
    found = answers.prediction
    assert found is not None and found.weight is not None and found.boxes is not None
    shown = [face for row in page for face in row if face is not None]
    top = found.weight[shown].max()
    count = found.weight.shape[1]
    names = region_names(evaluation.source, count)
    across, down = 1.1, 1.55  # from a face to the next one
    right = (count + 1.4) * across  # where the second face of a row starts
    with picture(path, 1, 1, (0.85 * 2 * right, 0.85 * down * len(page))) as axes:
        for row, faces in enumerate(page):
            for side, face in enumerate(faces):
                if face is None:
                    continue
                x, y = side * right, row * down
                pixels = evaluation.dataset.image(evaluation.whole.samples[face])
                true, said = NAMES[evaluation.whole.truth[face]], NAMES[answers.predicted[face]]
                axes.imshow(pixels, extent=(x, x + 1, y + 1, y), interpolation="bicubic")
                _above(axes, x, y, true if side == 0 else f"{true},\nsaid {said}")
                for place, (box, weight) in enumerate(zip(found.boxes[face], found.weight[face], strict=True), start=1):
                    _region(axes, pixels, box, float(weight / top), x + place * across, y)
                    middle = x + place * across + 0.5
                    axes.text(middle, y + 1.04, f"{100 * weight:.1f} %", ha="center", va="top", size=7.5)
        for side in (0, 1):
            for place, name in enumerate(names, start=1):
                _above(axes, side * right + place * across, 0.0, textwrap.fill(name, 12))
        axes.set(xlim=(-0.1, 2 * right - 0.4 * across), ylim=(down * len(page) - 0.3, -0.4))
        axes.set_axis_off()


def plot_attributes(records: Sequence[Attributes], path: Path) -> None:
    """How faces are turned and covered: histograms of yaw, pitch and roll, and the share that each kind covers."""
    poses = np.array([record.pose for record in records if record.pose is not None]).reshape(-1, 3)
    covered = {kind.value: [record.occlusion.get(kind, np.nan) for record in records] for kind in ESTIMATED}
    covered["none"] = [record.none for record in records]
    with picture(path, 1, 4, (13.0, 3.0)) as axes:
        for axis, name, angles in zip(axes, Pose._fields, poses.T, strict=False):
            axis.hist(np.clip(angles, -90, 90), bins=np.arange(-90, 91, 5), color=BLUE)
            axis.set(title=f"{name}, degrees", xlim=(-90, 90), xticks=range(-90, 91, 45))
        shares = [100 * float(np.mean(np.array(values) >= 0.5)) for values in covered.values()]
        bars = axes[3].barh(list(covered), shares, color=BLUE)
        axes[3].bar_label(bars, fmt="%.1f", padding=3)
        axes[3].set(title=f"faces with a probability of 0.5 or more, % of {len(records):,}", xlim=(0, 112))
        axes[3].invert_yaxis()


def plot_agreement(rows: Sequence[tuple[str, str, str, Estimate]], path: Path) -> None:
    """Coefficients with their intervals: of what, its name, among whom, and the figure; undefined ones are left out."""
    shown = [row for row in rows if not np.isnan(row[3].value)]
    names = list(dict.fromkeys(row[1] for row in shown))
    colours = dict(zip(names, (BLUE, ORANGE, GREY), strict=False))
    labels = [f"{what}: {who}" if name.startswith("Cohen") else what for what, name, who, _ in shown]
    with picture(path, 1, 1, (8.0, 1.2 + 0.28 * len(shown))) as axes:
        for place, (_, name, _, figure) in enumerate(shown):
            axes.plot(figure.interval, (place, place), color=colours[name], linewidth=2, alpha=0.5)
            axes.plot(figure.value, place, "o", color=colours[name], markersize=5)
        for name, colour in colours.items():
            axes.plot([], [], "o", color=colour, label=name)
        axes.axvline(0, color=GREY, linewidth=0.8)
        axes.set(title="agreement of annotators, with 95 % intervals", yticks=range(len(shown)), yticklabels=labels)
        axes.set(xlim=(min(-0.05, *(row[3].interval.low for row in shown), 0), 1.02), ylim=(len(shown) - 0.4, -0.6))
        if names:
            axes.figure.legend(loc="outside upper left", ncols=3)


def _above(axes: Any, x: float, y: float, text: str) -> None:
    axes.text(x + 0.5, y - 0.04, text, ha="center", va="bottom", size=8)


def _region(
    axes: Any, pixels: UInt8[np.ndarray, "h w 3"], box: Float[np.ndarray, 4], shade: float, x: float, y: float
) -> None:
    """A face at (x, y), pale outside a region, which is tinted by its weight (shade 0 to 1)."""
    from matplotlib.patches import Rectangle

    extent = (x, x + 1, y + 1, y)
    axes.imshow(pixels, extent=extent, interpolation="bicubic", alpha=0.25)
    left, up, right, down = (min(max(float(side), 0.0), 1.0) for side in box)  # crops may leave the face
    corner, width, height = (x + left, y + up), right - left, down - up
    frame = axes.add_patch(Rectangle(corner, width, height, linewidth=1.2, edgecolor=ORANGE, facecolor="none"))
    axes.imshow(pixels, extent=extent, interpolation="bicubic").set_clip_path(frame)
    axes.add_patch(Rectangle(corner, width, height, facecolor=ORANGE, alpha=0.65 * shade, linewidth=0))
