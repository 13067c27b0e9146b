"""Vectors: what is right for each call is written down so that strangers can use it, and their answers get an audit's report."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.resources import files
from operator import attrgetter
from pathlib import Path
from typing import Any

import jsonschema
import mpmath
import numpy as np
import pytest

from xent_verify.auditing.findings import Asker, build
from xent_verify.candidates import open_candidate
from xent_verify.cli import run
from xent_verify.core.failures import UsageError
from xent_verify.core.formats import FORMATS
from xent_verify.core.kinds import BENIGN, CLASSES
from xent_verify.core.model import Batch, Outcome, Raised, Returned
from xent_verify.ops import OPS
from xent_verify.truth import certify
from xent_verify.vectors import (
    Answers,
    Selection,
    Vectors,
    answered,
    chosen,
    judged,
    read_answers,
    read_vectors,
    write_vectors,
)
from xent_verify.vectors.bits import literals, words
from xent_verify.vectors.document import to_text
from xent_verify.vectors.known import work_out
from xent_verify.verdict.judge import Rules
from xent_verify.verdict.ledger import Ledger
from xent_verify.verdict.measure import stated
from xent_verify.verdict.policies import parse_policy

ROOT = Path(__file__).parent.parent
COMMITTED = ROOT / "vectors"
SMALL = Selection(rows=3, longest=60, per_regime=2)


@pytest.fixture(scope="module")
def softmax() -> Vectors:
    return chosen(["softmax"], ["float32"], SMALL)


@pytest.fixture(scope="module")
def losses() -> Vectors:
    return chosen(["cross_entropy"], ["bfloat16"], Selection(rows=3, longest=40, per_regime=2))


def answers_to(vectors: Vectors, target: Any, op: str = "softmax") -> dict[str, Outcome | None]:
    """What a target answers, case by case."""
    with open_candidate(target, op, isolated=False) as candidate:
        return {
            case.id: candidate.call(case.batch) if candidate.supports(case.batch) else None for case in vectors.cases
        }


def as_document(vectors: Vectors, outcomes: Mapping[str, Outcome | None]) -> dict[str, Any]:
    """The same as a stranger writes it."""
    given: dict[str, Any] = {}
    for case in vectors.cases:
        match outcomes[case.id]:
            case Returned(value=value):
                given[case.id] = words(value, case.batch.form)
            case Raised(message=message):
                given[case.id] = {"error": message}
            case _:
                given[case.id] = None
    return {"format": "xent-verify answers", "version": 1, "target": "a stranger", "answers": given}


def kinds(report: Any) -> set[tuple[str, str]]:
    return {(finding.kind, finding.severity) for finding in report.signs}


def test_files_are_what_the_schema_says(softmax: Vectors, losses: Vectors, tmp_path: Path) -> None:
    """Fresh files, the committed set and answers obey the schema that ships; every flag has its note."""
    schema = json.loads(files("xent_verify.vectors").joinpath("schema.json").read_text())
    check = jsonschema.Draft202012Validator(schema).validate
    for document in (json.loads(to_text(softmax)), json.loads(to_text(losses))):
        check(document)
        assert {flag for case in document["cases"] for flag in case["flags"]} == set(document["notes"])
    for path in sorted(COMMITTED.glob("*-float16.json")):
        check(json.loads(path.read_text()))
    check(as_document(softmax, answers_to(softmax, "stable")))
    broken = json.loads(to_text(softmax))
    del broken["cases"][0]["low"]
    with pytest.raises(jsonschema.ValidationError):
        check(broken)


def test_each_case_stands_on_a_line_of_its_own(softmax: Vectors) -> None:
    """A reader may search lines instead of parsing JSON."""
    lines = [line for line in to_text(softmax).splitlines() if line.startswith('{"id": "')]
    assert [json.loads(line.removesuffix(","))["id"] for line in lines] == [case.id for case in softmax.cases]


def test_the_same_vectors_are_the_same_bytes(softmax: Vectors, tmp_path: Path) -> None:
    """JSON and binary files are reproducible, and reading them gives the same calls."""
    again = chosen(["softmax"], ["float32"], SMALL)
    for name in ("v.json", "v.npz"):
        write_vectors(softmax, tmp_path / name)
        write_vectors(again, tmp_path / f"again-{name}")
        assert (tmp_path / name).read_bytes() == (tmp_path / f"again-{name}").read_bytes()
        back = read_vectors(tmp_path / name)
        assert [case.id for case in back.cases] == [case.id for case in softmax.cases]
        for one, other in zip(back.cases, softmax.cases, strict=True):
            assert one.flags == other.flags
            assert one.batch.x.tobytes() == other.batch.x.tobytes()
            assert one.batch.x.shape == other.batch.x.shape
            assert dict(one.batch.options) == dict(other.batch.options)


@pytest.mark.parametrize(("op", "dtype"), [("logsumexp", "float32"), ("cross_entropy", "bfloat16")])
def test_the_committed_set_is_what_the_command_writes(op: str, dtype: str, tmp_path: Path) -> None:
    """``vectors export --standard`` gives the committed bytes again."""
    assert run(["vectors", "export", "--standard", "--op", op, "--dtype", dtype, "--out", str(tmp_path)]) == 0
    name = f"{op}-{dtype}.json"
    assert (tmp_path / name).read_bytes() == (COMMITTED / name).read_bytes()


@pytest.mark.slow
def test_the_whole_committed_set_is_what_the_command_writes(tmp_path: Path) -> None:
    """All of it, and nothing else lies there."""
    assert run(["vectors", "export", "--standard", "--out", str(tmp_path)]) == 0
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted(path.name for path in COMMITTED.glob("*.json"))
    for name in names:
        assert (tmp_path / name).read_bytes() == (COMMITTED / name).read_bytes(), name


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_true_values_are_enclosed_and_answers_rounded(dtype: str) -> None:
    """Every printed literal lies within its radius of mpmath's value, and the answer is the nearest value of the format."""
    form = FORMATS[dtype]
    regimes = ("ordinary", "underflow_edge", "dominated", "tiny")
    vectors = chosen(["softmax"], [dtype], Selection(rows=4, longest=12, per_regime=1, regimes=regimes))
    with mpmath.workprec(3000):
        for case in vectors.cases:
            assert case.known is not None
            x = [mpmath.mpf(float(v)) for v in case.batch.x.reshape(-1)]
            n = case.batch.x.shape[-1]
            given = zip(literals(case.known.truth, form).split(), case.known.answer.reshape(-1), strict=True)
            for place, (literal, answer) in enumerate(given):
                row = x[place // n * n : place // n * n + n]
                true = mpmath.exp(x[place]) / mpmath.fsum(map(mpmath.exp, row))
                printed = mpmath.mpf(_exact(literal))
                quantum = mpmath.mpf(2) ** (
                    max(int(mpmath.floor(mpmath.log(true, 2))), form.e_min) - form.precision + 1
                )
                assert abs(printed - true) <= quantum * 2**-19
                assert abs(mpmath.mpf(float(answer)) - true) <= quantum / 2


def _exact(literal: str) -> mpmath.mpf:
    """A hexadecimal literal beyond any float's range."""
    mantissa, _, exponent = literal.removeprefix("0x").partition("p")
    whole, _, rest = mantissa.partition(".")
    return mpmath.mpf(int(whole + rest, 16)) * mpmath.mpf(2) ** (int(exponent) - 4 * len(rest))


@pytest.mark.parametrize(
    ("op", "dtype", "policy"),
    [
        ("softmax", "float32", "standard"),
        ("logsumexp", "float64", "standard"),
        ("log_softmax", "bfloat16", "ulp:3"),
        ("cross_entropy_grad", "float16", "standard"),
        ("cross_entropy", "float32", "standard"),
        ("log_softmax", "float8_e4m3fn", "standard"),
    ],
)
def test_the_acceptable_range_is_exactly_what_the_judge_accepts(op: str, dtype: str, policy: str) -> None:
    """Both ends and the rounded answer pass; one step beyond either end fails, for every element of every case."""
    form, rule = FORMATS[dtype], parse_policy(policy)
    rules = Rules(rule, flush="forbid")
    checked = 0
    for case in chosen([op], [dtype], Selection(rows=3, longest=20, per_regime=1), rule).cases:
        known = case.known
        assert known is not None
        truth = certify(case.batch)

        def failing(values: Any, batch: Batch = case.batch, truth: Any = truth) -> Any:
            asker = Asker(OPS[op], lambda _: Returned(values, dtype), rules, "t")
            errors = asker.judged(batch)[2].errors
            assert errors is not None
            return ~np.isin(errors.code, [CLASSES.index(name) for name in ("ok", *BENIGN)])

        for values in (known.answer, known.low, known.high):
            assert not failing(values).any(), case.id
        numbers = ~np.isnan(form.widen(known.answer))
        free = np.zeros(known.answer.size, np.bool_)
        for one in known.special:
            free[list(one.elements)] = True
        for values, step in ((known.low, -1), (known.high, 1)):
            safe = np.where(numbers, form.widen(values), 0.0).astype(form.dtype)
            ordinals = form.ordinal(safe) + step
            inside = numbers & (np.abs(ordinals) <= form.max_ordinal) & ~free.reshape(numbers.shape)
            beyond = np.where(inside, form.from_ordinal(np.where(inside, ordinals, 0)), known.answer).astype(form.dtype)
            assert failing(beyond)[inside].all(), case.id
            checked += int(inside.sum())
    assert checked > 50


@pytest.mark.parametrize("target", ["stable", "naive", "division-free"])
def test_judging_answers_is_auditing_the_same_calls(softmax: Vectors, target: str) -> None:
    """Counts, maxima, kinds, severities and the worst number of every finding are those of an audit of these calls."""
    outcomes = answers_to(softmax, target)
    report = judged(softmax, Answers("t", outcomes))
    found = report.targets[0].dtypes[0]
    with open_candidate(target, "softmax", isolated=False) as candidate:
        asker = Asker(OPS["softmax"], candidate.call, Rules(), "t")
        ledger = Ledger(OPS["softmax"], softmax.cases[0].batch.fmt)
        for case in softmax.cases:
            if candidate.supports(case.batch):
                asker.observe(ledger, case.batch)
        ledger.close()
        expected = sorted(build(asker, ledger), key=attrgetter("kind", "relation"))
    signs = sorted(found.signs, key=attrgetter("kind", "relation"))
    assert [(f.kind, f.severity, f.message, f.count, f.cases, f.regimes) for f in signs] == [
        (f.kind, f.severity, f.message, f.count, f.cases, f.regimes) for f in expected
    ]
    for mine, theirs in zip(signs, expected, strict=True):
        assert mine.worst is not None
        assert theirs.worst is not None
        assert mine.worst.observed == theirs.worst.observed or np.isnan(theirs.worst.observed)
        assert mine.worst.true_digits == theirs.worst.true_digits
        assert (
            mine.diagnosis.split(" on ")[0] == theirs.diagnosis.split(" on ")[0]
        )  # recorded answers cannot be asked again
    assert (found.cases, found.max_ulp, found.max_bound_ratio, dict(found.classes)) == (
        ledger.cases, ledger.max_ulp, stated(ledger.max_ratio), ledger.classes(),
    )  # fmt: skip
    assert report.ok == (target == "stable")


def test_the_minimal_case_is_the_smallest_given_row_that_fails(softmax: Vectors) -> None:
    """It is one row of the vectors, it fails alone, and it is no larger than the worst."""
    report = judged(softmax, Answers("t", answers_to(softmax, "naive")))
    along = [np.moveaxis(case.batch.x, case.batch.options.get("axis", -1), -1) for case in softmax.cases]
    rows = {row.tobytes() for x in along for row in x.reshape(-1, x.shape[-1])}
    for finding in report.signs:
        if finding.severity != "fail":
            continue
        assert finding.minimal is not None
        assert finding.worst is not None
        assert finding.minimal.inputs["x"].size <= finding.worst.inputs["x"].size
        if finding.minimal.inputs["x"].shape[0] == 1:
            assert finding.minimal.inputs["x"][0].tobytes() in rows
        assert finding.minimal.true_digits


def test_scripts_of_findings_look_the_answers_up(softmax: Vectors, tmp_path: Path) -> None:
    """A finding's script runs alone, shows the recorded answer and exits 1."""
    vectors, answers = tmp_path / "v.json", tmp_path / "a.json"
    write_vectors(softmax, vectors)
    answers.write_text(json.dumps(as_document(softmax, answers_to(softmax, "naive"))))
    report = judged(softmax, read_answers(answers, softmax), files=(vectors, answers))
    finding = next(f for f in report.signs if f.kind == "nan" and f.severity == "fail")
    done = subprocess.run([sys.executable, "-c", finding.script], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "observed nan" in done.stdout
    right = answered(str(vectors), str(answers), "softmax")(np.array([[1.5, 2.5, 123.0]], np.float32))
    assert right[0, 2] == 1.0


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_the_command_line_judges_both_kinds_of_files(
    suffix: str, losses: Vectors, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Export, answer, judge: exit 0 for sound answers and 1 for faulty ones, with an audit's JSON, in bfloat16."""
    vectors = tmp_path / f"v{suffix}"
    arguments = ["--op", "cross_entropy", "--dtype", "bfloat16", "--rows", "3", "--longest", "40", "--per-regime", "2"]
    assert run(["vectors", "export", *arguments, "--out", str(vectors)]) == 0
    for target, status in (("stable", 0), ("naive", 1)):
        outcomes = answers_to(losses, target, "cross_entropy")
        answers = tmp_path / f"{target}{suffix}"
        if suffix == ".json":
            answers.write_text(json.dumps(as_document(losses, outcomes)))
        else:
            given = {name: one.value if isinstance(one, Returned) else False for name, one in outcomes.items()}
            np.savez(answers, **given)
        capsys.readouterr()
        assert run(["vectors", "judge", str(vectors), str(answers), "--json", "-"]) == status
        data = json.loads(capsys.readouterr().out)
        assert data["ok"] is (status == 0)
        assert data["targets"][0]["dtypes"][0]["dtype"] == "bfloat16"


def test_what_is_not_offered_and_what_raises(softmax: Vectors) -> None:
    """null is counted and not judged; an error is a finding, or an option that is not offered; nothing answered is exit 5."""
    outcomes = answers_to(softmax, "stable")
    axes = [case.id for case in softmax.cases if "axis" in case.batch.options]
    report = judged(softmax, Answers("t", outcomes | dict.fromkeys(axes)))
    assert report.ok
    assert f"not offered: {len(axes)} of {len(softmax.cases)} cases" in report.targets[0].dtypes[0].unasked
    refused: Outcome = Raised("Error", "no axis")
    report = judged(softmax, Answers("t", outcomes | dict.fromkeys(axes, refused)))
    assert ("exception", "fail") in kinds(report) or ("unsupported", "info") in kinds(report)
    first = softmax.cases[0].id
    report = judged(softmax, Answers("t", outcomes | {first: Raised("Error", "out of memory")}))
    assert ("exception", "fail") in kinds(report)
    assert judged(softmax, Answers("t", dict.fromkeys(outcomes))).cases == 0


def test_a_wrong_number_of_answers_is_a_finding(softmax: Vectors, tmp_path: Path) -> None:
    """Too few elements are the target's fault, and told as a wrong shape."""
    document = as_document(softmax, answers_to(softmax, "stable"))
    first = softmax.cases[0].id
    document["answers"][first] = document["answers"][first].rpartition(" ")[0]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(document))
    report = judged(softmax, read_answers(path, softmax))
    assert kinds(report) == {("shape", "fail")}


def test_special_profiles_and_policies_are_the_judges(softmax: Vectors) -> None:
    """--special and --policy mean what they mean in an audit."""

    def zeros(x: Any, axis: int = -1) -> Any:
        with np.errstate(all="ignore"):
            terms = np.exp(x - x.max(axis=axis, keepdims=True))
            return np.where(
                (x == -np.inf).all(axis=axis, keepdims=True), 0, terms / terms.sum(axis=axis, keepdims=True)
            )

    answers = Answers("t", answers_to(softmax, zeros))
    assert judged(softmax, answers, special="any").ok
    assert not judged(softmax, answers, special="torch").ok
    assert not judged(softmax, answers, policy="ulp:0.4").ok
    with pytest.raises(UsageError, match="unknown policy"):
        judged(softmax, answers, policy="no")


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d["answers"].popitem(), "no answer to 1 of"),
        (lambda d: d["answers"].update(nobody="3f800000"), "1 answers to cases that the vectors do not have: nobody"),
        (lambda d: d["answers"].update({next(iter(d["answers"])): "3f80"}), "is not the 8 hex digits of a float32"),
        (lambda d: d["answers"].update({next(iter(d["answers"])): 3}), "neither hex words nor a list"),
        (lambda d: d.update(version=2), "version is 2, should be 1"),
        (lambda d: d.update(format="something"), "should be 'xent-verify answers'"),
        (lambda d: d.pop("answers"), "answers is missing"),
    ],
)
def test_unreadable_answers_are_one_clear_line(
    softmax: Vectors, tmp_path: Path, change: Change, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Missing, unknown and malformed answers: exit 2, one line that names the case."""
    document = as_document(softmax, dict.fromkeys((case.id for case in softmax.cases), Raised("Error", "x")))
    change(document)
    vectors, answers = tmp_path / "v.json", tmp_path / "a.json"
    write_vectors(softmax, vectors)
    answers.write_text(json.dumps(document))
    assert run(["vectors", "judge", str(vectors), str(answers)]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{not json", "is not JSON"),
        ("[1]", "holds a list of 1, should be a JSON object"),
        ('{"format": "xent-verify vectors", "version": 1, "cases": [NaN]}', "the literal NaN"),
        ('{"format": "xent-verify vectors", "version": 1, "cases": []}', "cases is empty"),
        (
            '{"format": "xent-verify vectors", "version": 1, "cases": [{"id": "a", "op": "sofmax"}]}',
            "did you mean 'softmax'",
        ),
    ],
)
def test_unreadable_vectors_are_one_clear_line(
    tmp_path: Path, text: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever stands in the file: exit 2 and one line."""
    path = tmp_path / "v.json"
    path.write_text(text)
    assert run(["vectors", "judge", str(path), str(path)]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    binary = tmp_path / "v.npz"
    binary.write_bytes(text.encode())
    assert run(["vectors", "judge", str(binary), str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--out", "x.txt"], "should end in .json or .npz"),
        (["--op", "sofmax", "--out", "x.json"], "did you mean 'softmax'"),
        (["--dtype", "float31", "--out", "x.json"], "did you mean 'float32'"),
        (["--regimes", "tie", "--out", "x.json"], "did you mean 'ties'"),
        (["--profile", "fast", "--out", "x.json"], "unknown profile"),
        (["--rows", "-1", "--out", "x.json"], "must be 0 (all) or more"),
        (["--regimes", "many_rows", "--longest", "5", "--out", "x.json"], "no case is left"),
    ],
)
def test_an_export_that_cannot_be_is_one_clear_line(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unknown names and limits that leave nothing: exit 2."""
    assert run(["vectors", "export", *arguments]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_pickles_are_not_read(softmax: Vectors, tmp_path: Path) -> None:
    """An ``.npz`` with an object array is refused, not executed."""
    np.savez(tmp_path / "a.npz", **{softmax.cases[0].id: np.array([{}], object)})
    with pytest.raises(UsageError, match="without pickles"):
        read_answers(tmp_path / "a.npz", softmax)


@pytest.mark.parametrize("language", ["c", "javascript"])
def test_the_example_readers_answer_the_committed_set(language: str, tmp_path: Path) -> None:
    """A stranger's thirty lines in C and in JavaScript read the vectors, answer them, and pass."""
    reader = ROOT / "examples" / "readers"
    vectors = COMMITTED / "softmax-float32.json"
    if language == "c":
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            pytest.skip("no C compiler")
        built = tmp_path / "reader"
        flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-O2", "-ffp-contract=off"]
        subprocess.run([compiler, *flags, str(reader / "reader.c"), "-o", str(built), "-lm"], check=True)
        with vectors.open() as given:
            done = subprocess.run([str(built)], stdin=given, capture_output=True, text=True, check=True)
    else:
        node = shutil.which("node")
        if node is None:
            pytest.skip("no Node.js")
        done = subprocess.run(
            [node, str(reader / "reader.mjs"), str(vectors)], capture_output=True, text=True, check=True
        )
    answers = tmp_path / "answers.json"
    answers.write_text(done.stdout)
    cases = read_vectors(vectors)
    report = judged(cases, read_answers(answers, cases))
    assert report.ok
    assert report.cases > 200


JUDGES = ROOT / "examples" / "judges"
GIVEN_IN_C = r"""
#include "xent_vectors.h"
static int answer(const xv_case *c, void *out) {
    size_t width = xv_width(c->dtype);
    void *right = xv_words(strstr(c->options, "\"answer\": \"") + 11, width, c->count);
    memcpy(out, right, c->count * width);
    if (getenv("WRONG") && c->count) ((unsigned char *)out)[c->count * width - 1] ^= 0x7f;
    free(right);
    return 0;
}
int main(int argc, char **argv) { return argc == 2 ? xv_judge(argv[1], answer) : 2; }
"""
GIVEN_IN_JAVASCRIPT = """
import { readFileSync } from "node:fs";
import { judge, numbers } from "./xent_vectors.mjs";
const { cases } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const answers = Object.fromEntries(cases.map((one) => [one.id, numbers(one.answer, one.dtype)]));
const wrong = (y) => (y === 0 ? 1 : Number.isFinite(y) ? 1.2 * y : 0);
process.exit(judge(process.argv[2], ({ id }) => (process.env.WRONG ? answers[id].map(wrong) : answers[id])));
"""


def judge_command(language: str, source: Path, folder: Path) -> list[str]:
    """The command that runs an example of a judge; skips where its compiler or interpreter is missing."""
    tools = {"c": ("cc", "gcc", "clang"), "c++": ("c++", "g++", "clang++"), "javascript": ("node",)}
    tool = next(filter(None, map(shutil.which, tools[language])), None)
    if tool is None:
        pytest.skip(f"nothing here runs {language}")
    if language == "javascript":
        return [tool, str(source)]
    flags = ["-std=c99", "-Werror"] if language == "c" else ["-x", "c++", "-std=c++11", "-Werror"]
    built = folder / "judge"
    flags += ["-Wall", "-Wextra", "-O2", "-ffp-contract=off", f"-I{JUDGES}"]
    subprocess.run([tool, *flags, str(source), "-o", str(built), "-lm"], check=True)
    return [str(built)]


@pytest.mark.parametrize("language", ["c", "c++", "javascript"])
def test_a_judge_in_one_file_passes_and_fails_without_python(language: str, tmp_path: Path) -> None:
    """The example passes; without its maximum it fails, and each failure is named."""
    source = JUDGES / ("softmax.mjs" if language == "javascript" else "softmax.c")
    vectors = str(COMMITTED / "softmax-float32.json")
    done = subprocess.run([*judge_command(language, source, tmp_path), vectors], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert " 0 failed" in done.stdout
    assert done.stdout.strip() in (ROOT / "docs" / "vectors.md").read_text()
    shutil.copy(JUDGES / "xent_vectors.mjs", tmp_path)
    naive = tmp_path / f"naive{source.suffix}"
    naive.write_text(source.read_text().replace("x[i] - top", "x[i]").replace("v - top", "v"))
    done = subprocess.run([*judge_command(language, naive, tmp_path), vectors], capture_output=True, text=True)
    assert done.returncode == 1
    assert "FAIL softmax.float32.wide_spread.0" in done.stdout
    assert "all_masked" not in done.stdout  # NaN is accepted there
    other = subprocess.run(
        [*judge_command(language, source, tmp_path), str(COMMITTED / "cross_entropy-float32.json")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert other.returncode == 5


@pytest.mark.parametrize("language", ["c", "javascript"])
def test_the_judges_accept_what_is_correctly_rounded(language: str, tmp_path: Path) -> None:
    """In every file of the set, conventions included; with one value of each case changed nearly all fail."""
    shutil.copy(JUDGES / "xent_vectors.mjs", tmp_path)
    module = (tmp_path / "xent_vectors.mjs").read_text()
    (tmp_path / "xent_vectors.mjs").write_text(module.replace("const numbers =", "export const numbers ="))
    source = tmp_path / ("given.mjs" if language == "javascript" else "given.c")
    source.write_text(GIVEN_IN_JAVASCRIPT if language == "javascript" else GIVEN_IN_C)
    command = judge_command(language, source, tmp_path)
    for vectors in sorted(COMMITTED.glob("*.json")):
        done = subprocess.run([*command, str(vectors)], capture_output=True, text=True)
        assert done.returncode == 0, (vectors, done.stdout)
        assert " 0 failed, 0 not offered" in done.stdout
        wrong = subprocess.run(
            [*command, str(vectors)], capture_output=True, text=True, env={**os.environ, "WRONG": "1"}
        )
        passed, failed = (int(text.split()[0]) for text in wrong.stdout.splitlines()[-1].split(", ")[:2])
        assert failed > 8 * passed


def test_the_readers_answers_without_a_compiler(tmp_path: Path) -> None:
    """The same algorithm in Python passes the same file: the vectors are there wherever the tests run."""
    cases = read_vectors(COMMITTED / "softmax-float32.json")

    def plain(x: Any) -> Any:
        with np.errstate(all="ignore"):
            terms = np.exp(x - x.max(axis=-1, keepdims=True))
            return terms / terms.sum(axis=-1, keepdims=True)

    assert judged(cases, Answers("plain", answers_to(cases, plain))).ok


def test_long_rows_have_ranges_too() -> None:
    """The fast tiers and interval arithmetic agree on answers and ranges, so that long rows may take the former."""
    regimes = ("ordinary", "long_rows", "masks")
    for case in chosen(["log_softmax"], ["float32"], Selection(longest=1000, per_regime=2, regimes=regimes)).cases:
        doubled = Batch("log_softmax", "float32", "", {"x": np.concatenate([case.batch.x] * 60)})
        big = work_out(doubled, parse_policy("standard"))
        assert case.known is not None
        assert doubled.x.size > 2000
        rows = len(case.batch.x)
        for name in ("answer", "low", "high"):
            mine, theirs = getattr(case.known, name), getattr(big, name)[:rows]
            assert mine.tobytes() == theirs.tobytes(), (case.id, name)
