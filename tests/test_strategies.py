"""Strategies: valid values of every format, that shrink to what a reader would write, without touching settings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from xent_verify import strategies as xs
from xent_verify.core.failures import UnknownNameError
from xent_verify.core.formats import FORMATS
from xent_verify.core.model import Batch
from xent_verify.ops import OPS

QUICK = settings(database=None, deadline=None, max_examples=25, derandomize=True)
FIND = settings(
    database=None,
    deadline=None,
    max_examples=1000,
    derandomize=True,
    phases=[Phase.generate, Phase.shrink],  # without the explanations, which cost more than the search
)


@pytest.mark.parametrize("fmt", list(FORMATS))
def test_logits_are_values_of_the_format(fmt: str) -> None:
    """A row has the format's dtype, one dimension, at least one finite logit and neither NaN nor +inf."""

    @QUICK
    @given(xs.logits(fmt))
    def check(x: np.ndarray) -> None:
        wide = FORMATS[fmt].widen(x)
        assert x.dtype == FORMATS[fmt].dtype
        assert x.ndim == 1
        assert np.isfinite(wide).any()
        assert not np.isnan(wide).any()
        assert not np.isposinf(wide).any()

    check()


@pytest.mark.parametrize(
    ("op", "fmt"), [(op, fmt) for op in OPS for fmt in ("float32", "float8_e4m3fn") if fmt in OPS[op].formats]
)
def test_batches_are_valid_calls(op: str, fmt: str) -> None:
    """Inputs and options are those of the operation; class indices are classes; probabilities are probabilities."""

    @QUICK
    @given(xs.batches(op, fmt))
    def check(batch: Batch) -> None:
        assert tuple(batch.inputs) == tuple(OPS[op].inputs)
        assert set(batch.options) <= set(OPS[op].options)
        target = batch.inputs.get("target")
        if target is not None and target.dtype.kind in "iu":
            assert ((target >= 0) & (target < OPS[op].scores_shape(batch)[-1])).all()
        elif target is not None:
            assert ((batch.form.widen(target) >= 0) & (batch.form.widen(target) <= 1)).all()

    check()


@pytest.mark.parametrize("fmt", ["float32", "float8_e4m3fn"])
def test_the_simplest_row_is_one_zero(fmt: str) -> None:
    """With nothing to find, shrinking ends at [0]."""
    assert find(xs.logits(fmt), lambda x: True, settings=FIND).astype(float).tolist() == [0.0]


@pytest.mark.parametrize(("fmt", "least"), [("float32", 89), ("float64", 710), ("float16", 12), ("bfloat16", 89)])
def test_an_overflowing_row_shrinks_to_one_whole_number(fmt: str, least: float) -> None:
    """What overflows the format's exp shrinks to one logit: nearly always the first whole number that does."""

    def overflows(x: np.ndarray) -> bool:
        with np.errstate(over="ignore"):
            return bool(np.isinf(np.exp(FORMATS[fmt].widen(x)).astype(FORMATS[fmt].dtype)).any())

    (found,) = find(xs.logits(fmt), overflows, settings=FIND).astype(float)
    assert least - 1 < found <= FORMATS[fmt].max_finite


def test_masks_shrink_to_a_mask() -> None:
    """A failure that needs a -inf keeps one, and zeros: one, mostly (which path Hypothesis takes is its own affair)."""
    found = find(xs.logits("bfloat16"), lambda x: bool(np.isneginf(x.astype(float)).any()), settings=FIND)
    masked, *others = sorted(found.astype(float).tolist())
    assert masked == -np.inf
    assert others == [0.0] * len(others)
    assert 1 <= len(others) <= 30


def test_long_rows_shrink_too() -> None:
    """A failure of long rows comes down to the shortest offered length, all zeros."""
    found = find(xs.logits("float32"), lambda x: len(x) > 1024, settings=FIND)
    assert found.tolist() == [0.0] * 1025


def test_subnormals_and_the_largest_values_occur() -> None:
    """Both ends of every format are within reach."""
    for form in FORMATS.values():
        least = form.smallest_normal if form.scale else form.smallest_subnormal  # scales have no subnormals
        tiny = find(
            xs.values(form),
            lambda v, f=form, e=least: e <= abs(float(v)) < max(f.smallest_normal, 2 * e),
            settings=FIND,
        )
        assert tiny.dtype == form.dtype
        find(xs.values(form), lambda v, f=form: abs(float(v)) == f.max_finite, settings=FIND)


def test_special_values_on_request() -> None:
    """NaN and +inf come only when asked for; float8_e4m3fn, which has no infinity, still has NaN."""
    assert np.isnan(float(find(xs.values("float8_e4m3fn", special=True), lambda v: np.isnan(float(v)), settings=FIND)))
    found = find(xs.logits("float16", special=True), lambda x: np.isposinf(x).any(), settings=FIND)
    assert sorted(found.tolist()) == [0.0] * (len(found) - 1) + [np.inf]


def test_rows_of_a_regime() -> None:
    """A named regime draws that regime's rows; an unknown one is a usage error with a suggestion."""

    @QUICK
    @given(xs.rows("float32", regime="very_negative", n=65))
    def check(x: np.ndarray) -> None:
        assert x.shape[1] == 65
        assert (x < -15).all()

    check()
    with pytest.raises(UnknownNameError, match="very_negative"):
        find(xs.logits("float32", regime="very_negativ"), lambda x: True, settings=FIND)


def test_lengths_can_be_given() -> None:
    """A number, a range or a strategy of lengths; 32,768 logits pass the default health checks."""
    assert len(find(xs.logits("float32", n=(3, 9)), lambda x: True, settings=FIND)) == 3
    assert len(find(xs.logits("float32", n=st.just(5)), lambda x: True, settings=FIND)) == 5

    @settings(database=None, deadline=None, max_examples=20, derandomize=True, suppress_health_check=[])
    @given(xs.logits("float32", n=32_768))
    def check(x: np.ndarray) -> None:
        assert x.shape == (32_768,)

    check()


@QUICK
@given(st.data())
def test_targets_of_every_kind(data: st.DataObject) -> None:
    """Indices fit their dtype and the classes (or are the ignored one); probabilities sum to 1."""
    classes = data.draw(st.integers(1, 300))
    index = data.draw(xs.targets("float32", 3, classes, ignore_index=-100))
    assert np.iinfo(index.dtype).max >= classes - 1
    assert all(0 <= int(t) < classes or int(t) == -100 for t in index)
    soft = data.draw(xs.targets("float64", 2, 4, kind="probabilities"))
    assert np.allclose(soft.sum(axis=1), 1)


def test_calls_are_ready_to_use() -> None:
    """``calls`` gives positional and keyword arguments."""
    args, kwargs = find(xs.calls("cross_entropy", "float32"), lambda call: True, settings=FIND)
    assert [a.tolist() for a in args] == [[[0.0]], [0]]
    assert kwargs == {}


def test_health_checks_need_no_suppression() -> None:
    """Drawing with the default settings raises no health check."""

    @settings(database=None, max_examples=50, deadline=None, derandomize=True, suppress_health_check=())
    @given(xs.batches("cross_entropy", "float16"), xs.batches("softmax", "float32"))
    def check(loss: Batch, row: Batch) -> None:
        assert loss.x.ndim == row.x.ndim == 2

    check()
