"""``python -m xent_verify``."""

from __future__ import annotations

from xent_verify.cli import main

if __name__ == "__main__":
    main()
