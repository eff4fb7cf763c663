"""Found by Python at its start through PYTHONPATH: disks have $STUB_FREE_GB free, children are run by $STUB_PYTHON."""

import os
import shutil
import sys

if "STUB_FREE_GB" in os.environ:
    real_usage = shutil.disk_usage
    free_bytes = int(float(os.environ["STUB_FREE_GB"]) * 2**30)
    shutil.disk_usage = lambda path: real_usage(path)._replace(free=free_bytes)
if "STUB_PYTHON" in os.environ:
    sys.executable = os.environ["STUB_PYTHON"]
