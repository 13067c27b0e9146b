"""ONNX models through ONNX Runtime, graph optimisations off.

The graph's own inputs and outputs tell how to call it: the floating input is the logits, an integer one the target; with
several outputs, ``--kwargs '{"output": "name"}'`` chooses (and ``"providers"`` lists execution providers).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from xent_verify.candidates.adapters import Loaded
from xent_verify.candidates.answers import raised
from xent_verify.candidates.style import Style, options_of
from xent_verify.core.failures import MissingExtraError, UnknownNameError, UsageError

__all__ = ["load"]

_FORMATS = {
    "tensor(double)": "float64", "tensor(float)": "float32", "tensor(float16)": "float16",
    "tensor(bfloat16)": "bfloat16", "tensor(float8e4m3fn)": "float8_e4m3fn", "tensor(float8e5m2)": "float8_e5m2",
}  # fmt: skip
_INTEGERS = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
_BITS = {"bfloat16": (np.uint16, 16), "float8_e4m3fn": (np.uint8, 17), "float8_e5m2": (np.uint8, 19)}
"""Formats that NumPy's dtypes do not tell: the carrier of their bits, and ONNX's number for them."""


class _Model:
    """A session as a function of (logits, target)."""

    def __init__(self, session: Any, logits: Any, target: Any, output: str) -> None:
        self._session = session
        self._logits = logits
        self._target = target
        self._output = output
        self._format = _FORMATS[logits.type]

    def __call__(self, x: NDArray[Any], target: NDArray[Any] | None = None) -> NDArray[Any]:
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(self._logits.name, self._value(_native(x)))
        if self._target is not None:
            kind = _INTEGERS.get(self._target.type)
            given = np.asarray(target) if kind is None else np.asarray(target).astype(kind)
            binding.bind_ortvalue_input(self._target.name, self._value(_native(given)))
        binding.bind_output(self._output)
        self._session.run_with_iobinding(binding)
        return self._numbers(binding.get_outputs()[0])

    def _value(self, array: NDArray[Any]) -> Any:
        import onnxruntime

        if array.dtype.name not in _BITS:
            return onnxruntime.OrtValue.ortvalue_from_numpy(array)
        carrier, number = _BITS[array.dtype.name]
        return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(carrier), number)

    def _numbers(self, value: Any) -> NDArray[Any]:
        """The result; the bits of formats without a NumPy dtype are read where they lie."""
        name = _FORMATS.get(value.data_type(), "")
        if name not in _BITS:
            found: NDArray[Any] = np.asarray(value.numpy())
            return found
        import ctypes

        shape = tuple(value.shape())
        carrier = np.dtype(_BITS[name][0])
        raw = ctypes.string_at(value.data_ptr(), int(np.prod(shape, dtype=np.int64)) * carrier.itemsize)
        return np.asarray(np.frombuffer(raw, carrier).view(getattr(ml_dtypes, name)).reshape(shape))


def _native(array: NDArray[Any]) -> NDArray[Any]:
    """C-ordered, in this machine's byte order: a model knows no other, and the runtime reads bits as they lie."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))


def load(target: str, op: str, kwargs: Mapping[str, Any]) -> Loaded:
    """Open the model and find its inputs and its output."""
    if not Path(target).is_file():
        raise UsageError(f"target model {target}: not found")
    if find_spec("onnxruntime") is None:
        raise MissingExtraError("onnxruntime", "onnx", f"target {target}")
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    settings.log_severity_level = 3
    try:
        providers = list(kwargs.get("providers", ["CPUExecutionProvider"]))
        session = onnxruntime.InferenceSession(target, settings, providers=providers)
    except Exception as error:  # onnxruntime has a dozen kinds
        raise UsageError(f"target model {target}: {raised(error).message[:200]}") from error
    floating = [entry for entry in session.get_inputs() if entry.type in _FORMATS]
    whole = [entry for entry in session.get_inputs() if entry.type in _INTEGERS]
    if not floating or len(floating) + len(whole) > 2:
        raise UsageError(
            f"target model {target}: inputs {[e.name for e in session.get_inputs()]}; needs logits and at most a target"
        )
    outputs = [entry.name for entry in session.get_outputs()]
    output = str(kwargs.get("output", outputs[0]))
    if output not in outputs:
        raise UnknownNameError(f"output of {target}", output, outputs)
    second = (whole or floating[1:] or [None])[0]
    shape = session.get_outputs()[outputs.index(output)].shape
    dims = tuple(n if isinstance(n, int) else -1 for n in floating[0].shape) or None
    style = Style(
        op,
        keywords=frozenset(),
        targets="index" if whole else "probability",
        formats=frozenset({_FORMATS[floating[0].type]}),
        reduction=("none" if shape else "mean") if options_of(op, "reduction") else "",
        dims=dims,
        unit="single" if dims is not None and len(dims) == 2 and dims[0] == 1 else "",
    )
    return Loaded(_Model(session, floating[0], second, output), style)
