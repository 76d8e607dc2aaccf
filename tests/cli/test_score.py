"""`perennial score`: real tables in every format, bad rows, and nothing left behind when it fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from perennial.models.build import SourceCode, build
from perennial.models.package import checkout
from perennial.models.preparation import learn
from perennial.store.objects import ObjectStore
from tests.cli.conftest import Perennial, Said

TEXTS = ["ethnicity", "region", "gender", "occupation", "sector", "union", "married"]
NUMBERS = ["education", "experience", "age"]


@pytest.fixture(scope="session")
def wages(shared_data: Path) -> pl.DataFrame:
    return pl.read_csv(shared_data / "cps_wages" / "cps1985.csv").with_columns(person=pl.format("p{}", "rownames"))


@pytest.fixture(scope="session")
def model(wages: pl.DataFrame) -> Any:
    coded = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), TEXTS), remainder="passthrough", verbose_feature_names_out=False
    )
    return make_pipeline(coded, LinearRegression()).fit(wages[TEXTS + NUMBERS].to_pandas(), wages["wage"].to_numpy())


@pytest.fixture(scope="session")
def package(wages: pl.DataFrame, model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package that holds no code, in a folder."""
    folder = tmp_path_factory.mktemp("wages")
    table = wages.select("person", *TEXTS, *NUMBERS, "wage").to_arrow()
    preparation = learn(table, target="wage", key="person", categories=False, kind="pandas")
    objects = ObjectStore(folder / "objects")
    digest = build(
        model=model, preparation=preparation, train=table, held_out=table.slice(0, 20), objects=objects,
        provenance={"origin": "executor"}, environment="",
    )  # fmt: skip
    return checkout(digest, objects, folder / "cache")


@pytest.fixture(scope="session")
def line(wages: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package whose model is asked in its compiled form, without its toolkit: for tests of what is around it."""
    folder = tmp_path_factory.mktemp("line")
    table = wages.select("person", *NUMBERS, "wage").to_arrow()
    preparation = learn(table, target="wage", key="person")
    x = preparation.x(preparation.raw(table))
    objects = ObjectStore(folder / "objects")
    digest = build(
        model=LinearRegression().fit(x, preparation.y(table)), preparation=preparation, train=table,
        held_out=table.slice(0, 20), objects=objects, provenance={"origin": "executor"}, environment="",
    )  # fmt: skip
    return checkout(digest, objects, folder / "cache")


@pytest.fixture(scope="session")
def expected(wages: pl.DataFrame, model: Any) -> np.ndarray[Any, Any]:
    return model.predict(wages[TEXTS + NUMBERS].to_pandas())


def read(path: Path) -> pl.DataFrame:
    match path.suffix:
        case ".parquet":
            return pl.read_parquet(path)
        case ".csv":
            return pl.read_csv(path)
        case ".jsonl":
            return pl.read_ndjson(path)
        case _:
            return pl.read_ipc(path)


def write(frame: pl.DataFrame, path: Path) -> Path:
    match path.suffix:
        case ".parquet":
            frame.write_parquet(path)
        case ".csv":
            frame.write_csv(path)
        case ".jsonl":
            frame.write_ndjson(path)
        case _:
            frame.write_ipc(path)
    return path


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".jsonl", ".arrow", ".ipc"])
def test_answers_are_the_models_own_in_every_format(
    perennial: Perennial, project: Path, package: Path, wages: pl.DataFrame, expected: Any, ending: str
) -> None:
    rows = write(wages, project / f"rows{ending}")
    said = perennial("score", str(package), str(rows), "-o", f"out{ending}", "--json")
    assert said.code == 0, said.err
    assert said.json["rows"] == wages.height
    assert said.json["unanswered"] == 0
    found = read(project / f"out{ending}")
    assert found.columns == ["person", "prediction", "error"]
    assert found["person"].to_list() == wages["person"].to_list()
    np.testing.assert_allclose(found["prediction"].to_numpy(), expected, rtol=1e-9)
    assert not list(project.glob(".*.tmp"))


def test_columns_are_kept_on_demand(perennial: Perennial, project: Path, line: Path, wages: pl.DataFrame) -> None:
    rows = str(write(wages, project / "rows.parquet"))
    assert perennial("score", str(line), rows, "-o", "all.parquet", "--keep", "all").code == 0
    found = read(project / "all.parquet")
    assert found.select(wages.columns).equals(wages)
    assert perennial("score", str(line), rows, "-o", "none.csv", "--keep", "none").code == 0
    assert read(project / "none.csv").columns == ["prediction", "error"]
    assert perennial("score", str(line), rows, "-o", "some.csv", "--keep", "wage, region").code == 0
    assert read(project / "some.csv").columns == ["wage", "region", "prediction", "error"]
    wrong = perennial("score", str(line), rows, "-o", "no.csv", "--keep", "pay")
    assert (wrong.code, "no column 'pay'" in wrong.err) == (2, True)
    renamed = str(write(wages.rename({"wage": "prediction"}), project / "clash.parquet"))
    clash = perennial("score", str(line), renamed, "-o", "no.csv", "--keep", "all")
    assert (clash.code, "name of an answer's" in clash.err) == (2, True)
    assert not (project / "no.csv").exists()


def test_S13_bad_rows_are_told_row_by_row_and_the_others_are_answered(
    perennial: Perennial, project: Path, package: Path, line: Path, wages: pl.DataFrame, expected: Any
) -> None:
    texts = wages.with_columns(pl.all().cast(pl.String))
    broken = texts.with_columns(
        age=pl.when(pl.col("rownames") == "2").then(pl.lit("young")).otherwise("age"),
        education=pl.when(pl.col("rownames") == "3").then(pl.lit("12.5")).otherwise("education"),
        region=pl.when(pl.col("rownames") == "4").then(None).otherwise("region"),
    )
    write(broken, project / "rows.csv")
    said = perennial("score", str(package), "rows.csv", "-o", "out.parquet", "--json")
    assert (said.code, said.json["unanswered"]) == (1, 3)
    found = read(project / "out.parquet").with_columns(rownames=wages["rownames"], expected=pl.Series(expected))
    bad = found.filter(pl.col("error").is_not_null()).sort("rownames")
    assert bad["error"].to_list() == [
        "column 'age' expects a whole number: got 'young'",
        "column 'education' expects a whole number: got 12.5",
        "column 'region' is missing, and no training row was",
    ]
    assert bad["prediction"].null_count() == 3
    good = found.filter(pl.col("error").is_null())
    np.testing.assert_allclose(good["prediction"].to_numpy(), good["expected"].to_numpy(), rtol=1e-9)
    assert "2 rows without an answer" in perennial("score", str(line), "rows.csv", "-o", "out.parquet").out


def test_digits_get_a_probability_for_each_class_in_parallel_and_in_order(
    perennial: Perennial, project: Path, shared_data: Path
) -> None:
    digits = load_digits()
    frame = pl.DataFrame({f"p{at}": digits.data[:, at] for at in range(64)}).with_columns(
        digit=pl.Series(digits.target)
    )
    frame = frame.with_columns(image=pl.Series([f"i{at}" for at in range(frame.height)]))
    forest = RandomForestClassifier(n_estimators=20, random_state=0).fit(digits.data, digits.target)
    preparation = learn(frame.to_arrow(), target="digit", key="image")
    objects = ObjectStore(project / "objects")
    digest = build(
        model=forest, preparation=preparation, train=frame.to_arrow(), held_out=frame.head(20).to_arrow(),
        objects=objects, provenance={"origin": "executor"}, environment="",
    )  # fmt: skip
    folder = checkout(digest, objects, project / "cache")
    many = pl.concat([frame] * 60).with_columns(image=pl.int_range(60 * frame.height).cast(pl.String))
    write(many.drop("digit"), project / "many.parquet")
    for processes in ("1", "3"):
        said = perennial(
            "score", str(folder), "many.parquet", "-o", f"out{processes}.parquet", "--processes", processes, "--json"
        )
        assert said.code == 0, said.err
        assert said.json["processes"] == int(processes)
    one, three = read(project / "out1.parquet"), read(project / "out3.parquet")
    assert one.equals(three)
    assert three["image"].to_list() == many["image"].to_list()
    assert three.columns == ["image", "prediction", *(f"probability_{digit}" for digit in range(10)), "error"]
    table = forest.predict_proba(digits.data)
    np.testing.assert_allclose(
        three.head(frame.height).select(pl.col("^probability_.*$")).to_numpy(), table, rtol=1e-5, atol=1e-6
    )
    assert three["prediction"].head(frame.height).to_list() == forest.predict(digits.data).tolist()


def test_a_version_of_the_workspace_and_datasets_in_and_out(
    perennial: Perennial, project: Path, wages: pl.DataFrame, model: Any, expected: Any
) -> None:
    joblib.dump(model, project / "model.joblib")
    write(wages.select(*TEXTS, *NUMBERS, "wage"), project / "rows.parquet")
    words = ("deploy", "model.joblib", "--name", "pay", "--sample", "rows.parquet", "--target", "wage")
    assert perennial(*words).code == 0
    said = perennial("score", "pay@1", "rows.parquet", "-o", "out.parquet")
    if said.code == 1:  # what holds code waits for a person
        assert "approve" in said.err
        assert not (project / "out.parquet").exists()
        assert perennial("approve", "pay@1", "--comment", "mine").code == 0
    assert perennial("data", "add", "--table", "rows.parquet", "rows").code == 0
    said = perennial("score", "pay@1", "rows@latest", "-o", "answers", "--keep", "all", "--json")
    assert said.code == 0, said.err
    assert said.json["output"] == "answers@1"
    again = perennial("data", "show", "answers@1", "--json")
    assert again.code == 0, again.err
    exported = perennial("models", "export", "pay@1", "pay.zip")
    assert exported.code == 0, exported.err
    zipped = ("score", "pay.zip", "rows.parquet", "-o", "zip.csv")
    assert perennial(*zipped).code == 0 or perennial(*zipped, "--trust-code").code == 0
    np.testing.assert_allclose(read(project / "zip.csv")["prediction"].to_numpy(), expected, rtol=1e-9)


NASTY = b"""
import os

import numpy as np

class Moody:
    def fit(self, x, y):
        return self

    def predict(self, x):
        values = x["x"].to_numpy()
        if (values == 13).any():
            raise ValueError("unlucky")
        if (values == 666).any():
            os._exit(7)
        return np.where(values == 8, np.inf, values * 2)
"""


@pytest.fixture
def moody(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of a user's own class, which is code."""
    (project / "moody.py").write_bytes(NASTY)
    monkeypatch.syspath_prepend(str(project))
    import moody  # type: ignore[import-not-found]  # made above

    table = pa.table({"x": np.arange(1.0, 41.0), "y": np.arange(1.0, 41.0) * 2})
    table = table.filter(pa.compute.not_equal(table["x"], 13)).filter(pa.array([True] * 7 + [False] + [True] * 31))
    objects = ObjectStore(project / "objects")
    digest = build(
        model=moody.Moody(), preparation=learn(table, target="y"), train=table, held_out=table.slice(0, 5),
        objects=objects, provenance={"origin": "executor"}, environment="",
        code=SourceCode(module="moody", features=None, files={"moody.py": NASTY}),
    )  # fmt: skip
    sys.modules.pop("moody")
    return checkout(digest, objects, project / "cache")


def test_C08_code_in_a_package_runs_only_where_somebody_vouched_for_it(
    perennial: Perennial, project: Path, moody: Path
) -> None:
    write(pl.DataFrame({"x": [1.0, 2.0]}), project / "rows.csv")
    said = perennial("score", str(moody), "rows.csv", "-o", "out.csv")
    assert said.code == 1
    assert "holds code" in said.err
    assert sorted(path.name for path in project.glob("out*")) == []
    said = perennial("score", str(moody), "rows.csv", "-o", "out.csv", "--trust-code", "--json")
    assert (said.code, said.json["form"]) == (0, "native")
    assert read(project / "out.csv")["prediction"].to_list() == [2.0, 4.0]
    assert "moody" not in sys.modules


def test_a_model_that_fails_on_a_row_answers_the_others(perennial: Perennial, project: Path, moody: Path) -> None:
    write(pl.DataFrame({"x": [float(at) for at in range(1, 600)]}), project / "rows.parquet")
    said = perennial("score", str(moody), "rows.parquet", "-o", "out.parquet", "--trust-code", "--json")
    assert (said.code, said.json["unanswered"]) == (1, 2)
    found = read(project / "out.parquet").with_row_index("row", 1)
    bad = found.filter(pl.col("error").is_not_null())
    assert bad.select("row", "prediction", "error").rows() == [
        (8, None, "the model answered inf"),
        (13, None, "ValueError: unlucky"),
    ]
    good = found.filter(pl.col("error").is_null())
    assert good["prediction"].to_list() == [2.0 * row for row in good["row"]]


def test_a_process_that_dies_leaves_no_file(perennial: Perennial, project: Path, moody: Path) -> None:
    write(pl.DataFrame({"x": [1.0, 666.0]}), project / "rows.csv")
    (project / "out.csv").write_text("as it was")
    said = perennial("score", str(moody), "rows.csv", "-o", "out.csv", "--trust-code")
    assert said.code == 2
    assert "ended with 7" in said.err
    assert (project / "out.csv").read_text() == "as it was"
    assert not list(project.glob(".*.tmp"))


def test_a_stopped_command_leaves_no_file(project: Path, moody: Path) -> None:
    pl.DataFrame({"x": np.tile(np.arange(20.0, 60.0), 200_000)}).write_csv(project / "rows.csv")
    command = [sys.executable, "-m", "perennial", "score", str(moody), "rows.csv", "-o", "out.csv", "--trust-code"]
    running = subprocess.Popen(command, cwd=project, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not list(project.glob(".out.csv.*.tmp")):
        assert running.poll() is None, "it ended before it was stopped"
        assert time.monotonic() < end
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGINT)
    assert running.wait(60) == 130
    assert not (project / "out.csv").exists()
    assert not list(project.glob(".*.tmp"))


WRONG: list[tuple[tuple[str, ...], str]] = [
    (("rows.csv", "-o", "out.xlsx"), "says no format"),
    (("rows.csv", "-o", "out.csv", "--processes", "0"), "how many processes"),
    (("nothing.csv", "-o", "out.csv"), "no such file"),
    (("rows.csv", "-o", "no/where/out.csv"), "cannot be written"),
    (("short.csv", "-o", "out.csv"), "has no column 'education'"),
    (("typed.parquet", "-o", "out.csv"), "column 'age' holds string"),
]


@pytest.mark.parametrize("words, says", WRONG, ids=[says for _, says in WRONG])
def test_what_cannot_be_scored_is_refused(
    perennial: Perennial, project: Path, line: Path, wages: pl.DataFrame, words: tuple[str, ...], says: str
) -> None:
    write(wages.head(3), project / "rows.csv")
    write(wages.head(3).drop(NUMBERS), project / "short.csv")
    write(wages.head(3).with_columns(pl.col("age").cast(pl.String)), project / "typed.parquet")
    said: Said = perennial("score", str(line), *words)
    assert (said.code, says in said.err) == (2, True), said.err


def test_what_is_no_package_is_refused(perennial: Perennial, project: Path) -> None:
    (project / "folder").mkdir()
    for what in ("folder", "./nothing"):
        said = perennial("score", what, "rows.csv", "-o", "out.csv")
        assert (said.code, "no model package" in said.err) == (2, True), said.err


def test_numbers_that_are_text_to_the_model_keep_their_zeros(perennial: Perennial, project: Path) -> None:
    codes = ["007", "010", "123", "456"] * 10
    frame = pl.DataFrame({"code": codes, "x": np.arange(40.0), "y": np.arange(40.0)})
    coded = make_column_transformer((OneHotEncoder(), ["code"]), remainder="passthrough")
    model = make_pipeline(coded, LinearRegression()).fit(frame[["code", "x"]].to_pandas(), frame["y"].to_numpy())
    preparation = learn(frame.to_arrow(), target="y", kind="pandas", categories=False)
    objects = ObjectStore(project / "objects")
    digest = build(
        model=model, preparation=preparation, train=frame.to_arrow(), held_out=frame.head(5).to_arrow(),
        objects=objects, provenance={"origin": "executor"}, environment="",
    )  # fmt: skip
    folder = checkout(digest, objects, project / "cache")
    write(frame.drop("y"), project / "rows.csv")
    said = perennial("score", str(folder), "rows.csv", "-o", "out.csv", "--keep", "all", "--json")
    assert (said.code, said.json["unanswered"]) == (0, 0), said.err
    found = pl.read_csv(project / "out.csv", infer_schema=False)
    assert found["code"].to_list() == codes
    np.testing.assert_allclose(found["prediction"].cast(pl.Float64).to_numpy(), frame["y"].to_numpy(), atol=1e-9)


def test_an_empty_table_is_an_empty_file(perennial: Perennial, project: Path, line: Path, wages: pl.DataFrame) -> None:
    write(wages.head(0), project / "rows.parquet")
    said = perennial("score", str(line), "rows.parquet", "-o", "out.parquet", "--json")
    assert (said.code, said.json["rows"]) == (0, 0), said.err
    assert read(project / "out.parquet").schema == {"person": pl.String, "prediction": pl.Float64, "error": pl.String}
