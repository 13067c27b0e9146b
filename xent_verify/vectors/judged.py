"""The report on answers produced elsewhere: the audit's own ledger, judgement and findings, on the same calls.

Only the given answers are there to ask. So a finding's minimal case is the smallest call (or single row of one) among
them that fails in that way, and what needs further calls (companions, laws, minimisation) is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.auditing.audit import AuditReport
from xent_verify.auditing.findings import Asker, build, focus, worst_examples
from xent_verify.core.environment import describe
from xent_verify.core.failures import UnknownNameError, UsageError
from xent_verify.core.model import Batch, DtypeResult, Finding, Outcome, Raised, Returned, TargetResult
from xent_verify.ops import OPS, Op
from xent_verify.truth import certify
from xent_verify.vectors.answers import Answers, read_answers
from xent_verify.vectors.case import Case, Vectors
from xent_verify.vectors.document import read_vectors
from xent_verify.verdict.conventions import profile_named
from xent_verify.verdict.judge import FLUSH_CHOICES, Hit, Rules
from xent_verify.verdict.ledger import Ledger
from xent_verify.verdict.policies import parse_policy

__all__ = ["answered", "judged"]


def judged(
    vectors: Vectors,
    answers: Answers,
    *,
    policy: str = "standard",
    special: str = "any",
    flush: str = "auto",
    files: tuple[Path, Path] | None = None,
) -> AuditReport:
    """The report. ``files``: where the vectors and the answers lie, so that the findings' scripts look them up there.

    A ``KeyboardInterrupt`` ends it and keeps the operations and formats that are done (``interrupted``).
    """
    profile_named(special)
    if flush not in FLUSH_CHOICES:
        raise UnknownNameError("flush rule", flush, FLUSH_CHOICES)
    rules = Rules(parse_policy(policy), special, flush)  # type: ignore[arg-type]  # checked above
    results: dict[str, list[DtypeResult]] = {}
    interrupted = False
    try:
        for (op, fmt), cases in vectors.groups().items():
            results.setdefault(op, []).append(_group(OPS[op], fmt, cases, answers, rules, files))
    except KeyboardInterrupt:
        interrupted = True
    settings = {"policy": rules.policy.name, "special": special, "flush": flush, "vectors": dict(vectors.settings)}
    targets = tuple(TargetResult(answers.target, op, tuple(found), settings) for op, found in results.items())
    return AuditReport(targets, describe(), interrupted)


def _group(
    op: Op, fmt: str, cases: list[Case], answers: Answers, rules: Rules, files: tuple[Path, Path] | None
) -> DtypeResult:
    book = _Book(op, cases, answers.outcomes)
    expression = f"answered({str(files[0])!r}, {str(files[1])!r}, {op.name!r})" if files else ""
    asker = Asker(op, book.ask, rules, answers.target, expression, budget=0)
    ledger, smallest, skipped = Ledger(op, fmt), _Smallest(asker), 0
    for case in cases:
        if answers.outcomes[case.id] is None:
            skipped += 1
            continue
        seen = asker.observe(ledger, case.batch)
        if seen is None:
            continue
        outcome, judgement = seen
        for hit in judgement.hits:
            smallest.saw(hit, case.batch, outcome)
    ledger.close()
    findings = tuple(map(smallest.in_place, build(asker, ledger)))
    worst_examples(op, ledger)
    unasked = (f"not offered: {skipped} of {len(cases)} cases",) if skipped else ()
    notes = [f"{name}: answers {', '.join(told)}" for name, told in ledger.conventions.items()]
    return ledger.as_result(fmt, findings, ledger.refused, tuple(notes), unasked)


class _Smallest:
    """For each kind of finding the smallest call that shows it."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._found: dict[tuple[str, str], tuple[Hit, Batch, Outcome]] = {}

    def saw(self, hit: Hit, batch: Batch, outcome: Outcome) -> None:
        """Keep the call, or the row of it that the hit is about, where nothing smaller was seen."""
        single = focus(self._asker.op, batch, hit.index)
        known = self._found.get((hit.kind, hit.severity))
        if known is None or single.x.size < known[1].x.size:
            self._found[hit.kind, hit.severity] = hit, single, outcome
        elif single.x.size == known[1].x.size and batch.x.size < known[1].x.size:
            self._found[hit.kind, hit.severity] = hit, batch, outcome

    def in_place(self, finding: Finding) -> Finding:
        """The finding with that call as its minimal one, told by the same code as the worst."""
        known = self._found.get((finding.kind, finding.severity))
        if known is None or finding.severity == "info":
            return finding
        hit, batch, outcome = known
        if hit.index is not None and not self._asker.reproduces(batch, hit.kind, hit.severity):
            return finding
        ledger = Ledger(self._asker.op, batch.fmt)
        ledger.note(replace(hit, index=None), batch, outcome)
        (told,) = build(self._asker, ledger)
        return replace(finding, minimal=told.minimal, script=told.script)


class _Book:
    """Answers by call, and by single row of a call where rows stand alone; anything else counts as answered rightly."""

    def __init__(self, op: Op, cases: list[Case], outcomes: Mapping[str, Outcome | None]) -> None:
        self._op = op
        self._known: dict[Any, Outcome] = {}
        self._cases = cases
        self._outcomes = outcomes
        self._rows: dict[Any, tuple[Case, int]] | None = None
        for case in cases:
            outcome = outcomes[case.id]
            if outcome is not None:
                self._known[_key(case.batch)] = outcome

    def ask(self, batch: Batch) -> Outcome:
        found = self._known.get(_key(batch))
        return found if found is not None else self._row(batch)

    def _row(self, batch: Batch) -> Outcome:
        if self._rows is None:
            self._rows = self._indexed()
        place = self._rows.get(_key(batch))
        if place is None:
            right = certify(batch).rounded(batch.result_form)
            return Returned(right, batch.result_form.name)
        case, flat = place
        outcome = self._outcomes[case.id]
        assert isinstance(outcome, Returned)
        return replace(outcome, value=_row_of(self._op, case.batch, outcome.value, flat))

    def _indexed(self) -> dict[Any, tuple[Case, int]]:
        """Every row of every answered call, by its own focused call."""
        rows: dict[Any, tuple[Case, int]] = {}
        for case in self._cases:
            outcome = self._outcomes[case.id]
            shape = self._op.result_shape(case.batch)
            if not isinstance(outcome, Returned) or outcome.value.shape != shape or not outcome.value.size:
                continue
            for flat in _first_places(self._op, case.batch):
                single = focus(self._op, case.batch, flat)
                if single is not case.batch:
                    rows.setdefault(_key(single), (case, flat))
        return rows


def _first_places(op: Op, batch: Batch) -> list[int]:
    """One flat result index for each row (for elementwise operations: each element)."""
    shape = op.result_shape(batch)
    flat = np.arange(int(np.prod(shape, dtype=np.int64))).reshape(shape)
    if op.result == "elements" and op.by_row:
        flat = np.take(flat, 0, axis=_axis(op, batch))
    return [int(place) for place in flat.reshape(-1)]


def _axis(op: Op, batch: Batch) -> int:
    return int(op.option(batch, "axis")) if "axis" in op.options else -1


def _row_of(op: Op, batch: Batch, value: NDArray[Any], flat: int) -> NDArray[Any]:
    """The part of a result that belongs to the focused call."""
    if op.result == "elements" and op.by_row:
        place = list(np.unravel_index(flat, value.shape))
        axis = _axis(op, batch) % value.ndim
        moved = np.moveaxis(value, axis, -1)
        del place[axis]
        return np.ascontiguousarray(moved[tuple(place)])[None]
    return value.reshape(-1)[flat : flat + 1]


def _key(batch: Batch) -> Any:
    parts = [(name, value.dtype.name, value.shape, value.tobytes()) for name, value in batch.inputs.items()]
    options = [
        (name, value.tobytes() if isinstance(value, np.ndarray) else repr(value))
        for name, value in sorted(batch.options.items())
    ]
    return batch.op, batch.fmt, tuple(parts), tuple(options)


@dataclass(frozen=True, slots=True)
class _LookUp:
    book: _Book
    op: Op

    def __call__(self, *inputs: NDArray[Any], **options: Any) -> NDArray[Any]:
        named = dict(zip(self.op.inputs, map(np.asarray, inputs), strict=True))
        batch = Batch(self.op.name, next(iter(named.values())).dtype.name, "", named, options)
        outcome = self.book.ask(batch)
        if isinstance(outcome, Raised):
            raise RuntimeError(outcome.message)
        assert isinstance(outcome, Returned)
        return outcome.value


def answered(vectors: str, answers: str, op: str) -> Callable[..., NDArray[Any]]:
    """A function that gives the answers of a file instead of computing them: what the scripts of findings call."""
    if op not in OPS:
        raise UsageError(f"unknown op {op!r}")
    cases = read_vectors(Path(vectors))
    found = read_answers(Path(answers), cases)
    return _LookUp(_Book(OPS[op], [case for case in cases.cases if case.batch.op == op], found.outcomes), OPS[op])
