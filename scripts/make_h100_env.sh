# Makes, reuses or completes the environment in $env; sourced by setup_runpod_h100.sh.
# With conda, mamba or micromamba from environment-remote.yml, else as a venv with the same pins. The environment is
# put on the machine's own disk: from a network volume Python starts very slowly.
# shellcheck shell=bash disable=SC2154

pins=$(fingerprint environment-remote.yml requirements-remote.txt requirements.txt pyproject.toml)
if [[ -n $rehearse ]]; then
  [[ -x $env/bin/python ]] || fail "A rehearsal uses the environment in .venv, which is not there. Hint: make setup"
  success "A rehearsal uses $env as it is"
  return
fi
[[ -z $recreate ]] || remove_environment
if [[ -x $env/bin/python && $(cat "$env/weatherman-pins" 2>/dev/null) == "$pins" ]]; then
  success "The environment in $env is up to date"
else
  mkdir -p logs "$(dirname "$env")"
  log=logs/setup_h100.log
  : >"$log"
  conda=$(command -v micromamba || command -v mamba || command -v conda || true)
  if [[ -x $env/bin/python ]]; then
    say "Completing $env (log: $log)"
  elif [[ -n $conda ]]; then
    say "Making $env with ${conda##*/} from environment-remote.yml (minutes; log: $log)"
    case ${conda##*/} in
    micromamba) quietly "$log" "$conda" create --yes --prefix "$env" --file environment-remote.yml ;;
    *) quietly "$log" "$conda" env create --prefix "$env" --file environment-remote.yml ;;
    esac
  else
    warning "No conda, mamba or micromamba here: a Python venv is made instead, with the same pinned packages"
    say "Making $env (minutes; log: $log)"
    quietly "$log" "$python" -m venv "$env"
  fi
  quietly "$log" "$env/bin/python" -m pip install --quiet -r requirements-remote.txt
  quietly "$log" "$env/bin/python" -m pip install --quiet --no-deps --editable .
  printf '%s\n' "$pins" >"$env/weatherman-pins"
  success "The environment is ready in $env"
fi
[[ $(readlink .venv-h100 2>/dev/null) == "$env" ]] || ln -sfn "$env" .venv-h100
