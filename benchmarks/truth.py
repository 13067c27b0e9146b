"""What certified truth costs, beside what one would use instead: ``python benchmarks/truth.py [--quick]``.

For rows of 4, 32, 1000 and 32768 logits over mixed regimes (ordinary, +-700, +-1e4, huge with ties, subnormal), one
thread, CPU time, best of several runs: ``certify`` for float32 and float64 inputs, with NumPy alone and with the extra ``fast``,
against an mpmath loop (gmpy2 where installed), Arb through python-flint, numpy_quaddtype, np.longdouble, and a plain,
uncertified NumPy float64 softmax. Peers that are not installed are skipped, and said to be. Then: the share of values
per tier and regime, cost against size, peak memory, and several jobs.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

from xent_verify.core.enclosure import TIERS
from xent_verify.core.model import Batch
from xent_verify.regimes import plan
from xent_verify.truth import certify, engines

LENGTHS = (4, 32, 1000, 32768)
NEVER = 1 << 62
REASONS = {
    "logsumexp of normalised rows": "rounded log-probabilities add up to 1 but for 2**-53, so that all of log S cancels",
    "cross_entropy, options, sum_leaves_format": "weights beyond 2**100 are outside the bounds of the double-double tier",
    "softmax, cross_entropy_grad, near_ties": "n = 2**k logits an ulp apart: midpoints but for a third-order term, 2**-160",
    "cross_entropy, crossed, probabilities, layouts": "rational losses (all mass apart from e**-300 of it) that are midpoints",
    "cross_entropy_grad, probabilities, long_rows": "1 / n with n a power of two: rational gradients that are midpoints",
}
"""Why some regimes need the exact tier more often."""


def mixed(rows: int, n: int, fmt: str, seed: int = 1) -> np.ndarray:
    """Rows of five kinds in turn."""
    generator = np.random.default_rng(seed)
    huge = np.array([1e300, -1e300, np.nextafter(1e300, 0), 3e299, 0.0, -0.0, 1.0, -5e-324])
    kinds = (
        lambda k: generator.standard_normal((k, n)) * 5,
        lambda k: generator.uniform(-700, 700, (k, n)),
        lambda k: generator.uniform(-1e4, 1e4, (k, n)),
        lambda k: huge[generator.integers(0, huge.size, (k, n))],
        lambda k: generator.integers(-(2**52), 2**52, (k, n)) * 5e-324,
    )
    out = np.empty((rows, n))
    for i, kind in enumerate(kinds):
        chosen = np.arange(i, rows, len(kinds))
        out[chosen] = kind(chosen.size)
    return out if fmt == "float64" else np.clip(out, -3e38, 3e38).astype(fmt)


def seconds(call: Callable[[], Any], repeat: int, clock: Callable[[], float] = time.process_time) -> float:
    """Best CPU time of several runs (one thread: other work on the machine must not count)."""
    best = np.inf
    for _ in range(repeat):
        start = clock()
        call()
        best = min(best, clock() - start)
    return best


def plain_softmax(x: np.ndarray) -> np.ndarray:
    """What everybody writes, uncertified."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def mpmath_softmax(x: np.ndarray) -> None:
    """The loop a user would write, at 200 bits."""
    from mpmath import mp, mpf

    mp.prec = 200
    for row in x.tolist():
        values = [mpf(v) for v in row]
        top = max(values)
        terms = [mp.exp(v - top) for v in values]
        total = mp.fsum(terms)
        for term in terms:
            _ = term / total


def arb_softmax(x: np.ndarray) -> None:
    """Balls of 128 bits."""
    from flint import arb, ctx

    ctx.prec = 128
    for row in x.tolist():
        top = max(row)
        terms = [(arb(v) - top).exp() for v in row]
        total = sum(terms, arb(0))
        for term in terms:
            _ = term / total


def quad_softmax(x: np.ndarray) -> np.ndarray:
    """IEEE binary128 by SLEEF."""
    from numpy_quaddtype import QuadPrecDType

    return plain_softmax(x.astype(QuadPrecDType()))


def longdouble_softmax(x: np.ndarray) -> np.ndarray:
    """x87 where there is one."""
    return plain_softmax(x.astype(np.longdouble))


PEERS: dict[str, tuple[Callable[[np.ndarray], Any], int]] = {  # logits to spend on each
    "mpmath, 200 bits": (mpmath_softmax, 20_000),
    "Arb, 128 bits": (arb_softmax, 100_000),
    "numpy_quaddtype": (quad_softmax, 300_000),
    "np.longdouble": (longdouble_softmax, 1 << 19),
    "plain float64 NumPy": (plain_softmax, 1 << 20),
}


def certified(op: str, fmt: str, *, compiled: bool, rounded: bool = False) -> Callable[[np.ndarray], Any]:
    """certify on rows, with or without the compiled kernels; ``rounded``: and the correctly rounded values of it all."""

    def call(x: np.ndarray) -> Any:
        engines.WORTHWHILE = 0 if compiled else NEVER
        inputs: dict[str, np.ndarray] = {"x": x}
        if op.startswith("cross_entropy"):
            inputs["target"] = np.arange(x.shape[0]) % x.shape[1]
        truth = certify(Batch(op, fmt, "benchmark", inputs))
        return truth.rounded(fmt) if rounded else truth

    return call


def rate(call: Callable[[np.ndarray], Any], n: int, logits: int, fmt: str, repeat: int) -> float:
    """Logits a second."""
    x = mixed(max(5, logits // n), n, fmt)
    with np.errstate(all="ignore"):
        call(x[:1])
        return x.size / seconds(lambda: call(x), repeat)


def throughput(*, quick: bool) -> None:
    """The table of rates and ratios."""
    spend, repeat = (1 << 17, 2) if quick else (1 << 20, 5)
    lengths = LENGTHS[1:3] if quick else LENGTHS
    print("\nsoftmax and others, logits/s (ratio to mpmath; ratio to plain float64 NumPy), one thread")
    print(f"{'':34}" + "".join(f"{'n = ' + str(n):>30}" for n in lengths))
    base: dict[str, list[float]] = {}
    for name, (call, logits) in PEERS.items():
        try:
            base[name] = [rate(call, n, min(logits, spend), "float64", 2 if quick else 3) for n in lengths]
        except ImportError as error:
            print(f"{name:34}skipped: {error.name} is not installed")
    slow, plain = base["mpmath, 200 bits"], base["plain float64 NumPy"]
    for name, rates in base.items():
        show(name, rates, slow, plain)
    for op in ("softmax", "log_softmax", "logsumexp", "cross_entropy", "cross_entropy_grad"):
        for fmt, compiled in (("float32", False), ("float64", False), ("float64", True)):
            if compiled and engines.accelerated() is None:
                print(f"{op + ' compiled':34}skipped: numba is not installed")
                continue
            label = f"{op} {fmt}{' compiled' if compiled else ''}"
            call = certified(op, fmt, compiled=compiled)
            show(label, [rate(call, n, spend, fmt, repeat) for n in lengths], slow, plain)
    for fmt in ("float32", "float64"):
        call = certified("softmax", fmt, compiled=False, rounded=True)
        show(f"softmax {fmt}, and rounded", [rate(call, n, spend, fmt, repeat) for n in lengths], slow, plain)


def show(name: str, rates: list[float], slow: list[float], plain: list[float]) -> None:
    """One line of the table."""
    cells = (f"{r / 1e6:9.2f} M ({r / s:6.0f}; {r / p:5.2f})" for r, s, p in zip(rates, slow, plain, strict=True))
    print(f"{name:34}" + "".join(f"{cell:>30}" for cell in cells), flush=True)


def shares(*, quick: bool) -> None:
    """Share of values that fell to tier 3, per op and format, and the regimes that did it."""
    print("\nvalues decided per tier over the audit's plan, and regimes with more than 1e-4 in tier 3")
    for name, reason in REASONS.items():
        print(f"  {name}: {reason}")
    engines.WORTHWHILE = NEVER
    for op in ("softmax", "log_softmax", "logsumexp", "cross_entropy", "cross_entropy_grad"):
        for fmt in ("float64", "float32", "bfloat16"):
            counts: dict[str, np.ndarray] = {}
            for batch in plan(op, fmt, profile="quick" if quick else "standard"):
                tier = np.bincount(certify(batch).tier.ravel(), minlength=len(TIERS))
                counts[batch.regime] = counts.get(batch.regime, np.zeros(len(TIERS), int)) + tier
            total = sum(counts.values())
            worse = {name: f"{c[3] / c.sum():.1e}" for name, c in counts.items() if c[3] > 1e-4 * c.sum()}
            print(
                f"{op:20} {fmt:9} "
                + "  ".join(f"{t} {c / total.sum():.2e}" for t, c in zip(TIERS, total, strict=True)),
                worse,
            )


def growth(*, quick: bool) -> None:
    """Time and memory against the number of logits."""
    print("\ncost against size (softmax, rows of 1000): ns per logit, peak bytes beyond the inputs per logit")
    for fmt in ("float32", "float64"):
        for logits in (10**4, 10**5, 10**6) if quick else (10**4, 10**5, 10**6, 10**7, 10**8):
            x = np.tile(mixed(min(logits, 10**6) // 1000, 1000, fmt), (max(1, logits // 10**6), 1))
            call = certified("softmax", fmt, compiled=False)
            spent = seconds(lambda call=call, x=x: call(x), 1 if logits >= 10**7 else 3)
            tracemalloc.start()
            call(x)
            peak = tracemalloc.get_traced_memory()[1] / x.size
            tracemalloc.stop()
            print(f"{fmt} {logits:>11,}: {spent / x.size * 1e9:7.1f} ns, {peak:7.1f} bytes", flush=True)


def jobs(*, quick: bool) -> None:
    """Two jobs against one."""
    print("\njobs (softmax, rows of 1000): wall time of one / of two")
    rows = 2000 if quick else 8000
    for fmt, compiled in (("float32", False), ("float64", False), ("float64", True)):
        if compiled and engines.accelerated() is None:
            continue
        engines.WORTHWHILE = 0 if compiled else NEVER
        batch = Batch("softmax", fmt, "", {"x": mixed(rows, 1000, fmt)})
        one, two = (seconds(lambda j=j, batch=batch: certify(batch, jobs=j), 5, time.perf_counter) for j in (1, 2))
        print(f"{fmt}{' compiled' if compiled else ''}: {one / two:.2f}")


def main() -> None:
    """All of it, in one run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a minute instead of ten")
    quick = parser.parse_args().quick
    for part in (throughput, shares, growth, jobs):
        part(quick=quick)


if __name__ == "__main__":
    main()
