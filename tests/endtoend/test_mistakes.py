"""Mistakes in a loop: each is exit code 2 with what, where and a remedy, and what stood before stands after it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

import perennial

from .conftest import Project, Quick

FRAME = 'return pl.DataFrame({"a": n % 7 * 1.0, "b": n % 5 * 1.0, "y": n % 7 * 2.0 + n % 5})'
FEATURES = 'kept.with_columns(ab=pl.col("a") * pl.col("b"))'


@dataclass(frozen=True)
class Mistake:
    """A change of the loop, what is said about it, a piece of the line that is named, and how to go on."""

    before: str
    after: str
    what: str
    line: str
    remedy: str


MISTAKES = {
    "syntax": Mistake("def rows():", "def rows(:", "is not Python", "def rows(:", "mend this line"),
    "missing module": Mistake("import polars as pl", "import nothing_here", "No module named", "import nothing_here",
                              "pip install nothing_here"),
    "unknown name": Mistake("require, retrain", "require", "'retrain' is not defined", "loop.retrain(",
                            "from perennial import retrain"),
    "raises at import": Mistake('target="y")', 'target="y")\n1 / 0', "ZeroDivisionError", "1 / 0", "mend this line"),
    "misspelt requirement": Mistake("require.better", "require.beter", "'beter_than_baseline'", "loop.require(",
                                    "did you mean 'better_than_baseline'?"),
    "unknown metric": Mistake('"rmse"', '"rsme"', "'rsme'", "loop.require(", "did you mean 'rmse'?"),
    "unknown step": Mistake("def kept(rows)", "def kept(row)", "no step has that name", "@loop.step", "mean 'rows'?"),
    "cycle": Mistake("def kept(rows):", "def kept(rows, more):\n    pass\n\n\n@loop.step\ndef more(kept):",
                     "steps need each other in a circle", "@loop.step", "take one of these arguments away"),
    "missing target": Mistake('target="y"', 'target="z"', "step 'kept' gives no column 'z'", "@loop.step", "keep 'z'"),
    "no target": Mistake(', target="y"', "", "takes y, but the loop names no target", "loop = Loop(", "target="),
    "collects nothing": Mistake(FRAME, FRAME.removeprefix("return "), "step 'rows' returned nothing", "@loop.collect",
                                "return a data frame"),
    "collects no rows": Mistake("np.arange(200)", "np.arange(0)", "collected 0 rows", "@loop.collect",
                                "look at the collect step"),
    "collects no frame": Mistake(FRAME, "return 'abc'", "expected a data frame, got str", "@loop.collect",
                                 "return a DataFrame"),
    "lost column": Mistake('"b": n % 5 * 1.0, ', "", "column 'b' is gone", "", "perennial data accept line.rows@"),
    "column of text": Mistake('"b": n % 5 * 1.0', '"b": (n % 5).astype(str)', "holds string, was float64", "",
                              "perennial data accept line.rows@"),
    "infinity": Mistake('"a": n % 7 * 1.0', '"a": np.where(n == 3, -np.inf, n)', "'a' is infinite", "@loop.collect",
                        "replace infinite values by nulls"),
    "NaN in the target": Mistake("n % 7 * 2.0 +", "np.where(n == 3, np.nan, n) +", "'y' is missing in 1", "", "drop"),
    "a step that raises": Mistake("rows.filter", "rows.filtre", "AttributeError", "rows.filtre", "perennial runs log"),
    "a step that gives nothing": Mistake("return rows.filter", "rows.filter", "returned nothing", "@loop.step",
                                         "return a data frame"),
    "features that drop rows": Mistake(FEATURES, FEATURES + '.filter(pl.col("a") > 1)', "rows for", "def features",
                                       "keep every row"),
    "features of other rows": Mistake('* pl.col("b")', '- pl.col("a").mean()', "'ab' depends on other rows",
                                      "def features", "row by row"),
    "features that sort": Mistake(FEATURES, FEATURES + '.sort("a")', "the order of the rows", "def features", "row"),
    "features of the target": Mistake('* pl.col("b")', '* pl.col("y")', "features read the target 'y'", "pl.col",
                                      "compute features from the other columns only"),
    "features that raise": Mistake("kept.with_columns", "kept.with_colums", "AttributeError", "kept.with_colums",
                                   "mend this line"),
    "a model that raises": Mistake("return Line(X, y)", "return Line(X, y[1:])", "LinAlgError", "lstsq",
                                   "perennial runs log"),
    "no such slice": Mistake("loop.require(", 'loop.require(require.slices("rmse", by="c", within=1), ',
                             "no such column", "loop = Loop(", "use one of a, b"),
    "metric of another task": Mistake('better_than_baseline("rmse")', 'metric("accuracy", at_least=1)',
                                      "no metric 'accuracy' for regression", "loop = Loop(", "use one of rmse"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_the_loop_is_2_with_what_where_and_remedy_and_nothing_half_written(
    name: str, trained: Project
) -> None:
    mistake = MISTAKES[name]
    loop = trained.write((mistake.before, mistake.after)).splitlines()
    said = trained.perennial("run", "--json")
    assert said.code == 2, said.err
    told = said.json["error"]
    assert mistake.what in told["what"]
    assert mistake.remedy in told["remedy"]
    if mistake.line:
        file, number = told["where"].partition(",")[0].split(":")
        assert file == "loop.py", "as seen from the project's folder"
        assert mistake.line in loop[int(number) - 1]
    with perennial.open(trained.home) as ws:
        assert [(version.version, version.state) for version in ws.models.list()] == [(1, "candidate")]
        assert {run.status for run in ws.runs.list(loop="line")} <= {"finished", "failed"}


def test_a_failed_requirement_is_1_and_names_the_evidence(quick: Quick) -> None:
    quick.write(('require.better_than_baseline("rmse")', 'require.metric("r2", at_least=1.5)'))
    said = quick.perennial("run")
    assert said.code == 1
    assert "line version 1: refused" in said.out
    assert "FAILED  r2 is at least 1.5: r2 is 1 (95% interval 1 to 1), asked for at least 1.5" in said.out
    checked = quick.perennial("check", "--json")
    assert checked.code == 1
    assert checked.json["passed"] is False
    assert checked.json["verdicts"][0]["evidence"]["estimate"] == pytest.approx(1)
    approved = quick.perennial("approve", "line@1")
    assert (approved.code, "r2 is 1 (95% interval 1 to 1), asked for at least 1.5" in approved.err) == (1, True)
    quick.write()
    assert quick.perennial("check").code == 0


def test_a_changed_table_waits_for_a_person_and_then_goes_on(quick: Quick) -> None:
    quick.write()
    quick.done("run")
    narrower = (('"b": n % 5 * 1.0, ', ""), ('* pl.col("b")', "* 2"))
    quick.write(*narrower)
    first, second = quick.perennial("run"), quick.perennial("run")
    assert (first.code, second.code) == (2, 2)
    remedy = "perennial data accept line.rows@2"
    assert remedy in first.err
    assert remedy in second.err, "the same table again is the same draft"
    quick.done(*remedy.split()[1:])
    outcome = quick.done("run")
    assert (outcome["version"], outcome["state"], outcome["data"]) == (2, "candidate", {"line.rows": 2})
    assert quick.done("data", "show", "line.rows")["accepted_by"]


def test_a_secret_is_asked_for_by_name_masked_and_part_of_no_fingerprint(quick: Quick) -> None:
    collect = ("@loop.collect\ndef rows():", "@loop.collect(secrets=['TOKEN'])\ndef rows():\n    import os")
    shown = ("    n = np.arange(200)", "    n = np.arange(200)\n    print('the token is', os.environ['TOKEN'])")
    quick.write(collect, shown)
    missing = quick.perennial("run")
    assert missing.code == 2
    assert "needs the secret TOKEN" in missing.err
    assert "to go on: export TOKEN=..." in missing.err
    first = quick.perennial("run", "--json", TOKEN="open-sesame-1")
    again = quick.perennial("run", "--json", TOKEN="open-sesame-2")
    assert "the token is ***" in first.err, "what a step prints is shown, and is not the result"
    assert first.json["is_new"]
    assert not again.json["is_new"], "another secret is not another input"
    quick.write(collect, ("    n = np.arange(200)", "    raise OSError('refused: ' + os.environ['TOKEN'])"))
    failed = quick.perennial("run", "--json", TOKEN="open-sesame-3")
    assert failed.code == 2
    runs = quick.done("runs", "list")
    logs = [quick.done("runs", "log", run["id"]) for run in runs]
    assert "refused: ***" in json.dumps(logs)
    assert "the token is ***" in json.dumps(logs)
    everything: list[Any] = [first.out, first.err, again.out, again.err, failed.out, failed.err, runs, logs]
    everything += [quick.done("runs", "show", run["id"]) for run in runs]
    assert "sesame" not in json.dumps(everything)
    files = [path.read_bytes() for path in quick.home.rglob("*") if path.is_file()]
    assert not any(b"sesame" in data for data in files)
