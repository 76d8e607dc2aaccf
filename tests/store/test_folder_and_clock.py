from __future__ import annotations

import os
from pathlib import Path

import pytest

from perennial.errors import ConfigError, Corrupt, NotFound, StoreError
from perennial.ids import SeededIds
from perennial.store.actor import acting, current_actor, system_user
from perennial.store.clockfile import create_clock, open_clock
from perennial.store.workspace_folder import create_folder, open_folder
from perennial.types import Micros


def test_a_folder_is_made_once_and_found_again(tmp_path: Path) -> None:
    made = create_folder(tmp_path / ".perennial", now=Micros(5), ids=SeededIds(1))
    assert made == open_folder(tmp_path / ".perennial") == create_folder(tmp_path / ".perennial", now=Micros(9))
    assert (made.created, made.simulated, len(made.id)) == (5, False, 32)
    for path in (made.objects, made.serving, made.segments, made.serving_cache, made.bundles, made.logs, made.tmp):
        assert path.is_dir()


def test_the_kind_of_time_never_changes(tmp_path: Path) -> None:
    create_folder(tmp_path, now=Micros(5))
    with pytest.raises(ConfigError, match="real time"):
        create_folder(tmp_path, now=Micros(5), simulated=True)


def test_no_workspace_and_a_damaged_one_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        open_folder(tmp_path)
    (tmp_path / "workspace.json").write_text('{"format": 1}')
    with pytest.raises(Corrupt):
        open_folder(tmp_path)
    (tmp_path / "workspace.json").write_text("{")
    with pytest.raises(Corrupt):
        open_folder(tmp_path)


def test_F26_a_folder_of_a_newer_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "workspace.json").write_text('{"format": 2, "id": "x", "shape": "new"}')
    with pytest.raises(ConfigError, match="format 2"):
        open_folder(tmp_path)
    with pytest.raises(ConfigError, match="format 2"):
        create_folder(tmp_path, now=Micros(5))
    assert [path.name for path in tmp_path.iterdir()] == ["workspace.json"]


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot make a workspace here"):
        create_folder(tmp_path / "file" / ".perennial", now=Micros(5))


def test_all_processes_see_the_simulated_clock_move(tmp_path: Path) -> None:
    mine = create_clock(tmp_path / "clock", Micros(100))
    other = open_clock(tmp_path / "clock")
    mine.set(Micros(200))
    assert other.now() == 200
    child = os.fork()
    if child == 0:
        open_clock(tmp_path / "clock").set(Micros(300))
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    assert mine.now() == other.now() == 300  # what a killed process set stays
    other.set(Micros(50))
    assert mine.now() == 300


def test_what_is_no_clock_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"short", b"much too long"):
        (tmp_path / "clock").write_bytes(content)
        with pytest.raises(StoreError):
            open_clock(tmp_path / "clock")
    with pytest.raises(StoreError):
        open_clock(tmp_path / "nowhere")


def test_who_acts_is_known_within_and_forgotten_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "somebody-else")
    monkeypatch.setenv("LOGNAME", "somebody-else")
    assert str(current_actor()) == f"{system_user()} via library"
    assert system_user() != "somebody-else"
    with acting("anna", "cli"):
        with acting("perennial", "reconciler"):
            assert str(current_actor()) == "perennial via reconciler"
        assert str(current_actor()) == "anna via cli"
