"""What sigma(n) of the policies has to cover: relative errors of real sums, in units of u, float32.

    python benchmarks/summation.py

For n terms exp(-d) in (0, 1], the largest relative error over equal, random and stretched rows of NumPy's pairwise sum
(contiguous), its axis-wise sum (strided: one addition after another), a plain loop and sums in 4, 8 and 16 lanes, against
sigma(n) of ``standard`` and ``textbook`` (``Machine.sigma``).
"""

from __future__ import annotations

import math

import numpy as np

from xent_verify.core.formats import FORMATS
from xent_verify.verdict.policies import POLICIES

U = FORMATS["float32"].unit_roundoff


def rows(n: int, rng: np.random.Generator) -> np.ndarray:
    """Equal terms that round at every addition, random ones, and equal terms that are small beside a stretch of ones."""
    equal = np.exp(-rng.uniform(0, 3, (6, 1))) * np.ones((1, n))
    stretches = np.exp(-rng.uniform(1, 16, (24, 1))) * np.ones((1, n))
    for row, share in enumerate(rng.uniform(2, 6, 24)):
        stretches[row, : int(n / 2**share)] = 1.0
    return np.concatenate([equal, np.exp(-rng.uniform(0, 8, (6, n))), stretches]).astype(np.float32)


def lanes(x: np.ndarray, count: int) -> np.ndarray:
    """Partial sums in ``count`` lanes, each one addition after another, then their sum."""
    padded = np.pad(x, ((0, 0), (0, -x.shape[1] % count))).reshape(len(x), -1, count)
    return np.add.accumulate(padded, axis=1, dtype=np.float32)[:, -1].sum(axis=1, dtype=np.float32)


WAYS = {
    "pairwise": lambda x: x.sum(axis=1, dtype=np.float32),
    "axis 0": lambda x: np.asfortranarray(x).T.copy().sum(axis=0, dtype=np.float32),
    "loop": lambda x: np.add.accumulate(x, axis=1, dtype=np.float32)[:, -1],
    "4 lanes": lambda x: lanes(x, 4),
    "8 lanes": lambda x: lanes(x, 8),
    "16 lanes": lambda x: lanes(x, 16),
}


def main() -> None:
    rng = np.random.default_rng(0)
    standard, textbook = (POLICIES[name].machine(FORMATS["float32"]) for name in ("standard", "textbook"))
    print("       n", *(f"{name:>10}" for name in WAYS), "  standard   textbook")
    for n in (10, 100, 1000, 10_000, 100_000, 1_000_000):
        x = rows(n, rng)
        exact = np.array([math.fsum(row.astype(np.float64)) for row in x])
        errors = [float(np.max(np.abs(way(x).astype(np.float64) - exact) / exact)) / U for way in WAYS.values()]
        print(f"{n:8}", *(f"{e:10.1f}" for e in errors), f"{standard.sigma(n):10.1f} {textbook.sigma(n):10.0f}")


if __name__ == "__main__":
    main()
