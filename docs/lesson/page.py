"""The page: one template, the numbers of ``facts``, and a table of phrases per language."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Any

import jinja2

from xent_verify.core.failures import UnknownNameError

__all__ = ["LANGUAGES", "file_name", "phrases", "render"]

LANGUAGES = ("en", "zh")
"""Languages with a table of phrases (``phrases/*.toml``); the first one's page has no suffix."""

STEM = "naive-vs-stable"


def file_name(language: str) -> str:
    """``naive-vs-stable.md``, or with the language before the suffix."""
    return f"{STEM}.md" if language == LANGUAGES[0] else f"{STEM}.{language}.md"


def phrases(language: str) -> dict[str, Any]:
    """A language's phrases. ``UnknownNameError`` for a language without."""
    if language not in LANGUAGES:
        raise UnknownNameError("language", language, LANGUAGES)
    return tomllib.loads(_resource(f"phrases/{language}.toml"))


def render(language: str, facts: Mapping[str, Any]) -> str:
    """The page in one language. Phrases may name facts as the template does."""
    made = jinja2.Environment(  # noqa: S701  (Markdown, not HTML)
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    others = {other: file_name(other) for other in LANGUAGES if other != language}
    known = dict(facts) | {"folder": STEM, "others": others}
    say = _filled(phrases(language), made, known)
    text = made.from_string(_resource("page.md.jinja")).render(known | {"say": say})
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _filled(table: Mapping[str, Any], made: jinja2.Environment, known: Mapping[str, Any]) -> dict[str, Any]:
    """Every phrase with its facts filled in."""
    return {
        key: _filled(value, made, known) if isinstance(value, dict) else _line(made.from_string(value).render(known))
        for key, value in table.items()
    }


def _line(text: str) -> str:
    """Line ends of the phrase file are for its reader: they become spaces, or nothing between Chinese characters."""
    wide, mark = r"[\u3000-\u9fff\uff00-\uffef]", r"[\u3001\u3002\uff01-\uff1f]"
    seam = rf"(?<={wide})\n *(?={wide})|(?<={mark})\n *(?!- )|\n *(?={mark})"
    joined = re.sub(seam, "", text.strip("\n"))
    return re.sub(r"\n *(?!- )(?=\S)", " ", joined)


def _resource(name: str) -> str:
    return (resources.files("lesson") / name).read_text(encoding="utf-8")
