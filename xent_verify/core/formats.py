"""Floating-point formats as rows of data: rounding quantum, ordinals, neighbours.

A format F has precision p (bits of the significand, the hidden one counted), smallest normal exponent ``e_min``,
largest exponent ``e_max`` and a largest finite value M. Nothing in this package branches on a format's name: a new
format is a new row of ``FORMATS``.

Definitions (Muller et al., *Handbook of Floating-Point Arithmetic*, 2nd ed., ch. 2):

* unit roundoff ``u = 2**-p``; smallest subnormal ``eta = 2**(e_min - p + 1)``;
* ``ulp(t) = 2**(max(floor(log2|t|), e_min) - p + 1)`` and ``ulp(0) = eta``;
* Q = ulp(M); reals of magnitude M + Q/2 and more round to infinity (to NaN where the format has no infinity).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import ArrayLike, NDArray

from xent_verify.core.failures import UnknownNameError

__all__ = ["FORMATS", "INTEGERS", "FloatFormat", "format_named"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

INTEGERS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
"""The integer dtypes that indices may have."""


@dataclass(frozen=True, slots=True)
class FloatFormat:
    """One binary floating-point format.

    ``precision`` counts the hidden bit; ``e_min`` and ``e_max`` are the exponents of the smallest normal and of the
    largest binade; ``has_inf`` says whether infinities exist (without them overflow gives NaN, and the all-ones
    significand of the top binade is NaN, as in float8_e4m3fn); ``dtype`` is the NumPy dtype that carries the bits.
    """

    name: str
    precision: int
    e_min: int
    e_max: int
    has_inf: bool
    bits: int
    dtype: np.dtype[Any]

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
        steps = 1 if self.has_inf else 2
        return math.ldexp(2.0 - math.ldexp(steps, 1 - self.precision), self.e_max)

    @property
    def max_ulp_exponent(self) -> int:
        """log2 Q, where Q = ulp(M)."""
        return self.e_max - self.precision + 1

    @property
    def infinity_units(self) -> int:
        """(M + Q) / Q: where an infinity is placed when it must be measured as a number."""
        return (1 << self.precision) - (0 if self.has_inf else 1)

    @property
    def unsigned(self) -> np.dtype[Any]:
        """The unsigned integer dtype of the same width."""
        return np.dtype(f"u{self.bits // 8}")

    def widen(self, values: ArrayLike) -> FloatArray:
        """The same numbers as float64 (exact for every format here)."""
        return np.asarray(values).astype(np.float64)

    def narrow(self, values: ArrayLike) -> NDArray[Any]:
        """Round float64 values to this format, once, to nearest even.

        Overflow gives an infinity, or NaN where the format has none. Exact inputs only: a value that was already
        rounded to float64 would be rounded twice.
        """
        wide = np.asarray(values, dtype=np.float64)
        if self.bits == 64:
            return wide
        with np.errstate(all="ignore"):
            _, exponent = np.frexp(wide)
            quantum = np.maximum(exponent - 1, self.e_min) - self.precision + 1
            rounded = np.ldexp(np.rint(np.ldexp(wide, -quantum)), quantum)
            beyond = np.abs(rounded) > self.max_finite
            rounded = np.where(beyond, np.copysign(np.inf if self.has_inf else np.nan, wide), rounded)
            return np.where(np.isfinite(wide), rounded, wide).astype(self.dtype)

    def to_bits(self, values: ArrayLike) -> NDArray[Any]:
        """The raw bits as unsigned integers of the same width."""
        return np.ascontiguousarray(np.asarray(values, dtype=self.dtype)).view(self.unsigned)

    def from_bits(self, bits: ArrayLike) -> NDArray[Any]:
        """Values from raw bits."""
        return np.ascontiguousarray(np.asarray(bits, dtype=self.unsigned)).view(self.dtype)

    @property
    def max_ordinal(self) -> int:
        """Ordinal of the largest value that is not NaN: +inf where there is one, else M."""
        top = np.array([np.inf if self.has_inf else self.max_finite], dtype=np.float64)
        bits = self.to_bits(top.astype(self.dtype))
        return int(bits[0])

    def ordinal(self, values: ArrayLike) -> IntArray:
        """Position on the line of representable values: 0 for both zeros, +1 for each step up, negative below zero.

        int64 holds every ordinal of every format (float64's run to about 9.2e18). NaN raises ``ValueError``.
        """
        array = np.asarray(values, dtype=self.dtype)
        if np.isnan(self.widen(array)).any():
            raise ValueError("NaN has no ordinal")
        bits = self.to_bits(array).astype(np.uint64).reshape(array.shape)
        sign = np.uint64(1 << (self.bits - 1))
        magnitude = (bits & (sign - np.uint64(1))).astype(np.int64)
        return np.where(bits & sign, -magnitude, magnitude)

    def from_ordinal(self, ordinals: ArrayLike) -> NDArray[Any]:
        """The value at each ordinal (0 gives +0). Ordinals beyond ``max_ordinal`` raise ``ValueError``."""
        steps = np.asarray(ordinals, dtype=np.int64)
        if steps.size and int(np.abs(steps).max()) > self.max_ordinal:
            raise ValueError(f"ordinal beyond {self.max_ordinal} for {self.name}")
        bits = np.abs(steps).astype(np.uint64)
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
    name: str, precision: int, e_min: int, e_max: int, bits: int, dtype: Any, *, has_inf: bool = True
) -> FloatFormat:
    return FloatFormat(name, precision, e_min, e_max, has_inf, bits, np.dtype(dtype))


FORMATS: dict[str, FloatFormat] = {
    fmt.name: fmt
    for fmt in (
        _row("float64", 53, -1022, 1023, 64, np.float64),
        _row("float32", 24, -126, 127, 32, np.float32),
        _row("float16", 11, -14, 15, 16, np.float16),
        _row("bfloat16", 8, -126, 127, 16, ml_dtypes.bfloat16),
        _row("float8_e4m3fn", 4, -6, 8, 8, ml_dtypes.float8_e4m3fn, has_inf=False),
        _row("float8_e5m2", 3, -14, 15, 8, ml_dtypes.float8_e5m2),
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
