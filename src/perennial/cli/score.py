"""`perennial score`: a model's answers to a table of any size, in a file or as a version of a dataset.

The model is loaded in processes of its own, confined like those of the prediction service; code in it runs only where
somebody vouched for it, as everywhere.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from perennial.cli.data.named import TABLE, TABLE_HELP, Named
from perennial.cli.names import model_or_alias
from perennial.cli.output import common, counted, emit, here, progress
from perennial.errors import Invalid

if TYPE_CHECKING:
    from perennial.models.sandbox import Rules

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    common(parser)
    parser.add_argument(
        "model", metavar="NAME[@VERSION]|PATH", help="a version here, or a package: a folder or archive of `export`"
    )
    parser.add_argument("input", metavar=TABLE, help=f"the rows: {TABLE_HELP}")
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="FILE|NAME",
        help="a .parquet, .csv, .jsonl or .arrow file; any other name is a dataset, which gets a version",
    )
    parser.add_argument(
        "--keep", metavar="COLUMNS", help="columns to write beside the answers: a,b or all or none (default: key, time)"
    )
    parser.add_argument(
        "--processes", type=int, metavar="N", help="how many hold the model (default: one for each core)"
    )
    parser.add_argument("--native", action="store_true", help="ask the toolkit's own model, not the compiled one")
    parser.add_argument(
        "--trust-code", action="store_true", help="of a PATH: you know where it comes from, and code in it may run"
    )


def run(options: argparse.Namespace) -> int:
    from perennial.models.scoring.table import Scoring, score
    from perennial.store.scratch import scratch_folder, scratch_of_user

    if options.processes is not None and not 1 <= options.processes <= 256:
        raise Invalid("how many processes?", remedy="--processes takes 1 to 256")
    began = time.monotonic()
    with Named(options.home) as named, _package(options, named) as (folder, trusted, rules):
        rows = named.table(options.input)
        scoring = Scoring(
            folder=folder,
            trusted=trusted,
            native=options.native,
            rules=rules,
            processes=options.processes,
            keep=_keep(options.keep, rows.schema.names),
        )
        is_file = _is_file(options.output)
        with progress("reading the table") as tell, scratch_folder(scratch_of_user()) as scratch:

            def told(done: int) -> None:
                tell(f"{counted(done, 'row')}, {done / (time.monotonic() - began):,.0f} rows a second")

            target = Path(options.output) if is_file else scratch / "answers.parquet"
            scored = score(rows, scoring, target, told=told)
            version = None if is_file else _collected(named, target, options)
    seconds = time.monotonic() - began
    output = str(Path(options.output).absolute()) if is_file else f"{options.output}@{version}"
    result = {
        "output": output,
        "rows": scored.rows,
        "unanswered": scored.unanswered,
        "columns": scored.columns,
        "form": scored.form,
        "processes": scored.processes,
        "seconds": round(seconds, 3),
    }
    how = f"{scored.form} model, {counted(scored.processes, 'process').replace('processs', 'processes')}"
    lines = [f"{here(output) if is_file else output}: {counted(scored.rows, 'row')} in {seconds:.1f} s ({how})"]
    if scored.unanswered:
        lines.append(f"{counted(scored.unanswered, 'row')} without an answer: the column `error` says why")
    emit(options, result, lines)
    return 1 if scored.unanswered else 0


@contextmanager
def _package(options: argparse.Namespace, named: Named) -> Generator[tuple[Path, bool, Rules]]:
    """The checked-out package, whether its code may run, and how who loads it is confined."""
    from perennial.models.archive import is_archive, unpack
    from perennial.models.package import MANIFEST, checkout, verify
    from perennial.models.sandbox import Rules, rules_of
    from perennial.registry.version import package_of
    from perennial.store.scratch import scratch_folder, scratch_of_user

    path = Path(options.model)
    with scratch_folder(scratch_of_user()) as scratch:
        if path.is_file() and is_archive(path):
            unpack(path, scratch / "unpacked")
            found = next((scratch / "unpacked").rglob(MANIFEST), scratch / "unpacked" / MANIFEST)
            path = found.parent
        if path.is_dir() and (path / MANIFEST).is_file():
            verify(path)
            yield path, options.trust_code, Rules()
            return
        if path.is_dir() or path.is_file() or "/" in options.model:
            raise Invalid(
                "this is no model package",
                where=options.model,
                remedy="name a version, or what `perennial models export` wrote",
            )
        ws = named.workspace
        package = package_of(ws.models.get(**cast("dict[str, Any]", model_or_alias(options.model))))
        folder = checkout(package, ws.objects, ws.folder.serving_cache)
        yield folder, ws.models.is_trusted(package=package), rules_of(ws.settings)


def _keep(text: str | None, names: list[str]) -> list[str] | None:
    """
    >>> _keep("all", ["a", "b"]), _keep("none", ["a"]), _keep("b, a", ["a", "b"]), _keep(None, ["a"])
    (['a', 'b'], [], ['b', 'a'], None)
    """
    if text is None:
        return None
    return names if text == "all" else [] if text == "none" else [name.strip() for name in text.split(",")]


def _is_file(output: str) -> bool:
    """Whether the answers go to a file. A name without an ending is a dataset's.

    Raises:
        Invalid: An ending that is none of a table's.
    """
    from perennial.data.streamed import ENDINGS, ending_of

    if ending_of(output) is not None:
        return True
    if "/" in output or "." in output:
        raise Invalid(f"{output!r} says no format", remedy=f"end it in {', '.join(ENDINGS)}, or name a dataset")
    return False


def _collected(named: Named, file: Path, options: argparse.Namespace) -> int:
    from perennial.data.collect import collect
    from perennial.data.scan import scan_files

    note = f"answers of {options.model} to {options.input}"
    rows = scan_files([file], f"the answers of {options.model}")
    return collect(rows, name=options.output, rooms=named.data, note=note).version
