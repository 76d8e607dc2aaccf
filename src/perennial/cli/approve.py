"""`perennial approve NAME@VERSION`: let a candidate pass, in your name."""

from __future__ import annotations

import argparse
from typing import Any

from perennial.cli.names import model_at
from perennial.cli.output import common, emit
from perennial.errors import NotFound

__all__ = ["arguments", "decide", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    common(parser)
    parser.add_argument("model", metavar="NAME[@VERSION]", help="without a version: the newest candidate")
    parser.add_argument("--comment", default="", help="why; kept with the decision")


def run(options: argparse.Namespace) -> int:
    return decide(options, "approve")


def decide(options: argparse.Namespace, decision: str) -> int:
    """Approve or reject, and tell who is on record for it."""
    from perennial.api.connect import calls

    name, version = model_at(options.model)
    with calls(options.home) as owner:
        version = version or _newest_candidate(owner.call("models.list", name=name, state="candidate"), name)
        decided = owner.call(f"models.{decision}", name=name, version=version, comment=options.comment)
    emit(options, decided, [f"{name} version {version} is {decided['state']}, decided by {decided['decided_by']}"])
    return 0


def _newest_candidate(candidates: list[dict[str, Any]], name: str) -> int:
    if not candidates:
        raise NotFound(f"no version of {name} waits for a decision", remedy="perennial models list")
    return candidates[-1]["version"]
