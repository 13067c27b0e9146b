"""Gradients from the page: truth, limit and implementation of the vector-Jacobian product of every operation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xent_verify import audit
from xent_verify.candidates.adapters.numpy_arrays import Arrays
from xent_verify.core.failures import UsageError
from xent_verify.core.formats import FORMATS
from xent_verify.core.model import Batch
from xent_verify.implementations import find
from xent_verify.ops import OPS, op_named
from xent_verify.ops.limits import limits_of, run
from xent_verify.truth import certify, exact
from xent_verify.verdict.policies import POLICIES

Function = Callable[..., Any]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with np.errstate(all="ignore"):
        yield


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def kl(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    return (softmax(p) * (np.log(softmax(p)) - np.log(softmax(q)))).sum(axis=-1)


def bce(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return -(y * np.log(1 / (1 + np.exp(-x))) + (1 - y) * np.log(1 / (1 + np.exp(x))))


def loss(x: np.ndarray, target: np.ndarray) -> np.ndarray:
    return -np.log(softmax(x))[np.arange(len(x)), target]


def one_more(x: np.ndarray) -> np.ndarray:
    return np.exp(x) / (1 + np.exp(x).sum(axis=-1, keepdims=True))


def js(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    m = np.log((softmax(p) + softmax(q)) / 2)
    return sum((softmax(x) * (np.log(softmax(x)) - m)).sum(axis=-1) for x in (p, q)) / 2


KEYS = np.array([[0.5, 0.25, -1.0, 0.0], [1.0, -0.5, 0.5, 2.0], [0.0, 1.0, 0.25, -0.5]])
VALUES = np.array([[1.0, -2.0], [0.5, 0.0], [-1.0, 3.0]])


FUNCTIONS: dict[str, tuple[Function, dict[str, Any], tuple[Any, ...]]] = {
    "softmax": (softmax, {}, ()),
    "log_softmax": (lambda x: np.log(softmax(x)), {}, ()),
    "logsumexp": (lambda x: np.log(np.exp(x).sum(axis=-1)), {}, ()),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), {}, ()),
    "log_sigmoid": (lambda x: -np.log1p(np.exp(-x)), {}, ()),
    "softmax_temperature": (lambda x: softmax(x / 0.7), {"temperature": 0.7}, ()),
    "kl_divergence": (kl, {}, (np.array([[0.0, 1.0, 0.5, 2.0], [1.0, 0.0, -1.0, 0.0]]),)),
    "cross_entropy": (loss, {"reduction": "none"}, (np.array([2, 0]),)),
    "binary_cross_entropy_with_logits": (
        bce,
        {"reduction": "none"},
        (np.array([[0.0, 0.25, 0.5, 1.0], [0.5, 0.5, 1.0, 0.0]]),),
    ),
    "token_logprob": (lambda x, target: -loss(x / 0.7, target), {"temperature": 0.7}, (np.array([2, 0]),)),
    "entropy": (lambda x: -(softmax(x) * np.log(softmax(x))).sum(axis=-1), {}, ()),
    "softplus": (lambda x: np.log1p(np.exp(x)), {}, ()),
    "logaddexp": (
        lambda x, y: np.log(np.exp(x) + np.exp(y)),
        {},
        (np.array([[0.0, 1.0, 0.5, 2.0], [1.0, 0.0, -1.0, 0.0]]),),
    ),
    "logmeanexp": (lambda x: np.log(np.exp(x).mean(axis=-1)), {}, ()),
    "softmax_one": (one_more, {}, ()),
    "attention_softmax": (lambda x: softmax(x * 0.7), {"scale": 0.7}, ()),
    "js_divergence": (js, {}, (np.array([[0.0, 1.0, 0.5, 2.0], [1.0, 0.0, -1.0, 0.0]]),)),
    "nll": (lambda x, target: -x[np.arange(len(x)), target], {"reduction": "none"}, (np.array([2, 0]),)),
    "kl_divergence_log": (
        lambda p, q: (np.exp(p) * (p - q)).sum(axis=-1),
        {},
        (np.array([[0.0, 1.0, 0.5, 2.0], [1.0, 0.0, -1.0, 0.0]]),),
    ),
    "focal": (
        lambda x, y: bce(x, y) * (y / (1 + np.exp(x)) + (1 - y) / (1 + np.exp(-x))) ** 2,
        {"reduction": "none"},
        (np.array([[0.0, 0.25, 0.5, 1.0], [0.5, 0.5, 1.0, 0.0]]),),
    ),
    "gumbel": (lambda u: -np.log(-np.log(u)), {}, ()),
    "sparsemax": (find("wide", "sparsemax").call, {}, ()),
    "entmax15": (find("wide", "entmax15").call, {}, ()),
    "topk_softmax": (lambda x: -np.sort(-softmax(x), axis=-1)[:, :2], {"k": 2}, ()),
    "attention": (lambda q, k, v: softmax(q @ k.T) @ v, {}, (KEYS, VALUES)),
    "attention_lse": (lambda q, k: np.log(np.exp(q @ k.T).sum(axis=-1)), {}, (KEYS,)),
    "merge_states": (
        lambda a, la, b, lb: (a * np.exp(la)[:, None] + b * np.exp(lb)[:, None]) / (np.exp(la) + np.exp(lb))[:, None],
        {},
        (np.array([0.5, -1.0]), KEYS[:2], np.array([1.0, 0.25])),
    ),
    "linear_cross_entropy": (
        lambda h, w, target: loss(h @ w.T, target),
        {"reduction": "none"},
        (KEYS, np.array([2, 0])),
    ),
    "z_loss": (lambda x: np.log(np.exp(x).sum(axis=-1)) ** 2, {}, ()),
}


def differences(function: Function, x: np.ndarray, grad: np.ndarray, others: tuple[Any, ...]) -> np.ndarray:
    """Central differences of sum(grad * function)."""
    found, step = np.zeros(x.shape), 1e-6
    for place in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[place] += step
        down[place] -= step
        found[place] = (grad * (function(up, *others) - function(down, *others))).sum() / (2 * step)
    return found


def call(op: str) -> Batch:
    _, options, others = FUNCTIONS[op]
    x = np.array([[0.5, -1.0, 3.0, 0.25], [-2.0, 1.0, 0.0, 1.5]])
    x = 1 / (1 + np.exp(-x)) if op == "gumbel" else x
    inputs = dict(zip(OPS[op].inputs, (x, *others), strict=True))
    shape = OPS[op].result_shape(Batch(op, "float64", "test", inputs, options))
    grad = np.linspace(-1.0, 2.0, int(np.prod(shape))).reshape(shape)
    return Batch(f"vjp({op})", "float64", "test", {**inputs, "grad": grad}, options)


@pytest.mark.parametrize("op", [name for name in OPS if name != "cross_entropy_grad"])
def test_the_truth_is_the_derivative(op: str) -> None:
    """What the page's adjoint encloses agrees with central differences of an independent function."""
    function, _, others = FUNCTIONS[op]
    batch = call(op)
    truth = certify(batch)
    wanted = differences(function, batch.x, batch.inputs["grad"], others)
    assert truth.to_float64() == pytest.approx(wanted, rel=1e-9, abs=1e-8)
    assert truth.decided("float64").all()


@pytest.mark.parametrize("op", [name for name in OPS if name != "cross_entropy_grad"])
@pytest.mark.parametrize("fmt", ["float32", "bfloat16"])
def test_backward_kernels_stay_within_the_limit(op: str, fmt: str) -> None:
    """Each adjoint run in floats keeps the limit that the machine derives for it."""
    form, batch = FORMATS[fmt], call(op)
    inputs = {name: value if value.dtype.kind == "i" else form.narrow(value) for name, value in batch.inputs.items()}
    batch = Batch(batch.op, fmt, "test", inputs, batch.options)
    operation, truth = op_named(batch.op), certify(batch).to_float64()
    limit = limits_of(operation, batch, POLICIES["standard"].machine(form)).error
    assert np.isfinite(limit).all()
    for name in operation.algorithms:
        answer = form.widen(run(operation, name, batch, POLICIES["standard"].machine(form)))
        assert (np.abs(answer - truth) <= limit).all(), name


OTHERS = [
    ("kl_divergence", "logits_q"),
    ("kl_divergence_log", "log_q"),
    ("js_divergence", "q_logits"),
    ("logaddexp", "y"),
    ("merge_states", "a_lse"),
    ("merge_states", "b_out"),
    ("merge_states", "b_lse"),
    ("binary_cross_entropy_with_logits", "target"),
    ("attention", "k"),
    ("attention", "v"),
    ("linear_cross_entropy", "weight"),
]


@pytest.mark.parametrize(("op", "by"), OTHERS)
def test_other_inputs_have_gradients_too(op: str, by: str) -> None:
    """In the shape of that input: truth against differences, adjoints within their limit."""
    function, batch = FUNCTIONS[op][0], call(op)
    narrow = {n: v if v.dtype.kind == "i" else v.astype(np.float32) for n, v in batch.inputs.items()}
    batch = Batch(f"vjp({op}, {by})", "float32", "test", narrow, batch.options)
    wide = {n: v if v.dtype.kind == "i" else v.astype(np.float64) for n, v in narrow.items() if n != "grad"}

    def of_input(x: np.ndarray) -> Any:
        return function(*{**wide, by: x}.values())

    truth = certify(batch).to_float64()
    assert truth == pytest.approx(
        differences(of_input, wide[by], batch.inputs["grad"].astype(np.float64), ()), abs=1e-7
    )
    operation, machine = op_named(batch.op), POLICIES["standard"].machine(FORMATS["float32"])
    limit = limits_of(operation, batch, machine).error
    for name in operation.algorithms:
        assert (np.abs(run(operation, name, batch, machine) - truth) <= limit).all(), name


def test_a_gradient_of_several_inputs_needs_no_words_about_its_call() -> None:
    """The small calls by which a target is understood have all inputs and an upstream gradient in the result's shape."""

    def by_second(x: np.ndarray, y: np.ndarray, grad: np.ndarray) -> np.ndarray:
        return grad / (1 + np.exp(x - y))

    assert audit(by_second, op="vjp(logaddexp, y)", dtypes=["float64"], profile="quick", regimes=["ordinary"]).ok


def test_labels_have_no_gradient() -> None:
    """The message says by what there is one."""
    with pytest.raises(
        UsageError, match="no gradient by 'target'; linear_cross_entropy has those by hidden, weight, bias"
    ):
        op_named("vjp(linear_cross_entropy, target)")


def slopes(
    hidden: np.ndarray,
    weight: np.ndarray,
    target: np.ndarray,
    grad: np.ndarray,
    *,
    bias: np.ndarray | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> tuple[np.ndarray, np.ndarray]:
    """The gradient by the logits as a backward kernel computes it, and the hidden states."""
    wide = np.float64 if hidden.dtype == np.float64 else np.float32
    x, live = hidden.astype(wide), target != ignore_index
    z = x @ weight.astype(wide).T + (0 if bias is None else bias.astype(wide))
    hot = np.arange(len(weight)) == np.where(live, target, 0)[:, None]
    scale = grad.astype(wide) / (wide(live.sum()) if reduction == "mean" else wide(1))
    return np.where(live[:, None], (softmax(z) - hot.astype(wide)) * scale.reshape(-1, 1), 0).astype(wide), x


def by_weight(
    hidden: np.ndarray, weight: np.ndarray, target: np.ndarray, grad: np.ndarray, **options: Any
) -> np.ndarray:
    d, x = slopes(hidden, weight, target, grad, **options)
    return (d.T @ x).astype(hidden.dtype)


def by_bias(hidden: np.ndarray, weight: np.ndarray, target: np.ndarray, grad: np.ndarray, **options: Any) -> np.ndarray:
    return slopes(hidden, weight, target, grad, **options)[0].sum(axis=0).astype(hidden.dtype)


def without_last_rows(
    hidden: np.ndarray, weight: np.ndarray, target: np.ndarray, grad: np.ndarray, **options: Any
) -> np.ndarray:
    """Blocks of four rows; the rows behind the last full one are left out."""
    d, x = slopes(hidden, weight, target, grad, **options)
    used = len(d) - len(d) % 4 or len(d)
    return (d[:used].T @ x[:used]).astype(hidden.dtype)


@pytest.mark.parametrize(
    ("function", "by", "fine"),
    [(by_weight, "weight", True), (by_bias, "bias", True), (without_last_rows, "weight", False)],
)
def test_a_gradient_that_all_rows_take_part_in_is_audited(function: Function, by: str, fine: bool) -> None:
    report = audit(
        function,
        op=f"vjp(linear_cross_entropy, {by})",
        dtypes=["float32"],
        profile="quick",
        regimes=["ordinary", "options", "batch_sizes"],
    )
    assert report.ok == fine
    assert report.cases > 100


@pytest.mark.parametrize("op", ["cross_entropy", "nll", "binary_cross_entropy_with_logits"])
def test_the_gradient_of_a_mean_divides_by_all_that_counts(op: str) -> None:
    """However many blocks the call is cut into, and whichever tier decides."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((5000, 20)).astype(np.float32)
    labels = np.where(rng.random(5000) < 0.3, -100, rng.integers(0, 20, 5000))
    target = rng.random((5000, 20)).astype(np.float32) if op.startswith("binary") else labels
    inputs = {OPS[op].first: x, "target": target, "grad": np.array(1.0, np.float32)}
    mean, total = (Batch(f"vjp({op})", "float32", "", inputs, {"reduction": how}) for how in ("mean", "sum"))
    divisor = target.size if op.startswith("binary") else np.count_nonzero(labels != -100)
    wanted = certify(total).to_float64().ravel() / divisor
    assert certify(mean).to_float64().ravel() == pytest.approx(wanted, rel=1e-14)
    place = np.arange(40, 45)
    assert exact.evaluate(mean, "float32", place).to_float64() == pytest.approx(wanted[place], rel=1e-14)


def backward(x: np.ndarray, grad: np.ndarray, axis: int = -1) -> np.ndarray:
    """softmax's backward pass."""
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    p = e / e.sum(axis=axis, keepdims=True)
    return p * (grad - (p * grad).sum(axis=axis, keepdims=True))


def without_sum(x: np.ndarray, grad: np.ndarray, axis: int = -1) -> np.ndarray:
    """The diagonal of the Jacobian alone."""
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    p = e / e.sum(axis=axis, keepdims=True)
    return p * (1 - p) * grad


@pytest.mark.parametrize(("function", "fine"), [(backward, True), (without_sum, False)])
def test_a_backward_function_is_audited_like_any_other(function: Function, fine: bool) -> None:
    """--op "vjp(softmax)": the upstream gradient is an input; a missing term fails."""
    report = audit(function, op="vjp(softmax)", dtypes=["float32"], profile="quick", regimes=["ordinary", "ties"])
    assert report.ok == fine
    assert report.cases > 0


def label_less_p(
    logits: np.ndarray, target: np.ndarray, grad: np.ndarray, temperature: float = 1.0, ignore_index: int = -100
) -> np.ndarray:
    """(1 at the label - p) times the upstream gradient, as kernels of a token's log-probability write it."""
    divisor = logits.dtype.type(temperature)
    live = target != ignore_index
    hot = np.arange(logits.shape[1]) == np.where(live, target, 0)[:, None]
    return np.where(
        live[:, None], (hot.astype(logits.dtype) - softmax(logits / divisor)) * grad.reshape(-1, 1) / divisor, 0
    )


def test_a_gradient_that_is_scaled_at_the_end_passes() -> None:
    """Its last two roundings are at the label; rows to ignore may hold NaN."""
    report = audit(label_less_p, op="vjp(token_logprob)", dtypes=["float32"], profile="quick")
    assert not [finding for finding in report.findings if finding.severity == "fail"]


@pytest.mark.parametrize("op", ["token_logprob", "cross_entropy", "nll"])
def test_the_gradient_of_a_row_to_ignore_is_zero_whatever_it_holds(op: str) -> None:
    inputs = {
        op_named(op).first: np.array([[np.nan, 1.0], [0.5, np.inf]], np.float32),
        "target": np.array([-100, -100]),
    }
    options = {name: "sum" for name, option in op_named(op).options.items() if option.kind == "reduction"}
    upstream = np.ones(() if options else 2, np.float32)
    assert (certify(Batch(f"vjp({op})", "float32", "", {**inputs, "grad": upstream}, options)).to_float64() == 0).all()


def certain(batch: Batch, true: list[Any]) -> None:
    """Every enclosure of a call holds these numbers of 300 digits."""
    found = certify(batch).reshape(-1)
    for place, value in enumerate(true):
        fields = (found.hi[place], found.lo[place], found.radius[place])
        hi, lo, radius = (mpmath.mpf(float(field)) * mpmath.mpf(2) ** int(found.exponent[place]) for field in fields)
        assert abs(value - hi - lo) <= radius + mpmath.mpf(10) ** -250, (place, value, hi)


def slope_of_loss(z: list[Any], a: list[Any], scale: Any, cap: Any) -> list[Any]:
    """By the logits: (p sum a - a + 2 scale L p) (1 - tanh(z / c)**2)."""
    u = z if cap is None else [cap * mpmath.tanh(t / cap) for t in z]
    total = mpmath.log(sum(mpmath.exp(t) for t in u))
    p = [mpmath.exp(t - total) for t in u]
    turn = [1 if cap is None else 1 - mpmath.tanh(t / cap) ** 2 for t in z]
    return [(q * sum(a) - b + 2 * scale * total * q) * s for q, b, s in zip(p, a, turn, strict=True)]


@given(st.data())
def test_gradients_of_losses_are_those_of_another_formula(data: st.DataObject) -> None:
    """cross_entropy by its logits, linear_cross_entropy by its weight, any options: in 300 digits."""
    rows, classes, n = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5)), data.draw(st.integers(1, 3))
    number = st.floats(-30, 30, width=32)
    reduction = data.draw(st.sampled_from(["none", "sum", "mean"]))
    options: dict[str, Any] = {"reduction": reduction, "label_smoothing": data.draw(st.sampled_from([0.0, 0.1, 1.0]))}
    options |= {"lse_square_scale": data.draw(st.sampled_from([0.0, 1e-4, 0.5]))}
    options |= data.draw(st.sampled_from([{}, {"softcap": 2.5}, {"softcap": 30.0}]))
    labels = np.array(data.draw(st.lists(st.sampled_from([-100, *range(classes)]), min_size=rows, max_size=rows)))
    hidden, weight = (
        np.array(data.draw(st.lists(number, min_size=k * n, max_size=k * n)), np.float32).reshape(k, n)
        for k in (rows, classes)
    )
    logits = np.array(data.draw(st.lists(number, min_size=rows * classes, max_size=rows * classes)), np.float32)
    logits = logits.reshape(rows, classes)
    shape = (rows,) if reduction == "none" else ()
    grad = np.array(data.draw(st.lists(number, min_size=rows, max_size=rows)), np.float32)[
        : rows if shape else 1
    ].reshape(shape)
    live = labels != -100
    share, scale, cap = (options.get(name) for name in ("label_smoothing", "lse_square_scale", "softcap"))
    with mpmath.workdps(300):
        divisor = int(live.sum()) if reduction == "mean" else 1
        smooth = mpmath.mpf(share)

        def slopes_of(z: list[list[Any]]) -> list[list[Any]]:
            found = []
            for r, row in enumerate(z):
                if not live[r]:
                    found.append([mpmath.mpf(0)] * classes)
                    continue
                a = [smooth / classes + (1 - smooth) * (c == labels[r]) for c in range(classes)]
                g = mpmath.mpf(float(grad[r] if shape else grad[()])) / divisor
                found.append([g * d for d in slope_of_loss(row, a, mpmath.mpf(scale), cap)])
            return found

        by_logits = slopes_of([[mpmath.mpf(float(t)) for t in row] for row in logits])
        inputs = {"logits": logits, "target": labels, "grad": grad}
        certain(Batch("vjp(cross_entropy)", "float32", "", inputs, options), [d for row in by_logits for d in row])
        h, w = ([[mpmath.mpf(float(t)) for t in row] for row in matrix] for matrix in (hidden, weight))
        products = [[sum(s * t for s, t in zip(x, y, strict=True)) for y in w] for x in h]
        d = slopes_of(products)
        by_weight = [sum(d[r][c] * h[r][j] for r in range(rows)) for c in range(classes) for j in range(n)]
        inputs = {"hidden": hidden, "weight": weight, "target": labels, "grad": grad}
        certain(Batch("vjp(linear_cross_entropy, weight)", "float32", "", inputs, options), by_weight)


def root_of_tail(x: np.ndarray, grad: np.ndarray) -> np.ndarray:
    """The gradient of logsumexp with a term that is 0/0 where a probability has rounded to 0."""
    p = softmax(x)
    return p * grad[:, None] * (p / p)


def test_a_nan_in_the_gradient_of_a_number_is_a_kind_of_its_own() -> None:
    report = audit(root_of_tail, op="vjp(logsumexp)", dtypes=["float32"], profile="quick", regimes=["underflow_edge"])
    assert {finding.kind for finding in report.findings if finding.severity == "fail"} == {"nan_gradient"}


def unshifted(x: np.ndarray) -> np.ndarray:
    """softmax off by a factor."""
    return softmax(x) * np.float32(1.5)


@pytest.mark.parametrize(("function", "words"), [(softmax, "the value itself is right"), (unshifted, "is wrong, too")])
def test_a_wrong_gradient_of_a_library_says_whether_the_value_is_right(
    function: Function, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the library differentiates everything to 0."""
    monkeypatch.setattr(Arrays, "gradient_of", lambda _adapter, _function: lambda x, _upstream: np.zeros_like(x))
    report = audit(function, op="vjp(softmax)", dtypes=["float32"], profile="quick", regimes=["ordinary"])
    assert not report.ok
    assert all(words in finding.message for finding in report.findings if finding.severity == "fail")
