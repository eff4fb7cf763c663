"""Start `weatherman` commands from a process that has imported the heavy libraries already: a life costs one second.

Each command is a process of its own that runs the real entry point, `weatherman.cli.main`. It is forked from a server
that has imported modules and done nothing else, so what it saves is the import of torch and its friends, no more.
Tests that kill or damage hundreds of runs use it; some of each kind start the true process too.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from command_line import hear_signals
from weatherman.system.process_env import process_settings

PRELOADED = (
    "numpy", "torch", "transformers", "transformers.models.llama.modeling_llama", "peft", "safetensors.torch",
    "weatherman.cli", "weatherman.train", "weatherman.engine.torch.engine", "weatherman.run.status_view",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended: its exit code (-9 for SIGKILL) and what it printed, standard error included."""

    returncode: int
    output: str


class Life:
    """One running command of a server."""

    def __init__(self, server: ForkServer, pid: int, log: Path) -> None:
        self.pid, self._server, self._log = pid, server, log
        self._pidfd: int | None = None  # by it, a reused pid is never hit
        with contextlib.suppress(ProcessLookupError):  # over already
            self._pidfd = os.pidfd_open(pid)
        self._code: int | None = None

    def send(self, number: int = signal.SIGKILL) -> None:
        """Send a signal, unless it is over."""
        if self._pidfd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def poll(self, timeout_s: float = 0.0) -> int | None:
        """The exit code, waiting for it at most so long; None while it runs."""
        if self._code is None and self._server.readable(timeout_s):
            self._code = int(self._server.read())
            if self._pidfd is not None:
                os.close(self._pidfd)
                self._pidfd = None
            self._server.busy = None
        return self._code

    def wait(self, timeout_s: float = 600) -> Done:
        """Wait for the end; what takes too long is killed.

        Raises:
            TimeoutError: it hung.
        """
        code = self.poll(timeout_s)
        if code is None:
            self.send()
            self.poll(30)
            raise TimeoutError(f"the command hung: {self.output()[-2000:]}")
        return Done(code, self.output())

    def output(self) -> str:
        """What it has printed up to now."""
        return self._log.read_text(encoding="utf-8", errors="replace")


class TrueLife:
    """The same face on a process started from nothing: `python -m weatherman.cli`."""

    def __init__(self, *arguments: object, log: Path, environment: dict[str, str]) -> None:
        self._log = log
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "weatherman.cli", *map(str, arguments)], env=environment,
                stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self.pid = self._process.pid

    def send(self, number: int = signal.SIGKILL) -> None:
        """Send a signal, unless it is over."""
        self._process.send_signal(number)

    def poll(self, timeout_s: float = 0.0) -> int | None:
        """The exit code, waiting for it at most so long; None while it runs."""
        try:
            return self._process.wait(timeout_s) if timeout_s else self._process.poll()
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout_s: float = 600) -> Done:
        """Wait for the end; what takes too long is killed.

        Raises:
            TimeoutError: it hung.
        """
        code = self.poll(timeout_s)
        if code is None:
            self.send()
            raise TimeoutError(f"the command hung: {self.output()[-2000:]}")
        return Done(code, self.output())

    def output(self) -> str:
        """What it has printed up to now."""
        return self._log.read_text(encoding="utf-8", errors="replace")


class ForkServer:
    """The client's side; one command at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.busy: Life | None = None
        self._number = 0
        # A life ends by os._exit or a signal, so it could only be slowed by being measured.
        kept = {name: text for name, text in os.environ.items() if not name.startswith("COVERAGE_")}
        self.environment = {
            **kept, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
            "WEATHERMAN_CACHE": str(folder / "cache"),
        }  # fmt: skip
        self.environment |= process_settings(self.environment, sys.platform)  # else each command starts again by itself
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self.environment, bufsize=0
        )
        if self.read() != "ready":
            raise RuntimeError("the fork server did not start")

    def start(self, *arguments: object, prelude: str = "", hold: bool = False, **extra: str) -> Life:
        """Start a command.

        Args:
            arguments: of `weatherman`.
            prelude: Python that the child executes first, e.g. to change its clock.
            hold: the child stops itself first (SIGSTOP), so that a tracer can be attached.
            extra: more environment.
        """
        if self.busy:
            raise RuntimeError("one command at a time")
        self._number += 1
        log = self.folder / f"life-{self._number}.log"
        job = {"argv": [*map(str, arguments)], "log": str(log), "prelude": prelude, "hold": hold, "env": extra}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job).encode() + b"\n")
        self.busy = Life(self, int(self.read()), log)
        return self.busy

    def start_true(self, *arguments: object) -> TrueLife:
        """Start a command from nothing, with the same environment."""
        self._number += 1
        return TrueLife(*arguments, log=self.folder / f"life-{self._number}.log", environment=self.environment)

    def run(self, *arguments: object, timeout_s: float = 600, prelude: str = "", **extra: str) -> Done:
        """Run a command to its end."""
        return self.start(*arguments, prelude=prelude, **extra).wait(timeout_s)

    def readable(self, timeout_s: float) -> bool:
        """Whether the server says something within that time."""
        return bool(select.select([self._process.stdout], [], [], timeout_s)[0])

    def read(self) -> str:
        """One line of the server's."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().decode().strip()

    def close(self) -> None:
        """End the server, and the command it may still have."""
        if self.busy:
            self.busy.send()
        self._process.kill()  # it holds nothing; leaving by itself takes torch long on a busy machine
        self._process.wait()


def serve() -> None:
    """Be the server: import, then fork a child for each line of standard input."""
    for name in PRELOADED:
        importlib.import_module(name)
    gc.freeze()  # else each full collection of a life walks through all that was imported
    print("ready", flush=True)
    while line := sys.stdin.buffer.readline():
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _be_the_command(job)
        if job["hold"]:
            os.waitpid(pid, os.WUNTRACED)  # told to go on before it has stopped, it would stop for ever
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def _be_the_command(job: dict[str, Any]) -> None:
    from weatherman.cli import main

    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    for number in (null, log):
        os.close(number)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
    os.environ.update({"WEATHERMAN_PROCESS": "1", **job["env"]})  # starting again would start the server again
    sys.argv = ["weatherman", *job["argv"]]
    hear_signals()
    if job["hold"]:
        os.kill(os.getpid(), signal.SIGSTOP)
    code: object = 1
    try:
        exec(compile(job["prelude"], "prelude", "exec"), {"__name__": "prelude"})
        main()
    except SystemExit as done:
        code = done.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1 if code else 0)


def wait_until(condition: Any, life: Life | TrueLife, timeout_s: float = 600, pause_s: float = 0.005) -> bool:
    """Wait until something holds; false if the life ends first."""
    until_s = time.monotonic() + timeout_s
    while not condition():
        if life.poll() is not None:
            return bool(condition())
        if time.monotonic() > until_s:
            life.send()
            raise TimeoutError(f"it did not happen in time: {life.output()[-2000:]}")
        time.sleep(pause_s)
    return True


if __name__ == "__main__":
    serve()
