"""The level of intervals follows labels in their order, in pieces as at once."""

from __future__ import annotations

import polars as pl
import pytest

from perennial.monitor.adapting import follow_labels
from perennial.renew.observe import missed_by


def test_pieces_lead_where_all_at_once_leads() -> None:
    missed = [False] * 9 + [True] * 3 + [False] * 5
    at_once = follow_labels(None, missed, target=0.1, step=0.05)
    first = follow_labels(None, missed[:10], target=0.1, step=0.05)
    assert follow_labels(first, missed[10:], target=0.1, step=0.05) == at_once
    assert at_once["alpha"] == pytest.approx(0.1 + 0.05 * (17 * 0.1 - 3))
    assert (at_once["labels"], at_once["missed"]) == (17, 3)


def test_a_truth_is_missed_outside_its_interval_or_set() -> None:
    rows = pl.DataFrame(
        {
            "low": [1.0, 1.0, 1.0, float("-inf"), None, None, None],
            "high": [2.0, 2.0, 2.0, float("inf"), None, None, None],
            "label_set": [None, None, None, None, '["a","b"]', '["a"]', "[1.0,2]"],
            "label": ["2", "2.5", "1", "9", '"b"', '"b"', "1"],
            "label_value": [2.0, 2.5, 1.0, 9.0, None, None, 1.0],
        }
    )
    assert missed_by(rows) == [False, True, False, False, False, True, False]
