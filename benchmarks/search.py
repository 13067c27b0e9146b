"""How good the guided search is, against other ways to spend the same number of evaluations.

    python benchmarks/search.py                    guided, uniform ordinals, regimes alone, Hypothesis with target()
    python benchmarks/search.py --known reports/certificates   share of a known maximum that each reaches in 10 s
    python benchmarks/search.py --speed            rows a second of ``xent-verify search``

Errors of the comparison are in ulps against certified truth; a row of n logits is one evaluation. A known maximum is that
of a certificate: the largest finite error over all rows of a domain.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
from hypothesis import HealthCheck, Phase

from xent_verify import strategies
from xent_verify.auditing.worst import search_worst
from xent_verify.core.formats import FORMATS
from xent_verify.core.model import Batch, Returned
from xent_verify.implementations.catalogue import find
from xent_verify.ops import op_named
from xent_verify.prove import domain_of
from xent_verify.prove.certified import judged
from xent_verify.regimes import row_makers
from xent_verify.regimes.draw import Draw, stream
from xent_verify.search import guided_search
from xent_verify.truth.certify import certify
from xent_verify.verdict.judge import Rules
from xent_verify.verdict.settings import Settings

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


def as_proved(run: dict[str, Any]) -> Judge:
    """The largest error of each row in ulps, of the errors that a certificate calls numbers."""
    call, op = find(run["target"], run["op"]).call, op_named(run["op"])
    domain = domain_of(op, FORMATS[run["dtype"]], run["domain"])

    def judge(rows: Any) -> Any:
        with np.errstate(all="ignore"):
            value = np.asarray(call(rows))
        found, numeric = judged(op, domain, Rules(), rows, Returned(value, value.dtype.name))
        assert found.errors is not None
        return np.where(numeric, found.errors.ulp, 0.0).reshape(len(rows), -1).max(axis=1)

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


def timed(way: Callable[[int], float], count: int, seconds: float) -> tuple[float, int]:
    """The best score of rounds of ``count`` rows within that time, and the rows."""
    start, best, seed = time.monotonic(), 0.0, 0
    while time.monotonic() - start < seconds:
        best, seed = max(best, way(seed)), seed + 1
    return best, seed * count


def known(folder: Path, seconds: float) -> None:
    """The share of the true maximum, from certificates of whole domains, that each way reaches in the same time."""
    print(f"share of the largest finite error in ulps over all rows (from certificates) reached in {seconds:g} s")
    print(f"{'target':46}{'maximum':>10}" + "".join(f"{name:>12}{'rows':>9}" for name in ("guided", *OTHERS)))
    shares: dict[str, list[float]] = {}
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text())
        run, n = record["run"], {"pairs": 2, "triples": 3}.get(record["run"]["domain"])
        if n is None:
            continue
        judge, truly, fmt = as_proved(run), record["max_ulp"]["value"], run["dtype"]
        found = guided_search(fmt, judge, lengths=(n,), evaluations=10**7, seconds=seconds)
        reached = {"guided": (found.best.score, found.evaluations)}
        for name, way in OTHERS.items():
            count = 300 if way is drawn else 50_000
            reached[name] = timed(partial(way, fmt, judge, n, count), count, seconds)
        line = f"{run['op'] + '.' + run['target'] + ' ' + fmt + ' n = ' + str(n):46}{truly:10.4g}"
        for name, (score, rows) in reached.items():
            shares.setdefault(name, []).append(score / truly)
            line += f"{score / truly:12.4f}{rows:9d}"
        print(line, flush=True)
    for name, reached_by in shares.items():
        told = sum(share >= 0.95 for share in reached_by)
        print(f"{name}: 95 % of the maximum in {told} of {len(reached_by)}, least share {min(reached_by):.4f}")


def speed(evaluations: int) -> None:
    """Rows a second of the search that ``xent-verify search`` makes, by the processor's clock."""
    for op, name, fmt in TARGETS:
        settings = replace(Settings(), isolated=False)
        search_worst(name, op=op, dtypes=(fmt,), settings=settings, evaluations=100, examples=1)
        start = time.process_time()
        search_worst(name, op=op, dtypes=(fmt,), settings=settings, evaluations=evaluations, examples=1)
        rate = evaluations / (time.process_time() - start)
        print(f"{op + '.' + name + ' ' + fmt:36}{rate:12,.0f} rows/s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=8)
    parser.add_argument("--evaluations", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--known", type=Path, metavar="CERTIFICATES")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--speed", action="store_true")
    options = parser.parse_args()
    if options.known:
        known(options.known, options.seconds)
    elif options.speed:
        speed(max(options.evaluations, 50_000))
    else:
        compare(options.n, options.evaluations, options.seeds)


if __name__ == "__main__":
    main()
