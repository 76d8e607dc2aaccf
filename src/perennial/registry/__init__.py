"""Model versions, their aliases, and who let them pass."""

from __future__ import annotations

__all__: list[str] = []
