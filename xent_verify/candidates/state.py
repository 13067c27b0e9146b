"""Global state that a numerical function has no business changing: one probe each, put back where that is possible."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from xent_verify.core import floating

__all__ = ["PROBES", "Probe", "Seen", "changes", "kept", "snapshot"]


@dataclass(frozen=True, slots=True)
class Probe:
    """One piece of state: ``read`` and ``write`` get the module that owns it (skipped while that is not loaded)."""

    name: str
    owner: str
    read: Callable[[Any], Any]
    write: Callable[[Any, Any], Any] | None = None


def _directory(_: ModuleType) -> str:
    try:
        return os.getcwd()  # noqa: PTH109  Path.cwd() is slower, and this is part of every call
    except OSError:
        return ""


def _go_back(_: ModuleType, directory: str) -> None:
    with contextlib.suppress(OSError):
        os.chdir(directory)


def _numpy_random(module: Any) -> tuple[Any, ...]:
    kind, key, *rest = module.get_state()
    return kind, key.tobytes(), *rest


def _set_numpy_random(module: Any, state: tuple[Any, ...]) -> None:
    kind, key, *rest = state
    module.set_state((kind, np.frombuffer(key, np.uint32), *rest))


PROBES: tuple[Probe, ...] = (
    Probe("NumPy error state", "numpy", lambda m: tuple(m.geterr().items()), lambda m, value: m.seterr(**dict(value))),
    Probe("NumPy random state", "numpy.random", _numpy_random, _set_numpy_random),
    Probe("Python random state", "random", lambda m: m.getstate(), lambda m, value: m.setstate(value)),
    Probe("floating-point mode", "sys", lambda _: floating.mode(), lambda _, __: floating.set_default()),
    Probe("working directory", "os", _directory, _go_back),
    Probe("recursion limit", "sys", lambda m: m.getrecursionlimit(), lambda m, value: m.setrecursionlimit(value)),
    Probe("mpmath precision", "mpmath", lambda m: m.mp.prec, lambda m, value: setattr(m.mp, "prec", value)),
    Probe("torch default dtype", "torch", lambda m: m.get_default_dtype(), lambda m, value: m.set_default_dtype(value)),
    Probe("torch gradient mode", "torch", lambda m: m.is_grad_enabled(), lambda m, value: m.set_grad_enabled(value)),
    Probe("torch random seed", "torch", lambda m: m.initial_seed()),
    Probe(
        "JAX 64-bit mode",
        "jax",
        lambda m: m.config.jax_enable_x64,
        lambda m, value: m.config.update("jax_enable_x64", value),
    ),
)


def snapshot() -> dict[str, Any]:
    """Every piece of state whose owner is loaded."""
    found = {}
    for probe in PROBES:
        module = sys.modules.get(probe.owner)
        if module is not None:
            with contextlib.suppress(Exception):  # a module that is still loading, or that the target tampered with
                found[probe.name] = probe.read(module)
    return found


def changes(before: Mapping[str, Any], now: Mapping[str, Any] | None = None) -> tuple[str, ...]:
    """Names of what differs from ``before`` now (state that appeared meanwhile does not count)."""
    now = snapshot() if now is None else now
    return tuple(name for name, value in before.items() if name in now and now[name] != value)


@dataclass(slots=True)
class Seen:
    """What a call changed, and all state after it (None where something had to be put back)."""

    changed: tuple[str, ...] = ()
    after: dict[str, Any] | None = None


@contextlib.contextmanager
def kept(before: dict[str, Any] | None = None) -> Iterator[Seen]:
    """Errors and warnings off, and state put back in the end; what is yielded then tells what had changed.

    ``before``: the state, where the caller has it (``Seen.after`` of the call before) and nothing ran since.
    """
    seen = Seen()
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        before = snapshot() if before is None else before
        try:
            yield seen
        finally:
            now = snapshot()
            seen.changed = changes(before, now)
            seen.after = None if seen.changed else now
            _restore(before, seen.changed)
            if (
                floating.mode() != floating.SOUND
            ):  # since the import of the target: what follows here is not its business
                floating.set_default()


def _restore(before: Mapping[str, Any], changed: tuple[str, ...]) -> None:
    """Put back what changed, where that is possible."""
    for probe in PROBES:
        if probe.name in changed and probe.write is not None:
            with contextlib.suppress(Exception):
                probe.write(sys.modules[probe.owner], before[probe.name])
