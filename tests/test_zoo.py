"""The zoo: every fault is right on ordinary logits and wrong on the call that is said to show it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from xent_verify.core.formats import FORMATS
from xent_verify.implementations import ZOO, Fault, find
from xent_verify.implementations.faulty import state
from xent_verify.ops import OPS

CONTRACT = ("softmax", "log_softmax", "logsumexp", "cross_entropy", "cross_entropy_grad")
RELATIVE = ("softmax", "softmax_one", "attention_softmax", "softplus", "logaddexp", "z_loss")
PAIRS = [pytest.param(fault, fmt, id=f"{fault.op}.{fault.name}-{fmt}") for fault in ZOO for fmt in fault.formats]


_PENALIZED = {"softcap", "lse_square_scale"}
"""Options of cross entropy that implementations of their own have."""


def truth(fault: Fault, args: tuple[Any, ...], options: dict[str, Any]) -> np.ndarray[Any, Any]:
    """The stable implementation in float64."""
    log1p = ("log_softmax", "logsumexp", "cross_entropy", "token_logprob")
    wide = "others" if fault.op == "cross_entropy_grad" else "log1p" if fault.op in log1p else "stable"
    wide = "penalized-wide" if _PENALIZED & options.keys() and fault.op == "cross_entropy" else wide
    given = [a if np.asarray(a).dtype.kind in "iu" else np.asarray(a).astype(np.float64) for a in args]
    extra = {k: v.astype(np.float64) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    return np.asarray(find(wide, fault.op).call(*given, **extra), dtype=np.float64)


def scale_of(fault: Fault, args: tuple[Any, ...], true: np.ndarray[Any, Any]) -> Any:
    """What the roundings are relative to: probabilities and their gradients to themselves, logarithms to 1."""
    if fault.op in RELATIVE:
        return np.abs(true)
    if fault.op == "cross_entropy_grad" and args[1].ndim == 1:
        return np.where(np.arange(true.shape[-1]) == args[1][:, None], 1.0, np.abs(true))
    return 1.0


def allowance(fault: Fault, args: tuple[Any, ...], true: np.ndarray[Any, Any], axis: int, fmt: str) -> Any:
    """Above any sound implementation's error: 40 + d roundings of the arithmetic and one of the format."""
    form = FORMATS[fmt]
    u = 2.0**-53 if fmt == "float64" else 2.0**-24
    wide = np.asarray(args[0]).astype(np.float64)
    with np.errstate(all="ignore"):
        d = np.nan_to_num(wide.max(axis=axis, keepdims=True) - wide, nan=0.0, posinf=0.0)
        d = d if fault.op in ("softmax", "log_softmax") else d.max()
        return (40 + d) * u * scale_of(fault, args, true) + np.abs(true) * form.unit_roundoff + form.smallest_subnormal


def wrong(fault: Fault, got: Any, args: tuple[Any, ...], options: dict[str, Any], fmt: str) -> bool:
    """Whether a value is of another kind than the true one (NaN, infinite) or beyond the allowance."""
    true = truth(fault, args, options)
    with np.errstate(all="ignore"):
        rounded = true.astype(FORMATS[fmt].dtype).astype(np.float64)
        value = np.asarray(got).astype(np.float64)
        assert value.shape == true.shape
        off = np.abs(value - true) > allowance(fault, args, true, options.get("axis", -1), fmt)
        alike = (value == rounded) | (np.isnan(value) & np.isnan(true))
        other_kind = (np.isnan(value) != np.isnan(true)) | (np.isinf(value) != np.isinf(rounded))
        other_kind |= np.isinf(value) & np.isinf(rounded) & (value != rounded)
    return bool((other_kind | (off & ~alike)).any())


def ordinary(fault: Fault) -> tuple[Any, ...]:
    """Four rows of ten logits of scale 5, float32."""
    rng = np.random.default_rng(20)
    x = (rng.normal(size=(4, 10)) * 5).astype(np.float32)
    op = OPS[fault.op]
    if len(op.inputs) == 1:
        return (x,)
    if op.shared or "row_number" in op.inputs.values():
        return tuple(_beside(kind, x, rng) for kind in op.inputs.values())
    if op.labels:
        return (x, rng.integers(0, 10, size=4))
    shares = "probabilities" in op.inputs.values()
    return (x, rng.random(x.shape, np.float32) if shares else x[::-1].copy())


def _beside(kind: str, x: np.ndarray[Any, Any], rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """An input of that kind for rows x: ten vectors, their values, a number a row, labels."""
    if kind == "label":
        return rng.integers(0, 10, size=len(x))
    shape = {"row": x.shape, "matrix": (10, x.shape[1]), "values": (10, 3), "row_number": (len(x),)}[kind]
    return rng.normal(size=shape).astype(np.float32)


@pytest.fixture(autouse=True)
def _empty_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    """No rows left by other tests in the workspace that keeps them."""
    monkeypatch.setattr(state, "_workspace", np.zeros(0))


@pytest.mark.parametrize("fault", ZOO, ids=lambda f: f"{f.op}.{f.name}")
def test_right_on_ordinary_logits(fault: Fault) -> None:
    """On ordinary float32 logits a fault passes today's habit, assert_close, and has the right dtype and shape."""
    args = ordinary(fault)
    true = truth(fault, args, {})
    got = fault.call(*(a.copy() for a in args))
    assert got.dtype == np.float32
    assert got.shape == true.shape
    np.testing.assert_allclose(got, true, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize(("fault", "fmt"), PAIRS)
def test_wrong_on_its_trigger(fault: Fault, fmt: str) -> None:
    """In every format it names, a fault's trigger shows what the fault says it shows."""
    args, options = fault.trigger(fmt)
    earlier = earlier_copy = None
    if fault.before is not None:
        first_args, first_options = fault.before(fmt)
        earlier = fault.call(*first_args, **first_options)
        earlier_copy = earlier.copy()
    arrays = [*args, *(value for value in options.values() if isinstance(value, np.ndarray))]
    kept = [np.array(a) for a in arrays]
    got = np.array(fault.call(*args, **options))
    match fault.shows:
        case "value" | "history":
            assert wrong(fault, got, args, options, fmt)
        case "dtype":
            assert got.dtype != args[0].dtype
        case "shape":
            assert got.shape != truth(fault, args, options).shape
        case "mutation":
            assert any(a.tobytes() != b.tobytes() for a, b in zip(arrays, kept, strict=True))
        case "alias":
            assert not np.array_equal(earlier.astype(np.float64), earlier_copy.astype(np.float64))
        case "repeat":
            answers = [got, *(np.array(fault.call(*args, **options)) for _ in range(2))]
            assert any(wrong(fault, answer, args, options, fmt) for answer in answers)
            assert len({answer.tobytes() for answer in answers}) > 1


@pytest.mark.parametrize(("fault", "fmt"), PAIRS)
def test_the_trigger_is_fair(fault: Fault, fmt: str) -> None:
    """A sound implementation answers every trigger within the allowance: it is the fault that fails, not the input."""
    args, options = fault.trigger(fmt)
    name = "penalized" if _PENALIZED & options.keys() and fault.op == "cross_entropy" else "stable"
    sound = find(name, fault.op).call(*args, **options)
    assert sound.dtype == args[0].dtype
    assert not wrong(fault, sound, args, options, fmt)


def test_the_zoo_covers_every_category() -> None:
    """At least 70 faults, every op of the contract, several in each category, and names unique within an op."""
    assert len(ZOO) >= 70
    assert {fault.op for fault in ZOO} >= set(CONTRACT)
    assert len({(fault.op, fault.name) for fault in ZOO}) == len(ZOO)
    assert min(Counter(fault.category for fault in ZOO).values()) >= 3
    assert all(fault.regime and fault.mistake and fault.call.__doc__ for fault in ZOO)
