"""SARIF 2.1.0, for code scanning: a rule per kind of finding, a result per finding.

Results carry a logical location (target, op, dtype) and, where the target's name tells it, its file. The fingerprint
depends on target, op, dtype and kind alone, so a finding keeps its identity while its numbers move.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any
from urllib.parse import quote

from xent_verify.core.kinds import KINDS, SEVERITIES
from xent_verify.core.model import Report
from xent_verify.report.json import finding_json
from xent_verify.report.places import Placed, placed, source_file, source_line
from xent_verify.report.safe import readable
from xent_verify.report.words import finding_lines

__all__ = ["render_sarif"]

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

_LEVELS = {"fail": "error", "warn": "warning", "info": "note"}


def render_sarif(report: Report) -> str:
    """The report as SARIF."""
    report = readable(report)
    found = list(placed(report, *SEVERITIES))
    kinds = [kind for kind in KINDS if any(item.finding.kind == kind for item in found)]
    driver = {"name": "xent-verify", "rules": [_rule(kind) for kind in kinds]}
    run = {"tool": {"driver": driver}, "results": [_result(item, kinds) for item in found]}
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1, allow_nan=False) + "\n"


def _rule(kind: str) -> dict[str, Any]:
    return {
        "id": kind,
        "name": kind.title().replace("_", ""),
        "shortDescription": {"text": KINDS[kind].means},
        "help": {"text": KINDS[kind].remedy},
        "defaultConfiguration": {"level": _LEVELS[KINDS[kind].severity]},
    }


def _result(item: Placed, kinds: list[str]) -> dict[str, Any]:
    finding = item.finding
    lines = [f"{label}: {text}" for label, text in finding_lines(finding)]
    return {
        "ruleId": finding.kind,
        "ruleIndex": kinds.index(finding.kind),
        "level": _LEVELS[finding.gravity],
        "message": {"text": "\n".join([f"{item.where}: {finding.text}", *lines])},
        "locations": [_location(item)],
        "partialFingerprints": {"finding/v1": _fingerprint(item)},
        "properties": {key: value for key, value in finding_json(finding).items() if key in _KEPT},
        **(_KNOWN if finding.label == "known" else {}),
    }


_KNOWN = {
    "baselineState": "unchanged",
    "suppressions": [
        {"kind": "external", "status": "accepted", "justification": "in the baseline of xent-verify gate"}
    ],
}
"""Of a failure that the baseline excuses."""


_KEPT = ("count", "cases", "share", "regimes", "diagnosis", "script")


def _location(item: Placed) -> dict[str, Any]:
    location: dict[str, Any] = {
        "logicalLocations": [{"fullyQualifiedName": item.where, "name": item.target.target, "kind": "function"}]
    }
    file = source_file(item.target.target)
    if file:
        location["physicalLocation"] = {
            "artifactLocation": {"uri": quote(file)},
            "region": {"startLine": source_line(item.target.target)},
        }
    return location


def _fingerprint(item: Placed) -> str:
    identity = (item.target.target, item.target.op, item.result.dtype, item.finding.kind)
    return hashlib.sha256("\0".join(identity).encode()).hexdigest()[:32]
