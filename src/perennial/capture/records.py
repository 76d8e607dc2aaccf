"""Tables of what was predicted: which objects hold it, how far each segment was read, and the labels."""

from __future__ import annotations

import sqlalchemy as sa

from perennial.store.records import Transaction
from perennial.store.tables import digest_column, metadata

__all__ = ["chunks", "labels", "next_seq", "segments"]

# A chunk is a Parquet object with the frames of one kind and endpoint that lay in [start, end) of a segment.
chunks = sa.Table(
    "prediction_chunks",
    metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("endpoint", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    digest_column("digest", nullable=False),
    sa.Column("segment", sa.Text, nullable=False),
    sa.Column("start", sa.BigInteger, nullable=False),
    sa.Column("end", sa.BigInteger, nullable=False),
    sa.Column("first_id", sa.Text, nullable=False),
    sa.Column("last_id", sa.Text, nullable=False),
    sa.Column("min_at", sa.BigInteger, nullable=False),
    sa.Column("max_at", sa.BigInteger, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("errors", sa.BigInteger, nullable=False),
    sa.Column("shadowed", sa.BigInteger, nullable=False),  # rows that a shadow version answers as well
)
sa.Index("prediction_chunks_by_time", chunks.c.endpoint, chunks.c.kind, chunks.c.max_at)
sa.Index("prediction_chunks_by_id", chunks.c.endpoint, chunks.c.last_id)

segments = sa.Table(
    "prediction_segments",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("end", sa.BigInteger, nullable=False),
    sa.Column("damaged", sa.BigInteger, nullable=False),  # frames whose checksum was wrong
)

# Every revision is kept; the greatest one of a prediction counts.
labels = sa.Table(
    "prediction_labels",
    metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("endpoint", sa.Text, nullable=False),
    sa.Column("prediction_id", sa.Text, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("value", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("prediction_id", "revision"),
)
sa.Index("prediction_labels_by_endpoint", labels.c.endpoint, labels.c.seq)


def next_seq(tx: Transaction, table: sa.Table) -> int:
    """The number of the next row of a table with a `seq`; there is one writer."""
    return (tx.connection.execute(sa.select(sa.func.max(table.c.seq))).scalar() or 0) + 1
