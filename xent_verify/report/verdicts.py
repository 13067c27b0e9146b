"""One verdict in one small JSON document, for programs that act on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xent_verify.core.model import Defect, DtypeResult, Report
from xent_verify.report.words import call_text, coverage
from xent_verify.verdict.settings import command_of

__all__ = ["STATUS", "as_verdict"]

STATUS: Mapping[str, int] = {"PASS": 0, "LIMITED": 0, "FAIL": 1, "INCONCLUSIVE": 3}
"""Verdict -> exit status, the gravest last but one: what failed has failed, whatever could not be completed."""

_GRAVEST = ("FAIL", "INCONCLUSIVE", "LIMITED", "PASS")


def as_verdict(report: Report) -> dict[str, Any]:
    """The verdict on a report of one target.

    Returns:
        ``verdict``: PASS; LIMITED: nothing fails, and ``limits`` says what was not offered, not asked, or in which domain a
        weaker class than the policy's best is kept; FAIL: ``defects`` says what is wrong; INCONCLUSIVE: ``reason`` says why.
        ``formats``: the same for each format, with its class and domain. ``seed``, ``command``: how to see it again.
    """
    (target,) = report.targets
    formats = [_of_format(one) for one in target.dtypes]
    words = {one["verdict"] for one in formats}
    verdict = next((word for word in _GRAVEST if word in words), "INCONCLUSIVE")
    reasons = [one["reason"] for one in formats if one["reason"]]
    if report.interrupted and verdict != "FAIL":
        verdict, reasons = "INCONCLUSIVE", ["interrupted"]
    return {
        "schema": 1,
        "verdict": verdict,
        "reason": "; ".join(dict.fromkeys(reasons)),
        "limits": list(dict.fromkeys(text for one in formats for text in one["limits"])),
        "target": target.target,
        "op": target.op,
        "formats": formats,
        "defects": [_defect(one) for one in target.defects if one.finding.severity != "info"],
        "seed": target.settings.get("seed"),
        "command": command_of(target),
    }


def _of_format(result: DtypeResult) -> dict[str, Any]:
    limits = [*coverage(result)]
    if result.domain:
        limits.append(f"standard for {result.domain}")
    reason = "; ".join(result.incomplete) or ("" if result.cases else "nothing was checked")
    failed = any(finding.severity == "fail" for finding in result.findings)
    verdict = "FAIL" if failed else "INCONCLUSIVE" if reason else "LIMITED" if limits else "PASS"
    return {
        "dtype": result.dtype,
        "verdict": verdict,
        "class": result.keeps,
        "domain": result.domain,
        "limits": limits,
        "reason": reason,
        "values": result.cases,
    }


def _defect(defect: Defect) -> dict[str, Any]:
    """What is wrong, and the smallest call that shows it."""
    finding = defect.finding
    example = finding.minimal
    return {
        "severity": finding.severity,
        "kinds": list(defect.kinds),
        "dtypes": list(defect.found),
        "cause": finding.diagnosis,
        "message": finding.message,
        "call": "" if example is None else call_text(example),
        "index": [] if example is None else list(example.index),
        "true": "" if example is None else example.true_digits,
        "given": "" if example is None or not example.true_digits else repr(float(example.observed)),
    }
