"""Which inputs of a window shifted beyond the tolerance, of many tested at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import false_discovery_control, ncx2

from perennial.monitor.findings import NewFinding
from perennial.monitor.watching.watch import SHIFT_ALPHA, Shift, find_shift
from perennial.types import canonical_json

EVEN = [500] * 10


def shift(column: str, moved: int = 0, rows: int = 1000, seed: int | None = None) -> Shift:
    shares = np.full(10, 0.1)
    shares[0] += moved / 1000
    shares[9] -= moved / 1000
    counts = shares * rows if seed is None else np.random.default_rng(seed).multinomial(rows, shares)
    return Shift(column=column, reference=EVEN, current=[round(count) for count in counts])


def found(columns: list[Shift], prediction: Shift | None = None, **changes: Any) -> list[NewFinding]:
    settings = {"version": 3, "window_from": 10, "window_to": 20, "tolerance": 0.05, "min_rows": 100}
    return find_shift(columns, prediction, **{**settings, **changes})  # type: ignore[arg-type]


def p_value(one: Shift, tolerance: float = 0.05) -> float:
    """METHODS.md 1, by hand: PSI of smoothed shares over 1/n + 1/m is noncentral chi-squared."""
    p, q = ((np.array(counts) + 0.5) / (np.sum(counts) + 5.0) for counts in (one.reference, one.current))
    scale = 1 / np.sum(one.reference) + 1 / np.sum(one.current)
    return float(ncx2.sf(np.sum((q - p) * np.log(q / p)) / scale, df=9, nc=tolerance / scale))


def test_the_shifted_are_named_the_furthest_first() -> None:
    (one,) = found([shift("age"), shift("hours", 80), shift("wage", 95)])
    assert (one.kind, one.severity, one.key) == ("covariate_shift", "warn", "shift/3/10")
    assert (one.window_from, one.window_to, one.version) == (10, 20, 3)
    assert one.says == "inputs shifted: wage, hours (1000 rows, tolerance PSI 0.05)"
    assert one.evidence["shifted"] == ["wage", "hours"]
    assert [one.evidence["columns"][name]["decision"] for name in ("age", "hours")] == ["within tolerance", "shifted"]
    canonical_json(one.evidence)


def test_a_window_without_a_shift_says_so() -> None:
    (one,) = found([shift("age", seed=1), shift("hours", seed=2)])
    assert one.severity == "info"
    assert one.says == "no input shifted beyond its tolerance (1000 rows, tolerance PSI 0.05)"


@pytest.mark.parametrize("seed", range(5))
def test_many_columns_are_tested_together(seed: int) -> None:
    random = np.random.default_rng(seed)
    columns = [shift(f"c{index}", int(moved), seed=index) for index, moved in enumerate(random.integers(0, 70, 40))]
    (one,) = found(columns)
    p_values = [p_value(column) for column in columns]
    for column, p in zip(columns, p_values, strict=True):
        assert one.evidence["columns"][column.column]["p_value"] == pytest.approx(p, rel=1e-6, abs=1e-12)
    expected = false_discovery_control(p_values) <= SHIFT_ALPHA
    assert set(one.evidence["shifted"]) == {
        c.column for c, is_shifted in zip(columns, expected, strict=True) if is_shifted
    }
    # Fewer than one by one, or as many: that is what testing them together is for.
    assert len(one.evidence["shifted"]) <= sum(p <= SHIFT_ALPHA for p in p_values)


def test_a_hundred_columns_that_did_not_shift_raise_nothing() -> None:
    for seed in range(10):
        (one,) = found([shift(f"c{index}", seed=1000 * seed + index) for index in range(100)])
        assert one.severity == "info"


def test_too_few_rows_are_not_called_unshifted() -> None:
    (one,) = found([shift("age", 90, rows=50), shift("hours", rows=50)])
    assert one.severity == "info"
    assert one.says.endswith("too few rows to tell for 2 of 2 columns)")
    assert one.evidence["columns"]["age"]["decision"] == "undecided"
    canonical_json(one.evidence)


def test_predictions_are_tested_beside_the_inputs() -> None:
    inputs, prediction = found([shift("age")], shift("prediction", 90))
    assert inputs.severity == "info"
    assert (prediction.kind, prediction.severity) == ("prediction_shift", "warn")
    assert prediction.key == "prediction_shift/3/10"
    assert prediction.says.startswith("predictions shifted: PSI 0.")
    assert prediction.evidence["p_value"] == pytest.approx(p_value(shift("prediction", 90)))
    _, calm = found([shift("age")], shift("prediction"))
    assert calm.says.startswith("predictions did not shift: PSI 0")
    _, untold = found([shift("age")], shift("prediction", 90, rows=50))
    assert untold.says.startswith("predictions may or may not have shifted: too few rows")


def test_a_model_without_inputs_to_watch_still_has_predictions() -> None:
    (one,) = found([], shift("prediction", 90))
    assert one.kind == "prediction_shift"
    assert found([]) == []


def test_the_tolerance_is_what_is_left_alone() -> None:
    (strict,) = found([shift("age", 40)], tolerance=0.0)
    (lenient,) = found([shift("age", 40)], tolerance=0.5)
    assert (strict.severity, lenient.severity) == ("warn", "info")
