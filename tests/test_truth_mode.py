"""The floating-point mode: truth is right under any, and the arithmetic is tried before it is used."""

from __future__ import annotations

import ctypes
import platform
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from xent_verify import audit, reference
from xent_verify.candidates import state
from xent_verify.core import floating
from xent_verify.core.failures import UsageError
from xent_verify.truth import dd_numpy, engines, selftest
from xent_verify.truth import doubledouble as dd
from xent_verify.truth.loose import Loose

FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO = 0x800, 0x400, 0xC00  # x86
SHIM = """
#include <xmmintrin.h>
void flush(void) { _mm_setcsr(_mm_getcsr() | 0x8040); }
"""


x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the modes of x86")


@pytest.fixture(scope="module")
def flush(tmp_path_factory) -> Callable[[], None]:
    """A function that sets flush-to-zero and denormals-are-zero in the calling thread."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(SHIM)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / "shim.so", folder / "shim.c"], check=True)
    return ctypes.CDLL(str(folder / "shim.so")).flush


@pytest.fixture(params=["flush", FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO])
def spoil(request) -> Iterator[Callable[[], None]]:
    """A function that spoils the mode of the calling thread; the test's own is put right after."""
    if request.param == "flush":
        yield request.getfixturevalue("flush")
    else:
        libm = ctypes.CDLL("libm.so.6")
        yield lambda: libm.fesetround(request.param)
    assert floating.set_default()


def answers() -> list[bytes]:
    """Truth of subnormal, ordinary and tied values, in bytes."""
    x = np.array([[0.0, -744.0, -708.5, 1.0], [0.1, 0.2, 0.3, -1e-310]])
    found = []
    for op in ("softmax", "log_softmax", "logsumexp", "log_sigmoid"):
        truth = reference(op, x)
        found += [truth.rounded(fmt).tobytes() for fmt in ("float64", "float32", "bfloat16")]
        found.append(truth.error_ulp(np.zeros(truth.shape), "float64").tobytes())
        found.append(truth.hi.tobytes() + truth.lo.tobytes())
    return found


@x86
def test_reference_is_right_in_every_mode(spoil: Callable[[], None]) -> None:
    """The bits are those of the default mode, and the caller's mode is put back."""
    right = answers()
    spoil()
    spoiled = floating.mode()
    assert spoiled != floating.SOUND
    assert answers() == right
    assert floating.mode() == spoiled


@x86
def test_worker_threads_are_looked_at(spoil: Callable[[], None]) -> None:
    """A thread has its own mode."""
    right, found = answers(), []

    def work() -> None:
        spoil()
        found.append(answers())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [right]
    assert floating.mode() == floating.SOUND


@x86
def test_refusal_where_the_mode_cannot_be_set(spoil: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """One clear line."""
    monkeypatch.setattr(floating, "_libm", lambda: None)
    spoil()
    with pytest.raises(UsageError, match=r"floating-point mode .* could not be set right"):
        reference("softmax", [0.0, 1.0])
    monkeypatch.undo()


@x86
def test_an_audit_is_right_beside_a_target_that_spoils_the_mode(spoil: Callable[[], None]) -> None:
    """Seen around every call, in process as well; the values of a sound target are not blamed."""

    def target(x: np.ndarray) -> np.ndarray:
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        p = e / e.sum(axis=-1, keepdims=True)
        spoil()
        return p

    report = audit(target, op="softmax", dtypes=["float32"], profile="quick", regimes=["ordinary", "layouts"])
    assert {finding.kind for finding in report.signs if finding.severity != "info"} == {"stateful"}
    assert floating.mode() == floating.SOUND


@x86
def test_a_mode_set_at_import_does_not_outlast_a_call(spoil: Callable[[], None]) -> None:
    """What was wrong before a call is put right after it."""
    spoil()
    with state.kept():
        pass
    assert floating.mode() == floating.SOUND


def test_the_arithmetic_is_tried() -> None:
    """Both engines pass here, and each of the faults that matter is seen."""
    assert selftest.faults(dd.two_sum, dd.two_product, dd.split) == ()
    contracted = selftest.faults(dd.two_sum, lambda a, b: (a * b, 0 * a), dd.split)
    assert contracted == ("two_product",)
    rough = selftest.faults(lambda a, b: (a + b, 0 * a), dd.two_product, lambda a: (a, 0 * a))
    assert rough == ("two_sum", "split")
    flushed = selftest.faults(
        lambda a, b: tuple(np.where(np.abs(v) < 2.0**-1022, 0.0, v) for v in dd.two_sum(a, b)), dd.two_product, dd.split
    )
    assert "subnormals" in flushed


def one_bit_off() -> Callable[..., Loose]:
    def log_softmax(*given: object) -> Loose:
        loose = dd_numpy.log_softmax(*given)  # type: ignore[arg-type]
        loose.low[3, 5] = np.nextafter(loose.low[3, 5], 1)
        return loose

    return log_softmax


def test_the_compiled_arithmetic_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiled engine that fails is not used."""
    pytest.importorskip("xent_verify.truth.dd_numba")
    assert engines.accelerated() is not None
    off = one_bit_off()
    monkeypatch.setattr(engines, "FAST", replace(engines.FAST, log_softmax=off))
    engines.accelerated.cache_clear()
    assert engines.accelerated() is None
    engines.accelerated.cache_clear()
