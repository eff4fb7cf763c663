"""Lets the scripts beside it run before anything is installed: finds src/, and refuses a Python that is too old."""

import sys
from pathlib import Path

if sys.version_info < (3, 10):  # noqa: UP036 - this is the one file that an older Python must be able to read
    version = ".".join(str(part) for part in sys.version_info[:3])
    print(f"❌ ERROR: Python {version} is too old. Hint: use Python 3.10 or newer, for example python3.11")
    sys.exit(1)

source = str(Path(__file__).resolve().parent.parent / "src")
if source not in sys.path:
    sys.path.insert(0, source)
