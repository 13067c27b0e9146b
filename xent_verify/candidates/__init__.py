"""Candidates: whatever computes a softmax, behind one method, ``call(batch) -> Outcome``.

Names run in a child process (``isolate``), callables and ``isolated=False`` in this one; both through ``runner``, so
the outcomes are the same values.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xent_verify.candidates.calling import Calling
from xent_verify.candidates.names import spelled
from xent_verify.candidates.resolve import validate
from xent_verify.candidates.style import Style
from xent_verify.core.failures import UsageError
from xent_verify.core.layouts import layout_of
from xent_verify.core.model import Batch, NotOffered, Outcome, Returned
from xent_verify.ops import Op, op_named
from xent_verify.ops.defined import with_options

__all__ = ["Candidate", "open_candidate", "usual_memory_mb"]

_MEMORY_MB = 8192
_PLAIN = Calling()


class _Engine(Protocol):
    """What answers calls: a child process or this one."""

    @property
    def style(self) -> Style: ...
    @property
    def arrays(self) -> str: ...
    def begin(self, batch: Batch) -> None: ...
    def call(self, batch: Batch) -> Outcome: ...
    def close(self) -> None: ...


class _InProcess:
    """A target in this process: quick, unprotected."""

    def __init__(
        self,
        target: str | Callable[..., Any],
        op: str,
        arrays: str,
        device: str,
        kwargs: Mapping[str, Any],
        calling: Calling,
    ) -> None:
        from xent_verify.candidates.adapters import adapter_named
        from xent_verify.candidates.opening import opened
        from xent_verify.candidates.runner import Runner

        found = opened(target, op, arrays, device, kwargs, calling)
        function, library, self.style, extra = found.planned()
        self.name = found.name
        self.arrays = library
        self._runner = Runner(
            function, adapter_named(library, device), self.style, extra=extra, in_place=calling.in_place
        )

    def begin(self, batch: Batch) -> None:
        """Nothing works here until it is waited for."""

    def call(self, batch: Batch) -> Outcome:
        return self._runner.run(batch)

    def close(self) -> None:
        """Nothing to end."""


class Candidate:
    """One target: its name, what it offers, and its answers. A context manager; ``close`` ends its process."""

    def __init__(
        self,
        name: str,
        op: str,
        engine: _Engine,
        extra: Mapping[str, Any],
        calling: Calling = _PLAIN,
        again: Callable[[str], Candidate] | None = None,
    ) -> None:
        self.name = name
        self.op = op
        self._engine = engine
        self._extra = extra
        self._calling = calling
        self._again = again
        self.mutated: tuple[str, ...] = ()

    def function(self) -> Candidate | None:
        """The function itself, opened anew, of a gradient that its library makes of it; None where it is not known."""
        base = op_named(self.op).differentiates
        known = base is not None and self._engine.style.loss is not None
        return self._again(base.name) if known and base is not None and self._again is not None else None

    @property
    def offered(self) -> Mapping[str, bool]:
        """Part of the op's signature -> offered."""
        return self._engine.style.offered

    @property
    def expression(self) -> str:
        """Python that makes a function of the operation's own signature of it; "" where the target is one already."""
        from xent_verify.candidates.adapters import FOREIGN

        python = ":" in self.name and not any(foreign(self.name) for foreign, _ in FOREIGN)
        said = self._calling.arguments()
        if not said and python and self._engine.style.direct and self._engine.arrays == "numpy" and not self._extra:
            return ""
        more = "".join(
            f", {name}={value!r}"
            for name, value in (("arrays", self._engine.arrays), ("kwargs", dict(self._extra)), *said.items())
            if value not in ("", "numpy", {})
        )
        return f"open_candidate({self.name!r}, {self.op!r}{more}, isolated=False)"

    @property
    def met(self) -> tuple[str, ...]:
        """What the small calls met that found out how to call it, where none of them was answered."""
        return self._engine.style.met

    @property
    def where(self) -> str:
        """The device that its arrays lie on, in words; "" for the CPU."""
        return self._engine.style.where

    @property
    def fixed(self) -> Mapping[str, Any]:
        """Options that are set inside the target."""
        return self._calling.options

    def outside(self, batch: Batch) -> str:
        """The condition of the declared domain that a call does not meet; "" within it."""
        return self._calling.outside(batch, self._engine.style.ndim_of(batch))

    def _refuses(self, batch: Batch) -> str:
        return self._calling.refuses(batch, self._engine.style.ndim_of(batch))

    def supports(self, batch: Batch) -> bool:
        """False when the target certainly lacks what the batch asks for, or is not built for it."""
        return not self._refuses(batch) and self._engine.style.supports(batch)

    def begin(self, batch: Batch) -> None:
        """Have the target's process work on a batch that ``call`` comes for next, while the caller does other work."""
        if self.supports(batch):
            self._engine.begin(batch)

    def call(self, batch: Batch) -> Outcome:
        """The target's answer, or what happened instead; never an exception of the target's."""
        why = self._refuses(batch)
        if why:
            return NotOffered(f"not asked: {why}")
        if not self.supports(batch):
            return NotOffered("the target's signature lacks what this call needs")
        return self._engine.call(batch)

    def __call__(self, *inputs: NDArray[Any], **options: Any) -> NDArray[Any]:
        """Call the target on NumPy arrays, outside an audit; ``RuntimeError`` when it gives no array of numbers.

        The target gets copies that lie in memory as the arrays do. ``mutated`` then names the arguments that it has written to.
        """
        names = ("logits", "target") if len(inputs) == 2 else tuple(f"x{number}" for number in range(len(inputs)))
        arrays = list(map(np.asarray, inputs))
        layout = next((name for name in map(layout_of, arrays) if name != "C"), "C")
        given = {
            name: np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(array.shape)
            for name, array in zip(names, arrays, strict=True)
        }
        fixed = self._calling.options
        batch = with_options(Batch(self.op, given[names[0]].dtype.name, "", given, options, layout), fixed)
        outcome = self.call(batch)
        if isinstance(outcome, Returned):
            self.mutated = outcome.mutated
            return outcome.value
        raise RuntimeError(f"{self.name}: {outcome}")

    def close(self) -> None:
        """End the target's process, if it has one."""
        self._engine.close()

    def __enter__(self) -> Candidate:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def usual_memory_mb() -> int:
    """Memory that a target may hold where nothing is said: three quarters of the machine's, at most 8192 MB."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    return min(_MEMORY_MB, machine * 3 // 4)


def open_candidate(
    target: str | Callable[..., Any],
    op: str | Op,
    *,
    arrays: str = "auto",
    isolated: bool = True,
    timeout: float = 10.0,
    memory_mb: int = 0,
    kwargs: Mapping[str, Any] | None = None,
    device: str = "cpu",
    call: str = "",
    in_place: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    only: str = "",
) -> Candidate:
    """Open a target (a name as on the command line, or a callable) as an implementation of ``op``.

    ``timeout``: seconds per call; ``memory_mb``: resident memory at which the child is ended, with what it started (0:
    ``usual_memory_mb``); ``kwargs`` are added to every call; ``call``, ``in_place``, ``options`` and ``only`` say how it is
    called (docs/kernels.md). ``UsageError`` when the target cannot be found, imported or called.
    """
    given = locals()

    def again(other: str) -> Candidate:
        return open_candidate(**{**given, "op": other})

    extra = dict(kwargs or {})
    said: dict[str, Any] = {"call": call, "in_place": tuple(in_place), "options": options, "only": only}
    calling = _PLAIN
    if any(said.values()):
        calling = Calling.of(op if isinstance(op, Op) else op_named(op), **said)
    op = op.name if isinstance(op, Op) else op
    if call and extra:
        raise UsageError("--kwargs with --call: write the arguments in the expression")
    if not timeout > 0:
        raise UsageError(f"timeout {timeout}: must be a positive number of seconds")
    if not isinstance(target, str) and not callable(target):
        raise UsageError(f"target {target!r}: neither a name nor a callable")
    if isinstance(target, str):
        target = spelled(target)
    if not isinstance(target, str) or not isolated:
        engine = _InProcess(target, op, arrays, device, extra, calling)
        return Candidate(engine.name, op, engine, extra, calling, again)
    validate(target, op)
    try:
        json.dumps(extra)
    except (TypeError, ValueError) as error:
        raise UsageError(f"kwargs for {target}: must be plain JSON values to reach a child process ({error})") from None
    from xent_verify.candidates.isolate import Child  # the child itself has no need of it

    child = Child(
        target, op, arrays=arrays, device=device, timeout=timeout, memory_mb=memory_mb or usual_memory_mb(), kwargs=extra,
        calling=calling,
    )  # fmt: skip
    return Candidate(target, op, child, extra, calling, again)
