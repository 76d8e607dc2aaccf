"""`perennial data validate`: everything in which a table differs from its schema."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.cli.data.named import TABLE, TABLE_HELP, Named
from perennial.cli.output import emit, progress
from perennial.data.names import dataset_at, is_path
from perennial.errors import Invalid, NotFound

if TYPE_CHECKING:
    from perennial.data.schema import Schema

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", metavar=TABLE, help=TABLE_HELP)
    parser.add_argument(
        "--schema", metavar="FILE|NAME", help="a TOML file, or the dataset whose schema it is (default: of NAME)"
    )
    parser.add_argument("--environment", metavar="NAME", default="training", help="such as serving (default: training)")
    parser.add_argument("--against", metavar=TABLE, help="measure drift against this, where the schema limits it")
    parser.add_argument("--examples", metavar="N", type=int, default=5, help="rows told of each violation (default: 5)")


def run(options: argparse.Namespace) -> int:
    import msgspec

    from perennial.data.validation import validate

    with Named(options.home) as named, progress(f"looking at {options.table}") as tell:
        table = named.table(options.table)
        schema = _schema(named, options.schema, options.table)
        reference = named.table(options.against) if options.against else None
        tell(f"checking {options.table}")
        found = validate(
            table, schema, environment=options.environment, reference=reference, examples=max(0, options.examples)
        )
    emit(options, {"acceptable": found.is_acceptable, **msgspec.to_builtins(found)}, found.lines())
    return 0 if found.is_acceptable else 1


def _schema(named: Named, asked: str | None, table: str) -> Schema:
    if asked is not None and (asked.endswith(".toml") or is_path(asked)):
        from perennial.data.forms import read

        try:
            return read(Path(asked).read_text(encoding="utf-8"), "toml").schema
        except OSError as error:
            raise NotFound(f"the schema cannot be read: {error.strerror}", where=asked) from error
        except UnicodeDecodeError as error:
            raise Invalid("the schema is not UTF-8", where=asked, remedy="save it as UTF-8") from error
    if asked is None and is_path(table):
        raise Invalid(
            f"{table} says not what it must look like",
            remedy="name its schema: --schema FILE.toml, or --schema NAME for the one of a dataset",
        )
    name, _ = dataset_at(asked or table)
    accepted = named.data.schemas.get(name=name)
    if accepted is None:
        raise NotFound(
            f"{name!r} has no schema yet", remedy=f"propose one: perennial data schema infer {name} --save {name}"
        )
    return accepted.schema
