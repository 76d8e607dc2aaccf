"""A live version is watched window by window: what its captured rows and late labels say becomes findings."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from perennial.api import connect
from perennial.capture.predictions import LabelIn
from perennial.models.package import Predictor, checkout
from perennial.registry.versions import package_of
from perennial.renew.reconcile import Reconciler
from perennial.renew.remembering import record_of
from perennial.renew.training import run_loop
from perennial.serve.frames import Answered, encode, row_ids
from perennial.serve.segments import SegmentWriter
from perennial.store.clockfile import create_clock
from perennial.store.files import LocalFiles
from perennial.store.workspace_folder import create_folder
from perennial.types import Micros
from perennial.workspace import Workspace

DAY = 86_400_000_000
START = Micros(1_700_006_400_000_000)  # midnight
ROWS = 600
LOOP = """
import polars as pl
from sklearn.linear_model import LogisticRegression
from perennial import Loop, retrain

loop = Loop("loans", target="paid", label_delay="1d")

@loop.collect
def people():
    return pl.read_parquet("people.parquet")

@loop.train
def model(X, y):
    return LogisticRegression().fit(X, y)

loop.monitor(slices=("kind",))
loop.retrain(retrain.on_shift(), retrain.on_performance_drop(), approval="automatic")
"""


def people(seed: int, rows: int, *, flipped: float = 0.0) -> pl.DataFrame:
    draw = np.random.default_rng(seed)
    income, debt = draw.gamma(4.0, 10.0, rows), draw.normal(0.0, 1.0, rows)
    p = 1.0 / (1.0 + np.exp(-(0.05 * (income - 40.0) - 1.2 * debt)))
    paid = (draw.random(rows) < p) ^ (draw.random(rows) < flipped)
    kind = draw.integers(0, 3, rows)
    return pl.DataFrame({"income": income, "debt": debt, "kind": kind, "paid": np.where(paid, "yes", "no").tolist()})


@pytest.fixture(scope="module")
def at_midnight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a workspace whose version 1 has just gone live; tests work on copies of it."""
    project = tmp_path_factory.mktemp("loans")
    (project / "loop.py").write_text(LOOP)
    people(0, 3000).write_parquet(project / "people.parquet")
    folder = create_folder(project / ".perennial", now=START, simulated=True)
    create_clock(folder.clock, START)
    with connect.open(folder.root) as workspace:
        run_loop(workspace, project, None, lambda _: None)
        look(workspace)
    return folder.root


@pytest.fixture
def ws(at_midnight: Path, tmp_path: Path) -> Iterator[Workspace]:
    """Version 1 is live since midnight; time stands still until a test moves it."""
    with connect.open(shutil.copytree(at_midnight, tmp_path / ".perennial")) as workspace:
        yield workspace


def look(ws: Workspace) -> None:
    reconciler = Reconciler(ws)
    for _ in range(8):
        reconciler.look(ws.clock.now())


def answers_of(ws: Workspace, frame: pl.DataFrame) -> list[dict[str, Any]]:
    """What the live model answers."""
    package = package_of(ws.models.get(name="loans", version=1))
    return Predictor.load(checkout(package, ws.objects, ws.folder.serving_cache), trusted=True).predict(frame)


def live_through(ws: Workspace, day: int, rows: pl.DataFrame, *, answers: list[dict[str, Any]] | None = None) -> None:
    """Captured rows of a day, as the service writes them; their labels, and the next midnight."""
    names = ["income", "debt", "kind"]
    writer = SegmentWriter(ws.folder.segments, LocalFiles(), worker=day)
    layout = writer.layout("loans", names, classes=["no", "yes"])
    ids: list[str] = []
    for row, answer in enumerate(answers_of(ws, rows.select(names)) if answers is None else answers):
        at = START + day * DAY + (row + 1) * (DAY // (rows.height + 2))
        first = writer.issue(1, Micros(at))
        frame = Answered(
            id=first, at=at, layout=layout, key=first, request="", status=200, versions=1, arms="live",
            rows=[list(rows.select(names).row(row))], values=[answer["prediction"]],
            probabilities=[[answer["probabilities"][label] for label in ("no", "yes")]], latency_us=500, source="plain",
        )  # fmt: skip
        writer.append(encode(frame), rows=1)
        ids += row_ids(first, 1)
    writer.close()
    ws.predictions.ingest()
    told = [LabelIn(prediction_id=name, value=value) for name, value in zip(ids, rows["paid"].to_list(), strict=True)]
    ws.predictions.label(endpoint="loans", labels=told)
    ws.system.set_clock(now=Micros(START + (day + 1) * DAY))
    look(ws)


def alarms(ws: Workspace) -> set[tuple[str, str]]:
    found = ws.monitor.list(endpoint="loans")
    return {(one.kind, one.severity) for one in found if one.severity != "info"}


def test_days_without_change_raise_nothing(ws: Workspace) -> None:
    for day in range(4):
        live_through(ws, day, people(day + 1, ROWS))
    assert alarms(ws) == set()
    for name in ("inputs", "labels"):
        held = ws.monitor.detector(endpoint="loans", version=1, name=name)
        assert held is not None
        assert held.cursor >= START + 3 * DAY  # both looked at what they could


def test_an_income_in_cents_is_bad_data_and_no_reason_to_train_on_it(ws: Workspace) -> None:
    live_through(ws, 0, people(1, ROWS))
    live_through(ws, 1, people(2, ROWS).with_columns(income=pl.col("income") * 100))
    quality = [one for one in ws.monitor.list(endpoint="loans") if one.kind == "data_quality"]
    assert {one.evidence["column"] for one in quality} == {"income"}
    assert "unit_scale" in {one.evidence["kind"] for one in quality}
    assert "at most one false alarm in 30 days" in quality[0].evidence["budget"]
    diagnosis = quality[0].evidence["diagnosis"]
    assert (diagnosis["cause"], diagnosis["action"]) == ("data bug", "fix the pipeline")
    assert diagnosis["columns"] == ["income"]
    assert not [one for one in ws.renew.decisions(endpoint="loans") if one.key.startswith("data_quality")]


def test_answers_that_become_wrong_are_found_when_their_labels_have_come(ws: Workspace) -> None:
    live_through(ws, 0, people(1, ROWS))
    for day in range(1, 4):
        live_through(ws, day, people(day + 1, ROWS, flipped=0.3))
    assert ("concept_drift", "critical") in alarms(ws)
    (first, *_) = [one for one in ws.monitor.list(endpoint="loans") if one.kind == "concept_drift"]
    assert first.evidence["mean_loss"] > first.evidence["expected_loss"] + 0.1
    assert first.window_from >= START + DAY
    assert (first.evidence["diagnosis"]["cause"], first.evidence["diagnosis"]["action"]) == ("concept", "retrain")
    assert [one.trigger for one in ws.renew.decisions(endpoint="loans") if one.verdict == "retrain"] == [
        "performance_drop"
    ]


def test_saturdays_are_usual_once_one_was_seen_and_another_change_on_one_is_not(ws: Workspace) -> None:
    """The first day is a Wednesday. On Saturdays other people ask: told when it is new, information a week later."""
    saturdays = pl.col("debt") + 0.8
    for day in range(10):
        live_through(ws, day, people(day + 1, 510).with_columns(debt=saturdays if day == 3 else pl.col("debt")))
    weekly = people(11, 510).with_columns(debt=saturdays)
    live_through(ws, 10, weekly)
    shifts = {
        (one.window_from - START) // DAY: one for one in ws.monitor.list(endpoint="loans", kind="covariate_shift")
    }
    assert {day: one.severity for day, one in shifts.items() if one.severity != "info"} == {3: "warn"}
    usual = shifts[10]
    assert usual.evidence["shifted"] == []
    assert list(usual.evidence["usual"]) == ["debt"]
    assert usual.evidence["changed_now"] == ["debt"]  # against the last days it is news, and the calendar explains it
    assert "as former windows of the same weekday" in usual.says
    assert not [one for one in ws.monitor.list(endpoint="loans") if one.kind == "multivariate_shift"]
    windows = ws.monitor.windows(endpoint="loans", version=1)
    assert len(windows) == 11
    assert [one.alarms for one in windows if "data_quality" in one.alarms] == []
    record = record_of(windows)
    judged = {(one.metric, one.method): one for one in record.standings()}
    assert judged["accuracy", "cbpe"].windows >= 8  # what was said before the labels came, beside what they said
    assert judged["accuracy", "cbpe"].mae < 0.05
    assert record.best("accuracy", ["cbpe", "pape", "pape_sqrt"]) is not None
    live_through(ws, 11, people(12, 510))
    for day in (12, 13, 14, 15, 16):
        live_through(ws, day, people(day + 1, 510))
    live_through(ws, 17, people(18, 510).with_columns(debt=pl.col("debt") - 0.8))
    last = [one for one in ws.monitor.list(endpoint="loans", kind="covariate_shift") if one.severity == "warn"][-1]
    assert (last.window_from - START) // DAY == 17
    assert last.evidence["shifted"] == ["debt"]


def test_answers_that_the_trained_model_does_not_give_are_skew_between_training_and_serving(ws: Workspace) -> None:
    rows = people(1, ROWS)
    right = answers_of(ws, rows.select("income", "debt", "kind"))
    wrong = answers_of(ws, rows.select(pl.col("income") / 10.0, "debt", "kind"))  # as if one column came in other units
    live_through(ws, 0, rows, answers=[*right[: ROWS // 2], *wrong[ROWS // 2 :]])
    (skew,) = [one for one in ws.monitor.list(endpoint="loans") if one.kind == "training_serving_skew"]
    assert skew.severity == "critical"
    assert skew.evidence["rows"] == 400
    assert 150 <= skew.evidence["different"] <= 200
    assert "the service answered" in skew.says
    (window,) = ws.monitor.windows(endpoint="loans", version=1)
    assert window.alarms == ["training_serving_skew"]


def test_other_features_that_drive_the_answers_are_told_once_a_week(ws: Workspace) -> None:
    rows = people(1, ROWS)
    live_through(ws, 0, rows.with_columns(debt=pl.col("debt") * 0.02, income=(pl.col("income") - 40.0) * 2.5 + 40.0))
    (drift,) = [one for one in ws.monitor.list(endpoint="loans") if one.kind == "attribution_drift"]
    shares = dict(zip(drift.evidence["columns"], drift.evidence["current"], strict=True))
    before = dict(zip(drift.evidence["columns"], drift.evidence["reference"], strict=True))
    assert shares["debt"] < 0.1 < 0.4 < before["debt"]
    assert drift.evidence["l1"] > 0.5
    assert "debt" in drift.says
    live_through(ws, 1, people(2, ROWS))
    assert not [one for one in ws.monitor.list(endpoint="loans") if one.kind == "training_serving_skew"]
