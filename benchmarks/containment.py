"""Does certified truth hold? ``python benchmarks/containment.py [--values N] [--ops NAMES] [--seed S] [--primitives N]``.

Three sweeps against Arb (python-flint), another implementation by other people, each with the number of values that lie
outside their enclosure:

* the audit's own plans, all operations and formats, rows of up to 2048 logits, seeds from ``--seed`` on;
* logits, targets and options drawn from their whole range: subnormal, huge, negative, zero (a third of the values);
* interval operations at 64 to 256 bits with operands of all sizes and lengths (``--primitives``, default N / 10).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from arb_truth import extreme, outside, primitives_outside

from xent_verify.core.model import Batch
from xent_verify.ops import OPS
from xent_verify.regimes import plan
from xent_verify.truth import certify

LONGEST = 2048


def flat(batch: Batch) -> bool:
    """Batches that the oracle can read: 2-D, one loss a row, no ignored labels."""
    target = batch.inputs.get("target")
    labels = target is not None and target.dtype.kind in "iu"
    return (
        batch.x.ndim == 2
        and 0 < batch.x.shape[1] <= LONGEST
        and batch.options.get("axis", -1) in (-1, 1)
        and batch.options.get("reduction", _default(batch, "reduction")) == "none"
        and not (labels and (target == batch.options.get("ignore_index", -100)).any())
    )


def _default(batch: Batch, name: str) -> object:
    options = OPS[batch.op].options
    return options[name].default if name in options else "none"


class Count:
    """Values compared and found outside, by operation."""

    def __init__(self) -> None:
        self.checked: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.undecided = 0

    def add(self, batch: Batch) -> None:
        truth = certify(batch)
        checked, failed = outside(batch, truth)
        self.checked[batch.op] += checked
        self.failed[batch.op] += len(failed)
        self.undecided += int((~truth.decided(batch.fmt)).sum())
        if failed:
            print("OUTSIDE", batch, failed, flush=True)

    def report(self, what: str, spent: float) -> None:
        print(
            f"{what}: {self.checked.total():,} values, {self.failed.total()} outside, {self.undecided} undecided, {spent:.0f} s"
        )
        print("  " + ", ".join(f"{op} {number:,}" for op, number in sorted(self.checked.items())), flush=True)


def regimes(values: int, seed: int, ops: list[str]) -> Count:
    """The audit's plans: batches of the operations and formats in turn, until enough values are compared."""
    count = Count()
    while True:
        with np.errstate(all="ignore"):
            plans = [
                (b for b in plan(op, fmt, profile="quick", seed=seed) if flat(b))
                for op in ops
                for fmt in OPS[op].formats
            ]
            while plans:
                plans = [batches for batches in plans if _next(batches, count)]
                if count.checked.total() >= values:
                    return count
        seed += 1


def _next(batches: object, count: Count) -> bool:
    batch = next(batches, None)  # type: ignore[call-overload]
    if batch is not None:
        count.add(batch)
    return batch is not None


def extremes(values: int, seed: int, ops: list[str]) -> Count:
    """Parameters of every size."""
    count, generator = Count(), np.random.default_rng(seed)
    with np.errstate(all="ignore"):
        while count.checked.total() < values:
            for op in ops:
                count.add(extreme(op, str(generator.choice(OPS[op].formats)), generator, rows=20))
    return count


def main(words: list[str] | None = None) -> int:
    """All sweeps; exit status 1 if anything lies outside."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--values", type=int, default=100_000, help="values to compare (10 million: hours)")
    parser.add_argument(
        "--primitives", type=int, help="interval operations to compare (default: a tenth of the values)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ops", default=",".join(OPS), help="operations, separated by commas (default: all)")
    given = parser.parse_args(words)
    ops = given.ops.split(",")
    start = time.monotonic()
    first = extremes(given.values // 3, given.seed, ops)
    first.report("parameters of every size", time.monotonic() - start)
    start = time.monotonic()
    second = regimes(given.values - given.values // 3, given.seed, ops)
    second.report("regimes of the audit", time.monotonic() - start)
    start = time.monotonic()
    operations = given.values // 10 if given.primitives is None else given.primitives
    wrong = primitives_outside(operations, given.seed)
    print(f"interval operations: {operations:,}, {len(wrong)} outside, {time.monotonic() - start:.0f} s")
    return int(bool(first.failed.total() or second.failed.total() or wrong))


if __name__ == "__main__":
    sys.exit(main())
