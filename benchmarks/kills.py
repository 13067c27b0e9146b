"""Commands killed at random moments: what is lost, and what is left behind.

    python benchmarks/kills.py                     100 kills, spread over four commands; a table; exit 1 where anything is counted
    python benchmarks/kills.py --kills 8 --seed 3

SIGKILL and SIGTERM by turns, at a moment drawn over the time that the command takes. A command's target starts a daemon in a
session of its own, with nothing of our environment. Counted as *lost*: a file that is neither the old one nor whole; an old
one that is gone; a proof whose certificate, once it is resumed, is not byte for byte that of an undisturbed one; an exit that
does not tell the signal. Counted as *left*: processes that live five seconds later, and temporary files that are still there
after the next run.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from xent_verify.core.failures import UsageError
from xent_verify.gate.baseline import read_baseline
from xent_verify.prove.certificate import read_certificate
from xent_verify.report import read_report

ROOT = Path(__file__).resolve().parents[1]
SIGNALS = (signal.SIGKILL, signal.SIGTERM)
PATIENCE = 5.0
LONGEST = 120.0
TARGET = """
import os
import numpy as np

def daemon():
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 256)
        os.execve("/bin/sleep", ["sleep", "{seconds}"], {{}})
    os._exit(0)

started = []

def softmax(x, axis=-1):
    if not started:
        started.append(daemon())
    with np.errstate(all="ignore"):
        e = np.exp(x - x.max(axis=axis, keepdims=True, initial=-np.inf))
        return e / e.sum(axis=axis, keepdims=True)

def sigmoid(x):
    if not started:
        started.append(daemon())
    with np.errstate(all="ignore"):
        return (1 / (1 + np.exp(-x))).astype(x.dtype)
"""
SETTINGS = """
op = "sigmoid"
profile = "quick"
dtypes = ["float8_e5m2"]
[[target]]
target = "kernel.py:sigmoid"
"""
AUDIT = (
    "audit", "kernel.py:sigmoid", "--op", "sigmoid", "--dtype", "float8_e5m2", "--profile", "quick",
    "--regimes", "ordinary,overflow_edge",
)  # fmt: skip
PROOF = ("prove", "kernel.py:softmax", "--op", "softmax", "--dtype", "float8_e5m2", "--domain", "pairs")

Check = Callable[[Path], None]
"""Reads a file to its end; raises where it is not whole."""


def report_whole(path: Path) -> None:
    read_report(path)


def certificate_whole(path: Path) -> None:
    read_certificate(path)


def text_whole(path: Path) -> None:
    """Pages and pictures end with their closing tag, tables and texts with a line's end."""
    text = path.read_text(encoding="utf-8")
    end = {".html": "</html>", ".svg": "</svg>"}.get(path.suffix, "\n")
    if not text.endswith((end, f"{end}\n")):
        raise UsageError(f"{path.name}: ends with {text[-40:]!r}")


def parquet_whole(path: Path) -> None:
    if path.read_bytes()[-4:] != b"PAR1":
        raise UsageError(f"{path.name}: has no end")


def baseline_whole(path: Path) -> None:
    read_baseline(path)


@dataclass
class Command:
    """One command: its words, what its files must be (name -> reader; a folder's files by their suffix)."""

    name: str
    words: tuple[str, ...]
    files: dict[str, Check]
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)

    def wrong(self, kind: str, text: str) -> None:
        self.counts[kind] += 1
        self.told.append(f"{self.name}: {kind}: {text}")


BY_SUFFIX: dict[str, Check] = {
    ".json": report_whole, ".parquet": parquet_whole,
    **dict.fromkeys((".html", ".svg", ".md", ".csv", ".tex"), text_whole),
}  # fmt: skip


def commands() -> list[Command]:
    return [
        Command("prove", (*PROOF, "--out", "proofs", "--json", "proof.json"), {"proof.json": report_whole}),
        Command(
            "gate --update-baseline",
            ("gate", "--update-baseline", "--json", "gate.json"),
            {"xent-verify-baseline.json": baseline_whole, "gate.json": report_whole},
        ),
        Command("report", ("report", "kept.json", "--out", "pages"), {"pages": report_whole}),
        Command("audit --json", (*AUDIT, "--json", "result.json"), {"result.json": report_whole}),
    ]


class Place:
    """A folder in which commands run, and the mark of every process that they start."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mark, self.sleep = uuid.uuid4().hex, f"7{random.SystemRandom().randrange(10**6):06}.25"
        (folder / "tmp").mkdir()
        (folder / "kernel.py").write_text(TARGET.format(seconds=self.sleep))
        (folder / "xent-verify.toml").write_text(SETTINGS)
        self.environment = {
            **os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder / "tmp"), "KILLS_MARK": self.mark,
            "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
        }  # fmt: skip

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        with (self.folder / "said").open("wb") as said:
            return subprocess.Popen(  # noqa: S603  this very interpreter
                [sys.executable, "-m", "xent_verify", *words],
                cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
            )  # fmt: skip

    def run(self, *words: str) -> int:
        return self.start(*words).wait(timeout=LONGEST)

    def living(self) -> list[int]:
        """Processes of the commands, and daemons of their targets."""
        mark, daemon, found = f"KILLS_MARK={self.mark}".encode(), f"sleep\0{self.sleep}\0".encode(), []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (entry / "environ").read_bytes().split(b"\0") or (entry / "cmdline").read_bytes() == daemon:
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def left(self) -> list[int]:
        """Those that live after ``PATIENCE``; they are ended then."""
        limit = time.monotonic() + PATIENCE
        while (found := self.living()) and time.monotonic() < limit:
            time.sleep(0.05)
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        return found

    def temporary(self) -> list[str]:
        """Files that only a run in the middle of writing has."""
        names = [*self.folder.rglob("*.partial"), *self.folder.rglob("*.lock"), *(self.folder / "tmp").rglob("*")]
        return [str(path.relative_to(self.folder)) for path in names]

    def files(self, command: Command) -> dict[str, tuple[Check, bytes]]:
        """Every file of a command that is there, with its reader and what it holds."""
        found: dict[str, tuple[Check, bytes]] = {}
        for name, check in command.files.items():
            path = self.folder / name
            for one in sorted(path.rglob("*.*")) if path.is_dir() else [path] if path.exists() else []:
                if not one.name.endswith(".partial"):
                    reader = BY_SUFFIX.get(one.suffix, text_whole) if path.is_dir() else check
                    found[str(one.relative_to(self.folder))] = reader, one.read_bytes()
        return found


def undisturbed(place: Place, command: Command) -> bytes:
    """Run a command to its end: its files are there then, and its time is known. A proof's certificate."""
    begun = time.monotonic()
    status = place.run(*command.words)
    if status not in (0, 1):
        said = (place.folder / "said").read_text(encoding="utf-8", errors="replace")
        raise SystemExit(f"{' '.join(command.words)} ended with {status}: {said[-600:]}")
    command.seconds = time.monotonic() - begun
    return certificate_of(place) if command.name == "prove" else b""


def certificate_of(place: Place) -> bytes:
    (found,) = [path for path in (place.folder / "proofs").glob("*.json") if "-chunks-" not in path.name]
    return found.read_bytes()


def killed(place: Place, command: Command, number: signal.Signals, moment: float, certificate: bytes) -> None:
    """One kill, and what is counted of it."""
    before = place.files(command)
    log: tuple[str, ...] = ()
    if command.name == "prove":
        (place.folder / "run.log").unlink(missing_ok=True)
        log = ("--log", "run.log")
    process = place.start(*command.words, *log)
    try:
        process.wait(timeout=moment)
        command.counts["ended before"] += 1
    except subprocess.TimeoutExpired:
        process.send_signal(number)
        status = process.wait(timeout=LONGEST)
        command.counts["ended before" if status in (0, 1) else number.name] += 1  # in the very moment
        if number == signal.SIGTERM and status not in (0, 1, 143, -signal.SIGTERM):
            command.wrong("lost", f"exit {status} after SIGTERM")
    left = place.left()
    if left:
        command.wrong("left", f"processes {left}")
    command.counts["temporary"] += len(place.temporary())
    whole(place, command, before)
    if command.name == "prove":
        resumed(place, command, certificate)


def whole(place: Place, command: Command, before: dict[str, tuple[Check, bytes]]) -> None:
    after = place.files(command)
    for name in before.keys() - after.keys():
        command.wrong("lost", f"{name} is gone")
    for name, (check, data) in after.items():
        same = name in before and before[name][1] == data
        command.counts["old" if same else "new"] += 1
        try:
            check(place.folder / name)
        except (UsageError, OSError, ValueError) as error:
            command.wrong("lost", f"{name}: {error}")
            continue
        if check is report_whole and json.loads(data).get("interrupted"):
            command.counts["marked interrupted"] += 1


def resumed(place: Place, command: Command, certificate: bytes) -> None:
    """The proof goes on from its log, and must end with the same certificate."""
    for path in (place.folder / "proofs").glob("*"):
        path.unlink()
    log = place.folder / "run.log"
    begun = log.exists() and log.stat().st_size > 0
    if place.run(*command.words, "--resume" if begun else "--log", "run.log") not in (0, 1):
        command.wrong("lost", "the proof does not go on")
    elif certificate_of(place) != certificate:
        command.wrong("lost", "another certificate")
    command.counts["resumed"] += begun


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = random.Random(given.seed)  # noqa: S311
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    made = commands()
    try:
        place = Place(folder)
        place.run(*AUDIT, "--json", "kept.json")  # what ``report`` renders
        certificates = {command.name: undisturbed(place, command) for command in made}
        turn = 0
        while sum(command.counts[one.name] for command in made for one in SIGNALS) < given.kills:
            turn += 1
            command = made[turn % len(made)]
            number = SIGNALS[turn // len(made) % 2]
            late = rng.random() < 0.5  # files are written at the end
            moment = command.seconds * (rng.uniform(0.7, 1.0) if late else rng.uniform(0.05, 1.0))
            killed(place, command, number, moment, certificates[command.name])
        for command in made:
            undisturbed(place, command)
        stayed = place.temporary()
    finally:
        shutil.rmtree(folder)
    return told(made, stayed)


COLUMNS = (
    "SIGKILL", "SIGTERM", "ended before", "old", "new", "marked interrupted", "resumed", "temporary", "lost", "left",
)  # fmt: skip


def told(made: list[Command], stayed: list[str]) -> int:
    """The table; 1 where something was lost or left."""
    print("| command | seconds |" + "".join(f" {name} |" for name in COLUMNS))
    print("|---|---:|" + "---:|" * len(COLUMNS))
    for command in made:
        cells = "".join(f" {command.counts[name]} |" for name in COLUMNS)
        print(f"| {command.name} | {command.seconds:.1f} |{cells}")
    total = {name: sum(command.counts[name] for command in made) for name in COLUMNS}
    print("| all | |" + "".join(f" {total[name]} |" for name in COLUMNS))
    print(f"\ntemporary files after the next run: {len(stayed)}")
    for line in [*(line for command in made for line in command.told), *stayed]:
        print(f"    {line}")
    return int(bool(total["lost"] or total["left"] or stayed))


if __name__ == "__main__":
    sys.exit(main())
