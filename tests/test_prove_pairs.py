"""The fast judge of pairs says what the audit's own truth, measure and judge say, answer by answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xent_verify.core.formats import FORMATS
from xent_verify.core.model import Returned
from xent_verify.implementations import find
from xent_verify.ops import op_named
from xent_verify.ops.limits import Limits
from xent_verify.prove.certified import count_judged, remeasured
from xent_verify.prove.counts import Counts
from xent_verify.prove.domain import Domain
from xent_verify.prove.pairs import PairJudge, available
from xent_verify.verdict.judge import Rules
from xent_verify.verdict.policies import parse_policy

OPS = ("softmax", "log_softmax", "logsumexp")
FMTS = ("bfloat16", "float16")


def answers_of(op: str, fmt: str, pattern: int, target: str, faults: int = 0, seed: int = 0) -> Any:
    """(rows, inputs, answers) of one first logit; some answers replaced by any bits, zeros, infinities, neighbours."""
    domain = Domain("pairs", fmt, True)
    rows = (pattern << 16) + np.arange(1 << 16)
    x = domain.values(rows)
    with np.errstate(all="ignore"):
        value = find(target, op).call(x)
    if faults:
        rng = np.random.default_rng(seed + pattern)
        bits = domain.form.to_bits(value).reshape(-1).copy()
        for change in (
            lambda old: rng.integers(0, 1 << 16, old.shape),
            lambda old: old * 0,
            lambda old: old * 0 + 0x8000,
            lambda old: old * 0 + domain.form.max_ordinal,
            lambda old: old * 0 + domain.form.max_ordinal + 0x8000,
            lambda old: old * 0 + domain.form.max_ordinal + 1,
            lambda old: old + 1,
            lambda old: old - 1,
            lambda old: old + 2,
            lambda old: old ^ 0x8000,
        ):
            place = rng.integers(0, bits.size, faults)
            bits[place] = change(bits[place].astype(np.int64)).astype(np.uint16)
        value = domain.form.from_bits(bits).reshape(value.shape)
    return domain, rows, x, value


def both(op: str, fmt: str, pattern: int, value: Any, rows: Any, x: Any, policy: str) -> tuple[Counts, Counts, int]:
    """The counts of the fast judge (with the sure way for what it leaves), of the sure way alone, and how many it left."""
    domain, rules, operation = Domain("pairs", fmt, True), Rules(parse_policy(policy)), op_named(op)
    fast, sure = Counts(), Counts()
    judge = PairJudge(operation, domain.form, rules)
    left = np.sort(judge.count(fast, pattern, domain.form.to_bits(value).reshape(len(rows), -1)))
    judge.regions.drain(fast)
    fast.best = remeasured(operation, domain, rules, fast.best)
    if left.size:
        count_judged(fast, operation, domain, rules, rows[left], x[left], Returned(value[left], fmt))
    count_judged(sure, operation, domain, rules, rows, x, Returned(value, fmt))
    return fast, sure, left.size


def assert_same(fast: Counts, sure: Counts) -> None:
    """Equal counts, bins, cells; maxima of the same size (to what both are known to)."""
    one, two = fast.to_plain(), sure.to_plain()
    best, other = one.pop("best"), two.pop("best")
    assert one == two
    assert set(best) == set(other)
    for what, held in fast.best.items():
        assert held.value == pytest.approx(sure.best[what].value, rel=1e-9, abs=2e-8), what


def edges(fmt: str) -> list[int]:
    """First logits of every kind: zeros, subnormal, tiny, ordinary, at the edges of exp, huge, infinite, NaN."""
    form = FORMATS[fmt]
    values = np.array([0.0, form.smallest_subnormal, 2.0**-12, -0.34, 0.69, 1.0, -3.0, 11.1, -88.5, 90.0, 500.0])
    top = [form.max_ordinal - 1, 0x8000 + form.max_ordinal - 1, form.max_ordinal, form.max_ordinal + 1, 0x8000]
    return [*(int(bits) for bits in form.to_bits(form.narrow(values))), *top]


@pytest.mark.parametrize("fmt", FMTS)
@pytest.mark.parametrize("op", OPS)
def test_it_agrees_on_sound_and_on_naive_answers(op: str, fmt: str) -> None:
    """Counts, classes, bins, regions and maxima are the judge's own, for first logits of every kind."""
    rng = np.random.default_rng(7)
    patterns = edges(fmt)
    patterns = [patterns[k] for k in rng.permutation(len(patterns))[:5]]
    for number, pattern in enumerate([*patterns, int(rng.integers(0, 1 << 16))]):
        _, rows, x, value = answers_of(op, fmt, pattern, "stable" if number % 2 else "naive")
        fast, sure, _ = both(op, fmt, pattern, value, rows, x, "standard")
        assert_same(fast, sure)


@pytest.mark.parametrize("policy", ["standard", "native", "ulp:2"])
@pytest.mark.parametrize("fmt", FMTS)
@pytest.mark.parametrize("op", OPS)
def test_it_agrees_on_wrong_answers(op: str, fmt: str, policy: str) -> None:
    """Any bits, zeros, infinities, NaNs, neighbours, turned signs: the class, the bin and the maxima are the judge's."""
    rng = np.random.default_rng(11)
    patterns = [edges(fmt)[int(rng.integers(0, 11))], int(rng.integers(0, 1 << 16))]
    for pattern in patterns:
        _, rows, x, value = answers_of(op, fmt, pattern, "stable", faults=700)
        fast, sure, _ = both(op, fmt, pattern, value, rows, x, policy)
        assert_same(fast, sure)


@pytest.mark.parametrize("op", OPS)
def test_almost_nothing_is_left_to_the_sure_way(op: str) -> None:
    """Beside infinities, a sound target's pairs are decided fast."""
    for pattern in (0x3F9A, 0xC17B, 0x0123):
        _, rows, x, value = answers_of(op, "bfloat16", pattern, "stable")
        _, _, left = both(op, "bfloat16", pattern, value, rows, x, "standard")
        assert left < 200


def test_a_wrong_bound_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that is off by a twentieth changes the counts (the comparison has power)."""
    _, rows, x, value = answers_of("softmax", "bfloat16", 0x3F80, "stable", faults=3000)
    original = PairJudge._limits

    def loosened(self: PairJudge, segment: Any) -> Limits:
        found = original(self, segment)
        return Limits(found.error * 1.05, found.wild, found.free)

    monkeypatch.setattr(PairJudge, "_limits", loosened)
    fast, sure, _ = both("softmax", "bfloat16", 0x3F80, value, rows, x, "standard")
    with pytest.raises(AssertionError):
        assert_same(fast, sure)


def test_other_rules_take_the_sure_way() -> None:
    """Policies, formats and operations that the fast judge does not know are not its own."""
    softmax, bf16 = op_named("softmax"), FORMATS["bfloat16"]
    assert available(softmax, bf16, Rules())
    assert not available(softmax, bf16, Rules(parse_policy("allclose:1e-3,1e-5")))
    assert not available(softmax, FORMATS["float8_e5m2"], Rules())
    assert not available(op_named("sigmoid"), bf16, Rules())
