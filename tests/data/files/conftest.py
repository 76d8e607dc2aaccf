from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from perennial.data.catalog import Catalog
from perennial.data.files.places import TICK_NS, read_place
from perennial.data.files.status import status
from perennial.workspace import Owned

from .machines import owned


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Owned]:
    found = owned(tmp_path / "home" / ".perennial")
    yield found
    found.workspace.close()


@pytest.fixture
def catalog(workspace: Owned) -> Catalog:
    return workspace.workspace.data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with files of every kind, made a while ago."""
    root = tmp_path / "images"
    (root / "cats").mkdir(parents=True)
    (root / "none").mkdir()
    (root / "cats" / "tom.png").write_bytes(b"tom" * 1000)
    (root / "cats" / "large.bin").write_bytes(os.urandom(300_000))
    (root / "empty").write_bytes(b"")
    (root / ".hidden").write_bytes(b"seen as well")
    (root / "run.sh").write_bytes(b"#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    (root / "loop").symlink_to(".")
    (root / os.fsdecode(b"caf\xe9\nnew")).write_bytes(b"latin and a line")
    (root / ("n" * 255)).write_bytes(b"long")
    time.sleep(TICK_NS / 1e9)  # a younger file is read again
    return root


@pytest.fixture
def differences(catalog: Catalog) -> Callable[[Path], dict[str, str]]:
    """What `status` says about a place."""

    def look(path: Path) -> dict[str, str]:
        place = read_place(catalog.places, path.resolve())
        assert place is not None
        found = status(place, catalog.places, leave_out=catalog.folder.root)
        return {os.fsdecode(difference.path): difference.says for difference in found.differences}

    return look
