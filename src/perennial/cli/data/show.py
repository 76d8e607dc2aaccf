"""`perennial data show`: one version: what it holds, its columns, and what is unusual about it."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from perennial.cli.names import dataset_at
from perennial.cli.output import counted, emit, moment, table

if TYPE_CHECKING:
    from pathlib import Path

    from perennial.data.files.tree import Entry

__all__ = ["arguments", "run"]

COLUMNS = {"name": "column", "type": "type", "nullable": "nullable", "minimum": "minimum", "maximum": "maximum"}
KINDS = ("file", "executable", "link", "folder")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", metavar="NAME[@VERSION]", help="without a version: the newest that is accepted")
    parser.add_argument("--files", action="store_true", help="every file, with its digest and size")


def run(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls, find_folder

    name, version = dataset_at(options.dataset)
    with calls(options.home) as owner:
        found = owner.call("datasets.get", name=name, version=version)
        tags = owner.call("datasets.tags", name=name)
    found["tags"] = [tag["tag"] for tag in tags if tag["version"] == found["version"]]
    if options.files and found["kind"] == "files" and found["manifest"]:
        found["paths"] = [_path(entry) for entry in _entries(find_folder(options.home)[0].objects, found["manifest"])]
    emit(options, found, _lines(found))
    return 0


def _entries(objects: Path, manifest: str) -> Iterable[Entry]:
    from perennial.data.files.tree import entries_of, read_tree
    from perennial.store.objects import ObjectStore
    from perennial.types import Digest

    store = ObjectStore(objects)
    return entries_of(read_tree(store.get(Digest(manifest))), store.get)


def _path(entry: Entry) -> dict[str, Any]:
    from perennial.data.files.kinds import LINK
    from perennial.data.files.walk import shown

    told: dict[str, Any] = {"path": shown(entry.path), "kind": KINDS[entry.kind], "size": entry.size}
    return told | ({"target": shown(entry.content)} if entry.kind == LINK else {"digest": entry.digest})


def _lines(found: dict[str, Any]) -> Iterable[str]:
    from perennial.cli.data.add import size

    state = "removed" if found["manifest"] is None else found["state"]
    holds = f"{counted(found['rows'], 'row')}, " if found["rows"] or found["kind"] == "table" else ""
    holds += f"{counted(found['files'], 'file')}, {size(found['size_bytes'])}, " if found["files"] else ""
    yield f"{found['name']} version {found['version']}: {state}, {holds}{moment(found['at'])}"
    yield f"  digest {found['logical']}"
    if found["tags"]:
        yield f"  tagged {', '.join(found['tags'])}"
    if found["note"]:
        yield f"  {found['note']}"
    for violation in found["violations"]:
        yield f"  {violation['severity']}: {violation['says']}"
    if found["schema"]["columns"]:
        yield from (f"  {line}" for line in table(found["schema"]["columns"], COLUMNS))
    for path in found.get("paths", ()):
        target = f" -> {path['target']}" if "target" in path else ""
        yield f"  {(path.get('digest') or '')[:12]:<12}  {path['size']:>12}  {path['path']}{target}"
