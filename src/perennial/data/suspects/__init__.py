"""Cells that look wrong, found in the table alone."""

from perennial.data.suspects.measure import Measured, measure
from perennial.data.suspects.search import THRESHOLD, Suspect, Suspects, suspects

__all__ = ["THRESHOLD", "Measured", "Suspect", "Suspects", "measure", "suspects"]
