"""Skew between what was trained on and what is asked: same things, same values; same distributions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from perennial.data.scan import scan
from perennial.data.schema import Column, Schema
from perennial.data.skew import requests_frame, skew
from perennial.errors import DataError

draw = np.random.default_rng(0)
TRAINED = pl.DataFrame(
    {
        "person": range(2000),
        "born": pl.Series(draw.integers(0, 15_000, 2000)).cast(pl.Int32).cast(pl.Date),
        "hours": draw.normal(40, 5, 2000),
        "job": draw.choice(["clerk", "farmer", None], 2000).tolist(),
        "wage": draw.normal(20, 4, 2000),
    }
)


def asked(rows: pl.DataFrame) -> pl.DataFrame:
    """As the service keeps them: JSON values, without the target."""
    return requests_frame(rows.drop("wage").with_columns(pl.col("born").cast(pl.String)).to_dicts())


def test_the_same_people_are_asked_about() -> None:
    found = skew(scan(TRAINED), asked(TRAINED.sample(800, seed=1)), key=["person"])
    assert found.is_clean
    assert found.lost == ["wage"]
    assert {match.column: (match.rows, match.equal) for match in found.matches} == dict.fromkeys(
        ("born", "hours", "job"), (800, 800)
    )


def test_a_value_that_is_computed_otherwise_is_found_with_its_key() -> None:
    served = asked(TRAINED.head(500).with_columns(hours=pl.col("hours").round(0)))
    found = skew(scan(TRAINED), served, key=["person"])
    match = {match.column: match for match in found.matches}["hours"]
    assert (match.rows, match.equal) == (500, 0)
    assert match.first[0].key == {"person": "0"}
    assert match.first[0].trained == str(TRAINED["hours"][0])
    assert not found.is_clean


def test_another_population_is_a_shift_and_no_mismatch() -> None:
    old = TRAINED.filter(pl.col("born") < pl.date(1985, 1, 1))
    found = skew(scan(TRAINED), asked(old), key=["person"])
    assert all(match.equal == match.rows for match in found.matches)
    assert next(column.column for column in found.drift if column.decision == "shifted") == "born"


def test_what_cannot_be_read_is_counted() -> None:
    served = requests_frame([{"person": 1, "hours": "many"}, {"person": 2, "hours": "40"}])
    assert skew(scan(TRAINED), served).unreadable == {"hours": 1}


def test_the_limit_of_the_schema_is_kept() -> None:
    schema = Schema(columns=[Column(name="job", type="string", skew_limit=0.01)])
    served = asked(TRAINED.filter(pl.col("job").is_null() | (pl.col("job") == "clerk")))
    assert skew(scan(TRAINED), served, schema=schema).over_limit == ["job"]


def test_training_and_serving_payments_of_taxis_are_apart_as_published(shared_data: Path) -> None:
    folder = shared_data / "chicago_taxi"
    train = pl.read_csv(folder / "train.csv.gz", infer_schema_length=None)
    serving = pl.read_csv(folder / "serving.csv", schema={k: v for k, v in train.schema.items() if k != "tips"})
    schema = Schema(columns=[Column(name="payment_type", type="string", skew_limit=0.01)])
    found = skew(scan(train), serving, schema=schema)
    payment = next(column for column in found.drift if column.column == "payment_type")
    assert payment.l_infinity == pytest.approx(0.0225, abs=5e-5)
    assert found.over_limit == ["payment_type"]
    assert found.lost == ["tips"]


def test_no_request_and_no_key_say_so() -> None:
    with pytest.raises(DataError, match="nothing was asked yet"):
        skew(scan(TRAINED), pl.DataFrame())
    with pytest.raises(DataError, match="no key column 'nr' in the dataset"):
        skew(scan(TRAINED), asked(TRAINED), key=["nr"])
