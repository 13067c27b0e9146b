"""Softmax and log-softmax of rows as ONNX graphs of one node: ``python benchmarks/kernels/graphs.py FOLDER``."""

import sys
from pathlib import Path

from onnx import TensorProto, helper, save

for name in ("Softmax", "LogSoftmax"):
    x, y = (helper.make_tensor_value_info(one, TensorProto.FLOAT, ["rows", "n"]) for one in "xy")
    graph = helper.make_graph([helper.make_node(name, ["x"], ["y"], axis=-1)], name, [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
    save(model, Path(sys.argv[1]) / f"{'log_' * (name == 'LogSoftmax')}softmax.onnx")
