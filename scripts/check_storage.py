#!/usr/bin/env python3
"""Check the free space where the run, the model and the environment go. Works before anything is installed.

Example: python3 scripts/check_storage.py --env=h100 --config configs/training_config_h100.yaml
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import _start  # noqa: F401  (finds src/)

from weatherman.preflight.script import print_check, print_header, run_script

__all__ = ["print_check", "print_header"]

if __name__ == "__main__":
    sys.exit(run_script(str(__doc__), ("storage",), "Checking the storage"))
