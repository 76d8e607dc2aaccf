"""Folders that MLflow itself saved: read as data where they are data, kept and vouched for where they are code."""

from __future__ import annotations

import json
import shutil
import tarfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import polars as pl
import pytest
from skl2onnx import to_onnx
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from perennial.errors import Corrupt, DataError, Invalid, PerennialError, Refused
from perennial.models.importing import Asked, Imported, import_model
from perennial.models.package import Predictor, checkout
from perennial.models.rows import to_frame
from perennial.serve.intake import Intake
from perennial.store.objects import ObjectStore

with warnings.catch_warnings():  # MLflow warns of its own type hints when it is imported
    warnings.simplefilter("ignore")
    import mlflow.lightgbm
    import mlflow.onnx
    import mlflow.pyfunc
    import mlflow.sklearn
    from mlflow.models import infer_signature

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, of which there are many

# Else MLflow finds out what a model needs by loading it in another process, half a minute each time.
QUICKLY: Any = {"pip_requirements": ["mlflow"]}
X, Y = load_iris(return_X_y=True, as_frame=True)
DX, DY = load_diabetes(return_X_y=True, as_frame=True)
MARKER = "marker-of-the-test"


def doubled(frame: Any) -> Any:
    return frame * 2


class Adder(mlflow.pyfunc.PythonModel):
    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        return model_input["a"] + model_input["b"]


def brought(folder: Path, tmp_path: Path, **asked: Any) -> tuple[Imported, ObjectStore, Path]:
    objects = ObjectStore(tmp_path / "objects")
    made = import_model(folder, Asked(**asked), objects=objects, environment="", provenance={"file": folder.name})
    return made, objects, checkout(made.package, objects, tmp_path / "cache")


def asserted_equal(folder: Path, package: Path, frame: pd.DataFrame, *, trusted: bool = False) -> Predictor:
    """The package answers what MLflow's loader answers; without that anybody vouched for it, unless `trusted`."""
    predictor = Predictor.load(package, trusted=trusted)
    assert predictor.check_golden() == []
    names = [field.name for field in predictor.signature.inputs]
    told = predictor.predict(
        to_frame(
            predictor.signature,
            Intake(predictor.signature).of_records(json.loads(frame[names].to_json(orient="records"))).records(),
        )
    )
    expected = np.asarray(mlflow.pyfunc.load_model(str(folder)).predict(frame)).ravel().tolist()
    found = [answer["prediction"] for answer in told]
    if isinstance(expected[0], float):
        assert found == pytest.approx(expected, rel=1e-5)
    else:
        assert found == expected
    return predictor


def test_a_skops_folder_becomes_scikit_learn_without_code(tmp_path: Path) -> None:
    model = LogisticRegression(max_iter=500).fit(X, Y)
    folder = tmp_path / "m"
    mlflow.sklearn.save_model(
        model,
        folder,
        signature=infer_signature(X, model.predict(X)),
        input_example=X.head(20),
        serialization_format="skops",
        **QUICKLY,
    )
    made, _, package = brought(folder, tmp_path)
    predictor = asserted_equal(folder, package, X)
    assert predictor.signature.classes == [0, 1, 2]
    assert made.verdicts[0].evidence == {"kind": "sklearn", "format": "skops", "runs_code": False}
    assert [field.name for field in predictor.signature.columns] == list(X.columns)


def test_a_matrix_becomes_columns(tmp_path: Path) -> None:
    model = LogisticRegression(max_iter=500).fit(X.to_numpy(), Y)
    folder = tmp_path / "m"
    mlflow.sklearn.save_model(
        model,
        folder,
        signature=infer_signature(X.to_numpy(), model.predict(X.to_numpy())),
        input_example=X.to_numpy()[:5],
        serialization_format="skops",
        **QUICKLY,
    )
    _, _, package = brought(folder, tmp_path)
    predictor = Predictor.load(package)
    rows = [dict(zip(("x0", "x1", "x2", "x3"), row, strict=True)) for row in X.to_numpy().tolist()]
    found = [
        answer["prediction"]
        for answer in predictor.predict(
            to_frame(predictor.signature, Intake(predictor.signature).of_records(rows).records())
        )
    ]
    assert found == model.predict(X.to_numpy()).tolist()


def test_a_lightgbm_folder_becomes_lightgbm(tmp_path: Path) -> None:
    model = lightgbm.train({"objective": "regression", "verbose": -1}, lightgbm.Dataset(DX, DY), 20)
    folder = tmp_path / "m"
    mlflow.lightgbm.save_model(
        model, folder, signature=infer_signature(DX, model.predict(DX)), input_example=DX.head(20), **QUICKLY
    )
    made, _, package = brought(folder, tmp_path)
    assert made.verdicts[0].evidence["kind"] == "lightgbm"
    asserted_equal(folder, package, DX)


def test_an_onnx_folder_becomes_onnx(tmp_path: Path) -> None:
    model = RandomForestClassifier(10, random_state=0).fit(X, Y)
    graph = to_onnx(model, X.to_numpy()[:1].astype(np.float32), options={"zipmap": False})
    folder = tmp_path / "m"
    signature = infer_signature(X.to_numpy().astype(np.float32), model.predict(X))
    mlflow.onnx.save_model(graph, folder, signature=signature, **QUICKLY)
    pl.from_pandas(X).select(input=pl.concat_arr(pl.all())).write_parquet(tmp_path / "x.parquet")
    made, _, package = brought(folder, tmp_path, sample=pl.read_parquet(tmp_path / "x.parquet"))
    assert made.verdicts[0].evidence == {"kind": "onnx", "format": "onnx", "runs_code": False}
    predictor = Predictor.load(package)
    rows = [{"input": row} for row in X.to_numpy().tolist()]
    answers = predictor.predict(to_frame(predictor.signature, Intake(predictor.signature).of_records(rows).records()))
    assert [answer["prediction"] for answer in answers] == model.predict(X).tolist()
    assert set(answers[0]) == {"prediction", "probabilities"}


@pytest.fixture
def pickled(tmp_path: Path) -> Path:
    model = make_pipeline(FunctionTransformer(doubled), Ridge()).fit(DX, DY)
    folder = tmp_path / "pickled"
    mlflow.sklearn.save_model(
        model,
        folder,
        signature=infer_signature(DX, model.predict(DX)),
        input_example=DX.head(20),
        serialization_format="cloudpickle",
        **QUICKLY,
    )
    return folder


def test_C09_a_pickle_of_mlflows_is_kept_unread_and_loaded_by_nobody(pickled: Path, tmp_path: Path) -> None:
    made, _, package = brought(pickled, tmp_path)
    assert made.verdicts[0].evidence == {"kind": "mlflow", "format": "mlflow", "runs_code": True}
    assert "model.pkl is a pickle, which is code" in made.verdicts[1].says
    with pytest.raises(Refused, match="nobody has vouched"):
        Predictor.load(package)
    assert json.loads((package / "golden.json").read_text())["records"] == []
    asserted_equal(pickled, package, DX, trusted=True)


def test_a_pickle_of_mlflows_that_somebody_vouches_for_has_golden_answers(pickled: Path, tmp_path: Path) -> None:
    _, _, package = brought(pickled, tmp_path, trusted=True)
    assert len(json.loads((package / "golden.json").read_text())["answers"]) == 20
    assert json.loads((package / "reference.json").read_text())["rows"] == 20
    asserted_equal(pickled, package, DX, trusted=True)
    assert mlflow.pyfunc.load_model(str(package)).predict(DX.head(3)) == pytest.approx(
        mlflow.pyfunc.load_model(str(pickled)).predict(DX.head(3)).tolist()
    )


def test_any_python_model_of_mlflows_is_served_as_it_is(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.5], "b": [10, 20, 30]})
    folder = tmp_path / "adder"
    mlflow.pyfunc.save_model(
        folder,
        python_model=Adder(),
        signature=infer_signature(frame, Adder().predict(None, frame)),
        input_example=frame,
        **QUICKLY,
    )
    _, _, package = brought(folder, tmp_path, trusted=True)
    asserted_equal(folder, package, frame, trusted=True)


def test_a_scikit_learn_classifier_in_a_pickle_shows_its_labels_when_it_is_asked(tmp_path: Path) -> None:
    names = Y.map({0: "setosa", 1: "versicolor", 2: "virginica"})
    model = RandomForestClassifier(5, random_state=0).fit(X, names)
    folder = tmp_path / "m"
    mlflow.sklearn.save_model(
        model, folder, signature=infer_signature(X, model.predict(X)), serialization_format="cloudpickle", **QUICKLY
    )
    _, _, package = brought(folder, tmp_path, sample=pl.from_pandas(X), trusted=True)
    predictor = asserted_equal(folder, package, X, trusted=True)
    assert predictor.signature.classes == ["setosa", "versicolor", "virginica"]


@pytest.mark.parametrize("pack", ["zip", "tar.gz"])
def test_an_archive_of_a_folder_is_as_good(pickled: Path, tmp_path: Path, pack: str) -> None:
    archive = tmp_path / f"m.{pack}"
    if pack == "zip":
        with zipfile.ZipFile(archive, "w") as opened:
            for path in pickled.rglob("*"):
                opened.write(path, f"model/{path.relative_to(pickled)}")
    else:
        with tarfile.open(archive, "w:gz") as opened:
            opened.add(pickled, "model")
    first, *_ = brought(pickled, tmp_path / "a")
    second = import_model(
        archive, Asked(), objects=ObjectStore(tmp_path / "b"), environment="", provenance={"file": pickled.name}
    )
    assert first.package == second.package


CLAIMS = {
    "a booster that is none": ("lightgbm", {"data": "model.pkl", "model_class": "lightgbm.basic.Booster"}),
    "skops that is a pickle": ("sklearn", {"pickled_model": "model.pkl", "serialization_format": "skops"}),
    "a graph that is a pickle": ("onnx", {"data": "model.pkl"}),
    "a name that leads out": ("lightgbm", {"data": "../outside.txt"}),
    "an absolute name": ("onnx", {"data": "/etc/passwd"}),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_C09_a_folder_whose_metadata_claims_another_format_is_refused(
    pickled: Path, tmp_path: Path, claim: str
) -> None:
    toolkit, block = CLAIMS[claim]
    (tmp_path / "outside.txt").write_text("tree\nversion=v4\n")
    (pickled / "MLmodel").write_text(json.dumps({"flavors": {toolkit: block}, "signature": None}))
    sample = pl.from_pandas(DX.head(5))
    with pytest.raises(Corrupt) as caught:
        brought(pickled, tmp_path, sample=sample)
    assert caught.value.remedy
    with pytest.raises(Corrupt):
        brought(pickled, tmp_path, sample=sample, trusted=True)  # to vouch for code makes no other format of it


@pytest.mark.parametrize(
    "text",
    [
        "flavors: !!python/object/apply:builtins.print ['" + MARKER + "']",
        "flavors: [1, 2]",
        "just text",
        "flavors: {sklearn: {}}\nsignature: {inputs: 'no json'}",
        "a: &a [*a",
    ],
)
def test_C21_an_MLmodel_file_is_plain_data_or_refused(
    pickled: Path, tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (pickled / "MLmodel").write_text(text)
    with pytest.raises(PerennialError) as caught:
        brought(pickled, tmp_path)
    assert isinstance(caught.value, Corrupt | DataError)
    assert MARKER not in capsys.readouterr().out


def test_C11_a_link_in_a_folder_is_refused(pickled: Path, tmp_path: Path) -> None:
    (pickled / "extra.txt").symlink_to("/etc/passwd")
    with pytest.raises(Invalid, match=r"'extra\.txt' is a link"):
        brought(pickled, tmp_path)


def test_a_folder_without_a_signature_asks_for_one(tmp_path: Path) -> None:
    mlflow.sklearn.save_model(Ridge().fit(DX, DY), tmp_path / "m", serialization_format="cloudpickle", **QUICKLY)
    with pytest.raises(DataError, match="no signature"):
        brought(tmp_path / "m", tmp_path)
    shutil.rmtree(tmp_path / "m")
