"""What an audit found, shown: JSON, tables, text, Markdown, plots, one HTML page, CI formats.

Everything is a function of a ``model.Report``; all renderings draw on the same frames, so they cannot disagree. Names
are loaded on first use: pandas, matplotlib, jinja2 and rich cost nothing until something needs them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xent_verify.report.files import Saved, save
    from xent_verify.report.frames import elements_frame, findings_frame, regime_frame, summary_frame
    from xent_verify.report.github import render_annotations, render_comment, render_step_summary
    from xent_verify.report.html import render_html
    from xent_verify.report.json import from_json, read_report, to_json
    from xent_verify.report.junit import render_junit
    from xent_verify.report.latex import render_latex
    from xent_verify.report.markdown import render_findings, render_markdown
    from xent_verify.report.sarif import render_sarif
    from xent_verify.report.text import render_finding, render_text

__all__ = [
    "Saved",
    "elements_frame",
    "findings_frame",
    "from_json",
    "read_report",
    "regime_frame",
    "render_annotations",
    "render_comment",
    "render_finding",
    "render_findings",
    "render_html",
    "render_junit",
    "render_latex",
    "render_markdown",
    "render_sarif",
    "render_step_summary",
    "render_text",
    "save",
    "summary_frame",
    "to_json",
]

_HOME = {
    "Saved": "files",
    "elements_frame": "frames",
    "findings_frame": "frames",
    "from_json": "json",
    "read_report": "json",
    "regime_frame": "frames",
    "render_finding": "text",
    "render_findings": "markdown",
    "render_html": "html",
    "render_latex": "latex",
    "render_markdown": "markdown",
    "render_text": "text",
    "render_annotations": "github",
    "render_comment": "github",
    "render_junit": "junit",
    "render_sarif": "sarif",
    "render_step_summary": "github",
    "save": "files",
    "summary_frame": "frames",
    "to_json": "json",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
