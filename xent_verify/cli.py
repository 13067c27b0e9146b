"""The command line: the table of verbs, and what every exit means.

0 nothing failed · 1 findings of severity fail · 2 wrong use · 3 the audit could not be completed · 5 nothing was checked ·
130 interrupted (SIGINT), 129 and 143 by SIGHUP and SIGTERM. Verbs live in ``commands/`` and are imported only when called.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module

import click

from xent_verify.core.encodings import tolerant
from xent_verify.core.failures import UnknownNameError, UsageError, XentVerifyError, printable
from xent_verify.core.interrupts import exit_status, listening

__all__ = ["INCOMPLETE", "INTERRUPTED", "NOTHING_CHECKED", "WRONG_USE", "main"]

WRONG_USE = 2
INCOMPLETE = 3
NOTHING_CHECKED = 5
INTERRUPTED = 130

VERBS = {
    "audit": "audit targets as implementations of an operation",
    "claims": "judge printed numbers against certified truth",
    "compare": "compare two results finding by finding: appeared, vanished, worsened, improved",
    "explain": "work one row through: truth, every implementation, its error",
    "gate": "check every target of the settings file; fail on what is new or worse",
    "init": "write a starting settings file for the gate from the functions of a package",
    "list": "list ops, implementations, regimes, policies, formats, kinds, targets",
    "merge": "join the results of several audits",
    "parity": "compare two targets on the same inputs: how far apart, which is nearer the truth",
    "power": "run a check of your own over planted faults: which ones does it let through?",
    "prove": "walk a finite domain to its end: the exact worst case, and a certificate",
    "replay": "run one finding of a result again and show it in all digits",
    "report": "audit this package's implementations and the installed libraries; write the report",
    "search": "hunt for the worst case of a target",
    "verdict": "one JSON verdict from a secret seed, for programs that write kernels",
    "vectors": "test vectors for code that cannot be imported; judge its answers",
}
"""Verb -> one line of help; each is ``commands.<verb>:command`` (``commands.<verb>_`` where the word is taken)."""


class _Formatter(click.HelpFormatter):
    """Help as wide as the terminal, narrow ones included."""

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__(width=max(20, min(shutil.get_terminal_size().columns, _WIDEST)))


class _Context(click.Context):
    formatter_class = _Formatter


_WIDEST = 110


class _Verbs(click.Group):
    """Loads a verb when it is called, so that ``--help`` imports none of them."""

    context_class = _Context

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's signatures, here and below)
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in VERBS:
            raise UnknownNameError("command", cmd_name, VERBS)
        module = import_module(f"xent_verify.commands.{cmd_name}")
        command: click.Command = module.command
        for one in (command, *getattr(command, "commands", {}).values()):
            one.context_class = _Context
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="xent-verify", prog_name="xent-verify")
def program() -> None:
    """Is this softmax or cross entropy numerically right?

    \b
    xent-verify audit naive --op softmax --dtype float32
    xent-verify audit my_package.losses:softmax --op softmax
    xent-verify COMMAND --help
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status; never a traceback for what a user did."""
    for stream in (sys.stdout, sys.stderr):
        tolerant(stream)
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """The exit status of one invocation; 128 and its number where a signal ended it."""
    try:
        with listening():
            return exit_status(_ran(arguments))
    except KeyboardInterrupt:  # outside the verb: while this begins, or while an end of another kind is told
        return exit_status(INTERRUPTED)


def _ran(arguments: Sequence[str] | None) -> int:
    try:
        status = program.main(args=None if arguments is None else list(arguments), standalone_mode=False)
    except click.exceptions.Exit as done:
        return done.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _say("interrupted", INTERRUPTED)
    except click.ClickException as error:
        return _say(error.format_message(), WRONG_USE)
    except UsageError as error:
        return _say(str(error), WRONG_USE)
    except XentVerifyError as error:
        return _say(str(error), INCOMPLETE)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _say(f"{error.filename or 'file'}: {error.strerror or error}", WRONG_USE)
    except Exception as error:
        if os.environ.get("XENT_VERIFY_TRACEBACK"):
            raise
        text = (
            f"internal error, please report it: {type(error).__name__}: {error} (XENT_VERIFY_TRACEBACK=1 shows where)"
        )
        return _say(text, INCOMPLETE)
    return status if isinstance(status, int) else 0


def _say(message: str, status: int) -> int:
    line = printable(" ".join(message.split()))
    with suppress(OSError):  # nobody listens any more
        print(f"xent-verify: {line}", file=sys.stderr)
    return status
