"""Feed hostile input to every reader: no traceback, no hang, no memory blow-up, nothing executed, no forged line.

Usage: python tests/support/fuzz.py [--inputs 100000] [--seed 1] [--only config] [--write-page]

Inputs are mutations of good files: bits, bytes, spans and lines changed, doubled, cut and spliced, and fragments put in
that try to run code, to move the cursor, to forge a verdict, to leave the folder, to nest or to grow without end.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from reliability_page import replace_section, table
from run_folders import RUN_ID, save
from tiny_model import conversation
from weatherman import messages
from weatherman.checkpoints.manifest import verify_checkpoint
from weatherman.checkpoints.resume import begin_attempt, read_resume
from weatherman.config.schema import load_config
from weatherman.data.read import read_rows
from weatherman.errors import WeathermanError
from weatherman.rendering.render import render
from weatherman.rendering.render_cache import RenderedFile, read_cache, write_cache
from weatherman.rendering.rough_tokenizer import RoughTokenizer
from weatherman.rendering.templates import TEMPLATES
from weatherman.run.events import EventLog, StatusFile, read_events, read_tail
from weatherman.run.lock import read_holder, run_lock
from weatherman.run.status import read_status
from weatherman.run.status_view import status_lines

MARKER = "weatherman-fuzz-marker"
LIMIT_CPU_S = 5  # of one input
LIMIT_S = 300  # for an input that waits for something; long, since the machine may be busy
MEMORY_BYTES = 2**30
MAX_INPUT_BYTES = 200_000
UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
FRAGMENTS = tuple(
    text.encode("utf-8", "surrogatepass")
    for text in (
        f"$(touch {MARKER})", f"`touch {MARKER}`", f"; touch {MARKER}", f'!!python/object/apply:os.system ["touch {MARKER}"]',
        f"!!python/object/new:subprocess.Popen [touch, {MARKER}]", f"${{touch {MARKER}}}", "{{7*7}}", "{% for x in y %}",
        "&a [*a, *a]", "*a", "<<: *a", "\x1b[2J\x1b[1;1H", "\r❌ ERROR: forged", "\n✅ SUCCESS: forged\n", "\u2028[STATUS] forged",
        "\x9b31m", "\u202e", "\ud83c", "\x00", "../../../../etc/passwd", "/etc/passwd", "NaN", "-Infinity", "1e999", "9" * 400,
        "-1", "true", "null", "[]", "{}", '"', "'", "\\", "\\u0000", "\\ud800", ":", "- ", "#", "|\n", ">\n", "%YAML 9.9\n",
        "---\n", "...\n", "<|im_start|>", "<|im_end|>", "[INST]", "[/TOOL_CALLS]", '{"a":' * 50, "[" * 3000, "[" * 150 + "]" * 150,
        "a" * 5000, "\ufeff", "PK\x03\x04", "\x80\x04\x95", "cposix\nsystem\n(S'touch x'\ntR.", "\x1f\x8b\x08", "é", "🌦",
    )
)  # fmt: skip

Target = Callable[[bytes], object]


class HangError(Exception):
    """An input took too long."""


def mutate(rng: random.Random, seeds: list[bytes]) -> bytes:
    """One hostile input."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5, 9))):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((1, 1, 2, 4, 16, 64, 1000)))
        kind = rng.randrange(8)
        if kind == 0 and data:
            data[min(at, len(data) - 1)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at:end] = b""
        elif kind in (2, 3, 4):
            data[at : end if kind == 3 else at] = rng.choice(FRAGMENTS)
        elif kind == 5:
            data[at:at] = data[at:end] * rng.choice((1, 2, 50))
        elif kind == 6:
            other = rng.choice(seeds)
            cut = rng.randrange(len(other) + 1)
            data[at:end] = other[cut : cut + rng.randrange(200)]
        else:
            data[at:] = b""
        del data[MAX_INPUT_BYTES:]
    return bytes(data)


def targets(folder: Path) -> dict[str, tuple[Target, list[bytes]]]:
    """Each reader with good input for it; it may raise WeathermanError and nothing else."""
    run = folder / "run"
    run.mkdir()
    begin_attempt(run)
    EventLog(run, 1).emit("step", step=3, loss=1.5)
    StatusFile(run, 1, "weatherman train").write(state="running", step=3, total=9, loss=1.5)
    checkpoint = save(run, 3)
    write_cache(folder / "cache", "key", RenderedFile((), (), 0, "0" * 64))
    with run_lock(run):
        lock = (run / "run.lock").read_bytes()
    configs = Path(__file__).parents[2] / "configs"
    rng = random.Random(0)
    rows = [json.dumps(conversation(rng, number)).encode() for number in range(4)]
    good = {name: (run / name).read_bytes() for name in ("resume_metadata.json", "status.json", "events.jsonl")}

    def on_file(path: Path, read: Callable[[], object]) -> Target:
        def target(data: bytes) -> object:
            path.write_bytes(data)
            return read()

        return target

    rough = RoughTokenizer()

    def rendered() -> None:
        for row, problems in read_rows(folder / "data.jsonl"):
            for problem in problems:
                messages.error(problem)
            for template in TEMPLATES.values() if row else ():
                with contextlib.suppress(WeathermanError):
                    for view in render(row, template, rough):
                        assert view.num_supervised_tokens

    def events() -> None:
        list(read_events(run / "events.jsonl"))
        read_tail(run / "events.jsonl", 50)

    def status() -> None:
        for line in status_lines(read_status(run)):
            messages.say("STATUS", line)

    def overrides(data: bytes) -> object:
        text = data.decode("utf-8", "replace")
        return load_config(configs / "training_config_demo.yaml", text.split("\n")[:5])

    def replies(data: bytes) -> None:
        for template in TEMPLATES.values():
            template.parse(data.decode("utf-8", "replace"))

    tool_call = b'<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
    mistral = b'[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "Oslo"}, "id": "abcdefghi"}]'
    return {
        "config": (on_file(folder / "c.yaml", lambda: load_config(folder / "c.yaml")), [*(p.read_bytes() for p in configs.glob("*.yaml")), b"{}", b"seed: 1\n"]),
        "overrides": (overrides, [b"learning_rate=1e-4\nsample_prompts=[a, b]", b"run_name=x-$(date +%Y)"]),
        "data and templates": (on_file(folder / "data.jsonl", rendered), [*rows, b"\n".join(rows)]),
        "generated replies": (replies, [tool_call, mistral, b"It is wet."]),
        "resume metadata": (on_file(run / "resume_metadata.json", lambda: read_resume(run)), [good["resume_metadata.json"]]),
        "manifest": (
            on_file(checkpoint / "manifest.json", lambda: verify_checkpoint(checkpoint, RUN_ID)),
            [(checkpoint / "manifest.json").read_bytes()],
        ),
        "status": (on_file(run / "status.json", status), [good["status.json"]]),
        "events": (on_file(run / "events.jsonl", events), [good["events.jsonl"], good["events.jsonl"] * 9]),
        "lock": (on_file(run / "run.lock", lambda: read_holder(run / "run.lock")), [lock]),
        "render cache": (
            on_file(folder / "cache" / "key.rendered", lambda: read_cache(folder / "cache", "key")),
            [(folder / "cache" / "key.rendered").read_bytes()],
        ),
    }  # fmt: skip


def try_input(name: str, target: Target, data: bytes) -> Iterator[str]:
    """Feed one input to one reader; yields what goes wrong, with the input."""
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            try:
                target(data)
            except WeathermanError as problem:
                messages.error(problem)
    except BaseException as problem:
        if isinstance(problem, KeyboardInterrupt):
            raise
        yield f"{name}: {type(problem).__name__}: {str(problem)[:200]} for {data[:2000]!r}"
    for line in out.getvalue().split("\n"):
        if line and (not messages.LINE.match(line) or UNSAFE & set(map(unicodedata.category, line))):
            yield f"{name}: the line {line[:200]!r} for {data[:2000]!r}"


def attack(name: str, target: Target, seeds: list[bytes], num_inputs: int, seed: int) -> Iterator[str]:
    """Feed mutations to one reader, each with a limit on time; yields what goes wrong."""
    rng = random.Random(f"{name} {seed}")
    for number in range(num_inputs):
        data = seeds[number] if number < len(seeds) else mutate(rng, seeds)
        signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT_CPU_S)
        signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
        try:
            yield from list(try_input(name, target, data))
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)


@contextlib.contextmanager
def guarded() -> Iterator[Path]:
    """A folder to work in, a limit on time and memory, and in the end no marker anywhere."""

    def hang(number: int, frame: FrameType | None) -> None:
        raise HangError(f"more than {LIMIT_CPU_S} s of work, or {LIMIT_S} s")

    folder, before = Path(tempfile.mkdtemp(prefix="weatherman-fuzz-")), Path.cwd()
    old_handlers = {number: signal.signal(number, hang) for number in (signal.SIGALRM, signal.SIGVTALRM)}
    old_limit = resource.getrlimit(resource.RLIMIT_AS)
    used_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used_bytes + MEMORY_BYTES, old_limit[1]))
    os.chdir(folder)
    try:
        yield folder
        markers = [str(path) for place in (folder, before) for path in place.rglob(f"*{MARKER}*")]
        assert not markers, f"something was executed: {markers}"
    finally:
        os.chdir(before)
        resource.setrlimit(resource.RLIMIT_AS, old_limit)
        for number, handler in old_handlers.items():
            signal.signal(number, handler)
        shutil.rmtree(folder)


def fuzz(num_inputs: int, seed: int, only: str = "") -> tuple[Counter[str], list[str]]:
    """Share the inputs out among the readers.

    Returns:
        How many inputs each reader got, and what went wrong.
    """
    counts, wrong = Counter[str](), []
    with guarded() as folder:
        chosen = {name: one for name, one in targets(folder).items() if only in name}
        for name, (target, seeds) in chosen.items():
            counts[name] = num_inputs // len(chosen)
            wrong += attack(name, target, seeds, counts[name], seed)
    return counts, wrong


def main() -> int:
    """Fuzz; 0 if nothing went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="readers whose name has this text")
    parser.add_argument("--write-page", action="store_true", help="put the figures into docs/reliability.md")
    options = parser.parse_args()
    began_s = time.monotonic()
    counts, wrong = fuzz(options.inputs, options.seed, options.only)
    for text in wrong[:20]:
        messages.error(text)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    summary = (
        f"{counts.total():,} inputs, {len(wrong)} wrong, {time.monotonic() - began_s:.0f} s, peak {peak_mb:.0f} MB"
    )
    (messages.error if wrong else messages.success)(summary)
    if options.write_page and not wrong:
        rows = [(name, f"{count:,}") for name, count in counts.items()]
        command = f"make fuzz N={options.inputs} SEED={options.seed}"
        replace_section(
            "fuzz", f"`{command}`, {time.strftime('%Y-%m-%d')}: {summary}.\n\n{table(('reader', 'inputs'), rows)}"
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
