"""Requirements: the gates that every candidate must pass, each with the sentence that a person reads.

Metrics are named here so that a wrong name is found where it is written; `evaluate.metrics` computes them. What a model
must do with changed inputs is declared in `loop.behaving` and offered here as well.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType, MappingProxyType
from typing import Any

from perennial.errors import LoopError
from perennial.loop.behaving import directional, examples, invariant, monotone, robust
from perennial.loop.declaration import Requirement, Task
from perennial.loop.options import choice, count, number, text
from perennial.loop.place import place, relative

__all__ = [
    "METRICS",
    "better_than_baseline",
    "better_than_live",
    "calibration",
    "custom",
    "data_quality",
    "directional",
    "examples",
    "fairness",
    "invariant",
    "latency",
    "memory",
    "metric",
    "monotone",
    "no_leakage",
    "not_worse_than_live",
    "reproducible",
    "robust",
    "size",
    "slices",
]

METRICS: Mapping[str, Task] = MappingProxyType(
    {
        "rmse": "regression",
        "mae": "regression",
        "r2": "regression",
        "bias": "regression",
        "median_absolute_error": "regression",
        "mape": "regression",
        "rmsle": "regression",
        "accuracy": "classification",
        "balanced_accuracy": "classification",
        "f1": "classification",
        "f1_macro": "classification",
        "precision": "classification",
        "recall": "classification",
        "mcc": "classification",
        "roc_auc": "classification",
        "average_precision": "classification",
        "log_loss": "classification",
        "brier": "classification",
    }
)


def metric(name: str, *, at_most: float | None = None, at_least: float | None = None) -> Requirement:
    """The metric on held-out rows is within a bound, in the metric's own unit."""
    choice("metric", name, METRICS)
    if (at_most is None) == (at_least is None):
        raise LoopError(
            f"require.metric({name!r}) needs one bound", where=place(), remedy="give either at_most or at_least"
        )
    if at_most is not None:
        bound, says = {"at_most": number("at_most", at_most)}, f"at most {at_most:g}"
    else:
        bound, says = {"at_least": number("at_least", at_least)}, f"at least {at_least:g}"
    return Requirement("metric", {"metric": name, **bound}, f"{name} is {says}")


def better_than_live(metric: str, *, margin: float = 0.0) -> Requirement:
    """Clearly better than the live version on the same rows, which neither was trained on.

    Args:
        metric: By which.
        margin: It must be better by more than this, in the metric's unit.
    """
    options = {"metric": choice("metric", metric, METRICS), "margin": number("margin", margin, least=0)}
    return Requirement("better_than_live", options, f"{metric} is better than the live version's" + _by(margin, "by"))


def not_worse_than_live(metric: str, *, margin: float) -> Requirement:
    """Clearly not worse than the live version by more than `margin`, in the metric's unit."""
    options = {"metric": choice("metric", metric, METRICS), "margin": number("margin", margin, above=0)}
    return Requirement("not_worse_than_live", options, f"{metric} is not worse than the live version's by {margin:g}")


def better_than_baseline(metric: str) -> Requirement:
    """Clearly better than the trivial model: the mean, or the most frequent class."""
    options = {"metric": choice("metric", metric, METRICS)}
    return Requirement("better_than_baseline", options, f"{metric} is better than the trivial baseline's")


def slices(metric: str, *, by: str, within: float) -> Requirement:
    """In no group of rows is the metric clearly worse than overall.

    Args:
        metric: By which.
        by: Column that makes the groups.
        within: How much worse a group may be, as a share of the overall value: 0.10 is ten percent.
    """
    options = {
        "metric": choice("metric", metric, METRICS),
        "by": text("by", by),
        "within": number("within", within, least=0),
    }
    return Requirement("slices", options, f"{metric} in each {by} is within {within * 100:g} % of the overall value")


def fairness(by: str, *, selection_rate_ratio: float | None = 0.8, equalised_odds: float | None = None) -> Requirement:
    """Groups of people are treated alike; fails only where that is clearly not so. For two classes.

    Args:
        by: Column that makes the groups; it need not be one that the model takes.
        selection_rate_ratio: The share answered with the positive class, in the group where it is lowest over the group
            where it is highest, is at least this: 0.8 is the four-fifths rule. None does not ask for it.
        equalised_odds: The shares answered positive among the truly positive, and among the truly negative, differ
            between groups by at most this. None does not ask for it.
    """
    options: dict[str, Any] = {"by": text("by", by)}
    asked: list[str] = []
    if selection_rate_ratio is not None:
        options["selection_rate_ratio"] = number("selection_rate_ratio", selection_rate_ratio, above=0, most=1)
        asked.append(f"chosen at rates whose ratio is at least {selection_rate_ratio:g}")
    if equalised_odds is not None:
        options["equalised_odds"] = number("equalised_odds", equalised_odds, least=0, most=1)
        asked.append(f"recognised alike, to {equalised_odds:g}")
    if not asked:
        remedy = "give selection_rate_ratio, equalised_odds or both"
        raise LoopError(f"require.fairness({by!r}) asks for nothing", where=place(), remedy=remedy)
    return Requirement("fairness", options, f"groups of {by} are {' and '.join(asked)}")


def calibration(*, error_at_most: float) -> Requirement:
    """What the model says is what comes true, on average over the rows where it says about the same.

    Args:
        error_at_most: Of the expected calibration error: a difference of probabilities; for numbers, in standard
            deviations of the truth.
    """
    options = {"error_at_most": number("error_at_most", error_at_most, least=0)}
    return Requirement("calibration", options, f"the expected calibration error is at most {error_at_most:g}")


def latency(*, p99_ms: float) -> Requirement:
    """99 of 100 single predictions take no longer than this, in milliseconds."""
    options = {"p99_ms": number("p99_ms", p99_ms, above=0)}
    return Requirement("latency", options, f"99 % of single predictions take at most {p99_ms:g} ms")


def memory(*, peak_mb: float) -> Requirement:
    """A new process that loads the model and answers a thousand rows takes no more than this, in megabytes (1e6)."""
    options = {"peak_mb": number("peak_mb", peak_mb, above=0)}
    return Requirement("memory", options, f"a process that loads the model and answers takes at most {peak_mb:g} MB")


def size(*, mb: float) -> Requirement:
    """The files of the model's package are together no larger than this, in megabytes (1e6)."""
    return Requirement("size", {"mb": number("mb", mb, above=0)}, f"the package is at most {mb:g} MB large")


def data_quality(*, missing_at_most: float = 1.0, broken_at_most: float = 0.0) -> Requirement:
    """The data behind the model fit their schema, and few values are missing.

    Args:
        missing_at_most: Share of missing values in each column that the model takes, in training and in held-out rows.
        broken_at_most: Share of rows that broke with the schema or a check and were not kept out.
    """
    options = {
        "missing_at_most": number("missing_at_most", missing_at_most, least=0, most=1),
        "broken_at_most": number("broken_at_most", broken_at_most, least=0, most=1),
    }
    sentence = "the data fit their schema and checks"
    if missing_at_most < 1:
        sentence += f", and in no column more than {missing_at_most * 100:g} % are missing"
    return Requirement("data_quality", options, sentence)


def no_leakage(*, known: Sequence[str] = ()) -> Requirement:
    """No column gives the target away, and no held-out row is in the training data or older than it.

    Args:
        known: Columns that may tell so much, because they are known at the moment of prediction.
    """
    if isinstance(known, str):
        raise LoopError(f"known cannot be {known!r}", where=place(), remedy=f"give a list: known=[{known!r}]")
    options = {"known": [text("known", name) for name in known]}
    return Requirement("no_leakage", options, "nothing gives the target away that is not known at prediction")


def reproducible(metric: str, *, refits: int = 3, within: float | None = None) -> Requirement:
    """Trained again on the same rows, the model comes out the same, or as good within the noise of training.

    Args:
        metric: By which.
        refits: How often to train again at most, 2 to 5; an identical model ends it at once.
        within: How far apart trainings may lie, in the metric's unit. Without it, the candidate must lie where its
            refits say it should.
    """
    options: dict[str, Any] = {"metric": choice("metric", metric, METRICS), "refits": count("refits", refits, least=2)}
    if refits > 5:
        raise LoopError(f"refits cannot be {refits}", where=place(), remedy="give 2 to 5: each one trains the model")
    if within is not None:
        options["within"] = number("within", within, least=0)
    so = f" within {within:g}" if within is not None else ""
    return Requirement("reproducible", options, f"trained again, the model is the same, or {metric} is as good{so}")


def custom(function: Callable[..., Any], *, sentence: str | None = None) -> Requirement:
    """Whatever else must hold: a function of the loop file that is given `frame`, `truth` and `answers`.

    It takes those of the three by name that it asks for: the held-out rows (a polars frame), the truth, and the model's
    answers (numbers, or labels as text), and returns True or False, or a pair of that and a sentence.

    Args:
        function: At the left margin of a file of the project.
        sentence: What is required; default the first line of the function's docstring, without its full stop.
    """
    if not isinstance(function, FunctionType) or function.__qualname__ != function.__name__:
        remedy = "write it with def at the left margin and give its name, as in require.custom(no_negative_wages)"
        raise LoopError(
            f"require.custom needs a function of the loop file, not {function!r}", where=place(), remedy=remedy
        )
    where = f"{relative(function.__code__.co_filename)}:{function.__code__.co_firstlineno}"
    known = {"frame", "truth", "answers"}
    asked = list(inspect.signature(function).parameters)
    if not asked or not known.issuperset(asked):
        raise LoopError(
            f"{function.__name__!r} asks for {', '.join(asked) or 'nothing'}",
            where=where,
            remedy="a custom requirement takes frame, truth, answers, or some of them, by these names",
        )
    told = sentence or (inspect.getdoc(function) or "").partition("\n")[0].rstrip(".") or f"{function.__name__} holds"
    options = {
        "function": function.__name__,
        "file": relative(function.__code__.co_filename),
        "line": function.__code__.co_firstlineno,
    }
    return Requirement("custom", options, text("sentence", told))


def _by(margin: float, word: str) -> str:
    return f" {word} more than {margin:g}" if margin else ""
