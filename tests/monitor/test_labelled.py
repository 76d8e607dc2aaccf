"""What the labels of a window say, on simulated models whose truth is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from perennial.monitor.sample import Sample
from perennial.monitor.watching.budget import Budget
from perennial.monitor.watching.labelled import look_at_labels
from perennial.monitor.watching.watched import Watched
from perennial.monitor.windows import DAY, Window


def sure(rows: Sample) -> np.ndarray:
    """The error that a calibrated model announces."""
    assert rows.probs is not None
    return 1.0 - rows.probs.max(axis=1)


def drawn(seed: int, rows: int, *, shift: float = 0.0, flip: float = 0.0, only: str | None = None) -> Sample:
    """A calibrated model of one input; a share of the labels is turned round, everywhere or in one region."""
    draw = np.random.default_rng(seed)
    x = draw.normal(shift, 1.0, rows)
    region = draw.choice(["north", "south", "west"], rows)
    p = 1.0 / (1.0 + np.exp(-2.0 * x))
    truth = draw.random(rows) < p
    turned = (draw.random(rows) < flip) & ((region == only) if only else True)
    return Sample(
        inputs=pl.DataFrame({"x": x, "region": region}),
        task="classification",
        classes=("no", "yes"),
        predictions=pl.Series(np.where(p > 0.5, "yes", "no").tolist()),
        probs=np.column_stack([1.0 - p, p]),
        labels=pl.Series(np.where(truth ^ turned, "yes", "no").tolist()),
    )


def watched(**changes: Any) -> Watched:
    made = Watched(
        version=3, reference=drawn(0, 5000), expected=sure, budget=Budget(), window_us=DAY, slices=("region",)
    )
    return replace(made, **changes)


def found(version: Watched, days: list[Sample]) -> dict[str, list[int]]:
    """The kinds that were found, and on which days."""
    state, kinds = None, dict[str, list[int]]()
    for day, rows in enumerate(days):
        look = look_at_labels(version, state, Window(day * DAY, (day + 1) * DAY), rows)
        state = look.state
        for one in look.found:
            kinds.setdefault(one.kind, []).append(day)
    return kinds


def test_nothing_is_found_in_a_year_without_change() -> None:
    assert found(watched(), [drawn(day + 1, 500) for day in range(365)]) == {}


def test_a_changed_relation_is_concept_drift_and_harder_rows_alone_are_not() -> None:
    turned = found(watched(), [drawn(day + 1, 500, flip=0.12) for day in range(10)])
    assert "concept_drift" in turned
    assert turned["concept_drift"][0] <= 3
    assert turned["performance_drop"][0] <= 3
    assert "performance_drop" not in found(watched(off=frozenset({"performance_drop"})), [drawn(1, 5000, flip=0.12)])
    draw = np.random.default_rng(7)
    near = [drawn(day + 1, 4000) for day in range(10)]
    harder = [rows.take(np.abs(rows.inputs["x"].to_numpy()) < 0.5 + 0.1 * draw.random(rows.rows)) for rows in near]
    assert harder[0].losses().mean() > 1.5 * drawn(0, 5000).losses().mean()  # it does err more, and says so beforehand
    assert "concept_drift" not in found(watched(), harder)


def test_a_model_that_errs_in_one_region_is_found_there_and_only_there() -> None:
    days = [drawn(day + 1, 600, flip=0.2, only="west") for day in range(6)]
    state, names, alone = None, set[str](), watched(off=frozenset({"concept_drift"}))
    for day, rows in enumerate(days):
        look = look_at_labels(alone, state, Window(day * DAY, (day + 1) * DAY), rows)
        state = look.state
        names |= {str(one.evidence["value"]) for one in look.found if one.kind == "slice_drop"}
    assert names == {"west"}


def test_other_shares_of_the_labels_are_a_prior_shift_and_an_overconfident_model_is_said_to_be_one() -> None:
    assert "prior_shift" in found(watched(), [drawn(1, 2000, shift=0.5)])

    def boast(rows: Sample) -> Sample:
        assert rows.probs is not None
        raised = rows.probs**3
        return replace(rows, probs=raised / raised.sum(axis=1, keepdims=True))

    told = found(watched(), [boast(drawn(day + 1, 500)) for day in range(5)])
    assert "calibration" in told


def test_rows_without_the_truth_count_for_nothing() -> None:
    rows = drawn(1, 500, flip=0.5)
    look = look_at_labels(watched(), {"kept": 1}, Window(0, DAY), replace(rows, labels=None))
    assert look.found == []
    assert look.state == {"kept": 1}


def test_quantities_are_judged_by_their_squared_error() -> None:
    draw = np.random.default_rng(3)

    def wages(rows: int, noise: float) -> Sample:
        x = draw.normal(size=rows)
        return Sample(
            inputs=pl.DataFrame({"x": x}),
            task="regression",
            predictions=pl.Series(x),
            labels=pl.Series(x + draw.normal(0.0, noise, rows)),
        )

    version = watched(reference=wages(4000, 1.0), expected=lambda rows: np.ones(rows.rows), slices=())
    assert found(version, [wages(500, 1.0) for _ in range(60)]) == {}
    assert "concept_drift" in found(version, [wages(500, 1.3) for _ in range(6)])
