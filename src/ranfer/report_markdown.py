"""An evaluation in words: ``report.md``, from the headline down to what was left out and how to make it again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ranfer import synthetic_occlusion_report
from ranfer.evaluate import Evaluation
from ranfer.formatting import markdown_table, p_value, percent, plain, points, share
from ranfer.intervals import SEED
from ranfer.metrics import BINS, CLIP
from ranfer.protocol import Protocol
from ranfer.synthetic_occlusion import OcclusionResult
from ranfer.vocab import NAMES


def to_markdown(
    evaluation: Evaluation,
    measured: Protocol,
    report: dict[str, Any],
    drawn: Sequence[str],
    covered: OcclusionResult | None = None,
) -> str:
    """The report for a person, from the headline down to what was left out and how to make it again."""
    whole = evaluation.whole
    scores = whole.scores
    parts = [
        f"# {evaluation.titles[0]} on {evaluation.dataset.name} {evaluation.split}",
        f"**Accuracy {percent(scores.accuracy)} %**, n = {scores.n:,}; macro F1 {percent(scores.macro_f1)} %, "
        f"macro recall {percent(scores.macro_recall)} %. Labels by the rule *{evaluation.rule}*; "
        f"95 % intervals in brackets.",
        measured.to_markdown(),
        _expressions_section(evaluation),
        _subset_section(evaluation, drawn),
        _comparison_section(evaluation),
        "" if covered is None else synthetic_occlusion_report.section(covered, evaluation.titles, scores.n),
        _class_section(evaluation),
        _calibration_section(evaluation),
        _region_section(report["regions"], drawn),
        _excluded_section(evaluation),
        _origin_section(evaluation, report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _expressions_section(evaluation: Evaluation) -> str:
    shared = evaluation.shared
    if shared.agrees:
        return ""
    header = ["", "faces", *evaluation.titles, ""]
    words = (
        "Only expressions that the faces have and every model can predict are evaluated: the probabilities of others "
        "are removed and the rest normalised to sum 1, and faces of others are left out. A prediction without "
        "probabilities stays, and is wrong where it is not among these."
        if shared.only
        else "Data and models do not have the same expressions, or not by the same names. All faces count; "
        "`--shared` evaluates the shared expressions alone."
    )
    return "\n\n".join(["## Which expressions count", words, markdown_table(header, shared.rows())])


def _subset_section(evaluation: Evaluation, drawn: Sequence[str]) -> str:
    plot = "![accuracy on the whole and on subsets](subsets.png)" if "subsets.png" in drawn else ""
    if not evaluation.subsets:
        return plot
    labels = "the label rule" if evaluation.subset_labels == "rule" else "the lists themselves"
    rows = [
        (
            name,
            f"{group.scores.n:,}",
            f"{sum(group.excluded.values()):,}",
            percent(group.scores.accuracy),
            percent(group.scores.macro_f1),
            percent(group.scores.macro_recall),
        )
        for name, group in {evaluation.split: evaluation.whole, **evaluation.subsets}.items()
    ]
    notes = [
        f"{group.outside:,} of the {group.scores.n:,} faces of *{name}* lie outside the split {evaluation.split}."
        for name, group in evaluation.subsets.items()
        if group.outside
    ]
    return "\n\n".join(
        part
        for part in (
            "## Subsets",
            f"Subset labels come from {labels}. *Excluded* faces have no label under the rule, or cannot be read.",
            markdown_table(["", "n", "excluded", "accuracy, %", "macro F1, %", "macro recall, %"], rows),
            " ".join(notes),
            plot,
        )
        if part
    )


def _comparison_section(evaluation: Evaluation) -> str:
    if evaluation.against is None:
        return ""
    rows = []
    for name, group in {evaluation.split: evaluation.whole, **evaluation.subsets}.items():
        found = group.comparison
        assert found is not None
        difference, f1 = found.accuracy_difference, found.macro_f1_difference
        rows.append(
            (
                name,
                share(group.scores.accuracy.value),
                share(found.other.value),
                points(difference),
                p_value(found.p_value),
                f"{found.only_first:,} / {found.only_other:,}",
                points(f1),
            )
        )
    header = ["", "accuracy, %", "other, %", "difference, points", "p", "only one right", "macro F1 difference, points"]
    return "\n\n".join(
        [
            f"## Against {evaluation.titles[1]}",
            markdown_table(header, rows),
            "p is the exact McNemar test of equal error rates, two-sided. The interval of the difference is that of "
            "Bonett and Price (2012), that of macro F1 a paired bootstrap over faces. *Only one right* counts the "
            "faces that this model, and that the other, alone gets right. All of it compares two fixed models on "
            "these faces: another training run of either may come out differently. Of several subsets, one may have a "
            "small p by chance.",
        ]
    )


def _class_section(evaluation: Evaluation) -> str:
    scores = evaluation.whole.scores
    support = scores.confusion.sum(axis=1)
    rows = [
        (name, f"{n:,}", percent(recall, 1), percent(precision, 1), f"{100 * f1:.1f}" if math.isfinite(f1) else "-")
        for name, n, recall, precision, f1 in zip(
            NAMES, support, scores.recall, scores.precision, scores.f1, strict=True
        )
    ]
    matrix = [
        (f"**{name}**", *(f"**{count:,}**" if i == j else f"{count:,}" for j, count in enumerate(row)))
        for i, (name, row) in enumerate(zip(NAMES, scores.confusion.tolist(), strict=True))
    ]
    return "\n\n".join(
        [
            "## Expressions",
            markdown_table(["", "faces", "recall, %", "precision, %", "F1, %"], rows),
            "Intervals are Wilson's. The macro figures are means over the expressions that occur in the truth, with "
            f"bootstrap intervals over faces ({evaluation.replicates:,} replicates, seed {SEED}). A draw "
            "from a small subset may lack a rare expression; its mean is then over the others: the interval is wide.",
            "![recall, precision and F1 of each expression](classes.png)",
            "## Confusion",
            markdown_table(["true \\ predicted", *NAMES], matrix),
            "![confusion matrix](confusion.png)",
        ]
    )


def _calibration_section(evaluation: Evaluation) -> str:
    scores = evaluation.whole.scores
    if scores.reliability is None:
        return "## Calibration\n\nThe predictions hold no probabilities: no log loss and no calibration error."
    return "\n\n".join(
        [
            "## Calibration",
            f"Expected calibration error {percent(scores.calibration_error)} % over {BINS} bins of equal "
            f"width of the top probability; log loss {plain(scores.log_loss)}, natural logarithm, probabilities "
            f"clipped at {CLIP:g}. The interval of the calibration error leans high, because resampling adds noise "
            "to every bin.",
            "![reliability diagram](reliability.png)",
        ]
    )


def _region_section(table: dict[str, Any] | None, drawn: Sequence[str]) -> str:
    if table is None:
        return ""
    means = table["mean_weight"]
    rows = [(name, *(f"{100 * weights[i]:.1f}" for weights in means.values())) for i, name in enumerate(table["names"])]
    parts = [
        "## Regions",
        "Mean weight of each region, %, over the split, over faces classified correctly and wrongly, and over subsets.",
        markdown_table(["", *means], rows),
    ]
    if "regions.png" in drawn:
        parts += [
            "Below, for each true expression, a random face of those classified correctly and, to its right, "
            "one of those classified wrongly. The more weight a region has, the stronger its tint.",
            "![faces whose regions are tinted by their weights](regions.png)",
        ]
    return "\n\n".join(parts)


def _excluded_section(evaluation: Evaluation) -> str:
    groups = {evaluation.split: evaluation.whole, **evaluation.subsets}
    unreadable = list(evaluation.unreadable.values())
    rows = [(name, reason, f"{count:,}") for name, group in groups.items() for reason, count in group.excluded.items()]
    if not rows:
        return "## Excluded faces\n\nNone."
    table = markdown_table(["", "why", "faces"], rows)
    return "\n\n".join(["## Excluded faces", table, *([_some(unreadable)] if unreadable else [])])


def _origin_section(evaluation: Evaluation, report: dict[str, Any]) -> str:
    surprises = evaluation.surprises
    described = [("evaluated", *pair) for pair in _flat(evaluation.source)]
    described += [("against", *pair) for pair in _flat(evaluation.against or {})]
    parts = [
        "## Provenance",
        f"`{report['command']}`",
        f"ranfer {report['ranfer']}, {report['date']}. Data: {evaluation.dataset.name}, `{evaluation.dataset.path}`, "
        f"split {evaluation.split} with {report['data']['faces_in_split']:,} faces.",
        "\n".join(f"- {what} {key}: {value}" for what, key, value in described),
    ]
    if surprises:
        parts += [f"{len(surprises):,} surprises in the data and lists:", _some(surprises)]
    return "\n\n".join(parts)


def _some(lines: Sequence[str]) -> str:
    """The first ten of some lines as a list, and how many more there are."""
    more = [f"and {len(lines) - 10:,} more"] if len(lines) > 10 else []
    return "\n".join(f"- {line}" for line in [*lines[:10], *more])


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """A nested description as ``outer.inner`` keys."""
    pairs: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, dict):
            pairs += _flat(value, f"{prefix}{key}.")
        else:
            pairs.append((prefix + key, ", ".join(map(str, value)) if isinstance(value, list | tuple) else value))
    return pairs
