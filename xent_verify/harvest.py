"""Audits of many targets for one report: the package's own implementations and the installed libraries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

from xent_verify.audit import DEFAULT_DTYPES, AuditReport, audit, merged, unfinished
from xent_verify.failures import UsageError, one_line
from xent_verify.formats import format_named
from xent_verify.implementations import IMPLEMENTATIONS, Implementation
from xent_verify.libraries import LibraryTarget, installed
from xent_verify.model import Report, TargetResult
from xent_verify.ops import op_named
from xent_verify.report import from_json
from xent_verify.report.words import verdict

__all__ = ["harvest"]

Progress = Callable[[str, int, int], None]

CORE = ("softmax", "log_softmax", "logsumexp", "cross_entropy", "cross_entropy_grad")
"""What a report covers unless operations are named."""


def harvest(
    *,
    ops: Sequence[str] = (),
    dtypes: Sequence[str] = (),
    library: str = "",
    profile: str = "quick",
    seed: int = 0,
    jobs: int = 2,
    progress: Progress | None = None,
) -> AuditReport:
    """Audit everything that is here: naive and stable side by side, then the libraries, op by op.

    ``dtypes``: formats (default: the audit's four), each where an operation has it and, for a library, takes it.
    ``jobs`` processes share the work; the result does not depend on how many. ``progress`` is called once before the
    first target and after each one: what is done in words ("" at first), how many are, of how many.
    """
    for name in ops:
        op_named(name)
    forms = [format_named(name).name for name in dtypes or DEFAULT_DTYPES]
    wanted = tuple(ops) or CORE
    found = installed(library)
    if library and not found:
        raise UsageError(f"library {library!r} is not installed, or has no entry in the table of library targets")
    tasks = [] if library else [_own(entry, forms) for entry in IMPLEMENTATIONS if entry.op in wanted]
    tasks += [_library(entry, forms) for entry in found if entry.op in wanted]
    tasks = [task for task in tasks if task["dtypes"]]
    order = {op: place for place, op in enumerate(wanted)}
    tasks.sort(key=lambda task: order[str(task["op"])])
    reports = []
    tasks = [{**task, "profile": profile, "seed": seed} for task in tasks]
    told = progress or (lambda _text, _done, _all: None)
    told("", 0, len(tasks))
    with _pool(jobs) as pool:
        waiting = [pool.submit(_run, task) for task in tasks]
        for done, (task, report) in enumerate(zip(tasks, waiting, strict=True)):
            reports.append(_had(task, report))
            told(_words(reports[-1].targets[0]), done + 1, len(tasks))
    return merged(reports)


def _words(target: TargetResult) -> str:
    """``softmax naive: float64 fail, float32 fail``."""
    return f"{target.op} {target.target}: " + ", ".join(f"{one.dtype} {verdict(one)}" for one in target.dtypes)


def _pool(jobs: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(max(jobs, 1), mp_context=get_context("spawn"))


def _had(task: dict[str, Any], waiting: Future[str]) -> Report:
    """A task's report; where it raised or its process ended, one that says so for each format.

    A process that ends takes the whole pool along: each task that was waiting gets a process of its own.
    """
    try:
        try:
            return from_json(waiting.result())
        except BrokenProcessPool:
            with _pool(1) as alone:
                return from_json(alone.submit(_run, task).result())
    except Exception as error:  # noqa: BLE001  (said in the report)
        lost = tuple(unfinished(name, one_line(error)) for name in task["dtypes"])
        return Report((TargetResult(task["target"], task["op"], lost),), {})


def _run(task: dict[str, Any]) -> str:
    """One audit in a worker process, as JSON."""
    options = {name: value for name, value in task.items() if name != "target"}
    return audit(str(task["target"]), **options).to_json()


def _own(entry: Implementation, forms: Sequence[str]) -> dict[str, Any]:
    """The package's implementations are trusted not to misbehave, so they run without a process of their own."""
    dtypes = [name for name in forms if name in op_named(entry.op).formats]
    return {"target": entry.name, "op": entry.op, "dtypes": dtypes, "policy": entry.policy, "isolated": False}


def _library(entry: LibraryTarget, forms: Sequence[str]) -> dict[str, Any]:
    dtypes = [name for name in entry.dtypes if name in forms]
    return {"target": entry.target, "op": entry.op, "dtypes": dtypes, "arrays": entry.arrays, "timeout": 60.0}
