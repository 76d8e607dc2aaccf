"""The difference of two tables as a page: one file, no script, nothing fetched."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from perennial.data.diff.tables import TableDiff
from perennial.data.profile.charts import drift_chart
from perennial.data.profile.drift import ColumnDrift
from perennial.data.profile.page import self_contained
from perennial.data.profile.words import figure

__all__ = ["page"]

BAR = 300  # width of a full bar, in pixels
SHOWN = 40  # columns whose distributions are drawn


def page(found: TableDiff, shifts: Sequence[ColumnDrift] = ()) -> str:
    """A self-contained HTML page of a difference, with the distributions that `drift` compared."""
    both = found.changed + found.unchanged
    changed = sorted((column for column in found.columns if column.changed), key=lambda column: -column.changed)
    body = _template().render(
        found=found,
        both=both,
        changed=[(column, round(BAR * column.changed / both, 1)) for column in changed],
        shifts=[(shift, drift_chart(shift)) for shift in shifts[:SHOWN] if shift.labels],
    )
    return self_contained(f"{found.before} → {found.after}", body)


@cache
def _template() -> Template:
    pages = Environment(
        loader=PackageLoader("perennial.data.diff", "page_parts"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters["figure"] = figure
    return pages.get_template("diff.html")
