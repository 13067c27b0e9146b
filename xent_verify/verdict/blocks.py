"""Block formats as encodings of results: how far a value may be moved when its block shares one scale.

A block of successive results along the last axis is stored as elements of a narrow format times one scale. What the target
returns is what the stored numbers mean. MX formats (OCP Microscaling Formats 1.0): blocks of 32, the scale a power of two, of
the binade of the block's largest value or the next. NVFP4: blocks of 16, the scale a float8_e4m3fn times one number for the
whole result that makes the largest scale 448. ``int8``: each result is a whole number times 1/256 up to 255/256, as quantised
softmaxes hand them out (output scale 1/256, zero point -128).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from xent_verify.core.formats import FORMATS, FloatArray, FloatFormat
from xent_verify.core.shapes import full

__all__ = ["BLOCKS", "Blocks", "Steps"]


@dataclass(frozen=True, slots=True)
class Blocks:
    """One block format: how many results share a scale, the format of their elements, whether scales are powers of two."""

    size: int
    element: FloatFormat
    powers: bool = True

    def room(self, values: FloatArray, error: FloatArray) -> FloatArray:
        """The largest distance between a number within ``error`` of each value and its encoding, in the shape of both [.., n].

        Half a quantum of the element format at the largest scale that a sound encoder may choose; what lies beyond the largest
        element at the smallest one. NaN where a block holds a value that is not finite.

        >>> BLOCKS["mxfp4"].room(np.array([1.0, 0.1]), np.zeros(2))
        array([0.25 , 0.125])
        """
        size, n = np.abs(np.atleast_1d(values)), np.atleast_1d(values).shape[-1]
        count = -(-n // self.size)
        padding = [(0, 0)] * (size.ndim - 1) + [(0, count * self.size - n)]
        blocks, off = (
            np.pad(part, padding).reshape(*size.shape[:-1], count, self.size)
            for part in (size, full(error, size.shape))
        )
        most = (blocks + off).max(axis=-1)
        low, high = (part[..., None] for part in self._scales(np.maximum(blocks - off, 0).max(axis=-1), most))
        reach = blocks + off + 0 * most[..., None]
        with np.errstate(all="ignore"):  # other scales than powers of two may move a value into the next binade
            place = np.minimum(reach / (high if self.powers else low), self.element.max_finite)
        found = np.maximum(self.element.ulp(place) * high / 2, reach - self.element.max_finite * low)
        return np.asarray(found.reshape(*size.shape[:-1], -1)[..., :n].reshape(np.shape(values)))

    def _scales(self, least: FloatArray, most: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The smallest and the largest scale of blocks whose largest values lie between ``least`` and ``most``."""
        if self.powers:
            form = FORMATS["float8_e8m0fnu"]
            exponents = (np.frexp(part)[1] - 1 - self.element.e_max for part in (least, most))
            low, high = (np.clip(part, form.e_min, form.e_max) for part in exponents)
            return np.ldexp(1.0, low), np.ldexp(1.0, np.minimum(high + 1, form.e_max))
        form, top = FORMATS["float8_e4m3fn"], self.element.max_finite
        whole = most.max(initial=0.0) / (top * form.max_finite)
        near, spare = form.unit_roundoff, whole * form.smallest_subnormal / 2
        smallest = whole * form.smallest_subnormal  # a scale of 0 would lose the block
        return np.maximum(least / top * (1 - near) - spare, 0.0), np.maximum(most / top * (1 + near) + spare, smallest)


@dataclass(frozen=True, slots=True)
class Steps:
    """Whole numbers of steps, from 0 up to a last one."""

    step: float
    last: int

    def room(self, values: FloatArray, error: FloatArray) -> FloatArray:
        """Half a step, or how far a value within ``error`` lies beyond the last one."""
        return np.asarray(np.maximum(self.step / 2, np.abs(values) + error - self.step * self.last))


BLOCKS: Mapping[str, Blocks | Steps] = {
    "mxfp8_e4m3": Blocks(32, FORMATS["float8_e4m3fn"]),
    "mxfp8_e5m2": Blocks(32, FORMATS["float8_e5m2"]),
    "mxfp6_e2m3": Blocks(32, FORMATS["float6_e2m3fn"]),
    "mxfp6_e3m2": Blocks(32, FORMATS["float6_e3m2fn"]),
    "mxfp4": Blocks(32, FORMATS["float4_e2m1fn"]),
    "nvfp4": Blocks(16, FORMATS["float4_e2m1fn"], powers=False),
    "int8": Steps(2.0**-8, 255),
}
"""The encodings that ``--policy block:NAME`` knows."""
