"""What does a person earn? Asked every month, answered a month later, while wages keep rising."""

import polars as pl
from sklearn.ensemble import HistGradientBoostingRegressor

from perennial import Loop, require, retrain, rollout

loop = Loop("salary", target="log_wage", time="date", key="person", label_delay="30d")


@loop.collect
def survey() -> pl.DataFrame:  # read anew at each run; new rows are a new dataset version
    return pl.read_parquet("data/*.parquet")


@loop.features
def features(survey: pl.DataFrame) -> pl.DataFrame:  # row by row; the prediction service runs the same code
    return survey.with_columns(
        hours_per_week=pl.col("hours") / 52,
        full_time=pl.col("hours") >= 35 * 50,
        senior=pl.col("experience") >= 10,
    ).drop("hours")


@loop.train
def model(X, y, *, max_iter: int = 100, learning_rate: float = 0.05, max_leaf_nodes: int = 8):
    return HistGradientBoostingRegressor(
        max_iter=max_iter,
        learning_rate=learning_rate,
        max_leaf_nodes=max_leaf_nodes,  # small trees: a thousand rows are few
        categorical_features="from_dtype",  # text columns come as categories
        monotonic_cst={"education": 1},  # so that the requirement below holds by construction
        random_state=0,
    ).fit(X, y)


loop.require(  # each candidate must meet all of them, with evidence
    require.better_than_baseline("mae"),  # by absolute error: a single wage far out would drown the rmse of 200 people
    require.better_than_live("rmse"),
    require.slices("rmse", by="occupation", within=0.50),  # no trade is clearly served worse than half as much again
    require.monotone("education", increasing=True),  # more schooling never lowers the answer
    require.latency(p99_ms=50),
)

loop.rollout(
    # 45 people a month, each wage known a month later: the shadow needs its time, and without proof nothing changes.
    rollout.shadow(min_labels=90, max_time="360d", at_max_time="refuse"),
    # The shadow has judged quality; a canary of a few people a month only guards against errors and slow answers.
    rollout.canary(0.05, min_predictions=1, min_time="30d", max_time="30d", at_max_time="promote"),
    rollout.canary(0.25, min_predictions=1, min_time="30d", max_time="30d", at_max_time="promote"),
    rollout.canary(0.50, min_predictions=1, min_time="30d", max_time="30d", at_max_time="promote"),
)

loop.retrain(
    retrain.on_performance_drop(one_false_alarm_in=100_000, tolerance=0.1),
    retrain.on_shift(),  # a reason to look, not to deploy
    approval="automatic",  # who meets every requirement starts its rollout without a person; "person" asks one
    cool_down="180d",
)
