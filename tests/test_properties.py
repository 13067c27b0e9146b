"""Companion calls and laws: silent on sound code in every format, loud on each planted fault."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from samples import thinned

from xent_verify.auditing.findings import Asker
from xent_verify.candidates import open_candidate
from xent_verify.companions import COMPANIONS
from xent_verify.core.formats import FORMATS
from xent_verify.core.model import Batch, Returned
from xent_verify.implementations import IMPLEMENTATIONS, Implementation, find
from xent_verify.laws import LAWS
from xent_verify.ops import OPS, op_named
from xent_verify.ops.limits import limits_of
from xent_verify.regimes import plan
from xent_verify.verdict.judge import Hit, Rules
from xent_verify.verdict.policies import parse_policy
from xent_verify.verdict.properties import Ask

COMPANION = {companion.name: companion for companion in COMPANIONS}
SOUND = [entry for entry in IMPLEMENTATIONS if entry.sound]


def asker(function: Callable[..., Any], op: str) -> Ask:
    return open_candidate(function, op, arrays="numpy").call


def checks(ask: Ask, batch: Batch, policy: str = "standard", only: str = "") -> Iterator[tuple[str, Hit]]:
    """(name, hit) of every companion and law, on one call."""
    op = op_named(batch.op)
    outcome = ask(batch)
    if not isinstance(outcome, Returned):
        return
    limit = limits_of(op, batch, parse_policy(policy).machine(batch.form)).error
    for companion in COMPANIONS:
        if companion.name == only or (not only and companion.when != "lasting"):  # a second each: tests of their own
            yield from ((companion.name, hit) for hit in companion.run(ask, op, batch, outcome, limit))
    for name in op.laws:
        if only in ("", name):
            yield from ((name, hit) for hit in LAWS[name].check(ask, op, batch, outcome.value, limit))


def failures(ask: Ask, batch: Batch, policy: str = "standard", only: str = "") -> list[tuple[str, Hit]]:
    return [(name, hit) for name, hit in checks(ask, batch, policy, only) if hit.severity == "fail"]


def first_calls(op: str, fmt: str) -> list[Batch]:
    """The first small call of every regime."""
    found: dict[str, Batch] = {}
    for batch in plan(op, fmt, profile="quick", seed=3):
        if 1 < batch.x.size <= 1000:
            found.setdefault(batch.regime, batch)
    return list(found.values())


@pytest.mark.parametrize("every", thinned(8))
@pytest.mark.parametrize("entry", SOUND, ids=lambda entry: entry.qualified)
def test_sound_code_breaks_nothing(entry: Implementation, every: int) -> None:
    """No companion and no law fails a sound implementation, whatever the regime; formats and regimes in turn."""
    formats, turn = [name for name in FORMATS if name in OPS[entry.op].formats], SOUND.index(entry)
    fmt = formats[turn % len(formats)]
    ask = asker(entry.call, entry.op)
    for batch in first_calls(entry.op, fmt)[turn % every :: every]:
        assert failures(ask, batch, entry.policy) == [], batch.regime


def test_every_law_that_an_op_names_exists() -> None:
    """Ops name laws of the table, every law is used, and each says what it states."""
    used = set(itertools.chain.from_iterable(op.laws for op in OPS.values()))
    assert used == set(LAWS)
    assert all(law.about and law.body.__doc__ for law in LAWS.values())


X = np.array([[0.0, 1.0, 5.0, -2.0], [2.0, 4.0, -1.0, 0.5], [-3.0, -3.5, 1.0, 0.0]], np.float32)
SOFTMAX, LOG_SOFTMAX, LOGSUMEXP = (find("stable", op).call for op in ("softmax", "log_softmax", "logsumexp"))
LOSS, GRADIENT = find("stable", "cross_entropy").call, find("stable", "cross_entropy_grad").call


def batch_of(op: str, x: Any = X, *, fmt: str = "float32", **options: Any) -> Batch:
    inputs = {"x": np.asarray(x, FORMATS[fmt].dtype)}
    if op.startswith("cross_entropy"):
        inputs = {"logits": inputs["x"], "target": np.arange(len(x)) % 3}
    return Batch(op, fmt, "test", inputs, options)


def drifting() -> Callable[..., Any]:
    calls = itertools.count(1)
    return lambda x, axis=-1: SOFTMAX(x, axis) * np.float32(1 + 1e-3 * (next(calls) % 3))


def remembering() -> Callable[..., Any]:
    seen: dict[Any, Any] = {}
    return lambda x, axis=-1: seen.setdefault((x.shape, x.ravel()[0].item(), x.ravel()[-1].item()), LOGSUMEXP(x, axis))


def leaking() -> Callable[..., Any]:
    kept = [np.float32(0)]

    def call(x: Any, axis: int = -1) -> Any:
        extra, kept[0] = kept[0], np.float32(np.nan_to_num(np.abs(x).max()) >= 1000)
        return SOFTMAX(x, axis) * (1 - np.float32(0.5) * extra)

    return call


def by_batch_maximum(x: Any, axis: int = -1) -> Any:
    terms = np.exp(x - x.max())
    return terms / terms.sum(axis=axis, keepdims=True)


def memory_order(x: Any, axis: int = -1) -> Any:
    return SOFTMAX(x.ravel(order="K").reshape(x.shape), axis)


def wrong_inner_axis(x: Any, axis: int = -1) -> Any:
    return SOFTMAX(x, axis if axis in (-1, x.ndim - 1) else 0)


PLANTED = [
    pytest.param("repeat", "nondeterministic", "softmax", drifting, id="drifting"),
    pytest.param("state", "stateful", "softmax", leaking, id="leaking"),
    pytest.param("state", "stateful", "logsumexp", remembering, id="remembering"),
    pytest.param("neighbours", "batch_dependence", "softmax", lambda: by_batch_maximum, id="batch maximum"),
    pytest.param("layouts", "layout_dependence", "softmax", lambda: memory_order, id="memory order"),
]


@pytest.mark.parametrize(("name", "kind", "op", "make"), PLANTED)
def test_companions_catch(name: str, kind: str, op: str, make: Any) -> None:
    """Each companion fails a function that depends on more than the row's values, and names the kind."""
    found = failures(asker(make(), op), batch_of(op), only=name)
    assert {hit.kind for _, hit in found} == {kind}
    assert all(hit.message and hit.count >= 1 and hit.index is not None for _, hit in found)


def test_alone_catches_a_row_that_needs_company() -> None:
    """A function that treats a batch of one row in another way is caught."""
    lonely = asker(lambda x, axis=-1: SOFTMAX(x, axis) * np.float32(1 if len(x) > 1 else 0.5), "softmax")
    assert "alone" in {name for name, _ in failures(lonely, batch_of("softmax"))}


def test_axis_catches_an_inner_axis_taken_for_the_first() -> None:
    """Along an inner axis the same rows must answer as along the last one."""
    x = np.arange(24.0).reshape(2, 3, 4) % 7
    found = failures(asker(wrong_inner_axis, "softmax"), batch_of("softmax", x, axis=1), only="axis")
    assert [hit.kind for _, hit in found] == ["layout_dependence"]


def test_bits_alone_are_information() -> None:
    """A last bit that changes with the neighbours, within the limit, is told but does not fail."""

    def fuzzy(x: Any, axis: int = -1) -> Any:
        p = SOFTMAX(x, axis)
        return p if len(x) == len(X) else np.nextafter(p, np.float32(1))

    found = list(checks(asker(fuzzy, "softmax"), batch_of("softmax"), only="alone"))
    assert [(hit.kind, hit.severity) for _, hit in found] == [("batch_dependence", "info")]


def test_a_nan_stays_in_its_row() -> None:
    """One NaN row in the batch is no reason to report; one that spreads to other rows is."""
    batch = batch_of("log_softmax", np.vstack([X, np.full(4, np.nan)]))
    assert failures(asker(LOG_SOFTMAX, "log_softmax"), batch) == []

    def spreading(x: Any, axis: int = -1) -> Any:
        return LOG_SOFTMAX(x, axis) + (np.float32(np.nan) if np.isnan(x).any() else 0)

    assert "neighbours" in {name for name, _ in failures(asker(spreading, "log_softmax"), batch_of("log_softmax"))}


def test_what_is_not_offered_is_no_failure() -> None:
    """A function that refuses NaN, other layouts or single rows is not failed here; that is judged elsewhere."""

    def strict(x: Any, axis: int = -1) -> Any:
        if np.isnan(x).any() or len(x) == 1 or not x.flags.c_contiguous:
            raise ValueError("refused")
        return SOFTMAX(x, axis)

    assert failures(asker(strict, "softmax"), batch_of("softmax")) == []


def clamped(x: Any, axis: int = -1) -> Any:
    e = np.exp(np.clip(x, -4, 4))
    return e / e.sum(axis=axis, keepdims=True)


def order_dependent(x: Any, axis: int = -1) -> Any:
    return SOFTMAX(x + np.float32(1e-3) * np.arange(x.shape[-1], dtype=np.float32), axis)


BROKEN = [
    ("shift", "softmax", clamped),
    ("permutation", "softmax", order_dependent),
    ("sum_to_one", "softmax", lambda x, axis=-1: SOFTMAX(x, axis) * np.float32(1.0001)),
    ("range", "softmax", lambda x, axis=-1: SOFTMAX(x, axis) - np.float32(0.01)),
    ("monotone", "softmax", lambda x, axis=-1: SOFTMAX(np.where(x < -1, -x, x), axis)),
    ("exp_sums_to_one", "log_softmax", lambda x, axis=-1: LOG_SOFTMAX(x, axis) - np.float32(1e-4)),
    ("not_positive", "log_softmax", lambda x, axis=-1: LOG_SOFTMAX(x, axis) + np.float32(0.1)),
    ("shift_adds", "logsumexp", lambda x, axis=-1: LOGSUMEXP(x, axis) * np.float32(1.0001)),
    ("at_least_max", "logsumexp", lambda x, axis=-1: LOGSUMEXP(x, axis) - np.float32(1)),
    ("concatenation", "logsumexp", lambda x, axis=-1: LOGSUMEXP(x, axis) * np.float32(1.001)),
    ("not_negative", "cross_entropy", lambda logits, target, **o: -LOSS(logits, target, **o)),
    ("one_hot", "cross_entropy", lambda logits, target, **o: LOSS(logits, target, **o) * np.float32(target.ndim)),
    ("rows_sum_to_zero", "cross_entropy_grad", lambda logits, target: GRADIENT(logits, target) * (X > -1)),
]


@pytest.mark.parametrize(("name", "op", "function"), BROKEN, ids=[f"{b[0]}-{b[1]}" for b in BROKEN])
def test_laws_catch(name: str, op: str, function: Callable[..., Any]) -> None:
    """Each law fails a function that breaks it, with a sentence and a place."""
    found = failures(asker(function, op), batch_of(op), only=name)
    assert {hit.kind for _, hit in found} == {"property"}
    assert all(hit.message and hit.index is not None and hit.ratio is not None and hit.ratio > 1 for _, hit in found)


def test_shift_allows_what_the_policy_allows() -> None:
    """lse - x_t far from 0 is off by roundings of its logits: broken by the policy ``standard``, kept by ``backward``."""

    def plain(logits: Any, target: Any, reduction: str = "mean") -> Any:
        return LOGSUMEXP(logits) - logits[np.arange(len(target)), target]

    one = batch_of("cross_entropy", np.zeros((1, 2)), reduction="none")
    ask = asker(plain, "cross_entropy")
    for policy, kept in (("standard", False), ("backward", True)):
        hits, _ = Asker(op_named("cross_entropy"), ask, Rules(parse_policy(policy)), "plain").hits(one, "shift")
        assert (not hits) is kept


@pytest.mark.parametrize("law", ["shift", "sum_to_one", "range", "monotone"])
def test_laws_fail_nan_where_a_number_is_due(law: str) -> None:
    """NaN for finite logits breaks every law that looks at it: overflow needs no oracle."""
    naive = find("naive", "softmax").call
    batch = batch_of("softmax", np.array([[0.0, 1.0, 88.0], [0.0, 1.0, 90.0]]))
    assert failures(asker(naive, "softmax"), batch, only=law)


def test_laws_hold_on_a_row_of_a_million() -> None:
    """Laws need no truth, so they run on rows that are as long as a vocabulary times a batch."""
    x = np.random.default_rng(5).normal(size=(1, 10**6)).round(2).astype(np.float32)
    for op in ("softmax", "logsumexp"):
        batch, ask = Batch(op, "float32", "test", {"x": x}), asker(find("stable", op).call, op)
        value = np.asarray(ask(batch).value)  # type: ignore[union-attr]
        limit = limits_of(OPS[op], batch, parse_policy("standard").machine(FORMATS["float32"])).error
        for name in OPS[op].laws:
            assert LAWS[name].check(ask, OPS[op], batch, value, limit) == [], name
