"""Double-double arithmetic on NumPy arrays: error-free transforms, exp and log1p with derived bounds.

A number is an unevaluated sum of two doubles. u = 2**-53 throughout; "relative error e" of a result r of t means
|r - t| <= e |t|. IEEE 754 binary64, round to nearest, subnormals kept: NumPy's +, -, *, /, rint are correctly rounded
on every platform it supports, and they are the only operations that bounds rest on (an approximate log1p is corrected,
and the correction is checked).

Error-free transforms (Dekker 1971, Knuth; Muller et al., *Handbook of Floating-Point Arithmetic*, 2nd ed., 4.3-4.4):
``two_sum`` and ``fast_two_sum`` (|a| >= |b| or a = 0) are exact without overflow; ``two_product`` (Veltkamp splits) is
exact when nothing overflows and the product is 0 or at least 2**-969; below, it is off by at most 2**-1070.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xent_verify.core.formats import FloatArray, IntArray
from xent_verify.core.shapes import full
from xent_verify.truth.scratch import Scratch
from xent_verify.truth.tables import tables

__all__ = [
    "add",
    "exp",
    "fast_two_sum",
    "folded",
    "log1p",
    "multiply",
    "plain_sum",
    "power_of_two",
    "reciprocal",
    "split",
    "square_times_series",
    "tree_sum",
    "two_product",
    "two_sum",
]

_SPLITTER = 134217729.0  # 2**27 + 1

Pair = tuple[FloatArray, FloatArray]


def two_sum(a: FloatArray, b: FloatArray, into: tuple[FloatArray, FloatArray, FloatArray] | None = None) -> Pair:
    """s + e = a + b exactly, s = fl(a + b). ``into``: arrays for s, e and one that is overwritten."""
    s, e, v = (None, None, None) if into is None else into
    s = np.add(a, b, out=s)
    v = np.subtract(s, a, out=v)
    e = np.subtract(s, v, out=e)
    np.subtract(a, e, out=e)
    np.subtract(b, v, out=v)
    e += v
    return s, e


def fast_two_sum(a: FloatArray, b: FloatArray) -> Pair:
    """As ``two_sum``, where |a| >= |b| or a = 0."""
    s = a + b
    e = s - a
    np.subtract(b, e, out=e)
    return s, e


def split(a: FloatArray, into: Pair | None = None) -> Pair:
    """a = top + bottom, each of at most 26 bits (Veltkamp)."""
    top, c = (None, None) if into is None else into
    c = np.multiply(a, _SPLITTER, out=c)
    top = np.subtract(c, a, out=top)
    np.subtract(c, top, out=top)
    np.subtract(a, top, out=c)
    return top, c


def two_product(a: FloatArray, b: FloatArray, halves: Pair | None = None) -> Pair:
    """p + e = a * b exactly, p = fl(a * b) (Dekker); ``halves`` may hold ``split(b)``."""
    b1, b2 = split(b) if halves is None else halves
    p = a * b
    with Scratch(p.shape, 2) as (a1, a2):
        split(full(a, p.shape), (a1, a2))
        e = a1 * b1
        e -= p
        a1 *= b2
        e += a1
        np.multiply(a2, b1, out=a1)
        e += a1
        a2 *= b2
        e += a2
    return p, e


def power_of_two(exponent: IntArray, shift: int = 0) -> FloatArray:
    """2.0**(exponent + shift) for -1022 <= exponent + shift <= 1023, by its bits."""
    bits = exponent + (1023 + shift)
    bits <<= 52
    return bits.view(np.float64)


def add(a: Pair, b: Pair) -> Pair:
    """a + b. Relative error 4 u**2 if the signs agree; in general 4 u**2 (|a| + |b|) absolute.

    two_sum is exact; the two roundings of the low words are each at most u * 2 u (|a| + |b|).
    """
    s, e = two_sum(a[0], b[0])
    e += a[1] + b[1]
    return fast_two_sum(s, e)


def plain_sum(values: FloatArray, axis: int) -> FloatArray:
    """Sum along ``axis`` (kept) in double, the same bits for a row alone as among others.

    NumPy adds columns one after the other, but a single column is contiguous, and that it adds pairwise.
    """
    if axis == 0 and values.size == values.shape[0]:
        return np.asarray(np.add.accumulate(values, axis=0)[-1:])
    return np.asarray(np.add.reduce(values, axis=axis, keepdims=True))


def folded(values: FloatArray, axis: int) -> FloatArray:
    """Sum along ``axis`` (kept) in double: the second half added to the first until one is left.

    Of 256 values or more the last 32 are added in order instead (short steps along a row cost much). ``values`` go.
    """
    values = np.moveaxis(values, axis, 0)
    width = values.shape[0]
    stop = 1 if width < 256 else 32
    while width > stop:
        half = (width + 1) // 2
        values[: width - half] += values[half:width]
        width = half
    return np.moveaxis(values[:1] if width <= 1 else np.add.accumulate(values[:width], axis=0)[-1:], 0, axis)


def tree_sum(high: FloatArray, low: FloatArray | None, axis: int) -> Pair:
    """Sum along ``axis`` (kept, with length 1) in a fixed tree: bit for bit the same however rows are grouped.

    Depth D = ceil(log2 n). High words are added without error; a low word takes two roundings per level, each at most
    u times a low word of at most (D + 1) u sum|x|: absolute error at most 2 (D + 1)**2 u**2 sum|x|. ``low=None``: 0.
    """
    high = np.moveaxis(high, axis, 0)
    low = np.zeros(high.shape) if low is None else np.moveaxis(low, axis, 0)
    width = high.shape[0]
    while width > 1:
        half = (width + 1) // 2
        pairs = width - half
        s, e = two_sum(high[:pairs], high[half:width])
        e += low[:pairs]
        e += low[half:width]
        high = s if pairs == half else np.concatenate((s, high[pairs:half]))
        low = e if pairs == half else np.concatenate((e, low[pairs:half]))
        width = half
    total = fast_two_sum(high, low) if width else (np.zeros((1, *high.shape[1:])),) * 2
    return np.moveaxis(total[0], 0, axis), np.moveaxis(total[1], 0, axis)


def _reduced(high: FloatArray, low: FloatArray, into: Sequence[FloatArray] | None = None) -> tuple[FloatArray, ...]:
    """(k, r) with high + low = k ln2/256 + r, |r| <= 2**-9.5, for |high| <= 20000, |low| <= ulp(high)/2.

    |k| < 2**23, so k * c1 and k * c2 are exact (30-bit constants). high - k c1 is exact: for k = 0 trivially; else
    |high| > 2**-9.54, so both terms are multiples of 2**-62, and the difference is below 2**-9. What rounds is
    k * c3 (2**-46 u), low - k c3 and the sum with two_sum's low word (|.| <= 2**-39: 2 * 2**-39 u), and c3 itself
    (2**-128 k): less than 2**-90.9 in all, which is a relative error of the exponential.
    """
    t = tables()
    k, r, rest = [np.empty_like(high) for _ in range(3)] if into is None else into
    with Scratch(high.shape, 3) as (top, bottom, spare):
        np.multiply(high, t.inverse, out=k)
        np.rint(k, out=k)
        np.multiply(k, t.c1, out=r)
        np.subtract(high, r, out=r)
        np.multiply(k, -t.c2, out=rest)
        two_sum(r, rest, (top, bottom, spare))
        np.multiply(k, t.c3, out=spare)
        np.subtract(low, spare, out=spare)
        bottom += spare
        two_sum(top, bottom, (r, rest, spare))
    return k, r, rest


def _tail(r: FloatArray, coefficients: tuple[float, ...], out: FloatArray | None = None) -> FloatArray:
    """Horner's rule in double."""
    q = np.multiply(r, coefficients[0], out=out)
    q += coefficients[1]
    for coefficient in coefficients[2:]:
        q *= r
        q += coefficient
    return q


def _expm1_fast(r: FloatArray, rest: FloatArray, into: Sequence[FloatArray]) -> Pair:
    """e**r - 1 = r + r**2/2 + r**3 q, the cubic and higher terms in double.

    With R = 2**-9.5 (errors absolute): cubic term R**3/6, five roundings: 5.1 u R**3/6 = 2**-81.8; neglected r * rest:
    3 R**2 * u R / 2 = 2**-80.9... of which rest <= u R; truncation R**8/8! = 2**-91; three additions to the low word,
    each u (R**3/6 + 4 u R): 2**-81.9.
    """
    p, p_low = into
    with Scratch(r.shape, 4) as (r1, r2, square, q):
        split(r, (r1, r2))
        np.multiply(r, r, out=square)
        np.multiply(r1, r1, out=p_low)  # Dekker's product, its two equal terms as one: every step is exact
        p_low -= square
        r1 *= 2.0
        r1 *= r2
        p_low += r1
        r2 *= r2
        p_low += r2
        _tail(r, (1 / 5040, 1 / 720, 1 / 120, 1 / 24, 1 / 6), q)
        q *= r
        q *= square
        p_low *= 0.5
        np.multiply(r, rest, out=r1)
        p_low += r1
        square *= 0.5
        np.add(r, square, out=p)  # fast_two_sum(r, square)
        np.subtract(p, r, out=r1)
        square -= r1
        p_low += q
        p_low += rest
        p_low += square
    return p, p_low


def multiply(a: Pair, b: Pair) -> Pair:
    """a * b, relative error 8 u**2: the product of the high words is exact, four small roundings remain."""
    p, e = two_product(a[0], b[0])
    e += a[0] * b[1] + a[1] * b[0]
    return fast_two_sum(p, e)


def _expm1_full(r: FloatArray, rest: FloatArray) -> Pair:
    """e**r - 1 = r (1 + r (1/2 + r (1/6 + r (1/24 + r q)))), in double-double but for q = 1/120 + r/720 + ... .

    Relative to r: q holds five roundings, 5 u R**4/120 = 2**-95.7; truncation R**8/9! = 2**-94.7; the coefficients'
    low words and eight double-double operations 8 * 8 u**2 = 2**-100. Together less than 2**-94.
    """
    x = (r, rest)
    return add(x, square_times_series(x))


def square_times_series(x: Pair) -> Pair:
    """e**x - 1 - x for |x| <= 2**-9.5: x**2 (1/2 + x (1/6 + x (1/24 + x q))), relative error 2**-93."""
    q = _tail(x[0], (1 / 40320, 1 / 5040, 1 / 720, 1 / 120))
    value = (q, np.zeros_like(q))
    for high, low in ((1 / 24, _SIXTH_LOW / 4), (1 / 6, _SIXTH_LOW), (0.5, 0.0)):
        value = add((np.full_like(q, high), np.full_like(q, low)), multiply(x, value))
    return multiply(x, multiply(x, value))


_SIXTH_LOW = float.fromhex("0x1.5555555555555p-57")  # 1/6 - fl(1/6), to 2**-110; a quarter of it for 1/24


def exp(high: FloatArray, low: FloatArray, *, full: bool = False) -> tuple[FloatArray, FloatArray, IntArray]:
    """e**(high + low) = (h + l) * 2**k, 0.99 <= h < 2.01, for -20000 <= high <= 20000.

    e**d = 2**(k/256) * (1 + p), p = e**r - 1. Beside the errors of the reduction and of p: the table (2**-106), three
    products and four additions in the low word (fast: 7 u (R**3/6 + 4 u) = 2**-81). Sums: see ``bounds``.
    """
    with Scratch(high.shape, 5) as (step, r, rest, p, p_low):
        _reduced(high, low, (step, r, rest))
        index = step.astype(np.int64)
        place = index & 255
        index >>= 8
        if full:
            p, p_low = _expm1_full(r, rest)
        else:
            _expm1_fast(r, rest, (p, p_low))
        return *_times_root(p, p_low, place), index


def _times_root(p: FloatArray, p_low: FloatArray, place: IntArray) -> Pair:
    """2**(place/256) * (1 + p + p_low), its low words added as ``exp`` says (p and p_low are overwritten)."""
    t = tables()
    a_low, a = np.empty_like(p), np.empty_like(p)
    with Scratch(p.shape, 6) as (root, root_low, top, bottom, p1, p2):
        for table, values in ((t.root, root), (t.root_low, root_low), (t.root_top, top)):
            table.take(place, mode="clip", out=values)
        np.subtract(root, top, out=bottom)
        split(p, (p1, p2))
        np.multiply(p, root, out=a)
        np.multiply(p1, top, out=a_low)  # two_product(p, root)
        a_low -= a
        p1 *= bottom
        a_low += p1
        top *= p2
        a_low += top
        p2 *= bottom
        a_low += p2
        p *= root_low
        a_low += p
        p_low *= root
        a_low += p_low
        a_low += root_low
        s = np.add(root, a, out=p1)
        np.subtract(s, root, out=p2)
        a -= p2
        a_low += a
        h = np.add(s, a_low, out=a)
        np.subtract(h, s, out=p2)
        a_low -= p2
    return h, a_low


def reciprocal(s: Pair) -> Pair:
    """1 / s for 1 <= s < 2**900: one Newton step on q = fl(1/s_high).

    r = 1 - q s, computed exactly up to two roundings of terms of size 2 u; q + q r (1 + r) leaves r**3 ~ 2**-156
    and the roundings of a correction of size 2 u: relative error at most 8 u**2.
    """
    q = 1.0 / s[0]
    p, e = two_product(q, s[0])
    r = ((1.0 - p) - e) - q * s[1]
    return fast_two_sum(q, q * (r + r * r))


def _log1p_guess(t: FloatArray) -> FloatArray:
    """log(1 + t) to 2**-47 by +, -, *, / alone: the same bits on every machine, which np.log1p does not give.

    1 + t = 2**k f with 0.7 <= f < 1.42, and log f = 2 artanh z, z = (f - 1) / (f + 1), |z| < 0.18: ten terms.
    """
    s = 1.0 + t
    k = np.frexp(s * 0.7071067811865476)[1]
    f = np.ldexp(s, -k)
    z = np.where(k == 0, t / (2.0 + t), (f - 1.0) / (f + 1.0))
    q = _tail(z * z, tuple(2.0 / j for j in range(19, 0, -2)))
    q *= z
    return np.asarray(k * 0.6931471805599453 + q)


def log1p(t: Pair) -> Pair:
    """log(1 + t) for 2**-130 <= t < 2**60, relative error at most 2**-92; NaN if the first guess misled it.

    y = ``_log1p_guess(t_high)`` is only a guess. With z = e**y - 1 and w = (t - z) / (1 + t), log(1 + t) = y - log(1 - w)
    = y + w + w**2/2 + w**3/3 + ... . The guess is not trusted: unless |w| <= 2**-40 y the answer is NaN, so what
    is left out is below 2**-121 y. The error of z over (1 + t) y is what counts: for k = 0, z is p itself, 2**-94;
    otherwise y >= 2**-9.6, and p (2**-94 R), the table (2**-106) and the low-word roundings of ``b`` and of the sum
    (8 u * 2**-60) give 2**-93.4. The roundings of w act on |w| <= 2**-40 y: 2**-92.9 could come from them if the guess
    were that bad; at its 2**-47 they are 2**-99.
    """
    y = _log1p_guess(t[0])
    table = tables()
    step, r, rest = _reduced(y, np.zeros_like(y))
    index = step.astype(np.int64)
    p, p_low = _expm1_full(r, rest)
    place = index & 255
    scale = power_of_two(index >> 8)
    root, root_low = table.root.take(place) * scale, table.root_low.take(place) * scale
    a, b = two_product(root, p)
    b += root * p_low + root_low * p
    z, z_low = two_sum(root, np.full_like(root, -1.0))
    z, rest = two_sum(z, a)
    w = (t[0] - z) + ((t[1] - (rest + z_low)) - (b + root_low))
    w /= 1.0 + t[0]
    w = np.where(np.abs(w) <= y * 2.0**-40, w, np.nan)
    return fast_two_sum(y, w + 0.5 * w * w)
