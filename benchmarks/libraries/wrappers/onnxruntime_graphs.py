"""One-node ONNX graphs on ONNX Runtime's CPU provider, made when they are first needed."""

from functools import cache

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

_KIND = {"float64": TensorProto.DOUBLE, "float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}
OPSET = 18


@cache
def _session(node, kind, dims, axis, reduction=""):
    shape = [f"d{i}" for i in range(dims)]
    x = helper.make_tensor_value_info("x", _KIND[kind], shape)
    inputs, extra = [x], {}
    names = ["x"]
    if node == "ReduceLogSumExp":
        names.append("axes")
        extra["keepdims"] = 0
    elif node == "SoftmaxCrossEntropyLoss":
        names.append("target")
        extra["reduction"] = reduction
        inputs.append(helper.make_tensor_value_info("target", TensorProto.INT64, ["d0"]))
    elif node != "Sigmoid":
        extra["axis"] = axis
    constants = [helper.make_tensor("axes", TensorProto.INT64, [1], [axis])] if "axes" in names else []
    y = helper.make_tensor_value_info("y", _KIND[kind], None)
    graph = helper.make_graph([helper.make_node(node, names, ["y"], **extra)], "g", inputs, [y], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _run(node, x, axis=-1, reduction="", **more):
    session = _session(node, x.dtype.name, x.ndim, int(axis), reduction)
    return session.run(None, {"x": np.asarray(x, order="C"), **more})[0]


def softmax(x, axis=-1):
    return _run("Softmax", x, axis)


def log_softmax(x, axis=-1):
    return _run("LogSoftmax", x, axis)


def logsumexp(x, axis=-1):
    return _run("ReduceLogSumExp", x, axis)


def sigmoid(x):
    return _run("Sigmoid", x)


def cross_entropy(logits, target, *, reduction="mean"):
    if np.ndim(target) != 1:
        raise TypeError("class indices only")
    return _run("SoftmaxCrossEntropyLoss", logits, reduction=reduction, target=np.asarray(target, np.int64))
