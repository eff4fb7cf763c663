"""An automation agent's view: exit codes, JSON and the line grammar are enough, through one injected crash."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from command_line import wait_for
from launching import project

DRIVER = Path(__file__).parents[1] / "support" / "driver.py"


def test_driver_takes_a_machine_to_the_adapter_through_a_crash(tiny: Path, tmp_path: Path) -> None:
    text = tiny.read_text().replace(f"output_dir: {tiny.parent}/run", "output_dir: runs/tiny")
    tiny.write_text(text)
    with project(tmp_path, tiny) as made:
        words = [str(made.folder), "--config", str(tiny), "--set", "max_steps=40"]
        driver = subprocess.Popen(
            [sys.executable, str(DRIVER), *words], env=made.environ, cwd=tmp_path, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

        def status() -> dict[str, object]:
            found = list(made.folder.glob("runs/tiny-rehearsal-*/status.json"))
            return json.loads(found[0].read_text()) if found else {}

        wait_for(lambda: int(str(status().get("step", 0))) >= 5, driver)
        os.kill(int(str(status()["pid"])), signal.SIGKILL)
        printed, _ = driver.communicate(timeout=600)
        assert driver.returncode == 0, printed
        first, second = (json.loads(line) for line in printed.splitlines())
        assert (first["code"], first["state"], first["resumed"]) == (1, "dead", [])
        assert (second["code"], second["state"]) == (0, "finished")
        (resumed,) = second["resumed"]
        assert int(resumed.split("step ")[1].split(".")[0]) >= 3
        (run,) = made.folder.glob("runs/tiny-rehearsal-*")
        assert (run / "adapter" / "adapter_model.safetensors").is_file()


def test_driver_is_short_and_reads_no_prose() -> None:
    code = [line for line in DRIVER.read_text().split('"""')[2].splitlines() if line.strip()]
    assert len(code) <= 40
