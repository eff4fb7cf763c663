"""Take a machine from its set-up to a finished adapter as a program would, without reading prose.

It knows the exit codes, `doctor --json`, `status --json`, and the grammar of the lines. Usage:
driver.py PROJECT [option of the training script ...]
"""

import json
import re
import subprocess
import sys
from pathlib import Path

LINE = re.compile(r"(\[[A-Z0-9-]+\] |✅ SUCCESS: |⚠️ WARNING: |❌ ERROR: |⚠️ RESUME: )\S")
project, options = Path(sys.argv[1]), sys.argv[2:]
weatherman = [str(project / ".venv/bin/python"), "-m", "weatherman.cli"]


def script(name: str, *words: str) -> tuple[int, list[str]]:
    done = subprocess.run([project / name, "--rehearse", *words], cwd=project, stdout=subprocess.PIPE, text=True)
    lines = done.stdout.splitlines()
    if not all(map(LINE.match, lines)):
        sys.exit(f"not in the grammar: {[line for line in lines if not LINE.match(line)]}")
    return done.returncode, lines


def ask(*words: str) -> tuple[int, dict]:
    done = subprocess.run([*weatherman, *words, "--json"], cwd=project, stdout=subprocess.PIPE, text=True)
    return done.returncode, json.loads(done.stdout)


if script("setup_runpod_h100.sh")[0] != 0:
    sys.exit("set-up failed")
code, health = ask("doctor", "--env", "h100", "--rehearse", *options)
if code != 0 or health["verdict"] != "ok":
    sys.exit(f"not healthy: {[finding['fix'] for finding in health['findings'] if finding['verdict'] == 'fail']}")
for attempt in range(1, 6):
    code, lines = script("train_h100_runpod.sh", *options)
    _, status = ask("status")
    resumed = [line for line in lines if line.startswith("⚠️ RESUME: ")]
    print(json.dumps({"attempt": attempt, "code": code, "state": status["state"], "resumed": resumed}), flush=True)
    if code == 2:
        sys.exit("crash loop")
    if code == 0 and status["state"] == "finished":
        sys.exit(0)
sys.exit("no adapter after 5 attempts")
