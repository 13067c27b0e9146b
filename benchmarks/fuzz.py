"""Hostile documents through every reader: mutants by bytes and by structure of one valid document of each kind.

    python benchmarks/fuzz.py                      2000 mutants of each kind; a table; exit 1 where anything is counted
    python benchmarks/fuzz.py --number 200 --seed 7 --show
    python benchmarks/fuzz.py --seconds 900        as many as that time allows: about a million

Every mutant is accepted or ends in a ``UsageError`` of one printable line that names the file and, its folder apart, has
fewer than 300 characters.
Counted are other exceptions (tracebacks), mutants that take longer than ``SECONDS`` (hangs), and messages that are not so.
Each mutant goes to the function that the commands read with, in this process; one that holds up Python itself ends the run.
Of the mutants by structure the message must also name a key: one of the valid document, one of the mutant, an entry of an
archive, or the line of a log; what is wrong with a whole document (it nests too deep, holds NaN) has no key.
"""

from __future__ import annotations

import argparse
import copy
import faulthandler
import functools
import io
import itertools
import json
import random
import re
import signal
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from xent_verify import audit
from xent_verify.candidates.adapters.command import BadAnswer, Refused
from xent_verify.candidates.adapters.command import _read as read_answer
from xent_verify.commands.shared import kwargs_of
from xent_verify.core.failures import UsageError, printable
from xent_verify.core.formats import FORMATS
from xent_verify.core.model import Report
from xent_verify.explain.claims import check
from xent_verify.gate.baseline import read_baseline
from xent_verify.gate.settings_file import read_settings
from xent_verify.ops import op_named
from xent_verify.prove import Plan, domain_of
from xent_verify.prove.certificate import certificate, table
from xent_verify.prove.counts import Gathered
from xent_verify.prove.log import ChunkLog, _sum, read_log
from xent_verify.prove.session import Session
from xent_verify.report import read_report, render_markdown, render_text, to_json
from xent_verify.vectors import Selection, chosen, read_answers, read_vectors, write_vectors
from xent_verify.verdict.settings import Settings

SECONDS = 5.0
STUCK_SECONDS = 60.0
LONGEST = 300
_DEEP = "@deep@"

BASELINE = (
    '{"schema": 1, "findings": [\n{"target": "a:b", "op": "softmax", "dtype": "float32", "kind": "nan", "instruction_set": "",'
    ' "regimes": ["ties"], "count": 3, "cases": 9, "ratio": "inf", "measured": "quick 0 standard any"}]}\n'
)
CLAIMS = """title = "Numbers"
[[claim]]
about = "a row"
op = "softmax"
logits = [3, 1, -1]
printed = ["0.88", "0.12", "0.00"]
[[claim]]
op = "neg_log"
p = "0.9"
printed = "0.1054"
stands_for = { op = "cross_entropy", logits = [3, 1, -1], target = 0 }
"""
SETTINGS = """policy = "standard"
seed = 3
worse_factor = 1.5
[[target]]
target = "losses.py:softmax"
op = "softmax"
dtypes = ["float32"]
timeout = 2.5
kwargs = { axis = -1 }
sizes = [7, 9]
relative_to = "stable"
factor = 2.0
"""
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 2**31, 2**53, 2**63, -(2**63), 10**30, 10**400, 1.5, -0.0, 1e308, float("nan"), float("inf"),
    "", "x", "nan", "inf", "0x1p99999", "\x1b[31m\n::error::x", "\ud800", "\u202e", "=1+1", "x" * 5000, [], {}, [[]], [{}],
    {"bits": "0*99999999999"}, {"value": 1, "hex": []}, [None], [1, 2, 3], {"": 0},
)  # fmt: skip
TOML_VALUES = (
    "1", "-1", "1.5", "nan", "inf", '"x"', '""', "true", "[]", "{}", "[[[]]]", "1979-05-27", '"\\u001b[31m"', "9" * 3000,
    "9" * 5000, "1e999999999999999999999", "0x" + "f" * 4000, "[" * 70 + "]" * 70, "[" * 3000, '"' + "x" * 5000 + '"',
    "{ a.b.c = 1 }", "{ a = { op = 1 } }", '["\\u202e"]', "'''\n'''",
)  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """One kind of document: its file name, a valid one, its reader, and what changes its structure."""

    name: str
    file: str
    valid: bytes
    read: Callable[[Path], Any]
    restructure: Callable[[bytes, random.Random], bytes]


@dataclass(frozen=True)
class Seen:
    """How one mutant ended: "accepted", "refused", "traceback", "hang", "message"; the message or the exception."""

    how: str
    told: str


class _Hang(BaseException):
    """Not caught by anything that is fuzzed."""


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield value, key
        yield from places(item)


def changed(value: Any, rng: random.Random) -> Any:
    """The value with one to three places changed."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        found = list(places(value))
        if not found:
            return value
        holder, key = rng.choice(found)
        match rng.randrange(6):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[rng.choice(("x", "\n", "\x1b", "k" * 400))] = holder.pop(key)
            case 2:
                holder[key] = _DEEP
            case 3:
                holder[key] = copy.deepcopy(rng.choice(found)[0])
            case _:
                holder[key] = copy.deepcopy(rng.choice(VALUES))
    return value


def dumped(value: Any, rng: random.Random) -> str:
    """As JSON; where a place is to nest deep, it does."""
    deep = rng.choice((3, 70, 400, 3000))
    return json.dumps(value).replace(json.dumps(_DEEP), "[" * deep + "]" * deep)


def json_changed(data: bytes, rng: random.Random) -> bytes:
    """A JSON document with another structure, sometimes with a key twice."""
    sys.set_int_max_str_digits(0)
    try:
        text = dumped(changed(json.loads(data), rng), rng)
    finally:
        sys.set_int_max_str_digits(4300)
    if rng.random() < 0.05:
        text = text.replace("{", '{"schema": 1, "schema": 2, ', 1)
    return text.encode()


def toml_changed(data: bytes, rng: random.Random) -> bytes:
    """A TOML document with one value or one key changed."""
    lines = data.decode().splitlines()
    place = rng.choice([number for number, line in enumerate(lines) if "=" in line])
    key, _, value = lines[place].partition("=")
    match rng.randrange(4):
        case 0:
            key = rng.choice(("x ", "a." * 70 + "b ", '"\\u001b" ', "op.x "))
        case 1:
            value = re.sub(r'-?\d+|"[^"]*"', lambda found: rng.choice((found[0], rng.choice(TOML_VALUES))), value)
        case _:
            value = rng.choice(TOML_VALUES)
    lines[place] = f"{key}={value}"
    return "\n".join(lines).encode()


def log_changed(data: bytes, rng: random.Random) -> bytes:
    """A chunk log with one line changed, with a fresh checksum."""
    lines = [json.loads(line) for line in data.splitlines()]
    place = rng.randrange(len(lines))
    line = changed(lines[place], rng)
    if isinstance(line, dict) and "counts" in line:
        if rng.random() < 0.7:
            line["counts"] = changed(lines[place]["counts"], rng)
        line["sha256"] = _sum(line.get("chunk"), line["counts"])
    lines[place] = line
    return "\n".join(dumped(line, rng) for line in lines).encode()


def npz_changed(data: bytes, rng: random.Random) -> bytes:
    """An archive with one entry forged: its header, its length, its compression, its name."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(made, "w") as new:
        names = old.namelist()
        chosen_name = rng.choice(names)
        for name in names:
            body, target, how = old.read(name), name, zipfile.ZIP_DEFLATED
            if name == chosen_name:
                match rng.randrange(6):
                    case 0:
                        body = body[: rng.randrange(len(body))]
                    case 1:
                        forged = rng.choice(
                            (b"(99999999999,)", b"(-1,)", b"(2, 2, 2)", b"()", b"(" * 500, b"__import__('os')")
                        )
                        body = re.sub(rb"\([\d, ]*\)", lambda _, forged=forged: forged, body, count=1)
                    case 2:
                        body = re.sub(
                            rb"'[<|][a-zA-Z]\d+'",
                            rng.choice((b"'|O'", b"'<f8'", b"'<V0'", b"[('a','<f8')]")),
                            body,
                            count=1,
                        )
                    case 3:
                        how = rng.choice((zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2))
                    case 4:
                        target = rng.choice(("x", "\x1b[31m.npy", "document.json.npy", "../x.npy"))
                    case _:
                        body = (
                            json_changed(body, rng)
                            if body[:1] == b"{"
                            else bytes(rng.randrange(256) for _ in range(64))
                        )
            if target not in new.namelist():
                new.writestr(target, body, how)
    return made.getvalue()


def bytes_changed(data: bytes, rng: random.Random) -> bytes:
    """Bytes flipped, cut, doubled, put in."""
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        place = rng.randrange(len(made) + 1)
        match rng.randrange(5):
            case 0 if place < len(made):
                made[place] = rng.randrange(256)
            case 1:
                del made[place : place + rng.randrange(1, 40)]
            case 2:
                made[place:place] = made[place : place + rng.randrange(1, 200)]
            case 3:
                made[place:place] = rng.choice(
                    (b"\xff", b"\x00", b"\x1b", b"[" * 2000, b"9" * 5000, b"NaN", b'"', b"\\ud800")
                )
            case _:
                del made[place:]
    return bytes(made)


def _shown(report: Report) -> None:
    """A report that was accepted is rendered too."""
    to_json(report)
    render_text(report)
    render_markdown(report)


def _answer(path: Path) -> None:
    try:
        read_answer(path.read_bytes().decode("utf-8", "replace"), np.dtype("float32"))
    except (BadAnswer, Refused) as told:
        raise UsageError(f"{path.name}: {told}") from None


def kinds(folder: Path) -> list[Kind]:
    """A valid document of every kind, with its reader."""
    small = replace(Settings(), profile="quick", isolated=False)
    report = audit(
        "naive", op="softmax", dtypes=["float16"], profile="quick", regimes=("ties", "pairs"), isolated=False
    )
    vectors = chosen(
        ["cross_entropy", "softmax"],
        ["bfloat16"],
        Selection("quick", rows=2, longest=20, per_regime=1, regimes=("ties", "pairs")),
    )
    for name in ("v.json", "v.npz"):
        write_vectors(vectors, folder / name)
    known = read_vectors(folder / "v.json")
    answers = {case["id"]: case["answer"] for case in json.loads((folder / "v.json").read_text())["cases"]}
    given = {"format": "xent-verify answers", "version": 1, "target": "t", "answers": answers}
    np.savez(folder / "a.npz", **{case.id: case.known.answer.view(np.uint16) for case in vectors.cases if case.known})  # type: ignore[arg-type]
    plan = Plan("naive", "sigmoid", domain_of(op_named("sigmoid"), FORMATS["float8_e4m3fn"]), small)
    done = Gathered()
    with Session(plan) as session:
        for chunk in plan.chunks:
            done.add(chunk, session.chunk(chunk))
        with ChunkLog(folder / "run.log", plan, Gathered(), resume=False) as log:
            for chunk in plan.chunks:
                log.add(chunk, session.chunk(chunk).to_plain(), 0.0)
    proof = json.dumps(certificate(plan, done)).encode()
    answer = b'{"dtype": "float32", "shape": [2, 2], "values": ["0x1p-1", 0.5, "inf", 1]}'

    def document(name: str) -> bytes:
        return (folder / name).read_bytes()

    return [
        Kind("result", "r.json", to_json(report).encode(), lambda path: _shown(read_report(path)), json_changed),
        Kind("baseline", "b.json", BASELINE.encode(), read_baseline, json_changed),
        Kind("claims", "c.toml", CLAIMS.encode(), check, toml_changed),
        Kind("settings", "xent-verify.toml", SETTINGS.encode(), read_settings, toml_changed),
        Kind("vectors", "v.json", document("v.json"), read_vectors, json_changed),
        Kind("vectors npz", "v.npz", document("v.npz"), read_vectors, npz_changed),
        Kind("answers", "a.json", json.dumps(given).encode(), lambda path: read_answers(path, known), json_changed),
        Kind("answers npz", "a.npz", document("a.npz"), lambda path: read_answers(path, known), npz_changed),
        Kind("certificate", "p.json", proof, lambda path: table([path]), json_changed),
        Kind("proof log", "run.log", document("run.log"), lambda path: read_log(path, plan, Gathered()), log_changed),
        Kind("--kwargs", "--kwargs", b'{"axis": -1, "w": [1, 2.5, {"a": "b"}]}', _kwargs, json_changed),
        Kind("command answer", "answer", answer, _answer, json_changed),
    ]


def _kwargs(path: Path) -> None:
    kwargs_of(path.read_bytes().decode("utf-8", "surrogateescape"))


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """``_Hang`` after that long."""

    def late(*_: Any) -> None:
        raise _Hang

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


WHOLE = re.compile(
    r"(nests too deep|holds the literal|holds an integer of thousands|holds a number of too many|is not JSON: "
    r"|is not TOML: |has a key of too many parts|is not a readable|has two entries|unpacks to"
    r"|holds .{1,70}, should be a JSON object)"
)
"""What is wrong with a whole document."""


def names_key(told: str, kind: Kind, data: bytes) -> bool:
    """Whether a message names a key (the values that it shows left out), or says what is wrong with the whole."""
    rest = told.partition(kind.file)[2].removeprefix(": the answer").replace(" is of another run: its ", " ")
    if WHOLE.match(rest.lstrip(" ")):
        return True
    head = re.split(r" is (?!known|missing|there)| = |, should be|; did you mean", rest)[0]
    found = set(re.findall(r"[\w.-]+|\\\w+", head))
    parts = found | {part for one in found for part in one.split(".")}
    known = names(kind, kind.valid) | names(kind, data)
    shown = {printable(name)[:50] for name in known}
    return bool(parts & shown) or any(len(name) > 12 and name[:30] in head for name in shown)


@functools.lru_cache(maxsize=64)
def names(kind: Kind, data: bytes) -> frozenset[str]:
    """Every key of a document of that kind, as far as it can be read."""
    if kind.file.endswith(".npz"):
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                inner = [keys(archive.read(name)) for name in archive.namelist() if "json" in name]
                return (
                    frozenset(archive.namelist())
                    .union(n.removesuffix(".npy") for n in archive.namelist())
                    .union(*inner)
                )
        except (OSError, ValueError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError):
            return frozenset()
    if kind.file.endswith(".toml"):
        return frozenset(re.findall(r"[\w-]++(?=\s*[=.\]])", data.decode("utf-8", "replace")))
    if kind.file.endswith(".log"):
        return frozenset({"line"}).union(*map(keys, data.splitlines()))
    return keys(data)


def keys(data: bytes) -> frozenset[str]:
    """Every key of a JSON document; of one that cannot be parsed, what looks like one."""
    return frozenset(
        found.encode("utf-8", "replace").decode("unicode_escape", "replace")
        for found in re.findall(r'"((?:[^"\\]|\\.)*)"\s*:', data.decode("utf-8", "replace"))
    )


def seen(kind: Kind, data: bytes, folder: Path, *, keyed: bool) -> Seen:
    """What the reader makes of a mutant."""
    path = folder / kind.file
    path.write_bytes(data)
    try:
        with limited(SECONDS):
            kind.read(path)
    except UsageError as error:
        told = str(error)
        named = kind.file in told and (not keyed or names_key(told, kind, data))
        good = named and len(told.replace(f"{folder}", "")) < LONGEST and told.isprintable()
        return Seen("refused" if good else "message", told)
    except _Hang:
        return Seen("hang", "")
    except BaseException as error:  # noqa: BLE001  it is counted
        return Seen("traceback", f"{type(error).__name__}: {str(error)[:100]!r} at {_where(error)}")
    return Seen("accepted", "")


def _where(error: BaseException) -> str:
    trace = error.__traceback__
    told = ""
    while trace is not None:
        code = trace.tb_frame.f_code
        if "xent_verify" in code.co_filename:
            told = f"{Path(code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return told


def fuzzed(kind: Kind, number: int | None, seed: int, folder: Path) -> Iterator[tuple[bytes, Seen]]:
    """That many mutants (without a number: no end of them), half by bytes and half by structure, and what became of them."""
    rng = random.Random(f"{kind.name} {seed}")  # noqa: S311
    for turn in itertools.count() if number is None else range(number):
        by_structure = turn % 2 == 0
        data = kind.restructure(kind.valid, rng) if by_structure else bytes_changed(kind.valid, rng)
        yield data, seen(kind, data, folder, keyed=by_structure)


@dataclass
class Counted:
    """How the mutants of one kind ended, and what was told of those that are counted."""

    counts: Counter[str]
    told: Counter[str]


def counted(kind: Kind, number: int, seconds: float, seed: int, folder: Path) -> Counted:
    """``number`` mutants, or as many as ``seconds`` allow."""
    made = Counted(Counter(), Counter())
    ends, armed = time.monotonic() + seconds, -1.0
    for _, found in fuzzed(kind, None if seconds else number, seed, folder):
        made.counts[found.how] += 1
        if found.how in COUNTED:
            made.told[f"{found.how}: {found.told}"] += 1
        now = time.monotonic()
        if now > armed + 1:
            faulthandler.dump_traceback_later(STUCK_SECONDS, exit=True)
            armed = now
        if seconds and now > ends:
            break
    faulthandler.cancel_dump_traceback_later()
    return made


COUNTED = ("traceback", "hang", "message")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", default="")
    parser.add_argument("--show", action="store_true", help="the exceptions and messages that are counted, once each")
    given = parser.parse_args()
    total: Counter[str] = Counter()
    columns = ("accepted", "refused", *COUNTED)
    print("| kind | mutants |" + "".join(f" {name} |" for name in columns))
    print("|---|---:|" + "---:|" * len(columns))
    memory = Path("/dev/shm")  # noqa: S108  (a file a mutant: where there is one, in memory)
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as made:
        folder = Path(made)
        chosen_kinds = [kind for kind in kinds(folder) if given.kind in ("", kind.name)]
        for kind in chosen_kinds:
            found = counted(kind, given.number, given.seconds / len(chosen_kinds), given.seed, folder)
            _row(kind.name, found.counts, columns)
            total += found.counts
            for text, times in found.told.most_common(12) if given.show else ():
                print(f"    {times} × {ascii(text)[:400]}")
    _row("all", total, columns)
    return int(any(total[name] for name in COUNTED))


def _row(name: str, counts: Counter[str], columns: tuple[str, ...]) -> None:
    cells = "".join(f" {counts[column]} |" for column in columns)
    print(f"| {name} | {counts.total()} |{cells}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
