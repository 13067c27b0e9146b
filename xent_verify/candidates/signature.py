"""What the signature of a callable tells about how to call it; what it can't tell, ``probe`` asks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from xent_verify.candidates.style import AXIS_NAMES, Style, options_of

__all__ = ["style_of"]

_LOGITS = ("logits", "input", "inputs", "x", "z", "scores", "y_pred", "output", "outputs", "predictions", "preds")
_TARGETS = ("target", "targets", "labels", "label", "y", "y_true", "onehot", "one_hot")
_NAMED = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

Parameters = Mapping[str, inspect.Parameter]


def style_of(function: Callable[..., Any], op: str) -> Style:
    """The calling style that the signature tells (``keywords`` is None where it tells nothing)."""
    try:
        parameters = inspect.signature(function).parameters
    except (ValueError, TypeError):
        return Style(op)
    loose = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    keywords = frozenset(name for name, p in parameters.items() if p.kind in _NAMED)
    axis = next((name for name in AXIS_NAMES if name in parameters), "") if options_of(op, "axis") else ""
    constants = {"from_logits": True} if "from_logits" in keywords else {}
    return Style(
        op,
        axis=axis,
        axis_always=bool(axis) and parameters[axis].default != -1,
        axis_position=_position(parameters, axis),
        keywords=None if loose else keywords,
        names=_names(parameters),
        constants=constants,
    )


def _position(parameters: Parameters, axis: str) -> int:
    if not axis or parameters[axis].kind is not inspect.Parameter.POSITIONAL_ONLY:
        return -1
    return list(parameters).index(axis)


def _names(parameters: Parameters) -> tuple[str, ...]:
    """Names for logits and target where they must go by name: in the other order, or keyword-only."""
    logits = next((name for name in _LOGITS if name in parameters), "")
    target = next((name for name in _TARGETS if name in parameters), "")
    if not logits or not target or any(parameters[name].kind not in _NAMED for name in (logits, target)):
        return ()
    order = list(parameters)
    swapped = order.index(target) < order.index(logits)
    by_name = any(parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in (logits, target))
    return (logits, target) if swapped or by_name else ()
