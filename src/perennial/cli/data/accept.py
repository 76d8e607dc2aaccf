"""`perennial data accept`: let a draft pass, and with it the schema that it proposes."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from perennial.cli.names import dataset_at
from perennial.cli.output import emit
from perennial.errors import Invalid

if TYPE_CHECKING:
    from perennial.api.connect import Calls

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", metavar="NAME@VERSION")


def run(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls

    name, version = dataset_at(options.dataset)
    if not isinstance(version, int):
        raise Invalid("name the version to accept by its number", remedy=f"perennial data list {name} shows them")
    with calls(options.home) as owner:
        accepted = owner.call("datasets.accept", name=name, version=version)
        schema = _accept_schema(owner, accepted)
    by = f", by {accepted['accepted_by']}" if accepted["accepted_by"] else ": it was no draft"
    lines = [f"{name} version {version} is accepted{by}"]
    if schema is not None:
        lines.append(f"schema {schema['version']} of {name} is accepted, by {schema['decided_by']}")
    emit(options, {**accepted, "accepted_schema": schema and schema["version"]}, lines)
    return 0


def _accept_schema(owner: Calls, accepted: dict[str, Any]) -> dict[str, Any] | None:
    """The schema that this version proposes, accepted; the first schema of a dataset is the one that it shows."""
    name, version = accepted["name"], accepted["version"]
    waiting = [
        found["version"]
        for found in owner.call("schemas.list", name=name, state="proposed")
        if found["dataset_version"] == version
    ]
    for found in waiting:
        return owner.call("schemas.decide", name=name, version=found, accept=True)
    if accepted["schema"]["columns"] and owner.call("schemas.get", name=name) is None:
        return owner.call("schemas.propose", name=name, schema=accepted["schema"], dataset_version=version, base=0)
    return None
