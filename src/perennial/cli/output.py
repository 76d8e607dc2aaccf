"""What commands print: results as text or JSON, errors with what to do next, progress of what takes a while."""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from perennial.clock import iso
from perennial.errors import ConfigError, Mistake, PerennialError, Refused, UserCodeError
from perennial.types import Micros

__all__ = ["common", "counted", "emit", "explain", "here", "moment", "progress", "say", "table", "write"]

QUIET_S = 1.0  # what is done by then needs no progress


def common(parser: argparse.ArgumentParser) -> None:
    """The options of every command."""
    parser.add_argument("--home", metavar="FOLDER|URL", help="the workspace (default: PERENNIAL_HOME or .perennial)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def emit(options: argparse.Namespace, value: Any, lines: Iterable[str]) -> None:
    """Print the result: `value` with --json, else the lines, which are not even made then."""
    if options.json:
        print(json.dumps(value, ensure_ascii=False))
    else:
        for line in lines:
            print(line)
    sys.stdout.flush()  # `up` goes on running after it has said where it listens, and a pipe is read by the block


def write(path: Path, content: str) -> None:
    """Write the file that a person asked for, whole or not at all.

    Raises:
        ConfigError: It cannot be written there.
    """
    from perennial.store.files import LocalFiles

    try:
        LocalFiles().write_atomic(path.absolute(), content.encode())
    except OSError as error:
        raise ConfigError(
            f"the file cannot be written: {error.strerror}", where=str(path), remedy="name another path"
        ) from error


def explain(error: PerennialError, *, as_json: bool = False) -> int:
    """Print an error with its remedy; the exit code for it."""
    kind = type(error).__name__
    if as_json:
        told = {"error": kind, "what": error.what, "where": error.where, "remedy": error.remedy}
        print(json.dumps({"error": told}, ensure_ascii=False))
    print(f"{kind}: {error}", file=sys.stderr)
    return 1 if isinstance(error, Refused) else 2 if isinstance(error, Mistake | UserCodeError) else 3


def say(text: str) -> None:
    """Tell what goes on, beside the result."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def progress(doing: str) -> Generator[Callable[[str], None]]:
    """While the block runs, tell every few seconds what it does; the function given changes what that is."""
    now = [doing]
    done = threading.Event()

    def tell() -> None:
        began, wait = time.monotonic(), QUIET_S
        while not done.wait(wait):
            say(f"{now[0]} ... {time.monotonic() - began:.0f} s")
            wait = min(wait * 2, 15.0)

    def change(text: str) -> None:
        now[0] = text

    threading.Thread(target=tell, daemon=True).start()
    try:
        yield change
    finally:
        done.set()


def table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> Iterator[str]:
    """Lines of aligned columns: `columns` maps keys of the rows to headings."""
    cells = [list(columns.values())] + [[_cell(row.get(key)) for key in columns] for row in rows]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def moment(at: int | None) -> str:
    """A moment as people read it."""
    return "-" if at is None else iso(Micros(at // 1_000_000 * 1_000_000)).replace("T", " ").removesuffix("Z")


def counted(count: int, noun: str) -> str:
    """
    >>> counted(1, "file"), counted(10_000, "row")
    ('1 file', '10,000 rows')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def here(path: str) -> str:
    """A path as seen from the current folder when it lies in it, else as it is."""
    return os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else path


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = "-" if value is None or value == "" else str(value)
    return " ".join(text.split())[:120]
