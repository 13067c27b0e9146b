"""Sums of an exact number and a small certified one, close to rounding boundaries.

log-softmax d - log S and logsumexp m + log S are often within 2**-1000 of a midpoint: d = x - m has one bit more than
the format, and log S is e**-700. No relative bound of the sum decides that, but the parts do: d is known exactly
(two_sum), log S has a known sign, and enclosures are open. So, in units of d's binade, for d = h + r and a small
part s with |error| < e |s|:

* |s| >= 2**-101: h + r + s by error-free sums, with radius e |s| plus what is dropped (2**-53 of the low word);
* |s| < 2**-101: with w = 2**-101 signed like s, the value lies strictly between h + r and h + r + 2 w. That is the
  centre h + (r + w) with radius |w|, provided that r + w is exact and r does not underflow; else h + r with radius
  2 |w|.

For formats of 24 bits and fewer there is a shortcut: if d is a double and a midpoint, and s below 2**-54 of it, then
the value lies strictly between d and d + 2 w, w = 2**-54 signed like s. The next midpoint is 2**-23 away: decided.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.formats import FloatArray, FloatFormat
from xent_verify.truth import doubledouble as dd
from xent_verify.truth.pieces import Piece, normalised

__all__ = ["beside_midpoints", "exact_plus_small", "usable"]

_W = 2.0**-101
_WIDE = 2.0**-54


def usable(a: FloatArray, b: FloatArray, large: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where a + b may be scaled down, as ``large`` asks (2**-200, so that nothing overflows), without losing a bit."""
    return ~large | (_scalable(a) & _scalable(b))


def _scalable(a: FloatArray) -> NDArray[np.bool_]:
    return np.asarray((a == 0) | (np.abs(a) >= 2.0**-700))


def exact_plus_small(exact: dd.Pair, small: FloatArray, relative: float, tier: int) -> Piece:
    """Enclosures of h + r + s (1-D arrays): ``exact`` = (h, r) normalised, 2**-1000 < |h| < 2**1000, 0 < |s| < 2**-20 |h|.

    ``small`` approximates s to ``relative`` + 2**-52 (its low word left out), or is 0 for an s that underflows; its
    sign, that of -0.0 and 0.0 included, is s's.
    """
    power = ((exact[0].view(np.int64) >> 52) & 0x7FF) - 1023
    scale = dd.power_of_two(-power)
    h, r, s = (value * scale for value in (*exact, small))
    a, b = dd.two_sum(h, s)
    c, dropped = dd.two_sum(b, r)
    hi, lo = dd.fast_two_sum(a, c)
    radius = np.abs(s) * ((relative + 2.0**-52) * 1.0001) + np.abs(dropped) * 1.0001
    w = np.copysign(_W, s)
    shifted, inexact = dd.two_sum(r, w)
    near = np.abs(s) < _W
    lost = (exact[1] != 0) & (np.abs(r) < 2.0**-1000)  # r underflows, and may outweigh s: no side is known
    radius += np.where(lost, 2.0**-900, 0.0)
    one_sided = near & (inexact == 0) & ~lost
    return Piece(
        np.where(near, h, hi),
        power,
        np.where(one_sided, shifted, np.where(near, r, lo)),
        np.where(one_sided, _W, np.where(near, 2 * _W, radius)),
        tier,
    )


def beside_midpoints(
    x: FloatArray, m: FloatArray, log: FloatArray, fmt: FloatFormat, tier: int
) -> tuple[NDArray[np.bool_], Piece]:
    """The shortcut for x - m - log S (1-D arrays): where it serves, and those values, all decided.

    ``log`` is log S to 2**-45, not 0 unless S = 1.
    """
    d, rest = dd.two_sum(x, -m)
    middle = 1 << (52 - fmt.precision)
    size = np.abs(d)
    fit = ((d.view(np.int64) & (2 * middle - 1)) == middle) & (rest == 0) & (log > 0) & (log < size * 2.0**-55)
    fit &= (size >= 2.0**fmt.e_min) & (size < 2.0**fmt.e_max)
    return fit, replace(normalised(d[fit], None, 0, _WIDE, tier), lo=-_WIDE)
