"""What is told to people: incidents, notices, maintenance."""

from __future__ import annotations

__all__: list[str] = []
