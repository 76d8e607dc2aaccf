"""What two tables or folders have different, as lines for a person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from perennial.data.diff.tables import TableDiff

if TYPE_CHECKING:
    from perennial.data.files.tree import Change
    from perennial.data.profile.drift import ColumnDrift

__all__ = ["file_lines", "table_lines"]

SHOWN_FILES = 20
SHOWN_SHIFTS = 10
SHOWN_COLUMNS = 6  # of a row, where no key names it


def table_lines(found: TableDiff, shifts: Sequence[ColumnDrift] = ()) -> Iterator[str]:
    """Rows, columns, the first changes, and which columns are distributed otherwise."""
    how = (
        f"by {', '.join(found.key)}"
        if found.key
        else "by whole rows (no column tells rows apart; name some with --key)"
    )
    yield f"{found.before} -> {found.after}: {found.rows_before:,} -> {found.rows_after:,} rows, {how}"
    if found.is_equal:
        yield "  the same rows and columns"
    else:
        yield (
            f"  {found.added:,} row{'' if found.added == 1 else 's'} added, {found.removed:,} removed, "
            f"{found.changed:,} changed, {found.unchanged:,} the same"
        )
    for name in found.new_columns:
        yield f"  + column {name}"
    for name in found.lost_columns:
        yield f"  - column {name}"
    for column in found.columns:
        if column.name != column.before_name:
            yield f"  ~ column {column.before_name} is called {column.name}"
        if column.before_type != column.after_type:
            yield f"  ~ column {column.name}: {column.before_type} -> {column.after_type}"
        if column.changed:
            yield f"  ~ column {column.name}: {column.changed:,} value{'' if column.changed == 1 else 's'} changed"
    for sign, keys in (("+", found.first_added), ("-", found.first_removed)):
        for key in keys:
            yield f"  {sign} {_key(key)}"
    for change in found.first_changes:
        yield f"  ~ {_key(change.key)}  {change.column}: {_value(change.before)} -> {_value(change.after)}"
    shifted = [shift for shift in shifts if shift.decision == "shifted"]
    for shift in shifted[:SHOWN_SHIFTS]:
        yield f"  ! {shift.column} is distributed otherwise: {shift.says}"
    if shifts and not shifted:
        yield "  no column is distributed otherwise, beyond the tolerance and noise"


def file_lines(before: str, after: str, changes: Sequence[Change]) -> Iterator[str]:
    """Files added, removed and changed, the first of them by name."""
    added = sum(change.before is None for change in changes)
    removed = sum(change.after is None for change in changes)
    changed = len(changes) - added - removed
    files = "file" if added == 1 else "files"
    yield f"{before} -> {after}: {added:,} {files} added, {removed:,} removed, {changed:,} changed"
    for change in islice(changes, SHOWN_FILES):
        sign = "+" if change.before is None else "-" if change.after is None else "~"
        sizes = " -> ".join(f"{entry.size:,}" for entry in (change.before, change.after) if entry is not None)
        yield f"  {sign} {_path(change.path)} ({sizes} bytes)"
    if len(changes) > SHOWN_FILES:
        yield f"  and {len(changes) - SHOWN_FILES:,} more: --json lists all"


def _key(key: dict[str, str | None]) -> str:
    told = ", ".join(f"{name} {_value(value)}" for name, value in islice(key.items(), SHOWN_COLUMNS))
    return told if len(key) <= SHOWN_COLUMNS else f"{told} and {len(key) - SHOWN_COLUMNS} columns more"


def _value(text: str | None) -> str:
    return "missing" if text is None else repr(text) if text.strip() != text or not text else text


def _path(path: bytes) -> str:
    return path.decode(errors="backslashreplace").replace("\n", "\\n")
