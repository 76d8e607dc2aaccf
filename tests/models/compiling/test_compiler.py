"""Models of scikit-learn, compiled: equal to the native model on every row, or native with the reason."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest
import treelite
from onnx import numpy_helper
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import KFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler, TargetEncoder
from sklearn.tree import DecisionTreeClassifier

from perennial.errors import Invalid
from perennial.models.compiling.from_sklearn import tree_thresholds
from perennial.models.compiling.graph import NotCompilable
from perennial.models.compiling.plan import Columns
from perennial.models.compiling.proof import known_of, prove
from perennial.models.compiling.scorer import GRAPH, load_compiled, scorer_of
from perennial.models.flavors.flavor import Answered

from .conftest import Case, fitted


def _equal(case: Case, found: Answered, wanted: Answered, within: float) -> None:
    if wanted.values is not None:
        assert found.values is not None
        if case.signature.task == "classification":
            assert found.values.tolist() == wanted.values.tolist()
        else:
            np.testing.assert_allclose(found.values, wanted.values, rtol=within, atol=within)
    if wanted.probabilities is not None:
        assert found.probabilities is not None
        np.testing.assert_allclose(found.probabilities, wanted.probabilities, rtol=0, atol=within)
        assert (found.probabilities.argmax(axis=1) == wanted.probabilities.argmax(axis=1)).all()


def _loaded(case: Case, folder: Path, form: str, **more: Any) -> Any:
    compiled = case.compiled(**more)
    assert compiled.report.form == form, compiled.report
    assert compiled.report.proof is not None
    assert compiled.report.proof.labels == 0
    assert compiled.report.proof.boundary_rows > 300
    for path, data in compiled.files.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(data)
    return load_compiled(folder, case.signature)


@pytest.mark.parametrize(
    "model, form",
    [
        (RandomForestClassifier(20, random_state=0), "onnx-float32"),
        (RandomForestClassifier(20, max_depth=4, random_state=0), "onnx-float32"),
        (ExtraTreesClassifier(10, random_state=0), "onnx-float32"),
        (DecisionTreeClassifier(random_state=0), "onnx-float32"),
        (GradientBoostingClassifier(n_estimators=5, random_state=0), "onnx-float32"),
        (HistGradientBoostingClassifier(max_iter=10, random_state=0), "onnx-float64"),
        (make_pipeline(StandardScaler(), MLPClassifier((16,), max_iter=400, random_state=0)), "onnx-float64"),
        (CalibratedClassifierCV(LogisticRegression(max_iter=3000), cv=2), "onnx-float64"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(getattr(value, "steps", [(0, value)])[-1][1]).__name__,
)
def test_digits_are_answered_as_natively(model: Any, form: str, digits: pl.DataFrame, tmp_path: Path) -> None:
    case = fitted(model, digits, "digit")
    scorer = _loaded(case, tmp_path, form)
    wanted = case.native.answer(case.x)
    within = 1e-5 if form == "onnx-float32" else 1e-9
    _equal(case, scorer.answer(case.x), wanted, within)
    _equal(case, scorer.answer(case.x.head(1)), case.native.answer(case.x.head(1)), within)
    arrays = [series.to_numpy() for series in case.x.get_columns()]
    _equal(case, scorer.answer_arrays(arrays), wanted, within)
    _equal(case, scorer.answer_matrix(np.ascontiguousarray(case.x.to_numpy())), wanted, within)


def test_near_ties_push_a_logistic_regression_into_double_precision(iris: pl.DataFrame) -> None:
    report = fitted(make_pipeline(StandardScaler(), LogisticRegression()), iris, "kind").compiled().report
    assert report.form == "onnx-float64"
    assert "boundary rows get another label" in report.tried["onnx-float32"]


@pytest.mark.parametrize("is_behind", [False, True], ids=["alone", "behind a transformer that passes it on"])
def test_a_threshold_between_two_32_bit_numbers_is_found_and_mended_by_double_precision(is_behind: bool) -> None:
    """0.1 + 1e-12 and 0.1 + 3e-12 are one number in 32 bits; the tree tells them apart. The test rows do not."""
    low, high = 0.1 + 1e-12, 0.1 + 3e-12
    x = np.where(np.arange(400) % 2 == 0, low, high)
    frame = pl.DataFrame(
        {
            "x": x,
            "text": np.where(np.arange(400) % 3 == 0, "a", "b"),
            "z": np.linspace(0, 1, 400),
            "y": np.where(x == low, "left", "right"),
        }
    )
    model: Any = HistGradientBoostingClassifier(max_iter=5)
    if is_behind:
        model = make_pipeline(ColumnTransformer([("text", OrdinalEncoder(), ["text"])], remainder="passthrough"), model)
    else:
        frame = frame.drop("text")
    case = fitted(model, frame, "y")
    report = case.compiled().report
    assert report.form == "onnx-float64"
    assert "get another label" in report.tried["onnx-float32"]


def test_columns_that_move_keep_the_thresholds_of_their_own(cps: pl.DataFrame) -> None:
    """Encoded texts come first; what is passed on stands behind them, in another place than in the table."""
    frame = cps.select(*TEXTS, *NUMBERS, "wage")
    transformer = ColumnTransformer([("texts", OrdinalEncoder(), TEXTS)], remainder="passthrough")
    case = fitted(
        make_pipeline(transformer, HistGradientBoostingRegressor(random_state=0)),
        frame.select(*NUMBERS, *TEXTS, "wage"),
        "wage",
    )
    known = tree_thresholds(case.model, case.signature)
    ranges = [(frame[name].min(), frame[name].max()) for name in NUMBERS]
    assert {i for i, _ in known} == {0, 1, 2}
    for i, split in known:
        low, high = ranges[i]
        assert low <= split <= high


NUMBERS = ["education", "experience", "age"]
TEXTS = ["ethnicity", "region", "gender", "occupation", "sector", "union", "married"]


@pytest.mark.parametrize(
    "encoder",
    [
        OneHotEncoder(handle_unknown="ignore"),
        OneHotEncoder(drop="first", sparse_output=False),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
        TargetEncoder(cv=KFold(3, shuffle=True, random_state=0)),
        make_pipeline(SimpleImputer(strategy="constant", fill_value="none"), OneHotEncoder(handle_unknown="ignore")),
    ],
    ids=["one-hot", "one-hot-strict", "ordinal", "target", "imputed"],
)
@pytest.mark.parametrize(
    "model",
    [Ridge(), LinearRegression(), RandomForestRegressor(10, random_state=0), GradientBoostingRegressor(n_estimators=9)],
    ids=lambda model: type(model).__name__,
)
def test_wages_with_encoded_categories_are_answered_as_natively(
    encoder: Any, model: Any, cps: pl.DataFrame, tmp_path: Path
) -> None:
    columns = ColumnTransformer(
        [("texts", encoder, TEXTS), ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), NUMBERS)]
    )
    case = fitted(make_pipeline(columns, model), cps.drop("rownames"), "wage")
    compiled = case.compiled()
    assert compiled.report.form is not None, compiled.report
    assert compiled.scorer is not None
    _equal(case, compiled.scorer.answer(case.x), case.native.answer(case.x), 1e-4)
    codes = [
        series.to_physical().cast(pl.Int64).fill_null(-1).to_numpy() if series.dtype == pl.Enum else series.to_numpy()
        for series in case.x.get_columns()
    ]
    _equal(case, compiled.scorer.answer_arrays(codes), case.native.answer(case.x), 1e-4)


def test_census_with_categories_and_missing_values_is_answered_as_natively(
    census: pl.DataFrame, tmp_path: Path
) -> None:
    model = HistGradientBoostingClassifier(categorical_features="from_dtype", max_iter=40, random_state=0)
    case = fitted(model, census, "income")
    scorer = _loaded(case, tmp_path, "onnx-float64")
    assert sum(case.x.null_count().row(0)) > 0
    _equal(case, scorer.answer(case.x), case.native.answer(case.x), 1e-9)
    for row in range(0, case.x.height, 100):
        _equal(case, scorer.answer(case.x[[row]]), case.native.answer(case.x[[row]]), 1e-9)


def test_our_trees_and_treelite_agree(digits: pl.DataFrame) -> None:
    case = fitted(HistGradientBoostingClassifier(max_iter=10, random_state=0), digits, "digit")
    compiled = case.compiled()
    assert compiled.scorer is not None
    other = treelite.gtil.predict(treelite.sklearn.import_model(case.model), case.x.to_numpy(), nthread=1)
    np.testing.assert_allclose(
        compiled.scorer.answer(case.x).probabilities, other.reshape(case.x.height, -1), rtol=0, atol=1e-6
    )


def test_a_regression_with_a_log_link_is_compiled(cps: pl.DataFrame) -> None:
    model = HistGradientBoostingRegressor(loss="poisson", categorical_features="from_dtype", max_iter=10)
    report = fitted(model, cps, "wage").compiled().report
    assert report.form == "onnx-float64", report


def test_what_the_native_model_refuses_is_refused(iris: pl.DataFrame) -> None:
    case = fitted(make_pipeline(StandardScaler(), LogisticRegression()), iris, "kind")
    compiled = case.compiled()
    assert compiled.scorer is not None
    for value in (None, float("inf")):
        row = case.x.head(1).with_columns(b=pl.lit(value, dtype=pl.Float64))
        with pytest.raises(ValueError, match=r"NaN|infinity"):
            case.native.answer(row)
        with pytest.raises(Invalid, match="'b'"):
            compiled.scorer.answer(row)
    forest = fitted(RandomForestClassifier(5, random_state=0), iris, "kind").compiled().scorer
    assert forest is not None
    forest.answer(case.x.head(1).with_columns(b=pl.lit(None, dtype=pl.Float64)))
    with pytest.raises(Invalid, match="too large"):
        forest.answer(case.x.head(1).with_columns(b=pl.lit(1e300)))


class Doubled(TransformerMixin, BaseEstimator):
    def fit(self, x: Any, y: Any = None) -> Doubled:
        self.n_features_in_ = np.asarray(x).shape[1]
        return self

    def transform(self, x: Any) -> Any:
        return np.asarray(x) * 2.0


@pytest.mark.parametrize(
    "model, reason",
    [
        (make_pipeline(FunctionTransformer(lambda x: x), LogisticRegression(max_iter=2000)), "calls a Python function"),
        (make_pipeline(Doubled(), LogisticRegression(max_iter=2000)), "Doubled is no part of scikit-learn"),
        (KNeighborsClassifier(), "not proven"),
    ],
    ids=["lambda", "own transformer", "neighbours at equal distance"],
)
def test_what_cannot_be_compiled_stays_native_with_the_reason(model: Any, reason: str, iris: pl.DataFrame) -> None:
    compiled = fitted(model, iris, "kind").compiled()
    assert compiled.report.form is None
    assert reason in compiled.report.reason
    assert compiled.scorer is None
    assert not compiled.files


def _spoiled(graph: bytes, attribute: str, change: Any) -> bytes:
    model = onnx.load_from_string(graph)
    node = next(node for node in model.graph.node if node.op_type == "TreeEnsemble")
    held = next(item for item in node.attribute if item.name == attribute)
    held.t.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(held.t).copy())))
    return model.SerializeToString()


def _first(amount: float) -> Any:
    def change(values: Any) -> Any:
        values[0] += amount
        return values

    return change


@pytest.mark.parametrize(
    "attribute, amount",
    [("leaf_weights", 1e-6), ("leaf_weights", 0.1), ("nodes_splits", 1e-3), ("nodes_splits", 1e-12)],
)
def test_one_changed_number_in_a_graph_is_caught(attribute: str, amount: float, iris: pl.DataFrame) -> None:
    case = fitted(HistGradientBoostingClassifier(max_iter=10), iris, "kind")
    good = case.compiled().files[GRAPH]
    bad = _spoiled(good, attribute, _first(amount))

    def only_double(graph: bytes) -> Any:
        def convert(form: str) -> bytes:
            if form == "onnx-float32":
                raise NotCompilable("only double precision is tried here")
            return graph

        return convert

    compiled = case.compiled(convert=only_double(bad))
    assert compiled.report.form is None
    assert "not proven" in compiled.report.reason
    again = case.compiled(convert=only_double(good))
    assert again.report.form is not None


def test_categories_in_another_order_are_caught(census: pl.DataFrame) -> None:
    case = fitted(HistGradientBoostingClassifier(categorical_features="from_dtype", max_iter=10), census, "income")
    compiled = case.compiled()
    assert compiled.scorer is not None
    plan = compiled.scorer.plan
    turned = [
        type(column)(name=column.name, categories=column.categories[::-1]) if column.categories else column
        for column in plan.columns
    ]
    wrong = type(compiled.scorer)(
        compiled.scorer.session, plan, Columns(type(plan)(**{**_told(plan), "columns": turned})), classes=plan.classes
    )
    test = known_of(case.native, case.x, case.signature)
    _, reason = prove(wrong, test, test, case.signature, tolerance=1e-9)
    assert reason is not None
    assert prove(compiled.scorer, test, test, case.signature, tolerance=1e-9)[1] is None


def _told(plan: Any) -> dict[str, Any]:
    return {name: getattr(plan, name) for name in plan.__struct_fields__}


@dataclass
class Lax:
    """Answers whatever it is asked, from a scorer whose check it leaves out."""

    inner: Any
    model: Any = None
    classes: Any = None
    options: Any = field(default_factory=dict)
    relative: float = 1e-9

    def answer(self, x: pl.DataFrame) -> Answered:
        matrix = np.nan_to_num(self.inner.columns.of_frame(x), posinf=0.0, neginf=0.0)
        return self.inner.answer_matrix(matrix)

    def close(self) -> None: ...


def test_answering_what_the_native_model_refuses_is_caught(iris: pl.DataFrame) -> None:
    case = fitted(make_pipeline(StandardScaler(), LogisticRegression()), iris, "kind")
    scorer = case.compiled().scorer
    rows = pl.concat([case.x, case.x.head(1).with_columns(a=pl.lit(None, dtype=pl.Float64))])
    known = known_of(case.native, rows, case.signature)
    assert known.refused.height == 1
    assert scorer is not None
    assert prove(scorer, known, known, case.signature, tolerance=1e-9)[1] is None
    reason = prove(Lax(scorer, classes=scorer.classes), known, known, case.signature, tolerance=1e-9)[1]
    assert reason == "it answers a row that the native model refuses"


def test_the_same_model_gives_the_same_bytes(iris: pl.DataFrame) -> None:
    case = fitted(make_pipeline(StandardScaler(), MLPClassifier((4,), max_iter=2000, random_state=0)), iris, "kind")
    first, second = case.compiled(), case.compiled()
    assert first.files
    assert first.files == second.files


def test_equal_votes_go_to_the_same_label() -> None:
    """Two of four trees for each label: the tie must be an exact one, as it is natively."""
    frame = pl.DataFrame({"a": [0.0, 1.0] * 50, "b": [1.0, 0.0] * 50, "y": ["p", "q"] * 50})
    forests = (RandomForestClassifier(4, max_features=1, random_state=seed) for seed in range(20))
    case = next(
        case
        for case in (fitted(forest, frame, "y") for forest in forests)
        if sum(tree.tree_.feature[0] for tree in case.model.estimators_) == 2
    )
    rows = pl.DataFrame({"a": [0.0, 1.0, 0.0, 1.0], "b": [0.0, 1.0, 1.0, 0.0]})
    wanted = case.native.answer(rows).probabilities
    assert wanted is not None
    assert (wanted == 0.5).any()
    compiled = case.compiled()
    assert compiled.scorer is not None
    assert (compiled.scorer.answer(rows).probabilities == wanted).all()


def test_serving_needs_no_toolkit_and_no_converter(iris: pl.DataFrame, tmp_path: Path) -> None:
    import msgspec

    case = fitted(RandomForestClassifier(5, random_state=0), iris, "kind")
    _loaded(case, tmp_path, "onnx-float32")
    (tmp_path / "signature.json").write_bytes(msgspec.json.encode(case.signature))
    code = """
import sys, msgspec, numpy as np
from pathlib import Path
from perennial.models.compiling.scorer import load_compiled
from perennial.models.signature import Signature
folder = Path(sys.argv[1])
scorer = load_compiled(folder, msgspec.json.decode((folder / "signature.json").read_bytes(), type=Signature))
assert scorer.answer_matrix(np.array([[5.0, 3.0, 1.5, 0.2]])).probabilities.shape == (1, 3)
loaded = {"sklearn", "pandas", "skl2onnx", "onnx", "treelite", "onnxmltools", "scipy"} & set(sys.modules)
assert not loaded, loaded
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_plan_for_other_columns_is_refused(iris: pl.DataFrame) -> None:
    case = fitted(RandomForestClassifier(5, random_state=0), iris, "kind")
    compiled = case.compiled()
    assert compiled.scorer is not None
    scorer = scorer_of(compiled.files[GRAPH], compiled.scorer.plan)
    _equal(case, scorer.answer(case.x), case.native.answer(case.x), 1e-5)
