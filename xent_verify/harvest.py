"""Audits of many targets for one report: the package's own implementations and the installed libraries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from xent_verify.audit import DEFAULT_DTYPES, AuditReport, audit, merged
from xent_verify.failures import UsageError
from xent_verify.implementations import IMPLEMENTATIONS
from xent_verify.libraries import LibraryTarget, installed
from xent_verify.ops import OPS, op_named

__all__ = ["harvest"]

_FP8 = ("float8_e4m3fn", "float8_e5m2")
_FP8_OPS = ("softmax", "log_softmax")


def harvest(
    *,
    ops: Sequence[str] = (),
    library: str = "",
    profile: str = "quick",
    seed: int = 0,
    progress: Callable[[str, int], None] | None = None,
) -> AuditReport:
    """Audit everything that is here: naive and stable side by side, then the libraries, op by op."""
    for name in ops:
        op_named(name)
    wanted = tuple(ops) or tuple(OPS)
    found = installed(library)
    if library and not found:
        raise UsageError(f"library {library!r} is not installed, or has no entry in the table of library targets")
    parts = [] if library else list(_own(wanted, profile, seed, progress))
    for entry in found:
        if entry.op in wanted:
            parts.append(_library(entry, profile, seed, progress))
    return merged(parts)


def _own(
    ops: Sequence[str], profile: str, seed: int, progress: Callable[[str, int], None] | None
) -> Iterator[AuditReport]:
    """The package's implementations are trusted not to misbehave, so they run in this process."""
    for op in ops:
        dtypes = [*DEFAULT_DTYPES, *(_FP8 if op in _FP8_OPS else ())]
        for entry in IMPLEMENTATIONS:
            if entry.op == op:
                yield audit(
                    entry.name, op=op, dtypes=dtypes, policy=entry.policy, profile=profile, seed=seed,
                    isolated=False, progress=progress,
                )  # fmt: skip


def _library(entry: LibraryTarget, profile: str, seed: int, progress: Callable[[str, int], None] | None) -> AuditReport:
    return audit(
        entry.target, op=entry.op, dtypes=entry.dtypes, arrays=entry.arrays, profile=profile, seed=seed, timeout=60.0,
        progress=progress,
    )  # fmt: skip
