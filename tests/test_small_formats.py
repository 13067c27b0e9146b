"""Formats of 8 bits and fewer in use: true values against Arb, audits that pass and fail, whole domains, and a refusal."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from flint import arb, ctx
from numpy.typing import NDArray

from xent_verify import audit, reference
from xent_verify.cli import run
from xent_verify.core.formats import FORMATS, FloatFormat
from xent_verify.ops import op_named
from xent_verify.prove import Plan, Sweep, default_domain, domain_of, report_of
from xent_verify.prove.domain import Domain
from xent_verify.regimes import plan
from xent_verify.regimes.table import planned
from xent_verify.verdict.settings import Settings

SMALL = [form for form in FORMATS.values() if form.bits <= 8 and not form.scale]
small = pytest.mark.parametrize("form", SMALL, ids=lambda form: form.name)
TELLING = ("ordinary", "positions", "largest", "wide_spread", "underflow_edge", "integers", "nan", "masks")


def softmax(x: NDArray[Any], axis: int = -1) -> NDArray[Any]:
    """In float32, rounded once."""
    wide = x.astype(np.float32)
    with np.errstate(all="ignore"):
        e = np.exp(wide - wide.max(axis=axis, keepdims=True, initial=-np.inf))
        return np.asarray(e / e.sum(axis=axis, keepdims=True)).astype(x.dtype)


def logsumexp(x: NDArray[Any], axis: int = -1) -> NDArray[Any]:
    """In float32, rounded once."""
    wide = x.astype(np.float32)
    with np.errstate(all="ignore"):
        m = wide.max(axis=axis, keepdims=True)
        found = np.where(np.isinf(m), m, m + np.log(np.exp(wide - m).sum(axis=axis, keepdims=True)))
        return np.asarray(found.squeeze(axis)).astype(x.dtype)


def zero_softmax(x: NDArray[Any], axis: int = -1) -> NDArray[Any]:
    return np.zeros_like(x)


def zero_logsumexp(x: NDArray[Any], axis: int = -1) -> NDArray[Any]:
    return np.zeros_like(x.max(axis=axis))


def values_of(form: FloatFormat) -> list[Fraction]:
    """All finite values that are not below 0, ascending."""
    wide = form.widen(form.from_bits(np.arange(1 << (form.bits - 1))))
    return [Fraction(float(value)) for value in wide[np.isfinite(wide)]]


def rounded(form: FloatFormat, ball: arb) -> float:
    """The nearest value by comparison with all of them; the ends of a ball at a tie would differ, which fails."""
    values = values_of(form)
    low, high = (
        Fraction(int(end.man_exp()[0])) * Fraction(2) ** int(end.man_exp()[1]) for end in (ball.lower(), ball.upper())
    )
    quantum = values[-1] - values[-2]
    found = set()
    for end in (low, high):
        size = abs(end)
        if 2 * size >= 2 * values[-1] + quantum:
            found.add(form.beyond if end > 0 else -form.beyond)
        else:
            found.add(float(min(values, key=lambda v, s=size: abs(v - s))) * (1 if end >= 0 else -1))
    assert len(found) == 1
    return found.pop()


@small
def test_true_values_round_as_arb_s_balls_do(form: FloatFormat) -> None:
    """softmax and logsumexp of random rows, certified and rounded, are the nearest values to balls of 200 bits."""
    ctx.prec = 200
    generator = np.random.default_rng(5)
    inner = 1 if form.has_inf else 0
    x = form.from_ordinal(generator.integers(form.min_ordinal + inner, form.max_ordinal - inner + 1, (12, 3)))
    wide = form.widen(x)
    wide = np.where(generator.random(wide.shape) < 0.5, np.clip(wide, -4, 4), wide)  # not all of one logit alone
    x = form.narrow(wide)
    wide = form.widen(x)
    p, total = form.widen(reference("softmax", x).rounded(form)), form.widen(reference("logsumexp", x).rounded(form))
    for row, mine, whole in zip(wide, p, total, strict=True):
        terms = [arb(float(v - row.max())).exp() for v in row]
        s = sum(terms, arb(0))
        if len(set(row)) > 1:
            for term, value in zip(terms, mine, strict=True):
                assert value == rounded(form, term / s)
        np.testing.assert_equal(abs(whole), abs(rounded(form, s.log() + arb(float(row.max())))))


@small
@pytest.mark.parametrize(
    ("op", "sound", "fault"), [("softmax", softmax, zero_softmax), ("logsumexp", logsumexp, zero_logsumexp)]
)
def test_one_rounding_passes_and_zeros_fail(
    form: FloatFormat, op: str, sound: Callable[..., Any], fault: Callable[..., Any]
) -> None:
    """A target that computes in float32 and rounds once passes in each format; one that answers 0 fails in each."""
    given: dict[str, Any] = {"op": op, "dtypes": [form.name], "profile": "quick", "isolated": False, "regimes": TELLING}
    assert audit(sound, **given).ok
    assert not audit(fault, **given, fail_fast=True).ok


@small
def test_what_a_format_cannot_hold_is_not_asked_for(form: FloatFormat) -> None:
    """Regimes of NaN and of infinities are planned only where the format has them, and a float of it is all that is drawn."""
    names = {regime.name for regime in planned(op_named("softmax"), form)}
    assert ("nan" in names) == form.has_nan
    assert ("plus_inf" in names, "masks" in names) == (form.has_inf, form.has_inf)
    seen = np.concatenate(
        [form.widen(b.x).ravel() for b in plan("sigmoid", form, profile="quick", regimes=("every_value", "tiny"))]
    )
    assert np.isnan(seen).any() <= form.has_nan
    assert ((seen == 0) & np.signbit(seen)).any() == form.has_negative_zero


def test_the_largest_rows_of_24_bits_are_the_usual_domain() -> None:
    """Rows are triples in 8 bits, quadruples in 6 and sextuples in 4, each row once."""
    op = op_named("softmax")
    usual = {form.bits: default_domain(op, form) for form in SMALL}
    assert usual == {8: "triples", 6: "quadruples", 4: "sextuples"}
    four = Domain("sextuples", "float4_e2m1fn", by_row=True)
    assert four.size == four.chunks * four.chunk_rows == 16**6
    assert four.patterns(np.array([0x123DEF])).tolist() == [[1, 2, 3, 13, 14, 15]]
    six = Domain("quadruples", "float6_e3m2fn", by_row=True)
    assert six.patterns(np.array([(1 << 18) + (63 << 12) + 5])).tolist() == [[1, 63, 0, 5]]
    assert Domain("unary", "float4_e2m1fn", by_row=False).chunk_rows == 16


@pytest.mark.parametrize(("target", "ok"), [(softmax, True), (zero_softmax, False)])
def test_every_triple_of_four_bits_is_walked(target: Callable[..., Any], ok: bool) -> None:
    """All 4096 rows of three float4 numbers are proved to be right, or found to be wrong."""
    domain = domain_of(op_named("softmax"), FORMATS["float4_e2m1fn"], "triples")
    planned_call = Plan(target, "softmax", domain, Settings(isolated=False))
    report = report_of(planned_call, Sweep(planned_call).run())
    assert report.ok == ok
    assert report.targets[0].dtypes[0].cases == 3 * 16**3


def test_scales_are_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """float8_e8m0fnu holds no logits: exit 2, and the reason."""
    assert run(["audit", "stable", "--op", "softmax", "--dtype", "float8_e8m0fnu"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "softmax is not defined in float8_e8m0fnu, which has neither a sign nor a zero" in said
