"""What a proof costs, and the certificates of this package's own implementations.

    python benchmarks/prove.py                          a slice of all bfloat16 pairs: rows/s, shares, scaling, other domains
    python benchmarks/prove.py --chunks 64              the same over more chunks
    python benchmarks/prove.py --certificates FOLDER    certificates that FOLDER lacks (fp8 triples, unary, float32
                                                        gaps: minutes each), and its table
    python benchmarks/prove.py --certificates FOLDER --pairs    all pairs of both 16-bit formats too (hours; resumable)

The chunks of a slice are spread over the whole domain. The peer of the fast judge is the general way (certify and judge)
on the same answers in the same run."""

from __future__ import annotations

import argparse
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from xent_verify.auditing.audit import Settings
from xent_verify.core.environment import instruction_set
from xent_verify.core.formats import FORMATS
from xent_verify.core.model import Batch, Returned
from xent_verify.ops import op_named
from xent_verify.prove import Plan, Sweep, domain_of, table, write
from xent_verify.prove.certified import count_judged
from xent_verify.prove.counts import Counts
from xent_verify.prove.local import chunk_of
from xent_verify.prove.session import Session
from xent_verify.verdict.policies import parse_policy

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
    """Rows a second of one process, by the wall and by the processor's clock, and where the time goes.

    A shared machine's wall clock counts others' work too; in process the processor's own clock is the fair one.
    """
    isolated = plan.settings.isolated
    with Session(plan, clock=time.perf_counter if isolated else time.process_time) as session:
        session.chunk(chunks[0])
        session.seconds = dict.fromkeys(session.seconds, 0.0)
        wall, processor, rows = time.perf_counter(), time.process_time(), 0
        for chunk in chunks:
            rows += session.chunk(chunk).rows
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
    spent = wall if isolated else processor
    shares = session.seconds | {"the rest": spent - sum(session.seconds.values())}
    told = ", ".join(f"{name} {100 * part / spent:.0f} % ({part / rows * 1e9:.0f} ns)" for name, part in shares.items())
    own = "" if isolated else f" ({rows / processor:,.0f} by the processor's clock)"
    where = "isolated" if isolated else "in process"
    name = f"{plan.op + '.' + plan.name:19} {plan.domain.fmt:13} {plan.domain.name:7} {where:10}"
    print(f"{name} {rows / wall:11,.0f} rows/s{own}: {told}", flush=True)
    return rows / spent


def general(plan: Plan) -> float:
    """Rows a second (processor's clock) of truth and judgement the general way, on the answers to one block."""
    block = next(iter(plan.domain.blocks(plan.domain.chunks // 4)))
    op = op_named(plan.op)
    with Session(plan) as session:
        outcome = session.call(Batch(op.name, plan.domain.fmt, "", {"x": block.x}))
    assert isinstance(outcome, Returned)
    begun = time.process_time()
    count_judged(Counts(), op, plan.domain, plan.settings.rules, block.rows, block.x, outcome)
    return len(block.rows) / (time.process_time() - begun)


def timed(plan: Plan, chunk: int) -> float:
    """Seconds of the processor for one chunk, in a worker."""
    begun = time.process_time()
    chunk_of(plan, "benchmark", chunk)
    return time.process_time() - begun


def scaling(plan: Plan, chunks: list[int]) -> None:
    """The same chunks in one process and in two; starts are not counted.

    Where the machine has other work, the wall clock says little; what two processes take from each other shows in the
    processor time per row: twice the ratio is the factor of a machine with two free cores.
    """
    walls, processors = {}, {}
    for jobs in (1, 2):
        with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
            list(pool.map(partial(timed, plan), chunks[: 2 * jobs]))
            begun = time.perf_counter()
            processors[jobs] = sum(pool.map(partial(timed, plan), chunks))
            walls[jobs] = time.perf_counter() - begun
    rows = len(chunks) * plan.domain.chunk_rows
    one, two = (rows / walls[jobs] / 1e6 for jobs in (1, 2))
    free = 2 * rows / processors[2] / 1e6
    print(
        f"scaling, {len(chunks)} chunks: 1 process {one:.2f}, 2 processes {two:.2f} M rows/s, factor {two / one:.2f} (wall)"
    )
    print(
        f"processor time per row: {processors[1] / rows * 1e9:.0f} ns and {processors[2] / rows * 1e9:.0f} ns, "
        f"factor {2 * processors[1] / processors[2]:.2f} on free cores: {free:.1f} M rows/s"
    )
    print(
        f"all 2**32 pairs with 2 processes: {WHOLE / two / 6e7:.1f} minutes here, {WHOLE / free / 6e7:.1f} on free cores"
    )


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
    scaling(plan_of("stable", "softmax", "bfloat16"), chunks)


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
    gaps = [plan_of("stable", op, "float32", "gaps") for op in ("softmax", "log_softmax")]
    return unary + small + gaps + (large if pairs else [])


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
