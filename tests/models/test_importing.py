"""A model that was fitted elsewhere becomes a package that answers as it did."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
import polars as pl
import pytest
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from perennial.errors import DataError
from perennial.models.importing import Asked, import_model
from perennial.models.package import Predictor, checkout
from perennial.models.rows import to_frame
from perennial.serve.intake import Intake
from perennial.store.objects import ObjectStore

HERE: dict[str, Any] = {"environment": "", "provenance": {"file": "model.pkl"}}


def load(objects: ObjectStore, digest: Any, tmp_path: Path) -> tuple[Predictor, dict[str, Any]]:
    folder = checkout(digest.package, objects, tmp_path / "cache")
    assert json.loads((folder / "provenance.json").read_text()) == {"file": "model.pkl", "origin": "imported"}
    predictor = Predictor.load(folder, trusted=True)
    assert predictor.check_golden() == []
    return predictor, json.loads((folder / "reference.json").read_text())


def test_a_pipeline_on_pandas_with_text_columns(tmp_path: Path, wages: pl.DataFrame) -> None:
    frame = wages.head(500).to_pandas()
    columns = ["education", "hours", "occupation"]
    model = make_pipeline(make_column_transformer((OneHotEncoder(), ["occupation"]), remainder="passthrough"), Ridge())
    model.fit(frame[columns], frame["log_wage"])
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(model))
    objects = ObjectStore(tmp_path / "objects")
    digest = import_model(
        path, Asked(sample=frame, target="log_wage", key="person", time="date"), objects=objects, **HERE
    )
    predictor, reference = load(objects, digest, tmp_path)
    assert [field.name for field in predictor.signature.columns] == columns
    assert reference["losses"]["n"] == 500
    records = wages.select(columns).head(3).to_dicts()
    answers = [
        answer["prediction"]
        for answer in predictor.predict(
            to_frame(predictor.signature, Intake(predictor.signature).of_records(records).records())
        )
    ]
    assert answers == pytest.approx(model.predict(frame[columns].head(3)))


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_gradient_boosting_on_categories(tmp_path: Path, wages: pl.DataFrame, library: str) -> None:
    text = wages.head(500).select("education", "hours", "occupation")
    encoded: Any = text.with_columns(pl.col("occupation").cast(pl.Enum(text["occupation"].unique().sort())))
    encoded = encoded.to_pandas() if library == "pandas" else encoded
    model = HistGradientBoostingRegressor(max_iter=5, categorical_features="from_dtype")
    model.fit(encoded, wages.head(500)["log_wage"].to_numpy())
    joblib.dump(model, tmp_path / "model.joblib")
    objects = ObjectStore(tmp_path / "objects")
    predictor, reference = load(
        objects, import_model(tmp_path / "model.joblib", Asked(sample=text), objects=objects, **HERE), tmp_path
    )
    assert reference["losses"] is None
    assert predictor.signature.task == "regression"
    assert [answer["prediction"] for answer in predictor.predict(text)] == model.predict(encoded).tolist()


def test_a_classifier_fitted_on_arrays_without_a_target_in_the_sample(tmp_path: Path) -> None:
    x, y = load_iris(return_X_y=True)
    model = RandomForestClassifier(5, random_state=0).fit(x, y)
    joblib.dump(model, tmp_path / "model.joblib")
    objects = ObjectStore(tmp_path / "objects")
    sample = pd.DataFrame(x, columns=["a", "b", "c", "d"])
    predictor, _ = load(
        objects, import_model(tmp_path / "model.joblib", Asked(sample=sample), objects=objects, **HERE), tmp_path
    )
    assert (predictor.signature.task, predictor.signature.classes) == ("classification", [0, 1, 2])
    answers = predictor.predict(pl.from_pandas(sample))
    assert [answer["prediction"] for answer in answers] == model.predict(x).tolist()
    assert set(answers[0]) == {"prediction", "probabilities"}


@pytest.mark.parametrize(
    "sample, says",
    [
        ({"a": [1.0]}, "the model takes a column 'b' that the sample lacks"),
        ({"a": ["x"], "b": [1.0]}, "the model does not answer the sample"),
        ({"a": [], "b": []}, "the sample has no rows"),
    ],
)
def test_a_sample_that_does_not_fit_is_refused(tmp_path: Path, sample: dict[str, Any], says: str) -> None:
    model = Ridge().fit(pd.DataFrame({"a": [1.0, 2.0], "b": [1.0, 0.0]}), [1.0, 2.0])
    joblib.dump(model, tmp_path / "model.joblib")
    with pytest.raises(DataError, match=says) as caught:
        import_model(
            tmp_path / "model.joblib", Asked(sample=pl.DataFrame(sample)), objects=ObjectStore(tmp_path / "o"), **HERE
        )
    assert caught.value.remedy


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(b"not a pickle")
    with pytest.raises(DataError, match="the model does not load"):
        import_model(
            tmp_path / "model.pkl", Asked(sample=pl.DataFrame({"a": [1]})), objects=ObjectStore(tmp_path / "o"), **HERE
        )
