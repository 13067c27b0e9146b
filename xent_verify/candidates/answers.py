"""What a target gave back, as an outcome: one array of numbers, or words for what it was instead."""

from __future__ import annotations

import numbers
import traceback
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.candidates.adapters import Adapter
from xent_verify.candidates.codec import is_number
from xent_verify.core.arrays import dtype_name
from xent_verify.core.model import Malformed, Raised

__all__ = ["NotAnArray", "ProgramEnded", "native", "raised", "same", "shares_memory", "to_array", "type_name"]

_contiguous, _may_share, _share = np.ascontiguousarray, np.may_share_memory, np.shares_memory
"""As they were before the target was loaded, which may have put others in their place."""

_MESSAGE_LIMIT = 500
_SMALL = 2**16
"""Bytes of arrays that are compared as strings of bytes: what is larger is not copied."""
_RESULT_LIMIT = 2**30
"""A result this large (bytes) that does not lie in memory whole (a broadcast view) is not copied."""


class ProgramEnded(Exception):  # noqa: N818  an event, not a caller's mistake
    """A program behind the target ended; the text says how."""


class NotAnArray(Exception):  # noqa: N818  control flow between here and ``runner``
    """The answer is no array of numbers."""

    def __init__(self, what: str) -> None:
        self.outcome = Malformed(f"{'an' if what[:1].lower() in tuple('aeiou') else 'a'} {what}")


def type_name(value: object) -> str:
    """The type's name, also of hostile types."""
    try:
        return str(type(value).__name__)
    except BaseException:  # noqa: BLE001  a metaclass may do anything
        return "object of unknown type"


def to_array(value: Any, adapter: Adapter) -> tuple[NDArray[Any], str]:
    """(the numbers, the name of their dtype), the array as the target handed it out; ``NotAnArray`` otherwise."""
    if isinstance(value, type):
        raise NotAnArray("type")
    if isinstance(value, numbers.Number) and not isinstance(value, np.generic):
        return _python_number(value)
    try:
        array = adapter.from_target(value)
        if array is None and isinstance(value, (np.ndarray, np.generic)):
            array = np.asarray(value)
    except BaseException as error:
        raise NotAnArray(f"{type_name(value)} that cannot be read ({type_name(error)})") from error
    if array is None:
        raise NotAnArray(_described(value))
    if isinstance(value, np.ma.MaskedArray):
        raise NotAnArray("masked array")
    if not is_number(array.dtype):
        raise NotAnArray(f"array of {array.dtype.name}")
    if array.nbytes > _RESULT_LIMIT and 0 in array.strides:
        raise NotAnArray(f"broadcast view of {array.nbytes} bytes")
    return array, dtype_name(array.dtype)


def _python_number(value: Any) -> tuple[NDArray[Any], str]:
    if type(value) not in (int, float):
        raise NotAnArray(type_name(value))
    try:
        return np.asarray(float(value)), type_name(value)
    except OverflowError:
        raise NotAnArray("int beyond every float") from None


def _described(value: Any) -> str:
    """A list says what it holds: the commonest mistake of all."""
    name = type_name(value)
    if type(value) in (list, tuple):
        inner = sorted({type_name(item) for item in value[:100]})
        return f"{name} of {len(value)} ({', '.join(inner)})" if inner else f"{name} of nothing"
    return name


def raised(error: BaseException) -> Raised:
    """An exception as a value, also when its message cannot be made."""
    try:
        message = " ".join(str(error).split())[:_MESSAGE_LIMIT]
    except BaseException:  # noqa: BLE001  a hostile __str__
        message = "(its message cannot be printed)"
    try:
        frames = traceback.extract_tb(error.__traceback__)
        where = f"{frames[-1].name}, line {frames[-1].lineno}" if frames else ""
    except BaseException:  # noqa: BLE001  source files may be gone or unreadable
        where = ""
    return Raised(type_name(error), message, where)


def native(array: NDArray[Any]) -> NDArray[Any]:
    """The same numbers in this machine's byte order."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def same(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Equal shape and bits."""
    try:
        if a.shape != b.shape or a.dtype != b.dtype:
            return False
        return a.tobytes() == b.tobytes() if a.nbytes <= _SMALL else bool((_bits(a) == _bits(b)).all())
    except Exception:  # noqa: BLE001  the target may have torn its own array apart
        return False


def _bits(array: NDArray[Any]) -> NDArray[Any]:
    raw = _contiguous(array).reshape(-1)
    return raw.view(np.uint64) if raw.nbytes % 8 == 0 else raw.view(np.uint8)


def shares_memory(array: NDArray[Any], given: NDArray[Any]) -> bool:
    """True when they overlap, or may and it is too hard to tell."""
    if not _may_share(array, given):
        return False
    try:
        return bool(_share(array, given, max_work=10_000))  # type: ignore[arg-type]  # the stubs know 0 and -1 only
    except np.exceptions.TooHardError:
        return True
