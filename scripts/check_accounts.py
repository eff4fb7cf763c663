#!/usr/bin/env python3
"""Check the accounts: whether W&B can be used, and whether the base model may be fetched. Takes seconds.

Example: python3 scripts/check_accounts.py --env=h100
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import _start  # noqa: F401  (finds src/)

from weatherman.preflight.script import print_check, print_header, run_script

__all__ = ["print_check", "print_header"]

if __name__ == "__main__":
    sys.exit(run_script(str(__doc__), ("accounts",), "Checking the accounts"))
