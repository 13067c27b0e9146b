"""Error budgets of both fast tiers, as sums that can be executed: every constant below is the total of named terms.

Bounds are relative, u = 2**-53, first order with a final factor for what is second order. Radii are in units of
2**exponent with 1 <= |hi| < 2, hence twice the relative bound. The terms are derived where the step is coded.
"""

from __future__ import annotations

import math

__all__ = [
    "FAST_RADIUS",
    "FAST_RELATIVE",
    "FULL_RADIUS",
    "FULL_RELATIVE",
    "SUM_LIMIT",
    "TIER1_EXP",
    "TIER1_LOG1P",
    "TIER1_RADIUS",
    "TIER1_RELATIVE",
    "budget_fast",
    "budget_full",
    "budget_tier1",
]

U = 2.0**-53
SECOND_ORDER = 1.0 + 2.0**-10
R = math.log(2.0) / 512 * (1.0 + 2.0**-20)  # |r| after reduction
SUM_LIMIT = 2**40  # longest row the summation bounds are stated for: tree depth 40
DEPTH = 40

LOG1P = 2.0**-92  # doubledouble.log1p
REDUCTION = 2.0**-90.9  # doubledouble._reduced
TREE = 2.0 * (DEPTH + 2) ** 2 * U * U  # doubledouble.tree_sum
EXTRACTED = 16384 * 2 * U * U * 1.01  # dd_numpy._extracted
DIVISION = (4 + 8 + 24) * U * U  # 1 + T, reciprocal, product with its low words


def budget_fast() -> dict[str, float]:
    """The exponential with cubic and higher terms in double (doubledouble.exp, full=False)."""
    cubic = R**3 / 6 * (1 + R)
    return {
        "reduction": REDUCTION,
        "quotient by a temperature": 2.0**-87,
        "Horner's rule for the cubic and higher terms: 5 roundings": 5.1 * U * cubic,
        "3 r**2 rest / 6 left out": R**3 * U / 2,
        "truncation after r**7": R**8 / math.factorial(8) * (1 + R),
        "three additions to the low word of p": 3 * U * (cubic + 4 * R * U),
        "low word of the product with the table: 5 roundings": 5 * U * (cubic + 6 * R * U) + 5 * U * U,
        "table": 2.0**-106,
    }


def budget_full() -> dict[str, float]:
    """The exponential with five terms in double-double (doubledouble.exp, full=True)."""
    return {
        "reduction": REDUCTION,
        "polynomial, relative to r": 2.0**-94 * R,
        "product with the table": 16 * U * U,
        "table": 2.0**-106,
    }


def budget_tier1() -> dict[str, float]:
    """float64 arithmetic, terms with d >= -256 (float64_tier): log_softmax and logsumexp; softmax needs less."""
    return {
        "x - m rounded: half an ulp of 256": 2.0**-46,
        "np.exp, as checked at start-up": TIER1_EXP,
        "sum: at most 80 roundings on the way of any term": 80 * U,
        "np.log1p, as checked at start-up": TIER1_LOG1P,
        "1 + T, its reciprocal, the product; or d - L": 4 * U,
    }


TIER1_EXP = 8 * U
"""What tier 1 assumes of np.exp (relative, on [-700, 0]); ``float64_tier.trusted`` measures a quarter of it or less."""

TIER1_LOG1P = 8 * U
"""What tier 1 assumes of np.log1p (relative, on [2**-1000, 2**40]); measured likewise."""

TIER1_RELATIVE = 256 * U
"""Relative bound of a tier-1 softmax, log_softmax element or log S."""

TIER1_RADIUS = 2 * TIER1_RELATIVE

FAST_RELATIVE = 2.0**-78.9
"""Relative bound of p and log S in tier 2: two exponentials' budgets (numerator and sum), the tree, the division."""

FAST_RADIUS = 2 * FAST_RELATIVE

FULL_RELATIVE = 2.0**-89.0
"""The same with the full exponential."""

FULL_RADIUS = 2 * FULL_RELATIVE


def totals() -> dict[str, tuple[float, float]]:
    """For each constant: what its budget adds up to, and what is used. Used must not be smaller (a test says so)."""
    tier1 = budget_tier1()
    fast, full = sum(budget_fast().values()), sum(budget_full().values())
    return {
        "tier 1": (SECOND_ORDER * sum(tier1.values()), TIER1_RELATIVE),
        "tier 2, fast": (SECOND_ORDER * (2 * fast + TREE + EXTRACTED + max(DIVISION, LOG1P)), FAST_RELATIVE),
        "tier 2, full": (SECOND_ORDER * (2 * full + TREE + EXTRACTED + max(DIVISION, LOG1P)), FULL_RELATIVE),
    }
