"""``ranfer evaluate``: a model, or a file of predictions, evaluated on a split and on subsets."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.table import Table

from ranfer.bars import showing
from ranfer.cli.console import Backbone, Data, File, LabelRule, err, folder_option, out, tell_unreadable
from ranfer.errors import ConfigError
from ranfer.extras import need_extra
from ranfer.shared import Shared

CHECKPOINTS = (".safetensors", ".pt", ".pth", ".tar")  # what PyTorch reads; any other file is taken for ONNX


def evaluate(
    data: Data,
    split: Annotated[
        str, typer.Option(help="Split to evaluate on: train, valid, test, or all of a dataset without splits.")
    ],
    folder: Annotated[Path, folder_option(help="Folder for report.json, report.md, plots, predictions.csv.")],
    weights: Annotated[
        File, typer.Option(help="A checkpoint, or an ONNX file that ranfer exported. Default: the included model.")
    ] = None,
    onnx: Annotated[File, typer.Option(help="Any ONNX classifier; name its outputs with --labels.")] = None,
    labels: Annotated[str, typer.Option(help="Names of the ONNX outputs in order, '-' for one to ignore.")] = "",
    preprocess: Annotated[
        str,
        typer.Option(
            help="What the ONNX file takes and gives, as in size=48,channels=1,layout=nchw,range=0..1,mean=0.5,std=0.5,"
            "order=rgb,output=logits (or nhwc, bgr, probabilities). Leave out what the file says."
        ),
    ] = "",
    predictions: Annotated[
        File, typer.Option(help="A CSV of predictions: id and one column per class, or id and expression.")
    ] = None,
    label_rule: LabelRule = "majority",
    subset: Annotated[
        list[str] | None,
        typer.Option(help="NAME=LIST or NAME=LIST,LABELS: faces to report separately; may be repeated."),
    ] = None,
    subset_labels: Annotated[
        Literal["rule", "list"], typer.Option(help="Evaluate subsets by the label rule, or by their lists' own labels.")
    ] = "rule",
    against: Annotated[
        File, typer.Option(help="Compare with another checkpoint, ONNX file (outputs as --labels) or predictions CSV.")
    ] = None,
    faces: Annotated[
        bool, typer.Option(help="Show faces with the weights of their regions; --no-faces to publish.")
    ] = True,
    occlude: Annotated[bool, typer.Option("--occlude", help="Also evaluate under synthetic occlusion.")] = False,
    occlude_faces: Annotated[
        int | None, typer.Option(min=1, help="How many faces of the split get synthetic occlusion (default 400).")
    ] = None,
    occlude_kinds: Annotated[
        str, typer.Option(metavar="KIND,...|all", help="Objects to draw over them (default: six kinds).")
    ] = "",
    only_shared: Annotated[
        bool,
        typer.Option("--shared", help="Evaluate only expressions that the faces have and every model can predict."),
    ] = False,
    backbone: Backbone = None,
) -> None:
    """Evaluate a model, or a file of predictions, on a split and on subsets; status 1 if faces are unreadable."""
    from ranfer import synthetic_occlusion
    from ranfer.answers import PredictionsFile
    from ranfer.data import open_dataset
    from ranfer.data.dataset import refuse_overwriting_data
    from ranfer.data.face_lists import read_subset
    from ranfer.evaluate import evaluate
    from ranfer.report import PREDICTIONS, REPORT, VALUES, write_report
    from ranfer.runtime import OnnxClassifier

    given = sum(option is not None for option in (weights, onnx, predictions))
    if given > 1:
        raise ConfigError("give only one of --weights, --onnx and --predictions")
    if given == 0:
        from ranfer.recognize import DEFAULT_WEIGHTS

        weights = DEFAULT_WEIGHTS
    if (occlude_kinds or occlude_faces) and not occlude:
        raise ConfigError("--occlude-faces and --occlude-kinds belong to --occlude")
    kinds = synthetic_occlusion.parse_kinds(occlude_kinds)
    need_extra("reports", "evaluate")
    named = list(map(_named, subset or []))
    listed = [path for _, *paths in named for path in paths]
    lists = {name: read_subset(path, beside) for name, path, beside in named}
    if len(lists) < len(named):
        raise ConfigError("--subset: two subsets have the same name")
    if split in lists:
        raise ConfigError(f"--subset {split}=...: the split has that name; choose another")
    dataset = open_dataset(data)
    refuse_overwriting_data(
        [folder / name for name in (PREDICTIONS, REPORT, VALUES)], dataset, [predictions, against, *listed]
    )
    source = PredictionsFile(predictions) if predictions else _open_model(weights or onnx, labels, preprocess, backbone)
    other = None
    if against is not None:
        other = (
            PredictionsFile(against)
            if against.suffix.lower() == ".csv"
            else _open_model(against, labels, preprocess, backbone)
        )
    models = [source] if other is None else [source, other]
    if (labels or preprocess) and not any(isinstance(model, OnnxClassifier) for model in models):
        raise ConfigError(
            "--labels and --preprocess are for ONNX files of other programs: what ranfer wrote needs neither"
        )
    subjects = covered = None
    if occlude:
        subjects = synthetic_occlusion.prepare_subjects(
            dataset, split, label_rule, occlude_faces or 400, kinds, models, only_shared
        )
    with showing(err) as bar:
        evaluation = evaluate(
            dataset,
            split,
            source,
            label_rule,
            subsets=lists,
            subset_labels=subset_labels,
            against=other,
            only_shared=only_shared,
            progress=bar("faces"),
        )
        if subjects is not None:
            covered = synthetic_occlusion.answer_covered(models, subjects, kinds, progress=bar("covered"))
    report = write_report(evaluation, folder, shlex.join(["ranfer", *sys.argv[1:]]), faces, covered)
    _print_summary(report, folder)
    if not evaluation.shared.agrees:
        _print_expressions(evaluation.shared)
    tell_unreadable(evaluation.unreadable.values())


def _named(text: str) -> tuple[str, Path, Path | None]:
    name, equals, path = text.partition("=")
    if not (name.strip() and equals and path):
        raise ConfigError(f"--subset {text}: expected NAME=LIST, for example occluded=lists/occlusion.txt")
    faces, comma, labels = path.rpartition(",")
    if comma and not Path(path).exists():  # a comma may be part of a name
        return name.strip(), Path(faces), Path(labels)
    return name.strip(), Path(path), None


def _open_model(path: Path | None, labels: str, preprocess: str, backbone: str | None) -> Any:
    assert path is not None  # one of three sources, as was checked
    if path.suffix.lower() in CHECKPOINTS:
        need_extra(f"{path}: a checkpoint", "train")
        from ranfer.checkpoint import load

        trained = load(path, backbone).on_best_device()
        trained.description["file"] = str(path)
        return trained
    from ranfer.runtime import open_onnx

    return open_onnx(path, labels.split(",") if labels else None, preprocess)


def _print_summary(report: dict[str, Any], folder: Path) -> None:
    from ranfer.formatting import p_value

    compared = report["against"] is not None
    table = Table("in percent", box=None, pad_edge=False)
    for heading in ("n", "excluded", "accuracy", "95 % interval", "macro F1", *(["against", "p"] if compared else [])):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, group in {report["split"]: report, **report["subsets"]}.items():
        interval = " to ".join(map(_percent, group["accuracy_interval"] or [None]))
        row = [f"{group['n']:,}", f"{group['excluded']:,}", _percent(group["accuracy"]), interval]
        row.append(_percent(group["macro_f1"]))
        if compared:
            p = group["comparison"]["mcnemar_p"]
            difference = _percent(group["comparison"]["accuracy_difference"], "+.2f")
            row += [difference, p_value(p)]
        table.add_row(escape(name), *row)
    out.print(table)
    for stamp in report["protocol"]["stamps"]:
        out.print(stamp, style="bold", soft_wrap=True)
    out.print(f"label rule {report['label_rule']}; report in {folder / 'report.md'}", markup=False, soft_wrap=True)


def _print_expressions(shared: Shared) -> None:
    table = Table("expression", box=None, pad_edge=False)
    table.add_column("faces", justify="right")
    for name in ("model", "other")[: len(shared.models)]:
        table.add_column(name)
    table.add_column("")
    for row in shared.rows():
        table.add_row(*map(escape, row))
    out.print(table)


def _percent(share: float | None, form: str = ".2f") -> str:
    return "-" if share is None else f"{100 * share:{form}}"
