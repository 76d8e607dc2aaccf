"""What changed in production, and whether it hurts."""

from __future__ import annotations

__all__: list[str] = []
