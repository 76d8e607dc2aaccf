"""Exact attributions of trees: against the definition, against the `shap` package, and adding up to the answers."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest
import shap
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from perennial.errors import Invalid
from perennial.evaluate.explain.asked import asked, classes_of
from perennial.evaluate.explain.attribution import Attributor, attributor
from perennial.evaluate.explain.path_dependent import Paths, Tree
from perennial.evaluate.explain.tree import Boosted, tree_of

CATEGORIES = ["workclass", "education", "marital_status", "occupation", "relationship", "race", "sex", "native_country"]


def _numbers(rows: int, *, classes: int = 0, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 5))
    y = x[:, 0] + x[:, 1] * x[:, 2] + 0.1 * rng.normal(size=rows)
    table = pl.DataFrame(x, schema=[f"x{i}" for i in range(5)])
    if not classes:
        return table.with_columns(y=y)
    edges = np.quantile(y, np.linspace(0, 1, classes + 1)[1:-1])
    return table.with_columns(y=pl.Series(np.array([f"c{i}" for i in range(classes)])[np.digitize(y, edges)]))


def _way(predictor: Any, raw: pl.DataFrame, method: Any = None) -> tuple[Attributor, pl.DataFrame]:
    x = predictor.preparation.columns(raw)
    return attributor(predictor, x, x, method=method), x


def _coalitions(trees: list[Tree], row: np.ndarray) -> Callable[[frozenset[int]], float]:
    """What the trees answer to a row of which only some columns are known, by walking down them."""
    ways = [tree.goes_left(row[np.newaxis])[0] for tree in trees]

    def expected(at: int, known: frozenset[int], node: int) -> float:
        tree = trees[at]
        if tree.left[node] < 0:
            return float(tree.value[node])
        children = (int(tree.left[node]), int(tree.right[node]))
        if int(tree.feature[node]) in known:
            return expected(at, known, children[0 if ways[at][node] else 1])
        return sum(tree.cover[child] / tree.cover[node] * expected(at, known, child) for child in children)

    @cache
    def value(known: frozenset[int]) -> float:
        return sum(expected(at, known, 0) for at in range(len(trees)))

    return value


@pytest.mark.parametrize(
    "model, classes",
    [
        (HistGradientBoostingRegressor(max_iter=5, max_leaf_nodes=8, min_samples_leaf=5), 0),
        (HistGradientBoostingClassifier(max_iter=4, max_leaf_nodes=8, min_samples_leaf=5), 3),
        (GradientBoostingRegressor(n_estimators=5), 0),
        (GradientBoostingClassifier(n_estimators=4), 3),
    ],
)
def test_boosting_is_the_definition(model: Any, classes: int, fitted: Any, by_definition: Any) -> None:
    table = _numbers(300, classes=classes)
    predictor = fitted(model, table, "y")
    x = predictor.preparation.columns(table.drop("y"))
    way = tree_of(predictor, x)
    assert isinstance(way, Boosted)
    found = way.contributions(x.head(4))
    for score, trees in enumerate(way.parts(predictor.scorer.model)[0]):
        for row in range(4):
            wanted = by_definition(_coalitions(trees, x[row].to_numpy()[0]), 5)
            assert found.values[row, score] == pytest.approx(wanted, abs=1e-12)


def test_categories_and_missing_values_are_the_definition(
    adult: tuple[pl.DataFrame, pl.DataFrame], fitted: Any, by_definition: Any
) -> None:
    columns = ["age", "workclass", "education", "occupation", "capital_gain", "income"]
    table = adult[0].select(columns).with_columns(age=pl.when(pl.col("age") % 7 > 0).then(pl.col("age").cast(float)))
    model = HistGradientBoostingClassifier(max_iter=6, categorical_features="from_dtype")
    predictor = fitted(model, table, "income")
    x = predictor.preparation.columns(table.drop("income"))
    assert x.null_count().sum_horizontal()[0] > 100
    way = tree_of(predictor, x)
    assert isinstance(way, Boosted)
    found = way.contributions(x.head(200))
    assert found.sums()[:, 0] == pytest.approx(predictor.scorer.model.decision_function(x.head(200)), abs=1e-10)
    trees = way.parts(predictor.scorer.model)[0][0]
    data = np.asarray(way.inside.transform(x.head(200)), dtype=np.float64)
    back = [way.inside.source.tolist().index(at) for at in range(5)]  # the model puts its categories first
    for row in (0, 5, 9, 17):
        wanted = by_definition(_coalitions(trees, data[row]), 5)
        assert found.values[row, 0] == pytest.approx(wanted[back], abs=1e-12)


def test_a_deep_path_with_many_columns_is_the_definition(by_definition: Any) -> None:
    d = 14
    cover = np.full(2 * d + 1, 2.0**d)
    left = np.full(2 * d + 1, -1)
    right = np.full(2 * d + 1, -1)
    feature = np.full(2 * d + 1, -2)
    for depth in range(d):  # node 2 depth splits on column depth; its left child is a leaf, its right one goes on
        left[2 * depth], right[2 * depth], feature[2 * depth] = 2 * depth + 1, 2 * depth + 2, depth
        cover[2 * depth + 1] = cover[2 * depth + 2] = cover[2 * depth] / 2
    value = np.random.default_rng(0).normal(size=2 * d + 1)
    tree = Tree(left, right, feature, cover, value, lambda x: x[:, np.maximum(feature, 0)] <= 0.0)
    row = np.random.default_rng(1).normal(size=(1, d))
    row[0, :9] = np.abs(row[0, :9])
    found = Paths([tree]).shapley(row)
    assert found[0] == pytest.approx(by_definition(_coalitions([tree], row[0]), d), abs=1e-12)


@pytest.mark.parametrize(
    "model, classes",
    [
        (HistGradientBoostingRegressor(max_iter=30), 0),
        (HistGradientBoostingRegressor(max_iter=30, max_leaf_nodes=255, min_samples_leaf=2), 0),
        (HistGradientBoostingClassifier(max_iter=30), 2),
        (HistGradientBoostingClassifier(max_iter=30), 3),
        (GradientBoostingRegressor(n_estimators=30, max_depth=5), 0),
        (GradientBoostingClassifier(n_estimators=30), 2),
    ],
)
def test_boosting_is_what_the_shap_package_says(model: Any, classes: int, fitted: Any) -> None:
    table = _numbers(800, classes=classes, seed=2)
    predictor = fitted(model, table, "y")
    x = predictor.preparation.columns(table.drop("y"))
    way = tree_of(predictor, x)
    assert way is not None
    found = way.contributions(x.head(100))
    explainer = shap.TreeExplainer(predictor.scorer.model, feature_perturbation="tree_path_dependent")
    wanted = np.asarray(explainer.shap_values(x.head(100).to_numpy(), check_additivity=False))
    wanted = wanted[:, np.newaxis, :] if wanted.ndim == 2 else wanted.transpose(0, 2, 1)
    assert found.values == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(
    "model, classes, unit",
    [
        (RandomForestRegressor(20, random_state=0), 0, "value"),
        (ExtraTreesRegressor(20, random_state=0), 0, "value"),
        (RandomForestClassifier(20, random_state=0), 3, "probability"),
        (RandomForestClassifier(20, random_state=0), 2, "probability"),
        (DecisionTreeClassifier(max_depth=6), 3, "probability"),
        (GradientBoostingClassifier(n_estimators=20), 2, "log-odds"),
        (GradientBoostingClassifier(n_estimators=20), 4, "margin"),
        (HistGradientBoostingClassifier(max_iter=20), 3, "margin"),
        (HistGradientBoostingRegressor(max_iter=20), 0, "value"),
    ],
)
def test_attributions_add_up_to_the_answer(model: Any, classes: int, unit: str, fitted: Any) -> None:
    table = _numbers(600, classes=classes, seed=3)
    predictor = fitted(model, table, "y")
    way, x = _way(predictor, table.drop("y"))
    assert way.method == "tree"
    answered = predictor.scorer.answer(x)
    for label in classes_of(predictor) or [None]:
        about = asked(predictor, of=label)
        found = way.explain(x, about)
        assert found.unit == unit
        assert found.base + found.values.sum(axis=1) == pytest.approx(found.answers)
        if unit in ("value", "probability"):
            assert found.answers == pytest.approx(about.numbers(answered), abs=1e-9)
        if unit == "log-odds":
            assert 1 / (1 + np.exp(-found.answers)) == pytest.approx(about.numbers(answered), abs=1e-9)


def test_a_poisson_model_is_explained_in_the_logarithm(fitted: Any) -> None:
    table = _numbers(600).with_columns(y=pl.col("y").exp())
    predictor = fitted(HistGradientBoostingRegressor(loss="poisson", max_iter=20), table, "y")
    way, x = _way(predictor, table.drop("y"))
    found = way.explain(x, asked(predictor))
    assert found.unit == "log"
    assert np.exp(found.answers) == pytest.approx(predictor.scorer.answer(x).values)


@pytest.mark.parametrize("last", [RandomForestClassifier(20, random_state=0), GradientBoostingClassifier()])
def test_one_hot_columns_are_summed_back_to_their_own(
    last: Any, adult: tuple[pl.DataFrame, pl.DataFrame], fitted: Any
) -> None:
    encode = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", min_frequency=20), CATEGORIES), remainder=StandardScaler()
    )
    predictor = fitted(make_pipeline(encode, last), adult[0], "income")
    way, x = _way(predictor, adult[1].drop("income"))
    assert way.method == "tree"
    found = way.explain(x.head(50), asked(predictor))
    assert found.columns == x.columns
    # The transformers' own names say where each input came from.
    names = [name.partition("__")[2] for name in encode.get_feature_names_out()]
    explainer = shap.TreeExplainer(last, feature_perturbation="tree_path_dependent")
    given = encode.transform(x.head(50))
    given = given.toarray() if hasattr(given, "toarray") else given
    raw = np.asarray(explainer.shap_values(given, check_additivity=False))
    raw = raw[..., 1] if raw.ndim == 3 else raw
    for at, column in enumerate(x.columns):
        own = [i for i, name in enumerate(names) if name == column or name.startswith(column + "_")]
        own = [i for i in own if not (column == "education" and names[i] == "education_num")]
        assert found.values[:, at] == pytest.approx(raw[:, own].sum(axis=1), abs=1e-6)


def test_binned_numbers_are_summed_back(fitted: Any) -> None:
    table = _numbers(500)
    binned = KBinsDiscretizer(8, encode="onehot-dense", quantile_method="averaged_inverted_cdf")
    predictor = fitted(make_pipeline(binned, RandomForestRegressor(10, random_state=0)), table, "y")
    way, x = _way(predictor, table.drop("y"))
    assert way.method == "tree"
    assert way.explain(x, asked(predictor)).answers == pytest.approx(predictor.scorer.answer(x).values)


def test_mixed_columns_are_sampled_and_the_reason_is_told(fitted: Any) -> None:
    table = _numbers(300)
    predictor = fitted(make_pipeline(PCA(3), RandomForestRegressor(10, random_state=0)), table, "y")
    way, x = _way(predictor, table.drop("y"))
    assert way.method == "sampled"
    assert "from several columns" in (way.why or "")
    with pytest.raises(Invalid, match="from several columns"):
        attributor(predictor, x, x, method="tree")


def test_a_method_that_does_not_fit_is_refused(fitted: Any) -> None:
    table = _numbers(300)
    predictor = fitted(RandomForestRegressor(5), table, "y")
    with pytest.raises(Invalid, match="no linear model"):
        _way(predictor, table.drop("y"), "linear")
    way, x = _way(predictor, table.drop("y"), "sampled")
    assert way.method == "sampled"
    found = way.explain(x.head(3), asked(predictor))
    assert found.answers == pytest.approx(predictor.scorer.answer(x.head(3)).values)
