"""Data quality of a window: what differs in kind rather than in distribution, each with its test and tolerance.

    absent_column new_column type_changed     the table has another form
    missing constant                          a column lost its values
    swapped_columns unit_scale                a column holds what belongs elsewhere, or in another unit
    out_of_range unseen_category              values that the reference does not know
    duplicates stale_copy truncated row_count timezone_shift    the window as a whole

A clean window, drawn as the reference was, has any issue with probability at most `budget`: each of the tests gets an
equal part of it. A tolerance on top lets small true differences pass. What one issue explains (a column in another unit
is out of range as well) is not told twice.
"""

from __future__ import annotations

from collections.abc import Sequence

from perennial.monitor.profiling.profiles import Profiler, WindowProfile
from perennial.monitor.quality.columns import column_issues, form_issues
from perennial.monitor.quality.issue import QualityIssue, QualityKind
from perennial.monitor.quality.shapes import shape_issues
from perennial.monitor.quality.windows import window_issues

__all__ = ["BUDGET", "QualityIssue", "QualityKind", "check_quality"]

BUDGET = 0.001  # one clean window in a thousand, all kinds and columns together
TESTS_PER_COLUMN = 5  # missing, constant, range or categories, unit, swap
TESTS_PER_WINDOW = 5  # duplicates, stale copy, truncated, row count, time zone
_EXPLAINED: dict[QualityKind, tuple[QualityKind, ...]] = {
    "type_changed": ("missing", "out_of_range", "unseen_category", "constant"),
    "missing": ("constant",),
    "constant": ("out_of_range", "unseen_category"),
    "swapped_columns": ("unit_scale", "missing", "out_of_range", "unseen_category", "constant"),
    "unit_scale": ("out_of_range",),
    "stale_copy": ("duplicates",),
    "truncated": ("row_count",),
}


def check_quality(
    profiler: Profiler,
    reference: WindowProfile,
    current: WindowProfile,
    *,
    former: Sequence[WindowProfile] = (),
    budget: float = BUDGET,
) -> list[QualityIssue]:
    """What is wrong with a window, the gravest first.

    Args:
        profiler: That all profiles were counted with.
        reference: The whole reference: ranges and categories are of all seasons.
        current: The window.
        former: Windows before it, oldest first, that were fine: copies and row counts are judged by them.
        budget: Probability that a clean window has any issue.
    """
    tests = TESTS_PER_COLUMN * len(profiler.columns) + TESTS_PER_WINDOW
    level = budget / tests
    found = [
        *form_issues(profiler, reference, current, level=level),
        *shape_issues(profiler, reference, current, level=level),
        *column_issues(profiler, reference, current, level=level),
        *window_issues(profiler, reference, current, former, level=level),
    ]
    told = [one for one in found if not any(_explains(other, one) for other in found)]
    return sorted(told, key=lambda one: one.severity != "critical")


def _explains(cause: QualityIssue, one: QualityIssue) -> bool:
    if one.kind not in _EXPLAINED.get(cause.kind, ()):
        return False
    return cause.column == one.column or one.column in (cause.column or "").split(", ")
