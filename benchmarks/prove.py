"""What a proof costs, and the certificates of this package's own implementations.

    python benchmarks/prove.py                          a slice of all bfloat16 pairs: rows/s, shares, scaling, other domains
    python benchmarks/prove.py --chunks 64              the same over more chunks
    python benchmarks/prove.py --certificates FOLDER    certificates that FOLDER lacks (fp8 triples, unary), and its table
    python benchmarks/prove.py --certificates FOLDER --pairs    all pairs of both 16-bit formats too (hours; resumable)

The chunks of a slice are spread over the whole domain. The peer of the fast judge is the general way (certify and judge)
on the same answers in the same run. Scaling counts work, not the start of processes.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from xent_verify.audit import Settings
from xent_verify.environment import instruction_set
from xent_verify.formats import FORMATS
from xent_verify.model import Returned
from xent_verify.ops import op_named
from xent_verify.policies import parse_policy
from xent_verify.prove import Plan, Sweep, domain_of, table, write
from xent_verify.prove.certified import count_judged
from xent_verify.prove.counts import Counts
from xent_verify.prove.local import in_processes
from xent_verify.prove.session import Session

OPS = ("softmax", "log_softmax", "logsumexp")
NAMES = ("stable", "naive")
WHOLE = 2**32


def plan_of(target: str, op: str, fmt: str, domain: str = "", *, isolated: bool = False) -> Plan:
    settings = Settings(parse_policy("standard"), isolated=isolated, timeout=60.0)
    return Plan(target, op, domain_of(op_named(op), FORMATS[fmt], domain), settings)


def spread(plan: Plan, count: int) -> list[int]:
    """Chunks from all over the domain, and the same for every target."""
    return sorted({int(k) for k in np.linspace(0, plan.domain.chunks - 1, count)})


def slice_of(plan: Plan, chunks: list[int]) -> float:
    """Rows a second of one process, and where the time goes."""
    with Session(plan) as session:
        session.chunk(chunks[0])
        session.seconds = dict.fromkeys(session.seconds, 0.0)
        begun, rows = time.perf_counter(), 0
        for chunk in chunks:
            rows += session.chunk(chunk).rows
        spent = time.perf_counter() - begun
    shares = session.seconds | {"the rest": spent - sum(session.seconds.values())}
    told = ", ".join(f"{name} {100 * part / spent:.0f} % ({part / rows * 1e9:.0f} ns)" for name, part in shares.items())
    where = "isolated" if plan.settings.isolated else "in process"
    rate = rows / spent
    print(
        f"{plan.op + '.' + plan.name:22} {plan.domain.fmt:13} {plan.domain.name:8} {where:10} {rate / 1e6:6.2f} M rows/s: {told}",
        flush=True,
    )
    return rate


def general(plan: Plan) -> float:
    """Rows a second of truth and judgement the general way, on the answers to one block."""
    block = next(iter(plan.domain.blocks(plan.domain.chunks // 4)))
    op = op_named(plan.op)
    with Session(plan) as session:
        from xent_verify.model import Batch

        outcome: Any = session.call(Batch(op.name, plan.domain.fmt, "", {"x": block.x}))  # type: ignore[operator]
    assert isinstance(outcome, Returned)
    begun = time.perf_counter()
    count_judged(Counts(), op, plan.domain, plan.settings.rules, block.rows, block.x, outcome)
    return len(block.rows) / (time.perf_counter() - begun)


def scaling(plan: Plan, chunks: list[int]) -> None:
    """The same chunks in one process and in two, each with an isolated target; starts are not counted."""
    seconds = {}
    for jobs in (1, 2):
        results = in_processes(plan, [*chunks[:jobs], *chunks, *chunks[:jobs]], jobs)
        for _ in range(jobs):
            next(results)  # every process has started by then
        begun = time.perf_counter()
        for _ in chunks:
            next(results)
        seconds[jobs] = time.perf_counter() - begun
        results.close()
    rows = len(chunks) * plan.domain.chunk_rows
    one, two = (rows / seconds[jobs] / 1e6 for jobs in (1, 2))
    print(
        f"scaling, {len(chunks)} chunks, isolated: 1 process {one:.2f}, 2 processes {two:.2f} M rows/s, factor {two / one:.2f}"
    )
    print(f"all 2**32 pairs with 2 processes: {WHOLE / two / 1e6 / 60:.1f} minutes")


def measure(count: int) -> None:
    print(f"instruction set: {instruction_set()}")
    plan = plan_of("stable", "softmax", "bfloat16")
    chunks = spread(plan, count)
    fast = slice_of(plan, chunks)
    print(
        f"  fast judge against the general way on the same answers: {fast / general(plan):.1f} times, candidate included"
    )
    slice_of(plan_of("stable", "softmax", "bfloat16", isolated=True), chunks)
    for op in OPS:
        for name in NAMES:
            for fmt in ("bfloat16", "float16"):
                if (op, name, fmt) != ("softmax", "stable", "bfloat16"):
                    slice_of(plan_of(name, op, fmt), chunks[:: max(1, len(chunks) // 6)])
    for fmt, domain in (("float8_e4m3fn", "triples"), ("float32", "widths"), ("float64", "widths")):
        plan = plan_of("stable", "softmax", fmt, domain)
        slice_of(plan, spread(plan, 2))
    scaling(plan_of("stable", "softmax", "bfloat16", isolated=True), chunks)


def wanted(*, pairs: bool) -> list[Plan]:
    """The certificates this package gives of itself."""
    small = [
        plan_of(name, op, fmt, "triples") for fmt in ("float8_e4m3fn", "float8_e5m2") for op in OPS for name in NAMES
    ]
    unary = [
        plan_of(name, op, fmt)
        for fmt in ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
        for op in ("sigmoid", "log_sigmoid")
        for name in NAMES
    ]
    large = [plan_of(name, op, fmt, "pairs") for op in OPS for fmt in ("bfloat16", "float16") for name in NAMES]
    return unary + small + (large if pairs else [])


def certificates(folder: Path, *, pairs: bool, jobs: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for plan in wanted(pairs=pairs):
        name = f"{plan.op}-{plan.name}-{plan.domain.fmt}-{plan.domain.name}"
        if (folder / f"{name}.json").exists():
            continue
        begun = time.perf_counter()
        log = folder / f"{name}.log"
        write(Sweep(plan, jobs=jobs, log=log, resume=log.exists()).run(), folder)
        log.unlink()
        print(f"{name}: {time.perf_counter() - begun:.0f} s", flush=True)
    (folder / "README.md").write_text(table(sorted(folder.glob("*.json"))), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=16)
    parser.add_argument("--certificates", type=Path, metavar="FOLDER")
    parser.add_argument("--pairs", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    if options.certificates is None:
        measure(options.chunks)
    else:
        certificates(options.certificates, pairs=options.pairs, jobs=options.jobs)


if __name__ == "__main__":
    main()
