"""A pool of processes that end with their work: when it is broken off nobody waits for what they have at hand."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from xent_verify.core.failures import UsageError
from xent_verify.core.interrupts import SIGNALS

__all__ = ["workers"]


@contextlib.contextmanager
def workers(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """``jobs`` fresh processes. Where the body raises (an interruption too) they are ended, and their targets with them.

    They end with this process too, however it ended.

    Raises:
        UsageError: ``jobs`` is not positive.
    """
    if jobs < 1:
        raise UsageError(f"--jobs {jobs}: at least one process is needed")
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_serve)
    try:
        yield pool
    except BaseException:
        for worker in set(multiprocessing.active_children()) - others:
            worker.kill()
        raise
    finally:
        with contextlib.suppress(Exception):
            pool.shutdown(wait=True, cancel_futures=True)


def _serve() -> None:
    """In a worker: a signal to end is the parent's business, which then ends its workers; where it is gone they end too."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
