"""The table of the package's own implementations, and how to look one up.

``IMPLEMENTATIONS`` holds the naive and the stable ones. The faulty ones live in ``faulty.ZOO``; they are found by name
and listed on demand (``family="faulty"``), and are no part of a normal listing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xent_verify.implementations import (
    attending,
    attention,
    fused,
    gates,
    gradients,
    losses,
    naive,
    penalized,
    siblings,
    stable,
    sums,
    thresholds,
    tokens,
)
from xent_verify.implementations.entries import Family, Implementation
from xent_verify.implementations.faulty import ZOO

__all__ = ["IMPLEMENTATIONS", "find", "implementations"]

_OVERFLOW = "inf/inf beyond the overflow edge of exp, 0/0 below its underflow edge"
_LOG_ZERO = "log 0 where a probability underflows"
_ONE_MINUS = "log(1 - p) once p rounds to 1"
_OFFSET = "a common offset c: the difference cancels, absolute error about |c|·u"


def _naive(op: str, name: str, call: Callable[..., Any], where: str) -> Implementation:
    return Implementation(name, op, call, "naive", sound=False, where_it_fails=where)


def _stable(op: str, name: str, call: Callable[..., Any], policy: str = "standard") -> Implementation:
    return Implementation(name, op, call, "stable", sound=True, policy=policy)


IMPLEMENTATIONS: tuple[Implementation, ...] = (
    _naive("softmax", "naive", naive.softmax_naive, _OVERFLOW),
    _naive("softmax", "division-free", naive.softmax_division_free, _OFFSET),
    _stable("softmax", "stable", stable.softmax_stable),
    _stable("softmax", "pairwise", stable.softmax_pairwise),
    _stable("softmax", "chunked", stable.softmax_chunked),
    _stable("softmax", "online", stable.softmax_online),
    _stable("softmax", "online-textbook", stable.softmax_online_textbook, "textbook"),
    _stable("softmax", "wide", stable.softmax_wide),
    _naive("log_softmax", "naive", naive.log_softmax_naive, f"{_OVERFLOW}; {_LOG_ZERO}"),
    _naive("log_softmax", "log-of-softmax", naive.log_softmax_log_of_softmax, _LOG_ZERO),
    _naive("log_softmax", "unshifted-lse", naive.log_softmax_unshifted_lse, _OFFSET),
    _stable("log_softmax", "stable", stable.log_softmax_stable),
    _stable("log_softmax", "log1p", stable.log_softmax_log1p),
    _stable("log_softmax", "pairwise", stable.log_softmax_pairwise),
    _stable("log_softmax", "chunked", stable.log_softmax_chunked),
    _stable("log_softmax", "online", stable.log_softmax_online),
    _stable("log_softmax", "wide", stable.log_softmax_wide),
    _naive("logsumexp", "naive", naive.logsumexp_naive, "±inf beyond the edges of exp"),
    _naive("logsumexp", "logaddexp", naive.logsumexp_logaddexp, "long rows, large offsets: n roundings"),
    _stable("logsumexp", "stable", stable.logsumexp_stable),
    _stable("logsumexp", "log1p", stable.logsumexp_log1p),
    _stable("logsumexp", "pairwise", stable.logsumexp_pairwise),
    _stable("logsumexp", "chunked", stable.logsumexp_chunked),
    _stable("logsumexp", "online", stable.logsumexp_online),
    _stable("logsumexp", "online-textbook", stable.logsumexp_online_textbook, "textbook"),
    _stable("logsumexp", "wide", stable.logsumexp_wide),
    _naive("cross_entropy", "naive", naive.cross_entropy_naive, f"{_OVERFLOW}; {_LOG_ZERO}"),
    _naive("cross_entropy", "naive-onehot", naive.cross_entropy_naive_onehot, f"0·log 0 in any class; {_LOG_ZERO}"),
    _naive("cross_entropy", "naive-index", naive.cross_entropy_naive_index, _LOG_ZERO),
    _naive("cross_entropy", "lse-minus-logit", naive.cross_entropy_lse_minus_logit, _OFFSET),
    _stable("cross_entropy", "stable", stable.cross_entropy_stable),
    _stable("cross_entropy", "logsumexp", stable.cross_entropy_logsumexp),
    _stable("cross_entropy", "log1p", stable.cross_entropy_log1p),
    _stable("cross_entropy", "chunked", stable.cross_entropy_chunked),
    _stable("cross_entropy", "online", stable.cross_entropy_online),
    _stable("cross_entropy", "wide", stable.cross_entropy_wide),
    _stable("cross_entropy", "penalized", penalized.cross_entropy_penalized),
    _stable("cross_entropy", "penalized-logsumexp", penalized.cross_entropy_penalized_logsumexp),
    _stable("cross_entropy", "penalized-chunked", penalized.cross_entropy_penalized_chunked),
    _stable("cross_entropy", "penalized-wide", penalized.cross_entropy_penalized_wide),
    _naive("cross_entropy_grad", "naive", gradients.gradient_naive, _OVERFLOW),
    _stable("cross_entropy_grad", "stable", gradients.gradient_stable),
    _stable("cross_entropy_grad", "others", gradients.gradient_others),
    _stable("cross_entropy_grad", "wide", gradients.gradient_wide),
    _naive("sigmoid", "naive", siblings.sigmoid_naive, "inf/inf beyond the overflow edge of exp"),
    _naive("sigmoid", "reciprocal", siblings.sigmoid_reciprocal, "0 for x below minus the overflow edge of exp"),
    _stable("sigmoid", "stable", siblings.sigmoid_stable),
    _naive("log_sigmoid", "naive", siblings.log_sigmoid_naive, _LOG_ZERO),
    _stable("log_sigmoid", "stable", siblings.log_sigmoid_stable),
    _naive("binary_cross_entropy_with_logits", "naive", siblings.binary_cross_entropy_naive, _ONE_MINUS),
    _stable("binary_cross_entropy_with_logits", "stable", siblings.binary_cross_entropy_stable),
    _naive("kl_divergence", "naive", siblings.kl_divergence_naive, f"{_OVERFLOW}; {_LOG_ZERO}"),
    _stable("kl_divergence", "stable", siblings.kl_divergence_stable),
    _naive("softmax_temperature", "naive", siblings.softmax_temperature_naive, _OVERFLOW),
    _stable("softmax_temperature", "stable", siblings.softmax_temperature_stable),
    _naive("token_logprob", "log-of-softmax", tokens.token_logprob_log_of_softmax, _LOG_ZERO),
    _naive("token_logprob", "lse-minus-logit", tokens.token_logprob_lse_minus_logit, _OFFSET),
    _stable("token_logprob", "stable", tokens.token_logprob_stable),
    _stable("token_logprob", "log1p", tokens.token_logprob_log1p),
    _stable("token_logprob", "chunked", tokens.token_logprob_chunked),
    _stable("token_logprob", "wide", tokens.token_logprob_wide),
    _naive("entropy", "naive", tokens.entropy_naive, f"{_OVERFLOW}; 0·log 0 where a probability underflows"),
    _naive("entropy", "lse", tokens.entropy_lse, f"{_OFFSET}; 0·(-inf) where a class is masked"),
    _stable("entropy", "stable", tokens.entropy_stable),
    _stable("entropy", "gaps", tokens.entropy_gaps),
    _stable("entropy", "chunked", tokens.entropy_chunked),
    _stable("entropy", "wide", tokens.entropy_wide),
    _naive(
        "softplus", "naive", sums.softplus_naive, "infinite beyond the overflow edge of exp; 0 where 1 + exp(x) is 1"
    ),
    _stable("softplus", "stable", sums.softplus_stable),
    _stable("softplus", "two-branches", sums.softplus_two_branches),
    _stable("softplus", "logaddexp", sums.softplus_logaddexp),
    _stable("softplus", "wide", sums.softplus_wide),
    _naive("logaddexp", "naive", sums.logaddexp_naive, "±inf beyond the edges of exp"),
    _stable("logaddexp", "stable", sums.logaddexp_stable),
    _stable("logaddexp", "numpy", sums.logaddexp_numpy),
    _stable("logaddexp", "wide", sums.logaddexp_wide),
    _naive("logmeanexp", "naive", sums.logmeanexp_naive, "±inf beyond the edges of exp"),
    _stable("logmeanexp", "stable", sums.logmeanexp_stable),
    _stable("logmeanexp", "difference", sums.logmeanexp_difference),
    _stable("logmeanexp", "wide", sums.logmeanexp_wide),
    _naive("attention_softmax", "naive", attention.attention_softmax_naive, _OVERFLOW),
    _stable("attention_softmax", "stable", attention.attention_softmax_masked_scores),
    _stable("attention_softmax", "masked-terms", attention.attention_softmax_masked_terms),
    _stable("attention_softmax", "online", attention.attention_softmax_online),
    _stable("attention_softmax", "wide", attention.attention_softmax_wide),
    _naive("attention", "naive", attending.attention_naive, _OVERFLOW),
    _stable("attention", "stable", attending.attention_stable),
    _stable("attention", "blocks", attending.attention_blocks),
    _stable("attention", "scaled-queries", attending.attention_scaled_queries),
    _stable("attention", "wide", attending.attention_wide),
    _naive("attention_lse", "naive", attending.attention_lse_naive, "±inf beyond the edges of exp"),
    _stable("attention_lse", "stable", attending.attention_lse_stable),
    _stable("attention_lse", "blocks", attending.attention_lse_blocks),
    _stable("attention_lse", "wide", attending.attention_lse_wide),
    _naive("merge_states", "naive", attending.merge_states_naive, _OVERFLOW),
    _stable("merge_states", "stable", attending.merge_states_stable),
    _stable("merge_states", "weights", attending.merge_states_logsumexp),
    _stable("merge_states", "wide", attending.merge_states_wide),
    _naive("linear_cross_entropy", "naive", fused.linear_cross_entropy_naive, f"{_OVERFLOW}; {_LOG_ZERO}"),
    _naive("linear_cross_entropy", "lse-minus-logit", fused.linear_cross_entropy_lse_minus_logit, _OFFSET),
    _stable("linear_cross_entropy", "stable", fused.linear_cross_entropy_stable),
    _stable("linear_cross_entropy", "chunked", fused.linear_cross_entropy_chunked),
    _stable("linear_cross_entropy", "sharded", fused.linear_cross_entropy_sharded),
    _stable("linear_cross_entropy", "wide", fused.linear_cross_entropy_wide),
    _naive("topk_softmax", "naive", gates.topk_softmax_naive, _OVERFLOW),
    _stable("topk_softmax", "stable", gates.topk_softmax_stable),
    _stable("topk_softmax", "of-chosen", gates.topk_softmax_of_chosen),
    _stable("topk_softmax", "wide", gates.topk_softmax_wide),
    _naive("js_divergence", "naive", gates.js_divergence_naive, f"0·log 0 in any class; {_LOG_ZERO}"),
    _stable("js_divergence", "stable", gates.js_divergence_stable),
    _stable("js_divergence", "ratios", gates.js_divergence_ratios),
    _stable("js_divergence", "wide", gates.js_divergence_wide),
    _naive("nll", "one-hot", gates.nll_one_hot, "0·(-inf) where a class is masked"),
    _stable("nll", "stable", gates.nll_stable),
    _stable("nll", "one-hot-masked", gates.nll_one_hot_masked),
    _stable("nll", "wide", gates.nll_wide),
    _naive("kl_divergence_log", "naive", losses.kl_divergence_log_naive, f"{_LOG_ZERO}; 0·log 0 in any class"),
    _stable("kl_divergence_log", "stable", losses.kl_divergence_log_stable),
    _stable("kl_divergence_log", "chunked", losses.kl_divergence_log_chunked),
    _stable("kl_divergence_log", "wide", losses.kl_divergence_log_wide),
    _naive("focal", "naive", losses.focal_naive, "1 - p once p rounds to 1"),
    _stable("focal", "stable", losses.focal_stable),
    _stable("focal", "logarithms", losses.focal_logarithms),
    _stable("focal", "wide", losses.focal_wide),
    _naive("sparsemax", "naive", thresholds.sparsemax_naive, _OFFSET),
    _stable("sparsemax", "stable", thresholds.sparsemax_sorted),
    _stable("sparsemax", "active-set", thresholds.sparsemax_active_set),
    _stable("sparsemax", "wide", thresholds.sparsemax_wide),
    _naive("entmax15", "naive", thresholds.entmax15_naive, _OFFSET),
    _naive(
        "entmax15", "running-squares", thresholds.entmax15_sorted, "many classes far below one: mean squares cancel"
    ),
    _stable("entmax15", "stable", thresholds.entmax15_newton),
    _stable("entmax15", "centred", thresholds.entmax15_centred),
    _stable("entmax15", "wide", thresholds.entmax15_wide),
    _naive("gumbel", "naive", sums.gumbel_naive, "an epsilon where u is 0 or 1"),
    _stable("gumbel", "stable", sums.gumbel_stable),
    _stable("gumbel", "two-branches", sums.gumbel_two_branches),
    _stable("gumbel", "wide", sums.gumbel_wide),
    _naive("softmax_one", "naive", sums.softmax_one_naive, _OVERFLOW),
    _stable("softmax_one", "stable", sums.softmax_one_stable),
    _stable("softmax_one", "padded", sums.softmax_one_padded),
    _stable("softmax_one", "wide", sums.softmax_one_wide),
    _naive("z_loss", "naive", sums.z_loss_naive, "infinite beyond the edges of exp"),
    _stable("z_loss", "stable", sums.z_loss_stable),
    _stable("z_loss", "chunked", sums.z_loss_chunked),
    _stable("z_loss", "wide", sums.z_loss_wide),
)

_FAULTY: tuple[Implementation, ...] = tuple(
    Implementation(fault.name, fault.op, fault.call, "faulty", False, fault.formats, fault.regime) for fault in ZOO
)


def implementations(op: str | None = None, family: Family | None = None) -> tuple[Implementation, ...]:
    """The implementations of an operation and family, in table order.

    Without a family the naive and the stable ones; ``family="faulty"`` lists the zoo.
    """
    table = _FAULTY if family == "faulty" else IMPLEMENTATIONS
    return tuple(entry for entry in table if op in (None, entry.op) and family in (None, entry.family))


def find(name: str, op: str | None = None) -> Implementation:
    """The implementation of that name: ``find("stable", "softmax")`` or ``find("softmax.stable")``.

    A short name without ``op`` must be unique. ``KeyError`` for an unknown or ambiguous one.
    """
    wanted_op, _, short = name.rpartition(".")
    if wanted_op and op not in (None, wanted_op):
        raise KeyError(f"{name} is not an implementation of {op}")
    wanted = wanted_op or op
    found = [entry for entry in IMPLEMENTATIONS + _FAULTY if entry.name == short and wanted in (None, entry.op)]
    if len(found) != 1:
        raise KeyError(f"{name} names {len(found)} implementations" + (f" of {op}" if op else ""))
    return found[0]
