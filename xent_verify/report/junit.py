"""JUnit XML: one suite per target and op, one case per dtype, and one failed case per failing finding.

A failure that the baseline excuses is a skipped case: no reader counts it as passed. No times and no host names: the same
report gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from xent_verify.core.failures import MissingExtraError
from xent_verify.core.model import DtypeResult, Finding, Report, TargetResult
from xent_verify.report.safe import readable
from xent_verify.report.words import finding_lines, number_text, padded, verdict

try:
    import junitparser
except ModuleNotFoundError:  # pragma: no cover
    raise MissingExtraError("junitparser", "report", "JUnit output") from None

__all__ = ["render_junit"]


def render_junit(report: Report) -> str:
    """The report as JUnit XML."""
    report = readable(report)
    document: Any = junitparser.JUnitXml("xent-verify")
    for target in report.targets:
        suite = junitparser.TestSuite(f"{target.target} {target.op}")
        for case in _cases(target):
            suite.add_testcase(case)
        document.add_testsuite(suite)
    document.update_statistics()
    return str(document.tostring().decode()) + "\n"


def _cases(target: TargetResult) -> Iterator[junitparser.TestCase]:
    for result in target.dtypes:
        failing = [finding for finding in result.findings if finding.severity == "fail"]
        for finding in failing:
            case = junitparser.TestCase(f"{result.dtype} {finding.kind}", f"{target.target}.{target.op}")
            failure = junitparser.Failure(finding.text, finding.kind)
            failure.text = _told(finding)
            case.result = [failure]
            yield case
        known = [finding for finding in result.findings if finding.label == "known"]
        for finding in known:
            case = junitparser.TestCase(f"{result.dtype} {finding.kind}", f"{target.target}.{target.op}")
            case.result = [junitparser.Skipped(finding.text, "known")]
            yield case
        if not failing and (not known or result.incomplete):
            yield _passed(target, result)


def _passed(target: TargetResult, result: DtypeResult) -> junitparser.TestCase:
    case = junitparser.TestCase(result.dtype, f"{target.target}.{target.op}")
    if verdict(result) == "unchecked":
        case.result = [junitparser.Skipped("nothing was checked")]
    if result.incomplete:
        case.result = [junitparser.Error("; ".join(result.incomplete), "incomplete")]
    warned = [f"warning: {finding.text}" for finding in result.findings if finding.label == "warn"]
    measured = f"{result.cases} values, max {number_text(result.max_ulp)} ulp"
    case.system_out = "\n".join([measured, *warned])
    return case


def _told(finding: Finding) -> str:
    lines = [f"{padded(label)}{text}" for label, text in finding_lines(finding)]
    return "\n".join([finding.text, *lines, "", finding.script])
