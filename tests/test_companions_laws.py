"""Companion calls and laws: sound implementations pass them all, and each catches the fault that it is there for."""

from __future__ import annotations

import numpy as np
import pytest
import targets

from xent_verify.candidates import open_candidate
from xent_verify.companions import COMPANIONS
from xent_verify.core.model import Batch, Returned
from xent_verify.implementations import IMPLEMENTATIONS
from xent_verify.implementations.stable import log_softmax_stable
from xent_verify.laws import LAWS
from xent_verify.ops import OPS
from xent_verify.regimes import plan
from xent_verify.truth import certify
from xent_verify.verdict.judge import Hit
from xent_verify.verdict.policies import parse_policy

LOGITS = np.random.default_rng(7).standard_normal((6, 9)) * 4


def batch_of(op: str, fmt: str = "float32") -> Batch:
    """An ordinary batch of an operation of one input, or of that and labels."""
    labels = {OPS[op].labels: np.arange(len(LOGITS))} if OPS[op].labels else {}
    return Batch(op, fmt, "test", {OPS[op].first: LOGITS.astype(np.dtype(fmt)), **labels})


def hits_of(function: object, batch: Batch, check: str) -> list[Hit]:
    """What one companion or law says about a function on a batch."""
    op = OPS[batch.op]
    with open_candidate(function, batch.op) as candidate:  # type: ignore[arg-type]
        outcome = candidate.call(batch)
        assert isinstance(outcome, Returned)
        limit = parse_policy("standard").limits(op, batch, certify(batch)).error
        for companion in COMPANIONS:
            if companion.name == check:
                return companion.run(candidate.call, op, batch, outcome, limit)
        return LAWS[check].check(candidate.call, op, batch, outcome.value, limit)


@pytest.mark.parametrize("entry", [e for e in IMPLEMENTATIONS if e.sound], ids=lambda e: e.qualified)
def test_sound_implementations_keep_every_law_and_companion(entry: object) -> None:
    """No companion and no law of the op fails on a sound implementation, in float32 and bfloat16."""
    for fmt in ("float32", "bfloat16"):
        batch = next(plan(entry.op, fmt, profile="quick", regimes=["ordinary"]))
        for check in [*(c.name for c in COMPANIONS if c.when != "lasting"), *OPS[entry.op].laws]:
            found = hits_of(entry.call, batch, check)
            assert not [hit for hit in found if hit.severity == "fail"], check


@pytest.mark.parametrize(
    ("name", "check", "kind"),
    [
        ("nondeterministic", "repeat", "nondeterministic"),
        ("remembers", "state", "stateful"),
        ("batch_wide", "neighbours", "batch_dependence"),
        ("reads_storage", "layouts", "layout_dependence"),
        ("writes_to_its_input", "layouts", "input_mutated"),
    ],
)
def test_each_companion_catches_its_fault(name: str, check: str, kind: str) -> None:
    """The planted fault is found by the companion for it, as its kind, with severity fail."""
    found = hits_of(getattr(targets, name), batch_of("softmax"), check)
    assert [hit.kind for hit in found if hit.severity == "fail"] == [kind]


def scaled(x: np.ndarray, axis: int = -1) -> np.ndarray:
    return targets.softmax(x, axis) * x.dtype.type(1.001)


def tilted(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """Adds to the first logit of every row: breaks shift nowhere, permutation everywhere."""
    tilt = np.zeros_like(x)
    tilt[..., 0] = 1
    return targets.softmax(x + tilt, axis)


def squared(x: np.ndarray, axis: int = -1) -> np.ndarray:
    return targets.softmax(x * np.abs(x), axis)


def backwards(x: np.ndarray, axis: int = -1) -> np.ndarray:
    return targets.softmax(-x, axis)


@pytest.mark.parametrize(
    ("function", "law"), [(scaled, "sum_to_one"), (tilted, "permutation"), (squared, "shift"), (backwards, "monotone")]
)
def test_each_softmax_law_catches_a_fault(function: object, law: str) -> None:
    """A function that breaks one law is caught by it."""
    assert [hit.kind for hit in hits_of(function, batch_of("softmax"), law)] == ["property"]


@pytest.mark.parametrize(
    ("op", "function", "law"),
    [
        ("log_softmax", lambda x, axis=-1: np.log(targets.softmax(x, axis)) + x.dtype.type(1e-3), "exp_sums_to_one"),
        ("log_softmax", lambda x, axis=-1: -np.log(targets.softmax(x, axis)), "not_positive"),
        ("softmax", lambda x, axis=-1: targets.softmax(x, axis) - x.dtype.type(0.1), "range"),
        ("logsumexp", lambda x, axis=-1: x.max(axis) - x.dtype.type(0.5), "at_least_max"),
        ("logsumexp", lambda x, axis=-1: x.max(axis) * x.dtype.type(1.5), "shift_adds"),
        ("logsumexp", lambda x, axis=-1: x.mean(axis), "concatenation"),
        ("cross_entropy", lambda logits, target: (-logits[0, 0] - 50) if target.ndim == 1 else logits[0, 0], "one_hot"),
        ("cross_entropy", lambda logits, target: np.float32(-3), "not_negative"),
        ("cross_entropy_grad", lambda logits, target: targets.softmax(logits, 1), "rows_sum_to_zero"),
    ],
)
def test_each_other_law_catches_a_fault(op: str, function: object, law: str) -> None:
    """A function that breaks one law of the other operations is caught by it."""
    assert [hit.kind for hit in hits_of(function, batch_of(op), law)] == ["property"]


def test_bits_within_the_limit_are_information() -> None:
    """An answer whose last bit depends on the layout is info, not a failure."""

    def wobbles(x: np.ndarray, axis: int = -1) -> np.ndarray:
        p = targets.softmax(x, axis)
        return p if x.flags.c_contiguous else np.nextafter(p, np.float32(2))

    found = hits_of(wobbles, batch_of("softmax"), "layouts")
    assert [hit.severity for hit in found] == ["info"]


def test_every_law_named_by_an_op_exists() -> None:
    """The laws in the table of operations are entries of LAWS."""
    assert {name for op in OPS.values() for name in op.laws} <= set(LAWS)


def test_an_answer_kept_from_an_earlier_call_is_state() -> None:
    """A target that knows a call by its ends only answers another row as it did the first."""
    memory: dict[bytes, np.ndarray] = {}

    def kept(x: np.ndarray, axis: int = -1) -> np.ndarray:
        key = x[:, [0, -1]].tobytes()
        if key not in memory:
            memory[key] = log_softmax_stable(x)
        return memory[key].copy()

    found = hits_of(kept, batch_of("log_softmax"), "state")
    assert [hit.kind for hit in found] == ["stateful"]
    assert "earlier call" in found[0].message


def test_a_bound_inside_the_target_is_no_state() -> None:
    """A target that bounds the argument of exp answers many rows alike, and has no memory."""

    def bounded(x: np.ndarray, axis: int = -1) -> np.ndarray:
        p = np.exp(np.clip(x, -1, 1))
        return np.log(p / p.sum(axis=axis, keepdims=True))

    assert hits_of(bounded, batch_of("log_softmax"), "state") == []
