"""What a validation found."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from perennial.data.schema import Violation

__all__ = ["Validation"]


class Validation(Struct, frozen=True, kw_only=True):
    """All differences of a table from its schema: errors first, otherwise in the order of the columns.

    Attributes:
        rows: Of the table.
        columns: Of the table.
        environment: What was demanded: a column may be absent in some.
        violations: All of them, each with its count and its first rows.
    """

    rows: int
    columns: int
    environment: str
    violations: list[Violation]

    @property
    def errors(self) -> list[Violation]:
        """What stands against using these data."""
        return [found for found in self.violations if found.severity == "error"]

    @property
    def is_acceptable(self) -> bool:
        """Whether nothing stands against using these data; there may be warnings."""
        return not self.errors

    def lines(self) -> Iterator[str]:
        """As a person reads it."""
        yield f"{self.rows:,} rows, {self.columns} columns, environment {self.environment}"
        if not self.violations:
            yield "nothing differs from the schema"
        yield from (f"{found.severity}: {found.says}" for found in self.violations)

    def __str__(self) -> str:
        return "\n".join(self.lines())
