"""A report as a page: one HTML file with everything in it, which loads nothing, runs nothing, and reads well on paper.

Every text is escaped; the page forbids by its own policy whatever its templates do not hold.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Set
from functools import cache, partial
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from perennial.clock import iso
from perennial.data.profile.words import figure, percent
from perennial.monitor.reporting.drawing import SHADES, alone, distribution, heat_map, performance_chart, shares_chart
from perennial.monitor.reporting.findings_text import decided, likely, measured, method_named, metric_named
from perennial.monitor.reporting.report import Column, Grid, MonitorReport, Said, Side
from perennial.types import Micros

__all__ = ["charts", "fragment", "html"]

DRAWN = 12  # distributions that are shown at once
HEATED = 30  # columns of the heat map; the JSON form has all
_RANK = {"critical": 0, "warn": 1, "info": 2}


def html(report: MonitorReport) -> str:
    """The page."""
    style = "html, body { margin: 0; }" + _style()
    sealed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        _environment()
        .get_template("page.html")
        .render(
            title=report.title,
            style=Markup(style),  # noqa: S704  ours
            policy=f"default-src 'none'; style-src 'sha256-{sealed}'; base-uri 'none'; form-action 'none'",
            body=_body(report, is_page=True),
        )
    )


def fragment(report: MonitorReport) -> str:
    """The same for a notebook: a piece of HTML, its style within it."""
    return f"<style>{_style()}</style>{_body(report, is_page=False)}"


def charts(report: MonitorReport) -> dict[str, str]:
    """The charts by name, each as an SVG file of its own on a light ground: for a document, a slide, a chat."""
    drawn: dict[str, Markup] = {}
    if report.grid is not None:
        drawn["columns"] = heat_map(_hottest(report.grid))
    drawn |= {one.metric: performance_chart(one) for one in report.performance}
    if report.diagnosis is not None:
        drawn["shares"] = shares_chart(report.diagnosis.shares, "where the change of the loss comes from")
    answered = [one for one in (report.answered.prediction, report.answered.label) if one is not None]
    drawn |= {f"column-{one.name}": distribution(one) for one in [*answered, *report.shifted] if one.is_shifted}
    style = _environment().get_template("alone.css").render()
    return {name: alone(chart, style) for name, chart in drawn.items() if chart}


def _body(report: MonitorReport, *, is_page: bool) -> Markup:
    shifted = report.shifted
    rest = [one for one in report.columns if not one.is_shifted]
    answered = [one for one in (report.answered.prediction, report.answered.label) if one is not None]
    drawn = [*(one for one in answered if one.is_shifted), *shifted]
    text = (
        _environment()
        .get_template("report.html")
        .render(
            report=report,
            word=_word(report),
            begun=partial(_begun, {one.name for one in report.columns}),
            is_page=is_page,
            sides=[(side.name, _side(side)) for side in (report.reference, report.current)],
            overview=_overview(report),
            findings=sorted(report.findings, key=lambda one: _RANK[one.severity]),
            heat=heat_map(_hottest(report.grid)) if report.grid else "",
            cooler=max(0, len(report.grid.columns) - HEATED) if report.grid else 0,
            shades=list(enumerate(SHADES)),
            performance=[(one, performance_chart(one)) for one in report.performance],
            drawn=[(one, distribution(one)) for one in drawn[:DRAWN]],
            more=[(one, distribution(one)) for one in drawn[DRAWN:]],
            table=[*answered, *shifted, *rest],
            own={one.name for one in answered},
            shares=shares_chart(report.diagnosis.shares, "where the change of the loss comes from")
            if report.diagnosis
            else "",
        )
    )
    return Markup(text)  # noqa: S704  made by our template, which escapes


def _word(report: MonitorReport) -> str:
    """What the report comes to: faulty data need somebody even where no harm is shown."""
    if report.severity != "critical":
        return "look at it" if report.severity == "warn" else "quiet"
    return (
        "it hurts"
        if any(one.severity == "critical" and one.kind == "performance" for one in report.findings)
        else ("faulty data")
    )


def _overview(report: MonitorReport) -> list[tuple[str, str, str]]:
    """What a reader looks for first: label, value, what stands below it."""
    told = [("rows", f"{report.current.rows:,}", f"beside {report.reference.rows:,}")]
    told.append(("columns that shifted", str(len(report.shifted)), f"of {len(report.columns)} that were compared"))
    if report.issues:
        told.append(("data quality", str(len(report.issues)), "findings"))
    for one in report.performance[:1]:
        now = one.overall.get("realised") or one.overall.get(one.chosen or "")
        how = "realised" if "realised" in one.overall else f"estimated by {method_named(one.chosen or '')}"
        if now is not None:
            told.append(
                (f"{metric_named(one.metric)}, {how}", figure(now.value), f"{figure(one.reference.value)} before")
            )
    return told


def _hottest(grid: Grid) -> Grid:
    """The columns that moved most, most first."""
    heat = [max((value for value in row if value is not None), default=-1.0) for row in grid.excess]
    order = sorted(range(len(heat)), key=lambda at: -heat[at])[:HEATED]
    return Grid(
        window=grid.window,
        labels=grid.labels,
        rows=grid.rows,
        columns=[grid.columns[at] for at in order],
        excess=[grid.excess[at] for at in order],
        marked=[grid.marked[at] for at in order],
        rests_on=grid.rests_on,
    )


def _side(side: Side) -> str:
    told = f"{side.rows:,} rows"
    if side.labelled:
        told += ", all with their truth" if side.labelled == side.rows else f", {side.labelled:,} with their truth"
    if side.start is not None and side.end is not None:
        told += f", {_day(side.start)} to {_day(side.end)}"
    return told


def _day(at: int) -> str:
    return iso(Micros(at // 1_000_000 * 1_000_000))[:10]


def _by_class(finding: Said) -> str:
    return {"critical": "grave", "warn": "mild"}.get(finding.severity, "light")


def _unlike(column: Column) -> str:
    """What the distance in words is: missing values and unseen categories first."""
    told: list[str] = []
    if abs(column.current_missing - column.reference_missing) >= 0.001:
        told.append(f"missing {percent(column.reference_missing)} → {percent(column.current_missing)}")
    if column.unseen >= 0.001:
        told.append(f"{percent(column.unseen)} unseen")
    return "; ".join(told).replace(" %", "\u00a0%")


def _distance(value: float | None) -> str:
    """As many digits for each, so that a column of them can be looked through.

    >>> _distance(0.00003), _distance(16.871), _distance(None)
    ('0.0000', '16.87', '–')
    """
    return figure(value) if value is None else f"{value:.4f}" if abs(value) < 10 else f"{value:,.2f}"


def _begun(columns: Set[str], text: str) -> str:
    """A sentence as one is begun, unless it begins with the name of a column, which is written as it is.

    >>> _begun({"region"}, "region has one value"), _begun({"region"}, "the answers are worse")
    ('region has one value', 'The answers are worse')
    """
    return text if any(text.startswith(f"{name} ") for name in columns) else text[:1].upper() + text[1:]


@cache
def _environment() -> Environment:
    pages = Environment(
        loader=PackageLoader("perennial.monitor.reporting", "page_parts"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {
        "figure": figure,
        "percent": percent,
        "likely": likely,
        "measured": measured,
        "decided": decided,
        "metric": metric_named,
        "method": method_named,
        "weight": _by_class,
        "unlike": _unlike,
        "begun": partial(_begun, frozenset[str]()),
        "distance": _distance,
    }
    pages.filters.update(filters)
    return pages


@cache
def _style() -> str:
    return _environment().get_template("style.css").render()
