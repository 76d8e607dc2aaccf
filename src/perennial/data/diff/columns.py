"""Which columns two tables share, which are lost or new, and which only have another name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from perennial.data.spilling import quoted
from perennial.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from duckdb import DuckDBPyConnection

__all__ = ["ColumnPair", "common_type", "pair_columns"]

SAMPLE_VALUES = 2000  # distinct values looked at to tell whether a column was renamed
SHARED = 0.5  # least share of them that the renamed column holds too; a float column needs all but a few
_NUMBERS = ("int64", "float64", "bool")
_TIMES = ("date", "datetime")


class ColumnPair(Struct, frozen=True, kw_only=True):
    """One column in both tables: its name and type before and after."""

    before: str
    after: str
    before_type: str
    after_type: str

    @property
    def is_renamed(self) -> bool:
        return self.before != self.after

    @property
    def is_retyped(self) -> bool:
        return self.before_type != self.after_type


def pair_columns(
    before: Mapping[str, str],
    after: Mapping[str, str],
    *,
    renames: Mapping[str, str],
    connection: DuckDBPyConnection,
) -> list[ColumnPair]:
    """The columns that are in both tables, in the order of the newer one.

    A column that is gone and one that is new count as one when their types go together and most values of the one are
    in the other. `connection` knows both tables as the views "before" and "after".

    Raises:
        DataError: A rename speaks of columns that are not there.
    """
    for old, new in renames.items():
        if old not in before or new not in after:
            missing, where = (old, "before") if old not in before else (new, "after")
            raise DataError(
                f"there is no column {missing!r} {where}, so it cannot be renamed",
                remedy=f"its columns are {', '.join(before if where == 'before' else after)}",
            )
    named = {new: old for old, new in renames.items()}
    named |= {name: name for name in after if name in before and name not in named and name not in renames}
    lost = [name for name in before if name not in named.values()]
    for name in [name for name in after if name not in named]:
        if (match := _renamed_from(name, lost, before, after, connection)) is not None:
            named[name] = match
            lost.remove(match)
    return [
        ColumnPair(before=named[name], after=name, before_type=before[named[name]], after_type=after[name])
        for name in after
        if name in named
    ]


def common_type(before: str, after: str) -> str | None:
    """The SQL type in which values of two canonical types are compared; None: as they are.

    >>> common_type("int64", "float64"), common_type("date", "datetime"), common_type("string", "int64")
    (None, 'TIMESTAMPTZ', 'VARCHAR')
    """
    if before == after or (before in _NUMBERS and after in _NUMBERS):
        return None
    return "TIMESTAMPTZ" if before in _TIMES and after in _TIMES else "VARCHAR"


def _renamed_from(
    name: str, lost: list[str], before: Mapping[str, str], after: Mapping[str, str], connection: DuckDBPyConnection
) -> str | None:
    def kin(old: str) -> bool:
        return before[old] == after[name] or (before[old] in _NUMBERS and after[name] in _NUMBERS)

    shares = {old: _shared(old, name, connection) for old in lost if kin(old)}
    best = max(shares, key=shares.__getitem__, default=None)
    return best if best is not None and shares[best] > SHARED else None


def _shared(old: str, new: str, connection: DuckDBPyConnection) -> float:
    """The share of the first distinct values of a column that another one holds too."""
    query = f"""
        with seen as (select distinct {quoted(old)} as value from before where value is not null limit {SAMPLE_VALUES})
        select count(*), count(*) filter (value in (select {quoted(new)} from after)) from seen
    """  # noqa: S608  names are quoted
    found = connection.execute(query).fetchone()
    assert found is not None
    return found[1] / found[0] if found[0] > 1 else 0.0
