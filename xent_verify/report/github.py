"""GitHub Actions: annotations (ten a step are shown) and a step summary (rejected above 1 MiB)."""

from __future__ import annotations

from xent_verify.model import Report
from xent_verify.report.markdown import render_findings, render_markdown
from xent_verify.report.places import Placed, placed, source_file
from xent_verify.report.safe import readable

__all__ = ["ANNOTATIONS", "SUMMARY_BYTES", "render_annotations", "render_step_summary"]

ANNOTATIONS = 10
SUMMARY_BYTES = 1_000_000
_MESSAGE_LENGTH = 2000


def render_annotations(report: Report) -> str:
    """Workflow commands for stdout, failures first; the tenth says how many are left where there are more."""
    report = readable(report)
    found = [*placed(report, "fail"), *placed(report, "warn")]
    shown = found if len(found) <= ANNOTATIONS else found[: ANNOTATIONS - 1]
    lines = [_annotation(item) for item in shown]
    if len(found) > len(shown):
        lines.append(f"::notice title=xent-verify::{len(found) - len(shown)} more findings stand in the step summary")
    lines += [f"::warning title=xent-verify::{_escaped(f'not completed: {line}')}" for line in report.incomplete]
    return "".join(f"{line}\n" for line in lines)


def render_step_summary(report: Report) -> str:
    """Markdown for $GITHUB_STEP_SUMMARY: the summary, then findings as far as they fit."""
    text = render_markdown(report)
    findings = render_findings(report) if report.findings else ""
    whole = f"{text}\n<details><summary>Findings</summary>\n\n{findings}\n</details>\n" if findings else text
    return whole if len(whole.encode()) <= SUMMARY_BYTES else _cut(text)


def _cut(text: str) -> str:
    note = "\n\nCut here: the whole report is in the saved files.\n"
    kept = text.encode()[: SUMMARY_BYTES - len(note.encode())].decode(errors="ignore")
    return (kept if kept == text else kept[: kept.rfind("\n")]) + note


def _annotation(item: Placed) -> str:
    command = "error" if item.finding.severity == "fail" else "warning"
    properties = {"title": f"{item.finding.kind}: {item.where}"}
    file = source_file(item.target.target)
    if file:
        properties = {"file": file, **properties}
    message = item.finding.text
    if item.finding.diagnosis:
        message += f" ({item.finding.diagnosis})"
    shown = ",".join(f"{key}={_escaped(value, property_=True)}" for key, value in properties.items())
    return f"::{command} {shown}::{_escaped(message[:_MESSAGE_LENGTH])}"


def _escaped(text: str, *, property_: bool = False) -> str:
    """As the runner's own toolkit escapes data and properties of workflow commands."""
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return text.replace(":", "%3A").replace(",", "%2C") if property_ else text
