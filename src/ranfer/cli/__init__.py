"""The commands: thin, for what they do stands elsewhere."""

from __future__ import annotations

import shlex
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

import typer

from ranfer.bars import showing
from ranfer.cli.annotate import annotate
from ranfer.cli.console import Backbone, Commands, File, err, folder_option, out, stoppable
from ranfer.cli.data import data
from ranfer.cli.evaluate import evaluate
from ranfer.errors import ConfigError
from ranfer.extras import need_extra

app = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(data, name="data")
app.add_typer(annotate, name="annotate")


def _show_version(wanted: bool) -> bool:
    if wanted:
        out.print(f"ranfer {version('ranfer')}")
        raise typer.Exit
    return wanted


@app.callback(help="Facial expression recognition for non-frontal and occluded faces.")
def ranfer(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of all commands."""


@app.command()
def demo(
    folder: Annotated[Path, folder_option(help="Folder for pictures and predictions.")] = Path("results/demo"),
) -> None:
    """Recognise sample pictures of one portrait: occluded, tilted, dark, blurred, small, and several at once."""
    from ranfer.demo import run

    run(folder, out)


@app.command()
def predict(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT...", help="Pictures, videos, folders, patterns, or '-': a list of them."),
    ],
    folder: Annotated[Path, folder_option(help="Folder for predictions.jsonl; a stopped run continues there.")],
    form: Annotated[
        Literal["jsonl", "csv", "parquet"], typer.Option("--format", help="Also write the predictions as a table.")
    ] = "jsonl",
    fps: Annotated[
        float | None, typer.Option(min=0.001, max=1e6, help="Frames per second of a video to analyse (default 5).")
    ] = None,
    draw: Annotated[bool, typer.Option("--draw", help="Write annotated copies and a contact sheet.")] = False,
    weights: Annotated[
        File, typer.Option(help="An ONNX file that ranfer exported. Default: the included model.")
    ] = None,
    detector: Annotated[
        str, typer.Option(help="ranfer, mtcnn, none (each picture is one face), or yunet:FILE.")
    ] = "ranfer",
    classes: Annotated[int, typer.Option(min=7, max=8, help="7 leaves contempt out.")] = 8,
    features: Annotated[bool, typer.Option("--features", help="Add the feature vector of each face.")] = False,
) -> None:
    """Recognise the expressions of all faces in pictures and videos."""
    from ranfer.inputs import list_inputs
    from ranfer.predict import predict
    from ranfer.recognize import load
    from ranfer.summary import print_summary
    from ranfer.video import FPS

    complaints: list[str] = []

    def complain(line: str) -> None:
        complaints.append(line)
        err.print(line, markup=False)

    listing = list_inputs(inputs, None if sys.stdin is None else sys.stdin.buffer.read)
    for problem in listing.problems:
        complain(problem)
    if not listing.files:
        raise typer.Exit(1)
    # Pictures are searched side by side, a thread each.
    recognizer = load(weights, detector, classes=classes, features=features, threads=1)
    stopped = f"stopped; what is done lies in {folder}, and the same command goes on from there"
    with stoppable(stopped), showing(err) as bar:
        summary = predict(
            recognizer,
            listing.files,
            folder,
            fps=fps or FPS,
            form=form,
            draw=draw,
            progress=bar("pictures"),
            complain=complain,
        )
    print_summary(summary, folder, out)
    if complaints:
        raise typer.Exit(1)


@app.command()
def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="Settings; configs/ holds some.")],
    folder: Annotated[Path, folder_option(help="Folder for checkpoints, metrics.jsonl and TensorBoard.")],
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
) -> None:
    """Train a model; stop it at any time, and --resume."""
    need_extra("training", "train")
    from ranfer.config import TrainConfig, override, parse, read_yaml
    from ranfer.train import train

    settings = parse(TrainConfig, override(read_yaml(config), changes or []), str(config))
    with stoppable(f"stopped; finished epochs are kept: add --resume to go on in {folder}"):
        train(settings, folder, out, resume)


@app.command()
def experiment(
    file: Annotated[Path, typer.Argument(metavar="TABLE.yaml", help="Rows of settings; configs/ablation.yaml is one.")],
    folder: Annotated[Path, folder_option(help="Folder for the runs, ROW/seed-N; a stopped table continues there.")],
    report: Annotated[
        Path | None, typer.Option(help="Folder for experiment.md, experiment.json and plots (default: --out).")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="ROW", help="Train this row; may be repeated.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of all rows.")
    ] = None,
) -> None:
    """Train and compare the rows of a table, each with several seeds."""
    need_extra("training", "train")
    from ranfer.config import ExperimentConfig, parse, read_yaml
    from ranfer.experiment import run_table

    need_extra("reports", "evaluate")
    table = parse(ExperimentConfig, read_yaml(file), str(file))
    with stoppable(f"stopped; what is done is kept in {folder}, and the same command goes on there"):
        fine = run_table(
            table,
            folder,
            out,
            changes=changes or [],
            only=only or [],
            report=report,
            command=shlex.join(["ranfer", *sys.argv[1:]]),
            complain=lambda line: err.print(line, markup=False),
        )
    out.print(f"the comparison: {(report or folder) / 'experiment.md'}", markup=False, soft_wrap=True)
    if not fine:
        raise typer.Exit(1)


@app.command()
def export(
    weights: Annotated[
        list[Path],
        typer.Option(help="A checkpoint. Given several times: the mean of the weights of checkpoints of one network."),
    ],
    file: Annotated[Path, typer.Option("--out", metavar="FILE.onnx", help="The file to write.")],
    data: Annotated[
        str | None,
        typer.Option(
            "--calibrate", metavar="DATA", help="Choose the temperature and the trust threshold on these faces."
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Split of DATA to calibrate on.")] = "valid",
    calibrate_as: Annotated[
        File, typer.Option(help="Copy temperature and trust threshold from another file that ranfer exported.")
    ] = None,
    views: Annotated[
        int,
        typer.Option(
            metavar="1|2|6",
            help="Views of a face whose probabilities are averaged: 1; 2, also its mirror image, in twice the time; 6, "
            "also both rotated slightly to either side where the first two are unsure.",
        ),
    ] = 1,
    full: Annotated[bool, typer.Option("--float32", help="Keep weights as float32, in twice the space.")] = False,
    backbone: Backbone = None,
) -> None:
    """Write one ONNX file that does everything from pixels to calibrated probabilities."""
    need_extra("export", "train")
    from ranfer.calibration import calibrate, calibration_of
    from ranfer.export import export, load_mean
    from ranfer.files import refuse_overwriting
    from ranfer.onnx_file import round_weights

    if file.suffix.lower() != ".onnx":
        raise ConfigError(f"--out {file}: expected the name of an ONNX file, which ends in .onnx")
    refuse_overwriting([file], [*weights, calibrate_as])
    if data is not None and calibrate_as is not None:
        raise ConfigError("give only one of --calibrate and --calibrate-as")
    if views not in (1, 2, 6):
        raise ConfigError(f"--views must be 1, 2 or 6, got {views}")
    trained = load_mean(weights, backbone)
    trained.views = views
    if not full:
        round_weights(trained.model)  # before calibration, which is to be that of the weights in the file
    fitted = None
    if data is not None:
        with showing(err) as bar:
            fitted = calibrate(trained.on_best_device(), data, split, bar("calibrating"))
    elif calibrate_as is not None:
        fitted = calibration_of(calibrate_as, trained.description["model"], views)
    if fitted is not None:
        out.print(str(fitted), markup=False)
    worst = export(trained, file, fitted, half=not full)
    size = file.stat().st_size / 1e6
    out.print(f"{file}: {size:.1f} MB; differs from PyTorch by {worst:.1e} at most", markup=False)


app.command()(evaluate)


def main() -> None:
    """The command ``ranfer``."""
    try:
        app()
    except KeyboardInterrupt:  # before a command has begun
        err.print("stopped")
        sys.exit(130)
