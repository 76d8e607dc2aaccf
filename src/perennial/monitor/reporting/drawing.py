"""The charts of a report as SVG, drawn by hand: a heat map of columns over time, performance over time, distributions.

Colours and type come from the page's style, and shades from its classes, so that a page without any style attribute is
allowed to be strict; every text is escaped. What a chart shows is in its titles as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from markupsafe import Markup

from perennial.data.profile.words import figure, percent
from perennial.data.svg import cut, legal, svg, text, ticks
from perennial.monitor.reporting.findings_text import plain_numbers
from perennial.monitor.reporting.report import Column, Grid, Measured, Performance, Series, Share

__all__ = ["SHADES", "alone", "distribution", "heat_map", "performance_chart", "shares_chart"]

WIDTH = 960
LETTERS = 26  # of a row's label
LETTER = 6.9  # pixels of one
ROW = 24
SHADES = (0.0, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)  # excess PSI at which the next shade of the heat map begins
TALL = 190
LEFT, RIGHT, TOP, BOTTOM = 52, 150, 12, 30
BARS = 14  # categories that are drawn
_Scale = Callable[[float], float]


def heat_map(grid: Grid) -> Markup:
    """A cell for each column and window, the darker the farther the column is from the reference."""
    if not grid.labels or not grid.columns:
        return Markup()
    left = 10 + LETTER * max(len(cut(name, LETTERS)) for name in grid.columns)
    step = min(76.0, (WIDTH - left - 4) / len(grid.labels))
    right = left + 4 + step * len(grid.labels)
    drawn = ""
    for row, name in enumerate(grid.columns):
        y = row * ROW
        drawn += text(left - 8, y + 16, cut(name, LETTERS), "end", "label", title=name)
        for at, label in enumerate(grid.labels):
            excess = grid.excess[row][at]
            x = left + at * step
            told = f"{name}, {label}: "
            if excess is None:
                told += f"too few rows to tell ({grid.rows[at]:,})"
                kind = "unknown"
            else:
                told += f"PSI {figure(excess)} beyond noise"
                told += ", shifted" if grid.marked[row][at] else ""
                kind = f"h{shade(excess)}"
            drawn += f"<g><title>{legal(told)}</title>"
            drawn += _rect(f"cell {kind}", x + 1, y + 1, step - 2, ROW - 2, 2)
            if grid.marked[row][at]:
                drawn += f'<circle class="mark{" dark" if excess is not None and shade(excess) >= 4 else ""}" '
                drawn += f'cx="{x + step / 2:.1f}" cy="{y + ROW / 2}" r="2.6"/>'
            drawn += "</g>"
    foot = len(grid.columns) * ROW
    drawn += _labels([left + (at + 0.5) * step for at in range(len(grid.labels))], grid.labels, foot + 15)
    return svg(round(max(right, 420)), foot + 22, drawn, "how far each column is from the reference, window by window")


def alone(chart: Markup, style: str) -> str:
    """A chart as a file of its own: its style within it, on paper."""
    head, rest = str(chart).split(">", 1)
    head = head.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    paper = '<rect width="100%" height="100%" fill="#fcfcfa"/>'
    return f"{head}><style><![CDATA[{style}]]></style>{paper}{rest}\n"


def shade(excess: float) -> int:
    """Which shade a cell has.

    >>> shade(-0.01), shade(0.03), shade(7.0)
    (0, 1, 6)
    """
    return max((place for place, edge in enumerate(SHADES) if excess >= edge), default=0)


def performance_chart(found: Performance) -> Markup:
    """The metric in each window: what was realised, what was estimated with its band, and what the reference had."""
    series = _shown([one for one in found.series if any(_is_known(point) for point in one.points)])
    if not found.labels or not series or found.reference.value is None:
        return Markup()
    values = [end for one in series for point in one.points for end in (point.value, *_near(point, found))]
    values += [found.reference.value, found.reference.low, found.reference.high]
    firm = [float(value) for value in values if value is not None and math.isfinite(value)]
    low, high = _padded(min(firm), max(firm))
    right = WIDTH - RIGHT
    step = (right - LEFT) / len(found.labels)

    def x(at: float) -> float:
        return LEFT + (at + 0.5) * step

    def y(value: float) -> float:
        return TOP + (TALL - TOP) * (1 - (min(max(value, low), high) - low) / (high - low))

    drawn = ""
    for tick in ticks(low, high, 5):
        drawn += _line("rule", LEFT, right, y(tick), y(tick))
        drawn += text(LEFT - 8, y(tick) + 4, figure(tick), "end", "tick")
    reference = found.reference
    if reference.low is not None and reference.high is not None:
        top, foot = y(reference.high), y(reference.low)
        drawn += _rect("before-band", LEFT, top, right - LEFT, max(foot - top, 1.0))
    at = y(found.reference.value)
    says = f"reference: {figure(reference.value)}{_ends(reference)}"
    drawn += f"<g><title>{legal(says)}</title>{_line('before-line', LEFT, right, at, at)}</g>"
    ends: list[tuple[float, str, str]] = [(at, "reference", "faint")]
    order = sorted(series, key=lambda one: (one.method == "realised", one.is_chosen))
    for one in order:
        look = "real" if one.method == "realised" else "guess" if one.is_chosen else "other"
        known = [(place, point) for place, point in enumerate(one.points) if _is_known(point)]
        if look == "guess":
            drawn += "".join(_band(run, x, y) for run in _runs(known))
        for run in _runs(known):
            points = " ".join(f"{x(place):.1f},{y(float(point.value or 0.0)):.1f}" for place, point in run)
            drawn += f'<polyline class="curve {look}" points="{points}"/>'
        for place, point in known:
            told = f"{found.labels[place]}, {one.method}: {figure(point.value)}{_ends(point)}, {point.rows:,} rows"
            drawn += f"<g><title>{legal(told)}</title>"
            if look == "real" and point.low is not None and point.high is not None:
                drawn += _line("whisker", x(place), x(place), y(point.low), y(point.high))
            height, radius = y(float(point.value or 0.0)), 3.4 if look == "real" else 2.4
            drawn += f'<circle class="dot {look}" cx="{x(place):.1f}" cy="{height:.1f}" r="{radius}"/></g>'
        name = "realised" if look == "real" else f"estimated ({one.method.split('_')[0].upper()})"
        ends.append((y(float(known[-1][1].value or 0.0)), name, look))
    for place, name, look in _apart(ends, TOP + 4, TALL):
        drawn += text(right + 10, place + 4, name, "start", f"name {look}")
    drawn += _line("axis", LEFT, right, TALL, TALL)
    drawn += _labels([x(place) for place in range(len(found.labels))], found.labels, TALL + 18)
    return svg(WIDTH, TALL + BOTTOM, drawn, f"{found.metric} window by window, realised and estimated")


def _shown(series: Sequence[Series]) -> list[Series]:
    """What was realised, the estimate that is believed, and one other: more lines tell less."""
    kept = [one for one in series if one.method == "realised" or one.is_chosen]
    others = [one for one in series if one not in kept]
    return [*kept, *others[:1]]


def distribution(column: Column) -> Markup:
    """Shares of the reference and of the current rows in each bin: what the test compared."""
    used = [place for place in range(len(column.labels)) if column.reference[place] or column.current[place]]
    total = sum(column.reference), sum(column.current)
    if len(used) < 1 or not all(total):
        return Markup()
    used = sorted(used, key=lambda place: -max(column.reference[place] / total[0], column.current[place] / total[1]))
    hidden, used = len(used) - BARS, sorted(used[:BARS])
    shares = [(column.reference[place] / total[0], column.current[place] / total[1]) for place in used]
    most = max(max(pair) for pair in shares) or 1.0
    label, row, wide = 118, 19, 400
    room = wide - label - 112
    drawn = ""
    for at, (place, (before, now)) in enumerate(zip(used, shares, strict=True)):
        y = at * row
        told = f"{column.labels[place]}: {percent(before)} of the reference, {percent(now)} now"
        drawn += f"<g><title>{legal(told)}</title>"
        drawn += text(label - 6, y + 13, cut(_short(column.labels[place]), 18), "end", "label")
        drawn += _rect("before", label, y + 2, before / most * room, row - 4)
        drawn += (
            f'<rect class="now" x="{label}" y="{y + 6}" width="{max(now / most * room, 0.5):.1f}" height="{row - 12}"/>'
        )
        drawn += text(wide, y + 13, f"{percent(before)} → {percent(now)}", "end", "value") + "</g>"
    if hidden > 0:
        drawn += text(label, len(used) * row + 13, f"and {hidden} more", "start", "faint")
    return svg(wide, len(used) * row + (row if hidden > 0 else 2), drawn, f"shares of {column.name} before and now")


def shares_chart(shares: Sequence[Share], says: str) -> Markup:
    """What part of the change of the loss comes from where: bars from 0 with their intervals."""
    firm = [one for one in shares if math.isfinite(one.value)]
    if not firm:
        return Markup()
    ends = [end for one in firm for end in (one.value, one.low, one.high) if end is not None and math.isfinite(end)]
    low, high = min(0.0, *ends), max(0.0, *ends)
    high = high if high > low else low + 1.0
    label, row, wide = 250, 26, 640
    room = wide - label - 90

    def x(value: float) -> float:
        return label + (min(max(value, low), high) - low) / (high - low) * room

    foot = len(firm) * row
    drawn = ""
    for at, one in enumerate(firm):
        y = at * row
        left, right = sorted((x(0.0), x(one.value)))
        interval = Measured(value=one.value, low=one.low, high=one.high)
        drawn += f"<g><title>{legal(f'{one.name}: {figure(one.value)}{_ends(interval)}')}</title>"
        drawn += text(label - 8, y + 17, cut(one.name, 38), "end", "label")
        drawn += _rect("now soft", left, y + 5, max(right - left, 0.5), row - 10, 2)
        if one.low is not None and one.high is not None:
            drawn += _line("whisker", x(one.low), x(one.high), y + row / 2, y + row / 2)
        drawn += text(wide, y + 17, _signed(one.value), "end", "value") + "</g>"
    drawn += _line("axis", x(0), x(0), 0, foot)
    return svg(wide, foot + 2, drawn, says)


def _band(run: Sequence[tuple[int, Measured]], place: _Scale, at: _Scale) -> str:
    firm = [(place(where), one.low, one.high) for where, one in run if one.low is not None and one.high is not None]
    if len(firm) < 2:
        return "".join(_line("band-line", x, x, at(low), at(high)) for x, low, high in firm)
    there = [f"{x:.1f},{at(high):.1f}" for x, _, high in firm]
    back = [f"{x:.1f},{at(low):.1f}" for x, low, _ in firm]
    return f'<polygon class="band" points="{" ".join(there + back[::-1])}"/>'


def _runs(known: Sequence[tuple[int, Measured]]) -> list[list[tuple[int, Measured]]]:
    """Windows that follow each other: a line over a gap would say what nobody knows."""
    runs: list[list[tuple[int, Measured]]] = []
    for place, point in known:
        if runs and runs[-1][-1][0] == place - 1:
            runs[-1].append((place, point))
        else:
            runs.append([(place, point)])
    return runs


def _near(point: Measured, found: Performance) -> tuple[float | None, float | None]:
    """The ends of an interval, unless they would squeeze everything else into a line."""
    span = [one.value for series in found.series for one in series.points if one.value is not None]
    reach = 1.5 * ((max(span) - min(span)) or abs(span[0]) * 0.1 or 1.0) if span else 1.0
    return tuple(  # pyright: ignore[reportReturnType]  # two of them
        end if end is not None and point.value is not None and abs(end - point.value) <= reach else None
        for end in (point.low, point.high)
    )


def _is_known(point: Measured) -> bool:
    return point.value is not None and math.isfinite(point.value)


def _ends(point: Measured) -> str:
    return "" if point.low is None or point.high is None else f" ({figure(point.low)} to {figure(point.high)})"


def _labels(places: Sequence[float], labels: Sequence[str], y: float) -> str:
    """As many labels below an axis as have room."""
    if not labels:
        return ""
    wide = 6.4 * max(len(label) for label in labels) + 14
    gap = (places[1] - places[0]) if len(places) > 1 else wide
    every = max(1, math.ceil(wide / gap))
    return "".join(
        text(place, y, label, "middle", "tick")
        for at, (place, label) in enumerate(zip(places, labels, strict=True))
        if at % every == 0
    )


def _apart(ends: Sequence[tuple[float, str, str]], top: float, foot: float) -> list[tuple[float, str, str]]:
    """Names at the ends of lines, a line of text apart from each other, within the chart."""
    placed: list[tuple[float, str, str]] = []
    at = top - 14.0
    for wanted, name, look in sorted(ends):
        at = max(wanted, at + 14.0)
        placed.append((at, name, look))
    over = max(0.0, placed[-1][0] - foot) if placed else 0.0
    return [(place - over, name, look) for place, name, look in placed]


def _short(label: str) -> str:
    """A range of numbers as `a to b`, which is shorter than with brackets."""
    if label[:1] in "([" and label[-1:] == "]" and ", " in label:
        low, high = plain_numbers(label[1:-1]).split(", ", 1)
        return low if low == high else f"{low} to {high}"
    return plain_numbers(label)


def _padded(low: float, high: float) -> tuple[float, float]:
    span = high - low
    if span <= max(abs(low), abs(high)) * 1e-9:
        span = abs(high) * 0.2 or 1.0
        return low - span / 2, high + span / 2
    return low - span * 0.06, high + span * 0.06


def _rect(kind: str, x: float, y: float, width: float, height: float, rx: int = 0) -> str:
    round_ = f' rx="{rx}"' if rx else ""
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"{round_}/>'


def _line(kind: str, x1: float, x2: float, y1: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"/>'


def _signed(value: float) -> str:
    """
    >>> _signed(6273.4), _signed(-0.0412), _signed(0.0)
    ('+6,273', '-0.0412', '+0')
    """
    return f"{value:+,.0f}" if abs(value) >= 1000 else f"{value:+.3g}"
