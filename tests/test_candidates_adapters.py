"""Adapters: each passes the conformance check that ships with the package, and finds styles of calling of its library."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from xent_verify.candidates import Candidate, open_candidate
from xent_verify.core.failures import UsageError
from xent_verify.core.model import Batch, Died, NotOffered, Outcome, Raised, Returned
from xent_verify.testing import check_adapter

HERE = Path(__file__).parent / "adapters"
X = np.array([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]], np.float32)
TARGET = np.array([2, 0])
P = np.exp(X) / np.exp(X).sum(1, keepdims=True)
LOSS = -np.log(P[[0, 1], TARGET])
GRADIENT = P - np.eye(3)[TARGET]


def needs(library: str) -> None:
    """Skip where the library is not installed (each lives in an environment of its own)."""
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")


def asked(
    target: Any, op: str, inputs: dict[str, Any], opening: dict[str, Any] | None = None, **options: Any
) -> Outcome:
    with open_candidate(target, op, timeout=60, **(opening or {})) as candidate:
        return candidate.call(Batch(op, next(iter(inputs.values())).dtype.name, "", inputs, options))


def value(outcome: Outcome) -> np.ndarray[Any, Any]:
    assert isinstance(outcome, Returned), outcome
    return outcome.value


@pytest.mark.parametrize(
    ("library", "name", "arrays", "without"),
    [
        ("numpy", "numpy", "numpy", ()),
        ("torch", "torch", "auto", ()),
        ("jax", "jax", "auto", ("write",)),
        ("tensorflow", "tensorflow", "auto", ("write",)),
        ("array_api_strict", "array_api", "array-api:array_api_strict", ()),
    ],
)
def test_adapters_conform(library: str, name: str, arrays: str, without: tuple[str, ...]) -> None:
    """Bits come and go, layouts and axes hold, writes to arguments are seen, exceptions are values: for every library."""
    needs(library)

    def opened(behaviour: str) -> Candidate | None:
        if behaviour in without:
            return None
        return open_candidate(f"{HERE}/{name}_targets.py:{behaviour}", "softmax", arrays=arrays, timeout=60)

    done = check_adapter(opened)
    assert sum(item.startswith("copy: float32") for item in done) >= 10
    assert sum(item.startswith("softmax: float32") for item in done) == 3
    if library in ("numpy", "torch", "jax", "tensorflow"):
        assert sum(item.startswith("copy: bfloat16") for item in done) >= 10
        assert sum(item.startswith("copy: float8_e5m2") for item in done) >= 10


def test_the_conformance_check_can_fail() -> None:
    """An adapter that loses bits, hides writes or lets exceptions be answers does not pass."""
    for behaviour, wrong in (("copy", "softmax"), ("softmax", "copy"), ("write", "copy"), ("refuse", "copy")):

        def opened(asked_for: str, wrong: str = wrong) -> Candidate:
            return open_candidate(f"{HERE}/numpy_targets.py:{wrong}", "softmax", isolated=False)

        with pytest.raises(AssertionError, match="does not conform"):
            check_adapter(opened, behaviours=[behaviour])


def test_a_program_conforms() -> None:
    """``cmd:`` keeps bits through hexadecimal literals; refusals are exceptions, endings are crashes, noise is refused."""
    program = f"cmd:{sys.executable} {HERE}/program.py"

    def opened(behaviour: str) -> Candidate | None:
        return None if behaviour == "write" else open_candidate(f"{program} {behaviour}", "softmax")

    done = check_adapter(opened, formats=["float32", "bfloat16", "float8_e5m2"])
    assert sum(item.startswith("copy: bfloat16") for item in done) >= 10
    assert isinstance(asked(f"{program} softmax", "softmax", {"x": X}, axis=0), NotOffered)
    with open_candidate(f"{program} softmax", "softmax") as candidate:
        assert not candidate.offered["axis"]
    got = asked(f"{program} crash", "softmax", {"x": X})
    assert isinstance(got, Died)
    assert got.how.endswith("signal 6 (SIGABRT)")
    assert isinstance(asked(f"{program} noise", "softmax", {"x": X}), Raised)
    with pytest.raises(UsageError, match="not an executable"):
        open_candidate("cmd:./no_such_program", "softmax")


ROW: dict[str, Any] = {"kwargs": {"form": "row"}}
"""The usual declaration of a function of one row."""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The C library of these tests, compiled."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler")
    path = tmp_path_factory.mktemp("c") / "library.so"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", str(path), str(HERE / "library.c"), "-lm"], check=True)
    return str(path)


def test_c_functions_by_their_declaration(library: str) -> None:
    """Row, rows and strided forms, results by return value, class indices: each declaration is called as it says."""
    forms = {
        "softmax_row": ("softmax", "void f(const float *x, float *out, size_t n)", P),
        "softmax_rows": ("softmax", "void f(const float *x, float *out, size_t rows, size_t n)", P),
        "softmax_into": ("softmax", "double f(int n, float *out, const float *x)", P),
        "lse": ("logsumexp", "float f(const float *x, size_t n)", np.log(np.exp(X).sum(1))),
        "loss": (
            "cross_entropy",
            "void f(const float*, const int32_t *target, float *out, size_t rows, size_t n)",
            LOSS,
        ),
        "loss_of_row": ("cross_entropy", "float f(const float *x, int64_t target, size_t n);", LOSS),
    }
    for symbol, (op, signature, wanted) in forms.items():
        loss = op == "cross_entropy"
        inputs = {"logits": X, "target": TARGET} if loss else {"x": X}
        options = {"reduction": "none"} if loss else {}
        got = value(asked(f"{library}:{symbol}", op, inputs, {"kwargs": {"signature": signature}}, **options))
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, wanted, rtol=1e-6)
    usual = value(asked(f"{library}:softmax_row", "softmax", {"x": X}, ROW))
    np.testing.assert_allclose(usual, P, rtol=1e-6)


def test_strided_c_functions_take_axes_without_copies(library: str) -> None:
    """A declaration with strides offers an axis, on any layout."""
    sizes = (
        "size_t rows, size_t n, ptrdiff_t row_stride, ptrdiff_t stride, ptrdiff_t out_row_stride, ptrdiff_t out_stride"
    )
    kwargs = {"signature": f"void f(const double *x, double *out, {sizes})"}
    with open_candidate(f"{library}:softmax_strided", "softmax", kwargs=kwargs) as candidate:
        assert candidate.offered["axis"]
        assert not candidate.supports(Batch("softmax", "float32", "", {"x": X}))
        for axis in (0, 1, -1):
            for layout in ("C", "F", "negative", "strided"):
                x = X.astype(np.float64)
                got = value(candidate.call(Batch("softmax", "float64", "", {"x": x}, {"axis": axis}, layout)))
                np.testing.assert_allclose(got, np.exp(x) / np.exp(x).sum(axis, keepdims=True), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_c_functions_in_formats_without_a_c_type(library: str, dtype: str) -> None:
    """``dtype`` names the format that a ``uint16_t`` carries."""
    kwargs = {"signature": "void f(const uint16_t *x, uint16_t *out, size_t rows, size_t n)", "dtype": dtype}

    def opened(_: str) -> Candidate:
        return open_candidate(f"{library}:copy", "softmax", kwargs=kwargs)

    with open_candidate(f"{library}:copy", "softmax", kwargs=kwargs) as candidate:
        x = np.arange(6).reshape(2, 3).astype(getattr(ml_dtypes, dtype, dtype))
        assert value(candidate.call(Batch("softmax", dtype, "", {"x": x}))).tobytes() == x.tobytes()


def test_c_results_have_the_format_of_their_own_type(library: str) -> None:
    """A float result of bfloat16 logits, and a double that is returned for floats, come back as they are."""
    kwargs = {"signature": "void f(const uint16_t *x, float *out, size_t n)", "dtype": "bfloat16"}
    x = X.astype(ml_dtypes.bfloat16)
    got = value(asked(f"{library}:widen", "softmax", {"x": x}, {"kwargs": kwargs}))
    assert got.dtype == np.float32
    assert np.array_equal(got, x.astype(np.float32))
    kwargs = {"signature": "double f(const float *x, size_t n)"}
    got = value(asked(f"{library}:first_of_row", "logsumexp", {"x": X}, {"kwargs": kwargs}))
    assert got.tolist() == [1 + 2**-40, 2**-40]


def test_c_functions_that_misbehave(library: str) -> None:
    """Writes past the result, results never written, writes to the input, flushing and crashes are told apart."""
    past = asked(f"{library}:past_the_end", "softmax", {"x": X}, ROW)
    assert isinstance(past, Raised)
    assert past.type_name == "OutOfBounds"
    assert np.isnan(value(asked(f"{library}:forgets_the_last", "softmax", {"x": X}, ROW))[:, -1]).all()
    signature = {"kwargs": {"signature": "void f(float *x, float *out, size_t n)"}}
    written = asked(f"{library}:writes_to_its_input", "softmax", {"x": X}, signature)
    assert isinstance(written, Returned)
    assert written.mutated == ("x",)
    crash = asked(f"{library}:crashes", "softmax", {"x": X}, ROW)
    assert isinstance(crash, Died)
    assert "SIGSEGV" in crash.how


def test_a_changed_floating_point_mode_is_seen_and_put_back(library: str) -> None:
    """Flush-to-zero switched on by a call is named at each call, and is off again after it, in this process too."""
    for isolated in (True, False):
        with open_candidate(f"{library}:flushes", "softmax", isolated=isolated, **ROW) as candidate:
            for _ in range(2):
                got = candidate.call(Batch("softmax", "float32", "", {"x": X}))
                assert isinstance(got, Returned)
                assert got.global_state == ("floating-point mode",)
    assert np.float64(5e-324) + np.float64(5e-324) != 0


@pytest.mark.parametrize(
    ("target", "kwargs", "words"),
    [
        ("nowhere.so:f", {}, "not found"),
        ("{library}:nothing", {"form": "row"}, "no symbol 'nothing'"),
        ("{library}:lse", {"signature": "float f(float"}, "should be like"),
        (
            "{library}:lse",
            {"signature": "void f(const uint16_t *x, uint16_t *y, size_t n)"},
            "does not tell the format",
        ),
        ("{library}:lse", {"signature": "void f(const float *x, size_t n)"}, "and a result"),
        ("{library}:lse", {"form": "columns"}, "row or rows"),
        ("{library}:lse", {"typ": "float"}, "unknown 'typ'"),
    ],
)
def test_wrong_declarations_are_one_clear_line(library: str, target: str, kwargs: dict[str, str], words: str) -> None:
    """What can't be read in a declaration is said before anything is called."""
    with pytest.raises(UsageError) as caught:
        open_candidate(target.format(library=library), "softmax", kwargs=kwargs)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


LOSSES = {"logits": X, "target": TARGET}


def test_torch_styles() -> None:
    """``dim``, modules, loss classes, gradients through autograd, functions that convert: found without being told."""
    needs("torch")
    targets = f"{HERE}/torch_targets.py"
    for target in ("torch.nn.functional:softmax", "torch.nn:Softmax", f"{targets}:layer", f"{targets}:converts"):
        np.testing.assert_allclose(value(asked(target, "softmax", {"x": X})), P, rtol=1e-6)
    with open_candidate("torch.nn:CrossEntropyLoss", "cross_entropy", timeout=60) as candidate:
        assert all(candidate.offered.values())
        got = candidate.call(
            Batch("cross_entropy", "float32", "", LOSSES, {"reduction": "none", "weight": np.ones(3, np.float32)})
        )
        np.testing.assert_allclose(value(got), LOSS, rtol=1e-6)
    np.testing.assert_allclose(
        value(asked("torch:logsumexp", "logsumexp", {"x": X}, axis=0)), np.log(np.exp(X).sum(0)), rtol=1e-6
    )
    for target in ("torch.nn.functional:cross_entropy", f"{targets}:losses", f"{targets}:mean_loss"):
        got = asked(target, "cross_entropy_grad", LOSSES)
        np.testing.assert_allclose(value(got), GRADIENT, rtol=1e-5, atol=1e-7)
    upstream = {"x": X, "grad": np.linspace(-1, 1, X.size, dtype=np.float32).reshape(X.shape)}
    back = value(asked("torch.nn.functional:softmax", "vjp(softmax)", upstream))
    np.testing.assert_allclose(back, P * (upstream["grad"] - (P * upstream["grad"]).sum(-1, keepdims=True)), atol=1e-6)
    got = asked(
        "torch.nn.functional:cross_entropy", "vjp(cross_entropy)", {**LOSSES, "grad": np.array(1.0, np.float32)}
    )
    np.testing.assert_allclose(value(got), GRADIENT / len(X), rtol=1e-5, atol=1e-7)
    changed = asked(f"{targets}:changes_default_dtype", "softmax", {"x": X})
    assert isinstance(changed, Returned)
    assert changed.global_state == ("torch default dtype",)


def test_jax_styles() -> None:
    """jitted functions in float64, losses per sample, ``jax.grad``, optax: found without being told."""
    needs("jax")
    targets = f"{HERE}/jax_targets.py"
    got = value(asked(f"{targets}:jitted", "softmax", {"x": X.astype(np.float64)}))
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, P, rtol=1e-6)
    each = asked(f"{targets}:loss", "cross_entropy", LOSSES, reduction="none")
    np.testing.assert_allclose(value(each), LOSS, rtol=1e-6)
    assert isinstance(asked(f"{targets}:loss", "cross_entropy", LOSSES), NotOffered)
    np.testing.assert_allclose(
        value(asked(f"{targets}:loss", "cross_entropy_grad", LOSSES)), GRADIENT, rtol=1e-5, atol=1e-7
    )
    if importlib.util.find_spec("optax"):
        found = asked("optax:softmax_cross_entropy_with_integer_labels", "cross_entropy", LOSSES, reduction="none")
        np.testing.assert_allclose(value(found), LOSS, rtol=1e-6)


def test_jax_without_64_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """JAX_ENABLE_X64 is the caller's word: float32 is answered without it, float64 is refused and not rounded."""
    needs("jax")
    monkeypatch.setenv("JAX_ENABLE_X64", "0")
    for dtype in (np.float32, np.float64):
        with open_candidate("jax.nn:softmax", "softmax", timeout=60, arrays="jax") as candidate:
            outcome = candidate.call(Batch("softmax", np.dtype(dtype).name, "", {"x": X.astype(dtype)}, {}))
        assert isinstance(outcome, Returned if dtype == np.float32 else Raised)


def test_tensorflow_styles() -> None:
    """Targets before logits, ``from_logits``, one function per kind of target: found without being told."""
    needs("tensorflow")
    for target in (
        "tensorflow:nn.sparse_softmax_cross_entropy_with_logits",
        "keras.losses:sparse_categorical_crossentropy",
    ):
        got = asked(target, "cross_entropy", LOSSES, reduction="none")
        np.testing.assert_allclose(value(got), LOSS, rtol=1e-5)
    np.testing.assert_allclose(value(asked("keras.layers:Softmax", "softmax", {"x": X}, axis=0)).sum(0), 1, rtol=1e-6)
    got = asked("keras.losses:sparse_categorical_crossentropy", "cross_entropy_grad", LOSSES)
    np.testing.assert_allclose(value(got), GRADIENT, rtol=1e-5, atol=1e-6)


def test_onnx_models(tmp_path: Path) -> None:
    """A graph's own inputs tell how to call it, in float32 and bfloat16, with and without a target."""
    needs("onnx")
    needs("onnxruntime")
    from onnx import TensorProto, helper, save

    def model(node: Any, kind: int, outputs: list[str], shape: list[Any], extra: tuple[Any, ...] = ()) -> str:
        path = tmp_path / f"{node.op_type}{kind}.onnx"
        given = [helper.make_tensor_value_info("scores", kind, ["N", "C"]), *extra]
        made = [helper.make_tensor_value_info(name, kind, shape) for name in outputs]
        graph = helper.make_graph([node], "g", given, made)
        save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
        return str(path)

    softmax = model(helper.make_node("Softmax", ["scores"], ["p"]), TensorProto.FLOAT, ["p"], ["N", "C"])
    np.testing.assert_allclose(value(asked(softmax, "softmax", {"x": X})), P, rtol=1e-6)
    with open_candidate(softmax, "softmax", timeout=60) as candidate:  # the runtime takes bits as they lie
        swapped = value(candidate.call(Batch("softmax", "float32", "", {"x": X}, {}, "byteswapped")))
    np.testing.assert_allclose(swapped, P, rtol=1e-6)
    copy = model(helper.make_node("Identity", ["scores"], ["p"]), TensorProto.BFLOAT16, ["p"], ["N", "C"])
    x = X.astype(ml_dtypes.bfloat16)
    assert value(asked(copy, "softmax", {"x": x})).tobytes() == x.tobytes()
    labels = helper.make_tensor_value_info("labels", TensorProto.INT64, ["N"])
    node = helper.make_node("SoftmaxCrossEntropyLoss", ["scores", "labels"], ["loss"], reduction="mean")
    loss = model(node, TensorProto.FLOAT, ["loss"], [], (labels,))
    np.testing.assert_allclose(value(asked(loss, "cross_entropy", LOSSES)), LOSS.mean(), rtol=1e-6)
    np.testing.assert_allclose(value(asked(loss, "cross_entropy", LOSSES, reduction="none")), LOSS, rtol=1e-6)
    with pytest.raises(UsageError, match="not found"):
        open_candidate("no_such.onnx", "softmax")


def test_weights_of_one_number_are_arrays_of_the_target_s_library() -> None:
    """PyTorch refuses a NumPy number where it takes a tensor."""
    needs("array_api_strict")
    import array_api_strict

    seen: list[type] = []

    def loss(logits: Any, target: Any, weight: Any = None, reduction: str = "mean") -> Any:
        seen.append(type(weight))
        return logits

    inputs = {"logits": np.zeros(1), "target": np.ones(1)}
    opening = {"arrays": "array-api:array_api_strict", "isolated": False}
    asked(loss, "binary_cross_entropy_with_logits", inputs, opening, weight=np.array(2.0), reduction="none")
    assert seen[-1] is type(array_api_strict.asarray(0.0))


def test_a_device_that_arrays_do_not_have_is_refused() -> None:
    """NumPy's answers of the processor do not pass for those of another device."""
    with pytest.raises(UsageError, match="device 'cuda': NumPy has no devices"):
        open_candidate("stable", "softmax", device="cuda", isolated=False)


OWN_ARRAYS = """
import numpy as np


class Arr:
    def __init__(self, values):
        self.values = np.ascontiguousarray(values)

    def __dlpack__(self, **options):
        return self.values.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.values.__dlpack_device__()


def from_dlpack(x):
    return Arr(np.from_dlpack(x))


def annotated(x: Arr) -> Arr:
    assert type(x) is Arr
    e = np.exp(x.values - x.values.max(-1, keepdims=True))
    return Arr(e / e.sum(-1, keepdims=True))


def bare(x):
    return annotated(x)
"""
"""A library whose arrays have nothing but DLPack."""


@pytest.mark.parametrize(
    ("target", "arrays"),
    [
        ("own.py:annotated", "auto"),
        ("own.py:bare", "auto"),
        ("user.py:softmax", "auto"),
        ("own.py:bare", "array-api:own"),
    ],
)
def test_arrays_of_any_library_with_dlpack_are_found_out(target: str, arrays: str, tmp_path: Path) -> None:
    """By an annotation, by the target's own module, by what that imports, or by name."""
    (tmp_path / "own.py").write_text(OWN_ARRAYS)
    (tmp_path / "user.py").write_text("import own\n\n\ndef softmax(x):\n    return own.annotated(x)\n")
    inside = [] if arrays == "auto" else [str(tmp_path)]
    with pytest.MonkeyPatch.context() as patch:
        for folder in inside:
            patch.syspath_prepend(folder)
        got = value(asked(f"{tmp_path}/{target}", "softmax", {"x": X}, {"arrays": arrays}))
    np.testing.assert_allclose(got, P, rtol=1e-6)


def test_a_package_that_imports_on_demand_is_not_asked_for_names(tmp_path: Path) -> None:
    """Its ``__getattr__`` may raise ImportError where something is not installed."""
    (tmp_path / "lazy").mkdir()
    lazy = "def __getattr__(name):\n    raise ImportError(f'Please install what {name} needs')\n"
    (tmp_path / "lazy" / "__init__.py").write_text(lazy)
    kernel = "import numpy as np\n\n\ndef softmax(x):\n    e = np.exp(x)\n    return e / e.sum(-1, keepdims=True)\n"
    (tmp_path / "lazy" / "kernel.py").write_text(kernel)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        np.testing.assert_allclose(value(asked("lazy.kernel:softmax", "softmax", {"x": X})), P, rtol=1e-6)


CUPY = """
import numpy as np

__version__ = "14.0"


class ndarray:
    def __init__(self, values):
        self.values = values

    def get(self):
        return self.values

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")


def asarray(values):
    return ndarray(np.array(values))


def exp(x):
    if not isinstance(x, ndarray):
        raise TypeError(f"Unsupported type {type(x)}")
    return ndarray(np.exp(x.values))


class cuda:
    class Device:
        def __init__(self, number):
            if number > 1:
                raise RuntimeError("cudaErrorInvalidDevice: invalid device ordinal")

        def use(self):
            pass
"""
"""What an audit uses of CuPy."""


def test_cupy_is_found_out_and_placed_on_a_device(tmp_path: Path) -> None:
    """A module that imports CuPy is given its arrays, on the device that is named; one that is not there is refused."""
    (tmp_path / "cupy.py").write_text(CUPY)
    target = f"{tmp_path}/user.py:softmax"
    (tmp_path / "user.py").write_text(
        "import cupy as cp\n\n\ndef softmax(x):\n    e = cp.exp(x).get()\n"
        "    return cp.asarray(e / e.sum(-1, keepdims=True))\n"
    )
    for device, where in (("cpu", ""), ("cuda:1", "cuda:1, cupy 14.0")):
        with open_candidate(target, "softmax", device=device, timeout=60) as candidate:
            assert candidate.where == where
            np.testing.assert_allclose(value(candidate.call(Batch("softmax", "float32", "", {"x": X}))), P, rtol=1e-6)
    with pytest.raises(UsageError, match="device 'cuda:7': cupy has none here"):
        open_candidate(target, "softmax", device="cuda:7")


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_a_keras_layer_takes_the_arrays_of_its_backend(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keras is no library of arrays of its own."""
    needs("keras")
    needs(backend)
    monkeypatch.setenv("KERAS_BACKEND", backend)
    (tmp_path / "layer.py").write_text("import keras\n\nsoftmax = keras.layers.Softmax()\n")
    np.testing.assert_allclose(value(asked(f"{tmp_path}/layer.py:softmax", "softmax", {"x": X})), P, rtol=1e-6)


@pytest.mark.parametrize("name", ["Softmax", "softmax"])
def test_a_flax_module_without_variables_is_applied(name: str, tmp_path: Path) -> None:
    """A class, or an instance that is bound to nothing."""
    needs("flax")
    (tmp_path / "layer.py").write_text(
        "import flax.linen as nn\n\n\nclass Softmax(nn.Module):\n    @nn.compact\n"
        "    def __call__(self, x):\n        return nn.softmax(x)\n\n\nsoftmax = Softmax()\n"
    )
    np.testing.assert_allclose(value(asked(f"{tmp_path}/layer.py:{name}", "softmax", {"x": X})), P, rtol=1e-6)
