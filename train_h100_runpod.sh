#!/usr/bin/env bash
# Usage: ./train_h100_runpod.sh [options]
# Train on a rented H100: check everything, start training in the tmux session weatherman-training, watch its first 100
# steps, then leave it alone. The same command goes on with a run that was interrupted.
#   --config FILE        the configuration (default: configs/training_config_h100.yaml)
#   --set KEY=VALUE      override one key of it; may be given several times
#   --hourly-rate X      dollars an hour, for the cost: rate x hours
#   --restarts N         start again after a crash, N times at most; a crash loop ends it
#   --auto-stop-pod      stop the pod once the final adapter is there and verified
#   --foreground         train in this terminal, to the end
#   --no-watch           do not watch the first steps
#   --rehearse           try the whole flow on any machine with a small stand-in model (environment: .venv)
#   --reset-crash-loop   forget earlier crashes at the same step
# Exit codes: 0 it goes well or is finished; 1 failure; 2 crash loop, and nothing else.
# Variables: WEATHERMAN_ENV (the environment's folder), HF_HOME, HF_TOKEN, WANDB_API_KEY, WEATHERMAN_WEBHOOK
set -euo pipefail
here=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/setup_lines.sh
. "$here/scripts/setup_lines.sh"
env=${WEATHERMAN_ENV:-$here/.venv-h100} setup=./setup_runpod_h100.sh rehearse=''
for argument in "$@"; do
  case $argument in
    --help) usage "${BASH_SOURCE[0]}" && exit ;;
    --rehearse) rehearse=1 env=${WEATHERMAN_ENV:-$here/.venv} setup='make setup' ;;
  esac
done
[[ -x $env/bin/python ]] || fail "There is no environment in $(printf %q "$env"). Hint: run $setup first"
[[ -d /workspace && -z $rehearse ]] && export HF_HOME=${HF_HOME:-/workspace/.cache/huggingface}
exec "$env/bin/python" -m weatherman.cli launch --env h100 --project "$here" "$@"
