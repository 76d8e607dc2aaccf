"""Approve or reject, and tell who is on record for what: by `perennial approve` and `perennial models approve`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from perennial.cli.names import model_at
from perennial.cli.output import emit, moment
from perennial.errors import NotFound

__all__ = ["decide", "decision_arguments"]


def decision_arguments(parser: argparse.ArgumentParser, *, needs_comment: bool) -> None:
    parser.add_argument("model", metavar="NAME[@VERSION]", help="without a version: the newest candidate")
    parser.add_argument("--comment", default="", required=needs_comment, help="why; kept with the decision")


def decide(options: argparse.Namespace, decision: str) -> int:
    """Decide about exactly the package that the registry shows now."""
    from perennial.api.connect import calls

    name, version = model_at(options.model)
    with calls(options.home) as owner:
        version = version or _newest_candidate(owner.call("models.list", name=name, state="candidate"), name)
        about: dict[str, object] = {"name": name, "version": version, "comment": options.comment}
        if decision == "approve":
            about["package"] = owner.call("models.get", name=name, version=version)["package"]
        decided = owner.call(f"models.{decision}", **about)
        lineage = owner.call("models.lineage", name=name, version=version)
    emit(options, decided | {"decisions": lineage["decisions"]}, _lines(decided, lineage["decisions"]))
    return 0


def _lines(decided: dict[str, Any], decisions: list[dict[str, Any]]) -> Iterable[str]:
    yield f"{decided['name']} version {decided['version']} is {decided['state']}, decided by {decided['decided_by']}"
    yield f"  package {decided['package']}"
    if decided["state"] == "approved":
        yield "  these bytes, and no others, may answer under this version"
    for registered in decisions[:1]:
        yield f"  {registered['what']} by {registered['by']}, {moment(registered['at'])}"
    if decided["comment"]:
        yield f"  comment: {decided['comment']}"


def _newest_candidate(candidates: list[dict[str, Any]], name: str) -> int:
    if not candidates:
        raise NotFound(f"no version of {name} waits for a decision", remedy="perennial models list")
    return candidates[-1]["version"]
