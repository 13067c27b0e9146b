"""The report on a terminal (rich); plain when piped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from xent_verify.core.model import Defect, Finding, Report
from xent_verify.report import frames
from xent_verify.report.safe import readable
from xent_verify.report.terminal import console, written
from xent_verify.report.words import (
    ILL_CONDITIONED_LEGEND,
    count_text,
    finding_lines,
    headline,
    ill_conditioned,
    maximum_text,
    number_text,
    padded,
    quantile_text,
    share_text,
    verdict_of,
    verdict_text,
)

__all__ = ["render_finding", "render_text"]

_VERDICT_WIDTH = 34
_NARROW = 76
"""Columns below which a result is told in lines of its own, not in a row of a table."""

_STYLES = {
    "pass": "green",
    "warn": "yellow",
    "fail": "bold red",
    "known": "magenta",
    "incomplete": "yellow",
    "unchecked": "dim",
    "info": "dim",
}


def render_text(report: Report, *, color: bool | None = None, width: int | None = None) -> str:
    """Table, failures and warnings in words, verdict."""
    report = readable(report)
    made = console(color=color, width=width)
    for table in _stacked(report) if made.width < _NARROW else _tables(report):
        made.print(table)
        made.print()
    if any(map(ill_conditioned, frames.summary_rows(report))):
        made.print(Text(f"{ILL_CONDITIONED_LEGEND}\n", style="dim"))
    informed = 0
    for defect in report.defects:
        if defect.finding.severity == "info":
            informed += len(defect.found)
        elif defect.finding.label == "known":
            made.print(_known(defect))
        else:
            made.print(_finding(defect.finding, f"{defect.target} · {defect.op} · {', '.join(defect.found)}"))
    for line in report.incomplete:
        made.print(Text(f"not completed: {line}", style=_STYLES["warn"]))
    if informed:
        made.print(f"{informed} more worth knowing (severity info): see the JSON or findings.md.\n")
    made.print(Text(headline(report), style=_STYLES[verdict_of(report)]))
    return written(made)


def render_finding(finding: Finding, where: str = "", *, color: bool | None = None, width: int | None = None) -> str:
    """One finding in full; ``where`` names target, op and dtype."""
    made = console(color=color, width=width)
    made.print(_finding(readable(finding), readable(where)))
    return written(made)


def _tables(report: Report) -> Iterator[Table]:
    """One table an operation."""
    for op, rows in frames.tables(report).items():
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        table.add_column(Text(op), overflow="fold")
        table.add_column("dtype", no_wrap=True)
        if "policy" in rows[0]:
            table.add_column("policy", no_wrap=True)
        table.add_column("verdict", overflow="fold", max_width=_VERDICT_WIDTH)
        table.add_column("class", overflow="fold", max_width=_VERDICT_WIDTH)
        for name in ("values", "max ulp", "p99 ulp", "correct", "÷ bound"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("failing values")
        if any(row["change"] for row in rows):
            table.add_column("change")
        for row in rows:
            table.add_row(*_cells(row)[: len(table.columns)])
        yield table


def _stacked(report: Report) -> Iterator[Text]:
    """One result a paragraph: what a row of the table says, in short lines."""
    for row in frames.summary_rows(report):
        text = Text(f"{row['op']} · {row['target']} · {row['dtype']}\n", style="bold")
        text.append(f"  {verdict_text(row)}", style=_STYLES[row["verdict"]])
        text.append(f"  {row['class']}\n" if row["class"] else "\n", style="not bold")
        told = [f"{count_text(row['cases'])} values", f"max ulp {maximum_text(row)}"]
        told += [f"correct {share_text(row['correctly_rounded'])}", f"÷ bound {number_text(row['max_bound_ratio'])}"]
        lines = ["; ".join(told[:2]), "; ".join(told[2:]), frames.row_classes(row), row["change"]]
        text.append("\n".join(f"  {line}" for line in lines if line), style="not bold")
        yield text


def _cells(row: Any) -> list[Text]:
    word = row["verdict"]
    cells = [Text(row["target"]), Text(row["dtype"]), *([Text(row["policy"])] if "policy" in row else [])]
    cells += [Text(verdict_text(row), style=_STYLES[word]), Text(row["class"])]
    cells += [Text(count_text(row["cases"])), Text(maximum_text(row)), Text(quantile_text(row, "p99_ulp"))]
    cells += [Text(share_text(row["correctly_rounded"])), Text(number_text(row["max_bound_ratio"]))]
    return [*cells, Text(frames.row_classes(row)), Text(row["change"])]


def _known(defect: Defect) -> Text:
    """A defect that the baseline excuses, in a line."""
    text = Text().append("KNOWN ", style=_STYLES["known"])
    text.append(" + ".join(defect.kinds), style="bold")
    text.append(f"  {defect.target} · {defect.op} · {', '.join(defect.found)}", style="dim")
    return text.append(f": {defect.finding.diagnosis or defect.finding.message}\n")


def _finding(finding: Finding, where: str) -> Text:
    text = Text().append(f"{finding.label.upper()} ", style=_STYLES[finding.label])
    text.append(f"{finding.kind}", style="bold")
    text.append(f"  {where}\n", style="dim")
    text.append(f"  {finding.text}\n")
    for label, line in finding_lines(finding):
        text.append(f"    {padded(label)}", style="dim").append(f"{line}\n")
    return text
