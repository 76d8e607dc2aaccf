"""Requirements that run code of the loop once more: the training, or a function of the user's own."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
from scipy.stats import t as student_t

from perennial.errors import LoopError, PerennialError
from perennial.evaluate.answers import HeldOut
from perennial.evaluate.metrics import measure_on, metric_named
from perennial.evaluate.requirements.case import Case, Refit, Result

__all__ = ["custom", "reproducible"]


def reproducible(case: Case, options: dict[str, Any]) -> Result:
    """The same model comes out, or one as good: within `within`, or within the noise that the refits show.

    The noise interval is that for one more training of the same kind: mean of the refits +- t s sqrt(1 + 1/n), with
    n - 1 degrees of freedom. It is also the least margin by which two models differ that means anything.
    """
    if case.refit is None:
        return None, "the training cannot be repeated here", {}
    metric = metric_named(options["metric"], case.task)
    judged = case.held_out if case.uncompiled is None else case.held_out.with_answers(case.uncompiled())
    ours = measure_on(metric, judged).estimate
    values: list[float] = []
    for at in range(int(options["refits"])):
        again = case.refit(at)
        same = _sameness(case, judged, again)
        if same is not None:
            says = f"trained again on the same rows, the model {same}"
            return True, says, {"metric": metric.name, "value": ours, "identical": True, "refits": at + 1}
        values.append(measure_on(metric, judged.with_answers(again.answers)).estimate)
    spread = float(np.std(values, ddof=1))
    mean = float(np.mean(values))
    half = float(student_t.ppf(0.975, len(values) - 1)) * spread * math.sqrt(1 + 1 / len(values))
    evidence: dict[str, Any] = {
        "metric": metric.name,
        "value": ours,
        "identical": False,
        "refits": len(values),
        "values": values,
        "noise": spread,
        "low": mean - half,
        "high": mean + half,
    }
    told = f"{metric.name} was {ours:.4g}, and {', '.join(f'{value:.4g}' for value in values)} when trained again"
    within = options.get("within")
    if within is not None:
        apart = max([ours, *values]) - min([ours, *values])
        evidence |= {"apart": apart, "within": within}
        return apart <= float(within), f"{told}: {apart:.3g} apart, asked for at most {float(within):g}", evidence
    rounding = 1e-9 * max(1.0, abs(mean))
    inside = abs(ours - mean) <= half + rounding
    says = (
        f"{told}: {'within' if inside else 'outside'} what such trainings give ({mean - half:.4g} to {mean + half:.4g})"
    )
    return inside, says, evidence


def custom(case: Case, options: dict[str, Any]) -> Result:
    """What the function says.

    Raises:
        LoopError: It raised, or returned neither True or False nor a pair of that and a sentence.
    """
    name, where = str(options["function"]), f"{options['file']}:{options['line']}"
    if case.call is None:
        return None, f"{name} cannot be called here", {}
    answers = case.held_out.answers
    is_regression = case.task == "regression"
    given = {
        "frame": case.frame,
        "truth": case.held_out.truth if is_regression else case.held_out.labels(),
        "answers": answers.prediction if is_regression else answers.labels(),
    }
    try:
        found = case.call(name, str(options["file"]), given)
    except PerennialError:
        raise
    except Exception as error:
        raise LoopError(
            f"the requirement {name!r} raised {type(error).__name__}: {error}",
            where=where,
            remedy="let it return True or False for any held-out rows",
        ) from error
    passed, says = cast("tuple[Any, Any]", found) if isinstance(found, tuple) and len(found) == 2 else (found, "")  # pyright: ignore[reportUnknownArgumentType]
    if not isinstance(passed, bool | np.bool_) or not isinstance(says, str):
        raise LoopError(
            f"the requirement {name!r} returned {found!r}",
            where=where,
            remedy="return True or False, or a pair such as (False, 'three wages are below zero')",
        )
    return bool(passed), says or f"{name} {'holds' if passed else 'does not hold'}", {"function": name, "where": where}


def _sameness(case: Case, judged: HeldOut, again: Refit) -> str | None:
    """How a refit is the same; files may hold more than the model (a moment, an address), so answers count as well."""
    if case.digest is not None and case.digest == again.digest:
        return "came out identical"
    ours, theirs = judged.answers, again.answers.coded(judged.answers.classes)
    said = (ours.prediction, theirs.prediction)
    if case.task != "regression":
        if ours.probabilities is None or theirs.probabilities is None:
            return None  # equal labels alone: another model may give them as well
        said = (ours.probabilities, theirs.probabilities)
    return f"answers all {len(ours)} held-out rows identically" if np.array_equal(said[0], said[1]) else None
