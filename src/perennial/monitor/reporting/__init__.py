"""Reports: of plain files, of an endpoint, in a notebook, in a test."""

from __future__ import annotations

__all__: list[str] = []
