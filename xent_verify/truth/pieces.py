"""Parts of an enclosure on their way out: normalised words, the quick test for undecided elements, assembly.

A ``Piece`` is an ``Enclosure`` whose ``lo`` and ``radius`` may be one number for all elements; most fast results need
no more, and arrays that are never allocated cost nothing. ``Sink`` keeps that up to the finished enclosure, whose
constant fields are zero-stride views.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.enclosure import DECISION, Enclosure
from xent_verify.formats import FloatArray, FloatFormat, IntArray
from xent_verify.truth.doubledouble import power_of_two

__all__ = ["VANISHED", "Piece", "Sink", "normalised", "undecided", "vanish"]

VANISHED = -28_853
"""Exponent of an enclosure (0, 2 * 2**VANISHED): tier 2's arguments end at -20000, and e**-20000 < 2**-28853."""

_FRACTION = (1 << 52) - 1
_ONE = 1023 << 52
_TINY = 2.0**-900


@dataclass(frozen=True, slots=True)
class Piece:
    """Certified values of some elements: the fields of ``Enclosure``, scalars allowed for all but hi and exponent."""

    hi: FloatArray
    exponent: IntArray
    lo: FloatArray | float
    radius: FloatArray | float
    tier: int

    def __getitem__(self, key: Any) -> Piece:
        lo, radius = (value if np.ndim(value) == 0 else np.asarray(value)[key] for value in (self.lo, self.radius))
        return Piece(self.hi[key], self.exponent[key], lo, radius, self.tier)

    @property
    def transposed(self) -> Piece:
        """Rows for columns."""
        lo, radius = (value if np.ndim(value) == 0 else np.asarray(value).T for value in (self.lo, self.radius))
        return Piece(self.hi.T, self.exponent.T, lo, radius, self.tier)

    def patched(self, where: Any, other: Piece) -> Piece:
        """This piece with ``other`` at ``[where]`` (in place where the fields are arrays already)."""
        self.hi[where] = other.hi
        self.exponent[where] = other.exponent
        return replace(
            self, lo=self._mixed(self.lo, where, other.lo), radius=self._mixed(self.radius, where, other.radius)
        )

    def _mixed(self, field: FloatArray | float, where: Any, new: FloatArray | float) -> FloatArray | float:
        if np.ndim(field) == 0 and np.ndim(new) == 0 and field == new:
            return field
        array = np.array(np.broadcast_to(field, self.hi.shape))
        array[where] = new
        return array

    def enclosure(self) -> Enclosure:
        shape = self.hi.shape
        tier = np.broadcast_to(np.uint8(self.tier), shape)
        return Enclosure(
            self.hi, np.broadcast_to(self.lo, shape), self.exponent, np.broadcast_to(self.radius, shape), tier
        )


def normalised(
    high: FloatArray, low: FloatArray | None, exponent: IntArray | int, radius: float, tier: int
) -> Piece:
    """(high + low) * 2**exponent with |hi| in [1, 2), by bits.

    ``high`` must be 0 or normal, ``low`` at most half an ulp of it; ``radius`` is relative to the binade (it bounds the
    relative error times 2). Zeros become exact zeros: the caller answers for them. Low words under 2**-900 are dropped
    into a radius that is far larger.
    """
    bits = high.view(np.int64)
    power = (bits >> 52) & 0x7FF
    power -= 1023
    hi = ((bits & ~(0x7FF << 52)) | _ONE).view(np.float64)
    lo: FloatArray | float = 0.0
    if low is not None:
        lo = low * power_of_two(-power)
        np.copyto(lo, 0.0, where=np.abs(lo) < _TINY)
    zero = high == 0
    power += exponent
    piece = Piece(hi, power, lo, radius, tier)
    if zero.any():
        piece = replace(
            piece,
            hi=np.where(zero, 0.0, hi),
            lo=np.where(zero, 0.0, lo),
            exponent=np.where(zero, 0, power),
            radius=np.where(zero, 0.0, radius),
        )
    return piece


def vanish(piece: Piece, where: NDArray[np.bool_], exponent: int, *, sign: float = 1.0) -> Piece:
    """The piece with (0, 2 * sign * 2**exponent) as its enclosure of the marked elements."""
    if not where.any():
        return piece
    return replace(
        piece,
        hi=np.where(where, sign, piece.hi),
        lo=np.where(where, 0.0, piece.lo),
        exponent=np.where(where, exponent, piece.exponent),
        radius=np.where(where, 1.0, piece.radius),
    )


def _suspects(piece: Piece, fmt: FloatFormat) -> NDArray[np.bool_]:
    """Elements that may be undecided, by integer tests on the significand; the others are decided for certain.

    In units of 2**-52 the value is an integer f (fraction bits) + lo, |lo| <= 1/2. If s = 53 - p + max(0, e_min - e)
    bits lie below the ulp of ``fmt``, midpoints are the odd multiples of 2**(s-1): for s > 0 the value is clear of them if f
    mod 2**s is further than radius + 1 from 2**(s-1). (A value below a binade's start, by lo or by radius, is far from
    any midpoint on either side; s > 60 is far below half the smallest subnormal.) For s = 0 only lo can reach one, at
    2**-53, or 2**-54 just below hi = 1.
    """
    wide = fmt.precision == 53
    radius = np.ceil(np.minimum(piece.radius, 2.0**7) * 2.0**52).astype(np.int64) + 1
    exponent = piece.exponent
    fraction = (piece.hi.view(np.int64) & _FRACTION) + radius
    lowest = int(exponent.min()) if exponent.size else 0
    if lowest >= fmt.e_min and not wide:
        middle = 1 << (52 - fmt.precision)
        fraction += middle
        fraction &= 2 * middle - 1
        suspect = fraction <= 2 * radius
    elif lowest >= fmt.e_min:
        suspect = np.zeros(exponent.shape, bool)
    else:
        below = np.clip(fmt.e_min - exponent, 0, 61)
        shift = np.minimum(below + (53 - fmt.precision), 61)
        middle = np.left_shift(1, np.maximum(shift, 1) - 1)
        suspect = ((fraction + middle) & (2 * middle - 1)) <= 2 * radius
        suspect &= shift > 0
    if wide:
        lo, spread = np.abs(piece.lo), np.asarray(piece.radius)
        suspect |= (lo > 2.0**-54 - spread) & ((np.abs(lo - 2.0**-53) <= spread) | (np.abs(piece.hi) == 1.0))
    if np.max(piece.radius, initial=0.0) > DECISION * 2.0 ** (1 - fmt.precision):
        below = np.clip(fmt.e_min - exponent, 0, 900).astype(np.float64)
        suspect |= np.asarray(piece.radius) > DECISION * np.exp2(below + (1 - fmt.precision))
    if exponent.size and int(exponent.max()) >= fmt.e_max:
        suspect |= exponent >= fmt.e_max
    return suspect


def undecided(piece: Piece, fmt: FloatFormat) -> NDArray[np.bool_]:
    """True where the piece does not decide rounding and error (exactly ``~Enclosure.decided``, cheaper)."""
    mask = _suspects(piece, fmt)
    if mask.any():
        mask[mask] = ~piece[mask].enclosure().decided(fmt)
    return mask


class Sink:
    """An enclosure under construction, elements in row order; fields stay constant for as long as they can."""

    def __init__(self, shape: tuple[int, ...], tier: int, radius: float) -> None:
        self.hi = np.empty(shape)
        self.exponent = np.empty(shape, np.int64)
        self._rest: dict[str, NDArray[Any]] = {}
        self._constant: dict[str, Any] = {"lo": np.float64(0.0), "radius": np.float64(radius), "tier": np.uint8(tier)}

    def write(self, key: Any, piece: Piece) -> None:
        """Store a piece at ``array[key]``."""
        self.hi[key] = piece.hi
        self.exponent[key] = piece.exponent
        for name, value in (("lo", piece.lo), ("radius", piece.radius), ("tier", piece.tier)):
            if name in self._rest:
                self._rest[name][key] = value
            elif np.ndim(value) or value != self._constant[name]:
                self._spread(name)[key] = value

    def write_enclosure(self, key: Any, values: Enclosure) -> None:
        """Store finished enclosures, each with its own tier."""
        self.hi[key], self.exponent[key] = values.hi, values.exponent
        for name in self._constant:
            array = self._rest[name] if name in self._rest else self._spread(name)
            array[key] = getattr(values, name)

    def write_flat(self, index: NDArray[np.int64], values: Enclosure) -> None:
        """As ``write_enclosure``, at flat positions."""
        self.write_enclosure(np.unravel_index(index, self.hi.shape), values)

    def _spread(self, name: str) -> NDArray[Any]:
        """The field as an array of its own from now on."""
        constant = self._constant[name]
        array = np.zeros(self.hi.shape, constant.dtype)
        if constant:
            array.fill(constant)
        self._rest[name] = array
        return array

    def finished(self) -> Enclosure:
        """The enclosure."""
        lo, radius, tier = (
            self._rest[name] if name in self._rest else np.broadcast_to(self._constant[name], self.hi.shape)
            for name in ("lo", "radius", "tier")
        )
        return Enclosure(self.hi, lo, self.exponent, radius, tier)
