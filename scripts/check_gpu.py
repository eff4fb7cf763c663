#!/usr/bin/env python3
"""Check the GPU: its memory class, driver and capability, a kernel that runs, and which configuration suits it.

Example: python3 scripts/check_gpu.py --json
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import _start  # noqa: F401  (finds src/)

from weatherman.preflight.script import print_check, print_header, run_script

__all__ = ["print_check", "print_header"]

if __name__ == "__main__":
    sys.exit(run_script(str(__doc__), ("machine",), "Checking the GPU", env="h100"))
