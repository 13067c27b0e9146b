"""What a target refuses on purpose is no fault: options in another float format, a label to ignore beside probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xent_verify import audit
from xent_verify.core.formats import FORMATS
from xent_verify.core.model import Batch
from xent_verify.implementations import find
from xent_verify.ops import op_named
from xent_verify.ops.defined import undefined
from xent_verify.report.words import coverage

right = find("stable", "cross_entropy").call


def strict(logits: Any, target: Any, *, weight: Any = None, **options: Any) -> Any:
    """Beside labels it takes weights of the format of its logits alone."""
    if weight is not None and np.ndim(target) == 1 and np.asarray(weight).dtype != logits.dtype:
        raise RuntimeError("expected scalar type Half but found Float")
    return right(logits, target, weight=weight, **options)


def promoting(logits: Any, target: Any, *, weight: Any = None, **options: Any) -> Any:
    """Answers in the wider of the formats of logits and weights, as NumPy promotes."""
    found = right(logits, target, weight=weight, **options)
    return found if weight is None else np.asarray(found, np.result_type(logits.dtype, np.asarray(weight).dtype))


def broken(logits: Any, target: Any, *, weight: Any = None, **options: Any) -> Any:
    """Raises for weights of any format, though not always."""
    if weight is not None and float(np.asarray(weight, np.float64).max()) > 1.0:
        raise RuntimeError("weights above 1")
    return right(logits, target, weight=weight, **options)


def failures(target: Any) -> tuple[set[str], tuple[str, ...]]:
    report = audit(target, op="cross_entropy", dtypes=["float16"], profile="quick", regimes=["ordinary", "options"])
    result = report.targets[0].dtypes[0]
    return {finding.kind for finding in result.findings if finding.severity == "fail"}, coverage(result)


def test_weights_of_another_format_may_be_refused_and_that_is_said() -> None:
    failed, lacks = failures(strict)
    assert failed == set()
    assert any("float64 weight" in text or "another float format" in text for text in lacks)


def test_a_result_in_the_format_of_the_weights_is_promoted() -> None:
    assert failures(promoting)[0] == set()


def test_raising_for_some_weights_stays_a_fault() -> None:
    assert "exception" in failures(broken)[0]


@pytest.mark.parametrize("fmt", ["float32", "bfloat16"])
def test_a_label_to_ignore_beside_probabilities_is_not_defined(fmt: str) -> None:
    form = FORMATS[fmt]
    inputs = {"logits": form.narrow(np.zeros((1, 2))), "target": form.narrow(np.full((1, 2), 0.5))}
    op = op_named("cross_entropy")
    assert "no labels to ignore" in undefined(op, Batch("cross_entropy", fmt, "", inputs, {"ignore_index": 0}))
    assert undefined(op, Batch("cross_entropy", fmt, "", inputs, {"ignore_index": -7})) == ""


def test_a_layout_may_be_refused_in_one_rank_alone() -> None:
    """A function of one row: rows in falling order are ordinary to it, a row that is read backwards is not."""

    def of_one_row(x: Any) -> Any:
        if x.ndim != 1 or not x.flags.c_contiguous:
            raise ValueError("one contiguous row")
        return find("stable", "softmax").call(x)

    report = audit(of_one_row, op="softmax", dtypes=["float32"], profile="quick", regimes=["ordinary", "layouts"])
    assert not report.failed
    assert report.targets[0].dtypes[0].offered["layout upside_down"] is False
