"""Adapters: how NumPy arrays become a library's arrays and back. One file each, one entry here, imported when used.

``ADAPTERS`` are array libraries (the choice of ``--arrays``): a module with a class ``Arrays(argument, device)`` that
has the methods of ``Adapter`` (``argument`` is what follows the name and a colon). ``FOREIGN`` are targets that are no
Python objects: a module with ``load(target, op, kwargs)`` that gives a ``Loaded`` (a callable on NumPy arrays, with its
calling style).
"""

from __future__ import annotations

import contextlib
import os
import sys
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Protocol

from numpy.typing import NDArray

from xent_verify.candidates.style import Style
from xent_verify.core.failures import MissingExtraError, UnknownNameError
from xent_verify.core.outside import is_outside, outside

__all__ = [
    "ADAPTERS",
    "FOREIGN",
    "Adapter",
    "Loaded",
    "adapter_named",
    "compiles",
    "home_of",
    "interpreted",
    "likely",
    "uses",
    "where_of",
]


class Adapter(Protocol):
    """One array library. An attribute ``where`` may name the device that arrays lie on, its driver and library.

    ``kept`` (a copy of an answer) and ``together`` (answers of one shape as one array, else None), where an adapter has both,
    leave the answers of single rows on their device until all are there.
    """

    def prepare(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A plain callable, where the target is an instance or a class of the library."""

    def to_target(self, array: NDArray[Any]) -> Any:
        """The library's array with the same bits, sharing memory and strides where the library can."""

    def from_target(self, value: Any) -> NDArray[Any] | None:
        """The bits of one of the library's arrays, sharing memory where possible; None for anything else."""

    def gradient_of(self, function: Callable[[Any], Any]) -> Callable[[Any, Any], Any] | None:
        """(x, upstream) -> the gradient by x of the sum of upstream times function(x), ``upstream`` None: ones; None where the
        library does not differentiate."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A target ready to call: a callable, and for targets from outside Python the style of calling it."""

    function: Callable[..., Any]
    style: Style | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)  # arguments of every call


@dataclass(frozen=True, slots=True)
class Library:
    """An array library: the module here, what must be installed, the packages whose callables take its arrays."""

    module: str
    package: str
    roots: tuple[str, ...]


ADAPTERS: Mapping[str, Library] = {
    "numpy": Library("numpy_arrays", "numpy", ("numpy", "scipy", "sklearn")),
    "torch": Library("torch_arrays", "torch", ("torch", "triton")),
    "jax": Library("jax_arrays", "jax", ("jax", "jaxlib", "optax", "flax")),
    "tensorflow": Library("tensorflow_arrays", "tensorflow", ("tensorflow", "keras")),
    "array-api": Library("array_api", "", ("array_api_strict", "cupy")),
}
"""Name of ``--arrays`` -> library. ``array-api:package.module`` is any namespace of the Array API standard."""

FOREIGN: tuple[tuple[Callable[[str], bool], str], ...] = (
    (lambda target: target.startswith("cmd:"), "command"),
    (lambda target: target.endswith(".onnx"), "onnx_model"),
    (lambda target: target.rpartition(":")[0].endswith((".so", ".dylib", ".dll")), "c_library"),
)
"""Which targets are no Python objects, and the module that loads them."""


def adapter_named(arrays: str, device: str = "cpu") -> Adapter:
    """The adapter of that name, or of the class at ``module:attribute``, made as ``Arrays("", device)``.

    ``MissingExtraError`` where its library is not installed, ``UsageError`` for any other name.
    """
    name, _, argument = arrays.partition(":")
    if is_outside(arrays, ADAPTERS):
        found: Adapter = outside(arrays, type, "--arrays")("", device)
        return found
    if name not in ADAPTERS:
        raise UnknownNameError("array library", name, [*ADAPTERS, "auto", "module:attribute"])
    library = ADAPTERS[name]
    if library.package and find_spec(library.package) is None:
        raise MissingExtraError(library.package, library.package, f"--arrays {name}")
    module = import_module(f"xent_verify.candidates.adapters.{library.module}")
    adapter: Adapter = module.Arrays(argument, device)
    return adapter


def home_of(value: object) -> str:
    """The array library that a callable or a value comes from ("" for none of them)."""
    for place in (getattr(value, "__module__", None), type(value).__module__):
        home = _library_of(str(place or ""))
        if home:
            return home
    return ""


def _library_of(module: str) -> str:
    """The array library to which a module belongs ("" for none): for Keras that of its backend."""
    root = module.partition(".")[0]
    if root == "keras" and "keras" in sys.modules:
        backend = str(sys.modules["keras"].backend.backend())
        return backend if backend in ADAPTERS else "numpy"
    found = next((name for name, library in ADAPTERS.items() if root in library.roots), "")
    return f"{found}:{root}" if found == "array-api" else found


def _namespace_of(module: str) -> str:
    """``array-api:NAME`` for a loaded module, or its nearest package, that makes arrays as the standard says; "" for others."""
    parts = module.split(".")
    for count in range(len(parts), 0, -1):
        name = ".".join(parts[:count])
        found = sys.modules.get(name)
        held = {} if found is None else vars(found)  # a package's __getattr__ may import, or raise, whatever it likes
        if callable(held.get("asarray")) or callable(held.get("from_dlpack")):
            return f"array-api:{name}"
    return ""


_COMPILERS = ("torch._dynamo", "triton", "jax", "numba", "tensorflow")


def compiles() -> bool:
    """Whether something is loaded that compiles a function when it is called first."""
    return any(name in sys.modules for name in _COMPILERS)


def interpreted() -> tuple[str, ...]:
    """What is to be known where kernels run in an interpreter; () where none does. Triton reads the variable at import."""
    if "triton" not in sys.modules or os.environ.get("TRITON_INTERPRET", "0").lower() not in (
        "1",
        "true",
        "on",
        "y",
        "yes",
    ):
        return ()
    return (
        "Triton runs in its interpreter, which cuts bfloat16 off where it stores it: "
        "what bfloat16 results show need not hold of the compiled kernel",
    )


def where_of(adapter: Adapter) -> str:
    """The device of an adapter's arrays, in words; "" for the CPU."""
    return str(getattr(adapter, "where", ""))


def uses(function: Any) -> list[str]:
    """The array libraries (NumPy left out) that the module of a callable has imported; last the one that it is, perhaps."""
    plain = _unwrapped(function)
    names = getattr(plain, "__globals__", {})
    modules = [str(getattr(value, "__name__", "")) for value in names.values() if type(value) is ModuleType]
    homes = [_library_of(name) or _namespace_of(name) for name in modules]
    homes.append(_namespace_of(str(getattr(plain, "__module__", ""))))
    return [name for name in dict.fromkeys(homes) if name not in ("", "numpy", "array-api:numpy")]


def _unwrapped(function: Any) -> Any:
    """What partials, bound methods and compiled functions are made of."""
    names = ("func", "__wrapped__", "_torchdynamo_orig_callable", "__func__", "fn")
    with contextlib.suppress(Exception):  # an object may do anything when it is asked for an attribute
        for _ in range(16):
            inner = [one for name in names if callable(one := getattr(function, name, None))]
            if not inner:
                break
            function = inner[0]
    return function


def _declared(function: Any) -> str:
    """The library whose arrays the annotations of a callable name."""
    plain = _unwrapped(function)
    plain = getattr(plain, "forward", plain) if not hasattr(plain, "__annotations__") else plain
    with contextlib.suppress(Exception):  # annotations may name what is not there
        for hint in typing.get_type_hints(plain).values():
            for one in (hint, *typing.get_args(hint)):
                home = home_of(one) or (_namespace_of(one.__module__) if hasattr(one, "__dlpack__") else "")
                if home:
                    return home
    return ""


def _made_of(function: Any) -> str:
    """The library of a callable object: of its class's bases, of its owner, of what it wraps."""
    for value in (function, getattr(function, "__self__", None), _unwrapped(function)):
        if value is None or isinstance(value, ModuleType):
            continue
        home = home_of(value)
        if home:
            return home
        for base in (value if isinstance(value, type) else type(value)).__mro__[:-1]:
            home = _library_of(str(base.__module__))
            if home:
                return home
    return ""


def likely(function: Callable[..., Any], expression: Any = None, device: str = "cpu") -> list[str]:
    """Array libraries to try on a callable, best first: its own, NumPy (on the CPU), then those that are loaded.

    Its own is that of its module, of its class (``nn.Module``) or of what it wraps, of its annotations, or the one that a
    call expression uses by name.
    """
    home = _made_of(function) or _declared(function)
    if not home and expression is not None:
        used = [_library_of(name) for name in sorted(expression.libraries())]
        home = next((name for name in used if name not in ("", "numpy")), "")
    if home:
        return [home]
    own = [name for name in uses(function) if name.startswith("array-api:")]
    loaded = [name for name, library in ADAPTERS.items() if name != "numpy" and library.package in sys.modules]
    return ["numpy", *own, *loaded] if device == "cpu" else [*own, *loaded] or ["numpy"]
