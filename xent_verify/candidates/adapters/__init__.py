"""Adapters: how NumPy arrays become a library's arrays and back. One file each, one entry here, imported when used.

An adapter module has ``NAME``, ``to_target(array, device)``, ``from_target(value) -> ndarray | None`` (None: not an array
of this library), ``gradient_of(loss, device)`` (a callable of (logits, target) giving the gradient of the summed loss)
where the library differentiates, and ``prepare(function)`` for objects that are not plain functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from xent_verify.failures import MissingExtraError, UnknownNameError

__all__ = ["ADAPTERS", "adapter_for"]

ADAPTERS: Mapping[str, tuple[str, str]] = {
    "numpy": ("numpy_arrays", "numpy"),
    "torch": ("torch_arrays", "torch"),
    "jax": ("jax_arrays", "jax"),
    "tensorflow": ("tensorflow_arrays", "tensorflow"),
}
"""Name of ``--arrays`` -> (module here, the library it needs)."""

_ROOTS = {"torch": "torch", "jax": "jax", "optax": "jax", "flax": "jax", "tensorflow": "tensorflow", "keras": "tensorflow"}


def adapter_for(arrays: str, function: Callable[..., Any] | None = None, place: str = "") -> ModuleType:
    """The adapter named, or under ``auto`` the one of the library that the function comes from."""
    name = arrays
    if arrays == "auto":
        home = str(getattr(function, "__module__", "") or "") or type(function).__module__
        name = _ROOTS.get(home.split(".")[0]) or _ROOTS.get(place.split(".")[0].split(":")[0], "numpy")
    if name not in ADAPTERS:
        raise UnknownNameError("array library", name, [*ADAPTERS, "auto"])
    module, library = ADAPTERS[name]
    if find_spec(library) is None:
        raise MissingExtraError(library, library, f"--arrays {name}")
    return import_module(f"xent_verify.candidates.adapters.{module}")
