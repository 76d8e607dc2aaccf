"""The one table that added files hold: how many rows, its schema, and whether it fits the accepted one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from perennial.data.inference import infer
from perennial.data.scan import Scan
from perennial.data.schema import Schema, Violation
from perennial.data.validation.validate import validate
from perennial.errors import DataError, Refused

if TYPE_CHECKING:
    from perennial.data.catalog import Catalog

__all__ = ["Rows", "look_at"]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What a version says about its table. `state`: a draft waits for a person."""

    rows: int = 0
    schema: Schema
    violations: list[Violation]
    state: Literal["draft", "accepted"] = "accepted"


def look_at(scan: Scan, name: str, catalog: Catalog) -> Rows:
    """Infer the schema of a table and check it against the one that is accepted for the dataset.

    Files that cannot be read as a table are no error of a dataset that never was one.

    Raises:
        Refused: Rows are bad, and the schema says that then nothing is stored.
    """
    accepted = catalog.schemas.get(name=name)
    try:
        schema = infer(scan)
        if accepted is None:
            return Rows(rows=scan.count(), schema=schema, violations=[])
        found = validate(scan, accepted.schema)
    except DataError as error:
        where = f" ({error.where})" if error.where else ""
        severity = "warning" if accepted is None else "error"
        says = Violation(column="", kind="type", severity=severity, says=f"this is no table: {error.what}{where}")
        return Rows(schema=Schema(columns=[]), violations=[says], state="accepted" if accepted is None else "draft")
    bad = [violation for violation in found.violations if violation.severity == "error" and violation.count]
    if bad and accepted.schema.bad_rows == "stop":
        raise Refused(
            f"{name!r} has bad rows: {'; '.join(violation.says for violation in bad)}",
            where=scan.says,
            remedy=f"mend them, or change what the schema says: perennial data schema edit {name}",
        )
    state = "accepted" if found.is_acceptable else "draft"
    return Rows(rows=found.rows, schema=schema, violations=found.violations, state=state)
