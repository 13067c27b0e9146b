"""A pool of processes that end with their work: when it is broken off nobody waits for what they have at hand."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from xent_verify.core.failures import UsageError

__all__ = ["workers"]


@contextlib.contextmanager
def workers(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """``jobs`` fresh processes. Where the body raises (Ctrl-C too) they are ended, and their targets with them.

    Raises:
        UsageError: ``jobs`` is not positive.
    """
    if jobs < 1:
        raise UsageError(f"--jobs {jobs}: at least one process is needed")
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_deaf)
    try:
        yield pool
    except BaseException:
        for worker in set(multiprocessing.active_children()) - others:
            worker.terminate()
        raise
    finally:
        with contextlib.suppress(Exception):
            pool.shutdown(wait=True, cancel_futures=True)


def _deaf() -> None:
    """Ctrl-C is the parent's business, which then ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
