"""Hostile targets: each becomes the outcome that names it, the next call works, and nothing of it is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from xent_verify.candidates import codec, isolate, open_candidate
from xent_verify.core.failures import UsageError
from xent_verify.core.model import Batch, Died, Malformed, Outcome, Raised, Returned, TimedOut

HOSTILE = Path(__file__).parent / "hostile" / "misbehaving.py"
X = np.array([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]], np.float32)
ROW = Batch("softmax", "float32", "test", {"x": X})
OTHER = Batch("softmax", "float32", "test", {"x": X[::-1].copy()})
TIMEOUT = 1.0

RAISED = {
    "raises": ("RuntimeError", "no"),
    "raises_unprintable": ("Unprintable", "cannot be printed"),
    "raises_abruptly": ("Abrupt", "now"),
    "raises_group": ("ExceptionGroup", "several"),
    "interrupts": ("KeyboardInterrupt", ""),
    "exits": ("SystemExit", "4"),
    "recurses": ("RecursionError", "maximum recursion"),
    "asks_for_too_much": ("MemoryError", "Unable to allocate"),
    "opens_no_more_files": ("OSError", "Too many open files"),
}
DIED = {
    "exits_hard": "exit status 0",
    "aborts": "signal 6 (SIGABRT) in aborts (misbehaving.py, line ",
    "reads_address_zero": "signal 11 (SIGSEGV) in reads_address_zero (misbehaving.py, line ",
    "kills_itself": "signal 9 (SIGKILL)",
    "closes_everything": "exit status ",
    "leaves_a_child_and_aborts": "signal 6 (SIGABRT)",
    "takes_all_memory": "memory limit of 600 MB (--memory allows more)",
    "takes_all_memory_in_a_child": "memory limit of 600 MB",
    "shares_all_memory": "memory limit of 600 MB",
    "kills_its_parent": "signal 9 (SIGKILL)",
    "kills_its_parent_and_leaves_a_daemon": "signal 9 (SIGKILL)",
    "kills_its_group": "signal 9 (SIGKILL)",
    "is_told_of_a_bad_division": "signal 8 (SIGFPE)",
    "breaks_builtins": "exit status 1: TypeError",
    "returns_vengeful": "exit status 5",
    "returns_a_file_that_shrinks": "signal 7 (SIGBUS)",
    "limits_its_processor_time": "signal ",
    "turns_every_pipe_to_stdout": "exit status 0",
}
SILENT = (
    "loops", "refuses_to_end", "waits_in_c", "stops_itself", "waits_with_a_child", "stops_its_group", "blocks_every_signal",
    "locks_forever", "joins_a_thread_that_never_ends", "reads_a_pipe_that_nobody_writes", "matches_forever",
    "waits_with_a_daemon",
)  # fmt: skip
MALFORMED = {
    "writes_into_everything": "its process answered with no frame of the protocol",
    "returns_none": "a NoneType",
    "returns_text": "a str",
    "returns_bool": "a bool",
    "returns_list": "a list of 6 (float)",
    "returns_generator": "a generator",
    "returns_dict": "a dict",
    "returns_objects": "an array of object",
    "returns_complex": "an array of complex128",
    "returns_masked": "a masked array",
    "returns_records": "an array of void64",
    "returns_dates": "an array of datetime64[s]",
    "returns_explosive": "an Explosive that cannot be read (SystemExit)",
    "returns_bad_interface": "an Overflowing that cannot be read (",
    "returns_huge_view": "a broadcast view of 4398046511104 bytes",
    "returns_huge_int": "an int beyond every float",
    "returns_type": "a type",
    "returns_duck": "a Duck that cannot be read (AttributeError)",
}
SOUND = (
    "prints", "floods", "closes_stdout", "leaves_a_child", "comes_back_twice", "leaves_a_thread", "lies_about_its_shape",
    "prints_without_measure", "leaves_a_daemon", "leaves_many_daemons", "interrupts_its_parent", "stops_its_parent",
    "leaves_its_session", "leaves_zombies", "changes_its_environment", "closes_its_stdin", "replaces_the_streams",
    "registers_an_exit", "sets_an_alarm", "traces_everything", "collects_no_garbage",
    "stops_the_clocks", "writes_for_ever", "ends_hard_at_exit", "forks_many", "returns_twice", "returns_unfinished",
    "changes_its_answer_later", "raises_later", "has_no_signature",
)  # fmt: skip
IN_PROCESS = {
    "returns_bytes": "a bytes",
    "returns_nan_text": "a str",
    "returns_set": "a set",
    "returns_itself": "a function",
    "returns_module": "a module",
    "returns_endless": "an Endless",
    "returns_long_name": "a \x1b[2J",
    "returns_strings": "an array of str32",
    "returns_timedeltas": "an array of timedelta64[s]",
    "returns_coroutine": "a coroutine",
    "returns_decimals": "a list of 6 (Decimal)",
    "returns_nested": "a list of 1 (list)",
    "returns_ragged": "a list of 2 (list)",
    "returns_cycle": "a list of 1 (list)",
    "raises_a_sneaky_message": "Sneaky: ",
    "raises_a_long_chain": "ValueError: 2999",
    "raises_stop_iteration": "StopIteration: 3",
    "raises_generator_exit": "GeneratorExit: ",
    "raises_a_usage_error": "UsageError: not of",
    "raises_a_memory_error": "MemoryError: ",
    "raises_a_class_with_no_name": ": ",
}
"""Target -> how its outcome begins, on the way over the wire; none of them harms this process."""

STATE = {
    "changes_error_state": "NumPy error state",
    "seeds_numpy": "NumPy random state",
    "seeds_python": "Python random state",
    "changes_directory": "working directory",
    "changes_recursion_limit": "recursion limit",
    "rounds_towards_zero": "floating-point mode",
    "removes_its_directory": "working directory",
}
UNOPENED = {
    "replaces_modules": "cannot be prepared (ValueError: numpy.__spec__ is None)",
    "forgets_modules": "cannot be prepared (AttributeError: module 'sys'",
    "refuses_every_event": "cannot be prepared (PermissionError: ",
    "is_evasive": "exit status 1: LookupError: \\x1b[31m",
}
"""Targets that break what a call needs so thoroughly that the small calls of the opening do not come through."""


@pytest.fixture(autouse=True)
def left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test runs in an empty directory; afterwards no process and no file of it is left."""
    mark = uuid.uuid4().hex
    monkeypatch.setenv("XENT_VERIFY_HOSTILE", mark)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield
    allowed = time.monotonic() + 3
    while marked(mark) and time.monotonic() < allowed:
        time.sleep(0.02)
    assert not marked(mark)
    assert [path for path in tmp_path.iterdir() if path.name != "broken.py"] == []


def marked(mark: str) -> list[int]:
    """Living processes whose environment carries the mark."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if mark.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def asked(name: str, *, timeout: float = TIMEOUT, memory_mb: int = 4096) -> tuple[Outcome, Outcome]:
    """Two isolated calls."""
    with open_candidate(f"{HOSTILE}:{name}", "softmax", timeout=timeout, memory_mb=memory_mb) as candidate:
        return candidate.call(ROW), candidate.call(OTHER)


@pytest.mark.parametrize("name", RAISED)
def test_exceptions_of_every_kind_are_values(name: str) -> None:
    """Whatever is raised comes back with its type and message, at every call."""
    for got in asked(name):
        assert isinstance(got, Raised)
        assert got.type_name == RAISED[name][0]
        assert RAISED[name][1] in got.message
        assert got.where


@pytest.mark.parametrize("name", DIED)
def test_endings_of_the_process_are_values(name: str) -> None:
    """A process that ends in a call, or breaks off the conversation, is reported at once; the next call has a new one."""
    start = time.monotonic()
    for got in asked(name, memory_mb=600, timeout=30.0):
        assert isinstance(got, Died)
        assert got.how.startswith(DIED[name])
    assert name == "takes_all_memory" or time.monotonic() - start < 20


@pytest.mark.parametrize("name", SILENT)
def test_silence_is_a_timeout(name: str) -> None:
    """Endless loops, in Python or in C, ignored signals, stopped processes: ended after the limit."""
    with open_candidate(f"{HOSTILE}:{name}", "softmax", timeout=0.3, kwargs={}) as candidate:
        assert candidate.call(ROW) == TimedOut(0.3)


@pytest.mark.parametrize("name", MALFORMED)
def test_answers_that_are_no_arrays_are_named(name: str) -> None:
    """Anything but an array of real numbers says what it was."""
    for got in asked(name):
        assert isinstance(got, Malformed)
        assert got.what.startswith(MALFORMED[name])


@pytest.mark.parametrize("name", SOUND)
def test_noise_does_not_spoil_the_answer(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Printing, forking, threads and broken globals leave the answers right, and our own streams silent."""
    for got, batch in zip(asked(name), (ROW, OTHER), strict=True):
        assert isinstance(got, Returned)
        wanted = np.exp(batch.x) / np.exp(batch.x).sum(1, keepdims=True)
        np.testing.assert_allclose(got.value, wanted, rtol=1e-6)
        if name == "prints":
            assert sorted(got.printed.splitlines()) == ["and from below", "and to stderr", "hello from the target"]
        assert len(got.printed) <= 2000
    assert capfd.readouterr() == ("", "")


def over_the_wire(outcome: Outcome) -> Outcome:
    """An outcome as the other end of the pipe reads it."""
    data, place = b"".join(map(bytes, codec.outcome_frame(outcome, 1))), 0

    def read(count: int) -> bytes:
        nonlocal place
        place += count
        return data[place - count : place]

    return codec.decode_outcome(codec.read_frame(read, 2**20))


@pytest.mark.parametrize("name", IN_PROCESS)
def test_odd_answers_and_exceptions_reach_the_other_end(name: str) -> None:
    """Whatever is returned or raised travels as a short text of encodable characters."""
    with open_candidate(f"{HOSTILE}:{name}", "softmax", isolated=False) as candidate:
        got = over_the_wire(candidate.call(ROW))
    assert isinstance(got, Malformed | Raised)
    text = got.what if isinstance(got, Malformed) else f"{got.type_name}: {got.message}"
    assert text.startswith(IN_PROCESS[name])
    assert len(text.encode()) < 5000


def test_a_target_that_dies_at_every_second_start_is_given_up(tmp_path: Path) -> None:
    """An import that fails again and again is a crash with its reason, and soon nothing is started any more."""
    (tmp_path / "count").write_text("")
    (tmp_path / "broken.py").write_text(
        "import os, pathlib\nplace = pathlib.Path(__file__).with_name('count')\nplace.write_text(place.read_text() + 'x')\n"
        "if len(place.read_text()) > 1: raise OSError('not today')\ndef f(x): os._exit(3) if x.max() == 7.25 else x\n"
    )
    with open_candidate("broken.py:f", "softmax", timeout=5.0) as candidate:
        told = [candidate.call(Batch("softmax", "float32", "test", {"x": X + 4.25})) for _ in range(6)]
    (tmp_path / "count").unlink()
    assert all(isinstance(got, Died) for got in told)
    assert any("could not be started again: " in str(got) and "not today" in str(got) for got in told)
    assert "not started any more after 3 starts" in str(told[-1])


def test_what_left_every_session_is_ended_at_once() -> None:
    """A daemon whose environment is empty and whose parents ended lives no longer than its target."""

    def sleepers() -> int:
        lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
        return sum(line == b"sleep\x0061.25\0" for line in lines)

    before = sleepers()
    with open_candidate(f"{HOSTILE}:leaves_many_daemons", "softmax") as candidate:
        assert isinstance(candidate.call(ROW), Returned)
        assert sleepers() >= before + 8
    assert sleepers() == before


def test_a_target_that_breaks_numpy_harms_only_itself() -> None:
    """Functions of NumPy that a target replaces are gone in its process, which is where they are missed."""
    for got in asked("breaks_numpy"):
        assert isinstance(got, Raised)
    assert callable(np.exp)


@pytest.mark.parametrize("name", UNOPENED)
def test_what_cannot_even_be_opened_is_wrong_use(name: str) -> None:
    """One line of printable characters that says what was met."""
    with pytest.raises(UsageError) as caught:
        asked(name)
    assert UNOPENED[name] in str(caught.value)
    assert str(caught.value).isprintable()


def test_exceptions_that_strike_anywhere_end_in_an_outcome() -> None:
    """One that a thread throws into the main one meets the target's code or ours: an exception or an end, in time."""
    begun = time.monotonic()
    for got in asked("raises_from_a_thread"):
        assert isinstance(got, Raised | Died | TimedOut)
    assert time.monotonic() - begun < 30


def test_a_target_cannot_hide_its_writes_behind_numpy() -> None:
    """Comparing functions that it replaced are not the ones that are asked."""
    for got in asked("lies_about_comparisons"):
        assert isinstance(got, Returned)
        assert got.mutated == ("x",)


@pytest.mark.parametrize("name", STATE)
def test_changed_state_is_named_every_time(name: str) -> None:
    """A change of global state is listed at each call, since it is put back after each."""
    for got in asked(name):
        assert isinstance(got, Returned)
        assert got.global_state == (STATE[name],)


@pytest.mark.parametrize("name", STATE)
def test_changed_state_is_put_back_in_process(name: str) -> None:
    """The caller's own process has its state again after the call."""
    before = np.geterr(), Path.cwd(), sys.getrecursionlimit(), np.random.get_state()[1].tobytes()
    with open_candidate(f"{HOSTILE}:{name}", "softmax", isolated=False) as candidate:
        got = candidate.call(ROW)
    assert isinstance(got, Returned)
    assert got.global_state == (STATE[name],)
    assert before == (np.geterr(), Path.cwd(), sys.getrecursionlimit(), np.random.get_state()[1].tobytes())


@pytest.mark.parametrize("isolated", [True, False])
def test_memory_shared_with_the_caller_is_seen(isolated: bool) -> None:
    """Writes to arguments, results that are arguments, results that change later."""

    def calls(name: str) -> list[Returned]:
        with open_candidate(f"{HOSTILE}:{name}", "softmax", isolated=isolated) as candidate:
            found = [candidate.call(batch) for batch in (ROW, OTHER)]
        assert all(isinstance(got, Returned) for got in found)
        return found  # type: ignore[return-value]

    kept = X.copy()
    assert [got.mutated for got in calls("writes_to_its_input")] == [("x",), ("x",)]
    assert [got.aliases_input for got in calls("returns_its_input")] == [True, True]
    assert [got.earlier_changed for got in calls("shares_a_buffer")] == [False, True]
    assert np.array_equal(X, kept)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("x = (", "SyntaxError"),
        ("import nowhere_at_all", "ModuleNotFoundError"),
        ("import sys; sys.exit(5)", "SystemExit: 5"),
        ("import os; os._exit(7)", "exit status 7"),
        ("import os; os.abort()", "SIGABRT"),
        ("raise KeyboardInterrupt", "ended the process"),
        ("import time; time.sleep(30)", "did not finish within 1 s (--timeout S allows 12 S seconds"),
        ("import os; os.kill(os.getppid(), 9); import time; time.sleep(9)", "signal 9 (SIGKILL)"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("import os; os.closerange(3, 256)", "ended the process"),
        ("raise SystemExit", "SystemExit"),
        ("import sys; sys.stderr.write('x' * 10**7); 1 / 0", "ZeroDivisionError"),
        ("raise type('x' * 10**6, (Exception,), {})('y' * 10**6)", "xxx"),
        ("def g(): return g()\ng()", "RecursionError"),
    ],
)
def test_imports_that_misbehave_are_wrong_use(
    text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A target that can't be imported is a usage error in one line, whatever its import does."""
    if "sleep" in text:
        monkeypatch.setattr(isolate, "IMPORT_SECONDS", 1.0)
    (tmp_path / "broken.py").write_text(f"{text}\ndef f(x): return x\n")
    with pytest.raises(UsageError) as caught:
        open_candidate("broken.py:f", "softmax", timeout=0.05 if "sleep" in text else 10.0)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_state_changed_at_import_is_told_with_the_first_answer(tmp_path: Path) -> None:
    """What an import changes for every caller counts too."""
    (tmp_path / "broken.py").write_text("import numpy as np\nnp.seterr(all='raise')\ndef f(x): return x + 0\n")
    with open_candidate("broken.py:f", "softmax") as candidate:
        first, second = candidate.call(ROW), candidate.call(ROW)
    assert isinstance(first, Returned)
    assert isinstance(second, Returned)
    assert first.global_state == ("NumPy error state (at import)",)
    assert second.global_state == ()


def test_an_interrupt_ends_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while a target runs reaches the caller, and the target is gone."""
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with open_candidate(f"{HOSTILE}:loops", "softmax", timeout=0.3) as candidate:
        candidate._engine._timeout = 20.0  # type: ignore[attr-defined]
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(KeyboardInterrupt):
            candidate.call(ROW)
        assert candidate._engine._process is None  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["loops", "leaves_a_child"])
def test_the_child_ends_with_a_killed_parent(name: str) -> None:
    """SIGKILL to the caller takes the target and what it started with it."""
    code = (
        "import numpy as np\nfrom xent_verify.candidates import open_candidate\nfrom xent_verify.core.model import Batch\n"
        f"c = open_candidate({str(HOSTILE) + ':' + name!r}, 'softmax', timeout=1)\nc._engine._timeout = 60\n"
        "print('ready', flush=True)\nc.call(Batch('softmax', 'float32', '', {'x': np.ones((2, 3), np.float32)}))\n"
        "print('answered', flush=True)\nimport time\ntime.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=HOSTILE.parents[2])
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    if name == "leaves_a_child":
        assert process.stdout.readline() == "answered\n"
    assert len(marked(os.environ["XENT_VERIFY_HOSTILE"])) >= 2
    process.kill()
    process.wait()
    process.stdout.close()


AUDITED = {
    **dict.fromkeys(("raises", "raises_unprintable", "exits", "asks_for_too_much"), "exception"),
    **dict.fromkeys(("exits_hard", "aborts", "reads_address_zero", "closes_everything"), "crash"),
    **dict.fromkeys(("loops", "waits_in_c"), "timeout"),
    **dict.fromkeys(("returns_none", "returns_list", "returns_objects", "returns_explosive"), "dtype"),
    "writes_to_its_input": "input_mutated",
    "shares_a_buffer": "stateful",
    "changes_its_answer_later": "stateful",
    "lies_about_comparisons": "input_mutated",
    **dict.fromkeys(("prints", "leaves_a_thread", "comes_back_twice", "lies_about_its_shape", *STATE), ""),
}
"""Target -> the kind of failure that the audit must report ("" for none)."""


@pytest.mark.slow
@pytest.mark.parametrize("name", AUDITED)
def test_the_audit_tells_each(name: str) -> None:
    """Exit status 1 and the right kind of finding in the JSON for what misbehaves; noise and state are no failures."""
    words = [sys.executable, "-m", "xent_verify", "audit", f"{HOSTILE}:{name}", "--op", "softmax", "--dtype", "float32"]
    words += ["--profile", "quick", "--json", "-", *(["--timeout", "0.5", "--fail-fast"] if AUDITED[name] else [])]
    root = {**os.environ, "PYTHONPATH": str(HOSTILE.parents[2])}
    done = subprocess.run(words, capture_output=True, text=True, env=root, check=False)
    findings = json.loads(done.stdout)["targets"][0]["dtypes"][0]["findings"]
    failed = {finding["kind"] for finding in findings if finding["severity"] == "fail"}
    assert failed == ({AUDITED[name]} if AUDITED[name] else set())
    assert done.returncode == bool(failed)
    assert name not in STATE or any(finding["kind"] == "stateful" for finding in findings)
