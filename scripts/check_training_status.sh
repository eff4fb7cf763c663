#!/usr/bin/env bash
# Usage: scripts/check_training_status.sh [RUN | ENTITY/PROJECT/ID] [--json]
# What a run is doing: from W&B's server where the run is recorded there and a key is at hand, and from its own folder.
#   RUN                 the run's folder; by default the newest under runs/
#   ENTITY/PROJECT/ID   a run on another machine, by its name or address at W&B
#   --json              the folder's status as JSON on standard output, nothing else
# Exit code: 0 it goes well, 1 it failed, died or stalls, 2 it is in a crash loop.
set -euo pipefail
root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
run='' json=''
while (($#)); do
  case $1 in
  --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p;}' "${BASH_SOURCE[0]}" && exit ;;
  --json) json=1 ;;
  -*) printf '❌ ERROR: unknown option %q. Hint: %s --help\n' "$1" "$0" && exit 1 ;;
  *) run=$1 ;;
  esac
  shift
done
python=python3
for folder in .venv-h100 .venv-local .venv; do
  [[ -x $root/$folder/bin/python ]] && python=$root/$folder/bin/python && break
done
export PYTHONPATH=$root/src${PYTHONPATH:+:$PYTHONPATH}
[[ -n $run || -d runs ]] || cd "$root"
if [[ -n $json ]]; then
  exec "$python" -m weatherman.cli status ${run:+"$run"} --json
fi
exec "$python" -m weatherman.run.wandb_status ${run:+"$run"}
