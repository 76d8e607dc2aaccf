"""Where a run takes place: code, packages, command and machine. Looked up beside the run, which never waits for it."""

from __future__ import annotations

import getpass
import re
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perennial.store.objects import ObjectStore
from perennial.tracking.environment import environment_text
from perennial.tracking.git import git_state
from perennial.tracking.names import MAX_TAG
from perennial.tracking.process import process_name

__all__ = ["PROCESS_TAG", "about_code", "about_process", "shown_command"]

PROCESS_TAG = "process"
_SECRET = re.compile(r"(?i)(password|passwd|secret|token|credential|api[-_]?key|access[-_]?key)")
_IN_URL = re.compile(r"(?<=://)[^/@\s:]*:[^/@\s]+(?=@)")


def about_code(folder: Path, objects: ObjectStore) -> dict[str, Any]:
    """What `Runs.start` is told of the code in this folder and of the environment."""
    git = git_state(folder)
    found: dict[str, Any] = {"environment": objects.put(environment_text().encode())}
    if git.commit:
        found["git_commit"] = git.commit
    if git.diff:
        found["git_diff"] = objects.put(git.diff)
    return found


def about_process() -> dict[str, str]:
    """Tags that tell which process it was, on which machine, and how it was started."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may have a number and no name
        user = ""
    tags = {
        PROCESS_TAG: process_name(),
        "host": socket.gethostname(),
        "user": user,
        "command": shown_command(sys.orig_argv),
        "folder": str(Path.cwd()),
    }
    return {key: _plain(value) for key, value in tags.items() if value}


def shown_command(words: Sequence[str]) -> str:
    """The command as it can be shown: what an option with a secret's name says is left out.

    >>> shown_command(["python", "train.py", "--api-key", "xyz", "--token=abc", "s3://me:pw@host/x"])
    'python train.py --api-key *** --token=*** s3://***@host/x'
    """
    shown: list[str] = []
    is_next = False
    for word in words:
        name, equals, _ = word.partition("=")
        if is_next:
            shown.append("***")
        elif equals and _SECRET.search(name):
            shown.append(f"{name}=***")
        else:
            shown.append(_IN_URL.sub("***", word))
        is_next = not equals and word.startswith("-") and bool(_SECRET.search(word))
    return " ".join(shown)


def _plain(text: str) -> str:
    return text.replace("\0", " ").encode(errors="replace").decode()[:MAX_TAG]
