"""`perennial data validate`: everything in which a table differs from its schema."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.cli.names import dataset_at
from perennial.cli.output import emit, progress
from perennial.errors import Invalid, NotFound

if TYPE_CHECKING:
    from perennial.data.catalog import Catalog
    from perennial.data.scan import Scan
    from perennial.data.schema import Schema

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    table = "NAME[@VERSION]|PATH"
    parser.add_argument("table", metavar=table, help="a dataset, or a file or folder with a table")
    parser.add_argument(
        "--schema", metavar="FILE|NAME", help="a TOML file, or the dataset whose schema it is (default: of NAME)"
    )
    parser.add_argument("--environment", metavar="NAME", default="training", help="such as serving (default: training)")
    parser.add_argument("--against", metavar=table, help="measure drift against this, where the schema limits it")
    parser.add_argument("--examples", metavar="N", type=int, default=5, help="rows told of each violation (default: 5)")


def run(options: argparse.Namespace) -> int:
    import msgspec

    from perennial.data.validation import validate

    with _Sources(options.home) as sources, progress(f"looking at {options.table}") as tell:
        table = sources.table(options.table)
        schema = sources.schema(options.schema, options.table)
        reference = sources.table(options.against) if options.against else None
        tell(f"checking {options.table}")
        found = validate(
            table, schema, environment=options.environment, reference=reference, examples=max(0, options.examples)
        )
    emit(options, {"acceptable": found.is_acceptable, **msgspec.to_builtins(found)}, found.lines())
    return 0 if found.is_acceptable else 1


class _Sources:
    """Tables and schemas by what a person calls them; the workspace is opened when something in it is named."""

    def __init__(self, home: str | None) -> None:
        self._home = home
        self._opened = ExitStack()
        self._catalog: Catalog | None = None

    def __enter__(self) -> _Sources:
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.close()

    def table(self, what: str) -> Scan:
        from perennial.data.scan import scan

        return scan(what) if _is_path(what) else self._data().table(what)

    def schema(self, asked: str | None, table: str) -> Schema:
        if asked is not None and (asked.endswith(".toml") or _is_path(asked)):
            from perennial.data.forms import read

            try:
                return read(Path(asked).read_text(encoding="utf-8"), "toml").schema
            except (OSError, UnicodeDecodeError) as error:
                raise NotFound(f"the schema cannot be read: {error}", where=asked) from error
        if asked is None and _is_path(table):
            raise Invalid(
                f"{table} says not what it must look like",
                remedy="name its schema: --schema FILE.toml, or --schema NAME for the one of a dataset",
            )
        name, _ = dataset_at(asked or table)
        accepted = self._data().schemas.get(name=name)
        if accepted is None:
            raise NotFound(
                f"{name!r} has no schema yet", remedy=f"propose one: perennial data schema infer {name} --save {name}"
            )
        return accepted.schema

    def _data(self) -> Catalog:
        if self._catalog is None:
            from perennial.api.connect import find_folder, open

            find_folder(self._home)  # looking makes no workspace
            self._catalog = self._opened.enter_context(open(self._home, origin="cli")).data
        return self._catalog


def _is_path(text: str) -> bool:
    return "/" in text or Path(text).exists()
