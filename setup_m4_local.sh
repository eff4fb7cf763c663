#!/usr/bin/env bash
# Usage: ./setup_m4_local.sh [--recreate] [--rehearse]
# Prepare a Mac with Apple Silicon: judge the machine, make .venv-local, check all that training needs. Safe to repeat.
#   --recreate   throw .venv-local away and make it again
#   --rehearse   try the flow on any machine, with the environment that `make setup` made
# Variables: WEATHERMAN_ENV (another folder than .venv-local), PYTHON (which one to use), HF_TOKEN, WANDB_API_KEY
set -euo pipefail
CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
# shellcheck source=scripts/setup_lines.sh
. scripts/setup_lines.sh
tag=SETUP-M4 config=configs/training_config_m4.yaml env=${WEATHERMAN_ENV:-.venv-local} recreate='' rehearse='' failed=''
while (($#)); do
  case $1 in
  --help) usage "${BASH_SOURCE[0]##*/}" && exit ;;
  --recreate) recreate=1 ;;
  --rehearse) rehearse=--rehearse env=${WEATHERMAN_ENV:-.venv} ;;
  *) fail "unknown option $(printf %q "$1"). Hint: $0 --help" ;;
  esac
  shift
done
# check NAME COMMAND…: go on after a failure, so that everything is reported at once.
check() {
  say "Checking $1"
  "${@:2}" || failed="$failed${failed:+, }$1"
}
# Below 32 GB of memory the base is trained in 4 bits.
memory=$(sysctl -n hw.memsize 2>/dev/null || true)
[[ ! $memory =~ ^[0-9]+$ ]] || ((memory >= 32 * 1024 ** 3)) || config=configs/training_config_m4_16gb.yaml
say "Preparing a Mac${rehearse:+ (a rehearsal)}"
choose_python
"$python" scripts/check_mac.py --before-setup $rehearse || fail "This machine cannot train the M4 configuration; nothing was installed. Hint: see the lines above"
say "Making the environment"
pins=$(fingerprint requirements-local.txt requirements.txt pyproject.toml)
if [[ -n $rehearse ]]; then
  [[ -x $env/bin/python ]] || fail "A rehearsal uses the environment in .venv, which is not there. Hint: make setup"
  success "A rehearsal uses $env as it is"
else
  [[ -z $recreate ]] || remove_environment
  if [[ -x $env/bin/python && $(cat "$env/weatherman-pins" 2>/dev/null) == "$pins" ]]; then
    success "The environment in $env is up to date"
  else
    mkdir -p logs && : >logs/setup_m4.log
    [[ -x $env/bin/python ]] || quietly logs/setup_m4.log "$python" -m venv "$env"
    say "Installing the pinned packages (minutes the first time; log: logs/setup_m4.log)"
    quietly logs/setup_m4.log "$env/bin/python" -m pip install --quiet -r requirements-local.txt
    quietly logs/setup_m4.log "$env/bin/python" -m pip install --quiet --no-deps --editable .
    printf '%s\n' "$pins" >"$env/weatherman-pins"
    success "The environment is ready in $env"
  fi
fi
python=$env/bin/python
check "the environment" "$python" scripts/validate_environment.py --env=m4 --config $config $rehearse
check "storage" "$python" scripts/check_storage.py --env=m4 --config $config $rehearse
check "data" link_data
check "the configuration" "$python" scripts/validate_training_config.py --config $config $rehearse
check "accounts" "$python" scripts/check_accounts.py --env=m4 --config $config $rehearse
warning "Training was first planned with 12 to 18 hours on an M4; what this Mac needs may be far more: $python -m weatherman.cli plan --config $config"
[[ -z $failed ]] || fail "Not ready: $failed. Hint: mend what the lines above name, and run this again (it takes seconds)"
success "Ready. Next: ./train_m4_local.sh${rehearse:+ --rehearse}"
