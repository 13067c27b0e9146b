"""exp and log with proven enclosures, in integers.

mpmath's interval exp does not enclose and its exp is not correctly rounded, so neither is trusted here: exp comes from
a Taylor series in integer fixed point whose every rounding is counted, and log from one Newton step that is checked
with that exp (mpmath's log serves as an untrusted guess). Products and quotients of ``mpf`` values use mpmath's
directed rounding, which rounds an exact integer product, or a quotient with a sticky bit, once.

**Sums.** ``mpf_add`` is not outward by itself: where the operands lie more than prec + 4 bits apart it replaces the
smaller one by a unit 2**-(prec + 4) below the last bit of the larger one, which is a neighbour of the sum at prec bits
only if the larger one has at most prec bits. ``outward_sum`` rounds longer operands in the same direction first. Then
the larger operand is a multiple of g, its last place at prec bits, the smaller one is below g / 16, so that their sum
and the replacement round alike; closer operands are added exactly.

**exp.** d = k log 2 + r with 0 <= r < log 2, at ``w`` fractional bits. The integer LN2 satisfies
``|LN2 / 2**w - log 2| <= 2**-w``, and d is truncated to w bits, so r is known to (|k| + 2) units of 2**-w. The integer
R is read as R / 2**(w + s), that is r / 2**s exactly; with q = w + s and x = R / 2**q < 2**-s, terms are
``T_j = floor(floor(T_(j-1) R / 2**q) / j)``. Against tau_j = 2**q x**j / j! each is too small by
delta_j <= (delta_(j-1) x + 1) / j + 1 <= 2.5 (delta_0 = 0), never too large. The series stops at the first T_J = 0, where
tau_J <= 2.5 and the tail sums to less than 5. Hence, with A the sum of the computed terms,

    A  <=  2**q exp(x)  <=  A + 2.5 J + 5.

Both ends are squared s times with floor and ceiling, and widened by the uncertainty e = (|k| + 2) 2**-w of r through
1 - e <= exp(-e), exp(e) <= 1 + 2 e (e <= 1/2).

**log.** For a > 0 and a guess y, exp(y) in [A, B] gives log a = y + log(1 + c) with c in [a/B - 1, a/A - 1], and
c - c**2 <= log(1 + c) <= c for |c| <= 1/2. A bad guess widens the result; it cannot make it wrong.

**log1p.** For 0 < t < 2**-8 the alternating series t - t**2/2 + t**3/3 - ... is bracketed by consecutive partial sums.

**log 2** = 18 acoth 26 - 2 acoth 4801 + 8 acoth 8749 (a Machin-like formula), each acoth(n) = sum 1/((2j+1) n**(2j+1)).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from mpmath import libmp

__all__ = ["EXPONENT_LIMIT", "Pair", "exp_bounds", "log1p_bounds", "log_bounds", "outward_sum"]

Mpf = Any  # mpmath's raw tuple (sign, man, exp, bc)
Pair = tuple[Mpf, Mpf]

EXPONENT_LIMIT = 40
"""exp(d) for d < -2**40 is not computed: it lies in (0, 2**-(2**40))."""

_GUARD = 24


def outward_sum(a: Mpf, b: Mpf, prec: int, direction: str) -> Mpf:
    """A number of ``prec`` bits that is not above (direction "f") or not below ("c") a + b."""
    if a[3] > prec:
        a = libmp.mpf_pos(a, prec, direction)
    if b[3] > prec:
        b = libmp.mpf_pos(b, prec, direction)
    return libmp.mpf_add(a, b, prec, direction)


def _outward_difference(a: Mpf, b: Mpf, prec: int, direction: str) -> Mpf:
    return outward_sum(a, libmp.mpf_neg(b), prec, direction)


def _acoth(n: int, scale: int) -> int:
    """floor-rounded sum of the series for ``scale * acoth(n)``; too small by at most one unit a term, plus one."""
    power = scale // n
    total, j = power, 1
    while power:
        power //= n * n
        j += 2
        total += power // j
    return total


@lru_cache(maxsize=64)
def ln2_fixed(bits: int) -> int:
    """An integer within one unit of ``2**bits * log 2``.

    At 40 extra bits the three series err by fewer than (18 + 2 + 8) * 2 * (bits + 40) units, far below 2**39.
    """
    scale = 1 << (bits + 40)
    value = 18 * _acoth(26, scale) - 2 * _acoth(4801, scale) + 8 * _acoth(8749, scale)
    return (value + (1 << 39)) >> 40


def _exp_reduced(r: int, w: int, s: int) -> tuple[int, int]:
    """Bounds of ``2**(w + s) * exp(r / 2**w)``: see the module docstring."""
    q = w + s
    term = total = 1 << q
    j = 0
    while term:
        j += 1
        term = ((term * r) >> q) // j
        total += term
    low, high = total, total + (5 * j) // 2 + 6
    for _ in range(s):
        low = (low * low) >> q
        high = ((high * high) >> q) + 1
    return low, high


def _fixed(value: Mpf, bits: int) -> int:
    """floor(value * 2**bits) of a raw mpf."""
    sign, man, exp, _ = value
    integer = -int(man) if sign else int(man)
    shift = exp + bits
    return int(integer << shift if shift >= 0 else integer >> -shift)


def exp_bounds(d: Mpf, prec: int) -> Pair:
    """Enclosure of exp(d) for an exact ``d``, about ``prec`` bits wide relative to the value.

    ``OverflowError`` for d > 2**40; (0, 2**-(2**40)) for d < -2**40.
    """
    sign, man, exp, bc = d
    if not man:
        return libmp.fone, libmp.fone
    magnitude = exp + bc  # |d| < 2**magnitude
    if magnitude > EXPONENT_LIMIT:
        if not sign:
            raise OverflowError("exp of a number beyond 2**40")
        return libmp.fzero, libmp.from_man_exp(1, -(1 << EXPONENT_LIMIT))
    if magnitude < -prec - 4:  # 1 + d <= exp(d) <= 1 + d + d**2 for |d| < 1
        square = libmp.mpf_mul(d, d, 20, "c")
        low = outward_sum(libmp.fone, d, prec + 8, "f")
        return low, outward_sum(libmp.fone, outward_sum(d, square, 20, "c"), prec + 8, "c")
    w = prec + max(magnitude, 0) + _GUARD
    k, r = divmod(_fixed(d, w), ln2_fixed(w))
    s = 4 + int(prec**0.5) // 3
    low, high = _exp_reduced(r, w, s)
    slack = abs(k) + 2
    low -= ((low * slack) >> w) + 1
    high += ((2 * high * slack) >> w) + 2
    q = w + s
    return libmp.from_man_exp(low, k - q, prec + 8, "f"), libmp.from_man_exp(high, k - q, prec + 8, "c")


def log_bounds(a: Mpf, prec: int) -> Pair:
    """Enclosure of log(a) for an exact a > 0, to about 2**-prec absolute."""
    if a == libmp.fone:
        return libmp.fzero, libmp.fzero
    digits = prec + 10 + (a[2] + a[3]).bit_length()  # log(2**-(10**300)) is large: the guess is to be near absolutely
    guess = libmp.mpf_log(libmp.mpf_pos(a, digits, "n"), digits, "n")  # mpmath's log(1/4 + 2**-130) is 2**-128
    work = prec + 16
    low, high = exp_bounds(guess, work)
    below = _outward_difference(libmp.mpf_div(a, high, work, "f"), libmp.fone, work, "f")
    above = _outward_difference(libmp.mpf_div(a, low, work, "c"), libmp.fone, work, "c")
    for c in (below, above):
        if c[1] and c[2] + c[3] > -1:
            raise ArithmeticError("the guess for log is off by more than a factor of 1.5")
    below = _outward_difference(below, libmp.mpf_mul(below, below, work, "c"), work, "f")
    return outward_sum(guess, below, work, "f"), outward_sum(guess, above, work, "c")


def log1p_bounds(t: Mpf, prec: int) -> Pair:
    """Enclosure of log(1 + t) for an exact t >= 0, to about 2**-prec relative."""
    if not t[1]:
        return libmp.fzero, libmp.fzero
    if t[2] + t[3] > -8:
        return log_bounds(libmp.mpf_add(libmp.fone, t), prec + 12)
    return _log1p_series(t, prec)


def _log1p_series(t: Mpf, prec: int) -> Pair:
    """Partial sums S_j, each held as [low, high]: even ones lie below log(1 + t), odd ones above."""
    work = prec + 8
    stop = t[2] + t[3] - prec - 4
    power_low = power_high = low = high = upper = t
    j = 1
    while True:
        j += 1
        power_low = libmp.mpf_mul(power_low, t, work, "f")
        power_high = libmp.mpf_mul(power_high, t, work, "c")
        n = libmp.from_int(j)
        small, large = libmp.mpf_div(power_low, n, work, "f"), libmp.mpf_div(power_high, n, work, "c")
        if j % 2:
            low, high = outward_sum(low, small, work, "f"), outward_sum(high, large, work, "c")
            upper = high
            continue
        low, high = _outward_difference(low, large, work, "f"), _outward_difference(high, small, work, "c")
        if power_high[2] + power_high[3] < stop:
            return low, upper
