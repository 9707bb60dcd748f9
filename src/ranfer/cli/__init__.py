"""The commands: thin, for what they do stands elsewhere."""

from __future__ import annotations

import shlex
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.table import Table

from ranfer.cli.annotate import annotate
from ranfer.cli.console import Commands, Data, File, err, out, progress_bars
from ranfer.cli.data import data
from ranfer.errors import ConfigError
from ranfer.shared import Shared

CHECKPOINTS = (".safetensors", ".pt", ".pth", ".tar")  # what PyTorch reads; any other file is taken for ONNX
app = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(data, name="data")
app.add_typer(annotate, name="annotate")


def _show_version(wanted: bool) -> bool:
    if wanted:
        out.print(f"ranfer {version('ranfer')}")
        raise typer.Exit
    return wanted


@app.callback(help="Facial expression recognition that means to stay right when a face is turned or covered.")
def ranfer(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of all commands."""


@app.command()
def demo(
    folder: Annotated[Path, typer.Option("--out", help="Folder for pictures and predictions.")] = Path("results/demo"),
) -> None:
    """Recognise sample pictures: one portrait, turned, covered, small, dark, and several at once."""
    from ranfer.demo import run

    run(folder, out)


@app.command()
def predict(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT...", help="Pictures, folders, patterns, or '-': a list on standard input."),
    ],
    folder: Annotated[Path, typer.Option("--out", help="Folder for predictions.jsonl; a stopped run goes on there.")],
    form: Annotated[
        Literal["jsonl", "csv", "parquet"], typer.Option("--format", help="Make a table of predictions.jsonl, too.")
    ] = "jsonl",
    draw: Annotated[bool, typer.Option("--draw", help="Annotated copies and a contact sheet.")] = False,
    weights: Annotated[File, typer.Option(help="An ONNX file that ranfer exported; the package has one.")] = None,
    detector: Annotated[str, typer.Option(help="mtcnn, none (a picture is a face), or yunet:FILE.")] = "mtcnn",
    classes: Annotated[int, typer.Option(min=7, max=8, help="7 leaves contempt out.")] = 8,
    features: Annotated[bool, typer.Option("--features", help="Add the representation of each face.")] = False,
) -> None:
    """Recognise the expressions of all faces in pictures."""
    from ranfer.inputs import list_pictures
    from ranfer.predict import own_pictures, predict, print_summary
    from ranfer.recognize import load

    def complain(line: str) -> None:
        err.print(line, markup=False)

    listing = list_pictures(inputs, sys.stdin.buffer.read, skip=own_pictures(folder))
    for problem in listing.problems:
        complain(problem)
    if not listing.pictures:
        raise typer.Exit(1)
    # Pictures are searched side by side, a thread each.
    recognizer = load(weights, detector, classes=classes, features=features, threads=1)
    try:
        with progress_bars() as progress:
            summary = predict(
                recognizer,
                listing.pictures,
                folder,
                form=form,
                draw=draw,
                progress=lambda done, total: progress("pictures", done, total),
                complain=complain,
            )
    except KeyboardInterrupt:
        complain(f"stopped; what is done lies in {folder}, and the same command goes on from there")
        raise typer.Exit(130) from None
    print_summary(summary, folder, out)
    if summary.failed or listing.problems:
        raise typer.Exit(1)


@app.command()
def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="Settings; configs/ holds some.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder for checkpoints, metrics.jsonl and TensorBoard.")],
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a run in --out stopped.")] = False,
) -> None:
    """Train a model; stop it at any time, and --resume."""
    _need_pytorch("training")
    from ranfer.config import TrainConfig, override, parse, read_yaml
    from ranfer.train import train

    settings = parse(TrainConfig, override(read_yaml(config), changes or []), str(config))
    try:
        train(settings, folder, out, resume)
    except KeyboardInterrupt:
        err.print(f"stopped; finished epochs are kept: add --resume to go on in {folder}", markup=False)
        raise typer.Exit(130) from None


@app.command()
def experiment(
    file: Annotated[Path, typer.Argument(metavar="TABLE.yaml", help="Rows of settings; configs/ablation.yaml is one.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder for the runs, ROW/seed-N; a stopped table goes on.")],
    report: Annotated[
        Path | None, typer.Option(help="Folder for experiment.md, experiment.json and plots; --out unless given.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="ROW", help="Train this row; may be repeated.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of all rows.")
    ] = None,
) -> None:
    """Train and compare the rows of a table, each with several seeds."""
    _need_pytorch("training")
    from ranfer import plots
    from ranfer.config import ExperimentConfig, parse, read_yaml
    from ranfer.experiment import run_table

    plots.check_installed()
    table = parse(ExperimentConfig, read_yaml(file), str(file))
    try:
        fine = run_table(
            table,
            folder,
            out,
            changes=changes or [],
            only=only or [],
            report=report,
            command=shlex.join(["ranfer", *sys.argv[1:]]),
            bars=progress_bars,
            complain=lambda line: err.print(line, markup=False),
        )
    except KeyboardInterrupt:
        err.print(f"stopped; what is done is kept in {folder}, and the same command goes on there", markup=False)
        raise typer.Exit(130) from None
    out.print(f"the comparison: {(report or folder) / 'experiment.md'}", markup=False, soft_wrap=True)
    if not fine:
        raise typer.Exit(1)


@app.command()
def export(
    weights: Annotated[Path, typer.Option(help="A checkpoint.")],
    file: Annotated[Path, typer.Option("--out", metavar="FILE.onnx", help="The file to write.")],
    calibrate: Annotated[
        str | None, typer.Option(metavar="DATA", help="Choose temperature and trust threshold on these faces.")
    ] = None,
    split: Annotated[str, typer.Option(help="Split of DATA to calibrate on.")] = "valid",
    mirror: Annotated[
        bool, typer.Option("--mirror", help="Judge each face and its mirror image, and take the mean: twice the time.")
    ] = False,
    full: Annotated[bool, typer.Option("--float32", help="Keep weights as float32, in twice the space.")] = False,
) -> None:
    """Write one ONNX file that holds everything from bytes to calibrated probabilities."""
    _need_pytorch("export")
    from ranfer.checkpoint import load
    from ranfer.export import calibration, export

    trained = load(weights)
    trained.mirror = mirror
    fitted = None
    if calibrate is not None:
        fitted = calibration(trained, calibrate, split)
        out.print(str(fitted), markup=False)
    worst = export(trained, file, fitted, half=not full)
    size = file.stat().st_size / 1e6
    out.print(f"{file}: {size:.1f} MB; differs from PyTorch by {worst:.1e} at most", markup=False)


@app.command()
def evaluate(
    data: Data,
    split: Annotated[str, typer.Option(help="Split to judge: train, valid or test.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder for report.json, report.md, plots, predictions.csv.")],
    weights: Annotated[
        File, typer.Option(help="A checkpoint, or an ONNX file that ranfer exported; the package has one.")
    ] = None,
    onnx: Annotated[File, typer.Option(help="Anybody's classifier; name its outputs with --labels.")] = None,
    labels: Annotated[str, typer.Option(help="Names of the ONNX outputs in order, '-' for one to ignore.")] = "",
    preprocess: Annotated[
        str,
        typer.Option(
            help="What the ONNX file takes and gives, joined by commas: size=48 channels=1 layout=nchw range=0..1 "
            "mean=0.5 std=0.5 order=rgb output=logits (or nhwc, bgr, probabilities). Leave out what the file tells."
        ),
    ] = "",
    predictions: Annotated[File, typer.Option(help="A CSV: id and a column a class, or id and expression.")] = None,
    label_rule: Annotated[str, typer.Option(help="How votes become a label: majority or probability.")] = "majority",
    subset: Annotated[
        list[str] | None, typer.Option(help="NAME=LIST or NAME=LIST,LABELS: files of faces; may be repeated.")
    ] = None,
    subset_labels: Annotated[
        Literal["rule", "list"], typer.Option(help="Judge subsets by the label rule or by their lists' own labels.")
    ] = "rule",
    against: Annotated[
        File, typer.Option(help="Compare with another checkpoint, ONNX file (outputs as --labels) or predictions CSV.")
    ] = None,
    faces: Annotated[bool, typer.Option(help="Show a page of faces with their regions; --no-faces to publish.")] = True,
    occlude: Annotated[
        bool, typer.Option("--occlude", help="Test the models on faces with things drawn over them, too.")
    ] = False,
    occlude_faces: Annotated[int, typer.Option(min=1, help="Faces of the split to cover, chosen by their ids.")] = 400,
    occlude_kinds: Annotated[
        str, typer.Option(metavar="KIND,...|all", help="What to draw over them; unless told, one of each sort.")
    ] = "",
    only_shared: Annotated[
        bool, typer.Option("--shared", help="Judge only expressions that the faces have and every model can answer.")
    ] = False,
) -> None:
    """Judge a model, or a file of predictions, on a split and on subsets."""
    from ranfer import plots, robustness
    from ranfer.answers import PredictionsFile
    from ranfer.data import open_dataset
    from ranfer.data.subsets import read_list
    from ranfer.evaluate import evaluate, labelled, sharing
    from ranfer.report import write_report

    given = sum(option is not None for option in (weights, onnx, predictions))
    if given > 1:
        raise ConfigError("give only one of --weights, --onnx and --predictions")
    if given == 0:
        from ranfer.recognize import DEFAULT_WEIGHTS

        weights = DEFAULT_WEIGHTS
    if (labels or preprocess) and onnx is None and (against is None or against.suffix != ".onnx"):
        raise ConfigError("--labels and --preprocess belong to an ONNX file")
    kinds = robustness.parse_kinds(occlude_kinds)
    plots.check_installed()
    lists = {name: read_list(path, beside) for name, path, beside in map(_named, subset or [])}
    if len(lists) < len(subset or []):
        raise ConfigError("--subset: two subsets have the same name")
    if split in lists:
        raise ConfigError(f"--subset {split}=...: the split has that name; choose another")
    dataset = open_dataset(data)
    source = PredictionsFile(predictions) if predictions else _open_model(weights or onnx, labels, preprocess)
    other = None
    if against is not None:
        other = PredictionsFile(against) if against.suffix == ".csv" else _open_model(against, labels, preprocess)
    models = [source] if other is None else [source, other]
    subjects = None
    if occlude:
        whole = labelled(dataset, split, label_rule)
        subjects = robustness.choose(dataset, whole.samples, whole.truth, occlude_faces)
        subjects = subjects.among(sharing(whole, models, only_shared).judged)
        robustness.require_rows(models, subjects, kinds)
    with progress_bars() as progress:
        evaluation = evaluate(
            dataset,
            split,
            source,
            label_rule,
            subsets=lists,
            subset_labels=subset_labels,
            against=other,
            only_shared=only_shared,
            progress=progress,
        )
        covered = None
        if subjects is not None:
            covered = robustness.judge_covered(models, subjects, kinds, evaluation.shared.judged, progress)
    report = write_report(evaluation, folder, shlex.join(["ranfer", *sys.argv[1:]]), faces, covered)
    _print_summary(report, folder)
    if not evaluation.shared.agrees:
        _print_expressions(evaluation.shared)


def _need_pytorch(what: str) -> None:
    if find_spec("torch") is None:
        raise ConfigError(f"{what}: needs PyTorch, which pip install 'ranfer[train]' brings")


def _named(text: str) -> tuple[str, Path, Path | None]:
    name, equals, path = text.partition("=")
    if not (name.strip() and equals and path):
        raise ConfigError(f"--subset {text}: expected NAME=LIST, for example occluded=lists/occlusion.txt")
    faces, comma, labels = path.rpartition(",")
    if comma and not Path(path).exists():  # a comma may be part of a name
        return name.strip(), Path(faces), Path(labels)
    return name.strip(), Path(path), None


def _open_model(path: Path | None, labels: str, preprocess: str) -> Any:
    assert path is not None  # one of three sources, as was checked
    if path.suffix in CHECKPOINTS:
        _need_pytorch(f"{path}: a checkpoint")
        from ranfer.checkpoint import load

        trained = load(path)
        trained.description["file"] = str(path)
        return trained
    from ranfer.runtime import open_onnx

    return open_onnx(path, labels.split(",") if labels else None, preprocess)


def _print_summary(report: dict[str, Any], folder: Path) -> None:
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
            row += [difference, f"{p:.4f}" if p >= 1e-4 else "< 0.0001"]
        table.add_row(escape(name), *row)
    out.print(table)
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


def main() -> None:
    """The command ``ranfer``."""
    app()
