"""Guards: what is checked of each request and each answer, and what happens where a check fires.

An action is one of: "reject" refuses the request and names the value; "fill" puts a usual value in its place and says
so; "flag" says so and goes on; "fall_back" lets the chain of `fallback` answer that row; "abstain" gives no answer and
asks a person. Whatever a guard did stands in the answer, in what is captured and in the metrics.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from perennial.errors import LoopError
from perennial.loop.failsafe import Guard
from perennial.loop.options import choice, flag, number, text
from perennial.loop.place import place
from perennial.loop.rules import why_not

__all__ = ["missing", "nan", "output", "range", "uncertain", "unforeseen", "unseen"]

Action = Literal["reject", "fill", "flag", "fall_back", "abstain"]
BEFORE = ("reject", "fill", "flag", "fall_back", "abstain")
NO_FILL = ("reject", "flag", "fall_back", "abstain")
AFTER = ("flag", "fall_back", "abstain")


def range(  # noqa: A001  # the word that fits; the builtin is not needed here
    *, action: Action = "flag", columns: Sequence[str] | None = None, widen: float = 0.0
) -> Guard:
    """A number lies outside what training saw. "fill" takes the nearest number that training saw.

    Args:
        action: What happens to such a row.
        columns: Which; None: all numbers.
        widen: By how much more the range reaches at both ends, as a share of its width.
    """
    return Guard("range", _told(action, BEFORE, columns) | {"widen": number("widen", widen, least=0)})


def missing(*, action: Action = "fill", columns: Sequence[str] | None = None) -> Guard:
    """A value is missing. "fill" takes the median of the training rows, or their most frequent value.

    Args:
        action: What happens to such a row; "flag" hands the missing value on to the model.
        columns: Which; None: those in which no training row missed one. For these a missing value is refused without
            this guard.
    """
    return Guard("missing", _told(action, BEFORE, columns))


def unseen(*, action: Action = "flag", columns: Sequence[str] | None = None) -> Guard:
    """A category that no training row has. "fill" takes the most frequent one.

    Args:
        action: What happens to such a row; "flag" hands it on as the model knows it: as missing.
        columns: Which; None: all texts that repeat. Whole numbers that stand for categories must be named.
    """
    return Guard("unseen", _told(action, BEFORE, columns))


def unforeseen(
    *,
    p: float = 0.001,
    action: Literal["reject", "flag", "fall_back", "abstain"] = "abstain",
    method: Literal["mahalanobis", "nearest"] | None = None,
    columns: Sequence[str] | None = None,
    same_unit: bool | None = None,
) -> Guard:
    """A row unlike those of training, told by a conformal p-value of its numbers: rows like them fire at rate `p`.

    Args:
        p: Of how many rows like those of training at most this share fires. No p-value is below 1/(rows + 1): of fewer
            rows, that is what it is raised to.
        action: What happens to such a row.
        method: "mahalanobis" is far from the middle, by a shrunk covariance: quick, and sees broken relations of
            columns. "nearest" is far from its ten nearest training rows: slower, and sees what lies between what is
            known. None: nearest where all numbers have one unit, else mahalanobis.
        columns: Numbers to look at; None: all.
        same_unit: They are measured in one unit, as the pixels of an image are, so that they are not scaled one by one;
            None: told from their ranges.
    """
    options = _told(action, NO_FILL, columns) | {"p": number("p", p, above=0, most=0.5)}
    if method is not None:
        options["method"] = choice("method", method, ("mahalanobis", "nearest"))
    if same_unit is not None:
        options["same_unit"] = flag("same_unit", same_unit)
    return Guard("unforeseen", options)


def uncertain(
    *,
    below: float | None = None,
    risk: float | None = None,
    confidence: float = 0.95,
    wider_than: float | None = None,
    action: Literal["flag", "fall_back", "abstain"] = "abstain",
) -> Guard:
    """The model is not sure of its answer. Give one of `below`, `risk` and `wider_than`.

    Args:
        below: The largest probability is below this.
        risk: It is below what keeps the share of wrong labels among the others within this, chosen on held-out rows by
            an exact bound; a candidate for which no such threshold can be shown is not made.
        confidence: With which the bound holds.
        wider_than: The interval (see `loop.interval`) is wider than this, in the unit of the target.
        action: What happens to such a row.
    """
    options: dict[str, Any] = {"action": choice("action", action, AFTER)}
    given = {"below": below, "risk": risk, "wider_than": wider_than}
    said = {name: value for name, value in given.items() if value is not None}
    if len(said) != 1:
        raise LoopError(
            f"guard.uncertain is told {' and '.join(said) or 'nothing'}",
            where=place(),
            remedy="give one of below=, risk= and wider_than=",
        )
    (name, value), *_ = said.items()
    most = {} if name == "wider_than" else {"most": 1.0}
    options[name] = number(name, value, above=0, **most)
    if name == "risk":
        options["confidence"] = number("confidence", confidence, least=0.5, most=0.9999)
    return Guard("uncertain", options)


def output(
    *,
    low: float | None = None,
    high: float | None = None,
    rule: str | None = None,
    action: Literal["fill", "flag", "fall_back", "abstain"] = "flag",
) -> Guard:
    """An answer that cannot be. "fill" takes the bound in its place.

    Args:
        low: Least number that can be.
        high: Greatest number that can be.
        rule: A comparison that must hold, as in "prediction <= 3 * last_wage"; a column that is missing breaks it.
        action: What happens to such an answer.
    """
    options: dict[str, Any] = {"action": choice("action", action, ("fill", *AFTER))}
    if low is not None:
        options["low"] = number("low", low)
    if high is not None:
        options["high"] = number("high", high, least=-float("inf") if low is None else low)
    if rule is not None:
        options["rule"] = text("rule", rule)
        wrong = why_not(rule)
        if wrong:
            remedy = 'write a comparison of numbers, columns and prediction, as in "prediction <= 3 * last_wage"'
            raise LoopError(f"{rule!r} is no rule: {wrong}", where=place(), remedy=remedy)
        if action == "fill":
            raise LoopError(
                "guard.output with a rule cannot fill", where=place(), remedy="give it an action of its own"
            )
    if len(options) == 1:
        raise LoopError("guard.output checks nothing", where=place(), remedy="give low=, high= or rule=")
    return Guard("output", options)


def nan(answer: Literal["error", "null", "fall_back", "abstain"] | float = "error") -> Guard:
    """The model answers NaN or infinity.

    Args:
        answer: "error" gives that row an error, "null" an answer of null, a number is taken instead, "fall_back" and
            "abstain" as for other guards.
    """
    if isinstance(answer, str):
        return Guard("nan", {"answer": choice("answer", answer, ("error", "null", "fall_back", "abstain"))})
    return Guard("nan", {"answer": number("answer", answer)})


def _told(action: str, known: Sequence[str], columns: Sequence[str] | None) -> dict[str, Any]:
    if isinstance(columns, str):
        raise LoopError(
            f"columns cannot be {columns!r}", where=place(), remedy=f"give a list, as in columns=[{columns!r}]"
        )
    options: dict[str, Any] = {"action": choice("action", action, known)}
    if columns is not None:
        options["columns"] = [text("columns", name) for name in columns]
    return options
