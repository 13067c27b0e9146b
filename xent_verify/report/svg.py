"""SVG as text: the same picture in fewer bytes, and the same picture in the middle of a page."""

from __future__ import annotations

import re
from collections import Counter

from markupsafe import Markup, escape

__all__ = ["BAD", "INK", "inline", "slim"]

INK = "#1a1b1c"
"""Colour of all text and axes: the page replaces it by its own (``currentColor``)."""

BAD = "#c2342b"
"""Colour of what is wrong; replaced likewise."""


def slim(svg: str) -> str:
    """The same picture in a third of the bytes: no preamble, no comments, no group names, two decimals."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*">', "<g>", body)
    body = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag.group()), body)
    body = re.sub(r"\s*\n\s*", "\n", body)
    body = re.sub(r"<g>\n<g>\n(<(?:path|text|use)[^>]*>(?:[^<]*</text>)?)\n</g>\n</g>", r"\1", body)
    return _shared_styles(body).strip() + "\n"


def _shared_styles(body: str) -> str:
    """Styles that occur often, once each in a style sheet (classes c0, c1, …)."""
    often = [style for style, uses in Counter(re.findall(r' style="([^"]*)"', body)).most_common() if uses > 2]
    for number, style in enumerate(often):
        body = body.replace(f' style="{style}"', f' class="c{number}"')
    sheet = "".join(f".c{number}{{{style}}}" for number, style in enumerate(often))
    return re.sub(r"<style[^>]*>.*?</style>", lambda _: f"<style>{sheet}</style>", body, count=1, flags=re.DOTALL)


def inline(svg: str, prefix: str, label: str) -> Markup:
    """An SVG for the middle of a page: ids and classes unique, ink in the page's colour, scaled to its box, named."""
    body = re.sub(r'id="|url\(#|href="#|class="|\.(?=c\d+\{)', lambda found: found.group() + prefix, svg)
    for drawn, wanted in _REPLACED:
        body = body.replace(drawn, wanted)
    size = re.search(r'width="([\d.]+)pt" height="[\d.]+pt"', body)
    assert size is not None
    wide = float(size.group(1))
    box = f"max-width:{wide:.0f}pt;min-width:{wide * 0.8:.0f}px"
    named = f'role="img" aria-label="{escape(label)}" style="{box}"'
    return Markup(body.replace(size.group(), named, 1))  # noqa: S704


_REPLACED = (
    (INK, "currentColor"),
    (BAD, "var(--fail)"),
    ("'DejaVu Sans', sans-serif", "inherit"),
    (' xmlns:xlink="http://www.w3.org/1999/xlink"', ""),
    ("xlink:href", "href"),
)
"""What the page has its own word for."""
