"""What a signature can't tell about how to call a target, found by small calls on ordinary numbers.

A refusal (any exception) is an answer here. Nothing is judged: a target that answers wrongly in the right shape is
taken at its word, and the audit finds the fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.candidates import state
from xent_verify.candidates.adapters import Adapter, adapter_named, home_of, interpreted, likely, uses, where_of
from xent_verify.candidates.answers import NotAnArray, raised, to_array
from xent_verify.candidates.calling import Calling, missing_arguments, suggested
from xent_verify.candidates.signature import style_of
from xent_verify.candidates.style import AXIS_NAMES, Style, options_of
from xent_verify.core.failures import UsageError
from xent_verify.core.foldings import DEEPER, FOLDINGS
from xent_verify.core.model import Batch
from xent_verify.ops import OPS, op_named
from xent_verify.ops.tape import UPSTREAM

__all__ = ["Plan", "plan", "without_refused_axis"]

Plan = tuple[Callable[..., Any], str, Style]
"""(what to call, the name of its array library, how)."""

_LOGITS = np.array([[0.0, 1.0, 2.0], [3.0, 1.0, -1.0]])
_CLASSES = np.array([2, 0])
_SHARES = np.array([[0.0, 0.0, 1.0], [0.75, 0.25, 0.0]])
_EXP = np.exp(_LOGITS - 3.0)
_AS_ONE_ROW = {
    "softmax": _EXP / _EXP.sum(),
    "log_softmax": np.log(_EXP / _EXP.sum()),
    "logsumexp": 3.0 + np.log(_EXP.sum()),
}

Answer = NDArray[Any] | None


class _Asker:
    """Small calls of one callable: an answer, or None for a refusal."""

    def __init__(self, function: Callable[..., Any], adapter: Adapter, extra: Mapping[str, Any]) -> None:
        self.function = function
        self.adapter = adapter
        self.extra = extra
        self.said: Any = None  # the last raw answer
        self.refusals: list[BaseException] = []

    def ask(self, style: Style, *inputs: NDArray[Any], axis: int = -1, **options: Any) -> Answer:
        """One call in that style; floating inputs as float32, or as float64 where that is refused."""
        for kind in (np.float32, np.float64):
            given = [value.astype(kind) if value.dtype.kind == "f" else value.copy() for value in inputs]
            try:
                return self._answer(style, given, axis, options)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001  any refusal
                self.refusals.append(error)
        return None

    def _answer(self, style: Style, given: list[NDArray[Any]], axis: int, options: dict[str, Any]) -> NDArray[Any]:
        batch = Batch(
            style.op,
            given[0].dtype.name,
            "",
            {str(i): value for i, value in enumerate(given)},
            {"axis": axis} | options,
        )
        fold = style.folding
        shape = given[0].shape
        given = given if fold is None else fold.folded(given)
        held = [value[()] if not value.ndim else self.adapter.to_target(value) for value in given]
        keywords = {**style.keywords_of(batch), **self.extra}
        positional = () if style.names else (*held, *style.positionals_of(batch))
        named = dict(zip(style.names, held, strict=True)) if style.names else {}
        with state.kept():
            self.said = self.function(*positional, **named, **keywords)
        answer = to_array(self.said, self.adapter)[0].astype(np.float64)
        return answer if fold is None else fold.unfolded(answer, shape)


def plan(
    function: Callable[..., Any],
    op: str,
    arrays: str,
    device: str,
    extra: Mapping[str, Any],
    *,
    ask: bool = True,
    known: Style | None = None,
    calling: Calling = Calling(),  # noqa: B008  a frozen value
) -> Plan:
    """How to call a target: as ``known`` says, as small calls tell (``ask``), or as its signature alone tells.

    ``UsageError`` where it needs an argument that no call of the operation gives.
    """
    names = likely(function, calling.expression, device) if arrays == "auto" else [arrays]
    fixed = tuple(calling.options)
    if known is not None or not ask:
        adapter, prepared = _prepared(function, names[0], device, calling)
        style = replace(style_of(prepared, op), fixed=fixed, where=where_of(adapter)) if known is None else known
        return _differentiated(prepared, adapter, style), names[0], style
    met: list[str] = []
    refusals: list[BaseException] = []
    for name in names:
        adapter, prepared = _prepared(function, name, device, calling)
        asker = _Asker(prepared, adapter, extra)
        style, answered = _found(asker, replace(style_of(prepared, op), fixed=fixed))
        forward = None if answered else _forward(asker, style)
        if forward is not None:
            style, answered = forward, True
        if not answered:
            refusals += asker.refusals
            if calling.expression is not None and not missing_arguments(asker.refusals, function):
                calling.expression.blamed(asker.refusals)
            met += [f"small calls with {name} arrays: {_words(asker)}"]
            continue
        other = home_of(asker.said)
        if arrays == "auto" and other and other != name:  # fed NumPy, it answers in its own library's arrays
            return plan(function, op, other, device, extra, calling=calling)
        style = style if forward is not None else _through_a_loss(asker, style)
        style = replace(style, met=interpreted(), where=where_of(adapter))
        return _differentiated(prepared, adapter, style), name, style
    if calling.expression is not None and op.startswith("vjp(") and UPSTREAM not in calling.expression.inputs:
        raise UsageError(
            f"--call {calling.expression.text!r}: does not use {UPSTREAM}, and no library was found to differentiate f"
        )
    lacking = missing_arguments(refusals, function)
    if lacking:
        page = OPS.get(op)
        write = suggested(function, list(page.inputs) if page else ["x"], list(page.options) if page else [])
        raise UsageError(f"{lacking}; say how it is called, such as --call '{write}'")
    # No small call was answered: the library that the target's own module uses, or one that is loaded, is meant.
    best = next((name for name in uses(function) if name in names), names[-1])
    prepared, name, style = plan(function, op, best, device, extra, ask=False, calling=calling)
    return prepared, name, replace(style, met=(*met, *interpreted()))


def _prepared(
    function: Callable[..., Any], name: str, device: str, calling: Calling
) -> tuple[Adapter, Callable[..., Any]]:
    """(the library, the target as a plain function of the operation's arguments)."""
    adapter = adapter_named(name, device)
    prepared = adapter.prepare(function)
    return adapter, prepared if calling.expression is None else calling.expression.around(prepared)


def _words(asker: _Asker) -> str:
    """The first refusal, in words; or what came back that is no array."""
    if not asker.refusals:
        return "no answer of a known shape"
    error = asker.refusals[0]
    if isinstance(error, NotAnArray):
        return f"answered {error.outcome.what}"
    what = raised(error)
    return f"{what.type_name}: {what.message}"[:200]


_SMALL: Mapping[str, NDArray[Any]] = {
    "row": _LOGITS[:, ::-1],
    "probabilities": _SHARES,
    "matrix": np.eye(3),
    "values": np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 2.0]]),
    "row_number": np.array([0.0, 1.0]),
}
"""A second input of a small call, by its kind."""


def _inputs(op: str) -> tuple[NDArray[Any], ...]:
    """The arrays of a small call."""
    page = op_named(op)
    given: dict[str, NDArray[Any]] = {page.first: _LOGITS}
    for name, kind in list(page.inputs.items())[1:]:
        if kind == "upstream":
            assert page.differentiates is not None
            given[name] = np.ones(page.differentiates.result_shape(Batch(op, "float64", "", dict(given))))
        else:
            given[name] = _CLASSES if kind in ("target", "label") else _SMALL[kind]
    return tuple(given.values())


def _labelled(op: str, pick: Any, target: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """The arrays of a small call with labels, some of its rows."""
    page = OPS[op]
    return tuple(
        _LOGITS[pick] if name == page.first else target[pick] if name == page.labels else _SMALL[kind]
        for name, kind in page.inputs.items()
    )


def without_refused_axis(function: Callable[..., Any], style: Style, extra: Mapping[str, Any]) -> Style:
    """The style of a target from outside Python, its axis left out where it answers for the last one alone."""
    if not style.axis:
        return style
    asker = _Asker(function, adapter_named("numpy"), extra)
    inputs = _inputs(style.op)
    refused = asker.ask(style, *inputs, axis=0) is None and asker.ask(style, *inputs) is not None
    return replace(style, axis="") if refused else style


def _answered(asker: _Asker, style: Style) -> bool:
    """Whether a call of an operation from outside the table is answered; of a gradient, in its shape."""
    page, inputs = op_named(style.op), _inputs(style.op)
    answer = asker.ask(style, *inputs)
    if answer is None or page.differentiates is None:
        return answer is not None
    call = Batch(style.op, "float64", "", dict(zip(page.inputs, inputs, strict=True)))
    return page.by in page.options or answer.shape == page.result_shape(call)


def _found(asker: _Asker, style: Style) -> tuple[Style, bool]:
    """(the style, True when a call in it was answered)."""
    page = OPS.get(style.op)
    if page is None:
        return style, _answered(asker, style)
    if not page.by_row:
        return _elements(asker, style)
    ask = _losses if page.labels else _rows
    found, answered = ask(asker, style)
    if answered or page.shared:
        return (_folded_too(asker, found) if answered and page.labels and not page.shared else found), answered
    for name in FOLDINGS:
        folded, answered = ask(asker, replace(style, foldings=(name,)))
        if answered:
            return folded, True
    return found, False


def _folded_too(asker: _Asker, style: Style) -> Style:
    """The style with the shapes beyond [R, n] in which rows have the same answers; other answers mean: not offered."""
    inputs = _labelled(style.op, slice(None), _SHARES if style.targets == "probability" else _CLASSES)
    plain = None if style.unit else asker.ask(style, *inputs)
    if plain is None:
        return style
    answers = {name: asker.ask(replace(style, foldings=(name,)), *inputs) for name in DEEPER}
    same = [
        name
        for name, one in answers.items()
        if one is not None and one.shape == plain.shape and np.allclose(one, plain, rtol=1e-2, equal_nan=True)
    ]
    return replace(style, foldings=("", *same))


def _rows(asker: _Asker, style: Style) -> tuple[Style, bool]:
    inputs = _inputs(style.op)
    style = _with_axis(asker, style, inputs)
    whole = asker.ask(style, *inputs)
    if style.axis and whole is not None:
        return style, True
    by_row = replace(style, unit="vector")
    if OPS[style.op].shared or style.folding:
        return style, whole is not None and whole.ndim == (2 if OPS[style.op].result == "elements" else 1)
    single = asker.ask(style, *(value[1] for value in inputs))
    joint = _AS_ONE_ROW.get(style.op)
    one_row = (
        whole is not None and joint is not None and whole.shape == joint.shape and np.allclose(whole, joint, rtol=1e-2)
    )
    if single is not None and single.ndim <= 1 and (whole is None or one_row):
        return by_row, True
    return style, whole is not None


def _with_axis(asker: _Asker, style: Style, inputs: tuple[NDArray[Any], ...]) -> Style:
    """The axis parameter of a signature that hides it: the first name that makes a difference."""
    if style.axis or style.keywords is not None:
        return style
    for name in AXIS_NAMES:
        named = replace(style, axis=name, axis_always=True)
        last, first = asker.ask(named, *inputs, axis=-1), asker.ask(named, *inputs, axis=0)
        if (
            last is not None
            and first is not None
            and (last.shape != first.shape or not np.allclose(last, first, rtol=1e-2))
        ):
            return named
    return style


def _elements(asker: _Asker, style: Style) -> tuple[Style, bool]:
    inputs = _inputs(style.op)
    whole = asker.ask(style, *inputs)
    if whole is not None:
        return replace(style, reduction=_only_reduction(style, whole, _LOGITS.shape)), True
    if asker.ask(style, *(value[0, 1] for value in inputs)) is not None:
        return replace(style, unit="scalar", reduction="none" if options_of(style.op, "reduction") else ""), True
    return style, False


def _only_reduction(style: Style, answer: NDArray[Any], unreduced: tuple[int, ...]) -> str:
    if not options_of(style.op, "reduction") or (style.accepts("reduction") and style.keywords is not None):
        return ""
    if answer.shape == unreduced:
        return "none"
    return "mean" if style.keywords is not None else ""


def _losses(asker: _Asker, style: Style) -> tuple[Style, bool]:
    """Class indices or probabilities, a batch or one row at a time, reduced or not."""
    for unit, pick in (("", slice(None)), ("vector", 1))[: 1 if OPS[style.op].shared or style.folding else None]:
        index = asker.ask(style, *_labelled(style.op, pick, _CLASSES))
        shares = asker.ask(style, *_labelled(style.op, pick, _SHARES))
        if index is None and shares is None:
            continue
        answer = index if index is not None else shares
        assert answer is not None
        if style.folding and answer.ndim > 2:
            continue
        if shares is None or (
            index is not None and (shares.shape != index.shape or _as_labels(asker, style, shares, pick))
        ):
            targets = "index"
        else:
            targets = "any" if index is not None else "probability"
        reduction = _only_reduction(style, answer, _LOGITS.shape[:1]) if not unit else ""
        return replace(style, unit=unit, targets=targets, reduction=reduction), True
    return style, False


def _as_labels(asker: _Asker, style: Style, shares: NDArray[Any], pick: Any) -> bool:
    """Whether probabilities are taken for labels: cast to whole numbers, they have the same answer, and others another."""
    labels = _SHARES.astype(np.int64)
    cast, other = (asker.ask(style, *_labelled(style.op, pick, one)) for one in (labels, labels + 1))
    return cast is not None and np.array_equal(cast, shares) and (other is None or not np.array_equal(cast, other))


def _through_a_loss(asker: _Asker, style: Style) -> Style:
    """A loss given for a gradient is differentiated, where its library can do that."""
    if style.op != "cross_entropy_grad" or asker.adapter.gradient_of(asker.function) is None:
        return style
    vector = style.unit == "vector"
    answer = next(_answers(asker, style, 1 if vector else slice(None)), None)
    if answer is None or answer.ndim == (1 if vector else 2):
        return style
    constants, unit = dict(style.constants), style.unit
    if answer.ndim == 0 and not vector:
        if style.keywords is not None and "reduction" in style.keywords:
            constants["reduction"] = "sum"
        else:
            unit = "single"  # it averages: one by one
    return replace(style, loss=style.names, names=(), constants=constants, unit=unit, reduction="")


def _forward(asker: _Asker, style: Style) -> Style | None:
    """A function given for its own gradient: how the function is called, so that its library can differentiate it."""
    page = op_named(style.op)
    base = page.differentiates
    if base is None or asker.adapter.gradient_of(asker.function) is None:
        return None
    found, answered = _found(asker, replace(style_of(asker.function, base.name), fixed=style.fixed))
    known = page.by in base.inputs or found.accepts(page.by)
    return replace(found, op=style.op, loss=found.names, names=()) if answered and known and not found.unit else None


def _differentiated(function: Callable[..., Any], adapter: Adapter, style: Style) -> Callable[..., Any]:
    """The target, or the gradient that its library makes of it: by the logits, or by what the gradient is asked by."""
    if style.loss is None:
        return function
    page, names = op_named(style.op), style.loss
    upstream = page.differentiates is not None
    order = [name for name, kind in page.inputs.items() if kind != "upstream"]
    by = page.by or page.first

    def gradient(*given: Any, **options: Any) -> Any:
        inputs = dict(zip(order, given, strict=False))
        more = given[len(order) + upstream :]

        def forward(x: Any) -> Any:
            told = {**options, by: x} if by in options else options
            held = [x if name == by else value for name, value in inputs.items()]
            return function(**dict(zip(names, held, strict=True)), **told) if names else function(*held, *more, **told)

        back = adapter.gradient_of(forward)
        assert back is not None, "a function was planned for a library that does not differentiate"
        return back(options[by] if by in options else inputs[by], given[len(order)] if upstream else None)

    return gradient


def _answers(asker: _Asker, style: Style, pick: Any) -> Iterator[NDArray[Any]]:
    for target in (_CLASSES, _SHARES):
        answer = asker.ask(style, _LOGITS[pick], target[pick])
        if answer is not None:
            yield answer
