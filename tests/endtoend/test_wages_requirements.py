"""Requirements on cost, data and repetition, and the budget of a test set, as a user meets them: each runs for real.

The data are those of `shared/data/cps_wages` (534 people; US Current Population Survey, May 1985).
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import Project, Quick

LOOP = '''\
"""What does a person earn in an hour? Asked of the Current Population Survey of May 1985."""

import polars as pl
from sklearn.ensemble import RandomForestRegressor

from perennial import Loop, require, retrain

LEAST = 0.0  # dollars

loop = Loop("hourly", target="wage")


@loop.collect
def survey() -> pl.DataFrame:
    rows = pl.read_csv("cps1985.csv")
    return rows.select("wage", "education", "experience", woman=(pl.col("gender") == "female").cast(pl.Int64))


@loop.train
def model(X, y):
    return RandomForestRegressor(n_estimators=20, min_samples_leaf=5, random_state=0).fit(X, y)


def lawful(answers):
    """No hour is paid less than the least that is lawful."""
    return bool((answers >= LEAST).all()), f"{int((answers < LEAST).sum())} answers are below {LEAST:g} dollars"


loop.evaluate(robustness=False, test_uses=2)
loop.require(
    require.custom(lawful),
    require.reproducible("rmse", refits=2, within=0.0),
    require.memory(peak_mb=4000),
    require.size(mb=50),
    require.latency(p99_ms=60_000),
    require.no_leakage(),
    require.data_quality(missing_at_most=0.2),
)
loop.retrain(retrain.never())
'''
KINDS = ["custom", "reproducible", "memory", "size", "latency", "no_leakage", "data_quality"]
BREAKS = (
    ("LEAST = 0.0", "LEAST = 8.0"),
    ("import polars as pl", "import secrets\n\nimport polars as pl"),
    ("random_state=0", "random_state=secrets.randbelow(10**6)"),  # global generators are seeded before a training
    ("peak_mb=4000", "peak_mb=20"),
    ("size(mb=50)", "size(mb=0.001)"),
    ("p99_ms=60_000", "p99_ms=0.0001"),
    (
        '"wage", "education", "experience",',
        """"wage", pl.when(pl.int_range(pl.len()) % 2 == 0).then("education"), "experience",
        (pl.col("wage") * 2000).alias("yearly"),""",
    ),
)


@pytest.fixture(scope="module")
def hourly(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Iterator[Project]:
    """Version 1 meets all requirements, version 2 none, and version 3 is another one that meets them."""
    project = Quick(tmp_path_factory.mktemp("hourly"))
    project.patience_s = 600.0
    shutil.copy(shared_data / "cps_wages" / "cps1985.csv", project.folder)
    for changes, code in (((), 0), (BREAKS, 1), ((("n_estimators=20", "n_estimators=25"),), 0)):
        project.write(*changes, loop=LOOP)
        said = project.perennial("run")
        assert said.code == code, said.err + said.out
    yield project
    assert project.done("verify")["sound"]


def verdicts_of(project: Project, version: int) -> dict[str, Any]:
    card = project.done("models", "card", f"hourly@{version}")
    found = {verdict["kind"]: verdict for verdict in card["requirements"]}
    assert list(found) == KINDS
    return found


def test_each_requirement_leaves_what_it_saw(hourly: Project) -> None:
    found = verdicts_of(hourly, 1)
    assert {kind: verdict["passed"] for kind, verdict in found.items()} == dict.fromkeys(KINDS, True)
    says, evidence = ({kind: verdict[key] for kind, verdict in found.items()} for key in ("says", "evidence"))
    assert found["custom"]["sentence"] == "No hour is paid less than the least that is lawful"
    assert says["custom"] == "0 answers are below 0 dollars"
    assert re.fullmatch(r"loop.py:\d+", evidence["custom"]["where"])
    assert says["reproducible"] in (
        "trained again on the same rows, the model came out identical",
        "trained again on the same rows, the model answers all 107 held-out rows identically",
    )
    assert 0 < evidence["memory"]["timing"]["without_model_mb"] < evidence["memory"]["timing"]["peak_mb"] < 4000
    assert says["memory"] == "a process that loads the model and answers 107 rows takes at most 4000 MB"
    assert 0 < evidence["size"]["mb"] < 50
    assert max(evidence["size"]["largest"].values()) < evidence["size"]["mb"] * 1e6
    assert says["latency"] == "one row takes less than 60000 ms in 99 of 100 cases"
    assert 0 < evidence["latency"]["timing"]["p99_ms"] < 60_000
    assert says["no_leakage"] == "nothing gives the target away"
    assert says["data_quality"] == "534 rows fit their schema and checks"
    assert evidence["data_quality"]["rows"] == 534


def test_each_requirement_refuses_in_a_sentence_of_its_own(hourly: Project) -> None:
    found = verdicts_of(hourly, 2)
    assert {kind: verdict["passed"] for kind, verdict in found.items()} == dict.fromkeys(KINDS, False)
    says = {kind: verdict["says"] for kind, verdict in found.items()}
    patterns = {
        "custom": r"\d+ answers are below 8 dollars",
        "reproducible": r"rmse was [\d.]+, and [\d.]+, [\d.]+ when trained again: [\d.]+ apart, asked for at most 0",
        "memory": r"a process that loads the model and answers 107 rows takes more than 20 MB",
        "size": r"the package takes [\d.]+ MB, asked for at most 0.001 MB; the largest file is \S+ with [\d.]+ MB",
        "latency": r"one row takes more than 0.0001 ms in 99 of 100 cases",
        "no_leakage": r"yearly alone tells [\d.]+ % of the variance of the target",
        "data_quality": r"5\d(\.\d)? % of education \(held-out rows\) are missing, "
        r"(49|50)(\.\d)? % of education \(training rows\) are missing",
    }
    for kind, pattern in patterns.items():
        assert re.fullmatch(pattern, says[kind]), says[kind]
    refused = hourly.perennial("approve", "hourly@2")
    assert refused.code == 1
    assert all(text in refused.err for text in says.values())


def test_each_run_is_a_look_and_beyond_the_budget_fresh_rows_are_asked_for(hourly: Project) -> None:
    looks = [hourly.done("models", "card", f"hourly@{version}")["lineage"]["judged_by"] for version in (1, 2, 3)]
    # The second was judged by rows with other columns, which are another test set.
    assert [(look["number"], look["planned"], look["rows"]) for look in looks] == [
        (1, 2, 107),
        (1, 2, 107),
        (2, 2, 107),
    ]
    hourly.write(("n_estimators=20", "n_estimators=30"), loop=LOOP)
    assert hourly.done("run")["state"] == "candidate"
    refused = hourly.perennial("approve", "hourly@4")
    assert refused.code == 1
    assert "it was look 3 at 107 rows whose budget is 2, so that its result may be luck" in refused.err
    assert "collect 107 fresh rows to judge by, which restores 2 looks, and train again" in refused.err
    hourly.done("models", "card", "hourly@4", "-o", "card.html")
    page = (hourly.folder / "card.html").read_text(encoding="utf-8")
    assert "Look 3 at a test set that is good for 2: its result may be luck." in page
    assert hourly.done("approve", "hourly@3")["state"] == "approved"
