"""Watch a live version window by window, within one budget of false alarms."""

from __future__ import annotations

__all__: list[str] = []
