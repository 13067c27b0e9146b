"""Text for a terminal, made in memory: coloured on a terminal, plain when piped."""

from __future__ import annotations

import io
import os
import shutil
import sys

from rich.console import Console

from xent_verify.report.safe import command_free

__all__ = ["console", "written"]

_PIPED_WIDTH = 140


def console(*, color: bool | None = None, width: int | None = None) -> Console:
    """A console that writes into memory. ``color`` and ``width`` default to what stdout can show."""
    terminal = sys.stdout.isatty()
    wanted = terminal and "NO_COLOR" not in os.environ if color is None else color
    columns = width or (shutil.get_terminal_size().columns if terminal else _PIPED_WIDTH)
    return Console(file=io.StringIO(), force_terminal=wanted, no_color=not wanted, width=columns, highlight=False)


def written(made: Console) -> str:
    """What went into the console, without trailing spaces."""
    assert isinstance(made.file, io.StringIO)
    return command_free("\n".join(line.rstrip() for line in made.file.getvalue().splitlines())) + "\n"
