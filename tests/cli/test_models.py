"""`perennial models`: lists, cards, comparisons, decisions, and what MLflow's clients registered."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LinearRegression

from perennial.api.connect import open
from perennial.models.facts.evaluation import Estimate, Evaluation
from perennial.models.facts.verdict import Verdict
from perennial.workspace import Workspace
from tests.cli.conftest import Perennial


@pytest.mark.usefixtures("candidate")
def test_a_version_that_a_client_registered_is_listed_shown_and_not_approved(perennial: Perennial) -> None:
    with open() as ws:
        ws.model_versions.create(name="salary", source="s3://bucket/model", description="tuned by hand")
        ws.registered.set_alias(name="salary", alias="tuned", version=3)
    listed = perennial("models", "list").out.splitlines()
    assert listed[-1].split()[:3] == ["salary@3", "unreviewed", "@tuned"]
    shown = perennial("models", "show", "salary@3").out
    for line in ("salary version 3: unreviewed", "description: tuned by hand", "source: s3://bucket/model"):
        assert line in shown
    assert "salary version 3: unreviewed" in perennial("models", "show", "salary@tuned").out
    said = perennial("approve", "salary@3")
    assert said.code == 1
    assert "has no package" in said.err
    assert "perennial deploy FOLDER/model.pkl --name salary --sample ROWS.parquet" in said.err
    status = perennial("status")
    assert "salary@1" in status.out
    assert "salary@3" not in status.out


@pytest.mark.usefixtures("candidate")
@pytest.mark.parametrize("way", [(), ("models",)], ids=["verb", "noun"])
def test_an_approval_shows_the_package_that_is_trusted_from_then_on(perennial: Perennial, way: tuple[str, ...]) -> None:
    said = perennial(*way, "approve", "salary@1", "--comment", "fine")
    assert said.code == 0
    with open() as ws:
        version = ws.models.get(name="salary", version=1)
        (registered, approved) = ws.models.lineage(name="salary", version=1).decisions
    assert f"package {version.package}" in said.out
    assert f"registered by {registered.by}" in said.out
    assert (approved.package, approved.comment) == (version.package, "fine")


@pytest.mark.usefixtures("candidate")
@pytest.mark.parametrize("way", [(), ("models",)], ids=["verb", "noun"])
def test_a_rejection_says_why_or_is_none(perennial: Perennial, way: tuple[str, ...]) -> None:
    assert perennial(*way, "reject", "salary@1").code == 2
    blank = perennial(*way, "reject", "salary@1", "--comment", " ")
    assert (blank.code, "a rejection needs a comment" in blank.err) == (2, True)
    said = perennial(*way, "reject", "salary@1", "--comment", "weak in the south", "--json")
    assert (said.json["state"], said.json["comment"]) == ("rejected", "weak in the south")


@pytest.mark.usefixtures("candidate")
def test_what_people_say_is_kept_listed_and_on_the_card(perennial: Perennial) -> None:
    assert "purpose: (nobody has said)" in perennial("models", "describe", "salary").out
    said = perennial("models", "describe", "salary", "--purpose", "fair pay", "--owner", "pay team", "--risk", "high")
    assert "purpose: fair pay" in said.out
    (line,) = perennial("models", "list", "--models", "--json").json
    assert (line["facts"]["owner"], line["facts"]["risk"], line["waiting"]) == ("pay team", "high", 1)
    assert "pay team" in perennial("models", "list", "--models").out
    assert "for: fair pay" in perennial("models", "card", "salary").out
    wrong = perennial("models", "describe", "salary", "--review-by", "soon")
    assert (wrong.code, "is not a day" in wrong.err) == (2, True)


@pytest.mark.usefixtures("candidate")
def test_tags_and_aliases_of_ones_own(perennial: Perennial) -> None:
    assert perennial("models", "tag", "salary@1", "team=pay", "frozen").out.split() == ["frozen", "team=pay"]
    assert perennial("models", "tag", "salary@1", "--remove", "frozen", "--json").json == {"team": "pay"}
    assert perennial("models", "tag", "salary", "x").code == 2
    assert perennial("models", "alias", "salary@1", "best").out == "salary@best is version 1\n"
    assert "salary version 1" in perennial("models", "card", "salary@best").out
    assert perennial("models", "alias", "salary", "best", "--remove", "--json").json == {}
    assert perennial("models", "alias", "salary@1", "live").code == 2


@pytest.mark.usefixtures("candidate")
def test_a_card_is_written_only_where_a_person_says(perennial: Perennial, project: Path) -> None:
    before = {path.name for path in project.iterdir()}
    assert "not known: Nobody has said what it is for." in perennial("models", "card", "salary@1").out
    assert {path.name for path in project.iterdir()} == before
    assert perennial("models", "card", "salary@1", "--format", "markdown").out.startswith("---\nmodel_name: ")
    for name, begins in (
        ("card.html", "<!doctype html>"),
        ("card.md", "---\n"),
        ("card.json", "{"),
        ("card.cdx.json", '{\n  "$schema": "http://cyclonedx.org/'),
    ):
        said = perennial("models", "card", "salary@1", "-o", name)
        assert said.out == f"the card of salary version 1 is in {name}\n"
        assert (project / name).read_text().startswith(begins)
    assert perennial("models", "card", "salary@1", "--json").json == json.loads((project / "card.json").read_text())


@pytest.mark.usefixtures("candidate")
def test_which_models_learned_from_a_dataset_version(perennial: Perennial, project: Path) -> None:
    pl.DataFrame({"a": [1, 2, 3]}).write_csv(project / "rows.csv")
    assert perennial("data", "add", "rows.csv", "rows").code == 0
    assert perennial("models", "learned", "rows").out == "no model learned from rows@1\n"
    with open() as ws:
        package = ws.models.get(name="salary", version=1).package
        assert package is not None
        ws.models.register(name="pay", package=package, origin="loop", dataset="rows", dataset_version=1)
    (row,) = perennial("models", "learned", "rows@1", "--json").json
    assert (row["name"], row["version"], row["through"]) == ("pay", 1, [])
    assert "learned from rows@1" in perennial("models", "show", "pay").out


def judged(
    ws: Workspace, *, prediction: list[float], truth: list[float], rows: str = "the newest rows", **more: Any
) -> int:
    """A version with stored answers."""
    buffer = io.BytesIO()
    pl.DataFrame({"truth": truth, "prediction": prediction}).write_parquet(buffer)
    rmse = float(np.sqrt(np.mean((np.array(truth) - np.array(prediction)) ** 2)))
    found = Estimate(value=rmse, low=None, high=None, rows=len(truth))
    evaluation = Evaluation(
        task="regression",
        metric="rmse",
        split=rows,
        test={"rmse": found},
        train={},
        baseline={},
        saved_over_baseline={},
        overfits=None,
        answers=ws.objects.put(buffer.getvalue()),
    )
    package = ws.objects.put(b'{"format":1,"files":{},"kind":"sklearn"}')
    stored = ws.objects.put(msgspec.json.encode(evaluation))
    return ws.models.register(name="pay", package=package, origin="loop", evaluation=stored, **more).version


def test_two_versions_are_compared_on_the_rows_that_both_answered(perennial: Perennial) -> None:
    draw = np.random.default_rng(3)
    truth = draw.normal(size=400)
    close, far = truth + draw.normal(0, 0.1, 400), truth + draw.normal(0, 0.5, 400)
    verdict = Verdict(kind="metric", sentence="rmse is at most 0.3", passed=True, says="it is")
    with open() as ws:
        runs = ["a" * 32, "b" * 32]
        for run, depth in zip(runs, ("3", "5"), strict=True):
            ws.runs.start(loop="pay", run_id=run, params={"depth": depth})
        judged(ws, prediction=far.tolist(), truth=truth.tolist(), run_id=runs[0])
        judged(ws, prediction=close.tolist(), truth=truth.tolist(), run_id=runs[1], verdicts=[verdict])
        judged(ws, prediction=close[:50].tolist(), truth=truth[:50].tolist(), rows="other rows")
    found = perennial("models", "compare", "pay@1", "pay@2", "--json").json
    assert (found["paired"]["decision"], found["paired"]["rows"]) == ("better", 400)
    gain = float(np.sqrt(np.mean((far - truth) ** 2)) - np.sqrt(np.mean((close - truth) ** 2)))
    assert found["paired"]["effect"] == pytest.approx(gain)
    told = {(one["kind"], one["name"]): (one["first"], one["second"]) for one in found["differences"]}
    assert told["params", "depth"] == ("3", "5")
    assert told["requirements", "rmse is at most 0.3"] == ("(absent)", "holds")
    assert perennial("models", "compare", "pay@2", "pay@1", "--json").json["paired"]["decision"] == "inferior"
    lines = perennial("models", "compare", "pay@1", "pay@2").out
    assert "pay@2 is better against pay@1: rmse improves by" in lines
    assert "depth" in lines
    apart = perennial("models", "compare", "pay@1", "pay@3")
    assert "no paired comparison: they were tested on different rows" in apart.out


def test_an_answer_is_explained_column_by_column(perennial: Perennial, project: Path) -> None:
    import joblib

    draw = np.random.default_rng(5)
    x = pl.DataFrame({"education": draw.normal(13, 2, 300), "hours": draw.normal(40, 4, 300)})
    y = 2.0 * x["education"].to_numpy() - 0.5 * x["hours"].to_numpy()
    joblib.dump(LinearRegression().fit(x.to_pandas(), y), project / "model.joblib")
    x.with_columns(pl.Series("pay", y)).write_parquet(project / "rows.parquet")
    words = ("deploy", "model.joblib", "--name", "pay", "--sample", "rows.parquet", "--target", "pay")
    assert perennial(*words).code == 0
    with open() as ws:
        state = ws.models.get(name="pay", version=1).state
    if state == "candidate":
        assert perennial("approve", "pay@1").code == 0
    (one,) = perennial("models", "explain", "pay@1", "--rows", "rows.parquet", "--row", "3", "--json").json
    assert one["row"] == 3
    assert one["prediction"] == pytest.approx(y[2])
    assert one["base"] + sum(one["contributions"].values()) == pytest.approx(one["explained"])
    # Exact for a linear model: coefficient times the distance from the mean of the background.
    slope = {"education": 2.0, "hours": -0.5}
    (other,) = perennial("models", "explain", "pay@1", "--rows", "rows.parquet", "--row", "4", "--json").json
    for name, times in slope.items():
        moved = one["contributions"][name] - other["contributions"][name]
        assert moved == pytest.approx(times * (x[name][2] - x[name][3]))
    said = perennial("models", "explain", "pay@1", "--rows", "rows.parquet")
    assert said.out.count("without knowing the row") == 5
    assert "education" in said.out
    assert "#" in said.out
    assert perennial("models", "explain", "pay@1", "--rows", "rows.parquet", "--row", "301").code == 2


@pytest.mark.usefixtures("candidate")
def test_what_was_live_on_a_date_and_who_let_it(perennial: Perennial) -> None:
    assert perennial("approve", "salary@1", "--comment", "fine").code == 0
    with open() as ws:
        signature = ws.objects.put(b'{"task":"regression"}')
        manifest = json.dumps({"format": 1, "kind": "sklearn", "files": {"signature.json": [signature, 1]}})
        package = ws.objects.put(manifest.encode())
        version = ws.models.register(name="pay", package=package, origin="loop").version
    assert perennial("endpoints", "live", "pay").code == 2
    assert perennial("approve", f"pay@{version}", "--comment", "checked by hand").code == 0
    assert perennial("deploy", f"pay@{version}", "--because", "the first").code == 0
    said = perennial("endpoints", "live", "pay")
    for line in ("pay version 1, from ", "checked by hand", "the first", package):
        assert line in said.out
    assert perennial("endpoints", "live", "pay", "--at", "2020-01-01").out.startswith("nothing was live at pay on 2020")
    assert perennial("endpoints", "live", "pay", "--at", "2020-01-01", "--json").json["version"] is None
    wrong = perennial("endpoints", "live", "pay", "--at", "yesterday")
    assert (wrong.code, "'yesterday' is no time" in wrong.err) == (2, True)
