"""How a card writes things down: numbers, moments, digests, intervals, the groups of slices."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from perennial.clock import iso
from perennial.models.facts.evaluation import Estimate
from perennial.types import Micros

__all__ = [
    "Evidence",
    "day",
    "ends",
    "evidence",
    "figure",
    "group",
    "moment",
    "named",
    "p_value",
    "percent",
    "short",
    "size",
    "told",
]

MAX_LINES = 60  # of one requirement's evidence; the JSON form has all of it
_SIZES = ("B", "kB", "MB", "GB")


class Evidence(NamedTuple):
    """Evidence as a page shows it: single values, then tables (name, headings, lines), then how many lines are cut."""

    values: list[tuple[str, str]]
    tables: list[tuple[str, list[str], list[list[str]]]]
    cut: int


def figure(value: float | None) -> str:
    """A number with four digits.

    >>> figure(0.123456), figure(48842.0), figure(None)
    ('0.1235', '48,842', '–')
    """
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if 1000 <= abs(value) < 1e12:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def percent(share: float | None) -> str:
    """
    >>> percent(0.1234)
    '12.3 %'
    """
    return "–" if share is None or not math.isfinite(share) else f"{share * 100:.3g} %"


def p_value(value: float | None) -> str:
    """
    >>> p_value(0.0213), p_value(3e-58)
    ('0.0213', 'below 0.0001')
    """
    return "below 0.0001" if value is not None and value < 1e-4 else figure(value)


def ends(estimate: Estimate) -> str:
    """An interval in words."""
    if estimate.low is None or estimate.high is None:
        return "too few rows for an interval"
    return f"{figure(estimate.low)} to {figure(estimate.high)}"


def told(estimate: Estimate | None) -> str:
    """An estimate with its interval."""
    return "–" if estimate is None else f"{figure(estimate.value)} ({ends(estimate)})"


def moment(at: int | None) -> str:
    """A moment, to the minute, in UTC."""
    return "–" if at is None else iso(Micros(at // 60_000_000 * 60_000_000)).replace("T", " ")[:16]


def day(at: int | None) -> str:
    """A moment, to the day."""
    return moment(at)[:10]


def short(digest: str | None) -> str:
    """The first sixteen signs of a digest; the page shows the whole one beside it."""
    return "–" if not digest else digest[:16]


def size(count: int) -> str:
    """
    >>> size(1234567)
    '1.23 MB'
    """
    amount = float(count)
    for unit in _SIZES[:-1]:
        if amount < 1000:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.2g} {_SIZES[-1]}" if amount < 10 else f"{amount:,.0f} {_SIZES[-1]}"


def group(where: Mapping[str, str]) -> str:
    """Which rows a slice holds.

    >>> group({"sex": "Female", "age": "17 to 25"})
    'sex Female, age 17 to 25'
    """
    return ", ".join(f"{column} {value}" for column, value in where.items()) or "all rows"


def named(name: str) -> str:
    """
    >>> named("equalised_odds_difference")
    'equalised odds difference'
    """
    return name.replace("_", " ")


def evidence(found: Mapping[str, Any]) -> Evidence:
    """The evidence of a requirement: numbers by name, and whatever is a table as one."""
    values: list[tuple[str, str]] = []
    tables: list[tuple[str, list[str], list[list[str]]]] = []
    cut = 0
    for key, value in found.items():
        if isinstance(value, Mapping):
            inner = cast("Mapping[str, Any]", value)
            if all(not isinstance(item, Mapping | list) for item in inner.values()):
                values += [(f"{named(key)}: {named(str(name))}", _plain(item)) for name, item in inner.items()]
                continue
            value = [{"": name} | _flat(item) for name, item in inner.items()]
        if isinstance(value, list):
            lines = cast("list[Any]", value)
            if lines and all(isinstance(line, Mapping) for line in lines):
                rows = [_flat(line) for line in lines[:MAX_LINES]]
                headings = list(dict.fromkeys(name for row in rows for name in row))
                cells = [[_plain(row.get(name)) for name in headings] for row in rows]
                tables.append((named(key), [named(name) for name in headings], cells))
            else:
                values.append((named(key), ", ".join(_plain(item) for item in lines[:MAX_LINES]) or "none"))
            cut += max(0, len(lines) - MAX_LINES)
            continue
        values.append((named(key), _plain(value)))
    return Evidence(values, tables, cut)


def _flat(value: Any) -> dict[str, Any]:
    return dict(cast("Mapping[str, Any]", value)) if isinstance(value, Mapping) else {"value": value}


def _plain(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return figure(float(value))
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in cast("list[Any]", value)[:MAX_LINES])
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(item)}" for name, item in cast("Mapping[str, Any]", value).items())
    return str(value)
