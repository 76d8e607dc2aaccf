"""Ensembles of trees from any toolkit in one form, and that form as a graph that answers as they do.

The converters of others store thresholds and leaves in 32 bits or do not know every kind of split. Here thresholds stay
what they are: in double precision with the operator TreeEnsemble, or in 32 bits where the toolkit itself rounds its
inputs to 32 bits (then "x <= t" is the same as "x <= the next 32-bit number not above t", exactly).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from perennial.models.compiling.graph import Graph, NotCompilable

__all__ = ["Ensemble", "Tree", "ensemble_graph"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Tree:
    """One tree. Node 0 is the root; a leaf has `yes` = -1.

    `yes`: next node where the test holds: x <= split (or x < split, or x in the node's `members`). `missing_yes`: NaN
    goes there too. `value`: shape (nodes, k), what a leaf adds to the k outputs from `target` on.
    """

    feature: Ints
    split: Floats
    yes: Ints
    no: Ints
    missing_yes: NDArray[np.bool_]
    value: Floats
    target: int = 0
    members: dict[int, list[float]] = field(default_factory=dict[int, list[float]])


@dataclass(frozen=True)
class Ensemble:
    """Outputs = link((sum of the trees' leaves) / divide + base).

    `rounds_inputs`: the toolkit rounds inputs to 32 bits. `is_strict`: the tests are x < split.
    """

    trees: list[Tree]
    n_outputs: int
    base: Floats
    link: Literal["identity", "logistic", "softmax", "exp"] = "identity"
    divide: float = 1.0
    rounds_inputs: bool = False
    is_strict: bool = False

    def thresholds(self) -> list[tuple[int, float]]:
        """(feature, split) of every test of a number."""
        return [
            (int(tree.feature[i]), float(tree.split[i]))
            for tree in self.trees
            for i in np.flatnonzero(tree.yes >= 0).tolist()
            if i not in tree.members
        ]


def ensemble_graph(graph: Graph, x: str, ensemble: Ensemble, *, double: bool) -> str:
    """Add the ensemble to the graph; returns the name of its output, shape (rows, outputs), double precision.

    A logistic link gives the probabilities of both classes.
    """
    if ensemble.rounds_inputs or not double:
        x = graph.add("Cast", x, to=TensorProto.FLOAT)
    if double:
        if ensemble.rounds_inputs:
            x = graph.add("Cast", x, to=TensorProto.DOUBLE)
        total = _double(graph, x, ensemble)
    else:
        total = graph.add("Cast", _single(graph, x, ensemble), to=TensorProto.DOUBLE)
    if ensemble.divide != 1.0:
        total = graph.add("Div", total, graph.constant(np.array([[ensemble.divide]])))
    if np.any(ensemble.base):
        total = graph.add("Add", total, graph.constant(ensemble.base.reshape(1, -1)))
    return linked(graph, total, ensemble.link)


def linked(graph: Graph, scores: str, link: str) -> str:
    """Scores to probabilities or numbers."""
    if link == "exp":
        return graph.add("Exp", scores)
    if link == "softmax":
        return graph.add("Softmax", scores, axis=1)
    if link == "logistic":
        one = graph.add("Sigmoid", scores)
        return graph.add("Concat", graph.add("Sub", graph.constant(np.ones((1, 1))), one), one, axis=1)
    return scores


def _single(graph: Graph, x: str, ensemble: Ensemble) -> str:
    """32 bits, TreeEnsembleRegressor: a leaf may add to several outputs at once."""
    if any(tree.members for tree in ensemble.trees):
        raise NotCompilable("trees that split on sets of categories are compiled in double precision only")
    told: dict[str, list[Any]] = {
        key: []
        for key in [
            "nodes_treeids",
            "nodes_nodeids",
            "nodes_featureids",
            "nodes_modes",
            "nodes_truenodeids",
            "nodes_falsenodeids",
            "nodes_missing_value_tracks_true",
            "nodes_values",
            "target_treeids",
            "target_nodeids",
            "target_ids",
            "target_weights",
        ]
    }
    mode = "BRANCH_LT" if ensemble.is_strict else "BRANCH_LEQ"
    for number, tree in enumerate(ensemble.trees):
        is_leaf = tree.yes < 0
        count = len(is_leaf)
        split = _not_above(tree.split) if not ensemble.is_strict else tree.split.astype(np.float32)
        told["nodes_treeids"] += [number] * count
        told["nodes_nodeids"] += range(count)
        told["nodes_featureids"] += np.where(is_leaf, 0, tree.feature).tolist()
        told["nodes_modes"] += np.where(is_leaf, "LEAF", mode).tolist()
        told["nodes_truenodeids"] += np.where(is_leaf, 0, tree.yes).tolist()
        told["nodes_falsenodeids"] += np.where(is_leaf, 0, tree.no).tolist()
        told["nodes_missing_value_tracks_true"] += np.where(is_leaf, False, tree.missing_yes).astype(int).tolist()
        told["nodes_values"] += np.where(is_leaf, np.float32(0), split).astype(np.float32).tolist()
        for node in np.flatnonzero(is_leaf).tolist():
            used = np.flatnonzero(tree.value[node]).tolist() or [0]
            told["target_treeids"] += [number] * len(used)
            told["target_nodeids"] += [node] * len(used)
            told["target_ids"] += [tree.target + k for k in used]
            told["target_weights"] += tree.value[node][used].tolist()
    return graph.trees(
        "TreeEnsembleRegressor",
        x,
        version=3,
        n_targets=ensemble.n_outputs,
        aggregate_function="SUM",
        post_transform="NONE",
        **told,
    )


def _double(graph: Graph, x: str, ensemble: Ensemble) -> str:
    """Double precision, TreeEnsemble: a leaf adds one number to one output.

    Leaves that hold several numbers give their own number instead, one output for each tree, and a table has the rest.
    """
    several = any(tree.value.shape[1] > 1 for tree in ensemble.trees)
    told: dict[str, list[int]] = {
        key: []
        for key in [
            "nodes_featureids",
            "nodes_truenodeids",
            "nodes_trueleafs",
            "nodes_falsenodeids",
            "nodes_falseleafs",
            "nodes_missing_value_tracks_true",
            "tree_roots",
            "leaf_targetids",
        ]
    }
    splits, modes, members, leaves = list[float](), list[int](), list[float](), list[NDArray[np.float64]]()
    for number, tree in enumerate(ensemble.trees):
        inner, ends = np.flatnonzero(tree.yes >= 0).tolist(), np.flatnonzero(tree.yes < 0).tolist()
        first = len(splits)
        told["tree_roots"].append(first)
        place = {node: first + i for i, node in enumerate(inner)}
        leaf = {node: len(leaves) + i for i, node in enumerate(ends)}
        for node in inner or [0]:
            # A tree that is one leaf is a test whose both ends are that leaf.
            yes, no = (int(tree.yes[node]), int(tree.no[node])) if inner else (0, 0)
            told["nodes_featureids"].append(int(tree.feature[node]) if inner else 0)
            told["nodes_truenodeids"].append(leaf[yes] if yes in leaf else place[yes])
            told["nodes_trueleafs"].append(int(yes in leaf))
            told["nodes_falsenodeids"].append(leaf[no] if no in leaf else place[no])
            told["nodes_falseleafs"].append(int(no in leaf))
            told["nodes_missing_value_tracks_true"].append(int(bool(inner) and bool(tree.missing_yes[node])))
            values = tree.members.get(node)
            if values is None:
                modes.append(1 if ensemble.is_strict else 0)
                splits.append(float(tree.split[node]) if inner else 0.0)
            else:
                modes.append(6)
                splits.append(0.0)
                members += [*values, float("nan")]
        told["leaf_targetids"] += [number if several else tree.target] * len(ends)
        leaves += [tree.value[node] for node in ends]
    weights = np.arange(len(leaves), dtype=np.float64) if several else np.concatenate(leaves)
    more = {"membership_values": numpy_helper.from_array(np.array(members))} if members else {}
    out = graph.trees(
        "TreeEnsemble",
        x,
        version=5,
        n_targets=len(ensemble.trees) if several else ensemble.n_outputs,
        aggregate_function=1,
        post_transform=0,
        nodes_splits=numpy_helper.from_array(np.array(splits)),
        nodes_modes=numpy_helper.from_array(np.array(modes, dtype=np.uint8)),
        leaf_weights=numpy_helper.from_array(weights),
        **told,
        **more,
    )
    if not several:
        return out
    which = graph.add("Cast", out, to=TensorProto.INT64)
    rows = graph.add("Gather", graph.constant(np.stack(leaves)), which)
    return graph.add("ReduceSum", rows, graph.constant(np.array([1], dtype=np.int64)), keepdims=0)


def _not_above(split: Floats) -> NDArray[np.float32]:
    """The greatest 32-bit number that is not above the split."""
    with np.errstate(over="ignore"):
        near = split.astype(np.float32)
    return np.where(near > split, np.nextafter(near, np.float32(-np.inf)), near).astype(np.float32)
