"""What is pushed to a remote comes out of it on another machine, and only what is missing travels."""

from __future__ import annotations

import polars as pl
import pytest

from perennial.data.remote.pull import listed, pull
from perennial.data.remote.push import push
from perennial.errors import NotFound

from .conftest import noise, some_files


def test_a_folder_arrives_on_another_machine_byte_for_byte(remote, machine) -> None:
    here, there = machine("here"), machine("there")
    files = some_files(300) | {
        "run.sh": b"#!/bin/sh\n",
        "empty": b"",
        "big.bin": noise(20 << 20),
        "mid": noise(5 << 20),
    }
    version = here.add_files("Images/ä", files)
    here.catalog.datasets.tag(name="Images/ä", tag="gold", version=1)

    pushed = push(here.catalog, [version], remote.url)
    assert pushed.versions == 1
    assert pushed.objects > len(files)  # with the pages and the root
    assert len(remote.paths()) < 20

    (found,) = listed(remote.url)
    assert (found.name, found.version, found.files, found.tags) == ("Images/ä", 1, 304, ["gold"])
    (pulled,) = pull(there.catalog, remote.url, "Images/ä", "gold")
    assert there.files(pulled) == files
    assert (pulled.version, pulled.logical, pulled.note) == (1, version.logical, "as it came")
    assert [tag.tag for tag in there.catalog.datasets.tags()] == ["gold"]
    assert there.problems() == []

    again = push(here.catalog, [version], remote.url)
    assert (again.objects, again.bytes, again.versions) == (0, 0, 0)
    assert push(there.catalog, [pulled], remote.url).bytes == 0
    assert pull(there.catalog, remote.url, "Images/ä") == [pulled]
