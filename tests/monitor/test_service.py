"""What the counts of a window say of the service."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from perennial.monitor.sample import Sample
from perennial.monitor.watching.budget import Budget
from perennial.monitor.watching.service import look_at_service
from perennial.monitor.watching.watched import Seen, Watched
from perennial.monitor.windows import DAY, Window

NOTHING = Sample(inputs=pl.DataFrame({"x": []}), task="regression")


def kinds(days: list[dict[str, int]], *, off: frozenset[str] = frozenset()) -> list[tuple[int, str]]:
    state, found = None, list[tuple[int, str]]()
    version = Watched(version=1, reference=NOTHING, expected=None, budget=Budget(), window_us=DAY, off=off)
    for day, counts in enumerate(days):
        look = look_at_service(version, state, Seen(window=Window(day * DAY, (day + 1) * DAY), rows=NOTHING, **counts))
        state = look.state
        found += [(day, one.kind) for one in look.found]
    return found


def test_a_quiet_service_is_left_alone_for_a_year_and_its_traffic_may_breathe() -> None:
    draw = np.random.default_rng(0)
    days = [
        {"asked": int(rows), "failed": int(draw.binomial(rows, 0.002)), "slow": int(draw.binomial(rows, 0.01))}
        for rows in draw.normal(5000, 400, 365)
    ]
    assert kinds(days) == []


@pytest.mark.parametrize("what, kind", [("failed", "errors"), ("slow", "latency"), ("flagged", "unforeseen")])
def test_a_share_beyond_what_is_left_alone_is_found_within_days(what: str, kind: str) -> None:
    found = kinds([{"asked": 2000, what: 100}] * 5)
    assert {name for _, name in found} == {kind}
    assert found[0][0] <= 1


def test_traffic_that_stops_or_doubles_is_found_once_there_is_a_history() -> None:
    draw = np.random.default_rng(1)
    usual = [{"asked": int(rows)} for rows in draw.normal(5000, 300, 21)]
    assert kinds([*usual, {"asked": 500}]) == [(21, "traffic")]
    assert kinds([*usual, {"asked": 12_000}]) == [(21, "traffic")]
    assert kinds([*usual[:5], {"asked": 12_000}]) == []
    assert kinds([*usual, {"asked": 500}], off=frozenset({"traffic"})) == []


def test_quiet_weekends_are_no_alarm_from_the_first_day_on_and_an_empty_monday_is_one() -> None:
    draw = np.random.default_rng(2)
    week = [5000, 5200, 5100, 5000, 4800, 600, 400]
    days = [{"asked": int(draw.normal(week[day % 7], 0.05 * week[day % 7]))} for day in range(70)]
    assert kinds(days) == []
    assert kinds([*days, {"asked": 500}]) == [(70, "traffic")]  # as on a Sunday, and it is a Monday
    assert kinds([*days[:68], {"asked": 5000}]) == [(68, "traffic")]  # as on a Monday, and it is a Saturday


def test_a_new_level_of_traffic_is_no_news_after_a_week_and_an_odd_day_is_told_once() -> None:
    draw = np.random.default_rng(3)
    days = [{"asked": int(rows)} for rows in draw.normal(5000, 200, 35)]
    risen = [{"asked": int(rows)} for rows in draw.normal(15_000, 600, 28)]
    told = [day for day, _ in kinds([*days, *risen])]
    assert told[0] == 35
    assert told[-1] < 42
    odd = [*days[:30], {"asked": 100}, *days[31:]]
    assert kinds([*odd, *days]) == [(30, "traffic")]
