"""An evaluation as files: ``report.json`` for programs, ``report.md`` and plots for people, ``predictions.csv``."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ranfer import plots, synthetic_occlusion_report
from ranfer.answers import Answers
from ranfer.evaluate import Evaluation, Group, write_predictions
from ranfer.files import write_text
from ranfer.formatting import as_json, number
from ranfer.intervals import LEVEL, SEED
from ranfer.metrics import BINS
from ranfer.protocol import Protocol, protocol
from ranfer.provenance import revision
from ranfer.report_markdown import to_markdown
from ranfer.synthetic_occlusion import OcclusionResult
from ranfer.vocab import NAMES

PREDICTIONS, REPORT, VALUES = "predictions.csv", "report.md", "report.json"


def write_report(
    evaluation: Evaluation, out: Path, command: str, faces: bool = True, covered: OcclusionResult | None = None
) -> dict[str, Any]:
    """All files of a report in the folder ``out``, with or without pictures of faces; returns the content of its JSON.

    ``covered`` is a test with covered faces by the same models, if there was one.
    """
    out.mkdir(parents=True, exist_ok=True)
    write_predictions(evaluation, out / PREDICTIONS)
    measured, answers = protocol(evaluation), evaluation.answers.of(evaluation.whole.samples)
    report = to_json(evaluation, measured, answers, command)
    report["occlusion"] = covered and synthetic_occlusion_report.to_json(covered)
    drawn = plots.draw(evaluation, answers, out, faces)
    (out / synthetic_occlusion_report.PLOT).unlink(missing_ok=True)
    if covered is not None:
        synthetic_occlusion_report.plot(covered, evaluation.titles, out / synthetic_occlusion_report.PLOT)
    write_text(out / REPORT, to_markdown(evaluation, measured, report, drawn, covered))
    write_text(out / VALUES, json.dumps(report, indent=2, allow_nan=False) + "\n")
    return report


def to_json(evaluation: Evaluation, measured: Protocol, answers: Answers, command: str) -> dict[str, Any]:
    """What ``report.json`` holds: plain values, intervals as [low, high], null for what is undefined.

    ``answers`` are those about the faces of the split.
    """
    return {
        **_group(evaluation.whole),
        "label_rule": evaluation.rule,
        "split": evaluation.split,
        "subset_labels": evaluation.subset_labels,
        "expressions": evaluation.shared.to_dict(),
        "subsets": {name: _group(group) for name, group in evaluation.subsets.items()},
        "subset_lists": {name: str(faces.path) for name, faces in evaluation.lists.items()},
        "regions": _region_table(evaluation, answers),
        "model": evaluation.source,
        "against": evaluation.against,
        "data": {
            "format": evaluation.dataset.name,
            "path": str(evaluation.dataset.path),
            "faces_in_split": evaluation.whole.scores.n + sum(evaluation.whole.excluded.values()),
            "unreadable": dict(evaluation.unreadable),
            "surprises": len(evaluation.surprises),
        },
        "intervals": {"level": LEVEL, "bootstrap_replicates": evaluation.replicates, "seed": SEED},
        "protocol": measured.to_dict(),
        "command": command,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "ranfer": revision(),
    }


def _group(group: Group) -> dict[str, Any]:
    scores, compared = group.scores, group.comparison
    values: dict[str, Any] = {
        "n": scores.n,
        "excluded": sum(group.excluded.values()),
        "excluded_reasons": group.excluded,
        "outside_split": group.outside,
        **as_json("accuracy", scores.accuracy),
        **as_json("macro_recall", scores.macro_recall),
        **as_json("macro_f1", scores.macro_f1),
        **as_json("log_loss", scores.log_loss),
        **as_json("calibration_error", scores.calibration_error),
        "classes": {
            name: {
                "support": int(support),
                **as_json("recall", recall),
                **as_json("precision", precision),
                "f1": number(f1),
            }
            for name, support, recall, precision, f1 in zip(
                NAMES, scores.confusion.sum(axis=1), scores.recall, scores.precision, scores.f1, strict=True
            )
        },
        "confusion": {"labels": NAMES, "true_rows_predicted_columns": scores.confusion.tolist()},
        "calibration": None,
        "comparison": None,
    }
    if scores.reliability is not None:
        table = scores.reliability
        values["calibration"] = {
            "bins": BINS,
            "edges": table.edges.tolist(),
            "faces": table.faces.tolist(),
            "confidence": [number(value) for value in table.confidence],
            "accuracy": [number(value) for value in table.accuracy],
        }
    if compared is not None:
        values["comparison"] = {
            **as_json("other_accuracy", compared.other),
            "only_first_right": compared.only_first,
            "only_other_right": compared.only_other,
            "mcnemar_p": compared.p_value,
            **as_json("accuracy_difference", compared.accuracy_difference),
            **as_json("macro_f1_difference", compared.macro_f1_difference),
        }
    return values


def _region_table(evaluation: Evaluation, whole: Answers) -> dict[str, Any] | None:
    """Mean weight of each region over the split, the faces answered correctly and wrongly, and each subset."""
    if not whole.attends:
        return None
    right = whole.predicted == evaluation.whole.truth
    weight = _weight(whole)
    means = {"all": weight, "right": weight[right], "wrong": weight[~right]}
    means |= {name: _weight(evaluation.answers.of(group.samples)) for name, group in evaluation.subsets.items()}
    return {
        "names": plots.region_names(evaluation.source, weight.shape[1]),
        "mean_weight": {name: weight.mean(axis=0).tolist() for name, weight in means.items() if len(weight)},
    }


def _weight(answers: Answers) -> Float[np.ndarray, "n r"]:
    assert answers.prediction is not None and answers.prediction.weight is not None
    return answers.prediction.weight
