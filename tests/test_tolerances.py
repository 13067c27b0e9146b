"""``limits`` and ``assert_close``: the audit's own limits for tests that people have, on any array library."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from xent_verify import assert_close, limits, reference
from xent_verify.core import layouts
from xent_verify.core.failures import UsageError
from xent_verify.core.formats import FORMATS
from xent_verify.ops import OPS
from xent_verify.regimes import plan
from xent_verify.truth import certify
from xent_verify.verdict.policies import CLASSES, POLICIES, parse_policy

X = np.array([[0.0, -5.0, -30.0], [2.0, 2.0, 2.0]], np.float32)


@pytest.mark.parametrize("op", OPS)
def test_limits_are_the_audits_bit_for_bit(op: str) -> None:
    """Calls of an audit's plan have the same limits through ``limits``, under every derived policy."""
    seen = 0
    for batch in plan(
        op,
        "float32",
        profile="quick",
        regimes=("default_call", "options", "axes", "layouts"),
    ):
        if batch.x.size > 400 or not batch.x.size or seen > 12:
            continue
        seen += 1
        inputs = [layouts.apply(value, batch.layout) for value in batch.inputs.values()]
        truth = certify(batch)
        for name in (*CLASSES, "ulp:4", "allclose:1e-5,1e-8"):
            theirs = parse_policy(name).limits(OPS[op], batch, truth).error
            ours = limits(op, *inputs, policy=name, **batch.options)
            assert np.array_equal(ours, theirs, equal_nan=True), (name, batch)
    assert seen


def test_inputs_go_by_position_or_by_name() -> None:
    """Labels and probabilities, logits and options mean the same either way."""
    first = limits("cross_entropy", X, [0, 1], reduction="none")
    assert np.array_equal(first, limits("cross_entropy", X, target=[0, 1], reduction="none"))
    assert np.array_equal(first, limits("cross_entropy", logits=X, target=[0, 1], reduction="none"))
    hot = np.eye(3, dtype=np.float32)[:2]
    assert limits("cross_entropy", X, hot, reduction="none").shape == (2,)
    assert limits("kl_divergence", X, X[::-1].copy()).shape == (2,)
    assert np.array_equal(np.asarray(reference("kl_divergence", X, target=X)), [0.0, 0.0])


def test_a_reference_is_an_array_of_float64() -> None:
    """NumPy takes it as it is."""
    values = np.asarray(reference("softmax", X))
    assert values.dtype == np.float64
    assert np.allclose(values.sum(axis=1), 1)
    assert np.array_equal(np.array(reference("logsumexp", X)), reference("logsumexp", X).rounded("float64"))


@pytest.mark.parametrize(
    ("words", "call"),
    [
        ("takes logits and target", lambda: limits("cross_entropy", X)),
        ("takes x", lambda: limits("softmax", X, X)),
        ("unknown option of softmax 'reduction'", lambda: limits("softmax", X, reduction="sum")),
        ("given twice", lambda: limits("softmax", X, x=X)),
        ("class label", lambda: limits("cross_entropy", X, [0, 3])),
        ("unknown policy", lambda: assert_close(X, op="softmax", inputs=X, policy="strict")),
        ("unknown format", lambda: limits("softmax", X, result="float31")),
        ("different lengths", lambda: limits("softmax", [[0.0], [0.0, 1.0]])),
    ],
)
def test_wrong_use_is_one_line(words: str, call: Callable[[], Any]) -> None:
    """What the operation does not have is told by name."""
    with pytest.raises(UsageError, match=words) as error:
        call()
    assert "\n" not in str(error.value)


def test_a_right_answer_passes_and_a_zeroed_one_does_not() -> None:
    """The correctly rounded answer passes in every format; small probabilities set to 0, which rtol and atol accept, fail."""
    for form in (FORMATS[name] for name in OPS["softmax"].formats):
        x = form.narrow(X.astype(np.float64))
        right = reference("softmax", x).rounded(form)
        assert_close(right, op="softmax", inputs=x)
    zeroed = np.where(X.max(axis=1, keepdims=True) - X > 20, 0, reference("softmax", X).rounded("float32"))
    with pytest.raises(AssertionError) as error:
        assert_close(zeroed, op="softmax", inputs=X)
    text = str(error.value)
    for words in (
        "softmax: 1 of 6 elements fail policy standard in float32",
        "worst      [0, 2]",
        "given      0.0",
        "true       9.29",
        "limit ",
        "× the limit",
        "condition ",
        "the default of torch.testing for float32 (rtol=1.3e-06, atol=1e-05) accepts this element, and accepts the whole answer",
    ):
        assert words in text, text
    assert f"{float(np.asarray(reference('softmax', X))[0, 2]):.15e}"[:12] in text


def test_the_worst_element_has_the_largest_error_over_limit() -> None:
    """Of several wrong elements the message has the gravest."""
    wrong = reference("softmax", X).rounded("float32")
    wrong[1, 0] *= np.float32(1.001)
    wrong[1, 2] *= np.float32(1.1)
    with pytest.raises(AssertionError, match=r"2 of 6 elements(?s:.)*worst      \[1, 2\]"):
        assert_close(wrong, op="softmax", inputs=X)


def test_the_format_of_the_answer_counts() -> None:
    """A wider answer is judged in its own format, a narrower one is an error, plain numbers are those of the inputs."""
    x = X.astype(ml_dtypes.bfloat16)
    labels = [0, 1]
    fine = reference("cross_entropy", x, labels)
    assert_close(fine.rounded("float32"), op="cross_entropy", inputs=(x, labels))
    assert_close(fine.rounded("bfloat16"), op="cross_entropy", inputs=(x, labels))
    coarse = fine.rounded("bfloat16").astype(np.float32)
    with pytest.raises(AssertionError, match="in float32: error above"):
        assert_close(coarse, op="cross_entropy", inputs=(x, labels))
    assert_close(float(coarse), op="cross_entropy", inputs=(x, labels))
    with pytest.raises(AssertionError, match="has dtype bfloat16, but should be float32"):
        assert_close(fine.rounded("bfloat16"), op="cross_entropy", inputs=(x, labels), result="float32")
    wide = fine.rounded("float32").astype(np.float64)
    assert_close(wide, op="cross_entropy", inputs=(x, labels), result="float32")
    with pytest.raises(AssertionError, match="has dtype float64, but should be float32"):
        assert_close(np.asarray(np.pi), op="cross_entropy", inputs=(x, labels), result="float32")


def test_shapes_special_values_and_conventions_count_as_in_an_audit() -> None:
    """A wrong shape fails; NaN for a row of -inf is a convention; NaN for a number is none."""
    with pytest.raises(AssertionError, match=r"result.shape=\(6,\), but should be \(2, 3\)"):
        assert_close(reference("softmax", X).rounded("float32").ravel(), op="softmax", inputs=X)
    masked = np.full((1, 2), -np.inf, np.float32)
    assert_close(np.full((1, 2), np.nan, np.float32), op="softmax", inputs=masked)
    with pytest.raises(AssertionError, match="NaN where a number is due"):
        assert_close(np.full((2, 3), np.nan, np.float32), op="softmax", inputs=X)


class _Foreign:
    """An array of a library that NumPy does not know, but that hands its numbers out."""

    def __init__(self, array: Any) -> None:
        self._array = array


class _Arrays(_Foreign):
    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self._array


class _Packed(_Foreign):
    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()


@pytest.mark.parametrize("wrapped", [_Arrays, _Packed])
def test_arrays_of_other_libraries_are_taken(wrapped: Any) -> None:
    """``__array__`` and DLPack do for answers, inputs and options."""
    right = reference("softmax", X).rounded("float32")
    assert_close(wrapped(right), op="softmax", inputs=wrapped(X))
    assert np.array_equal(limits("softmax", wrapped(X)), limits("softmax", X))


def test_tensors_of_torch_are_taken() -> None:
    """bfloat16 tensors with gradients among them."""
    torch = pytest.importorskip("torch")
    x = torch.tensor(X).to(torch.bfloat16).requires_grad_()
    assert_close(torch.softmax(x, -1), op="softmax", inputs=x, policy="faithful")
    loss = torch.nn.functional.cross_entropy(x.float(), torch.tensor([0, 1]))
    assert_close(loss, op="cross_entropy", inputs=(x, torch.tensor([0, 1])))


def test_gradients_go_by_an_upstream_gradient() -> None:
    """``grad=`` asks for the gradient by the first input: p (g - sum p g) for softmax, within its own limits."""
    g = np.array([[1.0, 0.0, 0.0], [0.5, -0.5, 2.0]], np.float32)
    p = np.asarray(reference("softmax", X))
    wanted = p * (g - (p * g).sum(axis=1, keepdims=True))
    assert np.allclose(np.asarray(reference("softmax", X, grad=g)), wanted, rtol=1e-12)
    allowed = limits("softmax", X, grad=g)
    assert np.array_equal(allowed, limits("vjp(softmax)", X, g))
    assert allowed.shape == X.shape
    assert (allowed < 1e-5).all()
    assert_close(wanted.astype(np.float32), op="softmax", inputs=X, grad=g)
    assert_close(wanted.astype(np.float32), op="softmax", inputs=X, grad=g.tolist())
    with pytest.raises(AssertionError, match=r"vjp\(softmax\): \d of 6 elements fail"):
        assert_close(p.astype(np.float32), op="softmax", inputs=X, grad=g)
    of_loss = limits("cross_entropy", X, [0, 1], reduction="sum", grad=np.float32(1.0))
    assert of_loss.shape == X.shape


def test_every_policy_judges() -> None:
    """A value one ulp off passes ``faithful``'s neighbours and fails ``exact``."""
    right = reference("logsumexp", X).rounded("float32")
    off = np.nextafter(right, np.float32(np.inf))
    assert_close(off, op="logsumexp", inputs=X)
    with pytest.raises(AssertionError, match="policy exact"):
        assert_close(off, op="logsumexp", inputs=X, policy="exact")
    assert_close(off, op="logsumexp", inputs=X, policy=POLICIES["textbook"])


@pytest.mark.parametrize(("shape", "axis"), [((2, 3, 5), -1), ((2, 5, 3), 1), ((2, 2, 3, 5), -1), ((2, 5, 2, 3), 1)])
@pytest.mark.parametrize("op", ["cross_entropy", "cross_entropy_grad"])
def test_losses_of_more_dimensions_are_judged_as_their_rows(shape: tuple[int, ...], axis: int, op: str) -> None:
    """[B, T, C] with [B, T], [N, C, d] with [N, d] …: the labels' shape tells which; a wrong element is at its place."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape)
    dims = np.moveaxis(x, axis, -1).shape[:-1]
    labels = rng.integers(0, 5, dims)
    options = {"reduction": "none"} if op == "cross_entropy" else {}
    p = np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)
    right = p.copy()
    own = np.expand_dims(labels, axis)
    np.put_along_axis(right, own, np.take_along_axis(p, own, axis) - 1, axis)
    if op == "cross_entropy":
        right = -np.log(np.take_along_axis(p, own, axis)).squeeze(axis)
    allowed = limits(op, x, labels, **options)
    assert allowed.shape == right.shape
    assert_close(right, op=op, inputs=(x, labels), **options)
    if op == "cross_entropy":
        assert_close(right.mean(), op=op, inputs=(x, labels))
    wrong = right.copy()
    place = tuple(n - 1 for n in right.shape)
    wrong[place] += 1e3 * allowed[place]
    with pytest.raises(AssertionError, match=re.escape(f"worst      [{', '.join(map(str, place))}]")):
        assert_close(wrong, op=op, inputs=(x, labels), **options)


def test_shapes_that_could_be_two_are_refused() -> None:
    """[2, 3, 3] with labels [2, 3]; and labels that fit nothing."""
    with pytest.raises(UsageError, match=r"may be \[B, T, C\] or \[N, C, d\]"):
        limits("cross_entropy", np.zeros((2, 3, 3)), np.zeros((2, 3), int))
    with pytest.raises(UsageError, match=r"are none of \[N, C\]"):
        limits("cross_entropy", np.zeros((2, 3, 4)), np.zeros((2, 5), int))
