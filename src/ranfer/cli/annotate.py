"""``ranfer annotate``: pose and occlusion of faces, and the subsets that they make."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from ranfer.bars import showing
from ranfer.cli.console import Data, File, LabelRule, err, folder_option, out, stoppable, tell_unreadable
from ranfer.errors import ConfigError, DataError
from ranfer.extras import need_extra

if TYPE_CHECKING:
    from ranfer.annotate.agreement import Coefficient, Gold
    from ranfer.annotate.study import Person
    from ranfer.data.dataset import Dataset
    from ranfer.intervals import Estimate

annotate = typer.Typer(no_args_is_help=True, help="Pose and occlusion of faces, and the subsets that they make.")


@annotate.command()
def auto(
    data: Data,
    split: Annotated[str, typer.Option(help="Split whose faces are estimated.")],
    file: Annotated[
        Path, typer.Option("--out", metavar="FILE.jsonl", help="One line per face; an interrupted run resumes.")
    ],
) -> None:
    """Estimate pose and occlusion of every face."""
    from ranfer.data import open_dataset
    from ranfer.data.attributes import about_path
    from ranfer.data.dataset import refuse_overwriting_data
    from ranfer.estimate import estimate
    from ranfer.faces.attributes import AttributeModel

    dataset = open_dataset(data)
    _tell_surprises(dataset)
    picture = file.with_suffix(".plot.png")
    refuse_overwriting_data([file, about_path(file), picture], dataset)
    if dataset.path.is_dir() and file.resolve().is_relative_to(dataset.path.resolve()):
        raise ConfigError(f"--out {file}: is inside the dataset, where its plot could count as a face; choose another")
    stopped = f"stopped; finished faces are in {file}, and the same command resumes"
    with stoppable(stopped), showing(err) as bar:
        found = estimate(dataset, split, file, AttributeModel(), progress=bar("faces"))
    out.print(f"{len(found.records):,} faces in {file}", markup=False, soft_wrap=True)
    if find_spec("matplotlib") is not None and found.records:
        from ranfer.plots import plot_attributes

        plot_attributes(list(found.records.values()), picture)
        out.print(f"plot: {picture}", markup=False, soft_wrap=True)
    tell_unreadable(found.errors.values())


@annotate.command()
def export(
    source: Annotated[
        str,
        typer.Argument(
            metavar="ATTRIBUTES",
            help="A JSONL of attributes, Label Studio's JSON, a subset manifest, a published list, or the database of "
            "annotate serve.",
        ),
    ],
    data: Data,
    split: Annotated[str, typer.Option(help="Split whose faces are taken; a manifest or list names its own.")],
    folder: Annotated[Path, folder_option(help="Folder for the files.")],
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help="Any of manifest, lists, csv, coco, labelstudio, attributes, joined by commas, or repeated "
            "(default: manifest).",
        ),
    ] = None,
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[KIND=]P", help="Smallest probability (default 0.5), for all kinds or one; may be repeated."
        ),
    ] = None,
    label_rule: LabelRule = "majority",
    shares: Annotated[
        bool,
        typer.Option(
            "--shares",
            help="For a database: keep faces on which annotators disagree, with the shares of their answers.",
        ),
    ] = False,
) -> None:
    """Write subsets (pose over 30 and 45, each occlusion, any, none) as manifests, lists, CSV, COCO or Label Studio."""
    from ranfer.data import open_dataset
    from ranfer.data.exchange import check_formats, export_subsets, open_source

    chosen = [name.strip() for words in formats or ["manifest"] for name in words.split(",") if name.strip()]
    check_formats(chosen)
    limits = _thresholds(threshold or [])
    dataset = open_dataset(data)
    database = _is_database(source)
    if shares and not database:
        raise ConfigError(f"--shares needs a database of annotate serve, and {source} is not one")
    path = _decided(source, folder, shares) if database else Path(source)
    found = open_source(path, dataset, split, limits, label_rule)
    surprises = list(found.surprises)
    files = export_subsets(found, folder, chosen, surprises)
    for surprise in surprises:
        err.print(surprise, markup=False)
    table = Table("", box=None, pad_edge=False)
    for heading in ("faces", "unknown", "rule"):
        table.add_column(heading, justify="left" if heading == "rule" else "right")
    for subset in found.subsets:
        table.add_row(escape(subset.name), f"{len(subset.faces):,}", f"{subset.untold:,}", escape(subset.rule))
    out.print(table)
    out.print(f"{len(found.faces):,} faces, {len(files)} files in {folder}", markup=False, soft_wrap=True)


@annotate.command()
def serve(
    data: Data,
    split: Annotated[str, typer.Option(help="Split whose faces are shown.")],
    attributes: Annotated[str, typer.Option(help="Questions, joined by commas: occlusion, pose-bin.")],
    annotator: Annotated[list[str], typer.Option(metavar="NAME", help="Gets a personal link; may be repeated.")],
    adjudicator: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Sees the answers where annotators disagree, and decides.")
    ] = None,
    database: Annotated[
        str, typer.Option(metavar="FILE|URL", help="An SQLite file, or postgresql+psycopg://USER@HOST/NAME.")
    ] = "annotations.sqlite",
    faces: Annotated[File, typer.Option(metavar="LIST", help="Show only these faces of the split.")] = None,
    order: Annotated[
        Literal["random", "uncertain", "disagreements"],
        typer.Option(help="Which faces come first: random, least certain estimates, or disagreements."),
    ] = "random",
    prefill: Annotated[
        File, typer.Option(metavar="FILE", help="Estimates to suggest: from annotate auto, or any export.")
    ] = None,
    blind: Annotated[bool, typer.Option("--blind", help="Use --prefill for the order only; suggest nothing.")] = False,
    gold: Annotated[
        File,
        typer.Option(metavar="FILE", help="Faces with known answers, mixed in as one in ten, to measure annotators."),
    ] = None,
    key: Annotated[
        list[str] | None, typer.Option(metavar="NAME=KEY", help="As in occlusion.upper=k or undo=q; may be repeated.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 8640,
    host_name: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Another name of this server; may be repeated.")
    ] = None,
) -> None:
    """Annotate in the browser, with a link for each person; stop with Ctrl-C, resume with the same command."""
    need_extra("annotating", "annotate")
    from ranfer.annotate.questions import choose
    from ranfer.annotate.serve import serve
    from ranfer.annotate.study import open_study
    from ranfer.data import open_dataset
    from ranfer.data.dataset import first_few

    questions, actions = choose(attributes, key or [])
    dataset = open_dataset(data)
    _tell_surprises(dataset)
    study = open_study(
        dataset,
        split,
        database,
        questions,
        actions,
        annotator,
        adjudicator or [],
        faces=faces,
        order=order,
        prefill=prefill,
        blind=blind,
        gold=gold,
    )

    def ready(links: list[tuple[Person, str]]) -> None:
        out.print(f"{len(study.samples):,} faces; answers in {study.store.name}", markup=False, soft_wrap=True)
        if gone := study.gone:
            told = f"{len(gone):,} answered faces are no longer in the data: {first_few(gone)}"
            err.print(told, markup=False, soft_wrap=True)
        if host not in ("127.0.0.1", "::1", "localhost"):
            err.print("links are sent unencrypted: use a network whose users you trust", markup=False)
        for person, link in links:
            out.print(
                f"{person.name}{' (adjudicator)' if person.adjudicator else ''}: {link}", markup=False, soft_wrap=True
            )

    with study.store:
        serve(study, host, port, host_name or [], ready)


@annotate.command()
def agreement(
    database: Annotated[str, typer.Argument(metavar="DATABASE", help="What annotate serve wrote, or its URL.")],
    folder: Annotated[Path, folder_option(help="Folder for agreement.json and agreement.png.")],
    gold: Annotated[
        File, typer.Option(metavar="FILE", help="Known answers, as for annotate serve; needs --data.")
    ] = None,
    data: Annotated[str | None, typer.Option(metavar="DATA", help="The dataset; needed for --gold.")] = None,
    replicates: Annotated[int, typer.Option(min=1, help="Bootstrap replicates for the intervals.")] = 400,
) -> None:
    """Measure how far annotators agree, and how often each is correct on gold faces, with intervals."""
    need_extra("annotating", "annotate")
    from ranfer.annotate.agreement import measure, measure_gold, write_agreement
    from ranfer.annotate.questions import choose
    from ranfer.annotate.store import Store
    from ranfer.data import open_dataset
    from ranfer.data.exchange import open_source
    from ranfer.plots import plot_agreement

    if (gold is None) != (data is None):
        raise ConfigError("--gold and --data go together")
    with Store(database, create=False) as store:
        about = store.study()
        answers = store.standing()
    questions, _ = choose(",".join(about["attributes"]))
    known = {}
    if gold is not None and data is not None:
        listed = open_source(gold, open_dataset(data), about["split"]).faces
        known = {face.sample.id: face.attributes for face in listed}
    with showing(err) as bar:
        found = measure(answers, questions, replicates, bar("coefficients"))
    right = measure_gold(answers, questions, known)
    if not found and not right:
        raise DataError(f"{store.name}: agreement needs answers of at least two annotators")
    write_agreement(folder / "agreement.json", about, found, right)
    plot_agreement([(f"{row.attribute} {row.value}".strip(), row.coefficient, " ".join(row.annotators), row.figure)
                    for row in found], folder / "agreement.png")  # fmt: skip
    _print_agreement(found, right)
    if not found:
        out.print("agreement needs answers of at least two annotators")
    out.print(f"in {folder}", markup=False, soft_wrap=True)


def _print_agreement(found: Sequence[Coefficient], right: Sequence[Gold]) -> None:
    attributes = [row.attribute for row in found] + [gold.attribute for gold in right]
    table = Table(box=None, pad_edge=False)
    # Where the table is too wide, it is the names of people that wrap.
    for heading, names in (("attribute", attributes), ("value", [row.value for row in found])):
        table.add_column(heading, no_wrap=True, min_width=max(map(len, names), default=0))
    table.add_column("coefficient", no_wrap=True)
    table.add_column("annotators", overflow="fold")
    for heading in ("faces", "figure", "95 % interval"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in found:
        people = escape(", ".join(row.annotators))
        table.add_row(row.attribute, row.value, row.coefficient, people, f"{row.faces:,}", *_figure(row.figure))
    for gold in right:
        people = escape(gold.annotator)
        table.add_row(gold.attribute, "", "correct on gold", people, f"{gold.faces:,}", *_figure(gold.figure))
    out.print(table)


def _figure(figure: Estimate) -> tuple[str, str]:
    value, (low, high) = figure
    return ("-", "") if isnan(value) else (f"{value:.3f}", f"{low:.3f} to {high:.3f}")


def _tell_surprises(dataset: Dataset) -> None:
    from ranfer.data.dataset import first_few

    if found := dataset.surprises:
        err.print(f"surprises in the data ({len(found):,}): {first_few(found)}", markup=False, soft_wrap=True)


def _is_database(source: str) -> bool:
    if find_spec("sqlalchemy") is None:  # then nobody made one here
        return False
    from ranfer.annotate.store import is_database

    return is_database(source)


def _decided(source: str, folder: Path, shares: bool) -> Path:
    need_extra("annotating", "annotate")
    from ranfer.annotate.decide import write_decided
    from ranfer.annotate.store import Store

    with Store(source, create=False) as store:
        path, found = write_decided(store, folder, shares)
    if found.waiting:
        err.print(f"{len(found.waiting):,} faces wait for a decision and are left out", markup=False)
    return path


def _thresholds(given: list[str]) -> dict[str, float]:
    from ranfer.data.subsets import LIMITED

    limits: dict[str, float] = {}
    for text in sorted(given, key=lambda text: "=" in text):  # a kind's own counts, wherever it stands
        name, _, number = text.rpartition("=")
        try:
            limits |= dict.fromkeys([name] if name else LIMITED, float(number))
        except ValueError:
            raise ConfigError(f"--threshold {text}: expected a probability, or KIND=PROBABILITY") from None
    return limits
