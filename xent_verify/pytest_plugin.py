"""The pytest plugin: the fixture ``xent_audit``, the marker ``xent``, two options. Imports nothing heavy until it audits.

::

    @pytest.mark.xent(dtypes=["float32"])
    def test_softmax(xent_audit):
        xent_audit(my_softmax, op="softmax")

Arguments of the call win over those of the marker, the closest marker over outer ones, and both over the options.

``pytest --xent xent-verify.toml`` collects the gate's settings: one test for each target and format.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from xent_verify.core.outputs import replace_file

if TYPE_CHECKING:
    from xent_verify.auditing.audit import AuditReport
    from xent_verify.core.failures import UsageError
    from xent_verify.gate.settings_file import GateSettings

__all__ = ["NotAccurateError", "pytest_addoption", "pytest_collect_file", "pytest_configure", "xent_audit"]

_SHOWN = 3
_PROFILE = "quick"


class NotAccurateError(AssertionError):
    """The target failed its audit; ``report`` holds everything that was found."""

    def __init__(self, text: str, report: AuditReport) -> None:
        super().__init__(text)
        self.report = report


def pytest_addoption(parser: pytest.Parser) -> None:
    """The three options."""
    group = parser.getgroup("xent-verify")
    group.addoption("--xent-profile", default=_PROFILE, help="how much xent_audit tries: quick, standard or deep")
    group.addoption("--xent-seed", type=int, default=0, help="seed of xent_audit's generators")
    group.addoption("--xent", action="store_true", help="collect xent-verify.toml: a test for each target and format")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    text = "xent(op, dtypes, policy, ...): defaults for the fixture xent_audit (options of xent_verify.audit)"
    config.addinivalue_line("markers", text)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """With ``--xent`` the gate's settings are a file of tests."""
    if file_path.name == "xent-verify.toml" and parent.config.getoption("--xent"):
        found: pytest.Collector = _Settings.from_parent(parent, path=file_path)
        return found
    return None


class _Settings(pytest.File):
    """The settings of a gate."""

    def collect(self) -> Iterable[pytest.Item]:
        from dataclasses import replace

        from xent_verify.auditing.audit import formats_of
        from xent_verify.gate.settings_file import read_settings

        settings = read_settings(self.path)
        for target in settings.targets:
            for form in formats_of(target.op, target.dtypes, target.settings):
                one = replace(settings, targets=(replace(target, dtypes=(form,)),))
                yield _Entry.from_parent(self, name=f"{target.target}-{target.op}-{form}", settings=one)


class _Entry(pytest.Item):
    """One target in one format, held against the baseline."""

    def __init__(self, *, settings: GateSettings, **others: Any) -> None:
        super().__init__(**others)
        self.settings = settings

    def runtest(self) -> None:
        from xent_verify.gate.baseline import read_baseline
        from xent_verify.gate.gate import gate
        from xent_verify.report import render_text
        from xent_verify.report.words import headline

        with chdir(self.settings.folder):
            result = gate(self.settings, read_baseline(self.settings.baseline.absolute()))
        if result.interrupted:
            raise KeyboardInterrupt
        if result.status:
            changes = "\n".join(change.line for change in result.changes)
            text = f"{headline(result.report)}\n\n{render_text(result.report, color=False, width=120)}{changes}"
            raise NotAccurateError(text, result.report)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The findings, without this plugin's own stack."""
        return (
            str(excinfo.value) if isinstance(excinfo.value, NotAccurateError) else super().repr_failure(excinfo, style)
        )

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, self.name


@pytest.fixture
def xent_audit(request: pytest.FixtureRequest) -> Callable[..., AuditReport]:
    """Audit a callable, or a target by name, and fail with its findings; returns the report where nothing fails."""
    defaults: dict[str, Any] = {
        "profile": request.config.getoption("--xent-profile"),
        "seed": request.config.getoption("--xent-seed"),
    }
    for marker in reversed(list(request.node.iter_markers("xent"))):
        if marker.args:
            raise pytest.UsageError(f"{request.node.nodeid}: xent takes keyword arguments, such as op='softmax'")
        defaults |= marker.kwargs

    def check(target: str | Callable[..., Any], **options: Any) -> AuditReport:
        __tracebackhide__ = True
        report = _audited(target, defaults | options)
        if not report.ok or not report.cases:
            raise NotAccurateError("\n".join(_told(report, request)), report)
        return report

    return check


def _audited(target: str | Callable[..., Any], options: dict[str, Any]) -> AuditReport:
    __tracebackhide__ = True
    import inspect

    from xent_verify.auditing.audit import audit
    from xent_verify.core.failures import UnknownNameError, UsageError

    known = [name for name, p in inspect.signature(audit).parameters.items() if p.kind is p.KEYWORD_ONLY]
    for name in options:
        if name not in known:
            raise UnknownNameError("option of xent_audit", name, known)
    if "op" not in options:
        raise UsageError("xent_audit: which operation? Give op='softmax' here or in @pytest.mark.xent(op='softmax')")
    report = audit(target, **options)
    if report.interrupted:
        raise KeyboardInterrupt
    return report


def _told(report: AuditReport, request: pytest.FixtureRequest) -> Iterator[str]:
    """The failure as a developer reads it: verdict, findings in full, and how to see one again."""
    from xent_verify.report import render_finding
    from xent_verify.report.places import placed
    from xent_verify.report.words import headline

    target = report.targets[0]
    yield f"{target.target} is not an accurate {target.op}. {headline(report)}"
    found = list(placed(report, "fail"))
    for item in found[:_SHOWN]:
        yield ""
        yield render_finding(item.finding, item.where, color=False, width=120).rstrip()
    if len(found) > _SHOWN:
        rest = ", ".join(f"{item.finding.kind} ({item.result.dtype})" for item in found[_SHOWN:])
        yield f"\nand {len(found) - _SHOWN} more: {rest}"
    saved = _saved(report, request)
    for item in found[:1]:
        if saved:
            yield f"\nreplay: xent-verify replay {saved} --kind {item.finding.kind} --trust"
        if item.finding.script:
            yield "\nor run this script:\n"
            yield from (f"    {line}" for line in item.finding.script.rstrip().splitlines())


def _saved(report: AuditReport, request: pytest.FixtureRequest) -> str:
    """The report as JSON in pytest's cache, for ``replay``; nothing where there is no cache to write to."""
    if not request.config.pluginmanager.hasplugin("cacheprovider"):
        return ""
    try:
        folder = request.config.cache.mkdir("xent-verify")
        path = folder / f"{re.sub(r'[^0-9A-Za-z_.-]+', '-', request.node.nodeid)[-120:]}.json"
        replace_file(path, report.to_json())
    except (OSError, UsageError):
        return ""
    root = request.config.invocation_params.dir
    return str(path.relative_to(root) if path.is_relative_to(root) else Path(path))
