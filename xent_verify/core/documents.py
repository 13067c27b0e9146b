"""The one reader of files from outside: regular files of a limited size, UTF-8, strict JSON, TOML, ``.npz``; and their fields.

Nothing that a file holds ends in a traceback. Whatever is wrong is a ``UsageError`` of one line below 300 characters: the
file, the key, what was found and what is due, control characters shown escaped.

======================  ==================================================================================
a file                  is regular (no pipe, device or folder) and at most ``LARGEST`` bytes (TOML: ``LARGEST_TOML``)
text                    is UTF-8; a byte order mark is passed over
JSON                    nests at most ``DEEPEST`` levels; no key twice; no NaN or Infinity; integers of at most 64 bits;
                        floats in the range of a double; no lone surrogates
TOML                    likewise, by its own rules for keys
``.npz``                stored or deflated ``.npy`` entries of plain dtypes, unpacked to at most ``LARGEST_UNPACKED`` bytes in all
======================  ==================================================================================
"""

from __future__ import annotations

import difflib
import io
import json
import math
import os
import re
import stat
import struct
import tomllib
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.failures import UsageError, clipped, printable

__all__ = [
    "DEEPEST", "LARGEST", "LARGEST_TOML", "LARGEST_UNPACKED", "Node", "fault", "json_of", "json_value", "opened", "read_json",
    "read_npz", "read_toml", "shown",
]  # fmt: skip

LARGEST = 2**28
LARGEST_TOML = 2**20
LARGEST_UNPACKED = 2**31
DEEPEST = 64

_LINE = 290
_FILE, _KEY, _FOUND = 90, 60, 60
_COUNT = 2**53
_TOO_DEEP, _NAMED_LEVELS = "nests too deep", 6
_NAMED = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)
_LONG_KEY = re.compile(rf"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){{{DEEPEST}}}""")
_NPY_HEADER = re.compile(
    rb"\{'descr': '([<>|=][?biufV]\d{1,3})', 'fortran_order': (True|False), 'shape': \(((?:\d{1,19},? ?)*)\),? *\}\s*"
)
_FORGED = (
    ValueError, zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, NotImplementedError,
    OverflowError, KeyError, IndexError, MemoryError,
)  # fmt: skip
"""What ``zipfile`` raises on bytes that are no archive, or a forged one."""

T = TypeVar("T")
_N = TypeVar("_N")


def shown(value: Any) -> str:
    """A value as a message shows it: short, on one line, in printable characters."""
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    if isinstance(value, str):
        return printable(repr(value if len(value) <= _FOUND else value[: _FOUND - 1] + "…"))
    return clipped(printable(str(value)), _FOUND)


def fault(source: str, key: str, found: str, due: str) -> UsageError:
    """The error for one thing wrong in a document; ``key`` may be empty, ``found`` and ``due`` are phrases.

    >>> str(fault("a.json", "targets[0].op", "is 3", "a string"))
    'a.json: targets[0].op is 3, should be a string'
    """
    head = f"{_tail(source, _FILE)}: {_tail(key, _KEY)} " if key else f"{_tail(source, _FILE)} "
    return UsageError(clipped(f"{head}{printable(found)}" + (f", should be {printable(due)}" if due else ""), _LINE))


def _tail(text: str, length: int) -> str:
    text = printable(text)
    return text if len(text) <= length else "…" + text[1 - length :]


def opened(path: str | os.PathLike[str]) -> IO[bytes]:
    """A regular file, open for reading; ``UsageError`` for anything else. It never waits for a pipe's other end."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except (OSError, ValueError) as error:
        raise fault(str(path), "", f"cannot be read: {getattr(error, 'strerror', None) or error}", "") from None
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    kind = next((name for test, name in _KINDS if test(mode)), "no file")
    raise fault(str(path), "", f"is {kind}", "a regular file")


def _content(path: str | os.PathLike[str], limit: int) -> bytes:
    """The bytes of a regular file, of which it has no more than ``limit``."""
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            data = file.read(limit + 1) if size <= limit else b""
        except OSError as error:
            raise fault(str(path), "", f"cannot be read: {error.strerror or error}", "") from None
    if max(size, len(data)) > limit:
        raise fault(str(path), "", f"has {max(size, len(data))} bytes", f"at most {limit}")
    return data


def _text(data: bytes, source: str) -> str:
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        found = f"has the byte 0x{data[error.start]:02x} at position {error.start}"
        raise fault(source, "", found, "UTF-8 text") from None


def read_json(path: str | os.PathLike[str]) -> Node:
    """The root object of a JSON file."""
    return json_of(_content(path, LARGEST), str(path))


def json_of(data: bytes | str, source: str) -> Node:
    """The root object of a JSON document; ``source`` names it in errors.

    Args:
        data: The document.
        source: A file's name, or what else the document is.

    Returns:
        The root, every value of it within the limits of this module.

    Raises:
        UsageError: It is not such a document.
    """
    value = json_value(data if isinstance(data, str) else _text(data, source), source)
    if not isinstance(value, dict):
        raise fault(source, "", f"holds {shown(value)}", "a JSON object")
    return Node(value, source)


def json_value(text: str, source: str) -> Any:
    """Any JSON value, within the limits of this module; ``UsageError`` where the text is none."""
    try:
        value = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        found = f"is not JSON: {error.msg} (line {error.lineno}, column {error.colno})"
        raise fault(source, "", found, "") from None
    except RecursionError:
        raise fault(source, "", "nests too deep", f"of at most {DEEPEST} levels") from None
    except _Wrong as wrong:
        raise fault(source, wrong.key, wrong.found, wrong.due) from None
    except ValueError:  # Python's limit of digits
        raise fault(source, "", "holds an integer of thousands of digits", "of at most 64 bits") from None
    _check(value, source)
    return value


class _Wrong(Exception):  # noqa: N818  control flow inside this module
    """One value that may not be: key, what was found, what is due."""

    def __init__(self, key: str, found: str, due: str) -> None:
        self.key, self.found, self.due = key, found, due


def _no_constant(name: str) -> float:
    raise _Wrong("", f"holds the literal {name}", f'a number, or text: "{name.lower()}"')


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        name = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise _Wrong(name, "is there twice", "once")
    return made


def _check(value: Any, source: str, *, finite: bool = True) -> None:
    try:
        _sound(value, DEEPEST, finite)
    except _Wrong as wrong:
        raise fault(source, wrong.key, wrong.found, wrong.due) from None


def _sound(value: Any, left: int, finite: bool) -> None:
    """Refuse what a parser lets through and no reader can use; the key is put together on the way out."""
    if not isinstance(value, dict | list):
        _sound_scalar(value, finite)
        return
    if not left:
        raise _Wrong("", _TOO_DEEP, f"at most {DEEPEST} levels deep")
    named = isinstance(value, dict)
    items: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        try:
            _sound_scalar(key, finite)
            _sound(item, left - 1, finite)
        except _Wrong as wrong:
            if wrong.found == _TOO_DEEP and left < DEEPEST - _NAMED_LEVELS:
                raise  # where it begins is told, not where it ends
            head = f".{key}" if named and left < DEEPEST else str(key) if named else f"[{key}]"
            raise _Wrong(clipped(head, _KEY) + wrong.key[-_KEY:], wrong.found, wrong.due) from None


def _sound_scalar(value: Any, finite: bool) -> None:
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= one <= "\udfff" for one in value):
            raise _Wrong("", f"is {shown(value)}", "text without lone surrogates")
    elif type(value) is int:
        if not -(2**63) <= value < 2**64:
            raise _Wrong("", "is an integer of more than 64 bits", "a smaller one")
    elif finite and isinstance(value, float) and not math.isfinite(value):
        raise _Wrong("", "is a number beyond the range of a double", "a smaller one")


def read_toml(path: str | os.PathLike[str], parse_float: Callable[[str], Any] = float) -> Node:
    """The root table of a TOML file; numbers with a point or an exponent by ``parse_float``."""
    source = str(path)
    text = _text(_content(path, LARGEST_TOML), source)
    if _LONG_KEY.search(text):
        raise fault(source, "", "has a key of too many parts", f"one of fewer than {DEEPEST}")
    try:
        table = tomllib.loads(text, parse_float=parse_float)
    except tomllib.TOMLDecodeError as error:
        raise fault(source, "", f"is not TOML: {error}", "") from None
    except RecursionError:
        raise fault(source, "", "nests too deep", f"at most {DEEPEST} levels deep") from None
    except (ValueError, ArithmeticError):
        raise fault(source, "", "holds a number of too many digits", "a shorter one") from None
    _check(table, source, finite=False)
    return Node(table, source)


def read_npz(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Every array of an ``.npz`` file, by name; never a pickle, never more memory than its entries declare.

    Raises:
        UsageError: It is no such file, or an entry is compressed otherwise, of objects, too large or cut short.
    """
    source = str(path)
    try:
        with zipfile.ZipFile(io.BytesIO(_content(path, LARGEST))) as archive:
            entries = archive.infolist()
            total = sum(entry.file_size for entry in entries)
            if total > LARGEST_UNPACKED:
                raise fault(source, "", f"unpacks to {total} bytes", f"at most {LARGEST_UNPACKED}")
            if len({entry.filename for entry in entries}) != len(entries):
                raise fault(source, "", "has two entries of one name", "one of each")
            return {entry.filename.removesuffix(".npy"): _entry(archive, entry, source) for entry in entries}
    except UsageError:
        raise
    except _FORGED as error:
        raise fault(source, "", f"is not a readable .npz file ({' '.join(str(error).split())[:80]})", "") from None


def _entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, source: str) -> NDArray[Any]:
    name = entry.filename
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise fault(source, name, f"is compressed by method {entry.compress_type}", "stored or deflated")
    data = archive.read(entry)
    wide = 12 if data[6:7] in (b"\2", b"\3") else 10
    if not data.startswith(b"\x93NUMPY") or len(data) < wide:
        raise fault(source, name, "is no array", "one that NumPy wrote")
    start = wide + int.from_bytes(data[8:wide], "little")
    header = _NPY_HEADER.fullmatch(data, wide, start)
    if header is None:
        raise fault(
            source, name, f"is {shown(data[wide : min(start, wide + 40)])}", "an array of numbers, without pickles"
        )
    dtype = np.dtype(header[1].decode())
    shape = tuple(int(n) for n in header[3].decode().replace(",", " ").split())
    if math.prod(shape) * dtype.itemsize != len(data) - start or not dtype.itemsize:
        found = f"holds {len(data) - start} bytes"
        raise fault(source, name, found, f"of shape {clipped(str(shape), 40)} and dtype {dtype.str}")
    flat = np.frombuffer(bytearray(memoryview(data)[start:]), dtype)
    return flat.reshape(shape, order="F" if header[2] == b"True" else "C")


@dataclass(frozen=True, slots=True)
class Node:
    """An object of a document and where it stands; every getter checks what it hands out.

    >>> Node({"cases": 3}, "a.json", "targets[0]").text("cases")
    Traceback (most recent call last):
    xent_verify.failures.UsageError: a.json: targets[0].cases is 3, should be a string
    """

    fields: dict[str, Any]
    source: str
    place: str = ""

    @property
    def where(self) -> str:
        """File and key, for messages."""
        return f"{_tail(self.source, _FILE)}: {_tail(self.place, _KEY)}" if self.place else _tail(self.source, _FILE)

    def key(self, name: str) -> str:
        """The full key of one of its fields."""
        return f"{self.place}.{name}" if self.place else name

    def fail(self, key: str, found: Any, due: str) -> UsageError:
        """The error for a field that is not what is due."""
        return fault(self.source, self.key(key), f"is {shown(found)}", due)

    def get(self, key: str) -> Any:
        if key not in self.fields:
            raise fault(self.source, self.key(key), "is missing", "there")
        return self.fields[key]

    def typed(self, key: str, kind: type[T], due: str) -> T:
        value = self.get(key)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.fail(key, value, due)
        return value

    def text(self, key: str) -> str:
        return self.typed(key, str, "a string")

    def choice(self, key: str, choices: Collection[_N], what: str) -> _N:
        """One of a closed set; ``what`` says of what."""
        value = self.get(key)
        for one in choices:
            if type(one) is type(value) and one == value:
                return one
        close = difflib.get_close_matches(str(value)[:_FOUND], map(str, choices), n=1, cutoff=0.5)
        raise self.fail(key, value, what + (f"; did you mean {close[0]!r}?" if close else ""))

    def made(self, key: str, make: Callable[[str], T]) -> T:
        """What ``make`` makes of a text; its ``ValueError`` or ``OverflowError`` is told with file and key."""
        text = self.text(key)
        try:
            return make(text)
        except (ValueError, OverflowError) as error:
            raise fault(self.source, self.key(key), f"is {shown(text)}: {error}", "") from None

    def count(self, key: str) -> int:
        value = self.typed(key, int, "a count")
        if not 0 <= value <= _COUNT:
            raise self.fail(key, value, "a count")
        return value

    def number(self, key: str) -> float:
        """A float, checked against its hexadecimal twin."""
        given = self.get(key)
        value = _NAMED.get(given) if isinstance(given, str) else given
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.fail(key, given, "a number, 'nan', 'inf' or '-inf'")
        try:
            twin = float.fromhex(str(self.fields.get(f"{key}_hex", float(value).hex())))
        except (ValueError, OverflowError):
            raise self.fail(f"{key}_hex", self.fields[f"{key}_hex"], "a hexadecimal float") from None
        if not (twin == value or (math.isnan(twin) and math.isnan(value))):
            raise self.fail(f"{key}_hex", self.fields[f"{key}_hex"], f"the same number as {key} ({value})")
        return float(value)

    def optional_number(self, key: str) -> float | None:
        return None if self.get(key) is None else self.number(key)

    def optional_text(self, key: str) -> str:
        return self.text(key) if key in self.fields else ""

    def optional_flag(self, key: str) -> bool:
        return key in self.fields and self.typed(key, bool, "true or false")

    def child(self, key: str) -> Node:
        return Node(self.typed(key, dict, "an object"), self.source, self.key(key))

    def optional(self, key: str, build: Callable[[Node], T]) -> T | None:
        return None if self.get(key) is None else build(self.child(key))

    def children(self, key: str) -> Iterator[Node]:
        for position, item in enumerate(self.typed(key, list, "a list")):
            if not isinstance(item, dict):
                raise self.fail(f"{key}[{position}]", item, "an object")
            yield Node(item, self.source, self.key(f"{key}[{position}]"))

    def texts(self, key: str) -> tuple[str, ...]:
        values = self.typed(key, list, "a list of strings")
        for position, value in enumerate(values):
            if not isinstance(value, str):
                raise self.fail(f"{key}[{position}]", value, "a string")
        return tuple(values)

    def integers(self, key: str) -> tuple[int, ...]:
        values = self.typed(key, list, "a list of integers")
        for position, value in enumerate(values):
            if type(value) is not int:
                raise self.fail(f"{key}[{position}]", value, "an integer")
        return tuple(values)

    def counts(self, key: str) -> dict[str, int]:
        node = self.child(key)
        return {name: node.count(name) for name in node.fields}

    def named_texts(self, key: str) -> dict[str, str]:
        node = self.child(key)
        return {name: node.text(name) for name in node.fields}

    def only(self, known: Mapping[str, Any] | tuple[str, ...]) -> None:
        """Refuse keys that are not known."""
        for name in self.fields:
            if name not in known:
                raise fault(self.source, self.key(name), "is not known", f"one of: {', '.join(known)}")
