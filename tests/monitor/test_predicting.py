"""A model's file or folder is asked where a table has no answers; code in it runs only for who vouches for it."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import skops.io
from skl2onnx import to_onnx
from sklearn.linear_model import LinearRegression, LogisticRegression

from perennial.errors import Invalid, Refused
from perennial.models.importing import Asked, import_model
from perennial.models.package import checkout
from perennial.monitor import compare
from perennial.monitor.reporting.predicting import with_answers
from perennial.monitor.reporting.sides import Roles
from perennial.store.objects import ObjectStore

N = 600


def rows(seed: int) -> pl.DataFrame:
    draw = np.random.default_rng(seed)
    a, b = draw.normal(size=N), draw.normal(size=N)
    return pl.DataFrame({"a": a, "b": b, "y": 2.0 * a - b, "kind": np.where(a > b, "up", "down")})


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    x = rows(0).select("a", "b").to_numpy().astype(np.float32)
    model = LinearRegression().fit(x, rows(0)["y"].to_numpy())
    file = tmp_path_factory.mktemp("line") / "line.onnx"
    file.write_bytes(to_onnx(model, x[:1]).SerializeToString())
    return file


@pytest.fixture(scope="module")
def sorter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frame = rows(0).select("a", "b").to_pandas()
    file = tmp_path_factory.mktemp("sorter") / "sorter.skops"
    skops.io.dump(LogisticRegression().fit(frame, rows(0)["kind"].to_list()), file)
    return file


def mlflow_folder(folder: Path, line: Path) -> Path:
    """As MLflow writes a model in ONNX."""
    folder.mkdir()
    (folder / "model.onnx").write_bytes(line.read_bytes())
    tensor = {"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 1]}}
    told = {
        "flavors": {
            "onnx": {"data": "model.onnx", "onnx_version": "1.23.0", "code": None},
            "python_function": {"loader_module": "mlflow.onnx", "data": "model.onnx"},
        },
        "mlflow_version": "3.12.0",
        "signature": {
            "inputs": json.dumps([{"type": "double", "name": name, "required": True} for name in "ab"]),
            "outputs": json.dumps([tensor]),
        },
    }
    (folder / "MLmodel").write_text(json.dumps(told))
    return folder


def package_folder(folder: Path, line: Path) -> Path:
    with ObjectStore(folder / "objects") as objects:
        asked = Asked(sample=rows(0).drop("kind"), target="y")
        made = import_model(line, asked, objects=objects, environment="", provenance={})
        return checkout(made.package, objects, folder / "package")


@pytest.mark.parametrize("form", ["file", "mlflow", "package"])
def test_a_table_without_answers_gets_those_of_the_model(line: Path, tmp_path: Path, form: str) -> None:
    model = {"file": lambda: line, "mlflow": lambda: mlflow_folder(tmp_path / "m", line),
             "package": lambda: package_folder(tmp_path / "p", line)}[form]()  # fmt: skip
    before, now = rows(1).drop("kind"), rows(2).drop("kind")
    reference, current, roles = with_answers(before, now, Roles(target="y"), model=model)
    assert roles.prediction == "prediction"
    for frame in (reference, current):
        assert frame["prediction"].to_numpy() == pytest.approx(frame["y"].to_numpy(), abs=1e-4)
    assert reference.drop("prediction").equals(before)


def test_tables_that_hold_an_input_in_different_types_get_their_own_answers(line: Path) -> None:
    now = rows(2).drop("kind")[:100].with_columns(pl.col("a").round().cast(pl.Int64))
    found = with_answers(rows(1).drop("kind"), now, Roles(target="y"), model=line)
    assert [frame.height for frame in found[:2]] == [N, 100]
    for frame in found[:2]:
        answer = 2.0 * frame["a"].to_numpy() - frame["b"].to_numpy()
        assert frame["prediction"].to_numpy() == pytest.approx(answer, abs=1e-4)


def test_only_the_table_that_lacks_them_is_asked(line: Path) -> None:
    before = rows(1).drop("kind").with_columns(answer=pl.lit(7.0))
    roles = Roles(target="y", prediction="answer")
    reference, current, told = with_answers(before, rows(2).drop("kind"), roles, model=line)
    assert reference["answer"].unique().to_list() == [7.0]
    assert current["answer"].to_numpy() == pytest.approx(current["y"].to_numpy(), abs=1e-4)
    assert told == roles
    whole = before.with_columns(answer=pl.lit(1.0))
    assert with_answers(before, whole, roles, model=Path("nowhere"))[1] is whole, "nobody needs to be asked"


def test_a_classifier_brings_the_probability_of_each_class(sorter: Path) -> None:
    report = compare(rows(1).drop("y"), rows(2).drop("y"), target="kind", model=sorter, thorough=False)
    assert [one.name for one in report.columns] == ["a", "b"]
    values = {one.metric: one.overall["realised"].value for one in report.performance}
    assert values["roc_auc"] == pytest.approx(1.0, abs=0.01)
    assert values["accuracy"] == pytest.approx(1.0, abs=0.02)


def test_columns_that_are_named_are_those_that_the_model_fills(sorter: Path) -> None:
    before = rows(1).drop("y").with_columns(p=pl.lit(0.25), said=pl.lit("up"))
    roles = Roles(target="kind", prediction="said", probs="p")
    reference, current, told = with_answers(before, rows(2).drop("y"), roles, model=sorter)
    assert reference["p"].unique().to_list() == [0.25]
    truth = (current["kind"] == "up").to_numpy()
    assert current["p"].to_numpy()[truth].min() > current["p"].to_numpy()[~truth].max()
    assert "probability_down" in told.ignore
    with pytest.raises(Invalid, match="no probability of 'sideways'"):
        with_answers(rows(1), rows(2), Roles(target="kind", probs={"sideways": "p"}, ignore=["y"]), model=sorter)


def test_C08_code_runs_only_for_who_vouches_for_it(line: Path, tmp_path: Path) -> None:
    folder = tmp_path / "strange"
    folder.mkdir()
    told = {
        "flavors": {"python_function": {"loader_module": "strange", "code": "code", "data": "model.pkl"}},
        "signature": {
            "inputs": json.dumps([{"type": "double", "name": name, "required": True} for name in "ab"]),
            "outputs": json.dumps([{"type": "double"}]),
        },
    }
    (folder / "MLmodel").write_text(json.dumps(told))
    (folder / "model.pkl").write_bytes(pickle.dumps(1.0))
    (folder / "code").mkdir()
    marker = tmp_path / "marker"
    (folder / "code" / "strange.py").write_text(f"open({str(marker)!r}, 'w')")
    with pytest.raises(Refused):
        with_answers(rows(1).drop("kind"), rows(2).drop("kind"), Roles(target="y"), model=folder)
    assert not marker.exists()


def test_a_model_that_takes_other_columns_is_a_sentence(line: Path, tmp_path: Path) -> None:
    package = package_folder(tmp_path / "p", line)
    with pytest.raises(Invalid, match="no column 'b', which the model takes"):
        with_answers(rows(1).drop("b"), rows(2).drop("b"), Roles(target="y", ignore=["kind"]), model=package)
