"""Which files hold tables, told by the ends of their names. Imports nothing, since most files hold none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

__all__ = ["FORMATS", "Format", "format_of"]

Format = Literal["parquet", "csv", "jsonl", "arrow", "frame"]
_PACKED = ("", ".gz", ".zst")
FORMATS: Mapping[str, Format] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    **{f".{ending}{packed}": "csv" for ending in ("csv", "tsv") for packed in _PACKED},
    **{f".{ending}{packed}": "jsonl" for ending in ("jsonl", "ndjson") for packed in _PACKED},
    ".arrow": "arrow",
    ".ipc": "arrow",
    ".feather": "arrow",
}


def format_of(name: str) -> Format | None:
    """The format of a file by the end of its name; None when it is no table.

    >>> format_of("trips.csv.gz"), format_of("cat.png")
    ('csv', None)
    """
    return next((kind for ending, kind in FORMATS.items() if name.lower().endswith(ending)), None)
