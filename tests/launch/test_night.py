"""What a long run needs around it: a Mac's power and heat, a verified adapter, a pod that stops, a webhook, a rehearsal."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from launching import Receiver, serving, stand_in
from machines import Output, TableProbe
from weatherman.config.schema import TrainingConfig, load_config
from weatherman.errors import WeathermanError
from weatherman.launch import pod, power
from weatherman.launch.job import LaunchOptions, enter_project, same_command
from weatherman.launch.power import Health, check_power, thermal_state
from weatherman.launch.rehearsal import MODEL_VARIABLE, as_override, rehearsal_overrides
from weatherman.preflight.probe import SystemProbe
from weatherman.run import webhook
from weatherman.run.events import StatusFile

# As macOS 15 prints it, on mains and on the battery.
MAINS = """\
Now drawing from 'AC Power'
 -InternalBattery-0 (id=22020195)	80%; AC attached; not charging present: true
"""
BATTERY = """\
Now drawing from 'Battery Power'
 -InternalBattery-0 (id=22020195)	63%; discharging; 4:12 remaining present: true
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of stand-ins that comes first on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def test_mac_on_mains_and_cool_is_ok(programs: Path) -> None:
    stand_in(programs, "pmset", f"cat <<'END'\n{MAINS}END")
    stand_in(programs, "caffeinate", "exit 0")
    said = stand_in(programs, "osascript", "echo 1")
    found = {finding.code: finding for finding in check_power(SystemProbe())}
    assert {code: finding.verdict for code, finding in found.items()} == {
        "mac.power": "ok", "mac.caffeinate": "ok", "mac.heat": "ok",
    }  # fmt: skip
    assert found["mac.heat"].message == "the thermal state is fair"
    assert "thermalState" in said.read_text()


def test_mac_on_battery_and_hot_is_warned_of(programs: Path) -> None:
    stand_in(programs, "pmset", f"cat <<'END'\n{BATTERY}END")
    stand_in(programs, "osascript", "echo 3")
    found = {finding.code: finding for finding in check_power(SystemProbe())}
    assert found["mac.power"].verdict == "warn"
    assert "on its battery (63% left)" in found["mac.power"].message
    assert found["mac.heat"].message == "the thermal state is critical before training has begun"
    assert all(finding.fix for finding in found.values() if finding.verdict == "warn")


def test_what_cannot_be_known_is_not_ok(programs: Path) -> None:
    stand_in(programs, "osascript", "echo 'execution error' >&2; exit 1")
    assert [finding.verdict for finding in check_power(SystemProbe())] == ["unknown"] * 3


@pytest.mark.parametrize(("said", "state"), [("0", 0), ("3", 3), ("4", None), ("", None), ("nominal", None)])
def test_thermal_state(programs: Path, said: str, state: int | None) -> None:
    stand_in(programs, "osascript", f"echo {shlex.quote(said)}")
    assert thermal_state(SystemProbe()) == state


def test_keep_awake_names_the_process_and_warns_without_caffeinate(
    programs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = stand_in(programs, "caffeinate", "exit 0")
    started = power.keep_awake(4711)
    assert started is not None
    started.wait(10)
    assert said.read_text() == "-i -s -w 4711\n"
    monkeypatch.setenv("PATH", "/nowhere")
    assert power.keep_awake(4711) is None
    assert capsys.readouterr().out.startswith("⚠️ WARNING: caffeinate cannot be started")


class Clocks:
    """One that stands still in sleep, and one that does not."""

    def __init__(self) -> None:
        self.awake_s = self.all_s = 0.0

    def health(self) -> Health:
        return Health(SystemProbe(), awake_s=lambda: self.awake_s, all_s=lambda: self.all_s)

    def go(self, awake_s: float, asleep_s: float = 0.0) -> None:
        self.awake_s += awake_s
        self.all_s += awake_s + asleep_s


def test_sleep_is_noticed_and_a_slow_step_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    clocks = Clocks()
    health = clocks.health()
    clocks.go(40.0)
    health.poll()
    clocks.go(1.0, asleep_s=29.0)
    health.poll()
    assert capsys.readouterr().out == ""
    clocks.go(1.0, asleep_s=7200.0)
    health.poll()
    health.poll()
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("⚠️ WARNING: This machine slept for 2 h 00 min and did not train meanwhile.")


def test_heat_is_told_once_until_it_is_over(programs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = programs / "state"
    stand_in(programs, "osascript", f"cat {shlex.quote(str(state))}")
    clocks = Clocks()
    health = clocks.health()
    lines = []
    for heat in (1, 2, 3, 1, 2):
        state.write_text(f"{heat}\n")
        clocks.go(60.0)
        health.poll()
        lines.append(capsys.readouterr().out.count("The Mac is hot (thermal state serious)"))
    assert lines == [0, 1, 0, 0, 1]


def test_thermal_state_that_cannot_be_known_is_asked_once(programs: Path) -> None:
    said = stand_in(programs, "osascript", "exit 1")
    clocks = Clocks()
    health = clocks.health()
    for _ in range(3):
        clocks.go(60.0)
        health.poll()
    assert len(said.read_text().splitlines()) == 1


def test_falling_throughput_is_told_with_advice_once(capsys: pytest.CaptureFixture[str]) -> None:
    health = Clocks().health()
    for speed in [100.0] * 40 + [50.0] * 60:
        health.see({"kind": "step", "tokens_per_s": speed})
    health.see({"kind": "checkpoint"})
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("⚠️ WARNING: Throughput fell to 50 tokens/s, 50% of this run's best. Hint: give it air")
    for speed in [100.0] * 20 + [60.0] * 20:
        health.see({"kind": "step", "tokens_per_s": speed})
    assert len(capsys.readouterr().out.splitlines()) == 1


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with what its verification reads: the adapter, and the checkpoint of the last step."""
    from safetensors.numpy import save_file

    from weatherman.checkpoints.checkpoint import save_checkpoint

    run = tmp_path_factory.mktemp("finished")
    import numpy as np

    weights = {"base_model.model.layers.0.lora_A.weight": np.ones((8, 16), np.float32)}

    def write(folder: Path) -> None:
        save_file(weights, folder / pod.WEIGHTS_FILE)
        (folder / pod.CONFIG_FILE).write_text("{}")

    save_checkpoint(run, 12, "f" * 32, write, keep=2, margin_bytes=0)
    (run / "adapter").mkdir()
    write(run / "adapter")
    return run


def test_adapter_is_verified_and_listed(finished: Path) -> None:
    assert pod.verify_adapter(finished) == [
        (name, (finished / "adapter" / name).stat().st_size) for name in (pod.CONFIG_FILE, pod.WEIGHTS_FILE)
    ]


@pytest.mark.parametrize("damage", ["missing", "config", "cut", "flipped", "no header", "empty", "folder"])
def test_damaged_adapter_is_refused(finished: Path, tmp_path: Path, damage: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    weights = run / "adapter" / pod.WEIGHTS_FILE
    data = weights.read_bytes()
    changed = {"cut": data[:-4], "flipped": data[:-1] + bytes([data[-1] ^ 1]), "no header": b"\xff" * 64}
    if damage == "folder":
        shutil.rmtree(run / "adapter")
    elif damage == "missing":
        weights.unlink()
    elif damage == "config":
        (run / "adapter" / pod.CONFIG_FILE).write_text("{")
    elif damage == "empty":
        (run / "adapter" / "README.md").write_text("")
    else:
        weights.write_bytes(changed[damage])
    with pytest.raises(WeathermanError, match="cannot be trusted") as refused:
        pod.verify_adapter(run)
    assert refused.value.code == "adapter.damaged"


def test_pod_is_stopped_by_the_newer_or_the_older_words(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNPOD_POD_ID", "abc123")
    said = stand_in(programs, "runpodctl", "exit 0")
    pod.stop_pod()
    assert said.read_text() == "pod stop abc123\n"
    said.unlink()
    stand_in(programs, "runpodctl", '[ "$1" = stop ] || { echo "unknown command" >&2; exit 1; }')
    pod.stop_pod()
    assert said.read_text() == "pod stop abc123\nstop pod abc123\n"
    stand_in(programs, "runpodctl", 'echo "not logged in" >&2; exit 1')
    with pytest.raises(WeathermanError, match="pod abc123 could not be stopped and still costs: not logged in"):
        pod.stop_pod()


@pytest.mark.parametrize("name", ["", "a b", "x\n✅ SUCCESS: forged", "$(reboot)", "a" * 65])
def test_pod_id_that_is_none_is_refused(programs: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    stand_in(programs, "runpodctl", "exit 0")
    monkeypatch.setenv("RUNPOD_POD_ID", name)
    with pytest.raises(WeathermanError) as refused:
        pod.pod_id()
    assert refused.value.code == "launch.no-pod"


def test_pod_without_runpodctl_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNPOD_POD_ID", "abc123")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(WeathermanError) as refused:
        pod.pod_id()
    assert refused.value.code == "launch.no-runpodctl"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, type[Receiver]]]:
    monkeypatch.setattr(webhook, "_told", threading.Event())
    with serving() as (url, kind):
        yield url, kind


def test_webhook_is_sent_the_status(
    receiver: tuple[str, type[Receiver]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, kind = receiver
    monkeypatch.setenv(webhook.VARIABLE, f"{url}/hook")
    StatusFile(tmp_path, 1).write(state="running", step=7, total=9, message="a secret: " + f"{url}/hook")
    webhook.notify(tmp_path, "resume")
    (sent,) = kind.sent
    assert sent["event"] == "resume"
    assert (sent["status"]["state"], sent["status"]["step"], sent["status"]["total"]) == ("running", 7, 9)
    assert url not in json.dumps(sent)


def test_webhook_that_fails_is_told_once_without_its_address(
    receiver: tuple[str, type[Receiver]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    url, _ = receiver
    StatusFile(tmp_path, 1).write(state="running")
    for address in (
        f"{url}/broken",
        "http://127.0.0.1:9/none",
        "file:///etc/passwd",
        "http://[",
        "http://a b/",
        "nonsense",
    ):
        monkeypatch.setattr(webhook, "_told", threading.Event())
        monkeypatch.setenv(webhook.VARIABLE, address)
        webhook.notify(tmp_path, "start")
        webhook.notify(tmp_path, "end")
        (line,) = capsys.readouterr().out.splitlines()
        assert line.startswith("⚠️ WARNING: The webhook of WEATHERMAN_WEBHOOK failed (")
        assert address not in line


def test_webhook_that_hangs_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    monkeypatch.setattr(webhook, "_TIMEOUT_S", 0.1)
    monkeypatch.setattr(webhook, "_send", lambda *_: ended.wait(30))  # as a name that nobody looks up
    monkeypatch.setenv(webhook.VARIABLE, "http://127.0.0.1:9/")
    StatusFile(tmp_path, 1).write(state="running")
    began_s = time.monotonic()
    webhook.notify(tmp_path, "start")
    assert time.monotonic() - began_s < 20.0
    ended.set()


def test_no_webhook_reads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(webhook.VARIABLE, raising=False)
    monkeypatch.setattr(webhook, "read_status", None)
    webhook.notify(tmp_path / "nowhere", "start")


@pytest.mark.parametrize("name", ["h100", "m4", "demo"])
def test_rehearsal_of_every_shipped_configuration_is_a_valid_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MODEL_VARIABLE, raising=False)
    path = Path(__file__).parents[2] / "configs" / f"training_config_{name}.yaml"
    monkeypatch.chdir(path.parent.parent)
    real = load_config(path)
    config = load_config(path, rehearsal_overrides(real))
    assert config.model_name_or_path == "smollm2-135m-instruct"
    assert config.max_steps == 10
    assert config.effective_batch_size == 2
    assert config.output_dir.startswith(f"{real.output_dir}-rehearsal-2")
    assert config.platform == real.platform
    assert (config.lora_r, config.learning_rate, config.report_to) == (real.lora_r, real.learning_rate, real.report_to)
    assert Path(config.train_file).is_file()


def test_a_rehearsal_without_the_data_does_not_look_for_its_personas(tmp_path: Path) -> None:
    here = tmp_path / "here.jsonl"
    here.touch()
    own = TrainingConfig(personas=["pirate"], train_file=str(here), validation_file=str(here))
    assert not any(one.startswith("personas=") for one in rehearsal_overrides(own))
    gone = own.model_copy(update={"validation_file": str(tmp_path / "gone.jsonl")})
    assert "personas=[]" in rehearsal_overrides(gone)


@pytest.mark.parametrize(
    "text", ["plain", "with space", "12", "null", "[a]", 'say "x"', "a: b", "#c", "✅ é", "'", "\\n"]
)
def test_override_is_read_back_as_the_same_text(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("platform: demo\n")
    assert load_config(path, [as_override("run_name", text)]).run_name == text


def test_same_command_is_the_projects_script_with_what_was_given(tmp_path: Path) -> None:
    project = tmp_path / "my project"
    project.mkdir()
    options = LaunchOptions(
        "m4", config=Path("/c/x y.yaml"), overrides=("run_name=it's",), project=project, foreground=True, watch=False,
        auto_stop_pod=True, hourly_rate=2.5, restarts=3, rehearse=True, reset_crash_loop=True,
    )  # fmt: skip
    rest = [
        "--config", "/c/x y.yaml", "--set", "run_name=it's", "--foreground", "--no-watch", "--rehearse",
        "--auto-stop-pod", "--hourly-rate", "2.5", "--restarts", "3",
    ]  # fmt: skip
    assert shlex.split(same_command(options)) == ["weatherman", "launch", "--env", "m4", *rest]
    (project / "train_m4_local.sh").touch()
    assert shlex.split(same_command(options)) == [str(project / "train_m4_local.sh"), *rest]


def test_configuration_is_meant_from_the_callers_folder_else_from_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller, project = tmp_path / "caller", tmp_path / "my project"
    for folder in (caller, project):
        folder.mkdir()
    (caller / "mine.yaml").touch()
    for given, meant in (("mine.yaml", caller / "mine.yaml"), ("theirs.yaml", Path("theirs.yaml")), (None, None)):
        monkeypatch.chdir(caller)
        options = enter_project(LaunchOptions("h100", config=given and Path(given), project=Path("../my project")))
        assert options.config == (meant or Path("configs/training_config_h100.yaml"))
        assert Path.cwd() == project
    monkeypatch.chdir(caller)
    with pytest.raises(WeathermanError, match="cannot be entered"):
        enter_project(LaunchOptions("h100", project=Path("none")))


def test_low_power_mode_and_growing_swap_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    programs = {
        "pmset -g": Output(0, " lowpowermode         1\n"),
        "sysctl -n vm.swapusage": Output(0, "total = 2048.00M  used = 512.00M  free = 1536.00M  (encrypted)\n"),
    }
    probe = TableProbe(programs=programs)
    assert [one.verdict for one in check_power(probe) if one.code == "mac.low-power"] == ["warn"]
    now = [0.0]
    health = Health(probe, awake_s=lambda: now[0], all_s=lambda: now[0])
    programs["sysctl -n vm.swapusage"] = Output(0, "total = 4096.00M  used = 2560.00M  free = 1536.00M\n")
    for _ in range(3):
        now[0] += 61
        health.poll()
    assert capsys.readouterr().out.count("⚠️ WARNING: The Mac swaps: 2.0 GB more than when training began") == 1
    programs["pmset -g"] = Output(0, " lowpowermode         0\n")
    assert not [one for one in check_power(probe) if one.code == "mac.low-power"]
