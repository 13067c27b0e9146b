"""One call of a target, watched: what it returned, what it changed, what it raised. Used in the child and in process."""

from __future__ import annotations

import os
import random
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify import layouts
from xent_verify.candidates.signature import Style, style_of, takes_probabilities, wants_rows
from xent_verify.model import Batch, Malformed, Outcome, Raised, Returned

__all__ = ["Runner"]

_KEPT_RESULTS = 8
_KEPT_BYTES = 64 * 2**20
_LOSS_WORDS = ("reduction",)


class Runner:
    """A callable with its adapter and calling style; ``run`` never raises for what the callable does."""

    def __init__(
        self,
        function: Callable[..., Any],
        op: str,
        adapter: ModuleType,
        *,
        device: str = "cpu",
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self._adapter = adapter
        self._device = device
        self._extra = dict(extra or {})
        self.function = adapter.prepare(function, device)
        style = style_of(self.function, op, adapter.NAME)
        if op == "cross_entropy_grad" and adapter.gradient_of is not None and _is_loss(self.function, style):
            self.function = adapter.gradient_of(self.function, device)
            style = Style(op, "", False, None)
        if wants_rows(style, self._plain):
            style = replace(style, by_row=True)
        self.style = replace(style, probabilities=takes_probabilities(style, self._plain))
        self._earlier: deque[tuple[NDArray[Any], NDArray[Any]]] = deque(maxlen=_KEPT_RESULTS)

    def _plain(self, *arrays: NDArray[Any]) -> Any:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            given = [self._adapter.to_target(array, self._device) for array in arrays]
            return self._adapter.from_target(self.function(*given, **self._extra))

    def run(self, batch: Batch) -> Outcome:
        """Call the target on a private copy of the batch."""
        names = list(batch.inputs)
        arrays = [np.array(value, order="C") for value in batch.inputs.values()]
        arrays[0] = layouts.apply(batch.x, batch.layout)
        options = self.style.arguments(batch)
        state = _global_state()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with np.errstate(all="ignore"):
                    before = _global_state()
                    value, seen = self._call(batch, arrays, options)
                    after = _global_state()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  whatever the target raises is data
            _restore(state)
            return _raised(error)
        changed = tuple(name for name in before if before[name] != after[name])
        _restore(state)
        mutated = tuple(name for name, array, kept in zip(names, arrays, batch.inputs.values(), strict=True) if _differ(array, kept))
        return self._outcome(value, seen, mutated, changed)

    def _call(self, batch: Batch, arrays: list[NDArray[Any]], options: dict[str, Any]) -> tuple[Any, list[NDArray[Any]]]:
        keywords = {name: self._given(value) for name, value in options.items()} | self._extra
        if not self.style.by_row or batch.x.ndim == 1:
            given = [self._adapter.to_target(array, self._device) for array in arrays]
            return self.function(*given, **keywords), arrays
        rows = [self.function(self._adapter.to_target(row, self._device), **keywords) for row in arrays[0]]
        parts = [self._adapter.from_target(row) for row in rows]
        if not rows or any(part is None for part in parts):
            return np.empty(batch.x.shape, batch.x.dtype) if not rows else rows[0], []
        return np.stack([part for part in parts if part is not None]), []

    def _given(self, value: Any) -> Any:
        return self._adapter.to_target(np.array(value), self._device) if isinstance(value, np.ndarray) else value

    def _outcome(
        self, value: Any, inputs: list[NDArray[Any]], mutated: tuple[str, ...], changed: tuple[str, ...]
    ) -> Outcome:
        earlier = any(not _same(result, copy) for result, copy in self._earlier)
        if earlier:
            self._earlier.clear()
        if isinstance(value, (bool, int, float)) and not isinstance(value, np.generic):
            return Returned(np.asarray(float(value)), type(value).__name__, mutated, earlier, False, changed)
        try:
            array = self._adapter.from_target(value)
            if array is None:
                array = _numpy_value(value)
        except Exception as error:  # noqa: BLE001  a hostile result object
            return Malformed(f"a {type(value).__name__} that cannot be read ({type(error).__name__})")
        if array is None or array.dtype.kind in "OSUMmc":
            what = type(value).__name__ if array is None else f"array of {array.dtype.name}"
            return Malformed(f"{'an' if what[0] in 'aeiou' else 'a'} {what}")
        aliases = any(np.may_share_memory(array, given) and np.shares_memory(array, given, max_work=10_000) for given in inputs)
        copy = np.array(array, order="C")
        if array.nbytes * _KEPT_RESULTS <= _KEPT_BYTES:
            self._earlier.append((array, copy))
        return Returned(copy, array.dtype.name, mutated, earlier, aliases, changed)


def _is_loss(function: Callable[..., Any], style: Style) -> bool:
    name = str(getattr(function, "__name__", type(function).__name__)).lower()
    return "grad" not in name and (any(style.keywords is not None and word in style.keywords for word in _LOSS_WORDS) or "loss" in name)


def _numpy_value(value: Any) -> NDArray[Any] | None:
    """A NumPy result of a function that was given another library's arrays."""
    return np.asarray(value) if isinstance(value, (np.ndarray, np.generic)) else None


def _same(a: NDArray[Any], b: NDArray[Any]) -> bool:
    try:
        return a.shape == b.shape and np.array_equal(_bits(a), _bits(b))
    except Exception:  # noqa: BLE001  the target may have torn its own array apart
        return False


def _bits(array: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _differ(given: NDArray[Any], kept: NDArray[Any]) -> bool:
    return not _same(given, kept)


def _raised(error: BaseException) -> Raised:
    try:
        message = " ".join(str(error).split())[:500]
    except Exception:  # noqa: BLE001  a hostile __str__
        message = "(its message cannot be printed)"
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{frames[-1].name}, line {frames[-1].lineno}" if frames else ""
    return Raised(type(error).__name__, message, where)


def _global_state() -> dict[str, Any]:
    """Global state that a numerical function has no business changing."""
    tiny = np.float64(5e-324)
    return {
        "NumPy error state": tuple(sorted(np.geterr().items())),
        "Python random state": random.getstate()[1][:3],
        "NumPy random state": _numpy_random(),
        "flush-to-zero mode": bool(tiny + tiny == 0),
        "working directory": _directory(),
    }


def _numpy_random() -> tuple[Any, ...]:
    kind, keys, position, *_ = np.random.get_state()  # noqa: NPY002  the legacy global state is what a target would change
    return kind, int(np.asarray(keys)[0]), position


def _directory() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""


def _restore(state: Mapping[str, Any]) -> None:
    """Put back what can be put back."""
    if state["working directory"] and state["working directory"] != _directory():
        os.chdir(state["working directory"])
    np.seterr(**dict(state["NumPy error state"]))
