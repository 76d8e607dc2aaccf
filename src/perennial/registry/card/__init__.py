"""The card of a model version: gathered from recorded facts alone, written in forms that people and tools read."""

from __future__ import annotations

__all__: list[str] = []
