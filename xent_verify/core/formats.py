"""Floating-point formats as rows of data: rounding quantum, ordinals, neighbours.

A format F has precision p (bits of the significand, the hidden one counted), smallest normal exponent ``e_min``,
largest exponent ``e_max`` and a largest finite value M. Nothing in this package branches on a format's name: a new
format is a new row of ``FORMATS``.

Definitions (Muller et al., *Handbook of Floating-Point Arithmetic*, 2nd ed., ch. 2):

* unit roundoff ``u = 2**-p``; smallest subnormal ``eta = 2**(e_min - p + 1)``;
* ``ulp(t) = 2**(max(floor(log2|t|), e_min) - p + 1)`` and ``ulp(0) = eta``;
* Q = ulp(M); reals of magnitude M + Q/2 and more round to infinity, to NaN where the format has no infinity, and to M
  where it has neither.

Formats of 8 bits and fewer: Micikevicius et al., *FP8 Formats for Deep Learning* (2022), for e4m3fn and e5m2; Open Compute
Project, *OCP Microscaling Formats (MX) Specification* v1.0 (2023), for e2m1fn, e2m3fn, e3m2fn and e8m0fnu; Noune et al.,
*8-bit Numerical Formats for Deep Neural Networks* (2022), for the fnuz ones. ml_dtypes holds those of 4 and 6 bits in bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import ml_dtypes
import numpy as np
from numpy.typing import ArrayLike, NDArray

from xent_verify.core.failures import UnknownNameError

__all__ = ["FORMATS", "INTEGERS", "FloatFormat", "Specials", "format_named"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

INTEGERS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
"""The integer dtypes that indices may have."""

Specials = Literal["ieee", "last", "negative zero", "none"]
"""Which patterns are no finite numbers. ieee: infinities and NaN have an exponent of their own; last: the last pattern of each
sign is NaN; negative zero: its pattern is the only NaN; none: every pattern is a finite number."""


@dataclass(frozen=True, slots=True)
class FloatFormat:
    """One binary floating-point format.

    ``precision`` counts the hidden bit; ``e_min`` and ``e_max`` are the exponents of the smallest normal and of the
    largest binade; ``bits`` are those that the format uses, the lowest of ``dtype``, the NumPy dtype that carries them;
    ``specials`` says which patterns are infinities and NaN. ``scale``: a format of scales, which has neither sign nor zero
    nor subnormals (float8_e8m0fnu).
    """

    name: str
    precision: int
    e_min: int
    e_max: int
    bits: int
    dtype: np.dtype[Any]
    specials: Specials = "ieee"
    scale: bool = False

    @property
    def has_inf(self) -> bool:
        """Whether infinities exist."""
        return self.specials == "ieee"

    @property
    def has_nan(self) -> bool:
        """Whether NaN exists."""
        return self.specials != "none"

    @property
    def has_negative_zero(self) -> bool:
        """Whether -0 is told from +0."""
        return not self.scale and self.specials != "negative zero"

    @property
    def saturates(self) -> bool:
        """Whether overflow gives M, for want of an infinity and of NaN."""
        return not self.has_nan

    @property
    def beyond(self) -> float:
        """What overflow gives: inf, NaN where there is no infinity, M where there is neither."""
        return math.inf if self.has_inf else math.nan if self.has_nan else self.max_finite

    @property
    def unit_roundoff(self) -> float:
        """u = 2**-p."""
        return math.ldexp(1.0, -self.precision)

    @property
    def smallest_subnormal(self) -> float:
        """eta, the quantum of the subnormal range and the ulp of 0."""
        return math.ldexp(1.0, self.e_min - self.precision + 1)

    @property
    def smallest_normal(self) -> float:
        """2**e_min."""
        return math.ldexp(1.0, self.e_min)

    @property
    def max_finite(self) -> float:
        """M, the largest finite value."""
        return math.ldexp(2.0 - math.ldexp(1 + self._lost, 1 - self.precision), self.e_max)

    @property
    def lowest(self) -> float:
        """The lowest finite value: -M, or the smallest number of a format of scales."""
        return self.smallest_subnormal if self.scale else -self.max_finite

    @property
    def _lost(self) -> int:
        """How many patterns of the largest binade are NaN (a binade of one pattern that is NaN is not counted at all)."""
        return int(self.specials == "last" and self.precision > 1)

    @property
    def max_ulp_exponent(self) -> int:
        """log2 Q, where Q = ulp(M)."""
        return self.e_max - self.precision + 1

    @property
    def infinity_units(self) -> int:
        """(M + Q) / Q: where an infinity is placed when it must be measured as a number."""
        return (1 << self.precision) - self._lost

    @property
    def unsigned(self) -> np.dtype[Any]:
        """The unsigned integer dtype that carries the bits."""
        return np.dtype(f"u{self.dtype.itemsize}")

    @property
    def hex_digits(self) -> int:
        """Hexadecimal digits of the integer that carries the bits."""
        return 2 * self.dtype.itemsize

    def widen(self, values: ArrayLike) -> FloatArray:
        """The same numbers as float64 (exact for every format here)."""
        return np.asarray(values).astype(np.float64)

    def narrow(self, values: ArrayLike) -> NDArray[Any]:
        """Round float64 values to this format, once, to nearest even.

        Overflow gives an infinity, NaN where the format has none, M where it has neither. What a format cannot hold is
        what ml_dtypes makes of it: NaN becomes -0 where there is none; 0 and numbers below it become NaN in a format of
        scales, where small numbers become the smallest. Exact inputs only: a value that was already rounded to float64
        would be rounded twice.

        >>> FORMATS["float4_e2m1fn"].narrow([0.3, 2.5, 100.0])
        array([0.5, 2, 6], dtype=float4_e2m1fn)
        """
        wide = np.asarray(values, dtype=np.float64)
        if self.bits == 64:
            return wide
        with np.errstate(all="ignore"):
            _, exponent = np.frexp(wide)
            quantum = np.maximum(exponent - 1, self.e_min) - self.precision + 1
            rounded = np.ldexp(np.rint(np.ldexp(wide, -quantum)), quantum)
            return np.where(np.isfinite(wide), self.in_range(rounded, wide), wide).astype(self.dtype)

    def in_range(self, rounded: FloatArray, given: FloatArray) -> FloatArray:
        """Multiples of the quantum that ``given`` reals were rounded to, those out of range as the format has it."""
        held = np.where(np.abs(rounded) > self.max_finite, np.copysign(self.beyond, given), rounded)
        return np.where((held == 0) & (given > 0), self.smallest_subnormal, held) if self.scale else held

    def to_bits(self, values: ArrayLike) -> NDArray[Any]:
        """The raw bits as unsigned integers; bits of the carrier that the format does not use are 0."""
        carried = np.ascontiguousarray(np.asarray(values, dtype=self.dtype)).view(self.unsigned)
        return carried if self.bits == 8 * self.dtype.itemsize else carried & self.unsigned.type((1 << self.bits) - 1)

    def from_bits(self, bits: ArrayLike) -> NDArray[Any]:
        """Values from raw bits."""
        return np.ascontiguousarray(np.asarray(bits, dtype=self.unsigned)).view(self.dtype)

    @property
    def max_ordinal(self) -> int:
        """Ordinal of the largest value that is not NaN: +inf where there is one, else M."""
        top = np.array([np.inf if self.has_inf else self.max_finite], dtype=np.float64)
        return int(self.ordinal(top.astype(self.dtype))[0])

    @property
    def min_ordinal(self) -> int:
        """Ordinal of the lowest value: -inf where there is one, else -M; 1 in a format of scales."""
        return 1 if self.scale else -self.max_ordinal

    def ordinal(self, values: ArrayLike) -> IntArray:
        """Position on the line of representable values: 0 for both zeros, +1 for each step up, negative below zero.

        A format of scales, which has no zero, begins at 1. int64 holds every ordinal of every format (float64's run to
        about 9.2e18). NaN raises ``ValueError``.
        """
        array = np.asarray(values, dtype=self.dtype)
        if np.isnan(self.widen(array)).any():
            raise ValueError("NaN has no ordinal")
        bits = self.to_bits(array).astype(np.uint64).reshape(array.shape)
        if self.scale:
            return bits.astype(np.int64) + 1
        sign = np.uint64(1 << (self.bits - 1))
        magnitude = (bits & (sign - np.uint64(1))).astype(np.int64)
        return np.where(bits & sign, -magnitude, magnitude)

    def from_ordinal(self, ordinals: ArrayLike) -> NDArray[Any]:
        """The value at each ordinal (0 gives +0). ``ValueError`` below ``min_ordinal`` and beyond ``max_ordinal``."""
        steps = np.asarray(ordinals, dtype=np.int64)
        low, top = self.min_ordinal, self.max_ordinal
        if steps.size and (int(steps.min()) < low or int(steps.max()) > top):
            raise ValueError(f"{self.name} has ordinals {low} to {top}, not {steps.min()} to {steps.max()}")
        bits = np.abs(steps).astype(np.uint64) - np.uint64(self.scale)
        bits = np.where(steps < 0, bits | np.uint64(1 << (self.bits - 1)), bits)
        return self.from_bits(bits.astype(self.unsigned)).reshape(steps.shape)

    def ulp_distance(self, a: ArrayLike, b: ArrayLike) -> NDArray[np.uint64]:
        """Number of representable steps from ``a`` to ``b`` (an integer measure, unlike ``error_ulp``).

        Right across zero, across powers of two and at infinities; uint64, since float64's distances exceed int64.
        NaN raises ``ValueError``.
        """
        first, second = self.ordinal(a), self.ordinal(b)
        high, low = np.maximum(first, second), np.minimum(first, second)
        with np.errstate(over="ignore"):  # modular: right although the int64 difference wraps
            return np.asarray(high.astype(np.uint64) - low.astype(np.uint64))

    def next_up(self, values: ArrayLike) -> NDArray[Any]:
        """The neighbour above (M's neighbour is +inf; ``ValueError`` beyond the last value)."""
        return self.from_ordinal(self.ordinal(values) + 1)

    def next_down(self, values: ArrayLike) -> NDArray[Any]:
        """The neighbour below."""
        return self.from_ordinal(self.ordinal(values) - 1)

    def ulp(self, values: ArrayLike) -> FloatArray:
        """ulp(t) of float64 reals t; ``eta`` at 0; NaN and infinities give NaN.

        float64's ulp of a subnormal-range value is itself representable, so the result is exact.
        """
        wide = np.asarray(values, dtype=np.float64)
        _, exponent = np.frexp(wide)
        quantum = np.where(wide == 0, self.e_min, np.maximum(exponent - 1, self.e_min)) - self.precision + 1
        return np.where(np.isfinite(wide), np.ldexp(1.0, quantum), np.nan)

    def hex(self, value: Any) -> str:
        """The exact value as a hexadecimal floating literal (``nan``, ``inf``, ``-inf`` by name)."""
        wide = float(value)
        return wide.hex() if math.isfinite(wide) else str(wide)


def _row(
    name: str, precision: int, e_min: int, e_max: int, bits: int, dtype: Any, specials: Specials = "ieee"
) -> FloatFormat:
    return FloatFormat(name, precision, e_min, e_max, bits, np.dtype(dtype), specials)


FORMATS: dict[str, FloatFormat] = {
    fmt.name: fmt
    for fmt in (
        _row("float64", 53, -1022, 1023, 64, np.float64),
        _row("float32", 24, -126, 127, 32, np.float32),
        _row("float16", 11, -14, 15, 16, np.float16),
        _row("bfloat16", 8, -126, 127, 16, ml_dtypes.bfloat16),
        _row("float8_e4m3fn", 4, -6, 8, 8, ml_dtypes.float8_e4m3fn, "last"),
        _row("float8_e5m2", 3, -14, 15, 8, ml_dtypes.float8_e5m2),
        _row("float8_e3m4", 5, -2, 3, 8, ml_dtypes.float8_e3m4),
        _row("float8_e4m3", 4, -6, 7, 8, ml_dtypes.float8_e4m3),
        _row("float8_e4m3b11fnuz", 4, -10, 4, 8, ml_dtypes.float8_e4m3b11fnuz, "negative zero"),
        _row("float8_e4m3fnuz", 4, -7, 7, 8, ml_dtypes.float8_e4m3fnuz, "negative zero"),
        _row("float8_e5m2fnuz", 3, -15, 15, 8, ml_dtypes.float8_e5m2fnuz, "negative zero"),
        _row("float6_e2m3fn", 4, 0, 2, 6, ml_dtypes.float6_e2m3fn, "none"),
        _row("float6_e3m2fn", 3, -2, 4, 6, ml_dtypes.float6_e3m2fn, "none"),
        _row("float4_e2m1fn", 2, 0, 2, 4, ml_dtypes.float4_e2m1fn, "none"),
        FloatFormat("float8_e8m0fnu", 1, -127, 127, 8, np.dtype(ml_dtypes.float8_e8m0fnu), "last", scale=True),
    )
}


def format_named(name: str | FloatFormat | np.dtype[Any] | type) -> FloatFormat:
    """The format of that name (or of that NumPy dtype); ``UnknownNameError`` for any other."""
    if isinstance(name, FloatFormat):
        return name
    key = name if isinstance(name, str) else np.dtype(name).name
    if key not in FORMATS:
        raise UnknownNameError("format", key, FORMATS)
    return FORMATS[key]
