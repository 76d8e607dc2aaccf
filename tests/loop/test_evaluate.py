"""What a loop asks to be measured of a candidate is data, and mistakes in it are found where they are written."""

from __future__ import annotations

import json

import pytest

from perennial.errors import LoopError
from perennial.loop import Loop
from perennial.loop.declaration import Declaration, EvaluatePolicy


def declared(**options: object) -> Declaration:
    loop = Loop("people", target="income", time="day")
    loop.evaluate(**options)  # type: ignore[arg-type]
    return loop.declaration()


def test_what_is_said_survives_json() -> None:
    before = declared(groups=("sex", "race"), leave_out=["region"], learning_curve=True, time_split=True, budget="1h")
    after = Declaration.from_json(json.loads(json.dumps(before.to_json())))
    assert after == before
    assert after.evaluate == EvaluatePolicy(
        groups=("sex", "race"), leave_out=("region",), learning_curve=True, time_split=True, budget_s=3600.0
    )


def test_a_loop_that_says_nothing_is_the_same_loop_as_before() -> None:
    told = Loop("people", target="income").declaration()
    assert told.evaluate is None
    assert "evaluate" not in told.to_json()
    assert Declaration.from_json(told.to_json()) == told


def test_the_defaults_ask_for_nothing_that_retrains() -> None:
    assert declared().evaluate == EvaluatePolicy()
    assert (EvaluatePolicy().robustness, EvaluatePolicy().learning_curve) == (True, False)


@pytest.mark.parametrize(
    "options, says, remedy",
    [
        ({"groups": "sex"}, "groups cannot be 'sex'", "as in groups=('sex',)"),
        ({"leave_out": "region"}, "leave_out cannot be 'region'", "as in leave_out=('region',)"),
        ({"groups": (1,)}, "groups cannot be 1", "give a name"),
        ({"learning_curve": "yes"}, "learning_curve cannot be 'yes'", "give True or False"),
        ({"budget": "soon"}, "budget cannot be 'soon'", 'such as "30d"'),
    ],
)
def test_a_wrong_option_names_the_line_and_what_would_be_right(
    options: dict[str, object], says: str, remedy: str
) -> None:
    with pytest.raises(LoopError, match=says.replace("(", r"\(")) as caught:
        declared(**options)
    assert remedy in caught.value.remedy
    assert "test_evaluate.py:" in caught.value.where


def test_a_time_split_needs_a_time_and_one_call_says_it_all() -> None:
    loop = Loop("people", target="income")
    with pytest.raises(LoopError, match="a split by time needs a column"):
        loop.evaluate(time_split=True)
    loop.evaluate(groups=("sex",))
    with pytest.raises(LoopError, match=r"loop\.evaluate is called twice"):
        loop.evaluate(groups=("race",))
