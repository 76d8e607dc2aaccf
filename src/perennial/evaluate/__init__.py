"""How good a model is, against what, and whether its requirements hold."""

from __future__ import annotations

__all__: list[str] = []
