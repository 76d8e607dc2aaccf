"""Runs side by side: what of their parameters and metrics differs, and each chosen metric of all in one chart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from perennial.api.auth import Caller
from perennial.ui.chart import SECONDS, STEP, Line, draw, look
from perennial.ui.making import Asking
from perennial.ui.series import has_steps, line_of, natural
from perennial.ui.words import number

__all__ = ["ComparedChart", "Comparison", "ComparisonRow", "chart_choice", "charts_of", "rows_of"]

MAX_ROWS = 300
MAX_CHARTS = 12
MAX_FOUND = 60
OF_ITSELF = 4  # charts, when nobody chose

Run = Mapping[str, Any]


class ComparisonRow(NamedTuple):
    """One parameter or metric of all runs; `is_different` when they do not agree."""

    key: str
    values: list[str | None]
    is_different: bool


class Comparison(NamedTuple):
    """The first of `total` rows."""

    rows: list[ComparisonRow]
    total: int


class ComparedChart(NamedTuple):
    """A metric of all runs: a line for each that has it, or no picture when each has one value."""

    key: str
    lines: list[Line]
    svg: Markup | None
    x_name: str


def rows_of(runs: Sequence[Run], entity: str, text: str, *, differing: bool) -> Comparison:
    """Parameters or newest metrics of the runs, by name, whose name holds a text."""
    sought = text.casefold()
    rows: list[ComparisonRow] = []
    for key in sorted({key for run in runs for key in run[entity] if sought in key.casefold()}, key=natural):
        held = [run[entity].get(key) for run in runs]
        values = [_value(entity, one) for one in held]
        exact = {None if one is None else str(one["value"]) if entity == "metrics" else one for one in held}
        if len(exact) > 1 or not differing:
            rows.append(ComparisonRow(key, values, len(exact) > 1))
    return Comparison(rows[:MAX_ROWS], len(rows))


def chart_choice(runs: Sequence[Run], names: Sequence[str], text: str) -> tuple[list[str], list[str], int]:
    """The metrics to draw, and others whose name holds a text with their number; by default the most common ones."""
    keys = Counter(key for run in runs for key in run["metrics"])
    chosen = [name for name in dict.fromkeys(names) if name in keys][:MAX_CHARTS]
    if not chosen:
        moving = {key for run in runs for key, held in run["metrics"].items() if has_steps(held)}
        chosen = sorted(moving, key=lambda key: (-keys[key], key.startswith("system/"), key))[:OF_ITSELF]
    sought = text.casefold()
    found = [key for key in keys if text and sought in key.casefold() and key not in chosen]
    return chosen, sorted(found, key=natural)[:MAX_FOUND], len(found)


def charts_of(
    ask: Asking, caller: Caller, runs: Sequence[Run], keys: Sequence[str], *, is_log: bool
) -> list[ComparedChart]:
    """Each metric of all runs that have it; a run has the same look in all charts."""
    charts: list[ComparedChart] = []
    for key in keys:
        having = [(position, run) for position, run in enumerate(runs) if key in run["metrics"]]
        lines: list[Line] = []
        for position, run in having:
            colour, dash = look(position)
            name = run["name"] or run["id"]
            lines.append(line_of(ask, caller, run, key, name=name, colour=colour, dash=dash))
        below = STEP if any(has_steps(run["metrics"][key]) for _, run in having) else SECONDS
        is_picture = any(len(line.x) > 1 or line.nan for line in lines)
        svg = draw(lines, title=key, x_name=below, is_log=is_log, width=640, height=320) if is_picture else None
        charts.append(ComparedChart(key, lines, svg, below))
    return charts


def _value(entity: str, held: Any) -> str | None:
    if held is None:
        return None
    return number(held["value"]) if entity == "metrics" else str(held)
