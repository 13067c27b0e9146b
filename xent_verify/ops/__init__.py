"""The table of operations. A new one is a file here and its entry below, or ``module:attribute`` from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from xent_verify.core.failures import UnknownNameError, UsageError
from xent_verify.core.outside import outside
from xent_verify.ops import (
    attention,
    attention_softmax,
    binary_cross_entropy_with_logits,
    cross_entropy,
    cross_entropy_grad,
    entmax15,
    entropy,
    focal,
    gumbel,
    js_divergence,
    kl_divergence,
    kl_divergence_log,
    linear_cross_entropy,
    log_sigmoid,
    log_softmax,
    logaddexp,
    logmeanexp,
    logsumexp,
    merge_states,
    nll,
    sigmoid,
    softmax,
    softmax_one,
    softmax_temperature,
    softplus,
    sparsemax,
    token_logprob,
    topk_softmax,
    z_loss,
)
from xent_verify.ops.op import Op, Option
from xent_verify.ops.page import op_of
from xent_verify.ops.tape import vjp_of

__all__ = ["CORE", "OPS", "Op", "Option", "in_table", "op_named", "op_of"]

OPS: Mapping[str, Op] = MappingProxyType(
    {
        op.name: op
        for op in (
            softmax.OP,
            log_softmax.OP,
            logsumexp.OP,
            cross_entropy.OP,
            cross_entropy_grad.OP,
            sigmoid.OP,
            log_sigmoid.OP,
            binary_cross_entropy_with_logits.OP,
            softmax_temperature.OP,
            kl_divergence.OP,
            token_logprob.OP,
            entropy.OP,
            softplus.OP,
            logaddexp.OP,
            logmeanexp.OP,
            softmax_one.OP,
            z_loss.OP,
            attention_softmax.OP,
            attention.OP,
            attention.LSE,
            merge_states.OP,
            linear_cross_entropy.OP,
            topk_softmax.OP,
            js_divergence.OP,
            nll.OP,
            kl_divergence_log.OP,
            focal.OP,
            sparsemax.OP,
            entmax15.OP,
            gumbel.OP,
        )
    }
)

CORE = tuple(OPS)[:5]
"""What a report and a file of vectors cover unless operations are named: the first of the table."""


def in_table(op: Op) -> bool:
    """Whether it is the table's own operation, not one from outside that has the same name."""
    return OPS.get(op.name) is op


def op_named(name: str | Op) -> Op:
    """The operation of that name, or the ``Op`` at ``module:attribute``; ``UnknownNameError``/``UsageError`` otherwise.

    ``vjp(NAME)`` is the gradient of an operation by its first input, ``vjp(NAME, INPUT)`` by another.
    """
    if isinstance(name, Op):
        return name
    if name.startswith(_VJP) and name.endswith(")"):
        return _vjp(name)
    if ":" not in name:
        if name not in OPS:
            raise UnknownNameError("op", name, OPS)
        return OPS[name]
    found: Any = outside(name, object, "--op")
    if isinstance(found, Op):
        return found
    if not callable(found):
        raise UsageError(f"--op {name}: is a {type(found).__name__}, neither an Op nor a formula f(a, x)")
    return _page(found, name.rpartition(":")[2])


_VJP = "vjp("


@cache
def _vjp(name: str) -> Op:
    base, _, by = name[len(_VJP) : -1].partition(",")
    return vjp_of(op_named(base.strip()), name, by.strip())


@cache
def _page(function: Callable[..., Any], name: str) -> Op:
    return op_of(function, name)
