"""SARIF 2.1.0, for code scanning: a rule per kind of finding, a result per finding.

Results carry a logical location (target, op, dtype) and, where the target's name tells it, its file. The fingerprint
depends on target, op, dtype and kind alone, so a finding keeps its identity while its numbers move.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any
from urllib.parse import quote

from xent_verify.model import FINDING_KINDS, Report
from xent_verify.report.json import finding_json
from xent_verify.report.places import Placed, placed, source_file
from xent_verify.report.words import finding_lines

__all__ = ["RULES", "render_sarif"]

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

_LEVELS = {"fail": "error", "warn": "warning", "info": "note"}

RULES = dict(
    zip(
        FINDING_KINDS,
        (
            "A finite result came out infinite",
            "A representable non-zero result came out 0",
            "The logarithm of a probability that had rounded to 0",
            "A result that is a number came out NaN",
            "The error exceeds the a-priori bound of a sound algorithm",
            "A special value is wrong (infinite, empty or masked input)",
            "A NaN in the input does not show in the result",
            "A subnormal result was flushed to 0",
            "The result has the wrong shape",
            "The result has the wrong dtype",
            "The input was changed",
            "The same call gives different results",
            "A result depends on the calls before it",
            "A row's result depends on other rows",
            "A result depends on the memory layout or the axis",
            "A law of the operation does not hold",
            "The call raised",
            "The process died",
            "The call did not return in time",
            "Not offered, so not tested",
        ),
        strict=True,
    )
)
"""What each kind of finding means, in a line."""


def render_sarif(report: Report) -> str:
    """The report as SARIF."""
    found = list(placed(report, "fail", "warn", "info"))
    kinds = [kind for kind in FINDING_KINDS if any(item.finding.kind == kind for item in found)]
    driver = {"name": "xent-verify", "rules": [_rule(kind) for kind in kinds]}
    run = {"tool": {"driver": driver}, "results": [_result(item, kinds) for item in found]}
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1, allow_nan=False) + "\n"


def _rule(kind: str) -> dict[str, Any]:
    return {"id": kind, "name": kind.title().replace("_", ""), "shortDescription": {"text": RULES[kind]}}


def _result(item: Placed, kinds: list[str]) -> dict[str, Any]:
    finding = item.finding
    lines = [f"{label}: {text}" for label, text in finding_lines(finding)]
    return {
        "ruleId": finding.kind,
        "ruleIndex": kinds.index(finding.kind),
        "level": _LEVELS[finding.severity],
        "message": {"text": "\n".join([f"{item.where}: {finding.message}", *lines])},
        "locations": [_location(item)],
        "partialFingerprints": {"finding/v1": _fingerprint(item)},
        "properties": {key: value for key, value in finding_json(finding).items() if key in _KEPT},
    }


_KEPT = ("count", "cases", "share", "regimes", "diagnosis", "script")


def _location(item: Placed) -> dict[str, Any]:
    location: dict[str, Any] = {
        "logicalLocations": [{"fullyQualifiedName": item.where, "name": item.target.target, "kind": "function"}]
    }
    file = source_file(item.target.target)
    if file:
        location["physicalLocation"] = {"artifactLocation": {"uri": quote(file)}, "region": {"startLine": 1}}
    return location


def _fingerprint(item: Placed) -> str:
    identity = (item.target.target, item.target.op, item.result.dtype, item.finding.kind, *item.finding.regimes[:1])
    return hashlib.sha256("\0".join(identity).encode()).hexdigest()[:32]
