"""The machine that a limit assumes: which formats the steps of an algorithm round to, and how good exp, log and sums are.

Model of arithmetic: fl(a op b) = (a op b)(1 + e), |e| <= u, for + - * / (Higham, *Accuracy and Stability of Numerical
Algorithms*, 2nd ed., section 2.2). Computed exp and log have relative error at most ``k_exp`` u and ``k_log`` u.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from xent_verify.core.formats import FloatFormat

__all__ = ["Machine", "Summation"]

Summation = Literal["library", "loop"]


@dataclass(frozen=True, slots=True)
class Machine:
    """Formats and constants of one arithmetic.

    ``steps`` is the format of + - * / exp log between input and result, ``sums`` that of long sums, ``store`` that of the
    result. ``summation`` names the order of sums (see ``sigma``). ``k_exp`` and ``k_log`` are the relative errors of exp
    and log in units of u; 4 u is two ulps, what SIMD libraries and hardware exponentials promise. ``moved``: the answer
    may be that of other logits, each off by this many u of the row's largest |x|, as where logsumexp(x) is rounded at its
    own size before it is subtracted. ``k_div`` is the relative error of a division in units of u, ``log_floor`` an absolute
    error of log near 1 in units of u; ``flushes``: subnormal results of steps may be 0. Only ``gpu`` changes these.
    """

    steps: FloatFormat
    sums: FloatFormat
    store: FloatFormat
    summation: Summation = "library"
    k_exp: float = 4.0
    k_log: float = 4.0
    moved: float = 0.0
    k_div: float = 1.0
    log_floor: float = 0.0
    flushes: bool = False

    @property
    def gpu(self) -> Machine:
        """The fast float32 arithmetic of GPUs; other formats of the steps are computed as they are elsewhere.

        Approximate division is off by at most 2 ulps, log by 3 ulps, and by 2**-21.41 between 0.5 and 2; exp2 by 2 ulps (CUDA
        C++ Programming Guide, Mathematical Functions, Intrinsic Functions: ``__fdividef``, ``__logf``, ``__expf`` without the
        rounding of its argument, which the algorithm ``exp2`` has). Subnormals are flushed to 0 (ftz).
        """
        if self.steps.name != "float32":
            return self
        return replace(self, k_log=6.0, k_div=4.0, log_floor=2.0 ** (24 - 21.41), flushes=True)

    @property
    def large(self) -> float:
        """x from which exp(-x) is below u / 2, so that x + exp(-x) is x."""
        return (self.steps.precision + 1) * math.log(2.0)

    def sigma(self, n: int) -> float:
        """Relative error, in u of ``sums``, allowed to a sum of n non-negative terms (0 for n <= 1).

        Both choices allow 8 + ceil(log2 n): pairwise and blocked sums, and the few roundings by which sound algorithms
        differ (a rescaled partial sum). "loop" allows n - 1, the worst case of any order of summation (Higham, section
        4.2; Jeannerod & Rump, SIAM J. Matrix Anal. Appl. 34, 2013: without terms in u**2). "library" allows that up to
        256 + n/4: any order for short rows; beyond, partial sums in 4 SIMD lanes, each a loop over n/4 terms. That worst
        case is nearly met: many equal terms below a long stretch of large ones round the same way at every addition
        (``benchmarks/summation.py``). A loop over 10^4 such terms does not pass.
        """
        if n <= 1:
            return 0.0
        order = float(n - 1) if self.summation == "loop" else min(float(n - 1), 256.0 + n / 4)
        return max(order, 8.0 + math.ceil(math.log2(n)))
