"""Truth and judgement of all pairs of a 16-bit format, some 30 times as fast as the general way, and proven alike.

For n = 2 everything depends on the larger logit m and the gap g = |x0 - x1|::

    softmax      p_hi = 1 / (1 + e),  p_lo = e / (1 + e)          e = exp(-g)
    log_softmax  -log p_hi = log1p(e),  -log p_lo = g + log1p(e)
    logsumexp    m + log1p(e)

**Error of T, the double that stands for the true magnitude t.** Logits of 16 bits are doubles; fl(x0 - x1) is within
2**-53 g of g; held at 700 it makes exp(-g) wrong by 700 * 2**-53 < 2**-43.5, relatively, and beyond 700 both the term
and its stand-in are below 2**-1009, which is nothing in units of any ulp here. exp and log1p are taken to be good to
2**-44 (``float64_tier.trusted`` measures 4 * 2**-53 = 2**-51 at start-up, or this module is not used); 1 + e, the
quotient, the product and the sum add 4 * 2**-53. In all |T - t| <= 2**-42 t, and for logsumexp the same of the larger
of |m| and log1p(e), which is 2**-38 t as long as |t| is a sixteenth of that or more (else the row goes the sure way).
``RHO = 2**-38`` is used throughout, so that T is within 2**(p - 38) ulps: 2**-27 for float16.

**Ulp.** The unit of T is that of t unless T is within RHO of a power of two. There, an answer equal to that power has
an error below 2**-26 ulps in either unit; any other goes the sure way.

**Judgement.** The limit is that of ``ops.limits``, for the same rows. A ratio within
1e-9 of 1, an error within the above of an edge of the histogram or of 0.5 ulp: the sure way. What is left is counted
here, and has the class and the bin that ``measure`` and ``judge`` give it, whose own truth is within 2**-45.

A maximum is taken of T's errors; its value is then measured by ``measure`` (``certified.remeasured``). No error of the
domain exceeds the maximum so stated by more than 2**-26 ulps (relatively 2**-38 above an ulp).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.formats import FloatArray, FloatFormat, IntArray
from xent_verify.core.kinds import FAILING
from xent_verify.core.model import Batch
from xent_verify.ops import Op
from xent_verify.ops.limits import Limits, limits_of
from xent_verify.prove.certified import kept
from xent_verify.prove.counts import Counts, Extreme
from xent_verify.prove.domain import numbers
from xent_verify.prove.elements import RHO, Element, Verdict, careful, doubtful, quick
from xent_verify.prove.regions import Regions
from xent_verify.truth import float64_tier
from xent_verify.verdict.judge import Rules

__all__ = ["PairJudge", "available"]

FARTHEST = 700.0
_PIECE = 1 << 14
"""Rows worked on at a time: their arrays stay in the cache."""

_LEAST = 1 << 10
"""Pieces with different verdicts are halved down to this many rows, so that the alike parts of them go quickly."""

_WIDEST = 1 << 16
_MASK = (1 << 52) - 1

Words = NDArray[np.uint16]


def available(op: Op, form: FloatFormat, rules: Rules) -> bool:
    """Whether pairs of this operation, format and policy can be judged here."""
    policy = rules.policy
    plain = policy.kind == "bound" or (policy.kind == "ulp" and policy.ulps < 2.0**64)
    known = op.name in ("softmax", "log_softmax", "logsumexp")
    return known and plain and form.bits == 16 and form.has_inf and float64_tier.trusted()


@dataclass(frozen=True, slots=True)
class _Segment:
    """Neighbouring rows of one first logit on one side of it: first row, gaps, logits, column of the larger."""

    first: int
    patterns: slice
    gap: FloatArray
    top: FloatArray | float
    bottom: FloatArray | float
    high: int

    def part(self, some: slice) -> _Segment:
        """Some of its rows."""
        place = slice(self.patterns.start + some.start, self.patterns.start + some.stop)
        top, bottom = (end if isinstance(end, float) else end[some] for end in (self.top, self.bottom))
        return _Segment(self.first + some.start, place, self.gap[some], top, bottom, self.high)


class PairJudge:
    """Counts the verdicts on answers to all pairs of one first logit; ``seconds`` tells truth from measuring."""

    def __init__(self, op: Op, form: FloatFormat, rules: Rules, clock: Callable[[], float] = time.perf_counter) -> None:
        self._operation, self._op, self._form = op, op.name, form
        self._policy = rules.policy
        self._kind, self._ulps = rules.policy.kind, rules.policy.ulps
        self._finite = form.max_ordinal  # patterns of finite values of one sign, which come first
        self._values = numbers(form, form.from_bits(np.arange(_WIDEST).astype(np.uint16)))
        self._ascending = self._values[: self._finite]
        self._slack = 2.0**form.precision * RHO
        self.regions = Regions(form)
        self._clock = clock
        self.seconds = {"truth": 0.0, "measure": 0.0}

    def count(self, counts: Counts, pattern: int, answers: Words) -> IntArray:
        """Count the answers (bits, [65536, outputs]) to all pairs that begin with ``pattern``.

        Returns the second patterns of the rows that must go the sure way, which are not counted.
        """
        start = self._finite
        if (pattern & 0x7FFF) == start:
            return np.arange(_WIDEST)
        if (pattern & 0x7FFF) > start:
            return self._nans(counts, answers, np.arange(_WIDEST))
        nans = np.concatenate((np.arange(start + 1, 0x8000), np.arange(0x8000 + start + 1, _WIDEST)))
        left = [np.array([start, 0x8000 + start]), self._nans(counts, answers, nans)]
        with np.errstate(all="ignore"):
            left += [self._segment(counts, segment, answers) for segment in self._segments(pattern)]
        return np.concatenate(left)

    def _nans(self, counts: Counts, answers: Words, seconds: IntArray) -> IntArray:
        """Rows with a NaN: every answer is due to be NaN; the others go the sure way."""
        bits = answers if len(seconds) == len(answers) else answers[seconds]
        fine = ((bits & 0x7FFF) > self._finite).all(axis=1)
        number = int(np.count_nonzero(fine))
        counts.rows += number
        counts.elements += number * answers.shape[1]
        counts.count("ok", number * answers.shape[1])
        return seconds[~fine]

    def _segments(self, pattern: int) -> Iterator[_Segment]:
        first = float(self._values[pattern])
        base = pattern << 16
        magnitudes = self._ascending
        above = int(np.searchsorted(magnitudes, first, side="right"))  # positive seconds up to the first
        below = int(np.searchsorted(magnitudes, -first, side="left"))  # negative seconds above the first
        for origin, sense, start, stop, high in (
            (0, 1.0, 0, above, 0),
            (0, 1.0, above, self._finite, 1),
            (0x8000, -1.0, 0, below, 1),
            (0x8000, -1.0, below, self._finite, 0),
        ):
            for low in range(start, stop, _PIECE):
                part = slice(low, min(low + _PIECE, stop))
                second = magnitudes[part] if sense > 0 else -magnitudes[part]
                gap = first - second if high == 0 else second - first
                place = slice(origin + part.start, origin + part.stop)
                top, bottom = (first, second) if high == 0 else (second, first)
                yield _Segment(base + place.start, place, gap, top, bottom, high)

    def _segment(self, counts: Counts, segment: _Segment, answers: Words) -> IntArray:
        begun = self._clock()
        elements, unsure = self._elements(segment, answers)
        ready = self._clock()
        self.seconds["truth"] += ready - begun
        left = self._measured(counts, segment, answers, elements, unsure)
        self.seconds["measure"] += self._clock() - ready
        return left

    def _elements(self, segment: _Segment, answers: Words) -> tuple[list[Element], NDArray[np.bool_] | None]:
        """Truth, limit, unit and answer of each output; rows that are unsure from the start."""
        gap, found = segment.gap, self._limits(segment)
        limits = found.error
        held = np.minimum(gap, FARTHEST)
        e = np.exp(-held)
        inverse = 1.0 / (1.0 + e)
        low = e * inverse
        unsure: NDArray[np.bool_] | None = None
        if found.wild.any():
            unsure = np.asarray(found.wild.reshape(gap.size, -1).any(axis=1))
        truths: list[tuple[int, FloatArray, FloatArray, float | None]]
        high, other = segment.high, 1 - segment.high
        if self._op == "softmax":
            truths = [
                (high, inverse, limits[..., high], 2.0**-self._form.precision),
                (other, low, limits[..., other], None),
            ]
        else:
            log = np.log1p(e)
            if self._op == "log_softmax":
                total = gap + log
                if float(gap[0]) > 0.5 * self._form.max_finite or float(gap[-1]) > 0.5 * self._form.max_finite:
                    far = total > 0.99 * self._form.max_finite
                    unsure = far if unsure is None else unsure | far
                truths = [(high, log, limits[..., high], None), (other, total, limits[..., other], None)]
            else:
                total = segment.top + log
                size = np.abs(total)
                cancels = 16.0 * size < np.maximum(np.abs(segment.top), log)
                unsure = cancels if unsure is None else unsure | cancels
                truths = [(0, total, limits, None)]
        return [self._element(answers, segment, *truth) for truth in truths], unsure

    def _limits(self, segment: _Segment) -> Limits:
        """The policy's limits of all outputs, [R, 2] or [R] (under "ulp" they follow from the truth)."""
        x = np.empty((segment.gap.size, 2))
        x[:, segment.high] = segment.top
        x[:, 1 - segment.high] = segment.bottom
        call = Batch(self._op, self._form.name, "pairs", {"x": x.astype(self._form.dtype)})
        nowhere = np.zeros(x.shape, np.bool_)
        return (
            limits_of(self._operation, call, self._policy.machine_for(call))
            if self._kind == "bound"
            else Limits(x, nowhere, nowhere)
        )

    def _element(
        self, answers: Words, segment: _Segment, column: int, truth: FloatArray, limit: FloatArray, unit: float | None
    ) -> Element:
        given = np.empty(len(truth))
        self._values.take(answers[segment.patterns, column], mode="clip", out=given)
        if self._op == "log_softmax":
            np.negative(given, out=given)
        size = np.abs(truth) if self._op == "logsumexp" else truth
        units: FloatArray | float = unit if unit is not None else self._units(size)
        if self._kind == "ulp":
            limit = np.broadcast_to(np.asarray(self._ulps * np.asarray(units)), truth.shape)
        else:
            limit = np.maximum(limit, math.nextafter(1.0, 0.0) * np.asarray(units))  # as ``Policy.limits`` has it
        return Element(column, truth, size, given, units, limit)

    def _units(self, size: FloatArray) -> FloatArray:
        """ulp(t) by the exponent of the double; below the normal range its quantum."""
        binade = (size.view(np.int64) & ~_MASK).view(np.float64)
        np.maximum(binade, self._form.smallest_normal, out=binade)
        binade *= 2.0 ** (1 - self._form.precision)
        return binade

    def _measured(
        self,
        counts: Counts,
        segment: _Segment,
        answers: Words,
        elements: list[Element],
        unsure: NDArray[np.bool_] | None,
    ) -> IntArray:
        verdicts = []
        if unsure is None or not unsure.any():
            for element in elements:
                verdict = quick(element, self._form, self._op, self._slack)
                if verdict is None:
                    break
                verdicts.append(verdict)
        rows = segment.gap.size
        if len(verdicts) < len(elements) and rows > _LEAST:
            parts = [
                self._measured(
                    counts,
                    segment.part(half),
                    answers,
                    [element.part(half) for element in elements],
                    None if unsure is None else unsure[half],
                )
                for half in (slice(0, rows // 2), slice(rows // 2, rows))
            ]
            return np.concatenate(parts)
        if len(verdicts) < len(elements):
            return self._with_care(counts, segment, answers, elements, unsure)
        counts.rows += rows
        counts.elements += rows * len(elements)
        for element, verdict in zip(elements, verdicts, strict=True):
            counts.count(verdict.name, rows)
            if verdict.name == "ok":
                counts.numeric += rows
                counts.histogram += verdict.histogram
                counts.correct += verdict.correct
                self._offer(counts, "ulp", segment, element, verdict.ulp, answers)
                self._offer(counts, "ratio", segment, element, verdict.ratio, answers)
            elif verdict.name in FAILING:
                self._offer(counts, verdict.name, segment, element, verdict.ratio, answers)
        for name in {verdict.name for verdict in verdicts}.intersection(FAILING):
            self.regions.add(name, np.ones(rows, bool), segment.first, segment.high, segment.gap)
        return np.zeros(0, np.int64)

    def _offer(
        self, counts: Counts, what: str, segment: _Segment, element: Element, values: FloatArray, answers: Words
    ) -> None:
        held = counts.best.get(what)
        if held is not None and float(values.max()) < held.value:
            return
        place = int(values.argmax())
        answer = kept(answers[segment.patterns.start + place])
        counts.offer(what, Extreme(float(values[place]), segment.first + place, element.column, answer))

    def _with_care(
        self,
        counts: Counts,
        segment: _Segment,
        answers: Words,
        elements: list[Element],
        unsure: NDArray[np.bool_] | None,
    ) -> IntArray:
        """Rows with failures, or close to an edge: element by element."""
        open_rows = np.zeros(segment.gap.size, bool) if unsure is None else unsure
        verdicts: list[Verdict] = []
        for element in elements:
            verdict = careful(element, self._form, self._op, self._slack)
            open_rows = open_rows | verdict.unsure | doubtful(element, self._form)
            verdicts.append(verdict)
        keep = ~open_rows
        rows = int(np.count_nonzero(keep))
        counts.rows += rows
        counts.elements += rows * len(elements)
        failing: dict[str, NDArray[np.bool_]] = {}
        for element, verdict in zip(elements, verdicts, strict=True):
            verdict.count(counts, keep)
            for what, values in verdict.sizes(keep):
                self._offer(counts, what, segment, element, values, answers)
            for kind, mask in verdict.failing(keep):
                failing[kind] = failing[kind] | mask if kind in failing else mask
        for kind, mask in failing.items():
            self.regions.add(kind, mask, segment.first, segment.high, segment.gap)
        left: IntArray = segment.patterns.start + np.nonzero(open_rows)[0]
        return left
