"""`perennial endpoints`: what is served, how it came about, and keeping it as it is."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from perennial.cli.output import emit, moment, table
from perennial.cli.verbs import Verbs
from perennial.clock import parse_time
from perennial.errors import Invalid

__all__ = ["arguments"]

STATUS = {"name": "endpoint", "live": "live", "live_since": "since", "previous": "before", "under_way": "under way"}
HISTORY = {name: name for name in ("version", "against", "state", "started", "ended", "verdict")}


def arguments(parser: argparse.ArgumentParser) -> None:
    verbs = Verbs(parser)
    verbs.add("status", status, "what each endpoint serves")
    verbs.add("history", history, "all rollouts of an endpoint").add_argument("name")
    live = verbs.add("live", was_live, "what was live at a moment, and who let it")
    live.add_argument("name")
    live.add_argument("--at", metavar="TIME", help="such as 2026-05-01 or 2026-05-01T12:00:00Z (default: now)")
    pin = verbs.add("pin", pin_down, "keep what is live: no rollout starts by itself")
    pin.add_argument("name")
    pin.add_argument("--reason", required=True, help="why; shown to whoever wants to deploy")
    verbs.add("unpin", let_go, "let rollouts start again").add_argument("name")


def status(options: argparse.Namespace) -> int:
    endpoints: list[dict[str, Any]] = _ask(options, "endpoints.list")
    rows = [
        endpoint
        | {"live_since": moment(endpoint["live_since"])}
        | {"under_way": f"version {rollout['version']}, {rollout['state']}" if (rollout := endpoint["rollout"]) else ""}
        for endpoint in endpoints
    ]
    emit(options, endpoints, table(rows, STATUS) if rows else ["nothing is deployed yet"])
    return 0


def history(options: argparse.Namespace) -> int:
    rollouts: list[dict[str, Any]] = _ask(options, "endpoints.history", name=options.name)
    if not rollouts:
        _ask(options, "endpoints.get", name=options.name)  # says that there is no such endpoint
    rows = [row | {"started": moment(row["started"]), "ended": moment(row["ended"])} for row in rollouts]
    emit(options, rollouts, table(rows, HISTORY) if rows else [f"{options.name} has had no rollout"])
    return 0


def was_live(options: argparse.Namespace) -> int:
    try:
        at = parse_time(options.at) if options.at else _ask(options, "system.clock")["now"]
    except ValueError as error:
        raise Invalid(f"{options.at!r} is no time", remedy="write 2026-05-01 or 2026-05-01T12:00:00Z") from error
    found = _ask(options, "endpoints.live_at", name=options.name, at=at)
    emit(options, found, _told(found))
    return 0


def pin_down(options: argparse.Namespace) -> int:
    endpoint = _ask(options, "endpoints.pin", name=options.name, reason=options.reason)
    emit(options, endpoint, [f"{options.name} stays at version {endpoint['live']}"])
    return 0


def let_go(options: argparse.Namespace) -> int:
    emit(options, _ask(options, "endpoints.pin", name=options.name, reason=None), [f"{options.name} is unpinned"])
    return 0


def _told(found: dict[str, Any]) -> Iterable[str]:
    if found["version"] is None:
        yield f"nothing was live at {found['endpoint']} on {moment(found['at'])}"
        return
    until = "now" if found["until"] is None else moment(found["until"])
    yield f"{found['endpoint']} version {found['version']}, from {moment(found['since'])} until {until}"
    yield f"  package {found['package']}"
    said = f": {found['comment']}" if found["comment"] else ""
    yield f"  approved by {found['approved_by'] or '-'}, {moment(found['approved_at'])}{said}"
    yield f"  asked for by {found['asked_by'] or '-'}: {found['because'] or '-'}"
    yield f"  made live by {found['by']} ({found['how']}): {found['why'] or '-'}"


def _ask(options: argparse.Namespace, operation: str, **arguments: object) -> Any:
    from perennial.api.connect import calls

    with calls(options.home) as owner:
        return owner.call(operation, **arguments)
