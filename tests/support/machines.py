"""Machines for the preflight's tests: a probe that answers from tables, stand-ins on PATH, and a small hub."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from weatherman.messages import LINE
from weatherman.preflight.probe import Output

ROOT = Path(__file__).parents[2]
STUBS = Path(__file__).parent / "platform_stubs"
GIB = 2**30
COMPUTES = json.dumps({"torch": "2.8.0+cu128", "cuda": "12.8", "device": "cuda", "name": "H100", "worst_error": 0.01})
COMPUTES_MPS = json.dumps({"torch": "2.13.0", "cuda": None, "device": "mps", "name": "mps", "worst_error": 0.01})


@dataclass
class TableProbe:
    """A machine that is what its fields say. `programs` maps a command's beginning to its answer."""

    environ: Mapping[str, str] = field(default_factory=dict)
    python_version: tuple[int, int, int] = (3, 11, 7)
    programs: dict[str, Output] = field(default_factory=dict)
    free_gb: dict[str, float] = field(default_factory=dict)
    volumes: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def which(self, program: str) -> str | None:
        return program if any(command.split()[0] == program for command in self.programs) else None

    def run(self, command: Sequence[str], timeout_s: float = 20.0) -> Output | None:
        text = " ".join(command)
        found = [known for known in self.programs if text.startswith(known) or f" {known}" in text]
        return self.programs[max(found, key=len)] if found else None

    def _volume(self, path: Path, table: Mapping[str, object]) -> object | None:
        found = [known for known in table if str(path.absolute()).startswith(known)]
        return table[max(found, key=len)] if found else None

    def free_bytes(self, path: Path) -> int | None:
        gb = self._volume(path, self.free_gb)
        return None if gb is None else int(float(str(gb)) * GIB)

    def volume(self, path: Path) -> str:
        return str(self._volume(path, self.volumes) or "/")

    def http_status(self, url: str, token: str | None = None) -> int | None:
        self.asked.append((url, token))
        found = [known for known in self.statuses if known in url]
        return self.statuses[found[0]] if found else None


def path_with(*stubs: str) -> str:
    """A PATH with these stand-ins before the machine's own programs."""
    return os.pathsep.join([*(str(STUBS / stub) for stub in stubs), "/usr/bin", "/bin"])


@contextmanager
def hub(status: int) -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """A server that answers every HEAD with `status`; yields its address and what it was asked, with which token."""
    asked: list[tuple[str, str | None]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            asked.append((self.path, self.headers.get("Authorization")))
            self.send_response(status)
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


@dataclass
class Clone:
    """A clone of the project in a folder with spaces, whose Python installs nothing. `environ` is all that runs see."""

    root: Path
    environ: dict[str, str]

    @property
    def log(self) -> list[str]:
        """What pip, venv and conda were asked for since the last look."""
        path = Path(self.environ["STUB_LOG"])
        lines = path.read_text().splitlines() if path.is_file() else []
        path.unlink(missing_ok=True)
        return lines

    def run(self, script: str, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run a script of the clone from another folder, without a terminal to ask questions on."""
        return subprocess.run(
            [str(self.root / script), *arguments],
            cwd="/",
            env={**self.environ, **changes},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )


def clone(tmp_path: Path, *stubs: str, compute: str = COMPUTES) -> Clone:
    """Clone what a set-up needs.

    Args:
        tmp_path: where.
        stubs: the folders of stand-ins on PATH.
        compute: what the device's compute test answers.
    """
    root = tmp_path / "the weather man"
    root.mkdir()
    for name in ("scripts", "configs"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in [*ROOT.glob("setup_*.sh"), *ROOT.glob("requirements*.txt"), *ROOT.glob("environment-*.yml")]:
        shutil.copy(path, root)
    shutil.copy(ROOT / "pyproject.toml", root)
    (root / "src").symlink_to(ROOT / "src")
    (root / "data" / "synthetic").mkdir(parents=True)
    for name in ("final_train.jsonl", "final_validation.jsonl"):
        (root / "data" / "synthetic" / name).write_text('{"messages": []}\n')
    home = tmp_path / "home of mine"
    home.mkdir()
    environ = {
        "PATH": path_with(*stubs),
        "HOME": str(home),
        "PYTHON": str(STUBS / "python" / "python"),
        "REAL_PYTHON": sys.executable,
        "STUB_PYTHON": str(STUBS / "python" / "python"),
        "STUB_LOG": str(tmp_path / "stub log"),
        "STUB_COMPUTE": compute,
        "STUB_FREE_GB": "100",
        "PYTHONPATH": str(STUBS / "python"),
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "WANDB_BASE_URL": "http://127.0.0.1:9",
    }
    return Clone(root, environ)


def assert_grammar(text: str) -> None:
    """Every line is of the grammar, and no control character is in it."""
    assert text.endswith("\n")
    for line in text.splitlines():
        assert LINE.match(line), line
        assert line.isprintable(), line
