"""scikit-learn's tree models as an `Ensemble`: decision trees, forests, gradient boosting, histogram gradient boosting.

scikit-learn's own numbers are taken from attributes that it does not promise to keep; a release that changes them makes
the conversion fail, or the proof, and the model is then served natively.
"""

# the fitted trees are private attributes; there is no public way to them:
# pyright: reportPrivateUsage=false

from __future__ import annotations

from typing import Any

import numpy as np

from perennial.models.compiling.graph import NotCompilable
from perennial.models.compiling.trees import Ensemble, Tree

__all__ = ["sklearn_ensemble"]

_FORESTS = {"RandomForestClassifier", "RandomForestRegressor", "ExtraTreesClassifier", "ExtraTreesRegressor"}
_SINGLE = {"DecisionTreeClassifier", "DecisionTreeRegressor", "ExtraTreeClassifier", "ExtraTreeRegressor"}
_BOOSTED = {"GradientBoostingClassifier", "GradientBoostingRegressor"}
_HISTOGRAM = {"HistGradientBoostingClassifier", "HistGradientBoostingRegressor"}
MAX_CATEGORY = 255  # histogram gradient boosting: codes of categories lie below


def sklearn_ensemble(model: Any) -> Ensemble | None:
    """None where this is not a tree model that is known here.

    Raises:
        NotCompilable: It is one, of a kind that is not.
    """
    name = type(model).__name__
    if not type(model).__module__.startswith("sklearn."):
        return None
    if name in _FORESTS | _SINGLE:
        if model.n_outputs_ != 1:
            raise NotCompilable("it answers several targets")
        members = model.estimators_ if name in _FORESTS else [model]
        trees = [_tree(member.tree_, member.tree_.value[:, 0, :]) for member in members]
        outputs = trees[0].value.shape[1]
        return Ensemble(trees, outputs, np.zeros(outputs), divide=float(len(trees)), rounds_inputs=True)
    if name in _BOOSTED:
        return _boosted(model)
    if name in _HISTOGRAM:
        return _histogram(model)
    return None


def _tree(tree: Any, value: Any, target: int = 0) -> Tree:
    yes = np.asarray(tree.children_left, dtype=np.int64)
    missing = getattr(tree, "missing_go_to_left", np.zeros(len(yes)))
    return Tree(
        feature=np.asarray(tree.feature, dtype=np.int64),
        split=np.asarray(tree.threshold, dtype=np.float64),
        yes=yes,
        no=np.asarray(tree.children_right, dtype=np.int64),
        missing_yes=np.asarray(missing, dtype=bool),
        value=np.asarray(value, dtype=np.float64),
        target=target,
    )


def _boosted(model: Any) -> Ensemble:
    count = model.estimators_.shape[1]
    start = np.zeros(count)
    if model.init_ != "zero":
        if type(model.init_).__name__ not in ("DummyClassifier", "DummyRegressor"):
            raise NotCompilable("it starts from another model")
        start = np.asarray(model._raw_predict_init(np.zeros((1, model.n_features_in_)))).reshape(-1)  # noqa: SLF001
    trees = [
        _tree(member.tree_, model.learning_rate * member.tree_.value[:, 0, :], target)
        for row in model.estimators_
        for target, member in enumerate(row)
    ]
    link = "identity"
    if hasattr(model, "classes_"):
        if model.loss != "log_loss":
            raise NotCompilable(f"its loss is {model.loss}")
        link = "logistic" if count == 1 else "softmax"
    return Ensemble(trees, count, start, link=link, rounds_inputs=True)


def _histogram(model: Any) -> Ensemble:
    known, place = model._bin_mapper.make_known_categories_bitsets()  # noqa: SLF001
    trees = list[Tree]()
    for row in model._predictors:  # noqa: SLF001
        for target, predictor in enumerate(row):
            nodes = predictor.nodes
            is_leaf = nodes["is_leaf"].astype(bool)
            sets: dict[int, list[float]] = {}
            for node in np.flatnonzero(nodes["is_categorical"].astype(bool) & ~is_leaf).tolist():
                left = _members(predictor.raw_left_cat_bitsets[nodes["bitset_idx"][node]])
                if nodes["missing_go_to_left"][node]:  # a category that training did not see counts as missing
                    seen = _members(known[place[nodes["feature_idx"][node]]])
                    left = sorted(left | (set(range(MAX_CATEGORY + 1)) - seen))
                sets[node] = [float(code) for code in sorted(left)]
            trees.append(
                Tree(
                    feature=nodes["feature_idx"].astype(np.int64),
                    split=nodes["num_threshold"].astype(np.float64),
                    yes=np.where(is_leaf, -1, nodes["left"].astype(np.int64)),
                    no=np.where(is_leaf, -1, nodes["right"].astype(np.int64)),
                    missing_yes=nodes["missing_go_to_left"].astype(bool),
                    value=nodes["value"].astype(np.float64).reshape(-1, 1),
                    target=target,
                    members=sets,
                )
            )
    base = np.asarray(model._baseline_prediction, dtype=np.float64).reshape(-1)  # noqa: SLF001
    if hasattr(model, "classes_"):
        link = "logistic" if len(base) == 1 else "softmax"
    else:
        links = {"IdentityLink": "identity", "LogLink": "exp"}
        kind = type(model._loss.link).__name__  # noqa: SLF001
        if kind not in links:
            raise NotCompilable(f"its link is {kind}")
        link = links[kind]
    return Ensemble(trees, len(base), base, link=link)  # pyright: ignore[reportArgumentType]  # one of its literals


def _members(bits: Any) -> set[int]:
    """The codes in 8 words of 32 bits."""
    return {32 * word + bit for word, held in enumerate(bits.tolist()) for bit in range(32) if held >> bit & 1}
