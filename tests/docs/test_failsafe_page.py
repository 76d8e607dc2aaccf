"""The page on what protects an endpoint: its lines run, and a version made with them has learned what they need."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import polars as pl
import pytest

from perennial.api import connect
from perennial.loop import fallback, guard
from perennial.loop.loop import Loop
from perennial.models.guards.fitted import read_fitted
from perennial.models.guards.spec import FailSafe
from perennial.models.package import read_manifest
from perennial.models.signature import Signature
from perennial.registry.versions import package_of
from perennial.renew.reconcile import Reconciler
from perennial.renew.training import run_loop
from perennial.serve.asked import Asked
from perennial.serve.guarding import Guarding
from perennial.serve.spec import read_spec

PAGE = (Path(__file__).parents[2] / "docs" / "serving" / "failsafe.md").read_text()
CODE = "".join(re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
STEPS = """
import polars as pl
from sklearn.ensemble import HistGradientBoostingRegressor
from perennial import retrain

@loop.collect
def survey():
    return pl.read_parquet("wages.parquet")

@loop.train
def model(X, y):
    return HistGradientBoostingRegressor(max_iter=30, categorical_features="from_dtype", random_state=0).fit(X, y)

loop.retrain(retrain.by_hand(), approval="automatic")
"""


def test_every_guard_fallback_and_method_is_on_the_page() -> None:
    assert {f"guard.{name}" for name in guard.__all__} <= set(re.findall(r"guard\.\w+", PAGE))
    assert {f"fallback.{name}" for name in fallback.__all__} <= set(re.findall(r"fallback\.\w+", PAGE))
    ways = {"guard", "fallback", "interval", "breaker", "serving"}
    assert all(hasattr(Loop, name) for name in ways)
    assert ways <= set(re.findall(r"^loop\.(\w+)\(", CODE, re.MULTILINE))


def test_the_lines_of_the_page_protect_a_version_of_real_wages(shared_data: Path, tmp_path: Path) -> None:
    wages = pl.read_csv(shared_data / "cps_wages" / "cps1988.csv.gz").drop("rownames")
    wages = wages.filter(pl.col("region") != "south").sample(3000, seed=0)
    wages.write_parquet(tmp_path / "wages.parquet")
    (tmp_path / "loop.py").write_text(CODE + STEPS)
    with connect.open(tmp_path / ".perennial") as ws:
        outcome = run_loop(ws, tmp_path, None, lambda line: None)
        version = ws.models.get(name="salary", version=outcome.version)
        manifest = read_manifest(ws.objects.get(package_of(version)))
        files = {path: ws.objects.get(digest) for path, (digest, _) in manifest.files.items()}
        Reconciler(ws).look(ws.clock.now())
        (spec,) = read_spec(ws.folder.spec).endpoints
    fitted = read_fitted(files)
    assert fitted is not None
    assert fitted.conformal is not None
    assert fitted.conformal.tested == 600
    assert fitted.conformal.covered == pytest.approx(0.9, abs=0.06)  # 0.9 within chance of 480 and 600 rows
    # What was declared has come to the service, and with what the package learned every guard of it can work.
    failsafe = FailSafe.read(spec.failsafe)
    signature = msgspec.json.decode(files["signature.json"], type=Signature)
    guarding = Guarding(signature, fitted, failsafe)
    assert guarding.problems == []
    assert (failsafe.deadline_s, failsafe.queue_rows) == (1.0, 5000)
    names = tuple(field.name for field in signature.inputs)
    given = {"education": 12, "experience": 9, "ethnicity": "cauc", "smsa": "no", "region": "south", "parttime": "no"}
    guarded = guarding.before(Asked(names, rows=[tuple(given[name] for name in names)]))
    assert guarded is not None
    assert guarded.needs == ["fall_back"]
    assert guarding.constant()[0] == pytest.approx(wages["wage"].mean(), rel=0.05)
