"""A prior shift of the adult census is repaired at once: a version with corrected answers, made without training."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from perennial.api import connect
from perennial.capture.predictions import LabelIn
from perennial.models.package import Predictor, checkout, files_of
from perennial.models.priors import PRIOR, read_priors
from perennial.registry.records import versions
from perennial.registry.versions import package_of
from perennial.renew.reconcile import Reconciler
from perennial.renew.retraining import Decision, Job
from perennial.renew.training import run_job, run_loop
from perennial.serve.frames import Answered, encode, row_ids
from perennial.serve.inline import InlineModel
from perennial.serve.segments import SegmentWriter
from perennial.stats.label_shift import corrected
from perennial.store.clockfile import create_clock
from perennial.store.files import LocalFiles
from perennial.store.workspace_folder import create_folder
from perennial.types import Digest, Micros
from perennial.workspace import Workspace

DAY = 86_400_000_000
START = Micros(1_700_006_400_000_000)
NUMBERS = ["age", "education_num", "hours_per_week", "capital_gain", "capital_loss"]
LOOP = """
import polars as pl
from sklearn.ensemble import HistGradientBoostingClassifier
from perennial import Loop, require, retrain, rollout

loop = Loop("income", target="income")

@loop.collect
def people():
    return pl.read_parquet("people.parquet")

@loop.train
def model(X, y):
    return HistGradientBoostingClassifier(max_iter=30, random_state=0).fit(X, y)

loop.require(require.better_than_baseline("accuracy"))
loop.retrain(retrain.on_prior_shift(), approval="automatic")
loop.rollout(rollout.shadow(min_labels=200))
"""


def census(data: Path, part: str) -> pl.DataFrame:
    frame = pl.read_csv(data / "adult_census" / f"adult_{part}.csv.gz", null_values="?")
    rich = pl.when(pl.col("income").str.contains(">50K")).then(pl.lit("over")).otherwise(pl.lit("under"))
    return frame.select(*(pl.col(name).cast(pl.Float64) for name in NUMBERS), income=rich)


def with_share(frame: pl.DataFrame, share: float, rows: int, seed: int) -> pl.DataFrame:
    """Rows of both classes as they are, the one in this share."""
    over = round(share * rows)
    parts = [
        frame.filter(pl.col("income") == label).sample(count, seed=seed)
        for label, count in (("over", over), ("under", rows - over))
    ]
    return pl.concat(parts).sample(fraction=1.0, shuffle=True, seed=seed)


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Iterator[Workspace]:
    """A loop over the census; version 1 went live at midnight."""
    folder = tmp_path_factory.mktemp("income")
    (folder / "loop.py").write_text(LOOP)
    census(shared_data, "train").sample(8000, seed=0).write_parquet(folder / "people.parquet")
    made = create_folder(folder / ".perennial", now=START, simulated=True)
    create_clock(made.clock, START)
    with connect.open(made.root) as workspace:
        run_loop(workspace, folder, None, lambda _: None)
        look(workspace)
        yield workspace


def look(ws: Workspace) -> None:
    reconciler = Reconciler(ws)
    for _ in range(6):
        reconciler.look(ws.clock.now())


def loaded(ws: Workspace, version: int, *, native: bool = False) -> Predictor:
    package = package_of(ws.models.get(name="income", version=version))
    return Predictor.load(folder_of(ws, version), trusted=ws.models.is_trusted(package=package), native=native)


def folder_of(ws: Workspace, version: int) -> Path:
    package = package_of(ws.models.get(name="income", version=version))
    return checkout(package, ws.objects, ws.folder.serving_cache)


def live_through(ws: Workspace, day: int, rows: pl.DataFrame, predictor: Predictor) -> None:
    """A day's requests, the model's own answers as the service writes them, their labels, and the next midnight."""
    answers = predictor.predict(rows.select(NUMBERS))
    writer = SegmentWriter(ws.folder.segments, LocalFiles(), worker=day)
    layout = writer.layout("income", NUMBERS, classes=["over", "under"])
    ids: list[str] = []
    for row, answer in enumerate(answers):
        at = START + day * DAY + (row + 1) * (DAY // (rows.height + 2))
        probabilities: Any = answer["probabilities"]
        first = writer.issue(1, Micros(at))
        frame = Answered(
            id=first, at=at, layout=layout, key="", request="", status=200, versions=1,
            arms="live", rows=[list(rows.select(NUMBERS).row(row))], values=[answer["prediction"]],
            probabilities=[[probabilities["over"], probabilities["under"]]], latency_us=500, source="plain",
        )  # fmt: skip
        writer.append(encode(frame), rows=1)
        ids += row_ids(first, 1)
    writer.close()
    ws.predictions.ingest()
    told = [LabelIn(prediction_id=name, value=value) for name, value in zip(ids, rows["income"].to_list(), strict=True)]
    ws.predictions.label(endpoint="income", labels=told)
    ws.system.set_clock(now=Micros(START + (day + 1) * DAY))
    look(ws)


@dataclass(frozen=True)
class Shifted:
    """What came of two days of which the second had other shares of the classes."""

    first: Predictor
    early: list[Decision]  # after the first day
    decisions: list[Decision]
    job: Job | None
    result: dict[str, Any]
    said: list[str]


@pytest.fixture(scope="module")
def shifted(ws: Workspace, shared_data: Path) -> Shifted:
    """Version 2 is made: version 1 with its answers corrected."""
    test = census(shared_data, "test")
    first = loaded(ws, 1)
    live_through(ws, 0, with_share(test, 0.24, 800, 1), first)
    early = decided(ws)
    live_through(ws, 1, with_share(test, 0.60, 1500, 2), first)
    decisions = decided(ws)
    job = ws.renew.claim(holder="test", gone=[])
    said: list[str] = []
    result: dict[str, Any] = {}
    if job is not None:
        result = run_job(ws, job, said.append)
        ws.renew.finish_job(id=job.id, epoch=job.epoch, result=result)
    return Shifted(first, early, decisions, job, result, said)


def decided(ws: Workspace) -> list[Decision]:
    return [one for one in ws.renew.decisions(endpoint="income") if one.verdict != "no"]


def test_a_prior_shift_becomes_a_corrected_version_that_goes_the_way_of_any_other(
    ws: Workspace, shifted: Shifted, shared_data: Path
) -> None:
    assert shifted.early == []
    (decision,) = shifted.decisions
    assert (decision.verdict, decision.trigger) == ("correct", "prior_shift")
    told = decision.evidence["correction"]
    shares = dict(zip(told["classes"], told["current_priors"], strict=True))
    assert shares["over"] == pytest.approx(0.60, abs=0.06)  # estimated from answers alone

    job, first = shifted.job, shifted.first
    assert job is not None
    assert job.id == decision.job
    assert shifted.result["version"] == 2
    steps = {step.name: step.state for step in ws.runs.get(run_id=job.id).steps}
    trained = {state for name, state in steps.items() if name.startswith("model")}
    assert trained == {"cached"}, shifted.said  # nothing trained

    version = ws.models.get(name="income", version=2)
    assert version.state in ("candidate", "approved")
    verdicts = {one.kind: one for one in version.verdicts}
    assert verdicts["better_than_baseline"].passed
    assert verdicts["label_shift"].passed
    assert verdicts["label_shift"].evidence["version"] == 1
    parents = [(one.version, one.how) for one in ws.models.lineage(name="income", version=2).parents]
    assert (1, "its answers, corrected for new shares of the classes") in parents
    card = (folder_of(ws, 2) / "model-card.md").read_text()
    assert "| corrects |" in card

    rows = with_share(census(shared_data, "test"), 0.60, 4000, 3)
    before, after = first.answers(rows.select(NUMBERS)), loaded(ws, 2).answers(rows.select(NUMBERS))
    priors = read_priors(folder_of(ws, 2))
    assert priors is not None
    assert after.probabilities is not None
    assert before.probabilities is not None
    logits = told["scale"] * np.log(np.maximum(before.probabilities, 1e-7)) + np.asarray(told["bias"])
    calibrated = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert after.probabilities == pytest.approx(corrected(calibrated, told["weights"]), abs=1e-9)
    truth = rows["income"].to_numpy()
    right = [float(np.mean(np.asarray(answers.values) == truth)) for answers in (before, after)]
    assert right[1] > right[0] + 0.03


def test_native_and_compiled_answers_are_corrected_alike_and_its_golden_answers_hold(
    ws: Workspace, shifted: Shifted
) -> None:
    folder = folder_of(ws, 2)
    assert (folder / PRIOR).is_file()
    native, served = loaded(ws, 2, native=True), loaded(ws, 2)
    assert native.check_golden() == served.check_golden() == []
    rows = served.golden_frame()
    one, other = native.answers(rows).probabilities, served.answers(rows).probabilities
    assert one == pytest.approx(other, abs=1e-4)
    compiled = json.loads((folder / "compiled.json").read_text())
    assert compiled["form"], compiled["reason"]
    package = package_of(ws.models.get(name="income", version=2))
    inline = InlineModel(package, folder)  # as a front of the service loads it: it gives the golden answers itself
    assert inline.scorer.priors is not None
    flavors = json.loads((folder / "MLmodel").read_text())["flavors"]
    assert set(flavors) == {"perennial", "python_function"}  # no loader that knows nothing of the correction


def test_it_is_approved_by_the_rule_and_shadows_the_live_version_first(ws: Workspace, shifted: Shifted) -> None:
    look(ws)
    rollout = ws.endpoints.get(name="income").rollout
    assert rollout is not None
    assert (rollout.version, rollout.against, rollout.stages[0].kind) == (2, 1, "shadow")
    assert ws.models.get(name="income", version=2).state == "approved"
    assert "corrected for new shares of the classes" in rollout.because


def test_the_fit_that_was_judged_is_named_by_the_evaluation_and_kept_as_long_as_it(ws: Workspace) -> None:
    version = ws.models.get(name="income", version=1)
    assert version.evaluation is not None
    assert version.run_id is not None
    evaluation = ws.objects.get(Digest(version.evaluation))
    judged = json.loads(evaluation)["judged"]
    artifacts = {one.path: one.digest for one in ws.runs.get(run_id=version.run_id).artifacts}
    assert judged == artifacts["judged_package.json"]
    assert judged != package_of(version)  # the one that serves was fitted on all rows
    held = set(versions.c.evaluation.info["expand"](evaluation, ws.objects.get))
    assert {judged, *files_of(ws.objects.get(judged))} <= held
