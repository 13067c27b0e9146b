"""What real reports promise: the worst is the worst, a finding replays, a printed command gives the row it stands beside."""

from __future__ import annotations

import html
import io
import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from xent_verify import audit as public_audit
from xent_verify.auditing.audit import audit, merged
from xent_verify.auditing.replay import replay
from xent_verify.cli import run
from xent_verify.core.failures import UsageError
from xent_verify.core.formats import FORMATS
from xent_verify.core.model import Report, TargetResult
from xent_verify.regimes import PROFILES
from xent_verify.report import from_json, render_text, to_json
from xent_verify.report.frames import regime_frame, summary_frame
from xent_verify.report.html import render_html
from xent_verify.report.markdown import render_markdown
from xent_verify.report.places import placed
from xent_verify.report.words import call_text, maximum_text, number_text, padded, quantile_text
from xent_verify.verdict.policies import parse_policy
from xent_verify.verdict.settings import Settings, command_of

FAULTY = "xent_verify.implementations.faulty"
AUDITS: tuple[tuple[str, str, tuple[str, ...], dict[str, Any]], ...] = (
    ("naive", "softmax", ("float32", "bfloat16"), {}),
    ("naive", "log_softmax", ("float32",), {}),
    ("stable", "log_softmax", ("float32", "bfloat16"), {}),
    ("online-textbook", "softmax", ("float64",), {"policy": "textbook"}),
    ("stable", "cross_entropy", ("float32",), {"regimes": ("reductions",)}),
    ("naive-onehot", "cross_entropy", ("float32",), {"special": "torch"}),
    ("log1p", "logsumexp", ("float32",), {"seed": 3, "sizes": (77,)}),
    (f"{FAULTY}.shift:softmax_stack_maximum", "softmax", ("float32",), {"flush": "forbid"}),
    (f"{FAULTY}.epsilon:softmax_epsilon_in_denominator", "softmax", ("float16",), {"policy": "ulp:3"}),
    (f"{FAULTY}.layout:softmax_negative_stride", "softmax", ("float32",), {"regimes": ("ordinary", "layouts")}),
    (f"{FAULTY}.state:log_softmax_in_place", "log_softmax", ("float32",), {"timeout": 20.0}),
)


@pytest.fixture(scope="session")
def real() -> Report:
    """Audits of sound, naive and faulty implementations, each under settings of its own, joined and read back."""
    reports = [
        audit(target, op=op, dtypes=dtypes, profile="quick", isolated=False, **options)
        for target, op, dtypes, options in AUDITS
    ]
    return from_json(to_json(merged(reports)))


def test_the_worst_example_has_the_maximum(real: Report) -> None:
    """In every regime, and in every row of every table."""
    seen = 0
    for target in real.targets:
        for result in target.dtypes:
            assert result.max_ulp == max(regime.max_ulp for regime in result.regimes)
            for regime in result.regimes:
                if regime.worst is not None:
                    seen += 1
                    assert regime.worst.error_ulp == regime.max_ulp, (target.target, result.dtype, regime.regime)
                    assert regime.worst.inputs or regime.worst.length
                else:
                    assert regime.max_ulp == 0
    assert seen > 100


def test_no_row_shows_the_example_of_another_regime(real: Report) -> None:
    """The input beside a maximum is the one that it was measured on, also where it is too long to be written out."""
    long = 0
    rows = iter(summary_frame(real).to_dict("records"))
    for target in real.targets:
        for result in target.dtypes:
            row = next(rows)
            gravest = max(result.regimes, key=lambda regime: regime.max_ulp)
            assert gravest.worst is not None
            assert row["worst_input"] == call_text(gravest.worst)
            assert row["worst_observed"] == repr(gravest.worst.observed)
            long += gravest.worst.length > 0
    assert all(regime_frame(real)["worst_input"][regime_frame(real)["max_ulp"] > 0])
    assert long, "no row too long to be kept is among the worst: the test shows nothing"


def test_every_finding_replays_under_its_own_settings(real: Report) -> None:
    """Each call that a report shows as failing fails again, judged as it was judged."""
    replayed = 0
    for item in placed(real, "fail", "warn"):
        if item.finding.relation == "convention" or not item.finding.minimal or not item.finding.minimal.inputs:
            continue
        again = replay(item, isolated=False, trust=True)
        assert again.fails, "\n".join(again.lines)
        replayed += 1
    assert replayed > 8


def commands(page: str) -> list[list[str]]:
    """The commands of a page, without the name of the program."""
    found = re.search(r"<p>The same audit again:</p>\n<pre>(.*?)</pre>", page, re.DOTALL)
    assert found is not None
    return [shlex.split(html.unescape(line))[1:] for line in found[1].splitlines() if line]


def test_every_printed_command_gives_its_row(real: Report, tmp_path: Path) -> None:
    """Run through click, each gives the same bytes of JSON as the result that it stands beside."""
    printed = commands(render_html(real))
    assert len(printed) == len(real.targets)
    for target, arguments in zip(real.targets, printed, strict=True):
        path = tmp_path / "again.json"
        assert run([*arguments, "--json", str(path)]) in (0, 1)
        again = json.loads(path.read_text())["targets"]
        recorded = json.loads(to_json(Report((target,), {})))["targets"]
        assert json.dumps(again) == json.dumps(recorded), shlex.join(arguments)


def test_results_keep_their_own_settings_when_joined(real: Report) -> None:
    """Policy and the rest stand in each result, and where they differ every table says which."""
    policies = {target.target: target.settings["policy"] for target in real.targets}
    assert policies["online-textbook"] == "textbook"
    assert policies["stable"] == "standard"
    assert "policy" not in real.settings
    assert set(summary_frame(real)["policy"]) == {"standard", "textbook", "ulp:3"}
    for text in (render_text(real), render_markdown(real), render_html(real)):
        assert "ulp:3" in text
    csv = pd.read_csv(io.StringIO(summary_frame(real).to_csv(index=False)))
    assert list(csv["policy"][csv["target"] == "online-textbook"]) == ["textbook"]
    alone = Report(real.targets[:1], {})
    assert "policy" not in summary_frame(alone)
    assert alone.settings["policy"] == "standard"


def test_a_policy_that_is_no_text_is_refused_by_name(real: Report) -> None:
    """The tables ask by which policies the targets were judged."""
    data = json.loads(to_json(real))
    data["targets"][0]["settings"]["policy"] = ["standard"]
    with pytest.raises(UsageError, match=r"targets\[0\]\.settings\.policy.*should be a string"):
        from_json(json.dumps(data))


EVERYTHING = Settings(
    policy=parse_policy("ulp:2.5"),
    special="torch",
    flush="forbid",
    profile="deep",
    seed=7,
    arrays="numpy",
    kwargs={"dim": -1, "name": "two words"},
    timeout=2.5,
    isolated=False,
    device="cuda",
    fail_fast=True,
    sizes=(50257, 3),
    regimes=("ties", "ordinary"),
)


@pytest.mark.parametrize("settings", [Settings(), EVERYTHING, replace(EVERYTHING, isolated=True, fail_fast=False)])
def test_a_command_is_read_back_as_its_settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``command_of`` writes, click reads as the same settings; and so does a report its record."""
    result = TargetResult("m:f", "softmax", (bare("float32"), bare("float16")), settings.record())
    read: list[Any] = []

    def caught(targets: Any, op: Any, dtypes: Any, settings: Settings, *_: Any) -> Report:
        read.append((*targets, op, *dtypes, settings))
        return Report((), {})

    monkeypatch.setattr("xent_verify.auditing.audit.audited", caught)
    run(command_of(result)[1:])
    assert read == [("m:f", "softmax", "float32", "float16", settings)]
    plain = json.loads(to_json(Report((result,), {})))["targets"][0]["settings"]
    assert Settings.of(plain) == settings


def bare(dtype: str) -> Any:
    from xent_verify.core.model import DtypeResult

    return DtypeResult(dtype, 1, 0.0, 0.0, {}, ())


def test_a_search_is_repeated_as_a_search(tmp_path: Path) -> None:
    """The command beside a search's result is a search, with its own amounts, and finds the same."""
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    arguments = ["search", "stable", "--op", "softmax", "--evaluations", "200", "--examples", "10", "--in-process"]
    run([*arguments, "--json", str(first)])
    report = from_json(first.read_text())
    again = command_of(report.targets[0])
    assert again[:2] == ["xent-verify", "search"]
    run([*again[1:], "--json", str(second)])
    assert json.loads(first.read_text())["targets"] == json.loads(second.read_text())["targets"]


@pytest.mark.parametrize("record", [{"timeout": "long"}, {"special": []}, {"sizes": ["wide"]}, {"policy": "lax"}])
def test_a_corrupt_record_is_told_in_a_line(record: dict[str, Any]) -> None:
    """Settings that cannot be are wrong use, not an error of the program's own."""
    with pytest.raises(UsageError) as told:
        Settings.of(record)
    assert "\n" not in str(told.value)


def test_what_no_command_repeats_has_none() -> None:
    """Answers from a file, certificates, relative gates and local functions."""
    result = TargetResult("m:f", "softmax", (bare("float32"),), Settings().record())
    for change in ({"vectors": {}}, {"certificate": {}}, {"relative": {}}):
        assert command_of(replace(result, settings={**result.settings, **change})) == []
    assert command_of(replace(result, target="m:f.<locals>.g")) == []


def test_documented_names_exist() -> None:
    """The profiles that docstrings and help name are the ones there are."""
    names = re.search(r"``profile``: (.*?);", public_audit.__doc__ or "")
    assert names is not None
    assert re.findall(r'"(\w+)"', names[1]) == list(PROFILES)
    from xent_verify.commands.audit import command

    (option,) = (one for one in command.params if one.name == "profile")
    assert re.findall(r"\w+", getattr(option, "help", "").replace(" or ", " ")) == list(PROFILES)


def test_long_labels_do_not_run_into_their_values() -> None:
    """There is a space behind every label, however long."""
    for label in ("hit", "a" * 13, "a" * 14, "  true[2, 4096]"):
        assert padded(label).endswith(" ")
        assert padded(label).strip() == label.strip()


def test_maxima_in_ulps_are_numbers_of_their_format(real: Report) -> None:
    """No infinity and no NaN is among the maxima that are shown."""
    assert all(number_text(row["max_ulp"]) not in ("inf", "–") for row in summary_frame(real).to_dict("records"))
    assert {result.dtype for target in real.targets for result in target.dtypes} <= set(FORMATS)


def test_a_quantile_is_never_shown_above_the_maximum_beside_it() -> None:
    """A hundredth of ill-conditioned values says no more of a target than one of them."""
    row = {"max_ulp": 3.4e38, "conditioned_ulp": 31.91, "p99_ulp": 3.4e38, "p50_ulp": 0.5, "proved_over": ""}
    assert maximum_text(row) == quantile_text(row, "p99_ulp") == "31.91 †"
    assert quantile_text(row, "p50_ulp") == "0.5"
