"""`perennial monitor notices`: what was told to whom, what waits, and what was given up."""

from __future__ import annotations

import argparse
from typing import Any

from perennial.cli.output import emit, moment, table

__all__ = ["arguments", "run"]

COLUMNS = {
    "key": "notice",
    "incident": "incident",
    "severity": "severity",
    "target": "to",
    "created": "written",
    "state": "state",
    "attempts": "attempts",
    "error": "problem",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--retry", metavar="NOTICE", help="try this one again, which was given up")
    parser.add_argument("--limit", type=int, default=100, help="how many (default: 100, at most 1000)")


def run(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls

    with calls(options.home) as owner:
        if options.retry:
            notice = owner.call("notices.retry", key=options.retry)
            emit(options, notice, [f"notice {notice['key']} to {notice['target']} is tried again"])
            return 0
        found: list[dict[str, Any]] = owner.call("notices.list", newest=True, limit=options.limit)
    rows = [row | {"created": moment(row["created"])} for row in found]
    emit(options, found, table(rows, COLUMNS) if rows else ["there are none"])
    return 0
