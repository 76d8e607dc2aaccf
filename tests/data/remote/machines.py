"""Workspaces to push from and pull into. As a program: `machines.py push|pull FOLDER URL`, to be killed."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.clock import FixedClock
from perennial.data.catalog import Catalog
from perennial.data.datasets import Datasets, DatasetVersion
from perennial.data.files.tree import EXECUTABLE, FILE, Entry, entries_of, read_tree, write_tree
from perennial.data.remote.pull import pull
from perennial.data.remote.push import push
from perennial.data.remotes import Remotes
from perennial.data.schema import Column, Schema
from perennial.data.schemas import Schemas
from perennial.store.objects import ObjectStore
from perennial.store.records import Records, create_tables
from perennial.store.tables import import_tables
from perennial.store.verify import Problem, verify
from perennial.store.workspace_folder import create_folder
from perennial.types import Digest, Micros

if TYPE_CHECKING:
    import polars as pl

SCHEMA = Schema(columns=[Column(name="person", type="int64")])


class Machine:
    """A workspace on a machine of its own."""

    def __init__(self, root: Path) -> None:
        self.clock = FixedClock(Micros(5))
        self.folder = create_folder(root, now=Micros(5))
        self.records = Records.open(self.folder.records_url, clock=self.clock)
        import_tables()
        create_tables(self.records)
        self.objects = ObjectStore(self.folder.objects, chunked_bytes=4 << 20)  # so that small files are large
        self.catalog = Catalog(
            Datasets(self.records),
            Schemas(self.records),
            Remotes(self.records),
            self.objects,
            self.folder,
            self.clock,
        )

    def add_files(self, name: str, files: dict[str, bytes]) -> DatasetVersion:
        return add_files(self.catalog, name, files)

    def add_table(self, name: str, frame: pl.DataFrame, parent: DatasetVersion | None = None) -> DatasetVersion:
        from perennial.data.tables import write_table  # not needed by a program that is killed

        manifest, logical = write_table(frame.to_arrow(), self.objects, previous=parent and parent.stored)
        return self.catalog.datasets.commit(
            name=name,
            logical=logical,
            manifest=manifest,
            rows=frame.height,
            schema=SCHEMA,
            parent=parent and parent.version,
        )

    def files(self, version: DatasetVersion) -> dict[str, bytes]:
        tree = read_tree(self.objects.get(version.stored))
        entries = entries_of(tree, self.objects.get)
        return {entry.path.decode(): self.objects.get(entry.digest or Digest("")) for entry in entries}

    def problems(self) -> list[Problem]:
        return verify(self.records, self.objects).problems

    def close(self) -> None:
        self.objects.close()
        self.records.close()


def add_files(catalog: Catalog, name: str, files: dict[str, bytes]) -> DatasetVersion:
    digests = catalog.objects.put_many(files.values())
    entries = sorted(
        (
            Entry(path.encode(), EXECUTABLE if path.endswith(".sh") else FILE, len(data), bytes.fromhex(digest))
            for (path, data), digest in zip(files.items(), digests, strict=True)
        ),
        key=lambda entry: entry.path,
    )
    stored = write_tree(entries, catalog.objects.put_many)
    size = sum(map(len, files.values()))
    return catalog.datasets.commit(
        name=name,
        logical=stored.logical,
        manifest=stored.manifest,
        rows=0,
        schema=Schema(columns=[]),
        kind="files",
        files=len(files),
        size_bytes=size,
        note="as it came",
    )


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def some_files(count: int, seed: int = 1) -> dict[str, bytes]:
    sizes = {index: 200 + index % 300 for index in range(count)}
    return {f"folder {index % 7}/{index}.bin": noise(size, seed * 1_000_000 + index) for index, size in sizes.items()}


def main(verb: str, folder: str, url: str) -> None:
    machine = Machine(Path(folder))
    if verb == "push":
        push(machine.catalog, machine.catalog.datasets.list()[::-1], url)
    else:
        pull(machine.catalog, url, version=None)
    machine.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
