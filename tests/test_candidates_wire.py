"""Frames from a target's process: whatever they hold, reading them ends in a value or a ``ValueError``, never in another."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from xent_verify.candidates.codec import Frame, decode_outcome, read_frame
from xent_verify.core.model import Outcome, Raised


def framed(header: bytes, body: bytes = b"") -> Frame:
    data = memoryview(struct.pack("<Q", len(header)) + header + body)
    place = 0

    def read(count: int) -> bytes:
        nonlocal place
        place += count
        return bytes(data[place - count : place])

    return read_frame(read, 2**20)


def decoded(**header: Any) -> Outcome:
    return decode_outcome(framed(json.dumps({"buffers": [], **header}).encode()))


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 100_000,
        b"[]",
        b"{}",
        b"\xff",
        b'{"buffers": 3}',
        b'{"buffers": [["value", "float32", [Infinity]]]}',
        b'{"buffers": [["value", "float32", [-1]]]}',
        b'{"buffers": [["value", "float32", [1e99]]]}',
        b'{"buffers": [["value", "float32", [9999999999]]]}',
        b'{"buffers": [["value", "object", [1]]]}',
        b'{"buffers": [["value", ["float32"], [1]]]}',
        b'{"buffers": [[[], "float32", [1]]]}',
    ],
    ids=lambda header: header[:50].decode("latin-1"),
)
def test_what_is_no_frame_is_a_value_error(header: bytes) -> None:
    """Nesting, shapes that are infinite, negative or too large, unknown dtypes."""
    with pytest.raises(ValueError, match=r".+"):
        framed(header)


def test_texts_of_an_answer_are_cut_and_encodable() -> None:
    """Lone surrogates and names of a million letters."""
    found = decoded(kind="raised", type_name="x" * 10**6, message="\ud800" + "y" * 10**6, where="")
    assert isinstance(found, Raised)
    assert len(found.type_name) <= 200
    assert len(found.message.encode()) < 5000


def test_a_text_that_is_none_is_a_value_error() -> None:
    """A list in place of a message."""
    with pytest.raises(ValueError, match="is no text"):
        decoded(kind="raised", type_name="x", message=["y"], where="")
