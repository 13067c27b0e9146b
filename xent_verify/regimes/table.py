"""The table of regimes, in the order in which an audit walks it, and the plan of one audit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from xent_verify.failures import UnknownNameError
from xent_verify.formats import FloatFormat, format_named
from xent_verify.model import Batch
from xent_verify.outside import is_outside, outside
from xent_verify.regimes import crossed, losses, rows, shapes, siblings, specials
from xent_verify.regimes.calls import CALLS
from xent_verify.regimes.draw import Draw, stream
from xent_verify.regimes.regime import PROFILES, Context, Regime
from xent_verify.regimes.rows import Maker
from xent_verify.regimes.shapes import Over

__all__ = ["REGIMES", "plan", "regimes_named", "row_makers"]

_ENTROPY = ("cross_entropy",)
_INDEXED = ("cross_entropy", "cross_entropy_grad")
_BINARY = ("binary_cross_entropy_with_logits",)
_TEMPERED = ("softmax_temperature",)
_ELEMENTWISE = tuple(op for op, call in CALLS.items() if not call.by_row)

REGIMES: dict[str, Regime] = {
    regime.name: regime
    for regime in (
        Regime("ordinary", "normal logits of moderate size", Over(rows.ordinary)),
        Regime("default_call", "no options, one row and a mean over four", losses.default_call, ops=_ENTROPY),
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
        Regime("nan", "NaN among the logits", Over(specials.nan, also=(1,)), "special"),
        Regime("largest", "the largest finite values of both signs", Over(rows.largest)),
        Regime("ties", "exact ties", Over(rows.ties)),
        Regime("near_ties", "neighbouring representable values", Over(rows.near_ties)),
        Regime("tiny", "subnormals and signed zeros", Over(rows.tiny)),
        Regime("normalised", "rounded log-probabilities: logsumexp near 0", Over(rows.normalised)),
        Regime("integers", "small whole numbers", Over(rows.integers)),
        Regime("any_bits", "any bit pattern of a finite value", Over(rows.any_bits)),
        Regime("every_value", "all values of the format, or a sweep", siblings.every_value, ops=_ELEMENTWISE),
        Regime("temperature", "temperatures of all sizes", siblings.temperatures, "options", ops=_TEMPERED),
        Regime("element_options", "elementwise weights, reductions", siblings.element_options, "options", ops=_BINARY),
        Regime("masked_classes", "-inf beside the target", losses.masked_classes, needs_inf=True, ops=_ENTROPY),
        Regime("masked_target", "-inf at the target", losses.masked_target, "special", needs_inf=True, ops=_INDEXED),
        Regime("ignored_rows", "anything in rows to ignore", losses.ignored_rows, "special", ops=_ENTROPY),
        Regime("probabilities", "probability targets", losses.probabilities, "options", ops=_INDEXED),
        Regime("square", "as many rows as classes", losses.square, "options", ops=_INDEXED),
        Regime("options", "options alone, in pairs, in triples", losses.option_table, "options", ops=_ENTROPY),
        Regime("crossed", "options over telling rows", crossed.options_over_values, "options", ops=_ENTROPY),
        Regime("index_types", "integer types of targets, large class ids", losses.index_types, "options", ops=_INDEXED),
        Regime("wide_options", "smoothing and weights over wide rows", losses.wide_options, "options", ops=_ENTROPY),
        Regime("axes", "one to four dimensions, every axis", shapes.axes, "shape"),
        Regime("ranks", "telling rows in one to four dimensions, along every axis", shapes.ranks, "shape"),
        Regime("layouts", "transposed, sliced, strided, reversed, repeated, read-only views", shapes.layouts, "layout"),
        Regime("state", "calls that differ from the one before in one thing", shapes.state, "state"),
        Regime("empty", "no rows, or no logits", shapes.empty, "shape"),
        Regime("named_sizes", "the row lengths that the caller named, one more, one less", shapes.named_sizes, "size"),
        Regime("sizes", "widths at, below and above powers of two, and uneven ones", shapes.sizes, "size"),
        Regime("reductions", "means and sums over many rows", losses.reductions, "size", ops=_ENTROPY),
        Regime("sum_leaves_format", "losses whose sum overflows", losses.sum_leaves_format, "options", ops=_ENTROPY),
        Regime("long_rows", "long rows: stalling sums, chunks, tails, shards", shapes.long_rows, "size"),
        Regime("many_rows", "many short rows: grid limits, row counters", shapes.many_rows, "size"),
    )
}


def row_makers(fmt: FloatFormat, *, special: bool = False) -> dict[str, Maker]:
    """The regimes that are a matter of row values alone, by name; ``special`` adds all-masked, +inf and NaN rows."""
    chosen = (r for r in REGIMES.values() if isinstance(r.build, Over) and r.applies("softmax", has_inf=fmt.has_inf))
    return {r.name: r.build.maker for r in chosen if isinstance(r.build, Over) and (special or r.aspect == "values")}


def regimes_named(names: Sequence[str]) -> list[Regime]:
    """Those of the table, in its order, and then the ``Regime`` at each ``module:attribute``; ``UsageError`` otherwise."""
    foreign = [name for name in names if is_outside(name)]
    for name in names:
        if name not in REGIMES and name not in foreign:
            raise UnknownNameError("regime", name, [*REGIMES, "module:attribute"])
    own = [regime for regime in REGIMES.values() if regime.name in names]
    return own + [outside(name, Regime, "regime") for name in foreign]


def plan(
    op: str,
    fmt: FloatFormat | str,
    *,
    profile: str = "standard",
    seed: int = 0,
    sizes: tuple[int, ...] = (),
    regimes: Sequence[str] = (),
) -> Iterator[Batch]:
    """The batches of one audit, the cheapest and most telling first. ``sizes``: row lengths to try besides.

    ``regimes``: only these (names, or a ``Regime`` at ``module:attribute``); none named: all of the table.

    Deterministic: each regime draws from its own stream, keyed by (seed, op, format, regime), so that one regime's
    batches do not depend on which others ran. ``UnknownNameError`` for an unknown op, format or profile.
    """
    form = format_named(fmt)
    for what, name, table in (("op", op, CALLS), ("profile", profile, PROFILES)):
        if name not in table:
            raise UnknownNameError(what, name, table)
    amount = replace(PROFILES[profile], named=sizes)
    for regime in regimes_named(regimes) or REGIMES.values():
        if regime.applies(op, has_inf=form.has_inf):
            draw = Draw(form, stream(seed, op, form.name, regime.name))
            yield from regime.build(Context(op, regime.name, regime.aspect, amount, draw))
