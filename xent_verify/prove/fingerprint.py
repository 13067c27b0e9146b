"""What a target is, byte by byte, found without importing it: hashes of its files, versions of its library."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterable
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from xent_verify.candidates.names import is_builtin
from xent_verify.prove.sources import sources_hash

__all__ = ["fingerprint"]


def fingerprint(target: str | Callable[..., Any], op: str) -> dict[str, Any]:
    """Hashes and versions that change when the target does (``op`` chooses among built-in ones of one name)."""
    if not isinstance(target, str):
        return {"kind": "function", "sha256": _function(target)}
    if is_builtin(target):
        return {
            "kind": "built-in",
            "name": f"{op}.{target.rpartition('.')[2]}",
            "sha256": _own(target, op),
        }
    place = target.rpartition(":")[0] or target
    path = Path(place)
    if path.is_file():
        return {"kind": "file", "sha256": _hash([path])}
    found: dict[str, Any] = {"kind": "module"}
    source = _source(place)
    if source is not None:
        found["sha256"] = _hash([source])
    version = _version(place.partition(".")[0])
    return found | ({"version": version} if version else {})


def _own(target: str, op: str) -> str:
    from xent_verify.implementations import find

    try:
        return sources_hash(find(target, op).call)
    except KeyError:
        return ""  # opening it says what is wrong with the name


def _function(function: Callable[..., Any]) -> str:
    try:
        text = inspect.getsource(function).encode()
    except (OSError, TypeError):
        text = repr(getattr(function, "__qualname__", type(function).__qualname__)).encode()
    return hashlib.sha256(text).hexdigest()


def _hash(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        content = file.read_bytes()
        digest.update(f"{file.name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def _source(module: str) -> Path | None:
    """The file of a module, by the finders of its parents; nothing is imported."""
    places: list[str] | None = None
    path: Path | None = None
    for part in module.split("."):
        found = PathFinder.find_spec(part, places)
        if found is None:
            return path
        path = Path(found.origin) if found.origin and Path(found.origin).is_file() else path
        places = list(found.submodule_search_locations or [])
    return path


def _version(package: str) -> str:
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        pass
    names = metadata.packages_distributions().get(package, [])
    return " ".join(f"{name} {metadata.version(name)}" for name in sorted(set(names)))
