"""How good the guided search is, against other ways to spend the same number of evaluations.

    python benchmarks/search.py                    guided, uniform ordinals, regimes alone, Hypothesis with target()
    python benchmarks/search.py --exhaust fp8      share of the true maximum reached on all triples of the fp8 formats
    python benchmarks/search.py --exhaust float16  … on all pairs of float16 (tens of minutes; also: bfloat16)

Errors of the comparison are in ulps against certified truth; a row of n logits is one evaluation. The exhausted domains
are measured against float64, whose own error is far below an ulp of their formats.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import hypothesis
import numpy as np
from hypothesis import HealthCheck, Phase

from xent_verify import strategies
from xent_verify.core.formats import FORMATS, FloatFormat
from xent_verify.core.model import Batch
from xent_verify.implementations.catalogue import find
from xent_verify.regimes import row_makers
from xent_verify.regimes.draw import Draw, stream
from xent_verify.search import guided_search
from xent_verify.truth.certify import certify

Judge = Callable[[Any], Any]

TARGETS = (
    ("softmax", "stable", "float32"),
    ("softmax", "division-free", "float32"),
    ("softmax", "division-free", "bfloat16"),
    ("softmax", "narrow-differences", "float16"),
    ("softmax", "squaring", "float32"),
    ("softmax", "single-exp", "float64"),
    ("log_softmax", "log1p", "float32"),
    ("log_softmax", "log1p", "float64"),
    ("log_softmax", "stable", "float32"),
    ("logsumexp", "stable", "float32"),
    ("logsumexp", "stable", "float64"),
    ("logsumexp", "log1p", "float32"),
    ("logsumexp", "log1p", "float64"),
    ("logsumexp", "online", "float64"),
    ("logsumexp", "pairwise", "float64"),
    ("logsumexp", "naive", "float32"),
)
"""Sound and faulty, each with room above what ordinary rows show."""


def certified(op: str, name: str, fmt: str) -> Judge:
    """The largest finite error of each row, in ulps."""
    call, form = find(name, op).call, FORMATS[fmt]

    def judge(rows: Any) -> Any:
        with np.errstate(all="ignore"):
            value = call(rows)
            error = certify(Batch(op, fmt, "benchmark", {"x": rows})).error_ulp(value, form)
        error = np.where(np.isfinite(error) & np.isfinite(form.widen(value)), error, 0.0)
        return error if error.ndim == 1 else error.max(axis=1)

    return judge


def uniform(fmt: str, judge: Judge, n: int, count: int, seed: int) -> float:
    draw = Draw(FORMATS[fmt], stream(seed, "uniform"))
    top = int(draw.fmt.ordinal(np.asarray(draw.fmt.max_finite, dtype=draw.fmt.dtype)))
    return float(judge(draw.fmt.from_ordinal(draw.rng.integers(-top, top + 1, (count, n)))).max())


def regimes(fmt: str, judge: Judge, n: int, count: int, seed: int) -> float:
    draw = Draw(FORMATS[fmt], stream(seed, "regimes"))
    makers = list(row_makers(draw.fmt).values())
    rows = np.concatenate([maker(draw, -(-count // len(makers)), n) for maker in makers])
    return float(judge(draw.narrow(draw.rng.permutation(rows)[:count])).max())


def drawn(fmt: str, judge: Judge, n: int, count: int, seed: int) -> float:
    best = [0.0]

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.target),
        suppress_health_check=tuple(HealthCheck),
    )
    @hypothesis.given(strategies.logits(fmt, n=n))
    def probe(row: Any) -> None:
        score = float(judge(row[None])[0])
        best[0] = max(best[0], score)
        hypothesis.target(min(score, 1e300))

    probe()
    return best[0]


def guided(fmt: str, judge: Judge, n: int, count: int, seed: int) -> float:
    return guided_search(fmt, judge, lengths=(n,), evaluations=count, seed=seed).best.score


def mean(found: Iterable[float]) -> float:
    """Geometric: one lucky seed does not decide."""
    return statistics.geometric_mean(max(best, 1e-9) for best in found)


OTHERS = {"uniform": uniform, "regimes": regimes, "hypothesis": drawn}


def compare(n: int, count: int, seeds: int) -> None:
    """One line per target (geometric means over seeds), then the median factor against each other way."""
    factors: dict[str, list[float]] = {name: [] for name in OTHERS}
    print(f"largest error in ulps, n = {n}, {count} evaluations each, mean of {seeds} seeds")
    print(f"{'target':36}{'guided':>12}" + "".join(f"{name:>12}" for name in OTHERS))
    for op, name, fmt in TARGETS:
        judge = certified(op, name, fmt)
        best = mean(guided(fmt, judge, n, count, seed) for seed in range(seeds))
        line = f"{op + '.' + name + ' ' + fmt:36}{best:12.4g}"
        for other, way in OTHERS.items():
            reached = mean(way(fmt, judge, n, count, seed) for seed in range(seeds))
            factors[other].append(best / reached if reached else float("inf"))
            line += f"{reached:12.4g}"
        print(line, flush=True)
    medians = {other: statistics.median(found) for other, found in factors.items()}
    print(f"{'median factor':48}" + "".join(f"{medians[name]:12.3g}" for name in OTHERS))


def native(rows: Any) -> Any:
    """Softmax with every step rounded to the row's own format."""
    e = np.exp(rows - rows.max(axis=1, keepdims=True))
    total = e[:, :1]
    for k in range(1, rows.shape[1]):
        total = total + e[:, k : k + 1]
    return e / total


def division_free(rows: Any) -> Any:
    """exp(x - logsumexp(x)), every step in the row's own format."""
    m = rows.max(axis=1, keepdims=True)
    e = np.exp(rows - m)
    total = e[:, :1]
    for k in range(1, rows.shape[1]):
        total = total + e[:, k : k + 1]
    return np.exp(rows - (m + np.log(total)))


def against_float64(call: Judge, form: FloatFormat) -> Judge:
    def judge(rows: Any) -> Any:
        with np.errstate(all="ignore"):
            wide = form.widen(rows)
            e = np.exp(wide - wide.max(axis=1, keepdims=True))
            true = e / e.sum(axis=1, keepdims=True)
            error = np.abs(form.widen(call(rows)) - true) / form.ulp(true)
        return np.where(np.isfinite(error), error, 0.0).max(axis=1)

    return judge


def every_row(form: FloatFormat, n: int) -> Iterator[Any]:
    """All rows of finite values, in blocks of one first logit (pairs: the first is the larger)."""
    top = int(form.ordinal(np.asarray(form.max_finite, dtype=form.dtype)))
    for first in range(-top, top + 1):
        others = np.arange(-top, (first if n == 2 else top) + 1)
        grid = np.stack(np.meshgrid(*[others] * (n - 1), indexing="ij"), axis=-1).reshape(-1, n - 1)
        yield form.from_ordinal(np.insert(grid, 0, first, axis=1))


def exhaust(names: tuple[str, ...], n: int) -> None:
    """The search's best in 10 seconds against the true maximum over all rows."""
    for fmt in names:
        for call in (native, division_free):
            judge = against_float64(call, FORMATS[fmt])
            found = guided_search(fmt, judge, lengths=(n,), evaluations=10**8, seconds=10.0)
            reached = found.best.score
            start = time.monotonic()
            truly = max(float(judge(rows).max()) for rows in every_row(FORMATS[fmt], n))
            print(
                f"{call.__name__:14} {fmt:14} n = {n}: search {reached:.6g} ({found.evaluations} rows, 10 s), "
                f"maximum {truly:.6g} ({time.monotonic() - start:.0f} s), share {reached / truly:.4f}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=8)
    parser.add_argument("--evaluations", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--exhaust", choices=("fp8", "float16", "bfloat16"))
    options = parser.parse_args()
    match options.exhaust:
        case None:
            compare(options.n, options.evaluations, options.seeds)
        case "fp8":
            exhaust(("float8_e4m3fn", "float8_e5m2"), 3)
        case name:
            exhaust((name,), 2)


if __name__ == "__main__":
    main()
