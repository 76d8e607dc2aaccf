"""All columns together: whether two windows can be told apart, and by what."""

from __future__ import annotations

__all__: list[str] = []
