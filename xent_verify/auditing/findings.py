"""From ledger entries to findings: focus the worst call on one row, minimise it, explain it, write the script."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify import companions, diagnose, laws
from xent_verify.auditing.shared import truth_of
from xent_verify.core.clock import ENDLESS, Clock
from xent_verify.core.enclosure import Enclosure
from xent_verify.core.formats import FloatArray
from xent_verify.core.kinds import KINDS
from xent_verify.core.model import Batch, Example, Finding, Outcome, Raised, Returned
from xent_verify.diagnose.conduct import changing, conduct
from xent_verify.minimise import minimise
from xent_verify.ops import Op
from xent_verify.ops.defined import undefined
from xent_verify.ops.op import BROADCAST
from xent_verify.ops.rows import Rows
from xent_verify.scripts import script
from xent_verify.truth.decimals import digits
from xent_verify.verdict.causes import UNKNOWN, Causes
from xent_verify.verdict.defects import Sign, by_defect
from xent_verify.verdict.judge import Hit, Judgement, Rules, as_answered, judge
from xent_verify.verdict.ledger import Entry, Ledger, Lost, WorstCall
from xent_verify.verdict.measure import stated
from xent_verify.verdict.policies import POLICIES
from xent_verify.verdict.rungs import UNSOUND
from xent_verify.verdict.screen import Screen, Suspicion

__all__ = ["OF_MANY_CALLS", "Asker", "build", "focus", "inferred", "worst_examples"]

Ask = Callable[[Batch], Outcome]

OF_MANY_CALLS = ("convention", "bias", "class")
"""Relations that compare calls with one another: one call cannot show them."""

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
    clock: Clock = ENDLESS
    function: Callable[[], Any] | None = None  # ``Candidate.function``

    def judged(self, batch: Batch, outcome: Outcome | None = None) -> tuple[Outcome, Enclosure, Judgement]:
        batch = self.rules.of_call(batch)
        if self.begin is not None and outcome is None:
            self.begin(batch)
        truth = truth_of(batch)
        outcome = self.ask(batch) if outcome is None else outcome
        seen = as_answered(batch, outcome)
        if seen is not batch:
            truth = truth_of(seen)
        return outcome, truth, judge(self.op, seen, outcome, truth, self.rules)

    def observe(self, ledger: Ledger, batch: Batch, outcome: Outcome | None = None) -> tuple[Outcome, Judgement] | None:
        """Judge one call (its answer, where there is one) and count it; None where that raised, which the ledger says."""
        batch = self.rules.of_call(batch)
        try:
            outcome, truth, judgement = self.judged(batch, outcome)
            if batch.layout == "byteswapped" and judgement.kinds() and self._misread(ledger, batch, outcome):
                return outcome, judgement
            ledger.add(as_answered(batch, outcome), outcome, truth, judgement, self.rules)
        except Exception as error:  # noqa: BLE001  (said in the report)
            ledger.lost(f"a call of {batch.regime} was not judged", error)
            return None
        return outcome, judgement

    def _misread(self, ledger: Ledger, batch: Batch, outcome: Outcome) -> bool:
        """Whether the same numbers in the machine's byte order have another answer: then other numbers were read.

        That is one failure, of the layout; how wrong the answers to those other numbers are says nothing.
        """
        plain = self.ask(replace(batch, layout="C"))
        if not (isinstance(plain, Returned) and isinstance(outcome, Returned)):
            return False
        if np.array_equal(plain.value, outcome.value, equal_nan=True):
            return False
        text = "an array of the other byte order is read as if its bytes were in the machine's"
        ledger.note(Hit("layout_dependence", "fail", text), batch, outcome, "layouts")
        return True

    def seen(self, ledger: Ledger, screen: Screen, batch: Batch) -> tuple[Outcome, Judgement] | None:
        """One call of the plan, judged and counted; None where it passed the screen, was not asked, or that raised."""
        if batch.aspect != "sweep":
            return self.observe(ledger, batch)
        return self.screened(ledger, screen, batch) if screen.wanted(batch) else None

    def screened(self, ledger: Ledger, screen: Screen, batch: Batch) -> tuple[Outcome, Judgement] | None:
        """Ask one call of a sweep; judge and count what looks wrong (the suspicious rows, asked again, before all)."""
        outcome = self.ask(batch)
        whole: Suspicion | None = Suspicion(None)
        found = ledger.lost.unless("not compared", partial(screen.suspicion, batch, outcome), whole)
        if found is None:
            ledger.conditions.add(batch, wrong=False)
            return None
        seen = None if found.rows is None else self.observe(ledger, found.rows)
        if seen is None or not seen[1].kinds():
            seen = self.observe(ledger, batch, outcome)
        if seen is not None and seen[1].kinds():
            screen.failed(batch)
        return seen

    def limit(self, batch: Batch) -> FloatArray:
        """The policy's largest absolute error for each element of a call's result."""
        batch = self.rules.of_call(batch)
        return self.rules.policy.limits(self.op, batch, truth_of(batch)).error

    def related(self, batch: Batch, outcome: Returned, relation: str, limit: FloatArray) -> tuple[Hit, ...]:
        """The hits of one companion or law around an answered call."""
        for companion in companions.COMPANIONS:
            if companion.name == relation:
                found = companion.run(self.ask, self.op, batch, outcome, limit)
                return tuple(self.rules.invariant(hit) for hit in found)
        law = laws.law_named(relation)
        return tuple(law.check(self.ask, self.op, batch, outcome.value, limit, self.limit))

    def hits(self, batch: Batch, relation: str = "") -> tuple[tuple[Hit, ...], Outcome]:
        """All hits of a plain call (relation ""), or those of one companion or law; and the call's outcome."""
        outcome, _, judgement = self.judged(batch)
        if relation in ("", *OF_MANY_CALLS) or not isinstance(outcome, Returned) or judgement.errors is None:
            return judgement.hits, outcome
        return self.related(batch, outcome, relation, self.limit(batch)), outcome

    def reproduces(
        self, batch: Batch, kind: str, severity: str, relation: str = "", raised: str = "", least: float = 0.0
    ) -> bool:
        """True when a call that the operation defines shows a hit of that kind and severity.

        ``raised``: for exceptions, the same type raised in the same place. ``least``: error over limit, at least.
        """
        if self.clock.spent or undefined(self.op, self.rules.of_call(batch)):
            return False
        hits, outcome = self.hits(batch, relation)
        same = not raised or (isinstance(outcome, Raised) and outcome.identity == raised)
        return same and any(
            hit.kind == kind and hit.severity == severity and (not least or (hit.ratio or 0.0) >= least) for hit in hits
        )


def focus(op: Op, batch: Batch, index: int | None) -> Batch:
    """The batch reduced to the row that holds flat result element ``index`` (2-D, last axis), where rows are separate."""
    if index is None or batch.x.ndim == 0:
        return batch
    shape = op.result_shape(batch)
    if op.joined(batch):
        return batch
    if not op.by_row:
        return _element(batch, index) if shape == batch.x.shape else batch
    if any(op.options[name].kind == "causal" and value for name, value in batch.options.items()):
        return batch
    axis = int(op.option(batch, "axis")) % batch.x.ndim if "axis" in op.options else batch.x.ndim - 1
    outer = list(np.unravel_index(index, shape))
    if op.result == "elements":
        del outer[axis]
    row, lead = tuple(outer), tuple(outer[:-1])  # a matrix is that of the axes before the row's own

    def of_row(value: NDArray[Any]) -> NDArray[Any]:
        moved = np.moveaxis(value, axis, -1) if value.ndim == batch.x.ndim else value
        return np.ascontiguousarray(moved[row])[None] if moved.ndim > len(row) else moved[row].reshape(1)

    inputs = {
        name: np.ascontiguousarray(value[lead]) if name in op.shared else of_row(value)
        for name, value in batch.inputs.items()
    }
    options = {
        name: np.moveaxis(np.broadcast_to(value, op.scores_shape(batch)), axis, -1)[row][None]
        if op.options[name].kind in BROADCAST and value is not None
        else value
        for name, value in batch.options.items()
        if name != "axis"
    }
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
    """Every entry of the ledger as a finding, labelled with its defect; the gravest first."""
    causes = Causes(asker.op, asker.judged, ledger.failing_calls, ledger.conditions.text(), ledger.rungs.name)
    signs = [_sign(asker, causes, entry, ledger) for entry in ledger.ordered()]
    plain = tuple(sign.finding for sign in signs)
    return ledger.lost.unless("not grouped by defect", lambda: by_defect(signs, causes), plain)


def _beside_value(asker: Asker, entry: Entry, batch: Batch) -> str:
    """Of a wrong gradient that a library made: whether the value itself is right."""
    base = asker.op.differentiates
    if base is None or KINDS[entry.kind].group != "value" or entry.severity != "fail" or asker.function is None:
        return ""
    opened = asker.function()
    if opened is None:
        return ""
    inputs = {name: value for name, value in batch.inputs.items() if name in base.inputs}
    call = replace(batch, op=base.name, inputs=inputs)
    with opened as candidate:
        outcome = candidate.call(call)
    if not isinstance(outcome, Returned):
        return ""
    wrong = any(hit.severity == "fail" for hit in judge(base, call, outcome, truth_of(call), asker.rules).hits)
    return "; the value itself is wrong, too" if wrong else "; the value itself is right"


def _sized(entry: Entry, keeps: str) -> str:
    """The message; of errors of size also which class the target keeps, and the word that accepts it."""
    if entry.kind != "inaccurate" or entry.severity != "fail" or entry.relation or not keeps:
        return entry.hit.message
    if keeps == UNSOUND:
        return f"{entry.hit.message}; no class is kept"
    return f"{entry.hit.message}; class {keeps} is kept ({POLICIES[keeps].about}): --policy {keeps} accepts it"


def _sign(asker: Asker, causes: Causes, entry: Entry, ledger: Ledger) -> Sign:
    """What raises while a finding is worked out costs that part of it, which its notes say."""
    lost = Lost()
    worst_batch = lost.unless("not reduced to a row", lambda: _focused(asker, entry), entry.batch)
    worst = lost.unless("no numbers", lambda: _example(asker, worst_batch, entry), _blank(worst_batch))
    minimal = worst
    lasting = any(one.name == entry.relation and one.when == "lasting" for one in companions.COMPANIONS)
    if entry.severity != "info" and entry.relation not in OF_MANY_CALLS and entry.kind != "timeout" and not lasting:
        minimal = lost.unless("not minimised", lambda: _minimal(asker, worst_batch, entry, lost), worst)
    alone = (worst_batch is not entry.batch or _one_row(asker.op, worst_batch)) and minimal.layout == "C"
    finding = Finding(
        kind=entry.kind,
        severity=entry.severity,
        message=_sized(entry, ledger.rungs.name)
        + lost.unless("the value was not asked", lambda: _beside_value(asker, entry, worst_batch), ""),
        count=entry.count,
        cases=max(ledger.cases, entry.count),
        regimes=tuple(sorted(entry.regimes)),
        minimal=minimal,
        worst=worst,
        diagnosis=lost.unless("no cause looked for", lambda: _diagnosis(asker, causes, entry, worst_batch), ""),
        script=lost.unless("no script", lambda: _script(asker, entry, minimal), ""),
        relation=entry.relation,
        raised=entry.raised,
        notes=lost.lines(),
    )
    return Sign(finding, worst_batch, alone)


def _one_row(op: Op, batch: Batch) -> bool:
    return not op.by_row or batch.x.ndim < 2 or Rows.of_call(op, batch).count == 1


def _script(asker: Asker, entry: Entry, minimal: Example) -> str:
    return script(
        asker.target, minimal, kind=entry.kind, dtype=asker.rules.result or entry.batch.fmt, expression=asker.expression
    )


def _focused(asker: Asker, entry: Entry) -> Batch:
    """One row of the worst call if it fails alone in the same way, else the whole call."""
    if entry.relation or KINDS[entry.kind].group == "outcome" or entry.severity == "info":
        return entry.batch
    single = focus(asker.op, entry.batch, entry.hit.index)
    if single is entry.batch:
        return single
    return single if asker.reproduces(single, entry.kind, entry.severity) else entry.batch


_FEW, _LONG = 64, 4096
"""Logits of a small example; and of one from which no small one with half the error comes: it grows with the length."""


def _minimal(asker: Asker, start: Batch, entry: Entry, lost: Lost) -> Example:
    """The simplest call that fails by half the worst ratio; where that is not small, by its square root."""

    def smaller(call: Batch, least: float) -> Batch:
        def fails(batch: Batch) -> bool:
            return lost.unless(
                "a smaller call was not judged",
                lambda: asker.reproduces(batch, entry.kind, entry.severity, entry.relation, entry.raised, least),
                False,
            )

        return minimise(call, fails, budget=budget)

    budget = asker.budget if start.x.size <= 200_000 else asker.budget // 4
    if KINDS[entry.kind].group == "outcome":
        budget = min(budget, 60)
    if any(one.name == entry.relation and one.when == "longest" for one in companions.COMPANIONS):
        budget = min(budget, 30)  # many calls each
    worst = entry.hit.ratio or 0.0
    graded = entry.kind == "inaccurate" and not entry.relation and math.isfinite(worst) and worst > 1
    long = start.x.size > _LONG
    found = start if graded and long else smaller(start, worst / 2 if graded else 0.0)
    if graded and found.x.size > _FEW:
        found = smaller(found, math.sqrt(worst))
    return _example(asker, found, entry)


def _blank(batch: Batch) -> Example:
    return Example(batch.inputs, batch.options, batch.layout, (), "", float("nan"), float("nan"), None, None)


def _example(asker: Asker, batch: Batch, entry: Entry) -> Example:
    """The call with the numbers at its worst element of that kind."""
    batch = asker.rules.of_call(batch)
    blank = _blank(batch)
    if KINDS[entry.kind].group in ("outcome", "coverage"):
        return blank
    outcome, truth, judgement = asker.judged(batch)
    if not isinstance(outcome, Returned) or outcome.value.size != truth.size or not truth.size:
        return blank
    batch = as_answered(batch, outcome)
    hits = [hit for hit in judgement.hits if hit.kind == entry.kind and hit.index is not None]
    if not hits and entry.relation:
        hits = [hit for hit in asker.hits(batch, entry.relation)[0] if hit.kind == entry.kind and hit.index is not None]
    flat = int(hits[0].index or 0) if hits else int(entry.hit.index or 0) if entry.relation in OF_MANY_CALLS else 0
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
        true_digits=digits(batch, place),
        rounded=float(one.rounded(batch.result_form)),
        observed=float(outcome.value.reshape(-1)[flat]),
        error_ulp=None if np.isnan(ulp) else ulp,
        bound_ratio=None if np.isnan(ratio) else stated(ratio),
    )


def _diagnosis(asker: Asker, causes: Causes, entry: Entry, single: Batch) -> str:
    """What the answer's conduct tells, or the likely cause of the wrong values of the worst call, or of its row."""
    if KINDS[entry.kind].group == "outcome" or entry.severity == "info":
        return ""
    if entry.relation and KINDS[entry.kind].group != "conduct":
        return _of_relation(asker, causes, entry) if KINDS[entry.kind].group == "relation" else ""
    if KINDS[entry.kind].group in ("form", "conduct"):
        if not isinstance(entry.outcome, Returned):
            return ""
        return conduct(entry.kind, entry.batch, entry.outcome, asker.op.result_shape(entry.batch))
    told = _changing(asker, single)
    most = _EVIDENCE_LIMIT if asker.op.by_row else _EVIDENCE_LIMIT_ELEMENTWISE
    for batch in () if told else (entry.batch, single):
        if batch.x.size > most and (batch is not single or not asker.op.by_row):
            continue
        told = causes.text(batch)
        if told:
            break
    return told or UNKNOWN


def _of_relation(asker: Asker, causes: Causes, entry: Entry) -> str:
    """The likely cause of wrong values in one of the calls that were compared; "" where each by itself is right."""
    asked: list[Batch] = []

    def ask(batch: Batch) -> Outcome:
        asked.append(batch)
        return asker.ask(batch)

    outcome = asker.ask(entry.batch)
    if not isinstance(outcome, Returned):
        return ""
    replace(asker, ask=ask).related(entry.batch, outcome, entry.relation, asker.limit(entry.batch))
    small = (batch for batch in asked if 0 < batch.x.size <= _COMPARED and not undefined(asker.op, batch))
    told = next((told for batch in itertools.islice(small, _ASKED) if (told := causes.text(batch))), "")
    if told or entry.batch.times > 1:
        return told
    return next((told for batch in (entry.batch, asked[-1]) if (told := _repeated(asker, batch))), "") if asked else ""


def _repeated(asker: Asker, batch: Batch) -> str:
    """What differs between several answers to the same call."""
    answers = [asker.ask(batch) for _ in range(_REPEATS)]
    values = [batch.result_form.widen(one.value) for one in answers if isinstance(one, Returned) and one.value.size]
    return next((told for other in values[1:] if (told := changing(values[0], other, 0))), "")


_ASKED, _COMPARED = 16, 20_000
"""Calls of a relation that are looked at, and their logits."""
_REPEATS = 6
"""Answers to one call that are compared, where each call by itself is right."""


def _changing(asker: Asker, batch: Batch) -> str:
    """What differs between two answers to the same call; "" where they are alike."""
    batch = asker.rules.of_call(batch)
    outcome, truth, judgement = asker.judged(batch)
    if not isinstance(outcome, Returned) or judgement.errors is None or outcome.value.size != truth.size:
        return ""
    failing, again = judgement.errors.ratio > 1, asker.ask(batch)
    if not failing.any() or not isinstance(again, Returned):
        return ""
    batch = as_answered(batch, outcome)
    first, second = (batch.result_form.widen(answer.value) for answer in (outcome, again))
    return changing(first, second, int(np.argmax(failing)))


def worst_examples(op: Op, ledger: Ledger) -> None:
    """Give every regime's tally the call behind its largest error, as one row where rows are separate.

    Of a call too long to be kept the numbers alone are, and its length.
    """
    for regime, worst in ledger.worst_calls.items():
        tally = ledger.tallies[regime]
        tally.worst = ledger.lost.unless("no worst example", partial(_worst_example, op, worst, tally.max_ulp), None)


def _worst_example(op: Op, worst: WorstCall, error_ulp: float) -> Example:
    batch, index = worst.batch, worst.index
    single = focus(op, batch, index)
    truth = truth_of(single)
    flat = index if single is batch else _place_in_row(op, batch, index)
    one = truth.reshape(-1)[flat]
    kept = all(_short(value) for value in single.inputs.values())
    return Example(
        single.inputs if kept else {},
        single.options if kept else {},
        single.layout,
        tuple(int(i) for i in np.unravel_index(flat, truth.shape)),
        digits(single, np.unravel_index(flat, truth.shape)),
        float(one.rounded(batch.result_form)),
        worst.observed,
        error_ulp,
        stated(worst.ratio),
        0 if kept else single.x.size,
    )


def _short(array: NDArray[Any]) -> bool:
    """Whether an array is told in a few numbers: short, or runs of equal values."""
    if array.size <= _EXAMPLE_LIMIT:
        return True
    flat = np.ascontiguousarray(array).reshape(-1)
    bits = flat.view(f"u{flat.dtype.itemsize}")
    return int(np.count_nonzero(bits[1:] != bits[:-1])) < _EXAMPLE_LIMIT // 4


def _place_in_row(op: Op, batch: Batch, index: int) -> int:
    """Where a flat result element lies in its own row's result."""
    if op.result != "elements" or not op.by_row:
        return 0
    axis = int(op.option(batch, "axis")) % batch.x.ndim if "axis" in op.options else batch.x.ndim - 1
    return int(np.unravel_index(index, op.result_shape(batch))[axis])


def inferred(asker: Asker, fmt: str) -> tuple[str, ...]:
    """What a passing target was seen to do: formula, accumulator, subnormals."""
    return tuple(diagnose.infer(asker.op, fmt, asker.ask))
