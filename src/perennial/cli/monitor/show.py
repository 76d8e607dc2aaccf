"""`perennial monitor show NUMBER`: one incident with everything about it."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from perennial.cli.log import lines
from perennial.cli.monitor.deciding import incident_argument
from perennial.cli.output import emit, moment

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    incident_argument(parser)


def run(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls

    with calls(options.home) as owner:
        story = owner.call("incidents.get", number=options.incident)
        feedback = owner.call("incidents.feedback", endpoint=story["incident"]["endpoint"])
    emit(options, story | {"feedback": feedback}, _lines(story, feedback))
    return 0


def _lines(story: dict[str, Any], feedback: list[dict[str, Any]]) -> Iterable[str]:
    incident = story["incident"]
    yield (
        f"incident {incident['number']}: {incident['endpoint']} version {incident['version']}, {incident['group']}, "
        f"{incident['severity']}, {incident['state']}"
    )
    yield f"  {incident['says']}"
    yield f"  found in {moment(incident['since'])} to {moment(incident['until'])}, opened {moment(incident['opened'])}"
    if incident["muted"] is not None:
        yield f"  began in maintenance window {incident['muted']}" + ("" if incident["told"] else ": nobody was told")
    if incident["explained_by"]:
        yield f"  explained by {incident['explained_by']}: {incident['cause']}, {incident['explanation']}"
    if incident["state"] == "closed":
        by = f"by {incident['closed_by']}" if incident["closed_by"] else "by itself"
        yield f"  closed {moment(incident['closed_at'])} {by}: {incident['comment']}"
    else:
        yield f"  closes by itself {incident['quiet_us'] / 86_400e6:g} days after its last finding"
    if incident["false_alarm_by"]:
        yield f"  a false alarm, says {incident['false_alarm_by']}: {incident['false_alarm_comment']}"
    for line in feedback:
        yield f"  {line['endpoint']}: {line['says']}"
    yield f"findings ({incident['findings']}, newest first)"
    for found in story["findings"]:
        muted = "" if found["muted"] is None else f" (maintenance {found['muted']})"
        span = f"{moment(found['window_from'])} to {moment(found['window_to'])}"
        yield f"  {span}  {found['severity']}  {found['kind']}{muted}: {found['says']}"
    yield "what happened"
    for event in story["events"]:
        yield from (f"  {line}" for line in lines(event))
    for notice in story["notices"]:
        problem = f", {notice['attempts']} attempts: {notice['error']}" if notice["error"] else ""
        yield f"  notice to {notice['target']} ({notice['severity']}): {notice['state']}{problem}"
