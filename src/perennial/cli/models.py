"""`perennial models`: what versions there are, and what one of them is made of."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from perennial.cli.names import model_at
from perennial.cli.output import emit, moment, table
from perennial.cli.verbs import Verbs

__all__ = ["arguments"]

COLUMNS = {"model": "model", "state": "state", "alias": "alias", "at": "registered", "decided_by": "decided by"}
DETAILS = (
    "reason",
    "description",
    "origin",
    "run_id",
    "dataset",
    "dataset_version",
    "package",
    "source",
    "model_id",
    "bundle",
    "decided_by",
    "comment",
)


def arguments(parser: argparse.ArgumentParser) -> None:
    verbs = Verbs(parser)
    listing = verbs.add("list", show_list, "model versions, oldest first")
    listing.add_argument("name", nargs="?", help="of one model")
    showing = verbs.add("show", show, "one version with its requirements and where it comes from")
    showing.add_argument("model", metavar="NAME[@VERSION]", help="without a version: the newest")


def show_list(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls

    with calls(options.home) as owner:
        versions: list[dict[str, Any]] = owner.call("models.list", name=options.name)
        aliases = {name: owner.call("models.aliases", name=name) for name in {version["name"] for version in versions}}
    for version in versions:
        pointing = aliases[version["name"]].items()
        version["alias"] = " ".join(f"@{alias}" for alias, number in pointing if number == version["version"])
    rows = [row | {"model": f"{row['name']}@{row['version']}", "at": moment(row["at"])} for row in versions]
    emit(options, versions, table(rows, COLUMNS) if rows else ["there are no models yet: perennial run"])
    return 0


def show(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls

    name, version = model_at(options.model)
    with calls(options.home) as owner:
        found = owner.call("models.get", name=name, version=version)
    emit(options, found, _lines(found))
    return 0


def _lines(found: dict[str, Any]) -> Iterable[str]:
    yield f"{found['name']} version {found['version']}: {found['state']}"
    for key in DETAILS:
        if found[key] not in (None, ""):
            yield f"  {key.replace('_', ' ')}: {found[key]}"
    yield f"  trained on data until: {moment(found['trained_until'])}"
    for verdict in found["verdicts"]:
        mark = {True: "passed", False: "FAILED", None: "n/a"}[verdict["passed"]]
        yield f"  {mark:<6}  {verdict['sentence']}: {verdict['says']}"
