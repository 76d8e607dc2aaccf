"""Recompute every number of the demo's table from what lies on the disk, without Perennial's code.

    python recompute.py PROJECT

Reads the SQLite records and the Parquet chunks of predictions (found through the pack files by brute force: each
stored object is a run of bytes whose BLAKE3 is its name), joins labels by prediction id, and trains the yearly models
anew with scikit-learn on the files that the loop collected.
"""

from __future__ import annotations

import io
import json
import sqlite3
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.ensemble import HistGradientBoostingRegressor

COLUMNS = ("education", "experience", "occupation", "union", "married", "black", "hispanic")


def recompute(project: Path, read_object) -> dict[str, dict[str, float]]:
    """By policy: rmse, rmse_last_year, bias_last_year, trainings."""
    records = sqlite3.connect(f"file:{project}/.perennial/records.db?mode=ro", uri=True)
    rows = predictions(records, read_object)
    table = pl.concat([pl.read_parquet(path) for path in sorted((project / "data").glob("*.parquet"))])
    never, yearly, trainings = policies(rows, table)
    loop_trainings = records.execute("SELECT count(*) FROM model_versions WHERE name = 'salary'").fetchone()[0]
    records.close()
    truth, years = rows["label"].to_numpy(), rows["year"].to_numpy()
    answers = {
        "never": (never, 1),
        "loop": (rows["value"].to_numpy(), loop_trainings),
        "yearly": (yearly, trainings),
    }
    return {name: numbers(truth, found, years, count) for name, (found, count) in answers.items()}


def predictions(records: sqlite3.Connection, read_object) -> pl.DataFrame:
    """Every labelled prediction: id, at, year, input.*, value, label; the newest revision of a label counts."""
    labels: dict[str, float] = {}
    for prediction, value in records.execute(
        "SELECT prediction_id, value FROM prediction_labels WHERE endpoint = 'salary' ORDER BY revision"
    ):
        labels[prediction] = float(json.loads(value))
    chunks = records.execute(
        "SELECT digest FROM prediction_chunks WHERE endpoint = 'salary' AND kind = 'prediction'"
    ).fetchall()
    frames = [pl.read_parquet(io.BytesIO(read_object(digest))) for (digest,) in chunks]
    rows = pl.concat(frames, how="diagonal_relaxed").select("id", "at", "value", "^input\\..*$")
    assert rows["id"].n_unique() == len(rows), "a prediction is stored twice"
    rows = rows.filter(pl.col("id").is_in(list(labels))).sort("at", "id")
    return rows.with_columns(
        label=pl.Series([labels[name] for name in rows["id"]]),
        year=pl.Series([datetime.fromtimestamp(at / 1e6, UTC).year for at in rows["at"]]),
    )


def policies(rows: pl.DataFrame, table: pl.DataFrame) -> tuple[np.ndarray, np.ndarray, int]:
    asked = rows.select(pl.col("^input\\..*$").name.map(lambda name: name.removeprefix("input.")))
    years = sorted(set(rows["year"]))
    first = fit(table.filter(pl.col("date") < date(years[0], 1, 1)))
    never = first.predict(prepare(asked, first.categories))
    yearly = never.copy()
    for year in years[1:]:
        model = fit(table.filter(pl.col("date") < date(year, 1, 1)))
        of_year = rows["year"].to_numpy() == year
        yearly[of_year] = model.predict(prepare(asked.filter(pl.Series(of_year)), model.categories))
    return never, yearly, len(years)


def fit(rows: pl.DataFrame):
    categories = sorted(rows["occupation"].unique())
    # The order of a data set's rows does not matter to its identity, but it does to a sum of floats: sort as stored.
    rows = rows.sort(rows.columns, nulls_last=False)
    model = HistGradientBoostingRegressor(
        max_iter=100,
        learning_rate=0.05,
        max_leaf_nodes=8,
        categorical_features="from_dtype",
        monotonic_cst={"education": 1},
        random_state=0,
    ).fit(prepare(rows, categories), rows["log_wage"].to_numpy())
    model.categories = categories
    return model


def prepare(rows: pl.DataFrame, categories: list[str]) -> pl.DataFrame:
    known = pl.col("occupation").is_in(categories)
    return rows.select(
        *COLUMNS,
        hours_per_week=pl.col("hours") / 52,
        full_time=pl.col("hours") >= 35 * 50,
        senior=pl.col("experience") >= 10,
    ).with_columns(pl.when(known).then("occupation").cast(pl.Enum(categories)).alias("occupation"))


def numbers(truth: np.ndarray, answers: np.ndarray, years: np.ndarray, trainings: int) -> dict[str, float]:
    last = years == years.max()
    return {
        "rmse": float(np.sqrt(np.mean((truth - answers) ** 2))),
        "rmse_last_year": float(np.sqrt(np.mean((truth - answers)[last] ** 2))),
        "bias_last_year": float(np.mean((truth - answers)[last])),
        "trainings": trainings,
    }


if __name__ == "__main__":
    from perennial.store.objects import ObjectStore
    from perennial.types import Digest

    project = Path(sys.argv[1])
    store = ObjectStore(project / ".perennial" / "objects")
    print(json.dumps(recompute(project, lambda digest: store.get(Digest(digest))), indent=1))
