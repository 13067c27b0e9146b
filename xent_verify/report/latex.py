"""The summary as LaTeX for a paper: one booktabs table an operation (``\\usepackage{booktabs}``)."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pandas as pd

from xent_verify.core.model import Report
from xent_verify.report import frames
from xent_verify.report.safe import file_part, latex, readable
from xent_verify.report.words import number_text

__all__ = ["render_latex"]

_COLUMNS = {
    "target": "target",
    "dtype": "format",
    "verdict": "verdict",
    "max_ulp": "max",
    "p99_ulp": "p99",
    "p50_ulp": "p50",
    "correctly_rounded": "c.r.",
    "max_bound_ratio": "error/bound",
    "classes": "failures",
}
_NUMBERS = ("max_ulp", "p99_ulp", "p50_ulp", "max_bound_ratio")


def render_latex(report: Report) -> str:
    """One table an operation, ready to be input. Needs jinja2, through pandas."""
    return "\n".join(_table(op, rows) for op, rows in frames.tables(readable(report)).items())


def _table(op: str, records: list[dict[str, Any]]) -> str:
    shown = pd.DataFrame([_cells(record) for record in records], columns=list(_COLUMNS)).rename(columns=_COLUMNS)
    proved = any(record["proved_over"] for record in records)
    caption = (
        f"Accuracy of {op}: errors in ulps of the true value (c.r.: share correctly rounded). Maxima are the largest "
        f"searched for{', but exact where marked proved' if proved else ''}."
    )
    form = "".join("r" if name in (*_NUMBERS, "correctly_rounded") else "l" for name in _COLUMNS)
    with warnings.catch_warnings():  # of what pandas itself imports for it
        warnings.simplefilter("ignore")
        text: str = shown.to_latex(
            index=False,
            escape=True,
            column_format=form,
            caption=latex(caption),
            label=f"tab:{file_part(op)}",
            position="htbp",
        )
    return text


def _cells(row: Any) -> dict[str, str]:
    cells = {name: str(row[name]) for name in ("target", "dtype", "verdict")}
    cells |= {name: _ascii(number_text(row[name])) for name in _NUMBERS}
    if row["proved_over"]:
        cells["max_ulp"] += f" (proved {number_text(row['proved_ulp'])}, {row['proved_over']})"
    share = row["correctly_rounded"]
    cells["correctly_rounded"] = "--" if math.isnan(share) else f"{100 * share:.2f}%"
    return cells | {"classes": _ascii(frames.row_classes(row))}


def _ascii(text: str) -> str:
    """What pdfLaTeX sets without further packages."""
    return text.replace("–", "--").replace("\u202f", "").replace(" · ", ", ")
