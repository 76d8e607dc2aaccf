"""`perennial verify`: read everything that is stored, and name whatever is not as it was written."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING

from perennial.cli.output import common, emit, progress

if TYPE_CHECKING:
    from perennial.store.verify import Verification

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    common(parser)


def run(options: argparse.Namespace) -> int:
    import msgspec

    from perennial.api.connect import find_folder
    from perennial.store.database import database_url
    from perennial.store.objects import ObjectStore
    from perennial.store.records import Records
    from perennial.store.verify import verify

    folder, settings = find_folder(options.home)
    # Beside the owner, not through it: reading everything must not keep the workspace from working.
    url = database_url(settings.records, folder.records)
    with progress("reading everything"), Records.open(url, read_only=True) as records:
        found = verify(records, ObjectStore(folder.objects))
    emit(options, {"sound": found.is_sound, **msgspec.to_builtins(found)}, _lines(found))
    return 0 if found.is_sound else 1


def _lines(found: Verification) -> Iterable[str]:
    for problem in found.problems:
        yield f"{problem.kind}: {problem.says}"
        yield f"  where: {problem.where}"
    word = "all is as it was written" if found.is_sound else f"{len(found.problems)} problems; restore from a backup"
    yield f"{found.objects} objects, {found.events} events: {word}"
