"""The nouns of this room: a Regime (one reason to try inputs), a Profile (how much), a Context (where it builds)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.formats import FloatArray, FloatFormat
from xent_verify.core.model import Batch
from xent_verify.ops import Op
from xent_verify.regimes.calls import dress, has_axis, labelled, named, per_row
from xent_verify.regimes.draw import Draw

__all__ = ["PROFILES", "Context", "Profile", "Regime"]


@dataclass(frozen=True, slots=True)
class Profile:
    """How much of everything: a budget for one (op, format).

    ``rows`` per batch at each of ``widths`` (the value regimes), one batch of a few rows at each of ``sizes``,
    ``long`` rows as (n, how many), ``many`` rows of two or three logits, ``options`` drawn calls of a loss; of the sweeps
    ``every`` row length up to there, further lengths up to ``farthest``, every ``stride``-th float; ``named``: row lengths
    that the caller asked for.
    """

    name: str
    rows: int
    widths: tuple[int, ...]
    mask_widths: tuple[int, ...]
    sizes: tuple[int, ...]
    long: tuple[tuple[int, int], ...]
    many: tuple[int, ...]
    options: int
    every: int
    farthest: int
    stride: int
    named: tuple[int, ...] = ()


_UNEVEN = (10, 12, 20, 24, 40, 48, 72, 100, 192, 200, 300, 384, 640, 1000, 1536)
"""Widths that some vectors and tiles divide and others do not."""


def _sizes(most: int) -> tuple[int, ...]:
    """2**k - 1, 2**k, 2**k + 1 for k = 1 … most, and uneven widths between."""
    around = {2**k + d for k in range(1, most + 1) for d in (-1, 0, 1)}
    return tuple(sorted(around | {width for width in _UNEVEN if width < 2**most}))


PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile(
            "quick",
            rows=36,
            widths=(3, 17),
            mask_widths=(11, 140),
            sizes=_sizes(7),
            long=((300, 3), (513, 3), (1027, 3), (2049, 3), (4099, 3), (8195, 4), (98307, 1)),
            many=(256, 1025, 65537),
            options=40,
            every=256,
            farthest=4096,
            stride=1024,
        ),
        Profile(
            "standard",
            rows=120,
            widths=(2, 16, 67),
            mask_widths=(5, 19, 67, 300, 1100, 4200),
            sizes=_sizes(13),
            long=((257, 9), (1000, 9), (2049, 9), (4097, 6), (6000, 6), (8195, 6), (10007, 6), (65537, 3), (131075, 2)),
            many=(257, 1025, 4097, 65537),
            options=400,
            every=2048,
            farthest=2**18,
            stride=32,
        ),
        Profile(
            "deep",
            rows=1500,
            widths=(1, 2, 3, 5, 8, 16, 33, 67, 128, 257),
            mask_widths=(2, 5, 19, 67, 300, 1100, 2100, 4200),
            sizes=_sizes(13),
            long=(
                (257, 27), (300, 27), (1000, 27), (2049, 27), (4097, 18), (5000, 18), (6000, 18), (8195, 18),
                (10007, 18), (32771, 9), (65537, 9), (131075, 9), (262147, 9), (1000003, 3),
            ),
            many=(1, 2, 3, 63, 64, 65, 127, 128, 129, 255, 256, 257, 1025, 2049, 4097, 32769, 65537, 131073),
            options=2000,
            every=4096,
            farthest=2**20,
            stride=4,
        ),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Context:
    """Where a regime builds: one op (and the name it goes by), one format, one profile, its own random stream."""

    op: Op
    name: str
    regime: str
    aspect: str
    profile: Profile
    draw: Draw

    @property
    def any_shape(self) -> bool:
        """Whether the operation takes more than [N, C]."""
        return not labelled(self.op)

    @property
    def has_axis(self) -> bool:
        return has_axis(self.op)

    def batch(
        self,
        logits: FloatArray,
        *,
        layout: str = "C",
        aspect: str | None = None,
        options: Mapping[str, Any] | None = None,
        plain: bool = False,
    ) -> Batch:
        """A batch around logits (rounded to the format here); ``options`` go over those that every call needs."""
        inputs = dress(self.op, self.draw, self.draw.narrow(logits), plain=plain)
        merged = {**per_row(self.op), **self.divisors(), **(options or {})}
        return self.around(inputs, layout=layout, aspect=aspect, options=merged)

    def divisors(self) -> dict[str, Any]:
        """A value for each option that the operation is named after: powers of two mostly, both signs, never left out."""
        choice = (0.5, 2.0, 0.5, 2.0, -1.0, 0.7, 1.0)
        always = [name for name in named(self.op, "divisor") if self.op.options[name].always]
        return {name: float(self.draw.rng.choice(choice)) for name in always}

    def around(
        self,
        inputs: Mapping[str, NDArray[Any]],
        *,
        layout: str = "C",
        aspect: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Batch:
        """A batch of finished inputs and exactly these options."""
        tidy = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in inputs.items()}
        return Batch(self.name, self.draw.fmt.name, self.regime, tidy, options or {}, layout, aspect or self.aspect)


@dataclass(frozen=True, slots=True)
class Regime:
    """One named reason to try inputs.

    ``about`` says what it shows; ``fits(op)`` to which operations it belongs; ``needs_inf`` and ``needs_nan`` that the format
    must have infinities, or NaN; ``build(context)`` yields its batches, the most telling first.
    """

    name: str
    about: str
    build: Callable[[Context], Iterator[Batch]]
    aspect: str = "values"
    needs_inf: bool = False
    needs_nan: bool = False
    fits: Callable[[Op], bool] = lambda op: True  # noqa: ARG005

    def applies(self, op: Op, form: FloatFormat) -> bool:
        """Whether the regime has anything to say about an op in a format."""
        return self.fits(op) and self.held(form)

    def held(self, form: FloatFormat) -> bool:
        """Whether the format can hold the regime's values."""
        return (form.has_inf or not self.needs_inf) and (form.has_nan or not self.needs_nan)
