"""Models of h2o, answered by their MOJO: equal to the cluster that trained them, with missing and unseen values."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import psutil
import pytest
from h2o.estimators import (
    H2ODeepLearningEstimator,
    H2OGeneralizedLinearEstimator,
    H2OGradientBoostingEstimator,
    H2OKMeansEstimator,
    H2ORandomForestEstimator,
    H2OXGBoostEstimator,
)
from sklearn.datasets import load_iris

from perennial.errors import Corrupt, DataError, UserCodeError
from perennial.models.build import build
from perennial.models.flavors import flavor_named, flavor_of
from perennial.models.flavors.h2o import H2O, H2OScorer, Mojo, convert_mlflow, read_mlflow, read_mojo
from perennial.models.package import Predictor, checkout, read_manifest
from perennial.models.preparation import learn
from perennial.models.signature import Field, Signature
from perennial.store.objects import ObjectStore

# h2o's client warns about levels, speed and its age.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning", "ignore:Converting H2O frame")
Fitted = Callable[..., Any]
ADULT = "income"


def signature_of(x: pl.DataFrame, classes: list[Any] | None = None) -> Signature:
    columns = [
        Field(
            name=name,
            type="string" if isinstance(kind, pl.Enum) else "float64",
            nullable=True,
            categories=kind.categories.to_list() if isinstance(kind, pl.Enum) else None,
        )
        for name, kind in x.schema.items()
    ]
    return Signature(
        inputs=[],
        columns=columns,
        output=Field(name="y", type="float64" if classes is None else "string"),
        task="regression" if classes is None else "classification",
        classes=classes,
    )


@pytest.fixture(scope="module")
def adult(shared_data: Path) -> pl.DataFrame:
    """Every fourth person, with text as categories; 6 % lack an occupation."""
    frame = pl.read_csv(shared_data / "adult_census" / "adult_train.csv.gz", null_values="?").gather_every(4)
    texts = [name for name in frame.columns if frame[name].dtype == pl.String()]
    return frame.with_columns(pl.col(name).cast(pl.Enum(frame[name].unique().drop_nulls().sort())) for name in texts)


@pytest.fixture(scope="module")
def census(adult: pl.DataFrame, h2o_cluster: Any) -> Any:
    """These people in the cluster."""
    return framed(h2o_cluster, adult)


@pytest.fixture(scope="module")
def forest(census: Any) -> Any:
    model = H2OGradientBoostingEstimator(ntrees=20, seed=1)
    model.train(y=ADULT, training_frame=census)
    return model


@pytest.fixture
def opened() -> Iterator[Callable[..., H2OScorer]]:
    scorers: list[H2OScorer] = []

    def open_scorer(model: Any, x: pl.DataFrame, classes: list[Any] | None = None) -> H2OScorer:
        scorers.append(H2O().scorer(model, signature_of(x, classes), x))
        return scorers[-1]

    yield open_scorer
    for scorer in scorers:
        scorer.close()


def framed(h2o: Any, frame: pl.DataFrame) -> Any:
    """In the cluster, by way of a file, in which a missing value is an empty cell: h2o then has it as missing, too."""
    kinds = {name: "enum" for name, kind in frame.schema.items() if isinstance(kind, pl.Enum)}
    with tempfile.NamedTemporaryFile(suffix=".csv") as file:
        frame.write_csv(file.name)
        return h2o.upload_file(file.name, col_types=kinds)


def predicted(model: Any, frame: Any) -> pd.DataFrame:
    return model.predict(frame).as_data_frame(use_multi_thread=False)


ESTIMATORS = {
    "gbm": lambda: H2OGradientBoostingEstimator(ntrees=20, seed=1),
    "gbm, one-hot": lambda: H2OGradientBoostingEstimator(ntrees=5, seed=1, categorical_encoding="one_hot_explicit"),
    "gbm, binary": lambda: H2OGradientBoostingEstimator(ntrees=5, seed=1, categorical_encoding="binary"),
    "random forest": lambda: H2ORandomForestEstimator(ntrees=10, max_depth=8, seed=1),
    "glm": lambda: H2OGeneralizedLinearEstimator(family="binomial"),
    "deep learning": lambda: H2ODeepLearningEstimator(hidden=[8], epochs=1, seed=1, reproducible=True),
}


@pytest.mark.parametrize("make", ESTIMATORS.values(), ids=ESTIMATORS)
def test_two_classes_are_answered_as_by_the_cluster(
    make: Callable[[], Any], adult: pl.DataFrame, census: Any, opened: Any
) -> None:
    model = make()
    model.train(y=ADULT, training_frame=census)
    x = adult.drop(ADULT)
    scorer = opened(model, x, [">50K", "<=50K"])  # the order of the signature is not trusted
    assert scorer.classes == ["<=50K", ">50K"]
    found, expected = scorer.answer(x), predicted(model, census)
    assert x.null_count().sum_horizontal()[0] > 400
    assert list(found.values) == expected["predict"].tolist()
    np.testing.assert_allclose(found.probabilities, expected[["<=50K", ">50K"]].to_numpy(), atol=1e-12)


def test_h2o_s_own_threshold_makes_the_label(forest: Any, adult: pl.DataFrame, opened: Any) -> None:
    x = adult.drop(ADULT)
    found = opened(forest, x, ["<=50K", ">50K"]).answer(x)
    rich = found.values == ">50K"
    assert 0.2 < found.probabilities[rich, 1].min() < 0.5
    assert found.probabilities[~rich, 1].max() < found.probabilities[rich, 1].min()


def test_many_classes_are_answered_as_by_the_cluster(h2o_cluster: Any, opened: Any) -> None:
    found = load_iris()
    flowers = pl.DataFrame(found.data, schema=["sl", "sw", "pl", "pw"]).with_columns(
        species=pl.Series([str(found.target_names[i]) for i in found.target], dtype=pl.Enum(list(found.target_names)))
    )
    frame = framed(h2o_cluster, flowers)
    model = H2OGeneralizedLinearEstimator(family="multinomial")
    model.train(y="species", training_frame=frame)
    x = flowers.drop("species")
    answered, expected = opened(model, x, ["virginica", "setosa", "versicolor"]).answer(x), predicted(model, frame)
    assert list(answered.values) == expected["predict"].tolist()
    names = ["setosa", "versicolor", "virginica"]
    np.testing.assert_allclose(answered.probabilities, expected[names].to_numpy(), atol=1e-12)


def test_a_regression_is_answered_as_by_the_cluster(shared_data: Path, h2o_cluster: Any, opened: Any) -> None:
    wages = pl.read_csv(shared_data / "cps_wages" / "cps1985.csv").drop("rownames")
    texts = [name for name in wages.columns if wages[name].dtype == pl.String()]
    wages = wages.with_columns(pl.col(name).cast(pl.Enum(wages[name].unique().sort())) for name in texts)
    frame = framed(h2o_cluster, wages)
    for model in (H2OGradientBoostingEstimator(ntrees=20, seed=1), H2OXGBoostEstimator(ntrees=10, seed=1)):
        model.train(y="wage", training_frame=frame)
        x = wages.drop("wage")
        expected = predicted(model, frame)["predict"].to_numpy()
        np.testing.assert_allclose(opened(model, x).answer(x).values, expected, rtol=1e-6)


def test_an_offset_is_given_to_the_model(h2o_cluster: Any, opened: Any) -> None:
    draw = np.random.default_rng(0)
    frame = pl.DataFrame({"a": draw.normal(size=500), "years": draw.uniform(1, 5, 500)})
    frame = frame.with_columns(claims=pl.Series(draw.poisson(np.exp(frame["a"] / 2) * frame["years"])))
    frame = frame.with_columns(pl.col("years").log())
    given = framed(h2o_cluster, frame)
    model = H2OGeneralizedLinearEstimator(family="poisson", offset_column="years", lambda_=0)
    model.train(x=["a"], y="claims", training_frame=given)
    x = frame.drop("claims")
    expected = predicted(model, given)["predict"].to_numpy()
    np.testing.assert_allclose(opened(model, x).answer(x).values, expected, rtol=1e-9)


def test_a_category_that_was_never_seen_counts_as_missing_as_in_a_cluster(
    forest: Any, adult: pl.DataFrame, h2o_cluster: Any, opened: Any
) -> None:
    x = adult.drop(ADULT).head(200)
    odd = x.with_columns(occupation=pl.lit("astronaut").cast(pl.Enum([*x["occupation"].dtype.categories, "astronaut"])))
    scorer = opened(forest, x, ["<=50K", ">50K"])
    found = scorer.answer(odd)
    expected = predicted(forest, framed(h2o_cluster, odd))
    np.testing.assert_allclose(found.probabilities[:, 1], expected[">50K"], atol=1e-12)
    gone = scorer.answer(x.with_columns(occupation=pl.lit(None, dtype=x["occupation"].dtype)))
    np.testing.assert_array_equal(found.probabilities, gone.probabilities)
    as_text = scorer.answer(odd.with_columns(pl.col("occupation").cast(pl.String())))
    np.testing.assert_array_equal(found.probabilities, as_text.probabilities)


@pytest.mark.parametrize("text", [str, object, "category"], ids=str)
def test_missing_text_of_a_pandas_frame_is_the_level_that_h2o_made_of_it(
    text: Any, adult: pl.DataFrame, h2o_cluster: Any, opened: Any
) -> None:
    """Its client writes it as a text; in service it must be that again, or the model sees what it never saw."""
    source = adult.with_columns(pl.col(pl.Enum).cast(pl.String())).to_pandas()
    for name in ("workclass", "occupation", "native_country"):
        source[name] = source[name].astype(object).where(source[name].notna(), None)
        source[name] = source[name].astype(text) if text is not str else source[name].astype("str")
    frame = h2o_cluster.H2OFrame(source)
    assert frame["occupation"].isna().sum() == 0
    model = H2OGradientBoostingEstimator(ntrees=20, seed=1)
    model.train(y=ADULT, training_frame=frame)
    x = adult.drop(ADULT)
    found = opened(model, x, ["<=50K", ">50K"]).answer(x)
    np.testing.assert_allclose(found.probabilities[:, 1], predicted(model, frame)[">50K"], atol=1e-12)


def test_truth_values_whole_numbers_and_times_are_what_h2o_made_of_them(h2o_cluster: Any, opened: Any) -> None:
    n = 400
    draw = np.random.default_rng(0)
    began = pd.Timestamp("2020-01-01")
    source = pd.DataFrame(
        {
            "flag": draw.random(n) < 0.5,
            "code": draw.integers(0, 4, n),
            "at": [began + pd.Timedelta(days=int(day)) for day in draw.integers(0, 900, n)],
        }
    )
    source["label"] = (source["flag"] ^ (source["code"] == 2)) | (source["at"] > "2021-12-01")
    frame = h2o_cluster.H2OFrame(source)
    frame["code"] = frame["code"].asfactor()
    frame["label"] = frame["label"].asfactor()
    assert frame.types["at"] == "time"
    model = H2OGradientBoostingEstimator(ntrees=20, seed=1)
    model.train(y="label", training_frame=frame)
    x = pl.from_pandas(source.drop(columns="label")).with_columns(pl.col("at").cast(pl.Datetime("us", "UTC")))
    scorer = opened(model, x, [False, True])
    assert scorer.classes == [False, True]
    found, expected = scorer.answer(x), predicted(model, frame)
    np.testing.assert_allclose(found.probabilities[:, 1], expected.iloc[:, 2].to_numpy(), atol=1e-12)
    assert found.values.dtype == bool
    as_float = scorer.answer(x.with_columns(pl.col("code").cast(pl.Float64())))
    np.testing.assert_array_equal(found.probabilities, as_float.probabilities)
    by_day = scorer.answer(x.with_columns(pl.col("at").cast(pl.Date())))
    np.testing.assert_array_equal(found.probabilities, by_day.probabilities)
    with pytest.raises(DataError, match="'at' holds String"):
        scorer.answer(x.with_columns(at=pl.lit("soon")))


def test_the_same_model_is_the_same_bytes(forest: Any, adult: pl.DataFrame) -> None:
    signature = signature_of(adult.drop(ADULT), ["<=50K", ">50K"])
    first = H2O().save(forest, signature)
    time.sleep(2.1)  # a zip counts time in steps of two seconds
    assert H2O().save(forest, signature).files == first.files
    assert first.format == "mojo"


def test_training_curves_are_kept(forest: Any) -> None:
    curves = H2O().curves(forest)
    assert H2O().curves(Mojo.of(forest)) == curves
    assert len(curves["training_logloss"]) > 2
    assert curves["training_logloss"][-1] < curves["training_logloss"][0]


def test_C09_what_is_no_mojo_is_refused_before_java_reads_it(tmp_path: Path, adult: pl.DataFrame) -> None:
    def zipped(name: str) -> bytes:
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w") as written:
            written.writestr(name, b"x")
        return target.getvalue()

    signature = signature_of(adult.drop(ADULT), ["<=50K", ">50K"])
    for content, says in (
        (b"\x80\x05cos\nsystem\n.", "it is no zip"),
        (b"public class gbm extends GenModel {", "a POJO"),
        (b"PK\x03\x04" + bytes(100), "no MOJO"),
        (zipped("Evil.class"), "no model.ini"),
    ):
        (tmp_path / "model.zip").write_bytes(content)
        with pytest.raises(Corrupt, match=says):
            H2O().load(tmp_path, "mojo", {}, signature)
        with pytest.raises(Corrupt, match=says):
            read_mojo(tmp_path / "model.zip")
    (tmp_path / "model.zip").write_bytes(zipped("model.ini"))
    with pytest.raises(UserCodeError, match="does not load"):
        H2O().load(tmp_path, "mojo", {}, signature)


def test_what_answers_neither_numbers_nor_classes_is_refused(adult: pl.DataFrame, h2o_cluster: Any) -> None:
    x = adult.select("age", "hours_per_week")
    model = H2OKMeansEstimator(k=2, seed=1)
    model.train(training_frame=framed(h2o_cluster, x))
    with pytest.raises(UserCodeError, match="answers Clustering"):
        H2O().scorer(model, signature_of(x), x)


def test_a_target_that_was_left_numeric_is_told(h2o_cluster: Any) -> None:
    frame = pl.DataFrame({"a": [float(i % 7) for i in range(200)], "y": [i % 7 // 4 for i in range(200)]})
    model = H2OGradientBoostingEstimator(ntrees=2, seed=1)
    model.train(y="y", training_frame=framed(h2o_cluster, frame))
    with pytest.raises(UserCodeError, match="asfactor") as error:
        H2O().scorer(model, signature_of(frame.select("a"), [0, 1]), frame.select("a"))
    assert "trained a regression" in error.value.what


def test_a_column_that_the_features_do_not_give_is_named(forest: Any, adult: pl.DataFrame) -> None:
    x = adult.drop(ADULT, "age")
    with pytest.raises(UserCodeError, match="takes the column 'age'"):
        H2O().scorer(forest, signature_of(x, ["<=50K", ">50K"]), x)


def test_a_jvm_that_is_killed_is_started_again(forest: Any, adult: pl.DataFrame, opened: Any) -> None:
    x = adult.drop(ADULT).head(3)
    scorer = opened(forest, x, ["<=50K", ">50K"])
    before = scorer.answer(x).probabilities
    jvm = psutil.Process(scorer.pid)
    jvm.kill()
    while scorer.pid is not None:  # it has many threads and takes a moment to be gone
        time.sleep(0.01)
    np.testing.assert_array_equal(scorer.answer(x).probabilities, before)


def test_without_h2o_the_error_says_what_to_install() -> None:
    program = """
import sys
sys.modules["h2o"] = None
from importlib import util
found = util.find_spec
util.find_spec = lambda name, package=None: None if name == "h2o" else found(name, package)
from perennial.models.flavors.h2o_mojo import jar
try:
    jar()
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("ConfigError h2o is not installed")
    assert "perennial[h2o]" in done.stdout


def test_a_model_that_mlflow_saved_is_converted_and_answers_the_same(
    forest: Any, adult: pl.DataFrame, census: Any, tmp_path: Path, opened: Any
) -> None:
    import mlflow.h2o

    mlflow.h2o.save_model(forest, str(tmp_path / "saved"), pip_requirements=["h2o"])
    mojo = convert_mlflow(tmp_path / "saved" / "model.h2o")
    model = read_mlflow(tmp_path / "saved", {"data": "model.h2o"})
    assert len(model.data) == len(mojo)
    assert flavor_of(model) is flavor_named("h2o")
    x = adult.drop(ADULT)
    found = opened(model, x, ["<=50K", ">50K"]).answer(x)
    expected = predicted(forest, census)
    np.testing.assert_allclose(found.probabilities[:, 1], expected[">50K"], atol=1e-12)
    assert list(model.predict(x.head(50))) == expected["predict"].tolist()[:50]


def test_a_folder_without_an_h2o_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Corrupt, match=r"no h2o\.yaml"):
        convert_mlflow(tmp_path)
    (tmp_path / "h2o.yaml").write_text("model_file: ../../etc/passwd\n")
    with pytest.raises(Corrupt, match="is not there"):
        convert_mlflow(tmp_path)
    (tmp_path / "h2o.yaml").write_text("model_file: model\n")
    (tmp_path / "model").write_bytes(b"no binary of h2o")
    with pytest.raises(UserCodeError, match="not converted"):
        convert_mlflow(tmp_path)


def test_C09_a_package_with_a_mojo_is_data_and_answers_the_same_in_a_fresh_process(
    forest: Any, adult: pl.DataFrame, tmp_path: Path, h2o_cluster: Any
) -> None:
    plain = adult.with_columns(pl.col(pl.Enum).cast(pl.String()))
    table = plain.to_arrow()
    objects = ObjectStore(tmp_path / "objects")
    digest = build(
        model=forest,
        preparation=learn(table, target=ADULT, positive=">50K"),
        train=table,
        held_out=table.slice(0, 0),
        objects=objects,
        provenance={},
        environment="",
    )
    assert not read_manifest(objects.get(digest)).runs_code
    folder = checkout(digest, objects, tmp_path / "cache")
    predictor = Predictor.load(folder)  # nobody need vouch
    assert predictor.check_golden() == []
    rows = plain.drop(ADULT).head(20).to_dicts()
    here = predictor.predict(predictor.frame(rows))
    predictor.close()
    program = """
import json, sys
from pathlib import Path
import mlflow, pandas as pd
from perennial.models.package import Predictor
rows = json.loads(sys.argv[2])
predictor = Predictor.load(Path(sys.argv[1]))
told = predictor.predict(predictor.frame(rows))
print(json.dumps([told, list(mlflow.pyfunc.load_model(sys.argv[1]).predict(pd.DataFrame(rows)))]))
"""
    command = [sys.executable, "-c", program, str(folder), json.dumps(rows)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    there, by_mlflow = json.loads(done.stdout.splitlines()[-1])
    assert there == here
    assert by_mlflow == [answer["prediction"] for answer in here]
    expected = predicted(forest, framed(h2o_cluster, adult.head(20)))
    np.testing.assert_allclose([a["probabilities"][">50K"] for a in here], expected[">50K"], atol=1e-9)


def test_speed_is_reported(forest: Any, adult: pl.DataFrame, opened: Any, capsys: pytest.CaptureFixture[str]) -> None:
    x = pl.concat([adult.drop(ADULT)] * 2)
    scorer = opened(forest, x, ["<=50K", ">50K"])
    with capsys.disabled():
        for rows in (1, 1000, 10_000):
            taken: list[float] = []
            for _ in range(20):
                began = time.perf_counter()
                assert len(scorer.answer(x.head(rows)).values) == rows
                taken.append(time.perf_counter() - began)
            print(f"\nh2o, gbm of 20 trees, 14 columns: {rows} rows in {np.median(taken) * 1e3:.2f} ms", end="")
