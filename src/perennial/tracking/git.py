"""What git knows of a project: the commit and what has not been committed. Nothing where there is no git."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

__all__ = ["GitState", "git_state"]

MAX_DIFF_BYTES = 5 << 20  # the rest is cut off, and said so; the code itself is in the bundle in any case
TIMEOUT_S = 10.0

# What a repository's own configuration could have git start is switched off.
_QUIET = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.pager=cat")


@dataclass(frozen=True)
class GitState:
    """`commit` is empty without git or before the first commit; `diff` holds what differs from it in this folder."""

    commit: str = ""
    diff: bytes = b""


def git_state(folder: Path) -> GitState:
    """The state of the repository that this folder lies in."""
    if not any((parent / ".git").exists() for parent in (folder.resolve(), *folder.resolve().parents)):
        return GitState()
    if shutil.which("git") is None:
        return GitState()
    commit = _git(folder, "rev-parse", "--verify", "-q", "HEAD")
    if not commit:
        return GitState()
    diff = _git(folder, "diff", "--no-ext-diff", "--no-textconv", "--no-color", "HEAD", "--", ".") or b""
    if len(diff) > MAX_DIFF_BYTES:
        diff = diff[:MAX_DIFF_BYTES] + f"\n... {len(diff) - MAX_DIFF_BYTES} bytes cut off ...\n".encode()
    return GitState(commit.decode().strip(), diff)


def _git(folder: Path, *arguments: str) -> bytes | None:
    """What git prints, None when it says no or takes too long: a run is not held up by its repository."""
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(
            ["git", *_QUIET, *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
