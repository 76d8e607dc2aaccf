"""What a stored package takes of memory is measured in a process of its own, which loads it and answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from sklearn.linear_model import LinearRegression

from perennial.errors import UserCodeError
from perennial.evaluate.answers import Answers, HeldOut
from perennial.evaluate.requirements import Case, PackageFacts, check_requirements
from perennial.loop import require
from perennial.models.build import build
from perennial.models.package import checkout
from perennial.models.preparation import learn
from perennial.store.objects import ObjectStore

ROWS = 300


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """A linear model of two numbers, packaged and checked out."""
    random = np.random.default_rng(0)
    frame = pl.DataFrame({"a": random.normal(size=ROWS), "b": random.normal(size=ROWS)})
    table: pa.Table = frame.with_columns(y=2 * pl.col("a")).to_arrow()
    made = learn(table, target="y", function=None, kind="polars", task="regression", positive=None, key=None, time=None)
    model = LinearRegression().fit(made.x(made.raw(table)), made.y(table))
    with ObjectStore(tmp_path / "objects") as objects:
        digest = build(
            model=model,
            preparation=made,
            train=table,
            held_out=table,
            objects=objects,
            provenance={"origin": "executor"},
            environment="",
        )
        folder = checkout(digest, objects, tmp_path / "serving")
    sizes = {path.name: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    on = HeldOut(truth=np.zeros(ROWS), answers=Answers(prediction=np.zeros(ROWS)))
    told: dict[str, Any] = {"task": "regression", "frame": frame, "held_out": on, "train": on}
    package = PackageFacts(size_bytes=sum(sizes.values()), folder=folder, largest=sizes)
    return Case(**told, answer=lambda _: on.answers, package=package)


def test_a_small_model_takes_what_its_libraries_take_whatever_the_parent_has(case: Case) -> None:
    ballast = np.ones(40_000_000)  # 320 MB in this process are not the model's

    (found,) = check_requirements([require.memory(peak_mb=4000)], case)
    assert (found.passed, found.evidence["rows"]) == (True, ROWS)
    assert 20 < found.evidence["timing"]["without_model_mb"] < found.evidence["timing"]["peak_mb"]
    assert found.evidence["timing"]["without_model_mb"] < ballast.nbytes / 1e6
    (tight,) = check_requirements([require.memory(peak_mb=10)], case)
    assert tight.passed is False
    assert tight.says == "a process that loads the model and answers 300 rows takes more than 10 MB"


def test_a_package_that_does_not_load_is_an_error_and_no_verdict(case: Case) -> None:
    assert case.package is not None
    assert case.package.folder is not None
    (case.package.folder / "model.json").unlink(missing_ok=True)
    (next(case.package.folder.glob("model*"))).unlink()
    with pytest.raises(UserCodeError, match="a process that loads the model and answers failed: "):
        check_requirements([require.memory(peak_mb=4000)], case)


def test_the_size_is_that_of_all_files(case: Case) -> None:
    (found,) = check_requirements([require.size(mb=1)], case)
    assert found.passed is True
    assert case.package is not None
    assert found.evidence["mb"] == pytest.approx(case.package.size_bytes / 1e6)
