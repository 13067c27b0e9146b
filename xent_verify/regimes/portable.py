"""exp, exp2 and log for inputs: the same bits on every machine.

The exponentials of NumPy and of C libraries differ in their last bit from one instruction set to the next, so inputs
drawn with them would, too. These use additions, multiplications, divisions and powers of two alone, which IEEE 754
defines. Errors are a few ulps of float64: enough for inputs, too much for truth (``truth/`` has its own).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from xent_verify.core.formats import FloatArray

__all__ = ["exp", "exp2", "log"]

_LN2_HEAD = float.fromhex("0x1.62e42feep-1")  # 32 bits of log 2: whole multiples up to 2**20 are exact
_LN2_TAIL = 1.9082149292705877e-10
_LN2 = _LN2_HEAD + _LN2_TAIL
_EXP = [1.0 / math.factorial(k) for k in range(15)]
_LOG = [2.0 / (2 * k + 1) for k in range(12)]


def exp(x: ArrayLike) -> FloatArray:
    """e**x, any shape: 2**k e**r with |r| <= log(2) / 2, e**r by its Taylor polynomial of degree 14.

    >>> float(exp(1.0))
    2.718281828459045
    """
    wide = np.clip(np.asarray(x, dtype=np.float64), -800.0, 800.0)
    k = np.rint(wide / _LN2)
    return _scaled(_polynomial((wide - k * _LN2_HEAD) - k * _LN2_TAIL, _EXP), k)


def exp2(x: ArrayLike) -> FloatArray:
    """2**x, any shape: exact where x is a whole number.

    >>> float(exp2(-3.0))
    0.125
    """
    wide = np.clip(np.asarray(x, dtype=np.float64), -1200.0, 1200.0)
    k = np.rint(wide)
    return _scaled(_polynomial((wide - k) * _LN2, _EXP), k)


def log(x: ArrayLike) -> FloatArray:
    """log x of positive numbers, any shape: k log 2 + 2 artanh(s), s = (m - 1) / (m + 1), x = m 2**k, m near 1.

    >>> float(log(2.0))
    0.6931471805599453
    """
    m, k = np.frexp(np.asarray(x, dtype=np.float64))
    low = m < math.sqrt(0.5)
    m, k = np.where(low, 2.0 * m, m), np.where(low, k - 1, k).astype(np.float64)
    s = (m - 1.0) / (m + 1.0)
    return np.asarray(k * _LN2_HEAD + (s * _polynomial(s * s, _LOG) + k * _LN2_TAIL))


def _polynomial(x: FloatArray, coefficients: list[float]) -> FloatArray:
    value = np.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = value * x + coefficient
    return value


def _scaled(x: FloatArray, k: FloatArray) -> FloatArray:
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return np.asarray(np.ldexp(x, k.astype(np.int32)))
