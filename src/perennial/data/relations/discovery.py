"""Discover what holds between the columns of a table, from data that have errors.

Learned from a sample that is spread over the table; what is told about a larger table has then been counted in all of
its rows. The cost of the learning is that of sorting the sample once for each pair of columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec
import polars as pl
import pyarrow as pa

from perennial.data.relations.dependencies import Rule, find_rules, least_group
from perennial.data.relations.orders import HOLDS, find_orders
from perennial.data.relations.shapes import patterns
from perennial.data.relations.texts import Texts, encode, text_sample
from perennial.data.scan import Scan, scan
from perennial.data.schema import Dependency, Order

__all__ = ["SAMPLE_ROWS", "Relations", "discover"]

SAMPLE_ROWS = 20_000
PART_ROWS = 10_000_000  # rows of which each may be a group of its own that are grouped at once
SLACK = 0.05  # in the whole table a dependency may hold for this share of rows less than in the sample


@dataclass(frozen=True)
class Relations:
    """What holds between the columns of a table, and within them.

    Attributes:
        keys: Columns of which each alone has every value once, and no missing one.
        dependencies: Rows that agree in the determinants agree in the dependent, but for errors.
        orders: Columns of which one is never above the other, but for errors.
        patterns: For each column of few forms their regular expressions (Rust's syntax, the whole text).
    """

    keys: list[list[str]] = field(default_factory=list)
    dependencies: list[Dependency] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    patterns: dict[str, list[str]] = field(default_factory=dict)


def discover(what: pa.Table | Scan, *, sample_rows: int = SAMPLE_ROWS) -> Relations:
    """Keys, dependencies, orders and patterns of a table.

    A column that is a key, or nearly one, determines all others; that is not told as a dependency.

    Args:
        what: A table; it may be larger than memory.
        sample_rows: How many rows to learn from, of up to twice as many all are taken.

    >>> table = pa.table({"city": ["Bend", "Gary", "Reno"] * 20, "state": ["OR", "IN", "NV"] * 20})
    >>> [(found.determinants, found.dependent) for found in discover(table).dependencies]
    [(['state'], 'city'), (['city'], 'state')]
    """
    sample, rows = text_sample(what, sample_rows)
    columns = encode(sample)
    is_whole = sample.height == rows
    found = Relations(
        keys=[[column.name] for column in columns if len(column.values) == column.distinct == sample.height > 1],
        dependencies=[_dependency(rule, columns) for rule in find_rules(columns, is_whole=is_whole)],
        orders=find_orders(columns),
        patterns={column.name: made for column in columns if (made := patterns(column))},
    )
    if is_whole:
        return found
    source = what if isinstance(what, Scan) else scan(what)
    return _confirmed(found, source.lazy(), {column.name: column for column in columns}, rows)


def _dependency(rule: Rule, columns: Sequence[Texts]) -> Dependency:
    names = [columns[index].name for index in rule.determinants]
    return Dependency(determinants=names, dependent=columns[rule.dependent].name, holds=rule.holds)


def _confirmed(found: Relations, plan: pl.LazyFrame, columns: Mapping[str, Texts], rows: int) -> Relations:
    """What still holds in all rows, with the shares of rows that keep it there.

    Rows are grouped by one dependency at a time, and where the sample does not show that the groups are few, by one
    part of the groups at a time: memory does not grow with the table.
    """
    dependencies: list[Dependency] = []
    for dependency in found.dependencies:
        determinants = [columns[name] for name in dependency.determinants]
        holds, group = _counted(plan, dependency, _parts(determinants, rows))
        least = least_group(determinants)
        if group >= least and holds >= dependency.holds - SLACK:
            dependencies.append(msgspec.structs.replace(dependency, holds=holds))
    keys = [key for key in found.keys if _is_key(plan, key[0], _parts([columns[key[0]]], rows))]
    orders = [counted for order in found.orders if (counted := _ordered(plan, order)).holds >= HOLDS]
    return replace(found, keys=keys, dependencies=dependencies, orders=orders)


def _parts(determinants: Sequence[Texts], rows: int) -> int:
    """Into how many parts to divide the groups of these columns."""
    are_few = all(2 * column.distinct < len(column.codes) for column in determinants)
    return 1 if are_few else 1 + rows // PART_ROWS


def _counted(plan: pl.LazyFrame, dependency: Dependency, parts: int) -> tuple[float, float]:
    """The share of rows that keep it, and the rows of a group on average."""
    names = [*dependency.determinants, dependency.dependent]
    keep = every = groups = 0
    for part in range(parts):
        rows = plan.select(names).drop_nulls().filter(_part(dependency.determinants, part, parts))
        pairs = rows.group_by(names).agg(pl.len().alias("rows"))
        most = pairs.group_by(dependency.determinants).agg(pl.max("rows").alias("most"), pl.sum("rows").alias("all"))
        counted = most.select(pl.sum("most"), pl.sum("all"), pl.len().alias("groups")).collect(engine="streaming")
        keep, every, groups = (
            before + more for before, more in zip((keep, every, groups), counted.row(0), strict=True)
        )
    return keep / max(every, 1), every / max(groups, 1)


def _is_key(plan: pl.LazyFrame, name: str, parts: int) -> bool:
    """Whether each value is there once, and none is missing."""
    values = plan.select(name)
    is_bad = (pl.col("len") > 1) | pl.col(name).is_null()
    repeated = (
        values.filter(_part([name], part, parts)).group_by(name).len().filter(is_bad).head(1) for part in range(parts)
    )
    return all(found.collect(engine="streaming").is_empty() for found in repeated)


def _part(names: Sequence[str], part: int, parts: int) -> pl.Expr:
    return pl.lit(value=True) if parts == 1 else pl.struct(names).hash(0) % parts == part


def _ordered(plan: pl.LazyFrame, order: Order) -> Order:
    """The order with the share of all rows that keep it; one of texts keeps the share of the sample."""
    types = plan.collect_schema()
    if types[order.lower] != types[order.upper] or types[order.lower] == pl.String:
        return order
    lower, upper = pl.col(order.lower), pl.col(order.upper)
    counted = plan.select((lower <= upper).mean(), (lower < upper).mean().alias("strict")).collect(engine="streaming")
    holds, strict = counted.row(0)
    return msgspec.structs.replace(order, holds=float(holds), strict=holds == strict)
