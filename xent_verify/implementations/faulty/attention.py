"""The softmax of attention scores: what masks, scales and sinks make go wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from xent_verify.implementations.attention import as_attention, attention_softmax_masked_scores
from xent_verify.implementations.entries import Fault
from xent_verify.implementations.faulty.triggers import on, rising
from xent_verify.implementations.rows import Array, working_dtype

__all__ = ["FAULTS"]

CATEGORY = "attention"


def _kept(rows: Array, scale: Any, mask: Array) -> Array:
    return np.where(mask, rows * scale, -np.inf).astype(rows.dtype)


def _about(z: Array, peak: Array, sink: Any) -> Array:
    terms = np.exp(z - peak)
    return np.asarray(terms / (terms.sum(axis=-1, keepdims=True) + np.exp(sink - peak)))


@as_attention
def attention_softmax_finite_mask(rows: Array, scale: Any, mask: Array, sink: Any) -> Array:
    """Masked scores are -1e4: a row of lower scores gives all of its mass to them."""
    z = np.where(mask, rows * scale, -1e4).astype(rows.dtype)
    return _about(z, np.maximum(z.max(axis=-1, keepdims=True), sink), sink)


@as_attention
def attention_softmax_masked_after(rows: Array, scale: Any, mask: Array, sink: Any) -> Array:
    """The mask multiplies the probabilities, which are not normalised again."""
    z = rows * scale
    return np.asarray(_about(z, np.maximum(z.max(axis=-1, keepdims=True), sink), sink) * mask)


@as_attention
def attention_softmax_maximum_of_all(rows: Array, scale: Any, mask: Array, sink: Any) -> Array:
    """The maximum is taken over masked scores, too: beside a large one the kept terms vanish."""
    peak = np.maximum((rows * scale).max(axis=-1, keepdims=True), sink)
    return _about(_kept(rows, scale, mask), peak, sink)


@as_attention
def attention_softmax_unscaled_maximum(rows: Array, scale: Any, mask: Array, sink: Any) -> Array:
    """The maximum of the scores before they are scaled is subtracted after."""
    peak = np.maximum(_kept(rows, rows.dtype.type(1), mask).max(axis=-1, keepdims=True), sink)
    return _about(_kept(rows, scale, mask), peak, sink)


@as_attention
def attention_softmax_padding_counts(rows: Array, scale: Any, mask: Array, sink: Any) -> Array:
    """Long rows are padded with zeros to a multiple of 64 columns, which take part."""
    z = _kept(rows, scale, mask)
    padding = -z.shape[1] % 64 if z.shape[1] > 64 else 0
    padded = np.concatenate([z, np.zeros((len(z), padding), z.dtype)], axis=1)
    peak = np.maximum(padded.max(axis=-1, keepdims=True), sink)
    return np.asarray(_about(padded, peak, sink)[:, : z.shape[1]])


@as_attention
def attention_softmax_sink_outside_maximum(rows: Array, scale: Any, mask: Array, sink: Any) -> Array:
    """The maximum is that of the kept scores alone: without any, -inf is subtracted from itself, though the sink is finite."""
    z = _kept(rows, scale, mask)
    return _about(z, z.max(axis=-1, keepdims=True), sink)


@as_attention
def attention_softmax_unshifted_sink(rows: Array, scale: Any, mask: Array, sink: Any) -> Array:
    """The sink's term is exp(sink) exp(-m): exp of a large sink overflows beside scores as large."""
    z = _kept(rows, scale, mask)
    peak = np.maximum(z.max(axis=-1, keepdims=True), sink)
    terms = np.exp(z - peak)
    return np.asarray(terms / (terms.sum(axis=-1, keepdims=True) + np.exp(sink) * np.exp(-peak)))


def _alone(
    x: ArrayLike,
    z: Callable[[Array, Any, Any], Array],
    *,
    scale: float,
    softcap: float | None,
    mask: Any,
    **options: Any,
) -> Array:
    """Scores [..] made by ``z`` where there is a cap; the stable form of the scores as they are elsewhere."""
    if softcap is None:
        return attention_softmax_masked_scores(x, scale=scale, mask=mask, **options)
    given = np.asarray(x)
    wide = given.astype(working_dtype(given.dtype))
    kept = np.True_ if mask is None else np.asarray(mask, np.bool_)
    with np.errstate(all="ignore"):
        capped = z(wide, wide.dtype.type(softcap), kept)
    return np.asarray(attention_softmax_masked_scores(capped, **options)).astype(given.dtype)


def attention_softmax_cap_after_mask(
    x: ArrayLike,
    *,
    scale: float = 1.0,
    softcap: float | None = None,
    mask: ArrayLike | None = None,
    sink: float | None = None,
    axis: int = -1,
) -> Array:
    """The cap turns the -inf of masked scores into -cap: mass leaks to them (an early ONNX Attention)."""

    def scores(rows: Array, cap: Any, kept: Array) -> Array:
        return np.asarray(cap * np.tanh(np.where(kept, rows * rows.dtype.type(scale), -np.inf) / cap)).astype(
            rows.dtype
        )

    return _alone(x, scores, scale=scale, softcap=softcap, mask=mask, sink=sink, axis=axis)


def attention_softmax_cap_before_scale(
    x: ArrayLike,
    *,
    scale: float = 1.0,
    softcap: float | None = None,
    mask: ArrayLike | None = None,
    sink: float | None = None,
    axis: int = -1,
) -> Array:
    """The scores are capped before they are scaled."""

    def scores(rows: Array, cap: Any, kept: Array) -> Array:
        capped = cap * np.tanh(rows / cap) * rows.dtype.type(scale)
        return np.where(kept, capped, -np.inf).astype(rows.dtype)

    return _alone(x, scores, scale=scale, softcap=softcap, mask=mask, sink=sink, axis=axis)


def _masked(values: ArrayLike, *kept: bool, **options: Any) -> Any:
    return on(values, mask=np.array(kept), **options)


FAULTS: tuple[Fault, ...] = (
    Fault("finite-mask", "attention_softmax", attention_softmax_finite_mask, CATEGORY,
          "kept scores below -1e4", "a finite number for a mask", _masked([-2e4, -2e4, 0.0], True, True, False)),
    Fault("masked-after", "attention_softmax", attention_softmax_masked_after, CATEGORY,
          "a mask", "masked without normalising again", _masked([0.0, 1.0, 2.0], True, True, False)),
    Fault("maximum-of-all", "attention_softmax", attention_softmax_maximum_of_all, CATEGORY,
          "a masked score far above the kept ones", "maximum over masked scores", _masked([0.0, 1.0, 2000.0], True, True, False)),
    Fault("unscaled-maximum", "attention_softmax", attention_softmax_unscaled_maximum, CATEGORY,
          "negative scores and a scale", "maximum before the scale", on([-8000.0, -8000.0], scale=0.125)),
    Fault("padding-counts", "attention_softmax", attention_softmax_padding_counts, CATEGORY,
          "lengths above 64 that 64 does not divide", "padding takes part", on(rising(100, 1.0))),
    Fault("sink-outside-maximum", "attention_softmax", attention_softmax_sink_outside_maximum, CATEGORY,
          "a sink and no kept score", "inf - inf", _masked([0.0, 1.0], False, False, sink=1.0)),
    Fault("unshifted-sink", "attention_softmax", attention_softmax_unshifted_sink, CATEGORY,
          "a large sink", "exp of the sink overflows", on([1000.0, 1000.0], sink=1000.0)),
    Fault("cap-after-mask", "attention_softmax", attention_softmax_cap_after_mask, CATEGORY,
          "a mask and a cap", "capped after masking", _masked([0.0, 1.0, 2.0], True, True, False, softcap=5.0)),
    Fault("cap-before-scale", "attention_softmax", attention_softmax_cap_before_scale, CATEGORY,
          "a scale and a cap", "capped before scaling", on([0.0, 8.0, 16.0], scale=0.125, softcap=1.0)),
)  # fmt: skip
