"""How one target wants to be called, as a value: found by ``signature`` and ``probe``, followed by ``runner``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from xent_verify.core.foldings import FOLDINGS, Folding
from xent_verify.core.model import Batch
from xent_verify.ops import OPS, Op, op_named

__all__ = ["AXIS_NAMES", "Style", "options_of", "page_of"]

AXIS_NAMES = ("axis", "dim", "axes", "dimension")


def page_of(op: str) -> Op | None:
    """The page of an operation of the table or of a gradient; None for another one."""
    return op_named(op) if op.startswith("vjp(") else OPS.get(op)


def options_of(op: str, kind: str = "") -> tuple[str, ...]:
    """Names of the options of an operation of the table (all but the axis, or those of a kind); none for another one."""
    page = page_of(op)
    kept = {} if page is None else page.options
    return tuple(name for name, option in kept.items() if (option.kind == kind if kind else option.kind != "axis"))


@dataclass(frozen=True, slots=True)
class Style:
    """One way of calling.

    ``axis``: name of the axis parameter ("" for none), ``axis_always``: its default is not -1, so it is always given,
    ``axis_position``: where a positional-only one stands (-1: by name). ``keywords``: names it accepts (None: cannot
    be told). ``names``: names of the inputs when they go by name. ``constants``: arguments of every call. ``unit``:
    what one call takes: "" a whole batch, "vector" a row without its batch axis, "single" a batch of one, "scalar" one
    number. ``reduction``: "" when it can be asked for, else the only one there is. ``targets``: "any", "index" or
    "probability". ``formats``: formats it takes (None: cannot be told). ``loss``: None, or for a gradient that is had
    by differentiating a loss, the names of that loss's inputs (as ``names``). ``dims``: the shape it is built for (-1: any
    length; None: any shape). ``foldings``: shapes in which it takes rows ("": [R, n]; else ``FOLDINGS``), the first is used
    and the others are tried besides. ``fixed``: options set inside the target, never given to it. ``met``: what small calls met
    that were refused, in words. ``where``: the device that its arrays lie on, its driver and library, in words; "" on the CPU.
    """

    op: str
    axis: str = ""
    axis_always: bool = False
    axis_position: int = -1
    keywords: frozenset[str] | None = None
    names: tuple[str, ...] = ()
    constants: Mapping[str, Any] = field(default_factory=dict)
    unit: str = ""
    reduction: str = ""
    targets: str = "any"
    formats: frozenset[str] | None = None
    loss: tuple[str, ...] | None = None
    dims: tuple[int, ...] | None = None
    foldings: tuple[str, ...] = ("",)
    fixed: tuple[str, ...] = ()
    met: tuple[str, ...] = ()
    where: str = ""

    def to_plain(self) -> dict[str, Any]:
        """As JSON takes it."""
        sets = {name: None if value is None else sorted(value) for name, value in self._sets().items()}
        return {**asdict(self), **sets, "constants": dict(self.constants)}

    def _sets(self) -> dict[str, frozenset[str] | None]:
        return {"keywords": self.keywords, "formats": self.formats}

    @staticmethod
    def from_plain(plain: Mapping[str, Any]) -> Style:
        """Back from JSON."""
        sets = {name: None if plain[name] is None else frozenset(plain[name]) for name in ("keywords", "formats")}
        loss = None if plain["loss"] is None else tuple(plain["loss"])
        dims = None if plain["dims"] is None else tuple(plain["dims"])
        lists = {name: tuple(plain[name]) for name in ("names", "foldings", "fixed", "met")}
        return Style(**{**plain, **sets, **lists, "loss": loss, "dims": dims})

    @property
    def direct(self) -> bool:
        """True when a call is ``f(*inputs, **options)`` with the operation's own names and nothing else."""
        ordinary = replace(
            Style(self.op, self.axis, keywords=self.keywords, targets=self.targets, formats=self.formats),
            foldings=self.foldings,
        )
        return self == ordinary and self.axis in ("", "axis") and self.folding is None

    @property
    def folding(self) -> Folding | None:
        """How rows [R, n] are folded for it; None: not at all."""
        return FOLDINGS.get(self.foldings[0])

    @property
    def offered(self) -> dict[str, bool]:
        """Part of the signature -> offered; of rare options those alone that are."""
        found = {}
        if options_of(self.op, "axis"):
            found["axis"] = bool(self.axis)
            found["nd"] = not self.unit
        found["batched"] = self.unit in ("", "single")
        if self.folding:
            found["2-D"] = False
        found |= {name: True for name in self.foldings if name}
        page = page_of(self.op)
        for name in options_of(self.op):
            usual = page is None or not page.options[name].rare
            if name not in self.fixed and (usual or self.accepts(name)):
                found[name] = self.accepts(name)
        if self._probabilities_too:
            found["index_targets"] = self.targets != "probability"
            found["probability_targets"] = self.targets != "index"
        return found

    @property
    def _labelled(self) -> bool:
        """Whether the operation has class labels, so that its logits are rows [R, n]."""
        return self.op in OPS and bool(OPS[self.op].labels) and not OPS[self.op].shared

    @property
    def _probabilities_too(self) -> bool:
        """Whether the operation takes labels or a probability for each class."""
        page = page_of(self.op)
        return page is not None and "target" in page.inputs.values()

    def accepts(self, name: str) -> bool:
        """True when an option of that name can be given, or is set inside the target."""
        if name in self.fixed:
            return True
        return not (name == "reduction" and self.reduction) and (self.keywords is None or name in self.keywords)

    def supports(self, batch: Batch) -> bool:
        """False for calls that need what the target certainly lacks."""
        return (
            (self.formats is None or batch.fmt in self.formats)
            and self._takes_shape(batch)
            and self._takes_target(batch)
            and self._takes_reduction(batch)
            and all(self.accepts(name) for name in batch.options if name not in ("axis", "reduction"))
        )

    def _takes_shape(self, batch: Batch) -> bool:
        x = batch.x
        if self.dims is not None and not self._fits(x.shape):
            return False
        axis = None if "axis" in self.fixed else batch.options.get("axis")
        inner = axis is not None and int(axis) not in (-1, x.ndim - 1)
        if inner and (not self.axis or self.unit or self.folding):
            return False
        if x.ndim > 2 and (self.folding or self._labelled):
            labels = batch.inputs.get(OPS[self.op].labels)
            return not self.unit_of(batch) and any(FOLDINGS[name].fits(x, labels) for name in self.foldings if name)
        if self.folding and ((batch.threads > 1 and not self.folding.before) or not x.ndim):
            return False
        count = x.size if self.unit == "scalar" else x.size // x.shape[-1] if x.ndim and x.shape[-1] else 0
        return not self.unit or (x.ndim > 0 and count > 0)

    def _fits(self, shape: tuple[int, ...]) -> bool:
        assert self.dims is not None
        free = (-1, *self.dims[1:]) if self.unit == "single" else self.dims
        return len(free) == len(shape) and all(n in (-1, m) for n, m in zip(free, shape, strict=True))

    def _takes_target(self, batch: Batch) -> bool:
        target = batch.inputs.get("target")
        page = page_of(self.op)
        if target is None or page is None or not page.labels:
            return True
        index = target.dtype.kind in "iu"
        if (
            index
            and not self.accepts("ignore_index")
            and target.size
            and batch.x.ndim == 2
            and not 0 <= target.min() <= target.max() < page.scores_shape(batch)[-1]
        ):
            return False
        return self.targets == "any" or index == (self.targets == "index")

    def _takes_reduction(self, batch: Batch) -> bool:
        """A target that only averages is asked for single losses one by one (unless weights would cancel)."""
        if not options_of(self.op, "reduction") or self.accepts("reduction"):
            return True
        asked = batch.options.get("reduction", "mean")
        if self.unit == "vector" or self.reduction == "none":
            return bool(asked == "none")
        if asked == "none":
            return batch.options.get("weight") is None and 0 < len(batch.x) <= 512 and self.op == "cross_entropy"
        return bool(asked == "mean")

    def ndim_of(self, batch: Batch) -> int:
        """How many dimensions the first input has when the target sees it."""
        fold = self.folding
        return batch.x.ndim if fold is None or batch.x.ndim > 2 else fold.before + fold.after + 1

    def unit_of(self, batch: Batch) -> str:
        """What one call of the target takes for this batch."""
        averages = (
            self.op == "cross_entropy" and not self.unit and not self.accepts("reduction") and self.reduction != "none"
        )
        if averages and batch.options.get("reduction", "mean") == "none":
            return "single"
        return "" if self.unit == "vector" and batch.x.ndim == 1 else self.unit

    def keywords_of(self, batch: Batch) -> dict[str, Any]:
        """Keyword arguments of the call."""
        given = {
            name: value
            for name, value in batch.options.items()
            if name != "axis" and name not in self.fixed and not (name == "reduction" and not self.accepts("reduction"))
        }
        if "axis" in self.fixed:
            return {**self.constants, **given}
        if self.axis and self.axis_position < 0 and ("axis" in batch.options or self.axis_always):
            given[self.axis] = int(batch.options.get("axis", -1))
        return {**self.constants, **given}

    def positionals_of(self, batch: Batch) -> tuple[int, ...]:
        """Positional arguments after the inputs."""
        given = self.axis and self.axis_position >= 0 and "axis" not in self.fixed
        return (int(batch.options.get("axis", -1)),) if given else ()
