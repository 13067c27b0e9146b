"""Double-doubles with a radius: every interval contains the exact value, and most are narrow enough to decide."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import libmp
from samples import thinned

from xent_verify.core.enclosure import Enclosure
from xent_verify.core.formats import FORMATS
from xent_verify.core.model import Batch
from xent_verify.ops import OPS, op_of
from xent_verify.ops.limits import arguments_of
from xent_verify.ops.rows import Rows
from xent_verify.regimes import plan
from xent_verify.truth import certify, closer, exact
from xent_verify.truth.balls import Ball, Balls, enclosed
from xent_verify.truth.certify import _read
from xent_verify.truth.intervals import LIMIT_POINTS, Interval

Verb = Callable[..., Any]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with np.errstate(all="ignore"):
        yield


def contains(ball: Enclosure, true: Sequence[Interval]) -> bool:
    """Whether intervals of an exact reading, far narrower, lie within those of the fast one."""
    for place, number in enumerate(true):
        if number.lo in LIMIT_POINTS or not np.isfinite(ball.hi[place]) or ball.radius[place] >= 3:
            continue
        if abs(int(ball.exponent[place])) > 2000 or 0 < ball.radius[place] <= 2.0**-899:  # the finest that fields hold
            continue
        low, high = ball.bounds(place)
        least, most = (Fraction(*map(int, libmp.to_rational(end))) for end in (number.lo, number.hi))
        if not (low <= least and most <= high):
            return False
    return True


def _expm1(a: Any, x: Any) -> Any:
    return a.expm1(x) if isinstance(a, Balls) else a.exp(x) - 1


VERBS: list[tuple[str, Verb]] = [
    ("add", lambda a, x, y: x + y),
    ("subtract", lambda a, x, y: x - y),
    ("multiply", lambda a, x, y: x * y),
    ("divide", lambda a, x, y: x / y),
    ("exp", lambda a, x, y: a.exp(x * (1 / (1 + a.abs(y))))),
    ("expm1", lambda a, x, y: _expm1(a, x * 2.0**-12) + _expm1(a, x / (1 + y * y)) * 2.0**-30),
    ("log", lambda a, x, y: a.log(a.abs(x) + a.abs(y))),
    ("log of a quotient", lambda a, x, y: a.log((1 + a.abs(x)) / (1 + a.abs(y)))),
    ("log1p", lambda a, x, y: a.log1p(a.exp(-a.abs(x)) * a.exp(-a.abs(y)))),
    ("sum", lambda a, x, y: a.sum(a.softmax(x) * y)),
    ("sum of products", lambda a, x, y: a.sum(x * y) - a.max(x * y)),
    ("exact quotient", lambda a, x, y: (x * y) / y + x / 8),
    ("maximum", lambda a, x, y: a.maximum(x * 3 - y, x * 5 + y)),
    ("sparsemax", lambda a, x, y: a.entmax(x * y, 1)),
    ("entmax", lambda a, x, y: a.entmax(x + y, 2)),
    ("max", lambda a, x, y: a.max(x * y)),
    ("softplus", lambda a, x, y: a.softplus(x) - a.softplus(y)),
    ("square", lambda a, x, y: a.logsumexp(x) ** 2),
]
numbers = st.floats(allow_nan=False, allow_infinity=False, width=32) | st.floats(-20, 20) | st.just(0.0)


@pytest.mark.parametrize(("name", "verb"), VERBS, ids=[name for name, _ in VERBS])
@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_each_step_contains_the_exact_value(name: str, verb: Verb, data: st.DataObject) -> None:
    """Intervals of 3000 bits lie within the double-double ones, whatever the operands."""
    rows = np.array(data.draw(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=5)))
    call = Batch(name, "float64", "test", {"x": rows[:, 0][None, :], "y": rows[:, 1][None, :]})
    op = op_of(verb, name)
    a = Balls()
    width = len(rows) if op.result == "elements" else 1
    ball = enclosed(a.add(verb(a, **arguments_of(op, call, a)), Ball(a, np.zeros((1, width))))).reshape(-1)
    true = exact._read(op, call, 0, exact.BigArithmetic(3000), list(range(width)))
    assert contains(ball, true)


@pytest.mark.parametrize("every", thinned(3))
@pytest.mark.parametrize("op", list(OPS))
def test_what_it_decides_is_the_certified_value(op: str, every: int) -> None:
    """On calls of the plan with finite logits: where the fast reading decides, it agrees with the other tiers."""
    algorithm, decided, values = next(iter(OPS[op].algorithms.values())), 0, 0
    for call in [call for call in plan(op, "float32", profile="quick") if 0 < call.x.size < 500][:: 4 * every]:
        if not np.isfinite(call.x.astype(np.float64)).all():  # algorithms are no formulas there
            continue
        view, a = Rows.of_call(OPS[op], call), Balls()
        truth = certify(call)
        width = OPS[op].result_width(call)
        shape = (1,) if OPS[op].result == "loss" and truth.shape == () else (view.count, width)
        ball = enclosed(a.add(algorithm(a, **arguments_of(OPS[op], call, a)), Ball(a, np.zeros(shape))))
        if OPS[op].result == "elements" and OPS[op].by_row:
            fields: list[Any] = [view.back(field) for field in ball.fields]
            ball = Enclosure(*fields)
        mine, sure = ball.reshape(-1), truth.reshape(-1)
        known = mine.decided("float32") & (mine.radius < 3)
        assert np.array_equal(mine.rounded("float32")[known], sure.rounded("float32")[known], equal_nan=True), (
            call.regime
        )
        decided, values = decided + int(known.sum()), values + known.size
    assert decided > 0.3 * values


def test_a_page_of_ones_own_is_decided_without_the_slow_tier() -> None:
    """Ordinary rows of an operation that is one function cost no interval arithmetic."""

    def entropy(a: Any, x: Any) -> Any:
        return a.logsumexp(x) - a.sum(a.softmax(x) * x)

    x = np.random.default_rng(0).normal(size=(200, 33)).astype(np.float32)
    found = _read(op_of(entropy, "entropy"), Batch("entropy", "float32", "test", {"x": x}), FORMATS["float32"])
    assert (found.tier == 2).all()
    p = np.exp(x.astype(np.float64))
    p /= p.sum(axis=1, keepdims=True)
    assert found.to_float64() == pytest.approx(-(p * np.log(p)).sum(axis=1), rel=1e-12)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_what_is_closer_contains_the_exact_value(data: st.DataObject) -> None:
    """Rows that nearly agree, and any others: the closer algorithm contains what the page's first one gives exactly."""
    x = np.array([data.draw(st.lists(numbers, min_size=1, max_size=4))])
    step = data.draw(st.sampled_from([1e-30, 1e-9, 1e-3, 1.0, 50.0, 1e4]))
    y = x - step * np.array([[data.draw(st.sampled_from([-1.0, 0.0, 0.5, 1.0, np.inf])) for _ in x[0]]])
    op = OPS["js_divergence"]
    call = Batch(op.name, "float64", "test", {"p_logits": x, "q_logits": y})
    a = Balls()
    ball = enclosed(closer._js_divergence(a, a.input(x), a.input(y))).reshape(-1)
    true = exact._read(op, call, 0, exact.BigArithmetic(3000), [0])
    assert contains(ball, true)
