"""Five real data sets as a user would have them, and what is true of each window.

A truth is planted here (a bug in a copy of clean rows), or known of the data (which rows were kept from the model, what
the places and seasons are), or measured here with scikit-learn and the labels. None of it comes from what is tested.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import skops.io
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error, roc_auc_score, root_mean_squared_error
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

__all__ = ["SETS", "Case"]

# Where what is asked of the model lies beyond what it has learnt, no row of the reference tells whether the relation is
# the old one there: both of these are right.
BEYOND = ("covariate", "undecided")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One window and what is true of it.

    Attributes:
        data: The data set.
        window: Which rows, and what was done to them.
        true: What is true.
        known: How that is known.
        causes: Diagnoses that say this.
        actions: What helps; or what is left where nobody can know.
        columns: Inputs that have to be named.
        reference: File of rows that the model has not seen.
        current: File of the rows to look at.
        asked: Arguments of `perennial.monitor.compare`: which column is what, the model's file.
        realised: Metrics of the current rows by scikit-learn; empty where nobody knows the truth.
    """

    data: str
    window: str
    true: str
    known: str
    causes: Sequence[str]
    actions: Sequence[str]
    columns: Sequence[str] = ()
    reference: Path
    current: Path
    asked: dict[str, Any]
    realised: dict[str, float] = field(default_factory=dict[str, float])

    @property
    def name(self) -> str:
        words = "".join(letter if letter.isalnum() else " " for letter in f"{self.data} {self.window}")
        return "-".join(words.lower().split())


@dataclass(frozen=True, kw_only=True)
class Model:
    """Gradient boosting that learned some rows; a text that it has not seen is a code of its own."""

    pipeline: Any
    target: str
    path: Path

    @classmethod
    def learned(cls, rows: pl.DataFrame, target: str, path: Path) -> Model:
        kind = HistGradientBoostingClassifier if rows[target].dtype == pl.String else HistGradientBoostingRegressor
        texts = [name for name, dtype in rows.schema.items() if dtype == pl.String and name != target]
        codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1)
        columns = make_column_transformer((codes, texts), remainder="passthrough", verbose_feature_names_out=False)
        pipeline = make_pipeline(columns, kind(random_state=0))
        pipeline.fit(rows.drop(target).to_pandas(), rows[target].to_numpy())
        skops.io.dump(pipeline, path)
        return cls(pipeline=pipeline, target=target, path=path)

    def realised(self, rows: pl.DataFrame) -> dict[str, float]:
        inputs, truth = rows.drop(self.target).to_pandas(), rows[self.target].to_numpy()
        answers = self.pipeline.predict(inputs)
        if hasattr(self.pipeline, "predict_proba"):
            second = self.pipeline.classes_[1]
            return of_classes(truth == second, answers == second, self.pipeline.predict_proba(inputs)[:, 1])
        return {
            "mae": float(mean_absolute_error(truth, answers)),
            "rmse": float(root_mean_squared_error(truth, answers)),
        }


def of_classes(truth: Any, answers: Any, probs: Any) -> dict[str, float]:
    return {
        "roc_auc": float(roc_auc_score(truth, probs)),
        "accuracy": float(accuracy_score(truth, answers)),
        "f1": float(f1_score(truth, answers)),
    }


def written(path: Path, rows: pl.DataFrame) -> Path:
    rows.write_parquet(path)
    return path


def houses(data: Path, folder: Path) -> Iterator[Case]:
    """The model's answers are in the files; the truth came later."""
    source = data / "nannyml_california_housing"
    before, after = pl.read_csv(source / "reference.csv.gz"), pl.read_csv(source / "analysis.csv.gz")
    after = after.join(pl.read_csv(source / "analysis_targets.csv"), on="id", maintain_order="left")
    places = [frame.select("Latitude", "Longitude").to_numpy() for frame in (before, after)]
    distance = NearestNeighbors(n_neighbors=1).fit(places[0]).kneighbors(places[1])[0][:, 0]
    month = after["timestamp"].str.slice(0, 7)
    for window, chosen, actions in (
        ("June 2021 to May 2022", np.ones(len(month), dtype=bool), ("abstain there", "retrain")),
        ("June 2021 without truth", (month == "2021-06").to_numpy(), ("abstain there", "ask for labels")),
        ("March 2022 without truth", (month == "2022-03").to_numpy(), ("abstain there", "ask for labels")),
    ):
        rows = after.filter(chosen)
        yield Case(
            data="houses",
            window=window,
            true=f"other places: {np.mean(distance[chosen] > 0.1):.0%} of the blocks lie over 0.1 degrees from all "
            "blocks of the reference",
            known="nearest neighbours",
            causes=BEYOND,
            actions=actions,
            columns=("Latitude", "Longitude"),
            reference=source / "reference.csv.gz",
            current=written(
                folder / f"{window[:10]}.parquet", rows if window[-5:] != "truth" else rows.drop("clf_target")
            ),
            asked={
                "target": "clf_target",
                "prediction": "y_pred",
                "probs": "y_pred_proba",
                "time": "timestamp",
                "window": "month",
            },
            realised=of_classes(*(rows[name].to_numpy() for name in ("clf_target", "y_pred", "y_pred_proba"))),
        )


def taxis(data: Path, folder: Path) -> Iterator[Case]:
    """Is the tip above a fifth of the fare?"""
    tipped = pl.when(pl.col("tips") > 0.2 * pl.col("fare")).then(pl.lit("yes")).otherwise(pl.lit("no"))
    first, later, serving = (
        pl.read_csv(data / "chicago_taxi" / name, infer_schema_length=None).drop("pickup_census_tract")
        for name in ("train.csv.gz", "eval.csv.gz", "serving.csv")
    )
    first, later = (frame.with_columns(tipped.alias("tipped")).drop("tips") for frame in (first, later))
    order = np.random.default_rng(0).permutation(first.height)
    model = Model.learned(first[order[:5000]].drop("trip_start_timestamp"), "tipped", folder / "taxis.skops")
    reference = written(folder / "taxis.parquet", first[order[5000:]])
    in_utc = later.with_columns((pl.col("trip_start_hour") + 6) % 24)
    for window, true, known, causes, actions, columns, rows in (
        (
            "eval beside train",
            "rows of one draw; new values of `company` and `payment_type` in 17 of 5,000",
            "facts of the data",
            ("none",),
            ("nothing",),
            (),
            later,
        ),
        (
            "serving beside train",
            "100 rows of the same draw; nobody knows their tips",
            "facts of the data",
            ("none", "undecided"),
            ("nothing", "ask for labels"),
            (),
            serving,
        ),
        (
            "eval, hours in UTC",
            "`trip_start_hour` is six hours off",
            "planted",
            ("data bug",),
            ("fix the pipeline",),
            ("trip_start_hour",),
            in_utc,
        ),
    ):
        yield Case(
            data="taxis",
            window=window,
            true=true,
            known=known,
            causes=causes,
            actions=actions,
            columns=columns,
            reference=reference,
            current=written(folder / f"taxis-{rows.height}-{len(columns)}.parquet", rows),
            asked={"target": "tipped", "time": "trip_start_timestamp", "model": model.path},
            realised=model.realised(rows.drop("trip_start_timestamp")) if "tipped" in rows.columns else {},
        )


def bikes(data: Path, folder: Path) -> Iterator[Case]:
    """A model that knows one summer."""
    inputs = ["hr", "holiday", "weekday", "workingday", "weathersit", "temp", "atemp", "hum", "windspeed", "cnt"]
    table = pl.read_csv(data / "bike_sharing" / "hour.csv.gz").select(
        (pl.col("dteday").str.to_datetime() + pl.duration(hours="hr")).alias("at"), *inputs
    )

    def months(year: int, *numbers: int) -> pl.Expr:
        return (pl.col("at").dt.year() == year) & pl.col("at").dt.month().is_in(numbers)

    summer = table.filter(months(2011, 6, 7, 8))
    unseen = np.random.default_rng(0).random(summer.height) < 0.2
    model = Model.learned(summer.filter(~unseen).drop("at"), "cnt", folder / "bikes.skops")
    usual = model.realised(summer.filter(unseen).drop("at"))["mae"]
    reference = written(folder / "bikes.parquet", summer.filter(unseen))
    coldest = float(np.quantile(summer["temp"].to_numpy(), 0.01))
    winter = months(2011, 12) | months(2012, 1, 2)
    for window, rows, causes, actions, columns in (
        ("autumn 2011", months(2011, 9, 10, 11), ("concept", "undecided"), ("retrain", "abstain there"), ("temp",)),
        ("winter 2011/12", winter, BEYOND, ("abstain there", "retrain"), ("temp",)),
        ("winter 2011/12 without truth", winter, BEYOND, ("abstain there", "ask for labels"), ("temp",)),
        ("spring 2012", months(2012, 3, 4, 5), ("concept",), ("retrain", "recalibrate", "abstain there"), ("temp",)),
        ("summer 2012", months(2012, 6, 7, 8), ("concept",), ("retrain", "recalibrate"), ()),
    ):
        frame = table.filter(rows)
        as_warm = frame.filter(pl.col("temp") >= coldest)
        true = f"{1 - as_warm.height / frame.height:.0%} of the hours are colder than that summer"
        if as_warm.height >= 100:
            there = model.realised(as_warm.drop("at"))["mae"]
            true += f"; in the others the mean error is {there:.0f}, and was {usual:.0f}"
        blind = window.endswith("without truth")
        yield Case(
            data="bicycles",
            window=window,
            true=true,
            known="counted; scikit-learn",
            causes=causes,
            actions=actions,
            columns=columns,
            reference=reference,
            current=written(
                folder / f"bikes-{window.replace('/', '-')}.parquet", frame.drop("cnt") if blind else frame
            ),
            asked={"target": "cnt", "time": "at", "model": model.path, "task": "regression"},
            realised=model.realised(frame.drop("at")),
        )


def wages(data: Path, folder: Path) -> Iterator[Case]:
    """A model that never saw the south."""
    table = pl.read_csv(data / "cps_wages" / "cps1988.csv.gz").sample(fraction=1.0, shuffle=True, seed=0)
    table = table.select(pl.col("wage").log().alias("log_wage"), pl.exclude("rownames", "wage"))
    elsewhere, south = table.filter(pl.col("region") != "south"), table.filter(pl.col("region") == "south")
    model = Model.learned(elsewhere[:12_000], "log_wage", folder / "wages.skops")
    known = elsewhere[12_000:16_000]
    usual = model.realised(known)["mae"]
    for window, rows in (
        ("people from everywhere", pl.concat([elsewhere[16_000:], south[:1500]])),
        ("people from the south", south[1500:5500]),
    ):
        share, found = (rows["region"] == "south").mean(), model.realised(rows)
        yield Case(
            data="wages",
            window=window,
            true=f"{share:.0%} are from a region that was not in the training; mean error {found['mae']:.3f}, "
            f"elsewhere {usual:.3f}",
            known="left out here; scikit-learn",
            causes=("none",),
            actions=("nothing",),
            columns=("region",),
            reference=written(folder / "wages.parquet", known),
            current=written(folder / f"wages-{rows.height}.parquet", rows),
            asked={"target": "log_wage", "model": model.path},
            realised=found,
        )


def people(data: Path, folder: Path) -> Iterator[Case]:
    """Incomes, and one bug at a time in a copy of the same 6,000 clean rows."""
    trained, later = (
        pl.read_csv(data / "adult_census" / f"adult_{part}.csv.gz", null_values="?").with_columns(
            pl.col("income").str.strip_chars_end(".")
        )
        for part in ("train", "test")
    )
    model = Model.learned(trained, "income", folder / "people.skops")
    before, clean = later[:6000], later[6000:12_000]
    reference = written(folder / "people.parquet", before)
    row = pl.int_range(pl.len())
    lacking = row.is_between(1500, 3900, closed="left")
    bugs: list[tuple[str, str, Sequence[str], pl.DataFrame]] = [
        ("clean", "rows of one draw", (), clean),
        (
            "hours x 10",
            "`hours_per_week` ten times too large",
            ("hours_per_week",),
            clean.with_columns(pl.col("hours_per_week") * 10),
        ),
        (
            "survey weight x 1000",
            "`fnlwgt` a thousand times too large",
            ("fnlwgt",),
            clean.with_columns(pl.col("fnlwgt") * 1000),
        ),
        (
            "nulls in texts",
            "`occupation` and `workclass` are missing in 40% of the rows",
            ("occupation", "workclass"),
            clean.with_columns(
                pl.when(~lacking).then(pl.col(name)).alias(name) for name in ("occupation", "workclass")
            ),
        ),
        (
            "nulls in a number",
            "`age` is missing in 40% of the rows; the model was never asked without, and answers the others",
            ("age",),
            clean.with_columns(pl.when(~lacking).then(pl.col("age")).alias("age")),
        ),
        (
            "two columns swapped",
            "`age` holds `hours_per_week`, and the other way round",
            ("age", "hours_per_week"),
            clean.with_columns(age=pl.col("hours_per_week"), hours_per_week=pl.col("age")),
        ),
        (
            "categories renamed",
            "`sex` is written M and F",
            ("sex",),
            clean.with_columns(pl.col("sex").str.slice(0, 1)),
        ),
        ("loaded twice", "each row is there twice", (), pl.concat([clean, clean])),
        ("a stale copy", "the rows of the reference were delivered again", (), before),
        ("a file cut off", "3,600 of the 6,000 rows never came", (), clean[:2400]),
    ]
    for window, true, columns, rows in bugs:
        fine = window == "clean"
        yield Case(
            data="people",
            window=window,
            true=true,
            known="clean rows of one draw" if fine else "planted",
            causes=("none",) if fine else ("data bug",),
            actions=("nothing",) if fine else ("fix the pipeline",),
            columns=columns,
            reference=reference,
            current=written(folder / f"people-{window.replace('/', 'by')}.parquet", rows),
            asked={"target": "income", "model": model.path},
            realised=model.realised(rows.filter(pl.col("age").is_not_null())),
        )


SETS = {"houses": houses, "taxis": taxis, "bicycles": bikes, "wages": wages, "people": people}
