"""`perennial models show`: one version with its requirements, and where it comes from."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from perennial.cli.names import model_version
from perennial.cli.output import emit, moment

__all__ = ["arguments", "run"]

DETAILS = (
    "reason",
    "description",
    "origin",
    "run_id",
    "package",
    "source",
    "model_id",
    "bundle",
    "decided_by",
    "comment",
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="NAME[@VERSION]", help="a number or an alias; the newest without one")


def run(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls

    with calls(options.home) as owner:
        found = model_version(owner, options.model)
        lineage = owner.call("models.lineage", name=found["name"], version=found["version"])
    emit(options, found | {"lineage": lineage}, _lines(found, lineage))
    return 0


def _lines(found: dict[str, Any], lineage: dict[str, Any]) -> Iterable[str]:
    yield f"{found['name']} version {found['version']}: {found['state']}"
    for key in DETAILS:
        if found[key] not in (None, ""):
            yield f"  {key.replace('_', ' ')}: {found[key]}"
    for key, value in found["tags"].items():
        yield f"  tag {key}: {value}"
    for data in lineage["datasets"]:
        named = f"{data['name']}@{data['version']}" if data["version"] is not None else data["name"]
        rows = f", {data['rows']:,} rows" if data["rows"] else ""
        gone = ", its bytes were given up" if data["removed_at"] else ""
        yield f"  learned from {named} ({data['logical'][:12]}{rows}{gone})"
    for parent in lineage["parents"]:
        yield f"  beside {parent['name']}@{parent['version']}: {parent['how']}"
    for span in lineage["live"]:
        until = "now" if span["until"] is None else moment(span["until"])
        yield f"  live from {moment(span['since'])} until {until}, by {span['by']}"
    yield f"  trained on data until: {moment(found['trained_until'])}"
    for verdict in found["verdicts"]:
        mark = {True: "passed", False: "FAILED", None: "n/a"}[verdict["passed"]]
        yield f"  {mark:<6}  {verdict['sentence']}: {verdict['says']}"
