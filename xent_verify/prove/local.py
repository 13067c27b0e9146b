"""Chunks on this machine: in this process, or in several that take the next chunk when they are ready."""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from xent_verify.core.failures import AuditIncompleteError
from xent_verify.core.workers import workers
from xent_verify.prove.plan import Plan
from xent_verify.prove.session import Session

__all__ = ["Done", "chunk_of", "in_processes", "in_this_process"]

Done = tuple[int, dict[str, Any], float]
"""(chunk, its counts as plain data, seconds)."""

_AHEAD = 2
"""Chunks handed out per process: one at work, one waiting."""

_open = threading.local()


def chunk_of(plan: Plan, key: str, chunk: int) -> Done:
    """One chunk in a worker, whose thread keeps the target open between chunks of one plan (``key`` names it)."""
    held: tuple[str, Session] | None = getattr(_open, "held", None)
    if held is None or held[0] != key:
        if held is not None:
            held[1].close()
        session = Session(plan)
        atexit.register(session.close)
        held = _open.held = key, session
    begun = time.perf_counter()
    counts = held[1].chunk(chunk)
    return chunk, counts.to_plain(), time.perf_counter() - begun


def in_this_process(plan: Plan, chunks: Iterable[int]) -> Generator[Done, None, None]:
    """One after the other."""
    with Session(plan) as session:
        for chunk in chunks:
            begun = time.perf_counter()
            counts = session.chunk(chunk)
            yield chunk, counts.to_plain(), time.perf_counter() - begun


def in_processes(plan: Plan, chunks: Iterable[int], jobs: int) -> Generator[Done, None, None]:
    """In ``jobs`` processes, each with the target isolated in a child of its own; in order of completion."""
    waiting = iter(chunks)
    running: set[Future[Done]] = set()
    key = plan.key
    try:
        with workers(jobs) as pool:
            while True:
                for chunk in waiting:
                    running.add(pool.submit(chunk_of, plan, key, chunk))
                    if len(running) >= _AHEAD * jobs:
                        break
                if not running:
                    return
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield future.result()
    except BrokenProcessPool:
        raise AuditIncompleteError(
            f"prove: a worker process ended while it held {plan.name}; without --in-process the target cannot do that"
        ) from None
