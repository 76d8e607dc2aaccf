"""How a loop is watched is data, and mistakes in it are found where they are written."""

from __future__ import annotations

import json

import pytest

from perennial.errors import LoopError
from perennial.loop import Loop
from perennial.loop.declaration import Declaration, MonitorPolicy
from perennial.loop.watched import MONITORS
from perennial.monitor.watching.budget import SHARES


def declared(**options: object) -> Declaration:
    loop = Loop("people", target="income", time="day")
    loop.monitor(**options)  # type: ignore[arg-type]
    return loop.declaration()


def test_what_is_said_survives_json() -> None:
    before = declared(one_false_alarm_in="60d", window="7d", min_rows=200, slices=["job"], groups=(), off=("traffic",))
    after = Declaration.from_json(json.loads(json.dumps(before.to_json())))
    assert after == before
    assert after.monitor == MonitorPolicy(
        days=60.0, window_s=7 * 86_400.0, min_rows=200, slices=("job",), groups=(), off=("traffic",)
    )


def test_a_loop_that_says_nothing_is_the_same_loop_as_before() -> None:
    told = Loop("people", target="income").declaration()
    assert "monitor" not in told.to_json()
    assert Declaration.from_json(told.to_json()) == told


def test_every_monitor_has_a_share_of_the_budget() -> None:
    assert set(SHARES) == set(MONITORS)


@pytest.mark.parametrize(
    "options, says, remedy",
    [
        ({"slices": "job"}, "slices cannot be 'job'", "as in slices=('job',)"),
        ({"off": ("trafic",)}, "off cannot be 'trafic'", "did you mean 'traffic'?"),
        ({"min_rows": 5}, "min_rows cannot be 5", "at least 100"),
        ({"window": "often"}, "window cannot be 'often'", 'such as "30d"'),
        ({"slow_ms": 0}, "slow_ms cannot be 0", "above 0"),
    ],
)
def test_a_wrong_option_names_the_line_and_what_would_be_right(
    options: dict[str, object], says: str, remedy: str
) -> None:
    with pytest.raises(LoopError, match=says) as caught:
        declared(**options)
    assert remedy in caught.value.remedy
    assert "test_monitor.py:" in caught.value.where


def test_one_call_says_it_all() -> None:
    loop = Loop("people")
    loop.monitor()
    with pytest.raises(LoopError, match="called twice"):
        loop.monitor()
