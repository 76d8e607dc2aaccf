"""The examples' functions are plain functions: they are called here without a run, on the data they are for."""

from __future__ import annotations

import base64
import importlib.util
import runpy
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest

import perennial
from perennial.data.frames import to_arrow
from perennial.demo.world import World
from perennial.loop import Loop
from perennial.loop.declaration import Declaration
from perennial.loop.graph import check
from perennial.models.preparation import Preparation, learn
from perennial.models.rows import to_frame
from perennial.serve.intake import Intake

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = ("salary", "iris", "digits")


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / name / "loop.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def declared(found: ModuleType) -> Declaration:
    loop = found.loop
    assert isinstance(loop, Loop)
    return loop.declaration()


def prepared(found: ModuleType, rows: pl.DataFrame) -> Preparation:
    declaration = declared(found)
    assert declaration.target is not None
    return learn(
        to_arrow(rows),
        target=declaration.target,
        function=next(getattr(found, step.name) for step in declaration.steps if step.kind == "features"),
        key=declaration.key,
        time=declaration.time,
    )


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        runpy.run_path(str(EXAMPLES / "digits" / "make_images.py"))
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_the_template_and_its_loop_checks(name: str) -> None:
    assert (EXAMPLES / name).resolve() == Path(perennial.__file__).parent / "templates" / name
    declaration = declared(module(name))
    assert declaration.name == name
    assert check(declaration)
    for file in ("README.md", ".gitignore"):
        assert (EXAMPLES / name / file).is_file()


@pytest.mark.parametrize("name", NAMES)
def test_a_readme_gives_the_three_commands_and_a_request(name: str) -> None:
    text = (EXAMPLES / name / "README.md").read_text()
    assert sum(line.startswith("    perennial ") for line in text.splitlines()) == 3
    assert f"localhost:8080/predict/{name}" in text


def test_the_salary_loop_learns_from_two_years_and_knows_the_third_better_than_the_mean_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, world = module("salary"), World(seed=1)
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    for (year,), rows in world.first_rows().group_by(pl.col("date").dt.year()):
        rows.write_parquet(f"data/{year}.parquet")
    known = loop.survey()
    assert known.height == 1090
    preparation = prepared(loop, known)
    model = loop.model(preparation.x(known.drop("log_wage")), known["log_wage"].to_numpy())

    later = pl.concat([world.answers(month) for month in world.months()[:12]])
    error = later["log_wage"].to_numpy() - model.predict(preparation.x(later.drop("log_wage")))
    trivial = later["log_wage"].to_numpy() - known["log_wage"].mean()
    assert np.sqrt((error**2).mean()) < 0.9 * np.sqrt((trivial**2).mean())


def test_more_schooling_never_lowers_the_salary_loops_answer() -> None:
    loop, known = module("salary"), World(seed=1).first_rows()
    preparation = prepared(loop, known)
    model = loop.model(preparation.x(known.drop("log_wage")), known["log_wage"].to_numpy())
    asked = known.drop("log_wage").head(50)
    answers = [model.predict(preparation.x(asked.with_columns(education=pl.lit(years)))) for years in range(3, 17)]
    assert (np.diff(answers, axis=0) >= 0).all()


def test_the_iris_loop_knows_flowers_that_it_has_not_seen() -> None:
    loop = module("iris")
    flowers = loop.flowers()
    seen = np.random.default_rng(0).permutation(len(flowers)) < 120
    X, y = flowers.drop(columns="species"), flowers["species"]
    model = loop.model(X[seen], y[seen])
    assert (model.predict(X[~seen]) == y[~seen]).mean() > 0.9


def test_the_images_of_the_digits_loop_hold_every_grey_level_of_the_set(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sklearn.datasets import load_digits

    loop, digits = module("digits"), load_digits()
    monkeypatch.chdir(images)
    number = [int(file.stem) for file in sorted(Path("images").glob("*/*.png"))]
    scans = loop.scans()
    assert np.array_equal(loop.pixels(scans).to_numpy() / 15, digits.data[number])
    assert scans["digit"].to_list() == [str(label) for label in digits.target[number]]


def test_the_digits_loop_reads_images_that_it_has_not_seen_as_a_request_brings_them(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = module("digits")
    monkeypatch.chdir(images)
    scans = loop.scans()
    seen = np.random.default_rng(0).permutation(scans.height) < 1400
    preparation = prepared(loop, scans.filter(seen))
    model = loop.model(preparation.x(scans.filter(seen).drop("digit")), scans.filter(seen)["digit"].to_numpy())
    unseen = scans.filter(~seen)
    asked = to_frame(
        preparation.signature,
        Intake(preparation.signature)
        .of_records([{"image": base64.b64encode(png).decode()} for png in unseen["image"]])
        .records(),
    )
    assert (model.predict(preparation.x(asked)) == unseen["digit"].to_numpy()).mean() > 0.95


def test_the_digits_loop_says_how_to_get_images_when_there_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"python make_images\.py"):
        module("digits").scans()
