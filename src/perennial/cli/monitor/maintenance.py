"""`perennial monitor maintenance start|end|list`: spans of time in which nobody is told and nothing is retrained."""

from __future__ import annotations

import argparse
from typing import Any

from perennial.cli.output import emit, moment, table
from perennial.cli.verbs import Verbs
from perennial.clock import parse_duration, parse_time
from perennial.errors import Invalid

__all__ = ["arguments", "run"]

COLUMNS = {"number": "number", "of": "endpoint", "since": "from", "until": "until", "by": "by", "reason": "reason"}


def arguments(parser: argparse.ArgumentParser) -> None:
    verbs = Verbs(parser)
    begin = verbs.add("start", start, "tell nobody and retrain nothing; recording goes on")
    begin.add_argument("endpoint", nargs="?", help="of which it holds; without one, --all")
    begin.add_argument("--all", action="store_true", help="of every endpoint")
    begin.add_argument("--reason", required=True, help="why; shown wherever something is muted by it")
    begin.add_argument("--from", dest="since", metavar="TIME", help="such as 2026-05-01T12:00:00Z (default: now)")
    begin.add_argument("--for", dest="lasts", metavar="DURATION", help="such as 2h (default: until it is ended)")
    verbs.add("end", end, "end a window now").add_argument("number", type=int)
    listed = verbs.add("list", run, "all windows, newest first")
    listed.add_argument("endpoint", nargs="?", help="only those that hold for this one")


def run(options: argparse.Namespace) -> int:
    found: list[dict[str, Any]] = _ask(
        options, "maintenance.list", **({} if options.endpoint is None else {"endpoint": options.endpoint})
    )
    rows = [
        row
        | {"of": row["endpoint"] or "every endpoint", "since": moment(row["since"])}
        | {"until": moment(row["until"]) if row["until"] is not None else "it is ended"}
        for row in found
    ]
    emit(options, found, table(rows, COLUMNS) if rows else ["there are none"])
    return 0


def start(options: argparse.Namespace) -> int:
    if bool(options.endpoint) == options.all:
        raise Invalid(
            "name one endpoint, or say --all", remedy='perennial monitor maintenance start NAME --reason "..."'
        )
    about: dict[str, object] = {"reason": options.reason}
    if options.endpoint:
        _ask(options, "endpoints.get", name=options.endpoint)  # says that there is no such endpoint
        about["endpoint"] = options.endpoint
    since = _moment(options.since) if options.since else _ask(options, "system.clock")["now"]
    about["since"] = since
    if options.lasts:
        about["until"] = since + _lasting(options.lasts)
    window = _ask(options, "maintenance.start", **about)
    of = window["endpoint"] or "every endpoint"
    until = f"until {moment(window['until'])}" if window["until"] is not None else "until it is ended"
    lines = [f"maintenance {window['number']} of {of}, from {moment(window['since'])} {until}"]
    emit(options, window, [*lines, f"  perennial monitor maintenance end {window['number']}"])
    return 0


def end(options: argparse.Namespace) -> int:
    window = _ask(options, "maintenance.end", number=options.number)
    emit(options, window, [f"maintenance {window['number']} ended {moment(window['until'])}"])
    return 0


def _moment(told: str) -> int:
    try:
        return parse_time(told)
    except ValueError as error:
        raise Invalid(f"{told!r} is no time", remedy="write 2026-05-01 or 2026-05-01T12:00:00Z") from error


def _lasting(told: str) -> int:
    try:
        return round(parse_duration(told) * 1e6)
    except ValueError as error:
        raise Invalid(f"{told!r} is no duration", remedy="write 90m, 2h or 1d") from error


def _ask(options: argparse.Namespace, operation: str, **arguments: object) -> Any:
    from perennial.api.connect import calls

    with calls(options.home) as owner:
        return owner.call(operation, **arguments)
