"""Exact Shapley values of a sum of decision trees, from the trees' arrays alone: all leaves and many rows at once.

A coalition's value is what a tree answers when it follows the row at splits on known columns, and both branches,
weighted by their training rows, at the others: the path-dependent values that XGBoost and LightGBM give themselves.
Each leaf is a product over the columns on its path, so its share needs only which of them the row satisfies. That is
cheap for the small trees of boosting; deep trees of forests have too many leaves for it.

Source: Lundberg, Erion & Lee (2018), Consistent Individualized Feature Attribution for Tree Ensembles,
arXiv:1802.03888; leaf by leaf as Yang (2021), Fast TreeSHAP, arXiv:2109.09847.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import factorial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from perennial.evaluate.explain.asked import Floats

__all__ = ["Paths", "Tree"]

MAX_TABLE = 4_000_000  # numbers in a table of all patterns of satisfied splits
AT_ONCE = 8_000_000  # numbers in the arrays of one chunk of rows

Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Tree:
    """A tree as arrays over its nodes, the root first.

    `left`, `right`: children, -1 in a leaf. `cover`: training rows in each node. `goes_left`: rows, shape (n, d), to
    the way they take at each node, shape (n, nodes); what it says at a leaf does not matter.
    """

    left: Ints
    right: Ints
    feature: Ints
    cover: Floats
    value: Floats
    goes_left: Callable[[Floats], Mask]


class _Leaf(NamedTuple):
    node: int
    splits: dict[int, list[tuple[int, bool]]]
    """By column: the nodes that split on it, and whether the path goes left there."""
    share: dict[int, float]
    """By column: the share of training rows that its splits let through."""


class _Leaves:
    """All leaves with m columns on their path. `way`: the ways that their splits take, shape (leaves, m, splits)."""

    def __init__(self, way: Ints, shares: Floats, columns: Ints, values: Floats) -> None:
        self.way, self.shares, self.columns, self.values = way, shares, columns, values
        self._table: Floats | None = None

    def add(self, ways: Mask, into: Floats) -> None:
        """Add the Shapley values of rows whose ways these are to `into`, shape (n, d)."""
        met: Mask = np.all(ways[:, self.way], axis=3)
        found = self._credits(met)
        for at in range(self.columns.shape[1]):
            to_column = np.zeros((len(self.values), into.shape[1]))
            to_column[np.arange(len(self.values)), self.columns[:, at]] = self.values
            into += found[:, :, at] @ to_column

    def _credits(self, met: Mask) -> Floats:
        leaves, m = self.shares.shape
        if self._table is None and len(met) >= 2**m and leaves * m * 2**m <= MAX_TABLE:
            patterns = ((np.arange(2**m)[:, np.newaxis] >> np.arange(m)) & 1).astype(np.float64)
            self._table = _credits(np.repeat(patterns[:, np.newaxis, :], leaves, axis=1), self.shares)
        if self._table is None:
            return _credits(met.astype(np.float64), self.shares)
        return self._table[met @ (1 << np.arange(m)), np.arange(leaves)]


class Paths:
    """The leaves of a sum of trees, prepared once. `base`: its mean answer over the training rows."""

    def __init__(self, trees: Sequence[Tree]) -> None:
        self._trees = trees
        self.base = 0.0
        by_size: dict[int, list[tuple[list[list[int]], list[float], list[int], float]]] = {}
        nodes, offset = sum(len(tree.left) for tree in trees), 0
        for tree in trees:
            for leaf in _leaves(tree):
                value = float(tree.value[leaf.node])
                self.base += value * float(np.prod(list(leaf.share.values())))
                if not leaf.splits or value == 0.0:
                    continue
                # Ways are numbered: left at a node, right at it (after all nodes), and the one that is always taken.
                way = [
                    [offset + node + (0 if left else nodes) for node, left in splits] for splits in leaf.splits.values()
                ]
                by_size.setdefault(len(way), []).append((way, list(leaf.share.values()), list(leaf.splits), value))
            offset += len(tree.left)
        self._groups = [_grouped(leaves, 2 * nodes) for leaves in by_size.values()]

    def shapley(self, x: Floats) -> Floats:
        """Shapley values, shape (n, d); with `base` they add up to what the trees answer."""
        found = np.zeros(x.shape)
        numbers = sum(group.way.size for group in self._groups) or 1
        size = max(1, AT_ONCE // numbers)
        for start in range(0, len(x), size):
            rows = x[start : start + size]
            left = np.concatenate([tree.goes_left(rows) for tree in self._trees], axis=1)
            ways = np.concatenate([left, ~left, np.ones((len(rows), 1), dtype=np.bool_)], axis=1)
            for group in self._groups:
                group.add(ways, found[start : start + size])
        return found


def _grouped(leaves: list[tuple[list[list[int]], list[float], list[int], float]], always: int) -> _Leaves:
    longest = max(len(splits) for way, *_ in leaves for splits in way)
    padded = [[splits + [always] * (longest - len(splits)) for splits in way] for way, *_ in leaves]
    return _Leaves(
        way=np.array(padded, dtype=np.int64),
        shares=np.array([leaf[1] for leaf in leaves]),
        columns=np.array([leaf[2] for leaf in leaves], dtype=np.int64),
        values=np.array([leaf[3] for leaf in leaves]),
    )


def _leaves(tree: Tree) -> Iterator[_Leaf]:
    stack: list[_Leaf] = [_Leaf(0, {}, {})]
    while stack:
        leaf = stack.pop()
        node = leaf.node
        if tree.left[node] < 0:
            yield leaf
            continue
        column = int(tree.feature[node])
        for child, is_left in ((int(tree.left[node]), True), (int(tree.right[node]), False)):
            splits = {**leaf.splits, column: [*leaf.splits.get(column, []), (node, is_left)]}
            share = leaf.share.get(column, 1.0) * float(tree.cover[child]) / float(tree.cover[node])
            stack.append(_Leaf(child, splits, {**leaf.share, column: share}))


def _credits(met: Floats, shares: Floats) -> Floats:
    """Shapley values of prod_j (met_j if known else share_j); `met`: shape (n, leaves, m), `shares`: (leaves, m)."""
    m = shares.shape[1]
    weights = np.array([factorial(s) * factorial(m - 1 - s) / factorial(m) for s in range(m)])
    found = np.empty(met.shape)
    for column in range(m):
        # Coefficients of prod over the others of (share + met t): coalitions by their size.
        sizes = np.zeros((m, *met.shape[:2]))
        sizes[0] = 1.0
        for other in range(m):
            if other != column:
                sizes[1:] = sizes[1:] * shares[:, other] + sizes[:-1] * met[:, :, other]
                sizes[0] *= shares[:, other]
        found[:, :, column] = (met[:, :, column] - shares[:, column]) * np.tensordot(weights, sizes, axes=1)
    return found
