"""Discover what holds between the columns of a table, from data that have errors.

Learned from a sample that is spread over the table; what is told about a larger table has then been counted in all of
its rows. The cost of the learning is that of sorting the sample once for each pair of columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import msgspec
import polars as pl
import pyarrow as pa

from perennial.data.relations.dependencies import GROUP, Rule, find_rules
from perennial.data.relations.orders import HOLDS, find_orders
from perennial.data.relations.shapes import patterns
from perennial.data.relations.texts import Texts, encode, text_sample
from perennial.data.scan import Scan, scan
from perennial.data.schema import Dependency, Order

__all__ = ["SAMPLE_ROWS", "Relations", "discover"]

SAMPLE_ROWS = 20_000
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
        sample_rows: How many rows to learn from, up to twice as many are taken.

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
    return found if is_whole else _confirmed(found, what if isinstance(what, Scan) else scan(what))


def _dependency(rule: Rule, columns: Sequence[Texts]) -> Dependency:
    names = [columns[index].name for index in rule.determinants]
    return Dependency(determinants=names, dependent=columns[rule.dependent].name, holds=rule.holds)


def _confirmed(found: Relations, source: Scan) -> Relations:
    """What still holds in all rows, with the shares of rows that keep it there."""
    plan = source.lazy()
    plans = [_counted(plan, dependency) for dependency in found.dependencies]
    shares = [pl.collect_all(plans, engine="streaming")] if plans else [[]]
    dependencies = [
        msgspec.structs.replace(dependency, holds=float(counted["holds"][0]))
        for dependency, counted in zip(found.dependencies, shares[0], strict=True)
        if counted["group"][0] >= GROUP and counted["holds"][0] >= dependency.holds - SLACK
    ]
    names = [key[0] for key in found.keys]
    return replace(found, keys=_keys(plan, names), dependencies=dependencies, orders=_orders(plan, found.orders))


def _counted(plan: pl.LazyFrame, dependency: Dependency) -> pl.LazyFrame:
    names = [*dependency.determinants, dependency.dependent]
    pairs = plan.select(names).drop_nulls().group_by(names).agg(pl.len().alias("rows"))
    groups = pairs.group_by(dependency.determinants).agg(
        pl.col("rows").max().alias("most"), pl.col("rows").sum().alias("all")
    )
    return groups.select(
        holds=pl.col("most").sum() / pl.col("all").sum(),
        group=pl.col("all").mean(),
    )


def _keys(plan: pl.LazyFrame, names: list[str]) -> list[list[str]]:
    """Which of these columns have each value once; one after the other, as each holds a table of what it has seen."""
    kept: list[list[str]] = []
    for name in names:
        different = plan.select(pl.col(name).n_unique() == pl.len(), nulls=pl.col(name).null_count())
        answer = cast(Any, different.collect(engine="streaming"))
        if answer[0, 0] and not answer[0, 1]:
            kept.append([name])
    return kept


def _orders(plan: pl.LazyFrame, orders: list[Order]) -> list[Order]:
    types = plan.collect_schema()
    usable = [order for order in orders if types[order.lower] == types[order.upper] != pl.String]
    if not usable:
        return [order for order in orders if order not in usable]
    shares = plan.select(
        (pl.col(order.lower) <= pl.col(order.upper)).mean().alias(str(index)) for index, order in enumerate(usable)
    ).collect(engine="streaming")
    counted = {order: float(shares[str(index)][0]) for index, order in enumerate(usable)}
    return [
        msgspec.structs.replace(order, holds=counted.get(order, order.holds), strict=order.strict)
        for order in orders
        if counted.get(order, order.holds) >= HOLDS
    ]
