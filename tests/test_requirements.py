"""What is asked beyond the policy: bits that do not change with what surrounds a row, and a class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kernels
import numpy as np
import pytest
import targets

from xent_verify.auditing.audit import AuditReport, audit
from xent_verify.auditing.replay import chosen, replay
from xent_verify.candidates import open_candidate
from xent_verify.cli import run
from xent_verify.companions import COMPANIONS
from xent_verify.core.failures import UsageError
from xent_verify.core.formats import FORMATS
from xent_verify.core.model import Batch, Finding, Returned
from xent_verify.gate.settings_file import read_settings
from xent_verify.ops import OPS
from xent_verify.report import from_json, to_json
from xent_verify.truth import certify
from xent_verify.verdict.judge import Hit, Rules
from xent_verify.verdict.policies import parse_policy
from xent_verify.verdict.properties import apart
from xent_verify.verdict.requirements import Requirements, words_of
from xent_verify.verdict.settings import Settings, command_of

LONG = np.random.default_rng(3).standard_normal((3, 700)).astype(np.float32)


def hits_of(function: Any, relation: str, x: Any = LONG) -> list[Hit]:
    """What one companion says about a softmax."""
    batch, op = Batch("softmax", x.dtype.name, "test", {"x": x}), OPS["softmax"]
    companion = next(one for one in COMPANIONS if one.name == relation)
    with open_candidate(function, "softmax") as candidate:
        outcome = candidate.call(batch)
        assert isinstance(outcome, Returned)
        limit = parse_policy("standard").limits(op, batch, certify(batch)).error
        return companion.run(candidate.call, op, batch, outcome, limit)


def audited(function: Any, require: str = "", **more: Any) -> AuditReport:
    """An audit of rows of up to 129 logits alone."""
    return audit(
        function, op="softmax", dtypes=["float32"], profile="quick", regimes=["sizes"], require=require, **more
    )


def of_kind(report: AuditReport, kind: str) -> list[Finding]:
    return [finding for finding in report.findings if finding.kind == kind]


@pytest.fixture(scope="module")
def split() -> AuditReport:
    """What invariance finds of a kernel whose split depends on the batch."""
    return audited("kernels:splits_by_batch", "invariance", isolated=False)


def test_words_are_read() -> None:
    """Of two words of one kind the stricter counts; anything else is one clear line."""
    assert Requirements.of(words_of("invariance:4, invariance:1,stored,textbook")) == Requirements(1.0, "textbook")
    assert Requirements.of(()) == Requirements()
    for wrong in ("invarianz", "invariance:x", "invariance:-1", "invariance:inf", "unsound"):
        with pytest.raises(UsageError, match="requirement"):
            Settings(require=(wrong,)).checked()


def test_a_wrong_word_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2 and a line that names what would be right."""
    assert run(["audit", "stable", "--op", "softmax", "--require", "invariant"]) == 2
    assert "did you mean 'invariance'" in capsys.readouterr().err


def test_a_split_by_batch_fails_invariance_with_the_size(split: AuditReport) -> None:
    """The batch size at which bits change is told; without the requirement it is information."""
    (found,) = of_kind(split, "batch_dependence")
    assert (found.severity, found.relation) == ("fail", "sizes")
    assert "from batch size 32 on" in found.message
    assert "sizes up to 31 agree" in found.message
    report = audited(kernels.splits_by_batch)
    assert report.ok
    (told,) = of_kind(report, "batch_dependence")
    assert (told.severity, told.message) == ("info", found.message)


def test_a_border_between_powers_of_two_is_bisected() -> None:
    """Whatever the size at which a target begins to answer otherwise, it is found."""

    def from_45(x: np.ndarray, axis: int = -1) -> np.ndarray:
        return kernels._split(x, axis, 8 if x.size >= 45 * x.shape[axis] else 64)

    (hit,) = hits_of(from_45, "sizes")
    assert "from batch size 45 on" in hit.message
    assert "sizes up to 44 agree" in hit.message


def test_a_size_that_alone_is_otherwise_is_told_so() -> None:
    """Where only some sizes change bits, the message does not say "from there on"."""

    def at_16(x: np.ndarray, axis: int = -1) -> np.ndarray:
        return kernels._split(x, axis, 8 if x.size == 16 * x.shape[axis] else 64)

    (hit,) = hits_of(at_16, "sizes")
    assert hit.message.startswith("at batch size 16 (and 0 of ")


def test_a_fixed_split_keeps_every_bit() -> None:
    """Same bits at every size, in every place, layout, chunk and padding."""
    report = audited(kernels.splits_alike, "invariance")
    assert report.ok
    assert not [finding for finding in report.findings if finding.kind.endswith("dependence")]


def test_some_ulps_may_be_allowed() -> None:
    """``invariance:K`` passes changes of up to K ulps, and no more."""

    def wobbles(x: np.ndarray, axis: int = -1) -> np.ndarray:
        p = kernels.splits_alike(x, axis)
        return p if x.size < 32 * x.shape[axis] else np.nextafter(np.nextafter(p, np.float32(2)), np.float32(2))

    (hit,) = hits_of(wobbles, "sizes")
    assert hit.apart == 2
    severities = [Rules(require=Requirements(ulps)).invariant(hit).severity for ulps in (None, 0.0, 1.0, 2.0)]
    assert severities == ["info", "fail", "fail", "info"]


def test_distances_are_counted_in_steps() -> None:
    """Zeros are equal, a NaN is equal to a NaN alone, and what a wider format tells apart is a step."""
    form = FORMATS["float32"]
    first = np.array([0.0, np.nan, np.inf, 0.0, 1.0])
    second = np.array([-0.0, np.nan, form.max_finite, np.nan, 1.0 + 2.0**-40])
    assert apart(form, first, second).tolist() == [0, 0, 1, np.inf, 1]


def test_padding_changes_the_bits_of_a_sum_over_all() -> None:
    """Blocks of fixed size do not mind logits of −inf at the end; a sum whose order follows the length does."""

    def by_length(x: np.ndarray, axis: int = -1) -> np.ndarray:
        return kernels._split(x, axis, x.shape[axis] // 8 + 1)

    assert [hit.kind for hit in hits_of(by_length, "padding")] == ["layout_dependence"]
    assert hits_of(kernels.splits_alike, "padding") == []


def test_chunks_are_held_against_the_whole() -> None:
    """A target that sums otherwise in a batch of one or two rows is seen by the batch in chunks."""

    def by_rows(x: np.ndarray, axis: int = -1) -> np.ndarray:
        return kernels._split(x, axis, 8 if x.size <= 2 * x.shape[axis] else 64)

    (hit,) = hits_of(by_rows, "chunks")
    assert "as a batch" in hit.message


def test_a_change_beyond_the_limit_fails_at_any_rate() -> None:
    """A wrong answer at some batch size is a failure without any requirement."""

    def breaks(x: np.ndarray, axis: int = -1) -> np.ndarray:
        return targets.softmax(x, axis) * np.float32(1.01 if x.size >= 100 * x.shape[axis] else 1)

    (hit,) = hits_of(breaks, "sizes")
    assert (hit.severity, hit.message.partition(":")[0]) == ("fail", "at batch size 127")


def test_an_invariance_finding_is_replayed(split: AuditReport) -> None:
    """The requirement is recorded, stands in the command, and the minimal case fails again under it."""
    report = from_json(to_json(split))
    assert report.targets[0].settings["require"] == ["invariance"]
    command = command_of(report.targets[0])
    assert command[command.index("--require") + 1] == "invariance"
    shown = replay(chosen(report, None, "batch_dependence"), isolated=False, trust=True)
    assert shown.fails
    assert "from batch size 32 on" in shown.lines[-1]


def test_a_class_may_be_required() -> None:
    """Of a target that passes, too: the finding names what is kept; a weaker class than what is kept passes."""
    (found,) = of_kind(audited("stable", "exact"), "inaccurate")
    assert (found.severity, found.relation, found.message) == (
        "fail",
        "class",
        "class exact is required, standard is kept",
    )
    assert found.worst is not None
    assert found.worst.error_ulp > 0.5
    assert audited("stable", "textbook").ok


def test_a_gate_may_require_words(tmp_path: Path) -> None:
    """In the gate's settings, as one word or a list; a wrong one is told with its place."""
    file = tmp_path / "xent-verify.toml"
    text = '[[target]]\ntarget = "stable"\nop = "softmax"\nrequire = {}\n'
    for given in ('"invariance,stored"', '["invariance", "stored"]'):
        file.write_text(text.format(given))
        assert read_settings(file).targets[0].settings.require == ("invariance", "stored")
    file.write_text(text.format('"sometimes"'))
    with pytest.raises(UsageError, match=r"1 \(stable\): unknown requirement 'sometimes'"):
        read_settings(file)


def test_invariance_that_could_not_be_looked_at_is_told() -> None:
    """A target that has no result of its own for a row is not said to be invariant."""
    report = audit(
        targets.cross_entropy_plain,
        op="cross_entropy",
        dtypes=["float32"],
        profile="quick",
        regimes=["ordinary"],
        options={"reduction": "mean"},
        require="invariance",
    )
    assert any("invariance" in line for line in report.targets[0].dtypes[0].unasked)


def test_vocabularies_left_out_by_a_choice_of_regimes_are_told() -> None:
    """A pass with --regimes says nothing of the rows of language models, and the result says that."""
    report = audit(
        kernels.splits_alike,
        op="softmax",
        dtypes=["float32"],
        profile="quick",
        regimes=["ordinary"],
        require="invariance",
    )
    assert any("32,000, 50,257, 128,256, 152,064" in line for line in report.targets[0].dtypes[0].unasked)
