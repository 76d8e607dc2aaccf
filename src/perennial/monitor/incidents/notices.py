"""What is told about an incident, and to which targets the settings send it.

The words are fixed when the notice is written, so that it says the same however often it is sent. They hold numbers and
names of columns, never values of a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

import msgspec

from perennial.clock import iso
from perennial.config import Settings
from perennial.monitor.incidents.incident import Incident, Severity
from perennial.types import Micros

__all__ = ["DAY_US", "TARGETS", "Alarming", "Message", "Target", "message_of"]

Target = Literal["log", "email", "webhook", "slack"]
DAY_US: Final = 86_400_000_000

TARGETS: Final[Mapping[Target, str]] = {  # target -> the setting that turns it on
    "email": "notify_email",
    "webhook": "webhook_url",
    "slack": "slack_webhook_url",
}


@dataclass(frozen=True, kw_only=True)
class Alarming:
    """How findings become incidents and notices.

    Attributes:
        quiet_us: An incident without a finding for so long is over, microseconds.
        least: Incidents below this severity are told to nobody.
        targets: To whom they are told.
    """

    quiet_us: int = 7 * DAY_US
    least: Severity = "warn"
    targets: tuple[Target, ...] = ("log",)

    @classmethod
    def of(cls, settings: Settings, *, is_simulated: bool) -> Self:
        """As the settings say. What happens in simulated time is told to the log alone: years pass in seconds."""
        on: list[Target] = [target for target, setting in TARGETS.items() if getattr(settings, setting)]
        return cls(
            quiet_us=round(settings.incident_quiet_days * DAY_US),
            least="critical" if settings.notify_severity == "critical" else "warn",
            targets=("log",) if is_simulated else ("log", *on),
        )


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A notice: one line, a text for people, the same for programs."""

    subject: str
    text: str
    data: dict[str, Any]


def message_of(incident: Incident, change: Literal["opened", "escalated"]) -> Message:
    """What is told when an incident is opened or becomes worse."""
    became = "" if change == "opened" else " is now"
    subject = f"[{incident.severity}] {incident.endpoint}: incident {incident.number}{became}, {incident.group}"
    text = (
        f"{incident.says}\n\n"
        f"endpoint {incident.endpoint}, version {incident.version}; {incident.kind.replace('_', ' ')}, "
        f"{incident.severity}\n"
        f"found in {iso(Micros(incident.since))} to {iso(Micros(incident.until))}\n\n"
        f"perennial monitor show {incident.number}\n"
        f'perennial monitor acknowledge {incident.number}, or false-alarm {incident.number} --comment "..."\n'
    )
    names = ("number", "endpoint", "version", "group", "severity", "kind", "says", "since", "until", "opened")
    data = {name: getattr(incident, name) for name in names}
    return Message(subject=subject, text=text, data={"type": f"incident.{change}", "incident": data})
