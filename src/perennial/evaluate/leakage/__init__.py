"""What gives the target away in the data at hand, and will not do so in service."""

from __future__ import annotations

from perennial.evaluate.leakage.search import search_leaks
from perennial.evaluate.leakage.suspicion import Suspicion

__all__ = ["Suspicion", "search_leaks"]
