"""The sure way: rows put to the package's own truth and judge, and the verdicts counted.

It serves every domain, and the rows that the fast judge of pairs leaves open. Some 10**6 rows a second.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.formats import FloatFormat, IntArray
from xent_verify.core.kinds import CLASSES, FAILING
from xent_verify.core.model import Batch, Returned
from xent_verify.ops import Op
from xent_verify.prove.counts import BINS, Counts, Extreme, bins_of
from xent_verify.prove.domain import Domain
from xent_verify.truth.certify import certify
from xent_verify.verdict.judge import Judgement, Rules, judge
from xent_verify.verdict.measure import CODE, Errors

__all__ = ["CORRECT", "LARGEST", "count_judged", "judged", "remeasured"]

CORRECT = 0.5 + 2.0**-20
"""An error up to here counts as correctly rounded (as in ``measure.Tally``)."""

_PIECE = 1 << 15
"""Logits judged at a time: their arrays stay in the cache."""

LARGEST = 1e300
"""Stands for errors over limit that are infinite or no number."""


def judged(op: Op, domain: Domain, rules: Rules, x: NDArray[Any], outcome: Returned) -> tuple[Judgement, NDArray[Any]]:
    """The audit's judgement of one answer, and where its error is a number (``measure.Tally`` counts the same)."""
    batch = Batch(op.name, domain.fmt, domain.name, {op.first: x})
    with np.errstate(all="ignore"):
        truth = certify(batch)
        found = judge(op, batch, outcome, truth, rules)
        if found.errors is None:
            return found, np.zeros(0, bool)
        errors = found.errors
        numeric = (errors.code == CODE["ok"]) | (errors.code == CODE["inaccurate"])
        numeric &= np.isfinite(errors.ulp) & np.isfinite(truth.hi) & ~truth.overflows(domain.form)
    return found, numeric


def count_judged(
    counts: Counts, op: Op, domain: Domain, rules: Rules, rows: IntArray, x: NDArray[Any], outcome: Returned
) -> None:
    """Judge some rows and add the verdicts, piece by piece where rows are separate in the answer."""
    piece = max(_PIECE // max(x[0].size, 1), 1)
    if len(rows) <= piece or outcome.value.shape[:1] != rows.shape:
        _count_piece(counts, op, domain, rules, rows, x, outcome)
        return
    for start in range(0, len(rows), piece):
        some = slice(start, start + piece)
        _count_piece(counts, op, domain, rules, rows[some], x[some], replace(outcome, value=outcome.value[some]))


def _count_piece(
    counts: Counts, op: Op, domain: Domain, rules: Rules, rows: IntArray, x: NDArray[Any], outcome: Returned
) -> None:
    found, numeric = judged(op, domain, rules, x, outcome)
    counts.rows += len(rows)
    for hit in found.hits:
        if hit.kind not in CLASSES:
            key = hit.kind, hit.severity, hit.message
            counts.hits[key] = min(int(rows[0]), counts.hits.get(key, int(rows[0])))
    counts.words |= set(found.words)
    if found.errors is None:
        counts.unanswered["shape"] = counts.unanswered.get("shape", 0) + len(rows)
        return
    shape = len(rows), -1
    flat = Errors(found.errors.ulp.reshape(shape), found.errors.ratio.reshape(shape), found.errors.code.reshape(shape))
    answers = answer_bits(domain.form, outcome.value).reshape(shape)
    _numbers(counts, rows, flat, numeric.reshape(shape), answers)
    _failures(counts, domain, rows, flat, answers)


def _numbers(counts: Counts, rows: IntArray, errors: Errors, numeric: NDArray[np.bool_], answers: NDArray[Any]) -> None:
    counts.elements += errors.ulp.size
    for code, number in enumerate(np.bincount(errors.code.ravel(), minlength=len(CLASSES))):
        counts.count(CLASSES[code], int(number))
    counts.numeric += int(np.count_nonzero(numeric))
    counts.correct += int(np.count_nonzero((errors.ulp <= CORRECT) & numeric & (errors.code == CODE["ok"])))
    counts.histogram = counts.histogram + np.bincount(bins_of(errors.ulp[numeric]), minlength=BINS)
    for what, values in (("ulp", errors.ulp), ("ratio", errors.ratio)):
        offer(counts, what, rows, np.where(numeric, values, -1.0), answers)


def _failures(counts: Counts, domain: Domain, rows: IntArray, errors: Errors, answers: NDArray[Any]) -> None:
    if not np.isin(errors.code, [CODE[kind] for kind in FAILING]).any():
        return
    for kind in FAILING:
        mask = errors.code == CODE[kind]
        bad = mask.any(axis=1)
        if bad.any():
            sizes = np.where(mask, np.minimum(np.nan_to_num(errors.ratio, nan=LARGEST), LARGEST), -1.0)
            offer(counts, kind, rows, sizes, answers)
            counts.fail(kind, int(np.count_nonzero(bad)), domain.features(rows[bad], mask[bad]))


def offer(counts: Counts, what: str, rows: IntArray, values: NDArray[Any], answers: NDArray[Any]) -> None:
    """Offer the largest of ``values`` [R, n] (negative: none)."""
    if not values.size:
        return
    place = int(np.argmax(values))
    row, column = divmod(place, values.shape[1])
    if values[row, column] >= 0:
        counts.offer(what, Extreme(float(values[row, column]), int(rows[row]), column, kept(answers[row])))


_KEPT = 8


def kept(answer: NDArray[Any]) -> tuple[int, ...]:
    """A row's answer as it is kept: whole where it is short."""
    return tuple(int(bits) for bits in answer) if answer.size <= _KEPT else ()


def answer_bits(form: FloatFormat, value: NDArray[Any]) -> NDArray[Any]:
    """Answers as bits of the format (of another dtype: rounded to it)."""
    with np.errstate(all="ignore"):
        same = value if value.dtype == form.dtype else form.narrow(value.astype(np.float64))
    return form.to_bits(same)


def remeasured(op: Op, domain: Domain, rules: Rules, best: dict[str, Extreme]) -> dict[str, Extreme]:
    """The same places, with the values that the package's own measure gives them."""
    if not best:
        return {}
    rows = np.array([found.row for found in best.values()])
    answers = np.array([found.answer for found in best.values()]).astype(domain.form.unsigned)
    value = domain.form.from_bits(answers)
    x = domain.values(rows)
    shaped = value.reshape(x.shape if op.result == "elements" else x.shape[:-1])
    found, _ = judged(op, domain, rules, x, Returned(shaped, domain.fmt))
    assert found.errors is not None
    ulp, ratio = (part.reshape(len(rows), -1) for part in (found.errors.ulp, found.errors.ratio))
    made = {}
    for number, (what, held) in enumerate(best.items()):
        values = ulp if what == "ulp" else np.minimum(np.nan_to_num(ratio, nan=LARGEST), LARGEST)
        made[what] = Extreme(float(values[number, held.column]), held.row, held.column, held.answer)
    return made
