"""Many calls cheaply: the screen of a sweep, calls made again and again or at once, unusual views, patience."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from xent_verify.auditing.findings import Asker
from xent_verify.candidates import lasting, open_candidate
from xent_verify.companions import COMPANIONS
from xent_verify.core import layouts
from xent_verify.core.model import LAYOUTS, Batch, Outcome, Raised, Returned, TimedOut
from xent_verify.implementations import find
from xent_verify.ops import OPS
from xent_verify.verdict.judge import Rules
from xent_verify.verdict.ledger import Ledger, capabilities
from xent_verify.verdict.patience import Patience
from xent_verify.verdict.policies import POLICIES
from xent_verify.verdict.screen import Screen

OP = OPS["softmax"]
STABLE = find("stable", "softmax").call


def sweep(n: int = 50, rows: int = 40, regime: str = "sizes") -> Batch:
    x = np.random.default_rng(n).standard_normal((rows, n)).astype(np.float32)
    return Batch("softmax", "float32", regime, {"x": x}, aspect="sweep")


def answered(batch: Batch, change: Callable[[np.ndarray], None] = lambda y: None) -> Returned:
    y = STABLE(batch.x)
    change(y)
    return Returned(y, y.dtype.name)


def test_a_sound_answer_passes_the_screen() -> None:
    """It is counted, and nothing of it is to be judged."""
    screen = Screen(OP, POLICIES["standard"])
    assert screen.suspicion(sweep(), answered(sweep())) is None
    assert (screen.calls, screen.values) == (1, 2000)
    assert "2,000 values of 1 calls" in screen.notes[0]


def test_only_the_rows_that_look_wrong_are_judged() -> None:
    """A value that is off by 1e-4 makes its row suspicious, and no other."""

    def change(y: np.ndarray) -> None:
        y[7, 3] *= 1.0001

    found = Screen(OP, POLICIES["standard"]).suspicion(sweep(), answered(sweep(), change))
    assert found is not None
    assert found.rows is not None
    assert np.array_equal(found.rows.x, sweep().x[7:8])
    assert found.rows.aspect == "values"


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_no_special_value_passes_the_screen(value: float) -> None:
    """NaN, an infinity or 0 in place of a number are looked at."""

    def change(y: np.ndarray) -> None:
        y[0, 0] = value

    assert Screen(OP, POLICIES["standard"]).suspicion(sweep(), answered(sweep(), change)) is not None


def test_an_answer_of_another_shape_is_judged_whole() -> None:
    """So is an exception, and whatever else is no proper answer."""
    screen = Screen(OP, POLICIES["standard"])
    for outcome in (Returned(np.zeros(3, np.float32), "float32"), Raised("ValueError", "no")):
        found = screen.suspicion(sweep(), outcome)
        assert found is not None
        assert found.rows is None


def test_a_sweep_ends_when_enough_has_failed() -> None:
    """Each regime on its own."""
    screen = Screen(OP, POLICIES["standard"])
    for _ in range(8):
        assert screen.wanted(sweep())
        screen.failed(sweep())
    assert not screen.wanted(sweep())
    assert screen.wanted(sweep(regime="columns"))


def test_a_strict_policy_has_a_strict_screen() -> None:
    """One ulp off passes where limits are wider, and is judged under "exact"."""

    def change(y: np.ndarray) -> None:
        y[:] = np.nextafter(STABLE(sweep().x.astype(np.float64)).astype(np.float32), np.float32(0))

    assert Screen(OP, POLICIES["standard"]).suspicion(sweep(), answered(sweep(), change)) is None
    assert Screen(OP, POLICIES["exact"]).suspicion(sweep(), answered(sweep(), change)) is not None


def test_a_call_is_repeated_until_its_answer_changes() -> None:
    """The first answer with other bits comes back, else the last one, after so many calls."""
    calls: list[int] = []

    def counted() -> int:
        calls.append(1)
        return 1 if len(calls) != 70 else 2

    assert lasting.repeated(counted, lambda value: bytes([value]), 100) == 2
    assert len(calls) == 70
    assert lasting.repeated(counted, lambda value: bytes([value]), 30) == 1
    assert len(calls) == 100


def test_threads_that_share_something_are_seen() -> None:
    """One place to write to, for all threads: the thread and its wrong answer come back."""
    shared = np.zeros(20_000)

    def call(number: float) -> np.ndarray:
        shared[:] = number
        return shared + 0.0

    calls = [lambda k=k: call(float(k)) for k in range(4)]
    thread, value = lasting.at_once(calls, lambda array: array.tobytes(), 2000)
    assert not (value == thread).all()


def test_threads_that_share_nothing_agree() -> None:
    """Then the answer is the first thread's own; what one of them raises is raised."""
    calls = [lambda k=k: np.full(10, float(k)) for k in range(3)]
    assert lasting.at_once(calls, lambda array: array.tobytes(), 50)[0] == 0
    numbers = iter([1, 1, 0])
    with pytest.raises(ZeroDivisionError):
        lasting.at_once([lambda: 1 / next(numbers)], lambda value: str(value).encode(), 5)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 0), (2, 2, 3), (1, 2, 1, 2, 3, 2)])
def test_a_view_has_the_values_of_its_array(layout: str, shape: tuple[int, ...]) -> None:
    """In every shape, also where there is no such view."""
    array = np.arange(int(np.prod(shape)), dtype=np.float32).reshape(shape)
    view = layouts.apply(array, layout)
    assert view.shape == shape
    assert np.array_equal(view, array)
    assert not np.shares_memory(view, array)


def test_unusual_views_are_what_they_are_called() -> None:
    """Byte order, alignment and strides."""
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    assert not layouts.apply(array, "byteswapped").dtype.isnative
    assert not layouts.apply(array, "misaligned").flags.aligned
    assert layouts.apply(array, "upside_down").strides[0] < 0
    assert layouts.apply(array, "mixed").strides == (48, 4, 12)
    assert layouts.apply(np.ones((2, 3)), "one_column").strides[1] == 0


def test_a_view_may_be_refused() -> None:
    """An exception for a byte order or an alignment is no fault of a target that answers elsewhere."""

    def refusing(x: np.ndarray, axis: int = -1) -> np.ndarray:
        if not (x.dtype.isnative and x.flags.aligned):
            raise TypeError("not like this")
        return STABLE(x, axis=axis)

    plain = sweep()
    assert capabilities(OP, plain) == frozenset()
    ledger = Ledger(OP, "float32")
    with open_candidate(refusing, "softmax", isolated=False) as candidate:
        asker = Asker(OP, candidate.call, Rules(), "refusing")
        for layout in ("C", "misaligned", "byteswapped"):
            asker.observe(ledger, Batch("softmax", "float32", "layouts", plain.inputs, layout=layout))
    ledger.close()
    assert {(kind, severity) for kind, severity, _ in ledger.entries} == {("unsupported", "info")}


def companion_hits(name: str, function: Callable[..., np.ndarray]) -> set[str]:
    batch = Batch("softmax", "float32", "ordinary", sweep(5, 7).inputs)
    companion = next(one for one in COMPANIONS if one.name == name)
    with open_candidate(function, "softmax", isolated=False) as candidate:
        outcome = candidate.call(batch)
        assert isinstance(outcome, Returned)
        hits = companion.run(candidate.call, OP, batch, outcome, np.full(batch.x.shape, 1e-6))
    return {hit.kind for hit in hits if hit.severity == "fail"}


def test_ten_thousand_calls_are_made() -> None:
    """A counter that runs over at the twelve thousandth is found, and sound code is not."""
    calls: list[int] = []

    def counting(x: np.ndarray, axis: int = -1) -> np.ndarray:
        calls.append(1)
        return STABLE(x, axis=axis) * np.float32(1.01 if len(calls) > 12_000 else 1)

    assert companion_hits("soak", counting) == {"stateful"}
    assert companion_hits("soak", STABLE) == set()


def test_formats_come_in_turn() -> None:
    """What a call in another format leaves behind is found."""
    last = [np.dtype(np.float32)]

    def remembering(x: np.ndarray, axis: int = -1) -> np.ndarray:
        before, last[0] = last[0], x.dtype
        return STABLE(x, axis=axis) * x.dtype.type(1.01 if before.itemsize < x.dtype.itemsize else 1)

    assert companion_hits("formats", remembering) == {"stateful"}
    assert companion_hits("formats", STABLE) == set()


def test_threads_call_at_once() -> None:
    """A scratch area for all threads is found, and sound code passes."""
    areas: dict[tuple[int, ...], np.ndarray] = {}

    def sharing(x: np.ndarray, axis: int = -1) -> np.ndarray:
        area = areas.setdefault(x.shape, np.empty_like(x))
        np.subtract(x, x.max(axis=axis, keepdims=True), out=area)
        np.exp(area, out=area)
        return area / area.sum(axis=axis, keepdims=True)

    assert companion_hits("threads", sharing) == {"stateful"}
    assert companion_hits("threads", STABLE) == set()


def answer_to(batch: Batch, slow: Callable[[np.ndarray], bool]) -> Outcome:
    return TimedOut(1.0) if slow(batch.x) else Returned(batch.x, "float32")


def of(level: float, regime: str, n: int = 3) -> Batch:
    return Batch("softmax", "float32", regime, {"x": np.full((2, n), level, np.float32)})


def test_calls_like_those_that_took_too_long_are_not_made() -> None:
    """A target that sleeps for every maximum above 80 costs two time limits and a few, not one per regime."""
    patience, late = Patience(), 0
    for k in range(300):
        batch = of(float(k * 37 % 160), f"regime {k % 20}")
        if not patience.spent(batch):
            outcome = answer_to(batch, lambda x: x.max() > 80)
            late += isinstance(outcome, TimedOut)
            patience.saw(batch, outcome)
    assert late < 8
    assert not patience.spent(of(10.0, "another"))
    assert patience.spent(of(159.0, "another"))


def test_no_more_than_so_many_calls_take_too_long() -> None:
    """Whatever they have in common: then the plan ends, and says what was left out."""
    patience, late = Patience(), 0
    for k in range(200):
        batch = of(float(k % 7), f"regime {k % 50}")
        if not patience.spent(batch):
            outcome = answer_to(batch, lambda x, k=k: k % 3 == 0)
            late += isinstance(outcome, TimedOut)
            patience.saw(batch, outcome)
    assert late == Patience.SLOW
    assert patience.notes()


def test_companions_may_take_too_long_twice() -> None:
    """Then nothing is asked any more."""
    ask = Patience().watched(lambda batch: TimedOut(1.0))
    assert [type(ask(of(1.0, "any"))).__name__ for _ in range(4)] == [
        "TimedOut",
        "TimedOut",
        "NotOffered",
        "NotOffered",
    ]


def settled(slow: Callable[[np.ndarray, int], bool], *, again: bool = True) -> bool:
    """Whether the timeouts of a made-up target are its fault."""
    patience = Patience()
    for k in range(300):
        batch = of(float(k * 37 % 160), f"regime {k % 20}", n=3 + k % 7)
        if not patience.spent(batch):
            patience.saw(batch, answer_to(batch, lambda x, k=k: slow(x, k)))
    return patience.at_fault(lambda batch: TimedOut(1.0) if again else Returned(batch.x, "float32"))


@pytest.mark.parametrize(
    ("slow", "fault"),
    [
        (lambda x, k: False, False),
        (lambda x, k: True, True),  # it never answers
        (lambda x, k: x.max() > 80, True),  # logits above all that were answered
        (lambda x, k: k % 20 == 7, True),  # every call of a regime
        (lambda x, k: k in (50, 121), False),  # now and then
        (lambda x, k: x.shape[-1] > 7, False),  # long rows: a sound target may be slow
    ],
)
def test_a_timeout_alone_is_no_fault(slow: Callable[[np.ndarray, int], bool], fault: bool) -> None:
    """Nearly all calls of a kind must take too long, and one of them again."""
    assert settled(slow) is fault
    assert settled(slow, again=False) == (fault and slow(np.zeros((2, 3)), 0))
