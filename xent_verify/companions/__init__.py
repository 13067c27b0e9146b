"""Companion calls: a second question whose answer must agree with the first, and needs no truth.

A companion makes a few calls around one that was answered: the same again, with other calls between, each row alone,
beside other rows, in other places and layouts. One entry of ``COMPANIONS`` each.
"""

from __future__ import annotations

from xent_verify.companions import calls, places, rows
from xent_verify.companions.known import Companion

__all__ = ["COMPANIONS", "Companion"]

COMPANIONS: tuple[Companion, ...] = (
    Companion("repeat", "nondeterministic", calls.repeat),
    Companion("state", "stateful", calls.state),
    Companion("alone", "batch_dependence", rows.alone),
    Companion("neighbours", "batch_dependence", rows.neighbours),
    Companion("layouts", "layout_dependence", places.layouts),
    Companion("axis", "layout_dependence", places.along_axis),
)
