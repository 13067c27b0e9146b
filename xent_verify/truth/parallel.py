"""Several cores on one batch: threads where kernels run for long without the interpreter, else forked processes.

NumPy's loops over a block take microseconds, so that threads spend their time waiting for the interpreter: two are
slower than one. Forked children see the inputs as they are, write their rows into shared memory (``shared_empty``) and
send back what little else there is. A child runs NumPy's loops and this room's code only, which hold no locks, and
leaves without cleaning up, so that threads of the parent do no harm. Where there is no fork, threads have to do.
"""

from __future__ import annotations

import math
import mmap
import multiprocessing
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from xent_verify.core.floating import sound

__all__ = ["WORTHWHILE", "by_processes", "by_threads", "shared_empty"]

A = TypeVar("A")
R = TypeVar("R")

WORTHWHILE = 1 << 20
"""Logits from which on starting processes (some 10 ms) pays."""


def shared_empty(shape: tuple[int, ...], dtype: DTypeLike = np.float64) -> NDArray[Any]:
    """An array that forked children share."""
    size = math.prod(shape)
    buffer = mmap.mmap(-1, max(size, 1) * np.dtype(dtype).itemsize)
    return np.frombuffer(buffer, dtype, size).reshape(shape)


def by_threads(function: Callable[[A], R], work: Sequence[A], jobs: int) -> list[R]:
    """``[function(item) for item in work]``."""
    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(sound(function), work))


def by_processes(function: Callable[[A], R], work: Sequence[A], jobs: int) -> list[R]:
    """The same; ``function`` may write to shared arrays."""
    if "fork" not in multiprocessing.get_all_start_methods():
        return by_threads(function, work, jobs)
    context = multiprocessing.get_context("fork")
    children = []
    for start in range(min(jobs, len(work))):
        receive, send = context.Pipe(duplex=False)
        child = context.Process(target=_child, args=(function, work[start::jobs], send))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads of the parent: see above
            child.start()
        send.close()
        children.append((child, receive))
    answers = [_answer(receive) for _, receive in children]
    for child, _ in children:
        child.join()
    results: list[Any] = [None] * len(work)
    for start, answer in enumerate(answers):
        if isinstance(answer, BaseException):
            raise answer
        results[start::jobs] = answer
    return results


def _child(function: Callable[[Any], Any], work: Sequence[Any], send: Connection) -> None:
    try:
        send.send([function(item) for item in work])
    except BaseException as error:  # noqa: BLE001  the parent raises it
        send.send(error)
    send.close()
    os._exit(0)


def _answer(receive: Connection) -> Any:
    try:
        return receive.recv()
    except EOFError:
        return RuntimeError("a process of several jobs died")
