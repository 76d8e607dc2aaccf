"""Folders for what can be made again: each its owner's own, gone when the owner is."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from perennial.errors import ConfigError
from perennial.store.scratch import scratch_folder, scratch_of_user


def test_a_folder_is_gone_after_its_block_and_that_of_a_dead_process_when_another_is_made(tmp_path: Path) -> None:
    (tmp_path / "dead.tmp").mkdir()
    (tmp_path / "dead.tmp" / ".in-use").touch()
    with scratch_folder(tmp_path) as folder, scratch_folder(tmp_path) as other:
        (folder / "spilled").write_bytes(b"x")
        assert sorted(tmp_path.iterdir()) == sorted((folder, other))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_not_swept_by_others_while_it_is_being_made(tmp_path: Path) -> None:
    gone: list[Path] = []

    def make() -> None:
        for _ in range(200):
            with scratch_folder(tmp_path) as folder:
                if not folder.is_dir():
                    gone.append(folder)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert gone == []


def test_C20_the_folder_of_a_user_is_nobody_elses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    root = scratch_of_user()
    assert root.parent == tmp_path
    assert root.stat().st_mode & 0o777 == 0o700
    assert scratch_of_user() == root
    root.rmdir()
    (tmp_path / "elsewhere").mkdir()
    root.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="not a folder of yours"):
        scratch_of_user()
