"""A second model that says how large the first one's error is at given inputs and prediction.

It learns on a labelled reference and needs no probabilities: so it serves regressions, and classifiers that give only
labels. What it says of single rows is vague; its mean over a window is what estimates and choices of rows use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial.monitor.multivariate.encoding import MAX_CATEGORIES, is_number, is_text, numbers, texts
from perennial.monitor.sample import Sample

__all__ = ["ErrorModel", "fit_error_model"]

Floats = NDArray[np.float64]

MAX_ROWS: Final = 100_000  # of the reference: more make it slower, not better
PREDICTION: Final = "prediction of the model"  # its name among the inputs


@dataclass(frozen=True, kw_only=True)
class ErrorModel:
    """Made by `fit_error_model`.

    Attributes:
        categories: Code of each known text by column; columns of numbers have none. An unknown text is missing.
        models: Fitted regressors: expected absolute and squared error, or for a classification of a wrong answer.
    """

    categories: Mapping[str, Mapping[str, int] | None]
    models: tuple[Any, ...]

    def expected(self, sample: Sample) -> tuple[Floats, ...]:
        """Expected error of each row by each of the models, none below 0, each of shape (m,)."""
        table = _with_prediction(sample)
        x = np.column_stack([_coded(table, name, codes) for name, codes in self.categories.items()])
        return tuple(np.maximum(cast(Floats, model.predict(x)), 0.0) for model in self.models)


def fit_error_model(reference: Sample, *, seed: int = 0) -> ErrorModel:
    """Learn the errors of the labelled rows of a reference, all of whose labels and predictions are known.

    Args:
        reference: Rows that the model was not trained on. Columns that are neither numbers nor texts are not used.
        seed: Of the rows drawn above 100,000, and of the regressors.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    rows = np.arange(reference.rows, dtype=np.int64)
    if len(rows) > MAX_ROWS:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MAX_ROWS, replace=False))
    part = reference.take(rows)
    table = _with_prediction(part)
    categories: dict[str, Mapping[str, int] | None] = {}
    for name in table.columns:
        if is_number(table[name]):
            categories[name] = None
        elif is_text(table[name]):
            counts = texts(table[name]).drop_nulls().value_counts(sort=True).head(MAX_CATEGORIES)
            categories[name] = {text: code for code, text in enumerate(sorted(counts[table[name].name].to_list()))}
    x = np.column_stack([_coded(table, name, codes) for name, codes in categories.items()])
    losses = part.losses()
    targets = [np.sqrt(losses), losses] if part.task == "regression" else [losses]
    is_category = np.array([codes is not None for codes in categories.values()])
    models = tuple(
        HistGradientBoostingRegressor(categorical_features=is_category, early_stopping=False, random_state=seed).fit(
            x, target
        )
        for target in targets
    )
    return ErrorModel(categories=categories, models=models)


def _with_prediction(sample: Sample) -> pl.DataFrame:
    assert sample.predictions is not None
    return sample.inputs.with_columns(sample.predictions.alias(PREDICTION))


def _coded(table: pl.DataFrame, name: str, codes: Mapping[str, int] | None) -> Floats:
    """A column as numbers, NaN where missing, unknown or not there at all."""
    if name not in table.columns:
        return np.full(table.height, np.nan)
    series = table[name]
    if codes is None:
        return numbers(series) if is_number(series) else np.full(len(series), np.nan)
    if not is_text(series):
        return np.full(len(series), np.nan)
    found = texts(series).replace_strict(list(codes), list(codes.values()), default=None, return_dtype=pl.Float64())
    return found.to_numpy()
