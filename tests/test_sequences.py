"""Sequences of calls find what one call leaves behind for a later one, and nothing in sound code."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import rule, run_state_machine_as_test

from xent_verify.implementations.catalogue import find
from xent_verify.sequences import CallSequence

QUICK = settings(
    max_examples=8, stateful_step_count=8, database=None, deadline=None, derandomize=True, phases=[Phase.generate]
)
Function = Callable[..., Any]


def run(
    made: Callable[[], Function],
    op: str = "softmax",
    formats: tuple[str, ...] = ("float32", "bfloat16"),
    most: int = 300,
) -> None:
    """Sequences of calls of what ``made`` makes, a new one for each, until one fails."""

    class Calls(CallSequence):
        def fresh(self) -> Function:
            return made()

    Calls.op, Calls.formats = op, formats
    run_state_machine_as_test(Calls, settings=settings(QUICK, max_examples=most))


def softmax(x: Any, axis: int = -1) -> Any:
    return find("stable", "softmax").call(x, axis=axis)


@pytest.mark.parametrize("op", ["softmax", "cross_entropy"])
def test_sound_code_passes(op: str) -> None:
    run(lambda: find("stable", op).call, op, most=8)


def test_an_answer_kept_by_shape_is_found() -> None:
    def cached() -> Function:
        kept: dict[Any, Any] = {}
        return lambda x, axis=-1: kept.setdefault((x.shape, str(x.dtype)), softmax(x, axis))

    with pytest.raises(AssertionError):
        run(cached)


def test_an_accumulator_of_the_last_format_is_found() -> None:
    def leaking() -> Function:
        last: list[Any] = []

        def call(x: Any, axis: int = -1) -> Any:
            narrow = last[-1] if last and last[-1].itemsize < x.dtype.itemsize else x.dtype
            last.append(x.dtype)
            return softmax(x.astype(narrow).astype(x.dtype), axis)

        return call

    with pytest.raises(AssertionError):
        run(leaking)


def test_a_shared_buffer_is_found() -> None:
    def shared() -> Function:
        buffer = np.zeros(100_000, np.float32)

        def call(x: Any, axis: int = -1) -> Any:
            out = buffer[: x.size].reshape(x.shape)
            out[...] = softmax(x, axis)
            return out

        return call

    with pytest.raises(AssertionError, match="shared buffer"):
        run(shared, formats=("float32",))


def test_a_written_argument_is_found() -> None:
    def writes(x: Any, axis: int = -1) -> Any:
        x -= x.max(axis=axis, keepdims=True)
        return softmax(x, axis)

    with pytest.raises(AssertionError, match="changed its argument x"):
        run(lambda: writes)


def test_bits_that_change_within_the_limit_are_found() -> None:
    def turning() -> Function:
        calls = itertools.count()

        def call(x: Any, axis: int = -1) -> Any:
            value = softmax(x, axis)
            moved = np.nextafter(value, np.float32(0.5), dtype=value.dtype)
            return np.where((value > 0.1) & (value < 0.9) & (next(calls) % 2 == 1), moved, value)

        return call

    with pytest.raises(AssertionError, match="other bits"):
        run(turning, formats=("float32",))


def test_a_subclass_may_add_rules() -> None:
    asked: list[int] = []

    class Calls(CallSequence):
        target = staticmethod(softmax)
        op = "softmax"

        @rule()
        def mine(self) -> None:
            asked.append(len(asked))

    run_state_machine_as_test(Calls, settings=QUICK)
    assert asked
