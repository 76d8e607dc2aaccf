"""The kinds of entries of a folder's version, as numbers. Of folders only the empty ones have an entry."""

from __future__ import annotations

__all__ = ["EXECUTABLE", "FILE", "FOLDER", "LINK"]

FILE, EXECUTABLE, LINK, FOLDER = range(4)
