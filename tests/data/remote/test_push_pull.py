"""What is pushed to a remote comes out of it on another machine, and only what is missing travels."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import polars as pl
import pytest

from perennial.data.remote.layout import escaped
from perennial.data.remote.pull import listed, pull
from perennial.data.remote.push import push
from perennial.data.schema import Column, Schema
from perennial.errors import Conflict, NotFound

from .conftest import S3, Remote
from .machines import SCHEMA, Machine, noise, some_files

Machines = Callable[[str], Machine]


def test_a_folder_arrives_on_another_machine_byte_for_byte(remote: Remote, machine: Machines) -> None:
    here, there = machine("here"), machine("there")
    files = some_files(300) | {"run.sh": b"#!/bin/sh\n", "empty": b""}
    files |= {"big.bin": noise(9 << 20), "middle.bin": noise(3 << 20), "large.parquet": b"PAR1" + noise(9 << 20)}
    version = here.add_files("Images/ä", files)
    here.catalog.datasets.tag(name="Images/ä", tag="gold", version=1)

    pushed = push(here.catalog, [version], remote.url)
    assert pushed.versions == 1
    assert pushed.objects > len(files)  # with the pages and the root
    assert len(remote.paths()) < 25

    (found,) = listed(remote.url)
    assert (found.name, found.version, found.files, found.tags) == ("Images/ä", 1, 305, ["gold"])
    (pulled,) = pull(there.catalog, remote.url, "Images/ä", "gold")
    assert there.files(pulled) == files
    assert (pulled.version, pulled.logical, pulled.note) == (1, version.logical, "as it came")
    assert [tag.tag for tag in there.catalog.datasets.tags()] == ["gold"]
    assert there.problems() == []
    assert there.objects.open_path(here.objects.put(files["large.parquet"])) is not None  # a table lies whole

    again = push(here.catalog, [version], remote.url)
    assert (again.objects, again.bytes, again.versions) == (0, 0, 0)
    assert push(there.catalog, [pulled], remote.url).bytes == 0
    assert pull(there.catalog, remote.url, "Images/ä") == [pulled]


def test_versions_of_a_table_keep_numbers_parents_and_schema(remote: Remote, machine: Machines) -> None:
    here, there = machine("here"), machine("there")
    frame = pl.DataFrame({"person": range(1000)})
    first = here.add_table("people", frame)
    second = here.add_table("people", pl.concat([frame, pl.DataFrame({"person": [5000]})]), first)
    here.catalog.schemas.propose(name="people", schema=SCHEMA)

    push(here.catalog, [first], remote.url)
    sent = push(here.catalog, [second], remote.url)
    assert (sent.versions, sent.skipped > 0) == (1, True)

    pulled = pull(there.catalog, remote.url, version=None)
    assert [(one.version, one.parent, one.rows, one.logical) for one in pulled] == [
        (1, None, 1000, first.logical),
        (2, 1, 1001, second.logical),
    ]
    accepted = there.catalog.schemas.get(name="people")
    assert accepted is not None
    assert accepted.schema == SCHEMA
    assert there.problems() == []


def test_a_number_that_is_taken_here_is_not_overwritten(remote: Remote, machine: Machines) -> None:
    here, there = machine("here"), machine("there")
    push(here.catalog, [here.add_files("pictures", {"a": b"1"})], remote.url)
    mine = there.add_files("pictures", {"b": b"2"})
    (pulled,) = pull(there.catalog, remote.url, "pictures")
    assert pulled.version == 2
    assert there.catalog.datasets.get(name="pictures", version=1) == mine

    push(there.catalog, [mine], remote.url)
    with pytest.raises(Conflict, match="2 versions of pictures"):
        pull(machine("third").catalog, remote.url, "pictures", 1)
    (chosen,) = pull(machine("fourth").catalog, remote.url, "pictures", mine.logical[:16])
    assert chosen.logical == mine.logical


def test_a_schema_that_differs_here_is_proposed_and_not_taken_over(remote: Remote, machine: Machines) -> None:
    here, there = machine("here"), machine("there")
    version = here.add_table("people", pl.DataFrame({"person": [1]}))
    here.catalog.schemas.propose(name="people", schema=SCHEMA)
    push(here.catalog, [version], remote.url)

    mine = Schema(columns=[Column(name="person", type="float64")])
    there.catalog.schemas.propose(name="people", schema=mine)
    for _ in range(2):
        pull(there.catalog, remote.url, "people")
    states = [(one.schema, one.state) for one in there.catalog.schemas.list(name="people")]
    assert sorted(states, key=lambda one: one[1]) == [(mine, "accepted"), (SCHEMA, "proposed")]


def test_a_second_version_of_a_large_file_travels_as_what_changed(remote: Remote, machine: Machines) -> None:
    here, there = machine("here"), machine("there")
    data = noise(20 << 20)
    push(here.catalog, [here.add_files("big", {"a": data})], remote.url)
    pull(there.catalog, remote.url, "big")
    before = sum(remote.paths().values())

    changed = data[: 9 << 20] + b"inserted in the middle" + data[9 << 20 :]
    pushed = push(here.catalog, [here.add_files("big", {"a": changed})], remote.url)
    assert pushed.bytes < 6 << 20
    assert sum(remote.paths().values()) - before < 6 << 20
    told: list[str] = []
    (pulled,) = pull(there.catalog, remote.url, "big", tell=told.append)
    assert there.files(pulled) == {"a": changed}
    assert int(told[-1].split()[-2]) < 6


def test_five_thousand_small_files_are_a_few_requests(s3: S3, machine: Machines) -> None:
    here, there = machine("here"), machine("there")
    files = some_files(5000)
    remote = s3.remote(s3.bucket())
    version = here.add_files("small", files)
    push(here.catalog, [version], remote.url)
    sent = s3.relay.requests
    (pulled,) = pull(there.catalog, remote.url, "small")
    got = s3.relay.requests - sent
    assert (sent < 15, got < 25) == (True, True), (sent, got)
    assert there.files(pulled) == files


def test_a_dry_run_tells_what_would_be_sent_and_sends_nothing(remote: Remote, machine: Machines) -> None:
    here = machine("here")
    push(here.catalog, [here.add_files("a", {"a": b"1"})], remote.url)
    before = remote.paths()
    version = here.add_files("b", {"a": b"1", "b": b"2" * 100})
    dry = push(here.catalog, [version], remote.url, dry_run=True)
    assert remote.paths() == before
    assert push(here.catalog, [version], remote.url) == dry


def test_a_tag_goes_where_it_was_moved_last(remote: Remote, machine: Machines) -> None:
    here, there = machine("here"), machine("there")
    versions = [here.add_files("a", {"a": bytes([number])}) for number in range(2)]
    here.catalog.datasets.tag(name="a", tag="gold", version=1)
    push(here.catalog, versions, remote.url)
    assert pull(there.catalog, remote.url, "a", "gold")[0].logical == versions[0].logical
    here.clock.advance(10)
    here.catalog.datasets.tag(name="a", tag="gold", version=2)
    push(here.catalog, versions, remote.url)
    pull(there.catalog, remote.url, version=None)
    assert there.catalog.datasets.get(name="a", version="gold").logical == versions[1].logical


def test_what_is_not_there_is_told_with_what_to_do(remote: Remote, machine: Machines) -> None:
    here = machine("here")
    with pytest.raises(NotFound, match=r"nothing was ever pushed here|there is no such folder"):
        pull(here.catalog, remote.url, "a")
    version = here.add_files("a", {"a": b"1"})
    push(here.catalog, [version], remote.url)
    with pytest.raises(NotFound, match="no dataset 'b' on the remote"):
        pull(here.catalog, remote.url, "b")
    with pytest.raises(NotFound, match="no a@7 on the remote"):
        pull(here.catalog, remote.url, "a", 7)
    draft = msgspec.structs.replace(version, state="draft")
    with pytest.raises(Conflict, match="a@1 is a draft"):
        push(here.catalog, [draft], remote.url)


def test_a_place_that_holds_something_else_is_left_alone(remote: Remote, machine: Machines) -> None:
    here = machine("here")
    push(here.catalog, [here.add_files("a", {"a": b"1"})], remote.url)
    remote.remove("perennial-remote.json")
    before = remote.paths()
    with pytest.raises(Conflict, match="this is no remote of ours"):
        push(here.catalog, [here.add_files("b", {"a": b"2"})], remote.url)
    assert remote.paths() == before


def test_names_of_any_kind_are_distinct_short_paths() -> None:
    names = ["a", "A", "a/b", "a=2Fb", "..", ".", "ä", "x" * 250, "x" * 249 + "y", "ö" * 250, "CON", "a b"]
    paths = [escaped(name).lower() for name in names]
    assert len(set(paths)) == len(names)
    assert all(len(path) <= 100 and "/" not in path and not path.startswith(".") for path in paths)
