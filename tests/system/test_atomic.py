from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from run_folders import ERRORS, failing_call, names
from weatherman.system.atomic import fsync_folder, read_json_object, to_json, write_atomic, write_json


@pytest.mark.parametrize("number", ERRORS)
def test_old_or_new_but_never_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    path = tmp_path / "a.json"
    nth = num_calls = num_failed = 0
    while num_calls >= nth:
        nth += 1
        write_atomic(path, b"old")
        with failing_call(monkeypatch, nth, number) as calls:
            try:
                write_atomic(path, b"new")
                failed = None
            except OSError as problem:
                failed = problem.errno
        num_calls = len(calls)
        num_failed += failed is not None
        assert failed in (None, number)
        assert failed or path.read_bytes() == b"new"
        assert path.read_bytes() in (b"old", b"new")
        assert names(tmp_path) == ["a.json"]
    assert num_failed >= 5


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:3]))
    write_atomic(tmp_path / "a", b"0123456789")
    assert (tmp_path / "a").read_bytes() == b"0123456789"


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "a.json").symlink_to(tmp_path / "mine")
    write_json(tmp_path / "a.json", {"x": 1})
    assert (tmp_path / "mine").read_text() == "mine"
    assert not (tmp_path / "a.json").is_symlink()


def test_folder_fsync_may_be_unsupported_but_not_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    number = errno.EINVAL

    def refuse(fd: int) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(os, "fsync", refuse)
    fsync_folder(tmp_path)
    number = errno.EIO
    with pytest.raises(OSError, match="no"):
        fsync_folder(tmp_path)


def test_json_is_strict_and_stable() -> None:
    value = {"b": float("nan"), "a": [float("inf"), 1.5, "é\ud800\u2028"], "c": (1, None, True)}
    text = to_json(value)
    assert text == to_json(dict(reversed(value.items())))
    assert json.loads(text, parse_constant=pytest.fail)["b"] is None
    assert text.isascii()
    assert text.endswith(b"}\n")


@given(st.binary(max_size=100))
def test_reader_gives_an_object_or_an_error_it_names(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.json"
    path.write_bytes(data)
    try:
        told: object = read_json_object(path, 90)
    except ValueError as problem:
        told = str(problem)
    assert isinstance(told, dict) or str(told).startswith("it is ")


def test_reader_does_not_hang_on_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="not a regular file"):
        read_json_object(tmp_path / "pipe", 10)
