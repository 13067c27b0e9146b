"""The error of every returned value, and counters that add up.

``measure`` compares a result with its certified truth: error_ulp (``ulp_error``), error over the policy's limit,
and a class per element. ``Tally`` folds any number of such results into integer counts (histogram of error x magnitude),
an exact maximum and counts per class: two tallies add up to the tally of both, in any order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xent_verify.core.enclosure import TIERS, Enclosure
from xent_verify.core.failures import UsageError
from xent_verify.core.formats import FloatArray, FloatFormat
from xent_verify.core.kinds import CLASSES
from xent_verify.core.model import Batch, Example, RegimeResult
from xent_verify.core.shapes import among, clipped
from xent_verify.ops import op_named
from xent_verify.ops.limits import Limits

__all__ = [
    "ERROR_EDGES",
    "ILL_CONDITIONED",
    "MAGNITUDE_EDGES",
    "NO_DIGIT",
    "Errors",
    "Tally",
    "measure",
    "stated",
    "ulp_error",
]

CODE = {name: code for code, name in enumerate(CLASSES)}

ERROR_EDGES = np.concatenate(
    [
        [0.0, 2.0**-20],
        2.0 ** np.arange(-10, -4),
        2.0 ** np.arange(-4.0, 12.0, 0.25),
        2.0 ** np.arange(12, 68, 4),
        [np.inf],
    ]
)
"""Bin edges of error_ulp, ascending; the last bin is open."""

MAGNITUDE_EDGES = np.concatenate(
    [[-np.inf, -1100.0, -512.0, -256.0], np.arange(-160.0, 137.0, 8.0), [256.0, 512.0, 1025.0, np.inf]]
)
"""Bin edges of log2 of the true magnitude, ascending."""


@dataclass(frozen=True, slots=True)
class Errors:
    """Per element of the result: error in ulps (NaN where no number makes sense), error over limit, class code."""

    ulp: FloatArray
    ratio: FloatArray
    code: NDArray[np.uint8]

    def of(self, name: str) -> NDArray[np.bool_]:
        return np.asarray(self.code == CODE[name])


def measure(batch: Batch, value: NDArray[Any], truth: Enclosure, limits: Limits) -> Errors:
    """Measure a result of the right shape.

    ``value`` is cast to the result's format if it has another dtype (judged elsewhere). An answer within its limit that has
    no right digit (0, twice the true value, another sign) is ``not_judged``: the limit says nothing about it.
    """
    form = batch.result_form
    with np.errstate(all="ignore"):
        observed = form.widen(value) if value.dtype == form.dtype else form.widen(form.narrow(value.astype(np.float64)))
        ulp = truth.error_ulp(observed, form)
        ratio = _ratio(observed, truth, limits.error, form)
        code = _classify(batch.op, observed, truth, ratio, form)
        code = np.where(
            (code == CODE["ok"]) & _without_content(truth, limits.error, ulp, form), CODE["not_judged"], code
        )
        code = np.where(limits.wild & among(code, _OVERFLOWS), CODE["tolerated_overflow"], code)
        code = np.where(limits.free & among(code, _UNDEFINED), CODE["tolerated_overflow"], code)
    return Errors(ulp, ratio, code.astype(np.uint8))


ILL_CONDITIONED = 100.0
"""Limit in ulps of the true value beyond which an error in ulps says nothing: a sound algorithm loses as many there."""

NO_DIGIT = 1.0 - 2.0**-20
"""An error of this share of the value: the answer is 0, twice the value, or of the other sign."""

_OVERFLOWS = np.array([CODE["overflow"], CODE["log_of_zero"]])
_UNDEFINED = np.array([CODE["nan"], CODE["special_value"]])


def _without_content(truth: Enclosure, limit: FloatArray, ulp: FloatArray, form: FloatFormat) -> NDArray[np.bool_]:
    """True where an error within the limit is as large as the value itself, or the limit is infinite.

    Values below the normal range are left out: there a few quanta are all there is.
    """
    units = truth.units(form)
    normal = (units.head >= 2.0 ** (form.precision - 1)) & ~_defined(truth)
    return np.asarray(~_defined(truth) & np.isinf(limit) & (ulp > 1) | (normal & (ulp >= units.head * NO_DIGIT)))


def _ratio(observed: FloatArray, truth: Enclosure, limit: FloatArray, form: FloatFormat) -> FloatArray:
    """|y - t| / limit, in units of the true value's ulp so that no format's range is left.

    Overflow is judged by its threshold, not by the placed infinity: an infinity is within the limit when M + Q/2 is,
    and a finite answer to a true value beyond M counts its real distance.
    """
    units = truth.units(form)
    sign = np.where(units.negative, -1.0, 1.0)
    threshold = np.ldexp(form.infinity_units - 0.5, form.max_ulp_exponent - units.quantum.astype(np.int32))
    scaled = np.ldexp(observed, clipped(-units.quantum, -2200, 2200).astype(np.int32)) * sign
    over = truth.overflows(form)
    if form.saturates:  # the largest value is the right answer to all that lies beyond it
        stands = over & (scaled > 0) & (np.abs(observed) == form.max_finite)
        observed, scaled = np.where(stands, sign * np.inf, observed), np.where(stands, np.inf, scaled)
    elif not form.has_inf:
        scaled = np.where(np.isnan(scaled) & over, np.inf, scaled)
    wrong_sign = np.isinf(scaled) & (scaled < 0)
    error = np.where(
        np.isinf(scaled), np.maximum(threshold - units.head - units.tail, 0.0), np.abs(scaled - units.head - units.tail)
    )
    error = np.where(wrong_sign | (np.isinf(scaled) & ~over & ~np.isfinite(threshold)), np.inf, error)
    allowed = np.ldexp(limit, clipped(-units.quantum, -2200, 2200).astype(np.int32))
    ratio = np.where(error == 0, 0.0, error / allowed)
    far = np.isfinite(observed) & np.isinf(
        scaled
    )  # more than 2**1024 units off, beside which the true value is nothing
    ratio = np.where(far, np.abs(observed) / limit, ratio)
    defined = _defined(truth)
    true_nan = np.isnan(truth.hi) if form.has_inf else ~np.isfinite(truth.hi)  # NaN stands for an infinity
    exact_match = (observed == truth.hi) | (np.isnan(observed) & true_nan)
    if form.saturates:  # M stands for an infinity, anything for NaN
        exact_match |= np.isnan(truth.hi) | (observed == clipped(truth.hi, form.lowest, form.max_finite))
    target = np.ldexp(truth.hi, clipped(truth.exponent, -2200, 2200).astype(np.int32))
    exact_match = np.where(np.isfinite(truth.hi), observed == target, exact_match)
    return np.where(defined, np.where(exact_match, 0.0, np.inf), np.where(np.isnan(ratio), np.inf, ratio))


def _defined(truth: Enclosure) -> NDArray[np.bool_]:
    """Values that must be met exactly: infinities, NaN, and zeros of masked or ignored elements."""
    return np.asarray(~np.isfinite(truth.hi) | ((truth.tier == 0) & (truth.hi == 0)))


def _classify(op: str, observed: FloatArray, truth: Enclosure, ratio: FloatArray, form: FloatFormat) -> NDArray[Any]:
    wanted = form.widen(truth.rounded(form))
    defined = _defined(truth)
    true_nan = np.isnan(truth.hi)
    infinite = np.isinf(observed) & np.isfinite(wanted)
    log_zero = op_named(op).log_of_zero
    zero_log = infinite & (log_zero != 0) & (np.sign(observed) == log_zero)
    lost = (observed == 0) & (wanted != 0) & np.isfinite(wanted)
    subnormal = np.abs(wanted) < form.smallest_normal
    code = np.where(ratio > 1, CODE["inaccurate"], CODE["ok"])
    code = np.where((ratio > 1) & lost, np.where(subnormal, CODE["flushed"], CODE["underflow"]), code)
    code = np.where((ratio > 1) & infinite, np.where(zero_log, CODE["log_of_zero"], CODE["overflow"]), code)
    code = np.where((ratio > 1) & ~np.isfinite(wanted) & ~defined, CODE["overflow"], code)
    code = np.where(np.isnan(observed) & (ratio > 0), CODE["nan"], code)
    wrong = defined & (ratio > 0)
    code = np.where(wrong, CODE["special_value"], code)
    return np.where(wrong & true_nan & ~np.isnan(observed), CODE["nan_hidden"], code)


class Tally:
    """Mergeable counters of one regime."""

    __slots__ = (
        "cases",
        "classes",
        "conditioned_ulp",
        "correctly_rounded",
        "histogram",
        "length_max",
        "max_ratio",
        "max_ulp",
        "measures",
        "tiers",
        "worst",
    )

    def __init__(self) -> None:
        self.cases = 0
        self.correctly_rounded = 0
        self.max_ulp = 0.0
        self.conditioned_ulp = 0.0
        self.max_ratio = 0.0
        self.histogram = np.zeros((len(ERROR_EDGES) - 1, len(MAGNITUDE_EDGES) - 1), np.int64)
        self.classes: dict[str, int] = {}
        self.tiers = [0] * len(TIERS)
        self.length_max: dict[int, float] = {}
        self.worst: Example | None = None
        self.measures: dict[str, float] = {}

    def add(self, batch: Batch, errors: Errors, truth: Enclosure, length: int) -> int | None:
        """Count one result; the flat place of its largest error_ulp (finite cases only) where that is a new maximum."""
        self.cases += errors.ulp.size
        for code, count in enumerate(np.bincount(errors.code.ravel(), minlength=len(CLASSES))):
            if count and code:
                self.classes[CLASSES[code]] = self.classes.get(CLASSES[code], 0) + int(count)
        for tier, count in enumerate(np.bincount(truth.tier.ravel(), minlength=len(TIERS))):
            self.tiers[tier] += int(count)
        numeric = among(errors.code, _NUMERIC) & np.isfinite(errors.ulp) & np.isfinite(truth.hi)
        numeric &= ~truth.overflows(batch.result_form)
        self.correctly_rounded += int(np.count_nonzero((errors.ulp <= 0.5 + 2.0**-20) & (errors.code == 0)))
        ulp, magnitude = errors.ulp[numeric], truth.log2_magnitude()[numeric]
        self._count(ulp, magnitude)
        ratios = errors.ratio[numeric]
        self.max_ratio = max(self.max_ratio, float(ratios.max(initial=0.0)))
        with np.errstate(over="ignore"):
            steady = ulp <= ILL_CONDITIONED * ratios
        conditioned, top = float(ulp.max(initial=0.0, where=steady)), float(ulp.max(initial=0.0))
        self.conditioned_ulp = max(self.conditioned_ulp, conditioned)
        self.length_max[length] = max(self.length_max.get(length, 0.0), conditioned)
        if not top > self.max_ulp:
            return None
        self.max_ulp = top
        return int(np.argmax(np.where(numeric, errors.ulp, -1.0)))

    def _count(self, ulp: FloatArray, magnitude: FloatArray) -> None:
        rows = clipped(np.searchsorted(ERROR_EDGES, ulp, side="right") - 1, 0, self.histogram.shape[0] - 1)
        columns = clipped(np.searchsorted(MAGNITUDE_EDGES, magnitude, side="right") - 1, 0, self.histogram.shape[1] - 1)
        flat = np.bincount(rows * self.histogram.shape[1] + columns, minlength=self.histogram.size)
        self.histogram += flat.reshape(self.histogram.shape)

    def result(self, regime: str) -> RegimeResult:
        """The frozen record."""
        classes: Mapping[str, int] = dict(sorted(self.classes.items()))
        lengths = dict(sorted(self.length_max.items()))
        return RegimeResult(
            regime,
            self.cases,
            self.correctly_rounded,
            self.max_ulp,
            stated(self.max_ratio),
            self.histogram,
            classes,
            tuple(self.tiers),
            self.worst,
            lengths,
            dict(sorted(self.measures.items())),
            self.conditioned_ulp,
        )


_NUMERIC = np.array([CODE["ok"], CODE["inaccurate"]])


def stated(ratio: float) -> float:
    """A ratio error ÷ limit as it is reported: twelve digits, and on the same side of 1.

    Limits are worked out in float64 with NumPy's exp and log, whose last bits depend on the machine.

    >>> stated(8.581923374695088e16)
    8.5819233747e+16
    """
    rounded = float(f"{ratio:.12g}")
    return rounded if (rounded > 1) == (ratio > 1) else ratio


class Truth(Protocol):
    """True values that errors can be measured against: an ``Enclosure``, or what ``reference`` gives."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    def error_ulp(self, values: ArrayLike, fmt: str | FloatFormat, /) -> FloatArray: ...


def ulp_error(y: ArrayLike, reference: Truth, fmt: str | FloatFormat) -> FloatArray:
    """|y - t| / ulp(t) per element (float64), for a result ``y`` and its certified ``reference``.

    ulp(t) = 2**(max(floor(log2 |t|), e_min) - p + 1): the spacing of the format at the true value (Goldberg 1991; Muller
    et al., Handbook of Floating-Point Arithmetic, 2nd ed., section 2.3.2).

    ``y``: array of the reference's shape (any dtype; taken as real numbers). Infinities on one side are placed at M + Q;
    NaN against a number gives NaN. Decided to 2**-20 ulp for what ``reference`` gives, in any format.
    ``UsageError`` for another shape.
    """
    if np.shape(y) != reference.shape:
        raise UsageError(f"the answer has shape {np.shape(y)}; the true values have {reference.shape}")
    return reference.error_ulp(y, fmt)
