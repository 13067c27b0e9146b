"""Companion calls: a second question whose answer must agree with the first, and needs no truth.

A companion makes a few calls around one that was answered: the same again, with other calls between, each row alone,
beside other rows, in chunks, padded, in other places and layouts; once also in batches of many sizes, many thousand times
and from several threads. One entry of ``COMPANIONS`` each.
"""

from __future__ import annotations

from xent_verify.companions import calls, lasting, places, rows, sizes
from xent_verify.companions.known import Companion

__all__ = ["COMPANIONS", "Companion"]

COMPANIONS: tuple[Companion, ...] = (
    Companion("repeat", "nondeterministic", calls.repeat),
    Companion("state", "stateful", calls.state),
    Companion("alone", "batch_dependence", rows.alone),
    Companion("neighbours", "batch_dependence", rows.neighbours),
    Companion("sizes", "batch_dependence", sizes.sweep, "longest"),
    Companion("chunks", "batch_dependence", rows.chunks, "longest"),
    Companion("layouts", "layout_dependence", places.layouts),
    Companion("padding", "layout_dependence", places.padding, "longest"),
    Companion("axis", "layout_dependence", places.along_axis),
    Companion("shapes", "layout_dependence", places.shapes),
    Companion("formats", "stateful", lasting.formats, "once"),
    Companion("soak", "stateful", lasting.soak, "lasting"),
    Companion("threads", "stateful", lasting.threads, "lasting"),
)
