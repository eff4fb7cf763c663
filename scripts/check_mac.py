#!/usr/bin/env python3
"""Check the Mac: Apple Silicon, its unified memory, and Metal.

Example: python3 scripts/check_mac.py
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import _start  # noqa: F401  (finds src/)

from weatherman.preflight.script import print_check, print_header, run_script

__all__ = ["print_check", "print_header"]

if __name__ == "__main__":
    sys.exit(run_script(str(__doc__), ("machine",), "Checking the Mac", env="m4"))
