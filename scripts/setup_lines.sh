# What the set-up and training scripts share: lines of the grammar, options, Python. Sourced, never run.
# shellcheck shell=bash

# $tag is set by the script that sources this. Control characters (of paths, of the environment) become "?".
# shellcheck disable=SC2154
say() { printf '[%s] %s\n' "$tag" "${1//[[:cntrl:]]/?}"; }
success() { printf '✅ SUCCESS: %s\n' "${1//[[:cntrl:]]/?}"; }
warning() { printf '⚠️ WARNING: %s\n' "${1//[[:cntrl:]]/?}"; }
fail() {
  printf '❌ ERROR: %s\n' "${1//[[:cntrl:]]/?}"
  exit 1
}

# usage SCRIPT: print its header.
usage() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p;}' "$1"; }

# find_python: print the first Python 3.10 or newer, of $PYTHON, python3 and the versions by name.
find_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3 python3.11 python3.12 python3.13 python3.10; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}

# choose_python: set $python, and say which it is when it is not python3.
choose_python() {
  python=$(find_python) || fail "$(python3 --version 2>&1 || true): Python 3.10 or newer is needed. Hint: install python3.11 (macOS: brew install python@3.11), or name one: PYTHON=/path/to/python3.11 $0"
  success "$("$python" --version) ($python)"
}

# link_data: data/processed/{train,validation}.jsonl, where missing, become links to the generated set.
link_data() {
  local name
  mkdir -p data/processed
  for name in train validation; do
    [[ -L data/processed/$name.jsonl && ! -e data/processed/$name.jsonl ]] && rm "data/processed/$name.jsonl"
    [[ -e data/processed/$name.jsonl ]] || ln -s "../synthetic/final_$name.jsonl" "data/processed/$name.jsonl"
    success "data/processed/$name.jsonl is there"
  done
}

# remove_environment: the folder $env, if there is one and it is an environment.
remove_environment() {
  [[ -e $env ]] || return 0
  [[ -e $env/weatherman-pins || -e $env/pyvenv.cfg || -d $env/conda-meta ]] || fail "$env is not an environment and is left alone. Hint: name another folder with WEATHERMAN_ENV"
  rm -rf "$env"
}

# fingerprint FILE…: one hash of them all.
fingerprint() { cat "$@" | "$python" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'; }

# quietly LOG COMMAND…: run it into a log, and show the log's end when it fails.
quietly() {
  local log=$1
  shift
  "$@" >>"$log" 2>&1 </dev/null && return
  tail -n 5 "$log" >&2
  fail "${*: -1} could not be installed. Hint: see $log"
}
