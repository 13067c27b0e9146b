"""Diagnosis: a planted mistake is named, with evidence; what no mistake explains is placed; passing code is described."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from samples import thinned

from xent_verify.core import layouts
from xent_verify.core.formats import FORMATS
from xent_verify.core.model import Batch, Outcome, Raised, Returned
from xent_verify.diagnose import MISTAKES, Diagnosis, Mistake, explain, infer, region_of
from xent_verify.diagnose.values import EXPONENTIALS
from xent_verify.implementations import find
from xent_verify.ops import OPS, op_named
from xent_verify.regimes import plan
from xent_verify.truth import certify
from xent_verify.verdict.judge import Rules, judge

F32 = np.float32
Function = Callable[..., Any]


def called(function: Function, batch: Batch) -> Returned:
    """The answer to a call with the batch's layout and options."""
    arrays = [layouts.apply(batch.x, batch.layout), *list(batch.inputs.values())[1:]]
    with np.errstate(all="ignore"):
        value = np.asarray(function(*arrays, **batch.options))
    return Returned(value, value.dtype.name)


def diagnosed(function: Function, batch: Batch) -> Diagnosis | None:
    """What ``explain`` says about the failing values of one call."""
    op, outcome = op_named(batch.op), called(function, batch)
    truth = certify(batch)
    errors = judge(op, batch, outcome, truth, Rules()).errors
    assert errors is not None
    observed = outcome.value.reshape(truth.shape)
    failing = (errors.ratio > 1) | (np.isnan(observed) & ~np.isnan(truth.hi))
    assert failing.any(), "the planted mistake does not show"
    return explain(op, batch, observed, failing, truth)


def rows(*values: Any, fmt: str = "float32", op: str = "softmax", layout: str = "C", **options: Any) -> Batch:
    x = np.atleast_2d(np.array(values, np.float64)).astype(FORMATS[fmt].dtype)
    return Batch(op, fmt, "test", {"x": x}, options, layout)


def loss(x: Any, target: Any, *, fmt: str = "float32", op: str = "cross_entropy", **options: Any) -> Batch:
    dtype = FORMATS[fmt].dtype
    y = np.asarray(target)
    y = y.astype(dtype) if y.dtype.kind == "f" else y
    options = {k: np.asarray(v, dtype) if k == "weight" else v for k, v in options.items()}
    return Batch(op, fmt, "test", {"logits": np.asarray(x, np.float64).astype(dtype), "target": y}, options)


RNG = np.random.default_rng(11)
FAR = [
    [1000.0, 1003.0, 998.5],
    [-2000.0, -2001.0, -2004.0],
    [0.5, -1.0, 2.0],
    [150.0, 3.0, -40.0],
    [300.0, 10.0, 299.0],
]
WIDE = RNG.normal(size=(6, 40)) * 40
PLAIN = RNG.normal(size=(5, 5)) * 2
LONG = RNG.normal(size=(4, 300)) * 3


def about(reference: Function) -> Function:
    """Softmax about any reference."""

    def call(x: Any, axis: int = -1) -> Any:
        e = np.exp(x - reference(x))
        return e / e.sum(axis=axis, keepdims=True)

    return call


def probabilities(x: Any, axis: int = -1) -> Any:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def logs(x: Any, axis: int = -1) -> Any:
    d = x - x.max(axis=axis, keepdims=True)
    return d - np.log(np.exp(d).sum(axis=axis, keepdims=True))


def summed(x: Any, part: Function) -> Any:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / part(e)


def running(e: Any, dtype: Any) -> Any:
    return np.add.accumulate(e.astype(dtype), axis=-1, dtype=dtype)[..., -1:].astype(e.dtype)


def merged(x: Any, axis: int = -1) -> Any:
    """logsumexp in chunks of 64 without rescaling what was summed before."""
    m, total = np.full(len(x), -np.inf, F32), np.zeros(len(x), F32)
    for a in range(0, x.shape[-1], 64):
        m = np.maximum(m, x[:, a : a + 64].max(axis=-1))
        total = total + np.exp(x[:, a : a + 64] - m[:, None]).sum(axis=-1)
    return m + np.log(total)


def padded(x: Any, axis: int = -1) -> Any:
    more = np.pad(x, ((0, 0), (0, -x.shape[-1] % 16)))
    return probabilities(more)[:, : x.shape[-1]]


def schraudolph(d: Any) -> Any:
    bits = np.maximum(d.astype(np.float64), -80) * (2**23 / np.log(2)) + (127 * 2**23 - 486411)
    return bits.astype(np.int32).view(F32)


ROWS = [
    ("no-shift", about(lambda x: F32(0)), rows(*FAR)),
    ("batch-max", about(lambda x: x.max()), rows(*FAR)),
    ("first-or-last", about(lambda x: x[:, :1]), rows(*WIDE)),
    ("mean", about(lambda x: x.mean(axis=-1, keepdims=True)), rows(*(3 * WIDE))),
    ("minimum", about(lambda x: x.min(axis=-1, keepdims=True)), rows(*WIDE)),
    ("largest-magnitude", about(lambda x: np.abs(x).max(axis=-1, keepdims=True)), rows(*WIDE)),
    ("part-of-the-row", about(lambda x: x[:, :8].max(axis=-1, keepdims=True)), rows(*(3 * WIDE))),
    ("other-row", about(lambda x: np.roll(x.max(axis=-1, keepdims=True), 1, axis=0)), rows(*FAR)),
    ("x-minus-lse", lambda x, axis=-1: np.exp(x - (x.max(-1, keepdims=True) - logs(x).max(-1, keepdims=True))),
     rows(*(PLAIN + 1e5))),
    ("softmax-twice", lambda x, axis=-1: probabilities(probabilities(x)), rows(*PLAIN)),
    ("clamped-logits", lambda x, axis=-1: probabilities(np.clip(x, -20, 20)), rows(*WIDE)),
    ("complement", lambda x, axis=-1: np.stack([1 - probabilities(x)[:, 1], probabilities(x)[:, 1]], -1),
     rows(*[[0.0, float(k)] for k in range(5, 30, 3)])),
    ("small-dropped", lambda x, axis=-1: np.where(probabilities(x) < 1e-20, 0, probabilities(x)), rows(*WIDE)),
    ("bounded-exp", lambda x, axis=-1: probabilities(np.maximum(x - x.max(-1, keepdims=True), -30)), rows(*WIDE)),
    ("nan-ignored", lambda x, axis=-1: probabilities(np.where(np.isnan(x), -np.inf, x)),
     rows([0.0, 1.0, 2.0], [np.nan, 1.0, 3.0])),
    ("sentinel", lambda x, axis=-1: probabilities(np.where(x <= -1e4, -np.inf, x)),
     rows([-10001.0, -9999.5], [0.0, 1.0], [-10000.0, -9999.0], [90.0, 150.0])),
    ("mask-filled", lambda x, axis=-1: probabilities(np.where(np.isneginf(x), F32(-1e4), x)),
     rows([-2e4, -np.inf, -2e4], [0.0, 40.0, 1.0], [-3e4, -3e4, 0.0])),
    ("wrong-axis", lambda x, axis=-1: probabilities(x, -1), rows(*PLAIN[:3], axis=0)),
    ("storage-order", lambda x, axis=-1: probabilities(x.ravel(order="K").reshape(x.shape)), rows(*PLAIN[:3], layout="F")),
    ("not-written", lambda x, axis=-1: probabilities(x) * (np.arange(len(x)) < 3)[:, None].astype(F32), rows(*PLAIN)),
    ("padding", padded, rows(*(PLAIN - 6))),
    ("narrow-accumulator", lambda x, axis=-1: summed(x, lambda e: running(e, np.float16)), rows(np.zeros(5000))),
    ("part-of-the-sum", lambda x, axis=-1: summed(x, lambda e: e[:, :256].sum(-1, keepdims=True)), rows(*LONG)),
    ("part-of-the-sum", lambda x, axis=-1: summed(x, lambda e: e[:, :123].sum(-1, keepdims=True)), rows(*LONG)),
    ("dropped-columns",
     lambda x, axis=-1: np.concatenate([probabilities(x[:, :256]), np.zeros_like(x[:, 256:])], 1), rows(*LONG)),
    ("cheap-exp", lambda x, axis=-1: (lambda e: e / e.sum(-1, keepdims=True))(schraudolph(x - x.max(-1, keepdims=True))),
     rows(*LONG)),
    ("narrow-work", lambda x, axis=-1: probabilities(x.astype(F32)).astype(np.float64), rows(*PLAIN, fmt="float64")),
    ("log-of-rounded-p", lambda x, axis=-1: np.log(probabilities(x)), rows(*(3 * WIDE), op="log_softmax")),
    ("epsilon-in-log", lambda x, axis=-1: np.log(probabilities(x) + F32(1e-12)), rows(*WIDE, op="log_softmax")),
    ("epsilon-in-log", lambda x, axis=-1: np.log(probabilities(x) + F32(3.2e-11)), rows(*WIDE, op="log_softmax")),
    ("clipped-p", lambda x, axis=-1: np.log(np.clip(probabilities(x), 1e-10, 1)), rows(*WIDE, op="log_softmax")),
    ("capped", lambda x, axis=-1: np.maximum(logs(x), -50), rows(*WIDE, op="log_softmax")),
    ("wrong-base", lambda x, axis=-1: logs(x) / F32(np.log(2)), rows(*PLAIN, op="log_softmax")),
    ("sign", lambda x, axis=-1: -logs(x), rows(*PLAIN, op="log_softmax")),
    ("x-minus-lse", lambda x, axis=-1: x - (x - logs(x)).max(-1, keepdims=True), rows(*(PLAIN + 1e5), op="log_softmax")),
    ("parts-apart", lambda x, axis=-1: np.concatenate([logs(x[:, :150]), logs(x[:, 150:])], 1), rows(*LONG, op="log_softmax")),
    ("wrong-merge", merged, rows(*LONG, op="logsumexp")),
    ("no-shift", lambda x, axis=-1: np.log(np.exp(x).sum(-1)), rows(*FAR, op="logsumexp")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("key", "function", "batch"), ROWS, ids=[f"{b.op}-{k}-{i}" for i, (k, _, b) in enumerate(ROWS)]
)
def test_names_the_mistake(key: str, function: Function, batch: Batch) -> None:
    """The planted mistake is named, and the text says with how many failing values it agrees."""
    found = diagnosed(function, batch)
    assert found is not None
    assert found.mistake == key, found.text
    assert " failing value" in found.text


def task_losses(logits: Any, target: Any, weight: Any = None, ignore: int = -100) -> tuple[Any, Any, Any]:
    """(-log p of the target, which rows count, weights of the targets)."""
    lp, live = logs(logits), target != ignore
    safe = np.where(live, target, 0)
    w = np.ones(lp.shape[1], lp.dtype) if weight is None else weight
    return np.where(live, -lp[np.arange(len(lp)), safe], 0), live, np.where(live, w[safe], 0)


def by_all_rows(logits: Any, target: Any, *, ignore_index: int = -100) -> Any:
    return task_losses(logits, target, ignore=ignore_index)[0].sum() / F32(len(logits))


def unweighted_divisor(logits: Any, target: Any, *, weight: Any) -> Any:
    losses, live, w = task_losses(logits, target, weight)
    return (losses * w).sum() / F32(live.sum())


def smoothed_over_others(logits: Any, target: Any, *, label_smoothing: float, reduction: str) -> Any:
    lp, e = logs(logits), label_smoothing / (logits.shape[1] - 1)
    q = np.full_like(lp, e)
    q[np.arange(len(lp)), target] = 1 - label_smoothing
    return -(q * lp).sum(axis=1)


def half_total(logits: Any, target: Any) -> Any:
    losses = task_losses(logits.astype(F32), target)[0].astype(np.float16)
    return np.float16(F32(np.float16(losses.sum(dtype=F32))) / len(logits))


def per_row(change: Function) -> Function:
    """Losses of targets that were changed before."""
    return lambda logits, target, reduction="none": task_losses(logits, change(target, logits.shape[1]))[0]


MIXED = np.array([2, 2, 0, 1, 4])
TARGET = np.array([0, 3, -100, 1, 4])
MANY = RNG.normal(size=(4, 300))
HOT = np.array(
    [[0.5, 0.5, 0, 0, 0], [0, 0.2, 0.8, 0, 0], [0.4, 0, 0, 0.6, 0], [0, 0, 0, 0.3, 0.7], [0.2, 0.2, 0.2, 0.2, 0.2]]
)
W = np.array([1.0, 2.0, 0.5, 4.0, 3.0])
MASKED = np.where(np.eye(5) > 0, -np.inf, PLAIN)
GRADIENT = find("stable", "cross_entropy_grad").call

LOSSES = [
    ("ignored-rows", by_all_rows, loss(PLAIN, TARGET)),
    ("weights", unweighted_divisor, loss(PLAIN, TARGET, weight=W)),
    ("weights", lambda logits, target, weight, reduction: task_losses(logits, target)[0],
     loss(PLAIN, TARGET, weight=W, reduction="none")),
    ("ignored-rows", lambda logits, target: task_losses(logits, target)[0].sum(), loss(PLAIN, np.arange(5))),
    ("smoothing", smoothed_over_others, loss(PLAIN, MIXED, label_smoothing=0.2, reduction="none")),
    ("smoothing", lambda logits, target, label_smoothing, reduction: task_losses(logits, target)[0],
     loss(PLAIN, MIXED, label_smoothing=0.2, reduction="none")),
    ("class-ids", per_row(lambda t, n: t.astype(np.float16).astype(np.int64)),
     loss(RNG.normal(size=(2, 2100)), [2049, 2055], reduction="none")),
    ("class-ids", per_row(lambda t, n: t.astype(np.uint8).astype(np.int64)), loss(MANY, [1, 290, 256, 7], reduction="none")),
    ("square", lambda logits, target, reduction: -logs(logits)[target, np.arange(5)],
     loss(PLAIN, MIXED, reduction="none")),
    ("ignore-index", lambda logits, target, ignore_index, reduction: task_losses(logits, target)[0],
     loss(PLAIN, np.arange(5), ignore_index=2, reduction="none")),
    ("probability-targets", lambda logits, target, reduction: task_losses(logits, target.argmax(axis=1))[0],
     loss(PLAIN, HOT, reduction="none")),
    ("zero-times-infinity", lambda logits, target, reduction: -(target * logs(logits)).sum(axis=1),
     loss(MASKED, np.roll(np.eye(5), 1, 1), reduction="none")),
    ("totals", half_total, loss(np.tile([0.0, 1000.0], (70, 1)), np.zeros(70, int), fmt="float16")),
    ("log-of-rounded-p", lambda logits, target, reduction: -np.log(probabilities(logits))[np.arange(6), target],
     loss(3 * WIDE, np.argmin(WIDE, axis=1), reduction="none")),
    ("gradient-terms", lambda logits, target: probabilities(logits), loss(PLAIN, np.arange(5), op="cross_entropy_grad")),
    ("gradient-terms", lambda logits, target: -GRADIENT(logits, target), loss(PLAIN, np.arange(5), op="cross_entropy_grad")),
    ("gradient-terms", lambda logits, target: GRADIENT(logits, target) / F32(5),
     loss(PLAIN, np.arange(5), op="cross_entropy_grad")),
    ("zeroed-tiles", lambda logits, target: np.where(np.arange(300) >= 256, 0, GRADIENT(logits, target)).astype(F32),
     loss(LONG, np.arange(4), op="cross_entropy_grad")),
    ("no-shift", lambda logits, target: about(lambda x: F32(0))(logits) - np.eye(3, dtype=F32)[target],
     loss(FAR, [0, 1, 2, 0, 1], op="cross_entropy_grad")),
]  # fmt: skip


@pytest.mark.parametrize(("key", "function", "batch"), LOSSES, ids=[f"{k}-{i}" for i, (k, _, _) in enumerate(LOSSES)])
def test_names_the_mistake_of_a_loss(key: str, function: Function, batch: Batch) -> None:
    """Targets, weights, smoothing, reductions and gradients: the planted mistake is named."""
    found = diagnosed(function, batch)
    assert found is not None
    assert found.mistake == key, found.text


def test_evidence_names_parameters() -> None:
    """The text holds the parameter that was found and the count of values that agree."""
    found = diagnosed(lambda x, axis=-1: np.log(probabilities(x) + F32(1e-12)), rows(*WIDE, op="log_softmax"))
    assert found is not None
    assert "log(p + 1e-12)" in found.text
    count = int(found.text.split(" on ")[1].split(" of ")[0])
    assert count > 20
    assert f"{count} of {count} failing values" in found.text


def test_what_cannot_be_told_apart_is_said() -> None:
    """One NaN fits several mistakes: the others are mentioned."""
    found = diagnosed(about(lambda x: x[:, :1]), rows([0.0, 1000.0]))
    assert found is not None
    assert "as it would if" in found.text


def test_unknown_mistakes_are_placed() -> None:
    """Without a known mistake the text says where the values are wrong, and what the rows add up to."""

    def odd(x: Any, axis: int = -1) -> Any:
        p = probabilities(x)
        p[:, 17:] *= F32(0.9371)
        return p

    found = diagnosed(odd, rows(*LONG))
    assert found is not None
    assert found.mistake == "region"
    assert "column ≥ 17" in found.text
    assert "sums of failing rows" in found.text


def test_the_range_of_exp_is_named() -> None:
    """A threshold that meets an edge of exp's range is explained by it."""

    def unstable(x: Any, axis: int = -1) -> Any:
        gap = x.max(axis=-1, keepdims=True) - x
        return np.where(gap > 103, F32(0.123), probabilities(x))

    found = diagnosed(unstable, rows(*np.linspace([0, -60], [0, -140], 41)))
    assert found is not None
    assert "exp underflows to 0 in float32" in found.text


@pytest.mark.parametrize("every", thinned(5))
@pytest.mark.parametrize("op", sorted(OPS))
def test_never_stumbles(op: str, every: int) -> None:
    """Whatever comes back for whatever was asked, ``explain`` answers: a diagnosis with a text, or nothing."""
    rng = np.random.default_rng(3)
    keys = {mistake.key for mistake in MISTAKES} | {"region", "empty-row"}
    for k, fmt in list(enumerate(OPS[op].formats))[sorted(OPS).index(op) % every :: every]:
        seen: dict[str, Batch] = {}
        for batch in plan(op, fmt, profile="quick", seed=k):
            if batch.x.size <= 200:
                seen.setdefault(batch.regime, batch)
        for number, batch in enumerate(seen.values()):
            if (number + k) % 9:
                continue
            shape = OPS[op].result_shape(batch)
            observed = rng.choice([0.0, 0.5, -3.0, np.nan, np.inf, -np.inf], size=shape).astype(FORMATS[fmt].dtype)
            found = explain(OPS[op], batch, observed, rng.random(shape) < 0.7, certify(batch))
            assert found is None or (found.text and found.mistake in keys)


def asked(function: Function, op: str, fmt: str = "float32") -> str:
    def ask(batch: Batch) -> Outcome:
        try:
            return called(function, batch)
        except ValueError as error:
            return Raised("ValueError", str(error))

    return "; ".join(infer(OPS[op], fmt, ask))


def test_infers_the_formula() -> None:
    """Passing code: shifted or division-free is told by its bits."""
    assert "formula: shifted: exp(x - m) / Σ" in asked(find("stable", "softmax").call, "softmax")
    assert "division-free: exp(x - logsumexp)" in asked(find("division-free", "softmax").call, "softmax")
    assert "x - logsumexp" in asked(find("unshifted-lse", "log_softmax").call, "log_softmax")


def test_infers_the_accumulator() -> None:
    """A running sum, pairwise sums and a wider accumulator are told apart; a narrow one by where it stalls."""
    assert "a running sum in float32" in asked(find("online-textbook", "softmax").call, "softmax")
    assert "pairwise, in blocks or in lanes" in asked(find("stable", "softmax").call, "softmax")
    assert "wider or compensated" in asked(find("wide", "softmax").call, "softmax")
    narrow = asked(lambda x, axis=-1: summed(x, lambda e: running(e, x.dtype)), "softmax", "bfloat16")
    assert "stalls at 256" in narrow
    assert "is kept" in asked(find("stable", "softmax").call, "softmax", "bfloat16")


def test_infers_log1p_and_flushing() -> None:
    """Whether small losses keep their digits, and whether subnormal results are flushed."""
    assert "log1p" in asked(find("log1p", "cross_entropy").call, "cross_entropy").split("not log1p")[0]
    assert "round to 0" in asked(find("naive", "log_softmax").call, "log_softmax")
    flushing = asked(lambda x, axis=-1: np.where(probabilities(x) < 2.0**-126, 0, probabilities(x)), "softmax")
    assert "flushed to 0" in flushing
    assert "subnormal results: kept" in asked(find("stable", "softmax").call, "softmax")


def test_infers_nothing_from_what_refuses() -> None:
    """A function that refuses the probing calls is not described, and an op without probes neither."""

    def refusing(x: Any, axis: int = -1) -> Any:
        raise ValueError("no")

    assert asked(refusing, "softmax") == ""
    assert asked(find("stable", "kl_divergence").call, "kl_divergence") == ""


def test_one_value_fits_no_epsilon() -> None:
    """An epsilon is estimated from values that share a floor, never from a single one, which some epsilon always meets."""
    half = diagnosed(lambda logits, target: F32(7.3), loss([[0.0, 9.0]], [0]))
    assert half is None or half.mistake == "region", half.text


def test_results_of_several_axes() -> None:
    """logsumexp along a middle axis of three: as many values as rows, in a shape of their own."""
    batch = Batch("logsumexp", "float32", "test", {"x": RNG.normal(size=(2, 3, 4)).astype(F32) * 200}, {"axis": 1})
    found = diagnosed(lambda x, axis: np.log(np.exp(x).sum(axis=axis)), batch)
    assert found is not None
    assert found.mistake == "no-shift", found.text


def test_a_model_that_does_not_fit_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake whose model stumbles over a call is no reason to say nothing about it."""

    def stumbling(case: Any) -> Any:
        raise IndexError("no such class")

    monkeypatch.setattr("xent_verify.diagnose.MISTAKES", (Mistake("odd", "it stumbles", stumbling), *MISTAKES))
    found = diagnosed(about(lambda x: F32(0)), rows(*FAR))
    assert found is not None
    assert found.mistake == "no-shift"


def test_bits_decide_between_equals() -> None:
    """A sum that stalls at 8192 is not taken for an epsilon whose logarithm happens to lie close."""
    batch = Batch("log_softmax", "bfloat16", "test", {"x": np.zeros((1, 65536), FORMATS["bfloat16"].dtype)}, {})
    found = diagnosed(lambda x, axis=-1: np.full_like(x, -np.log(8192.0)), batch)
    assert found is not None
    assert found.mistake in ("narrow-accumulator", "part-of-the-sum"), found.text


def test_the_mildest_parameter_that_explains_is_named() -> None:
    """Of many bounds that would give the same, the text has the one that changes the fewest logits."""
    found = diagnosed(lambda x, axis=-1: probabilities(np.clip(x, -100, 100)), rows([150.0, 120.0], [3.0, 2.0]))
    assert found is not None
    assert found.mistake == "clamped-logits", found.text
    assert "100, 100]" in found.text


def test_zeros_alone_are_not_taken_for_proof() -> None:
    """A long row of zeros: other mistakes that give zeros, too, are mentioned however long the row is."""
    batch = Batch("softmax", "float16", "test", {"x": np.zeros((1, 66000), np.float16)}, {})
    found = diagnosed(lambda x, axis=-1: np.zeros_like(x), batch)
    assert found is not None
    assert "as it would if" in found.text


@pytest.mark.parametrize("value", [0.0, 1e300, -1e300, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("op", sorted(OPS))
def test_infers_nothing_wild_from_nonsense(op: str, value: float) -> None:
    """Answers that mean nothing are survived, and no accumulator is read from them in a narrow format."""

    def ask(batch: Batch) -> Returned:
        return Returned(np.full(op_named(op).result_shape(batch), value), "float64")

    for fmt in OPS[op].formats:
        told = infer(op_named(op), fmt, ask)
        assert not any("ones" in sentence for sentence in told), told


def no_shift_squared(x: Any, axis: int = -1) -> Any:
    return np.log(np.exp(x).sum(axis=axis)) ** 2


def offset_entropy(x: Any, axis: int = -1) -> Any:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    p = e / e.sum(axis=axis, keepdims=True)
    total = x.max(axis=axis, keepdims=True) + np.log(e.sum(axis=axis, keepdims=True))
    return total.squeeze(axis) - (p * x).sum(axis=axis)


def rounded_entropy(x: Any, axis: int = -1) -> Any:
    e = np.exp(x.astype(F32) - x.astype(F32).max(axis=axis, keepdims=True))
    p = (e / e.sum(axis=axis, keepdims=True)).astype(x.dtype).astype(F32)
    return -np.where(p == 0, 0, p * np.log(p)).sum(axis=axis).astype(x.dtype)


def narrow_entropy(x: Any, axis: int = -1) -> Any:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    p = e / e.sum(axis=axis, keepdims=True, dtype=x.dtype)
    log_p = (x - x.max(axis=axis, keepdims=True)) - np.log(e.sum(axis=axis, keepdims=True, dtype=x.dtype))
    return -(p * log_p).sum(axis=axis, dtype=x.dtype)


def clamped_z_loss(x: Any, axis: int = -1) -> Any:
    return np.log(np.exp(np.clip(x, -50, 50)).sum(axis=axis)) ** 2


PAGES: list[tuple[str, Function, Batch]] = [
    ("no-shift", no_shift_squared, rows(*FAR, op="z_loss")),
    ("offset-cancels", offset_entropy, rows(*(1000 + PLAIN), op="entropy")),
    ("log-of-rounded-p", rounded_entropy, rows(*([[0.0, -7.0, -8.0]] * 3), op="entropy", fmt="bfloat16")),
    ("clamped-logits", clamped_z_loss, rows(*WIDE, op="z_loss")),
    ("narrow-work", narrow_entropy, rows(*LONG, op="entropy", fmt="bfloat16")),
]


@pytest.mark.parametrize(("mistake", "function", "batch"), PAGES, ids=[mistake for mistake, *_ in PAGES])
def test_an_operation_that_is_a_page_alone_has_causes(mistake: str, function: Function, batch: Batch) -> None:
    """Its own algorithms, with the mistake planted, predict what failed."""
    found = diagnosed(function, batch)
    assert found is not None
    assert found.mistake == mistake


def test_what_no_mistake_explains_is_placed_for_any_operation() -> None:
    """An entropy that is wrong above a logit of 100 is told by it."""
    wrong = [[101.0 + 7 * k, 99.0] for k in range(5)]
    batch = rows(*wrong, *([k / 2, 1.0] for k in range(9)), op="entropy")
    found = diagnosed(
        lambda x, axis=-1: np.where(x.max(axis) > 100, F32(0.1), find("stable", "entropy").call(x)), batch
    )
    assert found is not None
    assert found.mistake == "region"
    assert "rows with max x ≥ 101" in found.text


def test_a_region_that_chance_could_draw_is_not_told() -> None:
    """One row of two with the larger logits is wrong: half of all features would set it apart."""
    found = diagnosed(
        lambda x, axis=-1: np.where(x.max(axis) > 100, F32(0.1), find("stable", "entropy").call(x)),
        rows([150.0, 149.0], [0.0, 1.0], op="entropy"),
    )
    assert found is None or "wrong only" not in found.text


def test_a_token_log_probability_has_the_causes_of_log_softmax() -> None:
    """It is an element of one, and log of a rounded 0 is named."""
    batch = loss([[0.0, 200.0], [300.0, 1.0], [0.0, 1.0]], [0, 1, 0], op="token_logprob")

    def log_of_p(x: Any, target: Any) -> Any:
        e = np.exp(x - x.max(axis=1, keepdims=True))
        return np.log((e / e.sum(axis=1, keepdims=True))[np.arange(len(x)), target])

    found = diagnosed(log_of_p, batch)
    assert found is not None
    assert found.mistake == "log-of-rounded-p"


@pytest.mark.parametrize("kind", ["a table", "a polynomial", "(Schraudolph)"])
def test_an_exponential_of_low_accuracy_is_no_nan_at_minus_infinity(kind: str) -> None:
    """Else any NaN of a masked class would be laid to it."""
    chosen = [exponential for name, exponential in EXPONENTIALS if kind in name]
    assert chosen
    for exponential in chosen:
        assert 0 <= exponential(np.array([-np.inf], F32))[0] < 1e-30


@pytest.mark.parametrize("fmt", ["float64", "float32"])
def test_inputs_flushed_to_zero_are_not_taken_for_narrow_ones(fmt: str) -> None:
    """Processors may take subnormals for 0; in a narrower format they are 0, too."""
    tiny = FORMATS[fmt].smallest_subnormal
    batch = Batch("gumbel", fmt, "test", {"u": FORMATS[fmt].narrow(np.array([0.5, *(tiny * np.arange(1, 40))]))})
    told = diagnosed(lambda u: -np.log(-np.log(np.where(u < FORMATS[fmt].smallest_normal, 0, u))), batch)
    assert told is not None
    assert "subnormal inputs are taken for 0" in told.text


def test_a_region_is_one_of_all_failing_calls() -> None:
    """What one call leaves open, several settle: rows of three equal logits and more are wrong, in any place and of any size."""

    def call(*given: list[float]) -> tuple[Batch, Any, Any, Any]:
        batch = rows(*given)
        truth = certify(batch)
        failing = np.array([[row.count(max(row)) > 2] * len(row) for row in given])
        return batch, np.where(failing, F32(0.5), truth.rounded("float32")), failing, truth

    calls = [
        call(
            [k, k, k, k - 3.0],
            [9.0, 1.0, 2.0, k],
            [-4.0, -9.0, k - 9.0, -5.0],
            [4.0 + k, 4.0 + k, 1.0, 0.0],
            [k, k, k - 2.0, k - 4.0],
        )
        for k in (0.25, 3.0, 0.75, -1.0, -2.0)
    ]
    assert "wrong only for rows with ≥ 3 logits equal to the largest" in region_of(OPS["softmax"], calls)


def test_a_second_row_of_logits_has_regions_too() -> None:
    """A divergence that is wrong where the second row reaches below -100."""
    second = [[0.0, -30.0 * k] for k in range(20)]
    batch = Batch(
        "kl_divergence", "float32", "", {"logits_p": np.zeros((20, 2), F32), "logits_q": np.array(second, F32)}
    )
    truth = certify(batch)
    failing = np.array([low < -100 for _, low in second])
    told = region_of(
        OPS["kl_divergence"], [(batch, np.where(failing, F32(0.5), truth.rounded("float32")), failing, truth)]
    )
    assert "wrong only for rows with min logits_q ≤ -120" in told
