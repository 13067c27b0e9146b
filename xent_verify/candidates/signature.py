"""What a callable offers of an op's signature, and how to call it.

``inspect`` answers most of it; where it can't (compiled functions, ``**kwargs``) everything is assumed to be offered and
refusals at run time tell. A function that takes no axis and treats a matrix as one long row is called row by row.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from xent_verify.model import Batch

__all__ = ["AXIS_NAMES", "OPTIONS", "Style", "style_of", "takes_probabilities", "wants_rows"]

AXIS_NAMES = ("axis", "dim", "axes")
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "softmax": (),
    "log_softmax": (),
    "logsumexp": (),
    "cross_entropy": ("weight", "ignore_index", "reduction", "label_smoothing"),
    "binary_cross_entropy_with_logits": ("weight", "pos_weight", "reduction"),
    "softmax_temperature": ("temperature",),
}
_WITH_TARGET = ("cross_entropy", "cross_entropy_grad")
_WITH_AXIS = ("softmax", "log_softmax", "logsumexp", "softmax_temperature", "kl_divergence")


@dataclass(frozen=True, slots=True)
class Style:
    """How to call: the name of the axis parameter ("" for none) and whether to name it always; accepted keywords."""

    op: str
    axis: str
    always: bool
    keywords: frozenset[str] | None  # None: any
    by_row: bool = False
    probabilities: bool = True

    def to_plain(self) -> dict[str, Any]:
        """As plain data, for the wire."""
        return {**asdict(self), "keywords": None if self.keywords is None else sorted(self.keywords)}

    @staticmethod
    def from_plain(plain: Mapping[str, Any]) -> Style:
        """Back from plain data."""
        keywords = plain["keywords"]
        return Style(**{**plain, "keywords": None if keywords is None else frozenset(keywords)})

    @property
    def offered(self) -> dict[str, bool]:
        """Part of the signature -> offered."""
        found = {}
        if self.op in _WITH_AXIS:
            found["axis"] = bool(self.axis)
            found["batched"] = not self.by_row
        if self.op == "cross_entropy":
            found["probability_targets"] = self.probabilities
        for name in OPTIONS.get(self.op, ()):
            found[name] = self.accepts(name)
        return found

    def accepts(self, name: str) -> bool:
        return self.keywords is None or name in self.keywords

    def supports(self, batch: Batch) -> bool:
        """False for calls that need what the signature certainly lacks."""
        axis = batch.options.get("axis")
        if axis is not None and not self.axis and int(axis) not in (-1, batch.x.ndim - 1):
            return False
        if self.by_row and batch.x.ndim not in (1, 2):
            return False
        target = batch.inputs.get("target")
        if self.op in _WITH_TARGET and target is not None and target.dtype.kind not in "iu" and not self.probabilities:
            return False
        return all(self.accepts(name) for name in batch.options if name != "axis")

    def arguments(self, batch: Batch) -> dict[str, Any]:
        """Keyword arguments of the call."""
        given = {name: value for name, value in batch.options.items() if name != "axis"}
        if self.op in _WITH_AXIS and self.axis and ("axis" in batch.options or self.always):
            given[self.axis] = int(batch.options.get("axis", -1))
        return given


def style_of(function: Callable[..., Any], op: str, arrays: str) -> Style:
    """The calling style that the signature tells."""
    try:
        parameters = inspect.signature(function).parameters
    except (ValueError, TypeError):
        return Style(op, ("dim" if arrays == "torch" else "axis") if op in _WITH_AXIS else "", True, None)
    loose = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    keywords = frozenset(name for name, p in parameters.items() if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD))
    axis = next((name for name in AXIS_NAMES if name in keywords), "")
    if not axis and loose and op in _WITH_AXIS:
        axis = "dim" if arrays == "torch" else "axis"
    always = bool(axis) and (axis not in parameters or parameters[axis].default != -1)
    return Style(op, axis, always, None if loose else keywords)


def wants_rows(style: Style, answer: Callable[[np.ndarray[Any, Any]], Any]) -> bool:
    """True when a function without an axis treats a matrix as one row (or refuses it) and takes single rows.

    ``answer`` calls the function with one array and gives an array back, or raises.
    """
    if style.axis or style.op not in ("softmax", "log_softmax", "logsumexp"):
        return False
    matrix = np.array([[0.0, 1.0, 2.0], [3.0, 1.0, -1.0]])
    try:
        whole = np.asarray(answer(matrix), np.float64)
    except Exception:  # noqa: BLE001  any refusal
        whole = None
    try:
        single = np.asarray(answer(matrix[1]), np.float64)
    except Exception:  # noqa: BLE001
        return False
    if whole is None:
        return True
    flat = np.exp(matrix - 3) / np.exp(matrix - 3).sum()
    joint = {"softmax": flat, "log_softmax": np.log(flat), "logsumexp": 3 + np.log(np.exp(matrix - 3).sum())}[style.op]
    return whole.shape == joint.shape and bool(np.allclose(whole, joint, rtol=1e-3)) and single.ndim <= 1


def takes_probabilities(style: Style, answer: Callable[..., Any]) -> bool:
    """False when a loss takes class indices and refuses probabilities."""
    if style.op not in _WITH_TARGET:
        return True
    logits = np.array([[0.0, 1.0, 2.0], [3.0, 1.0, -1.0]])
    try:
        whole = np.shape(answer(logits, np.array([2, 0])))
    except Exception:  # noqa: BLE001  any refusal
        return True
    try:
        return np.shape(answer(logits, np.array([[0.0, 0.0, 1.0], [0.5, 0.5, 0.0]]))) == whole
    except Exception:  # noqa: BLE001
        return False
