"""Write a table of any size to one file, in the format that the end of its name says."""

from __future__ import annotations

from pathlib import Path

from perennial.data.scan import FORMATS, Scan, format_of
from perennial.errors import ConfigError, Invalid
from perennial.store.files import LocalFiles
from perennial.store.scratch import scratch_folder

__all__ = ["write_rows"]


def write_rows(rows: Scan, path: Path, scratch: Path) -> None:
    """Write all rows; the file appears whole or not at all.

    Raises:
        Invalid: The end of the name says no format.
        ConfigError: It cannot be written there.
    """
    kind = format_of(path.name)
    if kind is None or path.name.endswith((".gz", ".zst")):
        endings = [ending for ending in FORMATS if not ending.endswith((".gz", ".zst"))]
        raise Invalid(f"{path.name!r} says no format", remedy=f"end it in {', '.join(endings)}")
    plan = rows.lazy()
    with scratch_folder(scratch) as folder:
        made = folder / "rows"
        match kind:
            case "parquet":
                plan.sink_parquet(made)
            case "csv":
                plan.sink_csv(made, separator="\t" if path.suffix == ".tsv" else ",")
            case "jsonl":
                plan.sink_ndjson(made)
            case _:
                plan.sink_ipc(made)
        try:
            LocalFiles().copy(made, path)
        except OSError as error:
            raise ConfigError(
                f"the file cannot be written: {error.strerror}", where=str(path), remedy="name another path"
            ) from error
