#!/usr/bin/env bash
# Usage: ./setup_runpod_h100.sh [--recreate] [--rehearse] [--build-flash-attn MINUTES]
# Prepare a rented H100: judge the machine, make the environment, check all that training needs. Safe to repeat.
#   --recreate                   throw the environment away and make it again
#   --rehearse                   try the flow on any machine, with the environment that `make setup` made
#   --build-flash-attn MINUTES   where no wheel fits, build Flash Attention for at most so long (default: do not)
# Variables: WEATHERMAN_ENV (the environment's folder), HF_HOME, HF_TOKEN, WANDB_API_KEY, PYTHON
set -euo pipefail
CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
# shellcheck source=scripts/setup_lines.sh
. scripts/setup_lines.sh
tag=SETUP-H100 config=configs/training_config_h100.yaml recreate='' rehearse='' minutes=0 failed=''
while (($#)); do
  case $1 in
  --help) usage "${BASH_SOURCE[0]##*/}" && exit ;;
  --recreate) recreate=1 ;;
  --rehearse) rehearse=--rehearse ;;
  --build-flash-attn)
    [[ ${2:-} =~ ^[0-9]+$ ]] || fail "--build-flash-attn needs a number of minutes. Hint: $0 --help"
    minutes=$2 && shift
    ;;
  *) fail "unknown option $(printf %q "$1"). Hint: $0 --help" ;;
  esac
  shift
done
# check NAME COMMAND…: go on after a failure, so that everything is reported at once.
check() {
  say "Checking $1"
  "${@:2}" || failed="$failed${failed:+, }$1"
}

say "Preparing an H100${rehearse:+ (a rehearsal)}"
choose_python
[[ -d /workspace && -z $rehearse ]] && export HF_HOME=${HF_HOME:-/workspace/.cache/huggingface}
env=${WEATHERMAN_ENV:-$HOME/.weatherman/h100}
[[ -n $rehearse ]] && env=${WEATHERMAN_ENV:-$PWD/.venv}
export WEATHERMAN_ENV=$env
"$python" scripts/check_gpu.py --before-setup $rehearse || fail "This machine cannot train the H100 configuration; nothing was installed. Hint: see the lines above"
check accounts "$python" scripts/check_accounts.py --env=h100 --config "$config" $rehearse
check "storage" "$python" scripts/check_storage.py --before-setup --env=h100 --config "$config" $rehearse

say "Making the environment"
# shellcheck source=scripts/make_h100_env.sh
. scripts/make_h100_env.sh
python=$env/bin/python
check "Flash Attention" "$python" -m weatherman.preflight.flash_attention --build-minutes "$minutes" $rehearse
check "the environment" "$python" scripts/validate_environment.py --env=h100 --config "$config" $rehearse
check "the GPU" "$python" scripts/check_gpu.py $rehearse
check "data" link_data
check "the configuration" "$python" scripts/validate_training_config.py --config "$config" $rehearse
[[ -z $failed ]] || fail "Not ready: $failed. Hint: mend what the lines above name, and run this again (it takes seconds)"
success "Ready. Next: ./train_h100_runpod.sh${rehearse:+ --rehearse}"
