"""``ranfer data``: check, prepare and cover datasets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ranfer.bars import showing
from ranfer.cli.console import File, LabelRule, err, folder_option, out, stoppable, tell_unreadable

data = typer.Typer(no_args_is_help=True, help="Check and prepare datasets, and write faces with synthetic occlusion.")


@data.command("check")
def data_check(
    dataset: Annotated[str, typer.Argument(metavar="DATA", help="FORMAT:PATH, for example ferplus:faces.zip.")],
    lists: Annotated[list[Path] | None, typer.Option("--list", help="A list of faces; may be repeated.")] = None,
    file: Annotated[File, typer.Option("--json", help="Also write the findings to this file.")] = None,
    page: Annotated[File, typer.Option("--html", help="Also write a page with thumbnails to this file.")] = None,
    faces: Annotated[bool, typer.Option(help="Show faces on the page; --no-faces to publish it.")] = True,
    originals: Annotated[
        File, typer.Option(help="Write the ids of faces of other splits that are not a copy of a training face.")
    ] = None,
) -> None:
    """Report what is in a dataset, and what is wrong with it; status 1 if faces are unreadable or missing."""
    from ranfer.data import open_dataset
    from ranfer.data.check import check, print_report
    from ranfer.data.check_page import to_html
    from ranfer.data.dataset import refuse_overwriting_data
    from ranfer.data.face_lists import read_list
    from ranfer.data.manifest import verify
    from ranfer.data.textfiles import to_jsonl
    from ranfer.files import write_text

    opened = open_dataset(dataset)
    refuse_overwriting_data(filter(None, (file, page, originals)), opened, lists or [])
    if opened.cache is not None:
        verify(opened.path)
    with showing(err) as bar:
        report = check(opened, [read_list(path) for path in lists or []], bar("faces"))
    print_report(report, out)
    if file is not None:
        write_text(file, json.dumps(report.to_dict(), indent=2) + "\n")
    if page is not None:
        write_text(page, to_html(report, opened, faces))
    if originals is not None:
        write_text(originals, to_jsonl({"id": face} for face in report.originals))
    if report.failed:
        err.print(f"{dataset}: faces cannot be read, or lists name faces that are not there", markup=False)
        raise typer.Exit(1)


@data.command("prepare")
def data_prepare(
    dataset: Annotated[str, typer.Argument(metavar="DATA", help="FORMAT:PATH, for example affectnet:folder.")],
    file: Annotated[
        Path, typer.Option("--out", metavar="FILE.jsonl", help="The manifest; the faces are written beside it.")
    ],
    size: Annotated[int, typer.Option(min=8, help="Side of the faces, in pixels.")] = 112,
    grey: Annotated[bool, typer.Option("--grey", help="Store faces in grey, for grey models.")] = False,
    find: Annotated[
        bool,
        typer.Option("--find", help="The pictures are photos: detect the largest face of each (always done for sfew)."),
    ] = False,
) -> None:
    """Crop and resize all faces once, for manifest:FILE.jsonl; a stopped run continues.

    Status 1 if some are unreadable.
    """
    from ranfer.data import open_dataset
    from ranfer.data.manifest import prepare
    from ranfer.faces.detectors import open_detector

    opened = open_dataset(dataset)
    find |= opened.stills
    stopped = f"stopped; what is done lies beside {file}, and the same command goes on there"
    with stoppable(stopped), showing(err) as bar:
        detector = open_detector("ranfer", threads=1) if find else None
        unreadable, missed = prepare(opened, file, size, 1 if grey else 3, detector, bar("faces"))
    found = f", {missed:,} of them without a face that was found" if find else ""
    out.print(f"{file}: {len(opened.samples):,} faces of {size} pixels{found}", markup=False, soft_wrap=True)
    tell_unreadable(unreadable)


@data.command("cover")
def data_cover(
    dataset: Annotated[str, typer.Argument(metavar="DATA", help="FORMAT:PATH, for example ferplus:faces.zip.")],
    split: Annotated[str, typer.Option(help="Split whose faces are taken.")],
    folder: Annotated[Path, folder_option(help="Folder for the pictures and covered.jsonl.")],
    label_rule: LabelRule = "majority",
    faces: Annotated[int, typer.Option(min=1, help="How many faces of the split get synthetic occlusion.")] = 400,
    kinds: Annotated[
        str, typer.Option(metavar="KIND,...|all", help="Objects to draw over them (default: six kinds).")
    ] = "",
) -> None:
    """Write the occluded faces of evaluate --occlude as pictures, for a model that runs elsewhere.

    Status 1 if faces are unreadable; others take their place.
    """
    from ranfer import synthetic_occlusion
    from ranfer.data import open_dataset

    chosen = synthetic_occlusion.parse_kinds(kinds)
    opened = open_dataset(dataset)
    subjects = synthetic_occlusion.prepare_subjects(opened, split, label_rule, faces)
    about = {"data": dataset, "split": split, "label_rule": label_rule}
    with showing(err) as bar:
        count = synthetic_occlusion.write_covered(subjects, chosen, folder, about, bar("pictures"))
    out.print(f"{folder}: {count:,} pictures of {len(subjects.ids):,} faces", markup=False, soft_wrap=True)
    tell_unreadable(subjects.unreadable)
