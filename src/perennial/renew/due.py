"""A step of a detector that is due."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from perennial.monitor.findings import NewFinding
from perennial.monitor.remembered import NewWindow

__all__ = ["DueStep"]


@dataclass(frozen=True, kw_only=True)
class DueStep:
    """A detector's step that is due; see `Monitor.step`."""

    version: int
    name: str
    cursor_from: int
    cursor_to: int
    state: dict[str, Any]
    found: list[NewFinding]
    window: NewWindow | None = None
