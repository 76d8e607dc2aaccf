"""`perennial monitor incidents`: what is wrong now, newest first."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from perennial.cli.output import emit, moment, table

__all__ = ["arguments", "run"]

COLUMNS = {
    "number": "incident",
    "severity": "severity",
    "state": "state",
    "version_of": "version",
    "group": "group",
    "opened": "opened",
    "findings": "findings",
    "says": "says",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("endpoint", nargs="?", help="only of this one")
    parser.add_argument("--all", action="store_true", help="closed ones, too")
    parser.add_argument("--limit", type=int, default=50, help="how many, newest first (default: 50, at most 1000)")


def run(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls

    about = {} if options.endpoint is None else {"endpoint": options.endpoint}
    with calls(options.home) as owner:
        if options.endpoint is not None:
            owner.call("endpoints.get", name=options.endpoint)  # says that there is no such endpoint
        found = owner.call("incidents.list", unsettled=not options.all, limit=options.limit, **about)
        feedback = owner.call("incidents.feedback", **about)
        windows = owner.call("maintenance.list", active=True, **about)
        lost = owner.call("notices.list", state="given up", unsettled=True)
    told = {"incidents": found, "feedback": feedback, "maintenance": windows, "given_up": lost}
    emit(options, told, _lines(found, feedback, windows, lost, closed=options.all))
    return 0


def _lines(
    found: list[dict[str, Any]],
    feedback: list[dict[str, Any]],
    windows: list[dict[str, Any]],
    lost: list[dict[str, Any]],
    *,
    closed: bool,
) -> Iterable[str]:
    rows = [
        row
        | {"opened": moment(row["opened"]), "version_of": f"{row['endpoint']}@{row['version']}"}
        | {"state": "false alarm" if row["false_alarm_by"] else row["state"]}
        | ({"severity": f"{row['severity']} (muted)"} if row["muted"] is not None and not row["told"] else {})
        for row in found
    ]
    yield from table(rows, COLUMNS) if rows else ["there are none" if closed else "nothing is wrong"]
    for window in windows:
        of = window["endpoint"] or "every endpoint"
        until = f"until {moment(window['until'])}" if window["until"] else "until it is ended"
        yield f"maintenance {window['number']} of {of} {until}, by {window['by']}: {window['reason']}"
    for line in feedback:
        yield f"{line['endpoint']}: {line['says']} ({line['incidents']} incidents)"
    if lost:
        yield f"{len(lost)} notices did not arrive and were given up: perennial monitor notices"
