"""Certified real numbers, as arrays: an enclosure of each true value, and the questions that can be put to it.

A value t is held as ``(hi + lo) * 2**exponent`` with a radius::

    | t - (hi + lo) * 2**exponent |  <  radius * 2**exponent        (radius > 0: an OPEN interval)
      t = (hi + lo) * 2**exponent                                   (radius = 0: exact)

The interval is open on purpose: a true value that lies arbitrarily close to a rounding boundary, but not on it
(log-softmax of [2**-47, -64] is a float64 midpoint minus 2**-92; with a larger gap minus 2**-1477) is enclosed by an
interval that ends *at* the boundary, and is decided.

Finite non-zero values are normalised, 1 <= |hi| < 2; ``lo`` and ``radius`` are 0 or at least 2**-900. Exact zero has
hi = 0. Special values have hi = +-inf or NaN and radius 0. Exponents are int64, far beyond any format's range.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from threading import RLock
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xent_verify.core.floating import sound
from xent_verify.core.formats import FloatArray, FloatFormat, IntArray, format_named
from xent_verify.core.shapes import clipped, full

__all__ = ["DECISION", "FIELDS", "TIERS", "Enclosure", "Units", "exact"]

FIELDS = ("hi", "lo", "exponent", "radius", "tier")

Fields = tuple[FloatArray, FloatArray, IntArray, FloatArray, NDArray[np.uint8]]

DECISION = 2.0**-20
"""Widest radius, in ulps of the asked format, at which error_ulp counts as decided."""

TIERS = ("special", "float64", "double-double", "exact")
"""What proved a value: definition, tier 1, tier 2, tier 3 (``tier`` holds the index)."""

_SHIFT_LIMIT = 900
_BLOCK = 1 << 14
_MAKING = RLock()  # fields are made once, whoever asks


@dataclass(frozen=True, slots=True)
class Units:
    """Enclosures in units of the target format's ulp: |t| / 2**quantum = head + tail +- radius, sign apart."""

    head: FloatArray
    tail: FloatArray
    radius: FloatArray
    quantum: IntArray
    negative: NDArray[np.bool_]


Rounded = tuple[FloatArray, Units, NDArray[np.bool_]]


class Enclosure:
    """Arrays of certified values t, all of one shape: ``|t - (hi + lo) * 2**exponent| < radius * 2**exponent``.

    ``hi``, ``lo``, ``radius``: float64; ``exponent``: int64; ``tier``: uint8, an index into ``TIERS``. Where the radius is
    0, equality holds; special values have hi = +-inf or NaN. The fields may be worked out when the first of them is asked
    for: proof often needs no more than a double and a common radius, and arrays that nobody reads cost nothing.
    """

    __slots__ = ("_fields", "_make", "_rounded", "_rounding", "_shape")

    def __init__(
        self, hi: FloatArray, lo: FloatArray, exponent: IntArray, radius: FloatArray, tier: NDArray[np.uint8]
    ) -> None:
        self._fields: Fields | None = (hi, lo, exponent, radius, tier)
        self._make: Callable[[], Fields] | None = None
        self._rounding: tuple[FloatFormat, Enclosure] | None = None
        self._rounded: tuple[FloatFormat, Rounded] | None = None
        self._shape = hi.shape

    @classmethod
    def later(
        cls, shape: tuple[int, ...], make: Callable[[], Fields], rounding: tuple[FloatFormat, Enclosure] | None = None
    ) -> Enclosure:
        """An enclosure of that shape, whose fields ``make`` gives when they are needed.

        ``rounding``: another enclosure of the same values, which decides all roundings to a format.
        """
        made = cls.__new__(cls)
        made._fields, made._make, made._shape, made._rounding, made._rounded = None, make, shape, rounding, None
        return made

    @property
    def fields(self) -> Fields:
        """(hi, lo, exponent, radius, tier), as ``FIELDS`` names them."""
        if self._fields is None:
            with _MAKING:
                if self._make is not None:
                    self._fields, self._make, self._rounding = sound(self._make)(), None, None
        assert self._fields is not None
        return self._fields

    @property
    def made(self) -> bool:
        """Whether the fields are there."""
        return self._fields is not None

    def _rounds(self, fmt: FloatFormat) -> Enclosure:
        """What to ask about roundings to a format as long as the fields are not made."""
        rounding = self._rounding
        return self if rounding is None or rounding[0] != fmt else rounding[1]

    def __reduce__(self) -> tuple[type[Enclosure], Fields]:
        return Enclosure, self.fields

    def __repr__(self) -> str:
        pairs = zip(FIELDS, self.fields, strict=True)
        return f"Enclosure({', '.join(f'{name}={value!r}' for name, value in pairs)})"

    @property
    def hi(self) -> FloatArray:
        return self.fields[0]

    @property
    def lo(self) -> FloatArray:
        return self.fields[1]

    @property
    def exponent(self) -> IntArray:
        return self.fields[2]

    @property
    def radius(self) -> FloatArray:
        return self.fields[3]

    @property
    def tier(self) -> NDArray[np.uint8]:
        return self.fields[4]

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def size(self) -> int:
        return math.prod(self._shape)

    @property
    def finite(self) -> NDArray[np.bool_]:
        """True where the true value is a real number."""
        return np.isfinite(self.hi)

    def _each(self, change: Callable[[Any], Any]) -> Enclosure:
        """Every field changed alike, now or later."""
        if self._fields is not None:
            return Enclosure(*map(change, self._fields))
        shape = change(full(np.float64(0.0), self._shape)).shape
        return Enclosure.later(shape, lambda: cast("Fields", tuple(map(change, self.fields))))

    def __getitem__(self, key: Any) -> Enclosure:
        """Index like an array (always gives arrays, 0-d for one element)."""
        return Enclosure(*(np.asarray(field[key]) for field in self.fields))

    def reshape(self, *shape: Any) -> Enclosure:
        return self._each(lambda field: field.reshape(*shape))

    def moveaxis(self, source: int, destination: int) -> Enclosure:
        last = len(self.shape) - 1
        same = source % (last + 1) == destination % (last + 1)
        return self if same else self._each(lambda field: np.moveaxis(field, source, destination))

    @classmethod
    def concatenate(cls, parts: Sequence[Enclosure], axis: int = 0) -> Enclosure:
        columns = zip(*(part.fields for part in parts), strict=True)
        return cls(*(np.concatenate(column, axis=axis) for column in columns))

    def where(self, mask: NDArray[np.bool_], other: Enclosure) -> Enclosure:
        """``self`` where the mask is true, ``other`` elsewhere."""
        pairs: Any = zip(self.fields, other.fields, strict=True)
        return Enclosure(*(np.where(mask, mine, theirs) for mine, theirs in pairs))

    @sound
    def to_float64(self) -> FloatArray:
        """Nearest float64 to within one ulp, saturating at 0 and infinity: for plots and magnitudes, not for verdicts."""
        with np.errstate(all="ignore"):
            shift = clipped(self.exponent, -4000, 4000).astype(np.int32)
            return np.ldexp(self.hi + self.lo, shift)

    def log2_magnitude(self) -> FloatArray:
        """log2 |t| to within 2**-50 relative (-inf at 0): for plots and binning."""
        with np.errstate(all="ignore"):
            return np.log2(np.abs(self.hi + self.lo)) + self.exponent

    def bounds(self, index: Any = ()) -> tuple[Fraction, Fraction]:
        """Exact ends of one element's interval. ``ValueError`` where the value is not a real number."""
        hi, lo, radius = (float(array[index]) for array in (self.hi, self.lo, self.radius))
        if not math.isfinite(hi):
            raise ValueError(f"{hi} has no bounds")
        exponent = int(self.exponent[index])
        scale = Fraction(2) ** exponent if abs(exponent) <= 2**20 else None
        if scale is None:
            raise ValueError(f"2**{exponent} is too far out to be written as a fraction")
        centre = Fraction(hi) + Fraction(lo)
        return (centre - Fraction(radius)) * scale, (centre + Fraction(radius)) * scale

    @sound
    def units(self, fmt: str | FloatFormat) -> Units:
        """The values in ulps of ``fmt``: what rounding and error measurement work on."""
        form = format_named(fmt)
        if self._rounded is not None and self._rounded[0] is form:
            return self._rounded[1][1]
        with np.errstate(all="ignore"):
            sign = np.where(self.hi < 0, -1.0, 1.0)
            below_binade = (np.abs(self.hi) == 1.0) & (self.lo * sign < 0)
            binade = self.exponent - below_binade
            quantum = clipped(binade, form.e_min, form.e_max) - form.precision + 1
            quantum = np.where(self.hi == 0, form.e_min - form.precision + 1, quantum)
            shift = clipped(self.exponent - quantum, -_SHIFT_LIMIT, _SHIFT_LIMIT).astype(np.int32)
            head = np.ldexp(np.abs(self.hi), clipped(self.exponent - quantum, -2200, _SHIFT_LIMIT).astype(np.int32))
            return Units(head, np.ldexp(self.lo * sign, shift), np.ldexp(self.radius, shift), quantum, self.hi < 0)

    def _round(self, fmt: FloatFormat) -> Rounded:
        """``_rounding_of`` the format, kept for the questions that follow (of small arrays: large ones are asked by blocks)."""
        kept = self._rounded
        if kept is not None and kept[0] is fmt:
            return kept[1]
        found = self._rounding_of(fmt)
        if self.size <= _BLOCK:
            self._rounded = fmt, found
        return found

    def _rounding_of(self, fmt: FloatFormat) -> Rounded:
        """Rounded magnitude in ulps, the units, and whether the enclosure decides that rounding.

        With r = rint(head), head - r is exact and |tail| is at most about 1/2, so ``up`` and ``down`` below are exact
        near zero (Sterbenz) and their signs are right everywhere: they say on which side of the two midpoints
        neighbouring r the value lies.
        """
        units = self.units(fmt)
        with np.errstate(all="ignore"):
            nearest = np.rint(units.head)
            offset = units.head - nearest
            up = (offset - 0.5) + units.tail
            down = (offset + 0.5) + units.tail
            result = nearest + (up > 0) - (down < 0)
            odd = np.remainder(nearest, 2.0) == 1.0
            result = np.where((up == 0) & odd, nearest + 1, np.where((down == 0) & odd, nearest - 1, result))
            decided = (units.radius == 0) | ((np.abs(up) >= units.radius) & (np.abs(down) >= units.radius))
            beyond = units.head + units.tail - units.radius > fmt.infinity_units
            decided |= beyond & (units.quantum >= fmt.max_ulp_exponent)
        return result, units, decided | ~self.finite

    def _by_blocks(self, question: Callable[[Enclosure, slice], NDArray[Any]], dtype: Any) -> NDArray[Any]:
        """The answers of all elements, put to blocks whose intermediate results stay in the cache."""
        answers, flat = np.empty(self.size, dtype), self.reshape(-1)
        for start in range(0, self.size, _BLOCK):
            block = slice(start, start + _BLOCK)
            answers[block] = question(flat[block], block)
        return answers.reshape(self.shape)

    @sound
    def rounded(self, fmt: str | FloatFormat) -> NDArray[Any]:
        """The correctly rounded values (to nearest, ties to even) as an array of that format's dtype.

        Overflow follows the format: +-inf, NaN where it has no infinity, +-M where it has neither.
        """
        form = format_named(fmt)
        if (other := self._rounds(form)) is not self:
            return other.rounded(form)
        if self.size > _BLOCK:
            return self._by_blocks(lambda part, _: part.rounded(form), form.dtype)
        magnitude, units, _ = self._round(form)
        with np.errstate(all="ignore"):
            value = np.ldexp(magnitude, clipped(units.quantum, -4000, 4000).astype(np.int32))
            signed = form.in_range(np.where(units.negative, -value, value), self.hi)
            return np.where(self.finite, signed, self.hi).astype(form.dtype)

    @sound
    def overflows(self, fmt: str | FloatFormat) -> NDArray[np.bool_]:
        """True where a finite true value rounds beyond the largest finite value of the format."""
        form = format_named(fmt)
        magnitude, units, _ = self._round(form)
        top = form.infinity_units
        return self.finite & (units.quantum >= form.max_ulp_exponent) & (magnitude >= top)

    @sound
    def decided(self, fmt: str | FloatFormat) -> NDArray[np.bool_]:
        """True where both the correctly rounded value and error_ulp to 2**-20 ulp follow from the enclosure.

        A value that rounds beyond M is measured as one at M + Q, wherever it lies: its rounding alone decides.
        """
        form = format_named(fmt)
        if (other := self._rounds(form)) is not self:
            return other.decided(form)
        if self.size > _BLOCK:
            return self._by_blocks(lambda part, _: part.decided(form), np.bool_)
        magnitude, units, rounding = self._round(form)
        over = (units.quantum >= form.max_ulp_exponent) & (magnitude >= form.infinity_units)
        return (rounding & ((units.radius <= DECISION) | over)) | ~self.finite

    @sound
    def error_ulp(self, values: ArrayLike, fmt: str | FloatFormat) -> FloatArray:
        """|y - t| / ulp(t) per element (float64), to 2**-20 ulp where ``decided``.

        An infinity on one side only is placed at M + Q. Equal infinities (a true value that rounds to infinity
        counts as one; for formats without infinities NaN stands for it, for formats without NaN M) give 0. NaN against a
        number gives NaN. Where the format has no NaN, a true NaN says nothing of the answer, and the error is 0.
        """
        form = format_named(fmt)
        observed = np.asarray(form.widen(values))
        if self.size > _BLOCK and observed.shape == self.shape:
            flat = observed.reshape(-1)
            return self._by_blocks(lambda part, block: part.error_ulp(flat[block], form), np.float64)
        _, units, _ = self._round(form)
        over = self.overflows(form)
        with np.errstate(all="ignore"):
            true_sign = np.where(units.negative, -1.0, 1.0)
            if not form.has_inf:
                stands = np.isnan(observed) & over
                if form.saturates:
                    stands = (np.abs(observed) == form.max_finite) & (over | np.isinf(self.hi))
                sign = np.where(np.isnan(observed), true_sign, np.sign(observed))
                observed = np.where(stands, sign * np.inf, observed)
            shift = clipped(-units.quantum, -2200, 2200).astype(np.int32)
            top = float(form.infinity_units - form.saturates)
            place = np.ldexp(top, form.max_ulp_exponent - units.quantum.astype(np.int32))
            signed = np.where(np.isinf(observed), np.sign(observed) * place, np.ldexp(observed, shift))
            head = np.where(over, top, units.head)
            tail = np.where(over, 0.0, units.tail)
            error = np.abs((signed * true_sign - head) - tail)
            same = (over & (observed == true_sign * np.inf)) | (~self.finite & (observed == self.hi))
            same |= np.isnan(self.hi) & (np.isnan(observed) | form.saturates)
            error = np.where(same, 0.0, error)
            mismatch = ~self.finite & ~same
            return np.where(
                mismatch & ~np.isnan(self.hi) & ~np.isnan(observed), np.inf, np.where(mismatch, np.nan, error)
            )


def exact(values: ArrayLike) -> Enclosure:
    """Enclosures of float64 numbers that are themselves the true values (infinities and NaN included)."""
    array = np.asarray(values, dtype=np.float64)
    mantissa, exponent = np.frexp(array)
    finite = np.isfinite(array)
    zero = np.zeros(array.shape)
    hi = np.where(finite, mantissa * 2.0, array)
    power = np.where(finite & (array != 0), exponent.astype(np.int64) - 1, 0)
    return Enclosure(hi, zero, power, zero.copy(), np.zeros(array.shape, np.uint8))
