"""Something that is wrong with data in kind, not only in distribution: what it says, and what speaks for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from perennial.stats.results import Json, plain

__all__ = ["ASSUMPTION", "QualityIssue", "QualityKind"]

QualityKind = Literal[
    "absent_column",
    "new_column",
    "type_changed",
    "missing",
    "constant",
    "swapped_columns",
    "unit_scale",
    "out_of_range",
    "unseen_category",
    "duplicates",
    "stale_copy",
    "truncated",
    "row_count",
    "timezone_shift",
]
ASSUMPTION = "rows are independent of each other and drawn as the reference was"


@dataclass(frozen=True, kw_only=True)
class QualityIssue:
    """One issue.

    Attributes:
        kind: What it is.
        column: Which column, "a, b" for two that are swapped; None for the window as a whole.
        reference_value: What the reference has, in the unit that `says` names.
        current_value: What the window has.
        p_or_e: The p-value or e-value; None where chance plays no part, such as a column that is not there.
        evidence: Which of the three it is.
        tolerance: What is let pass, in the unit of the values.
        severity: "critical" where more than 1 % of the rows are affected or a column cannot be used.
        says: A sentence.
        remedy: What to do about it.
        assumption: What the p- or e-value rests on.
    """

    kind: QualityKind
    column: str | None
    reference_value: float | None
    current_value: float | None
    p_or_e: float | None
    evidence: Literal["p", "e", "certain"]
    tolerance: float | None = None
    severity: Literal["warn", "critical"] = "warn"
    says: str
    remedy: str
    assumption: str = ASSUMPTION

    def as_dict(self) -> dict[str, Json]:
        """Plain JSON values."""
        return {name: plain(getattr(self, name)) for name in self.__dataclass_fields__}
