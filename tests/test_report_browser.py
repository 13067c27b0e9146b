"""The page in a real browser, where Chromium is installed: ``pytest -m slow tests/test_report_browser.py``."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from report_factory import report

from xent_verify.report import render_html

BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or ""
SMALL = Path(__file__).parents[1] / "reports" / "small" / "report.html"

_FOREIGN = re.compile(r"(https?|wss?|ftp)://(?![\w.-]*\b(google|gvt1|googleapis)\.com/)")
"""Addresses but those that the browser itself asks for at start."""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not BROWSER, reason="needs Chromium")]


def shown(page: Path, folder: Path, *more: str) -> tuple[bytes, str, list[str]]:
    """The page as a picture, what the browser said, and the addresses that it asked for."""
    picture, log = folder / "page.png", folder / "net.json"
    words = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr"]
    words += ["--disable-background-networking", "--disable-component-update", "--no-first-run"]
    words += [f"--screenshot={picture}", f"--log-net-log={log}", f"--user-data-dir={folder / 'profile'}", *more]
    done = subprocess.run([*words, page.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    events = json.loads(log.read_text())
    kind = events["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    asked = [
        event["params"].get("url", "") for event in events["events"] if event["type"] == kind and "params" in event
    ]
    return picture.read_bytes(), done.stderr, asked


@pytest.mark.parametrize(
    "how",
    [("--window-size=1200,3000",), ("--window-size=1200,3000", "--force-dark-mode"), ("--window-size=390,3000",)],
    ids=["light", "dark", "phone"],
)
@pytest.mark.parametrize("which", ["small", "alone"])
def test_the_page_renders_quietly_and_asks_for_nothing(tmp_path, which, how):
    """Rendered in both themes and at phone width, the page says nothing on the console and makes no request."""
    page = SMALL
    if which == "alone":
        page = tmp_path / "alone.html"
        page.write_text(render_html(report()), encoding="utf-8")
    picture, said, asked = shown(page, tmp_path, *how)
    assert len(picture) > 20_000
    assert not re.findall(r"CONSOLE.*", said)
    assert [url for url in asked if _FOREIGN.match(url)] == []


def test_a_request_would_be_seen(tmp_path):
    """A page that loads a picture and complains is told apart."""
    page = tmp_path / "bad.html"
    page.write_text("<img src='http://example.invalid/picture.png'><script>console.error('oh')</script>")
    _, said, asked = shown(page, tmp_path, "--window-size=400,400")
    assert "CONSOLE" in said
    assert any(_FOREIGN.match(url) for url in asked)
