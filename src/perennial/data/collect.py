"""Check what a collect step returned, before it becomes a dataset version.

What no acceptance can mend is refused at once: not a frame, no rows, infinite numbers, a missing target. What breaks
with the accepted schema (a column lost, renamed or of another type) makes a draft that a person may accept; unusual
values are warnings that travel with the version.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from perennial.data.column_types import canonical
from perennial.data.frames import FrameKind, kind_of, to_arrow
from perennial.data.inference import check, infer
from perennial.data.schema import Schema, Violation
from perennial.errors import DataError

__all__ = ["Draft", "draft"]


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A checked table that is not stored yet. `kind` is the library that the collect step speaks."""

    name: str
    table: pa.Table
    kind: FrameKind
    schema: Schema
    violations: list[Violation]
    changes: dict[str, int]

    @property
    def is_acceptable(self) -> bool:
        """Whether it fits the accepted schema, so that it needs nobody's word."""
        return all(violation.severity != "error" for violation in self.violations)

    def refusal(self, version: int) -> DataError:
        """The error that says what a person must decide about this draft, stored as `version`."""
        errors = [violation.says for violation in self.violations if violation.severity == "error"]
        return DataError(
            f"dataset {self.name!r} changed its columns: {'; '.join(errors)}",
            where=f"version {version}, a draft",
            remedy=f"mend the collect step, or accept the change with: perennial data accept {self.name}@{version}",
        )


def draft(
    frame: object,
    *,
    name: str,
    target: str | None = None,
    required: tuple[str, ...] = (),
    previous: Schema | None = None,
    previous_rows: int | None = None,
) -> Draft:
    """Check a collected frame.

    Args:
        frame: What the collect step returned.
        name: Of the dataset.
        target: Column that must be there and complete, because the rows are for training.
        required: Further columns that must be complete, such as the key and the time.
        previous: Schema of the last accepted version.
        previous_rows: Rows of that version.

    Raises:
        DataError: Not a frame, no row or column, infinite numbers, a required column missing or with missing values.
    """
    kind = _kind(frame, name)
    table = canonical(to_arrow(frame))
    if not table.num_rows or not table.num_columns:
        raise DataError(
            f"{name!r} collected {table.num_rows} rows and {table.num_columns} columns",
            remedy="look at the collect step: its source may be empty or its filter too narrow",
        )
    _refuse_infinite(table)
    violations = check(table, previous) if previous else []
    lost = {violation.column: violation.says for violation in violations if violation.kind == "lost"}
    for column in dict.fromkeys(filter(None, (target, *required))):
        _refuse_incomplete(table, column, "target" if column == target else "column", lost.get(column))
    columns = len(previous.columns) if previous else 0
    changes = {"rows": table.num_rows - (previous_rows or 0), "columns": table.num_columns - columns}
    return Draft(name=name, table=table, kind=kind, schema=infer(table), violations=violations, changes=changes)


def _kind(frame: object, name: str) -> FrameKind:
    """The frame's library, with an error that speaks of the collect step."""
    if frame is None:
        raise DataError(f"{name!r} collected nothing", remedy="return a data frame from the collect step")
    return kind_of(frame)


def _refuse_infinite(table: pa.Table) -> None:
    for field in table.schema:
        # `any` before `index`: the first scalar that pyarrow makes imports pandas, which costs half a second.
        if types.is_floating(field.type) and pc.any(pc.is_inf(table.column(field.name))).as_py():
            row = pc.index(pc.is_inf(table.column(field.name)), True).as_py()
            value = table.column(field.name)[row].as_py()
            raise DataError(
                f"column {field.name!r} is infinite ({value})",
                where=f"row {row}",
                remedy="replace infinite values by nulls, or mend the division or logarithm that made them",
            )


def _refuse_incomplete(table: pa.Table, name: str, what: str, lost: str | None) -> None:
    if name not in table.column_names:
        raise DataError(
            lost or f"the {what} {name!r} is not among the collected columns",
            where=f"collected: {', '.join(table.column_names)}",
            remedy=f"collect {name!r}, or name another column in Loop(...)",
        )
    nulls = table.column(name).null_count
    if nulls:
        row = pc.index(pc.is_null(table.column(name)), True).as_py()
        raise DataError(
            f"the {what} {name!r} is missing in {nulls} of {table.num_rows} rows",
            where=f"first in row {row}",
            remedy=f"drop rows without {name!r} in the collect step",
        )
