"""What a fresh process loads. How long that takes is measured by the benchmarks, never asserted here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import perennial

PACKAGE = Path(perennial.__file__).parent

# Prints the third-party packages that the code before it loaded. What was there before the first line (a coverage
# tool, an editable install's finder) is not ours.
REPORT = """
import json, sys
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
print(json.dumps(sorted(loaded - set(sys.stdlib_module_names) - {"perennial"})))
"""

MODEL_PACKAGES = {
    "joblib",
    "linearmodels",
    "matplotlib",
    "numpy",
    "onnxruntime",
    "pandas",
    "polars",
    "pyarrow",
    "scipy",
    "sklearn",
    "statsmodels",
    "torch",
}
SERVER_PACKAGES = {"alembic", "altair", "jinja2", "sqlalchemy", "starlette", "uvicorn"}


def loaded_by(code: str) -> set[str]:
    program = f"import sys\nbefore = set(sys.modules)\n{code}\n{REPORT}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def modules_of(room: str) -> list[str]:
    folder = PACKAGE / room
    names = (
        path.relative_to(PACKAGE.parent).with_suffix("").as_posix().replace("/", ".") for path in folder.rglob("*.py")
    )
    return sorted(name.removesuffix(".__init__") for name in names if not name.endswith("__main__"))


def test_importing_the_package_loads_only_the_standard_library() -> None:
    assert loaded_by("import perennial") == set()


def test_declaring_a_loop_loads_only_the_standard_library() -> None:
    assert loaded_by("from perennial import Loop, require, retrain, rollout") == set()


def test_the_version_is_printed_without_loading_a_model_package() -> None:
    code = """
import contextlib, io, runpy
sys.argv = ["perennial", "--version"]
out = io.StringIO()
with contextlib.redirect_stdout(out):
    try:
        runpy.run_module("perennial", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        assert not end.code, end.code
import perennial
assert perennial.__version__ in out.getvalue(), out.getvalue()
"""
    assert loaded_by(code) & (MODEL_PACKAGES | SERVER_PACKAGES) == set()


def test_python_dash_m_prints_the_version() -> None:
    command = [sys.executable, "-m", "perennial", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert perennial.__version__ in done.stdout


@pytest.mark.parametrize("module", modules_of("serve"))
def test_the_prediction_service_loads_no_database(module: str) -> None:
    """Nor scikit-learn or pandas: a worker loads what its model needs, and no more."""
    loaded = loaded_by(f"import {module}")
    assert loaded & {"alembic", "pandas", "psycopg", "sklearn", "sqlalchemy"} == set()
