"""Structured rows of any length: what long rows are made of in practice, one row a family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.formats import FloatArray, FloatFormat

__all__ = ["FAMILIES", "LONGEST", "structured"]

LONGEST = 4096


def _families(n: int, edge: float, most: float) -> Mapping[str, FloatArray]:
    """Rows of length ``n``; ``edge``: beyond it exp overflows in the format; ``most``: its largest finite value."""
    places = np.arange(n, dtype=np.float64)
    first = places == 0
    return {
        "equal terms 0": np.zeros(n),
        "equal terms 1": np.ones(n),
        "equal terms past the overflow edge of exp": np.full(n, 1.25 * edge),
        "equal terms below the underflow edge of exp": np.full(n, -2.0 * edge),
        "steps of 1 up": places,
        "steps of 1 down": -places,
        "steps of 1/64 up": places / 64,
        "one big first, many small": np.where(first, 8.0, 0.0),
        "one big last, many small": np.where(first, 8.0, 0.0)[::-1],
        "one far above": np.where(first, edge, -edge),
        "one at the largest value, the rest at its negative": np.where(first, most, -most),
        "minus the root of the place": -np.sqrt(places + 1),
        "alternating 1 and -1": 1.0 - 2.0 * (places % 2),
        "every second masked": np.where(places % 2 == 1, -np.inf, 0.0),
    }


FAMILIES = tuple(_families(1, 1.0, 1.0))


def structured(form: FloatFormat, n: int) -> NDArray[Any]:
    """One row of length ``n`` of every family, in the order of ``FAMILIES``; beyond its largest value a format stops."""
    edge = (form.e_max + 1) * 0.6931471805599453  # log 2
    rows = np.stack(list(_families(n, edge, form.max_finite).values()))
    held = np.clip(rows, -form.max_finite, form.max_finite)
    masked = -np.inf if form.has_inf else -form.max_finite
    return form.narrow(np.where(np.isinf(rows), masked, held))
