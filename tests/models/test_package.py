"""A package answers what the model answered in training, wherever it is loaded, or says why not."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.datasets import load_digits, load_iris
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from perennial.errors import Corrupt, DataError, NotFound, Refused, UserCodeError
from perennial.models.build import SourceCode, build
from perennial.models.flavors.python import ObjectScorer
from perennial.models.package import MANIFEST, Predictor, checkout, files_of, read_manifest
from perennial.models.preparation import Preparation, learn
from perennial.models.pyfunc import _load_pyfunc
from perennial.models.reference import count
from perennial.models.rows import to_records
from perennial.store.objects import ObjectStore
from perennial.types import Digest

SOURCE = b"""
import polars as pl

from house.steps import is_senior


def features(survey):
    return survey.with_columns(senior=is_senior(pl.col("experience")))
"""
STEPS = b"""
def is_senior(years):
    return years > 5
"""
CODE = SourceCode(module="loop", features="features", files={"loop.py": SOURCE, "house/steps.py": STEPS})


@pytest.fixture
def objects(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path / "objects")


def senior(survey: pl.DataFrame) -> pl.DataFrame:
    return survey.with_columns(senior=pl.col("experience") > 5)


def store(
    objects: ObjectStore, model: Any, made: Preparation, train: pa.Table, held: pa.Table, **options: Any
) -> Digest:
    return build(
        model=model,
        preparation=made,
        train=train,
        held_out=held,
        objects=objects,
        provenance={"origin": "executor", "run": "r1"},
        environment="scikit-learn==1.9.1\n",
        **options,
    )


Salary = tuple[Digest, HistGradientBoostingRegressor, Preparation, pl.DataFrame]


@pytest.fixture(scope="module")
def stored_salary(
    tmp_path_factory: pytest.TempPathFactory, first_years: pl.DataFrame, later_years: pl.DataFrame
) -> tuple[Path, Salary]:
    """The folder of a store that holds the package of a model of wages, and what the package was made of."""
    folder = tmp_path_factory.mktemp("salary")
    train = first_years.to_arrow()
    made = learn(train, target="log_wage", function=senior, key="person", time="date")
    model = HistGradientBoostingRegressor(max_iter=30, categorical_features="from_dtype", random_state=0)
    model.fit(made.x(made.raw(train)), made.y(train))
    with ObjectStore(folder) as objects:
        digest = store(objects, model, made, train, later_years.to_arrow(), code=CODE)
        assert digest == store(objects, model, made, train, later_years.to_arrow(), code=CODE)
    return folder, (digest, model, made, made.raw(later_years.to_arrow()))


@pytest.fixture
def salary(stored_salary: tuple[Path, Salary], objects: ObjectStore) -> Salary:
    """The same in the test's own store."""
    shutil.copytree(stored_salary[0], objects.folder, dirs_exist_ok=True)
    return stored_salary[1]


def test_a_loaded_package_answers_as_the_model_did(salary: Any, objects: ObjectStore, tmp_path: Path) -> None:
    digest, model, made, raw = salary
    predictor = Predictor.load(checkout(digest, objects, tmp_path / "cache"), trusted=True)
    answers = [answer["prediction"] for answer in predictor.predict(raw)]
    assert answers == pytest.approx(model.predict(made.x(raw)).tolist(), rel=1e-9)
    native = Predictor.load(checkout(digest, objects, tmp_path / "cache"), trusted=True, native=True)
    assert native.answers(raw).values.tolist() == model.predict(made.x(raw)).tolist()
    assert predictor.check_golden() == []
    records = to_records(raw.head(3))
    assert predictor.predict(predictor.frame(records)) == [{"prediction": value} for value in answers[:3]]


def test_C09_a_package_that_holds_code_is_refused_unless_somebody_vouches(
    salary: Any, objects: ObjectStore, tmp_path: Path
) -> None:
    folder = checkout(salary[0], objects, tmp_path / "cache")
    with pytest.raises(Refused, match="nobody has vouched"):
        Predictor.load(folder)  # its features are code, whatever form the model has


def test_a_model_that_answers_differently_fails_its_golden_rows(
    salary: Any, objects: ObjectStore, tmp_path: Path
) -> None:
    digest, model, made, _ = salary
    golden = json.loads((checkout(digest, objects, tmp_path / "cache") / "golden.json").read_text())
    golden["answers"][3]["prediction"] *= 1 + 1e-8
    golden["answers"][4]["prediction"] *= 1 + 1e-10  # another vector unit may round so
    (says,) = Predictor(made, ObjectScorer(model, {}, made.signature), golden).check_golden()
    assert says.startswith("golden row 3: answered")


def test_P4_every_flipped_byte_of_a_checkout_is_found(salary: Any, objects: ObjectStore, tmp_path: Path) -> None:
    folder = checkout(salary[0], objects, tmp_path / "cache")
    for path in [MANIFEST, *read_manifest(objects.get(salary[0])).files]:
        whole = (folder / path).read_bytes()
        (folder / path).chmod(0o600)
        (folder / path).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(Corrupt):
            Predictor.load(folder, trusted=True)
        (folder / path).write_bytes(whole)
    Predictor.load(folder, trusted=True)


def test_F07_an_unfinished_checkout_is_finished_and_a_missing_package_is_named(
    salary: Any, objects: ObjectStore, tmp_path: Path
) -> None:
    folder = checkout(salary[0], objects, tmp_path / "cache")
    (folder / MANIFEST).unlink()
    (folder / "model.pkl").unlink()
    with pytest.raises(Corrupt, match="not whole"):
        Predictor.load(folder, trusted=True)
    assert Predictor.load(checkout(salary[0], objects, tmp_path / "cache"), trusted=True).check_golden() == []
    with pytest.raises(NotFound):
        checkout(Digest("0" * 64), objects, tmp_path / "cache")


@pytest.mark.parametrize("path", ["../evil", "/etc/passwd", "a/../../b", "manifest.json", "a//b"])
def test_P12_a_manifest_cannot_write_outside_its_folder(path: str) -> None:
    data = json.dumps({"format": 1, "kind": "sklearn", "files": {path: ["0" * 64, 1]}}).encode()
    with pytest.raises(Corrupt, match="names the file"):
        read_manifest(data)


def test_a_manifest_names_all_its_objects(salary: Any, objects: ObjectStore) -> None:
    assert all(objects.has(digest) for digest in files_of(objects.get(salary[0])))


def test_the_reference_counts_every_training_row(salary: Any, objects: ObjectStore, tmp_path: Path) -> None:
    from perennial.models.reference import Profile

    reference = json.loads((checkout(salary[0], objects, tmp_path / "c") / "reference.json").read_text())
    assert {sum(profile["counts"]) for profile in reference["inputs"].values()} == {reference["rows"]} == {1090}
    assert sum(reference["prediction"]["counts"]) == reference["losses"]["n"] == salary[3].height
    assert reference["losses"]["losses"] == pytest.approx(np.square(reference["losses"]["residuals"]))
    profile = Profile(**reference["inputs"]["occupation"])
    assert count(profile, pl.Series(["craft", "astronaut", None]))[-2:].tolist() == [1, 1]


def test_two_versions_with_modules_of_one_name_do_not_mix(
    salary: Any, objects: ObjectStore, first_years: pl.DataFrame, later_years: pl.DataFrame, tmp_path: Path
) -> None:
    digest, model, made, raw = salary
    first = Predictor.load(checkout(digest, objects, tmp_path / "cache"), trusted=True)
    before = first.predict(raw)
    later_steps = {"loop.py": SOURCE, "house/steps.py": STEPS.replace(b"> 5", b"> 1")}
    other = Preparation(made.signature, lambda survey: survey.with_columns(senior=pl.col("experience") > 1))
    second = store(
        objects,
        model,
        other,
        first_years.to_arrow(),
        later_years.to_arrow(),
        code=SourceCode(module="loop", features="features", files=later_steps),
    )
    assert Predictor.load(checkout(second, objects, tmp_path / "cache"), trusted=True).check_golden() == []
    assert first.predict(raw) == before
    assert first.check_golden() == []


def test_classifiers_answer_labels_and_probabilities(objects: ObjectStore, tmp_path: Path) -> None:
    iris = load_iris(as_frame=True)
    frame = iris.frame.assign(target=[iris.target_names[i] for i in iris.target])
    table = pa.Table.from_pandas(frame, preserve_index=False)
    made = learn(table, target="target", kind="pandas")
    x, y = made.x(made.raw(table)), made.y(table)
    for model in (LogisticRegression(max_iter=500), SVC(), make_pipeline(StandardScaler(), LogisticRegression())):
        model.fit(x, y)
        predictor = Predictor.load(
            checkout(store(objects, model, made, table, table), objects, tmp_path / "cache"), trusted=True
        )
        answers = predictor.predict(made.raw(table))
        assert [answer["prediction"] for answer in answers] == model.predict(x).tolist()
        if hasattr(model, "predict_proba"):
            assert list(answers[0]["probabilities"]) == ["setosa", "versicolor", "virginica"]
            assert sum(answers[0]["probabilities"].values()) == pytest.approx(1)
        assert predictor.check_golden() == []


def test_an_image_travels_as_bytes_and_the_features_decode_it(objects: ObjectStore, tmp_path: Path) -> None:
    digits = load_digits()
    images = [bytes(image.astype(np.uint8).ravel()) for image in digits.images[:400]]
    table = pa.table({"image": pa.array(images, pa.binary()), "digit": digits.target[:400]})
    source = b"""
import numpy as np
import polars as pl

def features(images):
    pixels = np.stack([np.frombuffer(image, dtype=np.uint8) for image in images["image"]]).astype(float)
    return pl.DataFrame(pixels, schema=[f"p{i}" for i in range(64)])
"""
    code = SourceCode(module="loop", features="features", files={"loop.py": source})
    namespace: dict[str, Any] = {}
    exec(source, namespace)
    made = learn(table, target="digit", function=namespace["features"])
    model = RandomForestClassifier(10, random_state=0).fit(made.x(made.raw(table)), made.y(table))
    predictor = Predictor.load(
        checkout(store(objects, model, made, table, table, code=code), objects, tmp_path / "c"), trusted=True
    )
    answers = predictor.predict(predictor.frame(to_records(made.raw(table))))
    assert [answer["prediction"] for answer in answers] == model.predict(made.x(made.raw(table))).tolist()
    assert predictor.check_golden() == []


def test_F18_a_row_that_fails_gets_an_error_and_its_neighbours_their_answers(
    objects: ObjectStore, tmp_path: Path
) -> None:
    table = pa.table({"x": [1.0, 2.0, 3.0, 4.0], "y": [1.0, 2.0, 3.0, 4.5]})
    made = learn(table, target="y")
    model = LinearRegression().fit(made.x(made.raw(table)), made.y(table))
    predictor = Predictor.load(
        checkout(store(objects, model, made, table, table), objects, tmp_path / "c"), trusted=True
    )
    good, bad = predictor.predict(pl.DataFrame({"x": [1.0, None]}))
    assert good["prediction"] == pytest.approx(model.predict(pl.DataFrame({"x": [1.0]}))[0])
    assert bad["prediction"] is None
    assert "missing value" in str(bad["error"])
    endless = Predictor(made, ObjectScorer(lambda x: x["x"] * 1e308, {"call": ""}, made.signature))
    assert endless.predict(pl.DataFrame({"x": [1.0, 10.0]})) == [
        {"prediction": 1e308},
        {"prediction": None, "error": "the model answered inf"},
    ]


def test_a_plain_function_is_a_model_too(objects: ObjectStore, tmp_path: Path) -> None:
    table = pa.table({"x": [1.0, 2.0, 3.0], "y": [2.0, 4.0, 6.0]})
    source = b"def double(x):\n    return x['x'] * 2\n"
    (tmp_path / "doubling.py").write_bytes(source)
    import importlib.util
    import sys

    spec = importlib.util.spec_from_file_location("doubling", tmp_path / "doubling.py")
    assert spec is not None
    assert spec.loader is not None
    sys.modules["doubling"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    code = SourceCode(module="doubling", features=None, files={"doubling.py": source})
    digest = store(objects, module.double, learn(table, target="y"), table, table, code=code)
    predictor = Predictor.load(checkout(digest, objects, tmp_path / "c"), trusted=True)
    assert [answer["prediction"] for answer in predictor.predict(pl.DataFrame({"x": [5.0]}))] == [10.0]


@pytest.mark.parametrize(
    "model, says",
    [
        (make_pipeline(FunctionTransformer(lambda x: x), LinearRegression()), "cannot be stored"),
        ("no model", "cannot predict"),
        (lambda x: [1.0], "does not answer one value per row"),
        (lambda x: [[1.0, 2.0]] * x.height, "does not answer one value per row"),
        (lambda x: [float("nan")] * x.height, "gives no answer on held-out row 0"),
    ],
)
def test_what_cannot_be_a_model_is_refused(objects: ObjectStore, model: Any, says: str) -> None:
    table = pa.table({"x": [1.0, 2.0, 3.0], "y": [2.0, 4.0, 6.0]})
    made = learn(table, target="y")
    if hasattr(model, "fit"):
        model.fit(made.x(made.raw(table)), made.y(table))
    with pytest.raises(DataError, match=says) as caught:
        store(objects, model, made, table, table)
    assert caught.value.remedy


def test_code_that_does_not_import_is_named(salary: Any, objects: ObjectStore, tmp_path: Path) -> None:
    _, model, made, raw = salary
    broken = SourceCode(module="loop", features="features", files={"loop.py": b"import no_such_module\n"})
    table = raw.with_columns(log_wage=pl.lit(1.0)).to_arrow()
    digest = store(objects, model, made, table, table, code=broken)
    with pytest.raises(UserCodeError, match="no_such_module"):
        Predictor.load(checkout(digest, objects, tmp_path / "cache"), trusted=True)


def test_the_pyfunc_loader_answers_a_pandas_frame(salary: Any, objects: ObjectStore, tmp_path: Path) -> None:
    digest, model, made, raw = salary
    folder = checkout(digest, objects, tmp_path / "cache")
    flavor = json.loads((folder / "MLmodel").read_text())["flavors"]["python_function"]
    assert flavor["loader_module"] == "perennial.models.pyfunc"
    frame: pd.DataFrame = raw.head(5).to_pandas()
    expected = pytest.approx(model.predict(made.x(raw.head(5))).tolist(), rel=1e-9)
    assert _load_pyfunc(str(folder)).predict(frame) == expected


def test_a_package_holds_no_path_of_this_machine(salary: Any, objects: ObjectStore, tmp_path: Path) -> None:
    folder = checkout(salary[0], objects, tmp_path / "cache")
    held = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert str(tmp_path).encode() not in held
    shutil.rmtree(folder)


def test_F25_a_package_of_before_there_were_toolkits_answers_as_it_did(
    salary: Any, objects: ObjectStore, tmp_path: Path
) -> None:
    digest, model, made, raw = salary
    now = read_manifest(objects.get(digest))
    kept = {path: now.files[path] for path in ("signature.json", "golden.json", "reference.json", "code/loop.py")}
    kept |= {path: now.files[path] for path in now.files if path.startswith("code/")}
    then = {
        "model.pkl": pickle.dumps(model),
        "model.json": b'{"argmax":false,"array":false,"call":"predict","code":{"features":"features","module":"loop"},'
        b'"probabilities":false}',
    }
    files = {path: [found, size] for path, (found, size) in kept.items()}
    files |= {path: [objects.put(data), len(data)] for path, data in then.items()}
    old = objects.put(json.dumps({"format": 1, "kind": "sklearn", "files": files}).encode())
    folder = checkout(old, objects, tmp_path / "cache")
    with pytest.raises(Refused):
        Predictor.load(folder)  # it is a pickle, and does not say so
    predictor = Predictor.load(folder, trusted=True)
    assert [answer["prediction"] for answer in predictor.predict(raw)] == model.predict(made.x(raw)).tolist()
