"""Signals that ask for an end: what is done is written, the exit tells the signal, and no process is left."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from xent_verify.candidates.keeper import end_family
from xent_verify.cli import run
from xent_verify.core import interrupts
from xent_verify.core.interrupts import exit_status, finishing, listening, raise_pending

ROOT = Path(__file__).parents[1]
SLOW = """
import pathlib, time

def never(x):
    pathlib.Path({reached!r}).touch()
    time.sleep(60)
"""
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
ONE_AND_SLOWLY_ALL = [
    signal.SIGTERM, *(pytest.param(one, marks=pytest.mark.slow) for one in (signal.SIGINT, signal.SIGHUP))
]  # fmt: skip
QUICK = ["--op", "softmax", "--profile", "quick", "--regimes", "ordinary", "--dtype", "float32"]


def heard() -> None:
    """Signals that the test run itself was started without (in the background, under nohup) are heard all the same."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


class Place:
    """A folder with a target that reaches ``reached`` and waits, and the processes that were started in it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.reached, self.mark = folder, folder / "reached", uuid.uuid4().hex
        (folder / "slow.py").write_text(SLOW.format(reached=str(self.reached)))

    def start(self, *words: str) -> subprocess.Popen[str]:
        """A command of the program, once its target waits."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "INTERRUPTED_RUN": self.mark, "MPLBACKEND": "agg"}
        process = subprocess.Popen(
            [sys.executable, "-m", "xent_verify", *words],
            cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heard,
        )  # fmt: skip
        self.wait_for(self.reached, process)
        return process

    def wait_for(self, path: Path, process: subprocess.Popen[str]) -> None:
        limit = time.monotonic() + 60
        while not path.exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < limit
            time.sleep(0.02)
        time.sleep(0.2)

    def living(self) -> list[int]:
        wanted, found = f"INTERRUPTED_RUN={self.mark}".encode(), []
        for entry in Path("/proc").glob("[0-9]*/environ"):
            try:
                if wanted in entry.read_bytes().split(b"\0"):
                    found.append(int(entry.parent.name))
            except OSError:
                continue
        return found

    def hidden(self) -> list[str]:
        return [path.name for path in self.folder.rglob(".*")]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Whatever a test started is gone five seconds later."""
    made = Place(tmp_path)
    yield made
    limit = time.monotonic() + 5
    while made.living() and time.monotonic() < limit:
        time.sleep(0.05)
    left = made.living()
    end_family(made.living)
    assert not left


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("jobs", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_an_audit_keeps_what_it_has(number: signal.Signals, jobs: str, place: Place) -> None:
    """The target that was done is in the JSON, which says that it is not all; the exit is 128 and the number."""
    targets = ["stable", "slow.py:never"]
    if jobs == "2":
        targets.reverse()
    process = place.start("audit", *targets, *QUICK, "--timeout", "60", "--jobs", jobs, "--json", "r.json")
    if jobs == "2":
        time.sleep(4)  # the other one ends meanwhile
    process.send_signal(number)
    told = process.communicate(timeout=20)
    assert process.returncode == SIGNALS[number], told
    assert "Interrupted; until then: 1 of 2 target × dtype pairs could not be completed" in told[0]
    assert "slow.py:never softmax float32: not asked: interrupted before" in told[1]
    made = json.loads((place.folder / "r.json").read_text())
    assert made["interrupted"]
    assert not made["ok"]
    assert [target["target"] for target in made["targets"] if target["dtypes"][0]["cases"]] == ["stable"]
    assert not place.hidden()


@pytest.mark.parametrize("number", ONE_AND_SLOWLY_ALL)
def test_a_gate_keeps_what_it_has_and_leaves_the_baseline(number: signal.Signals, place: Place) -> None:
    """The first target's result is written; the old baseline stands."""
    tables = "".join(f'[[target]]\ntarget = "{name}"\n' for name in ("stable", "slow.py:never"))
    (place.folder / "xent-verify.toml").write_text(
        f'op = "sigmoid"\nprofile = "quick"\ntimeout = 60.0\ndtypes = ["float8_e5m2"]\n{tables}'
    )
    old = '{"schema": 1, "findings": []}'
    (place.folder / "xent-verify-baseline.json").write_text(old)
    process = place.start("gate", "--update-baseline", "--json", "r.json", "--markdown", "r.md")
    process.send_signal(number)
    told = process.communicate(timeout=20)
    assert process.returncode == SIGNALS[number], told
    made = json.loads((place.folder / "r.json").read_text())
    assert made["interrupted"]
    assert [target["target"] for target in made["targets"]] == ["stable", "slow.py:never"][: len(made["targets"])]
    assert made["targets"][0]["dtypes"]
    assert "Interrupted; until then: 1 of 2" in (place.folder / "r.md").read_text()
    assert (place.folder / "xent-verify-baseline.json").read_text() == old
    assert not place.hidden()


@pytest.mark.parametrize("number", ONE_AND_SLOWLY_ALL)
def test_a_proof_keeps_its_log_and_says_that_it_is_partial(number: signal.Signals, place: Place) -> None:
    """With no chunk done there is no certificate, and the JSON says that nothing was."""
    process = place.start(
        "prove", "slow.py:never", "--op", "sigmoid", "--dtype", "float8_e5m2", "--timeout", "60", "--log", "l.log",
        "--json", "r.json", "--out", "proofs",
    )  # fmt: skip
    process.send_signal(number)
    told = process.communicate(timeout=20)
    assert process.returncode == SIGNALS[number], told
    made = json.loads((place.folder / "r.json").read_text())
    assert made["interrupted"]
    assert made["targets"][0]["settings"]["certificate"]["label"] == "partial"
    assert not list(place.folder.glob("proofs/*"))
    assert not place.hidden()


def test_a_second_signal_ends_at_once(place: Place) -> None:
    """The first is swallowed by a target in this very process; half a second later the second ends it."""
    (place.folder / "deaf.py").write_text(
        "import pathlib, time\ndef f(x):\n    while True:\n        try:\n            pathlib.Path('reached').touch()\n"
        "            time.sleep(60)\n        except BaseException:\n            pass\n"
    )
    process = place.start("audit", "deaf.py:f", *QUICK, "--in-process", "--json", "r.json")
    process.terminate()
    time.sleep(0.6)
    assert process.poll() is None
    process.terminate()
    assert process.wait(timeout=5) == -signal.SIGTERM
    process.communicate()
    assert not (place.folder / "r.json").exists()


def test_a_signal_that_the_target_swallowed_ends_the_audit_all_the_same(place: Place) -> None:
    """The next question is not asked any more."""
    (place.folder / "deaf.py").write_text(
        "import pathlib, time\ndef f(x):\n    try:\n        if x.shape[-1] > 3:\n            pathlib.Path('reached').touch()\n"
        "            time.sleep(60)\n    except BaseException:\n        pass\n    return x + 0\n"
    )
    process = place.start("audit", "deaf.py:f", *QUICK, "--in-process", "--json", "r.json")
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == 143
    assert json.loads((place.folder / "r.json").read_text())["interrupted"]


@pytest.mark.parametrize(
    "words",
    [["audit", "slow.py:never", "naive", *QUICK], ["prove", "slow.py:never", "--op", "sigmoid", "--dtype", "float16"]],
)
def test_workers_end_with_a_killed_parent(words: list[str], place: Place) -> None:
    """SIGKILL to the program takes its pool and their targets along (the fixture looks)."""
    process = place.start(*words, "--timeout", "60", "--jobs", "2")
    assert len(place.living()) >= 4
    process.kill()
    process.communicate()


def test_a_terminal_that_closes_takes_no_result_along(place: Place) -> None:
    """Progress and text have nowhere to go any more; the file is written."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "INTERRUPTED_RUN": place.mark}
    words = ["audit", "stable", "slow.py:never", *QUICK, "--timeout", "60", "--json", "r.json"]
    child, terminal = pty.fork()
    if child == 0:
        heard()
        os.chdir(place.folder)
        os.execve(sys.executable, [sys.executable, "-m", "xent_verify", *words], environment)
    limit = time.monotonic() + 60
    while not place.reached.exists() and time.monotonic() < limit:
        os.read(terminal, 1000)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 129
    assert json.loads((place.folder / "r.json").read_text())["interrupted"]


@pytest.mark.slow
def test_kills_lose_nothing_and_leave_nothing() -> None:
    """A small round of ``benchmarks/kills.py``, which fails where a file, a proof or a process is counted."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, str(ROOT / "benchmarks" / "kills.py"), "--kills", "4", "--seed", "5"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| all | |" in done.stdout


def test_a_signal_that_was_ignored_stays_so() -> None:
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with listening():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGTERM) not in (signal.SIG_IGN, signal.SIG_DFL)
            raise_pending()
            assert exit_status(0) == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_is_being_written_is_written_to_its_end() -> None:
    """The signal waits, and the exit tells it; its echo a moment later counts for nothing."""
    done = []
    with listening():
        with finishing():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
            done.append(np.exp(0.0))
        assert done
        assert exit_status(0) == 143
    assert interrupts._heard.writing == 0


def test_a_signal_in_code_that_is_made_from_text_does_not_end_python_by_sigint() -> None:
    """Dataclasses are made so while modules are imported; a plain KeyboardInterrupt there decides Python's own exit."""
    code = (
        "import sys\nfrom xent_verify.core.interrupts import listening\nwith listening():\n    try:\n"
        "        exec('import os, signal; os.kill(os.getpid(), signal.SIGTERM)')\n    except KeyboardInterrupt:\n        pass\n"
        "sys.exit(143)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == 143


def test_a_run_without_a_signal_has_its_own_status() -> None:
    """And the handlers are back."""
    before = [signal.getsignal(number) for number in SIGNALS]
    assert run(["list", "policies"]) == 0
    assert [signal.getsignal(number) for number in SIGNALS] == before
