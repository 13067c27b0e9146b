"""The lesson: naive against stable, worked from one row, as a page in several languages (``python docs/lesson``)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from xent_verify.core.failures import MissingExtraError, UnknownNameError

__all__ = ["made", "write"]


def write(directory: str | os.PathLike[str], languages: Sequence[str] = ()) -> list[Path]:
    """Write the pages and their plots into a folder; the files written."""
    root = Path(directory)
    contents = made(languages)
    for name, content in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return [root / name for name in contents]


def made(languages: Sequence[str] = ()) -> dict[str, bytes]:
    """File name -> content. All languages unless some are named."""
    for package in ("jinja2", "matplotlib"):
        if find_spec(package) is None:
            raise MissingExtraError(package, "report", "the lesson")
    from lesson import facts, page, plots

    wanted = list(dict.fromkeys(languages)) or list(page.LANGUAGES)
    for language in wanted:
        if language not in page.LANGUAGES:
            raise UnknownNameError("language", language, page.LANGUAGES)
    numbers = facts.facts()
    pages = {page.file_name(language): page.render(language, numbers).encode() for language in wanted}
    return pages | {f"{page.STEM}/{name}": content for name, content in plots.pictures().items()}
