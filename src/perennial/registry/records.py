"""Tables of the registry: models, versions that never change their content, and the names that point at them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec
import sqlalchemy as sa

from perennial.store.decoding import ready
from perennial.store.tables import digest_column, metadata
from perennial.tracking.records import bundle_files
from perennial.types import Digest

__all__ = ["aliases", "facts", "model_tags", "models", "test_set_uses", "test_sets", "version_tags", "versions"]


class _Evaluation(msgspec.Struct):
    answers: Digest | None = None
    explanation: Digest | None = None
    reference: Digest | None = None
    judged: Digest | None = None


class _Explanation(msgspec.Struct):
    attributions: Digest | None = None


def _package_files(package: bytes, _get: Callable[[Digest], bytes]) -> Iterable[Digest]:
    from perennial.models.package import files_of  # here, because most who declare tables open no package

    return files_of(package)


def _measured(evaluation: bytes, get: Callable[[Digest], bytes]) -> Iterable[Digest]:
    """The answers, rows and package behind an evaluation, what explains the model, and the attributions behind that."""
    found = msgspec.json.decode(evaluation, type=ready(_Evaluation))
    attributions = None
    if found.explanation:
        attributions = msgspec.json.decode(get(found.explanation), type=ready(_Explanation)).attributions
    files = _package_files(get(found.judged), get) if found.judged else ()
    held = (found.answers, found.reference, found.explanation, attributions, found.judged, *files)
    return [digest for digest in held if digest]


# `last` is the highest number that was ever given: numbers are not used again.
models = sa.Table(
    "models",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("updated", sa.BigInteger, nullable=False),
    sa.Column("last", sa.Integer, nullable=False),
)

model_tags = sa.Table(
    "model_tags",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

# What people say of a model; empty, or null for a date, where nobody has said it. Dates are ISO text.
facts = sa.Table(
    "model_facts",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("risk", sa.Text, nullable=False),
    sa.Column("data", sa.Text, nullable=False),
    sa.Column("limits", sa.Text, nullable=False),
    sa.Column("review_by", sa.String(10)),
    sa.Column("retire_by", sa.String(10)),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
)

# A version has a `package`, or only a `source` where a client registered files that nobody has looked at: it is
# *unreviewed* then. `storage` is where the source's files lie; `removed` is when a client deleted it.
versions = sa.Table(
    "model_versions",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    digest_column("package", expand=_package_files),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("run_id", sa.Text),
    sa.Column("dataset", sa.Text),
    sa.Column("dataset_version", sa.Integer),
    digest_column("bundle", expand=bundle_files),
    digest_column("declaration"),
    digest_column("evaluation", expand=_measured),
    sa.Column("verdicts", sa.Text, nullable=False),
    sa.Column("trained_until", sa.BigInteger),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("decided_by", sa.Text),
    sa.Column("decided_at", sa.BigInteger),
    sa.Column("comment", sa.Text),
    sa.Column("source", sa.Text),
    sa.Column("storage", sa.Text),
    sa.Column("model_id", sa.Text),
    sa.Column("run_link", sa.Text),
    sa.Column("description", sa.Text, nullable=False, server_default=""),
    sa.Column("stage", sa.Text, nullable=False, server_default="None"),
    sa.Column("updated", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("removed", sa.BigInteger),
)
sa.Index("model_versions_by_run", versions.c.name, versions.c.run_id)
sa.Index("model_versions_by_package", versions.c.package)

version_tags = sa.Table(
    "model_version_tags",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

aliases = sa.Table(
    "model_aliases",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("alias", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
)

# Rows by which models were judged, known by the digest of their content; `sample` tells what two of them share.
test_sets = sa.Table(
    "test_sets",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("sample", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)

# Each version that was judged by a test set: a look at it. `number` counts with what was carried over from sets that
# share rows; `planned` is the budget it was counted against; `loss` what was measured, of which a leaderboard shows
# only what does not wear the set out.
test_set_uses = sa.Table(
    "test_set_uses",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("test_set", sa.String(64), sa.ForeignKey("test_sets.digest"), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("carried", sa.Double, nullable=False),
    sa.Column("planned", sa.Integer, nullable=False),
    sa.Column("tolerance", sa.Double),
    sa.Column("disagreement", sa.Double, nullable=False),
    sa.Column("loss", sa.Double, nullable=False),
    sa.Column("loss_name", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
sa.Index("test_set_uses_by_set", test_set_uses.c.test_set, test_set_uses.c.number)
