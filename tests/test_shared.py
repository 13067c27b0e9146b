"""Targets that are asked the same share the calls of a plan and their truth; what is found does not depend on it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest

from xent_verify.auditing import shared
from xent_verify.auditing.audit import audit
from xent_verify.core.model import Batch
from xent_verify.ops import OPS
from xent_verify.regimes import REGIMES

OP, REGIME = OPS["softmax"], REGIMES["ordinary"]


@pytest.fixture(autouse=True)
def empty() -> Iterator[None]:
    shared._KEPT.clear()
    yield
    shared._KEPT.clear()


def calls(count: int = 3, size: int = 2) -> Iterator[Batch]:
    for number in range(count):
        yield Batch("softmax", "float32", "ordinary", {"x": np.full((1, size), number, np.float32)})


def test_a_second_target_is_asked_the_same_objects() -> None:
    first = list(shared.calls_of(OP, REGIME, "a", calls))
    again = list(shared.calls_of(OP, REGIME, "a", calls))
    other = list(shared.calls_of(OP, REGIME, "b", calls))
    assert [*map(id, first)] == [*map(id, again)]
    assert not {*map(id, first)} & {*map(id, other)}


def test_a_walk_that_was_cut_is_taken_up_by_the_next() -> None:
    short = shared.calls_of(OP, REGIME, "a", calls)
    next(short)
    short.close()
    assert [batch.x[0, 0] for batch in shared.calls_of(OP, REGIME, "a", calls)] == [0, 1, 2]


def test_truth_is_certified_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Batch] = []
    certify = shared.certify
    monkeypatch.setattr(shared, "certify", lambda batch, **how: asked.append(batch) or certify(batch, **how))
    for _ in range(2):
        for batch in shared.calls_of(OP, REGIME, "a", calls):
            shared.truth_of(batch)
    assert len(asked) == 3


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_cannot_be_drawn_is_met_by_every_target(error: type[BaseException]) -> None:
    def broken() -> Iterator[Batch]:
        yield from calls(1)
        raise error("cannot")

    for _ in range(2):
        with pytest.raises(error, match="cannot"):
            list(shared.calls_of(OP, REGIME, "a", broken))


def test_two_walks_at_once_each_see_every_call() -> None:
    one, other = (shared.calls_of(OP, REGIME, "a", calls) for _ in range(2))
    seen = [next(one), next(other), next(other)]
    assert [batch.x[0, 0] for batch in (*seen, *one, *other)] == [0, 0, 1, 1, 2, 2]


def test_what_is_too_much_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "_MOST", 5)
    assert len(list(shared.calls_of(OP, REGIME, "a", lambda: calls(4)))) == 4
    assert not shared._KEPT.truths


def test_results_are_those_of_an_audit_of_its_own() -> None:
    def told() -> str:
        report = audit("naive", op="softmax", dtypes=["float16"], profile="quick", regimes=["ordinary", "ties"])
        return json.dumps(json.loads(report.to_json())["targets"])

    alone = told()
    audit("stable", op="softmax", dtypes=["float16"], profile="quick", regimes=["ordinary", "ties"])
    assert told() == alone
