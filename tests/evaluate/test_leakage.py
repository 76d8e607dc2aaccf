"""Planted leaks are found and named; real data are not accused, but where they do leak."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from perennial.evaluate.answers import Answers, HeldOut, codes_of
from perennial.evaluate.leakage import Suspicion, search_leaks
from perennial.evaluate.requirements import Case, check_requirements
from perennial.loop import require

ROWS = 2000


def held(values: Any, task: str) -> HeldOut:
    if task == "regression":
        truth = np.asarray(values, dtype=np.float64)
        return HeldOut(truth=truth, answers=Answers(prediction=truth))
    codes, classes = codes_of(np.asarray(values))
    return HeldOut(truth=codes, answers=Answers(prediction=codes, classes=classes))


def search(
    frame: pl.DataFrame,
    target: str = "y",
    *,
    task: str = "regression",
    time: str | None = None,
    key: str | None = None,
    random: bool = True,
    leave_out: Sequence[str] = (),
) -> list[Suspicion]:
    """Split at random, or by the order of rows, and search."""
    rows = np.arange(len(frame))
    if random:
        rows = np.random.default_rng(0).permutation(rows)
    train, test = frame[rows[: len(rows) * 4 // 5]], frame[rows[len(rows) * 4 // 5 :]]
    features = [name for name in frame.columns if name not in {target, *leave_out}]
    return search_leaks(
        task,
        train=train.drop(target),
        train_truth=held(train[target], task),
        test=test.drop(target),
        test_truth=held(test[target], task),
        features=features,
        time=time,
        key=key,
    )


def clean(rows: int = ROWS) -> pl.DataFrame:
    random = np.random.default_rng(3)
    a, b = random.normal(size=(2, rows))
    group = random.integers(0, 8, size=rows)
    return pl.DataFrame(
        {"a": a, "b": b, "group": [f"g{one}" for one in group], "y": a + 0.3 * group + random.normal(size=rows)}
    )


def told(found: list[Suspicion]) -> list[tuple[str, tuple[str, ...], str]]:
    return [(one.kind, one.columns, one.strength) for one in found]


def test_clean_data_are_not_accused() -> None:
    assert search(clean()) == []
    labels = clean().with_columns(y=(pl.col("y") > 1).cast(pl.String))
    assert search(labels, task="classification") == []


def test_a_copy_of_the_target_in_another_scale_tells_all() -> None:
    found = search(clean().with_columns(copy=(pl.col("y") * 3).exp()))
    assert told(found) == [("tells all", ("copy",), "strong")]
    assert found[0].says.startswith("copy alone tells 9")
    assert found[0].evidence["score"] > 0.95


def test_a_noisy_copy_tells_far_more_than_all_other_columns() -> None:
    noise = np.random.default_rng(5).normal(size=ROWS)
    frame = clean().with_columns((pl.col("y") + 0.5 * pl.Series(noise)).alias("after"))
    (one,) = search(frame)
    assert (one.kind, one.columns, one.strength) == ("tells most", ("after",), "strong")
    assert one.evidence["score"] > 0.75 > one.evidence["all others together"]


def test_a_flag_that_is_set_afterwards_tells_all_of_a_label() -> None:
    frame = clean().with_columns(y=pl.when(pl.col("y") > 1).then(pl.lit("late")).otherwise(pl.lit("paid")))
    paid = frame.with_columns(fee=pl.when(pl.col("y") == "late").then(25.0).otherwise(0.0))
    assert told(search(paid, task="classification"))[0] == ("tells all", ("fee",), "strong")


def test_two_numbers_that_add_up_to_the_target_are_named_together() -> None:
    part = np.random.default_rng(7).normal(size=ROWS)
    frame = clean().with_columns(part=pl.Series(part), rest=pl.col("y") - 2 * pl.Series(part))
    (one,) = [one for one in search(frame) if one.kind == "adds up"]
    assert set(one.columns) == {"part", "rest"}
    assert one.strength == "strong"
    assert one.evidence["weights"] == {"part": pytest.approx(2.0), "rest": pytest.approx(1.0)}


def test_means_of_the_target_over_all_rows_are_known_by_their_values() -> None:
    frame = clean().with_columns(encoded=pl.col("y").mean().over("group"))
    assert told(search(frame)) == [("target means", ("encoded",), "strong")]
    honest = clean().with_columns(size=pl.col("a").len().over("group").cast(pl.Float64))
    assert search(honest) == []


def test_means_of_the_training_rows_alone_are_only_looked_at() -> None:
    frame = clean()
    order = np.random.default_rng(0).permutation(ROWS)
    seen = frame[order[: ROWS * 4 // 5]]
    means = seen.group_by("group").agg(encoded=pl.col("y").mean())
    assert told(search(frame.join(means, on="group", maintain_order="left"))) == [
        ("target means", ("encoded",), "weak")
    ]


def test_shares_of_a_label_are_means_as_well() -> None:
    frame = clean().with_columns(y=(pl.col("y") > 1).cast(pl.Int64))
    frame = frame.with_columns(encoded=pl.col("y").mean().over("group"))
    assert told(search(frame, task="classification")) == [("target means", ("encoded",), "strong")]


def test_held_out_rows_that_were_trained_on_are_counted() -> None:
    frame = clean()
    doubled = pl.concat([frame[:1600], frame[:40], frame[1640:]])  # by order: 40 rows of the last fifth are old ones
    doubled = pl.concat([frame[:1600], frame[:40], frame[1600:1960]])
    (one,) = search(doubled, random=False)
    assert (one.kind, one.strength) == ("shared rows", "strong")
    assert one.says.startswith("40 of 400 held-out rows stand in the training data as well, with the same target")
    assert one.evidence["first"] == [0, 1, 2, 3, 4]
    assert search(frame, random=False) == []


def test_data_that_repeat_themselves_everywhere_are_not_accused_of_it() -> None:
    small = clean().select("group", y=pl.col("y").round())
    (one,) = search(small)
    assert (one.kind, one.strength) == ("shared rows", "weak")


def test_an_id_in_the_order_of_the_target_predicts() -> None:
    frame = clean().sort("y").with_row_index("id")
    assert told(search(frame)) == [("tells all", ("id",), "strong")]
    rough = clean()
    rough = rough.with_columns(y=pl.col("y") * 0.7 + pl.Series(np.linspace(0, 3, ROWS))).with_row_index("id")
    found = [one for one in search(rough) if one.columns == ("id",)]
    assert told(found) == [("id predicts", ("id",), "strong")]
    assert search(clean().with_row_index("id")) == []


def test_an_entity_on_both_sides_is_named_unless_time_parts_the_rows() -> None:
    frame = clean().with_columns(person=pl.int_range(pl.len()) % 500)
    (one,) = search(frame, key="person")
    assert (one.kind, one.columns, one.strength) == ("shared entities", ("person",), "strong")
    ordered = frame.with_columns(at=pl.int_range(pl.len()))
    assert search(ordered, key="person", time="at", random=False, leave_out=["at"]) == []


def test_rows_and_columns_from_the_future_are_time_travel() -> None:
    frame = clean().with_columns(at=pl.datetime(2020, 1, 1) + pl.duration(hours=pl.int_range(pl.len())))
    assert search(frame, time="at", random=False, leave_out=["at"]) == []
    (one,) = search(frame, time="at", leave_out=["at"])
    assert (one.kind, one.strength) == ("time travel", "strong")
    assert one.says.endswith("held-out rows are older than the newest training row: the model saw their future")
    closed = frame.with_columns(closed=pl.col("at") + pl.duration(days=3), opened=pl.col("at") - pl.duration(days=1))
    (one,) = search(closed, time="at", random=False, leave_out=["at"])
    assert (one.kind, one.columns) == ("time travel", ("closed",))
    assert one.says == "closed is later than at in 2000 of 2000 rows: it was not known at that moment"


def test_missing_values_and_odd_types_do_not_stop_the_search() -> None:
    odd = clean().with_columns(
        a=pl.when(pl.int_range(pl.len()) % 3 > 0).then("a"),
        lists=pl.Series([[1, 2]] * ROWS),
        empty=pl.lit(None, dtype=pl.Float64),
        flag=pl.col("b") > 0,
        group=pl.col("group").cast(pl.Categorical),
    )
    assert search(odd) == []
    assert search(odd[:30]) == []


def test_the_requirement_fails_on_strong_suspicions_and_takes_a_persons_word_for_a_column() -> None:
    frame = clean().with_columns(last=pl.col("y") + 1e-3 * pl.col("b"))
    train, test = frame[:1600], frame[1600:]
    case = Case(
        task="regression",
        frame=test.drop("y"),
        train_frame=train.drop("y"),
        held_out=held(test["y"], "regression"),
        train=held(train["y"], "regression"),
        answer=lambda rows: Answers(prediction=np.zeros(len(rows))),
    )
    (found,) = check_requirements([require.no_leakage()], case)
    assert found.passed is False
    assert found.says.startswith("last alone tells ")
    (known,) = check_requirements([require.no_leakage(known=["last"])], case)
    assert (known.passed, known.says) == (True, "nothing gives the target away")
    assert [one["known"] for one in known.evidence["suspicions"]] == [True]
    without = Case(**{**case.__dict__, "train_frame": None})
    (untold,) = check_requirements([require.no_leakage()], without)
    assert untold.passed is None


def test_bike_sharing_leaks_its_two_parts_and_nothing_else(shared_data: Path) -> None:
    hours = pl.read_csv(shared_data / "bike_sharing" / "hour.csv.gz", try_parse_dates=True)
    found = search(hours, "cnt", time="dteday", random=False)
    assert told(found) == [
        ("tells all", ("registered",), "strong"),
        ("adds up", ("registered", "casual"), "strong"),
    ]
    assert found[1].says == "1 registered + 1 casual is the target: it tells 100 % of its variance"
    assert search(hours, "cnt", time="dteday", random=False, leave_out=["casual", "registered"]) == []
    days = pl.read_csv(shared_data / "bike_sharing" / "day.csv", try_parse_dates=True)
    rest = search(days, "cnt", time="dteday", random=False, leave_out=["casual", "registered"])
    assert told(rest) == [("id predicts", ("instant",), "weak")]  # numbers of the days: a trend


@pytest.mark.parametrize("name", ["adult", "cps_1988", "california", "employment"])
def test_clean_real_data_are_not_accused(shared_data: Path, name: str) -> None:
    if name == "adult":
        frame, target, task = (
            pl.read_csv(shared_data / "adult_census" / "adult_train.csv.gz"),
            "income",
            "classification",
        )
    elif name == "cps_1988":
        frame, target, task = pl.read_csv(shared_data / "cps_wages" / "cps1988.csv.gz"), "wage", "regression"
    elif name == "california":
        frame = pl.read_csv(shared_data / "nannyml_california_housing" / "reference.csv.gz", try_parse_dates=True)
        frame, target, task = frame.drop("y_pred_proba", "y_pred", "id"), "clf_target", "classification"
    else:
        frame = pl.read_parquet(shared_data / "nannyml_employment_ma" / "reference.parquet").head(40_000)
        frame, target, task = frame.drop("prediction", "predicted_probability", "id"), "employed", "classification"
    assert [one for one in search(frame, target, task=task) if one.strength == "strong"] == []


def test_the_rows_of_cps_1985_are_sorted_and_their_numbers_tell(shared_data: Path) -> None:
    frame = pl.read_csv(shared_data / "cps_wages" / "cps1985.csv")
    assert told(search(frame, "wage")) == [("id predicts", ("rownames",), "weak")]
    assert search(frame, "wage", leave_out=["rownames"]) == []
