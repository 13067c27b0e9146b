"""GitHub Actions: annotations (ten a step are shown), a step summary (rejected above 1 MiB), a comment (65,536 characters)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xent_verify.core.kinds import KINDS
from xent_verify.core.model import Defect, DtypeResult, Report, TargetResult
from xent_verify.report.markdown import render_findings, render_markdown, table
from xent_verify.report.places import Placed, placed, source_file, source_line
from xent_verify.report.safe import code, markdown, readable
from xent_verify.report.words import MARKS, call_text, headline, shortened, verdict

__all__ = [
    "ANNOTATIONS",
    "COMMENT_BYTES",
    "COMMENT_MARK",
    "REPLAY",
    "SUMMARY_BYTES",
    "command_line",
    "render_annotations",
    "render_comment",
    "render_step_summary",
]

ANNOTATIONS = 10
SUMMARY_BYTES = 1_000_000
COMMENT_BYTES = 65_000
COMMENT_MARK = "<!-- xent-verify gate -->"
"""The first line of a comment: by it a later run finds the comment that it replaces."""
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


def render_step_summary(report: Report, told: Sequence[str] = ()) -> str:
    """Markdown for $GITHUB_STEP_SUMMARY: verdict, classes, what fails and how to see it again; the rest as far as it fits.

    ``told`` are lines of the gate's own: its verdict, and the known defects that are gone.
    """
    report = readable(report)
    head = _head(report, told)
    findings = render_findings(report) if report.findings else ""
    folded = [("All figures", render_markdown(report)), *([("Findings", findings)] if findings else [])]
    whole = head + "".join(f"\n<details><summary>{name}</summary>\n\n{text}\n</details>\n" for name, text in folded)
    return whole if len(whole.encode()) <= SUMMARY_BYTES else _cut(head, SUMMARY_BYTES, more=True)


def render_comment(report: Report, told: Sequence[str] = ()) -> str:
    """Markdown for a comment on a pull request or a merge request: what leads the step summary, after ``COMMENT_MARK``."""
    return _cut(f"{COMMENT_MARK}\n{_head(readable(report), told)}", COMMENT_BYTES)


def _head(report: Report, told: Sequence[str]) -> str:
    lines = ["\n".join(f"- {markdown(line)}" for line in told)] if told else []
    return "\n\n".join([f"## xent-verify: {headline(report)}", *lines, *_matrices(report), *_failing(report)]) + "\n"


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


_NOTE = "\n\nCut here: the whole report is in the saved files.\n"


def _cut(text: str, limit: int, *, more: bool = False) -> str:
    """At most ``limit`` bytes: whole lines, and a note where some, or what was to follow (``more``), are left out."""
    if len(text.encode()) > limit - len(_NOTE):
        kept = text.encode()[: limit - len(_NOTE)].decode(errors="ignore")
        return kept[: kept.rfind("\n")] + _NOTE
    return text + _NOTE if more else text


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
