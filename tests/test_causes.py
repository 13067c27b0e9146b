"""A cause is named when several calls bear it out, and not on the word of one value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from xent_verify.auditing.findings import Asker
from xent_verify.core.model import Batch, Outcome, Returned
from xent_verify.diagnose.probes import fresh, probes
from xent_verify.ops import OPS
from xent_verify.ops.defined import undefined
from xent_verify.regimes import plan
from xent_verify.verdict.causes import LEAST, Causes
from xent_verify.verdict.judge import Rules

Function = Callable[..., np.ndarray]


def cause(op: str, function: Function, call: Batch, *others: Batch) -> str:
    """What is said of one failing call of a function."""

    def ask(batch: Batch) -> Outcome:
        with np.errstate(all="ignore"):
            value = np.asarray(function(*batch.inputs.values(), **batch.options))
        return Returned(value, value.dtype.name)

    return Causes(OPS[op], Asker(OPS[op], ask, Rules(), "t").judged, others).text(call)


def logits(*rows: Any, fmt: Any = np.float32) -> Batch:
    return Batch("softmax", np.dtype(fmt).name, "test", {"x": np.array(rows, fmt)})


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def twice(x: np.ndarray) -> np.ndarray:
    return softmax(softmax(x))


def from_logsumexp(x: np.ndarray) -> np.ndarray:
    m = x.max(axis=-1, keepdims=True)
    return np.exp(x - (m + np.log(np.exp(x - m).sum(axis=-1, keepdims=True))))


@pytest.mark.parametrize(
    ("function", "row", "words"),
    [
        (twice, [0.0, 1.0, 3.0], "softmax(softmax(x))"),
        (from_logsumexp, [5000.0, 5001.0, 5003.0], "x - logsumexp(x)"),
    ],
)
def test_a_mistake_that_fresh_calls_bear_out_is_named(function: Function, row: Any, words: str) -> None:
    """One row of three failing values is confirmed by rows like it, and the number of calls is told."""
    told = cause("softmax", function, logits(row))
    assert words in told
    assert told.endswith(" calls")
    assert int(told.split()[-2]) >= 2


def test_a_value_that_fits_by_chance_names_nothing() -> None:
    """A constant that happens to equal softmax(softmax(x)) of one row is not that mistake on others."""
    one = twice(np.array([[0.0, 1.0, 3.0]], np.float32))

    def constant(x: np.ndarray) -> np.ndarray:
        return np.resize(one, x.shape)

    told = cause("softmax", constant, logits([0.0, 1.0, 3.0]))
    assert "softmax(softmax" not in told


def test_nan_and_zero_alone_name_nothing() -> None:
    """NaN agrees with anything: the finding says what is wrong, and that no cause is known."""

    def broken(x: np.ndarray) -> np.ndarray:
        return np.where(np.abs(x).max(axis=-1, keepdims=True) > 50, np.nan, softmax(x)).astype(x.dtype)

    assert cause("softmax", broken, logits([100.0, 0.0, 1.0])).startswith("no known cause; ")


def test_another_failing_call_with_numbers_confirms_one_with_nan() -> None:
    """An unshifted softmax gives NaN above the edge; calls near the lower edge hold the numbers that prove it."""

    def unshifted(x: np.ndarray) -> np.ndarray:
        e = np.exp(x)
        return e / e.sum(axis=-1, keepdims=True)

    high = logits([100.0, 99.0, 98.5])
    low = logits(*(np.linspace(-103, -96, 24).reshape(8, 3).tolist()))
    assert "no maximum is subtracted" in cause("softmax", unshifted, high, low)


def test_a_reduced_loss_is_asked_often_enough() -> None:
    """Single numbers are pooled over fresh calls until there are enough of them."""

    def summed(x: np.ndarray, target: np.ndarray, reduction: str = "mean") -> np.ndarray:
        p = np.log(softmax(x))[np.arange(len(x)), target]
        return np.asarray(-p.sum())

    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    call = Batch("cross_entropy", "float32", "test", {"logits": x, "target": np.array([0, 1, 2, 3, 0])})
    told = cause("cross_entropy", summed, call)
    assert "sum" in told
    assert int(told.rsplit(" of ", 1)[1].split()[0]) >= LEAST


@pytest.mark.parametrize("op", list(OPS))
def test_fresh_calls_are_calls_of_the_operation(op: str) -> None:
    """Whatever the plan asks, what is made of it is defined, and has other numbers or another order."""
    made = 0
    for call in plan(op, "float32", profile="quick"):
        if not 0 < call.x.size <= 500:
            continue
        for seed in range(2):
            batch = fresh(OPS[op], call, np.ones(OPS[op].result_shape(call), np.bool_), seed)
            if batch is not None:
                assert undefined(OPS[op], batch) == "", call.regime
                made += 1
    assert made > 20


def test_labels_follow_their_classes() -> None:
    """Where classes are put in another order, each label still names its own logit."""
    x = np.array([[1.0, 2.0, 3.0, 4.0]], np.float32)
    call = Batch("cross_entropy", "float32", "test", {"logits": x, "target": np.array([2])}, {"reduction": "none"})
    batch = fresh(OPS["cross_entropy"], call, np.ones(1, np.bool_), 0)
    assert batch is not None
    labels = batch.inputs["target"]
    assert (batch.x[np.arange(len(labels)), labels] == 3.0).all()
    assert len({tuple(row) for row in batch.x.tolist()}) > 1


def noisy(x: np.ndarray) -> np.ndarray:
    """Softmax with errors of any sign, far beyond every limit."""
    rng = np.random.default_rng(x.size)
    return (softmax(x) * (1 + 1e-4 * rng.standard_normal(x.shape))).astype(x.dtype)


def nan_as_masked(x: np.ndarray) -> np.ndarray:
    return softmax(np.where(np.isnan(x), -np.inf, x)).astype(x.dtype)


def small_is_zero(x: np.ndarray) -> np.ndarray:
    p = softmax(x)
    return np.where(p < 1e-20, 0, p).astype(x.dtype)


def half(x: np.ndarray) -> np.ndarray:
    """All of it in float16."""
    return softmax(x.astype(np.float16)).astype(x.dtype)


WIDE = logits(*np.linspace(-60, 60, 24).reshape(8, 3).tolist())
PLAIN = logits(*np.random.default_rng(0).normal(size=(8, 5)).tolist())


@pytest.mark.parametrize(
    ("function", "call", "words"),
    [
        (nan_as_masked, logits([np.nan, 0.0, 1.0], [0.0, np.nan, 2.0]), "NaN is ignored"),
        (small_is_zero, logits([0.0, -50.0, -60.0], [0.0, 1.0, -70.0]), "0 where the magnitude is below 1e-20"),
    ],
)
def test_which_values_fail_names_a_mistake_that_gives_no_numbers(function: Function, call: Batch, words: str) -> None:
    """NaN, 0 and constants say nothing by themselves; which of many rows have them, and which do not, does."""
    assert words in cause("softmax", function, call)


def test_a_row_that_several_mistakes_fit_is_not_the_last_word() -> None:
    """Where the label's logit is 0, a shift by it is no shift at all: rows with other labels tell them apart."""

    def about_target(x: np.ndarray, target: np.ndarray, reduction: str = "mean") -> np.ndarray:
        own = np.take_along_axis(x, target[:, None], axis=1)
        losses = np.log(np.exp(x - own).sum(axis=1))
        return losses if reduction == "none" else np.asarray(losses.mean())

    x = np.array([[0.0, 800.0, 3.0]], np.float32)
    call = Batch("cross_entropy", "float32", "test", {"logits": x, "target": np.array([0])}, {"reduction": "none"})
    assert cause("cross_entropy", about_target, call).startswith("the target's logit is subtracted")


@pytest.mark.parametrize(("function", "words"), [(noisy, ("no known cause", "")), (half, ("narrow", "float16"))])
def test_sound_code_of_less_precision_is_accused_of_that_alone(function: Function, words: tuple[str, str]) -> None:
    """Roundings of any kind bear no mistake out; a narrow format is named as one."""
    told = cause("softmax", function, PLAIN, WIDE)
    assert all(word in told for word in words), told


@pytest.mark.parametrize("op", list(OPS))
def test_probes_are_calls_of_the_operation(op: str) -> None:
    """Whatever fails, what is asked to find its cause is defined."""
    rng = np.random.default_rng(0)
    short = [call for call in plan(op, "float32", profile="quick") if 0 < call.x.size <= 100]
    for number in rng.choice(len(short), 12, replace=False):
        failing = np.ones(OPS[op].result_shape(short[number]), np.bool_)
        asked = list(
            probes(OPS[op], short[number], failing, lambda call: np.ones(OPS[op].result_shape(call), np.bool_))
        )
        assert not any(undefined(OPS[op], call) for call in asked)


@pytest.mark.parametrize(
    ("op", "function", "call", "words"),
    [
        (
            "token_logprob",
            lambda x, target, temperature=1.0: np.take_along_axis(np.log(softmax(x)), target[:, None], 1)[:, 0] / temperature,
            Batch("token_logprob", "float32", "test", {"logits": PLAIN.x, "target": np.arange(8) % 5}, {"temperature": 0.5}),
            "temperature applied to the result",
        ),
        (
            "z_loss",
            lambda x: (x[:, :2].max(1) + np.log(np.exp(x - x[:, :2].max(1, keepdims=True)).sum(1))) ** 2,
            Batch("z_loss", "float32", "test", {"x": np.array([[0.0, 1.0, 200.0, 3.0]] * 3, np.float32)}),
            "the maximum is taken over a part of the row",
        ),
    ],
)  # fmt: skip
def test_an_operation_that_is_a_page_alone_has_causes_of_its_options_and_steps(
    op: str, function: Function, call: Batch, words: str
) -> None:
    assert words in cause(op, function, call)
