"""The charts of the demo's report, as SVG: Altair draws them, vl-convert renders them, both without a network.

Colours are names of the page's CSS variables, so that one drawing serves light and dark. Each chart comes in a width
of its own for screens and for phones, as scaling one would make its text unreadable on the other.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from typing import Any, TypeAlias

import altair as alt
import vl_convert

from perennial.demo.facts import Facts, Period, StageSpan

__all__ = ["POLICY_NAMES", "draw_errors", "draw_means", "draw_rollouts", "draw_shifts"]

POLICY_NAMES = {"never": "never", "loop": "this loop", "yearly": "every year"}
INK, QUIET, GRID, PAPER = "var(--ink)", "var(--quiet)", "var(--line)", "var(--paper)"
LINE_NAMES = {**POLICY_NAMES, "truth": "what was true"}
LINE_COLOURS = {"never": "var(--never)", "loop": "var(--loop)", "yearly": "var(--yearly)", "truth": INK}
LINE_DASHES = {"truth": [1, 3], "yearly": [5, 3], "never": [1, 0], "loop": [1, 0]}
LANES = ("alarm", "trained", "live", "refused")
LANE_COLOURS = {"alarm": "var(--bad)", "trained": QUIET, "live": "var(--loop)", "refused": "var(--bad)"}
STAGE_COLOURS = {"shadow": QUIET, "canary": "var(--never)", "live": "var(--loop)"}
FONT = "Liberation Sans, Arial, Helvetica, sans-serif"  # alike in width, so that text fits where it was measured
PHONE = 500  # pixels; a narrower chart is for a phone
STRONG = 10  # tolerances; a shift beyond is drawn as strongly as one can be drawn
LABEL_GAP = 15  # pixels between two labels at the ends of lines

Row: TypeAlias = dict[str, Any]
Domain: TypeAlias = tuple[float, float]
Drawing: TypeAlias = "alt.Chart | alt.LayerChart | alt.FacetChart | alt.VConcatChart"


def draw_errors(facts: Facts, width: int) -> str:
    """Error of each policy over time, with the interval of this loop's and, above, what happened."""
    height, title = 240, f"RMSE of {facts.target}"
    lines: list[Row] = [
        {"at": _middle(period), "policy": period.policy, "value": period.rmse, "low": period.low, "high": period.high}
        for period in facts.periods
    ]
    highest = max(row["high"] or row["value"] for row in lines)
    lowest = min(row["low"] or row["value"] for row in lines)
    spare = (highest - lowest) * 0.05
    domain = (lowest - spare, highest + spare)
    x = _time(facts)
    band = (
        alt.Chart(_data([row for row in lines if row["policy"] == "loop" and row["low"] is not None]))
        .mark_area(color=LINE_COLOURS["loop"], opacity=0.16)
        .encode(x=x, y=_value("low", domain, title), y2="high:Q")
    )
    moves = [{"at": _year(mark.at)} for mark in facts.marks if mark.kind == "live"]
    rules = alt.Chart(_data(moves)).mark_rule(color=LANE_COLOURS["live"], opacity=0.5).encode(x=x)
    errors = alt.layer(band, rules, *_lines(lines, x, domain, height, title))
    return _svg(alt.vconcat(_lanes(facts, width), errors.properties(width=width - 150, height=height), spacing=6))


def draw_means(facts: Facts, width: int) -> str:
    """What was true and what each policy answered, on average, over time."""
    height = 220
    rows: list[Row] = [
        {"at": _middle(period), "policy": period.policy, "value": period.prediction} for period in facts.periods
    ] + [
        {"at": _middle(period), "policy": "truth", "value": period.truth}
        for period in facts.periods
        if period.policy == "loop"
    ]
    values = [row["value"] for row in rows]
    spare = (max(values) - min(values)) * 0.08
    domain = (min(values) - spare, max(values) + spare)
    lines = alt.layer(*_lines(rows, _time(facts), domain, height, f"mean {facts.target}"))
    return _svg(lines.properties(width=width - 150, height=height))


def draw_shifts(facts: Facts, width: int) -> str:
    """How far each feature lies from what the live version was trained on, window by window."""
    largest: dict[str, float] = {}
    for cell in facts.shifts:
        largest[cell.feature] = max(largest.get(cell.feature, 0.0), cell.psi or 0.0)
    features = sorted(largest, key=lambda name: -largest[name])
    windows = sorted({(cell.start, cell.end, cell.version) for cell in facts.shifts})
    to = "" if width < PHONE else "to "
    names = {window: f"{_month(window[0])}|{to}{_month(window[1])}|vs v{window[2]}" for window in windows}
    ceiling = STRONG * facts.tolerance
    rows = [
        {
            "feature": cell.feature,
            "window": names[cell.start, cell.end, cell.version],
            "strength": 0.06 + 0.56 * min((cell.psi or 0.0) / ceiling, 1.0),
            "says": "?" if cell.psi is None else f"{cell.psi:.2f}",
            "shifted": cell.is_shifted,
            "colour": "var(--never)" if cell.is_shifted else QUIET,
        }
        for cell in facts.shifts
    ]
    base = alt.Chart(_data(rows)).encode(
        x=alt.X(
            "window:O",
            sort=list(names.values()),
            axis=alt.Axis(
                title=None,
                labelExpr="split(datum.label, '|')",
                labelAngle=0,
                labelFontSize=10 if width < PHONE else 12,
                labelOverlap=False,
                domain=False,
            ),
        ),
        y=alt.Y("feature:N", sort=features, axis=alt.Axis(title=None, domain=False, labelLimit=110)),
    )
    shade = alt.Opacity("strength:Q", scale=alt.Scale(domain=[0, 1], range=[0, 1]), legend=None)
    cells = base.mark_rect(cornerRadius=3, stroke=PAPER, strokeWidth=2).encode(
        color=alt.Color("colour:N", scale=None), opacity=shade
    )
    bold = base.transform_filter("datum.shifted").mark_text(color=INK, fontSize=11, fontWeight="bold")
    plain = base.transform_filter("!datum.shifted").mark_text(color=INK, fontSize=11)
    texts = [mark.encode(text="says:N") for mark in (bold, plain)]
    room = width - 120
    return _svg(alt.layer(cells, *texts).properties(width=min(room, 110 * len(windows)), height=26 * len(features)))


def draw_rollouts(facts: Facts, width: int) -> str:
    """Each version's way: shadow, canary, live, over time."""
    versions = [f"v{version}" for version in sorted({span.version for span in facts.rollouts})]
    ends = _year(facts.ended)
    rows = [
        {
            "version": f"v{span.version}",
            "from": _year(span.start),
            "to": ends if span.end is None else _year(span.end),
            "colour": STAGE_COLOURS[span.stage],
            "strength": 0.35 + 0.5 * span.share if span.stage == "canary" else 1.0,
        }
        for span in facts.rollouts
    ]
    last: dict[int, StageSpan] = {}
    for span in sorted(facts.rollouts, key=lambda span: span.start):
        last[span.version] = span
    outcomes = [
        {
            "version": f"v{version}",
            "at": ends if span.end is None else _year(span.end),
            "says": "replaced" if span.stage == "live" and span.end else span.outcome.replace("_", " "),
        }
        for version, span in last.items()
    ]
    y = alt.Y("version:N", sort=versions, axis=alt.Axis(title=None, domain=False, labelFontWeight="bold"))
    x = alt.X("from:Q", scale=_years(facts), axis=_year_axis())
    colour = alt.Color("colour:N", scale=None)
    shade = alt.Opacity("strength:Q", scale=alt.Scale(domain=[0, 1], range=[0, 1]), legend=None)
    bars = alt.Chart(_data(rows)).mark_bar(height=16).encode(x=x, x2="to:Q", y=y, color=colour, opacity=shade)
    says = (
        alt.Chart(_data(outcomes))
        .mark_text(align="left", dx=6, color=QUIET, fontSize=12)
        .encode(x=alt.X("at:Q", scale=_years(facts)), y=y, text="says:N")
    )
    return _svg(alt.layer(bars, says).properties(width=width - 150, height=30 * len(versions)))


def _lanes(facts: Facts, width: int) -> alt.LayerChart | alt.FacetChart:
    """What happened, one lane for each kind of event, above the time axis it shares."""
    rows = [
        {
            "at": _year(mark.at),
            "lane": mark.kind,
            "colour": LANE_COLOURS[mark.kind],
            "says": "" if mark.version is None else f"v{mark.version}",
        }
        for mark in facts.marks
    ]
    lanes = [kind for kind in LANES if any(mark.kind == kind for mark in facts.marks)]
    base = alt.Chart(_data(rows)).encode(
        x=alt.X("at:Q", scale=_years(facts), axis=None),
        y=alt.Y("lane:N", sort=lanes, axis=alt.Axis(title=None, domain=False, labelColor=INK, labelPadding=12)),
        color=alt.Color("colour:N", scale=None),
    )
    points = base.mark_point(filled=True, size=45, opacity=1)
    texts = base.mark_text(align="left", dx=6, fontSize=11).encode(text="says:N")
    return alt.layer(points, texts).properties(width=width - 150, height=max(18 * len(lanes), 1))


def _lines(rows: Sequence[Row], x: alt.X, domain: Domain, height: int, title: str) -> list[alt.Chart]:
    """A line for each policy, named where it ends."""
    y = _value("value", domain, title)
    low, high = domain
    newest = {row["policy"]: row for row in sorted(rows, key=lambda row: row["at"])}
    places = _apart({policy: height * (high - row["value"]) / (high - low) for policy, row in newest.items()}, height)
    labels: list[Row] = [
        {
            "at": newest[policy]["at"],
            "value": high - place / height * (high - low),
            "colour": LINE_COLOURS[policy],
            "says": LINE_NAMES[policy],
        }
        for policy, place in places.items()
    ]
    colour = alt.Color("colour:N", scale=None)
    drawn = [
        row | {"colour": LINE_COLOURS[policy], "thick": 3 if policy == "loop" else 2}
        for policy in LINE_DASHES  # what is drawn last lies on top
        for row in rows
        if row["policy"] == policy
    ]
    dashes = alt.Scale(domain=list(LINE_DASHES), range=list(LINE_DASHES.values()))
    line = (
        alt.Chart(_data(drawn))
        .mark_line(strokeCap="round")
        .encode(
            x=x,
            y=y,
            color=colour,
            strokeDash=alt.StrokeDash("policy:N", scale=dashes, legend=None),
            strokeWidth=alt.StrokeWidth("thick:Q", scale=None),
        )
    )
    text = alt.Chart(_data(labels)).mark_text(align="left", dx=8, fontWeight="bold")
    return [line, text.encode(x=x, y=y, color=colour, text="says:N")]


def _apart(wanted: dict[str, float], height: int) -> dict[str, float]:
    """Places in pixels near the wanted ones, in their order and at least a line of text apart."""
    places: dict[str, float] = {}
    for name in sorted(wanted, key=lambda name: wanted[name]):
        places[name] = max(wanted[name], max(places.values(), default=-LABEL_GAP) + LABEL_GAP)
    overhang = max(0.0, max(places.values(), default=0.0) - height)
    return {name: place - overhang for name, place in places.items()}


def _svg(chart: Drawing) -> str:
    spec = (
        chart.configure(font=FONT, background="transparent", padding=2)
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=QUIET, titleColor=QUIET, gridColor=GRID, domainColor=GRID, tickColor=GRID,
            labelFontSize=12, titleFontSize=12, titleFontWeight="normal", ticks=False, labelPadding=6,
        )
        .configure_text(fontSize=12)
        .to_dict(validate=False)  # the type checker has; it takes as long as the drawing
    )  # fmt: skip
    version = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
    return vl_convert.vegalite_to_svg(json.dumps(spec), vl_version=version)


def _data(rows: Sequence[Row]) -> alt.Data:
    return alt.Data(values=list(rows))


def _value(field: str, domain: Domain, title: str) -> alt.Y:
    scale = alt.Scale(domain=list(domain), zero=False, nice=False)
    return alt.Y(f"{field}:Q", scale=scale, axis=alt.Axis(title=title, tickCount=5, domain=False, format=".2f"))


def _year_axis() -> alt.Axis:
    return alt.Axis(title=None, format="d", tickMinStep=1, grid=True)


def _years(facts: Facts) -> alt.Scale:
    return alt.Scale(domain=[_year(facts.began), _year(facts.ended)], nice=False, zero=False)


def _time(facts: Facts) -> alt.X:
    return alt.X("at:Q", scale=_years(facts), axis=_year_axis())


def _year(day: str) -> float:
    """A date as years: numbers have no time zone."""
    moment = date.fromisoformat(day[:10])
    first = date(moment.year, 1, 1)
    return moment.year + (moment - first).days / (date(moment.year + 1, 1, 1) - first).days


def _middle(period: Period) -> float:
    return (_year(period.start) + _year(period.end)) / 2


def _month(day: str) -> str:
    return date.fromisoformat(day[:10]).strftime("%b %y")
