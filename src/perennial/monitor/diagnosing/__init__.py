"""Why it moved, where, since when, at what cost, and what would help."""

from __future__ import annotations

__all__: list[str] = []
