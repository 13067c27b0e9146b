"""A-priori error bounds of the textbook stable algorithms (in words: docs/policies.md), and the terms they are built from.

Model of arithmetic: fl(a op b) = (a op b)(1 + e), |e| <= u, for + - * /; computed exp and log have relative error at
most ``k_exp`` and ``k_log`` ulps (ulp <= 2u relative; the contract counts k in units of u after scaling, as its
measurements do); a sum of n non-negative terms has relative error at most sigma(n) u. Second-order terms u**2 are
dropped, as usual (Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed., section 3.1).

**softmax.** x_i - m is rounded: absolute error d_i u, so exp(x_i - m) has relative error (d_i + k_exp) u. The sum
s = sum exp(x_j - m) inherits the p-weighted mean of its terms' errors, (E + k_exp) u with E = sum p_j d_j, and adds
sigma(n) u. The division adds u, the store u_F::

    relative:  (d_i + E + sigma(n) + 2 k_exp + 1) u + u_F

**log_softmax.** t_i = -d_i - log s. The relative error of s is the absolute error of log s: (E + k_exp + sigma(n)) u;
log itself adds k_log log(s) u, the shift d_i u, the subtraction and the store |t_i| u_F::

    absolute:  (d_i + E + sigma(n) + k_exp + k_log log s) u + |t_i| u_F

**logsumexp.** m is exact, so d_i drops out.

eta_F is added everywhere: one quantum of the subnormal range, where relative errors mean nothing. Where exp itself can be
subnormal (softmax, its gradient, sigmoid, in a format that is its own arithmetic) its faithful rounding costs a quantum
of the arithmetic and the division's rounding half of one, together more than eta_F: eta_F + eta_arithmetic is added
there. (Seen by search: NumPy's float64 softmax of [4.0036…, 697, 719.13…] errs by 1.13 eta.) Source of the
method: Blanchard, Higham & Higham, *Accurately computing the log-sum-exp and softmax functions*, IMA J. Numer. Anal.
41 (2021); theirs is normwise, this is elementwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.formats import FloatArray, FloatFormat

__all__ = ["ErrorModel", "RowTerms", "row_terms"]


@dataclass(frozen=True, slots=True)
class ErrorModel:
    """The precisions and constants a policy assumes.

    ``arithmetic`` is the format that sums and elementary functions run in, ``store`` the result's format; ``sigma``
    names the summation constant: "library" or "loop" (see ``sigma_of``).
    """

    arithmetic: FloatFormat
    store: FloatFormat
    sigma: str = "library"
    k_exp: float = 2.0
    k_log: float = 2.0

    @property
    def u(self) -> float:
        """Unit roundoff of the arithmetic."""
        return self.arithmetic.unit_roundoff

    @property
    def u_store(self) -> float:
        """Unit roundoff of the result's format."""
        return self.store.unit_roundoff

    @property
    def eta(self) -> float:
        """Smallest subnormal of the result's format."""
        return self.store.smallest_subnormal

    @property
    def eta_exp(self) -> float:
        """Absolute term where a subnormal exp is divided: a quantum of the store and one of the arithmetic."""
        return self.store.smallest_subnormal + self.arithmetic.smallest_subnormal

    def sigma_of(self, n: int) -> float:
        """Relative error, in u, allowed to a sum of n non-negative terms.

        Both choices allow 8 + ceil(log2 n): pairwise and blocked sums, and the few roundings by which sound algorithms
        differ (a reciprocal, a rescaled partial sum). "loop" allows n - 1 besides, the worst case of any order of summation
        (N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 4.2). "library" allows that up to
        256 + n/32: any order for short rows, beyond them what real sums need when equal terms round the same way at every
        addition: pairwise sums 5, partial sums in 8 SIMD lanes 0.023 n, a plain loop of 1000 terms 227. A plain loop over
        10^4 terms and more does not pass. ``benchmarks/summation.py`` prints the measurement.
        """
        if n <= 1:
            return 0.0
        anyhow = float(n - 1) if self.sigma == "loop" else min(float(n - 1), 256.0 + n / 32)
        return max(anyhow, 8.0 + math.ceil(math.log2(n)))


@dataclass(frozen=True, slots=True)
class RowTerms:
    """Per-row quantities of the bounds, in float64 (their own rounding, about 1e-13, is far below what matters).

    ``gap`` d_i = m - x_i [R, n] (inf for -inf logits); ``p`` [R, n]; ``mean_gap`` E [R]; ``log_s`` [R]; ``top`` m [R].
    Gaps beyond float64's range are held at its largest value. Rows without a finite maximum hold NaN.
    """

    gap: FloatArray
    p: FloatArray
    mean_gap: FloatArray
    log_s: FloatArray
    top: FloatArray

    def scaled(self, factor: float) -> RowTerms:
        """The same terms times a factor (p apart): bounds are linear in them, up to constants that stay as they are."""
        return RowTerms(self.gap * factor, self.p, self.mean_gap * factor, self.log_s * factor, self.top * factor)

    @property
    def loss(self) -> FloatArray:
        """-log p = d_i + log s [R, n]."""
        return self.gap + self.log_s[:, None]

    def softmax_relative(self, model: ErrorModel) -> FloatArray:
        """Relative error of softmax before the final store, [R, n]."""
        n = self.gap.shape[1]
        row = self.mean_gap + model.sigma_of(n) + 2 * model.k_exp + 1
        return (self.gap + row[:, None]) * model.u

    def log_sum_absolute(self, model: ErrorModel) -> FloatArray:
        """Absolute error of log s, [R]."""
        n = self.gap.shape[1]
        return (self.mean_gap + model.sigma_of(n) + model.k_exp + model.k_log * self.log_s) * model.u

    def log_softmax_absolute(self, model: ErrorModel) -> FloatArray:
        """Absolute error of -log p before the final store, [R, n]."""
        return self.gap * model.u + self.log_sum_absolute(model)[:, None]


def row_terms(rows: NDArray[Any]) -> RowTerms:
    """Terms of each row of logits [R, n] (any format; -inf entries contribute nothing)."""
    x = np.asarray(rows).astype(np.float64)
    with np.errstate(all="ignore"):
        top = x.max(axis=1, initial=-np.inf)
        gap = top[:, None] - x
        gap = np.where(np.isposinf(gap) & np.isfinite(x) & np.isfinite(top)[:, None], np.finfo(np.float64).max, gap)
        terms = np.exp(-gap)
        s = terms.sum(axis=1)
        p = terms / s[:, None]
        weighted = np.where(p > 0, p * gap, 0.0)
        return RowTerms(gap, p, weighted.sum(axis=1), np.log(s), top)
