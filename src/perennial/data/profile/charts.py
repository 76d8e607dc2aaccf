"""The charts of a profile as SVG, drawn by hand: a table may have a thousand columns, and each chart takes a tenth of a
millisecond. Colours and type come from the page's style; every text is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from markupsafe import Markup, escape

from perennial.data.profile.arrays import Floats
from perennial.data.profile.association import Associations, TargetRelation
from perennial.data.profile.columns import ColumnProfile
from perennial.data.profile.drift import ColumnDrift
from perennial.data.profile.words import DAY_US, figure, of_value, of_values, percent

__all__ = ["Bar", "distribution", "drift_chart", "heat_map", "target_chart"]

WIDTH, HEIGHT = 380, 120
BINS = 30
FEW = 12  # values that get a column each
BARS = 8  # values of a text that get a bar each
ROW = 20  # pixels of a row of text
LABEL = 130  # pixels of a row's label
LETTERS = 20  # that fit into it
WIDE_LABEL, MORE_LETTERS = 152, 24  # beside the target, where ranges of dates stand
TAILS = (0.005, 0.995)  # what lies outside is not drawn when it would squeeze the rest into a third


class Bar(NamedTuple):
    """A share with its label; `before` is the share in the other version."""

    label: str
    share: float
    before: float | None = None
    quiet: bool = False


def distribution(column: ColumnProfile, against: ColumnProfile | None = None) -> Markup:
    """How a column's values are spread, beside those of another version when there is one."""
    against = against if against and against.kind == column.kind and against.low is not None else None
    if column.low is None or column.kind == "other":
        return Markup()
    complete = column.frequent.is_complete and (against is None or against.frequent.is_complete)
    top = column.frequent.counts[0] / column.present if column.frequent.counts else 0.0
    if column.kind == "flag" or (column.kind == "text" and top >= 0.01):
        return _bars(_ranked(column, against), f"most frequent values of {column.name}")
    if column.kind == "number" and complete and column.n_distinct <= FEW:
        values = {*column.frequent.values, *(against.frequent.values if against else ())}
        if len(values) <= FEW:
            return _columns(_by_value(column, against), column.name)
    return _histogram(column, against)


def drift_chart(found: ColumnDrift) -> Markup:
    """Shares of the bins in both versions: what the test compared."""
    shares = [np.asarray(counts) / max(sum(counts), 1) for counts in (found.reference, found.current)]
    used = [place for place in range(len(found.labels)) if found.reference[place] or found.current[place]]
    if len(used) < 2:
        return Markup()
    used = used[:24]
    most = max([shares[side][place] for side in (0, 1) for place in used], default=0.0) or 1.0
    step, high = 260 / max(len(used), 1), 54
    drawn = ""
    for at, place in enumerate(used):
        before, now = (shares[side][place] / most * high for side in (0, 1))
        label = f"{found.labels[place]}: {percent(shares[0][place])} before, {percent(shares[1][place])} now"
        drawn += f"<g><title>{escape(label)}</title>{_rect(at * step, high, step - 2, before, 'before')}"
        drawn += f"{_rect(at * step + step * 0.22, high, step * 0.56 - 2, now, 'now')}</g>"
    drawn += f'<line class="axis" x1="0" x2="260" y1="{high}" y2="{high}"/>'
    return _svg(260, high + 1, drawn, f"shares of {found.column} before and now")


def heat_map(found: Associations) -> Markup:
    """A square for each pair of columns, the stronger the more they have to do with each other."""
    n = len(found.names)
    side = max(18, min(44, 560 // max(n, 1)))
    drawn = ""
    for i, name in enumerate(found.names):
        y = i * side + ROW
        drawn += _text(LABEL + 32, y + side / 2 + 4, f"{_cut(name, 23)}  {i + 1}", "end", title=name)
        if i < n - 1:
            drawn += _text(LABEL + 40 + i * side + side / 2, y + side / 2 + 4, str(i + 1), "middle")
        for j in range(i):
            value = float(found.matrix[i, j])
            x = LABEL + 40 + j * side
            says = f"{name} and {found.names[j]}: {'not known' if math.isnan(value) else f'{value:.2f}'}"
            drawn += f"<g><title>{escape(says)}</title>"
            if math.isnan(value):
                drawn += f'<rect class="unknown" x="{x}" y="{y}" width="{side - 2}" height="{side - 2}" rx="3"/></g>'
                continue
            sign = "minus" if value < 0 else "plus"
            drawn += (
                f'<rect class="{sign}" fill-opacity="{max(0.05, abs(value)):.2f}" x="{x}" y="{y}" '
                f'width="{side - 2}" height="{side - 2}" rx="3"/>'
            )
            if side >= 30:
                strong = " strong" if abs(value) > 0.62 else ""
                told = f"{value:.2f}".replace("0.", ".") if abs(value) < 1 else f"{value:.0f}"
                drawn += _text(x + side / 2 - 1, y + side / 2 + 3, told, "middle", f"value{strong}")
            drawn += "</g>"
    return _svg(LABEL + 44 + n * side, n * side + ROW, drawn, "how strongly columns go together", natural=True)


def target_chart(found: TargetRelation, domain: tuple[float, float], middle: float) -> Markup:
    """The target in each group of a column's values: its mean or share with an interval, or the shares of classes."""
    room, at = WIDTH - WIDE_LABEL - 52, WIDE_LABEL + 8
    drawn = ""
    low, high = domain
    scale = room / ((high - low) or 1.0)
    for place, group in enumerate(found.groups):
        y = place * ROW + 4
        drawn += _text(WIDE_LABEL, y + 13, _cut(group.label, MORE_LETTERS), "end", title=group.label)
        if len(found.names) > 1:
            x = float(at)
            for number, share in enumerate(group.values):
                says = f"{found.names[number]}: {percent(share)} of {group.rows:,} rows"
                drawn += (
                    f'<rect class="k{number}" x="{x:.1f}" y="{y + 2}" width="{share * (room + 40):.1f}" height="14">'
                )
                drawn += f"<title>{escape(says)}</title></rect>"
                x += share * (room + 40)
            continue
        value = group.values[0]
        ends = [at + (min(max(end, low), high) - low) * scale for end in (group.low, value, group.high)]
        of = percent if found.are_shares else figure
        says = f"{of(value)} ({of(group.low)} to {of(group.high)}), {group.rows:,} rows"
        drawn += f"<g><title>{escape(says)}</title>"
        drawn += f'<line class="interval" x1="{ends[0]:.1f}" x2="{ends[2]:.1f}" y1="{y + 9}" y2="{y + 9}"/>'
        drawn += f'<circle class="dot" cx="{ends[1]:.1f}" cy="{y + 9}" r="4"/></g>'
        drawn += _text(WIDTH, y + 13, of(value), "end", "value")
    tall = len(found.groups) * ROW + 6
    if len(found.names) == 1:
        x = at + (middle - low) * scale
        drawn = f'<line class="middle" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{tall}"/>' + drawn
    return _svg(WIDTH, tall, drawn, f"the target by {found.column}")


def _ranked(column: ColumnProfile, against: ColumnProfile | None) -> list[Bar]:
    """The most frequent values, then all others together."""
    frequent = column.frequent
    before = dict(zip(against.frequent.values, against.frequent.counts, strict=True)) if against else {}
    total, shown = column.present, list(zip(frequent.values, frequent.counts, strict=True))
    if len(shown) > BARS + 1 or not frequent.is_complete:
        shown = shown[:BARS]
    past = against.present if against else 0
    bars = [
        Bar(of_value(value, column) or "(empty)", count / total, before.get(value, 0) / past if past else None)
        for value, count in shown
    ]
    rest = total - sum(count for _, count in shown)
    if rest > 0:
        others = column.n_distinct - len(shown)
        left = 1 - sum(bar.before or 0.0 for bar in bars) if past else None
        bars.append(Bar(f"{others:,} others" if others > 1 else "others", rest / total, left, quiet=True))
    return bars


def _by_value(column: ColumnProfile, against: ColumnProfile | None) -> list[Bar]:
    now = dict(zip(column.frequent.values, column.frequent.counts, strict=True))
    before = dict(zip(against.frequent.values, against.frequent.counts, strict=True)) if against else {}
    return [
        Bar(
            of_value(value, column),
            now.get(value, 0) / column.present,
            before.get(value, 0) / against.present if against else None,
        )
        for value in sorted({*now, *before}, key=lambda value: float(value))
    ]


def _bars(bars: Sequence[Bar], says: str) -> Markup:
    room = WIDTH - LABEL - 60
    most = max([bar.share for bar in bars] + [bar.before or 0.0 for bar in bars]) or 1.0
    drawn = ""
    for place, bar in enumerate(bars):
        y = place * ROW
        told = percent(bar.share) + ("" if bar.before is None else f", {percent(bar.before)} before")
        drawn += f"<g><title>{escape(bar.label)}: {told}</title>"
        drawn += _text(LABEL, y + 14, _cut(bar.label, LETTERS), "end", "faint" if bar.quiet else "label")
        if bar.before is not None:
            width = bar.before / most * room
            drawn += f'<rect class="before" x="{LABEL + 8}" y="{y + 2}" width="{width:.1f}" height="16"/>'
        thin = 4 if bar.before is not None else 0
        kind = "rest" if bar.quiet else "now"
        width = max(bar.share / most * room, 0.5)
        drawn += (
            f'<rect class="{kind}" x="{LABEL + 8}" y="{y + 2 + thin}" width="{width:.1f}" height="{16 - 2 * thin}"/>'
        )
        after = LABEL + 14 + max(width, (bar.before or 0) / most * room)
        drawn += _text(after, y + 14, percent(bar.share), "start", "value") + "</g>"
    return _svg(WIDTH, len(bars) * ROW + 2, drawn, says)


def _columns(bars: Sequence[Bar], name: str) -> Markup:
    step = WIDTH / len(bars)
    wide = min(step - 3, 60)
    most = max([bar.share for bar in bars] + [bar.before or 0.0 for bar in bars]) or 1.0
    drawn = ""
    for place, bar in enumerate(bars):
        x = place * step + (step - wide) / 2
        told = percent(bar.share) + ("" if bar.before is None else f", {percent(bar.before)} before")
        drawn += f"<g><title>{escape(bar.label)}: {told}</title>"
        if bar.before is not None:
            drawn += _rect(x, HEIGHT, wide, bar.before / most * (HEIGHT - 4), "before")
        inset = wide * 0.22 if bar.before is not None else 0.0
        drawn += _rect(x + inset, HEIGHT, wide - 2 * inset, bar.share / most * (HEIGHT - 4), "now") + "</g>"
        drawn += _text(x + wide / 2, HEIGHT + 15, _cut(bar.label, max(3, int(step / 6.5))), "middle")
    drawn += f'<line class="axis" x1="0" x2="{WIDTH}" y1="{HEIGHT}" y2="{HEIGHT}"/>'
    return _svg(WIDTH, HEIGHT + 20, drawn, f"values of {name}")


def _histogram(column: ColumnProfile, against: ColumnProfile | None) -> Markup:
    edges = _edges([column, against] if against else [column])
    now, cut = _shares(column, edges)
    before = _shares(against, edges)[0] if against else np.zeros(0)
    most = max(float(now.max(initial=0.0)), float(before.max(initial=0.0))) or 1.0
    step = WIDTH / now.size
    told = of_values([float(edge) for edge in edges], column)
    drawn = ""
    for place, share in enumerate(now):
        says = f"{told[place]} to {told[place + 1]}: {percent(float(share))}"
        high = float(share) / most * (HEIGHT - 4)
        drawn += f"<g><title>{escape(says)}</title>{_rect(place * step, HEIGHT, step - 1, high, 'now')}</g>"
    if before.size:
        points = "".join(
            f"{'L' if place else 'M'}{place * step:.1f} {y:.1f}L{(place + 1) * step:.1f} {y:.1f}"
            for place, y in enumerate(HEIGHT - before / most * (HEIGHT - 4))
        )
        drawn += f'<path class="outline" d="{points}"/>'
    drawn += f'<line class="axis" x1="0" x2="{WIDTH}" y1="{HEIGHT}" y2="{HEIGHT}"/>'
    for at, tick in _ticks(edges, column):
        anchor = "start" if at < 0.06 else "end" if at > 0.94 else "middle"
        drawn += _text(min(max(at, 0), 1) * WIDTH, HEIGHT + 15, tick, anchor)
    if cut > 0:
        drawn += _text(WIDTH, 12, f"{percent(cut)} farther out", "end", "faint")
    what = f"length of {column.name}" if column.kind == "text" else column.name
    return _svg(WIDTH, HEIGHT + 20, drawn, f"distribution of {what}")


def _ticks(edges: Floats, column: ColumnProfile) -> list[tuple[float, str]]:
    """Where on the axis, in [0, 1], which text stands."""
    first, last = float(edges[0]), float(edges[-1])
    if column.kind == "time":
        marks = [float(edges[place]) for place in (0, edges.size // 2, edges.size - 1)]
    else:
        step = _round((last - first) / 4)
        marks = [k * step for k in range(math.ceil(first / step), math.floor(last / step) + 1)]
    texts = of_values(marks, column)
    return [((mark - first) / (last - first), text) for mark, text in zip(marks, texts, strict=True)]


def _edges(columns: Sequence[ColumnProfile]) -> Floats:
    """Equal bins at round numbers; of whole numbers, each with as many of them."""
    low = min(float(column.low) for column in columns if column.low is not None)
    high = max(float(column.high) for column in columns if column.high is not None)
    tails = [column.quantiles.at(TAILS) for column in columns]
    inner, outer = min(tail[0] for tail in tails), max(tail[1] for tail in tails)
    if outer > inner and high - low > 3 * (outer - inner):
        low, high = inner, outer
    whole = all(isinstance(column.low, int) for column in columns)
    span = high - low
    if not math.isfinite(span):
        return np.asarray(low + np.arange(BINS + 1) * (high / BINS - low / BINS), dtype=np.float64)
    if span <= max(abs(low), abs(high)) * 1e-12:
        low, span = low - 0.5, 1.0
    if columns[0].kind == "time":
        step = _calendar(span / BINS)
    else:
        step = _round(span / BINS)
        step = max(1.0, math.ceil(step)) if whole else step
    first = math.floor(low / step) * step - (0.5 if whole and columns[0].kind != "time" else 0.0)
    number = max(1, math.ceil((high - first) / step + 1e-9))
    return np.asarray(first + np.arange(number + 1) * step, dtype=np.float64)


def _round(width: float) -> float:
    power = 10.0 ** math.floor(math.log10(width))
    return next((nice * power for nice in (1.0, 2.0, 2.5, 5.0) if nice * power >= width * 0.999), 10 * power)


def _calendar(width: float) -> float:
    """The next unit of time that people know: a bin of 1.3 days would count some bins one day more than others."""
    second = 1e6
    units = [second * k for k in (1, 5, 15, 30, 60, 300, 900, 1800, 3600, 7200, 21600, 43200)]
    units += [DAY_US * k for k in (1, 2, 7, 14, 28, 91, 182, 365, 730, 1826)]
    return next((float(unit) for unit in units if unit >= width), _round(width / DAY_US) * DAY_US) if width > 1 else 1.0


def _shares(column: ColumnProfile, edges: Floats) -> tuple[Floats, float]:
    """Share of the values in each bin, and outside all."""
    frequent = column.frequent
    if column.kind != "text" and frequent.is_complete:
        values = np.asarray([float(value) for value in frequent.values])
        counts = np.asarray(frequent.counts, dtype=np.float64)
        shares = np.histogram(values, edges, weights=counts)[0] / max(counts.sum(), 1.0)
    else:
        shares = np.array([b - a for a, b in pairwise(column.quantiles.shares([float(edge) for edge in edges]))])
        low = column.low
        if low is not None and edges[0] == low and shares.size:
            shares[0] += float(column.quantiles.shares([float(low)])[0])
    return shares, max(0.0, 1.0 - float(shares.sum())) if shares.sum() < 0.9999 else 0.0


def _svg(width: float, height: float, drawn: str, says: str, *, natural: bool = False) -> Markup:
    size = f' width="{width:.0f}" height="{height:.0f}"' if natural else ""
    return Markup(  # noqa: S704  drawn here; every text in it went through escape
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}"{size} role="img" aria-label="{escape(says)}">{drawn}</svg>'
    )


def _rect(x: float, base: float, width: float, height: float, kind: str) -> str:
    high = max(height, 0.0)
    return f'<rect class="{kind}" x="{x:.1f}" y="{base - high:.1f}" width="{max(width, 0.5):.1f}" height="{high:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str, kind: str = "tick", *, title: str = "") -> str:
    told = f"<title>{escape(title)}</title>" if title else ""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{told}{escape(text)}</text>'


def _cut(text: str, letters: int) -> str:
    text = " ".join(text.split()) or "(blank)"
    return text if len(text) <= letters else f"{text[: letters - 1]}…"
