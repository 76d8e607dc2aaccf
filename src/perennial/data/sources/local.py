"""Files on this machine: CSV, TSV, JSON lines, Parquet and Arrow, also packed with gzip or zstd."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perennial.data.sources.source import After, Overlap, Reading
from perennial.errors import NotFound

__all__ = ["FileSource"]


@dataclass(frozen=True)
class FileSource:
    """The table in one file, in a folder, or in all files that match a pattern such as "data/*.csv".

    Args:
        path: File, folder or pattern; files are read in the order of their names. All have one format.
        cursor: Column by which new rows are told from known ones.
        overlap: How far before the last value to look again: a duration such as "2h" for times, else a number.
    """

    path: str | Path
    cursor: str | None = None
    overlap: Overlap = None

    def read(self, scratch: Path, after: After | None, before: Mapping[str, Any] | None) -> Reading:
        """The rows, as they lie."""
        from perennial.data.scan import scan, scan_files

        pattern = str(self.path)
        if Path(pattern).exists() or not glob.has_magic(pattern):
            found = scan(pattern)
        else:
            paths = sorted(Path(path) for path in glob.glob(pattern, recursive=True) if Path(path).is_file())  # noqa: PTH207
            if not paths:
                raise NotFound("no file matches", where=pattern, remedy="mend the pattern; it starts at this folder")
            found = scan_files(paths, pattern)
        facts = {"kind": "files", "path": pattern, "files": len(found.parts)}
        return Reading(rows=found if after is None else found.newer(after), facts=facts, is_filtered=True)
