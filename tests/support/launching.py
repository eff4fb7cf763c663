"""A project folder with the true scripts, a tmux server of its own, and a tiny model as the rehearsal's stand-in."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from command_line import read_events
from weatherman.messages import LINE

REPOSITORY = Path(__file__).parents[2]
SESSION = "weatherman-training"
FILES = ("*.sh", "requirements*.txt", "environment-remote.yml", "pyproject.toml")


class Project:
    """A copy of what the scripts need, in a folder with a space in its name.

    Attributes:
        folder: the project's folder.
        config: a tiny configuration.
        environ: the environment of what is started here.
    """

    def __init__(self, root: Path, config: Path, sockets: str) -> None:
        self.folder, self.config, self.root = root / "my project", config, root
        self.folder.mkdir(parents=True)
        for path in (path for pattern in FILES for path in REPOSITORY.glob(pattern)):
            shutil.copy(path, self.folder)
        for name in ("scripts", "configs"):
            shutil.copytree(REPOSITORY / name, self.folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("src", "data/synthetic"):
            (self.folder / name).parent.mkdir(exist_ok=True)
            (self.folder / name).symlink_to(REPOSITORY / name)
        (self.folder / ".venv").symlink_to(sys.prefix)
        model = next(line for line in config.read_text().splitlines() if line.startswith("model_name_or_path: "))
        kept = {name: text for name, text in os.environ.items() if not name.startswith(("TMUX", "WANDB", "RUNPOD"))}
        self.environ = {
            **kept, "TMUX_TMPDIR": sockets, "WEATHERMAN_CACHE": str(root / "cache"), "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1", "WEATHERMAN_REHEARSAL_MODEL": model.partition(": ")[2],
        }  # fmt: skip

    def command(self, *arguments: object, script: str = "train_h100_runpod.sh") -> list[str]:
        """The script in a rehearsal with the tiny configuration."""
        return [str(self.folder / script), "--rehearse", "--config", str(self.config), *map(str, arguments)]

    def run(
        self, *arguments: object, script: str = "train_h100_runpod.sh", cwd: Path | None = None, **extra: str
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return self.run_words(self.command(*arguments, script=script), cwd=cwd, **extra)

    def run_words(
        self, words: list[str], cwd: Path | None = None, timeout_s: float = 600, **extra: str
    ) -> subprocess.CompletedProcess[str]:
        """Run any command here to its end."""
        return subprocess.run(
            words, cwd=cwd or self.root, env={**self.environ, **extra}, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=timeout_s, check=False,
        )  # fmt: skip

    def start(self, *arguments: object, script: str = "train_h100_runpod.sh", **extra: str) -> subprocess.Popen[str]:
        """Start it and go on."""
        return subprocess.Popen(
            self.command(*arguments, script=script), cwd=self.root, env={**self.environ, **extra}, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    @property
    def run_dir(self) -> Path:
        """The only run's folder."""
        found = list(self.config.parent.glob("run-rehearsal-*"))
        assert len(found) <= 1, found
        return found[0] if found else self.config.parent / "none yet"

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The run's events of a kind."""
        return read_events(self.run_dir, kind)

    def last_step(self) -> int:
        """The last completed step."""
        return max((event["step"] for event in self.events("step")), default=0)

    def record(self) -> dict[str, Any]:
        """The session's record; empty as long as there is none."""
        path = self.folder / "logs" / "session.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def logs(self) -> list[Path]:
        """The logs, oldest first."""
        return sorted((self.folder / "logs").glob("*.log"))

    def tmux(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run tmux against this project's own server."""
        return self.run_words(["tmux", *arguments])

    def in_tmux(self) -> bool:
        """Whether the session is there."""
        return self.tmux("has-session", "-t", f"={SESSION}").returncode == 0


@contextlib.contextmanager
def project(root: Path, config: Path) -> Iterator[Project]:
    """Make a project; at the end its tmux server and what runs in it are ended."""
    sockets = tempfile.mkdtemp(prefix="wt-")  # the path of a socket must be short
    made = Project(root, config, sockets)
    try:
        yield made
    finally:
        record = made.record()
        made.tmux("kill-server")
        for pid in (record.get("trainer_pid"), record.get("pid")):
            if pid and record.get("exit_code") is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
        shutil.rmtree(sockets, ignore_errors=True)


def assert_grammar(printed: str) -> list[str]:
    """Every line is one of the grammar; gives the lines."""
    lines = printed.splitlines()
    assert [line for line in lines if not LINE.match(line)] == []
    return lines


def stand_in(folder: Path, name: str, script: str) -> Path:
    """Put a program on PATH's beginning; gives the file that it writes its arguments to."""
    folder.mkdir(exist_ok=True)
    said = folder / f"{name}.arguments"
    path = folder / name
    path.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >>"{said}"\n{script}\n')
    path.chmod(0o755)
    return said


def without_tmux(root: Path) -> str:
    """A PATH with everything that /usr/bin and /bin hold, but no tmux."""
    folder = root / "no tmux"
    folder.mkdir()
    for place in ("/usr/local/bin", "/usr/bin", "/bin"):
        for program in Path(place).iterdir():
            link = folder / program.name
            if program.name != "tmux" and not link.is_symlink():
                link.symlink_to(program)
    return str(folder)


class Receiver(http.server.BaseHTTPRequestHandler):
    """Keeps what it is sent."""

    sent: list[dict[str, Any]]

    def do_POST(self) -> None:
        self.sent.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(500 if self.path == "/broken" else 204)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serving() -> Iterator[tuple[str, type[Receiver]]]:
    """A web server that keeps what it is sent; gives its address and its handler."""
    kind = type("OwnReceiver", (Receiver,), {"sent": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", kind
    finally:
        server.shutdown()
        server.server_close()
