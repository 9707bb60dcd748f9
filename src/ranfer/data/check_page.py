"""What a check of a dataset found, as one HTML page with thumbnails; nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np
from PIL import Image

from ranfer.data.check import CheckReport, Odd, Table, findings, tables
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
    ]
    page = _Faces(dataset) if faces else None
    for table in tables(report):
        if table.rows or table.otherwise:
            parts += [f"<h2>{escape(table.title)}</h2>", _table(table)]
        if page is not None:
            parts += map(page.group, table.examples)
    for title, wrong, lines in findings(report):
        parts.append(f'<h2 class="{"bad" if wrong else "odd"}">{escape(title)}</h2>{_items(lines)}')
    if page is not None:
        parts += ["<h2>Some faces of each expression</h2>", page.of_each_expression()]
    title = escape(f"{report.name}: {report.path}")
    head = f'<meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    return (
        f'<!doctype html>\n<html lang="en">\n<head>{head}</head>\n<body>\n' + "\n".join(parts) + "\n</body>\n</html>\n"
    )


def _table(table: Table) -> str:
    if not table.rows:
        return f"<p>{escape(table.otherwise)}</p>"
    head = "".join(f"<th>{escape(name)}</th>" for name in table.header)
    rows = [
        [f"<td{' class=odd' if isinstance(cell, Odd) else ''}>{escape(cell)}</td>" for cell in row]
        for row in table.rows
    ]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in (head, *map("".join, rows))) + "</table>"


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
