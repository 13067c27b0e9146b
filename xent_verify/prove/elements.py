"""One output of many pairs whose verdicts are not all the same: class, bin and doubt, element by element."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.formats import FloatArray, FloatFormat, IntArray
from xent_verify.core.kinds import CLASSES, FAILING
from xent_verify.prove.certified import CORRECT, LARGEST
from xent_verify.prove.counts import BINS, LOWEST, SHIFT, Counts, bins_of, bins_of_shifted
from xent_verify.verdict.measure import CODE, NO_DIGIT

__all__ = ["RHO", "Element", "Verdict", "careful", "doubtful", "quick"]

Mask = NDArray[np.bool_]
RHO = 2.0**-38
"""A true value is within this, relatively, of the double that stands for it (derived in ``pairs``)."""

_NEAR = 1 << 14  # RHO in units of a double's last place
_MASK = (1 << 52) - 1
_CLOSE = 1e-9
_SLACK = 2.0**-40  # relative: rounding of an error in ulps
_EXPONENTS = 2048


@dataclass(frozen=True, slots=True)
class Element:
    """Output ``column``: true values (doubles; their sizes), answers of the same sign, ulps, limits."""

    column: int
    truth: FloatArray
    size: FloatArray
    given: FloatArray
    unit: FloatArray | float
    limit: FloatArray

    def part(self, some: slice) -> Element:
        """Some of its rows."""
        unit = self.unit if isinstance(self.unit, float) else self.unit[some]
        return Element(self.column, self.truth[some], self.size[some], self.given[some], unit, self.limit[some])


@dataclass(frozen=True, slots=True)
class Verdict:
    """Class codes, errors in ulps and over limit, bins; ``unsure``: must be judged the sure way."""

    code: NDArray[np.uint8]
    ulp: FloatArray
    ratio: FloatArray
    numeric: Mask
    unsure: Mask

    def count(self, counts: Counts, keep: Mask) -> None:
        """Add what ``keep`` marks."""
        for code, number in enumerate(np.bincount(self.code[keep], minlength=len(CLASSES))):
            counts.count(CLASSES[code], int(number))
        numeric = self.numeric & keep
        errors = self.ulp[numeric]
        counts.numeric += errors.size
        counts.histogram = counts.histogram + np.bincount(bins_of(errors), minlength=BINS)
        counts.correct += int(np.count_nonzero((errors <= CORRECT) & (self.code[numeric] == CODE["ok"])))

    def sizes(self, keep: Mask) -> Iterator[tuple[str, FloatArray]]:
        """What maxima are taken of; -1 marks what does not take part."""
        numeric = self.numeric & keep
        if numeric.any():
            yield "ulp", np.where(numeric, self.ulp, -1.0)
            yield "ratio", np.where(numeric, self.ratio, -1.0)
        for kind, mask in self.failing(keep):
            yield kind, np.where(mask, np.minimum(np.nan_to_num(self.ratio, nan=LARGEST), LARGEST), -1.0)

    def failing(self, keep: Mask) -> Iterator[tuple[str, Mask]]:
        """Failing classes, and where."""
        present = np.bincount(self.code, minlength=len(CLASSES))
        for kind in FAILING:
            if present[CODE[kind]]:
                mask = (self.code == CODE[kind]) & keep
                if mask.any():
                    yield kind, mask


def doubtful(element: Element, form: FloatFormat) -> Mask:
    """Where the unit may be another, and the answer is not the power of two itself (see ``pairs``)."""
    bits = element.size.view(np.int64) + _NEAR
    bits &= _MASK
    near: Mask = bits <= 2 * _NEAR
    if not near.any():
        return near
    place = np.nonzero(near)[0]
    size = element.size[place]
    power = ((size.view(np.int64) + _NEAR) & ~_MASK).view(np.float64)  # the power of two that it is near to
    other = element.given[place] != np.copysign(power, element.truth[place])
    if other.any():
        other &= (size > 0.5 * form.smallest_normal) & np.isfinite(element.given[place])
    near[place] = other
    return near


@dataclass(frozen=True, slots=True)
class Quick:
    """Verdicts of one class: "ok" (errors, ratios, bins, how many correctly rounded), or of NaNs, or of infinities."""

    name: str
    ulp: FloatArray
    ratio: FloatArray
    histogram: IntArray
    correct: int


_NONE = np.zeros(0)
_NO_BINS = np.zeros(BINS, np.int64)


def quick(element: Element, form: FloatFormat, op: str, slack: float) -> Quick | None:
    """The verdicts where they are all alike and none is close to anything; else None."""
    error = element.given - element.truth
    np.abs(error, out=error)
    ratio = error / element.limit
    if not float(ratio.max()) < 1.0 - _CLOSE:
        return _no_numbers(element, form, op, slack)
    if doubtful(element, form).any():
        return None
    empty = error >= element.size * (NO_DIGIT - _CLOSE)
    if empty.any():
        alike = empty.all() and (error >= element.size * (NO_DIGIT + _CLOSE)).all()
        if alike and float(element.size.min()) >= 2 * form.smallest_normal:
            return Quick("not_judged", _NONE, ratio, _NO_BINS, 0)
        return None
    error /= element.unit
    shifted = (error + SHIFT).view(np.int64)
    if _on_an_edge(error, shifted, slack):
        return None
    correct = int(np.count_nonzero(error <= CORRECT - slack))
    if correct != int(np.count_nonzero(error <= CORRECT + slack)):
        return None
    counted = np.bincount(shifted >> 52, minlength=_EXPONENTS)
    lowest = 1023 + LOWEST
    histogram = counted[lowest : lowest + BINS].copy()
    histogram[0] += counted[:lowest].sum()
    histogram[-1] += counted[lowest + BINS :].sum()
    return Quick("ok", error, ratio, histogram, correct)


def _no_numbers(element: Element, form: FloatFormat, op: str, slack: float) -> Quick | None:
    """The verdicts where all answers are NaN, or the same infinity; else None."""
    if np.isnan(element.given).all():
        return Quick("nan", _NONE, np.full(len(element.given), LARGEST), _NO_BINS, 0)
    if not (np.isinf(element.given[0]) and (element.given == element.given[0]).all()):
        return None
    verdict = careful(element, form, op, slack)
    if verdict.unsure.any() or (verdict.code != verdict.code[0]).any():
        return None
    return Quick(CLASSES[verdict.code[0]], _NONE, np.minimum(verdict.ratio, LARGEST), _NO_BINS, 0)


def _on_an_edge(error: FloatArray, shifted: IntArray, slack: float) -> bool:
    """Whether some error could fall into another bin: those near a power of two are looked at closely."""
    width = int(slack * 2.0 ** (52 - LOWEST + 1))  # more than ``slack`` and the rounding, from the first edge on
    near = shifted + width
    near &= _MASK
    place = np.nonzero(near <= 2 * width)[0]
    return bool(place.size and _crossing(error[place], slack).any())


def _crossing(error: FloatArray, slack: float) -> Mask:
    low, high = error * (1.0 - _SLACK), error * (1.0 + _SLACK)
    return np.asarray(bins_of_shifted(low + (SHIFT - slack)) != bins_of_shifted(high + (SHIFT + slack)))


_FLUSHED = 2.0**-116
"""Errors that flushed steps of float32 may explain (``judge``): the sure way."""


def careful(element: Element, form: FloatFormat, op: str, slack: float) -> Verdict:
    """The classes of ``measure`` for true values that are finite numbers inside the range of the format."""
    given, size = element.given, element.size
    error = np.abs(given - element.truth)
    ulp = error / element.unit
    turned = np.sign(element.truth) * given
    far = form.max_finite + 0.5 * 2.0**form.max_ulp_exponent - size  # an infinity counts from where it begins
    ratio = np.where(np.isposinf(turned), far / element.limit, error / element.limit)
    bad = ratio > 1.0
    code = np.where(bad, CODE["inaccurate"], CODE["ok"]).astype(np.uint8)
    least, subnormal = 0.5 * form.smallest_subnormal, form.smallest_normal - 0.5 * form.smallest_subnormal
    lost = bad & (given == 0)
    code[lost & (size > least)] = CODE["underflow"]
    code[lost & (size > least) & (size < subnormal)] = CODE["flushed"]
    towards = {"softmax": 0.0, "log_softmax": np.inf, "logsumexp": -np.inf}[op]  # log_softmax: signs are turned
    code[np.isinf(given)] = CODE["overflow"]
    code[np.isinf(given) & (given == towards)] = CODE["log_of_zero"]
    code[np.isnan(given)] = CODE["nan"]
    empty = (code == CODE["ok"]) & (error >= size * NO_DIGIT)
    edge = (code == CODE["ok"]) & (np.abs(error - size * NO_DIGIT) <= _CLOSE * size)
    edge |= empty & (np.abs(size - form.smallest_normal) <= form.smallest_subnormal)
    code[empty & (size >= form.smallest_normal)] = CODE["not_judged"]
    finite = np.isfinite(given)
    numeric = finite & ((code == CODE["ok"]) | (code == CODE["inaccurate"]))
    unsure = _crossing(ulp, slack) | edge
    unsure |= np.abs(ulp - CORRECT) <= slack
    unsure |= np.abs(ratio - 1.0) <= _CLOSE
    for edge in (least, subnormal):
        unsure |= lost & (np.abs(size - edge) <= _CLOSE * edge)
    unsure |= bad & (error <= _FLUSHED)
    unsure &= finite
    unsure |= np.isinf(given) & ~(ratio > 1.0 + _CLOSE)  # beside the largest value an infinity may be within the limit
    return Verdict(code, ulp, ratio, numeric, unsure)
