"""What a request is answered, before a protocol puts it into its words: a value for each row, and how it came about."""

from __future__ import annotations

from typing import Any

import msgspec

from perennial.models.flavors.flavor import Label

__all__ = ["Answer", "Flag"]


class Flag(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A guard that fired on a row: which, what was done (reject, fill, flag, fall back, abstain), on which column."""

    guard: str
    action: str
    column: str | None = None
    says: str = ""


class Answer(msgspec.Struct, kw_only=True):
    """Lists have one entry for each row.

    Attributes:
        id: Of the first row; `frames.row_ids(id, rows)` counts on from it.
        at: Microseconds since 1970.
        status: 200; else no row has a value, and `message` says why: 500 (all rows failed), 503, 504.
        versions: Which version answered; 0 where none did (a constant, or a person is asked).
        arms: Which part of the endpoint answered: live, canary, fallback, constant, person.
        values: A number, or a label; None where there is no answer: see `errors`, and `flags` for abstention.
        probabilities: In the order of `classes`; None without any.
        errors: Why a row has no answer; None where no row has an error.
        flags: Guards that fired; None where none did on any row.
        intervals: [low, high] of a regression at the level that the endpoint promises; None without.
        sets: Labels of a classification at that level; None without.
    """

    id: str
    endpoint: str
    at: int
    status: int = 200
    message: str = ""
    versions: list[int]
    arms: list[str]
    values: list[Any]
    classes: list[Label] | None = None
    probabilities: list[list[float] | None] | None = None
    errors: list[str | None] | None = None
    flags: list[list[Flag]] | None = None
    intervals: list[list[float] | None] | None = None
    sets: list[list[Label] | None] | None = None

    @property
    def rows(self) -> int:
        return len(self.values)
