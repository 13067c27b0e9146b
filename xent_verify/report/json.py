"""A Report as strict JSON and back, exactly: the wire and disk format (schema 1; docs/json.md has its fields).

There are no NaN or Infinity literals, a float in a field of its own has its exact value beside it, keys come in a fixed order,
and what varies from run to run stands in ``environment`` alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from xent_verify.core.documents import json_of, read_json
from xent_verify.core.model import Defect, DtypeResult, Example, Finding, RegimeResult, Report, TargetResult
from xent_verify.report.arrays import encode_array, plain
from xent_verify.report.decode import SCHEMA, report_of
from xent_verify.report.safe import encodable
from xent_verify.report.words import coverage
from xent_verify.verdict.measure import ERROR_EDGES, MAGNITUDE_EDGES
from xent_verify.verdict.rowwise import added

__all__ = ["as_json", "as_number", "compact", "finding_json", "free", "from_json", "read_report", "to_json"]


def to_json(report: Report) -> str:
    """The whole report, two-space indented, arrays of plain numbers and regimes on one line, with a final newline."""
    return encodable(compact(as_json(report))) + "\n"


def from_json(text: str, *, source: str = "report") -> Report:
    """The report back, histograms included. ``UsageError`` in one line where the text is not such a report."""
    return report_of(json_of(text, source))


def read_report(path: Path) -> Report:
    """The report that a file holds. ``UsageError`` in one line where it holds none."""
    return report_of(read_json(path))


def as_json(report: Report, *, regimes: bool = True) -> dict[str, Any]:
    """The report as plain lists and mappings; ``regimes=False`` leaves the histograms out."""
    return {
        "schema": SCHEMA,
        "ok": report.ok,
        "settings": free(report.settings),
        **({"interrupted": True} if report.interrupted else {}),
        "bins": {
            "error_ulp": [plain(edge) for edge in ERROR_EDGES.tolist()],
            "magnitude": [plain(edge) for edge in MAGNITUDE_EDGES.tolist()],
        },
        "targets": [_target(target, regimes) for target in report.targets],
        "environment": free(report.environment),
    }


def compact(value: Any, indent: str = "") -> str:
    """Strict JSON, one key a line; lists of scalars and of short number lists stay on their line."""
    inner = indent + "  "
    match value:
        case _Line():
            return _scalar(value)
        case dict() if value:
            body = [f"{inner}{_scalar(str(key))}: {compact(item, inner)}" for key, item in value.items()]
            return "{\n" + ",\n".join(body) + f"\n{indent}}}"
        case list() if any(isinstance(item, dict) for item in value):
            return "[\n" + ",\n".join(inner + compact(item, inner) for item in value) + f"\n{indent}]"
        case _:
            return _scalar(value)


def _scalar(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _target(target: TargetResult, regimes: bool) -> dict[str, Any]:
    return {
        "target": target.target,
        "op": target.op,
        "ok": target.ok,
        "settings": free(target.settings),
        "defects": [_defect(defect) for defect in target.defects],
        "dtypes": [_dtype(result, regimes) for result in target.dtypes],
    }


def _defect(defect: Defect) -> dict[str, Any]:
    """What is wrong in a line; the evidence stands with the findings of each dtype."""
    finding = defect.finding
    record: dict[str, Any] = {"severity": finding.severity, "kinds": list(defect.kinds), "dtypes": list(defect.found)}
    return record | {"message": finding.text, "cause": finding.diagnosis, "regimes": list(defect.regimes)}


def _dtype(result: DtypeResult, regimes: bool) -> dict[str, Any]:
    record: dict[str, Any] = {"dtype": result.dtype, "ok": result.ok, "class": result.keeps}
    record |= ({"domain": result.domain} if result.domain else {}) | {"cases": result.cases}
    record |= as_number("max_ulp", result.max_ulp) | as_number("conditioned_ulp", result.conditioned_ulp)
    record |= as_number("max_bound_ratio", result.max_bound_ratio)
    record["coverage"] = {
        "lacks": list(coverage(result)),
        "parts": sorted(name for name, offered in result.offered.items() if offered),
        "regimes": [regime.regime for regime in result.regimes],
    }
    record |= {"classes": _counts(result.classes), "offered": dict(sorted(result.offered.items()))}
    record |= {"notes": list(result.notes), "findings": [finding_json(finding) for finding in result.findings]}
    record["measures"] = _measures(reduce(added, (regime.measures for regime in result.regimes), {}))
    if result.proved:
        record["proved"] = [
            {"domain": one.domain, "rows": one.rows} | as_number("max_ulp", one.max_ulp) for one in result.proved
        ]
    if result.change:
        record["change"] = result.change
    if result.unasked:
        record["unasked"] = list(result.unasked)
    if result.incomplete:
        record["incomplete"] = list(result.incomplete)
    if regimes:
        record["regimes"] = [_regime(regime) for regime in result.regimes]
    return record


def finding_json(finding: Finding) -> dict[str, Any]:
    """One finding (its fields: docs/json.md), as it stands in the report."""
    record: dict[str, Any] = {
        "kind": finding.kind,
        "severity": finding.severity,
        "message": finding.message,
        "count": finding.count,
        "cases": finding.cases,
    }
    record |= as_number("share", finding.share)
    record |= {"regimes": list(finding.regimes), "diagnosis": finding.diagnosis}
    names = ("relation", "raised", "waived_by", "defect")
    told = {name: getattr(finding, name) for name in names}
    record |= {name: value for name, value in told.items() if value}
    record |= {} if finding.limit is None else as_number("limit", finding.limit)
    record |= {"notes": list(finding.notes)} if finding.notes else {}
    record |= {"minimal": _example(finding.minimal), "worst": _example(finding.worst), "script": finding.script}
    if finding.parts:
        record |= {"kinds": list(finding.kinds), "parts": [finding_json(part) for part in finding.parts]}
    return record


class _Line(dict[str, Any]):
    """A record that is written on one line."""


def _measures(measures: Mapping[str, float]) -> dict[str, Any]:
    return {key: item for name, value in sorted(measures.items()) for key, item in as_number(name, value).items()}


def _regime(regime: RegimeResult) -> _Line:
    record: dict[str, Any] = {"regime": regime.regime, "cases": regime.cases}
    record["correctly_rounded"] = regime.correctly_rounded
    record |= as_number("max_ulp", regime.max_ulp) | as_number("max_bound_ratio", regime.max_bound_ratio)
    record |= as_number("conditioned_ulp", regime.conditioned_ulp)
    record["histogram"] = [
        [error, int(used[0]), *row[used[0] : used[-1] + 1].tolist()]
        for error, row in enumerate(regime.histogram)
        if (used := np.flatnonzero(row)).size
    ]
    record |= {"classes": _counts(regime.classes), "tiers": list(regime.tiers), "worst": _example(regime.worst)}
    record["measures"] = _measures(regime.measures)
    record["length_max"] = [
        [length, *as_number("max_ulp", error).values()] for length, error in sorted(regime.length_max.items())
    ]
    return _Line(record)


def _example(example: Example | None) -> dict[str, Any] | None:
    if example is None:
        return None
    record: dict[str, Any] = {
        "inputs": [{"name": name} | encode_array(array) for name, array in example.inputs.items()],
        "options": {name: _option(value) for name, value in sorted(example.options.items())},
        "layout": example.layout,
        "index": [int(i) for i in example.index],
        "true_value": example.true_digits,
    }
    record |= {"length": example.length} if example.length else {}
    for name in ("rounded", "observed", "error_ulp", "bound_ratio"):
        record |= as_number(name, getattr(example, name))
    return record


def as_number(name: str, value: float | None) -> dict[str, Any]:
    if value is None:
        return {name: None, f"{name}_hex": None}
    number = float(value)
    shown = plain(number)
    return {name: shown, f"{name}_hex": shown if isinstance(shown, str) else number.hex()}


def _counts(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: int(count) for name, count in sorted(counts.items())}


def _option(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return encode_array(value)
    if isinstance(value, np.generic):
        return _option(value.item())
    if isinstance(value, float):
        number = as_number("value", value)
        return {"value": number["value"], "hex": number["value_hex"]}
    return free(value)


def free(value: Any) -> Any:
    """Settings and environment: whatever they hold, as JSON."""
    if isinstance(value, np.generic | np.ndarray):
        return free(value.tolist())
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return plain(value)
        case Mapping():
            return {str(key): free(item) for key, item in sorted(value.items(), key=lambda pair: str(pair[0]))}
        case Iterable():
            return [free(item) for item in value]
        case _:
            return str(value)
