"""Test vectors: calls with certified answers, for code that cannot be imported, and the judgement of its answers.

``choose`` picks calls from the regimes, ``known`` works out what is right, ``document`` writes and reads the published
format (docs/vectors.md, schema.json), ``answers`` reads what somebody's code answered, ``judged`` makes the report.
"""

from __future__ import annotations

from xent_verify.vectors.answers import Answers, read_answers
from xent_verify.vectors.case import Case, Vectors
from xent_verify.vectors.choose import STANDARD, Selection, chosen
from xent_verify.vectors.document import read_vectors, write_vectors
from xent_verify.vectors.judged import answered, judged

__all__ = [
    "STANDARD",
    "Answers",
    "Case",
    "Selection",
    "Vectors",
    "answered",
    "chosen",
    "judged",
    "read_answers",
    "read_vectors",
    "write_vectors",
]
