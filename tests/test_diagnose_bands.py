"""A band of wrong arguments is told by its first float and its last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.formats import FORMATS
from xent_verify.core.model import Batch
from xent_verify.diagnose.bands import band
from xent_verify.ops import op_named


def told(op: str, x: NDArray[Any], wrong: Callable[[NDArray[Any]], NDArray[Any]], fmt: str = "float32") -> str:
    """The words for a target whose answers are wrong where ``wrong`` says so of its input."""

    def fails(batch: Batch) -> NDArray[np.bool_]:
        return np.asarray(wrong(batch.x))

    return band(op_named(op), Batch(op, fmt, "", {"x": x}), np.asarray(wrong(x)), fails)


def gaps(x: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(x.max(axis=-1, keepdims=True) - x)


def test_a_band_of_gaps_is_bisected_to_neighbouring_floats() -> None:
    low, high = np.float32(23.457), np.float32(23.4571)
    x = np.array([[1.0, 24.45705, 3.0]], np.float32)
    text = told("softmax", x, lambda x: (gaps(x) >= low) & (gaps(x) <= high))
    assert text == "wrong for max x - x from 23.457 to 23.4571 (53 floats)"


def test_one_wrong_argument_is_told_alone() -> None:
    x = np.array([0.5, -3.25, 7.0])
    text = told("sigmoid", x, lambda x: x == -3.25, "float64")
    assert text == "wrong for x = -3.25 alone"


def test_a_band_up_to_the_end_of_the_format_has_one_edge() -> None:
    x = np.array([[0.0, -100.0]], np.float32)
    assert told("softmax", x, lambda x: gaps(x) >= np.float32(88.5)) == "wrong for max x - x ≥ 88.5"


def test_a_result_of_one_value_a_row_has_its_band_too() -> None:
    x = np.array([[0.0, -3.0], [0.0, -9.0]], np.float32)
    text = told("logsumexp", x, lambda x: (gaps(x).max(axis=-1) >= 2.5) & (gaps(x).max(axis=-1) < 4))
    assert text.startswith("wrong for max x - x from 2.5 to 3.9999998 (")


def test_a_fault_of_long_rows_has_no_band() -> None:
    x = np.zeros((2, 2049), np.float32)
    x[:, 0] = 1.0
    assert told("softmax", x, lambda x: np.full(x.shape, x.shape[-1] > 2048)) == ""


def test_bfloat16_bands_are_told_in_its_own_floats() -> None:
    form = FORMATS["bfloat16"]
    x = form.narrow(np.array([[0.0, -2.0, -5.0]]))
    text = told("softmax", x, lambda x: (gaps(form.widen(x)) >= 2.0) & (gaps(form.widen(x)) <= 3.0), "bfloat16")
    assert text == "wrong for max x - x from 2 to 3 (65 floats)"
