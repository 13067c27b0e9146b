"""The arithmetic that the double-double bounds rest on, tried once in each engine before it is used.

Sums and products without error are compared with exact fractions: that fails where operations are contracted (fused
multiply-add), carry excess precision (x87), flush subnormal numbers or round otherwise than to nearest.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np

from xent_verify.core.formats import FloatArray

__all__ = ["faults"]

Pair = tuple[FloatArray, FloatArray]


def faults(
    two_sum: Callable[[FloatArray, FloatArray], Pair],
    two_product: Callable[[FloatArray, FloatArray], Pair],
    split: Callable[[FloatArray], Pair],
) -> tuple[str, ...]:
    """Names of what does not hold, of an engine's operations on arrays (of an odd length: vector loops have remainders)."""
    generator = np.random.default_rng(17)
    a, b = np.ldexp(generator.uniform(-2, 2, (2, 61)), generator.integers(-300, 300, (2, 61)))
    a = np.concatenate((a, [1.0, 1 + 2.0**-52, 5e-324, 2.0**-1022, 1e150, 2.0**53 - 1]))
    b = np.concatenate((b, [2.0**-53, 1 - 2.0**-53, 1.0, 0.5, -1e150, 2.0**53 + 2]))
    exact = [(Fraction(x), Fraction(y)) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    held = np.abs(a) > 2.0**-300  # a product's error must be a number too
    sums, products, halves = two_sum(a, b), two_product(a[held], b[held]), split(a[held])

    def add_up(pair: Pair, wanted: list[Fraction]) -> bool:
        return [Fraction(x) + Fraction(y) for x, y in zip(*(part.tolist() for part in pair), strict=True)] == wanted

    kept = [pair for pair, some in zip(exact, held.tolist(), strict=True) if some]
    short = all(np.all(np.ldexp(np.frexp(half)[0], 26) % 1 == 0) for half in halves)
    checks = {
        "two_sum": add_up(sums, [x + y for x, y in exact]),
        "two_product": add_up(products, [x * y for x, y in kept]),
        "split": add_up(halves, [x for x, _ in kept]) and short,
        "round to nearest": bool(np.all(np.rint([0.5, 1.5, 2.5, -0.5]) == [0, 2, 2, 0]))
        and sums[0][61] == 1 + 2.0**-53,
        "subnormals": bool(two_sum(a[63:65], a[63:65])[0][0] == 1e-323) and float(np.ldexp(3.0, -1075)) == 1e-323,
    }
    return tuple(name for name, holds in checks.items() if not holds)
