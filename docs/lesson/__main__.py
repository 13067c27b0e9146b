"""Write the lesson: naive against stable, worked from one row, as pages with plots.

python docs/lesson [--out reports] [--language en,zh]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import lesson

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="reports", type=Path, help="folder to write to (default: reports)")
    parser.add_argument("--language", default="", help="languages, comma-separated: en, zh (default: all)")
    arguments = parser.parse_args()
    languages = [name.strip() for name in arguments.language.split(",") if name.strip()]
    for path in lesson.write(arguments.out, languages):
        print(path)
