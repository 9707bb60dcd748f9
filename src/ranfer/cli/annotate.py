"""``ranfer annotate``: pose and occlusion of faces, and the subsets that they make."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from ranfer.cli.console import Data, err, out, progress_bars
from ranfer.errors import ConfigError

FORMATS = ("manifest", "lists", "csv", "coco", "labelstudio", "attributes")
annotate = typer.Typer(no_args_is_help=True, help="Pose and occlusion of faces, and the subsets that they make.")


@annotate.command()
def auto(
    data: Data,
    split: Annotated[str, typer.Option(help="Split whose faces are estimated.")],
    file: Annotated[Path, typer.Option("--out", metavar="FILE.jsonl", help="A line a face; a stopped run goes on.")],
) -> None:
    """Estimate pose and occlusion of every face."""
    from ranfer.data import open_dataset
    from ranfer.estimate import estimate
    from ranfer.faces.attributes import AttributeModel

    try:
        with progress_bars() as progress:
            found = estimate(
                open_dataset(data),
                split,
                file,
                AttributeModel(),
                progress=lambda done, total: progress("faces", done, total),
            )
    except KeyboardInterrupt:
        err.print(f"stopped; what is done lies in {file}, and the same command goes on from there", markup=False)
        raise typer.Exit(130) from None
    out.print(f"{len(found.records):,} faces in {file}", markup=False, soft_wrap=True)
    if find_spec("matplotlib") is not None and found.records:
        from ranfer.plots import plot_attributes

        picture = file.with_suffix(".png")
        plot_attributes(list(found.records.values()), picture)
        out.print(f"their distribution: {picture}", markup=False, soft_wrap=True)
    for line in found.errors.values():
        err.print(line, markup=False)
    if found.errors:
        raise typer.Exit(1)


@annotate.command()
def export(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="ATTRIBUTES",
            help="A JSONL of attributes, Label Studio's JSON, a subset manifest, or a published list.",
        ),
    ],
    data: Data,
    split: Annotated[str, typer.Option(help="Split whose faces are taken; a manifest or list names its own.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder for the files.")],
    formats: Annotated[
        str, typer.Option("--format", help=f"Any of {', '.join(FORMATS)}, joined by commas.")
    ] = "manifest",
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[KIND=]P", help="Least probability, 0.5 unless given, for all or one kind; may be repeated."
        ),
    ] = None,
    label_rule: Annotated[
        Literal["majority", "probability"], typer.Option(help="How votes become the expression of a face.")
    ] = "majority",
) -> None:
    """Write subsets (pose over 30 and 45, each occlusion, any, none) as manifests, lists, CSV, COCO or Label Studio."""
    from ranfer.data import open_dataset
    from ranfer.data.exchange import export_subsets, open_source

    chosen = [name.strip() for name in formats.split(",") if name.strip()]
    if unknown := [name for name in chosen if name not in FORMATS]:
        raise ConfigError(f"--format: no format is called {unknown[0]!r}; there are {', '.join(FORMATS)}")
    limits = _thresholds(threshold or [])
    found = open_source(source, open_dataset(data), split, limits, label_rule)
    files = export_subsets(found, folder, chosen)
    for surprise in found.surprises:
        err.print(surprise, markup=False)
    table = Table("", box=None, pad_edge=False)
    for heading in ("faces", "untold", "rule"):
        table.add_column(heading, justify="left" if heading == "rule" else "right")
    for subset in found.subsets:
        table.add_row(escape(subset.name), f"{len(subset.faces):,}", f"{subset.untold:,}", escape(subset.rule))
    out.print(table)
    out.print(f"{len(found.faces):,} faces, {len(files)} files in {folder}", markup=False, soft_wrap=True)


def _thresholds(given: list[str]) -> dict[str, float]:
    from ranfer.data.rules import LIMITED

    limits: dict[str, float] = {}
    for text in sorted(given, key=lambda text: "=" in text):  # a kind's own counts, wherever it stands
        name, _, number = text.rpartition("=")
        try:
            limits |= dict.fromkeys([name] if name else LIMITED, float(number))
        except ValueError:
            raise ConfigError(f"--threshold {text}: expected a probability, or KIND=PROBABILITY") from None
    return limits
