"""From one outcome and its truth to hits: what is wrong with this answer, how badly, and where.

``judge`` is a pure function of (batch, outcome, truth, rules), so the audit, the minimiser and the search ask the same
question. Counting over many batches, minimal cases and words for people come later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, assert_never

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.enclosure import Enclosure
from xent_verify.core.formats import FORMATS, FloatFormat
from xent_verify.core.kinds import FAILING, KINDS, Severity
from xent_verify.core.model import Batch, Died, Malformed, NotOffered, Outcome, Raised, Returned, TimedOut
from xent_verify.ops import Op
from xent_verify.ops.defined import with_options
from xent_verify.ops.rows import Rows
from xent_verify.truth.certify import certify
from xent_verify.verdict import conventions
from xent_verify.verdict.measure import CODE, Errors, measure
from xent_verify.verdict.policies import POLICIES, Policy
from xent_verify.verdict.requirements import Requirements

__all__ = ["FLUSH_CHOICES", "Hit", "Judgement", "Rules", "as_answered", "judge"]

FLUSH_CHOICES = ("auto", "forbid", "allow")
_COMMON_SUBNORMALS = 2.0**-30
"""Formats whose subnormals begin above this lose ordinary values when they are flushed."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What counts as wrong: policy, special-value profile, flush-to-zero rule; and what is known of every call.

    ``result``: the declared format of results ("": that of the inputs). ``options``: fixed inside the target, so that its
    answers are those of calls with them. ``require``: what is asked beyond the policy.
    """

    policy: Policy = POLICIES["standard"]
    special: str = "any"
    flush: Literal["auto", "forbid", "allow"] = "auto"
    result: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    require: Requirements = Requirements()  # noqa: RUF009  a frozen value

    def of_call(self, batch: Batch) -> Batch:
        """The call that the target really answers: in the declared result format, with the fixed options."""
        if self.result == batch.result and not self.options:
            return batch
        return replace(with_options(batch, self.options), result=self.result)

    def invariant(self, hit: Hit) -> Hit:
        """A change of bits within the limit, as a failure where it exceeds what invariance allows."""
        allowed = self.require.ulps
        if allowed is None or hit.apart is None or hit.apart <= allowed:
            return hit
        return replace(hit, severity="fail")

    def flush_severity(self, form: FloatFormat) -> Severity:
        """Severity of flushing a subnormal result to zero."""
        match self.flush:
            case "forbid":
                return "fail"
            case "allow":
                return "info"
            case "auto" if self.policy.gpu and form.bits > 16:
                return "info"
            case "auto":
                return "fail" if form.smallest_normal > _COMMON_SUBNORMALS else "warn"
            case _:
                assert_never(self.flush)


@dataclass(frozen=True, slots=True)
class Hit:
    """One kind of failure in one answer: how many elements, and the worst of them (flat index).

    ``apart``: of two answers to one question whose values agree within the limit, the largest distance in ulps.
    """

    kind: str
    severity: Severity
    message: str
    count: int = 1
    index: int | None = None
    ulp: float | None = None
    ratio: float | None = None
    apart: float | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """Everything that follows from one answer."""

    hits: tuple[Hit, ...]
    errors: Errors | None = None
    words: tuple[tuple[str, str], ...] = field(default=())  # (situation, word) of conventions seen

    def kinds(self, severity: str = "fail") -> frozenset[str]:
        return frozenset(hit.kind for hit in self.hits if hit.severity == severity)


def as_answered(batch: Batch, outcome: Outcome) -> Batch:
    """The call in the format of its answer, where that is wider than the format that was due.

    Its errors are measured in ulps of its own; the limits stay those of the format that was due.
    """
    name = outcome.dtype_name if isinstance(outcome, Returned) else ""
    if name in FORMATS and FORMATS[name].bits > batch.result_form.bits:
        return replace(batch, result=name)
    return batch


def judge(op: Op, batch: Batch, outcome: Outcome, truth: Enclosure, rules: Rules) -> Judgement:
    """Judge one outcome. ``truth`` has the op's result shape."""
    match outcome:
        case Returned():
            return _judge_value(op, batch, outcome, truth, rules)
        case Raised(type_name, message):
            return Judgement((_raised(batch, type_name, message),))
        case NotOffered(what):
            return Judgement((Hit("unsupported", "info", f"not offered: {what}"),))
        case TimedOut(seconds):
            return Judgement((Hit("timeout", "fail", f"no answer within {seconds:g} s (--timeout allows more)"),))
        case Died(how):
            return Judgement((Hit("crash", "fail", f"the process ended: {how}"),))
        case Malformed(what):
            return Judgement((Hit("dtype", "fail", f"the answer is not an array of numbers: {what}{_pick(op, what)}"),))
        case _:
            assert_never(outcome)


def _pick(op: Op, what: str) -> str:
    """The call expression that gets an answer out of what was returned; "" where none can be told."""
    plain, kind = f"f({', '.join(op.inputs)})", what.partition(" ")[2].partition(" ")[0]
    calls = {
        "tuple": f"{plain}[0]",
        "list": f"{plain}[0]",
        "dict": f"{plain}['NAME']",
        "NoneType": f"({plain}, {op.first})[1]",
    }
    more = f" --in-place {op.first}" if kind == "NoneType" else ""
    return f' (--call "{calls[kind]}"{more} where that is meant)' if kind in calls else ""


def _raised(batch: Batch, type_name: str, message: str) -> Hit:
    text = f"{type_name}: {message}".strip().rstrip(":")
    if batch.x.size == 0:
        return Hit("unsupported", "info", f"empty input raises {text}")
    return Hit("exception", "fail", text)


def _judge_value(op: Op, batch: Batch, outcome: Returned, truth: Enclosure, rules: Rules) -> Judgement:
    hits = _conduct(outcome)
    wanted = truth.shape
    value = outcome.value
    if value.shape != wanted:
        if batch.x.size:
            hits.append(Hit("shape", "fail", f"result.shape={value.shape}, but should be {wanted}"))
        if value.size != truth.size:
            return Judgement(tuple(hits))
        value = value.reshape(wanted)
    hits.extend(_dtype(batch, outcome, rules))
    if value.dtype.kind in "cOSUM":
        return Judgement(tuple(hits))
    due = batch if batch.result == rules.result else replace(batch, result=rules.result)
    errors = measure(batch, value, truth, rules.policy.limits(op, due, truth))
    errors = _of_flushed_steps(op, due, value, truth, errors, rules)
    errors, more, words = _conventions(op, batch, value, truth, errors, rules)
    hits.extend(more)
    errors = _of_gradients(op, batch, errors)
    hits.extend(_values(batch, errors, rules))
    return Judgement(tuple(hits), errors, words)


def _of_flushed_steps(
    op: Op, batch: Batch, value: NDArray[Any], truth: Enclosure, errors: Errors, rules: Rules
) -> Errors:
    """Where subnormal results may be flushed, so may those of steps: what is off by no more than that is "flushed", too."""
    if rules.policy.kind != "bound" or rules.policy.gpu or rules.flush_severity(batch.result_form) == "fail":
        return errors
    off = errors.of("inaccurate") | errors.of("underflow")
    if not off.any():
        return errors
    flushing = measure(batch, value, truth, replace(rules.policy, flushes=True).limits(op, batch, truth))
    code = np.where(off & (flushing.ratio <= 1), CODE["flushed"], errors.code)
    return Errors(errors.ulp, errors.ratio, code.astype(np.uint8))


def _of_gradients(op: Op, batch: Batch, errors: Errors) -> Errors:
    """NaN in the gradient of a row whose value is a number is a kind of its own."""
    base, nan = op.differentiates, errors.of("nan")
    if base is None or not nan.any():
        return errors
    inputs = {name: value for name, value in batch.inputs.items() if name in base.inputs}
    call = replace(batch, op=base.name, inputs=inputs)
    finite = np.isfinite(certify(call).hi)
    if nan.shape == batch.x.shape and not op.joined(batch):
        view = Rows.of_call(op, batch)
        rows = ~view.touched(~finite)
        nan &= view.back(np.repeat(rows[:, None], view.n, axis=1))
    elif not finite.all():
        return errors
    return Errors(errors.ulp, errors.ratio, np.where(nan, CODE["nan_gradient"], errors.code).astype(np.uint8))


def _conduct(outcome: Returned) -> list[Hit]:
    """What the call did besides answering."""
    hits = []
    if outcome.mutated:
        hits.append(Hit("input_mutated", "fail", f"the call changed its argument {', '.join(outcome.mutated)}"))
    if outcome.earlier_changed:
        hits.append(Hit("stateful", "fail", "a result handed out earlier changed during this call (a shared buffer)"))
    if outcome.global_state:
        hits.append(Hit("stateful", "warn", f"the call changed global state: {', '.join(outcome.global_state)}"))
    return hits


def _dtype(batch: Batch, outcome: Returned, rules: Rules) -> list[Hit]:
    name = outcome.dtype_name
    due = rules.result or batch.fmt
    if name == due:
        return []
    if name in ("float", "int") and outcome.value.ndim == 0:
        return [Hit("dtype", "info", f"the result is a Python {name}, not a {due} scalar")]
    if name in FORMATS and name in [
        str(value.dtype) for value in batch.options.values() if isinstance(value, np.ndarray)
    ]:
        return []  # promoted to the format of an option
    meant = f" (--result {name} where that is meant)" if name in FORMATS else ""
    return [Hit("dtype", "fail", f"result.dtype={name}, but should be {due}{meant}")]


def _conventions(
    op: Op, batch: Batch, value: NDArray[Any], truth: Enclosure, errors: Errors, rules: Rules
) -> tuple[Errors, list[Hit], tuple[tuple[str, str], ...]]:
    """Reclassify elements that only a convention decides; report answers outside the profile."""
    accepted = conventions.profile_named(rules.special)
    observed = batch.result_form.widen(value)
    code, ratio = errors.code.copy(), errors.ratio.copy()
    hits: list[Hit] = []
    words: list[tuple[str, str]] = []
    for found in conventions.situations(op, batch, observed, truth.hi):
        fine = all(word in accepted[found.name] for word in found.words)
        if fine:
            code = np.where(found.mask, CODE["convention"], code)
            ratio = np.where(found.mask, 0.0, ratio)
        elif "nan" not in accepted[found.name]:  # NaN is also what stands for the true value here
            refused = found.mask & np.isnan(observed) & (code == CODE["ok"])
            code = np.where(refused, CODE["special_value"], code)
            ratio = np.where(refused, np.inf, ratio)
        if fine and found.name in conventions.QUESTIONABLE:
            first, count = int(np.argmax(found.mask)), int(np.count_nonzero(found.mask))
            hits.append(Hit("special_value", "warn", conventions.QUESTIONABLE[found.name], count, first))
        words.extend((found.name, word) for word in set(found.words))
    return Errors(errors.ulp, ratio, code.astype(np.uint8)), hits, tuple(sorted(words))


def _values(batch: Batch, errors: Errors, rules: Rules) -> list[Hit]:
    hits = []
    for kind in FAILING:
        mask = errors.of(kind)
        count = int(np.count_nonzero(mask))
        if not count:
            continue
        severity: Severity = rules.flush_severity(batch.result_form) if kind == "flushed" else "fail"
        size = np.where(mask, np.where(np.isfinite(errors.ratio), errors.ratio, 1e300), -1.0)
        size = size + np.where(mask & np.isfinite(errors.ulp), np.minimum(errors.ulp, 1e290), 0.0) * 1e-3
        index = int(np.argmax(size))
        ulp, ratio = float(errors.ulp.flat[index]), float(errors.ratio.flat[index])
        hits.append(Hit(kind, severity, KINDS[kind].message, count, index, None if np.isnan(ulp) else ulp, ratio))
    tolerated = int(np.count_nonzero(errors.of("tolerated_overflow")))
    if tolerated:
        text = "an intermediate of a sound algorithm overflows here although the result is representable"
        hits.append(Hit("overflow", "info", text, tolerated, int(np.argmax(errors.of("tolerated_overflow")))))
    unjudged = int(np.count_nonzero(errors.of("not_judged")))
    if unjudged:
        text = "not judged: the limit is as large as the value, and no digit of the answer is right"
        hits.append(Hit("inaccurate", "info", text, unjudged, int(np.argmax(errors.of("not_judged")))))
    return hits
