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

STATUS = {"name": "endpoint", "live": "live", "live_since": "since", "previous": "before", "under_way": "under way",
          "answers": "answers"}  # fmt: skip
HISTORY = {name: name for name in ("version", "against", "state", "started", "ended", "verdict")}


PREDICTIONS = {"id": "id", "at": "at", "version": "version", "arm": "arm", "prediction": "prediction", "told": "flags"}
QUEUE = {"id": "id", "at": "asked", "guard": "guard", "says": "says", "choices": "labels"}
ANSWERED = {"id": "id", "at": "asked", "value": "answer", "by": "by", "answered": "answered", "comment": "comment"}


def arguments(parser: argparse.ArgumentParser) -> None:
    verbs = Verbs(parser)
    verbs.add("status", status, "what each endpoint serves")
    verbs.add("captured", captured, "what became of every row that was predicted, and of the labels that were sent")
    verbs.add("history", history, "all rollouts of an endpoint").add_argument("name")
    live = verbs.add("live", was_live, "what was live at a moment, and who let it")
    live.add_argument("name")
    live.add_argument("--at", metavar="TIME", help="such as 2026-05-01 or 2026-05-01T12:00:00Z (default: now)")
    pin = verbs.add("pin", pin_down, "keep what is live: no rollout starts by itself")
    pin.add_argument("name")
    pin.add_argument("--reason", required=True, help="why; shown to whoever wants to deploy")
    verbs.add("unpin", let_go, "let rollouts start again").add_argument("name")
    halt = verbs.add("stop", stop, "answer nobody until it is started again")
    halt.add_argument("name")
    halt.add_argument("--reason", required=True, help="why; callers are told")
    verbs.add("start", start, "answer again").add_argument("name")
    made = verbs.add("predictions", predictions, "the newest predictions of an endpoint")
    made.add_argument("name")
    made.add_argument("--since", metavar="TIME", help="such as 2026-05-01 or 2026-05-01T12:00:00Z")
    made.add_argument("--until", metavar="TIME", help="before this")
    made.add_argument("--version", type=int, help="only those that this version answered")
    made.add_argument("--flagged", action="store_true", help="only those on which a guard fired")
    made.add_argument("--limit", type=int, default=50, help="how many, newest first (default: 50, at most 1000)")
    waiting = verbs.add("queue", queue, "predictions that a guard left to a person")
    waiting.add_argument("name")
    waiting.add_argument("--answered", action="store_true", help="the newest answers instead")
    waiting.add_argument("--limit", type=int, default=100, help="how many (default: 100)")
    said = verbs.add("answer", answer, "answer a prediction of the queue; whoever polls for it gets this")
    said.add_argument("id", help="of the prediction")
    said.add_argument("value", help="a number or a label")
    said.add_argument("--comment", default="", help="why; stored, and told to the caller")


def status(options: argparse.Namespace) -> int:
    endpoints: list[dict[str, Any]] = _ask(options, "endpoints.list")
    running: dict[str, dict[str, Any]] = _ask(options, "endpoints.running")
    endpoints = [endpoint | {"running": running.get(endpoint["name"])} for endpoint in endpoints]
    rows = [
        endpoint
        | {"live_since": moment(endpoint["live_since"]), "answers": _answers(endpoint)}
        | {"under_way": f"version {rollout['version']}, {rollout['state']}" if (rollout := endpoint["rollout"]) else ""}
        for endpoint in endpoints
    ]
    accounts = _ask(options, "predictions.accounts")
    counts = [_ask(options, "predictions.counts", endpoint=endpoint["name"]) for endpoint in endpoints]
    lines = [*table(rows, STATUS), *_captured(accounts, counts)] if rows else ["nothing is deployed yet"]
    emit(options, endpoints, lines)
    return 0


def captured(options: argparse.Namespace) -> int:
    accounts = _ask(options, "predictions.accounts")
    names = [endpoint["name"] for endpoint in _ask(options, "endpoints.list")]
    counts = [_ask(options, "predictions.counts", endpoint=name) for name in names]
    emit(options, {"accounts": accounts, "endpoints": counts}, _captured(accounts, counts))
    return 0


def history(options: argparse.Namespace) -> int:
    rollouts: list[dict[str, Any]] = _ask(options, "endpoints.history", name=options.name)
    if not rollouts:
        _ask(options, "endpoints.get", name=options.name)  # says that there is no such endpoint
    rows = [row | {"started": moment(row["started"]), "ended": moment(row["ended"])} for row in rollouts]
    emit(options, rollouts, table(rows, HISTORY) if rows else [f"{options.name} has had no rollout"])
    return 0


def was_live(options: argparse.Namespace) -> int:
    at = _time(options.at) if options.at else _ask(options, "system.clock")["now"]
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


def stop(options: argparse.Namespace) -> int:
    told = _ask(options, "endpoints.stop", name=options.name, reason=options.reason)
    emit(options, told, [f"{options.name} answers nobody now: {options.reason}"])
    return 0


def start(options: argparse.Namespace) -> int:
    emit(options, _ask(options, "endpoints.stop", name=options.name, reason=None), [f"{options.name} answers again"])
    return 0


def predictions(options: argparse.Namespace) -> int:
    asked = {name: _time(told) for name, told in (("since", options.since), ("until", options.until)) if told}
    found: list[dict[str, Any]] = _ask(
        options, "predictions.search", endpoint=options.name, version=options.version, flagged=options.flagged,
        limit=options.limit, **asked,
    )  # fmt: skip
    rows = [
        row
        | {"at": moment(row["at"]), "prediction": row["error"] if row["prediction"] is None else row["prediction"]}
        | {"told": ", ".join(f"{flag['guard']}: {flag['action']}" for flag in row["flags"])}
        for row in found
    ]
    emit(options, found, table(rows, PREDICTIONS) if rows else ["there are none"])
    return 0


def queue(options: argparse.Namespace) -> int:
    found: list[dict[str, Any]] = _ask(
        options, "predictions.waiting", endpoint=options.name, answered=options.answered, limit=options.limit
    )
    rows = [
        row
        | {"at": moment(row["at"]), "answered": moment(row["answered"])}
        | {"choices": ", ".join(map(str, row["classes"])) if row["classes"] else "any value"}
        for row in found
    ]
    columns = ANSWERED if options.answered else QUEUE
    emit(options, found, table(rows, columns) if rows else ["nobody was asked" if options.answered else "nobody waits"])
    return 0


def answer(options: argparse.Namespace) -> int:
    value: str | float = options.value
    try:
        value = float(value)  # whether it is a number or the label "1" the endpoint knows
        value = int(value) if value.is_integer() and "." not in options.value else value
    except (ValueError, OverflowError):
        value = options.value
    said = _ask(options, "predictions.answer", prediction_id=options.id, value=value, comment=options.comment)
    emit(options, said, [f"{said['id']} of {said['endpoint']}: {said['value']}, answered by {said['by']}"])
    return 0


def _answers(endpoint: dict[str, Any]) -> str:
    """Whether callers are answered, and by whom not."""
    if endpoint["stopped"]:
        return f"stopped: {endpoint['stopped']}"
    running: dict[str, Any] = endpoint["running"] or {}
    told = [f"{arm}: {'its worker keeps crashing' if state == 'crashing' else f'breaker {state}'}"
            for arm, state in running.get("breakers", {}).items()]  # fmt: skip
    if running.get("problem"):
        told.append(str(running["problem"]))
    return "; ".join(told) or "yes"


def _captured(accounts: dict[str, Any], counts: Iterable[dict[str, Any]]) -> Iterable[str]:
    """What became of the rows, and what waits."""
    sums = ", ".join(f"{accounts[name]} {name}" for name in ("stored", "dropped", "pending"))
    yield f"rows: {accounts['received']} received = {sums}"
    if accounts["lost_at_most"]:
        yield f"  of those dropped, {accounts['lost_at_most']} at most were lost with processes that were killed"
    if accounts["damaged"]:
        yield f"  {accounts['damaged']} frames were damaged"
    for count in counts:
        told = [f"{count['feedback'][name]} {name}" for name in ("waiting", "unknown", "refused", "superseded")]
        troubles = [says for says in told if not says.startswith("0 ")]
        if troubles:
            yield f"  labels sent for {count['endpoint']} in the last week: {', '.join(troubles)}"
        if count["waiting"]:
            yield f"  {count['waiting']} predictions of {count['endpoint']} wait for a person"


def _time(told: str) -> int:
    try:
        return parse_time(told)
    except ValueError as error:
        raise Invalid(f"{told!r} is no time", remedy="write 2026-05-01 or 2026-05-01T12:00:00Z") from error


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
