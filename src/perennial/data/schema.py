"""What a table must look like, as records that travel: no data frame library is needed to read them.

A schema is inferred from data, kept in versions (`schemas`), edited by people as a small file (`forms`) and checked by
`validation`.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

__all__ = [
    "AcceptByRule",
    "Check",
    "Column",
    "Dependency",
    "OnBadRows",
    "Order",
    "Schema",
    "Severity",
    "Violation",
    "ViolationKind",
]

Severity = Literal["error", "warning"]
OnBadRows = Literal["warn", "quarantine", "stop"]
AcceptByRule = Literal["compatible", "none", "all"]
ViolationKind = Literal[
    "lost",  # the column is gone
    "type",  # the column holds another type
    "new",  # a column that the schema does not know
    "missing",  # too few values are present
    "category",  # a text outside the closed set
    "range",  # a number or time outside what was seen, and some slack
    "limit",  # a number or time outside the hard limits
    "pattern",  # a text of a form that was never seen
    "duplicate",  # a value twice in a column that has each value once
    "key",  # several columns together that should tell rows apart and do not
    "dependency",  # a value that differs from what other columns determine
    "order",  # one column that should not be above another is
    "check",  # a check that a person wrote
    "rows",  # too few or too many rows
    "drift",  # another distribution than the reference's
]


class Column(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One column.

    Attributes:
        name: Of the column.
        type: One of the seven canonical types, else Arrow's word (`column_types`).
        nullable: Whether values may be missing.
        presence: Least share of rows with a value, in [0, 1]; None: any share when nullable, else all.
        missing: Texts that stand for a missing value, such as "?" or "N/A".
        categories: The closed set of texts.
        coverage: Least share of present values that are in `categories`, in [0, 1].
        minimum: Smallest value seen (times as ISO text); `validation` allows some slack.
        maximum: Largest value seen.
        at_least: Hard limit set by a person; a value below is an error.
        at_most: Hard limit set by a person.
        patterns: Regular expressions (Rust's syntax, the whole text) of which each present text matches one.
        unique: Whether no value occurs twice.
        absent_in: Environments in which the column need not be there, such as the target in "serving".
        severity: Of violations by values of this column.
        drift_limit: Largest distance to the version before: L-infinity of categories, Jensen-Shannon of numbers.
        skew_limit: The same between training and serving.
    """

    name: str
    type: str
    nullable: bool = False
    presence: float | None = None
    missing: list[str] | None = None
    categories: list[str] | None = None
    coverage: float = 1.0
    minimum: float | str | None = None
    maximum: float | str | None = None
    at_least: float | str | None = None
    at_most: float | str | None = None
    patterns: list[str] | None = None
    unique: bool = False
    absent_in: list[str] = []
    severity: Severity = "warning"
    drift_limit: float | None = None
    skew_limit: float | None = None


class Dependency(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Rows that agree in `determinants` agree in `dependent`; it held for the share `holds` of rows when inferred."""

    determinants: list[str]
    dependent: str
    holds: float = 1.0
    severity: Severity = "warning"


class Order(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """In each row `lower` is at most `upper` (below it when strict), where both are present."""

    lower: str
    upper: str
    strict: bool = False
    holds: float = 1.0
    severity: Severity = "warning"


class Check(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A person's own check: `where` is an SQL expression that is true for good rows; unknown (null) counts as good."""

    name: str
    where: str
    says: str = ""
    severity: Severity = "error"


class Schema(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The columns of a table, in order, and what holds between them.

    `keys`: columns that together tell rows apart. `accept_by_rule`: which changes that new data show are taken over
    without a person (`evolution`).
    """

    columns: list[Column]
    keys: list[list[str]] = []
    dependencies: list[Dependency] = []
    orders: list[Order] = []
    checks: list[Check] = []
    min_rows: int = 1
    bad_rows: OnBadRows = "warn"
    accept_by_rule: AcceptByRule = "compatible"


class Violation(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One difference from the schema.

    `count` rows break it, the share `share` of all rows; 0 when it is about the whole column. `rows` are the first of
    them, counted from 0, and `values` what stands there, as text, in the same order. `column` is empty when it is
    about the whole table; several columns are joined by ", ".
    """

    column: str
    kind: ViolationKind
    severity: Severity
    says: str
    count: int = 0
    share: float = 0.0
    rows: list[int] = []
    values: list[str] = []
