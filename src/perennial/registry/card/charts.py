"""The charts of a card as SVG, drawn by hand: a tenth of a millisecond each, so the owner makes a card while it serves.

Colours and type come from the page's style, every text is escaped, and what cannot be drawn is left to the tables.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from markupsafe import Markup

from perennial.data.svg import cut, legal, svg, text, ticks
from perennial.models.facts.evaluation import Calibration, Curve
from perennial.models.facts.explanation import Effect, Importance
from perennial.registry.card.words import figure

__all__ = ["Line", "calibration_chart", "curves_chart", "effect_chart", "importance_chart", "intervals"]

WIDTH = 660
LABEL = 210  # pixels of a row's label
LETTERS = 33  # that fit into it
ROW = 22
SMALL, HIGH = 320, 190  # of a chart beside others
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 34
NAME = 13  # from one name at the end of a curve to the next
DOTS = 60  # points up to which a line shows its dots
_Scale = Callable[[float], float]


class Line(NamedTuple):
    """A row of an interval chart: a value with its interval, drawn in the look `kind` (now, faint, bad)."""

    label: str
    value: float
    low: float | None
    high: float | None
    told: str
    kind: str = "now"


def intervals(lines: Sequence[Line], says: str, *, middle: float | None = None, middle_says: str = "") -> Markup:
    """Values with their intervals on one scale, one a row; `middle` is a line through all of them."""
    lines = [line for line in lines if math.isfinite(line.value)]
    if not lines:
        return Markup()
    firm = [
        end for line in lines for end in (line.value, line.low, line.high) if end is not None and math.isfinite(end)
    ]
    firm += [middle] if middle is not None and math.isfinite(middle) else []
    low, high = _padded(min(firm), max(firm))
    at, room = LABEL + 12, WIDTH - LABEL - 12 - 150
    bottom = len(lines) * ROW + 6

    def x(value: float) -> float:
        return at + (min(max(value, low), high) - low) / (high - low) * room

    drawn = ""
    for tick in ticks(low, high, 4):
        drawn += f'<line class="rule" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="0" y2="{bottom}"/>'
        drawn += text(x(tick), bottom + 14, figure(tick), "middle", "tick")
    if middle is not None and math.isfinite(middle):
        drawn += f'<g><title>{legal(middle_says)}</title><line class="middle" x1="{x(middle):.1f}" '
        drawn += f'x2="{x(middle):.1f}" y1="0" y2="{bottom}"/></g>'
    for place, line in enumerate(lines):
        y = place * ROW + 14
        drawn += f'<g class="{line.kind}"><title>{legal(f"{line.label}: {line.told}")}</title>'
        drawn += text(LABEL, y + 4, cut(line.label, LETTERS), "end", "label")
        if line.low is not None and line.high is not None:
            drawn += f'<line class="interval" x1="{x(line.low):.1f}" x2="{x(line.high):.1f}" y1="{y}" y2="{y}"/>'
        drawn += f'<circle class="dot" cx="{x(line.value):.1f}" cy="{y}" r="4.5"/>'
        drawn += text(WIDTH, y + 4, line.told, "end", "value") + "</g>"
    return svg(WIDTH, bottom + 20, drawn, says)


def importance_chart(found: Sequence[Importance], says: str) -> Markup:
    """How much the loss rises without each feature, as bars from 0 with intervals."""
    found = [one for one in found if math.isfinite(one.rise)]
    if not found:
        return Markup()
    low = min(0.0, *(one.low for one in found), *(one.rise for one in found))
    high = max(0.0, *(one.high for one in found), *(one.rise for one in found)) or 1.0
    at, room = LABEL + 12, WIDTH - LABEL - 12 - 80
    bottom = len(found) * ROW + 6

    def x(value: float) -> float:
        return at + (value - low) / (high - low) * room

    drawn = f'<line class="axis" x1="{x(0):.1f}" x2="{x(0):.1f}" y1="0" y2="{bottom}"/>'
    for place, one in enumerate(found):
        y = place * ROW + 14
        label = ", ".join(one.features)
        left, right = sorted((x(0), x(one.rise)))
        drawn += f"<g><title>{legal(f'{label}: {figure(one.rise)} ({figure(one.low)} to {figure(one.high)})')}</title>"
        drawn += text(LABEL, y + 4, cut(label, LETTERS), "end", "label")
        drawn += (
            f'<rect class="bar" x="{left:.1f}" y="{y - 7}" width="{max(right - left, 0.5):.1f}" height="14" rx="2"/>'
        )
        drawn += f'<line class="whisker" x1="{x(one.low):.1f}" x2="{x(one.high):.1f}" y1="{y}" y2="{y}"/>'
        drawn += text(WIDTH, y + 4, figure(one.rise), "end", "value") + "</g>"
    return svg(WIDTH, bottom + 2, drawn, says)


def calibration_chart(found: Calibration, says: str) -> Markup:
    """What was predicted against what came true, with the line on which the two are the same, and the rows below."""
    bins = [one for one in found.bins if math.isfinite(one.predicted) and math.isfinite(one.observed)]
    if not bins:
        return Markup()
    side = 250
    is_share = all(0 <= end <= 1 for one in bins for end in (one.predicted, one.observed))
    everything = [end for one in bins for end in (one.predicted, one.observed)]
    low, high = (0.0, 1.0) if is_share else _padded(min(everything), max(everything))
    most = max(one.rows for one in bins)

    def x(value: float) -> float:
        return LEFT + (min(max(value, low), high) - low) / (high - low) * (side - LEFT)

    def y(value: float) -> float:
        return TOP + side - LEFT - (min(max(value, low), high) - low) / (high - low) * (side - LEFT)

    drawn = _frame(low, high, low, high, x, y, "predicted", "came true")
    drawn += f'<line class="same" x1="{x(low):.1f}" y1="{y(low):.1f}" x2="{x(high):.1f}" y2="{y(high):.1f}"/>'
    foot = y(low) + BOTTOM + 34
    for one in bins:
        at = x(one.predicted)
        tip = (
            f"predicted {figure(one.predicted)}, came true {figure(one.observed)} "
            f"({figure(one.observed_low)} to {figure(one.observed_high)}), {one.rows:,} rows"
        )
        drawn += f"<g><title>{legal(tip)}</title>"
        drawn += f'<line class="interval" x1="{at:.1f}" x2="{at:.1f}" y1="{y(one.observed_low):.1f}" '
        drawn += (
            f'y2="{y(one.observed_high):.1f}"/><circle class="dot" cx="{at:.1f}" cy="{y(one.observed):.1f}" r="4"/>'
        )
        tall = one.rows / most * 26
        drawn += f'<rect class="rows" x="{at - 3:.1f}" y="{foot - tall:.1f}" width="6" height="{tall:.1f}"/></g>'
    drawn += f'<line class="axis" x1="{LEFT}" x2="{side}" y1="{foot}" y2="{foot}"/>'
    drawn += text(LEFT - 6, foot, "rows", "end", "tick")
    return svg(side + RIGHT, round(foot) + 6, drawn, says)


def curves_chart(found: Sequence[Curve], says: str, *, x_name: str) -> Markup:
    """Curves on common axes, each named at its end."""
    curves = [_finite(curve) for curve in found]
    curves = [curve for curve in curves if curve.x]
    if not curves:
        return Markup()
    wide, tall = 420, 220
    xs = [value for curve in curves for value in curve.x]
    ys = [value for curve in curves for part in (curve.y, curve.low or (), curve.high or ()) for value in part]
    ys = [value for value in ys if math.isfinite(value)]
    (left, right), (low, high) = _padded(min(xs), max(xs), 0.0), _padded(min(ys), max(ys))
    end = wide - 90

    def x(value: float) -> float:
        return LEFT + (value - left) / (right - left) * (end - LEFT)

    def y(value: float) -> float:
        return TOP + (tall - BOTTOM - TOP) * (1 - (min(max(value, low), high) - low) / (high - low))

    drawn = _frame(left, right, low, high, x, y, x_name, "")
    taken: list[float] = []
    for place, curve in enumerate(curves):
        look = f"c{place % 4}"
        if curve.low and curve.high and len(curve.low) == len(curve.high) == len(curve.x):
            there = [f"{x(a):.1f},{y(b):.1f}" for a, b in zip(curve.x, curve.high, strict=True)]
            back = [f"{x(a):.1f},{y(b):.1f}" for a, b in zip(curve.x, curve.low, strict=True)]
            drawn += f'<polygon class="band {look}" points="{" ".join(there + back[::-1])}"/>'
        drawn += _polyline([(x(a), y(b)) for a, b in zip(curve.x, curve.y, strict=True)], look)
        name = _apart(y(curve.y[-1]) + 4, taken, TOP, tall - BOTTOM + 4)
        taken.append(name)
        drawn += text(x(curve.x[-1]) + 8, name, cut(curve.name, 14), "start", f"name {look}", title=curve.name)
    return svg(wide, tall, drawn, says)


def _apart(wanted: float, taken: Sequence[float], top: float, foot: float) -> float:
    """The place from top to foot that is nearest to the wanted one and a line away from all others, if there is one.

    It lies at the wanted place or just beside another name, so nothing has to be searched step by step.
    """
    beside = [other + step for other in taken for step in (NAME, -NAME)]
    free = [
        place
        for place in (wanted, *beside)
        if top <= place <= foot and all(abs(place - other) > NAME - 0.01 for other in taken)
    ]
    return min(free, key=lambda place: abs(place - wanted), default=wanted)


def effect_chart(found: Effect, says: str) -> Markup:
    """How the answer moves with one feature; below, where the rows lie."""
    pairs = [(value, change) for value, change in zip(found.grid, found.effect, strict=False) if math.isfinite(change)]
    if not pairs:
        return Markup()
    if any(isinstance(value, str) for value, _ in pairs):
        return _effect_bars([(str(value), change) for value, change in pairs], says)
    points = [(float(value), change) for value, change in pairs if math.isfinite(float(value))]
    if len(points) < 2:
        return Markup()
    xs, ys = [point[0] for point in points], [point[1] for point in points]
    left, right = _padded(min(xs), max(xs), 0.0)
    low, high = _padded(min(*ys, 0.0), max(*ys, 0.0))

    def x(value: float) -> float:
        return LEFT + (value - left) / (right - left) * (SMALL - RIGHT - LEFT)

    def y(value: float) -> float:
        return TOP + (HIGH - BOTTOM - TOP) * (1 - (value - low) / (high - low))

    drawn = _frame(left, right, low, high, x, y, found.feature, "")
    drawn += f'<line class="middle" x1="{LEFT}" x2="{SMALL - RIGHT}" y1="{y(0):.1f}" y2="{y(0):.1f}"/>'
    most = max(found.rows, default=0)
    for place, rows in enumerate(found.rows[: len(points)]):
        if most and place + 1 < len(points):
            tall = rows / most * 22
            drawn += f'<rect class="rows" x="{x(points[place][0]):.1f}" y="{HIGH - BOTTOM - tall:.1f}" '
            drawn += f'width="{max(x(points[place + 1][0]) - x(points[place][0]) - 1, 0.5):.1f}" height="{tall:.1f}"/>'
    drawn += _polyline([(x(a), y(b)) for a, b in points], "c0")
    return svg(SMALL, HIGH, drawn, says)


def _effect_bars(pairs: Sequence[tuple[str, float]], says: str) -> Markup:
    pairs = pairs[:12]
    low, high = min(0.0, *(change for _, change in pairs)), max(0.0, *(change for _, change in pairs))
    if high - low <= 0:
        high = low + 1.0
    label, at = 110, 118
    room = SMALL - at - 54
    bottom = len(pairs) * 18 + 4

    def x(value: float) -> float:
        return at + (value - low) / (high - low) * room

    drawn = ""
    for place, (value, change) in enumerate(pairs):
        y = place * 18 + 11
        left, right = sorted((x(0), x(change)))
        drawn += f"<g><title>{legal(f'{value}: {figure(change)}')}</title>"
        drawn += text(label, y + 4, cut(value, 17), "end", "label")
        drawn += (
            f'<rect class="bar" x="{left:.1f}" y="{y - 6}" width="{max(right - left, 0.5):.1f}" height="12" rx="2"/>'
        )
        drawn += text(SMALL, y + 4, figure(change), "end", "value") + "</g>"
    drawn += f'<line class="axis" x1="{x(0):.1f}" x2="{x(0):.1f}" y1="0" y2="{bottom}"/>'
    return svg(SMALL, bottom, drawn, says)


def _frame(
    left: float,
    right: float,
    low: float,
    high: float,
    x: _Scale,
    y: _Scale,
    x_name: str,
    y_name: str,
) -> str:
    """Axes with their numbers and names."""
    drawn = ""
    for tick in ticks(low, high, 4):
        drawn += f'<line class="rule" x1="{x(left):.1f}" x2="{x(right):.1f}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        drawn += text(x(left) - 6, y(tick) + 4, figure(tick), "end", "tick")
    for tick in ticks(left, right, 4):
        anchor = "end" if tick > left + (right - left) * 0.97 else "middle"
        drawn += text(x(tick), y(low) + 15, figure(tick), anchor, "tick")
    drawn += f'<path class="axis" d="M{x(left):.1f} {y(high):.1f}V{y(low):.1f}H{x(right):.1f}"/>'
    drawn += text((x(left) + x(right)) / 2, y(low) + 30, cut(x_name, 40), "middle", "tick", title=x_name)
    if y_name:
        drawn += text(x(left) + 6, y(high) + 4, y_name, "start", "tick")
    return drawn


def _finite(curve: Curve) -> Curve:
    """Without what has no place on the axes; a band only where it is whole."""
    keep = [
        place
        for place, (a, b) in enumerate(zip(curve.x, curve.y, strict=False))
        if math.isfinite(a) and math.isfinite(b)
    ]
    whole = all(part is not None and len(part) == len(curve.x) for part in (curve.low, curve.high))
    bands = [
        [part[place] for place in keep] if whole and part is not None and all(map(math.isfinite, part)) else None
        for part in (curve.low, curve.high)
    ]
    return Curve(
        kind=curve.kind,
        name=curve.name,
        x=[curve.x[place] for place in keep],
        y=[curve.y[place] for place in keep],
        low=bands[0],
        high=bands[1],
    )


def _polyline(points: Sequence[tuple[float, float]], look: str) -> str:
    drawn = f'<polyline class="curve {look}" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in points)}"/>'
    if len(points) <= DOTS:
        drawn += "".join(f'<circle class="dot {look}" cx="{a:.1f}" cy="{b:.1f}" r="2.6"/>' for a, b in points)
    return drawn


def _padded(low: float, high: float, share: float = 0.06) -> tuple[float, float]:
    span = high - low
    if span <= max(abs(low), abs(high)) * 1e-9:
        span = abs(high) * 0.2 or 1.0
        return low - span / 2, high + span / 2
    return low - span * share, high + span * share
