"""A tiny training setting, its untouched run, and runs that died at a known point: what the fault tests start from."""

from __future__ import annotations

import shutil
from pathlib import Path

from command_line import hashes, read_events, step_losses
from fork_server import Done, ForkServer, Life
from tiny_model import write_setting

SETTINGS = ("num_tool_eval_prompts=0",)
DIES_AFTER_STEP = """
import os, signal
from weatherman.checkpoints import resume
real_record_step = resume.record_step
def record_step(output_dir, state, step):
    real_record_step(output_dir, state, step)
    if step == {step}:
        os.kill(os.getpid(), signal.SIGKILL)
resume.record_step = record_step
"""
DIES_AFTER_BEFORE = """
import os, signal
from weatherman.run.run import Run
Run.record_validation = lambda self, step, loss: step or os.kill(os.getpid(), signal.SIGKILL)
"""


class FaultRuns:
    """Runs of one tiny setting, below `root`; `settings` are further `--set` values."""

    def __init__(self, root: Path, settings: tuple[str, ...] = ()) -> None:
        self.root, self.settings = root, (*SETTINGS, *settings)
        self.config = write_setting(root / "setting")
        self.server = ForkServer(root / "server")
        self.whole = root / "whole"
        done = self.train(self.whole)
        assert done.returncode == 0, done.output
        # Of this very setting, smallest first: other tests may render other data into the same cache later.
        self.rendered = sorted((self.cache / "rendered").glob("*.rendered"), key=lambda path: path.stat().st_size)
        self._died: dict[str, Path] = {}

    @property
    def cache(self) -> Path:
        """The folder of rendered examples."""
        return self.server.folder / "cache"

    def command(self, run: Path, *more: str) -> list[str]:
        """The arguments that train into `run`."""
        sets = [part for setting in (*self.settings, f"output_dir={run}") for part in ("--set", setting)]
        return ["train", "--config", str(self.config), *sets, *more]

    def train(self, run: Path, *more: str, prelude: str = "", **extra: str) -> Done:
        """Train into `run` to the end of the process."""
        return self.server.run(*self.command(run, *more), prelude=prelude, **extra)

    def start(self, run: Path, *more: str, prelude: str = "", hold: bool = False, **extra: str) -> Life:
        """Begin to train into `run`."""
        return self.server.start(*self.command(run, *more), prelude=prelude, hold=hold, **extra)

    def died(self, name: str, target: Path) -> Path:
        """A copy of the run that died after a step ("step 11"), or once the base model was measured ("before")."""
        if name not in self._died:
            prelude = DIES_AFTER_BEFORE
            if name.startswith("step "):
                prelude = DIES_AFTER_STEP.format(step=int(name.removeprefix("step ")))
            source = self.root / name.replace(" ", "-")
            done = self.train(source, prelude=prelude)
            assert done.returncode == -9, done.output
            self._died[name] = source
        shutil.copytree(self._died[name], target)
        return target

    def difference(self, run: Path, *, from_attempt: int = 1) -> str:
        """In what a finished run differs from the untouched one; empty if in nothing. Events may lack steps.

        Args:
            run: its folder.
            from_attempt: events of earlier ones are not compared.
        """
        if not (run / "adapter").is_dir():
            return "there is no adapter"
        if hashes(run / "adapter") != hashes(self.whole / "adapter"):
            return "the adapter is another one"
        expected = step_losses(self.whole)
        events = [event for event in read_events(run, "step") if {"step", "loss"} <= event.keys()]
        events = [event for event in events if event["attempt"] >= from_attempt]
        wrong = [event["step"] for event in events if event["loss"] != expected[event["step"]]]
        if wrong:
            return f"the loss of step {wrong[0]} is another one"
        left = {path.name for path in run.iterdir()} - {"quarantine"}
        if odd := left ^ {path.name for path in self.whole.iterdir()}:
            return f"left over or missing: {', '.join(sorted(odd))}"
        return ""

    def close(self) -> None:
        """End the server."""
        self.server.close()
