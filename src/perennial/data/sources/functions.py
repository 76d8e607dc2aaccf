"""A Python function that gives a table, or one piece of it after the other."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from perennial.data.sources.source import After, Overlap, Reading
from perennial.errors import DataError

__all__ = ["FunctionSource"]


@dataclass(frozen=True)
class FunctionSource:
    """What a function returns or yields: frames of polars, pandas or pyarrow, or lists of dicts.

    Args:
        function: Takes nothing, or with `cursor` one argument: the value after which rows are wanted, None for all.
        cursor: Column by which new rows are told from known ones.
        overlap: How far before the last value to look again.
    """

    function: Callable[..., object]
    cursor: str | None = None
    overlap: Overlap = None

    def read(self, scratch: Path, after: After | None, before: Mapping[str, Any] | None) -> Reading:
        """The rows, laid down in `scratch`."""
        from perennial.data.sources.spool import spool

        takes_value = bool(inspect.signature(self.function).parameters)
        given = self.function(after.value if after else None) if takes_value else self.function()
        name = f"{self.function.__module__}.{getattr(self.function, '__qualname__', 'function')}"
        found = spool(_tables(given, name), scratch, name)
        return Reading(
            rows=found if after is None else found.newer(after),
            facts={"kind": "function", "function": name},
            is_filtered=True,
        )


def _tables(given: object, name: str) -> Iterator[Any]:
    import pyarrow as pa

    from perennial.data.frames import to_arrow

    if isinstance(given, list) and (not given or isinstance(given[0], dict)):
        try:
            yield pa.Table.from_pylist(cast("list[dict[str, Any]]", given))
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise DataError(f"{name} gave values of different types: {error}", remedy="give each one type") from error
    elif isinstance(given, Iterator | list):
        for piece in cast("Iterator[object]", given):
            yield from _tables(piece, name)
    else:
        yield to_arrow(given)
