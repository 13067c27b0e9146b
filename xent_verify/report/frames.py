"""The report as rows, and as pandas frames: the one summary that every table, page and plot is drawn from.

Percentiles come from the histogram: the upper edge of the bin that holds the quantile, never above the maximum, so
they are not understated. They and ``max_ulp`` are over finite cases; overflow, NaN and the like are counted in columns
of their own (docs/reading.md). ``conditioned_ulp`` leaves out values that are ill-conditioned. ``max_ulp`` is the
largest error searched for and seen; ``proved_ulp`` the exact maximum over the whole domains named in ``proved_over``.

pandas is imported where a frame is asked for, and rows are plain mappings: an audit that prints a table starts without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.enclosure import TIERS
from xent_verify.core.kinds import CLASSES
from xent_verify.core.model import DtypeResult, Example, Finding, RegimeResult, Report, TargetResult
from xent_verify.report.words import call_text, class_text, classes_text, coverage, policies_differ, verdict
from xent_verify.verdict.measure import ERROR_EDGES, MAGNITUDE_EDGES
from xent_verify.verdict.rowwise import MEASURES, added, derived

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "class_columns",
    "elements_frame",
    "findings_frame",
    "histogram_of",
    "quantile_ulp",
    "regime_frame",
    "row_classes",
    "summary_frame",
    "summary_rows",
    "tables",
]


def summary_rows(report: Report) -> list[dict[str, Any]]:
    """One row per target × op × dtype, by column name. ``policy`` is a column where policies differ."""
    classes = class_columns(report)
    rows = [_summary(target, result, classes) for target, result in _results(report)]
    columns = _summary_columns(report)
    return [{name: row[name] for name in columns} for row in rows]


def tables(report: Report) -> dict[str, list[dict[str, Any]]]:
    """The rows of the summary by operation."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in summary_rows(report):
        found.setdefault(row["op"], []).append(row)
    return found


def summary_frame(report: Report) -> pd.DataFrame:
    """One row per target × op × dtype."""
    return _frame(summary_rows(report), _summary_columns(report))


def regime_frame(report: Report) -> pd.DataFrame:
    """One row per target × op × dtype × regime."""
    classes = class_columns(report)
    columns = [*_KEYS, "regime", "cases", "max_ulp", "conditioned_ulp", "p99_ulp", "p50_ulp", "correctly_rounded"]
    columns += ["max_bound_ratio", *MEASURES, *classes, *(f"by_{tier}" for tier in TIERS), *_WORST]
    rows = [
        _keys(target, result) | _regime(regime, classes)
        for target, result in _results(report)
        for regime in result.regimes
    ]
    return _frame(rows, columns)


def findings_frame(report: Report) -> pd.DataFrame:
    """One row per finding, with the numbers of its minimal example."""
    columns = [*_KEYS, "kind", "severity", "count", "cases", "share", "regimes", "message", "diagnosis"]
    columns += ["minimal", "true_value", "rounded", "rounded_hex", "observed", "observed_hex"]
    columns += ["error_ulp", "bound_ratio"]
    rows = [
        _keys(target, result) | _finding(finding) for target, result in _results(report) for finding in result.findings
    ]
    return _frame(rows, columns)


def elements_frame(report: Report) -> pd.DataFrame:
    """Every element, counted: one row per non-empty cell error bin × magnitude bin."""
    owners, cells = [], []
    for target, result in _results(report):
        for regime in result.regimes:
            error, magnitude = np.nonzero(regime.histogram)
            owners.append((target.target, target.op, result.dtype, regime.regime))
            cells.append(np.stack([error, magnitude, regime.histogram[error, magnitude]]))
    repeats = [part.shape[1] for part in cells]
    error, magnitude, count = np.concatenate(cells, axis=1) if cells else np.zeros((3, 0), np.int64)
    owned = {
        name: np.repeat(np.array(column, dtype=object), repeats)
        for name, column in zip((*_KEYS, "regime"), zip(*owners, strict=True) if owners else [[]] * 4, strict=True)
    }
    edges = {"error_ulp_from": ERROR_EDGES[error], "error_ulp_to": ERROR_EDGES[error + 1]}
    edges |= {"magnitude_from": MAGNITUDE_EDGES[magnitude], "magnitude_to": MAGNITUDE_EDGES[magnitude + 1]}
    return _frame(owned | edges | {"count": count})


def class_columns(report: Report) -> list[str]:
    """Every class, whatever was counted, so that tables of different results have the same columns; then unknown ones."""
    named = [name for name in CLASSES if name != "ok"]
    seen = {name for _, result in _results(report) for name, count in result.classes.items() if count}
    return [*named, *sorted(seen - {*named, "ok"})]


def row_classes(row: Mapping[str, Any]) -> str:
    """The class counts of a row of the summary or of the regimes in words; empty where all is well."""
    return classes_text({name: row[name] for name in CLASSES if name in row})


def histogram_of(regimes: Sequence[RegimeResult]) -> NDArray[np.int64]:
    """Sum of the regimes' histograms."""
    empty = np.zeros((len(ERROR_EDGES) - 1, len(MAGNITUDE_EDGES) - 1), dtype=np.int64)
    return reduce(np.add, (regime.histogram for regime in regimes), empty)


def quantile_ulp(histogram: NDArray[np.int64], q: float, largest: float) -> float:
    """An upper bound on the q-quantile of the error: the upper edge of its bin, at most ``largest``."""
    cumulative = np.cumsum(histogram.sum(axis=1))
    if not cumulative.size or cumulative[-1] == 0:
        return float("nan")
    index = int(np.searchsorted(cumulative, q * cumulative[-1]))
    return float(min(ERROR_EDGES[index + 1], largest))


_KEYS = ("target", "op", "dtype")
_DOMAINS = {
    "unary": "every input",
    "pairs": "every pair",
    "triples": "every triple",
    "quadruples": "every quadruple",
    "quintuples": "every quintuple",
    "sextuples": "every sextuple",
    "widths": "structured rows of every width",
    "gaps": "every argument of exp",
}
"""How the domains of certificates are told."""

_PROVED = ("proved_ulp", "proved_over")
_WORST = ("worst_input", "worst_true", "worst_observed")


def _frame(rows: Any, columns: Sequence[str] | None = None) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(rows, columns=None if columns is None else pd.Index(columns))


def _summary_columns(report: Report) -> list[str]:
    policy = ["policy"] if policies_differ(report) else []
    columns = [*_KEYS, *policy, "verdict", "coverage", "class", "cases", "max_ulp", "conditioned_ulp", *_PROVED]
    columns += ["p99_ulp", "p50_ulp", "correctly_rounded", "max_bound_ratio", *MEASURES, *class_columns(report)]
    return [*columns, "findings", "warnings", "change", *_WORST]


def _results(report: Report) -> Iterator[tuple[TargetResult, DtypeResult]]:
    return ((target, result) for target in report.targets for result in target.dtypes)


def _keys(target: TargetResult, result: DtypeResult) -> dict[str, Any]:
    return {"target": target.target, "op": target.op, "dtype": result.dtype}


def _summary(target: TargetResult, result: DtypeResult, classes: Sequence[str]) -> dict[str, Any]:
    histogram = histogram_of(result.regimes)
    rounded = sum(regime.correctly_rounded for regime in result.regimes)
    row = _keys(target, result) | {"policy": target.settings.get("policy", "")}
    row |= {"verdict": verdict(result), "class": class_text(result), "cases": result.cases, "max_ulp": result.max_ulp}
    row |= {"coverage": ", ".join(coverage(result)), "conditioned_ulp": result.conditioned_ulp}
    row |= _proved(result)
    row |= _quantiles(histogram, result.max_ulp) | _share(rounded, sum(regime.cases for regime in result.regimes))
    row |= {"max_bound_ratio": result.max_bound_ratio}
    row |= derived(reduce(added, (regime.measures for regime in result.regimes), {}))
    row |= {name: result.classes.get(name, 0) for name in classes}
    row |= {"findings": sum(finding.severity == "fail" for finding in result.findings)}
    row |= {"warnings": sum(finding.severity == "warn" for finding in result.findings)}
    row |= {"change": result.change}
    worst = max(result.regimes, key=lambda regime: regime.max_ulp, default=None)
    return row | _worst(worst.worst if worst else None)


def _proved(result: DtypeResult) -> dict[str, Any]:
    """The largest error over the domains that certificates cover, and their names; NaN and "" where there is none."""
    largest = max((one.max_ulp for one in result.proved), default=float("nan"))
    return dict(
        zip(_PROVED, (largest, ", ".join(_DOMAINS.get(one.domain, one.domain) for one in result.proved)), strict=True)
    )


def _regime(regime: RegimeResult, classes: Sequence[str]) -> dict[str, Any]:
    row: dict[str, Any] = {"regime": regime.regime, "cases": regime.cases, "max_ulp": regime.max_ulp}
    row |= {"conditioned_ulp": regime.conditioned_ulp}
    row |= _quantiles(regime.histogram, regime.max_ulp) | _share(regime.correctly_rounded, regime.cases)
    row |= {"max_bound_ratio": regime.max_bound_ratio}
    row |= derived(regime.measures)
    row |= {name: regime.classes.get(name, 0) for name in classes}
    row |= {f"by_{tier}": count for tier, count in zip(TIERS, regime.tiers, strict=False)}
    return row | _worst(regime.worst)


def _quantiles(histogram: NDArray[np.int64], largest: float) -> dict[str, float]:
    return {f"p{percent}_ulp": quantile_ulp(histogram, percent / 100, largest) for percent in (99, 50)}


def _share(rounded: int, cases: int) -> dict[str, float]:
    return {"correctly_rounded": rounded / cases if cases else float("nan")}


def _worst(example: Example | None) -> dict[str, Any]:
    if example is None:
        return dict.fromkeys(_WORST, "")
    return dict(zip(_WORST, (call_text(example), example.true_digits, repr(float(example.observed))), strict=True))


def _finding(finding: Finding) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(finding, name) for name in ("kind", "severity", "count", "cases", "share")}
    row |= {"regimes": "; ".join(finding.regimes), "message": finding.text, "diagnosis": finding.diagnosis}
    example = finding.minimal or finding.worst
    if example is None:
        return row
    row |= {"minimal": call_text(example), "true_value": example.true_digits}
    for name in ("rounded", "observed"):
        value = float(getattr(example, name))
        row |= {name: value, f"{name}_hex": value.hex()}
    return row | {"error_ulp": example.error_ulp, "bound_ratio": example.bound_ratio}
