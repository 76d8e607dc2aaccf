"""Sources by their address, as a person types it into a shell."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal
from urllib.parse import parse_qs, urlsplit

from perennial.data.sources.databases import SqlSource
from perennial.data.sources.delta_lake import DeltaSource
from perennial.data.sources.iceberg_tables import IcebergSource
from perennial.data.sources.local import FileSource
from perennial.data.sources.objects import ObjectSource
from perennial.data.sources.web import HttpSource
from perennial.errors import Invalid

if TYPE_CHECKING:
    from perennial.data.catalog import Catalog
    from perennial.data.datasets import DatasetVersion
    from perennial.data.sources.source import Overlap, Source

__all__ = ["collect_source", "is_address", "source_at"]

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://|(delta|iceberg):")


def is_address(text: str) -> bool:
    """Whether this is the address of a source, not a path.

    >>> is_address("delta:trips@3"), is_address("s3://bucket/trips"), is_address("data/trips.csv")
    (True, True, False)
    """
    return bool(_SCHEME.match(text))


def source_at(address: str, *, query: str | None = None, cursor: str | None = None, overlap: Overlap = None) -> Source:
    """The source behind an address.

        data/*.csv                                 files
        https://host/trips.csv                     a file of a server
        s3://bucket/trips/  gs://  az://  file://  objects by their prefix
        postgresql://user:${PASSWORD}@host/db      with a query, or ?table=NAME; so does each SQLAlchemy address
        delta:PATH@VERSION                         a Delta table
        iceberg:[CATALOG/]NAMESPACE.TABLE@SNAPSHOT an Iceberg table

    Raises:
        Invalid: It does not say which table, or a version is no number.
    """
    found = _SCHEME.match(address)
    scheme = (found[1] or found[2]) if found else ""
    if query is not None and scheme in ("", "http", "https", "s3", "gs", "az", "file", "delta", "iceberg"):
        raise Invalid("a query is for a database", where=address, remedy="leave it out, or give a database's address")
    match scheme:
        case "":
            return FileSource(address, cursor=cursor, overlap=overlap)
        case "http" | "https":
            return HttpSource(address, cursor=cursor, overlap=overlap)
        case "s3" | "gs" | "az" | "file":
            return ObjectSource(address, cursor=cursor, overlap=overlap)
        case "delta":
            path, version = _pinned(address.removeprefix("delta:").removeprefix("//"))
            return DeltaSource(path, version, cursor=cursor, overlap=overlap)
        case "iceberg":
            name, snapshot = _pinned(address.removeprefix("iceberg:").removeprefix("//"))
            catalog, _, table = name.rpartition("/")
            return IcebergSource(table, catalog or "default", snapshot, cursor=cursor, overlap=overlap)
        case _:
            url, table = _without_table(address)
            wanted = query or table
            if not wanted:
                raise Invalid(
                    "the address does not say which rows of the database",
                    remedy='add ?table=NAME to it, or --query "SELECT ..."',
                )
            return SqlSource(url, wanted, cursor=cursor, overlap=overlap)


def collect_source(
    address: str,
    name: str,
    catalog: Catalog,
    *,
    query: str | None = None,
    cursor: str | None = None,
    overlap: Overlap = None,
    bad_rows: Literal["warn", "quarantine", "stop"] | None = None,
    note: str = "",
    tag: str | None = None,
) -> DatasetVersion:
    """Collect the table behind an address as a version of a dataset; what breaks with its schema becomes a draft.

    Args:
        address: As `source_at` takes it.
        name: Of the dataset; made when it is new.
        catalog: `ws.data`.
        query: For a database.
        cursor: Column by which new rows are told from known ones.
        overlap: How far before the last value to look again.
        bad_rows: What happens to rows that break with the schema; None: what the schema says.
        note: A person's words about it.
        tag: A tag that shall point at it.

    Raises:
        DataError, Invalid, NotFound, Unavailable: The source cannot be read, or gives what can be no dataset.
    """
    from perennial.data.collect import Terms, collect

    source = source_at(address, query=query, cursor=cursor, overlap=overlap)
    version = collect(source, name=name, rooms=catalog, terms=Terms(bad_rows=bad_rows), note=note)
    if tag is not None:
        catalog.datasets.tag(name=name, tag=tag, version=version.version)
    return version


def _pinned(text: str) -> tuple[str, int | None]:
    """What stands before @ and the number behind it."""
    name, at, number = text.rpartition("@")
    if not at:
        return text, None
    if not number.isdecimal():
        raise Invalid(f"{number!r} is no version", where=text, remedy="write a number behind the @")
    return name, int(number)


def _without_table(address: str) -> tuple[str, str | None]:
    parts = urlsplit(address)
    table = parse_qs(parts.query).get("table", [None])[-1]
    if table is None:
        return address, None
    rest = "&".join(pair for pair in parts.query.split("&") if not pair.startswith("table="))
    url = address.partition("?")[0]
    return (f"{url}?{rest}" if rest else url), table
