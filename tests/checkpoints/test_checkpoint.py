from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from run_folders import ERRORS, RUN_ID, failing_call, names, save, writer
from weatherman.checkpoints import checkpoint as module
from weatherman.checkpoints.checkpoint import (
    clean_staging,
    list_checkpoints,
    newest_verified,
    save_checkpoint,
    verify_checkpoint,
)
from weatherman.errors import WeathermanError
from weatherman.system.atomic import to_json

FILES = ("adapter_model.safetensors", "optimizer.safetensors", "state.json")


def test_manifest_names_every_file_with_size_and_hash(tmp_path: Path) -> None:
    path = save(tmp_path, 7)
    manifest = json.loads((path / "manifest.json").read_text())
    assert path.name == "checkpoint-7"
    assert (manifest["format_version"], manifest["run_id"], manifest["step"]) == (1, RUN_ID, 7)
    assert manifest["files"] == {
        name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name in FILES
        for data in [(path / name).read_bytes()]
    }
    assert names(tmp_path) == ["checkpoint-7"]
    assert verify_checkpoint(path, RUN_ID).step == 7


@pytest.mark.skipif(sys.platform != "linux", reason="names open files through /proc")
def test_order_of_calls_survives_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    real_fsync, real_rename, real_replace = os.fsync, os.rename, os.replace

    def fsync(fd: int) -> None:
        log.append(f"fsync {Path(f'/proc/self/fd/{fd}').readlink().name}")
        real_fsync(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", lambda a, b: (log.append(f"rename {Path(b).name}"), real_rename(a, b))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (log.append(f"rename {Path(b).name}"), real_replace(a, b))[1])
    save(tmp_path, 1)
    staging = f".staging-1-{os.getpid()}"
    assert log[:3] == [f"fsync {name}" for name in FILES]
    assert log[3].startswith("fsync .manifest.json.")
    assert log[4:6] == ["rename manifest.json", f"fsync {staging}"]
    assert log[-2:] == ["rename checkpoint-1", f"fsync {tmp_path.name}"]


def test_deletion_takes_the_manifest_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)

    def stop(path: Path) -> None:
        raise OSError(errno.EIO, "stopped here")

    monkeypatch.setattr(module.shutil, "rmtree", lambda path, ignore_errors=False: ignore_errors or stop(path))
    save(tmp_path, 3)
    left = tmp_path / f".deleting-1-{os.getpid()}"
    assert names(left) == sorted(FILES)
    monkeypatch.undo()
    clean_staging(tmp_path)
    assert names(tmp_path) == ["checkpoint-2", "checkpoint-3"]


@pytest.mark.parametrize(("keep", "expected"), [(1, [5, 4]), (2, [5, 4]), (3, [5, 4, 3])])
def test_retention_keeps_the_newest(tmp_path: Path, keep: int, expected: list[int]) -> None:
    for step in range(1, 6):
        save(tmp_path, step, keep)
    assert [step for step, _ in list_checkpoints(tmp_path)] == expected
    assert len(names(tmp_path)) == len(expected)


def test_retention_does_not_count_a_damaged_one(tmp_path: Path) -> None:
    save(tmp_path, 1)
    flip(save(tmp_path, 2) / "state.json")
    save(tmp_path, 3)
    assert [step for step, _ in list_checkpoints(tmp_path)] == [3, 2, 1]
    save(tmp_path, 4)
    assert [step for step, _ in list_checkpoints(tmp_path)] == [4, 3]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def unlink(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def other_step(path: Path) -> None:
    shutil.copy(path.parent.parent / "checkpoint-1" / path.name, path)


def symlink(path: Path) -> None:
    target = path.parent.parent / f"elsewhere-{path.name}"
    path.rename(target)
    path.symlink_to(target)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("damage", [unlink, empty, truncate, flip, other_step, symlink, folder, pipe])
@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_damage_falls_back_to_the_one_before(
    tmp_path: Path, name: str, damage: object, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path, 1)
    bad = save(tmp_path, 2)
    damage(bad / name)
    found, moved = newest_verified(tmp_path, RUN_ID)
    assert found is not None
    assert found.step == 1
    assert [one.name for one in moved] == ["checkpoint-2"]
    assert moved[0].path == tmp_path / "quarantine" / "checkpoint-2"
    assert moved[0].path.is_dir()
    out = capsys.readouterr().out
    assert out.startswith("⚠️ WARNING: checkpoint-2 cannot be used: ")
    assert out.count("\n") == 1
    assert not bad.exists()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"step": 3}, "its manifest is that of step 3"),
        ({"step": True}, "step is wrong or missing"),
        ({"step": -2}, "impossible"),
        ({"run_id": "other"}, "it belongs to another run (other)"),
        ({"format_version": 2}, "its format 2 is not 1"),
        ({"files": {}}, "names no files"),
        ({"files": {"../state.json": {"size": 1, "sha256": "0" * 64}}}, "not a plain file name"),
        ({"files": {"/etc/passwd": {"size": 1, "sha256": "0" * 64}}}, "not a plain file name"),
        ({"files": {"a\0b": {"size": 1, "sha256": "0" * 64}}}, "not a plain file name"),
        ({"files": {"state.json": {"size": "1", "sha256": "0" * 64}}}, "no usable size and SHA-256"),
        ({"files": {"state.json": 3}}, "no usable size and SHA-256"),
    ],
)
def test_hostile_manifest(tmp_path: Path, change: dict[str, object], reason: str) -> None:
    path = save(tmp_path, 2)
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_bytes(to_json(manifest | change))
    with pytest.raises(WeathermanError) as caught:
        verify_checkpoint(path, RUN_ID)
    assert reason in caught.value.message
    assert caught.value.code == "checkpoint.damaged"


def test_unlisted_file_and_linked_folder_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path, 2)
    (path / "extra.bin").write_bytes(b"x")
    with pytest.raises(WeathermanError, match=r"it holds 'extra.bin', which its manifest does not name"):
        verify_checkpoint(path)
    (path / "extra.bin").unlink()
    path.rename(tmp_path / "real")
    path.symlink_to(tmp_path / "real")
    with pytest.raises(WeathermanError, match="it is not a folder"):
        verify_checkpoint(path)


def test_none_verifies_is_an_error_and_stays_one(tmp_path: Path) -> None:
    flip(save(tmp_path, 1) / "state.json")
    for _ in range(2):  # the second start must not take the folder for a new run
        with pytest.raises(WeathermanError, match=r"the content of state\.json does not match") as caught:
            newest_verified(tmp_path, RUN_ID)
        assert caught.value.exit_code == 1
    assert names(tmp_path) == ["checkpoint-1"]


def test_no_checkpoint_is_a_new_run_unless_one_was_recorded(tmp_path: Path) -> None:
    assert newest_verified(tmp_path, RUN_ID) == (None, [])
    with pytest.raises(WeathermanError, match="checkpoint-5, which was saved, is gone"):
        newest_verified(tmp_path, RUN_ID, expected="checkpoint-5")


def test_quarantine_names_are_unique(tmp_path: Path) -> None:
    save(tmp_path, 1)
    for _ in range(2):
        flip(save(tmp_path, 2) / "state.json")
        newest_verified(tmp_path, RUN_ID)
    assert names(tmp_path / "quarantine") == ["checkpoint-2", "checkpoint-2.2"]


def test_saving_the_same_again_keeps_it(tmp_path: Path) -> None:
    inode = save(tmp_path, 1).stat().st_ino
    assert save(tmp_path, 1).stat().st_ino == inode
    assert names(tmp_path) == ["checkpoint-1"]


def test_saving_other_content_moves_the_old_aside(tmp_path: Path) -> None:
    save(tmp_path, 1)
    save_checkpoint(tmp_path, 1, RUN_ID, writer(99), keep=2, margin_bytes=0)
    assert names(tmp_path) == ["checkpoint-1", "quarantine"]
    assert b" 99 " in (tmp_path / "checkpoint-1" / "state.json").read_bytes()
    assert b" 1 " in (tmp_path / "quarantine" / "checkpoint-1" / "state.json").read_bytes()


def test_no_space_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last = save(tmp_path, 1)
    num_bytes = sum((last / name).stat().st_size for name in FILES)
    free = SimpleNamespace(free=2 * num_bytes + 99)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: free)
    with pytest.raises(WeathermanError) as caught:
        save_checkpoint(tmp_path, 2, RUN_ID, writer(2), keep=2, margin_bytes=100)
    assert caught.value.code == "checkpoint.no-space"
    free.free += 1
    assert save_checkpoint(tmp_path, 2, RUN_ID, writer(2), keep=2, margin_bytes=100).is_dir()


def test_full_disk_in_a_library_is_told_in_our_words(tmp_path: Path) -> None:
    def write_files(folder: Path) -> None:
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")

    with pytest.raises(WeathermanError, match=r"No space left on device\. Earlier ones are untouched\."):
        save_checkpoint(tmp_path, 2, RUN_ID, write_files, keep=2, margin_bytes=0)
    assert names(tmp_path) == []


def test_deleted_output_dir_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WeathermanError, match="the run's folder was deleted"):
        save(tmp_path / "gone", 2)


@pytest.mark.parametrize("wrong", ["folder", "link", "manifest", "nothing"])
def test_writers_may_write_plain_files_only(tmp_path: Path, wrong: str) -> None:
    def write_files(folder: Path) -> None:
        if wrong == "folder":
            (folder / "sub").mkdir()
        elif wrong == "link":
            (folder / "a").symlink_to("/etc/passwd")
        elif wrong == "manifest":
            (folder / "manifest.json").write_text("{}")

    with pytest.raises(ValueError, match="a checkpoint"):
        save_checkpoint(tmp_path, 2, RUN_ID, write_files, keep=2, margin_bytes=0)
    assert names(tmp_path) == []


@pytest.mark.parametrize("number", ERRORS)
def test_every_system_call_may_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    nth = failed = num_calls = 0
    while num_calls >= nth:
        nth += 1
        run = tmp_path / f"{nth}"
        run.mkdir()
        for step in (1, 2):
            save(run, step)
        with failing_call(monkeypatch, nth, number) as calls:
            try:
                save(run, 3)
                told = None
            except WeathermanError as problem:
                told = problem
        num_calls = len(calls)
        failed += told is not None
        assert told is None or (told.code == "checkpoint.write-failed" and os.strerror(number) in told.message)
        clean_staging(run)
        found, moved = newest_verified(run, RUN_ID)
        assert found is not None
        assert moved == []
        assert found.step == 3 if told is None else found.step in (2, 3)
        assert len(list_checkpoints(run)) >= 2
        assert all(name.startswith("checkpoint-") for name in names(run))
        save(run, 4)
        assert newest_verified(run, RUN_ID)[0].step == 4  # type: ignore[union-attr]
    assert num_calls > 20
    assert failed > 12


def test_killed_at_every_system_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nth, killed = 0, True
    while killed:
        nth += 1
        run = tmp_path / f"{nth}"
        run.mkdir()
        for step in (1, 2):
            save(run, step)
        if (child := os.fork()) == 0:
            with failing_call(monkeypatch, nth, 0):
                save(run, 3)
            os._exit(0)
        killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        clean_staging(run)
        found, moved = newest_verified(run, RUN_ID)
        assert found is not None
        assert moved == []
        assert found.step == 3 if not killed else found.step in (2, 3)
        assert len(list_checkpoints(run)) >= 2
        assert all(name.startswith("checkpoint-") for name in names(run))
    assert nth > 20


_WRITER = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
from run_folders import save
folder = Path(sys.argv[1])
for step in range(int(sys.argv[2]), 10**6):
    save(folder, step)
    print(step, flush=True)
"""


def test_killed_at_random_instants(tmp_path: Path) -> None:
    path = [str(Path(__file__).parents[1] / "support"), *sys.path]
    rng = random.Random(5)
    last_seen, first = 0, 1
    for _ in range(12):
        child = subprocess.Popen(
            [sys.executable, "-c", _WRITER.format(path=path), str(tmp_path), str(first)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(rng.uniform(0, 0.02))
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().split()
        child.wait()
        last_seen = int(rest[-1]) if rest else first
        clean_staging(tmp_path)
        found, moved = newest_verified(tmp_path, RUN_ID)
        assert found is not None
        assert moved == []
        assert found.step in (last_seen, last_seen + 1)
        assert all(name.startswith("checkpoint-") for name in names(tmp_path))
        first = found.step + 1


def test_clean_staging_touches_nothing_else(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / ".staging-3-77").mkdir()
    (tmp_path / ".staging-3-77" / "x").write_text("x")
    (tmp_path / ".status.json.77.3.tmp").write_text("x")
    (tmp_path / ".deleting-1-77").symlink_to(tmp_path / "checkpoint-1")
    (tmp_path / ".staging-mine").mkdir()
    (tmp_path / "notes.tmp").write_text("mine")
    clean_staging(tmp_path)
    assert names(tmp_path) == [".staging-mine", "checkpoint-1", "notes.tmp"]
    verify_checkpoint(tmp_path / "checkpoint-1")


def test_a_quarantine_that_cannot_be_used_does_not_stop_the_resume(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path, 1)
    flip(save(tmp_path, 2) / "state.json")
    (tmp_path / "quarantine").write_text("in the way")
    found, moved = newest_verified(tmp_path, RUN_ID)
    assert found is not None
    assert (found.step, moved) == (1, [])
    assert "It could not be moved aside" in capsys.readouterr().out


def test_quarantine_is_never_a_link(tmp_path: Path) -> None:
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    run.mkdir()
    elsewhere.mkdir()
    save(run, 1)
    flip(save(run, 2) / "state.json")
    (run / "quarantine").symlink_to(elsewhere)
    assert newest_verified(run, RUN_ID)[1] == []
    assert names(elsewhere) == []
