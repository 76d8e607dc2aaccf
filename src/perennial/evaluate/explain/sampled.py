"""Attributions of any model by sampling: Shapley values from random orders of the columns, with their standard error.

In one draw the columns of a background row are replaced by the row's own, one after the other in a random order; each
column is credited with how far the answer moves. Draws come in pairs, an order and its reverse, which takes most of the
scatter out; every background row is used equally often, so that base and attributions add up to the answer exactly.

Source: Strumbelj & Kononenko (2014), Knowledge and Information Systems 41, 647-665; reversed orders as Mitchell,
Cooper, Frank & Holmes (2022), Journal of Machine Learning Research 23(43).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial.evaluate.explain.asked import Floats

__all__ = ["Sampled", "evaluations", "sampled"]

MAX_ASKED = 50_000  # rows that the model is asked at once


class Sampled(NamedTuple):
    """`values`: shape (n, d); `errors`: their standard errors; `base`: mean answer over the background."""

    values: Floats
    errors: Floats
    base: float


def evaluations(columns: int, background: int, *, passes: int = 1) -> int:
    """How many answers one row costs, besides its own and the background's."""
    return 2 * passes * background * max(columns - 1, 0)


def sampled(
    answer: Callable[[pl.DataFrame], Floats],
    x: pl.DataFrame,
    background: pl.DataFrame,
    *,
    passes: int = 1,
    seed: int = 0,
) -> Sampled:
    """Shapley values of `answer` for the rows of `x`, against the rows of `background`.

    Args:
        answer: Gives one number for each row.
        x: Rows to explain, as the model's columns.
        background: Rows that stand for "not known", with the same columns.
        passes: How often every background row is used, each time with an order and its reverse. The standard error
            falls with its root.
        seed: Equal seeds give equal attributions, whatever the other rows are.

    Returns:
        Exact where there is one column. Standard errors count background rows as drawn, so they are a little too large.
    """
    n, d, m = x.height, x.width, background.height
    own, others = answer(x), answer(background)
    base = float(others.mean())
    if d == 1:
        return Sampled((own - base)[:, np.newaxis], np.zeros((n, 1)), base)
    pool = pl.concat([background, x])
    values, errors = np.empty((n, d)), np.empty((n, d))
    orders = _orders(d, m, passes, seed)
    start_of = np.tile(np.repeat(np.arange(m), 2), passes)  # the background row of each draw
    taken = _taken(orders)
    at_once = max(1, MAX_ASKED // max(1, len(orders) * (d - 1)))
    for first in range(0, n, at_once):
        rows = np.arange(first, min(n, first + at_once))
        between = answer(_mixed(pool, taken, start_of, rows + m)).reshape(len(rows), len(orders), d - 1)
        walk = np.concatenate(
            [
                np.broadcast_to(others[start_of], (len(rows), len(orders)))[..., np.newaxis],
                between,
                np.broadcast_to(own[rows, np.newaxis], (len(rows), len(orders)))[..., np.newaxis],
            ],
            axis=2,
        )
        credit = np.empty((len(rows), len(orders), d))
        np.put_along_axis(credit, np.broadcast_to(orders, credit.shape), np.diff(walk, axis=2), axis=2)
        pairs = credit.reshape(len(rows), -1, 2, d).mean(axis=2)
        values[rows] = pairs.mean(axis=1)
        count = pairs.shape[1]
        errors[rows] = pairs.std(axis=1, ddof=1) / np.sqrt(count) if count > 1 else np.inf
    return Sampled(values, errors, base)


def _orders(d: int, m: int, passes: int, seed: int) -> NDArray[np.int64]:
    """An order of the columns for each draw, every second one the reverse of the one before."""
    rng = np.random.default_rng(seed)
    forward = rng.permuted(np.tile(np.arange(d), (m * passes, 1)), axis=1)
    return np.stack([forward, forward[:, ::-1]], axis=1).reshape(-1, d)


def _taken(orders: NDArray[np.int64]) -> NDArray[np.bool_]:
    """For each draw and step, which columns are the row's own; shape (draws, d - 1, d)."""
    draws, d = orders.shape
    place = np.empty((draws, d), dtype=np.int64)
    np.put_along_axis(place, orders, np.broadcast_to(np.arange(d), (draws, d)), axis=1)
    return place[:, np.newaxis, :] <= np.arange(d - 1)[np.newaxis, :, np.newaxis]


def _mixed(
    pool: pl.DataFrame, taken: NDArray[np.bool_], start_of: NDArray[np.int64], rows: NDArray[np.int64]
) -> pl.DataFrame:
    """Rows that have some columns of a row to explain, and the others of a background row."""
    columns: list[pl.Series] = []
    for at, series in enumerate(pool.get_columns()):
        index = np.where(taken[np.newaxis, :, :, at], rows[:, np.newaxis, np.newaxis], start_of[:, np.newaxis])
        columns.append(series.gather(index.ravel()))
    return pl.DataFrame(columns)
