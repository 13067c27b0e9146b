"""Where ``CI`` is set, Hypothesis draws the same examples for the same code: a red build is a fault of its commit.

Everywhere else each run draws others, and finds what no run has found before.
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("ci", derandomize=True, print_blob=True)
if os.environ.get("CI"):
    settings.load_profile("ci")
