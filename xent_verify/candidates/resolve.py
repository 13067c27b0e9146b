"""From a target's name to a callable: ``package.module:attribute``, ``file.py:attribute``, a built-in, a foreign one.

Everything that can be wrong with a name is one clear line (``UsageError``), with the nearest valid choice.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from xent_verify.candidates.adapters import FOREIGN, Loaded
from xent_verify.candidates.answers import raised
from xent_verify.candidates.names import is_builtin, refuse_unfinished
from xent_verify.core.failures import UnknownNameError, UsageError
from xent_verify.core.outputs import state_of

__all__ = ["load", "validate"]


def validate(target: str, op: str) -> None:
    """``UsageError`` for names that are certainly wrong, without loading the target."""
    refuse_unfinished(target, op)
    if is_builtin(target):
        _builtin(target, op)


def load(target: str, op: str, kwargs: Mapping[str, Any]) -> Loaded:
    """The callable behind a target; its own import may do anything, and is not contained here."""
    refuse_unfinished(target, op)
    for belongs, module in FOREIGN:
        if belongs(target):
            loader = importlib.import_module(f"xent_verify.candidates.adapters.{module}")
            loaded: Loaded = loader.load(target, op, kwargs)
            return loaded
    return Loaded(_python(target, op), extra=kwargs)


def _python(target: str, op: str) -> Callable[..., Any]:
    if is_builtin(target):
        return _builtin(target, op)
    place, _, attribute = target.rpartition(":")
    if not place or not attribute:
        raise UsageError(f"target {target!r}: write package.module:attribute or path/to/file.py:attribute")
    module = _file_module(place) if place.endswith(".py") else _module(place)
    found = _attribute(module, attribute, place)
    if isinstance(found, ModuleType):
        near = difflib.get_close_matches(op, dir(found), n=1, cutoff=0.5)
        name = f"{found.__name__}:{next(iter(near), op)}"
        raise UsageError(f"target {target}: {attribute} is a module: name the function in it, as in {name}")
    if not callable(found):
        raise UsageError(f"target {target}: {attribute} is a {type(found).__name__}, not callable")
    return found  # type: ignore[no-any-return]


def _builtin(target: str, op: str) -> Callable[..., Any]:
    from xent_verify import implementations  # a large room, which other targets have no need of

    try:
        return implementations.find(target, op).call
    except KeyError:
        names = [entry.name for entry in implementations.implementations(op=op)]
        if not names:
            raise UsageError(f"target {target!r}: no built-in implementation of {op}; write module:attribute") from None
        raise UnknownNameError(f"implementation of {op}", target, names) from None


def _file_module(place: str) -> ModuleType:
    path = Path(place)
    if not path.is_file():
        raise UsageError(f"target file {place}: not found")
    had, state = sys.modules.get(path.stem), state_of(path)
    same = had is not None and path.samefile(getattr(had, "__file__", None) or ".")
    if had is not None and same and _LOADED.get(path.stem, state) == state:  # imported already, and not edited since
        return had
    name = path.stem if had is None or same else f"_target_{path.stem}"  # targets may be called random.py
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"target file {place}: cannot be loaded as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.resolve().parent))
    _guarded(lambda: spec.loader.exec_module(module), place)  # type: ignore[union-attr]
    _LOADED[name] = state
    return module


_LOADED: dict[str, tuple[int, ...]] = {}
"""Name of a module -> the state of its file when it was loaded here."""


def _module(place: str) -> ModuleType:
    if "" not in sys.path:
        sys.path.insert(0, "")
    parts = place.split(".")
    for count in range(1, len(parts) + 1):
        name = ".".join(parts[:count])
        if not _exists(name):
            raise UsageError(f"target {place}: no module named {name!r}{_near_module(name)}")
    found: ModuleType = _guarded(lambda: importlib.import_module(place), place)
    return found


def _near_module(name: str) -> str:
    """The nearest submodule of a package that is there."""
    parent, _, last = name.rpartition(".")
    if not parent:
        return ""
    import pkgutil

    found = [entry.name for entry in pkgutil.iter_modules(getattr(sys.modules.get(parent), "__path__", None) or [])]
    close = difflib.get_close_matches(last, found, n=1, cutoff=0.5)
    return f"; did you mean '{parent}.{close[0]}'?" if close else ""


def _exists(name: str) -> bool:
    if name in sys.modules:
        return True
    try:
        return bool(_guarded(lambda: importlib.util.find_spec(name) is not None, name))
    except UsageError as error:
        if isinstance(error.__cause__, (ModuleNotFoundError, ValueError, AttributeError)):
            return False
        raise


def _guarded(action: Callable[[], Any], place: str) -> Any:
    try:
        return action()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        what = raised(error)
        raise UsageError(f"importing {place} raised {what.type_name}: {what.message}") from error


def _attribute(module: ModuleType, path: str, place: str) -> Any:
    found: Any = module
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except Exception as error:
            close = difflib.get_close_matches(name, dir(found), n=1, cutoff=0.5)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise UsageError(f"{place} has no attribute {name!r}{hint}") from error
    return found
