"""Retraining: from a finding to a decision, a job, a candidate, and back to live."""

from __future__ import annotations

__all__: list[str] = []
