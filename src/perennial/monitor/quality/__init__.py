"""What is wrong with the data of a window in kind."""

from __future__ import annotations

__all__: list[str] = []
