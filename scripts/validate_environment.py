#!/usr/bin/env python3
"""Check Python, the packages and the device that computes.

Example: python scripts/validate_environment.py --env=h100
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import _start  # noqa: F401  (finds src/)

from weatherman.preflight.script import print_check, print_header, run_script, validate

__all__ = ["print_check", "print_header", "validate_h100", "validate_m4"]


def validate_h100() -> bool:
    """Whether this environment and its GPU can train the H100 configuration; prints every check."""
    return validate("h100")


def validate_m4() -> bool:
    """Whether this environment and its Mac can train the M4 configuration; prints every check."""
    return validate("m4")


if __name__ == "__main__":
    sys.exit(run_script(str(__doc__), ("environment", "machine"), "Checking the environment"))
