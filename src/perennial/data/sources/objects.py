"""Files in object storage (S3, Google Cloud Storage, Azure) or below a file:// address, found by their prefix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perennial.data.sources.source import After, Overlap, Reading
from perennial.errors import DataError, NotFound

if TYPE_CHECKING:
    from perennial.data.remote.place import Place

__all__ = ["ObjectSource"]

RANGE_BYTES = 8 << 20  # fetched by one request


@dataclass(frozen=True)
class ObjectSource:
    """The table in one object, below a prefix, or in all objects that match a pattern.

    Args:
        url: s3://bucket/trips/2026/ or gs://bucket/trips/*.parquet, az:// and file:// alike. Credentials and endpoint
            come from the environment of the client library (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ...).
        cursor: Column by which new rows are told from known ones.
        overlap: How far before the last value to look again.
    """

    url: str
    cursor: str | None = None
    overlap: Overlap = None

    def read(self, scratch: Path, after: After | None, before: Mapping[str, Any] | None) -> Reading:
        """The rows, from copies in `scratch`."""
        from perennial.data.remote.place import Place
        from perennial.data.scan import format_of, scan_files

        scheme, _, rest = self.url.partition("://")
        fixed = rest.split("*")[0].split("?")[0].split("[")[0]
        folder = fixed.rpartition("/")[0] or fixed
        place = Place(f"{scheme}://{folder}")
        wanted = rest[len(folder) + 1 :]
        names = {name: size for name, size in place.list("") if _fits(name, wanted) and format_of(name)}
        if not names:
            raise NotFound("there is no table", where=self.url, remedy="mend the address or the pattern")
        paths: list[Path] = []
        for number, (name, size) in enumerate(sorted(names.items())):
            path = scratch / f"{number:06}-{name.rpartition('/')[2]}"
            _fetch(place, name, size, path)
            paths.append(path)
        found = scan_files(paths, self.url)
        facts = {"kind": "object", "url": self.url, "files": len(paths)}
        return Reading(rows=found if after is None else found.newer(after), facts=facts, is_filtered=True)


def _fits(name: str, wanted: str) -> bool:
    if not wanted or wanted.endswith("/"):
        return name.startswith(wanted)
    return name == wanted or name.startswith(f"{wanted}/") or fnmatch(name, wanted)


def _fetch(place: Place, name: str, size: int, path: Path) -> None:
    from perennial.store.files import LocalFiles

    def blocks() -> Iterator[bytes]:
        for start in range(0, size, RANGE_BYTES):
            expected = min(RANGE_BYTES, size - start)
            block = place.get_range(name, start, expected)
            if block is None or len(block) != expected:
                raise DataError(
                    "the file changed while it was read",
                    where=f"{place.url}/{name}",
                    remedy="wait until its writer is done, then try again",
                )
            yield block

    LocalFiles().write_atomic(path, blocks())
