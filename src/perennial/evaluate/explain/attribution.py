"""Attributions of rows by the best way there is: exact for trees and linear models, sampled for everything else.

An exact way counts only if its sums are the model's answers on the rows explained; where they are not, or where it
does not fit, the answers are sampled, and `why` says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

from perennial.errors import Invalid
from perennial.evaluate.explain.additive import Additive, Unfit
from perennial.evaluate.explain.asked import Asked, Floats, Unit, classes_of
from perennial.evaluate.explain.linear import linear_of
from perennial.evaluate.explain.links import link_between
from perennial.evaluate.explain.sampled import evaluations, sampled
from perennial.evaluate.explain.tree import tree_of
from perennial.models.background import MAX_ROWS

if TYPE_CHECKING:
    from perennial.models.package import Predictor

__all__ = ["BACKGROUND_ROWS", "Attributions", "Attributor", "Method", "attributor"]

BACKGROUND_ROWS = MAX_ROWS

Method = Literal["tree", "linear", "sampled"]


@dataclass(frozen=True, kw_only=True)
class Attributions:
    """base + values.sum(axis=1) = answers, in `unit`.

    `values`: shape (n, d), over the model's columns; `errors`: their standard errors where sampled, else None;
    `answers`: shape (n,).
    """

    method: Method
    unit: Unit
    of: str
    columns: list[str]
    base: float
    values: Floats
    errors: Floats | None
    answers: Floats


@dataclass(frozen=True)
class Attributor:
    """Explains rows given as the model's columns. `exact` is None where they are sampled against `background`."""

    predictor: Predictor
    background: pl.DataFrame
    exact: Additive | None
    why: str | None = None

    @property
    def method(self) -> Method:
        return "sampled" if self.exact is None else self.exact.method

    @property
    def evaluations(self) -> int:
        """How often the model answers to explain one row; 0 where the way is exact."""
        return evaluations(self.background.width, self.background.height) if self.exact is None else 0

    def explain(self, x: pl.DataFrame, asked: Asked, *, seed: int = 0) -> Attributions:
        """Attributions of the answers that `asked` names.

        Raises:
            Unfit: The exact way does not explain these rows.
        """
        if self.exact is None:
            return self._sampled(x, asked, seed)
        answered = self.predictor.scorer.answer(x)
        found = self.exact.contributions(x)
        sums = found.sums()
        relative = max(self.exact.relative, self.predictor.scorer.relative)
        link = link_between(sums, answered, classes_of(self.predictor), relative=relative)
        if link is None:
            raise Unfit("exact attributions do not add up to its answers")
        score, sign = link.score_of(asked, sums.shape[1])
        # The probability of the first of two classes is 1 less that of the second; log-odds only change their sign.
        base = 1.0 - found.base[score] if link.unit == "probability" and sign < 0 else sign * found.base[score]
        values = sign * found.values[:, score]
        return Attributions(
            method=self.exact.method,
            unit=link.unit,
            of=asked.of,
            columns=x.columns,
            base=float(base),
            values=values,
            errors=None,
            answers=base + values.sum(axis=1),
        )

    def _sampled(self, x: pl.DataFrame, asked: Asked, seed: int) -> Attributions:
        scorer = self.predictor.scorer
        unit = asked.unit(scorer.answer(self.background.head(1)))

        def answer(rows: pl.DataFrame) -> Floats:
            return asked.numbers(scorer.answer(rows))

        found = sampled(answer, x, self.background, seed=seed)
        return Attributions(
            method="sampled",
            unit=unit,
            of=asked.of,
            columns=x.columns,
            base=found.base,
            values=found.values,
            errors=found.errors,
            answers=found.base + found.values.sum(axis=1),
        )


def attributor(
    predictor: Predictor, x: pl.DataFrame, background: pl.DataFrame, *, method: Method | None = None
) -> Attributor:
    """The best way to explain a model's answers, tried on some rows.

    Args:
        predictor: With the toolkit's own model where exact ways are wanted (`Predictor.load(..., native=True)`).
        x: Some rows to explain, as the model's columns.
        background: Rows that stand for "not known"; at most 100 are used.
        method: Demand this one.

    Raises:
        Invalid: The demanded way does not fit the model; says why.
    """
    if background.height > BACKGROUND_ROWS:
        spread = np.unique(np.linspace(0, background.height - 1, BACKGROUND_ROWS).astype(np.int64))
        background = background[spread.tolist()]
    why: list[str] = []
    for name, way in (("tree", tree_of), ("linear", linear_of)):
        if method not in (None, name):
            continue
        try:
            exact = way(predictor, background)
            if exact is None:
                continue
            found = Attributor(predictor, background, exact)
            found.explain(x.head(20), Asked("", 0 if classes_of(predictor) else None))
        except Unfit as unfit:
            why.append(f"no exact attributions ({name}): {unfit}")
            continue
        return found
    if method in ("tree", "linear"):
        raise Invalid(
            f"attributions by the method {method!r} do not fit this model"
            + (f": {why[0]}" if why else f": it is no {method} model that is known here"),
            remedy="leave the method away, or ask for 'sampled'",
        )
    return Attributor(predictor, background, None, why[0] if why else None)
