"""Limits that the machine derives from the algorithms of an operation."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from samples import in_turn, thinned

from xent_verify.core.formats import FORMATS
from xent_verify.core.model import Batch, Returned
from xent_verify.ops import OPS
from xent_verify.ops.limits import limits_of, run
from xent_verify.ops.machine import Machine
from xent_verify.regimes import plan
from xent_verify.truth import certify
from xent_verify.verdict.judge import Rules, judge
from xent_verify.verdict.policies import POLICIES

F32 = FORMATS["float32"]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Infinities and NaN are part of the plan."""
    with np.errstate(all="ignore"):
        yield


MACHINE = POLICIES["standard"].machine(F32)
ALGORITHMS = [(op, name) for op, entry in OPS.items() for name in entry.algorithms]


@functools.cache
def calls(op: str, fmt: str) -> list[Batch]:
    """The small calls of the quick plan, smaller ones where truth is read from the page alone."""
    largest = 300 if OPS[op].formula is None else 3000
    return [batch for batch in plan(op, fmt, profile="quick") if 0 < batch.x.size <= largest]


def hand_derived(x: np.ndarray, machine: Machine) -> dict[str, np.ndarray]:
    """Limits of the shifted forms by pencil: Blanchard, Higham & Higham's analysis, element by element."""
    u, n = machine.steps.unit_roundoff, x.shape[1]
    d = x.max(axis=1, keepdims=True) - x
    e = np.exp(-d)
    s = e.sum(axis=1, keepdims=True)
    p, log_s = e / s, np.log(s)
    mean_gap = (p * d).sum(axis=1, keepdims=True)
    row = mean_gap + machine.sigma(n) + machine.k_exp + machine.k_log * log_s
    return {
        "softmax": p * (d + mean_gap + machine.sigma(n) + 2 * machine.k_exp + 1) * u,
        "log_softmax": (d + row) * u + (d + log_s) * u,
    }


@pytest.mark.parametrize("op", ["softmax", "log_softmax"])
@pytest.mark.parametrize("n", [2, 17, 1000])
def test_the_shifted_limit_is_the_hand_derived_one(op: str, n: int) -> None:
    """From four lines of algorithm comes the limit of the literature, to 1 %."""
    rng = np.random.default_rng(n)
    x = (rng.normal(size=(50, n)) * rng.choice([1, 5, 20], (50, 1))).astype(np.float32)
    call = Batch(op, "float32", "test", {"x": x})
    only = replace(OPS[op], algorithms={"shifted": OPS[op].algorithms["shifted"]}, widest=())
    mine, hand = limits_of(only, call, MACHINE).error, hand_derived(x.astype(np.float64), MACHINE)[op]
    large = hand > 1e-30
    assert np.max(np.abs(mine / hand - 1)[large]) < 0.01


@pytest.mark.parametrize(("op", "fmt"), in_turn(list(OPS), ["float32", "bfloat16"]))
def test_the_widest_algorithms_contain_the_others(op: str, fmt: str) -> None:
    """The limit of all named algorithms is that of the few that are read, on every call of the plan."""
    machine = POLICIES["standard"].machine(FORMATS[fmt])
    every = replace(OPS[op], widest=())
    for call in calls(op, fmt)[::3]:
        few, all_of_them = (limits_of(entry, call, machine).error for entry in (OPS[op], every))
        assert np.all(all_of_them <= few * (1 + 1e-9)), call.regime


@pytest.mark.parametrize("every", thinned(15))
@pytest.mark.parametrize(("op", "name"), ALGORITHMS)
def test_no_algorithm_exceeds_its_own_limit(op: str, name: str, every: int) -> None:
    """Each algorithm, run in floats, stays within the limit that was derived from it alone."""
    only = replace(OPS[op], algorithms={name: OPS[op].algorithms[name]}, widest=())
    for fmt, policy in (("float32", "standard"), ("bfloat16", "standard"), ("bfloat16", "native")):
        form = FORMATS[fmt]
        machine = POLICIES[policy].machine(form)
        for call in calls(op, fmt)[::every]:
            answer = form.widen(run(only, name, call, machine))
            truth = certify(call)
            limits = limits_of(only, call, machine)
            finite = truth.finite & np.isfinite(answer) & ~limits.wild & ~limits.free & (truth.tier > 0)
            error = np.abs(answer - truth.to_float64())
            slack = 2.0**-50 * np.abs(truth.to_float64())
            assert np.all((error <= limits.error + slack)[finite]), (call.regime, policy)


def test_a_limit_without_content_is_said() -> None:
    """Sums of 1000 ones in bfloat16 promise nothing: zeros are not judged there, and never counted as right."""
    x = np.zeros((3, 1000), FORMATS["bfloat16"].dtype)
    call = Batch("softmax", "bfloat16", "test", {"x": x})
    found = judge(OPS["softmax"], call, Returned(x, "bfloat16"), certify(call), Rules(POLICIES["native"]))
    assert found.errors is not None
    assert found.errors.of("not_judged").all()
    assert [hit.severity for hit in found.hits] == ["info"]


@pytest.mark.parametrize("every", thinned(3))
@pytest.mark.parametrize("op", list(OPS))
def test_no_wrong_answer_is_counted_as_right(op: str, every: int) -> None:
    """0, twice the true value and its negative are failures or not judged, on every value of the plan."""
    for call in calls(op, "float32")[::every]:
        truth = certify(call)
        right = F32.widen(truth.rounded(F32))
        normal = np.isfinite(right) & (np.abs(right) >= F32.smallest_normal) & (np.abs(right) <= F32.max_finite / 4)
        for wrong in (right * 0, right * 2, -right):
            answer = wrong.astype(np.float32)
            found = judge(OPS[op], call, Returned(answer, "float32"), truth, Rules())
            assert found.errors is not None
            assert not (found.errors.of("ok") & normal).any(), call.regime


def vague(op: str, call: Batch) -> bool:
    """Whether products of the first input with a matrix are so large that their roundings are as large as 1/1000."""
    name = OPS[op].named("matrix")
    if not name:
        return False
    x, matrix = (np.abs(call.form.widen(call.inputs[one])) for one in (OPS[op].first, name))
    scores = x @ np.swapaxes(np.where(np.isfinite(matrix), matrix, 0), -1, -2)
    return not scores.max(initial=0.0) * call.form.unit_roundoff * x.shape[-1] <= 1e-3  # NaN is vague


@pytest.mark.parametrize("every", thinned(4))
@pytest.mark.parametrize(("op", "fmt"), in_turn(list(OPS), ["float64", "float32"]))
def test_limits_are_finite_where_no_intermediate_overflows(op: str, fmt: str, every: int) -> None:
    """A finite true value has a finite limit, unless a sound algorithm leaves the range on the way or loses it by division."""
    machine = POLICIES["standard"].machine(FORMATS[fmt])
    for call in calls(op, fmt)[::every]:
        limits, truth = limits_of(OPS[op], call, machine), certify(call)
        judged = truth.finite & (truth.tier > 0) & ~limits.wild & ~limits.free & ~truth.overflows(FORMATS[fmt])
        if {"temperature", "scale"} & call.options.keys() or vague(op, call):
            continue  # no digit of the exponent is left
        assert np.isfinite(limits.error[judged]).all(), call.regime


@pytest.mark.parametrize("other", [-1.6e32, -np.inf])
def test_a_sum_of_infinities_of_both_signs_may_be_nan(other: float) -> None:
    """Terms that leave the range on both sides, or on one beside an infinite one."""
    rows = {"log_p": np.array([[15.0, 50.0]], np.float32), "log_q": np.array([[3e38, other]], np.float32)}
    found = limits_of(OPS["kl_divergence_log"], Batch("kl_divergence_log", "float32", "test", rows), MACHINE)
    assert found.free.all()


def test_a_sum_over_rows_may_leave_the_range_before_it_is_divided() -> None:
    """The mean of 1024 losses of M / 1000 is representable; their sum is not, and an infinity is no fault."""
    x = np.tile(np.array([[0.0, F32.max_finite / 1000]], np.float32), (1024, 1))
    call = Batch("cross_entropy", "float32", "test", {"logits": x, "target": np.zeros(1024, np.int64)})
    assert limits_of(OPS["cross_entropy"], call, MACHINE).wild.all()


def test_an_exact_power_of_two_costs_nothing() -> None:
    """x / T is exact for T = 2: the limit of a shifted offset does not grow with the offset."""
    x = np.array([[2.0**20, 2.0**20 - 1]], np.float32)
    small, large = (
        limits_of(
            OPS["softmax_temperature"],
            Batch("softmax_temperature", "float32", "test", {"x": x}, {"temperature": temperature}),
            MACHINE,
        ).error
        for temperature in (2.0, 3.0)
    )
    assert np.all(small < 1e-5)
    assert np.all(large > 1e-2)


def test_the_lowest_binades_have_the_limit_of_one_rounding() -> None:
    """No quantum is added in the normal range: a float8 probability just above it may be off by one rounding."""
    form = FORMATS["float8_e5m2"]
    x = form.narrow(np.array([[0.0, -8.0]]))
    call = Batch("softmax", form.name, "test", {"x": x})
    limit = limits_of(OPS["softmax"], call, POLICIES["standard"].machine(form)).error[0, 1]
    assert form.smallest_normal < np.exp(-8.0)
    assert limit < 1.001 * form.unit_roundoff * np.exp(-8.0)


def test_weights_of_a_narrower_format_may_be_computed_with_in_it() -> None:
    """PyTorch takes ``pos_weight - 1`` of a float16 weight in float16; the logits are float64."""
    op = OPS["binary_cross_entropy_with_logits"]
    weight = np.array([0.468994140625], np.float16)
    inputs = {"logits": np.zeros(1), "target": np.ones(1)}
    machine = POLICIES["standard"].machine(FORMATS["float64"])
    softplus = np.log(2.0)
    for held, off in ((weight, 2.0**-11), (weight.astype(np.float64), 2.0**-52)):
        limit = limits_of(op, Batch(op.name, "float64", "r", inputs, {"pos_weight": held}), machine).error
        assert off / 4 < limit / softplus < 16 * off


def test_softplus_by_log1p_of_exp_is_sound() -> None:
    """Vector libraries compute log1p(exp(x)) with an exp that is off by an ulp (the tests above try the float reading)."""
    x = np.linspace(-20, 16, 4001, dtype=np.float32)
    off = np.exp(x.astype(np.float64)) * (1 + 2.0**-23)
    given = np.log1p(off.astype(np.float32).astype(np.float64)).astype(np.float32)
    call = Batch("softplus", "float32", "r", {"x": x}, {})
    limit = limits_of(OPS["softplus"], call, POLICIES["standard"].machine(FORMATS["float32"])).error
    assert (np.abs(given - np.log1p(np.exp(x.astype(np.float64)))) <= limit).all()
