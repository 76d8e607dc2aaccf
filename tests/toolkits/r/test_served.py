"""A crate as MLflow's R client saves it, served. Only R can load it, so R is asked what it answers.

The folder is written in base R as that client writes it: the package `carrier`, from which a crate's class comes, only
makes functions that carry what they need, as this one does.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from ...endtoend.conftest import Project
from ..imported import assert_served_like_mlflow

CRATE = """
model <- lm(dist ~ speed, cars)
crate <- structure(function(x) stats::predict(model, x), class = "crate")
environment(crate) <- list2env(list(model = model), parent = baseenv())
saveRDS(serialize(crate, NULL), "crate.bin")
"""
MLMODEL = """
time_created: '2025-03-03T10:20:30.123456'
flavors:
  crate:
    version: 0.1.0
    model: crate.bin
"""
ASK = 'crate <- unserialize(readRDS("crate.bin")); cat(crate(data.frame(speed = c(4, 10.5, 25))), sep = "\\n")'


def test_a_crate(project: Project, tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "MLmodel").write_text(MLMODEL)
    subprocess.run(["Rscript", "-e", CRATE], cwd=folder, check=True, timeout=60)
    ask = f"options(digits = 15); {ASK}"
    said = subprocess.run(["Rscript", "-e", ask], cwd=folder, check=True, timeout=60, capture_output=True, text=True)
    expected = [float(line) for line in said.stdout.split()]
    sample = tmp_path / "sample.jsonl"
    rows = [{"speed": speed} for speed in (4.0, 10.5, 25.0)]
    sample.write_text("".join(json.dumps(row) + "\n" for row in rows))
    refused = project.perennial("models", "import", str(folder), "--name", "cars", "--sample", str(sample))
    assert refused.code == 1, refused.err
    assert "--trust-code" in refused.err
    words = ("--sample", str(sample), "--trust-code")
    assert_served_like_mlflow(project, folder, "cars", rows, expected, *words, kind="r", relative=1e-9)
