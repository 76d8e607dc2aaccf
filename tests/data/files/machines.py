"""What the tests of files share: a workspace of this process, and what lies in a folder, told apart."""

from __future__ import annotations

import os
from pathlib import Path

from perennial.clock import SystemClock
from perennial.config import Settings
from perennial.store.workspace_folder import create_folder
from perennial.workspace import Owned
from tests.store.new_records import with_records


def owned(root: Path) -> Owned:
    """A workspace in this folder, made when there is none."""
    root.parent.mkdir(parents=True, exist_ok=True)
    return Owned(with_records(create_folder(root, now=SystemClock().now())), Settings())


def content(root: Path) -> dict[str, tuple[str, bytes]]:
    """Everything below a folder: what it is, and its bytes."""
    found: dict[str, tuple[str, bytes]] = {}
    for path in root.rglob("*"):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = "link", os.fsencode(os.readlink(path))
        elif path.is_dir():
            if not any(path.iterdir()):
                found[name] = "folder", b""
        else:
            found[name] = (
                "executable" if os.access(path, os.X_OK) and path.stat().st_mode & 0o100 else "file",
                path.read_bytes(),
            )
    return found
