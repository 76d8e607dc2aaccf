"""How good a model is while its labels are not there."""

from __future__ import annotations

__all__: list[str] = []
