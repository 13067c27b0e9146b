"""GitHub Actions: annotations (ten a step are shown) and a step summary (rejected above 1 MiB)."""

from __future__ import annotations

from collections.abc import Iterator

from xent_verify.core.kinds import KINDS
from xent_verify.core.model import Defect, DtypeResult, Report, TargetResult
from xent_verify.report.markdown import render_findings, render_markdown, table
from xent_verify.report.places import Placed, placed, source_file, source_line
from xent_verify.report.safe import code, markdown, readable
from xent_verify.report.words import MARKS, call_text, headline, shortened, verdict

__all__ = ["ANNOTATIONS", "REPLAY", "SUMMARY_BYTES", "command_line", "render_annotations", "render_step_summary"]

ANNOTATIONS = 10
SUMMARY_BYTES = 1_000_000
_MESSAGE_LENGTH = 2000


def render_annotations(report: Report) -> str:
    """Workflow commands for stdout, failures first; the tenth says how many are left where there are more.

    What the baseline excuses is told in one line.
    """
    report = readable(report)
    found = [*placed(report, "fail"), *placed(report, "warn")]
    known = sum(item.finding.label == "known" for item in found)
    found = [item for item in found if item.finding.label != "known"]
    most = ANNOTATIONS - bool(known)
    shown = found if len(found) <= most else found[: most - 1]
    lines = [_annotation(item) for item in shown]
    if len(found) > len(shown):
        lines.append(f"::notice title=xent-verify::{len(found) - len(shown)} more findings stand in the step summary")
    if known:
        lines.append(f"::notice title=xent-verify::{known} known: failing as the baseline says")
    lines += [f"::warning title=xent-verify::{_escaped(f'not completed: {line}')}" for line in report.incomplete]
    return "".join(f"{line}\n" for line in lines)


def render_step_summary(report: Report) -> str:
    """Markdown for $GITHUB_STEP_SUMMARY: verdict, classes, what fails and how to see it again; the rest as far as it fits."""
    report = readable(report)
    head = "\n\n".join([f"## xent-verify: {headline(report)}", *_matrices(report), *_failing(report)]) + "\n"
    findings = render_findings(report) if report.findings else ""
    folded = [("All figures", render_markdown(report)), *([("Findings", findings)] if findings else [])]
    whole = head + "".join(f"\n<details><summary>{name}</summary>\n\n{text}\n</details>\n" for name, text in folded)
    return whole if len(whole.encode()) <= SUMMARY_BYTES else _cut(head)


def _matrices(report: Report) -> Iterator[str]:
    """Per operation targets down, formats across: mark and class."""
    for op in dict.fromkeys(target.op for target in report.targets):
        targets = [target for target in report.targets if target.op == op]
        dtypes = list(dict.fromkeys(result.dtype for target in targets for result in target.dtypes))
        yield table([markdown(op), *dtypes], (_matrix_row(target, dtypes) for target in targets))


def _matrix_row(target: TargetResult, dtypes: list[str]) -> list[str]:
    found = {result.dtype: result for result in target.dtypes}
    return [code(target.target), *(_matrix_cell(found[name]) if name in found else "·" for name in dtypes)]


def _matrix_cell(result: DtypeResult) -> str:
    word = verdict(result)
    return f"{MARKS[word]} {word}" + (f", {result.keeps}" if result.keeps else "")


def _failing(report: Report) -> Iterator[str]:
    """What fails and is not excused, a defect each, and the command that shows it again."""
    failing = [defect for defect in report.defects if defect.finding.severity == "fail"]
    if failing:
        yield "### New since the baseline" if report.known or _compared(report) else "### What fails"
        yield "\n".join(map(_failing_line, failing))


def _compared(report: Report) -> bool:
    return any(result.change for target in report.targets for result in target.dtypes)


def _failing_line(defect: Defect) -> str:
    finding = defect.finding
    lines = [f"- **{', '.join(defect.kinds)}** {code(defect.target)} {markdown(defect.op)} {', '.join(defect.found)}: "]
    lines[0] += markdown(finding.diagnosis or finding.text)
    if finding.minimal is not None:
        lines.append(f"  - input: {code(shortened(call_text(finding.minimal), 160))}")
    lines.append(f"  - what to do: {markdown(KINDS[finding.kind].remedy)}")
    lines.append(f"  - again: {code(REPLAY.format(kind=finding.kind))}")
    return "\n".join(lines)


REPLAY = "xent-verify gate --json gate.json; xent-verify replay gate.json --kind {kind} --trust"
"""Two commands that show one finding of a gate in all digits."""


def _cut(text: str) -> str:
    note = "\n\nCut here: the whole report is in the saved files.\n"
    kept = text.encode()[: SUMMARY_BYTES - len(note.encode())].decode(errors="ignore")
    return (kept if kept == text else kept[: kept.rfind("\n")]) + note


def command_line(command: str, message: str, **properties: str) -> str:
    """One workflow command: ``::error title=…::message``."""
    shown = ",".join(f"{key}={_escaped(value, property_=True)}" for key, value in properties.items())
    return f"::{command} {shown}::{_escaped(message[:_MESSAGE_LENGTH])}"


def _annotation(item: Placed) -> str:
    command = "error" if item.finding.severity == "fail" else "warning"
    properties = {"title": f"{item.finding.kind}: {item.where}"}
    file = source_file(item.target.target)
    if file:
        properties = {"file": file, "line": str(source_line(item.target.target)), **properties}
    message = item.finding.text
    if item.finding.diagnosis:
        message += f" ({item.finding.diagnosis})"
    if item.finding.severity == "fail":
        message += f"\nWhat to do: {KINDS[item.finding.kind].remedy}"
        message += f"\nSee it again: {REPLAY.format(kind=item.finding.kind)}"
    return command_line(command, message, **properties)


def _escaped(text: str, *, property_: bool = False) -> str:
    """As the runner's own toolkit escapes data and properties of workflow commands."""
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return text.replace(":", "%3A").replace(",", "%2C") if property_ else text
