"""`perennial data du`: how much room datasets take, and what would be freed."""

from __future__ import annotations

import argparse

from perennial.cli.output import emit, progress, table

__all__ = ["arguments", "run"]

COLUMNS = {"name": "dataset", "versions": "versions", "content": "content", "stored": "stored", "own": "its own"}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="of one dataset")


def run(options: argparse.Namespace) -> int:
    import msgspec

    from perennial.api.connect import calls, find_folder
    from perennial.cli.data.add import size
    from perennial.data.files.usage import usage
    from perennial.store.database import database_url
    from perennial.store.gc import collect_garbage
    from perennial.store.objects import ObjectStore
    from perennial.store.records import Records

    folder, settings = find_folder(options.home)
    with calls(options.home) as owner:
        versions = owner.call("datasets.list", limit=1_000_000)
    with progress("adding up"), ObjectStore(folder.objects) as objects:
        used = [each for each in usage(versions, objects) if options.name in (None, each.name)]
        with Records.open(database_url(settings.records, folder.records), read_only=True) as records:
            garbage = collect_garbage(records, objects, dry_run=True)
        store = objects.usage()
    rows = [
        {"name": each.name, "versions": each.versions}
        | {"content": size(each.content_bytes), "stored": size(each.stored_bytes), "own": size(each.own_bytes)}
        for each in used
    ]
    total = f"the store takes {size(store.bytes)}, models and runs included; `perennial data gc` would free"
    lines = [*table(rows, COLUMNS), f"{total} {size(garbage.freed_bytes)}"]
    value = {"datasets": used, "store": store, "gc": garbage}
    emit(options, {key: msgspec.to_builtins(part) for key, part in value.items()}, lines)
    return 0
