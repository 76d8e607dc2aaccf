"""Each requirement is checked where it is written, has a sentence, and survives JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from perennial.errors import LoopError
from perennial.loop import Loop, require
from perennial.loop.declaration import Declaration, Requirement


def positive(answers: Any) -> bool:
    """No answer is below zero."""
    return bool((answers >= 0).all())


def asks_for_more(model: Any) -> bool:
    return bool(model)


GOOD: list[tuple[Requirement, str]] = [
    (require.fairness("sex"), "groups of sex are chosen at rates whose ratio is at least 0.8"),
    (
        require.fairness("sex", selection_rate_ratio=None, equalised_odds=0.1),
        "groups of sex are recognised alike, to 0.1",
    ),
    (require.calibration(error_at_most=0.05), "the expected calibration error is at most 0.05"),
    (require.invariant("sex", swap=["f", "m"]), "swapping sex (f / m) does not change the prediction"),
    (require.invariant("id"), "shuffling id does not change the prediction"),
    (require.invariant(rows="order"), "the order of the rows does not change the prediction"),
    (
        require.invariant(scale={"h": 2.54}, fixed={"unit": "cm"}, changed_at_most=0.01),
        "the unit of h does not change the prediction in more than 1 % of the rows",
    ),
    (require.directional("education", by=+2), "education by +2 raises the prediction in 95 % of the rows"),
    (require.directional("age", by=-1, increases=False), "age by -1 lowers the prediction in 95 % of the rows"),
    (require.examples([{"given": {"a": 1}, "expect": "yes"}]), "1 example with a known answer are answered so"),
    (require.robust(), "noise of 5 % changes at most 5 % of the answers"),
    (require.memory(peak_mb=500), "a process that loads the model and answers takes at most 500 MB"),
    (require.size(mb=1.5), "the package is at most 1.5 MB large"),
    (require.data_quality(), "the data fit their schema and checks"),
    (
        require.data_quality(missing_at_most=0.1),
        "the data fit their schema and checks, and in no column more than 10 % are missing",
    ),
    (require.no_leakage(known=["last"]), "nothing gives the target away that is not known at prediction"),
    (require.reproducible("rmse"), "trained again, the model is the same, or rmse is as good"),
    (require.custom(positive), "No answer is below zero"),
    (require.custom(positive, sentence="only upwards"), "only upwards"),
]


@pytest.mark.parametrize("requirement,sentence", GOOD)
def test_a_requirement_says_what_it_asks_and_survives_json(requirement: Requirement, sentence: str) -> None:
    assert requirement.sentence == sentence
    loop = Loop("a", target="y")
    loop.require(requirement)
    told = loop.declaration().to_json()
    assert (
        Declaration.from_json(json.loads(json.dumps(told))).requirements[0].options
        == told["requirements"][0]["options"]
    )


@pytest.mark.parametrize(
    "write,says",
    [
        (lambda: require.fairness("sex", selection_rate_ratio=None), "asks for nothing"),
        (lambda: require.fairness("sex", selection_rate_ratio=1.2), "selection_rate_ratio cannot be 1.2"),
        (lambda: require.invariant(), "needs one change that must not matter"),
        (lambda: require.invariant("a", rows="order"), "needs one change"),
        (lambda: require.invariant(swap=["a", "b"]), "needs one change"),
        (lambda: require.invariant("a", fixed={"b": 1}), "needs one change"),
        (lambda: require.invariant("a", swap=["f"]), "swap cannot be"),
        (lambda: require.invariant("a", swap="fm"), "swap cannot be 'fm'"),
        (lambda: require.invariant("a", swap=["f", "f"]), "swap cannot be"),
        (lambda: require.invariant(rows="columns"), "rows cannot be 'columns'"),  # type: ignore[arg-type]
        (lambda: require.invariant(scale={}), "scale cannot be {}"),
        (lambda: require.invariant(scale={"a": 0}), "scale cannot be 0"),
        (lambda: require.invariant(scale={"a": 2}, fixed={"b": object()}), "fixed cannot be"),
        (lambda: require.directional("a", by=0), "by cannot be 0"),
        (lambda: require.directional("a", by=1, share=95), "share cannot be 95"),
        (lambda: require.examples([]), "needs some cases"),
        (lambda: require.examples([{"given": {"a": 1}}]), "example 1 cannot be"),
        (lambda: require.examples([{"given": {"a": 1}, "expect": 1, "within": 2}]), "example 1 cannot be"),
        (lambda: require.examples([{"given": {}, "expect": 1}]), "given cannot be {}"),
        (lambda: require.examples([{"given": {"a": 1}, "expect": float("nan")}]), "example 1 expects nan"),
        (lambda: require.robust(noise=0), "noise cannot be 0"),
        (lambda: require.memory(peak_mb=0), "peak_mb cannot be 0"),
        (lambda: require.no_leakage(known="last"), "known cannot be 'last'"),
        (lambda: require.reproducible("rmse", refits=1), "refits cannot be 1"),
        (lambda: require.reproducible("rmse", refits=6), "refits cannot be 6"),
        (lambda: require.custom(lambda answers: True), "needs a function of the loop file"),
        (lambda: require.custom("positive"), "needs a function of the loop file"),  # type: ignore[arg-type]
        (lambda: require.custom(asks_for_more), "'asks_for_more' asks for model"),
    ],
)
def test_what_cannot_be_required_is_an_error_at_its_line(write: Callable[[], Requirement], says: str) -> None:
    with pytest.raises(LoopError) as caught:
        write()
    assert says in caught.value.what
    assert caught.value.where.partition(":")[0].endswith("test_require.py")
    assert caught.value.remedy


def test_a_custom_requirement_knows_its_place() -> None:
    options = require.custom(positive).options
    assert options["function"] == "positive"
    assert str(options["file"]).endswith("test_require.py")


@pytest.mark.parametrize(
    "how,says",
    [
        ({"test_uses": 0}, "test_uses cannot be 0"),
        ({"tolerance": 0}, "tolerance cannot be 0"),
        ({"test_uses": 9, "tolerance": 0.1}, "is told test_uses and tolerance"),
    ],
)
def test_the_budget_of_a_test_set_is_one_number(how: dict[str, Any], says: str) -> None:
    with pytest.raises(LoopError, match=says):
        Loop("a").evaluate(**how)


def test_the_budget_of_a_test_set_survives_json() -> None:
    loop = Loop("a", target="y")
    loop.evaluate(test_uses=40)
    again = Declaration.from_json(json.loads(json.dumps(loop.declaration().to_json())))
    assert again.evaluate is not None
    assert (again.evaluate.test_uses, again.evaluate.tolerance) == (40, None)
