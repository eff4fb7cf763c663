#!/usr/bin/env bash
# Usage: scripts/check_venv.sh FOLDER
# Look whether the virtual environment in FOLDER still works here: one that was moved with its clone is mended where it
# lies, one whose Python is gone is marked as not ready, so that `make setup` makes it anew. What is done is told on
# standard error; nothing is downloaded.
set -euo pipefail
if [[ ${1:-} == --help || $# -ne 1 ]]; then sed -n '2,5p' "$0" | cut -c3-; exit "$([[ ${1:-} == --help ]] && echo 0 || echo 1)"; fi

folder=$1
[[ -e $folder/ready ]] || exit 0
if ! "$folder/bin/python" -c '' 2>/dev/null; then
  printf '⚠️ WARNING: The Python of %s is gone or cannot run: the environment is made anew\n' "$folder" >&2
  rm -f "$folder/ready" "$folder/ready-dev"
  exit 0
fi
here=$(cd -P "$folder/bin/.." && pwd -P)
there=$(sed -nE '1,3s@^.*[!"](/.*)/bin/python.*@\1@p' "$folder/bin/weatherman" 2>/dev/null | head -n 1) || there=
if [[ -z $there ]]; then
  printf '⚠️ WARNING: %s has no weatherman command that works: it is installed again\n' "$folder" >&2
  rm -f "$folder/ready" "$folder/ready-dev"
elif [[ ! $there -ef $here ]]; then
  printf '⚠️ WARNING: %s was moved here from %s and is mended\n' "$folder" "$there" >&2
  # The commands, the editable install and its record name the clone's old folder.
  { find "$here/bin" "$here/pyvenv.cfg" -maxdepth 1 -type f
    find "$here"/lib/python3*/site-packages -maxdepth 2 \( -name '*.pth' -o -name '__editable__*' -o -name direct_url.json \) -type f
  } 2>/dev/null | while IFS= read -r file; do
    grep -qIF "${there%/*}/" "$file" || continue
    OLD=${there%/*} NEW=${here%/*} "$here/bin/python" -c '
import os, sys
path, old, new = sys.argv[1], os.environ["OLD"], os.environ["NEW"]
mode = os.stat(path).st_mode
text = open(path, encoding="utf-8").read()
with open(path + ".part", "w", encoding="utf-8") as file:
    file.write(text.replace(old + "/", new + "/").replace(old + "\n", new + "\n"))
os.chmod(path + ".part", mode)
os.replace(path + ".part", path)' "$file"
  done
fi
