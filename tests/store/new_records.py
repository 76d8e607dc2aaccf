"""The records of a new workspace, made once and copied: to make all tables takes longer than most tests do."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from perennial.store.records import Records
from perennial.store.schema import ensure_schema
from perennial.store.workspace_folder import WorkspaceFolder

__all__ = ["with_records"]


def with_records(folder: WorkspaceFolder) -> WorkspaceFolder:
    """Put them there, unless there are some; what opens the folder next finds its tables up to date."""
    if not folder.records.exists():
        folder.records.write_bytes(_new())
    return folder


@cache
def _new() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records.db"
        with Records.open(f"sqlite:///{path}") as records:
            ensure_schema(records)
        return path.read_bytes()
