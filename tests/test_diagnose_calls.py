"""Where a target fails by the form of its calls: sizes, options, formats, and what all failing calls have in common."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xent_verify.auditing.walk import Pace
from xent_verify.core.model import Batch
from xent_verify.diagnose.options import option, other_format
from xent_verify.diagnose.sizes import size
from xent_verify.ops import OPS
from xent_verify.verdict.conditions import Conditions

F32 = np.float32


def rows(count: int, n: int, op: str = "softmax", **options: Any) -> Batch:
    return Batch(op, "float32", "ordinary", {"x" if op == "softmax" else "logits": np.zeros((count, n), F32)}, options)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda count, n: n == 97, "wrong for rows of 97 logits, right for 96 and 98"),
        (lambda count, n: n > 60, "wrong for rows of 61 logits and more, right for 60"),
        (lambda count, n: count == 3, "wrong for 3 rows, right for 2 and 4"),
        (lambda count, n: count > 1, "wrong for 2 rows and more, right for 1"),
        (lambda count, n: n % 2 == 1, "wrong for rows of 97 logits, right for 96 and 98"),
        (lambda count, n: True, ""),
        (lambda count, n: False, ""),
    ],
)
def test_a_wrong_size_is_told_with_its_right_neighbours(wrong: Any, words: str) -> None:
    told = size(OPS["softmax"], rows(3, 97), lambda call: wrong(*call.x.shape))
    assert told == words


def test_a_size_that_is_not_answered_is_not_called_right() -> None:
    """The target refuses 96 logits: nothing is known of them."""
    answers = {96: None, 97: True}
    assert not size(OPS["softmax"], rows(3, 97), lambda call: answers.get(call.x.shape[1], False))


def test_a_wrong_interval_of_an_option_is_bisected() -> None:
    call = rows(1, 2, "softmax_temperature", temperature=36.6)
    op = OPS["softmax_temperature"]
    assert option(op, call, lambda one: 10 < one.options.get("temperature", 1.0) < 100) == (
        "wrong for temperature from 10 to 100"
    )


def test_options_that_fail_together_are_named_together() -> None:
    call = rows(1, 2, "attention_softmax", softcap=2.0, mask=np.array([True, False]))
    told = option(OPS["attention_softmax"], call, lambda one: {"softcap", "mask"} <= set(one.options))
    assert told == "wrong with softcap and mask together, right without either"


def test_an_option_that_is_wrong_at_any_size_has_no_interval() -> None:
    call = rows(1, 2, "softmax_temperature", temperature=36.6)
    told = option(OPS["softmax_temperature"], call, lambda one: "temperature" in one.options)
    assert told == "wrong with temperature, right without it"


def test_an_option_that_makes_the_difference_is_named() -> None:
    op = OPS["cross_entropy"]
    inputs = {"logits": np.zeros((2, 3), F32), "target": np.array([0, 1], np.uint16)}
    call = Batch("cross_entropy", "float32", "options", inputs, {"weight": np.ones(3), "reduction": "sum"})
    assert other_format(
        op, call, lambda one: "weight" in one.options and one.options["weight"].dtype == np.float64
    ) == ("right with weight in float32, wrong with it in float64")
    assert other_format(op, call, lambda one: one.inputs["target"].dtype == np.uint16) == (
        "right with int64 labels, wrong with uint16 labels"
    )
    assert option(op, call, lambda one: "weight" in one.options) == "wrong with weight, right without it"
    assert option(op, call, lambda one: True) == other_format(op, call, lambda one: True) == ""


def seen(conditions: Conditions, wrong: Any, calls: int = 200) -> str:
    rng = np.random.default_rng(3)
    for _ in range(calls):
        shape = (int(rng.integers(1, 9)), *([2] * int(rng.integers(0, 5))), int(rng.integers(1, 300)))
        batch = Batch("softmax", "float32", "r", {"x": np.zeros(shape, F32)}, {})
        conditions.add(batch, wrong=bool(wrong(batch.x)))
    return conditions.text()


def test_the_condition_that_all_failing_calls_meet_is_told() -> None:
    assert seen(Conditions(OPS["softmax"]), lambda x: x.ndim >= 5) == "arrays of ≥ 5 dimensions"
    assert seen(Conditions(OPS["softmax"]), lambda x: x.shape[-1] > 280).startswith("rows of ≥ 28")


def told(wrong: Any) -> str:
    """The condition of random losses, some with labels to ignore, some reduced, some with a mask."""
    op, rng = OPS["cross_entropy"], np.random.default_rng(7)
    conditions = Conditions(op)
    for _ in range(300):
        x = rng.standard_normal((4, 5)).astype(F32)
        x[rng.random(4) < 0.05] = -np.inf
        labels = np.where(rng.random(4) < rng.choice([0.0, 0.3]), -100, rng.integers(0, 5, 4))
        options = {"reduction": str(rng.choice(["none", "sum"]))} if rng.random() < 0.6 else {}
        batch = Batch("cross_entropy", "float32", "r", {"logits": x, "target": labels}, options)
        ignores, mean = bool((labels == -100).any()), not options
        conditions.add(batch, wrong=wrong(ignores, mean, bool(np.isneginf(x).any())))
    return conditions.text()


def test_what_occurs_in_the_failing_calls_is_a_condition() -> None:
    assert told(lambda ignores, mean, masked: ignores) == "calls with labels to ignore"
    assert told(lambda ignores, mean, masked: masked) == "calls with logits of -inf"


def test_single_losses_are_no_condition() -> None:
    """A mean hides what is wrong in one loss: that no reduced call fails says nothing about its cause."""
    conditions, x = Conditions(OPS["cross_entropy"]), {"logits": np.zeros((4, 5), F32), "target": np.zeros(4, np.int64)}
    for reduction in ("none", "sum", "mean") * 50:
        conditions.add(Batch("cross_entropy", "float32", "r", x, {"reduction": reduction}), wrong=reduction == "none")
    assert conditions.text() == ""


def test_two_words_together_are_a_condition() -> None:
    both = told(lambda ignores, mean, masked: ignores and mean)
    assert both == "calls with labels to ignore and reduction = mean"


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 1.0])
def test_no_condition_is_told_where_chance_draws_one(share: float) -> None:
    rng = np.random.default_rng(5)
    assert seen(Conditions(OPS["softmax"]), lambda x: rng.random() < share) == ""


def test_a_slow_target_is_asked_a_part_of_a_sweep() -> None:
    """Every call for a while, then every eighth; calls that are no sweep are always asked."""
    pace = Pace(1.0)
    sweep = Batch("softmax", "float32", "sizes", {"x": np.zeros((2, 3), F32)}, {}, aspect="sweep")
    assert not pace.left_out(sweep)
    pace.took(sweep, 1.5)
    assert [bool(pace.left_out(sweep)) for _ in range(8)] == [True] * 7 + [False]
    assert not pace.left_out(rows(2, 3))
    assert "every 8th call of the rest of sizes" in pace.left_out(sweep)
