"""Kill training at random instants, hundreds of times, and compare with a run that nobody touched.

Usage: python tests/support/torture.py [--kills 200] [--seed 1] [--jobs 2] [--true-every 25] [--write-page]

Each life is `weatherman train` on a 2-layer model with everything of the real path: dropout, accumulation, shared
prefixes cut into passes, evaluation, two epochs. SIGKILL falls at random: in the start-up, in a step, in a save, in the
evaluation, in the final phase. After each kill every checkpoint must verify, none may be older than the last one
announced, and the next life must go on from the newest. At the end the adapter, the loss of every step and the names in
the folder must be the untouched run's. Most lives are forked from a process that has imported torch already (see
fork_server.py); each `--true-every`-th is a process started from nothing.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from command_line import hashes, read_events, step_losses
from fork_server import ForkServer, Life, TrueLife, wait_until
from reliability_page import replace_section, table
from tiny_model import write_setting
from weatherman import messages
from weatherman.checkpoints.checkpoint import list_checkpoints, verify_checkpoint
from weatherman.run.status import read_status

NUM_ROWS = 78  # 20 steps an epoch, the last one not full: 40 steps
SAVE_STEPS = 3
KILLS_PER_RUN = 25
MAX_WITHOUT_PROGRESS = 1  # the third death at one step would be a crash loop, rightly: the first had made that step
START_UP_SHARE = 0.25
SETTINGS = (f"save_steps={SAVE_STEPS}", "num_tool_eval_prompts=1")


@dataclass
class Tally:
    """What happened to the runs of one worker."""

    kills: int = 0
    runs: int = 0
    lives: int = 0
    true_lives: int = 0
    in_start: int = 0
    in_steps: int = 0
    in_the_end: int = 0
    steps_repeated: int = 0
    wrong: list[str] = field(default_factory=list)


class Torture:
    """Some runs, killed `kills` times in all."""

    def __init__(self, root: Path, config: Path, whole: Path, kills: int, seed: int, true_every: int) -> None:
        self.root, self.config, self.whole = root, config, whole
        self.left, self.rng, self.true_every = kills, random.Random(seed), true_every
        self.tally = Tally()
        self.losses = step_losses(whole)
        self.last_step = max(self.losses)
        times = [event for event in read_events(whole) if event["kind"] in ("start", "step", "finish")]
        self.start_s, self.step_s, self.end_s = _durations(times)
        self.import_s = 0.0

    def go(self) -> Tally:
        """Torture runs until no kill is left."""
        began_s = time.monotonic()
        server = ForkServer(self.root / "server")
        self.import_s = time.monotonic() - began_s
        shutil.copytree(self.whole.parent / "server" / "cache", server.folder / "cache", dirs_exist_ok=True)
        try:
            while self.left and not self.tally.wrong:
                self.one_run(server)
        finally:
            server.close()
        return self.tally

    def one_run(self, server: ForkServer) -> None:
        """Kill one run until it has had its share of kills; then let it finish, and compare."""
        self.tally.runs += 1
        run = self.root / f"run-{self.tally.runs}"
        kills_left, without_progress, highest = min(KILLS_PER_RUN, self.left), 0, 0
        while True:
            newest = self.check_after_kill(run, highest)
            life = self.start(server, run)
            if not kills_left or not self.kill_sometime(run, life, highest, without_progress):
                done = life.wait()
                break
            kills_left -= 1
            self.left -= 1
            self.tally.kills += 1
            self.check_resumed(life, run, newest)
            now = progress(run)
            self.tally.steps_repeated += max(0, highest - newest)
            without_progress = 0 if now > highest else without_progress + 1
            highest = now
            if self.tally.wrong:
                return
        if done.returncode:
            self.wrong(run, f"the last life ended with {done.returncode}: {done.output[-500:]}")
        else:
            self.check_end(run)

    def start(self, server: ForkServer, run: Path) -> Life | TrueLife:
        """Begin the next life."""
        command = ["train", "--config", self.config]
        for setting in (*SETTINGS, f"output_dir={run}"):
            command += ["--set", setting]
        self.tally.lives += 1
        if self.true_every and self.tally.lives % self.true_every == 0:
            self.tally.true_lives += 1
            return server.start_true(*command)
        return server.start(*command)

    def kill_sometime(self, run: Path, life: Life | TrueLife, highest: int, without_progress: int) -> bool:
        """Kill at a random instant; false if the life was over before."""
        must_move = without_progress >= MAX_WITHOUT_PROGRESS
        ended = highest >= self.last_step
        if ended and must_move:
            return False
        if ended:
            start_s = self.start_s + self.import_s * isinstance(life, TrueLife)
            wait_s = self.rng.uniform(0, start_s + self.end_s)
            phase = "in_the_end"
        elif not must_move and self.rng.random() < START_UP_SHARE:
            wait_s = self.rng.uniform(0, self.start_s + self.import_s * isinstance(life, TrueLife))
            phase = "in_start"
        else:
            wait_until(lambda: progress(run) > highest, life)
            wait_s = self.rng.uniform(0, 6 * self.step_s)
            phase = "in_steps"
        if life.poll(wait_s) is not None:
            return False
        life.send()
        if life.wait().returncode != -9:
            return False
        setattr(self.tally, phase, getattr(self.tally, phase) + 1)
        return True

    def check_after_kill(self, run: Path, highest: int) -> int:
        """Every checkpoint verifies, and none that was announced is lost.

        Returns:
            The step of the newest.
        """
        steps = []
        for step, path in list_checkpoints(run):
            try:
                verify_checkpoint(path)
            except Exception as problem:
                self.wrong(run, f"a kill left a checkpoint that does not verify: {problem}")
            steps.append(step)
        newest = max(steps, default=0)
        announced = {event["step"] for event in read_events(run, "checkpoint")}
        if newest < max(announced, default=0):
            self.wrong(run, f"checkpoint-{max(announced)} was announced, the newest is {newest}")
        if len(steps) < min(2, len(announced)):
            self.wrong(run, f"only {len(steps)} checkpoints are left")
        if highest - newest > SAVE_STEPS:
            self.wrong(run, f"step {highest} was done and the newest checkpoint is {newest}")
        if (run / "status.json").exists():
            state = read_status(run).state
            if state != "dead" and not (state == "finished" and (run / "adapter").is_dir()):
                self.wrong(run, f"status says {state} of a killed run")
        return newest

    def check_resumed(self, life: Life | TrueLife, run: Path, newest: int) -> None:
        """The life went on from the newest checkpoint, if it came so far as to say it."""
        said = life.output()
        steps = [event["step"] for event in read_events(run, "resume")]
        if "RESUME" in said and (f"Found checkpoint at step {newest}. " not in said or (steps and steps[-1] != newest)):
            self.wrong(run, f"the newest checkpoint was {newest}, and it said: {said[-300:]}")
        if "WARNING" in said or "ERROR" in said:
            self.wrong(run, f"it complained: {said[-500:]}")

    def check_end(self, run: Path) -> None:
        """The finished run is the untouched one, and nothing is left over."""
        if hashes(run / "adapter") != hashes(self.whole / "adapter"):
            self.wrong(run, "the adapter differs from the untouched run's")
        if step_losses(run) != self.losses:
            self.wrong(run, "a step's loss differs from the untouched run's")
        names, expected = ({path.name for path in folder.iterdir()} for folder in (run, self.whole))
        if names != expected:
            self.wrong(run, f"left over or missing: {sorted(names ^ expected)}")
        state = json.loads((run / "resume_metadata.json").read_text())
        if not state["finished"] or state["last_step"] != self.last_step:
            self.wrong(run, f"the state is {state}")
        if not self.tally.wrong:
            shutil.rmtree(run)

    def wrong(self, run: Path, text: str) -> None:
        """Note what is wrong; the folder stays for whoever looks into it."""
        self.tally.wrong.append(f"{run}, kill {self.tally.kills}: {text}")


def progress(run: Path) -> int:
    """The highest step that the run says it has done."""
    try:
        return int(json.loads((run / "progress.json").read_bytes())["last_step"])
    except FileNotFoundError:
        return 0


def _durations(events: list[dict[str, Any]]) -> tuple[float, float, float]:
    import datetime

    at = [datetime.datetime.fromisoformat(event["time"]).timestamp() for event in events]
    return at[1] - at[0], (at[-2] - at[1]) / (len(at) - 3), at[-1] - at[-2]


def untouched(root: Path, config: Path) -> Path:
    """Make the run that nobody touches."""
    server = ForkServer(root / "server")
    try:
        sets = [part for setting in (*SETTINGS, f"output_dir={root}/whole") for part in ("--set", setting)]
        done = server.run("train", "--config", config, *sets)
    finally:
        server.close()
    if done.returncode:
        raise SystemExit(f"the untouched run failed: {done.output}")
    return root / "whole"


def _work(arguments: tuple[Path, Path, Path, int, int, int]) -> Tally:
    return Torture(*arguments).go()


def torture(root: Path, *, kills: int, seed: int, jobs: int, true_every: int) -> list[Tally]:
    """Torture in several processes; each has its own folders and its own share of the kills."""
    config = write_setting(root / "setting", num_rows=NUM_ROWS)
    whole = untouched(root, config)
    shares = [kills // jobs + (number < kills % jobs) for number in range(jobs)]
    work = [
        (root / f"job-{number}", config, whole, share, seed * 1000 + number, true_every)
        for number, share in enumerate(shares)
        if share
    ]
    with multiprocessing.get_context("spawn").Pool(len(work)) as pool:
        return pool.map(_work, work, chunksize=1)


def main() -> int:
    """Run it; 0 if nothing was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time")
    parser.add_argument("--true-every", type=int, default=25, help="each so-manieth life starts from nothing; 0: none")
    parser.add_argument("--write-page", action="store_true", help="put the figures into docs/reliability.md")
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="weatherman-torture-"))
    began_s = time.monotonic()
    tallies = torture(root, kills=options.kills, seed=options.seed, jobs=options.jobs, true_every=options.true_every)
    took_s = time.monotonic() - began_s
    wrong = [text for tally in tallies for text in tally.wrong]
    for text in wrong:
        messages.error(text)

    def total(name: str) -> int:
        return sum(getattr(tally, name) for tally in tallies)

    summary = (
        f"{total('kills')} kills ({total('in_start')} in the start-up, {total('in_steps')} in steps and saves, "
        f"{total('in_the_end')} in the final phase) of {total('runs')} runs in {total('lives')} lives "
        f"({total('true_lives')} started from nothing), {took_s:.0f} s"
    )
    if wrong:
        messages.error(f"{summary}; seed {options.seed}; the folders are kept in {root}")
        return 1
    messages.success(f"{summary}: every adapter and every loss is the untouched run's, bit for bit")
    if options.write_page:
        rows = [
            ("SIGKILLs survived", total("kills")),
            ("… in the start-up / in steps, saves, evaluations / in the final phase",
             f"{total('in_start')} / {total('in_steps')} / {total('in_the_end')}"),
            ("runs, each compared bit for bit", total("runs")),
            ("lives, of which started from nothing", f"{total('lives')}, {total('true_lives')}"),
            ("runs that ended differently, lost an announced checkpoint or left anything over", 0),
            ("wall time", f"{took_s:.0f} s, {options.jobs} at a time"),
        ]  # fmt: skip
        command = f"make torture N={options.kills} SEED={options.seed}"
        replace_section("torture", f"`{command}`, {time.strftime('%Y-%m-%d')}:\n\n{table(('what', 'figure'), rows)}")
    shutil.rmtree(root)
    return 0


if __name__ == "__main__":
    sys.exit(main())
