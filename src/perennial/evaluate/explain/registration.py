"""Explain a model once, at registration, on held-out rows and within a time budget.

What the budget does not allow is done on fewer rows or left away, and said so in `left_out`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial.evaluate.explain.additive import Unfit
from perennial.evaluate.explain.asked import Asked, Floats, asked, classes_of
from perennial.evaluate.explain.attribution import BACKGROUND_ROWS, Attributions, Attributor, attributor
from perennial.evaluate.explain.effects import FEW_VALUES, accumulated, partial_dependence
from perennial.evaluate.explain.groups import groups
from perennial.evaluate.explain.importance import REPEATS, Loss, permutation_importance
from perennial.models.facts.explanation import Effect, Explanation, Importance

if TYPE_CHECKING:
    from perennial.models.package import Predictor

__all__ = ["BUDGET_S", "explain"]

BUDGET_S = 30.0
MAX_ROWS = 5000  # for importance and effects
MIN_ROWS = 200  # with fewer rows importance says nothing, and is left out instead
TOP_FEATURES = 10
ATTRIBUTED_ROWS = 1000
FIRST_BATCH = 10

# What each part may take of the budget, counted from the start; what a part leaves over goes to the next.
IMPORTANCE_UNTIL = 0.4
EFFECTS_UNTIL = 0.65


@dataclass
class _Clock:
    """The budget of one explanation."""

    budget_s: float
    began: float = field(default_factory=time.monotonic)

    def left_until(self, share: float) -> float:
        return self.began + share * self.budget_s - time.monotonic()


def explain(
    predictor: Predictor,
    frame: pl.DataFrame,
    truth: NDArray[Any],
    *,
    budget_s: float = BUDGET_S,
    seed: int = 0,
) -> tuple[Explanation, pl.DataFrame]:
    """Importance, effects and attributions of a model on held-out rows.

    Args:
        predictor: With the toolkit's own model in its scorer; a compiled form is explained by sampling.
        frame: Held-out rows as requests have them.
        truth: Numbers, or positions in the model's classes (a position beyond them is a label it does not know).
        budget_s: Time for everything. Only a single question to the model is never broken off.
        seed: Equal seeds give equal results, as far as the budget allows the same rows.

    Returns:
        The explanation, and the attributions of at most 1,000 rows: one column for each of the model's columns, to be
        stored beside it. `Explanation.attributions`, their digest, is for the caller to fill in.
    """
    clock, left_out = _Clock(budget_s), list[str]()
    if frame.height == 0:
        return Explanation(left_out=["everything: there are no held-out rows"]), pl.DataFrame()
    frame, truth = _spread(frame, truth, MAX_ROWS, seed)
    classes = classes_of(predictor)
    about = asked(predictor, [str(classes[at]) for at in truth.tolist() if at < len(classes)] if classes else ())
    if len(classes) > 2:
        left_out.append(f"effects and attributions of other classes than {about.of!r}, the most frequent one")
    row_s, loss = _pace(predictor, frame, truth)
    importance = _importance(predictor, frame, truth, clock, left_out, row_s=row_s, seed=seed)
    effects = _effects(predictor, frame, about, importance, clock, left_out, row_s=row_s)
    found = _attributions(predictor, frame, about, clock, left_out, seed=seed)
    if found is None:
        return Explanation(importance=importance, effects=effects, loss=loss, left_out=left_out), pl.DataFrame()
    made = Explanation(
        importance=importance,
        effects=effects,
        loss=loss,
        method=found.method,
        of=found.of,
        unit=found.unit,
        base=found.base,
        mean_abs=dict(zip(found.columns, np.abs(found.values).mean(axis=0).tolist(), strict=True)),
        rows=len(found.values),
        error=None if found.errors is None else float(np.sqrt(np.mean(found.errors**2))),
        left_out=left_out,
    )
    return made, pl.DataFrame(found.values, schema=found.columns)


def _spread(frame: pl.DataFrame, truth: NDArray[Any], rows: int, seed: int) -> tuple[pl.DataFrame, NDArray[Any]]:
    """At most so many rows, drawn without order: held-out rows may be sorted by time or by class."""
    chosen = np.random.default_rng(seed).permutation(frame.height)[:rows]
    return frame[chosen.tolist()], np.asarray(truth)[chosen]


def _pace(predictor: Predictor, frame: pl.DataFrame, truth: NDArray[Any]) -> tuple[float, str]:
    """Seconds that an answer takes in a long question, and the loss that these answers are measured by."""
    some = frame.head(500)
    answered = predictor.answers(some)  # the first question also pays for what is made on first use
    began = time.monotonic()
    predictor.answers(some)
    return (time.monotonic() - began) / some.height, Loss(predictor, truth[:500]).name(answered)


def _importance(
    predictor: Predictor,
    frame: pl.DataFrame,
    truth: NDArray[Any],
    clock: _Clock,
    left_out: list[str],
    *,
    row_s: float,
    seed: int,
) -> list[Importance]:
    names = [field.name for field in predictor.signature.inputs if field.required]
    together = groups(frame.select(names))
    questions = REPEATS * len(together) + 1
    rows = min(frame.height, int(clock.left_until(IMPORTANCE_UNTIL) / (questions * row_s)))
    if rows < min(MIN_ROWS, frame.height):
        left_out.append(f"permutation importance: {questions} questions take longer than the time there is")
        return []
    if rows < frame.height:
        left_out.append(f"permutation importance uses {rows} of {frame.height} rows, as time allows")
    return permutation_importance(predictor, frame.head(rows), truth[:rows], together, seed=seed)


def _effects(
    predictor: Predictor,
    frame: pl.DataFrame,
    about: Asked,
    importance: list[Importance],
    clock: _Clock,
    left_out: list[str],
    *,
    row_s: float,
) -> list[Effect]:
    def answer(rows: pl.DataFrame) -> Floats:
        return about.numbers(predictor.answers(rows))

    ranked = [name for one in importance for name in one.features]
    ranked = ranked or [field.name for field in predictor.signature.inputs if field.required]
    top = ranked[:TOP_FEATURES]
    if len(ranked) > len(top):
        left_out.append(f"effects of features beyond the first {TOP_FEATURES}")
    # Two answers for each row and feature, or 20 for a fifth of the rows.
    rows = min(frame.height, int(clock.left_until(EFFECTS_UNTIL) / (4 * len(top) * row_s)))
    if rows < min(MIN_ROWS, frame.height):
        left_out.append("effects: they take longer than the time there is")
        return []
    if rows < frame.height:
        left_out.append(f"effects use {rows} of {frame.height} rows, as time allows")
    found: list[Effect] = []
    for name in top:
        found += _effects_of(answer, frame.head(rows), name, about.of, left_out)
    return found


def _effects_of(answer: Any, frame: pl.DataFrame, name: str, of: str, left_out: list[str]) -> list[Effect]:
    series = frame[name]
    values = series.drop_nulls().drop_nans() if series.dtype.is_float() else series.drop_nulls()
    is_ordered = series.dtype.is_numeric() or series.dtype.is_temporal()
    is_category = isinstance(series.dtype, pl.String | pl.Boolean | pl.Enum)
    if not (is_ordered or is_category):
        left_out.append(f"the effect of {name!r}: it is neither a number, a time nor a category")
        return []
    distinct = values.n_unique()
    if distinct < 2:
        left_out.append(f"the effect of {name!r}: it has one value in the held-out rows")
        return []
    if is_category and 2 * distinct > max(len(values), 4):
        left_out.append(f"the effect of {name!r}: its texts hardly repeat")
        return []
    rows = max(50, frame.height // 5)
    found = [accumulated(answer, frame, name, of=of)] if is_ordered else []
    if is_category or distinct <= FEW_VALUES:
        found.append(partial_dependence(answer, frame, name, of=of, rows=rows))
    return found


def _attributions(
    predictor: Predictor, frame: pl.DataFrame, about: Asked, clock: _Clock, left_out: list[str], *, seed: int
) -> Attributions | None:
    """Of as many rows as time allows, the background (the last rows) not among them where there are enough."""
    x = predictor.preparation.columns(frame)
    background = x.tail(BACKGROUND_ROWS)
    rows = x.head(min(ATTRIBUTED_ROWS, max(x.height - BACKGROUND_ROWS, min(x.height, BACKGROUND_ROWS))))
    way = attributor(predictor, rows, background)
    if way.why is not None:
        left_out.append(way.why)
    try:
        parts = _in_batches(way, rows, about, clock, seed=seed)
    except Unfit as unfit:
        left_out.append(f"no exact attributions ({way.method}): {unfit}")
        parts = _in_batches(attributor(predictor, rows, background, method="sampled"), rows, about, clock, seed=seed)
    done = sum(len(part.values) for part in parts)
    if done < rows.height:
        left_out.append(f"attributions of {rows.height - done} of {rows.height} rows: the time was over")
    if not parts:
        return None
    first = parts[0]
    return Attributions(
        method=first.method,
        unit=first.unit,
        of=first.of,
        columns=first.columns,
        base=first.base,
        values=np.concatenate([part.values for part in parts]),
        errors=None if first.errors is None else np.concatenate([_known(part.errors) for part in parts]),
        answers=np.concatenate([part.answers for part in parts]),
    )


def _known(errors: Floats | None) -> Floats:
    assert errors is not None
    return errors


def _in_batches(way: Attributor, rows: pl.DataFrame, about: Asked, clock: _Clock, *, seed: int) -> list[Attributions]:
    """Batches that grow, so that the time of the next one is known from the last."""
    found: list[Attributions] = []
    done, size, row_s = 0, FIRST_BATCH, 0.0
    while done < rows.height:
        left = clock.left_until(1.0)
        size = min(size, rows.height - done) if row_s == 0.0 else min(size, rows.height - done, int(left / row_s))
        if left <= 0.0 or size < 1:
            break
        began = time.monotonic()
        found.append(way.explain(rows[done : done + size], about, seed=seed))
        row_s = (time.monotonic() - began) / size
        done, size = done + size, size * 4
    return found
