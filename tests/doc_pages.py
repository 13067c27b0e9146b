"""The pages as a reader meets them: their commands, the Python they show, and the files that they ask for."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

__all__ = ["PAGES", "ROOT", "Step", "links", "steps"]

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "README.zh.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))

_FENCE = re.compile(r"^```(\w*)\s*$")
_FILE = re.compile(r"^`([\w./-]+\.\w+)`:\s*$")
_INLINE = re.compile(r"`((?:xent-verify|python|pytest) [^`]+)`")
_STATUS = re.compile(r"exit (\d+)")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do: ``kind`` is command, python, file or diff; ``shown`` the output that the page shows for it."""

    kind: str
    text: str
    line: int
    name: str = ""
    status: int = 0
    shown: tuple[str, ...] = ()

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text)


def steps(page: str) -> list[Step]:
    """Everything on a page that can be done, in its order; commands inside a sentence or a table among them."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    found: list[Step] = []
    name, number = "", 0
    while number < len(lines):
        line = lines[number]
        opened = _FENCE.match(line)
        if opened:
            end = next(i for i in range(number + 1, len(lines)) if lines[i].startswith("```"))
            found += _block(opened[1], lines[number + 1 : end], number + 2, name)
            name, number = "", end + 1
            continue
        if line.strip():
            named = _FILE.match(line)
            name = named[1] if named else ""
            if not named:
                found += _inline(line, number + 1)
        number += 1
    return found


def _block(language: str, body: list[str], line: int, name: str) -> Iterator[Step]:
    text = "\n".join(body) + "\n"
    if name:
        yield Step("file", text, line, name)
    elif language in ("python", "diff"):
        yield Step(language, text, line)
    elif language == "sh":
        for number, command in enumerate(body):
            if command.strip() and not command.lstrip().startswith("#"):
                yield _command(command, line + number)
    elif language == "console":
        starts = [number for number, part in enumerate(body) if part.startswith("$ ")] + [len(body)]
        for start, end in pairwise(starts):
            yield _command(body[start][2:], line + start, tuple(body[start + 1 : end]))


def _command(text: str, line: int, shown: tuple[str, ...] = ()) -> Step:
    command, _, comment = text.partition(" # ")
    status = _STATUS.search(comment)
    return Step("command", " ".join(command.split()), line, status=int(status[1]) if status else 0, shown=shown)


def _inline(text: str, line: int) -> Iterator[Step]:
    """``exit N`` in brackets behind the command says its status."""
    for found in _INLINE.finditer(text):
        status = re.match(r"\s*[(\uff08]exit (\d+)", text[found.end() :])
        yield Step("command", found[1].replace("\\|", "|"), line, status=int(status[1]) if status else 0)


def links(page: str) -> list[str]:
    """Every link of a page that leads into the repository."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [target for target in _LINK.findall(text) if "://" not in target]
