"""Candidates: names become callables, styles of calling are found, and nothing a target does escapes its process."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from xent_verify.candidates import codec, open_candidate
from xent_verify.core import layouts
from xent_verify.core.failures import UsageError
from xent_verify.core.model import LAYOUTS, Batch, Returned
from xent_verify.implementations import find

HERE = Path(__file__).parent
TARGETS = str(HERE / "targets.py")
ROW = Batch("softmax", "float32", "test", {"x": np.array([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]], np.float32)})


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(3, 4), (4,), (2, 3, 4), (0, 3), (3, 0), (1, 1)])
def test_layouts_keep_values_and_own_their_memory(layout: str, shape: tuple[int, ...]) -> None:
    """Every layout holds the same values in fresh memory; the strides are what the name says."""
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    view = layouts.apply(array, layout)
    assert np.array_equal(view, array)
    assert not np.shares_memory(view, array)
    if array.ndim == 2 and array.size > 3:
        assert (layout == "negative") == (view.strides[-1] < 0)
        assert (layout == "readonly") == (not view.flags.writeable)
        assert layout not in ("F", "strided", "sliced", "negative") or not view.flags.c_contiguous
    equal = np.ones((4, 3))
    assert layouts.apply(equal, "broadcast").strides[0] == 0


@pytest.mark.parametrize(
    "dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e5m2, np.int64, np.uint8]
)
@pytest.mark.parametrize("shape", [(2, 3), (), (0, 4)])
def test_bits_survive_the_wire(dtype: type, shape: tuple[int, ...]) -> None:
    """Arrays of every dtype, NaN payloads and signed zeros included, come back with the same bits, shape and dtype."""
    rng = np.random.default_rng(0)
    size = np.dtype(dtype).itemsize
    raw = rng.integers(0, 256, (*shape, size), dtype=np.uint8)
    array = raw.reshape(-1).view(dtype).reshape(shape)
    batch = Batch(
        "softmax", "float32", "", {"x": array}, {"axis": 0, "weight": array, "label_smoothing": np.float32(0.1)}, "F"
    )
    stream = io.BytesIO(b"".join(bytes(part) for part in codec.batch_frame(batch, 7)))
    frame = codec.read_frame(lambda count: bytearray(stream.read(count)), 10**6)
    back = codec.decode_batch(frame)
    assert frame[0]["number"] == 7
    assert back.layout == "F"
    assert list(back.options) == ["axis", "weight", "label_smoothing"]
    assert back.options["label_smoothing"].dtype == np.float32
    for got in (back.x, back.options["weight"]):
        assert got.dtype == array.dtype
        assert got.shape == array.shape
        assert got.tobytes() == array.tobytes()


@pytest.mark.parametrize("isolated", [True, False])
def test_the_same_answer_in_and_out_of_process(isolated: bool) -> None:
    """Isolated and in-process calls give the same bits, in every format."""
    with open_candidate(f"{TARGETS}:softmax", "softmax", isolated=isolated) as candidate:
        for dtype in (np.float64, np.float32, np.float16, ml_dtypes.bfloat16):
            x = np.array([[1, 2, 3]]).astype(dtype)
            outcome = candidate.call(Batch("softmax", x.dtype.name, "", {"x": x}))
            assert isinstance(outcome, Returned)
            assert outcome.dtype_name == x.dtype.name
            assert abs(float(outcome.value.astype(np.float64).sum()) - 1) < 0.02


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("nowhere.at_all:f", "no module named 'nowhere'"),
        ("numpy:sofmax_of", "numpy has no attribute 'sofmax_of'"),
        ("scipy.special:sofmax", "did you mean 'softmax'"),
        (f"{TARGETS}:NOT_CALLABLE", "not callable"),
        ("missing.py:f", "not found"),
        ("stabel", "did you mean 'stable'"),
        ("json:", "write package.module:attribute"),
    ],
)
def test_a_target_that_cannot_be_had_is_one_clear_line(target: str, words: str) -> None:
    """Wrong names raise UsageError in one line, with the nearest right one."""
    with pytest.raises(UsageError) as caught:
        open_candidate(target, "softmax")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_styles_of_calling_are_found() -> None:
    """An axis under another name and default, no axis at all, and part of a signature are called as they can be."""
    with open_candidate(f"{TARGETS}:softmax_dim", "softmax") as candidate:
        got = candidate.call(ROW)
        assert isinstance(got, Returned)
        np.testing.assert_allclose(got.value.sum(axis=1), 1, rtol=1e-6)
    with open_candidate(f"{TARGETS}:softmax_of_a_row", "softmax") as candidate:
        got = candidate.call(ROW)
        assert isinstance(got, Returned)
        np.testing.assert_allclose(got.value.sum(axis=1), 1, rtol=1e-6)
        assert not candidate.supports(Batch("softmax", "float32", "", ROW.inputs, {"axis": 0}))
        assert candidate.offered == {"axis": False, "nd": False, "batched": False}
    with open_candidate(f"{TARGETS}:cross_entropy_plain", "cross_entropy") as candidate:
        missing = ("probability_targets", "weight", "ignore_index", "reduction", "label_smoothing")
        assert candidate.offered == {**dict.fromkeys(missing, False), "batched": True, "index_targets": True}
        loss = Batch("cross_entropy", "float32", "", {"logits": ROW.x, "target": np.array([0, 2])})
        assert candidate.supports(loss)
        assert not candidate.supports(Batch("cross_entropy", "float32", "", loss.inputs, {"reduction": "sum"}))
        mean = candidate.call(loss)
        each = candidate.call(Batch("cross_entropy", "float32", "", loss.inputs, {"reduction": "none"}))
        assert isinstance(mean, Returned)
        assert isinstance(each, Returned)
        assert each.value.shape == (2,)
        np.testing.assert_allclose(each.value.mean(), mean.value, rtol=1e-6)


def test_the_worker_starts_quickly_and_imports_little() -> None:
    """The child needs neither pandas nor hypothesis nor mpmath."""
    heavy = ("pandas", "hypothesis", "mpmath", "xent_verify.implementations", "numba")
    code = f"import sys, xent_verify.candidates.worker; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_candidate_can_be_called_like_its_function() -> None:
    """For scripts and notebooks: arrays in, an array out, an exception for anything else."""
    with open_candidate(f"{TARGETS}:softmax", "softmax") as candidate:
        assert candidate.op == "softmax"
        np.testing.assert_allclose(candidate(ROW.x, axis=0).sum(axis=0), 1, rtol=1e-6)
    with open_candidate(f"{TARGETS}:raises", "softmax") as candidate, pytest.raises(RuntimeError, match="Raised"):
        candidate(ROW.x)


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "readonly"])
def test_a_candidate_sees_arrays_as_they_lie(layout: str) -> None:
    """A printed script reproduces what depends on memory: the target of ``candidate(x)`` gets the layout of x."""
    seen = []

    def softmax(x: Any, axis: int = -1) -> Any:
        seen.append(layouts.layout_of(x))
        return find("stable", "softmax").call(x, axis=axis)

    given = layouts.apply(np.ones((3, 4), np.float32), layout)
    with open_candidate(softmax, "softmax", arrays="numpy") as candidate:
        seen.clear()
        np.testing.assert_allclose(candidate(given), 0.25)
    assert seen == [layouts.layout_of(given)]


def test_rows_that_are_answered_in_one_buffer_are_kept_apart() -> None:
    """A function of single rows that writes each answer to the same memory."""
    held: dict[int, np.ndarray] = {}

    def softmax(x: np.ndarray) -> np.ndarray:
        if x.ndim != 1:
            raise ValueError("one row")
        out = held.setdefault(len(x), np.empty_like(x))
        e = np.exp(x - x.max())
        out[:] = e / e.sum()
        return out

    x = np.array([[0.0, 1.0], [3.0, 0.0], [0.0, 0.0]], np.float32)
    with open_candidate(softmax, "softmax") as candidate:
        outcome = candidate.call(Batch("softmax", "float32", "", {"x": x}))
    assert isinstance(outcome, Returned)
    e = np.exp(x - x.max(axis=1, keepdims=True))
    np.testing.assert_allclose(outcome.value, e / e.sum(axis=1, keepdims=True), rtol=1e-6)
