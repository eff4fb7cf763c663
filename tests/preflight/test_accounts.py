"""W&B and the hub: what is said with a key or without, reachable or not; quick, and never a secret."""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path

import pytest

from machines import ROOT, TableProbe, assert_grammar, hub
from weatherman.preflight.accounts import check_accounts, check_hub, check_tracker
from weatherman.preflight.probe import SystemProbe, within
from weatherman.preflight.report import report
from weatherman.preflight.target import Target

SECRET = "hf_" + "SecretSecretSecretSecret1"
MODEL = "mistralai/Mistral-7B-Instruct-v0.3"
H100 = ROOT / "configs/training_config_h100.yaml"


@pytest.fixture(autouse=True)
def no_accounts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (
        "HF_TOKEN",
        "HUGGING_FACE_HUB_TOKEN",
        "HF_TOKEN_PATH",
        "HF_HUB_OFFLINE",
        "HF_HUB_CACHE",
        "WANDB_API_KEY",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def target(*overrides: str) -> Target:
    return Target("h100", H100, overrides, probe=SystemProbe())


@pytest.mark.parametrize("status", [200, 302, 307])
def test_access_is_proved_by_the_model_s_own_file(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    with hub(status) as (url, asked):
        monkeypatch.setenv("HF_ENDPOINT", url)
        finding = check_hub(target())
    assert finding.verdict == "ok"
    assert asked == [(f"/{MODEL}/resolve/main/config.json", f"Bearer {SECRET}")]


def test_the_revision_that_is_trained_is_the_one_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with hub(200) as (url, asked):
        monkeypatch.setenv("HF_ENDPOINT", url)
        check_hub(target("model_revision=v1"))
        check_hub(target("model_revision=null"))
    assert [path for path, _ in asked] == [f"/{MODEL}/resolve/{name}/config.json" for name in ("v1", "main")]


@pytest.mark.parametrize(
    ("status", "token", "words"),
    [
        (401, None, f"no hub token, and {MODEL} is gated"),
        (401, SECRET, "the hub refuses your token"),
        (403, SECRET, "its licence is not accepted yet"),
        (404, SECRET, f"the hub has no model {MODEL}"),
        (503, SECRET, "answered 503"),
    ],
)
def test_what_is_missing_is_named_with_page_and_variable(
    status: int, token: str | None, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with hub(status) as (url, _):
        monkeypatch.setenv("HF_ENDPOINT", url)
        finding = check_hub(target())
    assert finding.verdict == "fail"
    assert words in finding.message
    if status in (401, 403):
        assert f"https://huggingface.co/{MODEL}" in finding.fix
        assert "HF_TOKEN" in finding.fix
    report([finding])
    text = capsys.readouterr().out
    assert_grammar(text)
    assert SECRET not in text


def test_the_token_file_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text(SECRET + "\n")
    with hub(200) as (url, asked):
        monkeypatch.setenv("HF_ENDPOINT", url)
        assert check_hub(target()).verdict == "ok"
    assert asked[0][1] == f"Bearer {SECRET}"


def test_a_hub_that_cannot_be_reached_fails_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    finding = check_hub(target())
    assert finding.verdict == "fail"
    assert "cannot be reached" in finding.message


def test_a_server_that_accepts_and_is_silent_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weatherman.preflight.probe._HTTP_TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert check_hub(target()).verdict == "fail"


def test_a_question_that_is_never_answered_is_given_up() -> None:
    assert within(0.05, lambda: time.sleep(30)) is None
    assert within(5, lambda: 7) == 7


@pytest.mark.parametrize("model", ["smollm2-135m-instruct", str(ROOT)])
def test_models_on_this_machine_need_no_hub(model: str) -> None:
    probe = TableProbe()
    assert check_hub(Target("cpu", H100, (f"model_name_or_path={model}",), probe=probe)).verdict == "ok"
    assert probe.asked == []


def test_a_cached_model_needs_no_hub(tmp_path: Path) -> None:
    blobs = tmp_path / "hub" / "models--mistralai--Mistral-7B-Instruct-v0.3" / "blobs"
    blobs.mkdir(parents=True)
    with (blobs / "weights").open("wb") as file:
        file.truncate(2**31)
    probe = TableProbe(environ={"HF_HOME": str(tmp_path)})
    assert check_hub(Target("h100", H100, probe=probe)).verdict == "ok"
    assert probe.asked == []


def test_offline_mode_without_the_model_is_refused() -> None:
    probe = TableProbe(environ={"HF_HUB_OFFLINE": "1", "HF_HOME": "/nowhere"})
    assert check_hub(Target("h100", H100, probe=probe)).verdict == "fail"
    assert probe.asked == []


def test_without_a_wandb_key_the_run_goes_on_and_says_where_to_get_one() -> None:
    finding = check_tracker(target())
    assert finding.verdict == "warn"
    assert "no API key" in finding.message
    assert "https://wandb.ai/authorize" in finding.fix
    assert check_tracker(target("report_to=none")).verdict == "ok"


@pytest.mark.parametrize("kind", ["wandb", "trackio", "tensorboard"])
def test_a_missing_package_is_what_counts_and_is_told_rightly(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX" if kind == "tensorboard" else kind, None)
    finding = check_tracker(target(f"report_to={kind}"))
    assert (finding.code, finding.verdict) == ("accounts.tracker", "warn")
    assert f"report_to is {kind} and the package" in finding.message
    assert finding.fix.startswith("pip install ")
    assert "API key" not in finding.message
    before_setup = Target("h100", H100, (f"report_to={kind}",), before_setup=True)
    assert check_tracker(before_setup).code == ("accounts.wandb" if kind == "wandb" else "accounts.tracker")
    assert "not installed" not in check_tracker(before_setup).message


@pytest.mark.parametrize("by", ["environment", "netrc"])
def test_a_wandb_key_and_a_server_are_enough(by: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if by == "environment":
        monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    else:
        (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login user password {'k' * 40}\n")
    with hub(200) as (url, _):
        monkeypatch.setenv("WANDB_BASE_URL", url)
        assert check_tracker(target()).verdict == "ok"
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    assert "cannot be reached" in check_tracker(target()).message


def test_a_rehearsal_fails_for_no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    findings = list(check_accounts(Target("h100", H100, rehearse=True, probe=SystemProbe())))
    assert [finding.verdict for finding in findings] == ["unknown", "unknown"]
