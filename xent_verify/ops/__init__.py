"""The table of operations. A new one is a file here and its entry below, or ``module:attribute`` from outside."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from xent_verify.failures import UnknownNameError
from xent_verify.ops import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    cross_entropy_grad,
    kl_divergence,
    log_sigmoid,
    log_softmax,
    logsumexp,
    sigmoid,
    softmax,
    softmax_temperature,
)
from xent_verify.ops.op import Op, Option
from xent_verify.outside import outside

__all__ = ["OPS", "Op", "Option", "op_named"]

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
        )
    }
)


def op_named(name: str | Op) -> Op:
    """The operation of that name, or the ``Op`` at ``module:attribute``; ``UnknownNameError``/``UsageError`` otherwise."""
    if isinstance(name, Op):
        return name
    if ":" not in name:
        if name not in OPS:
            raise UnknownNameError("op", name, OPS)
        return OPS[name]
    found: Op = outside(name, Op, "--op")
    return found
