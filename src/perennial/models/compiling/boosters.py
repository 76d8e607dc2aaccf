"""XGBoost and LightGBM boosters as an `Ensemble`, read from the toolkits' own documented dumps (JSON)."""

from __future__ import annotations

import json
from typing import Any, cast

import numpy as np

from perennial.models.compiling.graph import NotCompilable
from perennial.models.compiling.trees import Ensemble, Tree

__all__ = ["lightgbm_ensemble", "xgboost_ensemble"]

_XGBOOST_LINKS = {
    "binary:logistic": "logistic",
    "multi:softprob": "softmax",
    "multi:softmax": "softmax",
    "reg:squarederror": "identity",
    "reg:absoluteerror": "identity",
    "reg:pseudohubererror": "identity",
    "reg:gamma": "exp",
    "reg:tweedie": "exp",
    "count:poisson": "exp",
}
_LIGHTGBM_LINKS = {
    "binary": "logistic",
    "multiclass": "softmax",
    "regression": "identity",
    "regression_l1": "identity",
    "huber": "identity",
    "fair": "identity",
    "quantile": "identity",
    "mape": "identity",
    "poisson": "exp",
    "gamma": "exp",
    "tweedie": "exp",
}
ZERO = 1e-35  # LightGBM's kZeroThreshold


def xgboost_ensemble(booster: Any, *, best: int = 0) -> Ensemble:
    """`best`: the rounds that count, 0 for all.

    Raises:
        NotCompilable: It is not of trees, or its objective or a kind of tree is not known here.
    """
    learner: dict[str, Any] = json.loads(bytes(booster.save_raw("json")))["learner"]
    boosted, told = learner["gradient_booster"], learner["learner_model_param"]
    objective: str = learner["objective"]["name"]
    if boosted["name"] != "gbtree":
        raise NotCompilable(f"its booster is {boosted['name']}")
    if objective not in _XGBOOST_LINKS:
        raise NotCompilable(f"its objective is {objective}")
    link = _XGBOOST_LINKS[objective]
    outputs = max(int(told["num_class"]), int(told.get("num_target", 1)), 1)
    base = np.asarray(json.loads(told["base_score"]), dtype=np.float32).reshape(-1).astype(np.float64)
    if link == "logistic":
        base = np.log(base) - np.log1p(-base)
    elif link == "exp":
        base = np.log(base)
    model = boosted["model"]
    trees: list[dict[str, Any]] = model["trees"]
    if best:
        trees = trees[: int(model["iteration_indptr"][best])]
    return Ensemble(
        [_xgboost_tree(tree, int(target)) for tree, target in zip(trees, model["tree_info"], strict=False)],
        outputs,
        np.broadcast_to(base, (outputs,)).copy(),
        link=link,  # pyright: ignore[reportArgumentType]  # one of its literals
        rounds_inputs=True,
        is_strict=True,
    )


def _xgboost_tree(tree: dict[str, Any], target: int) -> Tree:
    if int(tree["tree_param"].get("size_leaf_vector", 1)) > 1:
        raise NotCompilable("its leaves hold several targets")
    yes, no = np.array(tree["left_children"], dtype=np.int64), np.array(tree["right_children"], dtype=np.int64)
    condition = np.array(tree["split_conditions"], dtype=np.float32).astype(np.float64)
    missing = np.array(tree["default_left"], dtype=bool)
    sets: dict[int, list[float]] = {}
    codes: list[int] = tree["categories"]
    for node, start, size in zip(
        tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True
    ):
        # The set holds what goes to the right child, so the two children change places.
        sets[node] = [float(code) for code in codes[start : start + size]]
        yes[node], no[node] = no[node], yes[node]
        missing[node] = not missing[node]
    is_leaf = np.array(tree["left_children"]) < 0
    return Tree(
        feature=np.array(tree["split_indices"], dtype=np.int64),
        split=condition,
        yes=np.where(is_leaf, -1, yes),
        no=np.where(is_leaf, -1, no),
        missing_yes=missing,
        value=np.where(is_leaf, condition, 0.0).reshape(-1, 1),
        target=target,
        members=sets,
    )


def lightgbm_ensemble(booster: Any, *, best: int = 0) -> Ensemble:
    """`best`: the rounds that count, 0 for all.

    Raises:
        NotCompilable: Its objective or a kind of split is not known here.
    """
    dump: dict[str, Any] = booster.dump_model(num_iteration=best or -1)
    objective = str(dump.get("objective", ""))
    name, *options = objective.split() or [""]
    if name not in _LIGHTGBM_LINKS or "sqrt" in options:
        raise NotCompilable(f"its objective is {objective or 'of its own'}")
    if any(option.startswith("sigmoid:") and float(option.partition(":")[2]) != 1.0 for option in options):
        raise NotCompilable("its sigmoid is scaled")
    outputs = int(dump["num_tree_per_iteration"])
    trees = [_lightgbm_tree(tree, i % outputs) for i, tree in enumerate(dump["tree_info"])]
    return Ensemble(
        trees,
        outputs,
        np.zeros(outputs),
        link=_LIGHTGBM_LINKS[name],  # pyright: ignore[reportArgumentType]  # one of its literals
        divide=float(len(trees) // outputs) if dump.get("average_output") else 1.0,
    )


def _lightgbm_tree(tree: dict[str, Any], target: int) -> Tree:
    features, splits, yes, no = list[int](), list[float](), list[int](), list[int]()
    missing, values = list[bool](), list[float]()
    sets: dict[int, list[float]] = {}

    def place(node: dict[str, Any]) -> int:
        at = len(yes)
        features.append(int(node.get("split_feature", 0)))
        splits.append(0.0)
        yes.append(-1)
        no.append(-1)
        missing.append(False)
        values.append(float(node.get("leaf_value", 0.0)))
        if node.get("leaf_coeff"):
            raise NotCompilable("its leaves are linear models")
        if "split_feature" not in node:
            return at
        if node["decision_type"] == "==":
            sets[at] = [float(code) for code in cast(str, node["threshold"]).split("||")]
        else:
            splits[at] = float(node["threshold"])
            missing[at] = _missing_yes(node)
        yes[at] = place(node["left_child"])
        no[at] = place(node["right_child"])
        return at

    place(tree["tree_structure"])
    return Tree(
        feature=np.array(features, dtype=np.int64),
        split=np.array(splits),
        yes=np.array(yes, dtype=np.int64),
        no=np.array(no, dtype=np.int64),
        missing_yes=np.array(missing, dtype=bool),
        value=np.array(values).reshape(-1, 1),
        target=target,
        members=sets,
    )


def _missing_yes(node: dict[str, Any]) -> bool:
    """Where NaN goes. Without a way of its own it counts as zero."""
    zero = node["threshold"] >= 0.0
    if node["missing_type"] == "None":
        return zero
    if node["missing_type"] == "Zero" and bool(node["default_left"]) != zero:
        raise NotCompilable("its zeros are missing values")
    return bool(node["default_left"])
