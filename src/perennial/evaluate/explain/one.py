"""Explain single predictions: what each column contributed to the answer, against what is usual."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from msgspec import Struct

from perennial.errors import Invalid
from perennial.evaluate.explain.additive import Unfit
from perennial.evaluate.explain.asked import asked, classes_of
from perennial.evaluate.explain.attribution import Attributions, Attributor, Method, attributor

if TYPE_CHECKING:
    from perennial.models.package import Predictor

__all__ = ["RowExplainer", "RowExplanation", "explain_rows"]


class RowExplanation(Struct, frozen=True, kw_only=True):
    """Why the model answered what it answered, for one row: base + contributions = explained, in `unit`.

    Attributes:
        prediction: The answer: a number or a label.
        of: The target, or the class whose number is explained.
        unit: "value"; "probability" of the class; "log-odds", "margin" or "log" where the attributions are exact in
            the model's own score; "label" (1 for this class, else 0) from a model without probabilities.
        method: "tree" and "linear" are exact, "sampled" is not.
        base: The number without knowing anything of this row.
        explained: The number for this row.
        contributions: By column of the model, the largest first.
        errors: Standard error of each contribution where sampled, else None.
    """

    prediction: str | float | int | bool
    of: str
    unit: str
    method: str
    base: float
    explained: float
    contributions: dict[str, float]
    errors: dict[str, float] | None = None


class RowExplainer:
    """Explains answers of one loaded model. Made once, it explains any rows; as little safe for concurrent use as it.

    Needs no store and no database: a folder of a package is enough (`Predictor.load`). With the toolkit's own model
    (`native=True`) attributions of trees and linear models are exact; a compiled form is explained by sampling.

    Attributes:
        predictor: Whose answers.
        evaluations: How often the model answers to explain one row, besides its own answer; 0 where the way is exact.
    """

    def __init__(
        self, predictor: Predictor, *, method: Method | None = None, background: pl.DataFrame | None = None
    ) -> None:
        """Find the way in which this model is explained.

        Args:
            predictor: Loaded; it must stay so.
            method: Demand "tree", "linear" or "sampled"; the best that fits where None.
            background: Rows, as requests have them, that stand for "not known" in linear and sampled attributions;
                those of the package where None.

        Raises:
            Invalid: The method does not fit the model, or there are no rows to compare with.
        """
        known = predictor.background_frame() if background is None else background
        if known.height == 0:
            raise Invalid(
                "there are no rows to compare with: the package has neither background rows nor golden ones",
                remedy="pass rows of training or test data as background",
            )
        x = predictor.preparation.columns(known)
        self.predictor = predictor
        self._demanded = method is not None
        self._way = attributor(predictor, x, x, method=method)

    @property
    def evaluations(self) -> int:
        return self._way.evaluations

    def explain(self, frame: pl.DataFrame, *, of: Any = None, seed: int = 0) -> list[RowExplanation]:
        """Why the model answers these rows as it does.

        Args:
            frame: Rows as requests have them.
            of: The class to explain; the positive one where there is one, else the class that was answered.
            seed: Equal seeds give equal explanations, whatever the other rows are.

        Raises:
            Invalid: The model has no such class, or the demanded method does not fit these rows.
        """
        if frame.height == 0:
            return []
        predictor, way = self.predictor, self._way
        x = predictor.preparation.columns(frame)
        predictions: list[Any] = np.asarray(predictor.answers(frame).values).tolist()
        explained: list[RowExplanation | None] = [None] * frame.height
        for label, rows in _by_class(predictor, predictions, of).items():
            about = asked(predictor, of=label)
            part = x[rows]
            try:
                found = way.explain(part, about, seed=seed)
            except Unfit as unfit:
                if self._demanded:
                    raise Invalid(
                        f"attributions by the method {way.method!r} do not fit these rows: {unfit}"
                    ) from unfit
                found = Attributor(predictor, way.background, None).explain(part, about, seed=seed)
            for at, row in enumerate(rows):
                explained[row] = _told(found, at, predictions[row])
        return [one for one in explained if one is not None]


def explain_rows(
    predictor: Predictor,
    frame: pl.DataFrame,
    *,
    method: Method | None = None,
    background: pl.DataFrame | None = None,
    of: Any = None,
    seed: int = 0,
) -> list[RowExplanation]:
    """Explain the answers to a few rows, once; the arguments are those of `RowExplainer`."""
    if frame.height == 0:
        return []
    return RowExplainer(predictor, method=method, background=background).explain(frame, of=of, seed=seed)


def _by_class(predictor: Predictor, predictions: list[Any], of: Any) -> dict[Any, list[int]]:
    """The class that is explained -> rows; None for the one that `asked` chooses."""
    if of is not None or predictor.signature.positive is not None or not classes_of(predictor):
        return {of: list(range(len(predictions)))}
    rows: dict[Any, list[int]] = {}
    for row, label in enumerate(predictions):
        rows.setdefault(label, []).append(row)
    return rows


def _told(found: Attributions, at: int, prediction: Any) -> RowExplanation:
    contributions = dict(zip(found.columns, found.values[at].tolist(), strict=True))
    ordered = sorted(contributions, key=lambda name: -abs(contributions[name]))
    errors = None
    if found.errors is not None:
        known = dict(zip(found.columns, found.errors[at].tolist(), strict=True))
        errors = {name: known[name] for name in ordered}
    return RowExplanation(
        prediction=prediction,
        of=found.of,
        unit=found.unit,
        method=found.method,
        base=found.base,
        explained=float(found.answers[at]),
        contributions={name: contributions[name] for name in ordered},
        errors=errors,
    )
