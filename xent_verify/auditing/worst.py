"""The worst case of a target: the drawn search and the guided one, put to a candidate and judged like an audit.

The result is a report like the audit's: ledger, findings, the worst case per kind. What is found is a lower bound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.auditing.audit import AuditReport, Settings, opened
from xent_verify.auditing.findings import Asker, build, worst_examples
from xent_verify.core.environment import describe
from xent_verify.core.failures import UsageError
from xent_verify.core.formats import FloatArray, format_named
from xent_verify.core.model import Batch, DtypeResult, Outcome, TargetResult
from xent_verify.ops import Op, op_named
from xent_verify.ops.defined import undefined
from xent_verify.search import guided_search, hypothesis_search
from xent_verify.verdict.judge import Judgement
from xent_verify.verdict.ledger import Ledger
from xent_verify.verdict.screen import Screen

__all__ = ["Curve", "search_worst"]

LENGTHS = (1, 2, 3, 8, 33, 257)
_WORST = 1e300

Curve = tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What the searches ask of a judged call."""

    kind: str | None
    score: float


def search_worst(
    target: str | Callable[..., Any],
    *,
    op: str,
    dtypes: tuple[str, ...],
    settings: Settings,
    evaluations: int = 100_000,
    examples: int = 300,
    seconds: float | None = None,
) -> tuple[AuditReport, Mapping[str, Curve]]:
    """Hunt for the largest error over limit; the report, and per dtype the best score after so many rows.

    ``examples`` calls are drawn (any part of the signature, shrunk by Hypothesis), then ``evaluations`` rows bred.
    Deterministic from ``settings.seed`` unless ``seconds`` ends it earlier.
    """
    operation = op_named(op)
    if evaluations < 1 or examples < 1 or (seconds is not None and not seconds > 0):
        raise UsageError("search: --evaluations and --time must be positive")
    curves: dict[str, Curve] = {}
    results = []
    with opened(target, operation, settings) as candidate:
        asker = Asker(
            operation, candidate.call, settings.rules, candidate.name, candidate.expression, begin=candidate.begin
        )
        for name in dtypes:
            form = format_named(name)
            ledger = Ledger(operation, form.name)
            drawn = partial(_judged, asker, ledger)
            hypothesis_search(operation.name, form, drawn, seed=settings.seed, examples=examples)
            rows = _rows_judge(asker, ledger, operation, form.name)
            if rows is not None:
                found = guided_search(
                    form, rows, lengths=LENGTHS, evaluations=evaluations, seconds=seconds, seed=settings.seed
                )
                curves[form.name] = found.curve
            results.append(_result(asker, ledger, form.name))
    asked: dict[str, Any] = {"evaluations": evaluations, "examples": examples}
    asked |= {} if seconds is None else {"time": f"{seconds!r}s"}
    own = replace(settings, op=op, isolated=settings.isolated and isinstance(target, str))
    described = {**own.record(), "search": asked}
    return AuditReport((TargetResult(candidate.name, operation.name, tuple(results), described),), describe()), curves


def _result(asker: Asker, ledger: Ledger, fmt: str) -> DtypeResult:
    ledger.close()
    findings = build(asker, ledger)
    worst_examples(asker.op, ledger)
    notes = ("searched: the largest error found is a lower bound",)
    return ledger.as_result(fmt, findings, ledger.refused, notes)


def _judged(asker: Asker, ledger: Ledger, batch: Batch) -> _Verdict:
    """Judge one call and count it; refusals are no failures here."""
    if undefined(asker.op, asker.rules.of_call(batch)):
        return _Verdict(None, 0.0)
    seen = asker.observe(ledger, batch)
    if seen is None:
        return _Verdict(None, 0.0)
    _, judgement = seen
    kinds = sorted(judgement.kinds() - {"exception"})
    return _Verdict(kinds[0] if kinds else None, _score(judgement))


def _score(judgement: Judgement) -> float:
    if judgement.errors is None or not judgement.errors.ratio.size:
        return 0.0
    return float(np.minimum(np.nan_to_num(judgement.errors.ratio, nan=_WORST, posinf=_WORST), _WORST).max())


def _rows_judge(asker: Asker, ledger: Ledger, op: Op, fmt: str) -> Callable[[NDArray[Any]], FloatArray] | None:
    """A judge of whole matrices of rows, for operations of one input along the last axis.

    Where float64 tells how far off a row is, only rows that are about to be the worst are certified.
    """
    if not op.by_row or len(op.inputs) != 1:
        return None
    screen = Screen(op, asker.rules.policy)
    worst = 0.0

    def certified(batch: Batch, outcome: Outcome | None = None) -> FloatArray:
        seen = asker.observe(ledger, batch, outcome)
        errors = None if seen is None else seen[1].errors
        if errors is None:
            return np.zeros(len(batch.x))
        ratio = np.minimum(np.nan_to_num(errors.ratio, nan=_WORST, posinf=_WORST), _WORST)
        return np.asarray(ratio.reshape(len(batch.x), -1).max(axis=1))

    def judge_rows(rows: NDArray[Any]) -> FloatArray:
        nonlocal worst
        batch = asker.rules.of_call(
            Batch(op.name, fmt, "searched", {op.first: np.ascontiguousarray(rows)}, {}, "C", "search")
        )
        outcome = asker.ask(batch)
        scores = screen.shares(batch, outcome)
        if scores is None:
            return certified(batch, outcome)
        scores = np.minimum(scores, _WORST)
        told = np.argsort(-scores, kind="stable")[:_CERTIFIED]
        told = np.sort(told[scores[told] > _NEARLY * worst])
        if told.size:
            some = replace(batch, inputs={op.first: batch.x[told]})
            scores[told] = certified(some)
            worst = max(worst, float(scores[told].max()))
        return scores

    return judge_rows


_CERTIFIED = 24
"""Rows of one round that are certified, at most."""
_NEARLY = 0.99
"""The share of the worst certified score from which a row is certified."""
