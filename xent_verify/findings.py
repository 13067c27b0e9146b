"""From ledger entries to findings: focus the worst call on one row, minimise it, explain it, write the script."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from xent_verify import companions, diagnose, laws
from xent_verify.diagnose.conduct import changing, conduct
from xent_verify.enclosure import Enclosure
from xent_verify.judge import Hit, Judgement, Rules, judge
from xent_verify.kinds import KINDS
from xent_verify.ledger import Entry, Ledger
from xent_verify.minimise import minimise
from xent_verify.model import Batch, Example, Finding, Outcome, Returned
from xent_verify.ops import Op
from xent_verify.scripts import script
from xent_verify.truth import certify
from xent_verify.truth.exact import digits

__all__ = ["Asker", "build", "focus", "inferred", "worst_examples"]

Ask = Callable[[Batch], Outcome]

_MINIMISED_SEVERITIES = frozenset({"fail", "warn"})
_EXAMPLE_LIMIT = 300
_EVIDENCE_LIMIT = 300_000
_EVIDENCE_LIMIT_ELEMENTWISE = 5_000
"""Elements of the worst call beyond which the diagnosis looks at its single row (or element) instead."""


@dataclass(frozen=True, slots=True)
class Asker:
    """One target on one op under one set of rules: call, truth and judgement in one place."""

    op: Op
    ask: Ask
    rules: Rules
    target: str
    expression: str = ""  # how a script opens the target (``Candidate.expression``)
    budget: int = 250
    begin: Callable[[Batch], None] | None = None  # ``Candidate.begin``

    def judged(self, batch: Batch) -> tuple[Outcome, Enclosure, Judgement]:
        if self.begin is not None:
            self.begin(batch)
        truth = certify(batch)
        outcome = self.ask(batch)
        return outcome, truth, judge(self.op, batch, outcome, truth, self.rules)

    def hits(self, batch: Batch, check: str) -> tuple[Hit, ...]:
        """All hits of a plain call (check ""), or those of one companion or law."""
        outcome, truth, judgement = self.judged(batch)
        if check in ("", "convention") or not isinstance(outcome, Returned) or judgement.errors is None:
            return judgement.hits
        limit = self.rules.policy.limit(self.op, batch, truth)
        for companion in companions.COMPANIONS:
            if companion.name == check:
                return tuple(companion.run(self.ask, self.op, batch, outcome, limit))
        return tuple(laws.law_named(check).check(self.ask, self.op, batch, outcome.value, limit))

    def reproduces(self, batch: Batch, kind: str, severity: str, check: str) -> bool:
        """True when the batch shows a hit of that kind and severity."""
        return any(hit.kind == kind and hit.severity == severity for hit in self.hits(batch, check))


def focus(op: Op, batch: Batch, index: int | None) -> Batch:
    """The batch reduced to the row that holds flat result element ``index`` (2-D, last axis), where rows are separate."""
    if index is None or batch.x.ndim == 0:
        return batch
    shape = op.result_shape(batch)
    if not op.by_row:
        return _element(batch, index) if shape == batch.x.shape else batch
    if op.result == "loss" and shape == ():
        return batch
    place = np.unravel_index(index, shape)
    axis = int(op.option(batch, "axis")) % batch.x.ndim if "axis" in op.options else 1
    if "axis" not in op.options:
        inputs = {name: value[place[0] : place[0] + 1] for name, value in batch.inputs.items()}
        return replace(batch, inputs=inputs, layout="C")
    outer = list(place)
    if op.result == "elements":
        del outer[axis]
    inputs = {
        name: np.ascontiguousarray(np.moveaxis(value, axis, -1)[tuple(outer)])[None]
        for name, value in batch.inputs.items()
    }
    options = {name: value for name, value in batch.options.items() if name != "axis"}
    return replace(batch, inputs=inputs, options=options, layout="C")


def _element(batch: Batch, index: int) -> Batch:
    """One element of an elementwise call, with its own part of every array."""
    shape = batch.x.shape
    inputs = {name: value.reshape(-1)[index : index + 1] for name, value in batch.inputs.items()}
    options = {
        name: np.broadcast_to(value, shape).reshape(-1)[index : index + 1] if isinstance(value, np.ndarray) else value
        for name, value in batch.options.items()
    }
    return replace(batch, inputs=inputs, options=options, layout="C")


def build(asker: Asker, ledger: Ledger) -> tuple[Finding, ...]:
    """Every entry of the ledger as a finding, gravest first."""
    return tuple(_finding(asker, entry, ledger.cases) for entry in ledger.ordered())


def _finding(asker: Asker, entry: Entry, cases: int) -> Finding:
    worst_batch = _focused(asker, entry)
    worst = _example(asker, worst_batch, entry)
    minimal = worst
    if entry.severity in _MINIMISED_SEVERITIES and entry.check != "convention" and entry.kind != "timeout":
        minimal = _minimal(asker, worst_batch, entry) or worst
    text = _diagnosis(asker, entry, worst_batch)
    code = (
        script(asker.target, minimal, kind=entry.kind, dtype=entry.batch.fmt, expression=asker.expression)
        if minimal
        else ""
    )
    return Finding(
        kind=entry.kind,
        severity=entry.severity,
        message=entry.hit.message if not entry.check else f"{entry.check}: {entry.hit.message}",
        count=entry.count,
        cases=max(cases, entry.count),
        regimes=tuple(sorted(entry.regimes)),
        minimal=minimal,
        worst=worst,
        diagnosis=text,
        script=code,
    )


def _focused(asker: Asker, entry: Entry) -> Batch:
    """One row of the worst call if it fails alone in the same way, else the whole call."""
    if entry.check or KINDS[entry.kind].group == "outcome" or entry.severity == "info":
        return entry.batch
    single = focus(asker.op, entry.batch, entry.hit.index)
    if single is entry.batch:
        return single
    return single if asker.reproduces(single, entry.kind, entry.severity, "") else entry.batch


def _minimal(asker: Asker, start: Batch, entry: Entry) -> Example | None:
    def fails(batch: Batch) -> bool:
        return asker.reproduces(batch, entry.kind, entry.severity, entry.check)

    budget = asker.budget if start.x.size <= 200_000 else asker.budget // 4
    if KINDS[entry.kind].group == "outcome":
        budget = min(budget, 60)
    return _example(asker, minimise(start, fails, budget=budget), entry)


def _example(asker: Asker, batch: Batch, entry: Entry) -> Example:
    """The call with the numbers at its worst element of that kind."""
    blank = Example(batch.inputs, batch.options, batch.layout, (), "", float("nan"), float("nan"), None, None)
    if KINDS[entry.kind].group in ("outcome", "coverage"):
        return blank
    outcome, truth, judgement = asker.judged(batch)
    if not isinstance(outcome, Returned) or outcome.value.size != truth.size or not truth.size:
        return blank
    hits = [hit for hit in judgement.hits if hit.kind == entry.kind and hit.index is not None]
    if not hits and entry.check:
        hits = [hit for hit in asker.hits(batch, entry.check) if hit.kind == entry.kind and hit.index is not None]
    flat = int(hits[0].index or 0) if hits else 0
    if flat >= truth.size or outcome.value.dtype.kind in "cOSUM":
        return blank
    place = tuple(int(i) for i in np.unravel_index(flat, truth.shape))
    one = truth.reshape(-1)[flat]
    errors = judgement.errors
    ulp = float(errors.ulp.flat[flat]) if errors is not None else float("nan")
    ratio = float(errors.ratio.flat[flat]) if errors is not None else float("nan")
    return replace(
        blank,
        index=place,
        true_digits=digits(one),
        rounded=float(one.rounded(batch.fmt)),
        observed=float(outcome.value.reshape(-1)[flat]),
        error_ulp=None if np.isnan(ulp) else ulp,
        bound_ratio=None if np.isnan(ratio) else ratio,
    )


def _diagnosis(asker: Asker, entry: Entry, single: Batch) -> str:
    """What the answer's conduct tells, or what the wrong values agree with: in the whole worst call, or in its row."""
    if KINDS[entry.kind].group == "outcome" or entry.severity == "info" or entry.check:
        return ""
    if KINDS[entry.kind].group in ("form", "conduct"):
        if not isinstance(entry.outcome, Returned):
            return ""
        return conduct(entry.kind, entry.batch, entry.outcome, certify(entry.batch).shape)
    most = _EVIDENCE_LIMIT if asker.op.by_row else _EVIDENCE_LIMIT_ELEMENTWISE
    for batch in (entry.batch, single):
        if batch.x.size > most and (batch is not single or not asker.op.by_row):
            continue
        text = _evidence(asker, batch)
        if text:
            return text
    return ""


def _evidence(asker: Asker, batch: Batch) -> str:
    """The same for the values of one call, which is asked twice."""
    outcome, truth, judgement = asker.judged(batch)
    if not isinstance(outcome, Returned) or judgement.errors is None or outcome.value.size != truth.size:
        return ""
    failing = judgement.errors.ratio > 1
    if not failing.any():
        return ""
    again = asker.ask(batch)
    if isinstance(again, Returned):
        first, second = (batch.form.widen(answer.value) for answer in (outcome, again))
        told = changing(first, second, int(np.argmax(failing)))
        if told:
            return told
    found = diagnose.explain(asker.op, batch, outcome.value.reshape(truth.shape), failing, truth)
    return "" if found is None else found.text


def worst_examples(op: Op, ledger: Ledger) -> None:
    """Give every regime's tally the call behind its largest error, as one row where rows are separate.

    Calls that stay longer than ``_EXAMPLE_LIMIT`` logits are left out: the number stands, the row would swamp the report.
    """
    for regime, (batch, outcome, index) in ledger.worst_calls.items():
        single = focus(op, batch, index)
        if single.x.size > _EXAMPLE_LIMIT:
            continue
        truth = certify(single)
        flat = index if single is batch else _place_in_row(op, batch, index)
        one = truth.reshape(-1)[flat]
        ledger.tallies[regime].worst = Example(
            single.inputs,
            single.options,
            single.layout,
            tuple(int(i) for i in np.unravel_index(flat, truth.shape)),
            digits(one),
            float(one.rounded(batch.fmt)),
            float(outcome.value.reshape(-1)[index]),
            float(one.error_ulp(outcome.value.reshape(-1)[index], batch.fmt)),
            None,
        )


def _place_in_row(op: Op, batch: Batch, index: int) -> int:
    """Where a flat result element lies in its own row's result."""
    if op.result != "elements" or not op.by_row:
        return 0
    axis = int(op.option(batch, "axis")) % batch.x.ndim if "axis" in op.options else 1
    return int(np.unravel_index(index, op.result_shape(batch))[axis])


def inferred(asker: Asker, fmt: str) -> tuple[str, ...]:
    """What a passing target was seen to do: formula, accumulator, subnormals."""
    return tuple(diagnose.infer(asker.op, fmt, asker.ask))
