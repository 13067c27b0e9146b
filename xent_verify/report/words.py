"""How numbers, rows and verdicts are written for people: one vocabulary for every rendering."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.formats import FORMATS
from xent_verify.core.kinds import BENIGN, KINDS
from xent_verify.core.model import DtypeResult, Example, Finding, RegimeResult, Report

__all__ = [
    "ILL_CONDITIONED_LEGEND",
    "MARKS",
    "apart_text",
    "array_text",
    "bits_text",
    "call_text",
    "class_text",
    "classes_text",
    "count_text",
    "coverage",
    "error_text",
    "example_lines",
    "examples",
    "fact_lines",
    "finding_lines",
    "headline",
    "ill_conditioned",
    "lengths_text",
    "maximum_text",
    "number_text",
    "padded",
    "policies_differ",
    "proved_text",
    "quantile_text",
    "regimes_text",
    "share_text",
    "shortened",
    "tile",
    "tile_text",
    "value_text",
    "verdict",
    "verdict_of",
    "verdict_text",
]

MARKS = {"pass": "✓", "warn": "!", "fail": "✗", "known": "◆", "incomplete": "?", "unchecked": "–"}
"""A sign for every verdict, so that colour never carries it alone."""

_RUNS_SHOWN = 12
_ROWS_SHOWN = 3
_REGIMES_SHOWN = 6

_DIGITS = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,7})?")


def policies_differ(report: Report) -> bool:
    """Whether not all targets were judged by one policy, so that each row has to say by which."""
    return len({target.settings.get("policy") for target in report.targets}) > 1


def padded(label: str, width: int = 14) -> str:
    """A label for a column of that width, always with a space behind it."""
    return f"{label:<{width - 1}} "


def verdict(result: DtypeResult) -> str:
    """fail, incomplete, unchecked (nothing was measured), known (fails as the baseline says), warn (no failure), or pass."""
    severities = {finding.severity for finding in result.findings}
    if "fail" in severities:
        return "fail"
    if result.incomplete:
        return "incomplete"
    if result.cases == 0:
        return "unchecked"
    if result.known:
        return "known"
    return "warn" if "warn" in severities else "pass"


def verdict_of(report: Report) -> str:
    """The word for a whole report: fail, known or pass; it fails where nothing was checked."""
    if not report.ok or not report.cases:
        return "fail"
    return "known" if report.known else "pass"


_LACKS = {
    "index_targets": "probability targets only",
    "probability_targets": "index labels only",
    "axis": "last axis only",
    "nd": "one row a call",
    "batched": "one row a call",
}
"""What is said where a part of the signature is not offered."""


def coverage(result: DtypeResult) -> tuple[str, ...]:
    """What the verdict says nothing about, a few words each: ``index labels only``, ``without weight``."""
    missing = [name for name, offered in result.offered.items() if not offered]
    found = [_LACKS[name] for name in missing if name in _LACKS]
    found += [f"only as {name}" for name in result.offered if name.startswith("[") and "2-D" in missing]
    lengths = sorted(int(name.removeprefix("rows of ")) for name in missing if name.startswith("rows of "))
    found += [f"no rows of {count_text(lengths[0])}{' or more' if len(lengths) > 1 else ''}"] if lengths else []
    layouts = [name.removeprefix("layout ") for name in missing if name.startswith("layout ")]
    found += [f"not as {', '.join(layouts)}" if len(layouts) < 4 else "contiguous only"] if layouts else []
    others = [name for name in missing if name not in _LACKS and not name.startswith(("rows of ", "layout ", "2-D"))]
    found += [f"without {', '.join(name.replace('_', ' ') for name in others)}"] if others else []
    declared = [line.partition("): ")[2].partition(", ")[0] for line in result.unasked if "(declared domain)" in line]
    found += [f"only {text}" for text in dict.fromkeys(declared)]
    found += (
        ["cut short by its budget"] if any(line.startswith("not asked (--budget") for line in result.unasked) else []
    )
    left_out = [line.partition("): ")[2] for line in result.unasked if line.startswith("not asked (--without)")]
    return tuple(dict.fromkeys([*found, *(f"without the regime {name}" for name in left_out)]))


def class_text(result: DtypeResult) -> str:
    """``backward; standard for |max x| < 1e+03``: the class that is kept, and where a stricter one is."""
    return f"{result.keeps}; standard for {result.domain}" if result.domain else result.keeps


def headline(report: Report) -> str:
    """The verdict on the whole report in one sentence; before it that the audit was interrupted, where it was."""
    return f"Interrupted; until then: {_verdict_line(report)}" if report.interrupted else _verdict_line(report)


def _verdict_line(report: Report) -> str:
    results = [result for target in report.targets for result in target.dtypes]
    failed = sum(verdict(result) == "fail" for result in results)
    checked = f"{count_text(report.cases)} values checked"
    unfinished = sum(bool(result.incomplete) for result in results)
    if failed or unfinished:
        told = [f"{failed} fail"] if failed else []
        told += [f"{unfinished} could not be completed"] if unfinished else []
        return f"{' and '.join(told).replace(' ', f' of {len(results)} target × dtype pairs ', 1)}; {checked}."
    if not report.cases:
        return "Nothing was checked."
    known = sum(verdict(result) == "known" for result in results)
    if known:
        return f"Nothing new: {known} of {len(results)} target × dtype pairs {_fail(known)} as the baseline says; {checked}."
    warned = sum(verdict(result) == "warn" for result in results)
    return f"All {len(results)} target × dtype pairs pass{f', {warned} with warnings' if warned else ''}; {checked}."


def _fail(count: int) -> str:
    return "fails" if count == 1 else "fail"


def number_text(value: float | None) -> str:
    """A measured number to four digits."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if 0 < abs(value) < 1e-3:
        return "< 0.001"
    if abs(value) < 1e5:
        return f"{value:.4g}"
    return f"{value:.2e}"


def error_text(value: float | None) -> str:
    return f"{number_text(value)} ulp"


def maximum_text(row: Mapping[str, Any]) -> str:
    """The largest error of a row of the summary; with the proved one, where there is a certificate."""
    seen = number_text(row["conditioned_ulp"]) + (" †" if ill_conditioned(row) else "")
    return f"{seen} (proved {proved_text(row)})" if row["proved_over"] else seen


def quantile_text(row: Mapping[str, Any], name: str) -> str:
    """A quantile of the error of a row of the summary, no larger than the maximum that is shown."""
    value, most = row[name], row["conditioned_ulp"]
    return f"{number_text(most)} †" if value is not None and value > most else number_text(value)


ILL_CONDITIONED_LEGEND = (
    "† larger only on ill-conditioned values, where the limit of a sound algorithm is above 100 ulp, too"
)


def verdict_text(row: Mapping[str, Any]) -> str:
    """``✓ pass, index labels only``: the verdict of a row of the summary, and what a pass leaves open."""
    word = str(row["verdict"])
    limited = f", {row['coverage']}" if row["coverage"] and word in ("pass", "warn") else ""
    return f"{MARKS[word]} {word}{limited}"


def ill_conditioned(row: Mapping[str, Any]) -> bool:
    """Whether larger errors in ulps are left out: the true value is ill-conditioned there, and the limit as large."""
    return bool(row["max_ulp"] > max(row["conditioned_ulp"], 1.0))


def proved_text(row: Mapping[str, Any]) -> str:
    """``3.2 over all pairs``: the exact maximum over a whole domain."""
    return f"{number_text(row['proved_ulp'])} over {row['proved_over']}"


def share_text(value: float) -> str:
    """A share in percent that says 100 % and 0 % only when it is exactly that."""
    if math.isnan(value):
        return "–"
    if 0 < value < 0.0001:
        return "< 0.01 %"
    if 0.9999 < value < 1:
        return "> 99.99 %"
    return f"{100 * value:.4g} %"


def count_text(value: int) -> str:
    """Thousands set apart by thin spaces."""
    return f"{value:,}".replace(",", "\u202f")


def value_text(value: float) -> str:
    """Decimal and hexadecimal: 0.1 (0x1.999999999999ap-4)."""
    number = float(value)
    if not math.isfinite(number):
        return str(number)
    digits, _, power = number.hex().partition("p")
    return f"{number!r} ({digits.rstrip('0').rstrip('.') if '.' in digits else digits}p{power})"


def array_text(array: NDArray[Any]) -> str:
    """Values in the shortest decimal form that names them in their own format; equal neighbours as ``v ×k``."""
    if array.ndim == 0:
        return _element(array[()])
    if array.ndim > 1:
        rows = [array_text(part) for part in array[:_ROWS_SHOWN]]
        return "[" + ", ".join([*rows, *([f"… ({len(array)} rows)"] if len(array) > _ROWS_SHOWN else [])]) + "]"
    words = [(word, len(list(group))) for word, group in groupby(_element(value) for value in array)]
    shown = [f"{word} ×{count}" if count > 3 else ", ".join([word] * count) for word, count in words]
    if len(shown) > _RUNS_SHOWN:
        half = _RUNS_SHOWN // 2
        shown = [*shown[:half], f"… ({array.size} values)", *shown[-half:]]
    return "[" + ", ".join(shown) + "]"


def bits_text(array: NDArray[Any]) -> str:
    """The raw bits of up to a dozen elements in hex."""
    form = FORMATS.get(array.dtype.name)
    if form is None or array.size > _RUNS_SHOWN:
        return ""
    return " ".join(f"0x{bits:0{form.hex_digits}x}" for bits in form.to_bits(array).reshape(-1).tolist())


def tile_text(error: float) -> str:
    """An error for a small tile: two digits, whole numbers from 100 on."""
    if math.isnan(error):
        return "–"
    if error < 0.1:
        return "0" if error == 0 else "< 0.1"
    return f"{error:.2g}" if error < 99.5 else f"{error:.0f}" if error < 1e4 else f"{error:.0e}".replace("e+0", "e")


def tile(regime: RegimeResult) -> tuple[int, str]:
    """(shade, text) of a regime: the error in ulps, shaded by how it compares with the bound; ✗ for what fails it.

    Shade 0: at most half the bound; 1: within it; 2: up to 100 times beyond, or values that are no number of ulps;
    3: farther.
    """
    shade = sum(regime.max_bound_ratio > step for step in (0.5, 1.0, 100.0))
    if any(count for name, count in regime.classes.items() if name not in BENIGN):
        shade = max(shade, 2)
    mark = " †" if ill_conditioned({"max_ulp": regime.max_ulp, "conditioned_ulp": regime.conditioned_ulp}) else ""
    return shade, f"{'✗ ' if shade > 1 else ''}{tile_text(regime.conditioned_ulp)}{mark}"


def classes_text(classes: Mapping[str, int]) -> str:
    """What was no number of ulps, or beyond the bound, in words: ``nan 12 · overflow 3``."""
    return " · ".join(
        f"{name.replace('_', ' ')} {count_text(count)}"
        for name, count in sorted(classes.items(), key=lambda item: -item[1])
        if count and name not in BENIGN
    )


def regimes_text(finding: Finding) -> str:
    """The first few regimes and how many more."""
    rest = len(finding.regimes) - _REGIMES_SHOWN
    return ", ".join(finding.regimes[:_REGIMES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def shortened(text: str, limit: int = 80) -> str:
    """Cut to ``limit`` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def apart_text(example: Example) -> tuple[str, str]:
    """The true and the observed value to nine digits, or to as many as it takes to tell them apart."""
    true, observed = example.true_digits, float(example.observed)
    if not _DIGITS.fullmatch(true) or not math.isfinite(observed):
        return (f"{Decimal(true):.9g}" if _DIGITS.fullmatch(true) else true), f"{observed:.9g}"
    values = Decimal(true), Decimal(observed)
    shown = [(f"{values[0]:.{digits}g}", f"{values[1]:.{digits}g}") for digits in range(9, 30)]
    return next((pair for pair in shown if Decimal(pair[0]) != Decimal(pair[1])), shown[0])


def lengths_text(result: DtypeResult) -> str:
    """Smallest and largest row length that was checked."""
    lengths = {length for regime in result.regimes for length in regime.length_max}
    return f"{min(lengths)} to {count_text(max(lengths))}" if lengths else "·"


def call_text(example: Example) -> str:
    """One call in a line: its inputs, options and memory layout."""
    if example.length:
        return f"a call of {count_text(example.length)} logits (too long to be kept: the same regime audited again meets it)"
    parts = [f"{name} = {array_text(array)}" for name, array in example.inputs.items()]
    parts += [f"{name} = {_option(value)}" for name, value in sorted(example.options.items())]
    if example.layout != "C":
        parts.append(f"layout {example.layout}")
    return ", ".join(parts)


def finding_lines(finding: Finding) -> list[tuple[str, str]]:
    """(label, text) of everything worth telling about one finding, the script apart; an example's lines indented."""
    lines = fact_lines(finding)
    for label, example in examples(finding):
        (_, call), *rest = example_lines(example)
        lines += [(label, call), *((f"  {name}", text) for name, text in rest)]
    return lines


def fact_lines(finding: Finding) -> list[tuple[str, str]]:
    """(label, text): how often, where, why."""
    lines = [
        ("hit", f"{count_text(finding.count)} of {count_text(finding.cases)} cases ({share_text(finding.share)})"),
        ("regimes", regimes_text(finding)),
        ("likely cause", finding.diagnosis),
        ("also", "; ".join(map(_part_text, finding.parts))),
        ("what to do", KINDS[finding.kind].remedy if finding.gravity == "fail" else ""),
        *(("note", note) for note in finding.notes),
    ]
    return [(label, text) for label, text in lines if text]


def _part_text(part: Finding) -> str:
    """Another kind of the same defect: ``underflow (12 values)``."""
    name = f"{part.kind} ({part.relation})" if part.relation else part.kind
    return f"{name.replace('_', ' ')}, {count_text(part.count)} of {count_text(part.cases)}"


def examples(finding: Finding) -> list[tuple[str, Example]]:
    """The minimal and the worst example, those there are; one that is both is told once."""
    found = [("minimal", finding.minimal), ("worst", finding.worst)]
    if finding.minimal is not None and finding.worst is not None and _same_call(finding.minimal, finding.worst):
        found = found[:1]
    return [(label, example) for label, example in found if example is not None]


def _same_call(a: Example, b: Example) -> bool:
    return call_text(a) == call_text(b) and a.index == b.index and a.length == b.length


def example_lines(example: Example) -> list[tuple[str, str]]:
    """(label, text): the call, its bits, what is true, what should come out, what did, how far off."""
    return [("call", call_text(example)), *((label, text) for label, text in _measured(example) if text)]


def _measured(example: Example) -> list[tuple[str, str]]:
    logits: NDArray[Any] = next(iter(example.inputs.values()), np.zeros(0))
    if not example.true_digits:
        return [("bits", bits_text(logits))]
    place = f"[{', '.join(map(str, example.index))}]" if example.index else ""
    error = "" if example.error_ulp is None else error_text(example.error_ulp)
    finite = example.bound_ratio is not None and math.isfinite(example.bound_ratio)
    ratio = f"{number_text(example.bound_ratio)} × the bound" if finite else ""
    return [
        ("bits", bits_text(logits)),
        (f"true{place}", example.true_digits),
        ("rounded", value_text(example.rounded)),
        ("observed", value_text(example.observed)),
        ("error", ", ".join(part for part in (error, ratio) if part)),
    ]


def _element(value: Any) -> str:
    if isinstance(value, np.integer | np.bool_):
        return str(value)
    return repr(float(str(value))).removesuffix(".0")  # str: shortest in its own format


def _option(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return array_text(value)
    return str(dict(value)) if isinstance(value, Mapping) else repr(value)
