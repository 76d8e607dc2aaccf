"""What a run's page shows of much: the first of many parameters, files and charts, and how many there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup
from starlette.datastructures import QueryParams

from perennial.api.auth import Caller
from perennial.ui.chart import draw, told
from perennial.ui.making import Asking
from perennial.ui.series import line_of, natural, x_name
from perennial.ui.words import address

__all__ = ["ChartsPage", "Limits", "Picture", "Some", "charts_page", "filtered", "found_files"]


class Limits:
    """How much stands on one page."""

    charts = 24
    system = 12
    rows = 200
    files = 300


class Some(NamedTuple):
    """The first of `total` rows."""

    rows: list[Any]
    total: int


class Picture(NamedTuple):
    """A metric: its chart, or the one value it has."""

    key: str
    svg: Markup | None
    says: str
    alone: str


class ChartsPage(NamedTuple):
    """A section of charts; `number` of `pages`."""

    title: str
    name: str
    pictures: list[Picture]
    total: int
    number: int
    pages: int


def filtered(held: Mapping[str, Any], text: str) -> Some:
    """The pairs whose name holds a text, by name."""
    sought = text.casefold()
    found = sorted((key for key in held if sought in key.casefold()), key=natural)
    return Some([(key, held[key]) for key in found[: Limits.rows]], len(found))


def found_files(files: Sequence[Mapping[str, Any]], text: str) -> Some:
    """The files whose path holds a text."""
    sought = text.casefold()
    found = [file for file in files if sought in file["path"].casefold()]
    return Some(found[: Limits.files], len(found))


def charts_page(
    ask: Asking,
    caller: Caller,
    run: Mapping[str, Any],
    title: str,
    name: str,
    keys: Sequence[str],
    asked: QueryParams,
    most: int,
    *,
    is_log: bool,
) -> ChartsPage:
    """One page of the charts of a run; `name` is the query parameter that turns it."""
    pages = max(1, -(-len(keys) // most))
    turned = asked.get(name, "")
    number = min(pages, max(1, int(turned))) if turned.isascii() and turned.isdecimal() and len(turned) < 9 else 1
    shown = keys[(number - 1) * most : number * most]
    pictures = [_picture(ask, caller, run, key, is_log=is_log) for key in shown]
    return ChartsPage(title, name, pictures, len(keys), number, pages)


def _picture(ask: Asking, caller: Caller, run: Mapping[str, Any], key: str, *, is_log: bool) -> Picture:
    line = line_of(ask, caller, run, key)
    below = x_name(run["metrics"][key])
    alone = address(f"/runs/{run['id']}/metric.svg", key=key, scale="log" if is_log else None)
    is_one = len(line.x) < 2 and not line.nan
    svg = None if is_one else draw([line], title=key, x_name=below, is_log=is_log)
    return Picture(key, svg, told(line, is_log=is_log, x_name=below).removeprefix(f"{key}: "), alone)
