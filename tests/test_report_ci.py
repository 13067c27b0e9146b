"""What CI systems read: JUnit XML, SARIF, GitHub annotations and step summary."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from report_factory import finding, odd_example, passing, report

from xent_verify.core.kinds import KINDS
from xent_verify.core.model import DtypeResult, Report, TargetResult
from xent_verify.report import (
    render_annotations,
    render_comment,
    render_findings,
    render_html,
    render_junit,
    render_markdown,
    render_sarif,
    render_step_summary,
    render_text,
)
from xent_verify.report.places import source_file, source_line
from xent_verify.report.words import headline

junitparser = pytest.importorskip("junitparser")
jsonschema = pytest.importorskip("jsonschema")


def closed(required=(), **properties):
    """An object schema that knows these keys and no other."""
    return {"type": "object", "additionalProperties": False, "required": list(required), "properties": properties}


STRING, TEXT = {"type": "string"}, closed(["text"], text={"type": "string", "minLength": 1})
LOCATION = closed(
    physicalLocation=closed(
        artifactLocation=closed(uri={"type": "string", "pattern": "^[^ ]+$"}),
        region=closed(startLine={"type": "integer", "minimum": 1}),
    ),
    logicalLocations={
        "type": "array",
        "items": closed(fullyQualifiedName=STRING, name=STRING, kind=STRING),
    },
)
RESULT = closed(
    ["message"],
    ruleId=STRING,
    ruleIndex={"type": "integer", "minimum": -1},
    level={"enum": ["none", "note", "warning", "error"]},
    message=TEXT,
    locations={"type": "array", "items": LOCATION},
    partialFingerprints={"type": "object", "additionalProperties": STRING},
    properties={"type": "object"},
    baselineState={"enum": ["new", "unchanged", "updated", "absent"]},
    suppressions={
        "type": "array",
        "items": closed(
            ["kind"],
            kind={"enum": ["inSource", "external"]},
            status={"enum": ["accepted", "underReview", "rejected"]},
            justification=STRING,
        ),
    },
)
LEVEL = closed(["level"], level={"enum": ["error", "warning", "note"]})
RULE = closed(["id"], id=STRING, name=STRING, shortDescription=TEXT, help=TEXT, defaultConfiguration=LEVEL)
DRIVER = closed(["name"], name=STRING, rules={"type": "array", "uniqueItems": True, "items": RULE})
RUN = closed(["tool"], tool=closed(["driver"], driver=DRIVER), results={"type": "array", "items": RESULT})
SARIF = closed(
    ["version", "runs"], **{"$schema": STRING, "version": {"const": "2.1.0"}, "runs": {"type": "array", "items": RUN}}
)
"""The part of the SARIF 2.1.0 schema that is used here, with its required keys and without room for others."""


def hostile() -> Report:
    """Names and messages with everything that needs escaping."""
    bad = finding(message='50% of "rows"\nare <wrong> & \x00late', minimal=odd_example("float16"))
    result = DtypeResult("float16", 9, 2.0, 3.0, {}, (bad,))
    return Report((TargetResult("src/my loss.py:f<a>,b", "softmax", (result,)),), {})


@pytest.mark.parametrize(
    "made", [report(), passing(), hostile(), Report((), {})], ids=["failing", "passing", "hostile", "empty"]
)
def test_sarif_keeps_its_schema(made):
    """The SARIF validates, and every result names a rule that is there."""
    data = json.loads(render_sarif(made))
    jsonschema.validate(data, SARIF)
    run = data["runs"][0]
    assert len(run["results"]) == len(made.findings)
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]


def test_sarif_fingerprints_outlive_numbers():
    """A finding keeps its fingerprint when its counts change, and differs from every other one."""
    first = json.loads(render_sarif(report()))["runs"][0]["results"]
    second = json.loads(render_sarif(report(seed=5)))["runs"][0]["results"]
    prints = [result["partialFingerprints"]["finding/v1"] for result in first]
    assert prints == [result["partialFingerprints"]["finding/v1"] for result in second]
    assert len(set(prints)) == len(prints)


def test_sarif_fingerprints_outlive_regimes():
    """A finding stays the same one when a regime joins that comes first in the alphabet."""
    made = report()
    before = json.loads(render_sarif(made))["runs"][0]["results"]
    target, *others = made.targets
    first = target.dtypes[0]
    more = tuple(replace(one, regimes=("all_masked", *one.regimes)) for one in first.signs)
    target = replace(target, dtypes=(replace(first, signs=more), *target.dtypes[1:]))
    after = json.loads(render_sarif(replace(made, targets=(target, *others))))["runs"][0]["results"]
    assert [one["partialFingerprints"] for one in before] == [one["partialFingerprints"] for one in after]


def test_every_kind_has_a_rule():
    """Each kind of finding is described, and the rule says what to do."""
    found = [finding(kind, "info") for kind in KINDS]
    result = DtypeResult("float32", 9, 2.0, 3.0, {}, tuple(found))
    made = Report((TargetResult("m:f", "softmax", (result,)),), {})
    rules = json.loads(render_sarif(made))["runs"][0]["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == list(KINDS)
    assert all(rule["shortDescription"]["text"] and rule["help"]["text"] for rule in rules)


def test_junit_reads_back():
    """JUnit readers see one failed case per failing finding and a passed case per clean dtype."""
    document = junitparser.JUnitXml.fromstring(render_junit(report()))
    assert (document.tests, document.failures, document.errors) == (8, 4, 0)
    cases = [case for suite in document for case in suite]
    assert [case.name for case in cases][:2] == ["float32 overflow", "bfloat16 overflow"]
    assert "x = [[89]]" in cases[0].result[0].text


def test_junit_of_hostile_text_and_nothing():
    """Control characters and markup survive as text; an unchecked dtype is skipped, not passed."""
    document = junitparser.JUnitXml.fromstring(render_junit(hostile()))
    assert document.failures == 1
    nothing = DtypeResult("float32", 0, 0.0, 0.0, {}, ())
    skipped = render_junit(Report((TargetResult("f", "softmax", (nothing,)),), {}))
    assert junitparser.JUnitXml.fromstring(skipped).skipped == 1


def test_annotations_are_at_most_ten_and_one_line_each():
    """Failures come first, the last line counts the rest, newlines and commas are escaped."""
    made = report(dtypes=("float64", "float32", "float16", "bfloat16"))
    lines = render_annotations(made).splitlines()
    assert len(lines) == 10
    assert all(line.startswith("::error ") for line in lines[:8])
    assert "7 more findings" in lines[-1]
    (line,) = render_annotations(hostile()).splitlines()
    assert line.startswith(
        "::error file=src/my loss.py,line=1,title=overflow%3A src/my loss.py%3Af<a>%2Cb softmax float16::50%25"
    )
    assert "\\nare" in line
    assert render_annotations(passing()) == ""


def test_step_summary_stays_under_the_limit():
    """A summary of very many findings is cut to what GitHub takes, and says so."""
    assert "✗ fail" in render_step_summary(report())
    made = report()
    target = made.targets[0]
    many = tuple(finding(script="x = 1\n" * 4000, message=f"case {i} " * 40) for i in range(3000))
    big = Report((replace(target, dtypes=(replace(target.dtypes[0], signs=many),)),), {})
    text = render_step_summary(big)
    assert len(text.encode()) < 2**20
    assert "Cut here" in text
    assert len(render_comment(big)) < 2**16


def known() -> Report:
    """One failure that a baseline excuses, and nothing else."""
    excused = finding(severity="warn", waived_by="baseline")
    result = DtypeResult("float32", 9, 2.0, 3.0, {}, (excused,), keeps="unsound", change="as in the baseline")
    return Report((TargetResult("m:f", "softmax", (result,)),), {})


def test_what_is_known_is_never_green() -> None:
    """In every rendering a failure that the baseline excuses is "known": neither a pass nor a new failure."""
    made = known()
    assert headline(made) == "Nothing new: 1 of 1 target × dtype pairs fails as the baseline says; 9 values checked."
    text = render_text(made, color=True)
    assert "◆ known" in text
    assert "KNOWN" in text
    assert "✓" not in text
    assert "\x1b[32m" not in text
    assert "◆ known" in render_markdown(made)
    assert "What fails as the baseline says" in render_markdown(made)
    assert "known: overflow" in render_findings(made)
    assert render_annotations(made) == "::notice title=xent-verify::1 known: failing as the baseline says\n"
    assert "◆ known, unsound" in render_step_summary(made)
    document = junitparser.JUnitXml.fromstring(render_junit(made))
    assert (document.tests, document.skipped, document.failures) == (1, 1, 0)
    (result,) = json.loads(render_sarif(made))["runs"][0]["results"]
    assert (result["level"], result["baselineState"]) == ("error", "unchanged")
    assert result["suppressions"][0]["status"] == "accepted"
    page = render_html(made)
    assert '<h1 class="known">' in page
    assert "Nothing fails." not in page
    assert '<td class="known" data-format="float32">◆ unsound</td>' in page


def test_a_failure_says_what_to_do_and_how_to_see_it_again() -> None:
    """Annotation and step summary name the remedy and the replay command; the summary has the matrix of classes."""
    bad = DtypeResult("float32", 9, 2.0, 3.0, {}, (finding(),), keeps="unsound")
    good = DtypeResult("float64", 9, 0.5, 0.2, {}, (), keeps="standard")
    made = Report((TargetResult("m:f", "softmax", (bad, good)),), {})
    summary = render_step_summary(made)
    assert "| softmax | float32 | float64 |" in summary
    assert "| `m:f` | ✗ fail, unsound | ✓ pass, standard |" in summary
    for text in (summary, render_comment(made), render_annotations(made)):
        assert KINDS["overflow"].remedy in text
        assert "xent-verify replay gate.json --kind overflow" in text


def test_annotations_stand_at_the_definition(tmp_path, monkeypatch) -> None:
    """The line of the function or the method, where the file is here; else 1."""
    monkeypatch.chdir(tmp_path)
    source = "import numpy\n\n\nclass A:\n    def f(x):\n        return x\n\n\ndef g(x):\n    return x\n"
    (tmp_path / "losses.py").write_text(source)
    assert [source_line(f"losses.py:{name}") for name in ("A.f", "A", "g", "h")] == [5, 4, 9, 1]
    assert source_line("elsewhere:g") == 1


@pytest.mark.parametrize(
    ("target", "file"),
    [
        ("src/loss.py:softmax", "src/loss.py"),
        ("pkg.loss:Class.method", "pkg/loss.py"),
        ("naive", ""),
        ("model.onnx:out", "model.onnx"),
        ("a b:c", ""),
    ],
)
def test_source_files_are_told_by_names(target, file):
    """The file a target stands in, as far as its name says so."""
    assert source_file(target) == file
