"""What a window adds up to, and how far two of them are apart, column by column."""

from __future__ import annotations

__all__: list[str] = []
