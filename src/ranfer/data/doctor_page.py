"""What the doctor found, as one HTML page with thumbnails; nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np
from PIL import Image

from ranfer.data.check import CheckReport
from ranfer.data.copies import Copies
from ranfer.data.dataset import Dataset
from ranfer.data.labels import label
from ranfer.errors import ImageError
from ranfer.vocab import Expression, Sample

THUMBNAIL = 56  # pixels
SHOWN = 12  # faces of each expression; lines of each list of findings are ten times as many

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #1c1c1c }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem; border-bottom: 1px solid #ddd }
table { border-collapse: collapse } td, th { padding: .15rem .8rem; text-align: right; border-bottom: 1px solid #eee }
td:first-child, th:first-child { text-align: left } th { font-weight: 600 }
figure { display: inline-block; margin: .15rem; vertical-align: top } img { display: block; border-radius: 3px }
figcaption { font-size: .65rem; color: #666; max-width: 7rem; overflow-wrap: anywhere }
.group { display: inline-block; border: 1px solid #ddd; border-radius: 4px; margin: .2rem; padding: .1rem }
.ok { color: #1a7f37 } .odd { color: #9a6700 } .bad { color: #b42318 }
"""


def to_html(report: CheckReport, dataset: Dataset, faces: bool = True) -> str:
    """The page; without ``faces`` it shows none, so that it may be published."""
    parts = [
        f"<h1>{escape(report.name)}: {escape(report.path)}</h1>",
        '<p class="bad">Some faces cannot be read, or lists name faces that are not there.</p>'
        if report.failed
        else '<p class="ok">Every face can be read.</p>',
        "<h2>Faces</h2>",
        _counts(report),
        "<h2>Pictures</h2>",
        _table(["kind", "faces"], ((kind, f"{n:,}") for kind, n in {**report.framing, **report.pictures}.items())),
    ]
    page = _Faces(dataset) if faces else None
    for title, found in (("Copies", report.copies), ("Near copies", report.near)):
        parts += [f"<h2>{title}</h2>", _copies(found, page)]
    if report.lists:
        parts += ["<h2>Lists</h2>", _lists(report)]
    for title, kind, lines in (
        ("Unreadable faces", "bad", report.unreadable),
        ("Blank faces", "odd", report.blank),
        ("Surprises while reading", "odd", report.surprises),
    ):
        if lines:
            parts.append(f'<h2 class="{kind}">{title}: {len(lines):,}</h2>{_items(lines)}')
    if page is not None:
        parts += ["<h2>Some faces of each expression</h2>", page.of_each_expression()]
    title = escape(f"{report.name}: {report.path}")
    head = f'<meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    return (
        f'<!doctype html>\n<html lang="en">\n<head>{head}</head>\n<body>\n' + "\n".join(parts) + "\n</body>\n</html>\n"
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells that are not plain words have been escaped."""
    lines = ["".join(f"<th>{name}</th>" for name in header)]
    lines += ["".join(f"<td>{cell}</td>" for cell in row) for row in rows]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _counts(report: CheckReport) -> str:
    splits = report.splits.values()
    rows = [
        ["faces", *(_against(split.faces, split.published_faces) for split in splits)],
        ["with a majority", *(_against(split.majority, split.published_majority) for split in splits)],
    ]
    for expression in Expression:
        published = [(split.published_expressions or {}).get(expression) for split in splits]
        counts = [split.expressions[expression] for split in splits]
        rows.append([str(expression), *map(_against, counts, published)])
    reasons = sorted({reason for split in splits for reason in split.excluded})
    rows += [[escape(f"left out: {why}"), *(f"{split.excluded.get(why, 0):,}" for split in splits)] for why in reasons]
    return _table(["", *map(escape, report.splits)], rows)


def _against(count: int, published: int | None) -> str:
    if published is None:
        return f"{count:,}"
    if count == published:
        return f'<span class="ok">{count:,} as published</span>'
    return f'<span class="odd">{count:,}, published {published:,}</span>'


def _copies(found: Sequence[Copies] | None, page: _Faces | None) -> str:
    if found is None:
        return "<p>Not looked for: <code>pip install 'ranfer[check]'</code> brings what that needs.</p>"
    if not any(copies.groups for copies in found):
        return "<p>None.</p>"
    rows = []
    for copies in found:
        where = ("within " if len(copies.faces) == 1 else "") + " and ".join(copies.faces)
        faces = " + ".join(f"{count:,}" for count in copies.faces.values())
        rows.append([escape(where), f"{copies.groups:,}", faces, f"{copies.conflicts:,}"])
    shown = "" if page is None else "".join(page.group(ids) for copies in found for ids in copies.examples)
    return _table(["", "groups", "faces", "with unlike labels"], rows) + f"<div>{shown}</div>"


def _lists(report: CheckReport) -> str:
    rows = (
        [escape(one.path), *(f"{n:,}" for n in (one.rows, one.faces, len(one.absent), *one.majority))]
        for one in report.lists
    )
    header = ["", "lines", "faces", "not here", "same label", "another", "none"]
    return _table(header, rows) + "".join(_items(one.absent) for one in report.lists)


def _items(lines: Sequence[str]) -> str:
    shown = "".join(f"<li>{escape(line)}</li>" for line in lines[: 10 * SHOWN])
    more = f"<p>and {len(lines) - 10 * SHOWN:,} more</p>" if len(lines) > 10 * SHOWN else ""
    return f"<ul>{shown}</ul>{more}"


class _Faces:
    """Thumbnails of a dataset's faces, with their ids and labels."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.samples = {sample.id: sample for sample in dataset.samples}
        labels = label(dataset.samples, "majority")
        self.columns = dict(zip(self.samples, labels.expressions.tolist(), strict=True))

    def group(self, ids: Sequence[str]) -> str:
        return '<span class="group">' + "".join(self.thumbnail(self.samples[face]) for face in ids) + "</span>"

    def thumbnail(self, sample: Sample) -> str:
        try:
            face = Image.fromarray(self.dataset.image(sample))
        except ImageError:
            return ""
        face.thumbnail((THUMBNAIL, THUMBNAIL))
        content = io.BytesIO()
        face.save(content, "PNG")
        source = base64.b64encode(content.getvalue()).decode("ascii")
        column = self.columns[sample.id]
        said = f"{list(Expression)[column]}" if column >= 0 else "no label"
        words = escape(f"{sample.id}, {sample.split}: {said}")
        return (
            f'<figure><img alt="{words}" width="{face.width}" height="{face.height}" '
            f'src="data:image/png;base64,{source}"><figcaption>{words}</figcaption></figure>'
        )

    def of_each_expression(self) -> str:
        """A row of faces, drawn at random with a fixed seed, for each expression that occurs."""
        generator = np.random.default_rng(0)
        rows = []
        for expression in Expression:
            ids = [face for face, column in self.columns.items() if column == expression.column]
            chosen = generator.permutation(len(ids))[:SHOWN]
            rows += [f"<div><p>{expression}</p>", *(self.thumbnail(self.samples[ids[i]]) for i in chosen), "</div>"]
        return "".join(rows)
