"""The table of operations. A new one is a file here and its entry below, or ``module:attribute`` from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from xent_verify.failures import UnknownNameError, UsageError
from xent_verify.ops import (
    attention_softmax,
    binary_cross_entropy_with_logits,
    cross_entropy,
    cross_entropy_grad,
    entropy,
    kl_divergence,
    log_sigmoid,
    log_softmax,
    logaddexp,
    logmeanexp,
    logsumexp,
    sigmoid,
    softmax,
    softmax_one,
    softmax_temperature,
    softplus,
    token_logprob,
    z_loss,
)
from xent_verify.ops.op import Op, Option
from xent_verify.ops.page import op_of
from xent_verify.ops.tape import vjp_of
from xent_verify.outside import outside

__all__ = ["OPS", "Op", "Option", "in_table", "op_named", "op_of"]

OPS: Mapping[str, Op] = MappingProxyType(
    {
        module.OP.name: module.OP
        for module in (
            softmax,
            log_softmax,
            logsumexp,
            cross_entropy,
            cross_entropy_grad,
            sigmoid,
            log_sigmoid,
            binary_cross_entropy_with_logits,
            softmax_temperature,
            kl_divergence,
            token_logprob,
            entropy,
            softplus,
            logaddexp,
            logmeanexp,
            softmax_one,
            z_loss,
            attention_softmax,
        )
    }
)


def in_table(op: Op) -> bool:
    """Whether it is the table's own operation, not one from outside that has the same name."""
    return OPS.get(op.name) is op


def op_named(name: str | Op) -> Op:
    """The operation of that name, or the ``Op`` at ``module:attribute``; ``UnknownNameError``/``UsageError`` otherwise."""
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
    return vjp_of(op_named(name[len(_VJP) : -1]), name)


@cache
def _page(function: Callable[..., Any], name: str) -> Op:
    return op_of(function, name)
