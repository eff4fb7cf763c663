"""The checks: thresholds, formats of the tools they ask, and what they advise."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from machines import COMPUTES, GIB, ROOT, STUBS, TableProbe, assert_grammar, path_with
from weatherman.preflight import gpu as gpu_checks
from weatherman.preflight import mac, places, storage
from weatherman.preflight.environment import check_environment, version_key
from weatherman.preflight.finding import VERDICTS, Finding, as_rehearsal, count, exit_code
from weatherman.preflight.flash_attention import install, wheel_name
from weatherman.preflight.probe import Output, SystemProbe
from weatherman.preflight.report import report
from weatherman.preflight.runner import CHECKS, GROUPS, run_checks
from weatherman.preflight.target import Target

H100_ROW = "NVIDIA H100 80GB HBM3, 81559, 1, 550.54.15, 9.0"


def verdicts(findings: list[Finding]) -> dict[str, str]:
    return {finding.code: finding.verdict for finding in findings}


def stub_probe(monkeypatch: pytest.MonkeyPatch, stub: str) -> SystemProbe:
    monkeypatch.setenv("PATH", path_with(stub))
    return SystemProbe()


def gpu_target(row: str, cuda: str = "12.4", compute: str = COMPUTES) -> Target:
    programs = {
        "nvidia-smi --query-gpu": Output(0, row + "\n"),
        "nvidia-smi": Output(0, f"| Driver Version: 1   CUDA Version: {cuda}     |"),
        "-m weatherman.preflight.compute_test": Output(0, f"noise\n{compute}\n"),
    }
    return Target("h100", probe=TableProbe(programs=programs))


@pytest.mark.parametrize(
    ("gib", "kind"),
    [
        (0.0, "INSUFFICIENT"),
        (19.99, "INSUFFICIENT"),
        (20.0, "LOW"),
        (23.99, "LOW"),
        (24.0, "ADEQUATE"),
        (40.0, "ADEQUATE"),
        (69.99, "ADEQUATE"),
        (70.0, "EXCELLENT"),
        (79.6, "EXCELLENT"),
    ],
)
def test_gpu_memory_classes_are_half_open(gib: float, kind: str) -> None:
    assert gpu_checks.memory_class(int(gib * GIB)) == kind


@pytest.mark.parametrize(
    ("stub", "kind", "verdict", "driver"),
    [
        ("h100", "EXCELLENT", "ok", "ok"),
        ("a100_40gb", "ADEQUATE", "warn", "ok"),
        ("card_24gb", "LOW", "warn", "ok"),
        ("old_driver", "EXCELLENT", "ok", "fail"),
    ],
)
def test_recorded_gpus_are_classed(
    stub: str, kind: str, verdict: str, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = stub_probe(monkeypatch, stub)
    monkeypatch.setattr(gpu_checks, "check_compute", lambda *_: Finding("cuda.compute", "ok", "computes"))
    monkeypatch.setattr(gpu_checks, "torch_cuda_version", lambda: None)
    findings = list(gpu_checks.check_gpu(Target("h100", probe=probe)))
    found = {finding.code: finding for finding in findings}
    assert f"({kind})" in found["gpu.memory"].message
    assert found["gpu.memory"].verdict == verdict
    assert found["gpu.driver-cuda"].verdict == found["gpu.driver"].verdict == driver
    assert found["gpu.capability"].verdict == "ok"


def test_24_gb_card_reports_its_size_and_what_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = gpu_checks.read_gpus(stub_probe(monkeypatch, "card_24gb"))
    assert isinstance(gpus, list)
    finding = gpu_checks.check_memory(gpus[0])
    assert finding.message.startswith("NVIDIA GeForce RTX 4090: 23.99 GB of GPU memory (LOW)")
    assert "max_tokens_per_chunk=1024" in finding.fix


def test_no_gpu_fails_with_the_driver_s_words(monkeypatch: pytest.MonkeyPatch) -> None:
    (finding,) = gpu_checks.check_gpu(Target("h100", probe=stub_probe(monkeypatch, "no_gpu")))
    assert (finding.code, finding.verdict) == ("gpu.missing", "fail")
    assert "couldn't communicate with the NVIDIA driver" in finding.message
    assert "make train" in finding.fix


def test_no_nvidia_smi_at_all_fails_too() -> None:
    (finding,) = gpu_checks.check_gpu(Target("h100", probe=TableProbe()))
    assert (finding.code, finding.verdict) == ("gpu.missing", "fail")


@pytest.mark.parametrize(
    ("driver", "wheel", "verdict"),
    [
        ("525.60.13", "12.8", "ok"),
        ("525.60.12", "12.8", "fail"),
        ("550.54.15", "13.0", "fail"),
        ("580.65.06", "13.0", "ok"),
        ("580.65.06", "99.0", "unknown"),
    ],
)
def test_driver_is_compared_with_the_wheel_s_cuda(
    driver: str, wheel: str, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_checks, "torch_cuda_version", lambda: wheel)
    target = gpu_target(H100_ROW.replace("550.54.15", driver))
    assert verdicts(list(gpu_checks.check_gpu(target)))["gpu.driver"] == verdict


@pytest.mark.parametrize(
    ("compute", "verdict", "words"),
    [
        (COMPUTES, "ok", "PyTorch 2.8.0+cu128 with CUDA 12.8 computes on H100"),
        ('{"torch": "2.8.0", "cuda": null, "error": "Torch not compiled with CUDA enabled"}', "fail", "not compiled"),
        ('{"torch": "1.0", "cuda": "11.8", "name": "x", "worst_error": 0}', "fail", "too old"),
        ('{"torch": "2.8.0", "cuda": "12.8", "name": "x", "worst_error": 3.5}', "fail", "computes wrongly"),
        ("Segmentation fault", "fail", "died with exit code 0: Segmentation fault"),
    ],
)
def test_only_a_kernel_that_runs_proves_cuda(compute: str, verdict: str, words: str) -> None:
    findings = {finding.code: finding for finding in gpu_checks.check_gpu(gpu_target(H100_ROW, compute=compute))}
    assert findings["cuda.compute"].verdict == verdict
    assert words in findings["cuda.compute"].message


def test_what_nvidia_smi_does_not_tell_is_unknown() -> None:
    target = gpu_target("Odd GPU, 81559, [N/A], 550.54.15, [N/A]", cuda="N/A")
    found = verdicts(list(gpu_checks.check_gpu(target)))
    assert found["gpu.capability"] == found["gpu.driver-cuda"] == "unknown"


def test_old_capability_and_busy_memory_are_told() -> None:
    found = verdicts(list(gpu_checks.check_gpu(gpu_target("Tesla V100, 32768, 30000, 550.54.15, 7.0"))))
    assert found["gpu.capability"] == "fail"
    assert found["gpu.busy"] == "warn"


@given(st.text())
def test_any_row_is_read_or_refused_without_breaking(row: str) -> None:
    for finding in gpu_checks.check_gpu(gpu_target(row)):
        assert finding.verdict in VERDICTS


def test_the_compute_test_really_computes() -> None:
    command = [sys.executable, "-m", "weatherman.preflight.compute_test", "cpu"]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert found["name"] == "cpu"
    assert found["worst_error"] < 1e-3


@pytest.mark.parametrize(
    ("stub", "expected"),
    [
        ("m4_16gb", {"mac.chip": "ok", "mac.memory": "warn"}),
        ("m4_32gb", {"mac.chip": "ok", "mac.memory": "ok"}),
        ("intel_mac", {"mac.chip": "fail"}),
        ("h100", {"mac.chip": "fail"}),
    ],
)
def test_recorded_macs(stub: str, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    probe = stub_probe(monkeypatch, stub)
    monkeypatch.setattr(mac, "check_compute", lambda *_: Finding("mps.compute", "ok", "computes"))
    found = verdicts(list(mac.check_mac(Target("m4", probe=probe))))
    found.pop("mps.compute", None)
    assert found == expected


def test_a_16_gb_mac_is_told_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = mac.check_memory(stub_probe(monkeypatch, "m4_16gb"))
    assert "a 7B base in bfloat16 (13.5 GB) does not fit beside macOS, in 4 bits it does" in finding.message
    assert "configs/training_config_m4_16gb.yaml" in finding.fix


@pytest.mark.parametrize(("gib", "verdict"), [(15.99, "fail"), (16, "warn"), (31.99, "warn"), (32, "ok")])
def test_unified_memory_thresholds(gib: float, verdict: str) -> None:
    probe = TableProbe(programs={"sysctl -n hw.memsize": Output(0, f"{int(gib * GIB)}\n")})
    assert mac.check_memory(probe).verdict == verdict
    assert mac.check_memory(TableProbe()).verdict == "unknown"


def test_a_translated_python_is_refused() -> None:
    programs = {
        "system_profiler": Output(0, "      Chip: Apple M4 Max\n"),
        "sysctl -n sysctl.proc_translated": Output(0, "1\n"),
        "sysctl -n hw.memsize": Output(0, str(64 * GIB)),
    }
    found = verdicts(list(mac.check_mac(Target("m4", probe=TableProbe(programs=programs)))))
    assert found["mac.rosetta"] == "fail"


def storage_target(platform: str, free: dict[str, float], **kwargs: object) -> Target:
    probe = TableProbe(free_gb=free, volumes={"/": "/", "/vol": "/vol", "/cache": "/cache"}, **kwargs)  # type: ignore[arg-type]
    overrides = ("output_dir=/vol/runs",)
    return Target(platform, ROOT / "configs/training_config_h100.yaml", overrides, probe=probe)  # type: ignore[arg-type]


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "installed_version", lambda _: None)


@pytest.mark.usefixtures("nothing_installed")
@pytest.mark.parametrize(
    ("platform", "free", "verdict"),
    [
        ("h100", 49.9, "fail"),
        ("h100", 50.0, "ok"),
        ("m4", 19.9, "fail"),
        ("m4", 20.0, "warn"),
        ("m4", 29.9, "warn"),
        ("m4", 30.0, "ok"),
        ("cpu", 2.9, "fail"),
        ("cpu", 3.3, "warn"),
        ("cpu", 20.0, "ok"),
    ],
)
def test_storage_thresholds_with_everything_on_one_volume(platform: str, free: float, verdict: str) -> None:
    environ = {"HF_HOME": "/vol/hf", "WEATHERMAN_ENV": "/vol/env"}
    findings = list(storage.check_storage(storage_target(platform, {"/vol": free}, environ=environ)))
    assert verdicts(findings) == {"storage.run": verdict}
    assert "checkpoints" in findings[0].message
    assert "model" in findings[0].message


@pytest.mark.usefixtures("nothing_installed")
def test_each_volume_is_judged_by_what_goes_there() -> None:
    environ = {"HF_HOME": "/cache/hf", "WEATHERMAN_ENV": "/env"}
    target = storage_target("h100", {"/": 10.0, "/vol": 30.0, "/cache": 14.9}, environ=environ)
    found = verdicts(list(storage.check_storage(target)))
    assert found == {"storage.run": "ok", "storage.model": "fail", "storage.environment": "ok"}


@pytest.mark.usefixtures("nothing_installed")
def test_a_model_that_is_there_needs_no_more_space(tmp_path: Path) -> None:
    blobs = tmp_path / "hub/models--mistralai--Mistral-7B-Instruct-v0.3/blobs"
    blobs.mkdir(parents=True)
    with (blobs / "weights").open("wb") as file:
        file.truncate(14 * GIB)
    environ = {"HF_HOME": str(tmp_path), "WEATHERMAN_ENV": "/env"}
    target = storage_target("h100", {"/": 10.0, "/vol": 25.0}, environ=environ)
    assert verdicts(list(storage.check_storage(target))) == {"storage.run": "warn", "storage.environment": "ok"}


def test_space_that_cannot_be_read_is_unknown() -> None:
    findings = list(storage.check_storage(storage_target("cpu", {})))
    assert {finding.verdict for finding in findings} == {"unknown"}


def test_on_a_pod_the_run_must_be_on_the_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "WORKSPACE", Path("/vol"))
    environ = {"RUNPOD_POD_ID": "x1", "HF_HOME": "/cache/hf"}
    free = {"/": 100.0, "/vol": 100.0, "/cache": 100.0}
    target = storage_target("h100", free, environ=environ)
    assert verdicts(list(storage.check_storage(target)))["storage.volume"] == "ok"
    elsewhere = Target("h100", target.config, ("output_dir=/root/runs",), probe=target.probe)
    found = {finding.code: finding for finding in storage.check_storage(elsewhere)}
    assert found["storage.volume"].verdict == "fail"
    assert "lost when the pod stops" in found["storage.volume"].message
    monkeypatch.setattr(places, "WORKSPACE", Path("/nowhere"))
    assert verdicts(list(storage.check_storage(target)))["storage.volume"] == "warn"


def test_the_environment_that_runs_the_tests_is_supported() -> None:
    findings = list(check_environment(Target("cpu", probe=SystemProbe())))
    assert exit_code(findings) == 0
    assert {"environment.python", "environment.torch", "environment.peft"} <= verdicts(findings).keys()


def test_old_python_and_missing_packages_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weatherman.preflight.environment.installed_version", lambda name: {"torch": "2.5.1"}.get(name))
    findings = list(check_environment(Target("h100", probe=TableProbe(python_version=(3, 9, 6)))))
    found = verdicts(findings)
    assert found["environment.python"] == found["environment.torch"] == found["environment.missing"] == "fail"
    assert found["environment.flash-attn"] == "warn"
    assert all("./setup_runpod_h100.sh" in one.fix for one in findings if one.code == "environment.missing")


def test_versions_compare_by_number() -> None:
    assert version_key("2.13.0+cpu") == (2, 13, 0)
    assert version_key("2.13.0") > version_key("2.6") > version_key("2.6rc1"[:1])
    assert version_key("") == ()


def test_a_check_that_breaks_is_a_finding_and_the_others_are_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(target: Target) -> None:
        raise RuntimeError("oh")

    monkeypatch.setitem(CHECKS, "storage", broken)
    findings = list(run_checks(Target("cpu", probe=TableProbe()), ("storage", "accounts")))
    assert findings[0].code == "storage.broken"
    assert findings[0].verdict == "fail"
    assert len(findings) > 1


def test_a_rehearsal_turns_what_the_platform_lacks_into_unknown() -> None:
    findings = list(run_checks(Target("h100", rehearse=True, probe=TableProbe()), ("machine",)))
    assert [finding.verdict for finding in findings] == ["unknown"]
    assert exit_code(findings) == 0
    assert as_rehearsal(Finding("a", "ok", "b")).verdict == "ok"


def test_unknown_is_never_counted_as_ok(capsys: pytest.CaptureFixture[str]) -> None:
    findings = [Finding("a", "ok", "fine"), Finding("b", "unknown", "who knows"), Finding("c", "warn", "hm", "do it")]
    assert report(findings) == 0
    text = capsys.readouterr().out
    assert_grammar(text)
    assert text.splitlines() == [
        "✅ SUCCESS: fine",
        "⚠️ WARNING: Cannot know here: who knows",
        "⚠️ WARNING: hm. Hint: do it",
        "[PREFLIGHT] 1 ok, 1 warnings, 0 failed, 1 cannot be known here",
    ]
    assert count(findings) == {"ok": 1, "warn": 1, "fail": 0, "unknown": 1}


def test_json_names_code_verdict_message_and_fix(capsys: pytest.CaptureFixture[str]) -> None:
    assert report([Finding("a.b", "fail", "bad\x1b[2J\nline", "mend")], as_json=True) == 1
    text = capsys.readouterr().out
    assert json.loads(text) == {
        "verdict": "fail",
        "counts": {"ok": 0, "warn": 0, "fail": 1, "unknown": 0},
        "findings": [{"code": "a.b", "verdict": "fail", "message": "bad\x1b[2J\nline", "fix": "mend"}],
    }
    assert "\x1b" not in text


def test_hostile_names_cannot_forge_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    row = "Evil\x1b[2K\r✅ SUCCESS: all is well, 81559, 1, 550.54.15, 9.0"
    report(gpu_checks.check_gpu(gpu_target(row)))
    assert_grammar(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("output_dir: runs/x # here", "runs/x"),
        ('output_dir: "runs/a b"', "runs/a b"),
        ("output_dir: 'runs/#1'", "runs/#1"),
        ("# output_dir: no\n", "runs/run"),
        ("other: 1\noutput_dir:\n", "runs/run"),
    ],
)
def test_settings_are_read_without_a_yaml_reader(text: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    target = Target("cpu", path, probe=TableProbe())
    assert places.setting(target, "output_dir") == expected
    assert places.setting(Target("cpu", path, ("output_dir=z",), probe=TableProbe()), "output_dir") == "z"


def test_the_platform_is_the_configuration_s_else_the_machine_s(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, platform in (("h100", "h100"), ("m4", "m4"), ("demo", "cpu")):
        assert places.platform_of(ROOT / f"configs/training_config_{name}.yaml", TableProbe()) == platform
    for stub, platform in (("h100", "h100"), ("m4_32gb", "m4"), ("conda", "cpu")):
        assert places.platform_of(None, stub_probe(monkeypatch, stub)) == platform


def test_probe_never_raises(tmp_path: Path) -> None:
    probe = SystemProbe()
    assert probe.run(["/nonexistent/program"]) is None
    assert probe.run(["sleep", "20"], timeout_s=0.1) is None
    assert probe.run(["bash", "-c", "echo out; echo err >&2; exit 3"]) == Output(3, "out\nerr\n")
    assert probe.http_status("http://127.0.0.1:9/x") is None
    assert probe.http_status("nonsense") is None
    missing = tmp_path / "a" / "b"
    assert probe.free_bytes(missing) == pytest.approx(probe.free_bytes(tmp_path), rel=0.2)
    assert probe.volume(missing) == probe.volume(tmp_path)


def test_wheel_names_are_those_of_the_releases() -> None:
    assert wheel_name("2.8.0+cu128", "12.8", True, (3, 11)) == (
        "flash_attn-2.8.3+cu12torch2.8cxx11abiTRUE-cp311-cp311-linux_x86_64.whl"
    )


def test_flash_attention_takes_a_wheel_or_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weatherman.preflight.flash_attention.installed_version", lambda _: None)
    facts = {"-c import json, torch": Output(0, '["2.8.0+cu128", "12.8", true, true]\n')}
    assert "no wheel" in install(TableProbe(programs=facts, statuses={"github.com": 404}), 0)
    assert "not asked for" in install(TableProbe(programs=facts, statuses={"github.com": 404}), 0)
    assert "cannot be reached" in install(TableProbe(programs=facts), 0)
    assert "did not end within 7 minutes" in install(TableProbe(programs=facts, statuses={"github.com": 404}), 7)
    works = {**facts, "-m pip install": Output(0, ""), "-c import torch; from flash_attn": Output(0, "")}
    assert install(TableProbe(programs=works, statuses={"github.com": 302}), 0) == ""
    assert "finds no CUDA" in install(TableProbe(programs={"-c import json": Output(0, '["2", null, true, false]')}), 0)
    assert install(TableProbe(), 0) == "PyTorch cannot be imported"


def test_every_group_has_its_stand_in_folder_of_programs() -> None:
    assert GROUPS == ("environment", "machine", "storage", "config", "accounts")
    assert {path.name for path in STUBS.iterdir()} >= {"h100", "a100_40gb", "card_24gb", "no_gpu", "old_driver"}
