"""The adjoint: the vector-Jacobian product of an algorithm, as another algorithm over the same arithmetic.

``Tape`` is a reading around another reading ``a``: it runs an algorithm on it and keeps, for each step, how the cotangent of
its result goes back to its operands. Going back takes steps of ``a`` alone, so the gradient has every reading that its
operation has: truth, limit, floats. softmax, log-softmax and logsumexp go back by the formulas that backward kernels use::

    softmax       p (g - sum p g)              p as it was stored; 0 where p is 0
    log_softmax   g - exp(log p) sum g         log p as it was stored
    logsumexp     p g
    entmax        w (g - sum w g / sum w)    w: 1 for the kept elements, or the square roots of the results

A loss of labels goes back by (g / s - p) s as well, s = sum g: kernels take the label's 1 from p and scale at the end.

Where both branches of a maximum are equal each takes half (|x| at 0: none), so that max(x, 0) + log1p(exp(-|x|)) has
the derivative 1/2 at 0. The maximum of a row sends its cotangent to the first of the largest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.failures import UsageError
from xent_verify.core.formats import FORMATS
from xent_verify.ops.forms import LN_2, LOG2_E
from xent_verify.ops.op import SHARED, InputKind, Op
from xent_verify.ops.verbs import Operators, Verbs

__all__ = ["UPSTREAM", "Tape", "Taped", "vjp_of"]

UPSTREAM = "grad"
"""Name of the input that holds the upstream gradient."""

Array = NDArray[Any]
Back = Callable[[Any], Any]


class Taped(Operators):
    """A number of the inner reading and where it came from: operands with the way back to each."""

    __slots__ = ("a", "inner", "parents")

    def __init__(self, a: Tape, inner: Any, parents: tuple[tuple[Taped, Back], ...] = ()) -> None:
        self.a, self.inner, self.parents = a, inner, parents
        a.order.append(self)

    @property
    def v(self) -> Any:
        return self.inner.v

    def __neg__(self) -> Taped:
        return Taped(self.a, -self.inner, ((self, lambda g: -g),))


class Tape(Verbs):
    """The reading around ``inner``."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.order: list[Taped] = []

    def lift(self, value: Any) -> Taped:
        return value if isinstance(value, Taped) else Taped(self, self.inner.lift(value))

    def constant(self, value: float) -> Taped:
        return Taped(self, self.inner.constant(value))

    def held(self, value: Any) -> Taped:
        """A number of the inner reading, as one to differentiate by."""
        return Taped(self, value)

    def _fit(self, g: Any, like: Taped) -> Any:
        """A cotangent in the shape of its operand: added up over what was repeated."""
        if np.ndim(like.v) == 0 or like.v.shape == (1,):
            return g  # a parameter: nothing is asked of it
        if like.v.shape[0] == 1 and g.v.shape[0] > 1:  # one row for all
            g = self.inner.turned(self.inner.sum(self.inner.turned(g)))
        if like.v.shape[-1] == 1 and g.v.shape[-1] > 1:
            g = self.inner.sum(g)
        return g

    def add(self, x: Taped, y: Taped) -> Taped:
        back = (x, lambda g: self._fit(g, x)), (y, lambda g: self._fit(g, y))
        return Taped(self, x.inner + y.inner, back)

    def subtract(self, x: Taped, y: Taped) -> Taped:
        back = (x, lambda g: self._fit(g, x)), (y, lambda g: self._fit(-g, y))
        return Taped(self, x.inner - y.inner, back)

    def multiply(self, x: Taped, y: Taped) -> Taped:
        back = (x, lambda g: self._fit(g * y.inner, x)), (y, lambda g: self._fit(g * x.inner, y))
        return Taped(self, x.inner * y.inner, back)

    def weigh(self, q: Taped, x: Taped) -> Taped:
        a = self.inner
        back = (
            (q, lambda g: self._fit(a.weigh(g, x.inner), q)),
            (x, lambda g: self._fit(a.weigh(q.inner, g), x)),
        )
        return Taped(self, a.weigh(q.inner, x.inner), back)

    def divide(self, x: Taped, y: Taped) -> Taped:
        quotient = x.inner / y.inner
        back = (
            (x, lambda g: self._fit(g / y.inner, x)),
            (y, lambda g: self._fit(-(g * quotient) / y.inner, y)),
        )
        return Taped(self, quotient, back)

    def _unary(self, x: Taped, value: Any, back: Back) -> Taped:
        return Taped(self, value, ((x, back),))

    def exp(self, x: Taped) -> Taped:
        value = self.inner.exp(x.inner)
        return self._unary(x, value, lambda g: g * value)

    def exp2(self, x: Taped) -> Taped:
        return self.exp(x * self.constant(LN_2))

    def log(self, x: Taped) -> Taped:
        return self._unary(x, self.inner.log(x.inner), lambda g: g / x.inner)

    def log2(self, x: Taped) -> Taped:
        return self.multiply(self.log(x), self.constant(LOG2_E))

    def log1p(self, x: Taped) -> Taped:
        return self._unary(x, self.inner.log1p(x.inner), lambda g: g / (1 + x.inner))

    def tanh(self, x: Taped) -> Taped:
        value = self.inner.tanh(x.inner)
        return self._unary(x, value, lambda g: g * (1 - value * value))

    def input(self, values: Array) -> Taped:
        return Taped(self, self.inner.input(values))

    def support(self, x: Taped, power: int) -> Array:
        return np.asarray(self.inner.support(x.inner, power))

    def sqrt(self, x: Taped) -> Taped:
        value = self.inner.sqrt(x.inner)
        return self._unary(x, value, lambda g: g * 0.5 / value)

    def entmax(self, x: Taped, power: int) -> Taped:
        a = self.inner
        z, root = a.roots(x.inner, power)
        weight = a.kept(z, power) + root * 0 if power == 1 else root  # NaN where the result is
        return self._unary(x, root**power, lambda g: a.weigh(weight, g - a.sum(a.weigh(weight, g)) / a.sum(weight)))

    def softmax(self, x: Taped) -> Taped:
        a = self.inner
        p = a.store(a.softmax(x.inner))
        return self._unary(x, p, lambda g: a.weigh(p, g - a.sum(a.weigh(p, g))))

    def log_softmax(self, x: Taped) -> Taped:
        a = self.inner
        log_p = a.store(a.log_softmax(x.inner))
        return self._unary(x, log_p, lambda g: g - a.exp(log_p) * a.sum(g))

    def logsumexp(self, x: Taped) -> Taped:
        a = self.inner
        return self._unary(x, a.logsumexp(x.inner), lambda g: a.softmax(x.inner) * g)

    def sigmoid(self, x: Taped) -> Taped:
        a, p = self.inner, self.inner.sigmoid(x.inner)
        return self._unary(x, p, lambda g: g * p * a.sigmoid(-x.inner))

    def softplus(self, x: Taped) -> Taped:
        return self._unary(x, self.inner.softplus(x.inner), lambda g: g * self.inner.sigmoid(x.inner))

    def logaddexp(self, x: Taped, y: Taped) -> Taped:
        a = self.inner
        back = (
            (x, lambda g: self._fit(g * a.sigmoid(x.inner - y.inner), x)),
            (y, lambda g: self._fit(g * a.sigmoid(y.inner - x.inner), y)),
        )
        return Taped(self, a.logaddexp(x.inner, y.inner), back)

    def product(self, x: Taped, matrix: Taped) -> Taped:
        """Goes back to a matrix as the sum over its rows x_i of g_ij x_i."""
        a = self.inner
        groups, k, n = matrix.v.shape
        each = self.count(x) // max(groups, 1)

        def of_matrix(g: Any) -> Any:
            scores = a.shaped(a.turned(a.shaped(g, (groups, each, k))), (groups * k, each))
            return a.shaped(a.product(scores, a.turned(a.shaped(x.inner, (groups, each, n)))), (groups, k, n))

        back = (x, lambda g: a.mix(g, matrix.inner)), (matrix, of_matrix)
        return Taped(self, a.product(x.inner, matrix.inner), back)

    def turned(self, x: Taped) -> Taped:
        return self._unary(x, self.inner.turned(x.inner), self.inner.turned)

    def sum(self, x: Taped) -> Taped:
        return self._unary(x, self.inner.sum(x.inner), lambda g: self._wide(g, x))

    def total(self, x: Taped) -> Taped:
        return self._unary(x, self.inner.total(x.inner), lambda g: self._wide(g, x))

    def _wide(self, g: Any, like: Taped) -> Any:
        """One number a row for each of its elements."""
        return self.inner.where(np.ones(np.shape(like.v), np.bool_), g, 0)

    def max(self, x: Taped) -> Taped:
        top = self.inner.max(x.inner)
        first = np.arange(self.width(x)) == np.asarray(_argmax(x.v))[..., None]
        return self._unary(x, top, lambda g: self.inner.where(first, g, 0))

    def take(self, x: Taped, labels: Array) -> Taped:
        a, places = self.inner, range(labels.shape[-1])

        def back(g: Any) -> Any:
            parts = (a.take(g, np.full((len(labels), 1), j)) if len(places) > 1 else g for j in places)
            spread = [a.where(self.hot(labels[:, j : j + 1], self.width(x)), part, 0) for j, part in enumerate(parts)]
            return sum(spread[1:], spread[0])

        return self._unary(x, a.take(x.inner, labels), back)

    def where(self, mask: Array, x: Any, y: Any) -> Taped:
        first, second, a = self.lift(x), self.lift(y), self.inner
        back = (
            (first, lambda g: self._fit(a.where(mask, g, 0), first)),
            (second, lambda g: self._fit(a.where(mask, 0, g), second)),
        )
        return Taped(self, a.where(mask, first.inner, second.inner), back)

    def maximum(self, x: Taped, y: Any) -> Taped:
        other, a = self.lift(y), self.inner
        more, less = a.at_least(x.inner - other.inner, 0), a.at_least(other.inner - x.inner, 0)

        def share(g: Any, all_of_it: Array, none: Array) -> Any:
            return a.where(all_of_it & none, g * 0.5, a.where(all_of_it, g, 0))

        back = (
            (x, lambda g: self._fit(share(g, more, less), x)),
            (other, lambda g: self._fit(share(g, less, more), other)),
        )
        return Taped(self, a.maximum(x.inner, other.inner), back)

    def abs(self, x: Taped) -> Taped:
        return self.maximum(x, -x)

    def at_least(self, x: Taped, number: float) -> Array:
        return np.asarray(self.inner.at_least(x.inner, number))

    def exists(self, x: Taped) -> bool:
        return bool(self.inner.exists(x.inner))

    def nearly(self, x: Taped, number: float, roundings: int) -> Taped:
        return self._unary(x, self.inner.nearly(x.inner, number, roundings), lambda g: g)

    def store(self, x: Taped) -> Taped:
        return self._unary(x, self.inner.store(x.inner), lambda g: g)

    def back(self, result: Taped, upstream: Any, wanted: Taped) -> Any:
        """The cotangent of ``wanted`` where that of ``result`` is ``upstream``."""
        asked = {id(wanted)}
        for node in self.order:
            if any(id(parent) in asked for parent, _ in node.parents):
                asked.add(id(node))
        cotangents: dict[int, Any] = {id(result): upstream}
        for node in reversed(self.order):
            g = cotangents.pop(id(node), None) if node is not wanted else None
            if g is None:
                continue
            for parent, way in node.parents:
                if id(parent) not in asked:
                    continue
                part = way(g)
                known = cotangents.get(id(parent))
                cotangents[id(parent)] = part if known is None else known + part
        zero = self.inner.where(np.zeros(wanted.v.shape, np.bool_), 1, 0)
        return cotangents.get(id(wanted), zero)


class ScaledTape(Tape):
    """log_softmax goes back by (g / s - exp(log p)) s, s = sum g."""

    def log_softmax(self, x: Taped) -> Taped:
        a = self.inner
        log_p = a.store(a.log_softmax(x.inner))

        def back(g: Any) -> Any:
            p, total = a.exp(log_p), a.only(g)
            nothing = a.at_least(total, 0) & a.at_least(-total, 0)
            scale = a.where(nothing, 1, total)
            return a.where(nothing, g - p * total, (a.share(g, scale) - p) * scale)

        return self._unary(x, log_p, back)


def _argmax(values: Array) -> Array:
    """Place of the first largest element of each row; objects are compared by their midpoints."""
    if values.dtype != object:
        return np.asarray(values.argmax(axis=-1))
    middles = np.frompyfunc(lambda value: value if isinstance(value, float) else value.middle, 1, 1)(values)
    return np.asarray(middles.astype(np.float64).argmax(axis=-1))


def vjp_of(op: Op, name: str, by: str = "") -> Op:
    """The operation ``f(*inputs, grad)``: the upstream gradient [shape of the result] times the Jacobian by one input.

    ``by`` names an input of numbers, or an option of one number for each score; "": the first input. ``UsageError`` for others.
    """
    wanted = by or op.first
    able = [one for one, kind in op.inputs.items() if kind not in ("target", "label", "upstream")]
    able += [one for one, option in op.options.items() if option.kind == "score_number"]
    if wanted not in able:
        raise UsageError(f"{name}: no gradient by {wanted!r}; {op.name} has those by {', '.join(able)}")
    inputs: dict[str, InputKind] = {**op.inputs, UPSTREAM: "upstream"}
    kind_of = op.inputs.get(wanted, "matrix")
    ignored = op.option_of("ignored_label")

    def adjoint(run: Callable[..., Any], kind: type[Tape] = Tape) -> Callable[..., Any]:
        def back(a: Any, grad: Any, **arguments: Any) -> Any:
            tape = kind(a)
            lifted = {
                key: tape.held(value) if isinstance(value, Operators) else value for key, value in arguments.items()
            }
            found, labels = tape.back(run(tape, **lifted), grad, lifted[wanted]), arguments.get(op.labels)
            if not ignored or kind_of in SHARED or not a.is_labels(labels):
                return found
            return a.where(labels != arguments[ignored], found, 0)  # whatever such a row holds

        return back

    runs = op.adjoints or op.algorithms
    algorithms = {key: adjoint(run) for key, run in runs.items()}
    if op.labels and op.built_on == "log p":
        algorithms |= {f"{key}, scaled last": adjoint(run, ScaledTape) for key, run in runs.items()}

    return Op(
        name=name,
        about=f"vector-Jacobian product of {op.name} with respect to {wanted}",
        inputs=inputs,
        options={key: replace(one, always=one.always or key == wanted) for key, one in op.options.items()},
        result="shared" if kind_of in SHARED else "rows" if kind_of == "row_number" else "elements",
        formula=None,
        algorithms=algorithms,
        by_row=op.by_row,
        differentiates=op,
        by=wanted,
        formats=tuple(form for form in op.formats if FORMATS[form].bits > 8),
    )
