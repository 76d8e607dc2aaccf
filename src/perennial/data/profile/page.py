"""A profile as a page: one HTML file with everything in it, that loads nothing and runs nothing.

`page` makes the file, `fragment` the same for a notebook, whose own look it leaves alone: every rule of the style is
for what is inside it.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from perennial.data.profile.association import Pair, TargetRelation, associations, target_relations
from perennial.data.profile.charts import distribution, drift_chart, heat_map, target_chart
from perennial.data.profile.columns import ColumnProfile
from perennial.data.profile.drift import ColumnDrift
from perennial.data.profile.notable import notes
from perennial.data.profile.profiles import Profile
from perennial.data.profile.words import figure, megabytes, of_value, of_values, percent

__all__ = ["fragment", "page", "self_contained"]

PAIRS = 12  # that are listed
RELATIONS = 24  # columns whose relation to the target is drawn
VALUES = 10  # most frequent values that are listed
NOTES = 12  # that are shown at once; the others fold
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


class Card(NamedTuple):
    """What the page shows of a column."""

    column: ColumnProfile
    place: int
    chart: Markup
    caption: str
    figures: list[tuple[str, str, str]]
    quantiles: list[tuple[str, str]]
    frequent: list[tuple[str, str, str]]
    notes: list[str]


def page(
    profile: Profile,
    *,
    against: Profile | None = None,
    drift: Sequence[ColumnDrift] | None = None,
    title: str = "",
) -> str:
    """A self-contained HTML page.

    Args:
        profile: What to show.
        against: Another version, which is drawn beside it in every chart.
        drift: What `drift` found between the two.
        title: By default the profile's name.
    """
    return self_contained(title or profile.name, _body(profile, against, drift, anchors=True, title=title))


def self_contained(title: str, body: str) -> str:
    """A whole page around a body that was rendered by a template of ours, in the style of the profile."""
    style, frame = _style(), "html, body { margin: 0; }"
    sealed = base64.b64encode(hashlib.sha256((frame + style).encode()).digest()).decode()
    return (
        _environment()
        .get_template("page.html")
        .render(title=title, style=Markup(frame + style), sealed=sealed, body=Markup(body))  # noqa: S704  ours
    )


def fragment(profile: Profile) -> str:
    """The same for a notebook: a piece of HTML without an address of its own, so without links within."""
    return f"<style>{_style()}</style>{_body(profile, None, None, anchors=False, title='')}"


def _body(
    profile: Profile, against: Profile | None, drift: Sequence[ColumnDrift] | None, *, anchors: bool, title: str
) -> Markup:
    found = associations(profile)
    relations = target_relations(profile)
    told = notes(profile, found)
    others = {column.name: column for column in against.columns} if against else {}
    places = {column.name: place for place, column in enumerate(profile.columns)}
    by_column: dict[str, list[str]] = {}
    for note in told:
        by_column.setdefault(note.column, []).append(note.says)
    cards = [
        _card(column, places[column.name], others.get(column.name), by_column.get(column.name, []))
        for column in profile.columns
    ]
    text = (
        _environment()
        .get_template("body.html")
        .render(
            profile=profile,
            against=against,
            title=title or profile.name,
            anchors=anchors,
            overview=_overview(profile, against),
            notes=[(note, places.get(note.column)) for note in told],
            shown=NOTES,
            cards=cards,
            heat=heat_map(found) if len(found.names) > 1 else "",
            pairs=_strongest(found.pairs),
            left_out=found.left_out,
            relations=_drawn(relations),
            names=relations[0].names if relations else [],
            more_relations=max(0, len(relations) - RELATIONS),
            drift=None if drift is None else [(one, drift_chart(one) if one.labels else "") for one in drift],
            shifted=sum(one.decision in ("shifted", "new", "gone", "type") for one in drift or ()),
            exact=profile.sample.tags.size >= profile.rows,
        )
    )
    return Markup(text)  # noqa: S704  made by our template, which escapes


def _overview(profile: Profile, against: Profile | None) -> list[tuple[str, str, str]]:
    def of(which: Profile) -> list[str]:
        cells = which.rows * len(which.columns)
        missing = sum(column.missing for column in which.columns)
        return [
            f"{which.rows:,}",
            f"{len(which.columns):,}",
            percent(missing / cells) if cells else "–",
            ("" if which.repeats.is_exact or not which.repeats.share else "about ") + percent(which.repeats.share),
            megabytes(which.size_bytes),
        ]

    labels = ("rows", "columns", "values missing", "rows repeated", "in memory")
    before = of(against) if against else [""] * len(labels)
    return list(zip(labels, of(profile), before, strict=True))


def _card(column: ColumnProfile, place: int, against: ColumnProfile | None, told: list[str]) -> Card:
    chart = distribution(column, against)
    before = dict(_figures(against)) if against else {}
    figures = [(label, value, before.get(label, "")) for label, value in _figures(column)]
    shares: list[tuple[str, str]] = []
    if column.kind in ("number", "time") and column.quantiles.values.size:
        values = of_values(column.quantiles.at(QUANTILES), column)
        shares = [(percent(share), value) for share, value in zip(QUANTILES, values, strict=True)]
    frequent = column.frequent
    listed = [
        (
            of_value(value, column) or "(empty)",
            ("" if frequent.is_complete else "at least ") + f"{count:,}",
            percent(count / column.present),
        )
        for value, count in list(zip(frequent.values, frequent.counts, strict=True))[:VALUES]
        if frequent.is_complete or count > frequent.slack
    ]
    caption = "length in characters" if column.kind == "text" and "distribution of length" in chart else ""
    return Card(column, place, chart, caption, figures, shares, listed if column.n_distinct > 1 else [], told)


def _figures(column: ColumnProfile) -> list[tuple[str, str]]:
    present = column.present
    told = [("missing", f"{percent(column.missing / column.rows)}" if column.rows else "–")]
    if not present:
        return told
    about = "" if column.kind != "other" and column.frequent.is_complete else "≈ "
    told.append(("distinct", f"{about}{column.n_distinct:,}"))
    moments = column.moments
    low_high = [value for value in (column.low, column.high) if value is not None]
    if column.kind == "time" and low_high:
        first, last = of_values([float(value) for value in low_high], column)
        told += [("first", first), ("last", last)]
    elif column.kind == "number" and low_high:
        middle = column.quantiles.at([0.5])[0]
        told += [("mean", figure(moments.mean)), ("sd", figure(moments.sd))]
        told += [("min", figure(low_high[0])), ("median", figure(middle)), ("max", figure(low_high[1]))]
        if column.zeros:
            told.append(("zeros", percent(column.zeros / present)))
        if column.negatives:
            told.append(("negative", percent(column.negatives / present)))
        if column.infinite:
            told.append(("infinite", f"{column.infinite:,}"))
        if column.n_distinct > 2:
            told.append(("skew", figure(moments.skew)))
    elif column.kind == "text" and low_high:
        told += [("length", f"{low_high[0]:,} to {low_high[1]:,}"), ("mean length", figure(moments.mean))]
        if column.zeros:
            told.append(("empty", percent(column.zeros / present)))
    elif column.kind == "flag":
        told.append(("true", percent(moments.mean or 0.0)))
    return told


def _strongest(pairs: Sequence[Pair]) -> list[Pair]:
    return [pair for pair in pairs[:PAIRS] if abs(pair.value) >= 0.1]


def _drawn(relations: Sequence[TargetRelation]) -> list[tuple[TargetRelation, Markup]]:
    """All on one scale, so that columns can be compared by eye; a group of few rows does not stretch it."""
    firm = [group for one in relations for group in one.groups if math.isfinite(group.low) and group.rows >= 30]
    domain = (min(group.low for group in firm), max(group.high for group in firm)) if firm else (0.0, 1.0)
    drawn: list[tuple[TargetRelation, Markup]] = []
    for one in relations[:RELATIONS]:
        rows = sum(group.rows for group in one.groups)
        middle = sum(group.values[0] * group.rows for group in one.groups) / rows if rows else 0.0
        middle = min(max(middle, domain[0]), domain[1])
        drawn.append((one, target_chart(one, domain, middle)))
    return drawn


def _strength(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


@cache
def _environment() -> Environment:
    pages = Environment(
        loader=PackageLoader("perennial.data.profile", "page_parts"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {"percent": percent, "figure": figure, "strength": _strength}
    pages.filters.update(filters)
    return pages


@cache
def _style() -> str:
    return _environment().get_template("style.css").render()
