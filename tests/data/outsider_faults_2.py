"""Fifty faulty kernels of an outside engineer, written before the tool was run on any of them.

META[name]: the operation, the formats to audit, the kind of fault, and its cause in a sentence.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

BF16 = np.dtype(ml_dtypes.bfloat16)
META: dict[str, dict[str, Any]] = {}


def fault(op: str, dtypes: str, kind: str, cause: str) -> Any:
    """Enter a function."""

    def enter(call: Callable[..., Any]) -> Callable[..., Any]:
        META[call.__name__] = {"op": op, "dtypes": dtypes.split(), "kind": kind, "cause": cause}

        @functools.wraps(call)
        def quiet(*args: Any, **kwargs: Any) -> Any:
            with np.errstate(all="ignore"):
                return call(*args, **kwargs)

        return quiet

    return enter


# ---------------------------------------------------------------------------------------------------- sound parts


def wide(x: Any) -> Any:
    x = np.asarray(x)
    return x.astype(np.float32) if x.dtype.itemsize < 4 else x.astype(x.dtype.newbyteorder("="))


def narrow(y: Any, like: Any) -> Any:
    return np.asarray(y).astype(np.asarray(like).dtype.newbyteorder("="))


def last(x: Any, axis: int) -> Any:
    return np.ascontiguousarray(np.moveaxis(wide(x), axis, -1))


def back(y: Any, x: Any, axis: int) -> Any:
    return narrow(np.moveaxis(y, -1, axis), x)


def peak(w: Any) -> Any:
    m = w.max(axis=-1, keepdims=True, initial=-np.inf)
    return np.where(np.isneginf(m), w.dtype.type(0), m)


def log_soft(w: Any) -> Any:
    d = w - peak(w)
    return d - np.log(np.exp(d).sum(axis=-1, keepdims=True))


def soft(w: Any) -> Any:
    e = np.exp(w - peak(w))
    return e / e.sum(axis=-1, keepdims=True)


def log_sum(w: Any) -> Any:
    m = w.max(axis=-1, keepdims=True, initial=-np.inf)
    base = np.where(np.isfinite(m), m, w.dtype.type(0))
    return np.where(np.isposinf(m), m, base + np.log(np.exp(w - base).sum(axis=-1, keepdims=True)))[..., 0]


def picked(table: Any, labels: Any) -> Any:
    return np.take_along_axis(table, np.asarray(labels).astype(np.int64)[:, None], axis=1)[:, 0]


def live_labels(target: Any, ignore_index: int) -> tuple[Any, Any]:
    target = np.asarray(target).astype(np.int64)
    live = target != ignore_index
    return live, np.where(live, target, 0)


def reduced(loss: Any, reduction: str, count: Any, like: Any) -> Any:
    if reduction == "none":
        return narrow(loss, like)
    total = loss.sum()
    return narrow(total / loss.dtype.type(count) if reduction == "mean" else total, like)


def softplus32(w: Any) -> Any:
    return np.maximum(w, 0) + np.log1p(np.exp(-np.abs(w)))


def capped(z: Any, softcap: Any) -> Any:
    return z if softcap is None else z.dtype.type(softcap) * np.tanh(z / z.dtype.type(softcap))


def keys_kept(shape: tuple[int, ...], mask: Any, causal: bool) -> Any:
    kept = np.ones(shape, bool)
    if mask is not None:
        kept &= np.asarray(mask, bool)
    if causal:
        rows, keys = shape[-2:]
        kept &= np.arange(keys) <= np.arange(rows)[:, None] + (keys - rows)
    return kept


def dots(q: Any, k: Any, scale: Any) -> Any:
    z = np.matmul(wide(q), np.swapaxes(wide(k), -1, -2))
    return z * z.dtype.type(scale)


def with_bias(z: Any, bias: Any) -> Any:
    return z if bias is None else z + wide(bias).astype(z.dtype)


# --------------------------------------------------------------------------------------------------- token_logprob


@fault(
    "token_logprob",
    "float32",
    "ignore_index",
    "every negative label counts as ignored and ignore_index is never compared: a positive ignore_index is scored",
)
def tlp_negative_is_ignored(logits: Any, target: Any, *, temperature: float = 1.0, ignore_index: int = -100) -> Any:
    w, t = wide(logits), np.asarray(target).astype(np.int64)
    live = t >= 0
    found = picked(log_soft(w / w.dtype.type(temperature)), np.where(live, t, 0))
    return narrow(np.where(live, found, 0), logits)


@fault(
    "token_logprob",
    "float32",
    "tail",
    "blocks of 512 over range(0, n - 1, 512): the last column is lost where n is 1 more than a multiple of 512",
)
def tlp_last_column_lost(logits: Any, target: Any, *, temperature: float = 1.0, ignore_index: int = -100) -> Any:
    w = wide(logits)
    w = w / w.dtype.type(temperature)
    live, labels = live_labels(target, ignore_index)
    n = w.shape[1]
    m = peak(w)
    s = np.zeros_like(m)
    for start in range(0, max(n - 1, 1), 512):
        s = s + np.exp(w[:, start : start + 512] - m).sum(axis=1, keepdims=True)
    return narrow(np.where(live, picked(w - m - np.log(s), labels), 0), logits)


@fault(
    "token_logprob",
    "float32",
    "online",
    "the running maximum starts at 0 instead of -inf: rows whose logits are all far below 0 underflow to log 0",
)
def tlp_running_max_from_zero(logits: Any, target: Any, *, temperature: float = 1.0, ignore_index: int = -100) -> Any:
    w = wide(logits)
    w = w / w.dtype.type(temperature)
    live, labels = live_labels(target, ignore_index)
    m = np.zeros((len(w), 1), w.dtype)
    s = np.zeros_like(m)
    for start in range(0, w.shape[1], 256):
        part = w[:, start : start + 256]
        new = np.maximum(m, part.max(axis=1, keepdims=True))
        s = s * np.exp(m - new) + np.exp(part - new).sum(axis=1, keepdims=True)
        m = new
    return narrow(np.where(live, picked(w - m, labels) - np.log(s)[:, 0], 0), logits)


@fault(
    "token_logprob",
    "float32",
    "int_overflow",
    "labels are held in 16 bits: those from 32768 on wrap to negative columns",
)
def tlp_labels_in_16_bits(logits: Any, target: Any, *, temperature: float = 1.0, ignore_index: int = -100) -> Any:
    w = wide(logits)
    live, labels = live_labels(target, ignore_index)
    small = labels.astype(np.int16).astype(np.int64)
    small = np.where(small < 0, small + w.shape[1], small)
    return narrow(np.where(live, picked(log_soft(w / w.dtype.type(temperature)), small), 0), logits)


_OUT: dict[Any, Any] = {}


@fault(
    "token_logprob",
    "float32",
    "aliasing",
    "one output buffer is kept for each batch size and returned again: the next call overwrites the earlier result",
)
def tlp_workspace_returned(logits: Any, target: Any, *, temperature: float = 1.0, ignore_index: int = -100) -> Any:
    w = wide(logits)
    live, labels = live_labels(target, ignore_index)
    key = (len(w), np.asarray(logits).dtype.str)
    if key not in _OUT:
        _OUT[key] = np.empty(len(w), np.asarray(logits).dtype.newbyteorder("="))
    _OUT[key][:] = narrow(np.where(live, picked(log_soft(w / w.dtype.type(temperature)), labels), 0), logits)
    return _OUT[key]


# --------------------------------------------------------------------------------------------------------- entropy


@fault(
    "entropy",
    "float16",
    "accumulator",
    "the sum of exponentials is accumulated in float16 one term after another and stalls in long rows",
)
def ent_half_accumulator(x: Any, axis: int = -1) -> Any:
    w = last(x, axis)
    d = w - peak(w)
    e = np.exp(d)
    s = np.add.accumulate(e.astype(np.float16), axis=-1)[..., -1].astype(np.float32)
    t = np.where(e > 0, e * -d, 0).sum(axis=-1)
    return narrow(np.log(s) + t / s, x)


@fault(
    "entropy",
    "float32",
    "axis",
    "axis 1 is taken as the last axis (a path written for matrices): wrong for arrays of three and more axes",
)
def ent_axis_one_is_last(x: Any, axis: int = -1) -> Any:
    w = last(x, -1 if axis == 1 and np.ndim(x) >= 2 else axis)
    lp = log_soft(w)
    p = np.exp(lp)
    return narrow(np.where(p > 0, p * -lp, 0).sum(axis=-1) + np.where(np.isnan(lp).any(axis=-1), np.nan, 0), x)


@fault(
    "entropy",
    "float32",
    "online",
    "when a later block of 128 raises the maximum the weighted gaps are scaled but not moved by the rise of the maximum",
)
def ent_gaps_not_moved(x: Any, axis: int = -1) -> Any:
    w = last(x, axis)
    m = np.full(w.shape[:-1], -np.inf, w.dtype)
    s, t = np.zeros_like(m), np.zeros_like(m)
    for start in range(0, w.shape[-1], 128):
        part = w[..., start : start + 128]
        new = np.maximum(m, part.max(axis=-1))
        base = np.where(np.isneginf(new), 0, new).astype(w.dtype)
        keep = np.exp(m - base)
        d = part - base[..., None]
        e = np.exp(d)
        s = s * keep + e.sum(axis=-1)
        t = t * keep + np.where(np.isneginf(d), 0, e * -d).sum(axis=-1)
        m = new
    return narrow(np.log(s) + t / s, x)


# ----------------------------------------------------------------------------------------------- attention_softmax


def _scores(x: Any, scale: Any, softcap: Any, axis: int) -> Any:
    w = last(x, axis)
    return capped(w * w.dtype.type(scale), softcap)


def _mask_rows(mask: Any, x: Any, axis: int) -> Any:
    return np.moveaxis(np.broadcast_to(np.asarray(mask, bool), np.shape(x)), axis, -1)


def _weights(z: Any, sink: Any) -> Any:
    m = z.max(axis=-1, keepdims=True, initial=-np.inf)
    if sink is not None:
        sink = wide(sink).astype(z.dtype)
        sink = sink[..., None] if sink.ndim else sink
        m = np.maximum(m, sink)
    m = np.where(np.isneginf(m), z.dtype.type(0), m)
    e = np.exp(z - m)
    s = e.sum(axis=-1, keepdims=True)
    return e / (s if sink is None else s + np.exp(sink - m))


@fault(
    "attention_softmax",
    "float32",
    "option_order",
    "the mask is applied before the soft cap: tanh turns -inf into -softcap and masked keys keep weight",
)
def as_mask_before_softcap(
    x: Any, *, scale: float = 1.0, softcap: Any = None, mask: Any = None, sink: Any = None, axis: int = -1
) -> Any:
    w = last(x, axis)
    z = w * w.dtype.type(scale)
    if mask is not None:
        z = np.where(_mask_rows(mask, x, axis), z, z.dtype.type(-np.inf))
    return back(_weights(capped(z, softcap), sink), x, axis)


@fault(
    "attention_softmax",
    "float32",
    "empty_row",
    "a fully masked row is answered by uniform weights even where a sink is there to take all of it",
)
def as_empty_row_uniform_beside_sink(
    x: Any, *, scale: float = 1.0, softcap: Any = None, mask: Any = None, sink: Any = None, axis: int = -1
) -> Any:
    z = _scores(x, scale, softcap, axis)
    if mask is None:
        return back(_weights(z, sink), x, axis)
    kept = _mask_rows(mask, x, axis)
    y = _weights(np.where(kept, z, z.dtype.type(-np.inf)), sink)
    return back(np.where(kept.any(axis=-1, keepdims=True), y, z.dtype.type(1 / z.shape[-1])), x, axis)


@fault(
    "attention_softmax",
    "float32",
    "mask",
    "a mask of two axes is spread over the batch by repeat instead of tile: rows of a batch of matrices get other rows' masks",
)
def as_mask_repeated(
    x: Any, *, scale: float = 1.0, softcap: Any = None, mask: Any = None, sink: Any = None, axis: int = -1
) -> Any:
    z = _scores(x, scale, softcap, axis)
    if mask is not None:
        mask = np.asarray(mask, bool)
        if mask.ndim == 2 and z.ndim > 2 and axis in (-1, z.ndim - 1) and mask.shape == z.shape[-2:]:
            kept = np.repeat(mask, int(np.prod(z.shape[:-2])), axis=0).reshape(z.shape)
        else:
            kept = _mask_rows(mask, x, axis)
        z = np.where(kept, z, z.dtype.type(-np.inf))
    return back(_weights(z, sink), x, axis)


@fault(
    "attention_softmax",
    "float32",
    "padding",
    "rows longer than 32 with a mask are padded to a multiple of 32 by scores of 0 that the padded mask keeps",
)
def as_padding_kept(
    x: Any, *, scale: float = 1.0, softcap: Any = None, mask: Any = None, sink: Any = None, axis: int = -1
) -> Any:
    z = _scores(x, scale, softcap, axis)
    n = z.shape[-1]
    if mask is not None:
        z = np.where(_mask_rows(mask, x, axis), z, z.dtype.type(-np.inf))
        if n > 32 and n % 32:
            z = np.concatenate([z, np.zeros((*z.shape[:-1], 32 - n % 32), z.dtype)], axis=-1)
    return back(_weights(z, sink)[..., :n], x, axis)


# ------------------------------------------------------------------------------------------------------- attention


def _mixed(z: Any, kept: Any, v: Any) -> Any:
    z = np.where(kept, z, z.dtype.type(-np.inf))
    return np.matmul(soft(z), wide(v))


@fault(
    "attention",
    "float32",
    "causal",
    "the causal mask is aligned at the top left (j <= i) instead of the last query with the last key",
)
def att_causal_from_top_left(
    q: Any,
    k: Any,
    v: Any,
    *,
    scale: float = 1.0,
    softcap: Any = None,
    bias: Any = None,
    mask: Any = None,
    causal: bool = False,
) -> Any:
    z = with_bias(capped(dots(q, k, scale), softcap), bias)
    kept = keys_kept(z.shape, mask, False)
    if causal:
        kept &= np.tri(*z.shape[-2:], dtype=bool)
    return narrow(_mixed(z, kept, v), q)


@fault(
    "attention",
    "float32",
    "causal",
    "the key blocks of 16 queries are counted for the first of them: later ones lose their last keys",
)
def att_causal_blocks_of_first_query(
    q: Any,
    k: Any,
    v: Any,
    *,
    scale: float = 1.0,
    softcap: Any = None,
    bias: Any = None,
    mask: Any = None,
    causal: bool = False,
) -> Any:
    z = with_bias(capped(dots(q, k, scale), softcap), bias)
    kept = keys_kept(z.shape, mask, causal)
    if causal:
        rows, keys = z.shape[-2:]
        for start in range(0, rows, 16):
            end = (max(start + keys - rows, 0) // 16 + 1) * 16
            kept[..., start : start + 16, end:] = False
    return narrow(_mixed(z, kept, v), q)


@fault(
    "attention",
    "float32",
    "online",
    "where the tail block (keys beyond a multiple of 64) raises the maximum, the sum is rescaled and the output is not",
)
def att_tail_block_not_rescaled(
    q: Any,
    k: Any,
    v: Any,
    *,
    scale: float = 1.0,
    softcap: Any = None,
    bias: Any = None,
    mask: Any = None,
    causal: bool = False,
) -> Any:
    z = with_bias(capped(dots(q, k, scale), softcap), bias)
    z = np.where(keys_kept(z.shape, mask, causal), z, z.dtype.type(-np.inf))
    w, keys = wide(v), z.shape[-1]
    m = np.full((*z.shape[:-1], 1), -np.inf, z.dtype)
    s, o = np.zeros_like(m), np.zeros((*z.shape[:-1], w.shape[-1]), z.dtype)
    for start in range(0, keys, 64):
        part = z[..., start : start + 64]
        new = np.maximum(m, part.max(axis=-1, keepdims=True))
        base = np.where(np.isneginf(new), z.dtype.type(0), new)
        fix, e = np.exp(m - base), np.exp(part - base)
        s = s * fix + e.sum(axis=-1, keepdims=True)
        full = start + 64 <= keys or start == 0
        o = (o * fix if full else o) + np.matmul(e, w[..., start : start + 64, :])
        m = new
    return narrow(o / s, q)


@fault(
    "attention",
    "float32",
    "option_ignored",
    "causal is looked at only where no mask is given: with both, keys of the future are kept",
)
def att_mask_turns_causal_off(
    q: Any,
    k: Any,
    v: Any,
    *,
    scale: float = 1.0,
    softcap: Any = None,
    bias: Any = None,
    mask: Any = None,
    causal: bool = False,
) -> Any:
    z = with_bias(capped(dots(q, k, scale), softcap), bias)
    return narrow(_mixed(z, keys_kept(z.shape, mask, causal and mask is None), v), q)


@fault(
    "attention",
    "float32",
    "tile",
    "the tile of values has as many columns as that of queries, a power of two from 16 on: further columns of wide values stay 0",
)
def att_value_columns_by_query_width(
    q: Any,
    k: Any,
    v: Any,
    *,
    scale: float = 1.0,
    softcap: Any = None,
    bias: Any = None,
    mask: Any = None,
    causal: bool = False,
) -> Any:
    z = with_bias(capped(dots(q, k, scale), softcap), bias)
    o = _mixed(z, keys_kept(z.shape, mask, causal), v)
    block = 16
    while block < np.shape(q)[-1]:
        block *= 2
    o[..., block:] = 0
    return narrow(o, q)


@fault(
    "attention",
    "bfloat16",
    "accumulator",
    "the output is accumulated over the keys in bfloat16: with many keys the additions are lost",
)
def att_output_summed_in_bfloat16(
    q: Any,
    k: Any,
    v: Any,
    *,
    scale: float = 1.0,
    softcap: Any = None,
    bias: Any = None,
    mask: Any = None,
    causal: bool = False,
) -> Any:
    z = with_bias(capped(dots(q, k, scale), softcap), bias)
    p = soft(np.where(keys_kept(z.shape, mask, causal), z, z.dtype.type(-np.inf)))
    w = wide(v)
    o = np.zeros((*z.shape[:-1], w.shape[-1]), BF16)
    for j in range(z.shape[-1]):
        o = (o.astype(np.float32) + p[..., j, None] * w[..., j, None, :]).astype(BF16)
    return narrow(o, q)


@fault(
    "attention_lse",
    "float32",
    "empty_row",
    "masked scores are -1e30: the logsumexp of a row without keys is a finite number instead of -inf",
)
def alse_empty_row_is_finite(
    q: Any, k: Any, *, scale: float = 1.0, softcap: Any = None, bias: Any = None, mask: Any = None, causal: bool = False
) -> Any:
    z = with_bias(capped(dots(q, k, scale), softcap), bias)
    return narrow(log_sum(np.where(keys_kept(z.shape, mask, causal), z, z.dtype.type(-1e30))), q)


# ---------------------------------------------------------------------------------------------------- merge_states


def _merged(ea: Any, a: Any, eb: Any, b: Any) -> Any:
    return (ea * a + eb * b) / (ea + eb)


@fault(
    "merge_states",
    "float32",
    "empty_part",
    "weights are taken about the first part's logsumexp: an empty first part (-inf) or a far smaller one gives NaN",
)
def ms_about_first(a_out: Any, a_lse: Any, b_out: Any, b_lse: Any) -> Any:
    la, lb = wide(a_lse)[..., None], wide(b_lse)[..., None]
    return narrow(_merged(np.exp(la - la), wide(a_out), np.exp(lb - la), wide(b_out)), a_out)


@fault(
    "merge_states",
    "float32",
    "cutoff",
    "where the logsumexps differ by more than 16 the larger part is returned alone, whatever the size of the other's values",
)
def ms_early_out(a_out: Any, a_lse: Any, b_out: Any, b_lse: Any) -> Any:
    la, lb = wide(a_lse)[..., None], wide(b_lse)[..., None]
    a, b = wide(a_out), wide(b_out)
    m = np.maximum(la, lb)
    y = _merged(np.exp(la - m), a, np.exp(lb - m), b)
    y = np.where((la - lb > 16) & np.isfinite(b), a, y)
    return narrow(np.where((lb - la > 16) & np.isfinite(a), b, y), a_out)


@fault(
    "merge_states",
    "float32",
    "broadcast",
    "the logsumexps get their new axis only where rows and width differ: of square arrays they run along the columns",
)
def ms_square_broadcast(a_out: Any, a_lse: Any, b_out: Any, b_lse: Any) -> Any:
    a, b, la, lb = wide(a_out), wide(b_out), wide(a_lse), wide(b_lse)
    if la.ndim == 0 or la.shape[-1] != a.shape[-1] or la.ndim == a.ndim - 1 == 0:
        la, lb = la[..., None], lb[..., None]
    elif la.ndim > 1:
        la, lb = la[..., None, :], lb[..., None, :]
    m = np.maximum(la, lb)
    return narrow(_merged(np.exp(la - m), a, np.exp(lb - m), b), a_out)


# -------------------------------------------------------------------------------------------- linear_cross_entropy


def _logits(hidden: Any, weight: Any, bias: Any, softcap: Any) -> Any:
    z = np.matmul(wide(hidden), wide(weight).T)
    return capped(z if bias is None else z + wide(bias).astype(z.dtype), softcap)


def _smoothed(lp: Any, labels: Any, smoothing: float, every: Any = None) -> Any:
    own = -picked(lp, labels)
    if not smoothing:
        return own
    e, n = lp.dtype.type(smoothing), lp.dtype.type(lp.shape[1])
    own = (1 - e) * own if e < 1 else 0
    return own + e / n * (-lp.sum(axis=1) if every is None else every)


def _penalty(z: Any, scale: float) -> Any:
    return z.dtype.type(scale) * log_sum(z) ** 2 if scale else 0


@fault(
    "linear_cross_entropy",
    "float32",
    "label_smoothing",
    "the sum of all -log p for label smoothing starts again in each chunk of 128 classes: only the last chunk is smoothed over",
)
def lce_smoothing_of_last_chunk(
    hidden: Any,
    weight: Any,
    target: Any,
    *,
    bias: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    softcap: Any = None,
    lse_square_scale: float = 0.0,
) -> Any:
    z = _logits(hidden, weight, bias, softcap)
    live, labels = live_labels(target, ignore_index)
    lp = log_soft(z)
    every = -lp[:, (z.shape[1] - 1) // 128 * 128 :].sum(axis=1)
    loss = _smoothed(lp, labels, label_smoothing, every) + _penalty(z, lse_square_scale)
    return reduced(np.where(live, loss, 0), reduction, live.sum(), hidden)


@fault("linear_cross_entropy", "float32", "ignore_index", "the squared logsumexp is added for ignored rows too")
def lce_penalty_of_ignored_rows(
    hidden: Any,
    weight: Any,
    target: Any,
    *,
    bias: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    softcap: Any = None,
    lse_square_scale: float = 0.0,
) -> Any:
    z = _logits(hidden, weight, bias, softcap)
    live, labels = live_labels(target, ignore_index)
    loss = np.where(live, _smoothed(log_soft(z), labels, label_smoothing), 0)
    loss = loss + _penalty(z, lse_square_scale)
    return reduced(loss, reduction, live.sum(), hidden)


@fault(
    "linear_cross_entropy",
    "float32",
    "reduction",
    "the mean is that of the means of chunks of 32 rows: wrong where the chunks hold unequal numbers of labels that count",
)
def lce_mean_of_means(
    hidden: Any,
    weight: Any,
    target: Any,
    *,
    bias: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    softcap: Any = None,
    lse_square_scale: float = 0.0,
) -> Any:
    z = _logits(hidden, weight, bias, softcap)
    live, labels = live_labels(target, ignore_index)
    loss = _smoothed(log_soft(z), labels, label_smoothing) + _penalty(z, lse_square_scale)
    loss = np.where(live, loss, 0)
    if reduction != "mean" or len(loss) <= 32:
        return reduced(loss, reduction, live.sum(), hidden)
    spans = [slice(s, s + 32) for s in range(0, len(loss), 32) if live[s : s + 32].any()]
    return narrow(np.mean([loss[s].sum() / z.dtype.type(live[s].sum()) for s in spans]) if spans else 0, hidden)


# ---------------------------------------------------------------------------------------------------- topk_softmax


@fault(
    "topk_softmax",
    "float32",
    "ties",
    "each chosen maximum is struck out by value: equal logits are struck out together and only one of them is chosen",
)
def topk_ties_struck_out(x: Any, *, k: int = 2, renormalise: bool = False) -> Any:
    w = wide(x)
    p, left, chosen = soft(w), w.copy(), []
    for _ in range(k):
        at = left.argmax(axis=-1)[..., None]
        chosen.append(np.take_along_axis(p, at, -1))
        left = np.where(left == np.take_along_axis(left, at, -1), -np.inf, left)
    top = np.concatenate(chosen, axis=-1)
    return narrow(top / top.sum(axis=-1, keepdims=True) if renormalise else top, x)


@fault(
    "topk_softmax",
    "float32",
    "nan_hidden",
    "with renormalise only the chosen logits are exponentiated, and comparisons never choose a NaN: it is hidden",
)
def topk_nan_never_chosen(x: Any, *, k: int = 2, renormalise: bool = False) -> Any:
    w = wide(x)
    if not renormalise:
        return narrow(-np.sort(-soft(w), axis=-1)[..., :k], x)
    low = np.where(np.isnan(w), -np.inf, w)
    return narrow(soft(-np.sort(-low, axis=-1)[..., :k]), x)


@fault(
    "topk_softmax",
    "float32",
    "tile",
    "each block of 32 logits offers its 8 largest only: for k above 8 a block that holds more of the largest loses some",
)
def topk_eight_of_each_block(x: Any, *, k: int = 2, renormalise: bool = False) -> Any:
    w = wide(x)
    p = soft(w)
    n = p.shape[-1]
    blocks = [-np.sort(-p[..., s : s + 32], axis=-1)[..., :8] for s in range(0, n, 32)]
    found = np.concatenate(blocks, axis=-1)
    if found.shape[-1] < k:
        found = p
    top = -np.sort(-found, axis=-1)[..., :k]
    return narrow(top / top.sum(axis=-1, keepdims=True) if renormalise else top, x)


# ------------------------------------------------------------------------------------------------------ elementwise


@fault(
    "softplus", "float64", "threshold", "above 20 the input is returned, which is right in float32 and wrong in float64"
)
def sp_threshold_of_20(x: Any) -> Any:
    w = wide(x)
    return narrow(np.where(w > 20, w, softplus32(w)), x)


@fault(
    "softplus", "float16", "overflow", "exp is stored in float16 below the threshold of 20: it overflows from 11.1 on"
)
def sp_half_exp_overflows(x: Any) -> Any:
    w = wide(x)
    e = (
        np.exp(np.minimum(w, 20)).astype(np.float16).astype(np.float32)
        if np.asarray(x).dtype.itemsize == 2
        else np.exp(np.minimum(w, 20))
    )
    e = np.where(w < 5, np.exp(np.minimum(w, 5)), e)
    return narrow(np.where(w > 20, w, np.log1p(e)), x)


@fault(
    "logaddexp",
    "float32",
    "cutoff",
    "beyond a distance of 12 the smaller argument is dropped although it still counts in float32",
)
def lae_dropped_beyond_12(x: Any, y: Any) -> Any:
    a, b = np.broadcast_arrays(wide(x), wide(y))
    m = np.maximum(a, b)
    d = np.abs(a - b)
    inf = np.isinf(m)
    return narrow(np.where(inf | (d > 12), m, m + np.log1p(np.exp(-d))), x)


@fault(
    "focal",
    "float32",
    "labels",
    "the power of being wrong takes the target as 0 or 1 (target > 0.5): soft targets get another factor",
)
def focal_soft_targets_rounded(
    logits: Any, target: Any, *, gamma: float = 2.0, alpha: Any = None, reduction: str = "mean"
) -> Any:
    x, y = wide(logits), wide(target)
    loss = np.where(y == 0, 0, y * softplus32(-x)) + np.where(y == 1, 0, (1 - y) * softplus32(x))
    loss = loss * np.exp(x.dtype.type(gamma) * -softplus32(np.where(y > 0.5, x, -x)))
    if alpha is not None:
        a = x.dtype.type(alpha)
        loss = loss * (a * y + (1 - a) * (1 - y))
    return reduced(loss, reduction, loss.size, logits)


@fault("focal", "float32", "option_cast", "gamma is cut to a whole number for a loop of multiplications")
def focal_whole_gamma(
    logits: Any, target: Any, *, gamma: float = 2.0, alpha: Any = None, reduction: str = "mean"
) -> Any:
    x, y = wide(logits), wide(target)
    loss = np.where(y == 0, 0, y * softplus32(-x)) + np.where(y == 1, 0, (1 - y) * softplus32(x))
    wrong = y * np.exp(-softplus32(x)) + (1 - y) * np.exp(-softplus32(-x))
    for _ in range(min(int(gamma), 64)):
        loss = loss * wrong
    if alpha is not None:
        a = x.dtype.type(alpha)
        loss = loss * (a * y + (1 - a) * (1 - y))
    return reduced(loss, reduction, loss.size, logits)


@fault("gumbel", "float32", "epsilon", "1e-10 is added inside both logarithms: wrong near 1, near 0 and at 0")
def gumbel_epsilon(u: Any) -> Any:
    w = wide(u)
    e = w.dtype.type(1e-10)
    return narrow(-np.log(-np.log(w + e) + e), u)


@fault(
    "binary_cross_entropy_with_logits",
    "float32",
    "clamp",
    "logarithms are clamped at -100, as of given probabilities: losses of logits beyond 100 saturate",
)
def bce_logs_clamped_at_100(
    logits: Any, target: Any, *, weight: Any = None, pos_weight: Any = None, reduction: str = "mean"
) -> Any:
    x, y = wide(logits), wide(target)
    up, down = np.maximum(-softplus32(-x), -100), np.maximum(-softplus32(x), -100)
    q = x.dtype.type(1) if pos_weight is None else wide(pos_weight).astype(x.dtype)
    loss = -(q * y * up + (1 - y) * down)
    if weight is not None:
        loss = wide(weight).astype(x.dtype) * loss
    return reduced(loss, reduction, loss.size, logits)


# ---------------------------------------------------------------------------------------------- sparsemax and kin


@fault(
    "sparsemax",
    "float32",
    "truncation",
    "the threshold is looked for among the 16 largest logits alone: wrong where more than 16 classes are kept",
)
def sparsemax_sixteen_largest(x: Any, axis: int = -1) -> Any:
    w = last(x, axis)
    z = w - peak(w)
    s = -np.sort(-np.where(np.isneginf(z), -4, z), axis=-1)[..., :16]
    total = np.cumsum(s, axis=-1, dtype=np.float64)
    ks = np.arange(1, s.shape[-1] + 1)
    count = (1 + ks * s > total).sum(axis=-1, keepdims=True)
    t = (np.take_along_axis(total, np.maximum(count, 1) - 1, -1) - 1) / np.maximum(count, 1)
    return back(np.where(np.isnan(w).any(axis=-1, keepdims=True), np.nan, np.maximum(z - t, 0)), x, axis)


@fault(
    "entmax15",
    "float32",
    "masked",
    "masked classes (-inf) go into the running sums of squares: inf - inf makes the row NaN once they are reached",
)
def entmax15_masked_nan(x: Any, axis: int = -1) -> Any:
    w = last(x, axis)
    z = (w - peak(w)) / 2
    s = -np.sort(-z, axis=-1).astype(np.float64)
    ks = np.arange(1, s.shape[-1] + 1)
    mean, square = np.cumsum(s, axis=-1) / ks, np.cumsum(s * s, axis=-1) / ks
    t = mean - np.sqrt(np.maximum((1 - ks * (square - mean * mean)) / ks, 0))
    count = np.maximum((~(t > s)).sum(axis=-1, keepdims=True), 1)
    return back(np.maximum(z - np.take_along_axis(t, count - 1, -1), 0) ** 2, x, axis)


# ------------------------------------------------------------------------------------------------------ divergences


def _kl_terms(own: Any, other: Any) -> Any:
    p = np.exp(own)
    return np.where((p == 0) & ~np.isnan(other), 0, p * (own - other))


@fault(
    "kl_divergence_log",
    "float32",
    "clamp",
    "the sum is clamped at 0, as if both rows were normalised: negative sums of given log-probabilities are lost",
)
def klog_clamped_at_zero(log_p: Any, log_q: Any, *, reverse: bool = False, axis: int = -1) -> Any:
    a, b = last(log_p, axis), last(log_q, axis)
    return narrow(np.maximum(_kl_terms(b, a).sum(axis=-1) if reverse else _kl_terms(a, b).sum(axis=-1), 0), log_p)


@fault(
    "kl_divergence_log",
    "float32",
    "clamp",
    "the second log-probabilities are kept above -100: a class that only they lack costs 100 p instead of infinity",
)
def klog_second_kept_above_100(log_p: Any, log_q: Any, *, reverse: bool = False, axis: int = -1) -> Any:
    a, b = last(log_p, axis), last(log_q, axis)
    own, other = (b, a) if reverse else (a, b)
    return narrow(_kl_terms(own, np.maximum(other, -100)).sum(axis=-1), log_p)


# ---------------------------------------------------------------------------------------------------- cross entropy


@fault("cross_entropy_grad", "float32", "probabilities", "p - y for probability targets, as if they always summed to 1")
def ceg_targets_not_summed(logits: Any, target: Any) -> Any:
    w, t = wide(logits), np.asarray(target)
    if t.ndim == 2:
        return narrow(soft(w) - wide(t), logits)
    hot = np.arange(w.shape[1]) == t.astype(np.int64)[:, None]
    return narrow(soft(w) - hot.astype(w.dtype), logits)


@fault(
    "cross_entropy_grad",
    "float32",
    "tail",
    "1 is taken away in whole blocks of 128 classes only: a label in the last, partial block keeps p",
)
def ceg_label_in_tail_block(logits: Any, target: Any) -> Any:
    w, t = wide(logits), np.asarray(target)
    p = soft(w)
    if t.ndim == 2:
        y = wide(t)
        return narrow(p * y.sum(axis=1, keepdims=True) - y, logits)
    t, n = t.astype(np.int64)[:, None], w.shape[1]
    hot = (np.arange(n) == t) & ((n < 128) | (t < n // 128 * 128))
    return narrow(p - hot.astype(w.dtype), logits)


@fault(
    "nll",
    "float32",
    "reduction",
    "the weighted mean divides by the weights of all rows, an ignored row counting as class 0",
)
def nll_ignored_weight_counted(
    log_probabilities: Any, target: Any, *, weight: Any = None, ignore_index: int = -100, reduction: str = "mean"
) -> Any:
    w = wide(log_probabilities)
    live, labels = live_labels(target, ignore_index)
    each = np.ones(len(w), w.dtype) if weight is None else wide(weight).astype(w.dtype)[labels]
    loss = np.where(live, -each * picked(w, labels), 0)
    return reduced(loss, reduction, live.sum() if weight is None else each.sum(), log_probabilities)


@fault(
    "cross_entropy",
    "float32",
    "int_overflow",
    "the offset row * C + label is held in 16 bits without sign: calls of more than 65536 logits read other rows",
)
def ce_offset_in_16_bits(logits: Any, target: Any, *, ignore_index: int = -100, reduction: str = "mean") -> Any:
    w = wide(logits)
    live, labels = live_labels(target, ignore_index)
    at = (np.arange(len(w)) * w.shape[1] + labels) & 0xFFFF
    loss = np.where(live, -log_soft(w).ravel()[at], 0)
    return reduced(loss, reduction, live.sum(), logits)


# -------------------------------------------------------------------------------------------------------- gradients


@fault(
    "vjp(attention_softmax)",
    "float32",
    "gradient_of_option",
    "the derivative of the soft cap, 1 - tanh**2, is left out of the gradient",
)
def as_backward_without_cap(
    x: Any, grad: Any, *, scale: float = 1.0, softcap: Any = None, mask: Any = None, sink: Any = None, axis: int = -1
) -> Any:
    z = _scores(x, scale, softcap, axis)
    if mask is not None:
        z = np.where(_mask_rows(mask, x, axis), z, z.dtype.type(-np.inf))
    p, g = _weights(z, sink), last(grad, axis).astype(z.dtype)
    if mask is not None:  # an empty row has the gradient 0
        p = np.where(_mask_rows(mask, x, axis).any(axis=-1, keepdims=True), p, z.dtype.type(0))
    return back(z.dtype.type(scale) * p * (g - (p * g).sum(axis=-1, keepdims=True)), x, axis)


@fault(
    "vjp(entropy)", "float32", "masked_gradient", "0 times log 0 at masked classes: their gradient is NaN instead of 0"
)
def ent_backward_masked_nan(x: Any, grad: Any, axis: int = -1) -> Any:
    w = last(x, axis)
    d = w - peak(w)
    e = np.exp(d)
    s = e.sum(axis=-1, keepdims=True)
    p = e / s
    mean = np.where(np.isneginf(d), 0, p * d).sum(axis=-1, keepdims=True)
    g = wide(grad).astype(w.dtype)[..., None]
    return back(-g * p * (d - mean), x, axis)


@fault("vjp(token_logprob)", "float32", "gradient_of_option", "the gradient misses the factor 1 / temperature")
def tlp_backward_without_temperature(
    logits: Any, target: Any, grad: Any, *, temperature: float = 1.0, ignore_index: int = -100
) -> Any:
    w = wide(logits)
    live, labels = live_labels(target, ignore_index)
    hot = (np.arange(w.shape[1]) == labels[:, None]).astype(w.dtype)
    g = np.where(live, wide(grad).astype(w.dtype), 0)[:, None]
    return narrow(np.where(live[:, None], g * (hot - soft(w / w.dtype.type(temperature))), 0), logits)


# ------------------------------------------------------------------------------------------------- the older ones


@fault("logsumexp", "float64", "downcast", "rows longer than 1024 go through a float32 path")
def lse_long_rows_in_float32(x: Any, axis: int = -1) -> Any:
    w = last(x, axis)
    return narrow(log_sum(w.astype(np.float32) if w.shape[-1] > 1024 else w), x)


_SEEN: dict[Any, Any] = {}


@fault(
    "logsumexp",
    "float32",
    "state",
    "results are cached under shape, first and last logit of the array: another array with the same ones gets the old result",
)
def lse_cached_by_corners(x: Any, axis: int = -1) -> Any:
    w = last(x, axis)
    if not w.size:
        return narrow(log_sum(w), x)
    key = (w.shape, axis, float(w.flat[0]), float(w.flat[-1]))
    if key not in _SEEN:
        if len(_SEEN) > 64:
            _SEEN.clear()
        _SEEN[key] = log_sum(w)
    return narrow(_SEEN[key].copy(), x)


@fault(
    "log_softmax",
    "float32",
    "layout",
    "a matrix whose rows are contiguous is read with a row stride of n elements, although rows may lie further apart",
)
def lsm_row_stride_assumed(x: Any, axis: int = -1) -> Any:
    x = np.asarray(x)
    if (
        x.ndim == 2
        and axis in (-1, 1)
        and x.size
        and x.strides[1] == x.itemsize
        and x.strides[0] > x.shape[1] * x.itemsize
    ):
        x = np.lib.stride_tricks.as_strided(x, x.shape, (x.shape[1] * x.itemsize, x.itemsize))
    return back(log_soft(last(x, axis)), x, axis)


@fault(
    "logmeanexp",
    "float32",
    "masked",
    "the mean divides by the number of logits above -inf instead of by the length of the row",
)
def lme_counts_live_logits(x: Any, axis: int = -1) -> Any:
    w = last(x, axis)
    return narrow(log_sum(w) - np.log((~np.isneginf(w)).sum(axis=-1).clip(1).astype(w.dtype)), x)
