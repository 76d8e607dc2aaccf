"""What drives a model's answers: which features matter, how the answer moves with them, and why one row got its own."""

from __future__ import annotations

from perennial.evaluate.explain.one import RowExplainer, RowExplanation, explain_rows
from perennial.evaluate.explain.registration import explain

__all__ = ["RowExplainer", "RowExplanation", "explain", "explain_rows"]
