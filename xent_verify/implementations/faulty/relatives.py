"""Entropy, token log-probabilities, softplus and other relatives of the softmax: what goes wrong in them alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from xent_verify.implementations import normalisers
from xent_verify.implementations.entries import Fault
from xent_verify.implementations.faulty.triggers import NARROW, WIDE, in_format, loss_on, on, rising
from xent_verify.implementations.normalisers import finite_or_zero
from xent_verify.implementations.rows import Array, row_map, row_reduction, typed_row_map, typed_row_reduction
from xent_verify.implementations.stable import log_probabilities, log_sums, probabilities
from xent_verify.implementations.sums import elementwise, softmax_one_stable
from xent_verify.implementations.tokens import as_token_logprob, gathered, token_logprob_stable

__all__ = ["FAULTS"]

CATEGORY = "relatives"


@row_reduction
def entropy_zero_times_log_zero(rows: Array) -> Array:
    """-Σ p·log(p) of a computed p: 0·(-inf) = NaN as soon as one probability underflows."""
    p = probabilities(rows)
    return np.asarray(-(p * np.log(p)).sum(axis=-1))


@row_reduction
def entropy_mask_times_zero(rows: Array) -> Array:
    """-Σ p·log p with a log-softmax, unguarded: a masked class is 0·(-inf) = NaN."""
    log_p = log_probabilities(rows)
    return np.asarray(-(np.exp(log_p) * log_p).sum(axis=-1))


@typed_row_reduction
def entropy_of_rounded_p(rows: Array, dtype: np.dtype[Any]) -> Array:
    """p is rounded to the format of the logits before the logarithm: near 1 nothing of log p is left."""
    p = probabilities(rows).astype(dtype).astype(rows.dtype)
    return np.asarray(-np.where(p == 0, 0, p * np.log(p)).sum(axis=-1))


@row_reduction
def entropy_small_dropped(rows: Array) -> Array:
    """Classes below 1e-7 are left out: a long tail of them is not small."""
    log_p = log_probabilities(rows)
    p = np.exp(log_p)
    return np.asarray(-np.where(p < 1e-7, 0, p * np.where(p == 0, 0, log_p)).sum(axis=-1))


@row_reduction
def entropy_nan_is_zero(rows: Array) -> Array:
    """0·log 0 is repaired by replacing NaN with 0, and with it a NaN among the logits."""
    p = probabilities(rows)
    return np.asarray(-np.nan_to_num(p * np.log(p)).sum(axis=-1))


@typed_row_reduction
def entropy_narrow_sum(rows: Array, dtype: np.dtype[Any]) -> Array:
    """The terms are added one by one in the format of the logits: the sum stalls."""
    log_p = log_probabilities(rows)
    p = np.exp(log_p)
    terms = -np.where(p == 0, 0, p * log_p).astype(dtype)
    return np.asarray(np.add.accumulate(terms, axis=-1, dtype=dtype)[:, -1].astype(rows.dtype))


@as_token_logprob
def token_temperature_after(rows: Array, labels: Array, temperature: Any) -> Array:
    """log_softmax(x) / T: the temperature after the normalisation (Kimi-Audio)."""
    return np.asarray(gathered(log_probabilities(rows), labels) / temperature)


@as_token_logprob
def token_floored(rows: Array, labels: Array, temperature: Any) -> Array:
    """Values end at -100."""
    return np.maximum(gathered(log_probabilities(rows / temperature), labels), -100)


@as_token_logprob
def token_ids_in_8_bits(rows: Array, labels: Array, temperature: Any) -> Array:
    """Ids are kept in 8 bits: id 256 takes the value of id 0."""
    return gathered(log_probabilities(rows / temperature), labels.astype(np.uint8).astype(np.int64))


def token_ignored_is_class_0(
    logits: ArrayLike, target: ArrayLike, *, temperature: float = 1.0, ignore_index: int = -100
) -> Array:
    """Ignored labels are clamped to 0 for the gather and not masked afterwards."""
    labels = np.asarray(target).astype(np.int64)
    return token_logprob_stable(
        logits, np.where(labels == ignore_index, 0, labels), temperature=temperature, ignore_index=-(10**9)
    )


def token_cooled_in_format(
    logits: ArrayLike, target: ArrayLike, *, temperature: float = 1.0, ignore_index: int = -100
) -> Array:
    """x / T is rounded to the format of the logits before the log-softmax (miles)."""
    given = np.asarray(logits)
    with np.errstate(all="ignore"):
        cooled = (given / given.dtype.type(temperature)).astype(given.dtype)
    return token_logprob_stable(cooled, target, ignore_index=ignore_index)


@elementwise
def softplus_threshold_20(x: Array) -> Array:
    """x itself above 20, as in PyTorch: exp(-20) is 2e-9, which float64 still holds beside 20."""
    return np.where(x > 20, x, np.log1p(np.exp(x)))


@elementwise
def softplus_overflows(x: Array) -> Array:
    """log1p(exp(x)): infinite beyond the overflow edge of exp."""
    return np.log1p(np.exp(x))


@elementwise
def softplus_log_of_sum(x: Array) -> Array:
    """max(x, 0) + log(1 + exp(-|x|)): 0 as soon as 1 + exp(x) rounds to 1."""
    return np.asarray(np.maximum(x, 0) + np.log(1 + np.exp(-np.abs(x))))


@elementwise
def softplus_clamped(x: Array) -> Array:
    """x is clamped to [-50, ∞) first."""
    x = np.maximum(x, -50)
    return np.asarray(np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))))


@elementwise
def logaddexp_infinities(x: Array, y: Array) -> Array:
    """max + log1p(exp(-|x - y|)), unguarded: two equal infinities give inf - inf = NaN."""
    return np.asarray(np.maximum(x, y) + np.log1p(np.exp(-np.abs(x - y))))


@elementwise
def logaddexp_about_first(x: Array, y: Array) -> Array:
    """x + log1p(exp(y - x)): exp overflows where y is far above x."""
    return np.where(np.isinf(x), np.maximum(x, y), x + np.log1p(np.exp(y - x)))


@elementwise
def logaddexp_skips_beyond_20(x: Array, y: Array) -> Array:
    """The larger one where they are more than 20 apart: exp(-20) is 2e-9, which float64 still holds."""
    far = ~(np.abs(x - y) <= 20)
    return np.where(far, np.maximum(x, y), np.maximum(x, y) + np.log1p(np.exp(-np.abs(x - y))))


@elementwise
def logaddexp_log_of_sum(x: Array, y: Array) -> Array:
    """max + log(1 + exp(-|x - y|)): nothing is left of the smaller one where the larger is 0."""
    top = np.maximum(x, y)
    return np.where(np.isinf(top), top, top + np.log(1 + np.exp(-np.abs(x - y))))


@row_reduction
def logmeanexp_finite_count(rows: Array) -> Array:
    """The mean is taken over the finite logits alone."""
    return np.asarray(log_sums(rows) - np.log(np.isfinite(rows).sum(axis=-1).astype(rows.dtype)))


@row_reduction
def logmeanexp_shift_above_0(rows: Array) -> Array:
    """Shifted only where the maximum is positive: rows that are all very negative lose their sum."""
    peak = finite_or_zero(np.maximum(rows.max(axis=-1, keepdims=True), 0))
    return np.asarray((peak + np.log(np.exp(rows - peak).mean(axis=-1, keepdims=True)))[:, 0])


@row_reduction
def logmeanexp_epsilon(rows: Array) -> Array:
    """log(mean + 1e-12) about the maximum: in a long row the mean itself may be of that size's reach in float64."""
    reference, total, _ = normalisers.shifted(rows)
    return np.asarray((reference + np.log(total / rows.shape[-1] + rows.dtype.type(1e-12)))[:, 0])


@row_reduction
def logmeanexp_mean_of_blocks(rows: Array) -> Array:
    """The mean of the means of blocks of 128: wrong where the last block is shorter."""
    reference = finite_or_zero(rows.max(axis=-1, keepdims=True))
    terms = np.exp(rows - reference)
    means = [terms[:, k : k + 128].mean(axis=-1) for k in range(0, rows.shape[-1], 128)]
    return np.asarray(reference[:, 0] + np.log(np.mean(means, axis=0)).astype(rows.dtype))


@row_map
def softmax_one_masked_row(rows: Array) -> Array:
    """Shifted by the largest logit alone, which is -inf in a masked row: NaN in place of zeros."""
    peak = rows.max(axis=-1, keepdims=True)
    terms = np.exp(rows - np.maximum(peak, -80))
    one = np.exp(-np.maximum(peak, -80))
    return np.asarray(terms / (terms.sum(axis=-1, keepdims=True) + one) + (peak - peak))


@row_map
def softmax_one_clamped(rows: Array) -> Array:
    """Logits are clamped to [-∞, 60] so that exp does not overflow."""
    terms = np.exp(np.minimum(rows, 60))
    return np.asarray(terms / (1 + terms.sum(axis=-1, keepdims=True)))


@row_map
def softmax_one_first_warp_maximum(rows: Array) -> Array:
    """The maximum is that of the first 32 logits."""
    peak = np.maximum(rows[:, :32].max(axis=-1, keepdims=True), 0)
    terms = np.exp(rows - peak)
    return np.asarray(terms / (terms.sum(axis=-1, keepdims=True) + np.exp(-peak)))


@row_map
def softmax_one_small_dropped(rows: Array) -> Array:
    """Values below 1e-20 are returned as 0."""
    p = np.asarray(softmax_one_stable(rows))
    return np.where(p < 1e-20, 0, p)


@typed_row_map
def softmax_one_narrow_sum(rows: Array, dtype: np.dtype[Any]) -> Array:
    """The denominator is added up one by one in the format of the logits."""
    peak = np.maximum(rows.max(axis=-1, keepdims=True), 0)
    terms = np.exp(rows - peak)
    total = np.add.accumulate(terms.astype(dtype), axis=-1, dtype=dtype)[:, -1:].astype(rows.dtype)
    return np.asarray(terms / (total + np.exp(-peak)))


@row_reduction
def z_loss_first_warp_maximum(rows: Array) -> Array:
    """The maximum is that of the first 32 logits."""
    peak = finite_or_zero(rows[:, :32].max(axis=-1, keepdims=True))
    return np.asarray((peak + np.log(np.exp(rows - peak).sum(axis=-1, keepdims=True)))[:, 0] ** 2)


@row_reduction
def z_loss_clamped(rows: Array) -> Array:
    """The logsumexp is clamped to [-100, 100] before it is squared."""
    return np.asarray(np.clip(log_sums(rows), -100, 100) ** 2)


@row_reduction
def z_loss_mask_counts_as_zero(rows: Array) -> Array:
    """Masked logits are replaced by 0, so that they count."""
    return np.asarray(log_sums(np.where(np.isneginf(rows), 0, rows)) ** 2)


@row_reduction
def z_loss_shift_above_0(rows: Array) -> Array:
    """Shifted only where the maximum is positive: rows that are all very negative lose their sum."""
    peak = finite_or_zero(np.maximum(rows.max(axis=-1, keepdims=True), 0))
    return np.asarray((peak + np.log(np.exp(rows - peak).sum(axis=-1, keepdims=True)))[:, 0] ** 2)


@elementwise
def gumbel_epsilon(u: Array) -> Array:
    """-log(-log(u + ε) + ε) with ε = 1e-7, as for float32 numbers: near 1 it is as large as -log u."""
    tiny = u.dtype.type(1e-7)
    return np.asarray(-np.log(-np.log(u + tiny) + tiny))


@elementwise
def gumbel_clamped(u: Array) -> Array:
    """u is clamped to [1e-6, 1 - 1e-6]."""
    inside = np.clip(u, 1e-6, 1 - 1e-6).astype(u.dtype)
    return np.where((u < 0) | (u > 1), np.nan, -np.log(-np.log(inside)))


@elementwise
def gumbel_of_complement(u: Array) -> Array:
    """log1p(-(1 - u)) for log u: of small numbers 1 - u keeps nothing (vLLM)."""
    return np.asarray(-np.log(-np.log1p(-(1 - u))))


def gumbel_rounded(u: ArrayLike) -> Array:
    """-log u is rounded to the format before its logarithm: near 1 nothing is left of that."""
    given = np.asarray(u)
    with np.errstate(all="ignore"):
        inner = (-np.log(given.astype(np.float64))).astype(given.dtype)
        return np.asarray(-np.log(inner.astype(np.float64))).astype(given.dtype)[()]


def _pair(x: ArrayLike, y: ArrayLike) -> Any:
    return lambda fmt: ((in_format(x, fmt), in_format(y, fmt)), {})


_BF16 = (*WIDE, "bfloat16")
_NONE = [-np.inf, -np.inf]

FAULTS: tuple[Fault, ...] = (
    Fault("zero-times-log-zero", "entropy", entropy_zero_times_log_zero, CATEGORY,
          "a probability underflows", "0·log 0", on([0.0, -2000.0])),
    Fault("mask-times-zero", "entropy", entropy_mask_times_zero, CATEGORY,
          "a class is masked", "0·(-inf)", on([0.0, 1.0, -np.inf])),
    Fault("rounded-p", "entropy", entropy_of_rounded_p, CATEGORY,
          "one class has nearly all of the mass", "log of a rounded p", on([0.0, -7.0]), NARROW),
    Fault("small-dropped", "entropy", entropy_small_dropped, CATEGORY,
          "a long tail of small probabilities", "small terms left out", on([0.0] + [-17.0] * 1000), _BF16),
    Fault("nan-is-zero", "entropy", entropy_nan_is_zero, CATEGORY,
          "a NaN among the logits", "NaN replaced by 0", on([0.0, np.nan, 1.0])),
    Fault("narrow-sum", "entropy", entropy_narrow_sum, CATEGORY,
          "long rows", "narrow accumulator", on([0.0] * 4096), NARROW),
    Fault("temperature-after", "token_logprob", token_temperature_after, CATEGORY,
          "a temperature", "temperature after the softmax", loss_on([[0.0, 1.0]], [0], temperature=0.5)),
    Fault("floored", "token_logprob", token_floored, CATEGORY,
          "log-probabilities below -100", "output floored", loss_on([[0.0, 150.0]], [0])),
    Fault("ids-in-8-bits", "token_logprob", token_ids_in_8_bits, CATEGORY,
          "ids of 256 and more", "narrow ids", loss_on([rising(300, 5.0)], [299])),
    Fault("ignored-is-class-0", "token_logprob", token_ignored_is_class_0, CATEGORY,
          "a label to ignore", "ignored labels count", loss_on([[0.0, 1.0], [2.0, 1.0]], [-100, 1])),
    Fault("cooled-in-format", "token_logprob", token_cooled_in_format, CATEGORY,
          "a temperature", "x / T rounded to the format", loss_on([[60.0, 62.0]], [1], temperature=3.0), ("float16",)),
    Fault("threshold-20", "softplus", softplus_threshold_20, CATEGORY,
          "x a little above 20", "the tail is dropped", on([[20.5]]), ("float64",)),
    Fault("overflows", "softplus", softplus_overflows, CATEGORY,
          "x beyond the overflow edge of exp", "no shift", on([[800.0]])),
    Fault("log-of-sum", "softplus", softplus_log_of_sum, CATEGORY,
          "x far below 0", "log(1 + e) for log1p(e)", on([[-40.0]]), _BF16),
    Fault("clamped", "softplus", softplus_clamped, CATEGORY,
          "x below -50", "clamped logits", on([[-80.0]]), _BF16),
    Fault("infinities", "logaddexp", logaddexp_infinities, CATEGORY,
          "both are -inf", "inf - inf", _pair([[-np.inf]], [[-np.inf]])),
    Fault("about-first", "logaddexp", logaddexp_about_first, CATEGORY,
          "the second far above the first", "shifted by the wrong one", _pair([[0.0]], [[800.0]])),
    Fault("skips-beyond-20", "logaddexp", logaddexp_skips_beyond_20, CATEGORY,
          "a gap above 20", "the smaller one is dropped", _pair([[0.5]], [[-20.5]]), ("float64",)),
    Fault("log-of-sum", "logaddexp", logaddexp_log_of_sum, CATEGORY,
          "the larger is 0", "log(1 + e) for log1p(e)", _pair([[0.0]], [[-40.0]]), _BF16),
    Fault("finite-count", "logmeanexp", logmeanexp_finite_count, CATEGORY,
          "a class is masked", "mean over the finite ones", on([0.0, 1.0, -np.inf])),
    Fault("shift-above-0", "logmeanexp", logmeanexp_shift_above_0, CATEGORY,
          "all logits very negative", "shift by max(m, 0)", on([-2000.0, -2001.0])),
    Fault("epsilon", "logmeanexp", logmeanexp_epsilon, CATEGORY,
          "float64", "epsilon inside the log", on(rising(100, 30.0)), ("float64",)),
    Fault("mean-of-blocks", "logmeanexp", logmeanexp_mean_of_blocks, CATEGORY,
          "lengths that 128 does not divide", "blocks of unequal length averaged", on(rising(150, 5.0))),
    Fault("masked-row", "softmax_one", softmax_one_masked_row, CATEGORY,
          "all classes masked", "inf - inf", on(_NONE)),
    Fault("clamped", "softmax_one", softmax_one_clamped, CATEGORY,
          "logits above 60", "clamped logits", on([100.0, 90.0])),
    Fault("first-warp-maximum", "softmax_one", softmax_one_first_warp_maximum, CATEGORY,
          "the largest logit beyond the first 32", "maximum of a part", on(rising(64, 2000.0))),
    Fault("small-dropped", "softmax_one", softmax_one_small_dropped, CATEGORY,
          "values below 1e-20", "small values returned as 0", on([0.0, -60.0]), _BF16),
    Fault("narrow-sum", "softmax_one", softmax_one_narrow_sum, CATEGORY,
          "long rows", "narrow accumulator", on([0.0] * 4096), NARROW),
    Fault("epsilon", "gumbel", gumbel_epsilon, CATEGORY,
          "u near 1", "epsilon inside both logarithms", on([[1 - 2.0**-23]]), WIDE),
    Fault("clamped", "gumbel", gumbel_clamped, CATEGORY,
          "u below 1e-6 or near 1", "clamped", on([[1e-7]]), _BF16),
    Fault("of-complement", "gumbel", gumbel_of_complement, CATEGORY,
          "small u", "log1p of the complement", on([[1e-12]]), _BF16),
    Fault("rounded", "gumbel", gumbel_rounded, CATEGORY,
          "u near exp(-1)", "-log u rounded", on([[0.3671875]]), NARROW),
    Fault("first-warp-maximum", "z_loss", z_loss_first_warp_maximum, CATEGORY,
          "the largest logit beyond the first 32", "maximum of a part", on(rising(64, 2000.0)), _BF16),
    Fault("clamped", "z_loss", z_loss_clamped, CATEGORY,
          "a logsumexp beyond 100", "clamped", on([150.0, 140.0])),
    Fault("mask-counts-as-zero", "z_loss", z_loss_mask_counts_as_zero, CATEGORY,
          "a class is masked", "masked logits count", on([1.0, 2.0, -np.inf])),
    Fault("shift-above-0", "z_loss", z_loss_shift_above_0, CATEGORY,
          "all logits very negative", "shift by max(m, 0)", on([-2000.0, -2001.0]), _BF16),
)  # fmt: skip
