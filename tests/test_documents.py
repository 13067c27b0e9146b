"""Files from outside: what the one reader takes, what it refuses and in which words; and a short run of the fuzzer."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import re
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from xent_verify.cli import run
from xent_verify.core.documents import DEEPEST, LARGEST_TOML, json_of, read_json, read_npz, read_toml
from xent_verify.core.failures import UsageError

ROOT = Path(__file__).parents[1]


def refusal(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    read = {".toml": read_toml, ".npz": read_npz}.get(path.suffix, read_json)
    with pytest.raises(UsageError) as caught:
        read(path)
    told = str(caught.value)
    assert told.isprintable()
    assert len(told) < 300
    assert path.name in told
    return told


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b'{"a": "\xff"}', "the byte 0xff at position 7"),
        (b"\xff\xfe{\x00", "the byte 0xff at position 0"),
        (b"{", "line 1, column 2"),
        (b"[1]", "a list of 1, should be a JSON object"),
        (b'{"a": NaN}', "literal NaN"),
        (b'{"a": [1, -Infinity]}', "literal -Infinity"),
        (b'{"a": {"b": 1, "b": 2}}', "b is there twice"),
        (b'{"a": [0, {"b": 18446744073709551616}]}', "a[1].b is an integer of more than 64 bits"),
        (b'{"a": ' + b"9" * 5000 + b"}", "thousands of digits"),
        (b'{"a": 1e999}', "a is a number beyond the range of a double"),
        (b'{"a": "\\ud800"}', "a is '\\ud800', should be text without lone surrogates"),
        (b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}", "nests too deep"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nests too deep"),
        (b'{"\x7f\xe2\x80\xae": 1e999}', "\\x7f\\u202e is"),
    ],
)
def test_json_that_is_refused_is_told_in_one_line(tmp_path: Path, data: bytes, told: str) -> None:
    """File, key, what was found, what is due."""
    assert told in refusal(tmp_path / "a.json", data)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"a = \xff", "position 4"),
        (b"a = 1\na = 2", "is not TOML"),
        (b"a = " + b"[" * 3000, "nests too deep"),
        (b"a." * 200_000 + b"b = 1", "a key of too many parts"),
        (b"a = " + b"9" * 5000, "too many digits"),
        (b"a = " + b"9" * 4000, "a is an integer of more than 64 bits"),
        (b"#" * (LARGEST_TOML + 1), f"should be at most {LARGEST_TOML}"),
    ],
)
def test_toml_that_is_refused_is_told_in_one_line(tmp_path: Path, data: bytes, told: str) -> None:
    """As for JSON; and a key of many parts costs no time."""
    assert told in refusal(tmp_path / "a.toml", data)


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    """Editors on Windows write one."""
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbfa = 1\r\n")
    assert read_json(tmp_path / "a.json").fields == read_toml(tmp_path / "a.toml").fields == {"a": 1}


def test_the_deepest_document_is_read() -> None:
    """The limit of levels is a limit, not one less."""
    levels = DEEPEST - 1
    assert json_of('{"a": ' + "[" * levels + "]" * levels + "}", "a").fields
    with pytest.raises(UsageError, match="nests too deep"):
        json_of('{"a": ' + "[" * DEEPEST + "]" * DEEPEST + "}", "a")


COMMANDS = (
    ["claims", "FILE"],
    ["compare", "FILE", "FILE"],
    ["gate", "--config", "FILE"],
    ["merge", "FILE", "--json", "-"],
    ["replay", "FILE"],
    ["report", "FILE", "--out", "x.md"],
    ["report", "--certificates", "FILE", "--out", "x.md"],
    ["vectors", "judge", "FILE", "FILE"],
    ["prove", "naive", "--op", "sigmoid", "--dtype", "float8_e5m2", "--resume", "FILE"],
    ["prove", "naive", "--op", "sigmoid", "--dtype", "float8_e5m2", "--include", "FILE"],
)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:3]))
@pytest.mark.parametrize("kind", ["pipe", "device", "full", "folder", "surrogate"])
def test_what_is_no_regular_file_is_refused_at_once(
    command: list[str], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command that reads a file: exit 2 and one line, without waiting for a pipe's other end."""
    monkeypatch.chdir(tmp_path)
    place = {"device": "/dev/zero", "full": "/dev/full", "folder": str(tmp_path), "surrogate": "no\udcff\nfile"}.get(
        kind, "p"
    )
    if kind == "pipe":
        os.mkfifo("p")
    assert run([place if word == "FILE" else word for word in command]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "internal error" not in told
    assert told.rstrip("\n").isprintable()


def archive(entry: bytes, method: int = zipfile.ZIP_DEFLATED, name: str = "a.npy") -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as file:
        file.writestr(name, entry)
    return made.getvalue()


def array(header: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + data


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"PK", "not a readable .npz file"),
        (archive(b"x" * 99, zipfile.ZIP_LZMA), "a.npy is compressed by method 14"),
        (archive(b"x" * 99), "a.npy is no array"),
        (archive(array("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n", b"12345678")), "without pickles"),
        (archive(array("{'descr': '<f8', 'fortran_order': False, 'shape': (9999999999,), }\n")), "a.npy holds 0 bytes"),
        (
            archive(array("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }\n")),
            "should be an array of numbers",
        ),
        (archive(array("(" * 60_000)), "should be an array of numbers"),
        (archive(array("{'descr': '<V0', 'fortran_order': False, 'shape': (3,), }\n")), "a.npy holds 0 bytes"),
    ],
)
def test_a_forged_archive_is_refused(tmp_path: Path, data: bytes, told: str) -> None:
    """Objects, other compressions, and shapes that the bytes do not fill."""
    assert told in refusal(tmp_path / "a.npz", data)


def test_an_archive_that_unpacks_too_large_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The declared sizes are added up before anything is unpacked."""
    monkeypatch.setattr("xent_verify.core.documents.LARGEST_UNPACKED", 1000)
    assert "unpacks to 1001 bytes" in refusal(tmp_path / "a.npz", archive(bytes(1001)))


def test_what_numpy_writes_is_read_back(tmp_path: Path) -> None:
    """Every dtype and order that vectors and answers use."""
    arrays = {
        "f": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "b": np.array([True, False]),
        "n": np.array(3, np.int64),
        "e": np.zeros((0, 4), np.uint16),
    }
    np.savez_compressed(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    found = read_npz(tmp_path / "a.npz")
    assert found.keys() == arrays.keys()
    for name, value in arrays.items():
        np.testing.assert_array_equal(found[name], value)
        assert found[name].dtype == value.dtype


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz", ROOT / "benchmarks" / "fuzz.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def kinds(fuzz: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """A valid document of every kind."""
    found: list[Any] = fuzz.kinds(tmp_path_factory.mktemp("kinds"))
    return found


def test_no_mutant_ends_in_a_traceback(fuzz: ModuleType, kinds: list[Any], tmp_path: Path) -> None:
    """40 mutants of every kind of document: accepted, or refused in one line with file and key."""
    for kind in kinds:
        assert fuzz.seen(kind, kind.valid, tmp_path, keyed=False).how == "accepted", kind.name
        for data, found in fuzz.fuzzed(kind, 40, 1, tmp_path):
            assert found.how in ("accepted", "refused"), (kind.name, found, data[:500])


@pytest.mark.parametrize(
    ("told", "named"),
    [
        ("r.json: targets[0].op is 3, should be a string", True),
        ("r.json: targets is missing, should be there", True),
        ("r.json nests too deep, should be of at most 64 levels", True),
        ("r.json: wrong: the value is of another kind", False),
        ("r.json: something is 'targets'", False),
        ("r.json holds nonsense: see above", False),
        ("r.json: no such key", False),
    ],
)
def test_the_fuzzer_knows_a_key_from_a_colon(fuzz: ModuleType, kinds: list[Any], told: str, named: bool) -> None:
    """A message that names none of the document's keys is counted, however many colons it has."""
    kind = next(one for one in kinds if one.name == "result")
    assert fuzz.names_key(told, kind, kind.valid) is named


def test_where_nesting_begins_is_told() -> None:
    """Not the sixty brackets at its end."""
    with pytest.raises(UsageError, match=r"^a\.json: targets\[0\]\.op(\[0\])+ nests too deep"):
        json_of('{"targets": [{"op": ' + "[" * 70 + "]" * 70 + "}]}", "a.json")


def test_true_is_no_bin_of_a_histogram(fuzz: ModuleType, kinds: list[Any], tmp_path: Path) -> None:
    """JSON's booleans are no numbers, though Python's are."""
    kind = next(one for one in kinds if one.name == "result")
    text = re.sub(rb'"histogram": ?\[\s*\[\s*\d+,', b'"histogram": [[true,', kind.valid, count=1)
    assert text != kind.valid
    found = fuzz.seen(kind, text, tmp_path, keyed=True)
    assert found.how == "refused"
    assert "histogram" in found.told


@pytest.mark.parametrize(
    ("forge", "told"),
    [
        (lambda counts: counts.update(rows=counts["rows"] + 1000), "rows is"),
        (lambda counts: counts.update(correct=counts["numeric"] + 1), "numeric is"),
        (lambda counts: counts["classes"].update(ok=counts["classes"]["ok"] - 1), "classes is"),
        (lambda counts: counts["histogram"].update({"96": 1}), "histogram.96 is"),
        (lambda counts: counts["best"]["ulp"].__setitem__(1, 10**6), "best.ulp is"),
        (lambda counts: counts.update(machines="x"), "machines is"),
    ],
)
def test_a_forged_line_of_a_proof_is_refused(
    fuzz: ModuleType, kinds: list[Any], tmp_path: Path, forge: object, told: str
) -> None:
    """A fresh checksum does not help: the counts are held against the plan."""
    kind = next(one for one in kinds if one.name == "proof log")
    lines = [json.loads(line) for line in kind.valid.splitlines()]
    forge(lines[1]["counts"])  # type: ignore[operator]
    lines[1]["sha256"] = fuzz._sum(lines[1]["chunk"], lines[1]["counts"])
    found = fuzz.seen(kind, "\n".join(map(json.dumps, lines)).encode(), tmp_path, keyed=True)
    assert found.how == "refused"
    assert f"line 2.counts.{told}" in found.told


def test_a_hexadecimal_float_beyond_every_double_is_told() -> None:
    """Python raises an error of another kind for it."""
    with pytest.raises(UsageError, match=r"p\.json: .*hex.*too large"):
        json_of('{"hex": "0x1p99999"}', "p.json").made("hex", float.fromhex)
