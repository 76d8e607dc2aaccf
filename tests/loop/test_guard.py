"""What protects an endpoint is declared as data, and mistakes in it are found where they are written."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from perennial.errors import LoopError
from perennial.loop import Loop, fallback, guard
from perennial.loop.declaration import Declaration
from perennial.loop.failsafe import Fallback, Guard
from perennial.loop.graph import check
from perennial.loop.rules import columns_of, compiled, why_not
from perennial.models.guards.spec import FailSafe

GUARDS = (
    guard.range(action="fill", columns=["age"], widen=0.1),
    guard.missing(),
    guard.unseen(action="reject"),
    guard.unforeseen(p=0.01, method="nearest", same_unit=True),
    guard.uncertain(below=0.6),
    guard.uncertain(risk=0.05, action="flag"),
    guard.uncertain(wider_than=3, action="fall_back"),
    guard.output(low=0, action="fill"),
    guard.output(rule="prediction <= 3 * offer"),
    guard.nan("fall_back"),
)


def rows() -> None:
    """A step at the left margin."""


def model(X: Any, y: Any) -> None:
    """Another."""


def full() -> Loop:
    loop = Loop("wages", target="wage")
    loop.guard(*GUARDS)
    loop.fallback(fallback.previous(), fallback.version("simple@live"), fallback.constant(9.0))
    loop.interval(level=0.95, by="region", sets="aps")
    loop.breaker(slow_ms=200)
    loop.serving(deadline_s=0.5, queue_rows=1000)
    return loop


def test_what_is_declared_survives_json() -> None:
    before = full().declaration()
    assert Declaration.from_json(json.loads(json.dumps(before.to_json()))) == before


def test_a_loop_that_says_nothing_is_the_same_loop_as_before() -> None:
    told = Loop("wages", target="wage").declaration()
    assert told.failsafe is None
    assert "failsafe" not in told.to_json()
    assert FailSafe.of(told.failsafe).to_builtins() == {}


def test_what_is_declared_reaches_the_service_whole() -> None:
    failsafe = FailSafe.of(full().declaration().failsafe, alpha=0.07)
    assert FailSafe.read(json.loads(json.dumps(failsafe.to_builtins()))) == failsafe
    assert [type(found).__name__ for found in failsafe.guards] == [
        *("OutOfRange", "Missing", "Unseen", "Unforeseen", "Uncertain", "Uncertain", "Uncertain"),
        *("Output", "Output", "Nan"),
    ]
    assert (failsafe.deadline_s, failsafe.queue_rows, failsafe.alpha) == (0.5, 1000, 0.07)
    assert failsafe.breaker is not None
    assert (failsafe.breaker.failures, failsafe.breaker.of, failsafe.breaker.probes) == (0.5, 20, 5)
    assert failsafe.miss == 0.07


def test_guards_add_up_over_calls() -> None:
    loop = Loop("wages", target="wage")
    loop.guard(guard.missing())
    loop.guard(guard.unseen())
    policy = loop.declaration().failsafe
    assert policy is not None
    assert [found.kind for found in policy.guards] == ["missing", "unseen"]


@pytest.mark.parametrize(
    "declare, says",
    [
        (lambda: guard.range(action="drop"), "action cannot be 'drop'"),  # type: ignore[arg-type]
        (lambda: guard.unforeseen(action="fill"), "action cannot be 'fill'"),  # type: ignore[arg-type]
        (lambda: guard.unforeseen(p=0), "p cannot be 0"),
        (lambda: guard.missing(columns="age"), "columns cannot be 'age'"),
        (lambda: guard.uncertain(), "is told nothing"),
        (lambda: guard.uncertain(below=0.5, risk=0.1), "is told below and risk"),
        (lambda: guard.uncertain(below=1.5), "below cannot be 1.5"),
        (lambda: guard.output(), "checks nothing"),
        (lambda: guard.output(low=2, high=1), "high cannot be 1"),
        (lambda: guard.output(rule="prediction", action="flag"), "it compares nothing"),
        (lambda: guard.output(rule="prediction > 0", action="fill"), "with a rule cannot fill"),
        (lambda: guard.nan("zero"), "answer cannot be 'zero'"),  # type: ignore[arg-type]
        (lambda: fallback.version("simple"), "names no version"),
        (lambda: fallback.constant(float("nan")), "value cannot be nan"),
    ],
)
def test_a_wrong_option_names_the_line(declare: Callable[[], Guard | Fallback], says: str) -> None:
    with pytest.raises(LoopError, match=says) as caught:
        declare()
    assert "test_guard.py:" in caught.value.where
    assert caught.value.remedy


@pytest.mark.parametrize(
    "declare, says",
    [
        (lambda loop: loop.guard(guard.nan(), guard.nan(0.0)), "guard.nan is declared twice"),
        (lambda loop: loop.guard(guard.missing), "loop.guard takes what guard"),
        (lambda loop: loop.fallback(fallback.constant(), fallback.previous()), "never asked"),
        (lambda loop: [loop.interval(), loop.interval()], "called twice"),
        (lambda loop: loop.interval(level=1.0), "level cannot be 1.0"),
        (lambda loop: loop.breaker(failures=0), "failures cannot be 0"),
        (lambda loop: loop.serving(deadline_s=0), "deadline_s cannot be 0"),
    ],
)
def test_what_does_not_fit_together_is_refused(declare: Callable[[Loop], Any], says: str) -> None:
    with pytest.raises(LoopError, match=says):
        declare(Loop("wages", target="wage"))


@pytest.mark.parametrize(
    "found, says",
    [
        (guard.unseen(action="fall_back"), "nothing to fall back on"),
        (guard.nan("fall_back"), "nothing to fall back on"),
        (guard.uncertain(wider_than=3), "none is declared"),
    ],
)
def test_a_guard_that_needs_more_is_found_before_anything_runs(found: Guard, says: str) -> None:
    loop = Loop("wages", target="wage")

    loop.collect(rows)
    loop.train(model)
    loop.guard(found)
    with pytest.raises(LoopError, match=says):
        check(loop.declaration())


@pytest.mark.parametrize(
    "rule, values, keeps",
    [
        ("prediction <= 3 * offer", {"prediction": 9.0, "offer": 3.0}, True),
        ("prediction <= 3 * offer", {"prediction": 9.1, "offer": 3.0}, False),
        ("0 < prediction < 10 and not kind == 'x'", {"prediction": 5, "kind": "y"}, True),
        ("0 < prediction < 10 and not kind == 'x'", {"prediction": 5, "kind": "x"}, False),
    ],
)
def test_a_rule_compares(rule: str, values: dict[str, Any], *, keeps: bool) -> None:
    assert compiled(rule)(values) is keeps


def test_a_rule_says_which_columns_it_needs() -> None:
    assert columns_of("prediction <= 3 * offer or seniority > 2") == ["offer", "seniority"]


@pytest.mark.parametrize(
    "rule, says",
    [
        ("__import__('os').system('true') == prediction", "a call"),
        ("prediction.__class__ == 1", "an? attribute"),
        ("[prediction for x in y] == 1", "a list"),
        ("(lambda: 1) == prediction", "a lambda"),
        ("prediction ** 9 ** 9 > 1", "a pow"),
        ("offer > 1", "does not speak of 'prediction'"),
        ("prediction > ", "does not parse"),
        ("prediction > None", "it holds None"),
        ("(" * 300 + "prediction > 1" + ")" * 300, "longer|parse"),
    ],
)
def test_a_rule_is_a_comparison_and_nothing_else(rule: str, says: str) -> None:
    assert re.search(says, why_not(rule))
    with pytest.raises(ValueError, match="is no rule"):
        compiled(rule)
