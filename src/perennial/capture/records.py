"""Tables of what was predicted: which objects hold it, what became of each segment, labels, what waits for people."""

from __future__ import annotations

import sqlalchemy as sa

from perennial.store.records import Transaction
from perennial.store.tables import digest_column, metadata

__all__ = ["chunks", "feedback", "labels", "next_seq", "queue", "segments"]

# A chunk is a Parquet object with the frames of one kind and endpoint that lay in [start, end) of a segment; or, with
# an empty segment, what was merged out of several such objects, whose numbers were within [start, end).
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
    sa.Column("layout", sa.Text, nullable=False, server_default=""),  # of its requests; only the same are merged
)
sa.Index("prediction_chunks_by_time", chunks.c.endpoint, chunks.c.kind, chunks.c.max_at)
sa.Index("prediction_chunks_by_id", chunks.c.endpoint, chunks.c.last_id)

# Counts are rows, of predictions. A writer's first segment names all of its segments. `issued`, `closed_stored` and
# `dropped` are what the last frame of a segment says, of its writer from its first segment on; null without that frame.
segments = sa.Table(
    "prediction_segments",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("end", sa.BigInteger, nullable=False),
    sa.Column("damaged", sa.BigInteger, nullable=False),  # frames whose checksum was wrong
    sa.Column("first", sa.Text, nullable=False, server_default=""),  # the writer's first segment; empty: none is told
    sa.Column("opened", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("worker", sa.Integer, nullable=False, server_default="0"),
    sa.Column("state", sa.Text, nullable=False, server_default="closed"),  # open, closed, cut
    sa.Column("cut_bytes", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("stored", sa.BigInteger, nullable=False, server_default="0"),  # taken up
    sa.Column("reserved", sa.BigInteger, nullable=False, server_default="0"),  # ids that may have been given out
    sa.Column("issued", sa.BigInteger),
    sa.Column("closed_stored", sa.BigInteger),
    sa.Column("dropped", sa.BigInteger),
    sa.Column("deleted", sa.BigInteger),  # when its file was, after it was taken up
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
    sa.Column("told", sa.BigInteger),  # when it came to the prediction service or to us; null: as `at`
    sa.Column("source", sa.Text, nullable=False, server_default=""),  # empty: told to the owner; service, person
    sa.UniqueConstraint("prediction_id", "revision"),
)
sa.Index("prediction_labels_by_endpoint", labels.c.endpoint, labels.c.seq)

# What came to the prediction service, once for each key; and what became of it.
feedback = sa.Table(
    "prediction_feedback",
    metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("endpoint", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("prediction_id", sa.Text),  # as it was told or, of an entity's label, as it was found
    sa.Column("entity", sa.Text),
    sa.Column("value", sa.LargeBinary, nullable=False),
    sa.Column("told", sa.BigInteger, nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # waiting, joined, repeated, superseded, unknown, refused
    sa.Column("says", sa.Text, nullable=False),
    sa.UniqueConstraint("endpoint", "key"),
)
sa.Index("prediction_feedback_by_state", feedback.c.state, feedback.c.seq)

# Predictions that a guard left to a person.
queue = sa.Table(
    "prediction_queue",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("endpoint", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("guard", sa.Text, nullable=False),
    sa.Column("says", sa.Text, nullable=False),
    sa.Column("classes", sa.LargeBinary),  # the labels to choose from, a JSON list; null where it may be any value
    sa.Column("value", sa.LargeBinary),
    sa.Column("comment", sa.Text, nullable=False),
    sa.Column("by", sa.Text),
    sa.Column("answered", sa.BigInteger),
    sa.Column("is_published", sa.Boolean, nullable=False),  # whether the prediction service can tell the answer
)
sa.Index("prediction_queue_by_endpoint", queue.c.endpoint, queue.c.answered, queue.c.at)


def next_seq(tx: Transaction, table: sa.Table) -> int:
    """The number of the next row of a table with a `seq`; there is one writer."""
    return (tx.connection.execute(sa.select(sa.func.max(table.c.seq))).scalar() or 0) + 1
