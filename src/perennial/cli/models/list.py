"""`perennial models list`: model versions, oldest first; --models: each model in a line."""

from __future__ import annotations

import argparse
from typing import Any

from perennial.cli.output import emit, moment, table

__all__ = ["arguments", "run"]

COLUMNS = {"model": "model", "state": "state", "alias": "alias", "at": "registered", "decided_by": "decided by"}
INVENTORY = {
    "name": "model",
    "owner": "owner",
    "risk": "risk",
    "live": "live",
    "newest": "newest",
    "newest_state": "state",
    "waiting": "waiting",
    "review_by": "review by",
    "purpose": "purpose",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="of one model")
    parser.add_argument("--models", action="store_true", help="each model in a line: owner, risk, what is live")


def run(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls

    with calls(options.home) as owner:
        if options.models:
            return _inventory(options, owner.call("models.inventory"))
        versions: list[dict[str, Any]] = owner.call("models.list", name=options.name)
        aliases = {name: owner.call("models.aliases", name=name) for name in {version["name"] for version in versions}}
    for version in versions:
        pointing = aliases[version["name"]].items()
        version["alias"] = " ".join(f"@{alias}" for alias, number in pointing if number == version["version"])
    rows = [row | {"model": f"{row['name']}@{row['version']}", "at": moment(row["at"])} for row in versions]
    emit(options, versions, table(rows, COLUMNS) if rows else ["there are no models yet: perennial run"])
    return 0


def _inventory(options: argparse.Namespace, models: list[dict[str, Any]]) -> int:
    if options.name is not None:
        models = [model for model in models if model["facts"]["name"] == options.name]
    rows = [model | model["facts"] | {"live": model["aliases"].get("live")} for model in models]
    emit(options, models, table(rows, INVENTORY) if rows else ["there are no models yet: perennial run"])
    return 0
