"""One call of a target, watched: what it returned, what it changed, what it raised. In the child and in process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.candidates import lasting, state
from xent_verify.candidates.adapters import Adapter
from xent_verify.candidates.answers import NotAnArray, ProgramEnded, native, raised, same, shares_memory, to_array
from xent_verify.candidates.style import Style
from xent_verify.core import layouts
from xent_verify.core.model import Batch, Died, Outcome, Returned
from xent_verify.ops import op_named
from xent_verify.ops.op import BROADCAST

__all__ = ["Runner"]

_KEPT_RESULTS = 8
_KEPT_BYTES = 2**25

Arrays = list[NDArray[Any]]


class Runner:
    """A callable with its adapter and calling style; ``run`` never raises for what the callable does.

    ``alone``: the process belongs to the target, so that even a KeyboardInterrupt is the target's own. ``in_place``: inputs
    that it overwrites by contract (every call has copies of its own).
    """

    def __init__(
        self,
        function: Callable[..., Any],
        adapter: Adapter,
        style: Style,
        *,
        extra: Mapping[str, Any] | None = None,
        alone: bool = False,
        in_place: tuple[str, ...] = (),
        at_import: tuple[str, ...] = (),
    ) -> None:
        self.style = style
        self._function = function
        self._adapter = adapter
        self._extra = dict(extra or {})
        self._alone = alone
        self._in_place = in_place
        self._at_import = tuple(f"{name} (at import)" for name in at_import)
        self._state: dict[str, Any] | None = None
        self._earlier: deque[tuple[NDArray[Any], NDArray[Any]]] = deque(maxlen=_KEPT_RESULTS)
        self._lent: dict[str, tuple[Any, NDArray[Any]]] = {}  # array options: as the target holds them, as they were

    def run(self, batch: Batch) -> Outcome:
        """Call the target on a private copy of the batch."""
        fold = None if batch.x.ndim > 2 or self.style.unit_of(batch) else self.style.folding
        shape = batch.x.shape
        if fold is not None:
            batch = replace(batch, inputs=dict(zip(batch.inputs, fold.folded([*batch.inputs.values()]), strict=True)))
        arrays = [layouts.apply(value, batch.layout) for value in batch.inputs.values()]
        try:
            value, given, changed = self._watched(batch, arrays)
            outcome = self._returned(value, batch, given, changed)
            return outcome if fold is None else replace(outcome, value=fold.unfolded(outcome.value, shape))
        except KeyboardInterrupt as error:
            if not self._alone:
                raise
            return raised(error)
        except NotAnArray as error:
            return error.outcome
        except ProgramEnded as error:
            return Died(str(error))
        except BaseException as error:  # noqa: BLE001  whatever the target raises is data
            return raised(error)

    def _watched(self, batch: Batch, arrays: Arrays) -> tuple[Any, Arrays, tuple[str, ...]]:
        """The call with its changes of global state, which are put back."""
        before, self._state = self._state, None
        with state.kept(before) as seen:
            value, given = self._called(batch, arrays)
        if self._alone:  # nothing but the target runs here, so this is also the state before the next call
            self._state = seen.after
        return value, given, seen.changed

    def _called(self, batch: Batch, arrays: Arrays) -> tuple[Any, Arrays]:
        """(the answer, the arrays that the target really held)."""
        self._lent.clear()
        options = self.style.keywords_of(batch)
        keywords = {name: self._option(batch, name, value) for name, value in options.items()} | self._extra
        unit = self.style.unit_of(batch)
        if unit:
            return self._by_unit(batch, arrays, keywords, unit), arrays
        given = [self._adapter.to_target(array) for array in arrays]
        value = self._again(batch, arrays, given, keywords)
        return value, [
            array if held is array else self._held(held, array) for array, held in zip(arrays, given, strict=True)
        ]

    def _again(self, batch: Batch, arrays: Arrays, given: list[Any], keywords: dict[str, Any]) -> Any:
        """The answer; of a call made again and again the first that differs, else the last."""

        def call(held: list[Any]) -> Callable[[], Any]:
            return partial(self._function, *self._positionals(batch, held), **self._named(held), **keywords)

        if batch.times == batch.threads == 1:
            return call(given)()

        def bits(value: Any) -> bytes:
            return (value if type(value) is np.ndarray else to_array(value, self._adapter)[0]).tobytes()

        if batch.threads == 1:
            return lasting.repeated(call(given), bits, batch.times)
        # each thread has the same rows in another order, so that what they share shows
        shared = op_named(batch.op).shared
        own = [name not in shared for name in batch.inputs]
        turned = [
            [self._adapter.to_target(np.roll(a, k, axis=0) if its else a) for a, its in zip(arrays, own, strict=True)]
            for k in range(batch.threads)
        ]
        turns, value = lasting.at_once([call(held) for held in turned], bits, batch.times)
        return np.roll(to_array(value, self._adapter)[0], -turns, axis=0)

    def _positionals(self, batch: Batch, given: list[Any]) -> tuple[Any, ...]:
        return () if self.style.names else (*given, *self.style.positionals_of(batch))

    def _named(self, given: list[Any]) -> dict[str, Any]:
        return dict(zip(self.style.names, given, strict=True)) if self.style.names else {}

    def _held(self, held: Any, array: NDArray[Any]) -> NDArray[Any]:
        seen = self._adapter.from_target(held)
        return array if seen is None else seen

    def _option(self, batch: Batch, name: str, value: Any) -> Any:
        """An option as the target takes it: arrays of its library, weights of one element too; numbers as numbers."""
        known = op_named(batch.op).options.get(name)
        if isinstance(value, np.ndarray) and (value.ndim or (known is not None and known.kind in BROADCAST)):
            held = self._adapter.to_target(layouts.apply(value, batch.layout))
            self._lent[name] = held, np.array(native(self._held(held, value)))
            return held
        return value[()] if isinstance(value, np.ndarray) else value

    def _by_unit(self, batch: Batch, arrays: Arrays, keywords: dict[str, Any], unit: str) -> Any:
        """The target called row by row (or number by number), its answers put together."""
        x = arrays[0]
        outer = x.shape if unit == "scalar" else x.shape[:-1]
        kept = None if unit == "single" else getattr(self._adapter, "kept", None)
        whole = None if kept is None else [self._adapter.to_target(array) for array in arrays]
        answers = []
        for place in np.ndindex(outer):
            piece = self._pieces(arrays, place, unit) if whole is None else _parts(arrays, whole, place)
            answer = self._function(*self._positionals(batch, piece), **self._named(piece), **keywords)
            answers.append(kept(answer) if kept is not None else self._part(answer, batch, place, unit))
        if kept is not None:
            joined = self._adapter.together(answers)  # type: ignore[attr-defined]  # whoever has ``kept`` has it
            if joined is not None:
                stacked = to_array(joined, self._adapter)[0]
                return stacked.reshape(outer + stacked.shape[1:])
            answers = [self._part(answer, batch, (), unit) for answer in answers]
        stacked = np.stack([part for part, _ in answers])
        result = stacked.reshape(outer + stacked.shape[1:])
        return float(result) if {name for _, name in answers} == {"float"} and not result.ndim else result

    def _part(self, answer: Any, batch: Batch, place: tuple[int, ...], unit: str) -> tuple[NDArray[Any], str]:
        """One of those answers and its type's name, copied: a target may write its next one to the same memory."""
        part, name = to_array(answer, self._adapter)
        if unit != "single":
            return np.array(part), name
        if self.style.folding is not None:
            part = self.style.folding.unfolded(part, (1, batch.x.shape[-1]))
        if not np.isfinite(part).any() and _ignored(batch, place):
            part = np.zeros_like(part)  # a mean over nothing may be anything; the loss of such a row is 0
        return (part[0] if part.ndim and len(part) == 1 else np.array(part)), name

    def _pieces(self, arrays: Arrays, place: tuple[int, ...], unit: str) -> list[Any]:
        """One row, or one number, of each input; a class index comes as an integer."""
        if unit == "single":
            rows = [array[place[0] : place[0] + 1] for array in arrays]
            fold = self.style.folding
            return [self._adapter.to_target(row) for row in (rows if fold is None else fold.folded(rows))]
        parts = [array[place] for array in arrays]
        return [part if isinstance(part, np.generic) else self._adapter.to_target(part) for part in parts]

    def _returned(self, value: Any, batch: Batch, given: Arrays, changed: tuple[str, ...]) -> Returned:
        earlier = any(not same(result, copy) for result, copy in self._earlier)
        if earlier:
            self._earlier.clear()
        array, name = to_array(value, self._adapter)
        array = native(array)
        kept = batch.inputs.values()
        mutated = tuple(
            key for key, held, old in zip(batch.inputs, given, kept, strict=True) if not same(native(held), old)
        )
        mutated = tuple(key for key in mutated if key not in self._in_place)
        mutated += tuple(key for key, (held, old) in self._lent.items() if not same(native(self._held(held, old)), old))
        aliases = any(shares_memory(array, held) for held in given)
        kept_too = bool(array.ndim) and array.nbytes * _KEPT_RESULTS <= _KEPT_BYTES
        copy = np.array(array, order="C") if kept_too or not self._alone else array  # alone, it is written out at once
        if kept_too:
            self._earlier.append((array, copy))
        changed, self._at_import = changed + self._at_import, ()
        return Returned(copy, name, mutated, earlier, aliases, changed)


def _parts(arrays: Arrays, whole: list[Any], place: tuple[int, ...]) -> list[Any]:
    """One row, or one number, of each input, of arrays that lie on the target's device already."""
    return [
        array[place] if array.ndim == len(place) else held[place] for array, held in zip(arrays, whole, strict=True)
    ]


def _ignored(batch: Batch, place: tuple[int, ...]) -> bool:
    """Whether a single row is one to ignore, so that its mean is a mean over nothing."""
    target = batch.inputs.get("target")
    return (
        target is not None and target.ndim == 1 and int(target[place]) == int(batch.options.get("ignore_index", -100))
    )
