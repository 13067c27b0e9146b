"""Output on streams that cannot show every sign: each sign that is missing has a stand-in of ASCII.

Code pages of Windows, Chinese ones and plain ASCII lack ✓, ÷ or Σ. ``tolerant`` makes such a stream write stand-ins;
a stream of UTF-8 stays as it is. Files and JSON are UTF-8 everywhere.
"""

from __future__ import annotations

import codecs
import io
import re
import unicodedata
from typing import TextIO

__all__ = ["stand_ins", "tolerant"]

_SIGNS = {
    "✓": "+", "✗": "x", "◆": "#", "†": "*", "×": "x", "÷": "/", "·": ".", "…": "...", "–": "-", "—": "-", "−": "-",
    "→": "->", "←": "<-", "≤": "<=", "≥": ">=", "≠": "!=", "≈": "~", "±": "+-", "∞": "inf", "√": "sqrt", "∂": "d",
    "Σ": "sum", "Δ": "delta", "ε": "eps", "σ": "sigma", "η": "eta", "π": "pi", "∥": "||", "“": '"', "”": '"', "‘": "'",
    "’": "'", "─": "-", "━": "-", "│": "|", "┃": "|", "•": "*",
    "⠋": "|", "⠙": "/", "⠹": "-", "⠸": "\\", "⠼": "|", "⠴": "/", "⠦": "-", "⠧": "\\", "⠇": "|", "⠏": "/",
}  # fmt: skip
_POWERS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_POWER = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+")
_HANDLER = "xent_verify.stand_ins"
_ASCII = "xent_verify_ascii"


def stand_ins(text: str) -> str:
    """Text in ASCII: a stand-in for each sign, accents left out, an escape for what has none.

    >>> stand_ins("✓ error ÷ bound ≤ 2⁻²⁰")
    '+ error / bound <= 2^-20'
    """
    powers = _POWER.sub(lambda found: "^" + found[0].translate(_POWERS), text)
    return "".join(_sign(one) for one in powers)


def _sign(one: str) -> str:
    if one.isascii():
        return one
    if one.isspace():
        return " "
    plain = _SIGNS.get(one) or unicodedata.normalize("NFKD", one).encode("ascii", "ignore").decode()
    return plain or one.encode("ascii", "backslashreplace").decode()


def tolerant(stream: TextIO) -> None:
    """Make a stream write stand-ins for what its encoding lacks; one of UTF-8, or of no encoding, is left alone."""
    if not isinstance(stream, io.TextIOWrapper):
        return
    codecs.register_error(_HANDLER, _stand_in)
    codecs.register(_named)
    name = codecs.lookup(stream.encoding).name
    if not name.startswith("utf"):  # click takes a stream that calls itself ASCII for a mistake, and writes UTF-8
        stream.reconfigure(encoding=_ASCII if name == "ascii" else stream.encoding, errors=_HANDLER)


def _stand_in(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return stand_ins(error.object[error.start : error.end]), error.end


def _named(name: str) -> codecs.CodecInfo | None:
    """ASCII by a name of its own."""
    if name != _ASCII:
        return None
    plain = codecs.lookup("ascii")
    return codecs.CodecInfo(
        plain.encode,
        plain.decode,
        plain.streamreader,
        plain.streamwriter,
        plain.incrementalencoder,
        plain.incrementaldecoder,
        _ASCII,
    )
