"""Reconstruction errors of tables."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from perennial import stats
from perennial.errors import Invalid
from perennial.monitor.multivariate.reconstruction import Reconstruction, fit_reconstruction


def homes(rows: int, seed: int, *, broken: bool = False) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    size = rng.gamma(9, 12, size=rows)
    rooms = np.round(size / 25 + rng.normal(0, 0.3, rows))
    price = 3000 * size + rng.normal(0, 20_000, rows)
    if broken:
        price = rng.permutation(price)
    kind = np.where(size > 130, "house", np.where(rng.random(rows) < 0.9, "flat", "studio"))
    return pl.DataFrame(
        {"size": size, "rooms": rooms, "price": price, "kind": kind, "garden": size > 140}
    ).with_columns(price=pl.when(pl.Series(rng.random(rows) < 0.02)).then(None).otherwise("price"))


@pytest.fixture(scope="module")
def fitted() -> Reconstruction:
    found = fit_reconstruction(homes(4000, 0))
    assert found is not None
    return found


def test_a_clean_window_is_within_tolerance(fitted: Reconstruction) -> None:
    for seed in range(1, 11):
        assert stats.pca_test(fitted.reference, fitted.sums(homes(800, seed))).decision == "within tolerance"


def test_columns_that_no_longer_belong_together_are_seen(fitted: Reconstruction) -> None:
    found = stats.pca_test(fitted.reference, fitted.sums(homes(800, 1, broken=True)))
    assert found.decision == "shifted"
    assert (found.effect or 0) > 0.1


def test_shards_add_up_and_the_fit_survives_json(fitted: Reconstruction) -> None:
    window = homes(900, 2)
    stored = Reconstruction.from_dict(json.loads(json.dumps(fitted.as_dict())))
    assert stored.errors(window).tolist() == fitted.errors(window).tolist()
    assert stored.reference == fitted.reference
    added = fitted.sums(window[:300]) + fitted.sums(window[300:])
    assert added.mean == pytest.approx(fitted.sums(window).mean)


def test_errors_of_the_reference_are_not_flattered_by_the_fit() -> None:
    rng = np.random.default_rng(3)
    frame, fresh = (pl.DataFrame(rng.normal(size=(rows, 20))) for rows in (120, 5000))
    found = fit_reconstruction(frame)
    assert found is not None
    assert found.reference.rows == 120
    assert found.reference.mean > found.sums(frame).mean  # half of the rows fit worse than all; never better
    assert found.sums(fresh).mean > 1.02 * found.sums(frame).mean


def test_unseen_categories_and_missing_values_have_a_place(fitted: Reconstruction) -> None:
    window = homes(100, 4).with_columns(kind=pl.lit("boat"), size=pl.lit(None, dtype=pl.Float64))
    assert np.isfinite(fitted.errors(window)).all()
    assert fitted.errors(homes(100, 4).with_columns(rooms=pl.lit(None))).shape == (100,)


def test_what_does_not_fit_is_refused(fitted: Reconstruction) -> None:
    with pytest.raises(Invalid, match="no column 'price'"):
        fitted.errors(homes(10, 5).drop("price"))
    with pytest.raises(Invalid, match="it held numbers"):
        fitted.errors(homes(10, 5).with_columns(price=pl.lit("much")))


def test_nothing_to_fit_is_none() -> None:
    assert fit_reconstruction(homes(49, 6)) is None
    assert fit_reconstruction(homes(100, 6).select("size")) is None
    assert fit_reconstruction(pl.DataFrame({"a": [1.0] * 100, "b": ["x"] * 100})) is None
