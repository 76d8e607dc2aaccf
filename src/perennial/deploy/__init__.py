"""Bring an approved version to live in stages, and back."""

from __future__ import annotations

__all__: list[str] = []
