"""Tags of versions: words that people and programs hang on them, whoever registered the version."""

from __future__ import annotations

import sqlalchemy as sa

from perennial.registry import names
from perennial.registry.reading import find_version
from perennial.registry.records import version_tags
from perennial.store.records import Transaction

__all__ = ["delete_tag", "load_tags", "set_tag"]


def set_tag(tx: Transaction, name: str, version: int, key: str, value: str) -> None:
    """Set a tag; one that is there is replaced.

    Raises:
        NotFound: There is no such version. Invalid: The key or value cannot be one.
    """
    names.tags({key: value})
    find_version(tx.connection, name, version)
    tx.connection.execute(sa.delete(version_tags).where(_tag(name, version, key)))
    tx.connection.execute(sa.insert(version_tags).values(name=name, version=version, key=key, value=value))
    tx.event("model.tagged", f"model/{name}/{version}", {"key": key})


def delete_tag(tx: Transaction, name: str, version: int, key: str) -> None:
    """Take a tag away; it need not be there.

    Raises:
        NotFound: There is no such version. Invalid: The key cannot be one.
    """
    names.tag_key(key)
    find_version(tx.connection, name, version)
    if tx.connection.execute(sa.delete(version_tags).where(_tag(name, version, key))).rowcount:
        tx.event("model.untagged", f"model/{name}/{version}", {"key": key})


def load_tags(
    connection: sa.Connection, *, name: str | None = None, version: int | None = None
) -> dict[tuple[str, int], dict[str, str]]:
    """Tags of one version, of a model's versions, or of all, by name and number."""
    query = sa.select(version_tags).order_by(version_tags.c.key)
    if name is not None:
        query = query.where(version_tags.c.name == name)
    if version is not None:
        query = query.where(version_tags.c.version == version)
    found: dict[tuple[str, int], dict[str, str]] = {}
    for row in connection.execute(query):
        found.setdefault((row.name, row.version), {})[row.key] = row.value
    return found


def _tag(name: str, version: int, key: str) -> sa.ColumnElement[bool]:
    return (version_tags.c.name == name) & (version_tags.c.version == version) & (version_tags.c.key == key)
