"""MLflow's own tests against our running server: `make conformance SRC=path/to/mlflow`.

The checks lie beside the repository (shared/conformance) and name the source that they belong to. Needs the client 3.12
with what those tests import. Prints the counts of each tier; a test that was skipped counts as failed.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

SUITES = ("rest", "registry", "artifacts", "tracking", "media", "async", "models", "fluent", "autolog")
CHECKS = Path(__file__).parents[3] / "shared" / "conformance"
BASELINE = "baseline_mlflow_3.18.txt"  # what MLflow's own server passes
LEAST = 500


def main(source: str, python: str, *suites: str) -> int:
    if not (CHECKS / "run_mlflow_suite.sh").exists():
        sys.exit(f"the checks are not beside the repository: {CHECKS}")
    if not (Path(source) / "tests" / "tracking").is_dir():
        sys.exit(f"no source of MLflow at {source}: make conformance SRC=path (which one: {CHECKS / 'README.md'})")
    token = secrets.token_hex(16)
    words = [sys.executable, "-m", "perennial.testing.tracking_server", "--token", token]
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "server.log").open("wb") as log:
        server = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert server.stdout is not None
            uri = server.stdout.readline().strip()
            report = Path(folder) / "report.json"
            _run(uri, token, source, python, suites or SUITES, report)
            told = json.loads(report.read_text())
        finally:
            server.terminate()
            server.wait(20)
    return _tell(told, whole=not suites)


def _run(uri: str, token: str, source: str, python: str, suites: tuple[str, ...], report: Path) -> None:
    environment = dict(os.environ) | {
        "FOREIGN_RESET_URL": f"{uri}/testing/reset",
        "FOREIGN_BASELINE": str(CHECKS / BASELINE),
        "FOREIGN_TIERS": "1,2,3",
        "FOREIGN_TEST_TIMEOUT": os.environ.get("FOREIGN_TEST_TIMEOUT", "300"),  # seconds, for a busy machine
        "FOREIGN_REPORT": str(report),
        "FOREIGN_LOG": os.environ.get("FOREIGN_LOG", str(report.with_suffix(".log"))),
        "MLFLOW_TRACKING_TOKEN": token,
        "PYTHON": str(Path(python).absolute()),
    }
    done = subprocess.run([CHECKS / "run_mlflow_suite.sh", str(Path(source).absolute()), uri, *suites], env=environment)
    if not report.exists():
        sys.exit(done.returncode or 3)


def _tell(told: dict[str, dict[str, int]], *, whole: bool) -> int:
    total = told["total"]
    passed, lost = total.get("passed", 0), total.get("failed", 0) + total.get("skipped", 0)
    for tier, test, says in told["failed"]:
        print(f"tier {tier}: {test}\n    {' '.join(says.split())}")
    print(f"{passed} of {passed + lost} passed")
    return 0 if (passed >= LEAST if whole else not lost) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
