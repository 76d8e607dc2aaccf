"""Exact attributions of trees and sums of trees: scikit-learn's, XGBoost's, LightGBM's, also as a pipeline's last step.

All are path-dependent TreeSHAP: no background rows are needed, so a loaded package explains as the training process
did. XGBoost and LightGBM compute them themselves; scikit-learn's gradient boosting is computed here (it may split on
categories, which the `shap` package does not know), its forests and single trees by `shap`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial.evaluate.explain.additive import Additive, Contributions, Unfit
from perennial.evaluate.explain.asked import Floats
from perennial.evaluate.explain.inside import Inside, dense, inside
from perennial.evaluate.explain.path_dependent import Paths, Tree

if TYPE_CHECKING:
    from perennial.models.package import Predictor

__all__ = ["tree_of"]

_SHAP = frozenset(
    {
        "DecisionTreeClassifier",
        "DecisionTreeRegressor",
        "ExtraTreeClassifier",
        "ExtraTreeRegressor",
        "ExtraTreesClassifier",
        "ExtraTreesRegressor",
        "RandomForestClassifier",
        "RandomForestRegressor",
    }
)
_HISTOGRAM = frozenset({"HistGradientBoostingClassifier", "HistGradientBoostingRegressor"})
_BOOSTING = frozenset({"GradientBoostingClassifier", "GradientBoostingRegressor"})


def tree_of(predictor: Predictor, sample: pl.DataFrame) -> Additive | None:
    """The way to explain the predictor's model, None where it is no tree or sum of trees.

    Args:
        predictor: With the toolkit's own model in its scorer.
        sample: Rows as the model's columns.

    Raises:
        Unfit: It is one, but what stands before it mixes columns.
    """
    model = predictor.scorer.model
    toolkit = type(model).__module__.partition(".")[0]
    if toolkit == "xgboost":
        return XGBoostTrees(predictor.scorer)
    if toolkit == "lightgbm":
        return LightGBMTrees(predictor.scorer)
    last = model.steps[-1][1] if hasattr(model, "steps") else model
    name, home = type(last).__name__, type(last).__module__.partition(".")[0]
    if home == "sklearn" and name in _HISTOGRAM:
        return Boosted(inside(predictor, sample), _histogram_trees)
    if home == "sklearn" and name in _BOOSTING:
        return Boosted(inside(predictor, sample), _boosting_trees)
    if home == "sklearn" and name in _SHAP:
        return Forest(inside(predictor, sample))
    if home == "xgboost":
        return LastBooster(inside(predictor, sample), _xgboost_last)
    if home == "lightgbm":
        return LastBooster(inside(predictor, sample), _lightgbm_last)
    return None


@dataclass(frozen=True)
class XGBoostTrees:
    """A booster of XGBoost's, by its own `pred_contribs`."""

    scorer: Any
    method: Literal["tree"] = "tree"
    relative: float = 1e-5

    def contributions(self, x: pl.DataFrame) -> Contributions:
        from perennial.models.flavors.xgboost import matrix_of

        options = self.scorer.options
        data = matrix_of(x, is_named=bool(options.get("names")))
        return _booster_contributions(self.scorer.model, data, int(options.get("best", 0)))


@dataclass(frozen=True)
class LightGBMTrees:
    """A booster of LightGBM's, by its own `pred_contrib`."""

    scorer: Any
    method: Literal["tree"] = "tree"
    relative: float = 1e-9

    def contributions(self, x: pl.DataFrame) -> Contributions:
        from perennial.models.flavors.lightgbm import columns_for

        best = int(self.scorer.options.get("best", 0))
        settings = {"num_iteration": best or None, "num_threads": 1, "validate_features": False}
        return _lightgbm_contributions(self.scorer.model, columns_for(x), settings)


@dataclass(frozen=True)
class LastBooster:
    """A pipeline whose last step is an estimator of XGBoost's or LightGBM's."""

    inside: Inside
    explain: Callable[[Any, Any], Contributions]
    method: Literal["tree"] = "tree"
    relative: float = 1e-5

    def contributions(self, x: pl.DataFrame) -> Contributions:
        found = self.explain(self.inside.last, self.inside.transform(x))
        return Contributions(self.inside.handed_back(found.values), found.base)


@dataclass(frozen=True)
class Boosted:
    """scikit-learn's gradient boosting, from the arrays of its trees. `parts` gives the trees of each score."""

    inside: Inside
    parts: Callable[[Any], tuple[list[list[Tree]], Floats]]
    method: Literal["tree"] = "tree"
    relative: float = 1e-9

    @cached_property
    def _scores(self) -> tuple[list[Paths], Floats]:
        trees, start = self.parts(self.inside.last)
        return [Paths(own) for own in trees], start

    def contributions(self, x: pl.DataFrame) -> Contributions:
        data = dense(self.inside.transform(x))
        scores, start = self._scores
        values = np.stack([paths.shapley(data) for paths in scores], axis=1)
        base = start + np.array([paths.base for paths in scores])
        return Contributions(self.inside.handed_back(values), base)


@dataclass(frozen=True)
class Forest:
    """scikit-learn's forests and trees, through the `shap` package; attributions are of probabilities or values."""

    inside: Inside
    method: Literal["tree"] = "tree"
    relative: float = 1e-9

    @cached_property
    def _explainer(self) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # where matplotlib is installed shap makes colour maps in a way that it laments
            import shap

        return shap.TreeExplainer(self.inside.last, feature_perturbation="tree_path_dependent")

    def contributions(self, x: pl.DataFrame) -> Contributions:
        data = dense(self.inside.transform(x))
        if bool(np.isnan(data).any()):
            raise Unfit("its trees split on missing values, which exact attributions of forests do not cover")
        # Whether they add up to the answers is checked by the caller, in the unit of the answers.
        values: Floats = np.asarray(self._explainer.shap_values(data, check_additivity=False), dtype=np.float64)
        values = values[:, np.newaxis, :] if values.ndim == 2 else values.transpose(0, 2, 1)
        base = np.atleast_1d(np.asarray(self._explainer.expected_value, dtype=np.float64))
        return Contributions(self.inside.handed_back(values), base)


def _booster_contributions(booster: Any, data: Any, rounds: int) -> Contributions:
    out = np.asarray(
        booster.predict(data, pred_contribs=True, iteration_range=(0, rounds), validate_features=False), np.float64
    )
    out = out[:, np.newaxis, :] if out.ndim == 2 else out
    return Contributions(out[..., :-1], out[0, :, -1])


def _xgboost_last(last: Any, data: Any) -> Contributions:
    import xgboost  # pyright: ignore[reportMissingImports]  # an optional toolkit

    booster = last.get_booster()
    best = booster.attr("best_iteration")
    matrix = xgboost.DMatrix(data, missing=last.missing, enable_categorical=True)
    return _booster_contributions(booster, matrix, 0 if best is None else int(best) + 1)


def _lightgbm_last(last: Any, data: Any) -> Contributions:
    return _lightgbm_contributions(last, data, {"validate_features": False})


def _lightgbm_contributions(model: Any, data: Any, settings: dict[str, Any]) -> Contributions:
    import lightgbm  # pyright: ignore[reportMissingImports]  # an optional toolkit

    try:
        out = dense(model.predict(data, pred_contrib=True, **settings))
    except lightgbm.basic.LightGBMError as error:  # trees with linear leaves
        raise Unfit(str(error)) from error
    table = out.reshape(len(out), -1, data.shape[1] + 1)
    return Contributions(table[..., :-1], table[0, :, -1])


def _histogram_trees(model: Any) -> tuple[list[list[Tree]], Floats]:
    known, place = model._bin_mapper.make_known_categories_bitsets()  # noqa: SLF001  # no public way to the trees
    stages: list[list[Any]] = model._predictors  # noqa: SLF001
    start: Floats = np.asarray(model._baseline_prediction, dtype=np.float64).reshape(-1)  # noqa: SLF001
    trees = [[_histogram_tree(stage[score], known, place) for stage in stages] for score in range(len(start))]
    return trees, start


def _histogram_tree(predictor: Any, known: Any, place: Any) -> Tree:
    nodes = predictor.nodes
    is_leaf = nodes["is_leaf"].astype(bool)
    feature = nodes["feature_idx"].astype(np.int64)

    def goes_left(x: Floats) -> NDArray[np.bool_]:
        values = x[:, feature]
        missing = np.isnan(values)
        left = np.where(missing, nodes["missing_go_to_left"].astype(bool), values <= nodes["num_threshold"])
        for node in np.flatnonzero(nodes["is_categorical"].astype(bool) & ~is_leaf):
            no_code = missing[:, node] | (values[:, node] < 0)
            codes = np.where(no_code, 0, values[:, node]).astype(np.int64)
            seen = ~no_code & _holds(known[place[feature[node]]], codes)
            in_left = _holds(predictor.raw_left_cat_bitsets[nodes["bitset_idx"][node]], codes)
            left[:, node] = np.where(seen, in_left, bool(nodes["missing_go_to_left"][node]))
        return left

    return Tree(
        left=np.where(is_leaf, -1, nodes["left"].astype(np.int64)),
        right=np.where(is_leaf, -1, nodes["right"].astype(np.int64)),
        feature=feature,
        cover=nodes["count"].astype(np.float64),
        value=np.where(is_leaf, nodes["value"], 0.0).astype(np.float64),
        goes_left=goes_left,
    )


def _holds(bitset: NDArray[np.uint32], codes: NDArray[np.int64]) -> NDArray[np.bool_]:
    inside = codes < 32 * len(bitset)
    codes = np.where(inside, codes, 0)
    return inside & (((bitset[codes // 32] >> (codes % 32).astype(np.uint32)) & 1) == 1)


def _boosting_trees(model: Any) -> tuple[list[list[Tree]], Floats]:
    if type(model.init_).__name__ not in ("DummyClassifier", "DummyRegressor") and model.init != "zero":
        raise Unfit("it starts from another model's answers")
    # What it starts from is the same for every row, so it is asked with zeros.
    row = np.zeros((1, model.n_features_in_), dtype=np.float32)
    start: Floats = np.asarray(model._raw_predict_init(row), dtype=np.float64)[0]  # noqa: SLF001  # no public way
    rate = float(model.learning_rate)
    return [[_plain_tree(one.tree_, rate) for one in model.estimators_[:, score]] for score in range(len(start))], start


def _plain_tree(tree: Any, rate: float) -> Tree:
    feature, threshold = tree.feature.astype(np.int64), tree.threshold

    def goes_left(x: Floats) -> NDArray[np.bool_]:
        # Its trees compare in single precision. At a leaf the feature is -2: any column will do.
        return x.astype(np.float32)[:, np.maximum(feature, 0)] <= threshold

    return Tree(
        left=tree.children_left.astype(np.int64),
        right=tree.children_right.astype(np.int64),
        feature=feature,
        cover=tree.weighted_n_node_samples.astype(np.float64),
        value=rate * tree.value[:, 0, 0],
        goes_left=goes_left,
    )
