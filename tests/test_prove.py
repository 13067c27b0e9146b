"""Whole domains: nothing left out, nothing counted twice, the same certificate however the work was done."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xent_verify.auditing.audit import Settings
from xent_verify.cli import run
from xent_verify.core.failures import UsageError
from xent_verify.core.formats import FORMATS
from xent_verify.implementations import IMPLEMENTATIONS, ZOO, find
from xent_verify.ops import op_named
from xent_verify.prove import Plan, Sweep, certificate, domain_of, report_of
from xent_verify.prove.counts import Cells, Counts, Gathered
from xent_verify.prove.domain import Domain
from xent_verify.prove.fingerprint import fingerprint
from xent_verify.prove.log import read_log
from xent_verify.prove.session import Session
from xent_verify.prove.sources import sources_hash
from xent_verify.prove.widths import FAMILIES, LONGEST
from xent_verify.prove.words import _Totals, described
from xent_verify.verdict.policies import parse_policy

SLOW = """
import time
from xent_verify.implementations import find
def softmax(x, axis=-1):
    time.sleep({seconds} * (len(x) > 5000))
    return find("naive", "softmax").call(x, axis)
"""

PLANTED = """
import numpy as np
from xent_verify.implementations import find
def softmax(x, axis=-1):
    y = find("stable", "softmax").call(x, axis)
    bits = np.ascontiguousarray(x).view(np.uint16)
    if x.ndim == 2 and x.shape[1] == 2:
        y.view(np.uint16)[(bits[:, 0] == 0x4049) & (bits[:, 1] == 0x3F12), 1] += 2
    return y
"""

CRASHING = """
import os
import numpy as np
from xent_verify.implementations import find
def sigmoid(x):
    if (np.asarray(x).view(np.uint8) == 0x35).any():
        os.abort()
    return find("stable", "sigmoid").call(x)
"""


EVERY = np.ones((1, 1), bool)
"""Which elements fail: only ``gaps`` asks."""


def plan_of(target: Any, op: str, fmt: str, domain: str = "", part: tuple[int, int] = (1, 1), **options: Any) -> Plan:
    settings = Settings(
        parse_policy(options.pop("policy", "standard")), isolated=options.pop("isolated", False), **options
    )
    return Plan(target, op, domain_of(op_named(op), FORMATS[fmt], domain), settings, part)


@pytest.fixture(scope="module")
def pairs() -> tuple[Plan, dict[int, Counts], dict[str, Any]]:
    """All fp8 pairs of the naive softmax."""
    plan = plan_of("naive", "softmax", "float8_e5m2", "pairs")
    with Session(plan) as session:
        chunks = {k: session.chunk(k) for k in plan.chunks}
    return plan, chunks, Sweep(plan).run()


def test_every_input_of_a_domain_is_there_once() -> None:
    """The chunks of each domain hold every row of it exactly once, in the order of their indices."""
    for name, fmt in (("unary", "float16"), ("pairs", "float8_e4m3fn")):
        domain = Domain(name, fmt, name != "unary")
        rows = np.concatenate(
            [b.rows for k in range(domain.chunks) for b in domain.blocks(k) if len(b.x) == len(b.rows)]
        )
        assert np.array_equal(np.sort(rows), np.arange(domain.size))
    patterns = Domain("pairs", "float8_e5m2", True).patterns(np.arange(1 << 16))
    assert len(np.unique(patterns, axis=0)) == 1 << 16
    triples = Domain("triples", "float8_e5m2", True)
    assert triples.patterns(np.array([0x123456])).tolist() == [[0x12, 0x34, 0x56]]
    big = Domain("pairs", "bfloat16", True)
    assert big.chunks * big.chunk_rows == 1 << 32


def test_widths_have_every_length() -> None:
    """A row of each family and each length from 1 to 4096, of the length it says."""
    domain = Domain("widths", "float16", True)
    lengths = [block.x.shape for k in (0, 63) for block in domain.blocks(k)]
    assert {n for _, n in lengths} == {*range(1, LONGEST + 1, 64), *range(64, LONGEST + 1, 64)}
    assert {count for count, _ in lengths} == {len(FAMILIES)}


def test_a_certificate_adds_up(pairs: tuple[Plan, dict[int, Counts], dict[str, Any]]) -> None:
    """Classes sum to all elements, the histogram to all numeric ones, and the label says proved."""
    _, _, made = pairs
    assert made["label"] == "proved"
    assert made["rows"] == 1 << 16
    assert sum(made["classes"].values()) == made["elements"] == 2 << 16
    assert sum(entry["count"] for entry in made["histogram"]) == made["numeric"]
    assert made["correctly_rounded"] <= made["faithful"] <= made["numeric"]
    assert not made["ok"]
    json.dumps(made, allow_nan=False)


def test_the_maximum_is_the_maximum(pairs: tuple[Plan, dict[int, Counts], dict[str, Any]]) -> None:
    """The largest error is that of an independent walk through all pairs, and its place shows it."""
    from xent_verify.core.model import Batch
    from xent_verify.truth.certify import certify

    _, _, made = pairs
    form = FORMATS["float8_e5m2"]
    with np.errstate(all="ignore"):
        grid = np.stack(np.meshgrid(np.arange(256), np.arange(256), indexing="ij"), axis=-1).reshape(-1, 2)
        x = form.from_bits(grid.astype(np.uint8))
        y = find("naive", "softmax").call(x)
        error = certify(Batch("softmax", form.name, "", {"x": x})).error_ulp(y, form)
    code = np.isfinite(error) & np.isfinite(form.widen(y)) & (form.widen(y) > 0)
    worst = made["max_ulp"]
    assert worst["value"] == float(np.where(code, error, 0).max())
    assert error[worst["row"], worst["column"]] == worst["value"]


def test_results_add_up_in_any_order(pairs: tuple[Plan, dict[int, Counts], dict[str, Any]]) -> None:
    """Chunks merged forwards, backwards and in groups, and through JSON, give the same bytes."""
    plan, chunks, made = pairs
    forwards = Counts.merged(chunks[k] for k in sorted(chunks)).to_plain()
    backwards = Counts.merged(chunks[k] for k in sorted(chunks, reverse=True)).to_plain()
    first, second = (Counts.merged(chunks[k] for k in part) for part in ((3, 1), (0, 2)))
    assert forwards == backwards == Counts.merged((second, first)).to_plain()
    through = {k: Counts.from_plain(json.loads(json.dumps(v.to_plain()))) for k, v in chunks.items()}
    assert certificate(plan, Gathered(through)) == made


def test_a_class_that_is_dropped_is_missed(pairs: tuple[Plan, dict[int, Counts], dict[str, Any]]) -> None:
    """Were a class lost in merging, the sum over classes would no longer be the number of elements."""
    _, chunks, made = pairs
    spoilt = Counts.merged(chunks.values())
    del spoilt.classes["nan"]
    assert sum(spoilt.classes.values()) != spoilt.elements == sum(made["classes"].values())


def test_cells_survive_the_log() -> None:
    """Sparse counts come back from their text as they were, empty ones too."""
    rng = np.random.default_rng(3)
    cells = Cells.of(rng.integers(-40_000, 40_000, 5000))
    again = Cells.from_text(cells.to_text())
    assert np.array_equal(cells.ids, again.ids)
    assert np.array_equal(cells.counts, again.counts)
    assert Cells.from_text(Cells.of(np.zeros(0, np.int64)).to_text()).ids.size == 0


@pytest.mark.parametrize("fmt", ["float8_e4m3fn", "float8_e5m2"])
def test_rows_beyond_a_value_are_counted_right(fmt: str) -> None:
    """The combinatorial numbers of rows at or beyond a value are those of counting them one by one."""
    domain = Domain("pairs", fmt, True)
    totals = _Totals(domain)
    features = domain.features(np.arange(domain.size), EVERY)
    assert totals.everything == len(features["gap"])
    for name, cells in features.items():
        for cell in np.unique(cells)[::97]:
            assert totals.at_least(name, int(cell)) == int(np.count_nonzero(cells >= cell)), (name, cell)


def test_regions_are_said_in_words() -> None:
    """Rows that fail from a value on are told as all rows from there on; others with where they lie."""
    domain = Domain("pairs", "float8_e5m2", True)
    rows = np.arange(domain.size)
    values = FORMATS["float8_e5m2"].widen(domain.values(rows))
    with np.errstate(invalid="ignore"):
        failing = rows[values.max(axis=1) >= 12.0]
    features = {name: Cells.of(ids) for name, ids in domain.features(failing, EVERY).items()}
    text = described(domain, len(failing), features, whole=True)
    assert text == f"all {len(failing):,} rows with max x ≥ 12"
    assert "all" not in described(domain, len(failing), features, whole=False)
    features = {name: Cells.of(ids) for name, ids in domain.features(failing[::2], EVERY).items()}
    assert "gap from" in described(domain, len(failing[::2]), features, whole=True)


def test_one_wrong_pair_of_all_is_found(tmp_path: Path) -> None:
    """A single pair in 2**32, two ulps off: the chunk that holds it says so and where; its neighbour does not."""
    file = tmp_path / "planted.py"
    file.write_text(PLANTED)
    plan = plan_of(f"{file}:softmax", "softmax", "bfloat16")
    chunk = 0x4049 // 64
    with Session(plan) as session:
        found, neighbour = session.chunk(chunk), session.chunk(chunk + 1)
    assert found.classes["inaccurate"] == 1
    assert found.failing == {"inaccurate": 1}
    assert found.best["inaccurate"].row == (0x4049 << 16) + 0x3F12
    assert found.best["ulp"].value > 1.4
    assert found.rows == neighbour.rows == 1 << 22
    assert set(neighbour.classes) == {"ok", "convention"}
    assert certificate(plan, Gathered({chunk: found}))["failures"][0]["where"].startswith("1 row, with max x 3.140625")


def test_a_crash_is_narrowed_to_its_input(tmp_path: Path) -> None:
    """A target that aborts on one input of 256: the others are judged, that one is counted and named."""
    file = tmp_path / "crashing.py"
    file.write_text(CRASHING)
    plan = plan_of(f"{file}:sigmoid", "sigmoid", "float8_e5m2", isolated=True)
    made = Sweep(plan).run()
    (lost,) = made["unanswered"]
    assert lost["kind"] == "crash"
    assert lost["rows"] == 1
    assert lost["first_row"]["bits"] == ["0x35"]
    assert "SIGABRT" in lost["message"]
    assert made["rows"] == 256 == made["elements"] + 1
    assert not made["ok"]


def test_what_large_calls_alone_do_wrong_is_told() -> None:
    """A target that raises on large calls and answers small ones: every row is judged, and the exception is a fault."""

    def fussy(x: Any) -> Any:
        if len(x) > 100:
            raise MemoryError("too many")
        return find("stable", "sigmoid").call(x)

    plan = plan_of(fussy, "sigmoid", "float8_e5m2")
    made = Sweep(plan).run()
    assert made["elements"] == 256
    assert not made["unanswered"]
    assert {item["kind"] for item in made["conduct"]} == {"exception"}
    assert "in a call of 256 rows" in made["conduct"][-1]["message"] + made["conduct"][0]["message"]
    assert not made["ok"]
    assert not report_of(plan, made).ok


def test_a_target_that_only_crashes_is_given_up() -> None:
    """Rows that were never answered are counted as such; the run ends, and the sum is the whole domain."""

    def broken(x: Any) -> Any:
        raise ValueError("no")

    plan = plan_of(broken, "softmax", "float8_e5m2", "pairs")
    made = Sweep(plan).run()
    assert made["rows"] == 1 << 16 == sum(item["rows"] for item in made["unanswered"])
    assert {item["kind"] for item in made["unanswered"]} == {"exception", "not answered"}
    assert made["elements"] == 0
    assert made["label"] == "partial"
    assert not report_of(plan, made).ok


def test_processes_give_the_certificate_of_one(pairs: tuple[Plan, dict[int, Counts], dict[str, Any]]) -> None:
    """Two processes, each with its isolated target, and one: the same certificate."""
    plan = plan_of("naive", "softmax", "float8_e5m2", "pairs", isolated=True)
    assert Sweep(plan, jobs=2).run() == pairs[2]


def prove(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "xent_verify", "prove", *arguments]


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    """kill -9 in the middle, and a torn last line: resumed, the log holds each chunk once and the result is the same."""
    file, log = tmp_path / "slow.py", tmp_path / "run.log"
    file.write_text(SLOW.format(seconds=0.4))
    arguments = [f"{file}:softmax", "--op", "softmax", "--dtype", "float8_e5m2", "--domain", "pairs", "--in-process"]
    process = subprocess.Popen(
        prove(*arguments, "--log", str(log)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    limit = time.monotonic() + 60
    while (not log.exists() or log.read_bytes().count(b"\n") < 2) and time.monotonic() < limit:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    file.write_text(SLOW.format(seconds=0.4))
    kept = log.read_bytes()
    done = kept.count(b'"chunk":')
    assert 1 <= done < 4
    log.write_bytes(kept + b'{"chunk":3,"counts":{"rows":163')
    plan = plan_of(f"{file}:softmax", "softmax", "float8_e5m2", "pairs")
    sweep = Sweep(plan, log=log, resume=True)
    made = sweep.run()
    lines = [json.loads(line) for line in log.read_bytes().splitlines() if line.endswith(b"}")]
    assert sorted(line["chunk"] for line in lines if "chunk" in line) == [0, 1, 2, 3]
    assert made == Sweep(plan).run()


def test_a_log_is_of_one_run_only(tmp_path: Path) -> None:
    """Another policy, domain, format or target is refused in one line that names the difference; so is a second start."""
    log = tmp_path / "run.log"
    first = plan_of("naive", "softmax", "float8_e5m2", "pairs", part=(1, 4))
    Sweep(first, log=log).run()
    held = Gathered()
    read_log(log, first, held)
    assert held.chunks == [0]
    for other, what in (
        (plan_of("naive", "softmax", "float8_e5m2", "pairs", policy="native"), "policy"),
        (plan_of("naive", "softmax", "float8_e4m3fn", "pairs"), "dtype"),
        (plan_of("stable", "softmax", "float8_e5m2", "pairs"), "target"),
        (plan_of("naive", "softmax", "float8_e5m2", "triples"), "domain"),
    ):
        with pytest.raises(UsageError, match=f"its {what} is"):
            Sweep(other, log=log, resume=True).run()
    with pytest.raises(UsageError, match="exists already"):
        Sweep(first, log=log).run()
    with pytest.raises(UsageError, match="none to resume"):
        Sweep(first, log=tmp_path / "none.log", resume=True).run()


def test_a_spoilt_line_is_computed_again(tmp_path: Path) -> None:
    """A bit that turned in the middle of a log costs that chunk, not the truth of the result."""
    log = tmp_path / "run.log"
    plan = plan_of("naive", "softmax", "float8_e5m2", "pairs")
    made = Sweep(plan, log=log).run()
    text = log.read_text()
    log.write_text(text.replace('"numeric":', '"numeric":1', 1))
    held = Gathered()
    read_log(log, plan, held)
    assert len(held) == 3
    assert Sweep(plan, log=log, resume=True).run() == made


def test_slices_add_up_to_the_whole(tmp_path: Path, pairs: tuple[Plan, dict[int, Counts], dict[str, Any]]) -> None:
    """Two halves, each with its log and a partial certificate, are the whole together."""
    logs = [tmp_path / f"{k}.log" for k in (1, 2)]
    for k, log in enumerate(logs, start=1):
        half = Sweep(plan_of("naive", "softmax", "float8_e5m2", "pairs", part=(k, 2)), log=log).run()
        assert half["label"] == "partial"
        assert half["chunks_done"] == [[2 * k - 2, 2 * k - 1]]
    assert Sweep(pairs[0], include=logs).run() == pairs[2]


def test_a_target_that_changed_has_another_fingerprint(tmp_path: Path) -> None:
    """Files, modules, built-in implementations and functions are known by their bytes; nothing is imported."""
    file = tmp_path / "mine.py"
    file.write_text("def f(x): return x\nraise SystemExit")
    before = fingerprint(f"{file}:f", "softmax")
    file.write_text("def f(x): return -x\nraise SystemExit")
    assert fingerprint(f"{file}:f", "softmax") != before
    scipy = fingerprint("scipy.special:softmax", "softmax")
    assert scipy["kind"] == "module"
    assert scipy["version"].startswith("scipy ")
    assert "sha256" in scipy
    assert fingerprint("stable", "softmax") != fingerprint("naive", "softmax")
    assert fingerprint(lambda x: x, "softmax")["kind"] == "function"


def test_every_built_in_has_a_fingerprint_of_its_own() -> None:
    """Of all operations, losses with their dataclasses among them."""
    hashes = [sources_hash(entry.call) for entry in (*IMPLEMENTATIONS, *ZOO)]
    assert len(set(hashes)) == len(hashes)


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """prove exits 0 or 1, prints the label, writes JSON with the certificate and a folder with its table."""
    sound = ["prove", "stable", "--op", "sigmoid", "--dtype", "float8_e5m2", "--in-process"]
    assert run([*sound, "--out", str(tmp_path), "--json", "-"]) == 0
    caught = capsys.readouterr()
    data = json.loads(caught.out)
    assert data["settings"]["certificate"]["label"] == "proved"
    assert data["targets"][0]["dtypes"][0]["cases"] == 256
    assert "proved: stable was called on every one of the 256 rows" in caught.err
    assert "| sigmoid | [stable](sigmoid-stable-float8_e5m2-unary.json) |" in (tmp_path / "README.md").read_text()
    naive = ["prove", "naive", "--op", "sigmoid", "--dtype", "float8_e5m2", "--in-process", "--slice", "1/1"]
    assert run(naive) == 1
    assert "nan: all 51 rows with x ≥ 12" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["stable", "--op", "cross_entropy", "--dtype", "float16"], "an operation of one input"),
        (["stable", "--op", "softmax", "--dtype", "float32", "--domain", "pairs"], "more than 2"),
        (["stable", "--op", "softmax", "--domain", "unary"], "is for the other kind"),
        (["stable", "--op", "softmax", "--domain", "quads"], "unknown domain"),
        (["stable", "--op", "softmax", "--slice", "3/2"], "write K/N"),
        (["stable", "--op", "softmax", "--jobs", "0"], "at least one process"),
        (["stable", "--op", "softmax", "--dtype", "float16,bfloat16"], "one format at a time"),
        (["stable", "--op", "softmax", "--log", "a", "--resume", "b"], "give one of them"),
    ],
)
def test_wrong_use_is_one_line(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be asked is exit status 2 and a line that says why."""
    assert run(["prove", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


BAND = """
import numpy as np
def softmax(x, axis=-1):
    d = np.max(x, axis=axis, keepdims=True) - x
    e = np.exp(-d)
    e = np.where((d >= np.float32(23.457)) & (d <= np.float32(23.4571)), e * np.float32(1.001), e)
    return (e / np.sum(e, axis=axis, keepdims=True)).astype(x.dtype)
"""


def test_a_narrow_band_of_exp_is_told_to_its_neighbouring_floats(tmp_path: Path) -> None:
    """Of every float32 gap the part around the band: the certificate names its first float and its last."""
    (tmp_path / "banded.py").write_text(BAND)
    domain = domain_of(op_named("softmax"), FORMATS["float32"], "gaps")
    first, last = (int(np.float32(d).view(np.int32)) for d in (23.457, 23.4571))
    part = (first - domain.ends[0]) // domain.each // domain.chunk_rows + 1
    plan = plan_of(f"{tmp_path / 'banded.py'}:softmax", "softmax", "float32", "gaps", (part, domain.chunks))
    made = Sweep(plan).run()
    assert not made["ok"]
    low, high = (np.int32(i).view(np.float32) for i in (first, last))
    assert made["failures"][0]["where"].endswith(f"from {low:.9g} to {high:.9g} ({last - first + 1} floats)")


def test_the_gaps_of_a_format_are_all_its_floats_between_the_ends_once() -> None:
    domain = domain_of(op_named("softmax"), FORMATS["float16"], "gaps")
    rows = np.concatenate([block.x for chunk in range(domain.chunks) for block in domain.blocks(chunk)])
    form, (first, last) = FORMATS["float16"], domain.ends
    gaps = form.ordinal(-rows[:, 1:].ravel())
    assert np.array_equal(np.unique(gaps), np.arange(first, last + 1))
    assert sum(len(domain.rows_of(chunk)) for chunk in range(domain.chunks)) == domain.size == len(rows)


def test_a_proof_of_gaps_says_what_follows_for_rows_of_any_length() -> None:
    made = Sweep(plan_of("stable", "softmax", "float16", "gaps")).run()
    assert made["label"] == "proved"
    assert made["ok"]
    assert "that it does so is not proved here" in made["statement"]
