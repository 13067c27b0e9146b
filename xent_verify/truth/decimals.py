"""Decimal digits of true values: every digit shown is certified.

``digits`` gives one element of a call to 30 significant digits, correctly rounded; precision is raised until both ends of
its enclosure round to the same digits. ``shown`` does the same for an enclosure that is given, and shows fewer digits where
it decides no more. An exact 0 is "0"; what lies below the printable range is a bound, "below 1e-1000000 in magnitude".
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np

from xent_verify.core.enclosure import Enclosure
from xent_verify.core.floating import sound
from xent_verify.core.model import Batch
from xent_verify.ops import op_named
from xent_verify.truth import exact
from xent_verify.truth.certify import certify
from xent_verify.truth.intervals import LIMIT_POINTS, Interval

__all__ = ["DIGITS", "decided_digits", "digits", "is_bound", "shown", "shown_interval"]

DIGITS = 30
_LARGEST, _LARGEST_READ = 1 << 9, 1 << 6
"""Numbers of a call up to which the exact tier works out the digits (of an operation that is its page alone); beyond, the
digits that ``certify`` decides are shown."""

_SMALLEST = -1_000_000
_BOUND = " in magnitude"


@sound
def digits(batch: Batch, index: Any, count: int = DIGITS) -> str:
    """One element of the true result of a call, certified to the digits shown. ``index``: its place in the result."""
    op = op_named(batch.op)
    values, decided = exact.by_definition(op, batch)
    place = tuple(np.atleast_1d(index).tolist()) if values.ndim else ()
    if decided[place]:
        return _exact_text(float(values[place]), count)
    formula = op.formula_of(batch)
    if sum(value.size for value in batch.inputs.values()) > (_LARGEST_READ if formula is None else _LARGEST):
        return shown(certify(batch, fmt=None if formula is None else "float64")[place], count)
    flat = int(np.ravel_multi_index(place, values.shape)) if values.ndim else 0
    text = ""
    for number in exact.intervals_of(batch, flat):
        text, certain = decided_digits(number, count)
        if certain:
            break
    return text


def shown(number: Enclosure, count: int = DIGITS) -> str:
    """One element of an enclosure, to the digits that it decides."""
    hi, lo, radius = (float(part) for part in (number.hi, number.lo, number.radius))
    if not math.isfinite(hi) or not hi:
        return _exact_text(hi, count)
    ends = [Fraction(hi) + Fraction(lo) + Fraction(side * radius) for side in (-1, 1)]
    den = math.lcm(*(end.denominator for end in ends))  # a power of 2
    low, high = (int(end * den) for end in ends)
    return _decided(low, high, int(number.exponent) - den.bit_length() + 1, count)[0]


def shown_interval(number: Interval, count: int = DIGITS) -> str:
    """An interval, to the digits that it decides."""
    return decided_digits(number, count)[0]


def is_bound(text: str) -> bool:
    """Whether the text is a bound of the magnitude instead of digits."""
    return text.endswith(_BOUND)


def decided_digits(number: Interval, count: int = DIGITS) -> tuple[str, bool]:
    """The digits that an interval decides, and whether they are as many as were asked for."""
    if number.lo in LIMIT_POINTS:
        return f"{LIMIT_POINTS[number.lo]:g}", True
    ends = [end for end in (number.lo, number.hi) if end[1]]
    if not ends:
        return "0", True
    lowest = min(end[2] for end in ends)
    if max(end[2] + end[3] for end in ends) * _LOG2 < _SMALLEST:
        return _tiny(_SMALLEST), True
    low, high = (int(end[1]) * (-1) ** end[0] << (end[2] - lowest if end[1] else 0) for end in (number.lo, number.hi))
    return _decided(low, high, lowest, count)


_LOG2 = math.log10(2.0)


def _exact_text(value: float, count: int) -> str:
    if not math.isfinite(value) or not value:
        return f"{value + 0.0:g}"
    num, den = value.as_integer_ratio()
    return _decided(num, num, 1 - den.bit_length(), count)[0]


def _tiny(power: int) -> str:
    return f"below 1e{power}{_BOUND}"


def _decided(low: int, high: int, exponent: int, count: int) -> tuple[str, bool]:
    """Digits of the number low 2**exponent (low = high) or of any between both, and whether they are ``count``."""
    if high <= 0 > low:
        text, certain = _decided(-high, -low, exponent, count)
        return text if is_bound(text) else f"-{text}", certain
    reach = max(high, -low)
    power = math.floor((math.log2(reach) + exponent) * _LOG2)
    if power < _SMALLEST - 1:
        return _tiny(_SMALLEST), True
    if power > -_SMALLEST:
        return f"above 1e+{-_SMALLEST}{_BOUND}", True
    power += _compared(reach, exponent, power + 1) - (not _compared(reach, exponent, power))
    for places in range(count, 0, -1) if low >= 0 else ():
        below, above = (_nearest(end, exponent, power - places + 1) for end in (low, high))
        up, down = (below[0], above[1]) if low < high else (max(below, key=lambda n: n % 2 == 0),) * 2
        if up == down and up:
            return _written(up, power - places + 1), places == count
    return _tiny(power + 1), False


def _scaled(value: int, exponent: int, power: int) -> tuple[int, int]:
    """value 2**exponent / 10**power as a quotient of whole numbers."""
    ten = _power_of_ten(abs(power))
    num, den = (value, ten) if power >= 0 else (value * ten, 1)
    return (num << exponent, den) if exponent >= 0 else (num, den << -exponent)


@lru_cache(maxsize=8)
def _power_of_ten(power: int) -> int:
    return int(10**power)


def _compared(value: int, exponent: int, power: int) -> bool:
    """value 2**exponent >= 10**power."""
    num, den = _scaled(value, exponent, power)
    return num >= den


def _nearest(value: int, exponent: int, power: int) -> tuple[int, int]:
    """value 2**exponent / 10**power rounded to whole numbers: ties up, ties down."""
    num, den = _scaled(value, exponent, power)
    return (2 * num + den) // (2 * den), -((den - 2 * num) // (2 * den))


def _written(digits: int, power: int) -> str:
    """digits 10**power > 0 without zeros at the end; with an exponent below 1e-5 and from 1e30 on."""
    text = str(digits).rstrip("0")
    place = len(str(digits)) - 1 + power
    if -6 < place < 0:
        return f"0.{'0' * (-place - 1)}{text}"
    point, suffix = (place + 1, "") if 0 <= place < DIGITS else (1, f"e{place:+d}")
    text = text.ljust(point, "0")
    return f"{text[:point]}.{text[point:] or '0'}{suffix}"
