"""Minimising: any failing batch comes down to a readable one that fails in the same way, within its budget."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xent_verify.core.formats import FORMATS
from xent_verify.core.model import Batch
from xent_verify.minimise import minimise
from xent_verify.minimise.surgery import cost, keep, simplicity


def batch_of(x: Any, fmt: str = "float32", op: str = "softmax", **more: Any) -> Batch:
    options = more.pop("options", {})
    layout = more.pop("layout", "C")
    form = FORMATS[fmt]
    name = "x" if not more else "logits"
    return Batch(op, fmt, "test", {name: form.narrow(np.asarray(x, dtype=np.float64)), **more}, options, layout)


def rows(batch: Batch) -> np.ndarray:
    return np.moveaxis(batch.form.widen(batch.x), batch.options.get("axis", -1), -1)


def naive_overflows(batch: Batch) -> bool:
    """exp(x) / sum exp(x), computed in the batch's own format, gives NaN for finite logits."""
    x = rows(batch)
    with np.errstate(all="ignore"):
        e = batch.form.widen(batch.form.narrow(np.exp(x)))
        total = batch.form.widen(batch.form.narrow(e.sum(axis=-1, keepdims=True)))
        return bool(np.isfinite(x).all() and np.isnan(e / total).any() and np.isinf(e).any())


@pytest.mark.parametrize(("fmt", "least"), [("float64", 710), ("float32", 89), ("bfloat16", 89), ("float16", 12)])
def test_naive_softmax_comes_down_to_one_logit_just_past_the_edge(fmt: str, least: float) -> None:
    """A 50 x 20 batch with one overflowing row ends as a vector of a single whole number."""
    x = np.random.default_rng(0).normal(size=(50, 20))
    x[31, 7] = 1000.0
    small = minimise(batch_of(x, fmt), naive_overflows)
    assert small.x.astype(np.float64).tolist() == [least]


def test_options_layout_and_axes_go_when_they_do_not_matter() -> None:
    """A 4-D strided call along axis 1 ends as a plain vector."""
    x = np.full((2, 3, 4, 5), 200.0)
    small = minimise(batch_of(x, layout="strided", options={"axis": 1}), naive_overflows)
    assert (small.options, small.layout, small.x.tolist()) == ({}, "C", [89.0])


def test_options_stay_when_they_matter() -> None:
    """A failure that needs axis 0 of a matrix keeps it, on the smallest matrix that shows it."""

    def fails(batch: Batch) -> bool:
        return batch.options.get("axis") == 0 and batch.x.ndim == 2 and batch.x.shape[1] > 1

    small = minimise(batch_of(np.ones((7, 9)), options={"axis": 0}), fails)
    assert small.options == {"axis": 0}
    assert small.x.tolist() == [[0.0, 0.0]]


def test_masks_come_down_to_two_logits() -> None:
    """A mask before very negative logits keeps one of each, the mask still -inf."""

    def fails(batch: Batch) -> bool:
        x = rows(batch)
        top = x.max(axis=-1)
        return bool((np.isneginf(x).any(axis=-1) & (top < -1e4) & np.isfinite(top)).any())

    x = np.full((6, 100), -20_000.0)
    x[:, :64] = -np.inf
    small = minimise(batch_of(x), fails)
    assert small.x.size == 2
    assert np.isneginf(small.x).sum() == 1


@pytest.mark.parametrize(("length", "least"), [(100_003, 8193), (131_075, 65_537)])
def test_long_rows_need_few_calls(length: int, least: int) -> None:
    """A failure of rows beyond a size is bisected: the shortest such row, all zeros, in a hundred calls."""
    calls = 0

    def fails(batch: Batch) -> bool:
        nonlocal calls
        calls += 1
        return batch.x.shape[-1] >= least

    small = minimise(batch_of(np.full((3, length), 0.7)), fails, budget=120)
    assert small.x.tolist() == [0.0] * least
    assert calls <= 120


def test_one_culprit_among_many_columns_and_rows() -> None:
    """A single bad value in 2,000 x 1,000 is found in tens of calls."""
    x = np.zeros((2000, 1000))
    x[1234, 567] = np.nan
    calls: list[int] = []
    small = minimise(batch_of(x), lambda b: calls.append(1) or bool(np.isnan(b.x).any()))
    assert small.x.shape == (1,)
    assert len(calls) < 80


def test_many_rows_are_bisected() -> None:
    """A failure that starts at a number of rows ends with exactly that many."""
    small = minimise(batch_of(np.zeros((70_000, 2))), lambda b: b.x.ndim == 2 and b.x.shape[0] > 65_535)
    assert small.x.shape == (65_536, 1)


def log_of_zero(batch: Batch) -> bool:
    """Cross entropy through log(p) in float32 is infinite."""
    x = batch.x.astype(np.float64)
    with np.errstate(all="ignore"):
        p = np.exp(x - x.max(axis=1, keepdims=True)).astype(np.float32)
        return bool((p[np.arange(len(x)), batch.inputs["target"].astype(int)] == 0).any())


def test_targets_become_class_zero() -> None:
    """Rows and classes go, targets are renumbered with them and end at 0, options vanish."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(9, 12))
    x[4, 3] = 400.0
    target = np.full(9, 10, dtype=np.uint8)
    options = {"reduction": "sum", "weight": rng.random(12).astype(np.float32)}
    small = minimise(batch_of(x, op="cross_entropy", target=target, options=options), log_of_zero)
    assert small.inputs["target"].tolist() == [0]
    assert small.inputs["target"].dtype == np.int64
    assert small.options == {}
    assert small.x.shape == (1, 2)
    assert 103 <= float(np.ptp(small.x)) <= 104


def test_a_needed_weight_keeps_its_length() -> None:
    """Columns and class weights are cut together, and weights stay weights."""

    def fails(batch: Batch) -> bool:
        weight = batch.options.get("weight")
        fits = weight is not None and len(weight) == batch.x.shape[1]
        return fits and bool((weight == 0).any() and weight.any())

    options = {"weight": np.array([0.5, 0.0, 0.7, 2.0], np.float32), "label_smoothing": 0.1}
    target = np.array([1, 2, 3])
    small = minimise(batch_of(np.ones((3, 4)), op="cross_entropy", target=target, options=options), fails)
    assert small.x.shape == (1, 2)
    assert sorted(small.options["weight"].tolist()) == [0.0, 1.0]
    assert set(small.options) == {"weight"}


def test_probability_targets_stay_probabilities() -> None:
    """Whatever is cut, each row of targets still sums to 1."""
    seen: list[float] = []

    def fails(batch: Batch) -> bool:
        seen.extend(batch.inputs["target"].sum(axis=1).tolist())
        return batch.inputs["target"].ndim == 2

    target = np.full((4, 8), 0.125, dtype=np.float32)
    small = minimise(batch_of(np.ones((4, 8)), op="cross_entropy", target=target), fails)
    assert np.allclose(seen, 1.0)
    assert small.inputs["target"].tolist() == [[1.0]]


def test_an_ignored_class_stays_ignored() -> None:
    """Renumbering the classes leaves the ignored index alone."""
    batch = batch_of(np.ones((2, 5)), op="cross_entropy", target=np.array([4, 2]), options={"ignore_index": 4})
    assert keep(batch, 1, [2, 3]).inputs["target"].tolist() == [4, 0]


def test_the_same_call_is_minimised_to_the_same() -> None:
    """No pass draws random numbers."""
    x = np.random.default_rng(5).normal(size=(20, 30)) * 100
    assert [minimise(batch_of(x), naive_overflows).x.tolist() for _ in range(2)] == [[89.0], [89.0]]


@pytest.mark.parametrize("budget", [0, 1, 7])
def test_budget_is_kept(budget: int) -> None:
    """No more questions than allowed; without any the batch comes back as it was."""
    calls: list[int] = []
    batch = batch_of(np.full((3, 3), 200.0))
    small = minimise(batch, lambda b: calls.append(1) or naive_overflows(b), budget=budget)
    assert len(calls) <= budget
    assert naive_overflows(small)
    assert budget or small is batch


def test_what_nothing_simpler_shows_comes_back_unchanged() -> None:
    """A failure that depends on every bit is left alone."""
    batch = batch_of([[0.1, 0.7], [3.3, -4.1]])
    kept = batch.x.tobytes()
    assert minimise(batch, lambda b: b.x.tobytes() == kept and b.x.ndim == 2) is batch


def test_simplicity_orders_numbers_as_a_reader_would() -> None:
    """0, then small integers by size, then larger and longer numbers; a sign costs a little."""
    order = [0.0, 1.0, -1.0, 2.0, 89.0, 128.0, 2.0**40, 0.75, 0.1]
    costs = simplicity(np.array(order)).tolist()
    assert costs[:6] == sorted(costs[:6])
    assert costs[6] < costs[8] > costs[7]


def test_every_accepted_step_is_simpler() -> None:
    """Minimising walks downhill only, so that it ends."""
    accepted: list[tuple[float, ...]] = []

    def fails(batch: Batch) -> bool:
        failed = naive_overflows(batch)
        if failed:
            accepted.append(cost(batch))
        return failed

    minimise(batch_of(np.random.default_rng(2).normal(size=(4, 5)) * 300), fails)
    assert accepted == sorted(accepted, reverse=True)
