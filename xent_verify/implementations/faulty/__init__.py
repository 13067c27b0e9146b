"""The zoo: implementations that are right on ordinary logits and wrong in one regime.

A check that passes one of them does not look into that fault's regime: running somebody's check over the zoo measures
what it would let through. One module per category; ``ZOO`` is all of them, in that order.
"""

from xent_verify.implementations.entries import Fault
from xent_verify.implementations.faulty import (
    accumulation,
    attending,
    attention,
    epsilon,
    fast_math,
    fused,
    gates,
    labels,
    layout,
    losses,
    masks,
    merging,
    offsets,
    padding,
    penalized,
    relatives,
    results,
    shift,
    sizes,
    slopes,
    special_values,
    state,
    thresholds,
    weighting,
)

__all__ = ["ZOO"]

ZOO: tuple[Fault, ...] = (
    *shift.FAULTS,
    *offsets.FAULTS,
    *accumulation.FAULTS,
    *epsilon.FAULTS,
    *special_values.FAULTS,
    *masks.FAULTS,
    *padding.FAULTS,
    *layout.FAULTS,
    *sizes.FAULTS,
    *merging.FAULTS,
    *state.FAULTS,
    *results.FAULTS,
    *labels.FAULTS,
    *weighting.FAULTS,
    *penalized.FAULTS,
    *slopes.FAULTS,
    *fast_math.FAULTS,
    *relatives.FAULTS,
    *attention.FAULTS,
    *attending.FAULTS,
    *fused.FAULTS,
    *gates.FAULTS,
    *losses.FAULTS,
    *thresholds.FAULTS,
)
