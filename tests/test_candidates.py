"""Candidates: names become callables, styles of calling are found, and nothing a target does escapes its process."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from xent_verify import layouts
from xent_verify.candidates import codec, open_candidate
from xent_verify.failures import UsageError
from xent_verify.model import LAYOUTS, Batch, Died, Malformed, Outcome, Raised, Returned, TimedOut

HERE = Path(__file__).parent
TARGETS = str(HERE / "targets.py")
ROW = Batch("softmax", "float32", "test", {"x": np.array([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]], np.float32)})


def ask(name: str, batch: Batch = ROW, **options: object) -> Outcome:
    """One isolated call of a target in tests/targets.py, and then a second that must work like the first."""
    with open_candidate(f"{TARGETS}:{name}", batch.op, timeout=5.0, **options) as candidate:  # type: ignore[arg-type]
        return candidate.call(batch)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(3, 4), (4,), (2, 3, 4), (0, 3), (3, 0), (1, 1)])
def test_layouts_keep_values_and_own_their_memory(layout: str, shape: tuple[int, ...]) -> None:
    """Every layout holds the same values in fresh memory; the strides are what the name says."""
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    view = layouts.apply(array, layout)
    assert np.array_equal(view, array)
    assert not np.shares_memory(view, array)
    if array.ndim == 2 and array.size > 3:
        assert (layout == "negative") == (view.strides[-1] < 0)
        assert (layout == "readonly") == (not view.flags.writeable)
        assert layout not in ("F", "strided", "sliced", "negative") or not view.flags.c_contiguous
    equal = np.ones((4, 3))
    assert layouts.apply(equal, "broadcast").strides[0] == 0


@pytest.mark.parametrize(
    "dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e5m2, np.int64, np.uint8]
)
@pytest.mark.parametrize("shape", [(2, 3), (), (0, 4)])
def test_bits_survive_the_wire(dtype: type, shape: tuple[int, ...]) -> None:
    """Arrays of every dtype, NaN payloads and signed zeros included, come back with the same bits, shape and dtype."""
    rng = np.random.default_rng(0)
    size = np.dtype(dtype).itemsize
    raw = rng.integers(0, 256, (*shape, size), dtype=np.uint8)
    array = raw.reshape(-1).view(dtype).reshape(shape)
    batch = Batch(
        "softmax", "float32", "", {"x": array}, {"axis": 0, "weight": array, "label_smoothing": np.float32(0.1)}, "F"
    )
    stream = io.BytesIO(b"".join(bytes(part) for part in codec.batch_frame(batch, 7)))
    frame = codec.read_frame(lambda count: bytearray(stream.read(count)), 10**6)
    back = codec.decode_batch(frame)
    assert frame[0]["number"] == 7
    assert back.layout == "F"
    assert list(back.options) == ["axis", "weight", "label_smoothing"]
    assert back.options["label_smoothing"].dtype == np.float32
    for got in (back.x, back.options["weight"]):
        assert got.dtype == array.dtype
        assert got.shape == array.shape
        assert got.tobytes() == array.tobytes()


@pytest.mark.parametrize("isolated", [True, False])
def test_the_same_answer_in_and_out_of_process(isolated: bool) -> None:
    """Isolated and in-process calls give the same bits, in every format."""
    with open_candidate(f"{TARGETS}:softmax", "softmax", isolated=isolated) as candidate:
        for dtype in (np.float64, np.float32, np.float16, ml_dtypes.bfloat16):
            x = np.array([[1, 2, 3]]).astype(dtype)
            outcome = candidate.call(Batch("softmax", x.dtype.name, "", {"x": x}))
            assert isinstance(outcome, Returned)
            assert outcome.dtype_name == x.dtype.name
            assert abs(float(outcome.value.astype(np.float64).sum()) - 1) < 0.02


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("raises", Raised("RuntimeError", "no", "raises, line")),
        ("raises_unprintable", Raised("Unprintable", "(its message cannot be printed)", "raises_unprintable")),
        ("exits", Raised("SystemExit", "0", "exits")),
        ("interrupts", Raised("GeneratorExit", "", "interrupts")),
        ("recurses", Raised("RecursionError", "maximum recursion", "recurses")),
        ("exits_hard", Died("exit status 0")),
        ("aborts", Died("signal 6 (SIGABRT) in aborts (targets.py, line")),
        ("reads_address_zero", Died("signal 11 (SIGSEGV) in reads_address_zero (targets.py, line")),
        ("returns_none", Malformed("a NoneType")),
        ("returns_text", Malformed("a str")),
        ("returns_a_list", Malformed("a list of 2 (list)")),
        ("returns_objects", Malformed("an array of object")),
        ("returns_complex", Malformed("an array of complex128")),
    ],
)
def test_what_a_target_does_is_a_value(name: str, expected: Outcome) -> None:
    """Exceptions, exits, crashes and results that are no arrays become the outcome that names them."""
    got = ask(name)
    assert type(got) is type(expected)
    match got, expected:
        case Raised(kind, message, where), Raised(want_kind, want_message, want_where):
            assert (kind, where.startswith(want_where)) == (want_kind, True)
            assert want_message in message
        case Died(how), Died(want):
            assert how.startswith(want)
        case _:
            assert got == expected


def test_a_target_that_never_answers_is_stopped() -> None:
    """An endless loop is a timeout, and its process is gone."""
    with open_candidate(f"{TARGETS}:never_answers", "softmax", timeout=0.5) as candidate:
        assert candidate.call(ROW) == TimedOut(0.5)
        assert candidate.call(ROW) == TimedOut(0.5)


def test_a_target_that_takes_all_memory_is_stopped() -> None:
    """Resident memory is watched while a call runs."""
    got = ask("takes_all_memory", memory_mb=400)
    assert got == Died("memory limit of 400 MB")


def test_the_call_after_a_crash_works() -> None:
    """A crashed process is replaced; an unrelated input is answered."""
    with open_candidate(f"{TARGETS}:aborts", "softmax") as candidate:
        assert isinstance(candidate.call(ROW), Died)
        assert isinstance(candidate.call(ROW), Died)


@pytest.mark.parametrize("name", ["prints", "closes_stdout", "changes_directory", "leaves_a_child"])
def test_misbehaviour_does_not_spoil_the_answer(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Printing, closing stdout, changing directory, forking: the answer is right and nothing reaches our streams."""
    got = ask(name)
    assert isinstance(got, Returned)
    np.testing.assert_allclose(got.value.sum(axis=1), 1, rtol=1e-6)
    if name == "prints":
        assert "hello from the target" in got.printed
        assert "and from below" in got.printed
    assert capfd.readouterr() == ("", "")


def test_writes_to_inputs_are_seen_and_harmless() -> None:
    """A changed argument is named; the caller's array is untouched."""
    kept = ROW.x.copy()
    got = ask("writes_to_its_input")
    assert isinstance(got, Returned)
    assert got.mutated == ("x",)
    assert np.array_equal(ROW.x, kept)


def test_a_reused_buffer_is_seen() -> None:
    """A result that changes during a later call is reported with that call."""
    other = Batch("softmax", "float32", "", {"x": ROW.x[::-1].copy()})
    with open_candidate(f"{TARGETS}:shares_a_buffer", "softmax") as candidate:
        first, second = candidate.call(ROW), candidate.call(other)
    assert isinstance(first, Returned)
    assert isinstance(second, Returned)
    assert not first.earlier_changed
    assert second.earlier_changed


def test_results_that_alias_an_input_are_seen() -> None:
    """Returning the argument itself is noticed."""
    got = ask("returns_its_input")
    assert isinstance(got, Returned)
    assert got.aliases_input


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("changes_error_state", "NumPy error state"),
        ("seeds_the_generator", "NumPy random state"),
        ("changes_directory", "working directory"),
    ],
)
def test_changes_of_global_state_are_named(name: str, what: str) -> None:
    """Global state that a call changes is listed (and put back)."""
    got = ask(name)
    assert isinstance(got, Returned)
    assert what in got.global_state


def test_no_process_is_left_behind() -> None:
    """After closing, no worker of ours is alive, also when the target forked or hung."""
    for name in ("leaves_a_child", "never_answers", "softmax"):
        with open_candidate(f"{TARGETS}:{name}", "softmax", timeout=0.3) as candidate:
            candidate.call(ROW)
            group = candidate._engine._process  # type: ignore[attr-defined]
            pid = group.pid if group else 0
        assert pid == 0 or not alive_in_group(pid)


def alive_in_group(group: int) -> list[int]:
    """Processes of a group that still run (zombies waiting for init do not)."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, pgrp = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            except OSError:
                continue
            if int(pgrp) == group and state != "Z":
                found.append(int(entry.name))
    return found


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("nowhere.at_all:f", "no module named 'nowhere'"),
        ("numpy:sofmax_of", "numpy has no attribute 'sofmax_of'"),
        ("scipy.special:sofmax", "did you mean 'softmax'"),
        (f"{TARGETS}:NOT_CALLABLE", "not callable"),
        ("missing.py:f", "not found"),
        ("stabel", "did you mean 'stable'"),
        ("json:", "write package.module:attribute"),
    ],
)
def test_a_target_that_cannot_be_had_is_one_clear_line(target: str, words: str) -> None:
    """Wrong names raise UsageError in one line, with the nearest right one."""
    with pytest.raises(UsageError) as caught:
        open_candidate(target, "softmax")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_imports_that_fail_or_kill_are_usage_errors(tmp_path: Path) -> None:
    """A module that raises, or ends the process, while it is imported cannot be audited: one line says why."""
    for text, words in (
        ("1 / 0", "ZeroDivisionError"),
        ("import os; os._exit(7)", "exit status 7"),
        ("x = (", "SyntaxError"),
    ):
        path = tmp_path / "broken.py"
        path.write_text(text + "\ndef f(x): return x\n")
        with pytest.raises(UsageError, match=words):
            open_candidate(f"{path}:f", "softmax")


def test_styles_of_calling_are_found() -> None:
    """An axis under another name and default, no axis at all, and part of a signature are called as they can be."""
    with open_candidate(f"{TARGETS}:softmax_dim", "softmax") as candidate:
        got = candidate.call(ROW)
        assert isinstance(got, Returned)
        np.testing.assert_allclose(got.value.sum(axis=1), 1, rtol=1e-6)
    with open_candidate(f"{TARGETS}:softmax_of_a_row", "softmax") as candidate:
        got = candidate.call(ROW)
        assert isinstance(got, Returned)
        np.testing.assert_allclose(got.value.sum(axis=1), 1, rtol=1e-6)
        assert not candidate.supports(Batch("softmax", "float32", "", ROW.inputs, {"axis": 0}))
        assert candidate.offered == {"axis": False, "nd": False, "batched": False}
    with open_candidate(f"{TARGETS}:cross_entropy_plain", "cross_entropy") as candidate:
        missing = ("probability_targets", "weight", "ignore_index", "reduction", "label_smoothing")
        assert candidate.offered == {**dict.fromkeys(missing, False), "batched": True, "index_targets": True}
        loss = Batch("cross_entropy", "float32", "", {"logits": ROW.x, "target": np.array([0, 2])})
        assert candidate.supports(loss)
        assert not candidate.supports(Batch("cross_entropy", "float32", "", loss.inputs, {"reduction": "sum"}))
        mean = candidate.call(loss)
        each = candidate.call(Batch("cross_entropy", "float32", "", loss.inputs, {"reduction": "none"}))
        assert isinstance(mean, Returned)
        assert isinstance(each, Returned)
        assert each.value.shape == (2,)
        np.testing.assert_allclose(each.value.mean(), mean.value, rtol=1e-6)


def test_the_worker_starts_quickly_and_imports_little() -> None:
    """The child needs neither pandas nor hypothesis nor mpmath."""
    heavy = ("pandas", "hypothesis", "mpmath", "xent_verify.implementations", "numba")
    code = f"import sys, xent_verify.candidates.worker; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
