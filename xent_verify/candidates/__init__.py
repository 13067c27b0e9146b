"""Candidates: whatever computes a softmax, behind one method, ``call(batch) -> Outcome``.

Names run in a child process (``isolate``), callables and ``isolated=False`` in this one; both through ``runner``, so the
outcomes are the same values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Protocol

from xent_verify.candidates.adapters import adapter_for
from xent_verify.candidates.isolate import Child
from xent_verify.candidates.resolve import is_builtin, load, validate_builtin
from xent_verify.candidates.runner import Runner
from xent_verify.candidates.signature import Style
from xent_verify.model import Batch, Outcome, Raised

__all__ = ["Candidate", "open_candidate"]

MEMORY_MB = 8192


class _Engine(Protocol):
    """What answers calls: a child process or this one."""

    @property
    def style(self) -> Style: ...
    def call(self, batch: Batch) -> Outcome: ...
    def close(self) -> None: ...


class _InProcess:
    """A target in this process: quick, unprotected."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.style = runner.style

    def call(self, batch: Batch) -> Outcome:
        return self._runner.run(batch)

    def close(self) -> None:
        """Nothing to end."""


class Candidate:
    """One target: its name, what it offers, and its answers. A context manager; ``close`` ends its process."""

    def __init__(self, name: str, engine: _Engine) -> None:
        self.name = name
        self._engine = engine

    @property
    def offered(self) -> Mapping[str, bool]:
        """Part of the op's signature -> offered."""
        return self._engine.style.offered

    def supports(self, batch: Batch) -> bool:
        """False when the target's signature certainly lacks what the batch asks for."""
        return self._engine.style.supports(batch)

    def call(self, batch: Batch) -> Outcome:
        """The target's answer, or what happened instead; never an exception of the target's."""
        if not self.supports(batch):
            return Raised("NotOffered", "the target's signature lacks what this call needs")
        return self._engine.call(batch)

    def close(self) -> None:
        self._engine.close()

    def __enter__(self) -> Candidate:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def open_candidate(
    target: str | Callable[..., Any],
    op: str,
    *,
    arrays: str = "auto",
    isolated: bool = True,
    timeout: float = 10.0,
    memory_mb: int | None = MEMORY_MB,
    kwargs: Mapping[str, Any] | None = None,
    device: str = "cpu",
) -> Candidate:
    """Open a target (a name as on the command line, or a callable) as an implementation of ``op``.

    ``timeout``: seconds per call; ``memory_mb``: resident memory at which the child is ended; ``kwargs`` are added to
    every call. ``UsageError`` when the target cannot be found, imported or called.
    """
    if not isinstance(target, str):
        runner = Runner(target, op, adapter_for(arrays, target), device=device, extra=kwargs)
        return Candidate(_name(target), _InProcess(runner))
    if is_builtin(target):
        validate_builtin(target, op)
    if not isolated:
        function = load(target, op)
        runner = Runner(function, op, adapter_for(arrays, function, target), device=device, extra=kwargs)
        return Candidate(target, _InProcess(runner))
    child = Child(target, op, arrays=arrays, device=device, timeout=timeout, memory_mb=memory_mb, kwargs=kwargs or {})
    return Candidate(target, child)


def _name(function: Callable[..., Any]) -> str:
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{module}:{name}" if module else name
