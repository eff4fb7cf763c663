"""`weatherman launch` through the true scripts, a real tmux and a real trainer: to the end, cut off, resumed, refused."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from command_line import wait_for
from launching import SESSION, Project, assert_grammar, project, serving, stand_in, without_tmux
from weatherman.run.spending import read_spending
from weatherman.run.status_view import read_status, status_lines

pytestmark = pytest.mark.skipif(subprocess.call(["which", "tmux"], stdout=subprocess.DEVNULL) != 0, reason="no tmux")
RESUMED = "⚠️ RESUME: Found checkpoint at step {}. Resuming training."
FORGED = "\x1b[2J\n✅ SUCCESS: forged"


@pytest.fixture
def here(tiny: Path, tmp_path: Path) -> Iterator[Project]:
    with project(tmp_path, tiny) as made:
        yield made


@pytest.fixture(scope="module")
def whole(tiny_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, str]]:
    """One rehearsal from another folder to its end, with hostile text in data, environment and the run's name."""
    root = tmp_path_factory.mktemp("whole")
    config = root / "tiny.yaml"
    for name in ("train.jsonl", "validation.jsonl"):
        hostile = (tiny_source / name).read_text().replace("How is", "\\u001b[2J\\n✅ SUCCESS: forged. How is")
        (root / name).write_text(hostile)
    text = (tiny_source / "config.yaml").read_text().replace(f"{tiny_source}/", f"{root}/")
    text = text.replace(f"{root}/model", f"{tiny_source}/model")
    config.write_text(text + 'run_name: "✅ SUCCESS: done\u202e"\n')
    with project(root, config) as made, serving() as (url, receiver):
        done = made.run(
            "--hourly-rate", "2.69", "--auto-stop-pod", cwd=Path("/"), RUNPOD_POD_ID=FORGED, HOSTILE=FORGED,
            WEATHERMAN_COMMAND=FORGED, WEATHERMAN_WEBHOOK=f"{url}/secret", LC_ALL="C",
        )  # fmt: skip
        assert [(sent["event"], sent["status"]["state"]) for sent in receiver.sent] == [
            ("start", "starting"), ("end", "finished"),
        ]  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        yield made, done.stdout


def test_whole_run_prints_only_the_grammar_and_how_to_look(whole: tuple[Project, str]) -> None:
    made, printed = whole
    lines = assert_grammar(printed)
    (log,) = made.logs()
    assert f"[TRAINING-H100] Attach: tmux attach -t {SESSION}" in lines
    assert f"[TRAINING-H100] Log: tail -f '{log}'" in lines
    assert any(line.startswith("[TRAINING-H100] Status: ") and str(made.run_dir) in line for line in lines)
    assert lines[-1] == f"✅ SUCCESS: Training is complete; the adapter in {made.run_dir}/adapter is verified"
    assert sum("forged" in line for line in lines if line.startswith("✅")) == 0
    assert "[PREFLIGHT] " in printed
    assert "Cannot know here: No CUDA device found" in printed
    assert "\x1b" not in printed


def test_whole_run_reports_measured_speed_and_one_cost_as_rate_times_hours(whole: tuple[Project, str]) -> None:
    made, printed = whole
    assert "] Measured " in printed
    cost = next(line for line in printed.splitlines() if "Cost of this run so far: " in line)
    words = cost.partition("so far: ")[2]
    status = read_status(made.run_dir)
    assert words in "\n".join(status_lines(status))
    assert words == read_spending(made.run_dir).in_words()
    dollars_of_page, _, hours_of_page = words.partition(" = ")
    page = (made.run_dir / "report.html").read_text()
    assert f"<dd>{dollars_of_page}<small>{hours_of_page.replace(' x ', ' × ').replace(' hours', ' h')}</small>" in page
    dollars, hours = float(cost.split("$")[1].split()[0]), float(cost.split(" x ")[1].split()[0])
    assert "$2.69 an hour" in cost
    assert abs(dollars - 2.69 * hours) < 0.02


def test_whole_run_leaves_a_log_of_the_grammar_and_no_session(whole: tuple[Project, str]) -> None:
    made, _ = whole
    (log,) = made.logs()
    lines = assert_grammar(log.read_text())
    assert log.name.startswith("training_2")
    assert len(log.name) == len("training_YYYYmmdd_HHMMSS.log")
    assert f"✅ SUCCESS: The adapter in {made.run_dir}/adapter is verified" in lines
    assert lines[-1] == "[TRAINING-H100] A rehearsal: here the pod would be stopped"
    assert made.record()["exit_code"] == 0
    assert not made.in_tmux()


def test_trainer_knows_the_command_that_goes_on_with_the_run(whole: tuple[Project, str]) -> None:
    made, _ = whole
    command = json.loads((made.run_dir / "status.json").read_text())["command"]
    assert command.startswith(f"'{made.folder}/train_h100_runpod.sh' --config ")
    assert command.endswith("--rehearse --auto-stop-pod --hourly-rate 2.69")


def look_into_the_session(here: Project) -> str:
    """Attach with a terminal of one's own, read what it shows, and close that terminal."""
    master, slave = pty.openpty()
    client = subprocess.Popen(
        ["tmux", "attach", "-t", SESSION], env={**here.environ, "TERM": "xterm"}, stdin=slave, stdout=slave,
        stderr=slave, start_new_session=True,
    )  # fmt: skip
    os.close(slave)
    os.set_blocking(master, False)
    shown = bytearray()

    def shows_steps() -> bool:
        with contextlib.suppress(BlockingIOError):
            shown.extend(os.read(master, 2**16))
        return b"step " in shown

    wait_for(shows_steps)
    client.send_signal(signal.SIGHUP)
    os.close(master)
    client.wait(30)
    return shown.decode("utf-8", "replace")


def test_hangup_detach_kill_and_resume(here: Project) -> None:
    """The terminal closes in the middle of the watch; training goes on; it is killed; the same command resumes."""
    more = ("--set", "max_steps=90", "--set", "save_steps=4")
    master, slave = pty.openpty()
    launcher = subprocess.Popen(
        here.command(*more), cwd=here.root, env=here.environ, stdin=slave, stdout=slave, stderr=slave,
        start_new_session=True,
    )  # fmt: skip
    os.close(slave)
    wait_for(lambda: here.last_step() >= 1)
    launcher.send_signal(signal.SIGHUP)
    os.close(master)
    assert launcher.wait(30) != 0
    seen = here.last_step()
    wait_for(lambda: here.last_step() > seen + 2)
    assert "step " in look_into_the_session(here)
    seen = here.last_step()
    wait_for(lambda: here.last_step() > seen)

    again = here.run(*more)
    assert again.returncode == 1
    lines = assert_grammar(again.stdout)
    assert lines[-1] == (
        f"❌ ERROR: training already runs in the tmux session {SESSION}; nothing was started. "
        f"Hint: tmux attach -t {SESSION}"
    )
    assert f"[TRAINING-H100] Log: tail -f '{here.logs()[0]}'" in lines
    assert len(here.events("start")) == 1

    trainer = here.record()["trainer_pid"]
    os.kill(trainer, signal.SIGKILL)
    wait_for(lambda: here.record()["exit_code"] == 1)
    assert here.record()["cause"] == "the trainer was killed by SIGKILL (out of memory, or kill -9)"
    wait_for(lambda: not here.in_tmux())
    saved = max(int(path.name.split("-")[1]) for path in here.run_dir.glob("checkpoint-*"))
    resumed = here.run(*more)
    assert resumed.returncode == 0, resumed.stdout
    assert RESUMED.format(saved) in assert_grammar(resumed.stdout)
    assert here.last_step() == 90
    other = here.run("--set", f"output_dir={here.run_dir}", *more, "--set", "seed=7")
    assert other.returncode == 1
    assert "seed was 42 and is now 7." in other.stdout
    finished = here.run("--set", f"output_dir={here.run_dir}", *more)
    assert finished.returncode == 0
    assert finished.stdout.splitlines()[-1].startswith("✅ SUCCESS: This run is finished; its adapter is in ")


def test_three_crashes_at_one_step_are_exit_2_and_the_exact_message(here: Project) -> None:
    from safetensors.numpy import load_file, save_file

    weights = here.config.parent / "model" / "model.safetensors"
    tensors = load_file(weights)
    tensors["model.norm.weight"][0] = float("nan")
    save_file(tensors, weights, metadata={"format": "pt"})
    done = here.run("--restarts", "5", WEATHERMAN_REHEARSAL_MODEL=str(weights.parent))
    assert done.returncode == 2, done.stdout
    lines = assert_grammar(done.stdout)
    assert lines[-1].startswith(
        f"❌ ERROR: Crash loop detected: 3 starts in a row of {here.run_dir} ended before step 1 was complete. "
        "The last failure said: "
    )
    restarts = [line for line in lines if line.startswith("⚠️ WARNING: Training failed: ")]
    assert [line.split(" Restart ")[1] for line in restarts] == ["1 of 5.", "2 of 5.", "3 of 5."]
    assert len(here.events("start")) == 3
    assert here.record()["exit_code"] == 2
    assert not here.in_tmux()
    once_more = here.run()
    assert once_more.returncode == 2
    assert once_more.stdout.splitlines()[-1].startswith("❌ ERROR: Crash loop detected")


def test_failing_preflight_starts_nothing(here: Project) -> None:
    done = here.run("--set", "train_file=nowhere.jsonl")
    assert done.returncode == 1
    lines = assert_grammar(done.stdout)
    assert any(line.startswith("❌ ERROR: train_file nowhere.jsonl is missing or empty") for line in lines)
    assert lines[-1] == "❌ ERROR: Preflight failed; nothing was started. Hint: see above."
    assert not here.in_tmux()
    assert not here.logs()
    assert not here.run_dir.exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--config", "nowhere.yaml"], "❌ ERROR: there is no file nowhere.yaml."),
        (["--config"], "❌ ERROR: Option '--config' requires an argument."),
        (["--set", "lora_r=4096"], "❌ ERROR: --set lora_r=4096 is not allowed; allowed: a whole number from 8 to 64."),
        (["--no-such-option"], "❌ ERROR: No such option: --no-such-option"),
        (["--restarts", "-1"], "❌ ERROR: Invalid value for '--restarts'"),
    ],
)
def test_wrong_words_are_exit_1_and_start_nothing(here: Project, words: list[str], says: str) -> None:
    done = here.run_words([str(here.folder / "train_h100_runpod.sh"), "--rehearse", *words])
    assert done.returncode == 1
    lines = assert_grammar(done.stdout)
    assert lines[0].startswith(says), lines
    assert done.stderr == ""
    assert not (here.folder / "logs").exists()


def test_data_that_cannot_be_read_starts_nothing(here: Project) -> None:
    with (here.config.parent / "train.jsonl").open("a") as file:
        file.write('{"messages": \x1b[2J\n')
    done = here.run()
    assert done.returncode == 1
    assert_grammar(done.stdout)
    assert "train.jsonl:23" in done.stdout
    assert not here.in_tmux()
    assert not here.logs()


def test_auto_stop_pod_elsewhere_is_refused_at_once(here: Project) -> None:
    words = [str(here.folder / "train_h100_runpod.sh"), "--config", str(here.config), "--auto-stop-pod"]
    done = here.run_words(words, WEATHERMAN_ENV=str(here.folder / ".venv"), RUNPOD_POD_ID=FORGED)
    assert done.returncode == 1
    (line,) = assert_grammar(done.stdout)
    assert line.startswith("❌ ERROR: --auto-stop-pod works on a RunPod pod only")


def test_log_that_cannot_be_written_starts_nothing(here: Project) -> None:
    (here.folder / "logs").write_text("in the way")
    done = here.run()
    assert done.returncode == 1
    assert assert_grammar(done.stdout)[-1].startswith(f"❌ ERROR: the log {here.folder}/logs/training_")
    assert not here.in_tmux()


def test_without_tmux_it_trains_in_the_background_and_stops_saved(here: Project, tmp_path: Path) -> None:
    done = here.run("--no-watch", "--set", "max_steps=100000", PATH=without_tmux(tmp_path))
    assert done.returncode == 0, done.stdout
    lines = assert_grammar(done.stdout)
    assert "⚠️ WARNING: tmux is not here: training runs in the background instead (setsid nohup)." in lines
    pid = here.record()["pid"]
    assert f"[TRAINING-H100] Stop, saved: kill {pid}" in lines
    assert os.getsid(pid) == pid
    wait_for(lambda: here.last_step() >= 1)
    os.kill(pid, signal.SIGHUP)  # nohup: it is not even noticed
    seen = here.last_step()
    wait_for(lambda: here.last_step() > seen + 2)
    refused = here.run()
    assert refused.returncode == 1
    assert f"training already runs (process {pid}); nothing was started." in refused.stdout.splitlines()[-1]
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: here.record()["exit_code"] is not None)
    assert here.record()["exit_code"] == 143
    assert (here.run_dir / f"checkpoint-{here.last_step()}" / "manifest.json").is_file()


def test_tmux_that_is_broken_is_told_and_done_without(here: Project, tmp_path: Path) -> None:
    stand_in(tmp_path / "bin", "tmux", "echo 'no server' >&2; exit 1")
    path = f"{tmp_path / 'bin'}:{here.environ['PATH']}"
    done = here.run("--no-watch", "--set", "max_steps=2000", PATH=path)
    assert done.returncode == 0, done.stdout
    warning = f"⚠️ WARNING: tmux cannot start the session {SESSION}: no server. Training runs in the background instead"
    assert any(line.startswith(warning) for line in assert_grammar(done.stdout))
    assert here.record()["how"] == "background"


@pytest.mark.slow
def test_foreground_shows_the_log_and_gives_the_trainers_code(here: Project) -> None:
    process = here.start("--foreground", "--set", "max_steps=2000")
    wait_for(lambda: here.last_step() >= 1, process)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=600)
    assert process.returncode == 130, printed
    lines = assert_grammar(printed)
    assert any(line.startswith("[TRAINING-DEMO] step 1/2000 ") for line in lines)
    assert any(line.startswith("⚠️ WARNING: Stopped by a signal after step ") for line in lines)
    assert not here.in_tmux()


@pytest.mark.slow
def test_ctrl_c_ends_the_watch_and_not_the_training(here: Project) -> None:
    process = here.start("--set", "max_steps=2000")
    wait_for(lambda: here.last_step() >= 1, process)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=600)
    assert process.returncode == 0
    assert assert_grammar(printed)[-1] == "⚠️ WARNING: No longer watching; training goes on by itself."
    seen = here.last_step()
    wait_for(lambda: here.last_step() > seen)
    here.tmux("kill-session", "-t", SESSION)  # the stop that is printed: saved
    wait_for(lambda: here.record()["exit_code"] == 129)
    assert (here.run_dir / f"checkpoint-{here.last_step()}" / "manifest.json").is_file()


@pytest.mark.slow
def test_hundred_good_steps_end_the_watch(here: Project) -> None:
    done = here.run("--set", "max_steps=5000", "--hourly-rate", "3")
    assert done.returncode == 0, done.stdout
    lines = assert_grammar(done.stdout)
    assert lines[-1].startswith("✅ SUCCESS: The first 10")
    assert lines[-1].endswith("training goes on by itself")
    assert any(" steps are left: about " in line for line in lines)
    assert any(" = $3.00 an hour x " in line for line in lines)
    assert here.in_tmux()


@pytest.mark.slow
def test_unreachable_wandb_stops_nothing(here: Project) -> None:
    done = here.run(
        "--set", "report_to=wandb", WANDB_API_KEY="0" * 40, WANDB_BASE_URL="http://127.0.0.1:9", WANDB_SILENT="true"
    )
    assert done.returncode == 0, done.stdout
    lines = assert_grammar(done.stdout)
    assert any(line.startswith("⚠️ WARNING: W&B runs offline: http://127.0.0.1:9 cannot be reached") for line in lines)
    assert any(line.startswith("[TRAINING-H100] wandb: no page for this run") for line in lines)
    assert "0" * 40 not in done.stdout + here.logs()[0].read_text()


@pytest.mark.slow
def test_session_that_is_killed_is_told_and_the_trainer_lives(here: Project) -> None:
    process = here.start("--set", "max_steps=5000")
    wait_for(lambda: here.last_step() >= 1, process)
    os.kill(here.record()["pid"], signal.SIGKILL)
    printed, _ = process.communicate(timeout=600)
    assert process.returncode == 1
    trainer = here.record()["trainer_pid"]
    assert f"the trainer (process {trainer}) goes on alone" in assert_grammar(printed)[-1]
    seen = here.last_step()
    wait_for(lambda: here.last_step() > seen)
    again = here.run("--set", f"output_dir={here.run_dir}", "--set", "max_steps=5000")
    assert again.returncode == 1
    assert f"a trainer already works in {here.run_dir} (process {trainer})" in again.stdout.splitlines()[-1]
    os.kill(trainer, signal.SIGKILL)
    time.sleep(0.2)
