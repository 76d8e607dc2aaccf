"""What a table looks like, as records that travel: no data frame library is needed to read them."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

__all__ = ["Column", "Schema", "Violation"]


class Column(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One column: `categories` is a closed set of texts; `minimum` and `maximum` were observed (times as ISO text)."""

    name: str
    type: str
    nullable: bool = False
    categories: list[str] | None = None
    minimum: float | str | None = None
    maximum: float | str | None = None
    unique: bool = False


class Schema(Struct, frozen=True, kw_only=True):
    """The columns of a table, in order."""

    columns: list[Column]


class Violation(Struct, frozen=True, kw_only=True):
    """One difference from the schema. `first_row` counts from 0; None when it is about the whole column."""

    column: str
    kind: Literal["lost", "type", "new", "missing", "category", "range", "duplicate"]
    severity: Literal["error", "warning"]
    says: str
    first_row: int | None = None
