"""What people say of a model: what it is for, who answers for it, its risk, its limits, until when it may be used.

Nothing here is guessed: what nobody has said is empty, and the card says so. Each change is an event; its payload names
the facts that changed, not their text.
"""

from __future__ import annotations

from datetime import date

import msgspec
import sqlalchemy as sa

from perennial.errors import Invalid
from perennial.registry import names
from perennial.registry.numbering import touch
from perennial.registry.reading import find_model
from perennial.registry.records import facts, models
from perennial.store.actor import current_actor
from perennial.store.records import Transaction

__all__ = ["DATES", "TEXTS", "ModelFacts", "about", "describe", "load_facts"]

TEXTS = ("purpose", "owner", "risk", "data", "limits")
DATES = ("review_by", "retire_by")


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What people said of a model, and who said something last.

    Attributes:
        description: In a sentence or two; clients of MLflow set it too.
        purpose: What it is for, and what not.
        owner: The person or team who answers for it.
        risk: Its risk class by the rules of whoever uses it, such as "high".
        data: What the data are, and by which right they are used.
        limits: Where it must not be used, or is known to fail.
        review_by: The day by which somebody looks at it again, such as "2027-06-30".
        retire_by: The day from which it is not used any more.
        at: When one of these was last said; None: nobody has said anything.
        by: Who said it.
    """

    name: str
    description: str = ""
    purpose: str = ""
    owner: str = ""
    risk: str = ""
    data: str = ""
    limits: str = ""
    review_by: str | None = None
    retire_by: str | None = None
    at: int | None = None
    by: str = ""


def about(connection: sa.Connection, name: str) -> ModelFacts:
    """What is said of this model.

    Raises:
        NotFound: There is no such model.
    """
    find_model(connection, name)
    return load_facts(connection, name)[name]


def load_facts(connection: sa.Connection, name: str | None = None) -> dict[str, ModelFacts]:
    """What is said of one model, or of each."""
    query = (
        sa.select(models.c.name, models.c.description, *(column for column in facts.c if column.name != "name"))
        .outerjoin(facts, facts.c.name == models.c.name)
        .order_by(models.c.name)
    )
    if name is not None:
        query = query.where(models.c.name == name)
    said = connection.execute(query).mappings()
    return {
        row["name"]: ModelFacts(**{str(key): value for key, value in row.items() if value is not None}) for row in said
    }


def describe(tx: Transaction, name: str, said: dict[str, str | None]) -> ModelFacts:
    """Take what was said; None leaves a fact as it is, an empty text takes it away.

    Raises:
        NotFound: There is no such model. Invalid: A date is none, or a text is too long.
    """
    find_model(tx.connection, name)
    before = load_facts(tx.connection, name)[name]
    given = {key: _checked(key, value.strip()) for key, value in said.items() if value is not None}
    changed = {key: value for key, value in given.items() if value != getattr(before, key)}
    if not changed:
        return before
    description = changed.get("description")
    if description is not None:
        tx.connection.execute(sa.update(models).where(models.c.name == name).values(description=description))
    if changed.keys() - {"description"}:
        row = {key: getattr(before, key) for key in (*TEXTS, *DATES)} | changed
        row |= {"name": name, "at": tx.now, "by": current_actor().person}
        row.pop("description", None)
        tx.connection.execute(sa.delete(facts).where(facts.c.name == name))
        tx.connection.execute(sa.insert(facts).values(row))
    touch(tx, name)
    tx.event("model.described", f"model/{name}", {"facts": sorted(changed)})
    return load_facts(tx.connection, name)[name]


def _checked(key: str, value: str) -> str | None:
    if key not in DATES:
        return names.plain_text(value, key)
    if not value:
        return None
    try:
        return date.fromisoformat(value).isoformat()
    except ValueError as error:
        raise Invalid(f"{value!r} is not a day", where=key, remedy="write it as 2027-06-30") from error
