"""How the site reads docstrings: a paragraph that begins with >>> is an example, not a quotation (an extension of griffe)."""

from __future__ import annotations

from typing import Any

import griffe

__all__ = ["Examples"]


class Examples(griffe.Extension):
    """Put examples into fences."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of one module, class, function or attribute."""
        if obj.docstring:
            obj.docstring.value = "\n\n".join(map(fenced, obj.docstring.value.split("\n\n")))


def fenced(paragraph: str) -> str:
    """A paragraph as Markdown."""
    return f"```pycon\n{paragraph}\n```" if paragraph.startswith(">>>") else paragraph
