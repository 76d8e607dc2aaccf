"""Draw metrics over steps as SVG: axes with ticks and labels, lines, and the same in words for who cannot see it.

What is no number, is infinite, or has no place on a logarithmic axis is not drawn but told. A picture that stands on a
page takes its colour of ink from there; one that stands alone brings its own paper.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from markupsafe import Markup, escape

from perennial.data.svg import legal
from perennial.ui.axis import Axis, tick_label
from perennial.ui.words import number

__all__ = ["COLOURS", "DASHES", "MANY", "SECONDS", "STEP", "Line", "draw", "look", "told"]

# Okabe and Ito's set, which people with any kind of colour blindness tell apart; without its yellow, which vanishes on
# white. Beyond seven, the line is dashed too.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "currentColor")
DASHES = ("", "7 3", "2 3")
DOTS_UNTIL = 30  # points that are drawn as dots too, so that few can be seen

MANY = 1_000_000_000  # stands for a number of NaN that was not counted

STEP, SECONDS = "step", "seconds"  # what stands below a chart
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 10, 34
_numbers = count()


@dataclass(frozen=True)
class Line:
    """One metric of one run: points by x, and what was left out of them."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: str = COLOURS[0]
    dash: str = ""
    nan: int = 0  # how many of its values are NaN, as far as that is known
    is_last_nan: bool = False
    infinite: int = 0


@dataclass(frozen=True)
class _Drawn:
    line: Line
    x: list[float] = field(default_factory=list[float])
    y: list[float] = field(default_factory=list[float])
    unplaced: int = 0


def look(position: int) -> tuple[str, str]:
    """Colour and dashes of the line of this position, different for the first 21."""
    return COLOURS[position % len(COLOURS)], DASHES[position // len(COLOURS) % len(DASHES)]


def draw(
    lines: Sequence[Line],
    *,
    title: str,
    x_name: str = STEP,
    is_log: bool = False,
    width: int = 420,
    height: int = 240,
    stands_alone: bool = False,
) -> Markup:
    """The picture of some lines on common axes."""
    drawn = [_placed(line, is_log) for line in lines]
    name = f"chart{next(_numbers)}"
    where = 'xmlns="http://www.w3.org/2000/svg" color="#1b1b1b"' if stands_alone else 'class="chart"'
    where += f' viewBox="0 0 {width} {height}" role="img" aria-labelledby="{name}t {name}d"'
    what = [
        f'<svg {where} font-family="system-ui, sans-serif" font-size="11" fill="currentColor">',
        f'<title id="{name}t">{legal(title)}</title>',
        f'<desc id="{name}d">{legal(" ".join(told(line, is_log=is_log, x_name=x_name) for line in lines))}</desc>',
    ]
    if stands_alone:
        what.append(f'<rect width="{width}" height="{height}" fill="#fff"/>')
        what.append(f'<text x="{LEFT}" y="14" font-size="12" font-weight="600">{legal(title)}</text>')
        left_out = " ".join(says for one in drawn for says in _left_out(one))
        what.append(f'<text x="{width - RIGHT}" y="{height - 5}" text-anchor="end">{legal(left_out)}</text>')
    top = TOP + (14 if stands_alone else 0)
    xs = [x for one in drawn for x in one.x]
    ys = [y for one in drawn for y in one.y]
    if ys:
        across = Axis(min(xs), max(xs), is_whole=x_name == STEP)
        up = Axis(min(ys), max(ys), is_log=is_log)
        what += _axes(across, up, x_name, width, height, top)
        for one in drawn:
            what.append(_path(one, across, up, width, height, top))
    else:
        what.append(f'<text x="{width / 2}" y="{height / 2}" text-anchor="middle">no value that can be drawn</text>')
    what.append("</svg>")
    return Markup("\n".join(what))  # noqa: S704  every text in it went through legal


def told(line: Line, *, is_log: bool = False, x_name: str = STEP) -> str:
    """A line in words."""
    one = _placed(line, is_log)
    says = [f"{line.name}:"]
    if one.y:
        low, high = min(one.y), max(one.y)
        says.append(
            f"from {x_name} {tick_label(min(one.x))} to {tick_label(max(one.x))}, "
            f"lowest {number(low)}, highest {number(high)}, last {number(one.y[-1])}."
        )
    else:
        says.append("nothing to draw.")
    return " ".join([*says, *_left_out(one)])


def _left_out(one: _Drawn) -> list[str]:
    """What of a line is not in the picture."""
    line = one.line
    says: list[str] = []
    if line.nan:
        many = "Many values are" if line.nan >= MANY else "1 value is" if line.nan == 1 else f"{line.nan} values are"
        says.append(f"{many} NaN.")
    if line.is_last_nan:
        says.append("The newest value is NaN.")
    if line.infinite:
        says.append(f"{line.infinite} infinite {'value is' if line.infinite == 1 else 'values are'} not drawn.")
    if one.unplaced:
        says.append("Values of zero and below have no place on a logarithmic axis.")
    return says


def _placed(line: Line, is_log: bool) -> _Drawn:
    drawn = _Drawn(line)
    left = 0
    for x, y in zip(line.x, line.y, strict=True):
        if not math.isfinite(y):
            continue
        if is_log and y <= 0:
            left += 1
            continue
        drawn.x.append(x)
        drawn.y.append(y)
    return _Drawn(line, drawn.x, drawn.y, left)


def _axes(across: Axis, up: Axis, x_name: str, width: int, height: int, top: int) -> list[str]:
    right, bottom = width - RIGHT, height - BOTTOM
    what = [f'<g stroke="currentColor" stroke-opacity=".35"><path d="M{LEFT} {top}V{bottom}H{right}" fill="none"/></g>']
    for place, label in up.ticks():
        y = bottom - place * (bottom - top)
        what.append(
            f'<path d="M{LEFT} {y:.1f}H{right}" stroke="currentColor" stroke-opacity=".12"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'
        )
    for place, label in across.ticks():
        x = LEFT + place * (right - LEFT)
        anchor = "end" if place > 0.97 else "middle"
        what.append(
            f'<path d="M{x:.1f} {bottom}v4" stroke="currentColor" stroke-opacity=".5"/>'
            f'<text x="{x:.1f}" y="{bottom + 15}" text-anchor="{anchor}">{label}</text>'
        )
    what.append(
        f'<text x="{(LEFT + right) / 2:.0f}" y="{height - 5}" text-anchor="middle" fill-opacity=".7">'
        f"{legal(x_name)}{' (logarithmic values)' if up.is_log else ''}</text>"
    )
    return what


def _path(one: _Drawn, across: Axis, up: Axis, width: int, height: int, top: int) -> str:
    right, bottom = width - RIGHT, height - BOTTOM
    places = [
        (LEFT + across.place(x) * (right - LEFT), bottom - up.place(y) * (bottom - top))
        for x, y in zip(one.x, one.y, strict=True)
    ]
    if not places:
        return ""
    colour, dash = escape(one.line.colour), escape(one.line.dash)
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    what = f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"{dashed}/>'
    if len(places) <= DOTS_UNTIL:
        what += "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.2" fill="{colour}"/>' for x, y in places)
    return what
