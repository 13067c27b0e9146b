"""Certified truth of any batch: which tier decides, and why that is a proof.

A tier's answer counts for an element only when ``Enclosure.decided`` says so: the enclosure determines the correctly
rounded result in the asked format, and error_ulp to 2**-20 ulp. The tiers are tried cheapest first:

0. special values, by definition (``special``);
1. float64 with a rigorous bound (``float64_tier``), for targets of 32 bits and fewer;
2. double-double (``dd_numpy``), first with cubic and higher terms in double (2**-79), then in full (2**-89);
3. interval arithmetic of raised precision (``exact``), which ends.

Results are the same bits for the same rows, however the batch is cut and however many processes work on it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from xent_verify.enclosure import Enclosure
from xent_verify.formats import FloatFormat, IntArray, format_named
from xent_verify.model import Batch
from xent_verify.truth.compose import ROW_OPS, certify_rows
from xent_verify.truth.engines import chain
from xent_verify.truth.rows import normal_axis, rows_of

__all__ = ["certify"]


def certify(batch: Batch, *, fmt: str | FloatFormat | None = None, jobs: int = 1) -> Enclosure:
    """Certified true values of a batch, in the op's output shape, decided for ``fmt`` (default: the batch's own)."""
    form = format_named(batch.fmt if fmt is None else fmt)
    if batch.op in ROW_OPS and np.asarray(batch.x).ndim:
        return _row_op(batch, form, jobs)
    return _exact(batch, form, None)


def _exact(batch: Batch, form: FloatFormat, index: IntArray | None) -> Enclosure:
    from xent_verify.truth import exact  # the heavy import (mpmath) waits until it is needed

    return exact.evaluate(batch, form, index)


def _row_op(batch: Batch, form: FloatFormat, jobs: int) -> Enclosure:
    x = np.asarray(batch.x)
    axis = normal_axis(int(batch.options.get("axis", -1)), x.ndim)
    rows = rows_of(x, axis)
    sink, left = certify_rows(batch.op, rows, form, chain(form))
    if left.size:
        plain = replace(batch, inputs={"x": rows}, options={})
        sink.write_flat(left, _exact(plain, form, left))
    lead = x.shape[:axis] + x.shape[axis + 1 :]
    result = sink.finished()
    if batch.op == "logsumexp":
        return result.reshape(lead)
    return result.reshape(*lead, x.shape[axis]).moveaxis(-1, axis)
