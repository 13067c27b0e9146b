"""Twenty-five sound kernels of an outside engineer, written before the tool was run on any of them.

META[name]: the operation, the formats to audit, the kind of algorithm, and what it does in a sentence.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

META: dict[str, dict[str, Any]] = {}
LOG2_E, LN_2 = 1.4426950408889634, 0.6931471805599453


def sound(op: str, dtypes: str, kind: str, cause: str) -> Any:
    """Enter a function."""

    def enter(call: Callable[..., Any]) -> Callable[..., Any]:
        META[call.__name__] = {"op": op, "dtypes": dtypes.split(), "kind": kind, "cause": cause}

        @functools.wraps(call)
        def quiet(*args: Any, **kwargs: Any) -> Any:
            with np.errstate(all="ignore"):
                return call(*args, **kwargs)

        return quiet

    return enter


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


def running(w: Any, block: int) -> tuple[Any, Any]:
    """Maximum and sum of exponentials of rows, one block after another."""
    m = np.full((*w.shape[:-1], 1), -np.inf, w.dtype)
    s = np.zeros_like(m)
    for start in range(0, w.shape[-1], block):
        part = w[..., start : start + block]
        new = np.maximum(m, part.max(axis=-1, keepdims=True))
        base = np.where(np.isneginf(new), w.dtype.type(0), new)
        s = s * np.exp(m - base) + np.exp(part - base).sum(axis=-1, keepdims=True)
        m = new
    return m, s


def softplus(w: Any) -> Any:
    return np.maximum(w, 0) + np.log1p(np.exp(-np.abs(w)))


@sound("softmax", "float32 float16", "online", "blocks of 64 with a running maximum and sum, then a second pass")
def s_softmax_online(x: Any, axis: int = -1) -> Any:
    w = last(x, axis)
    m, s = running(w, 64)
    return back(np.exp(w - np.where(np.isneginf(m), w.dtype.type(0), m)) / s, x, axis)


@sound("softmax", "float32 bfloat16", "exp2", "exp2 of the gaps times log2 e, one reciprocal a row")
def s_softmax_exp2(x: Any, axis: int = -1) -> Any:
    w = last(x, axis)
    e = np.exp2((w - peak(w)) * w.dtype.type(LOG2_E))
    return back(e * (1 / e.sum(axis=-1, keepdims=True)), x, axis)


@sound("log_softmax", "float32 float64", "two-pass", "maximum first, then the sum, then gap less its logarithm")
def s_log_softmax_two_pass(x: Any, axis: int = -1) -> Any:
    w = last(x, axis)
    d = w - peak(w)
    return back(d - np.log(np.exp(d).sum(axis=-1, keepdims=True)), x, axis)


@sound("logsumexp", "float32 bfloat16", "tree", "states of blocks of 32 (maximum and sum) are merged pair by pair")
def s_logsumexp_tree(x: Any, axis: int = -1) -> Any:
    w = last(x, axis)
    if not w.shape[-1]:
        return narrow(np.full(w.shape[:-1], -np.inf), x)
    states = []
    for start in range(0, w.shape[-1], 32):
        part = w[..., start : start + 32]
        m = part.max(axis=-1)
        base = np.where(np.isfinite(m), m, 0).astype(w.dtype)
        states.append((base, np.exp(part - base[..., None]).sum(axis=-1), m))
    while len(states) > 1:
        merged = []
        for i in range(0, len(states) - 1, 2):
            (a, s, ma), (b, t, mb) = states[i], states[i + 1]
            top = np.maximum(ma, mb)
            base = np.where(np.isfinite(top), top, 0).astype(w.dtype)
            left = np.where(np.isneginf(ma), 0, s * np.exp(a - base))
            right = np.where(np.isneginf(mb), 0, t * np.exp(b - base))
            merged.append((base, (left + right).astype(w.dtype), top))
        states = merged + states[len(states) // 2 * 2 :]
    base, s, top = states[0]
    return narrow(np.where(np.isposinf(top), top, base + np.log(s)), x)


@sound("logsumexp", "float32", "kahan", "compensated running sum of the exponentials along the row")
def s_logsumexp_kahan(x: Any, axis: int = -1) -> Any:
    w = last(x, axis)
    m = w.max(axis=-1, initial=-np.inf)
    base = np.where(np.isfinite(m), m, 0).astype(w.dtype)
    e = np.exp(w - base[..., None])
    s, c = np.zeros_like(base), np.zeros_like(base)
    for j in range(w.shape[-1]):
        y = e[..., j] - c
        t = s + y
        c = (t - s) - y
        s = t
    return narrow(np.where(np.isposinf(m), m, base + np.log(s)), x)


@sound(
    "cross_entropy",
    "float32 bfloat16",
    "fused",
    "labels or probabilities, log of the sum less the gap of the label, with every option",
)
def s_cross_entropy_fused(
    logits: Any,
    target: Any,
    *,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    w, t = wide(logits), np.asarray(target)
    d = w - peak(w)
    losses = np.log(np.exp(d).sum(axis=1, keepdims=True)) - d
    e, n = w.dtype.type(label_smoothing), w.shape[1]
    each = np.ones(n, w.dtype) if weight is None else wide(weight).astype(w.dtype)
    if t.ndim == 2:
        q = (wide(t) * (1 - e) + e / w.dtype.type(max(n, 1))) * each
        return reduced(np.where(q == 0, 0, q * losses).sum(axis=1), reduction, len(w), logits)
    live, labels = live_labels(t, ignore_index)
    own = each[labels]
    loss = np.where(own == 0, 0, own * picked(losses, labels))
    if label_smoothing:
        loss = (1 - e) * loss + e / w.dtype.type(n) * np.where(each == 0, 0, each * losses).sum(axis=1)
    return reduced(np.where(live, loss, 0), reduction, np.where(live, own, 0).sum(), logits)


@sound(
    "cross_entropy_grad",
    "float32 float16",
    "others",
    "at the label the sum of the other weights with a minus, never p - 1",
)
def s_cross_entropy_grad_others(logits: Any, target: Any) -> Any:
    w, t = wide(logits), np.asarray(target)
    e = np.exp(w - peak(w))
    p = e / e.sum(axis=1, keepdims=True)
    if t.ndim == 2:
        y = wide(t)
        return narrow(p * y.sum(axis=1, keepdims=True) - y, logits)
    hot = np.arange(w.shape[1]) == t.astype(np.int64)[:, None]
    if w.shape[1] == 1:
        return narrow(p - 1, logits)
    return narrow(np.where(hot, -np.where(hot, 0, p).sum(axis=1, keepdims=True), p), logits)


@sound(
    "token_logprob",
    "float32 bfloat16",
    "online",
    "logits times 1 / T, blocks of 1024 classes, the label's gap less the logarithm of the sum",
)
def s_token_logprob_online(logits: Any, target: Any, *, temperature: float = 1.0, ignore_index: int = -100) -> Any:
    w = wide(logits)
    w = w * (w.dtype.type(1) / w.dtype.type(temperature))
    live, labels = live_labels(target, ignore_index)
    m, s = running(w, 1024)
    found = (picked(w, labels) - np.where(np.isneginf(m), w.dtype.type(0), m)[:, 0]) - np.log(s)[:, 0]
    return narrow(np.where(live, found, 0), logits)


@sound("entropy", "float32", "online", "blocks of 128; the weighted gaps are scaled and moved when the maximum rises")
def s_entropy_online(x: Any, axis: int = -1) -> Any:
    w = last(x, axis)
    m = np.full(w.shape[:-1], -np.inf, w.dtype)
    s, t = np.zeros_like(m), np.zeros_like(m)
    for start in range(0, w.shape[-1], 128):
        part = w[..., start : start + 128]
        new = np.maximum(m, part.max(axis=-1))
        base = np.where(np.isneginf(new), 0, new).astype(w.dtype)
        keep = np.exp(m - base)
        rise = np.where(np.isneginf(m), 0, base - m)
        d = part - base[..., None]
        e = np.exp(d)
        t = np.where(keep == 0, 0, keep * (t + s * rise)) + np.where(np.isneginf(d), 0, e * -d).sum(axis=-1)
        s = s * keep + e.sum(axis=-1)
        m = new
    return narrow(np.log(s) + t / s, x)


@sound("entropy", "float16 bfloat16", "wide", "log-softmax in float32, p log p summed there, rounded once")
def s_entropy_wide(x: Any, axis: int = -1) -> Any:
    w = last(x, axis)
    d = w - peak(w)
    lp = d - np.log(np.exp(d).sum(axis=-1, keepdims=True))
    p = np.exp(lp)
    return narrow(np.where(np.isneginf(lp), 0, p * -lp).sum(axis=-1), x)


@sound(
    "attention_softmax",
    "float32 bfloat16",
    "fused",
    "scale, cap, mask, sink in one pass about the larger of the maximum and the sink",
)
def s_attention_softmax_fused(
    x: Any, *, scale: float = 1.0, softcap: Any = None, mask: Any = None, sink: Any = None, axis: int = -1
) -> Any:
    w = last(x, axis)
    z = w * w.dtype.type(scale)
    if softcap is not None:
        z = w.dtype.type(softcap) * np.tanh(z / w.dtype.type(softcap))
    if mask is not None:
        z = np.where(
            np.moveaxis(np.broadcast_to(np.asarray(mask, bool), np.shape(x)), axis, -1), z, w.dtype.type(-np.inf)
        )
    m = z.max(axis=-1, keepdims=True, initial=-np.inf)
    if sink is not None:
        sink = wide(sink).astype(w.dtype)
        sink = sink[..., None] if sink.ndim else sink
        m = np.maximum(m, sink)
    m = np.where(np.isneginf(m), w.dtype.type(0), m)
    e = np.exp(z - m)
    s = e.sum(axis=-1, keepdims=True)
    return back(e / (s if sink is None else s + np.exp(sink - m)), x, axis)


def _scores(q: Any, k: Any, scale: Any, softcap: Any, bias: Any, mask: Any, causal: bool) -> Any:
    z = np.matmul(wide(q), np.swapaxes(wide(k), -1, -2))
    z = z * z.dtype.type(scale)
    if softcap is not None:
        z = z.dtype.type(softcap) * np.tanh(z / z.dtype.type(softcap))
    if bias is not None:
        z = z + wide(bias).astype(z.dtype)
    kept = np.ones(z.shape, bool)
    if mask is not None:
        kept &= np.asarray(mask, bool)
    if causal:
        rows, keys = z.shape[-2:]
        kept &= np.arange(keys) <= np.arange(rows)[:, None] + (keys - rows)
    return np.where(kept, z, z.dtype.type(-np.inf))


@sound(
    "attention",
    "float32 bfloat16",
    "flash",
    "tiles of 32 keys, output and sum rescaled with the running maximum, divided at the end",
)
def s_attention_flash(
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
    z, w = _scores(q, k, scale, softcap, bias, mask, causal), wide(v)
    m = np.full((*z.shape[:-1], 1), -np.inf, z.dtype)
    s, o = np.zeros_like(m), np.zeros((*z.shape[:-1], w.shape[-1]), z.dtype)
    for start in range(0, z.shape[-1], 32):
        part = z[..., start : start + 32]
        new = np.maximum(m, part.max(axis=-1, keepdims=True))
        base = np.where(np.isneginf(new), z.dtype.type(0), new)
        fix, e = np.exp(m - base), np.exp(part - base)
        s = s * fix + e.sum(axis=-1, keepdims=True)
        o = o * fix + np.matmul(e, w[..., start : start + 32, :])
        m = new
    return narrow(o / s, q)


@sound("attention", "float32", "two-pass", "stored weights with one reciprocal a row, then a product with the values")
def s_attention_stored(
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
    z = _scores(q, k, scale, softcap, bias, mask, causal)
    e = np.exp(z - peak(z))
    return narrow(np.matmul(e * (1 / e.sum(axis=-1, keepdims=True)), wide(v)), q)


@sound("attention_lse", "float32", "flash", "running maximum and sum over tiles of 48 keys")
def s_attention_lse_tiles(
    q: Any, k: Any, *, scale: float = 1.0, softcap: Any = None, bias: Any = None, mask: Any = None, causal: bool = False
) -> Any:
    m, s = running(_scores(q, k, scale, softcap, bias, mask, causal), 48)
    return narrow(np.where(np.isinf(m), m, m + np.log(s))[..., 0], q)


@sound(
    "merge_states", "float32", "sigmoid", "sigmoids of the difference of the logsumexps, in each other's stable form"
)
def s_merge_by_sigmoid(a_out: Any, a_lse: Any, b_out: Any, b_lse: Any) -> Any:
    d = (wide(a_lse) - wide(b_lse))[..., None]
    e = np.exp(-np.abs(d))
    large, small = 1 / (1 + e), e / (1 + e)
    return narrow(wide(a_out) * np.where(d >= 0, large, small) + wide(b_out) * np.where(d >= 0, small, large), a_out)


@sound("merge_states", "bfloat16", "shifted", "exponentials about the larger logsumexp, in float32, one division")
def s_merge_shifted(a_out: Any, a_lse: Any, b_out: Any, b_lse: Any) -> Any:
    la, lb = wide(a_lse)[..., None], wide(b_lse)[..., None]
    m = np.maximum(la, lb)
    ea, eb = np.exp(la - m), np.exp(lb - m)
    return narrow((ea * wide(a_out) + eb * wide(b_out)) / (ea + eb), a_out)


@sound(
    "linear_cross_entropy",
    "float32",
    "fused",
    "logits by chunks of 128 classes, running maximum, sum and total; every option",
)
def s_linear_cross_entropy_chunks(
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
    h, w = wide(hidden), wide(weight)
    live, labels = live_labels(target, ignore_index)
    chunks = []
    for start in range(0, len(w), 128):
        z = h @ w[start : start + 128].T
        if bias is not None:
            z = z + wide(bias).astype(z.dtype)[start : start + 128]
        chunks.append(z if softcap is None else z.dtype.type(softcap) * np.tanh(z / z.dtype.type(softcap)))
    z = np.concatenate(chunks, axis=1)
    m, s = running(z, 128)
    log_s = np.log(s)[:, 0]
    loss = log_s - (picked(z, labels) - m[:, 0])
    if label_smoothing:
        e = z.dtype.type(label_smoothing)
        loss = (1 - e) * loss + e / z.dtype.type(z.shape[1]) * (log_s[:, None] - (z - m)).sum(axis=1)
    if lse_square_scale:
        loss = loss + z.dtype.type(lse_square_scale) * (m[:, 0] + log_s) ** 2
    return reduced(np.where(live, loss, 0), reduction, live.sum(), hidden)


@sound(
    "topk_softmax",
    "float32 bfloat16",
    "sorted",
    "the k largest by a sort, exponentials about the first; the sum over them or over all",
)
def s_topk_sorted(x: Any, *, k: int = 2, renormalise: bool = False) -> Any:
    w = wide(x)
    top = -np.sort(-w, axis=-1)[..., :k]
    m = peak(w)
    e = np.exp(top - m)
    s = (e if renormalise else np.exp(w - m)).sum(axis=-1, keepdims=True)
    return narrow(np.where(np.isnan(w).any(axis=-1, keepdims=True), np.nan, e / s), x)


@sound("softplus", "float32 float64", "log1p", "by halves: x + log1p(exp(-x)) above 0, log1p(exp(x)) below")
def s_softplus_halves(x: Any) -> Any:
    w = wide(x)
    return narrow(np.where(w > 0, w + np.log1p(np.exp(-np.abs(w))), np.log1p(np.exp(-np.abs(w)))), x)


@sound("logaddexp", "float32", "exp2", "larger plus log1p of exp2 of the scaled distance")
def s_logaddexp_exp2(x: Any, y: Any) -> Any:
    a, b = np.broadcast_arrays(wide(x), wide(y))
    m = np.maximum(a, b)
    return narrow(np.where(np.isinf(m), m, m + np.log1p(np.exp2(-np.abs(a - b) * a.dtype.type(LOG2_E)))), x)


@sound(
    "focal",
    "float32",
    "fused",
    "hard labels from the log-sigmoid, the power as an exponential; soft ones from the sigmoids",
)
def s_focal_fused(logits: Any, target: Any, *, gamma: float = 2.0, alpha: Any = None, reduction: str = "mean") -> Any:
    x, y = wide(logits), wide(target)
    up, down = softplus(x), softplus(-x)
    loss = np.where(y == 0, 0, y * down) + np.where(y == 1, 0, (1 - y) * up)
    g = x.dtype.type(gamma)
    wrong = y * np.exp(-up) + (1 - y) * np.exp(-down)
    factor = np.where(y == 0, np.exp(g * -down), np.where(y == 1, np.exp(g * -up), np.power(wrong, g)))
    loss = np.where(factor == 0, 0, loss * factor)
    if alpha is not None:
        a = x.dtype.type(alpha)
        loss = (a * y + (1 - a) * (1 - y)) * loss
    return reduced(loss, reduction, loss.size, logits)


@sound("sparsemax", "float32", "sort", "sorted gaps, running sums in float64, the threshold of the last kept class")
def s_sparsemax_sorted(x: Any, axis: int = -1) -> Any:
    w = last(x, axis)
    z = (w - peak(w)).astype(np.float64)
    s = -np.sort(-np.where(z < -2, -2, z), axis=-1)
    total, ks = np.cumsum(s, axis=-1), np.arange(1, s.shape[-1] + 1)
    count = np.maximum((1 + ks * s > total).sum(axis=-1, keepdims=True), 1)
    t = (np.take_along_axis(total, count - 1, -1) - 1) / count
    y = np.where(np.isnan(w).any(axis=-1, keepdims=True), np.nan, np.maximum(z - t, 0))
    return back(y, x, axis)


@sound(
    "kl_divergence_log",
    "float32",
    "fused",
    "exp(log p) times the difference, classes without probability left out, pairwise sum",
)
def s_kl_log(log_p: Any, log_q: Any, *, reverse: bool = False, axis: int = -1) -> Any:
    a, b = last(log_p, axis), last(log_q, axis)
    own, other = (b, a) if reverse else (a, b)
    return narrow(np.where(np.isneginf(own) & ~np.isnan(other), 0, np.exp(own) * (own - other)).sum(axis=-1), log_p)


@sound(
    "binary_cross_entropy_with_logits",
    "float32",
    "difference",
    "max(x, 0) - x y + log1p(exp(-|x|)); with pos_weight the factored form",
)
def s_bce_stable(
    logits: Any, target: Any, *, weight: Any = None, pos_weight: Any = None, reduction: str = "mean"
) -> Any:
    x, y = wide(logits), wide(target)
    tail = np.log1p(np.exp(-np.abs(x)))
    if pos_weight is None:
        loss = np.maximum(x, 0) - x * y + tail
    else:
        q = wide(pos_weight).astype(x.dtype)
        loss = (1 - y) * x + (1 + (q - 1) * y) * (tail + np.maximum(-x, 0))
    if weight is not None:
        loss = wide(weight).astype(x.dtype) * loss
    return reduced(loss, reduction, loss.size, logits)


@sound("vjp(softmax)", "float32 bfloat16", "gradient", "p (g - sum p g) by hand")
def s_softmax_backward(x: Any, grad: Any, axis: int = -1) -> Any:
    w, g = last(x, axis), last(grad, axis)
    e = np.exp(w - peak(w))
    p = e / e.sum(axis=-1, keepdims=True)
    return back(p * (g - (p * g).sum(axis=-1, keepdims=True)), x, axis)
