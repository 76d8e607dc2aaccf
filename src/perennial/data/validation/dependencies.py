"""Rows that break a dependency: those whose value is not the usual one of the rows that agree with them.

What is counted are the different combinations, not the rows. When there are too many, the table is read several times,
each time for a share of the determinants.
"""

from __future__ import annotations

import polars as pl

from perennial.data.schema import Dependency
from perennial.data.validation.rules import Broken
from perennial.data.validation.sweep import Table

__all__ = ["breaking"]

COMBINATIONS = 1 << 22  # held at a time
GROUPS = 100_000  # of which rows are looked for
_COUNT, _USUAL, _ROW = "\1count", "\1usual", "\1row"


def breaking(table: Table, dependency: Dependency, *, examples: int) -> Broken:
    """How many rows break it, and the first of them; a missing value breaks nothing."""
    keys = dependency.determinants
    found = Broken()
    broken: list[pl.DataFrame] = []
    shares, share = 1, 0
    while share < shares:
        groups = _groups(table, dependency, share, shares)
        if groups is None:
            if shares == 1 << 10:
                break  # more combinations than that are no dependency of a table that fits a disk
            shares, share, found, broken = shares * 4, 0, Broken(), []
            continue
        found.among += int(groups[_COUNT].sum())
        usual = (
            groups.sort(_COUNT, dependency.dependent, descending=[True, False])
            .group_by(keys)
            .agg(
                pl.col(dependency.dependent).first().alias(_USUAL),
                (pl.col(_COUNT).sum() - pl.col(_COUNT).first()).alias(_COUNT),
            )
        )
        usual = usual.filter(pl.col(_COUNT) > 0)
        found.count += int(usual[_COUNT].sum())
        broken.append(usual.head(GROUPS).drop(_COUNT))
        share += 1
    if found.count:
        _fetch(table, dependency, pl.concat(broken).head(GROUPS), found, examples)
    return found


def _groups(table: Table, dependency: Dependency, share: int, shares: int) -> pl.DataFrame | None:
    """How often each combination occurs; None when there are too many."""
    keys, names = dependency.determinants, [*dependency.determinants, dependency.dependent]
    mine = pl.struct(keys).hash() % shares == share
    held: pl.DataFrame | None = None
    for _, plan in table.pieces(names):
        plan = plan.drop_nulls() if shares == 1 else plan.drop_nulls().filter(mine)
        more = plan.group_by(names).agg(pl.len().alias(_COUNT)).collect()
        if held is not None:
            more = pl.concat([held, more]).group_by(names).agg(pl.col(_COUNT).sum())
        held = more
        if held.height > COMBINATIONS:
            return None
    if held is None:
        return table.empty().select(names).with_columns(pl.lit(0, dtype=pl.UInt32).alias(_COUNT)).head(0)
    return held


def _fetch(table: Table, dependency: Dependency, usual: pl.DataFrame, found: Broken, examples: int) -> None:
    keys, dependent = dependency.determinants, pl.col(dependency.dependent)
    shown = pl.format("{} for {}, usually {}", dependent, pl.concat_str(keys, separator=", "), pl.col(_USUAL))
    for first, plan in table.pieces([*keys, dependency.dependent]):
        rows = plan.with_row_index(_ROW, first).join(usual.lazy(), on=keys, how="inner")
        bad = rows.filter(dependent != pl.col(_USUAL)).sort(_ROW).head(examples - len(found.rows))
        for row, value in bad.select(_ROW, shown.alias("\1shown")).collect().iter_rows():
            found.rows.append(row)
            found.values.append(value)
        if len(found.rows) == examples:
            return
