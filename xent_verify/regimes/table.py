"""The table of regimes, in the order in which an audit walks it, and the plan of one audit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from xent_verify.core.failures import UnknownNameError
from xent_verify.core.formats import FloatFormat, format_named
from xent_verify.core.model import Batch
from xent_verify.core.outside import is_outside, outside
from xent_verify.ops import Op, in_table, op_named
from xent_verify.ops.defined import undefined
from xent_verify.regimes import losses, options, rows, shapes, specials, sweeps
from xent_verify.regimes.calls import labelled, named, takes_probabilities
from xent_verify.regimes.draw import Draw, stream
from xent_verify.regimes.regime import PROFILES, Context, Regime
from xent_verify.regimes.rows import Maker
from xent_verify.regimes.shapes import Over

__all__ = ["REGIMES", "plan", "planned", "regimes_named", "row_makers"]


def _by_row(op: Op) -> bool:
    return op.by_row


def _elementwise(op: Op) -> bool:
    return not op.by_row


def _row_loss(op: Op) -> bool:
    return op.by_row and bool(named(op, "reduction")) and labelled(op)


def _masked_losses(op: Op) -> bool:
    return _row_loss(op) and not _by_products(op)


def _masked_labels(op: Op) -> bool:
    return labelled(op) and not _by_products(op)


def _by_products(op: Op) -> bool:
    return bool(op.named("matrix"))


def _ignoring(op: Op) -> bool:
    return labelled(op) and bool(named(op, "ignored_label"))


REGIMES: dict[str, Regime] = {
    regime.name: regime
    for regime in (
        Regime("ordinary", "normal logits of moderate size", Over(rows.ordinary)),
        Regime("default_call", "no options, one row and a mean over four", losses.default_call, fits=_row_loss),
        Regime("overflow_edge", "terms and sums just below and above exp's overflow", Over(rows.overflow_edge)),
        Regime("underflow_edge", "gaps and whole rows at exp's underflow", Over(rows.underflow_edge)),
        Regime("dominated", "one class far above the others: loss near 0, tiny probabilities", Over(rows.dominated)),
        Regime("pairs", "two logits, the gap swept over all sizes", Over(rows.pairs, only=(2,))),
        Regime("common_offset", "small gaps on a huge common offset", Over(rows.common_offset)),
        Regime("positions", "the maximum first, last, in the middle; sorted rows; outliers", Over(rows.positions)),
        Regime("wide_spread", "logits of all sizes in one row", Over(rows.wide_spread)),
        Regime("mixed_scale", "neighbouring rows of very different level", Over(rows.mixed_scale)),
        Regime("very_negative", "all logits very negative, down to the lowest", Over(rows.very_negative)),
        Regime("sentinels", "finite logits at and below customary mask values", Over(rows.sentinels)),
        Regime("masks", "-inf prefixes, suffixes, blocks", Over(specials.masks, "mask_widths"), needs_inf=True),
        Regime("all_masked", "rows of -inf only", Over(specials.all_masked, also=(1,)), "special", needs_inf=True),
        Regime("plus_inf", "+inf among the logits", Over(specials.plus_inf, also=(1,)), "special", needs_inf=True),
        Regime("nan", "NaN among the logits", Over(specials.nan, also=(1,)), "special", needs_nan=True),
        Regime("largest", "the largest finite values of both signs", Over(rows.largest)),
        Regime("ties", "exact ties", Over(rows.ties)),
        Regime("near_ties", "neighbouring representable values", Over(rows.near_ties)),
        Regime("tiny", "subnormals and signed zeros", Over(rows.tiny)),
        Regime("normalised", "rounded log-probabilities: logsumexp near 0", Over(rows.normalised)),
        Regime("integers", "small whole numbers", Over(rows.integers)),
        Regime("any_bits", "any bit pattern of a finite value", Over(rows.any_bits)),
        Regime("every_value", "all values of the format, or an even sweep", sweeps.every_value, fits=_elementwise),
        Regime("masked_classes", "-inf beside the label", losses.masked_classes, needs_inf=True, fits=_masked_losses),
        Regime(
            "masked_target", "-inf at the label", losses.masked_label, "special", needs_inf=True, fits=_masked_labels
        ),
        Regime("ignored_rows", "anything in rows to ignore", losses.ignored_rows, "special", fits=_ignoring),
        Regime("probabilities", "probability targets", losses.probabilities, "options", fits=takes_probabilities),
        Regime("square", "as many rows as classes", losses.square, "options", fits=labelled),
        Regime(
            "options",
            "each value of each option and second input alone",
            options.alone,
            "options",
            fits=options.has_options,
        ),
        Regime("crossed", "any options together, telling rows", options.crossed, "sweep", fits=options.has_options),
        Regime(
            "index_types", "integer types of labels, large class ids", options.label_types, "options", fits=labelled
        ),
        Regime("axes", "no dimension to six, every axis", shapes.axes, "shape"),
        Regime("ranks", "telling rows in one to six dimensions, along every axis", shapes.ranks, "shape"),
        Regime("layouts", "transposed, sliced, strided, reversed, repeated, read-only views", shapes.layouts, "layout"),
        Regime("state", "calls that differ from the one before in one thing", shapes.state, "state"),
        Regime("empty", "no rows, or no logits", shapes.empty, "shape"),
        Regime("named_sizes", "the row lengths that the caller named, one more, one less", shapes.named_sizes, "size"),
        Regime("sizes", "widths at, below and above powers of two, and uneven ones", shapes.sizes, "size"),
        Regime("reductions", "means and sums over many rows", losses.reductions, "size", fits=_row_loss),
        Regime("sum_leaves_format", "losses whose sum overflows", losses.sum_leaves_format, "options", fits=_row_loss),
        Regime("long_rows", "long rows: stalling sums, chunks, tails, shards", shapes.long_rows, "size"),
        Regime("many_vectors", "few numbers against many vectors", shapes.many_vectors, "size", fits=_by_products),
        Regime("many_rows", "many short rows: grid limits, row counters", shapes.many_rows, "size"),
        Regime("batch_sizes", "every small number of rows, uneven large ones", sweeps.batch_sizes, "sweep"),
        Regime("every_size", "three rows of every length", sweeps.every_size, "sweep", fits=_by_row),
        Regime("spikes", "a peak in every column", sweeps.spikes, "sweep", fits=_by_row),
        Regime("stretches", "all mass in one stretch of a long row", sweeps.stretches, "sweep", fits=_by_row),
        Regime("far_sizes", "vocabularies, multiples, random lengths", sweeps.far_sizes, "sweep", fits=_by_row),
        Regime("profile_exp", "exp on a stride of its arguments", sweeps.profile_exp, "sweep", fits=_by_row),
        Regime("profile_log", "the logarithm by way of the sums", sweeps.profile_log, "sweep", fits=_by_row),
        Regime("profile_x", "elements on a stride of the floats", sweeps.profile_x, "sweep", fits=_elementwise),
    )
}


def row_makers(fmt: FloatFormat, *, special: bool = False) -> dict[str, Maker]:
    """The regimes that are a matter of row values alone, by name; ``special`` adds all-masked, +inf and NaN rows."""
    chosen = (r for r in REGIMES.values() if isinstance(r.build, Over) and r.held(fmt))
    return {r.name: r.build.maker for r in chosen if isinstance(r.build, Over) and (special or r.aspect == "values")}


def regimes_named(names: Sequence[str | Regime]) -> list[Regime]:
    """Those of the table, in its order, then the ``Regime`` at each ``module:attribute``, then those that are given."""
    given = [one for one in names if isinstance(one, Regime)]
    said = [one for one in names if not isinstance(one, Regime)]
    foreign = [name for name in said if is_outside(name)]
    for name in said:
        if name not in REGIMES and name not in foreign:
            raise UnknownNameError("regime", name, [*REGIMES, "module:attribute"])
    own = [regime for regime in REGIMES.values() if regime.name in said]
    return own + [outside(name, Regime, "regime") for name in foreign] + given


def plan(
    op: str | Op,
    fmt: FloatFormat | str,
    *,
    name: str = "",
    profile: str = "standard",
    seed: int = 0,
    sizes: tuple[int, ...] = (),
    regimes: Sequence[str | Regime] = (),
) -> Iterator[Batch]:
    """The batches of one audit, the cheapest and most telling first.

    ``name``: what an operation from outside the table goes by (``module:attribute``). ``sizes``: row lengths to try
    besides. ``regimes``: only these (names, a ``Regime`` or one at ``module:attribute``); none named: all of the table.

    Deterministic: each regime draws from its own stream, keyed by (seed, op, format, regime), so that one regime's
    batches do not depend on which others ran. ``UnknownNameError`` for an unknown op, format or profile, ``UsageError`` for a
    format of scales, which holds no logits.
    """
    form, known = format_named(fmt), op_named(op)
    if form.scale:
        known.check_format(form)
    if profile not in PROFILES:
        raise UnknownNameError("profile", profile, PROFILES)
    amount = replace(PROFILES[profile], named=sizes)
    goes_by = name or (op if isinstance(op, str) else known.name)
    answerable = partial(_answerable, known, most=math.inf if in_table(known) else _LARGEST[known.formula is None])
    for regime in planned(known, form, regimes):
        draw = Draw(form, stream(seed, known.name, form.name, regime.name))
        batches = regime.build(Context(known, goes_by, regime.name, regime.aspect, amount, draw))
        yield from batches if in_table(known) and known.formula else filter(answerable, batches)


def planned(op: Op, form: FloatFormat, regimes: Sequence[str | Regime] = ()) -> list[Regime]:
    """The regimes of a plan that apply to an operation and a format, in the plan's order."""
    return [one for one in regimes_named(regimes) or REGIMES.values() if one.applies(op, form)]


_LARGEST = {True: 20_000, False: 400}
"""Logits of a call of an operation from outside the table, whose first algorithm is its formula, or whose formula is for
exact numbers alone, which is slow."""


_PRODUCTS = 300_000
"""Products of a call at most: each is one of numbers of any length in the truth."""


def _answerable(op: Op, batch: Batch, *, most: float) -> bool:
    """Whether the truth of a call can be had without a tier of its own: no values of empty rows, not too many logits."""
    why = undefined(op, batch)
    if why or (op.named("matrix") and batch.x.size * op.scores_shape(batch)[-1] > _PRODUCTS):
        return False
    nothing = not math.prod(op.result_shape(batch)) and in_table(op)
    return nothing or 0 < batch.x.size <= most
