"""Every alarm comes with its diagnosis: why, where, since when, at what cost, and what would help."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from perennial.monitor.diagnosing.diagnosis import diagnose
from perennial.monitor.findings import NewFinding
from perennial.monitor.sample import Sample
from perennial.monitor.watching.watched import Watched

__all__ = ["ABOUT_ROWS", "diagnosed"]

MIN_ROWS = 100  # on either side: fewer carry no diagnosis
MAX_ROWS = 20_000
# Kinds that rows can explain. How many came, and how fast they were answered, is not in them.
ABOUT_ROWS = frozenset(
    {
        "data_quality", "covariate_shift", "multivariate_shift", "prior_shift", "prediction_shift", "concept_drift",
        "performance_drop", "estimated_drop", "calibration", "slice_drop", "unforeseen",
    }
)  # fmt: skip


def diagnosed(
    watched: Watched, rows: Sample, found: Sequence[NewFinding], *, released: bool = False
) -> list[NewFinding]:
    """The findings of one window, those that are alarms with `evidence["diagnosis"]`; one diagnosis for all of them.

    Args:
        watched: The version.
        rows: What it answered in the window.
        found: The findings.
        released: Whether the version is new in this window.
    """
    alarms = [one for one in found if one.severity != "info" and one.kind in ABOUT_ROWS]
    if not alarms or min(rows.rows, watched.reference.rows) < MIN_ROWS:
        return list(found)
    if rows.rows > MAX_ROWS:
        rows = rows.take(np.linspace(0, rows.rows - 1, MAX_ROWS).round().astype(np.int64))
    made: dict[str, Any] = diagnose(watched.reference, rows, released=released).as_dict()
    return [
        msgspec.structs.replace(one, evidence={**one.evidence, "diagnosis": made}) if one in alarms else one
        for one in found
    ]
