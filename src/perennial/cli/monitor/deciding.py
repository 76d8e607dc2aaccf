"""What a person says about an incident: the verbs that change one."""

from __future__ import annotations

import argparse
from typing import Any

from perennial.cli.output import emit

__all__ = ["comment_argument", "decide", "incident_argument"]


def incident_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("incident", type=int, metavar="NUMBER", help="of the incident")


def comment_argument(parser: argparse.ArgumentParser, *, says: str, required: bool = True) -> None:
    incident_argument(parser)
    parser.add_argument("--comment", default="", required=required, help=f"{says}; kept with your name")


def decide(options: argparse.Namespace, operation: str, says: str, **more: object) -> int:
    """Perform it and tell the state of the incident, and of the budget of false alarms, after it."""
    from perennial.api.connect import calls

    with calls(options.home) as owner:
        found: dict[str, Any] = owner.call(
            f"incidents.{operation}", number=options.incident, comment=options.comment, **more
        )
        feedback = owner.call("incidents.feedback", endpoint=found["endpoint"])
    lines = [f"incident {found['number']} of {found['endpoint']} {says}", f"  {found['says']}"]
    lines += [f"  {line['endpoint']}: {line['says']}" for line in feedback]
    emit(options, found | {"feedback": feedback}, lines)
    return 0
