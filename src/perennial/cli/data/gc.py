"""`perennial data gc`: free what no version and no other record names."""

from __future__ import annotations

import argparse

from perennial.cli.output import counted, emit, progress

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="only say what would be freed")


def run(options: argparse.Namespace) -> int:
    import msgspec

    from perennial.api.connect import find_folder
    from perennial.cli.data.add import size
    from perennial.store.database import database_url
    from perennial.store.gc import collect_garbage
    from perennial.store.objects import ObjectStore
    from perennial.store.records import Records

    folder, settings = find_folder(options.home)
    # Beside the owner, not through it: reading every manifest must not keep the workspace from working.
    url = database_url(settings.records, folder.records)
    with progress("looking for what nothing names"), Records.open(url, read_only=True) as records:
        found = collect_garbage(records, ObjectStore(folder.objects), dry_run=options.dry_run)
    word = "would be freed" if options.dry_run else "freed"
    lines = [f"{size(found.freed_bytes)} {word}: {counted(found.objects, 'object')} that nothing names"]
    if found.young:
        lines.append(f"{size(found.young_bytes)} that nothing names are kept: somebody may just be adding them")
    if found.returned_bytes:
        lines.append(f"{size(found.returned_bytes)} given back to the disk")
    emit(options, msgspec.to_builtins(found), lines)
    return 0
