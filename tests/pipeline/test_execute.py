"""Steps run from their slices in the project's folder, and again only when something they depend on changed."""

from __future__ import annotations

import logging
import subprocess
import sys
from textwrap import dedent
from typing import Any

import polars as pl
import pytest

from perennial.errors import ConfigError, Conflict, DataError, LoopError, UserCodeError

LOOP = dedent(
    """\
    import polars as pl
    from sklearn.ensemble import HistGradientBoostingRegressor
    from perennial import Loop, require, retrain, rollout

    loop = Loop("salary", target="wage", time="year", key="person")

    @loop.collect
    def survey() -> pl.DataFrame:
        return pl.read_parquet("survey.parquet")

    @loop.features
    def features(survey):
        return survey.with_columns(senior=pl.col("experience") > 20)

    @loop.train
    def model(X, y, *, max_iter: int = 200):
        return HistGradientBoostingRegressor(max_iter=max_iter, categorical_features="from_dtype").fit(X, y)

    loop.require(
        require.better_than_live("rmse"),
        require.slices("rmse", by="occupation", within=0.10),
        require.monotone("education", increasing=True),
        require.latency(p99_ms=5),
    )
    loop.rollout(rollout.shadow(), rollout.canary(0.05), rollout.canary(0.25), rollout.canary(0.50))
    loop.retrain(retrain.on_performance_drop(), retrain.on_shift(), retrain.every("30d"), approval="automatic")
    """
)

SMALL = dedent(
    """\
    import pandas as pd
    from perennial import Loop
    import sizes

    loop = Loop("small", target="y")
    LIMIT = 10

    @loop.collect
    def rows():
        return pd.DataFrame({"x": [1, 2, 30], "y": [0.0, 1.0, 2.0]})

    @loop.step
    def kept(rows, *, factor: int = 1):
        return rows[rows.x < LIMIT * factor]

    @loop.step
    def wider(kept):
        return kept.assign(z=kept.x * sizes.double(2))

    @loop.features
    def features(wider):
        return wider[["x", "z"]]

    @loop.train
    def model(X, y):
        return 1
    """
)
SIZES = dedent(
    """\
    UNIT = 1
    def double(n):
        return n * 2 * UNIT
    def unused():
        return 1
    """
)


def survey(rows: int = 40) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "person": range(rows),
            "year": [1980] * rows,
            "occupation": pl.Series(["a", "b"] * (rows // 2), dtype=pl.Enum(["a", "b"])),
            "education": [float(i % 12) for i in range(rows)],
            "experience": [float(i) for i in range(rows)],
            "wage": [i / 10 for i in range(rows)],
        }
    )


@pytest.fixture
def small(project: Any) -> Any:
    project.write({"loop.py": SMALL, "sizes.py": SIZES})
    project.run()
    return project


def test_the_loop_of_the_design_runs_as_it_stands(project: Any) -> None:
    project.write({"loop.py": LOOP})
    survey().write_parquet(project.folder / "survey.parquet")
    with project.execution(params={"max_iter": 3}) as execution:
        table = execution.collect("survey")
        features = execution.run(["features"], {"survey": execution.store(table)})["features"]
        frame = execution.load(features)
        assert frame["occupation"].dtype == pl.Enum(["a", "b"])
        x, y = execution.store(frame.drop("wage")), execution.store(frame["wage"])
        model = execution.load(execution.step("model", {"X": x, "y": y}))
    assert model.n_iter_ == 3
    assert [(outcome.name, outcome.state) for outcome in project.outcomes] == [
        ("survey", "done"),
        ("features", "done"),
        ("model", "done"),
    ]


def test_an_unchanged_project_runs_only_collect_and_imports_nothing_of_the_training(project: Any) -> None:
    project.write({"loop.py": LOOP})
    survey().write_parquet(project.folder / "survey.parquet")
    project.run()
    assert project.run().states == {"survey": "done", "features": "cached"}
    script = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(__file__.rpartition("/")[0])!r})
from conftest import Project
from perennial.store.objects import ObjectStore
Project(Path({str(project.folder)!r}), ObjectStore(Path({str(project.objects.folder)!r}))).run()
assert "polars" in sys.modules
assert "sklearn" not in sys.modules, "a step imported what only training uses"
"""
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(
    "file, old, new, again",
    [
        ("loop.py", "LIMIT = 10", "LIMIT = 11", {"kept"}),
        ("loop.py", "LIMIT = 10", "LIMIT = 10  # rows", set()),
        ("loop.py", "rows[rows.x < LIMIT * factor]", "rows[ (rows.x<LIMIT * factor) ]", set()),
        ("loop.py", "def kept(rows, *,", "def kept(rows, *,\n             ", set()),
        ("loop.py", "return 1", "return 2", set()),
        ("loop.py", 'target="y"', 'target="x"', set()),
        ("loop.py", "factor: int = 1", "factor: int = 4", {"kept", "wider", "features"}),
        ("sizes.py", "UNIT = 1", "UNIT = 3", {"wider", "features"}),
        ("sizes.py", "n * 2", "2 * n", {"wider"}),
        ("sizes.py", "return 1", "return 2", set()),
    ],
)
def test_only_what_changed_and_what_follows_run_again(
    small: Any, file: str, old: str, new: str, again: set[str]
) -> None:
    path = small.folder / file
    text = path.read_text()
    assert text.count(old) >= 1
    path.write_text(text.replace(old, new))
    ran = {name for name, state in small.run().states.items() if state == "done"}
    assert ran - {"rows"} == again


def test_new_data_a_parameter_and_a_seed_rerun(small: Any) -> None:
    assert small.run(params={"kept.factor": 4}).states == {
        "rows": "done",
        "kept": "done",
        "wider": "done",
        "features": "done",
    }
    assert small.run(params={"factor": 1}).states["kept"] == "cached"
    assert small.run(seed=1).states["kept"] == "done"
    small.write({"loop.py": SMALL.replace("[1, 2, 30]", "[1, 2, 31]")})
    assert small.run().states == {"rows": "done", "kept": "done", "wider": "cached", "features": "cached"}


def test_a_result_that_is_gone_from_the_store_is_made_again(small: Any) -> None:
    value = small.run().values["kept"]
    small.objects.delete(value.digest)
    assert small.run().states["kept"] == "done"


def test_code_runs_from_the_bundle_not_from_the_work_tree(small: Any) -> None:
    bundle = small.bundle()
    small.write({"loop.py": SMALL.replace("[1, 2, 30]", "[5, 6, 7]"), "sizes.py": "raise RuntimeError\n"})
    assert small.run(bundle=bundle).collected["rows"].x.tolist() == [1, 2, 30]


def test_an_error_names_the_users_line_and_the_last_line_of_the_exception(project: Any) -> None:
    project.write({"loop.py": SMALL, "sizes.py": "def double(n):\n    return 1 / (n - 2)\n"})
    with pytest.raises(UserCodeError, match="step 'wider' failed: ZeroDivisionError: division by zero") as caught:
        project.run()
    assert caught.value.where == "sizes.py:2"
    assert {outcome.name: outcome.state for outcome in project.outcomes}["wider"] == "failed"
    log = project.log("wider")
    assert "return kept.assign(z=kept.x * sizes.double(2))" in log
    assert log.rstrip().endswith("ZeroDivisionError: division by zero")
    assert "execute.py" not in log
    assert str(project.folder / "loop.py") in log


def test_sys_exit_in_a_step_is_an_error_of_the_step(project: Any) -> None:
    project.write({"loop.py": SMALL.replace("return rows[", "raise SystemExit(0); return rows["), "sizes.py": SIZES})
    with pytest.raises(UserCodeError, match="SystemExit: 0"):
        project.run()


def test_a_step_that_returns_nothing_is_told(project: Any) -> None:
    project.write({"loop.py": SMALL.replace("return pd.", "pd."), "sizes.py": SIZES})
    with pytest.raises(DataError, match="step 'rows' returned nothing") as caught:
        project.run()
    assert caught.value.where == "loop.py:8"
    assert project.outcomes[-1].state == "failed"


def test_what_cannot_be_pickled_is_told(project: Any) -> None:
    project.write({"loop.py": SMALL.replace("return kept.assign", "return lambda: kept.assign"), "sizes.py": SIZES})
    with pytest.raises(DataError, match="cannot be stored"):
        project.run()


SECRETIVE = dedent(
    """\
    import logging, os, sys
    import pandas as pd
    from perennial import Loop

    loop = Loop("secretive", target="x")

    @loop.collect(secrets=("DB_URL",))
    def rows():
        url = os.environ.get("DB_URL", "none")
        print("connect to", url)
        print(url[:4], end=""); print(url[4:])
        sys.stderr.write("warning\\n")
        logging.getLogger("driver").warning("url=%s", url)
        {end}
        return pd.DataFrame({{"x": [1]}})

    @loop.features
    def features(rows):
        return rows

    @loop.train
    def model(X):
        return 1
    """
)


def test_a_log_holds_all_that_was_printed_with_secrets_masked(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "postgres://me:p%40ss/ word+@db"
    monkeypatch.setenv("DB_URL", secret)
    project.write(
        {
            "loop.py": SECRETIVE.format(
                end="print(repr(url)); import base64; print(base64.b64encode(b'k:' + url.encode()))"
            )
        }
    )
    project.run(environment={"DB_URL": secret})
    log = project.log("rows")
    assert "connect to ***\n***\n" in log
    assert "warning\n" in log
    assert "WARNING driver: url=***" in log
    assert "ss" not in log.replace("pass", "")
    assert "cG9zdGdyZXM" not in log
    assert not logging.getLogger().handlers or all("perennial" not in repr(h) for h in logging.getLogger().handlers)


def test_a_secret_in_an_error_is_masked_too(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_URL", "hush-hush")
    project.write({"loop.py": SECRETIVE.format(end="raise ValueError(url)")})
    with pytest.raises(UserCodeError, match=r"ValueError: \*\*\*") as caught:
        project.run(environment={"DB_URL": "hush-hush"})
    assert "hush" not in str(caught.value)
    assert "hush" not in project.log("rows")
    assert "hush" not in (project.outcomes[0].error or "")


def test_a_secret_is_no_part_of_a_fingerprint(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write({"loop.py": SECRETIVE.format(end="")})
    project.run(environment={"DB_URL": "one"})
    assert project.run(environment={"DB_URL": "two"}).states["features"] == "cached"


def test_a_missing_secret_is_told_before_anything_runs(project: Any) -> None:
    project.write({"loop.py": SECRETIVE.format(end="")})
    with pytest.raises(ConfigError, match="needs the secret DB_URL") as caught:
        project.run()
    assert caught.value.remedy == "export DB_URL=..."
    assert project.started == []


CLASSES = dedent(
    """\
    import dataclasses
    import random
    import numpy as np
    from perennial import Loop
    from kinds import Point

    loop = Loop("classes", target="x")

    @loop.collect
    def rows():
        return Point(1)

    @loop.step
    def moved(rows):
        assert type(rows) is Point
        return [rows.moved(), random.random(), np.random.rand()]

    @loop.step
    def read(moved):
        return moved[0].x

    @loop.features
    def features(read):
        return read

    @loop.train
    def model(X):
        return 1
    """
)
KINDS = dedent(
    """\
    from dataclasses import dataclass
    @dataclass
    class Point:
        x: int
        def moved(self):
            return Point(self.x + 1)
    """
)


def test_objects_of_project_classes_travel_and_their_code_counts(project: Any) -> None:
    project.write({"loop.py": CLASSES, "kinds.py": KINDS})
    first = project.run()
    assert project.run().states == {"rows": "done", "moved": "cached", "read": "cached", "features": "cached"}
    project.write({"kinds.py": KINDS.replace("x: int", "x: int\n    def more(self): return 2\n")})
    assert project.run().states["read"] == "done"  # it names no class, yet works on an object of one
    with project.execution() as execution:
        assert execution.load(first.values["moved"])[0].x == 2


def test_the_seed_repeats_random_draws(project: Any) -> None:
    import random

    project.write({"loop.py": CLASSES, "kinds.py": KINDS})
    state = random.getstate()
    one = project.run(seed=5).values["moved"]
    assert random.getstate() == state
    project.results.clear()
    assert project.run(seed=5).values["moved"] == one
    project.results.clear()
    assert project.run(seed=6).values["moved"] != one


def test_sources_of_a_step_can_be_imported_on_their_own(project: Any, tmp_path: Any) -> None:
    project.write({"loop.py": CLASSES, "kinds.py": KINDS})
    with project.execution() as execution:
        texts = execution.sources("read", execution.load(execution.store(execution.collect("rows"))))
    assert set(texts) == {"loop.py", "kinds.py"}
    assert "perennial" not in texts["loop.py"]
    for path, text in texts.items():
        (tmp_path / path).write_text(text)
    script = "import loop, kinds; assert loop.read([kinds.Point(3)]) == 3"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path)


def test_one_loop_at_a_time_runs_in_a_process(small: Any) -> None:
    with small.execution(), pytest.raises(Conflict, match="running a loop already"), small.execution():
        pass
    small.run()


def test_work_tree_modules_come_back_after_a_run(small: Any) -> None:
    import types

    mine, before = types.ModuleType("sizes"), sys.modules.get("loop")
    sys.modules["sizes"] = mine
    try:
        small.run()
        assert sys.modules["sizes"] is mine
    finally:
        del sys.modules["sizes"]
    assert sys.modules.get("loop") is before


def test_data_beside_the_code_is_found_by_dunder_file(project: Any) -> None:
    source = SMALL.replace("import sizes", "from pathlib import Path\nimport sizes").replace(
        'return pd.DataFrame({"x": [1, 2, 30], "y": [0.0, 1.0, 2.0]})',
        'return pd.read_csv(Path(__file__).parent / "rows.csv")',
    )
    project.write({"loop.py": source, "sizes.py": SIZES, "rows.csv": "x,y\n1,2\n"})
    assert project.run().collected["rows"].shape == (1, 2)


def test_a_missing_library_names_its_remedy(project: Any) -> None:
    project.write(
        {
            "loop.py": SMALL.replace("return kept.assign", "import not_there_at_all; return kept.assign"),
            "sizes.py": SIZES,
        }
    )
    with pytest.raises(UserCodeError, match="not_there_at_all") as caught:
        project.run()
    assert caught.value.remedy == "pip install not_there_at_all"
    project.write({"loop.py": "import not_there_at_all\n" + SMALL})
    with pytest.raises(LoopError, match=r"loop.py does not import: ModuleNotFoundError") as told:
        project.run()
    assert (told.value.where, told.value.remedy) == ("loop.py:1", "pip install not_there_at_all, or mend the name")
