"""The report as Markdown: ``summary.md`` (the table) and ``findings.md`` (every finding with its script)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from xent_verify.core.kinds import rank
from xent_verify.core.model import Finding, Report
from xent_verify.report import frames
from xent_verify.report.safe import code, fenced, markdown, readable
from xent_verify.report.words import (
    ILL_CONDITIONED_LEGEND,
    count_text,
    finding_lines,
    headline,
    maximum_text,
    number_text,
    quantile_text,
    share_text,
    shortened,
    verdict,
    verdict_text,
)

__all__ = ["render_findings", "render_markdown", "table"]


def render_markdown(report: Report) -> str:
    """Verdict, one table per op (targets side by side), failing findings in a line each, how it was made."""
    report = readable(report)
    tables = frames.tables(report)
    changed = any(row["change"] for rows in tables.values() for row in rows)
    blocks = [f"# Audit: {headline(report)}", _LEGEND]
    for op, rows in tables.items():
        header = [
            *_HEADER[:2],
            *(["policy"] if "policy" in rows[0] else []),
            *_HEADER[2:],
            *(["change"] if changed else []),
        ]
        blocks += [
            f"## {markdown(op)}",
            table(header, (_row(row)[: len(header)] for row in rows)),
        ]
    blocks += _listed(report, "fail", "## What failed")
    blocks += _listed(report, "known", "## What fails as the baseline says")
    if report.incomplete:
        blocks += ["## What could not be completed", "\n".join(f"- {markdown(line)}" for line in report.incomplete)]
    settings = sorted((key, value) for key, value in report.settings.items() if not isinstance(value, dict))
    if settings:
        blocks += ["## Settings", "\n".join(f"- {markdown(key)}: {code(str(value))}" for key, value in settings)]
    return "\n\n".join(blocks) + "\n"


def render_findings(report: Report) -> str:
    """Every finding, most severe first within its target, with a script that reproduces it."""
    report = readable(report)
    blocks = [f"# Findings: {headline(report)}"]
    for target in report.targets:
        for result in target.dtypes:
            if result.findings:
                blocks.append(
                    f"## {markdown(target.target)} · {markdown(target.op)} · {result.dtype}: {verdict(result)}"
                )
                blocks += [
                    _finding(finding) for finding in sorted(result.findings, key=lambda finding: rank(finding.severity))
                ]
    if len(blocks) == 1:
        blocks.append("None.")
    return "\n\n".join(blocks) + "\n"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a header cell that ends with ``:`` is right-aligned."""
    lines = [_line(name.removesuffix(":") for name in header)]
    lines.append(_line("---:" if name.endswith(":") else "---" for name in header))
    lines += [_line(row) for row in rows]
    return "\n".join(lines)


_LEGEND = (
    "Errors are in units in the last place of the true value (0.5 or less: correctly rounded); maximum and percentiles "
    "are over finite cases; a maximum is the largest *searched* for and seen unless it says *proved*, which is the exact one "
    "over a whole domain. Overflow, NaN and the like are counted apart. "
    f"*error ÷ bound* above 1 breaks the policy's a-priori bound. {ILL_CONDITIONED_LEGEND}."
)

_HEADER = (
    "target", "dtype", "verdict", "class", "values:", "max ulp:", "p99 ulp:", "p50 ulp:", "correctly rounded:", "error ÷ bound:",
    "failing values", "worst input",
)  # fmt: skip


def _row(row: Any) -> list[str]:
    cells = [code(row["target"]), row["dtype"], *([row["policy"]] if "policy" in row else [])]
    cells += [verdict_text(row), row["class"], count_text(row["cases"])]
    cells += [maximum_text(row), *(quantile_text(row, name) for name in ("p99_ulp", "p50_ulp"))]
    cells += [share_text(row["correctly_rounded"]), number_text(row["max_bound_ratio"])]
    return [*cells, frames.row_classes(row), code(shortened(row["worst_input"])), markdown(row["change"])]


def _listed(report: Report, label: str, title: str) -> list[str]:
    lines = [
        f"- **{defect.kinds[0]}** {code(defect.target)} {markdown(defect.op)} {', '.join(defect.found)}: "
        + markdown(defect.finding.diagnosis or defect.finding.text)
        for defect in report.defects
        if defect.finding.label == label
    ]
    return [title, "\n".join(lines)] if lines else []


def _finding(finding: Finding) -> str:
    lines = [f"### {finding.label}: {finding.kind}", "", markdown(finding.text), ""]
    lines += [
        f"- {label.strip()}: {code(text) if '=' in text else markdown(text)}" for label, text in finding_lines(finding)
    ]
    if finding.script:
        lines += ["", fenced(finding.script)]
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
