"""Git state and environment of a project, told without running anything of the repository's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from perennial.tracking.environment import environment_text
from perennial.tracking.git import GitState, git_state


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    done = subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_a_folder_without_git_has_no_state(tmp_path: Path) -> None:
    assert git_state(tmp_path) == GitState()


def test_commit_and_uncommitted_changes_of_this_folder_are_told(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    assert git_state(tmp_path) == GitState()
    project = tmp_path / "project"
    project.mkdir()
    (project / "loop.py").write_text("a = 1\n")
    (tmp_path / "other").write_text("x\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    assert git_state(project) == GitState(git(tmp_path, "rev-parse", "HEAD"))
    (project / "loop.py").write_text("a = 2\n")
    (tmp_path / "other").write_text("y\n")
    diff = git_state(project).diff.decode()
    assert "+a = 2" in diff
    assert "+y" not in diff


def test_what_a_repository_configures_is_not_started(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "a.txt").write_text("1\n")
    (tmp_path / ".gitattributes").write_text("*.txt diff=evil\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    for key in ("diff.evil.command", "diff.evil.textconv", "diff.external", "core.fsmonitor"):
        git(tmp_path, "config", key, f"touch {tmp_path}/started; echo")
    (tmp_path / "started").unlink(missing_ok=True)
    (tmp_path / "a.txt").write_text("2\n")
    assert b"+2" in git_state(tmp_path).diff
    assert not (tmp_path / "started").exists()


def test_the_environment_names_every_distribution_and_no_variable() -> None:
    text = environment_text()
    assert text == environment_text()
    assert f"python {sys.version_info.major}.{sys.version_info.minor}" in text
    assert "\npolars==" in text
    assert "\nscikit-learn==" in text
    assert "PATH" not in text
