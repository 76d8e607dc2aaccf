"""Where data come from, as small values that a collect step returns and that are read piece by piece afterwards.

    from perennial.data import sources

    @loop.collect
    def trips():
        return sources.sql("postgresql://etl:${DB_PASSWORD}@db/city", "select * from trips", cursor="updated_at")

With `cursor` a source is incremental: only rows whose value in that column is above the largest of the last accepted
version are fetched, and appended to it. Rows that may come late or tie with the last value need `overlap`: so much
before that value is fetched again, and what is known already is dropped.

An address may hold ${NAME}; it stands for an environment variable, is filled in when the source is read, and is never
stored or shown. Nothing heavy is imported before a source is read.
"""

from __future__ import annotations

from perennial.data.sources.addresses import collect_source, is_address, source_at
from perennial.data.sources.databases import SqlSource as sql
from perennial.data.sources.delta_lake import DeltaSource as delta
from perennial.data.sources.functions import FunctionSource as function
from perennial.data.sources.iceberg_tables import IcebergSource as iceberg
from perennial.data.sources.local import FileSource as files
from perennial.data.sources.objects import ObjectSource as object
from perennial.data.sources.source import After, Reading, Source
from perennial.data.sources.web import HttpSource as http

__all__ = [
    "After",
    "Reading",
    "Source",
    "collect_source",
    "delta",
    "files",
    "function",
    "http",
    "iceberg",
    "is_address",
    "object",
    "source_at",
    "sql",
]
