"""Selection rates of groups beside each other, in a window and when the version was judged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from perennial.monitor.sample import Sample
from perennial.monitor.watching.budget import Budget
from perennial.monitor.watching.fairness import look_at_groups
from perennial.monitor.watching.watched import Seen, Watched
from perennial.monitor.windows import DAY, Window


def answered(seed: int, rates: dict[str, float], rows: int = 1000) -> Sample:
    draw = np.random.default_rng(seed)
    sex = draw.choice(list(rates), rows)
    yes = draw.random(rows) < np.array([rates[one] for one in sex])
    return Sample(
        inputs=pl.DataFrame({"sex": sex}),
        task="classification",
        classes=("no", "yes"),
        predictions=pl.Series(np.where(yes, "yes", "no").tolist()),
    )


def told(before: dict[str, float], now: dict[str, float], *, days: int = 1, rows: int = 1000) -> list[str]:
    watched = Watched(
        version=1, reference=answered(0, before, 5000), expected=None, budget=Budget(), window_us=DAY, groups=("sex",)
    )
    found: list[str] = []
    for day in range(days):
        rows_of_day = answered(day + 1, now, rows)
        seen = Seen(window=Window(day * DAY, (day + 1) * DAY), rows=rows_of_day, asked=rows)
        found += [one.says for one in look_at_groups(watched, None, seen).found]
    return found


def test_a_year_of_equal_treatment_raises_nothing_and_neither_does_what_was_known() -> None:
    assert told({"f": 0.3, "m": 0.3}, {"f": 0.3, "m": 0.3}, days=365) == []
    assert told({"f": 0.15, "m": 0.3}, {"f": 0.15, "m": 0.3}, days=365) == []  # a reviewer has let this pass


def test_a_group_that_is_selected_less_is_named_with_both_rates() -> None:
    (says,) = told({"f": 0.3, "m": 0.32}, {"f": 0.15, "m": 0.32}, rows=3000)
    assert "whose sex is f" in says
    assert "where it is m" in says
    assert "0.80 is the least" in says


def test_a_group_of_few_rows_and_a_column_that_is_not_there_say_nothing() -> None:
    assert told({"f": 0.3, "m": 0.3, "x": 0.9}, {"f": 0.3, "m": 0.3, "x": 0.0}, rows=60) == []
    watched = Watched(
        version=1, reference=answered(0, {"f": 0.5}), expected=None, budget=Budget(), window_us=DAY, groups=("age",)
    )
    seen = Seen(window=Window(0, DAY), rows=answered(1, {"f": 0.5}), asked=1000)
    assert look_at_groups(watched, None, seen).found == []


@pytest.mark.parametrize("rows", [200, 2000])
def test_at_the_edge_of_what_is_allowed_it_alarms_no_more_often_than_its_level(rows: int) -> None:
    level = Budget().per_window("fairness", DAY)
    alarms = len(told({"f": 0.32, "m": 0.4}, {"f": 0.288, "m": 0.4}, days=400, rows=rows))
    assert alarms <= max(3, 400 * level * 3)


def test_rows_without_an_answer_or_a_group_count_for_nothing_and_many_groups_are_told_apart() -> None:
    many = {f"g{number:02}": 0.3 for number in range(20)}
    (says,) = told(many, many | {"g07": 0.1}, rows=20_000)
    assert "whose sex is g07" in says
    watched = Watched(
        version=1,
        reference=answered(0, {"f": 0.3, "m": 0.3}, 5000),
        expected=None,
        budget=Budget(),
        window_us=DAY,
        groups=("sex",),
    )
    rows = answered(1, {"f": 0.1, "m": 0.3}, 3000)
    assert rows.predictions is not None
    thin = replace(
        rows,
        inputs=rows.inputs.with_columns(rows.inputs["sex"].set(pl.Series(np.arange(3000) % 5 == 0), None)),
        predictions=rows.predictions.set(pl.Series(np.arange(3000) % 3 == 0), None),
    )
    seen = Seen(window=Window(0, DAY), rows=thin, asked=3000)
    (one,) = look_at_groups(watched, None, seen).found
    kept = (np.arange(3000) % 5 != 0) & (np.arange(3000) % 3 != 0)
    for name in ("f", "m"):
        is_one = kept & (rows.inputs["sex"] == name).to_numpy()
        assert one.evidence["rows"][name] == is_one.sum()
        assert one.evidence["rates"][name] == (is_one & (rows.predictions == "yes").to_numpy()).sum() / is_one.sum()
