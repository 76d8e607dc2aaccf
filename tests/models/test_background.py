"""Training rows in a package that answers are explained against: which they are, and what is refused."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LinearRegression

from perennial.errors import Corrupt
from perennial.evaluate.explain import RowExplainer, explain_rows
from perennial.models.background import BACKGROUND, MAX_BYTES, MAX_ROWS, background_of, read_background
from perennial.models.build import build
from perennial.models.package import Predictor, checkout, read_manifest
from perennial.models.preparation import learn
from perennial.store.objects import ObjectStore
from perennial.types import Digest

DRAW = np.random.default_rng(7)
TABLE = pl.DataFrame({"id": range(400), "a": DRAW.normal(5, 2, 400), "b": DRAW.normal(0, 1, 400)}).with_columns(
    y=2 * pl.col("a") - pl.col("b")
)


@pytest.fixture
def objects(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path / "objects")


def stored(table: pl.DataFrame, objects: ObjectStore) -> Digest:
    arrow = table.to_arrow()
    preparation = learn(arrow, target="y", key="id")
    x = preparation.columns(preparation.raw(arrow))
    return build(
        model=LinearRegression().fit(x.to_numpy(), preparation.y(arrow)),
        preparation=preparation,
        train=arrow,
        held_out=arrow.slice(0, 30),
        objects=objects,
        provenance={},
        environment="",
    )


def test_a_package_holds_a_hundred_training_rows_without_target_or_key(objects: ObjectStore, tmp_path: Path) -> None:
    digest = stored(TABLE, objects)
    predictor = Predictor.load(checkout(digest, objects, tmp_path / "cache"))
    found = predictor.background_frame()
    assert found.columns == ["a", "b"]
    assert found.height == MAX_ROWS
    assert found.n_unique() == MAX_ROWS
    assert found.join(TABLE, on=["a", "b"], how="semi").height == MAX_ROWS
    assert stored(TABLE, objects) == digest  # drawn, and yet the same


def test_rows_that_are_sorted_are_drawn_from_everywhere() -> None:
    frame = pl.DataFrame({"n": range(10_000)})
    found = pl.read_parquet(background_of(frame))["n"]
    assert found.is_sorted()
    assert found.mean() == pytest.approx(5_000, abs=900)  # three standard errors of a hundred uniform draws
    assert background_of(frame) == background_of(frame)


def test_of_few_rows_all_are_kept_and_of_large_ones_a_few() -> None:
    assert pl.read_parquet(background_of(pl.DataFrame({"n": [3, 1, 2]})))["n"].to_list() == [3, 1, 2]
    image = np.zeros((40, 3, 200, 200))
    found = pl.read_parquet(background_of(pl.DataFrame({"image": image})))
    assert found.height == MAX_BYTES // (3 * 200 * 200 * 8)


def test_every_type_comes_back_as_it_was_also_what_is_missing_or_infinite() -> None:
    frame = pl.DataFrame(
        {
            "number": [1.5, None, float("inf")],
            "count": [1, 2, None],
            "flag": [True, None, False],
            "word": ["a", None, "ü"],
            "bytes": [b"\x00", b"", None],
            "day": [dt.date(2024, 1, 1), None, dt.date(1900, 2, 28)],
            "moment": [dt.datetime(2024, 1, 1, 12, 30, 0, 1, tzinfo=dt.UTC)] * 3,
            "image": np.arange(12.0).reshape(3, 2, 2),
            "y": [1.0, 2.0, 3.0],
        }
    )
    arrow = frame.to_arrow()
    preparation = learn(arrow, target="y")
    raw = preparation.raw(arrow)
    found = read_background(background_of(raw), preparation.signature)
    assert found.equals(raw)
    assert found.schema == raw.schema


def test_explanations_are_against_these_rows_and_not_the_golden_ones(objects: ObjectStore, tmp_path: Path) -> None:
    predictor = Predictor.load(checkout(stored(TABLE, objects), objects, tmp_path / "cache"), native=True)
    known = predictor.background_frame()
    rows = TABLE.select("a", "b").head(3)
    for one, row in zip(explain_rows(predictor, rows), rows.to_dicts(), strict=True):
        assert one.method == "linear"
        assert one.contributions["a"] == pytest.approx(2 * (row["a"] - known["a"].mean()))
        assert one.contributions["b"] == pytest.approx(-(row["b"] - known["b"].mean()))
    compiled = Predictor.load(checkout(stored(TABLE, objects), objects, tmp_path / "cache"))
    explainer = RowExplainer(compiled)
    assert explainer.evaluations == 2 * MAX_ROWS  # two columns, and each order with its reverse
    for one, exact in zip(explainer.explain(rows), explain_rows(predictor, rows), strict=True):
        assert one.method == "sampled"
        # A linear model has one answer to what a column contributes, in whatever order.
        assert one.contributions == pytest.approx(exact.contributions, rel=1e-4, abs=1e-4)


def test_a_package_of_before_is_explained_against_its_golden_rows(objects: ObjectStore, tmp_path: Path) -> None:
    manifest = read_manifest(objects.get(stored(TABLE, objects)))
    files = {name: told for name, told in manifest.files.items() if name != BACKGROUND}
    older = objects.put(msgspec.structs.replace(manifest, files=files).to_bytes())
    predictor = Predictor.load(checkout(older, objects, tmp_path / "cache"), native=True)
    assert predictor.background_frame().equals(predictor.golden_frame())
    (one,) = explain_rows(predictor, TABLE.select("a", "b").head(1))
    assert one.base == pytest.approx(2 * predictor.golden_frame()["a"].mean() - predictor.golden_frame()["b"].mean())


@pytest.mark.parametrize("what", ["no Parquet", "other columns", "other types"])
def test_C09_what_is_no_rows_of_the_model_is_refused_when_it_is_read(
    what: str, objects: ObjectStore, tmp_path: Path
) -> None:
    other = pl.DataFrame({"a": ["x"], "b": ["y"]}) if what == "other types" else pl.DataFrame({"a": [1.0]})
    data = b"PAR1 and nothing" if what == "no Parquet" else background_of(other)
    manifest = read_manifest(objects.get(stored(TABLE, objects)))
    files = {**manifest.files, BACKGROUND: (objects.put(data), len(data))}
    forged = objects.put(msgspec.structs.replace(manifest, files=files).to_bytes())
    predictor = Predictor.load(checkout(forged, objects, tmp_path / "cache"))
    assert predictor.check_golden() == []  # it answers; it only is not explained
    with pytest.raises(Corrupt, match="background rows"):
        RowExplainer(predictor)


FRESH = """
import json, sys
from pathlib import Path
from perennial.evaluate.explain import RowExplainer
from perennial.models.package import Predictor
predictor = Predictor.load(Path(sys.argv[1]))
(one,) = RowExplainer(predictor).explain(predictor.frame([{"a": 1.0, "b": 2.0}]))
heavy = [name for name in ("scipy", "pandas", "sklearn", "sqlalchemy", "shap") if name in sys.modules]
print(json.dumps([one.explained, heavy]))
"""


def test_a_worker_explains_a_compiled_model_without_a_database_and_without_the_toolkit(
    objects: ObjectStore, tmp_path: Path
) -> None:
    folder = checkout(stored(TABLE, objects), objects, tmp_path / "cache")
    done = subprocess.run(
        [sys.executable, "-c", FRESH, str(folder)], capture_output=True, text=True, timeout=120, check=True
    )
    explained, heavy = json.loads(done.stdout)
    assert explained == pytest.approx(0.0, abs=1e-4)
    assert heavy == []
