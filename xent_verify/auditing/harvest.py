"""Audits of many targets for one report: the package's own implementations and the installed libraries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from xent_verify.auditing.audit import DEFAULT_DTYPES, AuditReport
from xent_verify.auditing.many import Task, in_processes, joined, unaudited
from xent_verify.core.failures import UsageError
from xent_verify.core.formats import format_named
from xent_verify.core.libraries import LibraryTarget, installed
from xent_verify.core.model import Report, TargetResult
from xent_verify.implementations import IMPLEMENTATIONS, Implementation
from xent_verify.ops import CORE, op_named
from xent_verify.report.words import verdict
from xent_verify.verdict.policies import parse_policy
from xent_verify.verdict.settings import Settings

__all__ = ["harvest"]

Progress = Callable[[str, int, int], None]


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
    first target and after each one: what is done in words ("" at first), how many are, of how many. An interruption ends
    it and keeps the targets that are done.
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
    tasks = [
        replace(task, settings=replace(task.settings, profile=profile, seed=seed)) for task in tasks if task.dtypes
    ]
    tasks.sort(key=lambda task: wanted.index(task.op))
    told = progress or (lambda _text, _done, _all: None)
    told("", 0, len(tasks))

    def one_more(report: Report | UsageError, done: int) -> None:
        task = tasks[done - 1]
        whole = report if isinstance(report, Report) else unaudited(task, report)
        told(_words(whole.targets[0]), done, len(tasks))

    return joined(tasks, in_processes(tasks, jobs, one_more))


def _words(target: TargetResult) -> str:
    """``softmax naive: float64 fail, float32 fail``."""
    return f"{target.op} {target.target}: " + ", ".join(f"{one.dtype} {verdict(one)}" for one in target.dtypes)


def _own(entry: Implementation, forms: Sequence[str]) -> Task:
    """The package's implementations are trusted not to misbehave, so they run without a process of their own."""
    dtypes = tuple(name for name in forms if name in op_named(entry.op).formats)
    return Task(entry.name, entry.op, dtypes, Settings(parse_policy(entry.policy), isolated=False))


def _library(entry: LibraryTarget, forms: Sequence[str]) -> Task:
    dtypes = tuple(name for name in entry.dtypes if name in forms)
    return Task(entry.target, entry.op, dtypes, Settings(arrays=entry.arrays, timeout=60.0))
