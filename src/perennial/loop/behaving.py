"""Requirements on behaviour: what the answer may do when one thing about the input changes.

After CheckList: expected answers (`examples`), changes that must not matter (`invariant`, `robust`), and changes that
must move the answer one way (`monotone`, `directional`).

Source: Ribeiro, Wu, Guestrin & Singh (2020), Beyond Accuracy: Behavioral Testing of NLP Models with CheckList, ACL.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from perennial.errors import LoopError
from perennial.loop.declaration import Requirement
from perennial.loop.options import choice, flag, number, text
from perennial.loop.place import place

__all__ = ["directional", "examples", "invariant", "monotone", "robust"]

_EXAMPLE = ("given", "expect", "tolerance")


def monotone(feature: str, *, increasing: bool) -> Requirement:
    """The prediction only rises (or falls) with a numeric feature, all else equal."""
    options = {"feature": text("feature", feature), "increasing": flag("increasing", increasing)}
    return Requirement("monotone", options, f"the prediction only {'rises' if increasing else 'falls'} with {feature}")


def directional(
    feature: str, *, by: float, increases: bool = True, share: float = 0.95, least: float = 0.0
) -> Requirement:
    """A step of a numeric feature moves the prediction one way in nearly all rows, all else equal.

    Args:
        feature: Numeric, one that the model takes.
        by: The step, in the feature's unit; below 0 it goes down. It may not leave the range seen in the data.
        increases: The prediction (or the probability of the positive class) rises; False: falls. Staying counts as
            moving only where `least` is 0.
        share: Of the rows in which it must be so.
        least: Smallest movement that counts, in the answer's unit.
    """
    step = number("by", by)
    if step == 0:
        raise LoopError("by cannot be 0", where=place(), remedy="give a step up or down, as in by=+2")
    options = {
        "feature": text("feature", feature),
        "by": step,
        "increases": flag("increases", increases),
        "share": number("share", share, above=0, most=1),
        "least": number("least", least, least=0),
    }
    word = "raises" if increases else "lowers"
    return Requirement(
        "directional", options, f"{feature} by {step:+g} {word} the prediction in {share * 100:g} % of the rows"
    )


def invariant(
    feature: str | None = None,
    *,
    swap: Sequence[str | int | float | bool] | None = None,
    rows: Literal["order", "alone"] | None = None,
    scale: Mapping[str, float] | None = None,
    fixed: Mapping[str, Any] | None = None,
    tolerance: float = 0.01,
    changed_at_most: float = 0.0,
) -> Requirement:
    """A change that must not matter does not change the answer.

    What changes is one of: a `feature` whose values `swap` among themselves (a protected attribute); a `feature` alone,
    shuffled among the rows (an id, a column that is irrelevant); `rows="order"`, the same rows in another order, or
    `rows="alone"`, each row asked by itself; `scale`, numbers in another unit (`{"height": 2.54}`), with other columns
    `fixed` at what says so (`{"unit": "cm"}`).

    Args:
        feature: A column that the model takes.
        swap: Each row with one of these values is asked with each of the others.
        rows: How the same rows are asked.
        scale: Column to factor.
        fixed: Column to value, in the scaled rows; rows that have that value already are left out.
        tolerance: A number counts as changed beyond this share of the answers' standard deviation.
        changed_at_most: Share of changed answers that is allowed.
    """
    ways = {"rows": rows is not None, "scale": scale is not None, "feature": feature is not None}
    if sum(ways.values()) != 1 or (swap is not None and feature is None) or (fixed is not None and scale is None):
        raise LoopError(
            "require.invariant needs one change that must not matter",
            where=place(),
            remedy='give a feature ("person"), a feature with swap=[...], rows="order", or scale={...}',
        )
    options: dict[str, Any] = {
        "tolerance": number("tolerance", tolerance, least=0),
        "changed_at_most": number("changed_at_most", changed_at_most, least=0, most=1),
    }
    if rows is not None:
        options["rows"] = choice("rows", rows, ("order", "alone"))
        what = "the order of the rows" if rows == "order" else "asking a row alone or among others"
    elif scale is not None:
        factors = {text("scale", name): number("scale", factor, above=0) for name, factor in _items("scale", scale)}
        options |= {"scale": factors, "fixed": _plain("fixed", dict(_items("fixed", fixed or {}, may_be_empty=True)))}
        what = f"the unit of {', '.join(factors)}"
    else:
        assert feature is not None
        options["feature"] = text("feature", feature)
        what = f"swapping {feature}" if swap is not None else f"shuffling {feature}"
        if swap is not None:
            values: list[Any] = [] if isinstance(swap, str) else list(swap)
            if len(values) < 2 or len({json.dumps(_plain("swap", value)) for value in values}) < len(values):
                remedy = 'give two or more values, as in swap=["female", "male"]'
                raise LoopError(f"swap cannot be {swap!r}", where=place(), remedy=remedy)
            options["swap"] = values
            what += f" ({' / '.join(str(value) for value in values)})"
    allowed = f" in more than {changed_at_most * 100:g} % of the rows" if changed_at_most else ""
    return Requirement("invariant", options, f"{what} does not change the prediction{allowed}")


def examples(cases: Sequence[Mapping[str, Any]]) -> Requirement:
    """Rows whose right answer is beyond doubt are answered so.

    Args:
        cases: Each `{"given": {column: value}, "expect": answer}`, for a number also with "tolerance". Columns left out
            are missing.
    """
    if isinstance(cases, Mapping) or not cases:
        raise LoopError(
            "require.examples needs some cases", where=place(), remedy='give a list of {"given": {...}, "expect": ...}'
        )
    told: list[dict[str, Any]] = []
    for at, case in enumerate(cases, start=1):
        if not isinstance(case, Mapping) or not {"given", "expect"} <= set(case) or not set(case) <= set(_EXAMPLE):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise LoopError(
                f"example {at} cannot be {case!r}",
                where=place(),
                remedy='write {"given": {column: value}, "expect": answer}, and "tolerance" if you like',
            )
        one = {"given": dict(_items("given", case["given"])), "expect": case["expect"]}
        if "tolerance" in case:
            one["tolerance"] = number("tolerance", case["tolerance"], least=0)
        if isinstance(one["expect"], float) and not math.isfinite(one["expect"]):
            raise LoopError(f"example {at} expects {one['expect']}", where=place(), remedy="give a finite number")
        told.append(cast("dict[str, Any]", _plain(f"example {at}", one)))
    count = f"{len(told)} example{'s' if len(told) != 1 else ''}"
    return Requirement("examples", {"cases": told}, f"{count} with a known answer are answered so")


def robust(*, noise: float = 0.05, changed_at_most: float = 0.05) -> Requirement:
    """Small errors of measurement change few answers.

    Args:
        noise: Standard deviation of the normal noise on each numeric feature, as a share of the feature's own.
        changed_at_most: Share of answers that may change: to another label, or by more than a tenth of the answers'
            standard deviation.
    """
    options = {
        "noise": number("noise", noise, above=0),
        "changed_at_most": number("changed_at_most", changed_at_most, least=0, most=1),
    }
    return Requirement(
        "robust", options, f"noise of {noise * 100:g} % changes at most {changed_at_most * 100:g} % of the answers"
    )


def _items(option: str, values: object, *, may_be_empty: bool = False) -> list[tuple[str, Any]]:
    if isinstance(values, Mapping) and (values or may_be_empty):
        items = list(cast("Mapping[Any, Any]", values).items())
        if all(isinstance(name, str) for name, _ in items):
            return items
    raise LoopError(f"{option} cannot be {values!r}", where=place(), remedy="give {column: value, ...}")


def _plain(option: str, value: object) -> Any:
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError):
        remedy = "use numbers, text, True, False, None, or lists and dicts of them"
        raise LoopError(f"{option} cannot be {value!r}", where=place(), remedy=remedy) from None
