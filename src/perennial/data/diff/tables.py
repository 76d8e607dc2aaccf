"""Compare two tables by key: rows added, removed and changed, and in which columns.

Larger than memory: DuckDB joins and spills. Without a key that tells rows apart, whole rows are compared, and a changed
row counts as one removed and one added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from perennial.data.diff.columns import ColumnPair, common_type, pair_columns
from perennial.data.scan import Scan
from perennial.data.spilling import quoted, spilling, view
from perennial.errors import DataError
from perennial.store.scratch import scratch_folder

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["CellChange", "ColumnChange", "TableDiff", "diff_tables"]

EXAMPLES = 5
_KEY_TYPES = ("int64", "string", "date", "datetime")


class ColumnChange(Struct, frozen=True, kw_only=True):
    """One column in both tables; `changed` rows, known by their key, hold another value."""

    name: str
    before_name: str
    before_type: str
    after_type: str
    changed: int


class CellChange(Struct, frozen=True, kw_only=True):
    """One changed value, as text; None is a missing one."""

    key: dict[str, str | None]
    column: str
    before: str | None
    after: str | None


class TableDiff(Struct, frozen=True, kw_only=True):
    """What two tables have different. `key` is empty when whole rows were compared.

    `added`, `removed`, `changed` and `unchanged` count rows; `rows_before` = removed + changed + unchanged.
    """

    before: str
    after: str
    rows_before: int
    rows_after: int
    key: list[str]
    added: int
    removed: int
    changed: int
    unchanged: int
    lost_columns: list[str]
    new_columns: list[str]
    columns: list[ColumnChange]
    first_added: list[dict[str, str | None]]
    first_removed: list[dict[str, str | None]]
    first_changes: list[CellChange]

    @property
    def is_equal(self) -> bool:
        """Whether both hold the same rows and the same columns of the same types."""
        moved = any(
            column.name != column.before_name or column.before_type != column.after_type for column in self.columns
        )
        return not (self.added or self.removed or self.changed or self.lost_columns or self.new_columns or moved)


def diff_tables(
    before: Scan,
    after: Scan,
    *,
    scratch: Path,
    key: Sequence[str] = (),
    renames: Mapping[str, str] | None = None,
    examples: int = EXAMPLES,
) -> TableDiff:
    """Compare two tables.

    Args:
        before: The older one.
        after: The newer one.
        scratch: Folder for what is spilled.
        key: Columns, by their newer names, that together tell rows apart; found by itself when left out.
        renames: Newer names by older ones; further ones are found by their values.
        examples: How many keys and changed values to show.

    Raises:
        DataError: A key column is missing, or several rows have one key; names it.
    """
    with spilling(scratch) as connection, scratch_folder(scratch) as folder:
        view(connection, "before", before, folder)
        view(connection, "after", after, folder)
        types = before.types(), after.types()
        pairs = pair_columns(*types, renames=renames or {}, connection=connection)
        if not pairs:
            raise DataError(
                "the tables have no column in common",
                where=f"{before.says}, {after.says}",
                remedy="name what was renamed: --rename OLD=NEW",
            )
        keys = _keys(key, pairs, connection, after.says)
        pairs = keys + [pair for pair in pairs if pair not in keys]
        _align(pairs, connection)
        counted = _by_key(pairs, len(keys), connection) if keys else _by_row(pairs, connection)
        shown = keys or pairs
        paired = {pair.before for pair in pairs}, {pair.after for pair in pairs}
        return TableDiff(
            before=before.says,
            after=after.says,
            key=[pair.after for pair in keys],
            lost_columns=[name for name in types[0] if name not in paired[0]],
            new_columns=[name for name in types[1] if name not in paired[1]],
            columns=[
                ColumnChange(
                    name=pair.after,
                    before_name=pair.before,
                    before_type=pair.before_type,
                    after_type=pair.after_type,
                    changed=counted.by_column.get(pair.after, 0),
                )
                for pair in sorted(pairs, key=lambda pair: list(types[1]).index(pair.after))
            ],
            rows_before=counted.removed + counted.matched,
            rows_after=counted.added + counted.matched,
            added=counted.added,
            removed=counted.removed,
            changed=counted.changed,
            unchanged=counted.matched - counted.changed,
            first_added=_only_in("a", "b", shown, connection, examples, whole_rows=not keys),
            first_removed=_only_in("b", "a", shown, connection, examples, whole_rows=not keys),
            first_changes=_changes(pairs, len(keys), connection, examples) if counted.changed else [],
        )


class _Counted(Struct, frozen=True, kw_only=True):
    added: int
    removed: int
    matched: int
    changed: int = 0
    by_column: dict[str, int] = {}


def _align(pairs: Sequence[ColumnPair], connection: DuckDBPyConnection) -> None:
    """Views b and a: the paired columns in comparable types, called c0, c1, ... (SQL's names ignore case)."""
    for name, table in (("b", "before"), ("a", "after")):
        columns = ["true as here"]
        for number, pair in enumerate(pairs):
            column = quoted(pair.before if name == "b" else pair.after)
            kind = common_type(pair.before_type, pair.after_type)
            columns.append(f"{column if kind is None else f'cast({column} as {kind})'} as c{number}")
        connection.execute(f"create view {name} as select {', '.join(columns)} from {table}")  # noqa: S608


def _keys(
    wanted: Sequence[str], pairs: Sequence[ColumnPair], connection: DuckDBPyConnection, says: str
) -> list[ColumnPair]:
    """The pairs that are the key: those that were asked for, else one column that tells rows apart in both tables."""
    known = {pair.after: pair for pair in pairs}
    if missing := [name for name in wanted if name not in known]:
        raise DataError(
            f"there is no column {missing[0]!r} in both tables, so it cannot be the key",
            where=says,
            remedy=f"both have {', '.join(known)}",
        )
    if wanted:
        chosen = [known[name] for name in wanted]
        for table in ("before", "after"):
            _refuse_repeated(chosen, table, connection)
        return chosen
    for pair in pairs:
        if (
            pair.before_type in _KEY_TYPES
            and pair.after_type in _KEY_TYPES
            and _is_key(pair.before, "before", connection)
            and _is_key(pair.after, "after", connection)
        ):
            return [pair]
    return []


def _is_key(column: str, table: str, connection: DuckDBPyConnection) -> bool:
    name = quoted(column)
    rough = f"select count(*), count({name}), approx_count_distinct({name}) from {table}"  # noqa: S608
    rows, present, distinct = connection.execute(rough).fetchall()[0]
    if not rows or present < rows or distinct < 0.8 * rows:  # its standard error is some percent
        return False
    exact = f"select count(*) from (select distinct {name} from {table})"  # noqa: S608
    return bool(connection.execute(exact).fetchall()[0][0] == rows)


def _refuse_repeated(keys: Sequence[ColumnPair], table: str, connection: DuckDBPyConnection) -> None:
    columns = ", ".join(quoted(pair.before if table == "before" else pair.after) for pair in keys)
    repeated = f"select {columns}, count(*) from {table} group by {columns} having count(*) > 1"  # noqa: S608
    total = connection.execute(f"select count(*) from ({repeated})").fetchall()[0][0]  # noqa: S608
    if not total:
        return
    first = connection.execute(f"select * from ({repeated}) order by all limit 1").fetchall()[0]  # noqa: S608
    value = ", ".join("missing" if part is None else repr(str(part)) for part in first[:-1])
    raise DataError(
        f"{total} keys occur in several rows {table}; the first is {value}, in {first[-1]} rows",
        where=f"key {', '.join(pair.after for pair in keys)}",
        remedy="name further columns with --key, or leave it out to compare whole rows",
    )


def _by_key(pairs: Sequence[ColumnPair], keys: int, connection: DuckDBPyConnection) -> _Counted:
    rest = range(keys, len(pairs))
    both = "b.here and a.here"
    tests = [_differs(number) for number in rest]
    counts = ["count(*) filter (b.here is null)", "count(*) filter (a.here is null)", f"count(*) filter ({both})"]
    counts += [f"count(*) filter ({both} and ({test}))" for test in (" or ".join(tests) or "false", *tests)]
    row = connection.execute(f"select {', '.join(counts)} from b full join a on {_same(keys)}").fetchall()[0]  # noqa: S608
    return _Counted(
        added=row[0],
        removed=row[1],
        matched=row[2],
        changed=row[3],
        by_column={pairs[number].after: changed for number, changed in zip(rest, row[4:], strict=True)},
    )


def _by_row(pairs: Sequence[ColumnPair], connection: DuckDBPyConnection) -> _Counted:
    """Equal rows are matched one by one: three before and two after are one removed."""
    columns = ", ".join(f"c{number}" for number in range(len(pairs)))
    query = f"""
        with counted as (
            select sum(side) as net, count(*) as total
            from (select {columns}, -1 as side from b union all select {columns}, 1 as side from a) group by {columns}
        )
        select coalesce(sum(greatest(net, 0)), 0), coalesce(sum(greatest(-net, 0)), 0),
            coalesce(sum((total - abs(net)) // 2), 0)
        from counted
    """  # noqa: S608
    added, removed, matched = connection.execute(query).fetchall()[0]
    return _Counted(added=int(added), removed=int(removed), matched=int(matched))


def _only_in(
    here: str,
    there: str,
    shown: Sequence[ColumnPair],
    connection: DuckDBPyConnection,
    examples: int,
    *,
    whole_rows: bool,
) -> list[dict[str, str | None]]:
    """The first rows, by their key or whole, that are in one table only."""
    columns = ", ".join(f"c{number}" for number in range(len(shown)))
    if whole_rows:
        query = f"select * from (select {columns} from {here} except all select {columns} from {there})"  # noqa: S608
    else:
        query = f"select {columns} from {here} where not exists (select 1 from {there} where {_same(len(shown))})"  # noqa: S608
    rows = connection.execute(f"{query} order by all limit {examples}").fetchall()
    return [{pair.after: _text(value) for pair, value in zip(shown, row, strict=True)} for row in rows]


def _changes(pairs: Sequence[ColumnPair], keys: int, connection: DuckDBPyConnection, examples: int) -> list[CellChange]:
    """The first changed values in the order of the key."""
    key = [f"a.c{number}" for number in range(keys)]
    rest = range(keys, len(pairs))
    values = [f"{side}.c{number}" for number in rest for side in "ba"]
    anything = " or ".join(_differs(number) for number in rest)
    query = f"""
        select {", ".join(key + values)}, {", ".join(_differs(number) for number in rest)}
        from b join a on {_same(keys)} where {anything} order by {", ".join(key)} limit {examples}
    """  # noqa: S608
    found: list[CellChange] = []
    for row in connection.execute(query).fetchall():
        at = {pair.after: _text(value) for pair, value in zip(pairs[:keys], row[:keys], strict=True)}
        for place, number in enumerate(rest):
            if row[keys + 2 * len(rest) + place]:
                before, after = row[keys + 2 * place : keys + 2 * place + 2]
                found.append(CellChange(key=at, column=pairs[number].after, before=_text(before), after=_text(after)))
    return found[:examples]


def _same(keys: int) -> str:
    return " and ".join(f"b.c{number} is not distinct from a.c{number}" for number in range(keys))


def _differs(number: int) -> str:
    return f"b.c{number} is distinct from a.c{number}"


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
