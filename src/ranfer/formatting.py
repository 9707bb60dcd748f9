"""How figures stand in reports: shares and differences with their intervals, Markdown tables, values for JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from ranfer.intervals import Estimate


def percent(figure: Estimate | None, digits: int = 2) -> str:
    """``84.96 (83.68 to 86.16)``: a share and its interval in percent."""
    if figure is None or not math.isfinite(figure.value):
        return "-"
    low, high = figure.interval
    return f"{100 * figure.value:.{digits}f} ({100 * low:.{digits}f} to {100 * high:.{digits}f})"


def share(value: float) -> str:
    """``84.96``: a share in percent, without an interval."""
    return f"{100 * value:.2f}" if math.isfinite(value) else "-"


def plain(figure: Estimate | None) -> str:
    """``0.283 (0.267 to 0.299)``: a figure that is no share."""
    if figure is None or not math.isfinite(figure.value):
        return "-"
    return f"{figure.value:.3f} ({figure.interval.low:.3f} to {figure.interval.high:.3f})"


def points(figure: Estimate | None) -> str:
    """``+1.47 (+0.32 to +2.62)``: a difference of shares and its interval in percentage points."""
    if figure is None or not math.isfinite(figure.value):
        return "-"
    low, high = figure.interval
    return f"{100 * figure.value:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})"


def p_value(p: float) -> str:
    """``0.0140``, or ``< 0.0001``."""
    return f"{p:.4f}" if p >= 1e-4 else "< 0.0001"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table, first column to the left and the others to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def as_json(name: str, figure: Estimate | None) -> dict[str, Any]:
    """``name`` and ``name_interval``; None where there is nothing to tell."""
    if figure is None or not math.isfinite(figure.value):
        return {name: None, f"{name}_interval": None}
    return {name: figure.value, f"{name}_interval": [float(limit) for limit in figure.interval]}


def number(value: float) -> float | None:
    """A value for JSON, which knows no NaN."""
    return float(value) if math.isfinite(value) else None
