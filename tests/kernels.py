"""Kernels for the tests of calls: sound ones with conventions of their own, and one fault each."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np


def softmax(x: Any, axis: int = -1) -> Any:
    wide = x.astype(np.float32) if x.dtype.itemsize < 4 else x
    e = np.exp(wide - wide.max(axis=axis, keepdims=True, initial=-np.inf))
    return (e / e.sum(axis=axis, keepdims=True)).astype(x.dtype)


def softmax_of_floats(x: Any) -> Any:
    if x.dtype != np.float64:
        raise TypeError("float64 only")
    return softmax(x)


def _losses(logits: Any, target: Any) -> Any:
    wide = logits.astype(np.float64)
    d = wide - wide.max(axis=1, keepdims=True)
    logp = d - np.log(np.exp(d).sum(axis=1, keepdims=True))
    safe = np.where(target == -100, 0, target)
    return np.where(target == -100, 0.0, -logp[np.arange(len(safe)), safe])


def wide_losses(logits: Any, target: Any) -> Any:
    """Losses of narrow logits as float32."""
    return _losses(logits, target).astype(np.float32)


def coarse_losses(logits: Any, target: Any) -> Any:
    """The same with the bits of bfloat16."""
    return _losses(logits, target).astype(ml_dtypes.bfloat16).astype(np.float32)


def casts_labels(logits: Any, target: Any, reduction: str = "mean") -> Any:
    """Like a kernel that reads int32 labels from whatever it is given."""
    losses = _losses(logits, np.asarray(target).astype(np.int64).reshape(-1)[: len(logits)])
    count = max(int((np.asarray(target).reshape(-1)[: len(logits)] != -100).sum()), 1)
    total = losses if reduction == "none" else losses.sum() / (count if reduction == "mean" else 1)
    return np.asarray(total).astype(logits.dtype)


def pair(logits: Any, target: Any, scale: float, reduction: str) -> Any:
    losses = _losses(logits, target)
    total = losses if reduction == "none" else losses.sum()
    if reduction == "mean":
        total = total / (target != -100).sum()
    return np.asarray(total).astype(logits.dtype), np.float32(scale)


def smoothed(logits: Any, target: Any) -> Any:
    """A mean with label smoothing 0.25 built in."""
    wide = logits.astype(np.float64)
    d = wide - wide.max(axis=1, keepdims=True)
    logp = d - np.log(np.exp(d).sum(axis=1, keepdims=True))
    return np.mean(0.75 * _losses(logits, target) - 0.25 * logp.mean(axis=1)).astype(logits.dtype)


def weighted(logits: Any, target: Any) -> Any:
    """A sum with class weights built in."""
    weight = np.array([1.0, 2.0, 0.5])
    return (_losses(logits, target) * weight[np.where(target == -100, 0, target)]).sum().astype(logits.dtype)


def into(out: Any, x: Any) -> None:
    out[...] = softmax(x)


def into_all_but_one(out: Any, x: Any) -> None:
    out[..., 1:] = softmax(x)[..., 1:]


def overwrites(x: Any) -> None:
    x[...] = softmax(x)


def a_pair_of_softmaxes(x: Any) -> Any:
    return softmax(x), softmax(x)


def _needs(x: Any, more: Any) -> Any:
    return x, more


def calls_wrongly(x: Any) -> Any:
    return _needs(x)  # type: ignore[call-arg]


def short_rows(x: Any, axis: int = -1) -> Any:
    if x.ndim and x.shape[axis] > 100:
        raise ValueError("at most 100 columns")
    if not x.flags.c_contiguous:
        raise RuntimeError("contiguous arrays only")
    return softmax(x, axis)


def _split(x: Any, axis: int, block: int) -> Any:
    """A softmax whose sums are made in blocks of that many terms, one after the other."""
    if x.shape[axis] == 0:
        return np.empty_like(x)
    wide = np.moveaxis(x.astype(np.float32) if x.dtype.itemsize < 4 else x, axis, -1)
    e = np.exp(wide - wide.max(axis=-1, keepdims=True))
    padded = np.zeros((*e.shape[:-1], -(-e.shape[-1] // block) * block), e.dtype)
    padded[..., : e.shape[-1]] = e
    parts = np.add.accumulate(padded.reshape(*e.shape[:-1], -1, block), axis=-1)[..., -1]
    total = np.add.accumulate(parts, axis=-1)[..., -1:]
    return np.moveaxis(e / total, -1, axis).astype(x.dtype)


def splits_by_batch(x: Any, axis: int = -1) -> Any:
    """Like a kernel that gives each row more blocks where there are few rows."""
    return _split(x, axis, 8 if x.size >= 32 * x.shape[axis] else 64)


def splits_alike(x: Any, axis: int = -1) -> Any:
    """The same split whatever the batch."""
    return _split(x, axis, 64)


def narrow_sums(x: Any, axis: int = -1) -> Any:
    """Running sums in float16, whatever the format."""
    e = np.exp(x - x.max(axis=axis, keepdims=True, initial=-np.inf))
    sums = np.add.accumulate(np.moveaxis(e, axis, -1).astype(np.float16), axis=-1)[..., -1:]
    return e / np.moveaxis(sums, -1, axis).astype(x.dtype)
