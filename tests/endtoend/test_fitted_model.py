"""A model that was fitted elsewhere, without a loop: brought in, approved by a person, served."""

from __future__ import annotations

import pickle

import polars as pl
import pytest
from sklearn.linear_model import LinearRegression

from .conftest import ROW, Quick


def test_a_fitted_model_is_brought_in_approved_by_a_person_and_served(quick: Quick) -> None:
    sample = pl.DataFrame({"a": [float(n % 7) for n in range(40)], "b": [float(n % 5) for n in range(40)]})
    model = LinearRegression().fit(sample.to_pandas(), (sample["a"] * 2 + sample["b"]).to_numpy())
    (quick.folder / "model.pkl").write_bytes(pickle.dumps(model))
    (quick.folder / "broken.pkl").write_bytes(b"nothing that loads")
    (quick.folder / "dict.pkl").write_bytes(pickle.dumps({"no": "model"}))
    sample.write_parquet(quick.folder / "s.parquet")
    sample.select("a").write_csv(quick.folder / "narrow.csv")

    quick.up()
    for file, table, more, says in (
        ("broken.pkl", "s.parquet", (), "the model does not load"),
        ("dict.pkl", "s.parquet", (), "the model does not answer the sample"),
        ("model.pkl", "narrow.csv", (), "takes a column 'b' that the sample lacks"),
        ("model.pkl", "s.parquet", ("--target", "y"), "the sample has no column 'y'"),
        ("model.pkl", "nowhere.csv", (), "there is no such file"),
        ("nowhere.pkl", "s.parquet", (), "there is no such file"),
    ):
        said = quick.perennial("deploy", file, "--name", "x", "--sample", table, *more)
        assert (said.code, says in said.err, "to go on" in said.err) == (2, True, True), said.err
    alone = quick.perennial("deploy", "model.pkl")
    assert (alone.code, "needs --name and --sample" in alone.err) == (2, True)
    assert quick.done("models", "list") == []

    version = quick.done("deploy", "model.pkl", "--name", "x", "--sample", "s.parquet")
    assert (version["state"], version["origin"]) == ("candidate", "imported")
    refused = quick.perennial("deploy", "x@1")
    assert (refused.code, "perennial approve x@1" in refused.err) == (1, True)
    assert quick.ask("/predict/x", {"records": [ROW]}).status == 404
    assert quick.done("approve", "x@1")["decided_by"]
    quick.done("deploy", "x@1")
    assert quick.answer("x", ROW)["prediction"] == pytest.approx(8)
    assert quick.ask("/predict/x", {"records": [{"a": 1.0}]}).status == 422
