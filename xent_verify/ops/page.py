"""An operation from one function over an abstract arithmetic: what its signature says, and what a small call shows."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, get_args

import numpy as np

from xent_verify.core.failures import UsageError
from xent_verify.core.formats import FORMATS
from xent_verify.ops.floats import Floats, Number
from xent_verify.ops.machine import Machine
from xent_verify.ops.op import InputKind, Op, Option, OptionKind

__all__ = ["op_of"]

_FORMATS = ("float64", "float32", "float16", "bfloat16")
_INPUTS: dict[str, InputKind] = {"target": "target", "labels": "target", "probabilities": "probabilities"}
_OPTIONS: dict[str, OptionKind] = {
    "axis": "axis",
    "weight": "class_weights",
    "ignore_index": "ignored_label",
    "reduction": "reduction",
    "label_smoothing": "share",
    "temperature": "divisor",
}


def op_of(function: Callable[..., Any], name: str) -> Op:
    """The operation that ``function(a, x, ..., option=default)`` is the formula and the only algorithm of.

    Parameters after ``a`` without a default are inputs: ``target`` and ``labels`` hold class labels or probabilities,
    ``probabilities`` an array like the first input, any other logits. Parameters with a default are options, of the kind
    that their name has in the operations of the table, else real numbers; a string annotation names another kind. Results of
    one value a row are reduced where there is a ``reduction``. ``UsageError`` for a function of another form.

    >>> op_of(lambda a, x: a.logsumexp(x) ** 2, "z_loss").result
    'rows'
    """
    parameters = list(inspect.signature(function).parameters.values())
    if len(parameters) < 2:
        raise UsageError(f"operation {name}: a formula takes the arithmetic and one input at least, as in f(a, x)")
    inputs: dict[str, InputKind] = {}
    options: dict[str, Option] = {}
    for parameter in parameters[1:]:
        if parameter.default is inspect.Parameter.empty:
            inputs[parameter.name] = _kind(name, parameter, InputKind, _INPUTS.get(parameter.name, "row"))
        else:
            kind = _kind(name, parameter, OptionKind, _OPTIONS.get(parameter.name, "number"))
            options[parameter.name] = Option(parameter.default, kind)
    elements = _elementwise(function, name, inputs, options)
    reduced = any(option.kind == "reduction" for option in options.values())
    if not reduced and not any(option.kind == "axis" for option in options.values()):
        options["axis"] = Option(-1, "axis")
    about = (inspect.getdoc(function) or name).splitlines()[0]
    result: Any = "elements" if elements else "loss" if reduced else "rows"
    return Op(name, about, inputs, options, result, None, {"formula": function}, formats=_FORMATS)


def _kind(name: str, parameter: inspect.Parameter, kinds: Any, default: Any) -> Any:
    said = parameter.annotation
    if said is inspect.Parameter.empty or not isinstance(said, str):
        return default
    word = said.strip("'\"")
    if word in get_args(kinds):
        return word
    if word == said:  # a type, under postponed evaluation of annotations
        return default
    raise UsageError(f"operation {name}: {parameter.name} is annotated {word!r}; kinds: {', '.join(get_args(kinds))}")


def _elementwise(
    function: Callable[..., Any], name: str, inputs: dict[str, InputKind], options: dict[str, Option]
) -> bool:
    """Whether a call on two rows of three gives a value for every element; rows otherwise."""
    form = FORMATS["float64"]
    a = Floats(Machine(form, form, form))
    rows = np.array([[0.0, -1.0, 0.5], [1.0, 2.0, -0.5]])
    arguments: dict[str, Any] = {
        key: np.array([[1], [0]])
        if kind in ("target", "label")
        else a.input(rows if kind == "row" else rows * 0 + 1 / 3)
        for key, kind in inputs.items()
    }
    for key, option in options.items():
        if option.kind not in ("axis", "class_weights"):
            number = option.kind in ("share", "divisor", "number", "factor", "logit") and option.default is not None
            arguments[key] = a.parameter(option.default) if number else option.default
        elif option.kind == "class_weights":
            arguments[key] = None
    try:
        with np.errstate(all="ignore"):
            result = function(a, **arguments)
    except Exception as error:
        raise UsageError(
            f"operation {name}: a call on two rows of three raises {type(error).__name__}: {error}"
        ) from error
    shape = result.v.shape if isinstance(result, Number) else None
    if shape not in ((2, 3), (2, 1), ()):
        raise UsageError(
            f"operation {name}: gives {shape or type(result).__name__}, should be [R, n], [R, 1] or a reduced loss"
        )
    return bool(shape == (2, 3))
