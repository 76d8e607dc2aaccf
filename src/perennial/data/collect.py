"""Make a dataset version of what was collected: read it, check it, keep bad rows out, store and commit it.

What no acceptance can mend is refused at once: not a frame, no rows, infinite numbers, a missing target. What breaks
with the accepted schema makes a draft that a person may accept, unless bad rows are kept out (quarantine) or stop the
collection; unusual values are warnings that travel with the version.

A frame is a table in memory. A source, a plan or a scan is read piece by piece: while it is small it is treated as the
table that it is, beyond `MEMORY_BYTES` it is stored as it comes, and its row order becomes part of its identity.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from perennial.clock import parse_duration
from perennial.data.column_types import canonical, column_type
from perennial.data.datasets import DatasetVersion
from perennial.data.evolution import adopt, merged
from perennial.data.frames import FrameKind, kind_of, to_arrow
from perennial.data.inference import infer
from perennial.data.scan import BATCH_ROWS, Scan, is_newer, scan_manifest
from perennial.data.schema import Column, OnBadRows, Schema, Violation
from perennial.data.sources.source import After, Reading, Source
from perennial.data.sources.spool import spool
from perennial.data.tables import rows_beyond, write_batches, write_table
from perennial.data.validation import split_bad, validate
from perennial.errors import DataError, Invalid, NotFound, Refused
from perennial.store.files import LocalFiles
from perennial.store.scratch import scratch_folder

if TYPE_CHECKING:
    from perennial.data.datasets import Datasets
    from perennial.data.schemas import Schemas
    from perennial.data.validation import UserCheck
    from perennial.store.objects import ObjectStore
    from perennial.types import Digest

__all__ = ["Draft", "Terms", "collect", "draft", "is_lazy", "refusal"]

MEMORY_BYTES = 16 << 20  # of content, up to which what comes in pieces is one table in memory


class Rooms(Protocol):
    """What collecting needs of a workspace."""

    @property
    def datasets(self) -> Datasets: ...
    @property
    def schemas(self) -> Schemas: ...
    @property
    def objects(self) -> ObjectStore: ...
    @property
    def scratch(self) -> Path: ...


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What collected rows must meet, and what happens to those that do not.

    Attributes:
        target: Column that must be there and complete, because the rows are for training.
        required: Further columns that must be complete, such as the key and the time.
        order_matters: Whether the same rows in another order are other data.
        cursor: Column by which new rows are told from known ones; a source may name its own.
        overlap: How far before the last value to look again.
        schema: To check against instead of the accepted one.
        checks: A person's own, beside those of the schema.
        bad_rows: What happens to rows that break with the schema; None: what the schema says.
    """

    target: str | None = None
    required: tuple[str, ...] = ()
    order_matters: bool = False
    cursor: str | None = None
    overlap: str | int | float | None = None
    schema: Schema | None = None
    checks: Sequence[UserCheck] = ()
    bad_rows: OnBadRows | None = None


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
        return _is_acceptable(self.violations)

    def refusal(self, version: int) -> DataError:
        """The error that says what a person must decide about this draft, stored as `version`."""
        return refusal(self.name, version, self.violations)


def refusal(name: str, version: int, violations: Iterable[Violation]) -> DataError:
    """The error that says what a person must decide about a draft."""
    errors = [violation.says for violation in violations if violation.severity == "error"]
    return DataError(
        f"dataset {name!r} changed its columns: {'; '.join(errors)}"
        if all(violation.kind in ("lost", "type", "new") for violation in violations if violation.severity == "error")
        else f"dataset {name!r} breaks with its schema: {'; '.join(errors)}",
        where=f"version {version}, a draft",
        remedy=f"mend the collect step, or accept the change with: perennial data accept {name}@{version}",
    )


def is_lazy(what: object) -> bool:
    """Whether this is a source, a plan or a scan, to be read piece by piece."""
    return isinstance(what, pl.LazyFrame | Scan | Source)


def draft(
    frame: object,
    *,
    name: str,
    target: str | None = None,
    required: tuple[str, ...] = (),
    previous: Schema | None = None,
    previous_rows: int | None = None,
) -> Draft:
    """Check a collected frame, without storing it.

    Args:
        frame: What the collect step returned.
        name: Of the dataset.
        target: Column that must be there and complete, because the rows are for training.
        required: Further columns that must be complete, such as the key and the time.
        previous: The accepted schema.
        previous_rows: Rows of the last accepted version.

    Raises:
        DataError: Not a frame, no row or column, infinite numbers, a required column missing or with missing values.
    """
    kind = _kind(frame, name)
    table = canonical(to_arrow(frame))
    terms = Terms(target=target, required=required)
    _refuse_empty(name, table.num_rows, table.num_columns)
    _refuse_infinite(table, 0)
    violations = _violations(table, previous, terms)
    _refuse_incomplete(table, terms, 0, _lost(violations))
    columns = len(previous.columns) if previous else 0
    changes = {"rows": table.num_rows - (previous_rows or 0), "columns": table.num_columns - columns}
    return Draft(
        name=name, table=table, kind=kind, schema=infer(table, target=target), violations=violations, changes=changes
    )


def collect(
    what: object,
    *,
    name: str,
    rooms: Rooms,
    terms: Terms | None = None,
    run_id: str | None = None,
    note: str = "",
) -> DatasetVersion:
    """Make a version of a frame, a plan, a scan or a source; equal content is the version that there is already.

    Raises:
        DataError: It cannot be read, or what came can be no dataset.
        Refused: Bad rows stop it, or there are no others. In either case nothing is committed, and what was there stays
            as it was.
    """
    turn = _Turn(what, name, rooms, terms or Terms(), run_id, note)
    with scratch_folder(rooms.scratch) as scratch:
        return turn.run(scratch)


class _Turn:
    """One collection."""

    def __init__(self, what: object, name: str, rooms: Rooms, terms: Terms, run_id: str | None, note: str) -> None:
        self.what = what
        self.name = name
        self.rooms = rooms
        self.terms = terms
        self.run_id = run_id
        self.note = note
        self.before = _accepted(rooms, name)
        known = rooms.schemas.get(name=name)
        own = known.schema if known is not None else self.before.schema if self.before is not None else None
        self.schema = terms.schema or own
        self.cursor = terms.cursor or cast("str | None", getattr(what, "cursor", None))
        self.overlap = terms.overlap if terms.overlap is not None else getattr(what, "overlap", None)

    def run(self, scratch: Path) -> DatasetVersion:
        if self.cursor is not None and self.before is not None:
            made = self._append(self.cursor, self.before, scratch)
            if made is not None:
                return made
        facts = self.before.source if self.before is not None and self.cursor is None else None
        reading = self._read(_folder(scratch, "all"), None, facts)
        if reading.is_unchanged and self.before is not None:
            return self.before
        return self._store(_held(reading.rows, _folder(scratch, "held"), self.name), reading.facts, None, scratch)

    def _append(self, cursor: str, before: DatasetVersion, scratch: Path) -> DatasetVersion | None:
        """Put what is new behind what there is; None when everything must be collected anew."""
        known = (before.source or {}).get("cursor") or {}
        if known.get("column") != cursor or before.kind != "table" or before.manifest is None:
            return None
        last = _value(known["value"], known["type"])
        value = last if self.overlap is None else _earlier(last, self.overlap)
        after = After(column=cursor, value=value, inclusive=self.overlap is not None)
        try:
            reading = self._read(_folder(scratch, "new"), after, before.source)
            if reading.is_unchanged:
                return before
            rows = reading.rows if reading.is_filtered else (_above(piece, after) for piece in _pieces(reading.rows))
            batch = _held(rows, _folder(scratch, "held"), self.name)
        except pl.exceptions.PolarsError as error:
            raise DataError(
                f"column {cursor!r} cannot be compared with the last value, {known['value']}: {error}",
                where=self.name,
                remedy="let the cursor keep its type, or collect under a new name",
            ) from error
        stored = scan_manifest(before.stored, self.rooms.objects, self.name)
        if not _rows(batch):
            return before
        if not fits(batch.schema, stored.schema):
            return None
        if self.overlap is not None:
            batch = _held(_unknown(batch, stored, after, last), _folder(scratch, "unknown"), self.name)
        if not _rows(batch):
            return before
        return self._store(batch, reading.facts, before, scratch)

    def _read(self, scratch: Path, after: After | None, facts: Mapping[str, Any] | None) -> Reading:
        """A reading of whatever was collected."""
        if isinstance(self.what, Source):
            return self.what.read(scratch, after, facts)
        if isinstance(self.what, Scan):
            return Reading(rows=self.what if after is None else self.what.newer(after), is_filtered=True)
        if isinstance(self.what, pl.LazyFrame):
            return Reading(rows=_planned(self.what))
        _kind(self.what, self.name)
        return Reading(rows=iter([to_arrow(self.what)]))

    def _store(
        self, batch: pa.Table | Scan, facts: dict[str, Any], base: DatasetVersion | None, scratch: Path
    ) -> DatasetVersion:
        """Check rows, store the good ones, behind the version `base` when there is one, and commit."""
        if self.cursor is not None:
            facts = {**facts, "cursor": _cursor(batch, self.cursor)}
        batch = batch if isinstance(batch, Scan) else canonical(batch)
        _refuse_empty(self.name, _rows(batch), len(batch.schema))
        if not isinstance(batch, Scan):
            _refuse_infinite(batch, 0)
        found = self._found(batch)
        if not isinstance(batch, Scan):
            _refuse_incomplete(batch, self.terms, 0, _lost(found))
        good, quarantine = self._gate(batch, found, _folder(scratch, "good"))
        remaining = found if quarantine is None else self._found(good)
        previous = None if self.before is None or self.before.kind != "table" else self.before.stored
        objects = self.rooms.objects
        if not isinstance(good, Scan) and self.cursor is None:
            order = self.terms.order_matters
            manifest, logical = write_table(good, objects, order_matters=order, previous=previous)
            rows = good.num_rows
        else:
            to = None if base is None else scan_manifest(base.stored, objects, self.name).schema
            pieces = _sound(good, self.terms, to)
            manifest, logical, rows = write_batches(pieces, objects, previous=previous, append=base is not None)
            if base is None:  # looked at as it is stored, in groups of rows whose size is known
                good = scan_manifest(manifest, objects, self.name)
        if self.before is not None and self.before.logical == logical:
            adopt(self.rooms.schemas, self.before)  # which a process that died may have left undone
            return self.before
        observed = infer(good, target=self.terms.target)
        version = self.rooms.datasets.commit(
            name=self.name,
            logical=logical,
            manifest=manifest,
            rows=rows,
            schema=observed if base is None else merged(base.schema, observed),
            state="accepted" if _is_acceptable(remaining) else "draft",
            parent=self.before.version if self.before is not None else None,
            run_id=self.run_id,
            violations=found,
            changes=_changes(rows, len(batch.schema), self.before),
            source=facts or None,
            note=self.note,
            quarantine=quarantine,
        )
        if version.manifest == manifest:
            adopt(self.rooms.schemas, version)
        return version

    def _found(self, batch: pa.Table | Scan) -> list[Violation]:
        return _violations(batch, self.schema, self.terms)

    def _gate(
        self, batch: pa.Table | Scan, found: list[Violation], scratch: Path
    ) -> tuple[pa.Table | Scan, Digest | None]:
        """What is left when bad rows are kept out, and the manifest of those; or the error that stops it."""
        policy = self.terms.bad_rows or (self.schema.bad_rows if self.schema is not None else "warn")
        errors = [violation.says for violation in found if violation.severity == "error"]
        if not errors or policy == "warn":
            return batch, None
        rows = _rows(batch)
        if policy == "stop":
            raise Refused(
                f"{self.name!r} was stopped: {'; '.join(errors)}",
                where=f"{rows} collected rows",
                remedy='mend the source, or let bad rows be kept out: bad_rows="quarantine"',
            )
        parts = split_bad(batch, _demanded(batch, self.schema), checks=self.terms.checks)
        if not parts.bad_rows:
            return batch, None
        if parts.bad_rows == rows:
            raise Refused(
                f"every row of {self.name!r} is bad: {'; '.join(errors)}",
                where=f"{rows} collected rows",
                remedy="mend the source; nothing was stored, and the last good version stands",
            )
        quarantine, _, _ = write_batches(map(canonical, parts.bad()), self.rooms.objects)
        return _held(parts.good(), scratch, self.name), quarantine


def _accepted(rooms: Rooms, name: str) -> DatasetVersion | None:
    try:
        return rooms.datasets.get(name=name)
    except NotFound:
        return None


def _folder(scratch: Path, name: str) -> Path:
    LocalFiles().mkdirs(scratch / name)
    return scratch / name


def _held(rows: Scan | Iterator[pa.Table], folder: Path, name: str) -> pa.Table | Scan:
    """The rows as something that can be read again: a small table in memory, else files."""
    pieces = _pieces(rows)
    small: list[pa.Table] = []
    size = 0
    for piece in pieces:
        small.append(piece)
        size += piece.nbytes
        if size > MEMORY_BYTES:
            return rows if isinstance(rows, Scan) else spool(chain(small, pieces), folder, name)
    if not small:
        if isinstance(rows, Scan):
            return rows.schema.empty_table()
        raise DataError(f"{name!r} collected nothing", remedy="look at the source: it may be empty")
    return pa.concat_tables(small)


def _pieces(rows: pa.Table | Scan | Iterator[pa.Table], columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    if isinstance(rows, Scan):
        return rows.pieces(columns=columns)
    if isinstance(rows, Iterator):
        return rows
    return iter([rows if columns is None else rows.select(list(columns))])


def _planned(plan: pl.LazyFrame) -> Iterator[pa.Table]:
    yield pl.DataFrame(schema=plan.collect_schema()).to_arrow()
    for frame in plan.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True):
        yield frame.to_arrow()


def _rows(batch: pa.Table | Scan) -> int:
    return batch.count() if isinstance(batch, Scan) else batch.num_rows


def _sound(batch: pa.Table | Scan, terms: Terms, to: pa.Schema | None) -> Iterator[pa.Table]:
    """The rows in canonical types, or those of `to`, refused when something is in them that can be no dataset."""
    start = 0
    for piece in _pieces(batch):
        table = canonical(piece)
        _refuse_infinite(table, start)
        _refuse_incomplete(table, terms, start, None)
        start += table.num_rows
        yield table if to is None else _cast(table, piece.schema, to)


def _cast(table: pa.Table, was: pa.Schema, to: pa.Schema) -> pa.Table:
    """A canonical table with the columns of another; one without values takes any type (`fits`)."""
    columns = [
        pa.nulls(table.num_rows, field.type)
        if types.is_null(was.field(field.name).type)
        else table.column(field.name).cast(field.type)
        for field in to
    ]
    return pa.table(columns, schema=to)


def _violations(batch: pa.Table | Scan, schema: Schema | None, terms: Terms) -> list[Violation]:
    if schema is None and not terms.checks:
        return []
    return validate(batch, _demanded(batch, schema), checks=terms.checks).violations


def _demanded(batch: pa.Table | Scan, schema: Schema | None) -> Schema:
    """The schema to check against; before there is one, only a person's own checks count."""
    if schema is not None:
        return schema
    columns = [Column(name=field.name, type=column_type(field.type), nullable=True) for field in batch.schema]
    return Schema(columns=columns)


def _is_acceptable(violations: Iterable[Violation]) -> bool:
    return all(violation.severity != "error" for violation in violations)


def _lost(violations: Iterable[Violation]) -> dict[str, str]:
    return {violation.column: violation.says for violation in violations if violation.kind == "lost"}


def _changes(rows: int, columns: int, before: DatasetVersion | None) -> dict[str, int]:
    """How many rows and columns there are more than before."""
    if before is None:
        return {"rows": rows, "columns": columns}
    return {"rows": rows - before.rows, "columns": columns - len(before.schema.columns)}


# cursors


def _cursor(batch: pa.Table | Scan, column: str) -> dict[str, Any]:
    """The largest value of the cursor among these rows, as it is stored with the version."""
    if column not in batch.schema.names:
        raise DataError(
            f"there is no column {column!r} to go on from",
            remedy=f"name another cursor: {', '.join(batch.schema.names)}",
        )
    kind = batch.schema.field(column).type
    tops = [pc.max(piece.column(0)).as_py() for piece in _pieces(batch, [column])]
    tops = [top for top in tops if top is not None]
    if not tops or not (types.is_integer(kind) or types.is_floating(kind) or _is_text(kind) or types.is_temporal(kind)):
        raise DataError(
            f"column {column!r} ({kind}) tells nothing about what is new",
            remedy="name a column of numbers, times or texts that grows with each new row",
        )
    top: Any = max(tops)
    value = top.isoformat() if isinstance(top, dt.date | dt.datetime) else top
    return {"column": column, "value": value, "type": str(kind)}


def _is_text(kind: pa.DataType) -> bool:
    return types.is_string(kind) or types.is_large_string(kind)


def _value(value: Any, kind: str) -> Any:
    """A stored value of a cursor as it was."""
    if kind.startswith("timestamp"):
        return dt.datetime.fromisoformat(value)
    return dt.date.fromisoformat(value) if kind.startswith("date") else value


def _earlier(value: Any, overlap: str | float) -> Any:
    if isinstance(value, dt.date):
        if isinstance(overlap, str):
            try:
                return value - dt.timedelta(seconds=parse_duration(overlap))
            except ValueError:
                pass
    elif isinstance(value, int | float) and isinstance(overlap, int | float):
        return value - overlap
    raise Invalid(
        f"an overlap of {overlap!r} cannot be taken from {value!r}",
        remedy='for times write a duration such as "2h", for numbers a number; texts take none',
    )


def _above(piece: pa.Table, after: After) -> pa.Table:
    wanted = is_newer(after, piece.schema.field(after.column).type)
    return cast(pl.DataFrame, pl.from_arrow(piece)).filter(wanted).to_arrow()


def _unknown(batch: pa.Table | Scan, stored: Scan, after: After, last: Any) -> Iterator[pa.Table]:
    """What is not known yet of rows that overlap with stored ones; of equal rows, as many as there are more now."""
    known = canonical(pa.concat_tables([stored.schema.empty_table(), *stored.newer(after)]))
    window: list[pa.Table] = []
    beyond = After(column=after.column, value=last)
    for piece in _pieces(batch):
        yield _cast(canonical(above := _above(piece, beyond)), above.schema, known.schema)
        wanted = is_newer(beyond, piece.schema.field(after.column).type)
        window.append(cast(pl.DataFrame, pl.from_arrow(piece)).filter(~wanted).to_arrow())
    again = pa.concat_tables(window)
    yield rows_beyond(_cast(canonical(again), again.schema, known.schema), known)


def fits(batch: pa.Schema, stored: pa.Schema) -> bool:
    """Whether rows of these columns can come behind stored ones: the same names, and types that become theirs."""
    new = {field.name: field.type for field in batch}
    return new.keys() == set(stored.names) and all(
        types.is_null(new[field.name])
        or column_type(new[field.name]) == column_type(field.type)
        or (column_type(new[field.name]), column_type(field.type)) == ("int64", "float64")
        for field in stored
    )


# what can be no dataset


def _kind(frame: object, name: str) -> FrameKind:
    """The frame's library, with an error that speaks of the collect step."""
    if frame is None:
        raise DataError(f"{name!r} collected nothing", remedy="return a data frame from the collect step")
    return kind_of(frame)


def _refuse_empty(name: str, rows: int, columns: int) -> None:
    if not rows or not columns:
        raise DataError(
            f"{name!r} collected {rows} rows and {columns} columns",
            remedy="look at the collect step: its source may be empty or its filter too narrow",
        )


def _refuse_infinite(table: pa.Table, start: int) -> None:
    for field in table.schema:
        # `any` before `index`: the first scalar that pyarrow makes imports pandas, which costs half a second.
        if types.is_floating(field.type) and pc.any(pc.is_inf(table.column(field.name))).as_py():
            row = pc.index(pc.is_inf(table.column(field.name)), True).as_py()
            value = table.column(field.name)[row].as_py()
            raise DataError(
                f"column {field.name!r} is infinite ({value})",
                where=f"row {start + row}",
                remedy="replace infinite values by nulls, or mend the division or logarithm that made them",
            )


def _refuse_incomplete(table: pa.Table, terms: Terms, start: int, lost: Mapping[str, str] | None) -> None:
    """Refuse a table in which the target or another required column is missing, or values of it are."""
    for name in dict.fromkeys(filter(None, (terms.target, *terms.required))):
        what = "target" if name == terms.target else "column"
        if name not in table.column_names:
            raise DataError(
                (lost or {}).get(name) or f"the {what} {name!r} is not among the collected columns",
                where=f"collected: {', '.join(table.column_names)}",
                remedy=f"collect {name!r}, or name another column in Loop(...)",
            )
        nulls = table.column(name).null_count
        if nulls:
            row = pc.index(pc.is_null(table.column(name)), True).as_py()
            raise DataError(
                f"the {what} {name!r} is missing in {nulls} of {table.num_rows} rows",
                where=f"first in row {start + row}",
                remedy=f"drop rows without {name!r} in the collect step",
            )
