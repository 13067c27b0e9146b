"""One-operation OpenVINO models on its CPU plugin, any shape, at the precision of the model."""

from functools import cache

import numpy as np
import openvino
from openvino import opset13 as ops

_CORE = openvino.Core()
_ACCURACY = {"EXECUTION_MODE_HINT": "ACCURACY", "INFERENCE_PRECISION_HINT": "f32"}


@cache
def _compiled(node, dims, axis):
    x = ops.parameter([-1] * dims, np.float32)
    made = {"softmax": ops.softmax, "log_softmax": ops.log_softmax}
    result = ops.sigmoid(x) if node == "sigmoid" else made[node](x, axis)
    return _CORE.compile_model(openvino.Model([result], [x]), "CPU", _ACCURACY)


def _run(node, x, axis=-1):
    return np.array(_compiled(node, x.ndim, int(axis))(np.ascontiguousarray(x))[0])


def softmax(x, axis=-1):
    return _run("softmax", x, axis)


def log_softmax(x, axis=-1):
    return _run("log_softmax", x, axis)


def sigmoid(x):
    return _run("sigmoid", x)
