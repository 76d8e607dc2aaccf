"""The checked rows of one request, as every protocol hands them on: by row or by column, whichever way they came.

Values are JSON values: None is missing, times are ISO text, bytes are base64, tensors are nested lists. A column of
numbers may be a numpy array instead (float64 with NaN for missing, int64, bool), which is how large requests come; a
request of one row is a tuple, which is the quickest way for few rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from perennial.types import JSON

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Asked", "Values"]

Values: TypeAlias = "Sequence[Any] | NDArray[Any]"


class Asked:
    """Rows of the signature's inputs, in its order; `names` are their columns. At least one row, never changed."""

    __slots__ = ("_columns", "_rows", "height", "names")

    def __init__(
        self, names: tuple[str, ...], rows: list[tuple[Any, ...]] | None = None, columns: list[Values] | None = None
    ) -> None:
        self.names = names
        self._rows = rows
        self._columns = columns
        self.height = len(rows) if rows is not None else len(columns[0]) if columns else 0

    @property
    def by_column(self) -> bool:
        """Whether it came by column."""
        return self._rows is None

    def rows(self) -> list[tuple[Any, ...]]:
        """One tuple for each row."""
        if self._rows is None:
            assert self._columns is not None
            self._rows = list(zip(*map(_listed, self._columns), strict=True))
        return self._rows

    def columns(self) -> list[Values]:
        """One sequence or array for each column."""
        if self._columns is None:
            assert self._rows is not None
            made: list[Values] = [*zip(*self._rows, strict=True)]
            self._columns = made
        return self._columns

    def records(self) -> list[dict[str, JSON]]:
        """One mapping for each row."""
        return [dict(zip(self.names, row, strict=True)) for row in self.rows()]

    def take(self, rows: Sequence[int]) -> Asked:
        """These rows alone, in this order."""
        every = self.rows()
        return Asked(self.names, [every[row] for row in rows])


def _listed(values: Values) -> Sequence[Any]:
    """An array as Python values, NaN as None."""
    if isinstance(values, (list, tuple)):
        return values
    listed: list[Any] = values.tolist()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    if values.dtype.kind == "f":  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
        return [None if value != value else value for value in listed]
    return listed
